/* Winograd convolution (Lavin & Gray, arXiv 1509.09308) on blocked maps. The transformed maps lie
 * by frequency, [frequency][block of 16 channels][image][tile][16], so that each frequency is one
 * product of a tall matrix, the tiles of all images of the chunk, and a small one, in register
 * tiles of floats, also between bf16 maps, where those are not in fixed point (ninc_fixed.h). */

/* Y = M X M^T for 16 channels: X is IN x IN vectors x_row and x_col elements apart, Y is OUT x OUT
 * likewise, written by STORE: frequencies go past the caches, since whoever reads them reads those
 * of all tiles; M is the OUT x IN table. Its zeros cost nothing: all is unrolled. */
#define WINOGRAD_TRANSFORM(NAME, TABLE, OUT, IN, TYPE, LOAD, STORE)                                \
    SHARED void NAME(const TYPE *x, ptrdiff_t x_row, ptrdiff_t x_col, float *y, ptrdiff_t y_row,   \
                     ptrdiff_t y_col)                                                              \
    {                                                                                              \
        for (int part = 0; part < LANES; part += LANES_A_PART) {                                   \
            Vector half[OUT][IN];                                                                  \
            for (int c = 0; c < IN; c++) {                                                         \
                Vector in[IN];                                                                     \
                UNROLL for (int k = 0; k < IN; k++)                                                \
                    in[k] = LOAD(x + part + k * x_row + c * x_col);                                \
                UNROLL for (int r = 0; r < OUT; r++) {                                             \
                    Vector sum = {0};                                                              \
                    UNROLL for (int k = 0; k < IN; k++)                                            \
                        if (TABLE[r][k] != 0)                                                      \
                            sum += in[k] * TABLE[r][k];                                            \
                    half[r][c] = sum;                                                              \
                }                                                                                  \
            }                                                                                      \
            for (int r = 0; r < OUT; r++)                                                          \
                UNROLL for (int c = 0; c < OUT; c++) {                                             \
                    Vector sum = {0};                                                              \
                    UNROLL for (int k = 0; k < IN; k++)                                            \
                        if (TABLE[c][k] != 0)                                                      \
                            sum += half[r][k] * TABLE[c][k];                                       \
                    STORE(y + part + r * y_row + c * y_col, sum);                                  \
                }                                                                                  \
        }                                                                                          \
    }

typedef void WinogradFn(const float *x, ptrdiff_t x_row, ptrdiff_t x_col, float *y,
                        ptrdiff_t y_row, ptrdiff_t y_col);
typedef void WinogradMapFn(const Element *x, ptrdiff_t x_row, ptrdiff_t x_col, float *y,
                           ptrdiff_t y_row, ptrdiff_t y_col);

enum { WINOGRAD_MOST_TILE = 6 };

/* A map and its tiles. */
typedef struct WinogradMap {
    WinogradMapFn *from_map; /* to frequencies, or else */
    WinogradFn *to_map;
    int tile, size; /* outputs of a tile and, with the kernel's reach, inputs, by axis */
    int tile_rows, tile_columns, blocks;
    int height, width;         /* of the convolution's output */
    int padding_h, padding_w;  /* where the first tile starts before the map */
} WinogradMap;

/* From block to block of a transformed map of so many tiles in all images. */
INLINE ptrdiff_t frequency_block(ptrdiff_t tiles)
{
    return tiles * LANES;
}

/* From frequency to frequency: a gap of zeros keeps them apart in the sets of a cache. */
INLINE ptrdiff_t frequency_pitch(ptrdiff_t tiles, int blocks)
{
    return blocks * frequency_block(tiles) + LANES;
}

INLINE void zero_gap(float *frequency, ptrdiff_t pitch)
{
    memset(frequency + pitch - LANES, 0, LANES * sizeof(float));
}

INLINE ptrdiff_t all_tiles(const WinogradMap *g, int images)
{
    return (ptrdiff_t)images * g->tile_rows * g->tile_columns;
}

/* One row of tiles of image n: map x to frequencies y (of all images of the chunk). */
SHARED void winograd_input_row(const WinogradMap *g, Map x, float *y, ptrdiff_t n, int tile_row,
                               const NincRange *range)
{
    const ptrdiff_t tiles = all_tiles(g, range->images), block = frequency_block(tiles);
    const ptrdiff_t frequency = frequency_pitch(tiles, g->blocks);
    const int first = (int)n * g->tile_rows * g->tile_columns + tile_row * g->tile_columns;
    for (int b = 0; b < g->blocks; b++) {
        const Element *from = map_row(x, tile_row * g->tile - g->padding_h) + b * x.block -
                            g->padding_w * LANES;
        float *to = y + b * block + (ptrdiff_t)first * LANES;
        for (int t = 0; t < g->tile_columns; t++, from += g->tile * LANES, to += LANES)
            g->from_map(from, x.row, LANES, to, g->size * frequency, frequency);
    }
    for (int f = 0; first == 0 && f < g->size * g->size; f++)
        zero_gap(y + f * frequency, frequency);
    stream_end();
}

/* Bias and epilogue of `lanes` elements of a row of block b. */
INLINE void winograd_store(const int EPILOGUE, const float *in, const float *bias, Beside beside,
                           Element *out, int lanes)
{
    for (int i = 0; i < lanes; i += LANES_A_PART) {
        Vector v = load(in + i);
        if (bias)
            v += load(bias + i % LANES);
        store_epilogue(EPILOGUE, out + i, v, beside_at(beside, 0, i));
    }
}

/* Rows row0 to row1 - 1 of image n's map y, whole tiles but for the last row, from frequencies m.
 * bias may be NULL. */
SHARED void winograd_output_rows(const WinogradMap *g, const float *m, const float *bias,
                                 const Epilogue *epilogue, Map y, ptrdiff_t n,
                                 const NincRange *range, int row0, int row1)
{
    float tile[WINOGRAD_MOST_TILE * WINOGRAD_MOST_TILE * LANES]
        __attribute__((aligned(VECTOR_BYTES)));
    const ptrdiff_t tiles = all_tiles(g, range->images), block = frequency_block(tiles);
    const ptrdiff_t frequency = frequency_pitch(tiles, g->blocks);
    const ptrdiff_t image = n * g->tile_rows * g->tile_columns * LANES;
    for (int b = 0; b < g->blocks; b++)
        for (int row = row0; row < row1; row += g->tile) {
            const float *from =
                m + b * block + image + (ptrdiff_t)(row / g->tile) * g->tile_columns * LANES;
            const int rows = smaller(g->tile, row1 - row);
            for (int col = 0; col < g->width; col += g->tile, from += LANES) {
                const int lanes = smaller(g->tile, g->width - col) * LANES;
                /* A few tiles ahead: so many frequencies are more than a CPU foresees. */
                for (int f = 0; f < g->size * g->size; f++)
                    __builtin_prefetch(from + f * frequency + 8 * LANES, 0, 2);
                g->to_map(from, g->size * frequency, frequency, tile, g->tile * LANES, LANES);
                for (int r = 0; r < rows; r++)
                    WITH_EPILOGUE(epilogue->number, winograd_store, tile + r * g->tile * LANES,
                                  bias ? bias + b * LANES : NULL,
                                  beside_at(beside_row(epilogue, row + r), b, col * LANES),
                                  map_row(y, row + r) + b * y.block + col * LANES, lanes);
            }
        }
}

/* ---- products ---- */

/* A register tile of a product: rows of x, in blocks of channels, by a filter of `vectors` blocks
 * of outputs. Floats, also between bf16 maps. */
typedef struct WinogradTile {
    const float *x, *filter;
    float *y;
    ptrdiff_t x_block, y_block, filter_block;
    int in_blocks;
} WinogradTile;

typedef void WinogradTileFn(const WinogradTile *t);

/* PIXELS x VECTORS blocks of output, from row p and vector v on. */
INLINE void winograd_part(const WinogradTile *t, int p, const int PIXELS, int v, const int VECTORS,
                          const int FILTER_VECTORS)
{
    Vector acc[TILE_ACCUMULATORS];
    UNROLL for (int i = 0; i < PIXELS * VECTORS * PARTS; i++)
        acc[i] = (Vector){0};
    for (int b = 0; b < t->in_blocks; b++) {
        const float *x = t->x + b * t->x_block + p * LANES;
        const float *filter = t->filter + b * t->filter_block + v * LANES;
        for (int r = LANES; r > 0; r--, x++, filter += FILTER_VECTORS * LANES) {
            Vector w[TILE_VECTORS * PARTS];
            UNROLL for (int j = 0; j < VECTORS * PARTS; j++)
                w[j] = load(filter + j * LANES_A_PART);
            UNROLL for (int i = 0; i < PIXELS; i++) {
                const Vector s = splat(x[i * LANES]);
                UNROLL for (int j = 0; j < VECTORS * PARTS; j++)
                    acc[i * VECTORS * PARTS + j] += s * w[j];
            }
        }
    }
    UNROLL for (int i = 0; i < PIXELS; i++)
        UNROLL for (int j = 0; j < VECTORS * PARTS; j++)
            store(t->y + (v + j / PARTS) * t->y_block + (p + i) * LANES + j % PARTS * LANES_A_PART,
                  acc[i * VECTORS * PARTS + j]);
}

#define WINOGRAD_TILE(NAME, PIXELS, VECTORS)                     \
    SHARED void NAME(const WinogradTile *t)                      \
    {                                                            \
        IN_PARTS(winograd_part, t, PIXELS, VECTORS, VECTORS);    \
    }

/* y = x filter for each frequency; inputs and outputs in blocks of 16 channels. */
typedef struct WinogradMultiply {
    WinogradTileFn *tile, *single; /* `pixels` rows; one row */
    int pixels, frequencies, tiles, in_blocks, out_blocks, groups, vectors;
} WinogradMultiply;

/* The slice's frequencies. A remainder of rows is covered by a tile that overlaps the one
 * before. */
SHARED void winograd_multiply(const WinogradMultiply *g, const float *x, const float *filter,
                              float *y, const NincRange *range)
{
    const ptrdiff_t rows = (ptrdiff_t)range->images * g->tiles, block = frequency_block(rows);
    const ptrdiff_t x_pitch = frequency_pitch(rows, g->in_blocks);
    const ptrdiff_t y_pitch = frequency_pitch(rows, g->out_blocks);
    const ptrdiff_t square = (ptrdiff_t)LANES * g->vectors * LANES;
    WinogradTile t = {.x_block = block, .y_block = block, .filter_block = square,
                      .in_blocks = g->in_blocks};
    const int pixels = rows < g->pixels ? 1 : g->pixels;
    for (ptrdiff_t f = slice_begin(range, g->frequencies); f < slice_end(range, g->frequencies);
         f++) {
        for (int o = 0; o < g->groups; o++) {
            t.filter = filter + (f * g->groups + o) * g->in_blocks * square;
            for (ptrdiff_t row = 0; row < rows; row += pixels) {
                const ptrdiff_t at = row + pixels <= rows ? row : rows - pixels;
                t.x = x + f * x_pitch + at * LANES;
                t.y = y + f * y_pitch + o * g->vectors * block + at * LANES;
                (pixels == 1 ? g->single : g->tile)(&t);
            }
        }
        zero_gap(y + f * y_pitch, y_pitch);
    }
}

/* du = x^T dy for each frequency, summed over the tiles of all images. */
typedef struct WinogradWgrad {
    WgradRun tiles; /* of a block of inputs */
    int frequencies, rows, in_blocks, out_blocks, groups; /* rows: of an image, its tiles */
    int strip; /* rows that stay in a cache */
} WinogradWgrad;

SHARED void winograd_wgrad(const WinogradWgrad *g, const float *x, const float *dy, float *du,
                           const NincRange *range)
{
    const int rows = range->images * g->rows, vectors = g->tiles.vectors;
    const ptrdiff_t block = frequency_block(rows);
    const ptrdiff_t x_pitch = frequency_pitch(rows, g->in_blocks);
    const ptrdiff_t dy_pitch = frequency_pitch(rows, g->out_blocks);
    const ptrdiff_t square = (ptrdiff_t)LANES * vectors * LANES;
    WgradTile t = {.x_step = LANES, .dy_step = LANES, .dy_block = block, .rows = 1,
                   .next_step = LANES * (ptrdiff_t)sizeof(float)};
    const ptrdiff_t last = slice_end(range, g->frequencies);
    for (ptrdiff_t f = slice_begin(range, g->frequencies); f < last; f++)
        for (int row = 0; row < rows; row += g->strip) {
            t.width = smaller(g->strip, rows - row);
            t.accumulate = range->accumulate || row > 0;
            for (int o = 0; o < g->groups; o++) {
                t.dy = dy + f * dy_pitch + o * vectors * block + (ptrdiff_t)row * LANES;
                for (int b = 0; b < g->in_blocks; b++) {
                    t.x = x + f * x_pitch + b * block + (ptrdiff_t)row * LANES;
                    t.next = b + 1 < g->in_blocks ? (const float *)t.x + block : NULL;
                    t.dw = du + ((f * g->groups + o) * g->in_blocks + b) * square;
                    wgrad_run(&g->tiles, t);
                }
            }
        }
}

/* ---- filters ---- */

/* How a filter lies: squares of 16 inputs x out_block outputs. */
typedef struct WinogradFilterSide {
    int taps, out_block, vectors; /* taps by axis; vectors of 16 outputs in all */
    ptrdiff_t square, tap;        /* from square to square (inputs first), from tap to tap */
} WinogradFilterSide;

typedef struct WinogradFilter {
    WinogradFn *transform;
    int in_blocks;
    WinogradFilterSide from, to;
} WinogradFilter;

INLINE ptrdiff_t filter_vector(const WinogradFilter *g, const WinogradFilterSide *s, int input,
                               int vector)
{
    const int output = vector * LANES;
    return ((ptrdiff_t)(output / s->out_block) * g->in_blocks + input / LANES) * s->square +
           (ptrdiff_t)(input % LANES) * s->out_block + output % s->out_block;
}

/* The slice's part of a filter to its frequencies, or of a gradient back. Outputs that only `to`
 * has are padding and become zero. */
SHARED void winograd_filter(const WinogradFilter *g, const float *from, float *to,
                            const NincRange *range)
{
    const ptrdiff_t units = (ptrdiff_t)g->in_blocks * LANES * g->to.vectors;
    const WinogradFilterSide *f = &g->from, *s = &g->to;
    for (ptrdiff_t u = slice_begin(range, units); u < slice_end(range, units); u++) {
        const int input = (int)(u / s->vectors), vector = (int)(u % s->vectors);
        float *out = to + filter_vector(g, s, input, vector);
        if (vector < f->vectors) {
            g->transform(from + filter_vector(g, f, input, vector), f->taps * f->tap, f->tap, out,
                         s->taps * s->tap, s->tap);
            continue;
        }
        for (int tap = 0; tap < s->taps * s->taps; tap++)
            memset(out + tap * s->tap, 0, LANES * sizeof(float));
    }
    stream_end();
}
