/* Winograd products between bf16 maps in 16-bit fixed point, after Das et al. (arXiv 1802.00930):
 * pairs of integers are multiplied at twice the rate of floats, and sums are exact. Each row that
 * is multiplied (the inputs of a tile, the weights of an output, for a weight gradient a channel of
 * a strip of tiles) has a scale of its own, of which its entries are multiples. Rounding to it
 * costs about what rounding the filter to bf16 would; bf16 itself would be too coarse for
 * frequencies, whose errors the transform of the output magnifies. Takes AVX-512 VNNI, as every CPU
 * with AVX-512 BF16 has it; else the products are of floats. */

/* ---- register tiles ---- */

/* Rows of x, pairs of integers, by outputs of w; `pairs` of each block. */
typedef struct FixedTile {
    const Word *x, *w;            /* w: [block][pair][vector][LANES] */
    const float *x_scale, *w_scale; /* by row; by output */
    float *y;
    ptrdiff_t x_block, y_row, y_block;
    int blocks, pairs;
    int accumulate, streams;      /* adds to y; stores it past the caches */
} FixedTile;

typedef void FixedTileFn(const FixedTile *t);

/* Of a WinogradMultiply, as it has them of floats. */
typedef struct FixedMultiply {
    FixedTileFn *tile, *single;
} FixedMultiply;

/* The register tiles of a block of inputs: larges x large, then smalls x (large - 1). */
typedef struct FixedRun {
    FixedTileFn *large_tile, *small_tile;
    int large, larges, smalls, vectors;
} FixedRun;

/* Of a WinogradWgrad; strip: the tiles of all images that are multiplied at one time. */
typedef struct FixedWgrad {
    FixedRun tiles;
    int strip;
} FixedWgrad;

#if defined(NINC_BF16) && defined(__AVX512VNNI__)

/* ROWS x VECTORS blocks of output, from row p and vector v on. Rows of x lie ROW words apart, its
 * pairs STEP. */
INLINE void fixed_part(const FixedTile *t, int p, const int ROWS, int v, const int VECTORS,
                       const int W_VECTORS, const int ROW, const int STEP)
{
    Mask acc[TILE_ACCUMULATORS]; /* not __m512i, which gcc would spill */
    UNROLL for (int i = 0; i < ROWS * VECTORS; i++)
        acc[i] = (Mask){0};
    const Word *w = t->w + v * LANES;
    for (int b = 0; b < t->blocks; b++) {
        const Word *x = t->x + b * t->x_block + p * ROW;
        for (int r = t->pairs; r > 0; r--, x += STEP, w += W_VECTORS * LANES) {
            Words factor[TILE_VECTORS];
            UNROLL for (int j = 0; j < VECTORS; j++)
                factor[j] = *(const Words *)(w + j * LANES);
            UNROLL for (int i = 0; i < ROWS; i++) {
                const Words s = (Words){0} + x[i * ROW];
                UNROLL for (int j = 0; j < VECTORS; j++) {
                    const int at = i * VECTORS + j;
                    acc[at] = (Mask)_mm512_dpwssd_epi32((__m512i)acc[at], (__m512i)s,
                                                        (__m512i)factor[j]);
                }
            }
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++)
        UNROLL for (int j = 0; j < VECTORS; j++) {
            float *y = t->y + (p + i) * t->y_row + (v + j) * t->y_block;
            const Vector sum = __builtin_convertvector(acc[i * VECTORS + j], Vector);
            const Vector product = sum * load(t->w_scale + (v + j) * LANES) * t->x_scale[p + i];
            if (t->streams)
                stream(y, product);
            else
                store(y, t->accumulate ? load(y) + product : product);
        }
}

/* Rows of channels: a block of 16 of each. */
#define FIXED_TILE(NAME, ROWS, VECTORS)                                  \
    SHARED void NAME(const FixedTile *t)                                 \
    {                                                                    \
        IN_PARTS(fixed_part, t, ROWS, VECTORS, VECTORS, LANES / 2, 1);   \
    }
/* Rows of tiles: the channels of a block lie side by side. */
#define FIXED_WGRAD_TILE(NAME, ROWS, VECTORS)                            \
    SHARED void NAME(const FixedTile *t)                                 \
    {                                                                    \
        IN_PARTS(fixed_part, t, ROWS, VECTORS, VECTORS, 1, LANES);       \
    }

/* ---- fixed point ---- */

/* The most that an entry, and a row's norm, may be in multiples of the scale: by Cauchy and Schwarz
 * the product of two rows, and each part of it, stays below 2^31, rounding included. */
static const float FIXED_MOST = 32767, FIXED_NORM = 45000;

/* Scales of rows of `count` entries, by the sums of their squares and their largest magnitudes.
 * Squares that are too small for a float count as the smallest, so entries below about 1e-23
 * vanish. A row that is not finite, or above 1e19, has a scale that makes its products so. */
INLINE Vector fixed_scale(Vector squares, Vector most, int count)
{
    const Vector norm = (Vector)_mm512_sqrt_ps((__m512)(squares + count * 0x1p-126f)) / FIXED_NORM;
    const Vector scale = most / FIXED_MOST;
    return (Vector)_mm512_max_ps((__m512)scale, (__m512)norm); /* of a NaN, the second */
}

INLINE Vector fixed_magnitude(Vector v)
{
    return (Vector)((Mask)v & 0x7FFFFFFF);
}

INLINE Vector fixed_larger(Vector a, Vector b)
{
    return (Vector)_mm512_max_ps((__m512)a, (__m512)b);
}

INLINE __m512i fixed_round(Vector v)
{
    return _mm512_cvtps_epi32((__m512)v);
}

/* Rows of `blocks` blocks of channels to integers and their scales:
 * x[block][row][LANES] -> to[block][row][LANES / 2]. scale has room for whole vectors. */
INLINE void fixed_rows(const float *x, ptrdiff_t block, int blocks, int rows, Word *to,
                       float *scale)
{
    float most[rows + LANES];
    for (int r = 0; r < rows; r++) {
        Vector squares = {0}, top = {0};
        for (int b = 0; b < blocks; b++) {
            const Vector v = load(x + b * block + r * LANES);
            squares += v * v;
            top = fixed_larger(top, fixed_magnitude(v));
        }
        scale[r] = _mm512_reduce_add_ps((__m512)squares);
        most[r] = _mm512_reduce_max_ps((__m512)top);
    }
    for (int r = 0; r < rows; r += LANES) {
        Vector top, squares = load(scale + r);
        memcpy(&top, most + r, sizeof top);
        store(scale + r, fixed_scale(squares, top, blocks * LANES));
    }
    for (int r = 0; r < rows; r++) {
        const float times = 1 / scale[r];
        for (int b = 0; b < blocks; b++)
            _mm256_store_si256(
                (__m256i *)(to + (ptrdiff_t)(b * rows + r) * (LANES / 2)),
                _mm512_cvtsepi32_epi16(fixed_round(load(x + b * block + r * LANES) * times)));
    }
}

/* A matrix of columns: entry e of `count` in vector v of `vectors` at e x step + v x block. */
typedef struct FixedColumns {
    const float *x;
    ptrdiff_t step, block;
    int count, vectors;
} FixedColumns;

/* VECTORS vectors of columns, from vector v on. */
INLINE void fixed_column_part(const FixedColumns *c, int v, const int VECTORS, Word *to,
                              float *scale)
{
    const float *x = c->x + v * c->block;
    Vector squares[TILE_VECTORS] = {0}, most[TILE_VECTORS] = {0}, times[TILE_VECTORS];
    for (int e = 0; e < c->count; e++)
        UNROLL for (int j = 0; j < VECTORS; j++) {
            const Vector entry = load(x + e * c->step + j * c->block);
            squares[j] += entry * entry;
            most[j] = fixed_larger(most[j], fixed_magnitude(entry));
        }
    UNROLL for (int j = 0; j < VECTORS; j++) {
        const Vector u = fixed_scale(squares[j], most[j], c->count);
        store(scale + (v + j) * LANES, u);
        times[j] = 1 / u;
    }
    for (int e = 0; e < c->count; e += 2)
        UNROLL for (int j = 0; j < VECTORS; j++) {
            const float *even = x + e * c->step + j * c->block;
            const Vector odd = e + 1 < c->count ? load(even + c->step) : (Vector){0};
            const __m512i low = fixed_round(load(even) * times[j]);
            const __m512i high = _mm512_slli_epi32(fixed_round(odd * times[j]), 16);
            _mm512_store_si512(to + (ptrdiff_t)(e / 2 * c->vectors + v + j) * LANES,
                               _mm512_mask_blend_epi16(0xAAAAAAAA, low, high));
        }
}

/* Columns to pairs of integers and their scales: to[pair][vector][LANES]; of an odd count the last
 * one's second is 0. */
INLINE void fixed_columns(FixedColumns c, Word *to, float *scale)
{
    int v = 0;
    for (; v + 4 <= c.vectors; v += 4)
        fixed_column_part(&c, v, 4, to, scale);
    for (; v + 3 <= c.vectors; v += 3)
        fixed_column_part(&c, v, 3, to, scale);
    for (; v < c.vectors; v++)
        fixed_column_part(&c, v, 1, to, scale);
}

/* ---- what comes next ---- */

/* Lines of floats in memory, in equal blocks, that are made integers next: they are fetched while
 * tiles compute, part by part. */
typedef struct FixedAhead {
    const float *x;
    ptrdiff_t block;
    int blocks, lines;
} FixedAhead;

INLINE void fixed_fetch(const FixedAhead *a, int part, int parts)
{
    const int from = (int)((int64_t)a->lines * part / parts);
    const int to = (int)((int64_t)a->lines * (part + 1) / parts);
    for (int b = 0; b < a->blocks; b++)
        for (int i = from; i < to; i++)
            __builtin_prefetch(a->x + b * a->block + (ptrdiff_t)i * LANES, 0, 2);
}

/* ---- products ---- */

/* Integers at one time: rows of x, and weights of as many groups of outputs as stay in a level-2
 * cache. */
enum { FIXED_ROWS = 64, FIXED_WEIGHTS = 128 * 1024 };

/* Some rows of one frequency by some groups of outputs. */
typedef struct FixedPart {
    const float *x;
    float *y;
    ptrdiff_t block; /* of both */
    int rows, groups;
    const Word *w;
    const float *w_scale;
    FixedAhead next;
} FixedPart;

INLINE void fixed_multiply_part(const WinogradMultiply *g, const FixedMultiply *fixed,
                                const FixedPart *p)
{
    _Alignas(64) Word packed[(ptrdiff_t)g->in_blocks * p->rows * (LANES / 2)];
    _Alignas(64) float scale[p->rows + LANES];
    memset(scale, 0, sizeof scale);
    fixed_rows(p->x, p->block, g->in_blocks, p->rows, packed, scale);
    const int pixels = p->rows < g->pixels ? 1 : g->pixels, outputs = g->vectors * LANES;
    const int tiles = (p->rows + pixels - 1) / pixels;
    const ptrdiff_t group = (ptrdiff_t)g->in_blocks * (LANES / 2) * outputs;
    FixedTile t = {.x_block = (ptrdiff_t)p->rows * (LANES / 2), .y_row = LANES,
                   .y_block = p->block, .blocks = g->in_blocks, .pairs = LANES / 2, .streams = 1};
    for (int o = 0; o < p->groups; o++) {
        t.w = p->w + o * group;
        t.w_scale = p->w_scale + o * outputs;
        for (int i = 0; i < tiles; i++) {
            const int at = smaller(i * pixels, p->rows - pixels);
            t.x = packed + at * (LANES / 2);
            t.x_scale = scale + at;
            t.y = p->y + o * g->vectors * p->block + at * LANES;
            fixed_fetch(&p->next, o * tiles + i, p->groups * tiles);
            (pixels == 1 ? fixed->single : fixed->tile)(&t);
        }
    }
}

/* Groups of outputs, whose weights are `filter`, by all rows of a frequency. */
INLINE void fixed_multiply_groups(const WinogradMultiply *g, const FixedMultiply *fixed,
                                  FixedPart p, int rows, const float *filter)
{
    const int inputs = g->in_blocks * LANES, outputs = g->vectors * LANES;
    const int together = larger(FIXED_ROWS / g->pixels, 1) * g->pixels;
    const ptrdiff_t group = (ptrdiff_t)inputs * outputs;
    const float *x = p.x;
    float *y = p.y;
    _Alignas(64) Word w[p.groups * group / 2];
    _Alignas(64) float scale[p.groups * outputs];
    p.w = w;
    p.w_scale = scale;
    for (int o = 0; o < p.groups; o++)
        fixed_columns((FixedColumns){filter + o * group, outputs, LANES, inputs, g->vectors},
                      w + o * group / 2, scale + o * outputs);
    for (int row = 0; row < rows; row += together) {
        /* The last part overlaps the one before, so that it has a whole tile. */
        const int at = larger(smaller(row, rows - g->pixels), 0);
        p.rows = smaller(together, rows - at);
        p.x = x + at * LANES;
        p.y = y + at * LANES;
        p.next = (FixedAhead){p.x + p.rows * LANES, p.block, g->in_blocks,
                              smaller(together, rows - at - p.rows)};
        fixed_multiply_part(g, fixed, &p);
    }
}

/* The slice's frequencies, as winograd_multiply does. */
SHARED void fixed_multiply(const WinogradMultiply *g, const FixedMultiply *fixed, const float *x,
                           const float *filter, float *y, const NincRange *range)
{
    const int rows = range->images * g->tiles;
    const ptrdiff_t block = frequency_block(rows);
    const ptrdiff_t x_pitch = frequency_pitch(rows, g->in_blocks);
    const ptrdiff_t y_pitch = frequency_pitch(rows, g->out_blocks);
    const ptrdiff_t group = (ptrdiff_t)g->in_blocks * LANES * g->vectors * LANES;
    const int fit = (int)(FIXED_WEIGHTS / group);
    if (fit == 0) {
        winograd_multiply(g, x, filter, y, range);
        return;
    }
    const ptrdiff_t last = slice_end(range, g->frequencies);
    for (ptrdiff_t f = slice_begin(range, g->frequencies); f < last; f++) {
        for (int o = 0; o < g->groups; o += fit) {
            const FixedPart p = {.x = x + f * x_pitch,
                                 .y = y + f * y_pitch + (ptrdiff_t)o * g->vectors * block,
                                 .block = block,
                                 .groups = smaller(fit, g->groups - o)};
            fixed_multiply_groups(g, fixed, p, rows, filter + (f * g->groups + o) * group);
        }
        zero_gap(y + f * y_pitch, y_pitch);
    }
    stream_end();
}

INLINE void fixed_run(const FixedRun *g, FixedTile t)
{
    for (int i = 0; i < g->larges + g->smalls; i++) {
        const int count = g->large - (i >= g->larges);
        (i < g->larges ? g->large_tile : g->small_tile)(&t);
        t.x += count;
        t.x_scale += count;
        t.y += count * t.y_row;
    }
}

/* A strip of tiles of one frequency: x and dy where it begins, du of the frequency. */
typedef struct FixedStrip {
    const float *x, *dy;
    float *du;
    ptrdiff_t block;
    int count, next; /* tiles; of the strip behind it */
    int accumulate, streams;
} FixedStrip;

INLINE void fixed_wgrad_strip(const WinogradWgrad *g, const FixedRun *tiles, const FixedStrip *s)
{
    const int vectors = tiles->vectors, pairs = (s->count + 1) / 2;
    const ptrdiff_t square = (ptrdiff_t)LANES * vectors * LANES, words = (ptrdiff_t)pairs * LANES;
    const FixedAhead next_x = {s->x + s->count * LANES, s->block, g->in_blocks, s->next};
    _Alignas(64) Word x[g->in_blocks * words], dy[words * vectors];
    _Alignas(64) float x_scale[g->in_blocks * LANES], dy_scale[vectors * LANES];
    FixedTile t = {.w = dy, .w_scale = dy_scale, .blocks = 1, .pairs = pairs,
                   .y_row = (ptrdiff_t)vectors * LANES, .y_block = LANES,
                   .accumulate = s->accumulate, .streams = s->streams};
    for (int b = 0; b < g->in_blocks; b++)
        fixed_columns((FixedColumns){s->x + b * s->block, LANES, 0, s->count, 1}, x + b * words,
                      x_scale + b * LANES);
    for (int o = 0; o < g->groups; o++) {
        const float *from = s->dy + o * vectors * s->block;
        const FixedAhead next_dy = {from + vectors * s->block, s->block, vectors,
                                    o + 1 < g->groups ? s->count : 0};
        fixed_columns((FixedColumns){from, LANES, s->block, s->count, vectors}, dy, dy_scale);
        for (int b = 0; b < g->in_blocks; b++) {
            t.x = x + b * words;
            t.x_scale = x_scale + b * LANES;
            t.y = s->du + ((ptrdiff_t)o * g->in_blocks + b) * square;
            fixed_fetch(&next_dy, b, g->in_blocks);
            fixed_fetch(&next_x, o * g->in_blocks + b, g->groups * g->in_blocks);
            fixed_run(tiles, t);
        }
    }
}

/* The slice's frequencies, as winograd_wgrad does. */
SHARED void fixed_wgrad(const WinogradWgrad *g, const FixedWgrad *fixed, const float *x,
                        const float *dy, float *du, const NincRange *range)
{
    const int rows = range->images * g->rows, strip = fixed->strip;
    const ptrdiff_t x_pitch = frequency_pitch(rows, g->in_blocks);
    const ptrdiff_t dy_pitch = frequency_pitch(rows, g->out_blocks);
    const ptrdiff_t square = (ptrdiff_t)LANES * fixed->tiles.vectors * LANES;
    const ptrdiff_t last = slice_end(range, g->frequencies);
    for (ptrdiff_t f = slice_begin(range, g->frequencies); f < last; f++)
        for (int row = 0; row < rows; row += strip) {
            const int count = smaller(strip, rows - row);
            const FixedStrip s = {.x = x + f * x_pitch + (ptrdiff_t)row * LANES,
                                  .dy = dy + f * dy_pitch + (ptrdiff_t)row * LANES,
                                  .du = du + f * g->groups * g->in_blocks * square,
                                  .block = frequency_block(rows),
                                  .count = count,
                                  .next = smaller(strip, rows - row - count),
                                  .accumulate = range->accumulate || row > 0,
                                  .streams = !range->accumulate && rows <= strip};
            fixed_wgrad_strip(g, &fixed->tiles, &s);
        }
    stream_end();
}
#else
/* Named in tables, but never called. */
#define FIXED_TILE(NAME, ROWS, VECTORS) \
    SHARED void NAME(const FixedTile *t) { (void)t; }
#define FIXED_WGRAD_TILE(NAME, ROWS, VECTORS) \
    SHARED void NAME(const FixedTile *t) { (void)t; }

INLINE void fixed_multiply(const WinogradMultiply *g, const FixedMultiply *fixed, const float *x,
                           const float *filter, float *y, const NincRange *range)
{
    (void)fixed;
    winograd_multiply(g, x, filter, y, range);
}

INLINE void fixed_wgrad(const WinogradWgrad *g, const FixedWgrad *fixed, const float *x,
                        const float *dy, float *du, const NincRange *range)
{
    (void)fixed;
    winograd_wgrad(g, x, dy, du, range);
}
#endif
