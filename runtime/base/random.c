/* Philox4x32-10: John K. Salmon, Mark A. Moraes, Ron O. Dror, David E. Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011. The n-th number of a stream is a pure function of
 * (seed, stream, n), so every device and every restart draws the same ones. */
#include "base.h"

#include <math.h>

static void philox_round(uint32_t c[4], const uint32_t k[2])
{
    uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t c1 = c[1], c3 = c[3];
    c[0] = (uint32_t)(b >> 32) ^ c1 ^ k[0];
    c[1] = (uint32_t)b;
    c[2] = (uint32_t)(a >> 32) ^ c3 ^ k[1];
    c[3] = (uint32_t)a;
}

/* One block of four words from the counter and the key. */
void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t k[2] = {key[0], key[1]};
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}; /* no one else's: registers */
    for (int i = 0; i < 10; i++) {
        philox_round(c, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

Random random_stream(uint64_t seed, uint64_t stream)
{
    Random r = {
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, 0, (uint32_t)stream, (uint32_t)(stream >> 32)},
        .used = 4,
    };
    return r;
}

uint32_t random_u32(Random *r)
{
    if (r->used == 4) {
        philox4x32_10(r->counter, r->key, r->block);
        if (++r->counter[0] == 0)
            r->counter[1]++;
        r->used = 0;
    }
    return r->block[r->used++];
}

uint32_t random_below(Random *r, uint32_t n)
{
    uint64_t product = (uint64_t)random_u32(r) * n;
    uint32_t threshold = (uint32_t)-n % n;
    while ((uint32_t)product < threshold)
        product = (uint64_t)random_u32(r) * n;
    return (uint32_t)(product >> 32);
}

float random_symmetric(Random *r)
{
    return (float)((int32_t)(random_u32(r) >> 8) - (1 << 23)) * 0x1p-23f;
}

double random_normal(Random *r)
{
    double u = (random_u32(r) + 1.0) * 0x1p-32; /* (0, 1]: the logarithm is finite */
    double v = random_u32(r) * 0x1p-32;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void random_permutation(Random *r, int32_t *order, int count)
{
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int i = count - 1; i > 0; i--) {
        int j = (int)random_below(r, (uint32_t)i + 1);
        int32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
