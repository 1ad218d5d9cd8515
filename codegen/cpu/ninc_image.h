/* What a step has beside its maps: images, filters in other layouts, the optimizer. */

/* ---- images ---- */

typedef struct Image {
    int in_height, in_width, height, width, channels;
    int block;               /* channels a block of the map, or a pixel of one block */
    float scale[16], shift[16]; /* pixel = u8 * scale + shift, a channel */
} Image;

INLINE void image_store(const Image *g, Map y, int row, int col, int c, float value)
{
    map_row(y, row)[c / g->block * y.block + col * g->block + c % g->block] =
        to_element(value * g->scale[c] + g->shift[c]);
}

SHARED void normalize_image(const Image *g, const uint8_t *image, Map y)
{
    for (int row = 0; row < g->height; row++)
        for (int col = 0; col < g->width; col++)
            for (int c = 0; c < g->channels; c++)
                image_store(g, y, row, col, c,
                            (float)image[(row * g->width + col) * g->channels + c]);
}

/* Source position of a resized axis: F.interpolate(mode='bilinear', align_corners=False). */
INLINE int source_position(int at, int in, int out, float *fraction)
{
    const float position = ((float)at + 0.5f) * ((float)in / (float)out) - 0.5f;
    const int low = position > 0 ? smaller((int)position, in - 1) : 0;
    *fraction = position > 0 && low < in - 1 ? position - (float)low : 0;
    return low;
}

/* One source row, resized across; line has width * channels entries. */
INLINE void resize_line(const Image *g, const uint8_t *source, float *line)
{
    for (int col = 0; col < g->width; col++) {
        float f;
        const int low = source_position(col, g->in_width, g->width, &f);
        const int high = smaller(low + 1, g->in_width - 1);
        for (int c = 0; c < g->channels; c++)
            line[col * g->channels + c] =
                (1 - f) * (float)source[low * g->channels + c] +
                f * (float)source[high * g->channels + c];
    }
}

/* A row of an image of one channel, from the source rows above and below; its pixels lie STEP
 * elements apart. */
INLINE void blend_lines(const Image *g, const float *low, const float *high, float f, Element *out,
                        const int STEP)
{
    for (int i = 0; i < g->width; i++)
        out[i * STEP] = to_element(((1 - f) * low[i] + f * high[i]) * g->scale[0] + g->shift[0]);
}

/* lines: two rows of width * channels floats. */
SHARED void resize_image(const Image *g, const uint8_t *image, float *lines, Map y)
{
    const int length = g->width * g->channels;
    float *low_line = lines, *high_line = lines + length;
    int have = -1;
    for (int row = 0; row < g->height; row++) {
        float f;
        const int low = source_position(row, g->in_height, g->height, &f);
        const int high = smaller(low + 1, g->in_height - 1);
        if (low != have) {
            resize_line(g, image + low * g->in_width * g->channels, low_line);
            resize_line(g, image + high * g->in_width * g->channels, high_line);
            have = low;
        }
        if (g->channels == 1 && g->block == 1) {
            blend_lines(g, low_line, high_line, f, map_row(y, row), 1);
            continue;
        }
        if (g->channels == 1 && g->block == 2) {
            blend_lines(g, low_line, high_line, f, map_row(y, row), 2);
            continue;
        }
        for (int i = 0; i < length; i++)
            image_store(g, y, row, i / g->channels, i % g->channels,
                        (1 - f) * low_line[i] + f * high_line[i]);
    }
}

/* ---- filters ---- */

typedef struct Filter {
    int outputs, inputs, kernel_h, kernel_w;
    int block, out_block; /* of the source, OIHW */
    int to_out_block;     /* of the transposed filter, IOHW, both kernel axes reversed */
} Filter;

INLINE ptrdiff_t filter_at(int o, int i, int kh, int kw, int in_blocks, int kernel_h, int kernel_w,
                           int block, int out_block)
{
    ptrdiff_t at = (ptrdiff_t)(o / out_block) * in_blocks + i / block;
    at = (at * kernel_h + kh) * kernel_w + kw;
    return (at * block + i % block) * out_block + o % out_block;
}

/* to[j][i] = from[i][j]: floats or, with CAST, elements, whose rows j lie TOGETHER side by side. */
INLINE void transpose_square(const float *from, ptrdiff_t from_row, void *to, ptrdiff_t to_row,
                             const int CAST)
{
    const int SIDE = CAST ? TOGETHER : 1;
    if (!CAST) {
        turn_square((const Word *)from, from_row, to, to_row);
        return;
    }
    for (int j = 0; j < LANES; j += SIDE)
        for (int i = 0; i < LANES; i++)
            for (int k = 0; k < SIDE; k++)
                ((Element *)to)[j * to_row + i * SIDE + k] =
                    to_element(from[i * from_row + j + k]);
}

/* Transposes the slice's part of a filter whose inputs lie in blocks of LANES, square by square. */
INLINE void transpose_squares(const Filter *g, const float *from, void *to, const NincRange *range,
                              const int CAST)
{
    const int SIDE = CAST ? TOGETHER : 1;
    const size_t size = CAST ? sizeof(Element) : sizeof(float);
    const int rows = (g->outputs + LANES - 1) / LANES, in_blocks = (g->inputs + LANES - 1) / LANES;
    const int cols = (g->inputs + g->to_out_block - 1) / g->to_out_block * g->to_out_block / LANES;
    const int taps = g->kernel_h * g->kernel_w;
    for (ptrdiff_t s = slice_begin(range, rows * cols); s < slice_end(range, rows * cols); s++) {
        const int o = (int)(s / cols) * LANES, i = (int)(s % cols) * LANES;
        for (int tap = 0; tap < taps; tap++) {
            const int kh = tap / g->kernel_w, kw = tap % g->kernel_w;
            char *out = (char *)to +
                        size * (filter_at(i, o, g->kernel_h - 1 - kh, g->kernel_w - 1 - kw, rows,
                                          g->kernel_h, g->kernel_w, LANES, g->to_out_block) +
                                i % g->to_out_block * (SIDE - 1));
            if (i < g->inputs)
                transpose_square(from + filter_at(o, i, kh, kw, in_blocks, g->kernel_h,
                                                  g->kernel_w, LANES, g->out_block),
                                 g->out_block, out, g->to_out_block, CAST);
            else /* padding of the last group of outputs */
                for (int j = 0; j < LANES; j += SIDE)
                    memset(out + size * j * g->to_out_block, 0, size * LANES * SIDE);
        }
    }
}

SHARED void transpose_filter(const Filter *g, const float *from, float *to, const NincRange *range)
{
    transpose_squares(g, from, to, range, 0);
}

#ifdef NINC_BF16
SHARED void transpose_cast_filter(const Filter *g, const float *from, Element *to,
                                  const NincRange *range)
{
    transpose_squares(g, from, to, range, 1);
}

/* Rounds the slice's part of a filter, whose rows come to lie in pairs of entries. */
SHARED void cast_filter(const Filter *g, const float *from, Element *to, const NincRange *range)
{
    const ptrdiff_t groups = (g->outputs + g->out_block - 1) / g->out_block;
    const ptrdiff_t in_blocks = (g->inputs + g->block - 1) / g->block;
    const ptrdiff_t entries = (ptrdiff_t)g->kernel_w * g->block, row = (entries + 1) / 2;
    const ptrdiff_t pairs = groups * in_blocks * g->kernel_h * row;
    for (ptrdiff_t p = slice_begin(range, pairs); p < slice_end(range, pairs); p++) {
        const float *even = from + (p / row * entries + p % row * 2) * g->out_block;
        const bool alone = p % row * 2 + 1 == entries;
        for (int o = 0; o < g->out_block; o++) {
            to[(p * g->out_block + o) * 2] = to_element(even[o]);
            to[(p * g->out_block + o) * 2 + 1] = alone ? 0 : to_element(even[g->out_block + o]);
        }
    }
}
#endif

/* ---- optimizer ---- */

/* The sum of `count` copies, `stride` elements apart, in order. */
INLINE float sum_copies(const float *p, int count, ptrdiff_t stride)
{
    float sum = p[0];
    UNROLL for (int i = 1; i < count; i++)
        sum += p[i * stride];
    return sum;
}

/* The sum of the squares of such sums, in lanes whose order does not depend on threads. */
INLINE double square_sum(const float *p, int copies, ptrdiff_t stride, ptrdiff_t count)
{
    enum { AT_ONCE = 16 };
    double lane[AT_ONCE] = {0}, sum = 0;
    const ptrdiff_t whole = count / AT_ONCE * AT_ONCE;
    for (ptrdiff_t i = 0; i < whole; i += AT_ONCE)
        for (int l = 0; l < AT_ONCE; l++) {
            const double x = sum_copies(p + i + l, copies, stride);
            lane[l] += x * x;
        }
    for (ptrdiff_t i = whole; i < count; i++) {
        const double x = sum_copies(p + i, copies, stride);
        sum += x * x;
    }
    for (int l = 0; l < AT_ONCE; l++)
        sum += lane[l];
    return sum;
}

/* torch.nn.utils.clip_grad_norm_, of the sum of all squares; NaN stays NaN. */
INLINE float clip_factor(double sum, double most)
{
    const double factor = most / (sqrt(sum) + 1e-6);
    return factor >= 1 ? 1 : (float)factor;
}

/* Adam (arXiv 1412.6980, algorithm 1), with PyTorch's order of operations. */
typedef struct Adam {
    float rate, correction, eps; /* lr / (1 - beta1^t), sqrt(1 - beta2^t) */
} Adam;

INLINE Adam adam_at(double lr, int step, double beta1, double beta2, double eps)
{
    const Adam a = {(float)(lr / (1 - pow(beta1, step))), (float)sqrt(1 - pow(beta2, step)),
                    (float)eps};
    return a;
}

INLINE float adam_step(Adam a, float p, float m, float v)
{
    return p - a.rate * m / (sqrtf(v) / a.correction + a.eps);
}
