/* AMX in plain C, for processors without it: emitted C that is compiled with `-include` of this and
 * -D__AMX_BF16__ runs its programs for AMX. Tile configuration, loads, stores, and the dot product
 * of bf16 pairs as the manual has it (Intel 64 and IA-32, volume 2, TDPBF16PS), in f32; what a
 * configuration leaves out of a tile is zero, what it does not allow ends the program. */
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct FakeTile {
    int rows, bytes; /* a row */
    uint8_t data[16][64];
} FakeTile;

static __thread FakeTile fake_tile[8];

static inline void fake_demand(int holds)
{
    if (!holds)
        abort();
}

static inline void fake_loadconfig(const void *config)
{
    const uint8_t *bytes = config, *rows = bytes + 48;
    fake_demand(bytes[0] == 1);
    memset(fake_tile, 0, sizeof fake_tile);
    for (int i = 0; i < 8; i++) {
        uint16_t width;
        memcpy(&width, bytes + 16 + 2 * i, sizeof width);
        fake_demand(width <= 64 && rows[i] <= 16);
        fake_tile[i].bytes = width;
        fake_tile[i].rows = rows[i];
    }
}

static inline void fake_zero(int tile)
{
    memset(fake_tile[tile].data, 0, sizeof fake_tile[tile].data);
}

static inline void fake_loadd(int tile, const void *from, ptrdiff_t stride)
{
    FakeTile *t = &fake_tile[tile];
    fake_zero(tile);
    for (int r = 0; r < t->rows; r++)
        memcpy(t->data[r], (const char *)from + r * stride, (size_t)t->bytes);
}

static inline void fake_stored(int tile, void *to, ptrdiff_t stride)
{
    const FakeTile *t = &fake_tile[tile];
    for (int r = 0; r < t->rows; r++)
        memcpy((char *)to + r * stride, t->data[r], (size_t)t->bytes);
}

/* The numbers of a row of a tile: of f32, or pairs of bf16. Vectors, as this is most of what a test
 * runs, and compilers make none of loops at -Og. */
typedef float FakeFloats __attribute__((vector_size(64)));
typedef uint32_t FakePairs __attribute__((vector_size(64)));

static inline float fake_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* What a configuration leaves out of y is zero, and so are its products. */
static inline void fake_dpbf16ps(int sums, int a, int b)
{
    FakeTile *c = &fake_tile[sums];
    const FakeTile *x = &fake_tile[a], *y = &fake_tile[b];
    fake_demand(c->rows == x->rows && c->bytes == y->bytes && x->bytes == 4 * y->rows);
    for (int m = 0; m < c->rows; m++) {
        FakeFloats sum;
        FakePairs left;
        memcpy(&sum, c->data[m], sizeof sum);
        memcpy(&left, x->data[m], sizeof left);
        for (int k = 0; k < y->rows; k++) {
            FakePairs right;
            memcpy(&right, y->data[k], sizeof right);
            sum += fake_float(left[k] << 16) * (FakeFloats)(right << 16);
            sum += fake_float(left[k] & 0xFFFF0000) * (FakeFloats)(right & 0xFFFF0000);
        }
        memcpy(c->data[m], &sum, sizeof sum);
    }
}

#undef _tile_loadconfig
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig fake_loadconfig
#define _tile_zero fake_zero
#define _tile_loadd fake_loadd
#define _tile_stored fake_stored
#define _tile_dpbf16ps fake_dpbf16ps
#undef _tile_release
#define _tile_release() ((void)0)
