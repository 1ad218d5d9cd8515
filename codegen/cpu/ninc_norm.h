/* Batch norm: statistics of a chunk that is the batch, block by block of channels, and what is done
 * to each image by them. */

/* ---- statistics ---- */

/* A map of images: the first one, from image to image, and its size. */
typedef struct Maps {
    Map first;
    ptrdiff_t image;
    int height, width;
} Maps;

/* Sums of many rows are doubles. They are no arguments: no machine has such vectors. */
typedef double Doubles __attribute__((vector_size(2 * VECTOR_BYTES)));

#define WIDENED(V) __builtin_convertvector(V, Doubles)
#define NARROWED(V) __builtin_convertvector(V, Vector)

/* Part j of block b of a row. */
INLINE const Element *row_part(const Maps *x, ptrdiff_t image, int row, int b, int j)
{
    return map_row(x->first, row) + image * x->image + b * x->first.block + j * LANES_A_PART;
}

/* The sum of an image of x - from, or of its squares, in floats a row. */
INLINE void sum_image(const int SQUARES, const Maps *x, ptrdiff_t image, int b, int j, Vector from,
                      Doubles *total)
{
    *total = (Doubles){0};
    for (int row = 0; row < x->height; row++) {
        const Element *p = row_part(x, image, row, b, j);
        Vector sum[4] = {{0}};
        int w = 0;
        for (; w + 4 <= x->width; w += 4) {
            UNROLL
            for (int i = 0; i < 4; i++) {
                const Vector d = load_map(p + (w + i) * LANES) - from;
                sum[i] += SQUARES ? d * d : d;
            }
        }
        for (; w < x->width; w++) {
            const Vector d = load_map(p + w * LANES) - from;
            sum[0] += SQUARES ? d * d : d;
        }
        *total += WIDENED((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

/* Mean and variance of the first `images` images, blocks of a slice: of each image about its own
 * mean, joined in order (Chan, Golub, LeVeque 1983). */
SHARED void batch_moments(const Maps *x, int images, int blocks, float *mean, float *var,
                          const NincRange *range)
{
    const double pixels = (double)x->height * x->width;
    for (ptrdiff_t part = slice_begin(range, blocks) * PARTS;
         part < slice_end(range, blocks) * PARTS; part++) {
        const int b = (int)(part / PARTS), j = (int)(part % PARTS);
        Doubles all = {0}, squares = {0}, own, about;
        for (int n = 0; n < images; n++) {
            sum_image(0, x, n, b, j, (Vector){0}, &own);
            own /= pixels;
            const Vector from = NARROWED(own);
            const Doubles off = own - all, rounding = WIDENED(from) - own;
            sum_image(1, x, n, b, j, from, &about);
            squares += about - rounding * rounding * pixels + off * off * (pixels * n / (n + 1));
            all += off / (n + 1.0);
        }
        store(mean + part * LANES_A_PART, NARROWED(all));
        store(var + part * LANES_A_PART, NARROWED(squares / (pixels * images)));
    }
}

/* What a batch norm knows of its channels; weight and bias may be NULL. */
typedef struct Norm {
    const float *mean, *var, *weight, *bias;
    float eps;
} Norm;

INLINE Vector inverse_std(const Norm *n, ptrdiff_t channel)
{
    return 1 / root_vector(load(n->var + channel) + n->eps);
}

INLINE Vector scale_of(const Norm *n, ptrdiff_t channel)
{
    const Vector inverse = inverse_std(n, channel);
    return n->weight ? inverse * load(n->weight + channel) : inverse;
}

/* Sums of dy and of dy (x - mean) / std over `images` images, blocks of a slice. */
SHARED void batch_sums(const Norm *n, const Maps *dy, const Maps *x, int images, int blocks,
                       float *sum, float *dot, const NincRange *range)
{
    for (ptrdiff_t part = slice_begin(range, blocks) * PARTS;
         part < slice_end(range, blocks) * PARTS; part++) {
        const int b = (int)(part / PARTS), j = (int)(part % PARTS);
        const ptrdiff_t channel = part * LANES_A_PART;
        const Vector mean = load(n->mean + channel);
        Doubles sums = {0}, dots = {0};
        for (ptrdiff_t row = 0; row < (ptrdiff_t)images * x->height; row++) {
            const ptrdiff_t image = row / x->height;
            const Element *py = row_part(dy, image, (int)(row % x->height), b, j);
            const Element *px = row_part(x, image, (int)(row % x->height), b, j);
            Vector s[2] = {{0}}, d[2] = {{0}};
            for (int w = 0; w < x->width; w++) {
                const Vector v = load_map(py + w * LANES);
                s[w % 2] += v;
                d[w % 2] += v * (load_map(px + w * LANES) - mean);
            }
            sums += WIDENED(s[0] + s[1]);
            dots += WIDENED(d[0] + d[1]);
        }
        store(sum + channel, NARROWED(sums));
        store(dot + channel, NARROWED(dots * WIDENED(inverse_std(n, channel))));
    }
}

/* ---- images ---- */

/* (x - mean) * scale + bias */
INLINE void batch_norm_of(const int EPILOGUE, const Norm *n, Map x, int blocks, int width,
                          const Epilogue *epilogue, Map y, int row0, int row1)
{
    for (int part = 0; part < blocks * PARTS; part++) {
        const int b = part / PARTS, lane = part % PARTS * LANES_A_PART;
        const ptrdiff_t channel = (ptrdiff_t)part * LANES_A_PART;
        const Vector mean = load(n->mean + channel), scale = scale_of(n, channel);
        const Vector bias = n->bias ? load(n->bias + channel) : (Vector){0};
        for (int row = row0; row < row1; row++) {
            const Element *in = map_row(x, row) + b * x.block + lane;
            const Place to = place_of(epilogue, y, row, b);
            for (int i = 0; i < width * LANES; i += LANES)
                store_at(EPILOGUE, &to, i + lane, (load_map(in + i) - mean) * scale + bias);
        }
    }
}

SHARED void batch_norm_rows(const Norm *n, Map x, int blocks, int width, const Epilogue *epilogue,
                            Map y, int row0, int row1)
{
    WITH_ROWS(batch_norm_of, n, x, blocks, width);
}

/* Means of the sums, over `count` values; 0: the image does not count, and its gradient is 0. */
typedef struct NormGradient {
    Norm norm;
    const float *sum, *dot;
    float count;
} NormGradient;

INLINE void batch_norm_grad_of(const int EPILOGUE, const NormGradient *g, Map dy, Map x, int blocks,
                               int width, const Epilogue *epilogue, Map y, int row0, int row1)
{
    const float share = g->count > 0 ? 1 / g->count : 0;
    for (int part = 0; part < blocks * PARTS; part++) {
        const int b = part / PARTS, lane = part % PARTS * LANES_A_PART;
        const ptrdiff_t channel = (ptrdiff_t)part * LANES_A_PART;
        const Vector mean = load(g->norm.mean + channel), offset = load(g->sum + channel) * share;
        const Vector slope = load(g->dot + channel) * inverse_std(&g->norm, channel) * share;
        const Vector scale = g->count > 0 ? scale_of(&g->norm, channel) : (Vector){0};
        for (int row = row0; row < row1; row++) {
            const Element *py = map_row(dy, row) + b * dy.block + lane;
            const Element *px = map_row(x, row) + b * x.block + lane;
            const Place to = place_of(epilogue, y, row, b);
            for (int i = 0; i < width * LANES; i += LANES) {
                const Vector inside = load_map(py + i) - offset - (load_map(px + i) - mean) * slope;
                store_at(EPILOGUE, &to, i + lane, scale * inside);
            }
        }
    }
}

SHARED void batch_norm_grad_rows(const NormGradient *g, Map dy, Map x, int blocks, int width,
                                 const Epilogue *epilogue, Map y, int row0, int row1)
{
    WITH_ROWS(batch_norm_grad_of, g, dy, x, blocks, width);
}
