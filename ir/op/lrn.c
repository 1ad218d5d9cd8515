/* Local response normalization across channels (Krizhevsky et al. 2012, section 3.3), with the
 * window, the padding and the divisor of torch.nn.LocalResponseNorm:
 *     s[c] = k + alpha / size * sum of x[j]^2, j = c - size / 2 ... c + (size - 1) / 2
 *     y[c] = x[c] s[c]^-beta
 * and so
 *     dx[c] = dy[c] s[c]^-beta - 2 alpha beta / size * x[c] * sum of dy[j] x[j] s[j]^(-beta - 1)
 * over the j whose windows hold c. */
#include "../numbers.h"
#include "family.h"

#include <stdlib.h>

LrnSpan lrn_span(const LrnAttr *a, int channels)
{
    return (LrnSpan){(int)smaller(a->size / 2, channels - 1),
                     (int)smaller((a->size - 1) / 2, channels - 1)};
}

/* ---- types ---- */

/* With these s^-beta is a float of any s that is one. */
static bool has_bounds(const Infer *f)
{
    const LrnAttr *a = &f->attr->lrn;
    if (a->size < 1 || a->size > LRN_MOST_SIZE)
        return type_fault(f, "'s size must be in [1, %d]", LRN_MOST_SIZE);
    if (!(a->alpha >= 0 && a->alpha <= LRN_MOST_ALPHA) || !fits_float(a->alpha / a->size))
        return type_fault(f, "'s alpha must be 0 or more, and at most %g", LRN_MOST_ALPHA);
    if (!(a->beta >= 0 && a->beta <= LRN_MOST_BETA) || !fits_float(a->beta))
        return type_fault(f, "'s beta must be in [0, %g]", LRN_MOST_BETA);
    return (a->k >= LRN_LEAST_K && a->k <= LRN_MOST_K) ||
           type_fault(f, "'s k must be in [%g, %g]", LRN_LEAST_K, LRN_MOST_K);
}

static bool infer_lrn(const Infer *f)
{
    return has_bounds(f) && type_expect_map(f, 0, "input") &&
           type_give(f, type_dtype(f, 0), f->in[0]->tensor.shape);
}

static bool infer_lrn_grad(const Infer *f)
{
    if (!has_bounds(f) || !type_expect_map(f, 0, "gradient") || !type_expect_map(f, 1, "x"))
        return false;
    for (int axis = 0; axis < 4; axis++)
        if (!type_expect_extent(f, 1, "x", axis, type_dims(f, 0)[axis]))
            return false;
    if (type_dtype(f, 1) != type_dtype(f, 0))
        return type_fault(f, "'s operands are of one dtype");
    return type_give(f, type_dtype(f, 0), f->in[0]->tensor.shape);
}

/* ---- values ---- */

/* What is known of the channels of a pixel. */
typedef struct Pixel {
    const LrnAttr *attr;
    LrnSpan span;
    int channels;
    double share;         /* alpha / size */
    double *s, *term, *sum; /* s[c]; terms of a sum, and the sums over windows */
} Pixel;

static Pixel pixel_new(const Node *n)
{
    const LrnAttr *a = &n->attr.lrn;
    int channels = n->tensor.shape.dim[3];
    double *s = eval_zeroed(3 * (int64_t)channels);
    return (Pixel){a,     lrn_span(a, channels), channels, a->alpha / a->size, s, s + channels,
                   s + 2 * channels};
}

/* sum[c] = term[c - before] + ... + term[c + after] */
static void add_windows(const Pixel *p, int before, int after)
{
    for (int c = 0; c < p->channels; c++) {
        int first = (int)larger(c - before, 0), last = (int)smaller(c + after, p->channels - 1);
        p->sum[c] = 0;
        for (int j = first; j <= last; j++)
            p->sum[c] += p->term[j];
    }
}

static void find_scales(const Pixel *p, const double *x)
{
    for (int c = 0; c < p->channels; c++)
        p->term[c] = x[c] * x[c];
    add_windows(p, p->span.before, p->span.after);
    for (int c = 0; c < p->channels; c++)
        p->s[c] = p->attr->k + p->share * p->sum[c];
}

/* s[c]^(-beta - more) */
static double power(const Pixel *p, int c, int more)
{
    return pow(p->s[c], -p->attr->beta - more);
}

static void eval_lrn(Eval *e, const Node *n)
{
    Pixel p = pixel_new(n);
    const double *x = eval_value(e, n->in[0]);
    double *y = eval_value(e, n);
    for (int64_t at = 0; at < eval_elements(e, n); at += p.channels) {
        find_scales(&p, x + at);
        for (int c = 0; c < p.channels; c++)
            y[at + c] = x[at + c] * power(&p, c, 0);
    }
    free(p.s);
}

static void eval_lrn_grad(Eval *e, const Node *n)
{
    Pixel p = pixel_new(n);
    const double *dy = eval_value(e, n->in[0]), *x = eval_value(e, n->in[1]);
    double *dx = eval_value(e, n), slope = 2 * p.share * p.attr->beta;
    for (int64_t at = 0; at < eval_elements(e, n); at += p.channels) {
        find_scales(&p, x + at);
        for (int c = 0; c < p.channels; c++)
            p.term[c] = dy[at + c] * x[at + c] * power(&p, c, 1);
        add_windows(&p, p.span.after, p.span.before);
        for (int c = 0; c < p.channels; c++)
            dx[at + c] = dy[at + c] * power(&p, c, 0) - slope * x[at + c] * p.sum[c];
    }
    free(p.s);
}

/* ---- spreads ---- */

/* The square of what computing s^-beta adds, relative: its logarithm's rounding grows with it. */
static double power_error(const Eval *e, const Pixel *p, int c)
{
    double ulps = 4 * spread_unit(&(Node){.tensor = {.dtype = DT_F32}}) / e->unit;
    return square_of(ulps) * (p->attr->size + square_of(p->attr->beta * log(p->s[c])));
}

/* sum[c] = the square of the spread of s[c]; `square`: of x. */
static void find_scale_spreads(const Pixel *p, const double *x, const double *square)
{
    for (int c = 0; c < p->channels; c++)
        p->term[c] = square_of(2 * p->share * x[c]) * square[c];
    add_windows(p, p->span.before, p->span.after);
}

static void spread_lrn(Eval *e, const Node *n)
{
    Pixel p = pixel_new(n);
    const double *x = eval_value(e->of, n->in[0]), *square = eval_value(e, n->in[0]);
    double *y = eval_value(e, n);
    for (int64_t at = 0; at < eval_elements(e, n); at += p.channels) {
        find_scales(&p, x + at);
        find_scale_spreads(&p, x + at, square + at);
        for (int c = 0; c < p.channels; c++) {
            double first = power(&p, c, 0), second = p.attr->beta * power(&p, c, 1) * x[at + c];
            y[at + c] = square_of(first) * square[at + c] + square_of(second) * p.sum[c] +
                        square_of(first * x[at + c]) * power_error(e, &p, c);
        }
    }
    free(p.s);
}

/* A pixel of dy and x with the squares of their spreads. */
typedef struct GradTerms {
    const double *dy, *x, *dy_square, *x_square;
} GradTerms;

static void spread_pixel_grad(const Eval *e, const Pixel *p, const GradTerms *t, double *dx)
{
    double slope = 2 * p->share * p->attr->beta;
    find_scales(p, t->x);
    find_scale_spreads(p, t->x, t->x_square);
    for (int c = 0; c < p->channels; c++) {
        double first = power(p, c, 0), next = power(p, c, 1), error = power_error(e, p, c);
        double s_square = p->sum[c], part = t->dy[c] * t->x[c] * next;
        double later = (p->attr->beta + 1) * part / p->s[c];
        dx[c] = square_of(first) * t->dy_square[c] + square_of(first * t->dy[c]) * error +
                square_of(p->attr->beta * next * t->dy[c]) * s_square;
        p->term[c] = square_of(t->x[c] * next) * t->dy_square[c] +
                     square_of(t->dy[c] * next) * t->x_square[c] + square_of(later) * s_square +
                     square_of(part) * (1 + error);
    }
    add_windows(p, p->span.after, p->span.before);
    for (int c = 0; c < p->channels; c++)
        dx[c] += square_of(slope * t->x[c]) * p->sum[c];
    for (int c = 0; c < p->channels; c++)
        p->term[c] = t->dy[c] * t->x[c] * power(p, c, 1);
    add_windows(p, p->span.after, p->span.before);
    for (int c = 0; c < p->channels; c++)
        dx[c] += square_of(slope * p->sum[c]) * t->x_square[c];
}

static void spread_lrn_grad(Eval *e, const Node *n)
{
    Pixel p = pixel_new(n);
    const double *dy = eval_value(e->of, n->in[0]), *x = eval_value(e->of, n->in[1]);
    const double *dy_square = eval_value(e, n->in[0]), *x_square = eval_value(e, n->in[1]);
    double *dx = eval_value(e, n);
    for (int64_t at = 0; at < eval_elements(e, n); at += p.channels)
        spread_pixel_grad(e, &p, &(GradTerms){dy + at, x + at, dy_square + at, x_square + at},
                          dx + at);
    free(p.s);
}

/* ---- gradients ---- */

static void gradient_lrn(Gradient *g, Node *n, Node *dy)
{
    g->give(g, n->in[0], gradient_op(g, n, OP_LRN_GRAD, dy, n->in[0], n->in[0]), n->loc);
}

OP_RULE(lrn, LRN) = {infer_lrn, eval_lrn, spread_lrn, gradient_lrn, no_work};
OP_RULE(lrn, LRN_GRAD) = {infer_lrn_grad, eval_lrn_grad, spread_lrn_grad, no_gradient, no_work};
