/* The evaluator's folded convolutions, in double, from the matrices of fold.c. That they amount to
 * a resize and a convolution is what the tests check. */
#include "eval.h"

/* An element of a folded filter [O,I*classes,EH,EW]: of output channel o and input channel i, for a
 * pair of classes, at source position h, w. */
typedef struct Element {
    int o, i, row_class, column_class, h, w;
} Element;

/* `inputs`: channels before folding. */
static double *folded_at(const FoldAxes *a, double *filter, int inputs, const Element *at)
{
    int pair = at->row_class * a->columns.classes + at->column_class;
    int64_t channels = (int64_t)inputs * a->rows.classes * a->columns.classes;
    int64_t square = at->o * channels + (int64_t)pair * inputs + at->i;
    return filter + (square * a->rows.extent + at->h) * a->columns.extent + at->w;
}

/* R[kh][h] R[kw][w]: what tap kh, kw of the filter counts in the element. */
static double weight_of(const FoldAxes *a, const Element *at, int kh, int kw)
{
    return fold_at(&a->rows, at->row_class, kh, at->h) *
           fold_at(&a->columns, at->column_class, kw, at->w);
}

/* folded += sum over kh, kw of the filter's square, weighted; or, the adjoint, square += folded,
 * weighted. */
static void fold_element(const FoldAxes *a, double *square, double *folded, const Element *at,
                         bool adjoint)
{
    for (int kh = 0; kh < a->rows.kernel; kh++)
        for (int kw = 0; kw < a->columns.kernel; kw++) {
            double *tap = square + kh * a->columns.kernel + kw;
            if (adjoint)
                *tap += weight_of(a, at, kh, kw) * *folded;
            else
                *folded += weight_of(a, at, kh, kw) * *tap;
        }
}

/* fold_filter, fold_filter_grad: every element of the folded filters with the square of the filter
 * [O,I,KH,KW] that it is of */
static void eval_filters(Eval *e, const Node *n, const FoldAxes *a)
{
    bool folds = n->op == OP_FOLD_FILTER;
    const Node *plain = folds ? n->in[0] : n;
    double *square = eval_value(e, plain), *folded = eval_value(e, folds ? n : n->in[0]);
    int outputs = plain->tensor.shape.dim[0], inputs = plain->tensor.shape.dim[1];
    int columns = a->columns.classes, width = a->columns.extent, area = a->rows.extent * width;
    memset(eval_value(e, n), 0, (size_t)eval_elements(e, n) * sizeof(double));
    for (int o = 0; o < outputs; o++)
        for (int i = 0; i < inputs; i++, square += a->rows.kernel * a->columns.kernel)
            for (int pair = 0; pair < a->rows.classes * columns; pair++)
                for (int tap = 0; tap < area; tap++) {
                    Element at = {o, i, pair / columns, pair % columns, tap / width, tap % width};
                    fold_element(a, square, folded_at(a, folded, inputs, &at), &at, !folds);
                }
}

/* y[n,oh,ow,o] = bias[o] + sum over i,h,w of x[n, base + h, base + w, i] times the filter of the
 * pixel's classes, as far as they reach; or, the gradient, the filter += x dy. */
static void eval_output(Eval *e, const Node *node, const FoldAxes *a, const int pixel[3], int o)
{
    bool wgrad = node->op == OP_CONV2D_FOLDED_WGRAD;
    Map x = eval_map(e, node->in[0]), y = eval_map(e, wgrad ? node->in[1] : node);
    double *filter = eval_value(e, wgrad ? node : node->in[1]);
    int n = pixel[0], oh = pixel[1], ow = pixel[2];
    double *out = map_at(&y, n, oh, ow) + o;
    Element at = {
        .o = o, .row_class = a->rows.class_of[oh], .column_class = a->columns.class_of[ow]};
    if (!wgrad)
        *out = node->arity > 2 ? eval_value(e, node->in[2])[o] : 0;
    for (at.i = 0; at.i < x.c; at.i++)
        for (at.h = 0; at.h < a->rows.reach[at.row_class]; at.h++)
            for (at.w = 0; at.w < a->columns.reach[at.column_class]; at.w++) {
                double *tap = folded_at(a, filter, x.c, &at);
                double in =
                    map_at(&x, n, a->rows.base[oh] + at.h, a->columns.base[ow] + at.w)[at.i];
                if (wgrad)
                    *tap += in * *out;
                else
                    *out += in * *tap;
            }
}

static void eval_pixels(Eval *e, const Node *node, const FoldAxes *a)
{
    bool wgrad = node->op == OP_CONV2D_FOLDED_WGRAD;
    Map y = eval_map(e, wgrad ? node->in[1] : node);
    if (wgrad)
        memset(eval_value(e, node), 0, (size_t)eval_elements(e, node) * sizeof(double));
    for (int at = 0; at < y.n * y.h * y.w; at++)
        for (int o = 0; o < y.c; o++)
            eval_output(e, node, a, (int[]){at / y.w / y.h, at / y.w % y.h, at % y.w}, o);
}

static void factors_of(const Eval *e, FoldAxis *a)
{
    for (int i = 0; i < a->classes * a->kernel * a->extent; i++)
        a->matrix[i] = eval_factor(e, a->matrix[i]);
}

void eval_fold(Eval *e, const Node *n)
{
    Pool *pool = pool_new();
    FoldAxes a = folded_axes(pool, n);
    factors_of(e, &a.rows);
    factors_of(e, &a.columns);
    if (n->op == OP_FOLD_FILTER || n->op == OP_FOLD_FILTER_GRAD)
        eval_filters(e, n, &a);
    else
        eval_pixels(e, n, &a);
    pool_free(pool);
}
