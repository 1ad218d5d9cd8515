/* Batch norm of maps [N,H,W,C], a channel at a time over images and pixels (Ioffe, Szegedy 2015),
 * as torch.nn.BatchNorm2d. Statistics are of the first `valid` images; rows from there on have a
 * value, and the gradient zero. */
#include "family.h"

#include "../numbers.h"

#include <math.h>
#include <stdlib.h>

/* ---- types ---- */

static bool expect_channels(const Infer *f, int k, const char *what, int32_t channels)
{
    return type_expect(f, k, what, DT_F32, 1) && type_expect_extent(f, k, what, 0, channels);
}

static bool check_attr(const Infer *f)
{
    const NormAttr *a = &f->attr->norm;
    return (fits_positive(a->eps) && a->momentum >= 0 && a->momentum <= 1) ||
           type_fault(f, "'s eps must be greater than 0, as a float, and its momentum in [0, 1]");
}

/* x, mean, var[, weight, bias] */
static bool infer_batch_norm(const Infer *f)
{
    static const char *const what[] = {"input", "mean", "variance", "weight", "bias"};
    if (!check_attr(f) || !type_expect_map(f, 0, what[0]))
        return false;
    if (f->arity == 4)
        return type_fault(f, " has both weight and bias, or none");
    const int32_t *x = type_dims(f, 0);
    for (int k = 1; k < f->arity; k++)
        if (!expect_channels(f, k, what[k], x[3]))
            return false;
    return type_give_map(f, type_dtype(f, 0), x, x[1], x[2], x[3]);
}

static bool give_channels(const Infer *f)
{
    return type_give(f, DT_F32, shape_of(1, type_dims(f, 0)[3], 0, 0, 0));
}

static bool infer_mean(const Infer *f)
{
    return type_expect_map(f, 0, "input") && type_expect(f, 1, "valid", DT_I32, 0) &&
           give_channels(f);
}

static bool infer_var(const Infer *f)
{
    return type_expect_map(f, 0, "input") && expect_channels(f, 1, "mean", type_dims(f, 0)[3]) &&
           type_expect(f, 2, "valid", DT_I32, 0) && give_channels(f);
}

static bool infer_sum(const Infer *f)
{
    return type_expect_map(f, 0, "gradient") && give_channels(f);
}

/* dy and x are of one type. */
static bool expect_pair(const Infer *f)
{
    if (!type_expect_map(f, 0, "gradient") ||
        !type_expect(f, 1, "input", type_dtype(f, 0), 4))
        return false;
    for (int axis = 0; axis < 4; axis++)
        if (!type_expect_extent(f, 1, "the input", axis, type_dims(f, 0)[axis]))
            return false;
    return true;
}

static bool infer_dot(const Infer *f)
{
    if (!check_attr(f) || !expect_pair(f))
        return false;
    int32_t channels = type_dims(f, 0)[3];
    return expect_channels(f, 2, "mean", channels) &&
           expect_channels(f, 3, "variance", channels) && give_channels(f);
}

/* dy, x, mean, var, dbias, dweight, valid[, weight] */
static bool infer_grad(const Infer *f)
{
    static const char *const what[] = {"",      "",        "mean", "variance",
                                       "dbias", "dweight", "",     "weight"};
    if (!check_attr(f) || !expect_pair(f) || !type_expect(f, 6, "valid", DT_I32, 0))
        return false;
    const int32_t *x = type_dims(f, 0);
    for (int k = 2; k < f->arity; k++)
        if (k != 6 && !expect_channels(f, k, what[k], x[3]))
            return false;
    return type_give_map(f, type_dtype(f, 0), x, x[1], x[2], x[3]);
}

/* ---- values ---- */

/* The images that count, of those that are evaluated; in spreads too, whose integers are errors. */
static int valid_images(Eval *e, const Node *valid)
{
    double count = eval_value(e->of ? e->of : e, valid)[0];
    return count < e->batch ? (int)count : e->batch;
}

/* Pixels of the first `images` of a map. */
static int64_t pixels_of(const Map *x, int images)
{
    return (int64_t)images * x->h * x->w;
}

static void eval_mean(Eval *e, const Node *n)
{
    Map x = eval_map(e, n->in[0]);
    double *out = eval_value(e, n);
    int64_t count = pixels_of(&x, valid_images(e, n->in[1]));
    memset(out, 0, (size_t)x.c * sizeof *out);
    for (int64_t p = 0; p < count; p++)
        add_scaled(out, 1 / eval_factor(e, (double)count), x.data + p * x.c, x.c);
}

static void eval_var(Eval *e, const Node *n)
{
    Map x = eval_map(e, n->in[0]);
    const double *mean = eval_value(e, n->in[1]);
    double *out = eval_value(e, n);
    int64_t count = pixels_of(&x, valid_images(e, n->in[2]));
    memset(out, 0, (size_t)x.c * sizeof *out);
    for (int64_t p = 0; p < count; p++)
        for (int c = 0; c < x.c; c++)
            out[c] += square_of(x.data[p * x.c + c] - mean[c]) / (double)count;
}

static double inverse_std(const Node *n, double var)
{
    return 1 / sqrt(var + n->attr.norm.eps);
}

/* y = (x - mean) / sqrt(var + eps) * weight + bias */
static void eval_batch_norm(Eval *e, const Node *n)
{
    Map x = eval_map(e, n->in[0]);
    const double *mean = eval_value(e, n->in[1]), *var = eval_value(e, n->in[2]);
    const double *weight = n->arity > 3 ? eval_value(e, n->in[3]) : NULL;
    const double *bias = n->arity > 3 ? eval_value(e, n->in[4]) : NULL;
    double *out = eval_value(e, n);
    for (int64_t p = 0; p < pixels_of(&x, x.n); p++)
        for (int c = 0; c < x.c; c++) {
            double value = (x.data[p * x.c + c] - mean[c]) * inverse_std(n, var[c]);
            out[p * x.c + c] = weight ? value * weight[c] + bias[c] : value;
        }
}

static void eval_sum(Eval *e, const Node *n)
{
    Map dy = eval_map(e, n->in[0]);
    double *out = eval_value(e, n);
    memset(out, 0, (size_t)dy.c * sizeof *out);
    for (int64_t p = 0; p < pixels_of(&dy, dy.n); p++)
        add_scaled(out, 1, dy.data + p * dy.c, dy.c);
}

/* sum of dy (x - mean) / sqrt(var + eps) */
static void eval_dot(Eval *e, const Node *n)
{
    Map dy = eval_map(e, n->in[0]), x = eval_map(e, n->in[1]);
    const double *mean = eval_value(e, n->in[2]), *var = eval_value(e, n->in[3]);
    double *out = eval_value(e, n);
    memset(out, 0, (size_t)x.c * sizeof *out);
    for (int64_t p = 0; p < pixels_of(&x, x.n); p++)
        for (int c = 0; c < x.c; c++)
            out[c] += dy.data[p * x.c + c] * (x.data[p * x.c + c] - mean[c]) *
                      inverse_std(n, var[c]);
}

/* What batch_norm_grad reads of a channel. */
typedef struct Channel {
    double mean, inverse, sum, dot, weight; /* inverse: 1 / sqrt(var + eps) */
} Channel;

static Channel channel_of(Eval *e, const Node *n, int c)
{
    return (Channel){eval_value(e, n->in[2])[c], inverse_std(n, eval_value(e, n->in[3])[c]),
                     eval_value(e, n->in[4])[c], eval_value(e, n->in[5])[c],
                     n->arity > 7 ? eval_value(e, n->in[7])[c] : 1};
}

/* dx = weight / std (dy - dbias / count - xhat dweight / count), xhat = (x - mean) / std: what
 * reaches x through its value, the mean and the variance. Zero from `valid` on. */
static void eval_grad(Eval *e, const Node *n)
{
    Map dy = eval_map(e, n->in[0]), x = eval_map(e, n->in[1]);
    double *out = eval_value(e, n);
    int64_t count = pixels_of(&x, valid_images(e, n->in[6]));
    for (int c = 0; c < x.c; c++) {
        Channel k = channel_of(e, n, c);
        for (int64_t p = 0; p < pixels_of(&x, x.n); p++) {
            int64_t at = p * x.c + c;
            double xhat = (x.data[at] - k.mean) * k.inverse;
            double change = (k.sum + xhat * k.dot) / (double)count;
            out[at] = p < count ? k.weight * k.inverse * (dy.data[at] - change) : 0;
        }
    }
}

/* ---- spreads ---- */

static void spread_mean(Eval *e, const Node *n)
{
    Map x = eval_map(e->of, n->in[0]);
    spread_sum(e, n, (double)pixels_of(&x, valid_images(e, n->in[1])));
}

/* The derivative by x is 2 (x - mean) / count, that by the mean 0; each square is a term. */
static void spread_var(Eval *e, const Node *n)
{
    Map x = eval_map(e->of, n->in[0]), square = eval_map(e, n->in[0]);
    const double *mean = eval_value(e->of, n->in[1]);
    double *out = eval_value(e, n);
    int64_t count = pixels_of(&x, valid_images(e, n->in[2]));
    memset(out, 0, (size_t)x.c * sizeof *out);
    for (int64_t p = 0; p < count; p++)
        for (int c = 0; c < x.c; c++) {
            double d = square_of(x.data[p * x.c + c] - mean[c]);
            out[c] += (4 * d * square.data[p * x.c + c] + d * d) / square_of((double)count);
        }
}

static void spread_batch_norm(Eval *e, const Node *n)
{
    Map x = eval_map(e->of, n->in[0]), square = eval_map(e, n->in[0]);
    double *out = eval_value(e, n);
    for (int c = 0; c < x.c; c++) {
        double inverse = inverse_std(n, eval_value(e->of, n->in[2])[c]);
        double weight = n->arity > 3 ? eval_value(e->of, n->in[3])[c] : 1;
        double mean = eval_value(e->of, n->in[1])[c], of_mean = eval_value(e, n->in[1])[c];
        double of_var = eval_value(e, n->in[2])[c];
        double of_weight = n->arity > 3 ? eval_value(e, n->in[3])[c] : 0;
        double of_bias = n->arity > 3 ? eval_value(e, n->in[4])[c] : 0;
        for (int64_t p = 0; p < pixels_of(&x, x.n); p++) {
            int64_t at = p * x.c + c;
            double xhat = (x.data[at] - mean) * inverse;
            out[at] = square_of(inverse * weight) * (square.data[at] + of_mean) +
                      square_of(xhat * weight * inverse * inverse / 2) * of_var +
                      square_of(xhat) * of_weight + of_bias;
        }
    }
}

/* The terms of a sum of dy, or of dy xhat where x is not NULL. */
static void add_partials(const Map *dy, const Map *x, const double *mean, const Partials *p)
{
    double *row = eval_zeroed(dy->c);
    for (int64_t pixel = 0; pixel < pixels_of(dy, dy->n); pixel++) {
        for (int c = 0; c < dy->c; c++)
            row[c] = dy->data[pixel * dy->c + c] *
                     (x ? x->data[pixel * dy->c + c] - mean[c] : 1);
        partials_add(p, 1, row);
    }
    free(row);
}

static void spread_batch_sum(Eval *e, const Node *n)
{
    Map dy = eval_map(e->of, n->in[0]);
    double *out = eval_value(e, n);
    Partials p = partials_new(dy.c);
    spread_sum(e, n, (double)pixels_of(&dy, dy.n));
    add_partials(&dy, NULL, NULL, &p);
    for (int c = 0; c < dy.c; c++)
        out[c] += partials_count(e, &p, c, spread_unit(n->in[0]));
    free(p.sum);
}

/* An error of the mean, or of the variance, is in all terms alike. */
static void spread_dot(Eval *e, const Node *n)
{
    Map dy = eval_map(e->of, n->in[0]), x = eval_map(e->of, n->in[1]);
    Map of_dy = eval_map(e, n->in[0]), of_x = eval_map(e, n->in[1]);
    const double *mean = eval_value(e->of, n->in[2]), *var = eval_value(e->of, n->in[3]);
    const double *of_mean = eval_value(e, n->in[2]), *of_var = eval_value(e, n->in[3]);
    const double *dot = eval_value(e->of, n);
    double *out = eval_value(e, n);
    Partials p = partials_new(x.c);
    add_partials(&dy, &x, mean, &p);
    for (int c = 0; c < x.c; c++) {
        double inverse = inverse_std(n, var[c]), sum = 0, terms = 0;
        for (int64_t at = c; at < pixels_of(&x, x.n) * x.c; at += x.c) {
            sum += dy.data[at];
            terms += square_of(x.data[at] - mean[c]) * of_dy.data[at] +
                     square_of(dy.data[at]) * of_x.data[at];
        }
        terms += square_of(sum) * of_mean[c] + partials_count(e, &p, c, spread_unit(n->in[0]));
        out[c] = square_of(inverse) * terms +
                 square_of(dot[c] * inverse * inverse / 2) * of_var[c];
    }
    free(p.sum);
}

static void spread_grad(Eval *e, const Node *n)
{
    Map dy = eval_map(e->of, n->in[0]), x = eval_map(e->of, n->in[1]);
    Map of_dy = eval_map(e, n->in[0]), of_x = eval_map(e, n->in[1]);
    double *out = eval_value(e, n);
    double count = (double)pixels_of(&x, valid_images(e, n->in[6]));
    for (int c = 0; c < x.c; c++) {
        Channel k = channel_of(e->of, n, c);
        double of_mean = eval_value(e, n->in[2])[c], of_var = eval_value(e, n->in[3])[c];
        double of_sum = eval_value(e, n->in[4])[c], of_dot = eval_value(e, n->in[5])[c];
        double of_weight = n->arity > 7 ? eval_value(e, n->in[7])[c] : 0;
        double by_var = square_of(k.inverse * k.inverse / 2) * of_var; /* of 1 / std, relative */
        for (int64_t p = 0; p < pixels_of(&x, x.n); p++) {
            int64_t at = p * x.c + c;
            double xhat = (x.data[at] - k.mean) * k.inverse, slope = k.dot / count;
            double inside = dy.data[at] - k.sum / count - xhat * slope;
            double terms = of_dy.data[at] + of_sum / square_of(count) +
                           square_of(xhat / count) * of_dot +
                           square_of(slope * k.inverse) * (of_x.data[at] + of_mean) +
                           (square_of(inside) + square_of(xhat * slope)) * by_var;
            double square = square_of(k.weight * k.inverse) * terms +
                            square_of(k.inverse * inside) * of_weight;
            out[at] = (double)p < count ? square : 0;
        }
    }
}

/* ---- gradients ---- */

/* By the statistics of the batch, which are functions of x: theirs is in dx, and they get none. */
static void gradient_batch_norm(Gradient *g, Node *n, Node *dy)
{
    Node *x = n->in[0], *mean = n->in[1], *var = n->in[2];
    Node *weight = n->arity > 3 ? n->in[3] : NULL;
    if (mean->op != OP_BATCH_MEAN || var->op != OP_BATCH_VAR || mean->in[0] != x)
        internal_error("a batch norm in training is by the statistics of its operand");
    Node *pair[] = {dy, x, mean, var};
    Node *sum = graph_add(g->graph, OP_BATCH_SUM, 1, &dy, NULL, n->loc);
    Node *dot = graph_add(g->graph, OP_BATCH_DOT, 4, pair, &n->attr, n->loc);
    Node *all[] = {dy, x, mean, var, sum, dot, mean->in[1], weight};
    if (weight && g->needs(g, n->in[4]))
        g->give(g, n->in[4], sum, n->loc);
    if (weight && g->needs(g, weight))
        g->give(g, weight, dot, n->loc);
    int arity = weight ? 8 : 7;
    if (g->needs(g, x))
        g->give(g, x, graph_add(g->graph, OP_BATCH_NORM_GRAD, arity, all, &n->attr, n->loc),
                n->loc);
}

OP_RULE(batch_norm, BATCH_NORM) = {infer_batch_norm, eval_batch_norm, spread_batch_norm,
                                   gradient_batch_norm, no_work};
OP_RULE(batch_norm, BATCH_MEAN) = {infer_mean, eval_mean, spread_mean, no_gradient, no_work};
OP_RULE(batch_norm, BATCH_VAR) = {infer_var, eval_var, spread_var, no_gradient, no_work};
OP_RULE(batch_norm, BATCH_SUM) = {infer_sum, eval_sum, spread_batch_sum, no_gradient, no_work};
OP_RULE(batch_norm, BATCH_DOT) = {infer_dot, eval_dot, spread_dot, no_gradient, no_work};
OP_RULE(batch_norm, BATCH_NORM_GRAD) = {infer_grad, eval_grad, spread_grad, no_gradient, no_work};
