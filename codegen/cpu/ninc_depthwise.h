/* Convolutions of each channel by a filter of its own, and their gradients: block by block of
 * channels, each pixel a sum of vectors. Filters are packed [block][row][column][LANES]. */

typedef struct Depthwise {
    int blocks, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
    int dilation_h, dilation_w;
    int height, width; /* of the map on the output's side: y, dy */
    int columns;       /* of the result, y or dx */
} Depthwise;

/* A tap of the filter: the input of a row's first pixel, and the weights. */
typedef struct DepthwiseTap {
    const Element *x, *filter;
} DepthwiseTap;

/* Pixels of a row of one block: what they are the sums of, `step` elements apart in x, and where
 * they are stored, `spread` apart. */
typedef struct DepthwiseRow {
    const DepthwiseTap *tap;
    int taps, epilogue;
    ptrdiff_t step, spread;
    const float *bias; /* of the block; NULL: none */
    Element *y;
    Beside beside;
} DepthwiseRow;

enum { DEPTHWISE_PIXELS = 8, DEPTHWISE_TAPS = 9 };

INLINE void store_depthwise(const int EPILOGUE, const DepthwiseRow *r, const Vector *sum,
                            const int PIXELS, ptrdiff_t at)
{
    UNROLL for (int i = 0; i < PIXELS; i++) {
        const ptrdiff_t to = at + i * r->spread;
        store_epilogue(EPILOGUE, r->y + to, sum[i], beside_at(r->beside, 0, to));
    }
}

/* PIXELS from pixel p on, part j of the block. */
INLINE void depthwise_pixels(const DepthwiseRow *r, int p, const int PIXELS, int j)
{
    const ptrdiff_t lane = j * LANES_A_PART;
    Vector sum[DEPTHWISE_PIXELS];
    UNROLL for (int i = 0; i < PIXELS; i++)
        sum[i] = r->bias ? load(r->bias + lane) : (Vector){0};
    for (int k = 0; k < r->taps; k++) {
        const Vector w = load_map(r->tap[k].filter + lane);
        const Element *x = r->tap[k].x + p * r->step + lane;
        UNROLL for (int i = 0; i < PIXELS; i++)
            sum[i] += load_map(x + i * r->step) * w;
    }
    WITH_EPILOGUE(r->epilogue, store_depthwise, r, sum, PIXELS, p * r->spread + lane);
}

INLINE void depthwise_row(const DepthwiseRow *r, int pixels)
{
    for (int j = 0; j < PARTS; j++) {
        int p = 0;
        for (; p + DEPTHWISE_PIXELS <= pixels; p += DEPTHWISE_PIXELS)
            depthwise_pixels(r, p, DEPTHWISE_PIXELS, j);
        for (; p + 2 <= pixels; p += 2)
            depthwise_pixels(r, p, 2, j);
        if (p < pixels)
            depthwise_pixels(r, p, 1, j);
    }
}

/* Output rows row0 to row1 - 1 of one image. bias may be NULL. */
SHARED void depthwise_rows(const Depthwise *d, Map x, const Element *filter, const float *bias,
                           const Epilogue *epilogue, Map y, int row0, int row1)
{
    DepthwiseTap tap[d->kernel_h * d->kernel_w];
    DepthwiseRow r = {.tap = tap, .taps = d->kernel_h * d->kernel_w, .epilogue = epilogue->number,
                      .step = (ptrdiff_t)d->stride_w * LANES, .spread = LANES};
    for (int b = 0; b < d->blocks; b++)
        for (int row = row0; row < row1; row++) {
            for (int k = 0; k < r.taps; k++) {
                const int h = row * d->stride_h - d->padding_h + k / d->kernel_w * d->dilation_h;
                const int w = k % d->kernel_w * d->dilation_w - d->padding_w;
                tap[k].x = map_row(x, h) + b * x.block + (ptrdiff_t)w * LANES;
                tap[k].filter = filter + (ptrdiff_t)(b * r.taps + k) * LANES;
            }
            r.bias = bias ? bias + (ptrdiff_t)b * LANES : NULL;
            r.y = map_row(y, row) + b * y.block;
            r.beside = beside_at(beside_row(epilogue, row), b, 0);
            depthwise_row(&r, d->width);
        }
}

/* The taps that meet row `row` of dx and every stride-th column from `column` on. */
INLINE int depthwise_taps_of(const Depthwise *d, Map dy, const Element *filter, int row,
                             int column, DepthwiseTap *tap)
{
    int taps = 0;
    for (int k = 0; k < d->kernel_h * d->kernel_w; k++) {
        const int h = row + d->padding_h - k / d->kernel_w * d->dilation_h;
        const int w = column + d->padding_w - k % d->kernel_w * d->dilation_w;
        if (h < 0 || h % d->stride_h != 0 || h / d->stride_h >= d->height || w % d->stride_w != 0)
            continue;
        tap[taps].x = map_row(dy, h / d->stride_h) + (ptrdiff_t)(w / d->stride_w) * LANES;
        tap[taps++].filter = filter + (ptrdiff_t)k * LANES;
    }
    return taps;
}

/* The gradient of x, rows row0 to row1 - 1 of one image: pixels of dx that are `stride` apart see
 * the same taps. */
SHARED void depthwise_dgrad_rows(const Depthwise *d, Map dy, const Element *filter,
                                 const Epilogue *epilogue, Map dx, int row0, int row1)
{
    const ptrdiff_t square = (ptrdiff_t)d->kernel_h * d->kernel_w * LANES;
    DepthwiseTap tap[d->kernel_h * d->kernel_w];
    DepthwiseRow r = {.tap = tap, .epilogue = epilogue->number, .step = LANES,
                      .spread = (ptrdiff_t)d->stride_w * LANES};
    for (int b = 0; b < d->blocks; b++) {
        Map from = dy;
        from.data += b * dy.block;
        for (int row = row0; row < row1; row++)
            for (int c = 0; c < smaller(d->stride_w, d->columns); c++) {
                r.taps = depthwise_taps_of(d, from, filter + b * square, row, c, tap);
                r.y = map_row(dx, row) + b * dx.block + (ptrdiff_t)c * LANES;
                r.beside = beside_at(beside_row(epilogue, row), b, (ptrdiff_t)c * LANES);
                depthwise_row(&r, (d->columns - c + d->stride_w - 1) / d->stride_w);
            }
    }
}

/* TAPS taps from `first` on of the filter's gradient, part j of one block, of a whole image. */
INLINE void depthwise_wgrad_taps(const Depthwise *d, Map x, Map dy, float *dw, int first,
                                 const int TAPS, int j, int accumulate)
{
    const ptrdiff_t lane = j * LANES_A_PART;
    Vector sum[DEPTHWISE_TAPS];
    UNROLL for (int k = 0; k < TAPS; k++)
        sum[k] = accumulate ? load(dw + (first + k) * LANES + lane) : (Vector){0};
    for (int row = 0; row < d->height; row++) {
        const Element *from[DEPTHWISE_TAPS], *gradient = map_row(dy, row) + lane;
        UNROLL for (int k = 0; k < TAPS; k++) {
            const int tap = first + k;
            from[k] = map_row(x, row * d->stride_h - d->padding_h +
                                     tap / d->kernel_w * d->dilation_h) +
                      (ptrdiff_t)(tap % d->kernel_w * d->dilation_w - d->padding_w) * LANES + lane;
        }
        for (ptrdiff_t w = 0; w < d->width; w++) {
            const Vector v = load_map(gradient + w * LANES);
            UNROLL for (int k = 0; k < TAPS; k++)
                sum[k] += load_map(from[k] + w * d->stride_w * LANES) * v;
        }
    }
    UNROLL for (int k = 0; k < TAPS; k++)
        store(dw + (first + k) * LANES + lane, sum[k]);
}

/* The gradient of the filter: one image, the slice's part of the blocks. */
SHARED void depthwise_wgrad_image(const Depthwise *d, Map x, Map dy, float *dw, int accumulate,
                                  const NincRange *range)
{
    const int taps = d->kernel_h * d->kernel_w;
    for (ptrdiff_t b = slice_begin(range, d->blocks); b < slice_end(range, d->blocks); b++) {
        Map from = x, gradient = dy;
        from.data += b * x.block;
        gradient.data += b * dy.block;
        for (int j = 0; j < PARTS; j++) {
            int k = 0;
            for (; k + DEPTHWISE_TAPS <= taps; k += DEPTHWISE_TAPS)
                depthwise_wgrad_taps(d, from, gradient, dw + b * taps * LANES, k, DEPTHWISE_TAPS, j,
                                     accumulate);
            for (; k < taps; k++)
                depthwise_wgrad_taps(d, from, gradient, dw + b * taps * LANES, k, 1, j, accumulate);
        }
    }
}
