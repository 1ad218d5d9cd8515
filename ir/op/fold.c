/* A convolution of a resized image as one of the source image, from the matrices of ../fold.c. That
 * they amount to a resize and a convolution is what the tests check. */
#include "family.h"

/* ---- types ---- */

/* What folding makes of the shapes: pairs of classes, extents of folded filters, outputs. */
typedef struct FoldShape {
    int pairs, extent_h, extent_w, height, width;
} FoldShape;

/* Checks the attributes; s: what they make of the shapes. */
static bool check_fold(const Infer *f, FoldShape *s)
{
    const Fold *fold = &f->attr->fold;
    const Window *w = &fold->window;
    FoldAxes axes;
    if (!type_window(f))
        return false;
    if (fold->height < 1 || fold->width < 1 || fold->source_h < 1 || fold->source_w < 1 ||
        fold->height > FOLD_MAX_SIZE || fold->width > FOLD_MAX_SIZE ||
        fold->source_h > FOLD_MAX_SIZE || fold->source_w > FOLD_MAX_SIZE ||
        w->kernel_h > FOLD_MAX_KERNEL || w->kernel_w > FOLD_MAX_KERNEL)
        return type_fault(f, "'s sizes must be 1 to %d, its kernel at most %dx%d", FOLD_MAX_SIZE,
                          FOLD_MAX_KERNEL, FOLD_MAX_KERNEL);
    Pool *pool = pool_new();
    bool good = fold_axes(pool, fold, &axes);
    if (good)
        *s = (FoldShape){axes.rows.classes * axes.columns.classes, axes.rows.extent,
                         axes.columns.extent, axes.rows.outputs, axes.columns.outputs};
    pool_free(pool);
    return good || type_fault(f,
                              ": no output, more than %d classes of outputs along an axis or more "
                              "than %d source pixels an output; use conv2d of the resized image",
                              FOLD_MAX_CLASSES, FOLD_MAX_EXTENT);
}

static bool give_folded(const Infer *f, const FoldShape *s, int outputs, int inputs)
{
    if (inputs > INT32_MAX / s->pairs)
        return type_fault(f, ": %d channels are too many", inputs);
    return type_give(f, DT_F32, shape_of(4, outputs, inputs * s->pairs, s->extent_h, s->extent_w));
}

/* Operand i holds folded filters. */
static bool expect_folded(const Infer *f, const FoldShape *s, int i)
{
    if (!type_expect(f, i, "filter", DT_F32, 4))
        return false;
    if (type_dims(f, i)[1] % s->pairs != 0)
        return type_fault(f,
                          "'s filter has %d channels, but must have some for each of %d pairs of "
                          "classes",
                          type_dims(f, i)[1], s->pairs);
    return type_expect_extent(f, i, "the filter", 2, s->extent_h) &&
           type_expect_extent(f, i, "the filter", 3, s->extent_w);
}

/* The image [N,source_h,source_w,I]. */
static bool expect_source(const Infer *f)
{
    return type_expect(f, 0, "image", DT_F32, 4) &&
           type_expect_extent(f, 0, "the image", 1, f->attr->fold.source_h) &&
           type_expect_extent(f, 0, "the image", 2, f->attr->fold.source_w);
}

static bool infer_conv2d_folded(const Infer *f)
{
    FoldShape s;
    if (!check_fold(f, &s) || !expect_source(f) || !expect_folded(f, &s, 1))
        return false;
    const int32_t *x = type_dims(f, 0), *filter = type_dims(f, 1);
    if (filter[1] / s.pairs != x[3])
        return type_fault(f, "'s filter is for %d input channels, but its image has %d",
                          filter[1] / s.pairs, x[3]);
    if (f->arity == 3 &&
        (!type_expect(f, 2, "bias", DT_F32, 1) || !type_expect_extent(f, 2, "bias", 0, filter[0])))
        return false;
    return type_give_map(f, DT_F32, x, s.height, s.width, filter[0]);
}

static bool infer_conv2d_folded_wgrad(const Infer *f)
{
    FoldShape s;
    return check_fold(f, &s) && expect_source(f) && type_expect(f, 1, "gradient", DT_F32, 4) &&
           type_expect_extent(f, 1, "the gradient", 0, type_dims(f, 0)[0]) &&
           type_expect_extent(f, 1, "the gradient", 1, s.height) &&
           type_expect_extent(f, 1, "the gradient", 2, s.width) &&
           give_folded(f, &s, type_dims(f, 1)[3], type_dims(f, 0)[3]);
}

static bool infer_fold_filter_grad(const Infer *f)
{
    const Window *w = &f->attr->fold.window;
    FoldShape s;
    return check_fold(f, &s) && expect_folded(f, &s, 0) &&
           type_give(f, DT_F32,
                     shape_of(4, type_dims(f, 0)[0], type_dims(f, 0)[1] / s.pairs, w->kernel_h,
                              w->kernel_w));
}

static bool infer_fold_filter(const Infer *f)
{
    const Window *w = &f->attr->fold.window;
    FoldShape s;
    return check_fold(f, &s) && type_expect(f, 0, "filter", DT_F32, 4) &&
           type_expect_extent(f, 0, "filter", 2, w->kernel_h) &&
           type_expect_extent(f, 0, "filter", 3, w->kernel_w) &&
           give_folded(f, &s, type_dims(f, 0)[0], type_dims(f, 0)[1]);
}

/* ---- values ---- */

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

/* One op of a folded convolution, with the squares of its factors where squares of spreads are
 * computed. */
static void eval_fold(Eval *e, const Node *n)
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

/* ---- work ---- */

/* An output has the filter [I,EH,EW] of its classes. */
static double work_folded(const Node *x, const Node *filter, const Node *map)
{
    const Shape *s = &filter->tensor.shape;
    double seen = (double)x->tensor.shape.dim[3] * s->dim[2] * s->dim[3];
    return 2 * seen * (double)shape_elements(&map->tensor.shape);
}

static double work_conv2d_folded(const Node *n)
{
    return work_folded(n->in[0], n->in[1], n);
}

static double work_conv2d_folded_wgrad(const Node *n)
{
    return work_folded(n->in[0], n, n->in[1]);
}

OP_RULE(fold, FOLD_FILTER) = {infer_fold_filter, eval_fold, spread_linear, no_gradient, no_work};
OP_RULE(fold, FOLD_FILTER_GRAD) = {infer_fold_filter_grad, eval_fold, spread_linear, no_gradient,
                                   no_work};
OP_RULE(fold, CONV2D_FOLDED) = {infer_conv2d_folded, eval_fold, spread_linear, no_gradient,
                                work_conv2d_folded};
OP_RULE(fold, CONV2D_FOLDED_WGRAD) = {infer_conv2d_folded_wgrad, eval_fold, spread_linear,
                                      no_gradient, work_conv2d_folded_wgrad};
