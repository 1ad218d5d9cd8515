/* Gradients of filters and biases: sums over pixels and images. A filter's is a product of x,
 * transposed, and dy. With NINC_BF16 the tiles multiply pairs of pixels, which are packed strip by
 * strip; else they read the maps in place. */

/* ---- register tiles ---- */

typedef struct WgradTile {
    const void *x, *dy;        /* words */
    float *dw;
    ptrdiff_t x_row, x_step;   /* words from row to row, from pixel (pair) to pixel */
    ptrdiff_t dy_row, dy_step, dy_block;
    int rows, width;           /* in pixels or pairs */
    int accumulate;
    /* What the next run meets of x, as it lies in its map, or NULL: it is fetched meanwhile. Bytes
     * from row to row, from pixel (pair) to pixel. */
    const void *next;
    ptrdiff_t next_row, next_step;
} WgradTile;

typedef void WgradTileFn(const WgradTile *t);

/* COUNT entries of the run x VECTORS blocks of output channels, from entry i and vector v on;
 * the reduction runs over all pixels. */
INLINE void wgrad_part(const WgradTile *t, int i, const int COUNT, int v, const int VECTORS,
                       const int FILTER_VECTORS, const int PAIRS)
{
    Vector acc[TILE_ACCUMULATORS];
    float *dw = t->dw + ((ptrdiff_t)i * FILTER_VECTORS + v) * LANES;
    UNROLL for (int k = 0; k < COUNT; k++)
        UNROLL for (int j = 0; j < VECTORS * PARTS; j++)
            acc[k * VECTORS * PARTS + j] =
                t->accumulate ? load(dw + k * FILTER_VECTORS * LANES + j * LANES_A_PART)
                              : (Vector){0};
    for (int row = 0; row < t->rows; row++) {
        const Word *x = (const Word *)t->x + row * t->x_row + i;
        const Word *dy = (const Word *)t->dy + row * t->dy_row + v * t->dy_block;
        const char *next = (const char *)t->next + row * t->next_row;
        for (int p = t->width; p > 0; p--, x += t->x_step, dy += t->dy_step, next += t->next_step) {
            __builtin_prefetch(next, 0, 2);
            Words d[TILE_VECTORS * PARTS];
            UNROLL for (int j = 0; j < VECTORS * PARTS; j++)
                d[j] = *(const Words *)(dy + j / PARTS * t->dy_block + j % PARTS * LANES_A_PART);
            UNROLL for (int k = 0; k < COUNT; k++) {
                const Words s = (Words){0} + x[k];
                UNROLL for (int j = 0; j < VECTORS * PARTS; j++) {
                    const int at = k * VECTORS * PARTS + j;
                    acc[at] = PAIRS ? multiply_add(acc[at], (Factors)s, (Factors)d[j])
                                    : acc[at] + (Vector)s * (Vector)d[j];
                }
            }
        }
    }
    UNROLL for (int k = 0; k < COUNT; k++)
        UNROLL for (int j = 0; j < VECTORS * PARTS; j++)
            store(dw + k * FILTER_VECTORS * LANES + j * LANES_A_PART,
                  acc[k * VECTORS * PARTS + j]);
}

#define WGRAD_TILE(NAME, COUNT, VECTORS) \
    SHARED void NAME(const WgradTile *t) { IN_PARTS(wgrad_part, t, COUNT, VECTORS, VECTORS, 0); }
#define WGRAD_PAIRS(NAME, COUNT, VECTORS) \
    SHARED void NAME(const WgradTile *t) { IN_PARTS(wgrad_part, t, COUNT, VECTORS, VECTORS, 1); }

/* The tiles of a run of entries: larges x large, then smalls x (large - 1). */
typedef struct WgradRun {
    WgradTileFn *large_tile, *small_tile;
    int large, larges, smalls, vectors;
} WgradRun;

INLINE void wgrad_run(const WgradRun *g, WgradTile t)
{
    if (!t.next) { /* where there is nothing to fetch, what is here already */
        t.next = t.x;
        t.next_row = t.next_step = 0;
    }
    for (int i = 0; i < g->larges + g->smalls; i++) {
        const int count = g->large - (i >= g->larges);
        (i < g->larges ? g->large_tile : g->small_tile)(&t);
        t.x = (const Word *)t.x + count;
        t.dw += (ptrdiff_t)count * g->vectors * LANES;
    }
}

/* ---- filters ---- */

typedef struct Wgrad {
    int in_blocks, kernel_h, run, groups, vectors;
    int stride_h, padding_h, height, width; /* of dy */
    int strip, columns; /* rows and columns of dy that stay in a level-1 cache */
    ptrdiff_t step, padding, dy_step; /* elements; steps from pixel to pixel */
    WgradRun tiles;
} Wgrad;

/* A unit of work: an output group, an input block and a filter row. */
typedef struct WgradUnit {
    ptrdiff_t group, b;
    int k;
} WgradUnit;

INLINE ptrdiff_t wgrad_units(const Wgrad *g)
{
    return (ptrdiff_t)g->groups * g->in_blocks * g->kernel_h;
}

/* Elements of the gradient that one unit sums. */
INLINE ptrdiff_t wgrad_line(const Wgrad *g)
{
    return (ptrdiff_t)g->run * g->vectors * LANES;
}

INLINE WgradUnit wgrad_unit(const Wgrad *g, ptrdiff_t u)
{
    const WgradUnit unit = {u / g->kernel_h / g->in_blocks, u / g->kernel_h % g->in_blocks,
                            (int)(u % g->kernel_h)};
    return unit;
}

/* What is summed: rows row0 to row1 - 1 of dy, added or with accumulate = 0 stored, of units unit0
 * to unit1 - 1 of the gradient; dw is that of unit0. */
typedef struct WgradSum {
    float *dw;
    int accumulate;
    ptrdiff_t unit0, unit1;
    int row0, row1;
} WgradSum;

/* What unit u meets of x where row `row` of dy begins, and of dy. */
INLINE const Element *wgrad_x(const Wgrad *g, Map x, WgradUnit u, int row)
{
    return map_row(x, row * g->stride_h - g->padding_h + u.k) + u.b * x.block - g->padding;
}

INLINE const Element *wgrad_dy(const Wgrad *g, Map dy, WgradUnit u, int row)
{
    return map_row(dy, row) + u.group * g->vectors * dy.block;
}

/* Bytes of x between what neighbouring rows of dy meet, and between what neighbouring pixels do. */
INLINE ptrdiff_t wgrad_row_bytes(const Wgrad *g, Map x)
{
    return x.row * g->stride_h * (ptrdiff_t)sizeof(Element);
}

INLINE ptrdiff_t wgrad_step_bytes(const Wgrad *g)
{
    return g->step * (ptrdiff_t)sizeof(Element);
}

/* Whether the rows of a strip follow one another without a gap, so that they are one long row. */
INLINE bool wgrad_runs_on(const Wgrad *g, Map x, Map dy)
{
    return x.row * g->stride_h == g->width * g->step && dy.row == g->width * g->dy_step;
}

#ifdef NINC_BF16
/* LANES channels of two pixels; `odd` may be NULL, for a pixel that is not there. */
INLINE void pack_block(const Element *even, const Element *odd, Word *to)
{
    for (int j = 0; j < LANES; j += LANES_A_PART) {
        Elements low, high = {0}; /* a thin image's pixels are not aligned */
        memcpy(&low, even + j, sizeof low);
        if (odd)
            memcpy(&high, odd + j, sizeof high);
        *(Words *)(to + j) = (Words)widen_halves(low) | (Words)widen_halves(high) << 16;
    }
}

/* LANES channels of each two of `pixels` pixels, x_step elements apart, to pairs to_step words
 * apart; of an odd count the last one is beside 0. */
INLINE void pack_pairs(const Element *x, ptrdiff_t x_step, int pixels, Word *to, ptrdiff_t to_step)
{
    int p = 0;
#ifdef __AVX512BW__
    if (PARTS == 1 && x_step == LANES) {
        static const _Alignas(64) uint16_t order[] = {
            0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
            8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
        const __m512i pairs = _mm512_load_si512(order);
        for (; p + 1 < pixels; p += 2, x += 2 * LANES, to += to_step)
            _mm512_store_si512(to, _mm512_permutexvar_epi16(pairs, _mm512_loadu_si512(x)));
    }
#endif
    for (; p < pixels; p += 2, x += 2 * x_step, to += to_step)
        pack_block(x, p + 1 < pixels ? x + x_step : NULL, to);
}

/* to[i] = (x[i], x[i + step]), the latter 0 past the end. */
INLINE void pack_shifted(const Element *x, ptrdiff_t count, ptrdiff_t step, Word *to)
{
    ptrdiff_t i = 0;
    for (; i < count - step; i++)
        to[i] = x[i] | (Word)x[i + step] << 16;
    for (; i < count; i++)
        to[i] = x[i];
}

/* Words from pair to pair, and of a row of `pixels`. Taps of one row of x that overlap are shifts
 * of one packed row, which has a word for each pixel and the next one. */
INLINE ptrdiff_t packed_step(const Wgrad *g)
{
    return g->run > g->step ? 2 * g->step : g->run;
}

INLINE ptrdiff_t packed_row(const Wgrad *g, int pixels)
{
    const ptrdiff_t words = g->run > g->step ? (pixels - 1) * g->step + g->run
                                             : (ptrdiff_t)(pixels + 1) / 2 * g->run;
    return (words + LANES - 1) / LANES * LANES;
}

INLINE void pack_x(const Wgrad *g, const Element *x, int pixels, Word *to)
{
    if (g->run > g->step) {
        pack_shifted(x, (pixels - 1) * g->step + g->run, g->step, to);
        return;
    }
    if (g->run == LANES) {
        pack_pairs(x, g->step, pixels, to, LANES);
        return;
    }
    for (int p = 0; p < pixels; p += 2, to += g->run) {
        const Element *even = x + p * g->step, *odd = p + 1 < pixels ? even + g->step : NULL;
        for (int i = 0; i < g->run; i++)
            to[i] = even[i] | (odd ? (Word)odd[i] << 16 : 0);
    }
}

INLINE void pack_dy(const Wgrad *g, const Element *dy, ptrdiff_t block, int pixels, Word *to)
{
    for (int v = 0; v < g->vectors; v++)
        pack_pairs(dy + v * block, g->dy_step, pixels, to + v * LANES,
                   (ptrdiff_t)g->vectors * LANES);
}

/* Rows of dy, `pixels` of each from `column` on. */
typedef struct WgradPiece {
    const WgradSum *sum;
    Map x, dy;
    int row, rows, column, pixels;
} WgradPiece;

/* What a unit meets of x where row r of the piece begins. */
INLINE const Element *piece_x(const Wgrad *g, const WgradPiece *p, WgradUnit unit, int r)
{
    return wgrad_x(g, p->x, unit, p->row + r) + p->column * g->step;
}

INLINE void pack_x_rows(const Wgrad *g, const WgradPiece *p, WgradUnit unit, ptrdiff_t pitch,
                        Word *to)
{
    for (int r = 0; r < p->rows; r++)
        pack_x(g, piece_x(g, p, unit, r), p->pixels, to + r * pitch);
}

INLINE void pack_dy_rows(const Wgrad *g, const WgradPiece *p, WgradUnit unit, ptrdiff_t pitch,
                         Word *to)
{
    for (int r = 0; r < p->rows; r++)
        pack_dy(g, wgrad_dy(g, p->dy, unit, p->row + r) + p->column * g->dy_step, p->dy.block,
                p->pixels, to + r * pitch);
}

/* What is packed of x at one time, at least of one unit: about what stays in a level-2 cache. */
enum { PACKED_WORDS = 48 * 1024 };

/* The part of a piece that meets inputs first to last - 1 of each group of outputs (input blocks x
 * filter rows): x is packed once for all groups. */
SHARED void wgrad_inputs(const Wgrad *g, const WgradPiece *p, WgradTile t, ptrdiff_t first,
                         ptrdiff_t last)
{
    const ptrdiff_t inputs = (ptrdiff_t)g->in_blocks * g->kernel_h, size = p->rows * t.x_row;
    const ptrdiff_t line = wgrad_line(g);
    _Alignas(64) Word packed_x[(last - first) * size], packed_dy[p->rows * t.dy_row];
    const WgradSum *s = p->sum;
    bool packed[last - first];
    memset(packed, 0, sizeof packed);
    t.dy = packed_dy;
    for (ptrdiff_t group = s->unit0 / inputs; group * inputs < s->unit1; group++) {
        const ptrdiff_t from = group * inputs + first, to = group * inputs + last;
        const ptrdiff_t begin = from > s->unit0 ? from : s->unit0;
        const ptrdiff_t end = to < s->unit1 ? to : s->unit1;
        if (begin < end)
            pack_dy_rows(g, p, wgrad_unit(g, begin), t.dy_row, packed_dy);
        for (ptrdiff_t u = begin; u < end; u++) {
            Word *x = packed_x + (u - from) * size;
            if (!packed[u - from])
                pack_x_rows(g, p, wgrad_unit(g, u), t.x_row, x);
            packed[u - from] = true;
            t.x = x;
            const bool packs_next = u + 1 < end && !packed[u + 1 - from];
            t.next = packs_next ? piece_x(g, p, wgrad_unit(g, u + 1), 0) : NULL;
            t.dw = s->dw + (u - s->unit0) * line;
            wgrad_run(&g->tiles, t);
        }
    }
}

INLINE void wgrad_piece(const Wgrad *g, const WgradPiece *p, int accumulate)
{
    const ptrdiff_t inputs = (ptrdiff_t)g->in_blocks * g->kernel_h;
    WgradTile t = {.x_row = packed_row(g, p->pixels), .x_step = packed_step(g),
                   .dy_step = (ptrdiff_t)g->vectors * LANES, .dy_block = LANES,
                   .rows = p->rows, .width = (p->pixels + 1) / 2, .accumulate = accumulate,
                   .next_row = wgrad_row_bytes(g, p->x), .next_step = 2 * wgrad_step_bytes(g)};
    t.dy_row = t.width * t.dy_step;
    const int fit = smaller(larger((int)(PACKED_WORDS / (p->rows * t.x_row)), 1), (int)inputs);
    for (ptrdiff_t first = 0; first < inputs; first += fit)
        wgrad_inputs(g, p, t, first, first + fit < inputs ? first + fit : inputs);
}

SHARED void wgrad_sum(const Wgrad *g, Map x, Map dy, const WgradSum *s)
{
    const bool runs_on = wgrad_runs_on(g, x, dy);
    for (int row = s->row0; row < s->row1; row += g->strip) {
        const int rows = smaller(g->strip, s->row1 - row);
        const int width = runs_on ? rows * g->width : g->width;
        const int columns = rows > 1 && runs_on ? width : g->columns;
        for (int column = 0; column < width; column += columns) {
            const WgradPiece p = {s, x, dy, row, runs_on ? 1 : rows, column,
                                  smaller(columns, width - column)};
            wgrad_piece(g, &p, s->accumulate || row > s->row0 || column > 0);
        }
    }
}
#else
INLINE void wgrad_sum(const Wgrad *g, Map x, Map dy, const WgradSum *s)
{
    const ptrdiff_t line = wgrad_line(g);
    const bool runs_on = wgrad_runs_on(g, x, dy);
    WgradTile t = {.x_row = x.row * g->stride_h, .x_step = g->step, .dy_row = dy.row,
                   .dy_step = g->dy_step, .dy_block = dy.block, .next_row = wgrad_row_bytes(g, x),
                   .next_step = wgrad_step_bytes(g)};
    for (int row = s->row0; row < s->row1; row += g->strip) {
        const int rows = smaller(g->strip, s->row1 - row);
        t.rows = runs_on ? 1 : rows;
        t.width = runs_on ? rows * g->width : g->width;
        t.accumulate = s->accumulate || row > s->row0;
        for (ptrdiff_t u = s->unit0; u < s->unit1; u++) {
            const WgradUnit unit = wgrad_unit(g, u);
            t.x = wgrad_x(g, x, unit, row);
            t.next = u + 1 < s->unit1 ? wgrad_x(g, x, wgrad_unit(g, u + 1), row) : NULL;
            t.dy = wgrad_dy(g, dy, unit, row);
            t.dw = s->dw + (u - s->unit0) * line;
            wgrad_run(&g->tiles, t);
        }
    }
}
#endif

/* One image, the slice's part of the units. */
SHARED void wgrad_image(const Wgrad *g, Map x, Map dy, float *dw, int accumulate,
                        const NincRange *range)
{
    const ptrdiff_t units = wgrad_units(g), first = slice_begin(range, units);
    const WgradSum sum = {dw + first * wgrad_line(g), accumulate, first, slice_end(range, units),
                          0, g->height};
    wgrad_sum(g, x, dy, &sum);
}

/* Rows row0 to row1 - 1, added. */
SHARED void wgrad_rows(const Wgrad *g, Map x, Map dy, float *dw, int row0, int row1)
{
    const WgradSum sum = {dw, 1, 0, wgrad_units(g), row0, row1};
    wgrad_sum(g, x, dy, &sum);
}

/* ---- biases ---- */

/* Blocks at one time: four vectors, whose chains of additions run side by side. */
enum { BIAS_BLOCKS = 4 / PARTS };

INLINE void bias_grad_part(Map dy, float *db, const int COUNT, int width, int accumulate, int row0,
                           int row1)
{
    Vector sum[BIAS_BLOCKS * PARTS];
    UNROLL for (int i = 0; i < COUNT * PARTS; i++)
        sum[i] = accumulate ? load(db + i * LANES_A_PART) : (Vector){0};
    for (int row = row0; row < row1; row++) {
        const Element *p = map_row(dy, row);
        for (int w = 0; w < width; w++, p += LANES)
            UNROLL for (int i = 0; i < COUNT * PARTS; i++)
                sum[i] += load_map(p + i / PARTS * dy.block + i % PARTS * LANES_A_PART);
    }
    UNROLL for (int i = 0; i < COUNT * PARTS; i++)
        store(db + i * LANES_A_PART, sum[i]);
}

/* Bias gradient: the sum of rows row0 to row1 - 1 of dy for channel blocks block0 to block1 - 1. */
INLINE void bias_grad_blocks(Map dy, float *db, ptrdiff_t block0, ptrdiff_t block1, int width,
                             int accumulate, int row0, int row1)
{
    db += block0 * LANES;
    dy.data += block0 * dy.block;
    int left = (int)(block1 - block0);
    for (; left >= BIAS_BLOCKS; left -= BIAS_BLOCKS) {
        bias_grad_part(dy, db, BIAS_BLOCKS, width, accumulate, row0, row1);
        db += BIAS_BLOCKS * LANES;
        dy.data += BIAS_BLOCKS * dy.block;
    }
    for (; left > 0; left--) {
        bias_grad_part(dy, db, 1, width, accumulate, row0, row1);
        db += LANES;
        dy.data += dy.block;
    }
}

/* One image, the slice's part of the channel blocks. */
SHARED void bias_grad_image(Map dy, float *db, int blocks, int height, int width, int accumulate,
                            const NincRange *range)
{
    bias_grad_blocks(dy, db, slice_begin(range, blocks), slice_end(range, blocks), width,
                     accumulate, 0, height);
}

/* Rows row0 to row1 - 1, added. */
SHARED void bias_grad_rows(Map dy, float *db, int blocks, int width, int row0, int row1)
{
    bias_grad_blocks(dy, db, 0, blocks, width, 1, row0, row1);
}
