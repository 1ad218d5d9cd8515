/* The ceilings of a CPU's roofline (Williams, Waterman and Patterson, CACM 2009), measured: how
 * fast its threads multiply and add in registers, and how fast they copy memory. Both are those of
 * the machine, whatever instruction set the trainer's kernels are compiled for. */
#include "../../ir/ir.h"
#include "tools.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* A window is shorter than a slice of the scheduler, so that on a busy machine some of them have
 * a processor for themselves; the best one counts. */
enum { FIRST_ROUNDS = 1 << 13, COPIES = 8 };
static const double WINDOW_SECONDS = 0.001, LOOP_SECONDS = 0.2;
static const size_t COPY_BYTES = (size_t)128 << 20; /* more than a few processors' caches hold */

/* `flop` is what one round of the loop computes. */
typedef struct Loop {
    float (*run)(int64_t rounds);
    double flop;
} Loop;

/* Sanitizers would keep the sums in memory. */
#define IN_REGISTERS __attribute__((no_sanitize("address", "undefined")))

/* The compiler must not know it, or it would fold the multiplication. */
static volatile float one = 1;

/* `chains` sums that do not wait for each other: more than latency times units, no more than there
 * are registers beside two operands. They start apart, or the compiler would see one sum. */
#define PEAK_LOOP(title, features, chains, Vector, Operand, spread, operand, add_product) \
    IN_REGISTERS features static float title(int64_t rounds) \
    { \
        Vector sum[chains]; \
        Operand x = operand(one), y = operand(one); \
        float all = 0; \
        _Pragma("GCC unroll 24") for (int i = 0; i < (chains); i++) sum[i] = spread((float)i); \
        for (int64_t r = 0; r < rounds; r++) { \
            _Pragma("GCC unroll 24") for (int i = 0; i < (chains); i++) sum[i] = \
                add_product(sum[i], x, y); \
        } \
        _Pragma("GCC unroll 24") for (int i = 0; i < (chains); i++) all += sum[i][0]; \
        return all; \
    }

typedef float Quad __attribute__((vector_size(16)));
#define QUAD(value) ((Quad){0} + (value))

#if defined(__aarch64__)
enum { BASELINE_CHAINS = 24 };
#define QUAD_PRODUCT(sum, x, y) vfmaq_f32(y, sum, x)
#else
enum { BASELINE_CHAINS = 12 };
#define QUAD_PRODUCT(sum, x, y) ((sum) * (x) + (y))
#endif
PEAK_LOOP(fma_baseline, , BASELINE_CHAINS, Quad, Quad, QUAD, QUAD, QUAD_PRODUCT)

#if defined(__x86_64__)
#define TARGET(features) __attribute__((target(features)))
#define BF16_OF(value) _mm512_cvtne2ps_pbh(_mm512_set1_ps(value), _mm512_set1_ps(value))
PEAK_LOOP(fma_avx2, TARGET("avx2,fma"), 12, __m256, __m256, _mm256_set1_ps, _mm256_set1_ps,
          _mm256_fmadd_ps)
PEAK_LOOP(fma_avx512, TARGET("avx512f,avx512vl"), 24, __m512, __m512, _mm512_set1_ps,
          _mm512_set1_ps, _mm512_fmadd_ps)
PEAK_LOOP(dot_avx512, TARGET("avx512f,avx512vl,avx512bf16"), 24, __m512, __m512bh, _mm512_set1_ps,
          BF16_OF, _mm512_dpbf16_ps)
#endif

/* AMX: four sums of 16 x 16, of operands of 16 rows of 32 bf16. */
#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 11)
enum { TILE_ROWS = 16, TILE_BYTES = 64, TILE_SUMS = 4, TILE_FLOP = 16 * 16 * 32 * 2 };

/* Intel 64 and IA-32 manual, volume 1, 18.3.2. */
typedef struct TileConfig {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} TileConfig;

IN_REGISTERS TARGET("amx-tile,amx-bf16") static float tile_amx(int64_t rounds)
{
    TileConfig config = {.palette = 1};
    uint16_t operand[TILE_ROWS * TILE_BYTES / 2];
    float sum[TILE_ROWS * TILE_BYTES / 4], all = 0;
    for (int i = 0; i < 8; i++) {
        config.bytes[i] = TILE_BYTES;
        config.rows[i] = TILE_ROWS;
    }
    for (int i = 0; i < TILE_ROWS * TILE_BYTES / 2; i++)
        operand[i] = one == 1 ? 0x3F80 : 0; /* 1 in bf16 */
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, operand, TILE_BYTES);
    _tile_loadd(5, operand, TILE_BYTES);
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, sum, TILE_BYTES);
    all += sum[0];
    _tile_stored(1, sum, TILE_BYTES);
    all += sum[1];
    _tile_stored(2, sum, TILE_BYTES);
    all += sum[2];
    _tile_stored(3, sum, TILE_BYTES);
    all += sum[3];
    _tile_release();
    return all;
}

static Loop tile_loop(void)
{
    return cpu_has_amx() ? (Loop){tile_amx, TILE_SUMS * TILE_FLOP} : (Loop){0};
}
#else
static Loop tile_loop(void)
{
    return (Loop){0};
}
#endif

static Loop fma_loop(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        return (Loop){fma_avx512, 24 * 16 * 2};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (Loop){fma_avx2, 12 * 8 * 2};
#endif
    return (Loop){fma_baseline, BASELINE_CHAINS * 4 * 2};
}

/* Products of pairs of bf16 added in fp32; NULL where the CPU has no such instruction. */
static Loop dot_loop(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl"))
        return (Loop){dot_avx512, 24 * 16 * 4};
#endif
    return (Loop){0};
}

/* The best window of one thread, in FLOP/s. */
static double thread_rate(Loop loop)
{
    double begin = clock_seconds(), best = 0;
    int64_t rounds = FIRST_ROUNDS;
    for (double start = begin; start - begin < LOOP_SECONDS;) {
        volatile float kept = loop.run(rounds);
        double end = clock_seconds(), rate = loop.flop * (double)rounds / (end - start);
        (void)kept;
        if (rate > best)
            best = rate;
        if (end - start < WINDOW_SECONDS)
            rounds *= 2;
        start = end;
    }
    return best;
}

/* All threads at once, each by its own clock, so that none waits for one that has lost its
 * processor. */
static double loop_rate(Loop loop, int threads)
{
    double sum = 0;
    if (!loop.run)
        return 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    sum += thread_rate(loop);
    (void)threads;
    return sum;
}

/* To the compiler it is read and written here, so that no copy of it can be left out. */
static void assume_used(void *memory)
{
    __asm__ volatile("" : : "r"(memory) : "memory");
}

static double copy_seconds(char *to, const char *from, int threads)
{
    size_t part = COPY_BYTES / (size_t)threads;
    double begin = clock_seconds();
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; i++)
        memcpy(to + (size_t)i * part, from + (size_t)i * part, part);
    assume_used(to);
    return clock_seconds() - begin;
}

/* Bytes read plus bytes written; 0 without the memory for it. */
static double copy_rate(int threads)
{
    char *from = malloc(COPY_BYTES), *to = malloc(COPY_BYTES);
    double best = 0;
    if (from && to) {
        memset(from, 1, COPY_BYTES); /* pages that were never written are one page of zeros */
        assume_used(from);
        for (int i = 0; i < COPIES; i++) {
            double rate = 2.0 * (double)COPY_BYTES / copy_seconds(to, from, threads);
            if (rate > best)
                best = rate;
        }
    }
    free(from);
    free(to);
    return best;
}

Peak cpu_peak(int threads, bool tiles)
{
#ifndef _OPENMP
    threads = 1;
#endif
    return (Peak){.fma = loop_rate(fma_loop(), threads),
                  .dot = loop_rate(dot_loop(), threads),
                  .tile = tiles ? loop_rate(tile_loop(), threads) : 0,
                  .copy = copy_rate(threads)};
}
