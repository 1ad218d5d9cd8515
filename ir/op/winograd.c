/* Winograd convolution in steps: transforms square by square, products frequency by frequency. That
 * they amount to a convolution is what the tests check. */
#include "family.h"

#include <stdlib.h>

/* ---- types ---- */

static bool check_winograd(const Infer *f)
{
    const Winograd *w = &f->attr->winograd;
    bool sized = op_is_of_filters(f->op) || (w->height >= 1 && w->width >= 1);
    if (!winograd_is_valid(w->tile, w->kernel))
        return type_fault(
            f,
            ": tile %d and kernel %dx%d have no transform; tiles are 2 to %d, kernels "
            "2 to %d, and tile + kernel at most %d",
            w->tile, w->kernel, w->kernel, WINOGRAD_MAX_TILE, WINOGRAD_MAX_KERNEL,
            WINOGRAD_MAX_SIZE + 1);
    if (!sized || (int64_t)w->height * w->width > INT32_MAX)
        return type_fault(f, "'s size %dx%d must be that of the convolution's output", w->height,
                          w->width);
    return (w->padding_h >= 0 && w->padding_w >= 0) ||
           type_fault(f, "'s padding %dx%d must not be negative", w->padding_h, w->padding_w);
}

/* Operand i holds the frequencies [N,A*A,T,C] of a map. */
static bool expect_frequencies(const Infer *f, int i, const char *what)
{
    const Winograd *w = &f->attr->winograd;
    int size = winograd_size(w);
    return type_expect(f, i, what, DT_F32, 4) && type_expect_extent(f, i, what, 1, size * size) &&
           type_expect_extent(f, i, what, 2, winograd_tiles(w));
}

/* Operand i is a filter [O,I,extent,extent]. */
static bool expect_square(const Infer *f, int i, int extent)
{
    return type_expect(f, i, "filter", DT_F32, 4) &&
           type_expect_extent(f, i, "filter", 2, extent) &&
           type_expect_extent(f, i, "filter", 3, extent);
}

static bool give_square(const Infer *f, int outputs, int inputs, int extent)
{
    return type_give(f, DT_F32, shape_of(4, outputs, inputs, extent, extent));
}

/* x[N,H,W,C], whose convolution must give height x width, or dy[N,height,width,O]. */
static bool infer_map(const Infer *f)
{
    const Winograd *w = &f->attr->winograd;
    if (!check_winograd(f) || !type_expect_map(f, 0, "map"))
        return false;
    const int32_t *d = type_dims(f, 0);
    bool input = f->op == OP_WINOGRAD_INPUT;
    int rows = input ? window_extent(d[1], w->kernel, 1, w->padding_h, false) : d[1];
    int columns = input ? window_extent(d[2], w->kernel, 1, w->padding_w, false) : d[2];
    if (rows != w->height || columns != w->width)
        return type_fault(f, "'s size is %dx%d, but its map makes it %dx%d", w->height, w->width,
                          rows, columns);
    return type_give_map(f, DT_F32, d, winograd_size(w) * winograd_size(w), winograd_tiles(w),
                         d[3]);
}

static bool infer_multiply(const Infer *f)
{
    if (!check_winograd(f) || !expect_frequencies(f, 0, "the input") ||
        !expect_square(f, 1, winograd_size(&f->attr->winograd)) ||
        !type_expect_extent(f, 1, "the filter", 1, type_dims(f, 0)[3]))
        return false;
    const int32_t *d = type_dims(f, 0);
    return type_give_map(f, DT_F32, d, d[1], d[2], type_dims(f, 1)[0]);
}

/* The result may be rounded to bf16. */
static bool infer_output(const Infer *f)
{
    const Winograd *w = &f->attr->winograd;
    if (!check_winograd(f) || !expect_frequencies(f, 0, "the product"))
        return false;
    const int32_t *d = type_dims(f, 0);
    if (f->arity == 2 &&
        (!type_expect(f, 1, "bias", DT_F32, 1) || !type_expect_extent(f, 1, "bias", 0, d[3])))
        return false;
    return type_give_map(f, f->out->dtype == DT_BF16 ? DT_BF16 : DT_F32, d, w->height, w->width,
                         d[3]);
}

static bool infer_wgrad(const Infer *f)
{
    return check_winograd(f) && expect_frequencies(f, 0, "the input") &&
           expect_frequencies(f, 1, "the gradient") &&
           type_expect_extent(f, 1, "the gradient", 0, type_dims(f, 0)[0]) &&
           give_square(f, type_dims(f, 1)[3], type_dims(f, 0)[3],
                       winograd_size(&f->attr->winograd));
}

static bool infer_filter(const Infer *f)
{
    const Winograd *w = &f->attr->winograd;
    bool transforms = f->op == OP_WINOGRAD_FILTER;
    return check_winograd(f) && expect_square(f, 0, transforms ? w->kernel : winograd_size(w)) &&
           give_square(f, type_dims(f, 0)[0], type_dims(f, 0)[1],
                       transforms ? winograd_size(w) : w->kernel);
}

/* ---- values ---- */

/* A tile, its frequencies, or a filter. */
typedef double Square[WINOGRAD_MAX_SIZE][WINOGRAD_MAX_SIZE];

/* y = L x L^T */
static void transform(const WinogradTransform *l, Square x, Square y)
{
    Square half = {{0}};
    memset(y, 0, sizeof(Square));
    for (int i = 0; i < l->rows; i++)
        for (int k = 0; k < l->columns; k++)
            for (int j = 0; j < l->columns; j++)
                half[i][j] += l->at[i][k] * x[k][j];
    for (int i = 0; i < l->rows; i++)
        for (int j = 0; j < l->rows; j++)
            for (int k = 0; k < l->columns; k++)
                y[i][j] += half[i][k] * l->at[j][k];
}

static WinogradTransform transform_of(const Eval *e, const Node *node)
{
    WinogradTransform l = winograd_transform(node);
    for (int i = 0; i < l.rows; i++)
        for (int j = 0; j < l.columns; j++)
            l.at[i][j] = eval_factor(e, l.at[i][j]);
    return l;
}

/* The square at (row, column) of channel c of image n; zero outside of the map. */
static void read_square(const Map *m, int n, int row, int column, int c, Square x)
{
    for (int i = 0; i < WINOGRAD_MAX_SIZE; i++)
        for (int j = 0; j < WINOGRAD_MAX_SIZE; j++) {
            int h = row + i, w = column + j;
            bool inside = h >= 0 && w >= 0 && h < m->h && w < m->w;
            x[i][j] = inside ? map_at(m, n, h, w)[c] : 0;
        }
}

/* winograd_input, winograd_output_grad: the map's square of each tile to its frequencies. A tile's
 * square of the gradient has no margin. */
static void eval_map_transform(Eval *e, const Node *node)
{
    const Winograd *w = &node->attr.winograd;
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    WinogradTransform l = transform_of(e, node);
    bool margin = node->op == OP_WINOGRAD_INPUT;
    int columns = winograd_tile_columns(w);
    PARALLEL_FOR
    for (int piece = 0; piece < y.n * y.w; piece++) {
        int n = piece / y.w, t = piece % y.w;
        int row = t / columns * w->tile - (margin ? w->padding_h : 0);
        int column = t % columns * w->tile - (margin ? w->padding_w : 0);
        Square in, out;
        for (int c = 0; c < x.c; c++) {
            read_square(&x, n, row, column, c, in);
            transform(&l, in, out);
            for (int f = 0; f < y.h; f++)
                map_at(&y, n, f, t)[c] = out[f / l.rows][f % l.rows];
        }
    }
}

static void eval_output(Eval *e, const Node *node)
{
    const Winograd *w = &node->attr.winograd;
    Map m = eval_map(e, node->in[0]), y = eval_map(e, node);
    const double *bias = node->arity > 1 ? eval_value(e, node->in[1]) : NULL;
    WinogradTransform l = transform_of(e, node);
    int columns = winograd_tile_columns(w);
    PARALLEL_FOR
    for (int piece = 0; piece < m.n * m.w; piece++) {
        int n = piece / m.w, t = piece % m.w;
        int row = t / columns * w->tile, column = t % columns * w->tile;
        Square in, out;
        for (int c = 0; c < m.c; c++) {
            for (int f = 0; f < m.h; f++)
                in[f / l.columns][f % l.columns] = map_at(&m, n, f, t)[c];
            transform(&l, in, out);
            for (int i = 0; i < w->tile && row + i < y.h; i++)
                for (int j = 0; j < w->tile && column + j < y.w; j++)
                    map_at(&y, n, row + i, column + j)[c] = out[i][j] + (bias ? bias[c] : 0);
        }
    }
}

/* winograd_filter, winograd_filter_grad: every square of [O,I,.,.] */
static void eval_filter_transform(Eval *e, const Node *node)
{
    const double *in = eval_value(e, node->in[0]);
    double *out = eval_value(e, node);
    const int32_t *dim = node->tensor.shape.dim;
    WinogradTransform l = transform_of(e, node);
    Square x, y;
    for (int64_t pair = 0; pair < (int64_t)dim[0] * dim[1]; pair++) {
        for (int i = 0; i < l.columns * l.columns; i++)
            x[i / l.columns][i % l.columns] = in[pair * l.columns * l.columns + i];
        transform(&l, x, y);
        for (int i = 0; i < l.rows * l.rows; i++)
            out[pair * l.rows * l.rows + i] = y[i / l.rows][i % l.rows];
    }
}

/* y[n,f,t,o] = sum over c of x[n,f,t,c] filter[o,c,f] */
static void eval_multiply(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    double *by_tap = eval_filter_by_tap(e, node->in[1], false);
    PARALLEL_FOR
    for (int piece = 0; piece < y.n * y.h; piece++) {
        int n = piece / y.h, f = piece % y.h;
        memset(map_at(&y, n, f, 0), 0, (size_t)y.w * (size_t)y.c * sizeof(double));
        for (int t = 0; t < y.w; t++)
            for (int c = 0; c < x.c; c++)
                add_scaled(map_at(&y, n, f, t), map_at(&x, n, f, t)[c],
                           by_tap + ((int64_t)f * x.c + c) * y.c, y.c);
    }
    free(by_tap);
}

/* filter[o,c,f] = sum over n,t of x[n,f,t,c] dy[n,f,t,o] */
static void eval_wgrad(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), dy = eval_map(e, node->in[1]);
    double *out = eval_value(e, node);
    PARALLEL_FOR
    for (int piece = 0; piece < x.h * x.c; piece++) {
        int f = piece / x.c, c = piece % x.c;
        double *sum = xmalloc((size_t)dy.c * sizeof *sum);
        memset(sum, 0, (size_t)dy.c * sizeof *sum);
        for (int n = 0; n < x.n; n++)
            for (int t = 0; t < x.w; t++)
                add_scaled(sum, map_at(&x, n, f, t)[c], map_at(&dy, n, f, t), dy.c);
        for (int o = 0; o < dy.c; o++)
            out[((int64_t)o * x.c + c) * x.h + f] = sum[o];
        free(sum);
    }
}

/* ---- work ---- */

static double work_multiply(const Node *n)
{
    return 2.0 * n->in[0]->tensor.shape.dim[3] * (double)shape_elements(&n->tensor.shape);
}

static double work_wgrad(const Node *n)
{
    return 2.0 * n->tensor.shape.dim[0] * (double)shape_elements(&n->in[0]->tensor.shape);
}

OP_RULE(winograd, WINOGRAD_INPUT) = {infer_map, eval_map_transform, spread_linear, no_gradient,
                                     no_work};
OP_RULE(winograd, WINOGRAD_OUTPUT_GRAD) = {infer_map, eval_map_transform, spread_linear,
                                           no_gradient, no_work};
OP_RULE(winograd, WINOGRAD_FILTER) = {infer_filter, eval_filter_transform, spread_linear,
                                      no_gradient, no_work};
OP_RULE(winograd, WINOGRAD_FILTER_GRAD) = {infer_filter, eval_filter_transform, spread_linear,
                                           no_gradient, no_work};
OP_RULE(winograd, WINOGRAD_MULTIPLY) = {infer_multiply, eval_multiply, spread_linear, no_gradient,
                                        work_multiply};
OP_RULE(winograd, WINOGRAD_OUTPUT) = {infer_output, eval_output, spread_linear, no_gradient,
                                      no_work};
OP_RULE(winograd, WINOGRAD_WGRAD) = {infer_wgrad, eval_wgrad, spread_linear, no_gradient,
                                     work_wgrad};
