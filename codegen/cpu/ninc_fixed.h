/* Winograd products between bf16 maps in 16-bit fixed point: pairs of integers are multiplied at
 * twice the rate of floats, and sums are exact. Each row that is multiplied (the inputs of a tile,
 * the weights of an output, for a weight gradient a channel of a strip of tiles) has a unit of its
 * own, of which its entries are multiples. Rounding to it costs about what rounding the map or the
 * filter to bf16 does; bf16 itself would be too coarse for frequencies, whose errors the transform
 * of the output magnifies. Takes AVX-512 VNNI, as every CPU with AVX-512 BF16 has it; else the
 * products are of floats. */

/* ---- register tiles ---- */

/* Rows of x, pairs of integers, by outputs of w; `pairs` of each block. */
typedef struct FixedTile {
    const Word *x, *w;            /* w: [block][pair][vector][LANES] */
    const float *x_unit, *w_unit; /* by row; by output */
    float *y;
    ptrdiff_t x_block, y_row, y_block;
    int blocks, pairs;
    int accumulate;
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
            const Vector product = sum * load(t->w_unit + (v + j) * LANES) * t->x_unit[p + i];
            if (t->accumulate) store(y, load(y) + product); else stream(y, product);
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

/* The most that an entry, and a row by its norm, may be in units: by Cauchy and Schwarz the product
 * of two rows, and each part of it, stays below 2^31, rounding included. */
static const float FIXED_MOST = 32767, FIXED_NORM = 45000;

/* Units of rows of `count` entries, by the sums of their squares and their largest magnitudes.
 * Squares that are too small for a float count as the smallest; entries below 1e-22 vanish. A row
 * that is not finite, or above 1e19, has a unit that makes all of its products so. */
INLINE Vector fixed_unit(Vector squares, Vector most, int count)
{
    const Vector norm = (Vector)_mm512_sqrt_ps((__m512)(squares + count * 0x1p-126f)) / FIXED_NORM;
    const Vector unit = most / FIXED_MOST;
    return (Vector)_mm512_max_ps((__m512)unit, (__m512)norm); /* of a NaN, the second */
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

/* Rows of `blocks` blocks of channels to integers and their units:
 * x[block][row][LANES] -> to[block][row][LANES / 2]. unit has room for whole vectors. */
INLINE void fixed_rows(const float *x, ptrdiff_t block, int blocks, int rows, Word *to, float *unit)
{
    float most[rows + LANES];
    for (int r = 0; r < rows; r++) {
        Vector squares = {0}, top = {0};
        for (int b = 0; b < blocks; b++) {
            const Vector v = load(x + b * block + r * LANES);
            squares += v * v;
            top = fixed_larger(top, fixed_magnitude(v));
        }
        unit[r] = _mm512_reduce_add_ps((__m512)squares);
        most[r] = _mm512_reduce_max_ps((__m512)top);
    }
    for (int r = 0; r < rows; r += LANES) {
        Vector top, squares = load(unit + r);
        memcpy(&top, most + r, sizeof top);
        store(unit + r, fixed_unit(squares, top, blocks * LANES));
    }
    for (int r = 0; r < rows; r++) {
        const float times = 1 / unit[r];
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
                              float *unit)
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
        const Vector u = fixed_unit(squares[j], most[j], c->count);
        store(unit + (v + j) * LANES, u);
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

/* Columns to pairs of integers and their units: to[pair][vector][LANES]; of an odd count the last
 * one's second is 0. */
INLINE void fixed_columns(FixedColumns c, Word *to, float *unit)
{
    int v = 0;
    for (; v + 4 <= c.vectors; v += 4)
        fixed_column_part(&c, v, 4, to, unit);
    for (; v + 3 <= c.vectors; v += 3)
        fixed_column_part(&c, v, 3, to, unit);
    for (; v < c.vectors; v++)
        fixed_column_part(&c, v, 1, to, unit);
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

/* Rows by groups of outputs, of one frequency. */
typedef struct FixedRows {
    const float *x;
    float *y;
    ptrdiff_t block; /* of both */
    int rows, groups;
    const Word *w;
    const float *w_unit;
    FixedAhead next_x, next_w;
} FixedRows;

INLINE void fixed_multiply_rows(const WinogradMultiply *g, const FixedMultiply *fixed,
                                const FixedRows *r)
{
    _Alignas(64) Word packed[(ptrdiff_t)g->in_blocks * r->rows * (LANES / 2)];
    _Alignas(64) float unit[r->rows + LANES];
    memset(unit, 0, sizeof unit);
    fixed_rows(r->x, r->block, g->in_blocks, r->rows, packed, unit);
    const int pixels = r->rows < g->pixels ? 1 : g->pixels, outputs = g->vectors * LANES;
    const int tiles = (r->rows + pixels - 1) / pixels;
    const ptrdiff_t group = (ptrdiff_t)g->in_blocks * (LANES / 2) * outputs;
    FixedTile t = {.x_block = (ptrdiff_t)r->rows * (LANES / 2), .y_row = LANES,
                   .y_block = r->block, .blocks = g->in_blocks, .pairs = LANES / 2};
    for (int o = 0; o < r->groups; o++) {
        t.w = r->w + o * group;
        t.w_unit = r->w_unit + o * outputs;
        for (int i = 0; i < tiles; i++) {
            const int at = smaller(i * pixels, r->rows - pixels);
            t.x = packed + at * (LANES / 2);
            t.x_unit = unit + at;
            t.y = r->y + o * g->vectors * r->block + at * LANES;
            fixed_fetch(&r->next_x, o * tiles + i, r->groups * tiles);
            fixed_fetch(&r->next_w, o * tiles + i, r->groups * tiles);
            (pixels == 1 ? fixed->single : fixed->tile)(&t);
        }
    }
}

/* The slice's frequencies, as winograd_multiply does. */
SHARED void fixed_multiply(const WinogradMultiply *g, const FixedMultiply *fixed, const float *x,
                           const float *filter, float *y, const NincRange *range)
{
    const int rows = range->images * g->tiles, inputs = g->in_blocks * LANES;
    const int outputs = g->vectors * LANES;
    const ptrdiff_t block = frequency_block(rows), group = (ptrdiff_t)inputs * outputs;
    const ptrdiff_t x_pitch = frequency_pitch(rows, g->in_blocks);
    const ptrdiff_t y_pitch = frequency_pitch(rows, g->out_blocks);
    const int fit = smaller(larger((int)(FIXED_WEIGHTS / group), 1), g->groups);
    const int together = larger(FIXED_ROWS / g->pixels, 1) * g->pixels;
    const int parts = (rows + together - 1) / together;
    _Alignas(64) Word w[fit * group / 2];
    _Alignas(64) float unit[fit * outputs];
    FixedRows r = {.block = block, .w = w, .w_unit = unit};
    const ptrdiff_t last = slice_end(range, g->frequencies);
    for (ptrdiff_t f = slice_begin(range, g->frequencies); f < last; f++) {
        for (int first = 0; first < g->groups; first += fit) {
            const float *weights = filter + (f * g->groups + first) * group;
            r.groups = smaller(fit, g->groups - first);
            for (int o = 0; o < r.groups; o++)
                fixed_columns((FixedColumns){weights + o * group, outputs, LANES, inputs,
                                             g->vectors},
                              w + o * group / 2, unit + o * outputs);
            const int lines = f + 1 < last ? (int)(r.groups * group / LANES) : 0;
            for (int part = 0; part < parts; part++) {
                /* The last part overlaps the one before, so that a whole tile fits. */
                const int at = larger(smaller(part * together, rows - g->pixels), 0);
                r.rows = smaller(together, rows - at);
                r.x = x + f * x_pitch + at * LANES;
                r.y = y + f * y_pitch + first * g->vectors * block + at * LANES;
                r.next_x = (FixedAhead){r.x + (ptrdiff_t)r.rows * LANES, block, g->in_blocks,
                                        smaller(together, rows - at - r.rows)};
                if (part + 1 == parts && f + 1 < last)
                    r.next_x = (FixedAhead){x + (f + 1) * x_pitch, block, g->in_blocks,
                                            smaller(together, rows)};
                r.next_w = (FixedAhead){
                    weights + r.groups * group + (ptrdiff_t)(lines / parts) * part * LANES, 0, 1,
                    lines / parts};
                fixed_multiply_rows(g, fixed, &r);
            }
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
        t.x_unit += count;
        t.y += count * t.y_row;
    }
}

/* A strip of tiles of one frequency: x and dy where it begins, du of the frequency. */
typedef struct FixedStrip {
    const float *x, *dy;
    float *du;
    ptrdiff_t block;
    int count, accumulate;
    FixedAhead next_x, next_dy;
} FixedStrip;

INLINE void fixed_wgrad_strip(const WinogradWgrad *g, const FixedRun *tiles, const FixedStrip *s)
{
    const int vectors = tiles->vectors, pairs = (s->count + 1) / 2;
    const ptrdiff_t square = (ptrdiff_t)LANES * vectors * LANES, words = (ptrdiff_t)pairs * LANES;
    _Alignas(64) Word x[g->in_blocks * words], dy[words * vectors];
    _Alignas(64) float x_unit[g->in_blocks * LANES], dy_unit[vectors * LANES];
    FixedTile t = {.w = dy, .w_unit = dy_unit, .blocks = 1, .pairs = pairs,
                   .y_row = (ptrdiff_t)vectors * LANES, .y_block = LANES,
                   .accumulate = s->accumulate};
    for (int b = 0; b < g->in_blocks; b++)
        fixed_columns((FixedColumns){s->x + b * s->block, LANES, 0, s->count, 1}, x + b * words,
                      x_unit + b * LANES);
    for (int o = 0; o < g->groups; o++) {
        const float *from = s->dy + o * vectors * s->block;
        const FixedAhead next_dy = {from + vectors * s->block, s->block, vectors, s->count};
        fixed_columns((FixedColumns){from, LANES, s->block, s->count, vectors}, dy, dy_unit);
        for (int b = 0; b < g->in_blocks; b++) {
            t.x = x + b * words;
            t.x_unit = x_unit + b * LANES;
            t.y = s->du + ((ptrdiff_t)o * g->in_blocks + b) * square;
            fixed_fetch(o + 1 < g->groups ? &next_dy : &s->next_dy, b, g->in_blocks);
            fixed_fetch(&s->next_x, o * g->in_blocks + b, g->groups * g->in_blocks);
            fixed_run(tiles, t);
        }
    }
}

/* The slice's frequencies, as winograd_wgrad does. */
SHARED void fixed_wgrad(const WinogradWgrad *g, const FixedWgrad *fixed, const float *x,
                        const float *dy, float *du, const NincRange *range)
{
    const int rows = range->images * g->rows, vectors = fixed->tiles.vectors;
    const ptrdiff_t block = frequency_block(rows);
    const ptrdiff_t x_pitch = frequency_pitch(rows, g->in_blocks);
    const ptrdiff_t dy_pitch = frequency_pitch(rows, g->out_blocks);
    const ptrdiff_t square = (ptrdiff_t)LANES * vectors * LANES;
    const ptrdiff_t last = slice_end(range, g->frequencies);
    for (ptrdiff_t f = slice_begin(range, g->frequencies); f < last; f++)
        for (int row = 0; row < rows; row += fixed->strip) {
            const bool ends = row + fixed->strip >= rows;
            const ptrdiff_t next_f = f + ends, next_row = ends ? 0 : row + fixed->strip;
            const int next = next_f < last ? smaller(fixed->strip, rows - (int)next_row) : 0;
            const FixedStrip s = {
                .x = x + f * x_pitch + (ptrdiff_t)row * LANES,
                .dy = dy + f * dy_pitch + (ptrdiff_t)row * LANES,
                .du = du + f * g->groups * g->in_blocks * square,
                .block = block,
                .count = smaller(fixed->strip, rows - row),
                .accumulate = range->accumulate || row > 0,
                .next_x = {x + next_f * x_pitch + next_row * LANES, block, g->in_blocks, next},
                .next_dy = {dy + next_f * dy_pitch + next_row * LANES, block, vectors, next}};
            fixed_wgrad_strip(g, &fixed->tiles, &s);
        }
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
