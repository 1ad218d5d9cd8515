/* Register tiles, and the convolutions that are made of them.
 *
 * Filters are packed [output group][input block][row][run][vectors][LANES]: a `run` is one filter
 * row, columns x channels of a block, which is contiguous in a map too. So every contraction is:
 * over input blocks, filter rows and the run, broadcast one input, multiply by `vectors` vectors.
 * In bf16 two entries of a run, and their weights, are one word: a run of an odd number of entries
 * ends with a zero weight, and reads one entry more.
 * Register tiles after LIBXSMM (arXiv 1906.06440): all accumulators stay in registers. */

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
    const Element *x, *filter;
    const float *bias;
    Element *y;
    Beside beside;
    ptrdiff_t x_block, x_row, y_block;
    ptrdiff_t filter_block, filter_row, filter_column; /* from tap to tap */
    ptrdiff_t x_gap; /* between columns of the filter, with dilation */
    int in_blocks, kernel_h, kernel_w, run, epilogue;
} ConvTile;

typedef void ConvTileFn(const ConvTile *t);

/* Finishes and stores the sums of a part of a tile. */
INLINE void store_sums(const int EPILOGUE, const ConvTile *t, const Vector *acc, int p,
                       const int PIXELS, int v, const int VECTORS, const int SPREAD)
{
    UNROLL for (int i = 0; i < PIXELS; i++)
        UNROLL for (int j = 0; j < VECTORS * PARTS; j++) {
            const ptrdiff_t at = (p + i) * SPREAD * LANES + j % PARTS * LANES_A_PART;
            store_epilogue(EPILOGUE, t->y + (v + j / PARTS) * t->y_block + at,
                           acc[i * VECTORS * PARTS + j], beside_at(t->beside, v + j / PARTS, at));
        }
}

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
                const Element *x = t->x + p * STEP + b * t->x_block + k * t->x_row +
                                   q * (LANES + t->x_gap);
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
    WITH_EPILOGUE(t->epilogue, store_sums, t, acc, p, PIXELS, v, VECTORS, SPREAD);
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
        t.beside = beside_at(t.beside, 0, pixels * spread * LANES);
    }
}

/* Output rows row0 to row1 - 1 of one image. bias may be NULL. */
SHARED void conv_rows(const Conv *c, Map x, const Element *filter, const float *bias,
                      const Epilogue *epilogue, Map y, int row0, int row1)
{
    const ptrdiff_t line = (ptrdiff_t)c->run * c->vectors * LANES;
    const ptrdiff_t group = c->in_blocks * c->kernel_h * line;
    ConvTile t = {.x_block = x.block, .x_row = x.row, .y_block = y.block,
                  .filter_block = c->kernel_h * line,
                  .filter_row = line, .in_blocks = c->in_blocks, .kernel_h = c->kernel_h,
                  .kernel_w = 1, .run = c->run, .epilogue = epilogue->number};
    for (int g = 0; g < c->groups; g++) {
        const ptrdiff_t channel = (ptrdiff_t)g * c->vectors;
        t.filter = filter + g * group;
        t.bias = bias ? bias + channel * LANES : NULL;
        for (int row = row0; row < row1; row++) {
            t.x = map_row(x, row * c->stride_h - c->padding_h) - c->padding;
            t.y = map_row(y, row) + channel * y.block;
            t.beside = beside_at(beside_row(epilogue, row), channel, 0);
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

SHARED void conv_transpose_rows(const ConvTranspose *c, Map dy, const Element *filter,
                                const Epilogue *epilogue, Map dx, int row0, int row1)
{
    const ptrdiff_t tap = (ptrdiff_t)LANES * c->vectors * LANES;
    const ptrdiff_t square = tap * c->kernel_h * c->kernel_w;
    ConvTile t = {.x_block = dy.block, .x_row = dy.row, .y_block = dx.block,
                  .filter_block = square,
                  .filter_row = tap * c->kernel_w * c->stride_h,
                  .filter_column = tap * c->stride_w, .run = LANES,
                  .epilogue = epilogue->number};
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
                t.beside = beside_at(beside_row(epilogue, row), channel, at);
                run_row(t, col < (c->width - 1) % c->stride_w + 1 ? &c->more : &c->fewer, LANES,
                        c->stride_w);
            }
        }
}
