/* The evaluator's folded convolutions, in double, from the matrices of fold.c. That they amount to
 * a resize and a convolution is what the tests check. */
#include "eval.h"

typedef struct Axes {
    FoldAxis rows, columns;
} Axes;

static Axes axes_of(Pool *pool, const Node *n)
{
    Axes a;
    if (!fold_axes(pool, &n->attr.fold, &a.rows, &a.columns))
        internal_error("%s cannot be folded", op_name(n->op));
    return a;
}

/* The element of a folded filter [O,I*classes,EH,EW] of `inputs` channels before folding: that of
 * output channel o, input channel i and a pair of classes, at source position h, w. */
static double *folded_at(const Axes *a, double *filter, int inputs, const int index[6])
{
    int o = index[0], pair = index[1] * a->columns.classes + index[2];
    int64_t channels = (int64_t)inputs * a->rows.classes * a->columns.classes;
    int64_t at = o * channels + (int64_t)pair * inputs + index[3];
    return filter + (at * a->rows.extent + index[4]) * a->columns.extent + index[5];
}

/* sum over kh, kw of R[kh][h] filter[kh][kw] R[kw][w] for one element of the folded filter. */
static double folded_tap(const Axes *a, const double *square, const int index[6])
{
    double sum = 0;
    for (int kh = 0; kh < a->rows.kernel; kh++)
        for (int kw = 0; kw < a->columns.kernel; kw++)
            sum += fold_at(&a->rows, index[1], kh, index[4]) *
                   square[kh * a->columns.kernel + kw] *
                   fold_at(&a->columns, index[2], kw, index[5]);
    return sum;
}

/* The adjoint: adds what one element's gradient gives to the filter's. */
static void add_to_square(const Axes *a, double *square, double gradient, const int index[6])
{
    for (int kh = 0; kh < a->rows.kernel; kh++)
        for (int kw = 0; kw < a->columns.kernel; kw++)
            square[kh * a->columns.kernel + kw] +=
                fold_at(&a->rows, index[1], kh, index[4]) * gradient *
                fold_at(&a->columns, index[2], kw, index[5]);
}

/* fold_filter, fold_filter_grad: every element of the folded filters, with all squares of the
 * filter [O,I,KH,KW] */
static void eval_filters(Eval *e, const Node *n, const Axes *a)
{
    bool folds = n->op == OP_FOLD_FILTER;
    const Node *plain = folds ? n->in[0] : n;
    double *square = eval_value(e, plain), *folded = eval_value(e, folds ? n : n->in[0]);
    int outputs = plain->tensor.shape.dim[0], inputs = plain->tensor.shape.dim[1];
    if (!folds)
        memset(square, 0, (size_t)eval_elements(e, n) * sizeof *square);
    for (int o = 0; o < outputs; o++)
        for (int i = 0; i < inputs; i++, square += a->rows.kernel * a->columns.kernel)
            for (int at = 0; at < a->rows.classes * a->columns.classes * a->rows.extent *
                                      a->columns.extent; at++) {
                int tap = at % (a->rows.extent * a->columns.extent);
                int pair = at / (a->rows.extent * a->columns.extent);
                int index[6] = {o, pair / a->columns.classes, pair % a->columns.classes, i,
                                tap / a->columns.extent, tap % a->columns.extent};
                double *element = folded_at(a, folded, inputs, index);
                if (folds)
                    *element = folded_tap(a, square, index);
                else
                    add_to_square(a, square, *element, index);
            }
}

/* The folded filter element that output pixel oh, ow has for channel o, and its input. */
typedef struct Tap {
    double *filter, *x;
} Tap;

static Tap tap_of(const Axes *a, const Map *x, double *filter, const int at[7])
{
    int n = at[0], oh = at[1], ow = at[2], i = at[4], h = at[5], w = at[6];
    int index[6] = {at[3], a->rows.class_of[oh], a->columns.class_of[ow], i, h, w};
    return (Tap){folded_at(a, filter, x->c, index),
                 map_at(x, n, a->rows.base[oh] + h, a->columns.base[ow] + w) + i};
}

/* y[n,oh,ow,o] = bias[o] + sum over i,h,w of x[n, base + h, base + w, i] times the filter of the
 * pixel's classes, as far as they reach; or, the gradient, the filter += x dy. */
static void eval_pixel(Eval *e, const Node *node, const Axes *a, int n, int pixel)
{
    bool wgrad = node->op == OP_CONV2D_FOLDED_WGRAD;
    Map x = eval_map(e, node->in[0]), y = eval_map(e, wgrad ? node->in[1] : node);
    double *filter = eval_value(e, wgrad ? node : node->in[1]);
    int oh = pixel / y.w, ow = pixel % y.w, reach = a->columns.reach[a->columns.class_of[ow]];
    int area = a->rows.reach[a->rows.class_of[oh]] * reach;
    for (int o = 0; o < y.c; o++) {
        double *out = map_at(&y, n, oh, ow) + o;
        if (!wgrad)
            *out = node->arity > 2 ? eval_value(e, node->in[2])[o] : 0;
        for (int at = 0; at < x.c * area; at++) {
            int where[7] = {n, oh, ow, o, at / area, at % area / reach, at % area % reach};
            Tap t = tap_of(a, &x, filter, where);
            if (wgrad)
                *t.filter += *t.x * *out;
            else
                *out += *t.x * *t.filter;
        }
    }
}

static void eval_pixels(Eval *e, const Node *node, const Axes *a)
{
    bool wgrad = node->op == OP_CONV2D_FOLDED_WGRAD;
    Map y = eval_map(e, wgrad ? node->in[1] : node);
    if (wgrad)
        memset(eval_value(e, node), 0, (size_t)eval_elements(e, node) * sizeof(double));
    for (int n = 0; n < y.n; n++)
        for (int pixel = 0; pixel < y.h * y.w; pixel++)
            eval_pixel(e, node, a, n, pixel);
}

void eval_fold(Eval *e, const Node *n)
{
    Pool *pool = pool_new();
    Axes a = axes_of(pool, n);
    if (n->op == OP_FOLD_FILTER || n->op == OP_FOLD_FILTER_GRAD)
        eval_filters(e, n, &a);
    else
        eval_pixels(e, n, &a);
    pool_free(pool);
}
