/* Row ops that multiply nothing: pools, means, and what works element by element. */

/* ---- pools ---- */

/* The rows row0 to row1 - 1 of one image's map y by ROWS(EPILOGUE, ..., epilogue, y, row0, row1),
 * the epilogue's number a constant. */
#define WITH_ROWS(ROWS, ...) \
    WITH_EPILOGUE(epilogue->number, ROWS, __VA_ARGS__, epilogue, y, row0, row1)

/* Where a row's block of a map, and what lies beside it, begin. */
typedef struct Place {
    Element *to;
    Beside beside;
} Place;

INLINE Place place_of(const Epilogue *e, Map y, int row, int block)
{
    const Place p = {map_row(y, row) + block * y.block, beside_at(beside_row(e, row), block, 0)};
    return p;
}

/* Stores part of a pixel, `at` elements from the place on. */
INLINE void store_at(const int EPILOGUE, const Place *p, ptrdiff_t at, Vector v)
{
    store_epilogue(EPILOGUE, p->to + at, v, beside_at(p->beside, 0, at));
}

typedef struct Pool {
    int kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
    int height, width;         /* of the input */
    int out_height, out_width; /* of the output */
    int blocks;
} Pool;

/* The part of window `out` that lies inside an input axis. */
INLINE int window_begin(int out, int stride, int padding)
{
    return larger(out * stride - padding, 0);
}

INLINE int window_end(int out, int stride, int padding, int kernel, int extent)
{
    return smaller(out * stride - padding + kernel, extent);
}

/* The windows of one axis that cover input position `at`: outputs first to last, and the position
 * counted from the left padding. */
typedef struct Cover {
    int first, last, padded;
} Cover;

INLINE Cover covering(int at, int kernel, int stride, int padding, int outputs)
{
    const int padded = at + padding, before = padded - kernel + 1;
    const Cover c = {before > 0 ? (before + stride - 1) / stride : 0,
                     smaller(padded / stride, outputs - 1), padded};
    return c;
}

/* Output rows of max pooling, and of the codes (kh * KW + kw of the first maximum) where
 * codes.data is not NULL. NaN wins, as in PyTorch. */
INLINE void maxpool_of(const int EPILOGUE, const Pool *g, Map x, CodeMap codes,
                       const Epilogue *epilogue, Map y, int row0, int row1)
{
    for (int b = 0; b < g->blocks; b++)
        for (int row = row0; row < row1; row++) {
            const Place to = place_of(epilogue, y, row, b);
            const int h0 = window_begin(row, g->stride_h, g->padding_h);
            const int h1 = window_end(row, g->stride_h, g->padding_h, g->kernel_h, g->height);
            for (int col = 0; col < g->out_width; col++) {
                const int w0 = window_begin(col, g->stride_w, g->padding_w);
                const int w1 = window_end(col, g->stride_w, g->padding_w, g->kernel_w, g->width);
                const int base = (row * g->stride_h - g->padding_h) * g->kernel_w +
                                 col * g->stride_w - g->padding_w;
                for (int j = 0; j < PARTS; j++) {
                    const ptrdiff_t lane = b * x.block + j * LANES_A_PART;
                    Vector best = load_map(map_row(x, h0) + lane + w0 * LANES);
                    Mask code = (Mask){0} + (h0 * g->kernel_w + w0 - base);
                    for (int h = h0; h < h1; h++)
                        for (int w = w0; w < w1; w++) {
                            const Vector v = load_map(map_row(x, h) + lane + w * LANES);
                            const Mask wins = (Mask)(v > best) | (Mask)(v != v);
                            best = (Vector)(((Mask)v & wins) | ((Mask)best & ~wins));
                            code = (((Mask){0} + (h * g->kernel_w + w - base)) & wins) |
                                   (code & ~wins);
                        }
                    store_at(EPILOGUE, &to, col * LANES + j * LANES_A_PART, best);
                    if (codes.data)
                        *(Codes *)(code_row(codes, row) + b * codes.block + col * LANES +
                                   j * LANES_A_PART) = narrow_codes(code);
                }
            }
        }
}

SHARED void maxpool_rows(const Pool *g, Map x, CodeMap codes, const Epilogue *epilogue, Map y,
                         int row0, int row1)
{
    WITH_ROWS(maxpool_of, g, x, codes);
}

/* Input columns whose gradients are summed at a time. */
enum { POOL_COLUMNS = 64 };

/* Adds one output row's gradients to the sums of input columns w0 to w1 - 1, of a row whose taps
 * begin with `tap`. */
INLINE void maxpool_grad_row(const Pool *g, const Element *dy, const uint8_t *codes, int tap,
                             int w0, int w1, float *sums)
{
    const int first = covering(w0, g->kernel_w, g->stride_w, g->padding_w, g->out_width).first;
    const int last = covering(w1 - 1, g->kernel_w, g->stride_w, g->padding_w, g->out_width).last;
    for (int q = first; q <= last; q++) {
        const int w = q * g->stride_w - g->padding_w;
        const int k0 = larger(w0 - w, 0), k1 = smaller(g->kernel_w, w1 - w);
        for (int lane = 0; lane < LANES; lane += LANES_A_PART) {
            const Mask code = widen_codes(*(const Codes *)(codes + q * LANES + lane));
            const Vector d = load_map(dy + q * LANES + lane);
            for (int k = k0; k < k1; k++) {
                float *to = sums + (w + k - w0) * LANES + lane;
                store(to, load(to) + keep_where((Mask)(code == tap + k), d));
            }
        }
    }
}

/* The sums of `count` elements from the place on. */
INLINE void store_pool_sums(const int EPILOGUE, const Place *p, ptrdiff_t at, const float *sums,
                            int count)
{
    for (int i = 0; i < count; i += LANES_A_PART)
        store_at(EPILOGUE, p, at + i, load(sums + i));
}

/* Input row h from column w on: the windows that cover it, one after the other. */
INLINE void maxpool_grad_columns(const Pool *g, Map dy, CodeMap codes, const Place *to,
                                 int epilogue, int b, int h, int w)
{
    const Cover rows = covering(h, g->kernel_h, g->stride_h, g->padding_h, g->out_height);
    const int columns = smaller(g->width - w, POOL_COLUMNS);
    _Alignas(64) float sums[POOL_COLUMNS * LANES];
    zero_pixels(sums, columns * LANES * sizeof *sums);
    for (int o = rows.first; o <= rows.last; o++)
        maxpool_grad_row(g, map_row(dy, o) + b * dy.block, code_row(codes, o) + b * codes.block,
                         (rows.padded - o * g->stride_h) * g->kernel_w, w, w + columns, sums);
    WITH_EPILOGUE(epilogue, store_pool_sums, to, w * LANES, sums, columns * LANES);
}

/* Input rows of the max pool's gradient. */
SHARED void maxpool_grad_rows(const Pool *g, Map dy, CodeMap codes, const Epilogue *epilogue,
                              Map y, int row0, int row1)
{
    for (int b = 0; b < g->blocks; b++)
        for (int h = row0; h < row1; h++) {
            const Place to = place_of(epilogue, y, h, b);
            for (int w = 0; w < g->width; w += POOL_COLUMNS)
                maxpool_grad_columns(g, dy, codes, &to, epilogue->number, b, h, w);
        }
}

/* 1 / pixels of an average window: it counts padding, but not what lies past it (PyTorch's
 * count_include_pad with ceil_mode). */
INLINE float window_scale(const Pool *g, int row, int col)
{
    const int h = row * g->stride_h - g->padding_h, w = col * g->stride_w - g->padding_w;
    const int rows = smaller(h + g->kernel_h, g->height + g->padding_h) - h;
    const int cols = smaller(w + g->kernel_w, g->width + g->padding_w) - w;
    return 1.0f / (float)(rows * cols);
}

INLINE void avgpool_of(const int EPILOGUE, const Pool *g, Map x, const Epilogue *epilogue, Map y,
                       int row0, int row1)
{
    for (int b = 0; b < g->blocks; b++)
        for (int row = row0; row < row1; row++) {
            const Place to = place_of(epilogue, y, row, b);
            for (int col = 0; col < g->out_width; col++) {
                const int h0 = window_begin(row, g->stride_h, g->padding_h);
                const int h1 = window_end(row, g->stride_h, g->padding_h, g->kernel_h, g->height);
                const int w0 = window_begin(col, g->stride_w, g->padding_w);
                const int w1 = window_end(col, g->stride_w, g->padding_w, g->kernel_w, g->width);
                for (int j = 0; j < PARTS; j++) {
                    Vector sum = {0};
                    for (int h = h0; h < h1; h++)
                        for (int w = w0; w < w1; w++)
                            sum += load_map(map_row(x, h) + b * x.block + w * LANES +
                                            j * LANES_A_PART);
                    store_at(EPILOGUE, &to, col * LANES + j * LANES_A_PART,
                             sum * window_scale(g, row, col));
                }
            }
        }
}

SHARED void avgpool_rows(const Pool *g, Map x, const Epilogue *epilogue, Map y, int row0, int row1)
{
    WITH_ROWS(avgpool_of, g, x);
}

INLINE void avgpool_grad_of(const int EPILOGUE, const Pool *g, Map dy, const Epilogue *epilogue,
                            Map y, int row0, int row1)
{
    for (int b = 0; b < g->blocks; b++)
        for (int h = row0; h < row1; h++) {
            const Place to = place_of(epilogue, y, h, b);
            const Cover rows = covering(h, g->kernel_h, g->stride_h, g->padding_h, g->out_height);
            for (int w = 0; w < g->width; w++) {
                const Cover cols = covering(w, g->kernel_w, g->stride_w, g->padding_w,
                                            g->out_width);
                for (int j = 0; j < PARTS; j++) {
                    const ptrdiff_t lane = j * LANES_A_PART;
                    Vector sum = {0};
                    for (int o = rows.first; o <= rows.last; o++)
                        for (int q = cols.first; q <= cols.last; q++)
                            sum += load_map(map_row(dy, o) + b * dy.block + q * LANES + lane) *
                                   window_scale(g, o, q);
                    store_at(EPILOGUE, &to, w * LANES + lane, sum);
                }
            }
        }
}

SHARED void avgpool_grad_rows(const Pool *g, Map dy, const Epilogue *epilogue, Map y, int row0,
                              int row1)
{
    WITH_ROWS(avgpool_grad_of, g, dy);
}

/* Adds rows row0 to row1 - 1 to the mean over a map of height x width; y holds one pixel. */
SHARED void gap_rows(Map x, float *y, int blocks, int height, int width, int row0, int row1)
{
    const float scale = 1.0f / ((float)height * (float)width);
    for (int b = 0; b < blocks; b++)
        for (int j = 0; j < PARTS; j++) {
            float *out = y + b * LANES + j * LANES_A_PART;
            Vector sum = {0};
            for (int row = row0; row < row1; row++) {
                const Element *p = map_row(x, row) + b * x.block + j * LANES_A_PART;
                for (int w = 0; w < width; w++)
                    sum += load_map(p + w * LANES);
            }
            store(out, (row0 > 0 ? load(out) : (Vector){0}) + sum * scale);
        }
}

INLINE void gap_grad_of(const int EPILOGUE, const float *dy, int blocks, int height, int width,
                        const Epilogue *epilogue, Map y, int row0, int row1)
{
    const float scale = 1.0f / ((float)height * (float)width);
    for (int b = 0; b < blocks; b++)
        for (int j = 0; j < PARTS; j++) {
            const ptrdiff_t lane = j * LANES_A_PART;
            const Vector v = load(dy + b * LANES + lane) * scale;
            for (int row = row0; row < row1; row++) {
                const Place to = place_of(epilogue, y, row, b);
                for (int w = 0; w < width; w++)
                    store_at(EPILOGUE, &to, w * LANES + lane, v);
            }
        }
}

SHARED void gap_grad_rows(const float *dy, int blocks, int height, int width,
                          const Epilogue *epilogue, Map y, int row0, int row1)
{
    WITH_ROWS(gap_grad_of, dy, blocks, height, width);
}

/* ---- pointwise ---- */

INLINE void pointwise_of(const int EPILOGUE, Map x, int blocks, int width,
                         const Epilogue *epilogue, Map y, int row0, int row1)
{
    for (int b = 0; b < blocks; b++)
        for (int row = row0; row < row1; row++) {
            const Element *in = map_row(x, row) + b * x.block;
            const Place to = place_of(epilogue, y, row, b);
            for (int i = 0; i < width * LANES; i += LANES_A_PART)
                store_at(EPILOGUE, &to, i, load_map(in + i));
        }
}

/* A chain of pointwise ops alone. */
SHARED void pointwise_rows(Map x, int blocks, int width, const Epilogue *epilogue, Map y, int row0,
                           int row1)
{
    WITH_ROWS(pointwise_of, x, blocks, width);
}

/* Zeroes the lanes from `lane` on of a map's block, for an epilogue of zeros that are not zero. */
SHARED void zero_lanes(Map y, int block, int lane, int width, int row0, int row1)
{
    for (int row = row0; row < row1; row++) {
        Element *to = map_row(y, row) + block * y.block;
        for (int w = 0; w < width; w++)
            zero_pixels(to + w * LANES + lane, (size_t)(LANES - lane) * sizeof *to);
    }
}

/* Zeroes the halo of one image of a map: halo_h rows above and below, halo_w columns left and
 * right of height x width pixels of `lanes` elements. */
SHARED void zero_halo(Map m, int blocks, int height, int width, int halo_h, int halo_w, int lanes)
{
    const size_t side = (size_t)halo_w * (size_t)lanes * sizeof(Element);
    const size_t line = (size_t)(width + 2 * halo_w) * (size_t)lanes * sizeof(Element);
    for (int b = 0; b < blocks; b++)
        for (int row = -halo_h; row < height + halo_h; row++) {
            Element *left = m.data + b * m.block + row * m.row - halo_w * lanes;
            if (row < 0 || row >= height) {
                zero_pixels(left, line);
            } else {
                zero_pixels(left, side);
                zero_pixels(left + (halo_w + width) * lanes, side);
            }
        }
}
