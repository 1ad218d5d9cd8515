/* Images as Goodfellow et al. 2013 (Maxout Networks, arXiv 1302.4389) prepare them, as pylearn2 has
 * it: global contrast normalization of each image x[h,w,c] by itself,
 *     y = (x - mean) / (norm / scale), norm = sqrt(sum of (x - mean)^2)
 * where a norm / scale below eps counts 1; and, behind the convolution that makes a row of a whole
 * image, which is ZCA, the row as a map again. No parameter that is trained lies before them, so
 * that there is no gradient. */
#include "family.h"

#include "../numbers.h"

#include <math.h>

enum { MEAN, NORM, STATS };

/* ---- types ---- */

static bool infer_stats(const Infer *f)
{
    const int32_t *d = type_dims(f, 0);
    return type_expect_map(f, 0, "input") && type_give_map(f, DT_F32, d, 1, 1, STATS);
}

static bool infer_contrast(const Infer *f)
{
    static const int32_t stats[] = {0, 1, 1, STATS};
    const ContrastAttr *a = &f->attr->contrast;
    if (!fits_positive(a->scale) || !fits_positive(a->eps))
        return type_fault(f, "'s scale and eps must be greater than 0, as floats");
    if (!type_expect_map(f, 0, "input") || !type_expect(f, 1, "the statistics", DT_F32, 4))
        return false;
    for (int axis = 0; axis < 4; axis++)
        if (!type_expect_extent(f, 1, "the statistics", axis,
                                axis == 0 ? type_dims(f, 0)[0] : stats[axis]))
            return false;
    return type_give(f, type_dtype(f, 0), f->in[0]->tensor.shape);
}

static bool infer_unflatten(const Infer *f)
{
    if (!type_expect_map(f, 0, "input") || !type_given(f, type_dtype(f, 0), 4))
        return false;
    const int32_t *y = f->out->shape.dim;
    return type_given_extent(f, 0, type_dims(f, 0)[0]) &&
           type_expect_extent(f, 0, "the input", 1, 1) &&
           type_expect_extent(f, 0, "the input", 2, 1) &&
           type_expect_extent(f, 0, "the input", 3, y[1] * y[2] * y[3]);
}

/* ---- values ---- */

static int64_t image_size(const Map *x)
{
    return (int64_t)x->h * x->w * x->c;
}

static void eval_stats(Eval *e, const Node *n)
{
    Map x = eval_map(e, n->in[0]);
    int64_t size = image_size(&x);
    for (int i = 0; i < x.n; i++) {
        const double *image = x.data + i * size;
        double *out = eval_value(e, n) + (int64_t)i * STATS, sum = 0, squares = 0;
        for (int64_t k = 0; k < size; k++)
            sum += image[k];
        out[MEAN] = sum / (double)size;
        for (int64_t k = 0; k < size; k++)
            squares += square_of(image[k] - out[MEAN]);
        out[NORM] = sqrt(squares);
    }
}

/* What an image with these statistics is multiplied by. */
static double factor(const Node *n, const double *stats)
{
    const ContrastAttr *a = &n->attr.contrast;
    double divisor = stats[NORM] / a->scale;
    return divisor < a->eps ? 1 : 1 / divisor;
}

static void eval_contrast(Eval *e, const Node *n)
{
    Map x = eval_map(e, n->in[0]);
    const double *stats = eval_value(e, n->in[1]);
    double *y = eval_value(e, n);
    for (int64_t i = 0; i < x.n * image_size(&x); i++) {
        const double *own = stats + i / image_size(&x) * STATS;
        y[i] = (x.data[i] - own[MEAN]) * factor(n, own);
    }
}

static void eval_unflatten(Eval *e, const Node *n)
{
    memcpy(eval_value(e, n), eval_value(e, n->in[0]),
           (size_t)eval_elements(e, n) * sizeof(double));
}

/* ---- spreads ---- */

/* d mean = mean of dx; d norm = sum of (x - mean) / norm dx. */
static void spread_stats(Eval *e, const Node *n)
{
    Map x = eval_map(e->of, n->in[0]), spread = eval_map(e, n->in[0]);
    int64_t size = image_size(&x);
    for (int i = 0; i < x.n; i++) {
        const double *image = x.data + i * size, *square = spread.data + i * size;
        const double *value = eval_value(e->of, n) + (int64_t)i * STATS;
        double *out = eval_value(e, n) + (int64_t)i * STATS, sum = 0, along = 0;
        for (int64_t k = 0; k < size; k++)
            sum += square[k];
        out[MEAN] = fmax(sum / square_of((double)size), square_of(value[MEAN]));
        for (int64_t k = 0; k < size && value[NORM] > 0; k++)
            along += square_of((image[k] - value[MEAN]) / value[NORM]) * (square[k] + out[MEAN]);
        out[NORM] = square_of(value[NORM]) + along;
    }
}

static void spread_contrast(Eval *e, const Node *n)
{
    Map x = eval_map(e->of, n->in[0]);
    const double *stats = eval_value(e->of, n->in[1]), *y = eval_value(e->of, n);
    const double *square = eval_value(e, n->in[0]), *own = eval_value(e, n->in[1]);
    double *out = eval_value(e, n);
    for (int64_t i = 0; i < x.n * image_size(&x); i++) {
        int64_t at = i / image_size(&x) * STATS;
        double by = factor(n, stats + at), norm = stats[at + NORM];
        out[i] = (square[i] + own[at + MEAN]) * square_of(by);
        if (norm > 0)
            out[i] += square_of(y[i] / norm) * own[at + NORM];
    }
}

OP_RULE(whiten, IMAGE_STATS) = {infer_stats, eval_stats, spread_stats, no_gradient, no_work};
OP_RULE(whiten, CONTRAST) = {infer_contrast, eval_contrast, spread_contrast, no_gradient, no_work};
OP_RULE(whiten, UNFLATTEN) = {infer_unflatten, eval_unflatten, eval_unflatten, no_gradient,
                              no_work};
