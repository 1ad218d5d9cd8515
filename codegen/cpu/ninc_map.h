/* The CPU device library: what emitted C is composed of. ninc puts a copy of this text at the top
 * of every MODEL.c, which is compiled once for each instruction set (NINC_LEVEL). First what all
 * of it is made of: vectors, and maps.
 *
 * Maps are blocked: [image][block of LANES channels][row][column][LANES], with a zero halo where a
 * convolution pads, or [image][row][column][channel] for the first layer's few channels. They hold
 * floats, or with NINC_BF16 the upper halves of floats; sums are floats in both. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h> /* a tenth of the other to compile */
#endif

/* Which product of a sum is fused with it depends on the text alone, not on what clang inlines
 * where: the trainer and the library compute the same bits. */
#ifdef __clang__
#pragma STDC FP_CONTRACT ON
#endif

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, TILE_VECTORS = 4, TILE_ACCUMULATORS = 28 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, TILE_VECTORS = 1, TILE_ACCUMULATORS = 12 };
#elif defined(__aarch64__)
enum { VECTOR_BYTES = 16, TILE_VECTORS = 1, TILE_ACCUMULATORS = 24 };
#else
enum { VECTOR_BYTES = 16, TILE_VECTORS = 1, TILE_ACCUMULATORS = 12 };
#endif
/* LANES channels a block everywhere; PARTS machine vectors make up one block. */
#if defined(NINC_BF16) && defined(__AMX_BF16__)
enum { LANES = 32 };
#else
enum { LANES = 16 };
#endif
enum { LANES_A_PART = VECTOR_BYTES / 4, PARTS = LANES / LANES_A_PART };
enum { TILE_PIXELS = TILE_ACCUMULATORS / PARTS };

typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t Mask __attribute__((vector_size(VECTOR_BYTES)));
typedef uint8_t Codes __attribute__((vector_size(LANES_A_PART)));

#define INLINE static inline __attribute__((always_inline, unused))
#define SHARED static __attribute__((noinline, unused))
#define UNROLL _Pragma("GCC unroll 32")

INLINE Vector load(const float *p)
{
    return *(const Vector *)p;
}

INLINE void store(float *p, Vector v)
{
    *(Vector *)p = v;
}

/* Stores what is not read again soon, past the caches: a whole line at a time, or it would be
 * slower than a plain store. stream_end makes it visible to other threads. */
INLINE void stream(float *p, Vector v)
{
#if defined(__AVX512F__)
    _mm512_stream_ps(p, (__m512)v);
#else
    store(p, v);
#endif
}

INLINE void stream_end(void)
{
#if defined(__AVX512F__)
    _mm_sfence();
#endif
}

/* Zeroes whole elements, wherever they lie. The asm keeps gcc from making the loop a memset, and
 * that `rep stos`, which takes longer to begin than to write a few lines. */
INLINE void zero_pixels(void *p, size_t bytes)
{
    typedef int32_t HalfVector
        __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));
    if (bytes < sizeof(HalfVector)) {
        memset(p, 0, bytes);
        return;
    }
    const size_t last = bytes - sizeof(HalfVector);
    for (size_t i = 0; i < last; i += sizeof(HalfVector)) {
        *(HalfVector *)((char *)p + i) = (HalfVector){0};
        __asm__ volatile("" : : : "memory");
    }
    *(HalfVector *)((char *)p + last) = (HalfVector){0};
}

/* x - 0 is x for every x, so nothing but the broadcast is left of it; 0 + x turns -0 into 0. */
INLINE Vector splat(float x)
{
    return x - (Vector){0};
}

INLINE Vector keep_where(Mask m, Vector a)
{
    return (Vector)((Mask)a & m);
}

/* Lane by lane a where m is set, else b: what a ?: b is to the op table's expressions. */
INLINE Vector select_lanes(Mask m, Vector a, Vector b)
{
    return (Vector)(((Mask)a & m) | ((Mask)b & ~m));
}

/* The same of numbers too. */
#define SELECT(M, A, B) select_lanes((Mask)(M), (A) - (Vector){0}, (B) - (Vector){0})

INLINE int smaller(int a, int b)
{
    return a < b ? a : b;
}

INLINE int larger(int a, int b)
{
    return a > b ? a : b;
}

/* The images of a chunk that a slice works on, and any other range cut into slices. */
INLINE ptrdiff_t slice_begin(const NincRange *r, ptrdiff_t count)
{
    return count * r->slice / r->slices;
}

INLINE ptrdiff_t slice_end(const NincRange *r, ptrdiff_t count)
{
    return count * (r->slice + 1) / r->slices;
}

INLINE ptrdiff_t first_image(const NincRange *r)
{
    return slice_begin(r, r->images);
}

INLINE ptrdiff_t last_image(const NincRange *r)
{
    return slice_end(r, r->images);
}

/* ---- integers ---- */

/* Unsigned integers of a vector's lanes, widened and narrowed: by one instruction where there is
 * one, since gcc 12 makes moves lane by lane of the generic form. */
typedef uint16_t Halves __attribute__((vector_size(VECTOR_BYTES / 2)));

INLINE Mask widen_codes(Codes c)
{
#if defined(__AVX512F__)
    return (Mask)_mm512_cvtepu8_epi32((__m128i)c);
#elif defined(__AVX2__)
    return (Mask)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)c));
#else
    return __builtin_convertvector(c, Mask);
#endif
}

INLINE Codes narrow_codes(Mask m)
{
#if defined(__AVX512F__)
    return (Codes)_mm512_cvtepi32_epi8((__m512i)m);
#else
    return __builtin_convertvector(m, Codes);
#endif
}

INLINE Mask widen_halves(Halves h)
{
#if defined(__AVX512F__)
    return (Mask)_mm512_cvtepu16_epi32((__m256i)h);
#elif defined(__AVX2__)
    return (Mask)_mm256_cvtepu16_epi32((__m128i)h);
#else
    return __builtin_convertvector(h, Mask);
#endif
}

/* ---- words ---- */

/* A float, or a pair of bf16, the first in the lower half. */
typedef uint32_t Word __attribute__((may_alias));
typedef uint32_t Words __attribute__((vector_size(VECTOR_BYTES), may_alias));

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
/* Rows whose numbers differ by DISTANCE, a power of two, exchange the lanes that do: after each of
 * them row i has what was lane i of all rows. */
#define EXCHANGE_LANES(ROW, DISTANCE)                                                           \
    UNROLL for (int k = 0; k < LANES_A_PART; k++)                                               \
        if ((k & (DISTANCE)) == 0) {                                                            \
            const Words a = (ROW)[k], b = (ROW)[k + (DISTANCE)];                                \
            (ROW)[k] = __builtin_shufflevector(a, b, ALL_LANES(FIRST_LANE, DISTANCE));          \
            (ROW)[k + (DISTANCE)] = __builtin_shufflevector(a, b, ALL_LANES(LAST_LANE, DISTANCE)); \
        }
#define FIRST_LANE(D, L) ((L) & (D) ? LANES_A_PART + (L) - (D) : (L))
#define LAST_LANE(D, L) ((L) & (D) ? LANES_A_PART + (L) : (L) + (D))
#define FOUR_LANES(F, D, L) F(D, L), F(D, (L) + 1), F(D, (L) + 2), F(D, (L) + 3)
#if defined(__AVX512F__)
#define ALL_LANES(F, D) \
    FOUR_LANES(F, D, 0), FOUR_LANES(F, D, 4), FOUR_LANES(F, D, 8), FOUR_LANES(F, D, 12)
#elif defined(__AVX2__)
#define ALL_LANES(F, D) FOUR_LANES(F, D, 0), FOUR_LANES(F, D, 4)
#else
#define ALL_LANES(F, D) FOUR_LANES(F, D, 0)
#endif

/* LANES_A_PART rows and as many columns, turned around. */
INLINE void turn_rows(Words *row)
{
#if defined(__AVX512F__)
    EXCHANGE_LANES(row, 8)
#endif
#if defined(__AVX2__)
    EXCHANGE_LANES(row, 4)
#endif
    EXCHANGE_LANES(row, 2)
    EXCHANGE_LANES(row, 1)
}
#endif
#endif

/* to[j][i] = from[i][j], LANES of each; rows lie from_row and to_row words apart, on the boundaries
 * of vectors. */
INLINE void turn_square(const Word *from, ptrdiff_t from_row, Word *to, ptrdiff_t to_row)
{
#ifdef ALL_LANES
    for (int i = 0; i < LANES; i += LANES_A_PART)
        for (int j = 0; j < LANES; j += LANES_A_PART) {
            Words row[LANES_A_PART];
            UNROLL for (int k = 0; k < LANES_A_PART; k++)
                row[k] = *(const Words *)(from + (i + k) * from_row + j);
            turn_rows(row);
            UNROLL for (int k = 0; k < LANES_A_PART; k++)
                *(Words *)(to + (j + k) * to_row + i) = row[k];
        }
#else
    for (int j = 0; j < LANES; j++)
        for (int i = 0; i < LANES; i++)
            to[j * to_row + i] = from[i * from_row + j];
#endif
}

/* ---- what maps and filters hold ---- */

/* TOGETHER inputs of a contraction are multiplied by as many weights in one step: Factors. */
#ifdef NINC_BF16
typedef uint16_t Element;
typedef Halves Elements;
typedef uint32_t Factors __attribute__((vector_size(VECTOR_BYTES)));
enum { TOGETHER = 2 };

INLINE float from_element(Element e)
{
    const uint32_t bits = (uint32_t)e << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounds to nearest, ties to even. */
INLINE Element to_element(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (Element)(x != x ? 0x7FC0 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

INLINE Vector load_map(const Element *p)
{
    return (Vector)((Factors)widen_halves(*(const Elements *)p) << 16);
}

INLINE void store_map(Element *p, Vector v)
{
#ifdef __AVX512BF16__
    *(Elements *)p = (Elements)_mm512_cvtneps_pbh((__m512)v);
#else
    const Factors bits = (Factors)v, nan = (Factors)(v != v);
    const Factors rounded = bits + 0x7FFF + (bits >> 16 & 1);
    *(Elements *)p = __builtin_convertvector(
        ((nan & 0x7FC00000) | (~nan & rounded)) >> 16, Elements);
#endif
}

INLINE Factors load_weights(const Element *p)
{
    return *(const Factors *)p;
}

INLINE Factors splat_inputs(const Element *p)
{
    uint32_t pair;
    memcpy(&pair, p, sizeof pair);
    return (Factors){0} + pair;
}

INLINE Vector multiply_add(Vector sum, Factors a, Factors b)
{
#ifdef __AVX512BF16__
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    sum += (Vector)(a << 16) * (Vector)(b << 16);
    return sum + (Vector)(a & 0xFFFF0000) * (Vector)(b & 0xFFFF0000);
#endif
}
#else
typedef float Element;
typedef Vector Factors;
enum { TOGETHER = 1 };

INLINE float from_element(Element e)
{
    return e;
}

INLINE Element to_element(float x)
{
    return x;
}

INLINE Vector load_map(const Element *p)
{
    return load(p);
}

INLINE void store_map(Element *p, Vector v)
{
    store(p, v);
}

INLINE Factors load_weights(const Element *p)
{
    return load(p);
}

INLINE Factors splat_inputs(const Element *p)
{
    return splat(*p);
}

INLINE Vector multiply_add(Vector sum, Factors a, Factors b)
{
    return sum + a * b;
}
#endif

/* One image of a map: data is logical row `first`, column 0 (so halo lies before it); row and
 * block are in elements. */
typedef struct Map {
    Element *data;
    ptrdiff_t row, block;
    int first;
} Map;

/* A map of floats beside bf16 ones: means, and their gradient. */
typedef struct FloatMap {
    float *data;
    ptrdiff_t row, block;
    int first;
} FloatMap;

typedef struct CodeMap {
    uint8_t *data;
    ptrdiff_t row, block;
    int first;
} CodeMap;

INLINE Element *map_row(Map m, int row)
{
    return m.data + (row - m.first) * m.row;
}

INLINE uint8_t *code_row(CodeMap m, int row)
{
    return m.data + (row - m.first) * m.row;
}

/* ---- what an epilogue reads ---- */

/* Pointwise ops on the result of another op, before it is rounded and stored: the number of a chain
 * of them (0: none), the maps that it reads, which lie beside the result, and numbers. The maps
 * that it does not read are the result. */
typedef struct Epilogue {
    int number;
    Map map[EPILOGUE_MAPS];
    float scalar[EPILOGUE_SCALARS];
} Epilogue;

/* What lies beside a place of the result. */
typedef struct Beside {
    const Element *map[EPILOGUE_MAPS];
    ptrdiff_t block[EPILOGUE_MAPS];
    const float *scalar;
} Beside;

/* Beside a row's first pixel. */
INLINE Beside beside_row(const Epilogue *e, int row)
{
    Beside b = {.scalar = e->scalar};
    for (int i = 0; i < EPILOGUE_MAPS; i++) {
        b.map[i] = map_row(e->map[i], row);
        b.block[i] = e->map[i].block;
    }
    return b;
}

/* So many blocks and elements further. */
INLINE Beside beside_at(Beside b, ptrdiff_t blocks, ptrdiff_t elements)
{
    for (int i = 0; i < EPILOGUE_MAPS; i++)
        b.map[i] += blocks * b.block[i] + elements;
    return b;
}

/* Rounds and stores v where the map beside it is > 0, and elsewhere 0. */
INLINE void store_masked(Element *to, Vector v, const Element *mask)
{
#if defined(NINC_BF16) && defined(__AVX512BF16__)
    /* A bf16 is > 0 if its bits are, and do not exceed those of infinity. */
    const __m256i below = _mm256_sub_epi16(*(const __m256i *)mask, _mm256_set1_epi16(1));
    const __mmask16 keep = _mm256_cmplt_epu16_mask(below, _mm256_set1_epi16(0x7F80));
    *(Elements *)to = (Elements)_mm512_maskz_cvtneps_pbh(keep, (__m512)v);
#else
    store_map(to, keep_where((Mask)(load_map(mask) > (Vector){0}), v));
#endif
}
