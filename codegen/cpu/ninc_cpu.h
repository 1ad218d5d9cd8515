/* The CPU device library: what emitted C is composed of. ninc puts a copy of this text at the top
 * of every MODEL.c, which is compiled once for each instruction set (NINC_LEVEL).
 *
 * Maps are blocked: [image][block of LANES channels][row][column][LANES], with a zero halo where a
 * convolution pads, or [image][row][column][channel] for the first layer's few channels. They hold
 * floats, or with NINC_BF16 the upper halves of floats; sums are floats in both. Filters are
 * packed [output group][input block][row][run][vectors][LANES]: a `run` is one filter row,
 * columns x channels of a block, which is contiguous in a map too. So every contraction is: over
 * input blocks, filter rows and the run, broadcast one input, multiply by `vectors` vectors. In
 * bf16 two entries of a run, and their weights, are one word: a run of an odd number of entries
 * ends with a zero weight, and reads one entry more.
 * Register tiles after LIBXSMM (arXiv 1906.06440): all accumulators stay in registers. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
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
/* What the op table's scalar expressions call. */
#define SQRT sqrt
#define POW pow

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

/* ReLU; NaN stays. */
INLINE Vector positive(Vector v)
{
    return (Vector)((Mask)v & ~(Mask)(v <= (Vector){0}));
}

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

/* ---- epilogues ---- */

enum { EPILOGUE_RELU = 1, EPILOGUE_MASK = 2 }; /* MASK: zero where the mask map is not > 0 */

INLINE Vector conv_epilogue(int epilogue, Vector v, const Element *mask)
{
    if (epilogue & EPILOGUE_RELU)
        v = positive(v);
    if (epilogue & EPILOGUE_MASK)
        v = keep_where((Mask)(load_map(mask) > (Vector){0}), v);
    return v;
}

/* Rounds and stores what is left of v after the epilogue. */
INLINE void store_epilogue(int epilogue, Element *to, Vector v, const Element *mask)
{
#if defined(NINC_BF16) && defined(__AVX512BF16__)
    if (epilogue == EPILOGUE_MASK) {
        /* A bf16 is > 0 if its bits are, and do not exceed those of infinity. */
        const __m256i below = _mm256_sub_epi16(*(const __m256i *)mask, _mm256_set1_epi16(1));
        const __mmask16 keep = _mm256_cmplt_epu16_mask(below, _mm256_set1_epi16(0x7F80));
        *(Elements *)to = (Elements)_mm512_maskz_cvtneps_pbh(keep, (__m512)v);
        return;
    }
#endif
    store_map(to, conv_epilogue(epilogue, v, mask));
}

/* ---- register tiles ---- */

/* A tile of COUNT positions x VECTORS in parts that fit this machine's registers, each by
 * PART(tile, position, positions, vector, vectors, ...). */
#define IN_PARTS(PART, TILE, COUNT, VECTORS, ...)                                  \
    do {                                                                           \
        const int whole = (VECTORS) / TILE_VECTORS * TILE_VECTORS;                 \
        const int left = (VECTORS) - whole;                                        \
        for (int v = 0; v < whole; v += TILE_VECTORS)                              \
            IN_POSITIONS(PART, TILE, COUNT, v, TILE_VECTORS, __VA_ARGS__);         \
        if (left > 0)                                                              \
            IN_POSITIONS(PART, TILE, COUNT, whole, left > 0 ? left : 1, __VA_ARGS__); \
    } while (0)

#define IN_POSITIONS(PART, TILE, COUNT, VECTOR, VECTORS, ...)                                    \
    do {                                                                                         \
        const int most = TILE_PIXELS / (VECTORS), parts = ((COUNT) + most - 1) / most;           \
        const int large = ((COUNT) + parts - 1) / parts, larges = (COUNT) - parts * (large - 1); \
        for (int i = 0; i < larges; i++)                                                         \
            PART(TILE, i * large, large, VECTOR, VECTORS, __VA_ARGS__);                          \
        for (int i = larges; i < parts; i++)                                                     \
            PART(TILE, larges * large + (i - larges) * (large - 1), large - 1, VECTOR, VECTORS,  \
                 __VA_ARGS__);                                                                   \
    } while (0)

/* ---- convolution ---- */

/* What a register tile of one output row needs. */
typedef struct ConvTile {
    const Element *x, *filter, *mask;
    const float *bias;
    Element *y;
    ptrdiff_t x_block, x_row, y_block, mask_block;
    ptrdiff_t filter_block, filter_row, filter_column; /* from tap to tap */
    int in_blocks, kernel_h, kernel_w, run, epilogue;
} ConvTile;

typedef void ConvTileFn(const ConvTile *t);

/* PIXELS x VECTORS blocks of output, starting at pixel p and vector v of the tile; the filter is
 * packed for FILTER_VECTORS vectors, neighbouring pixels read inputs STEP elements apart and are
 * written SPREAD pixels apart. A tap of the filter is kernel_w columns of LANES inputs, or with
 * kernel_w = 1 one run of a whole filter row. */
INLINE void conv_part(const ConvTile *t, int p, const int PIXELS, int v, const int VECTORS,
                      const int FILTER_VECTORS, const int STEP, const int SPREAD)
{
    Vector acc[TILE_ACCUMULATORS];
    UNROLL for (int i = 0; i < PIXELS; i++)
        UNROLL for (int j = 0; j < VECTORS * PARTS; j++)
            acc[i * VECTORS * PARTS + j] =
                t->bias ? load(t->bias + v * LANES + j * LANES_A_PART) : (Vector){0};
    for (int b = 0; b < t->in_blocks; b++)
        for (int k = 0; k < t->kernel_h; k++)
            for (int q = 0; q < t->kernel_w; q++) {
                const Element *x = t->x + p * STEP + b * t->x_block + k * t->x_row + q * LANES;
                const Element *filter = t->filter + v * LANES * TOGETHER + b * t->filter_block +
                                        k * t->filter_row + q * t->filter_column;
                for (int r = t->run; r > 0; r -= TOGETHER) {
                    Factors w[TILE_VECTORS * PARTS];
                    UNROLL for (int j = 0; j < VECTORS * PARTS; j++)
                        w[j] = load_weights(filter + j * LANES_A_PART * TOGETHER);
                    UNROLL for (int i = 0; i < PIXELS; i++) {
                        const Factors s = splat_inputs(x + i * STEP);
                        UNROLL for (int j = 0; j < VECTORS * PARTS; j++) {
                            const int at = i * VECTORS * PARTS + j;
                            acc[at] = multiply_add(acc[at], s, w[j]);
                        }
                    }
                    x += TOGETHER;
                    filter += FILTER_VECTORS * LANES * TOGETHER;
                }
            }
    UNROLL for (int i = 0; i < PIXELS; i++)
        UNROLL for (int j = 0; j < VECTORS * PARTS; j++) {
            const ptrdiff_t at = (p + i) * SPREAD * LANES + j % PARTS * LANES_A_PART;
            const Vector a = acc[i * VECTORS * PARTS + j];
            const Element *mask = t->mask + (v + j / PARTS) * t->mask_block + at;
            store_epilogue(t->epilogue, t->y + (v + j / PARTS) * t->y_block + at, a, mask);
        }
}

#define CONV_TILE(NAME, PIXELS, VECTORS, STEP, SPREAD)                  \
    SHARED void NAME(const ConvTile *t)                                 \
    {                                                                   \
        IN_PARTS(conv_part, t, PIXELS, VECTORS, VECTORS, STEP, SPREAD); \
    }

/* A row of output is `larges` tiles of `large` pixels, then `smalls` of one pixel less. */
typedef struct RowTiles {
    ConvTileFn *large_tile, *small_tile;
    int large, larges, smalls;
} RowTiles;

typedef struct Conv {
    int in_blocks, kernel_h, run;  /* the filter walk */
    int groups, vectors;           /* output channels: groups x vectors x LANES */
    int stride_h, padding_h;
    ptrdiff_t step, padding;       /* elements: from pixel to pixel, and left padding */
    RowTiles tiles;
} Conv;

INLINE int row_width(const RowTiles *tiles)
{
    return tiles->large * (tiles->larges + tiles->smalls) - tiles->smalls;
}

/* The tiles of one row, from where t points; pixels lie `step` elements apart in x and `spread`
 * pixels apart in y. */
INLINE void run_row(ConvTile t, const RowTiles *tiles, ptrdiff_t step, ptrdiff_t spread)
{
    for (int i = 0; i < tiles->larges + tiles->smalls; i++) {
        const int pixels = tiles->large - (i >= tiles->larges);
        (i < tiles->larges ? tiles->large_tile : tiles->small_tile)(&t);
        t.x += pixels * step;
        t.y += pixels * spread * LANES;
        t.mask += pixels * spread * LANES;
    }
}

/* Output rows row0 to row1 - 1 of one image. bias may be NULL; mask.data is read with
 * EPILOGUE_MASK only. */
SHARED void conv_rows(const Conv *c, Map x, const Element *filter, const float *bias, Map mask,
                      Map y, int epilogue, int row0, int row1)
{
    const ptrdiff_t line = (ptrdiff_t)c->run * c->vectors * LANES;
    const ptrdiff_t group = c->in_blocks * c->kernel_h * line;
    ConvTile t = {.x_block = x.block, .x_row = x.row, .y_block = y.block,
                  .mask_block = mask.block, .filter_block = c->kernel_h * line,
                  .filter_row = line, .in_blocks = c->in_blocks, .kernel_h = c->kernel_h,
                  .kernel_w = 1, .run = c->run, .epilogue = epilogue};
    for (int g = 0; g < c->groups; g++) {
        const ptrdiff_t channel = (ptrdiff_t)g * c->vectors;
        t.filter = filter + g * group;
        t.bias = bias ? bias + channel * LANES : NULL;
        for (int row = row0; row < row1; row++) {
            t.x = map_row(x, row * c->stride_h - c->padding_h) - c->padding;
            t.y = map_row(y, row) + channel * y.block;
            t.mask = epilogue & EPILOGUE_MASK ? map_row(mask, row) + channel * mask.block : t.y;
            run_row(t, &c->tiles, c->step, 1);
        }
    }
}

/* ---- data gradient of a strided convolution ---- */

/* The filter is transposed (outputs of the gradient first, kernel axes reversed). Pixels of dx
 * that are `stride` apart see the same taps, so each such phase is a small convolution. */
typedef struct ConvTranspose {
    int in_blocks, kernel_h, kernel_w, groups, vectors;
    int stride_h, stride_w, padding_h, padding_w;
    int width;            /* of dx */
    RowTiles more, fewer; /* for phases of ceil(width / stride) pixels, and of one less */
} ConvTranspose;

/* The taps that an output position sees: count of them, the first in the reversed filter (then
 * every stride-th), and the position of dy that it meets. */
typedef struct Taps {
    int count, first, at;
} Taps;

INLINE Taps taps_of(int position, int kernel, int stride, int padding)
{
    const int phase = (position + padding) % stride;
    const int count = phase < kernel ? (kernel - phase + stride - 1) / stride : 0;
    const int last = phase + (count - 1) * stride;
    const Taps t = {count, kernel - 1 - last, (position + padding - last) / stride};
    return t;
}

SHARED void conv_transpose_rows(const ConvTranspose *c, Map dy, const Element *filter, Map mask,
                                Map dx, int epilogue, int row0, int row1)
{
    const ptrdiff_t tap = (ptrdiff_t)LANES * c->vectors * LANES;
    const ptrdiff_t square = tap * c->kernel_h * c->kernel_w;
    ConvTile t = {.x_block = dy.block, .x_row = dy.row, .y_block = dx.block,
                  .mask_block = mask.block, .filter_block = square,
                  .filter_row = tap * c->kernel_w * c->stride_h,
                  .filter_column = tap * c->stride_w, .run = LANES, .epilogue = epilogue};
    for (int g = 0; g < c->groups; g++)
        for (int row = row0; row < row1; row++) {
            const Taps h = taps_of(row, c->kernel_h, c->stride_h, c->padding_h);
            for (int col = 0; col < smaller(c->stride_w, c->width); col++) {
                const Taps w = taps_of(col, c->kernel_w, c->stride_w, c->padding_w);
                const ptrdiff_t channel = (ptrdiff_t)g * c->vectors;
                const ptrdiff_t at = (ptrdiff_t)col * LANES;
                t.in_blocks = h.count > 0 && w.count > 0 ? c->in_blocks : 0;
                t.kernel_h = h.count;
                t.kernel_w = w.count;
                t.filter = filter + g * c->in_blocks * square +
                           ((ptrdiff_t)h.first * c->kernel_w + w.first) * tap;
                t.x = map_row(dy, h.at) + (ptrdiff_t)w.at * LANES;
                t.y = map_row(dx, row) + channel * dx.block + at;
                t.mask = epilogue & EPILOGUE_MASK
                             ? map_row(mask, row) + channel * mask.block + at
                             : t.y;
                run_row(t, col < (c->width - 1) % c->stride_w + 1 ? &c->more : &c->fewer, LANES,
                        c->stride_w);
            }
        }
}
