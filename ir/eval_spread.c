/* How far rounding may move what kernels compute. The spread of a sum is the root of the sum of the
 * squares of its terms: what the sum amounts to where their signs are independent, and in units of
 * the terms' relative error, what errors of independent signs amount to. A sum that cancels has the
 * spread of its terms all the same, so that an error is measured against it and not against what
 * little is left of the sum.
 *
 * Spreads go through a graph as values do, by an evaluator of their own that holds their squares: an
 * op that is linear does to squares what it does to values, with the squares of its coefficients
 * (eval_factor), so that its code serves for both. The other ops stand here, to first order. */
#include "eval.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* Starts the spreads of an evaluation's values. `unit`: the relative error of a term; `jump`: what
 * an error of 1 counts where a value may fall on either side of a comparison. */
Eval *spread_new(Eval *values, double unit, double jump)
{
    Eval *e = eval_new(values->graph, values->batch);
    e->of = values;
    e->unit = unit;
    e->jump = jump;
    for (int i = 0; i < values->graph->module->storage_count; i++) {
        const Storage *s = values->graph->module->storage[i];
        double *square = values->state[i] ? eval_state(e, s) : NULL;
        for (int64_t k = shape_elements(&s->tensor.shape) - 1; square && k >= 0; k--)
            square[k] = values->state[i][k] * values->state[i][k];
    }
    return e;
}

static bool is_number(const Node *n)
{
    return n->tensor.dtype == DT_F32 || n->tensor.dtype == DT_BF16;
}

/* At least the value itself; and the least normal float counts as an error, as devices may take
 * what is less for zero. */
static void at_least_value(Eval *e, const Node *n)
{
    double *square = eval_value(e, n), least = FLT_MIN / e->unit;
    const double *value = eval_value(e->of, n);
    for (int64_t i = eval_elements(e, n) - 1; i >= 0; i--)
        square[i] = fmax(square[i], value[i] * value[i]) + least * least;
}

/* What a kernel reads is exact: its terms are the values themselves. */
void spread_set(Eval *e, const Node *n)
{
    double *square = eval_value(e, n);
    const double *value = eval_value(e->of, n);
    for (int64_t i = eval_elements(e, n) - 1; i >= 0; i--)
        square[i] = is_number(n) ? value[i] * value[i] : 0;
}

static double squared(double x)
{
    return x * x;
}

/* Whether an error may bring a value of this square of a spread across zero: a zero that has no
 * spread but the least is exact. */
static bool is_near(const Eval *e, double value, double square)
{
    return square > squared(100 * FLT_MIN / e->unit) && squared(value) <= squared(e->unit) * square;
}

/* ---- images ---- */

static void spread_image(Eval *e, const Node *node)
{
    const ImageAttr *image = &node->attr.image;
    double *square = eval_value(e, node);
    const double *value = eval_value(e->of, node);
    for (int64_t i = eval_elements(e, node) - 1; i >= 0; i--) {
        int c = (int)(i % image->channels);
        double mean = image->mean[c] / image->std[c];
        square[i] = squared(fabs(value[i] + mean) + fabs(mean));
    }
}

/* ---- comparisons ---- */

static void spread_relu(Eval *e, const Node *node)
{
    const double *in = eval_value(e, node->in[0]), *value = eval_value(e->of, node->in[0]);
    double *out = eval_value(e, node);
    for (int64_t i = eval_elements(e, node) - 1; i >= 0; i--)
        out[i] = value[i] > 0 || is_near(e, value[i], in[i]) ? in[i] : 0;
}

/* dy, y: where y may be on the other side of zero, all of dy may be wrong. */
static void spread_relu_grad(Eval *e, const Node *node)
{
    const double *dy = eval_value(e, node->in[0]), *y = eval_value(e, node->in[1]);
    const double *dy_value = eval_value(e->of, node->in[0]);
    const double *y_value = eval_value(e->of, node->in[1]);
    double *out = eval_value(e, node);
    for (int64_t i = eval_elements(e, node) - 1; i >= 0; i--) {
        double jump = is_near(e, y_value[i], y[i]) ? squared(dy_value[i] / e->jump) : 0;
        out[i] = (y_value[i] > 0 || jump > 0 ? dy[i] : 0) + jump;
    }
}

/* The positions of a window that lie inside the map. */
typedef struct Inside {
    int top, left, bottom, right;
} Inside;

static Inside inside(const Window *k, const Map *x, int oh, int ow)
{
    int top = oh * k->stride_h - k->padding_h, left = ow * k->stride_w - k->padding_w;
    int bottom = top + k->kernel_h, right = left + k->kernel_w;
    return (Inside){top < 0 ? 0 : top, left < 0 ? 0 : left, bottom > x->h ? x->h : bottom,
                    right > x->w ? x->w : right};
}

/* What is pooled, and where. */
typedef struct Pooled {
    Map square, value;
    Inside in;
} Pooled;

/* The largest square of the window; *near: whether another value than the largest may be it. */
static double largest(const Eval *e, const Pooled *p, int n, int c, bool *near)
{
    Inside in = p->in;
    double most = 0, best = -INFINITY, best_square = 0;
    for (int h = in.top; h < in.bottom; h++)
        for (int w = in.left; w < in.right; w++) {
            double v = map_at(&p->value, n, h, w)[c], square = map_at(&p->square, n, h, w)[c];
            most = fmax(most, square);
            if (v > best) {
                best = v;
                best_square = square;
            }
        }
    *near = false;
    int ties = 0;
    for (int h = in.top; h < in.bottom; h++)
        for (int w = in.left; w < in.right; w++) {
            double v = map_at(&p->value, n, h, w)[c], square = map_at(&p->square, n, h, w)[c];
            ties += is_near(e, best - v, best_square + square);
        }
    *near = ties > 1;
    return most;
}

/* maxpool; maxpool_code: 1 where the code may be another, and an error of it is none. */
static void spread_maxpool(Eval *e, const Node *node)
{
    Map y = eval_map(e, node), x = eval_map(e, node->in[0]), value = eval_map(e->of, node->in[0]);
    PARALLEL_FOR
    for (int row = 0; row < y.n * y.h; row++)
        for (int i = 0; i < y.w * y.c; i++) {
            bool near;
            Pooled p = {x, value, inside(&node->attr.window, &x, row % y.h, i / y.c)};
            double most = largest(e, &p, row / y.h, i % y.c, &near);
            map_at(&y, row / y.h, row % y.h, 0)[i] =
                node->op == OP_MAXPOOL_CODE ? (near ? 1 : 0) : most;
        }
}

/* dy, code: where the code may be another, all of dy may be wrong anywhere in the window. */
static void spread_maxpool_grad(Eval *e, const Node *node)
{
    Map dy = eval_map(e, node->in[0]), near = eval_map(e, node->in[1]), dx = eval_map(e, node);
    Map code = eval_map(e->of, node->in[1]), dy_value = eval_map(e->of, node->in[0]);
    const Window *k = &node->attr.window;
    memset(dx.data, 0, (size_t)eval_elements(e, node) * sizeof(double));
    for (int64_t i = 0; i < (int64_t)dy.n * dy.h * dy.w * dy.c; i++) {
        int c = (int)(i % dy.c), ow = (int)(i / dy.c % dy.w), oh = (int)(i / dy.c / dy.w % dy.h);
        int n = (int)(i / dy.c / dy.w / dy.h), at = (int)code.data[i];
        int h = oh * k->stride_h - k->padding_h + at / k->kernel_w;
        int w = ow * k->stride_w - k->padding_w + at % k->kernel_w;
        Inside in = inside(k, &dx, oh, ow);
        if (h >= 0 && h < dx.h && w >= 0 && w < dx.w)
            map_at(&dx, n, h, w)[c] += dy.data[i];
        for (h = in.top; near.data[i] > 0 && h < in.bottom; h++)
            for (w = in.left; w < in.right; w++)
                map_at(&dx, n, h, w)[c] += squared(dy_value.data[i] / e->jump);
    }
}

/* ---- loss ---- */

static double largest_logit(const Map *logits, int n)
{
    double top = 0;
    for (int k = 0; k < logits->c; k++)
        top = fmax(top, fabs(map_at(logits, n, 0, 0)[k]));
    return top;
}

/* log(sum of exp(row)) */
static double log_sum(const Map *logits, int n)
{
    const double *row = map_at(logits, n, 0, 0);
    double top = row[0], sum = 0;
    for (int k = 1; k < logits->c; k++)
        top = fmax(top, row[k]);
    for (int k = 0; k < logits->c; k++)
        sum += exp(row[k] - top);
    return top + log(sum);
}

/* The derivative of the loss by logit k is p[k] - onehot[k]. */
static void spread_cross_entropy(Eval *e, const Node *node)
{
    Map logits = eval_map(e->of, node->in[0]), square = eval_map(e, node->in[0]);
    const double *label = eval_value(e->of, node->in[1]);
    double *out = eval_value(e, node);
    for (int n = 0; n < logits.n; n++) {
        double shift = log_sum(&logits, n);
        out[n] = squared(largest_logit(&logits, n)) + 1;
        for (int k = 0; k < logits.c; k++)
            out[n] += squared(exp(map_at(&logits, n, 0, 0)[k] - shift) - (label[n] == k)) *
                      map_at(&square, n, 0, 0)[k];
    }
}

/* (p[k] - onehot[k]) / valid; dp[k] = p[k] (dx[k] - sum over j of p[j] dx[j]) */
static void spread_cross_entropy_grad(Eval *e, const Node *node)
{
    Map logits = eval_map(e->of, node->in[0]), square = eval_map(e, node->in[0]);
    Map out = eval_map(e, node);
    const double *label = eval_value(e->of, node->in[1]);
    double valid = eval_value(e->of, node->in[2])[0];
    for (int n = 0; n < logits.n; n++) {
        double shift = log_sum(&logits, n), all = squared(largest_logit(&logits, n)) + 1;
        for (int k = 0; k < logits.c; k++)
            all += exp(2 * (map_at(&logits, n, 0, 0)[k] - shift)) * map_at(&square, n, 0, 0)[k];
        for (int k = 0; k < logits.c; k++) {
            double p = exp(map_at(&logits, n, 0, 0)[k] - shift);
            double terms = p * p * (1 + all + map_at(&square, n, 0, 0)[k]) + (label[n] == k);
            map_at(&out, n, 0, 0)[k] = n < valid ? terms / squared(valid) : 0;
        }
    }
}

/* 1 where another logit than the largest may be it */
static void spread_correct(Eval *e, const Node *node)
{
    Map logits = eval_map(e->of, node->in[0]), square = eval_map(e, node->in[0]);
    double *out = eval_value(e, node);
    for (int n = 0; n < logits.n; n++) {
        const double *row = map_at(&logits, n, 0, 0), *spread = map_at(&square, n, 0, 0);
        int best = 0, near = 0;
        for (int k = 1; k < logits.c; k++)
            best = row[k] > row[best] ? k : best;
        for (int k = 0; k < logits.c; k++)
            near += is_near(e, row[best] - row[k], spread[best] + spread[k]);
        out[n] = near > 1;
    }
}

static void spread_reduce_valid(Eval *e, const Node *node)
{
    const double *row = eval_value(e, node->in[0]);
    double valid = eval_value(e->of, node->in[1])[0], sum = 0;
    for (int n = 0; n < valid && n < e->batch; n++)
        sum += row[n];
    eval_value(e, node)[0] = node->op == OP_MEAN_VALID ? sum / squared(valid) : sum;
}

/* ---- optimizers ---- */

/* k * a + (1 - k) * b * b; the error of b * b is 2 b times that of b, or its square where b is less
 * than its error. */
static double adam_v(const Eval *e, double k, double a, double b, double b_value)
{
    return k * k * a + squared(1 - k) * (4 * squared(b_value) + squared(e->unit) * b) * b;
}

/* x - r m / d, d = sqrt(v) / s + eps: the error of sqrt(v) is that of v over 2 sqrt(v), and no more
 * than its root. Operands: x, m, v, lr, step. */
static double adam_step(const Eval *e, const AdamAttr *adam, const double *square, const double *x)
{
    double s = sqrt(1 - pow(adam->beta2, x[4])), rate = x[3] / (1 - pow(adam->beta1, x[4]));
    double d = sqrt(x[2]) / s + adam->eps, error = sqrt(square[2]);
    double of_root = fmin(x[2] > 0 ? error / (2 * sqrt(x[2])) : INFINITY, sqrt(error / e->unit));
    return square[0] + squared(rate / d) * (square[1] + squared(x[1] / d * of_root / s));
}

static double spread_of(const Eval *e, const Node *n, const double *square, const double *x)
{
    double k = n->attr.factor;
    switch ((int)n->op) {
    case OP_ADD: return square[0] + square[1];
    case OP_WEIGHT_DECAY: return square[0] + k * k * square[1];
    case OP_MOMENTUM: return k * k * square[0] + square[1];
    case OP_SGD_STEP: return square[0] + squared(x[2]) * square[1];
    case OP_ADAM_M: return k * k * square[0] + squared(1 - k) * square[1];
    case OP_ADAM_V: return adam_v(e, k, square[0], square[1], x[1]);
    case OP_ADAM_STEP: return adam_step(e, &n->attr.adam, square, x);
    }
    internal_error("%s has no spread", op_name(n->op));
}

/* A pointwise node's operands. */
typedef struct Operands {
    const double *value[MAX_OPERANDS], *square[MAX_OPERANDS];
    int64_t step[MAX_OPERANDS]; /* 0: of rank 0 */
} Operands;

static Operands operands_of(Eval *e, const Node *node)
{
    Operands o = {{0}, {0}, {0}};
    for (int i = 0; i < node->arity; i++) {
        o.value[i] = eval_value(e->of, node->in[i]);
        o.square[i] = eval_value(e, node->in[i]);
        o.step[i] = node->in[i]->tensor.shape.rank > 0;
    }
    return o;
}

/* The square of the spread of element `at`, the first operand as it is or exact. */
static double spread_element(const Eval *e, const Node *node, const Operands *o, int64_t at,
                             bool exact)
{
    double x[MAX_OPERANDS] = {0}, square[MAX_OPERANDS] = {0};
    for (int i = 0; i < node->arity; i++) {
        x[i] = o->value[i][at * o->step[i]];
        square[i] = exact && i == 0 ? 0 : o->square[i][at * o->step[i]];
    }
    return spread_of(e, node, square, x);
}

static void spread_pointwise(Eval *e, const Node *node)
{
    Operands o = operands_of(e, node);
    double *out = eval_value(e, node);
    for (int64_t at = eval_elements(e, node) - 1; at >= 0; at--)
        out[at] = spread_element(e, node, &o, at, false);
}

double spread_movement(Eval *e, const Node *step)
{
    Operands o = operands_of(e, step);
    double sum = 0;
    for (int64_t at = eval_elements(e, step) - 1; at >= 0; at--)
        sum += spread_element(e, step, &o, at, true);
    return sqrt(sum);
}

/* ---- the sums themselves ---- */

/* Half of a float's last place, relative: kernels add in float. */
static const double UNIT_ROUNDOFF = FLT_EPSILON / 2;

static double terms_of(const Node *n)
{
    double outputs = (double)shape_elements(&n->tensor.shape);
    if (n->op == OP_BIAS_GRAD || n->op == OP_GAP)
        return (double)shape_elements(&n->in[0]->tensor.shape) / outputs;
    return contraction_flop(n) / 2 / outputs;
}

/* Terms of independent signs: adding n of them rounds n times, by less than some units in the last
 * place of what n such terms come to. */
static void add_roundings(Eval *e, const Node *n)
{
    double ulps = 4 * UNIT_ROUNDOFF / e->unit, factor = 1 + terms_of(n) * ulps * ulps;
    double *square = eval_value(e, n);
    for (int64_t i = eval_elements(e, n) - 1; i >= 0; i--)
        square[i] *= factor;
}

/* Half of the last place of what is stored, relative. */
static double unit_of(const Node *n)
{
    return n->tensor.dtype == DT_BF16 ? 1.0 / 512 : UNIT_ROUNDOFF;
}

/* Terms that depend on each other, such as one gradient at all pixels of an image, come to much more
 * on their way than in the end, and each sum on the way is rounded: by errors of independent signs,
 * but for equal terms in a row, which are rounded alike. The terms themselves may come of a few
 * gradients and weights that were rounded before they were spread over the pixels: their errors are
 * of one sign, up to the unit times the sum of the magnitudes (Higham 3.1, 4.2). Sums of rows as
 * they grow. */
typedef struct Partials {
    double *sum, *last, *run; /* the last term; sums since another one came, their magnitudes */
    double *square;           /* of the runs before */
    double *magnitude;        /* of all terms */
    int count;
} Partials;

static Partials partials_new(int count)
{
    size_t bytes = 5 * (size_t)count * sizeof(double);
    double *sum = memset(xmalloc(bytes + 1), 0, bytes);
    return (Partials){sum, sum + count, sum + 2 * count, sum + 3 * count, sum + 4 * count, count};
}

static void partials_add(const Partials *p, double weight, const double *row)
{
    for (int i = 0; i < p->count; i++) {
        double term = weight * row[i];
        p->sum[i] += term;
        if (term != p->last[i]) {
            p->square[i] += p->run[i] * p->run[i];
            p->run[i] = 0;
        }
        p->last[i] = term;
        p->run[i] += fabs(p->sum[i]);
        p->magnitude[i] += fabs(term);
    }
}

/* What they count among the squares of spreads, of terms that were rounded by `unit`. */
static double partials_count(const Eval *e, const Partials *p, int i, double unit)
{
    return (p->square[i] + p->run[i] * p->run[i]) * squared(UNIT_ROUNDOFF / e->unit) +
           squared(p->magnitude[i] * unit / e->unit);
}

static void add_partials_of_bias(Eval *e, const Node *node)
{
    Map dy = eval_map(e->of, node->in[0]);
    double *out = eval_value(e, node);
    Partials p = partials_new(dy.c);
    for (int64_t pixel = 0; pixel < (int64_t)dy.n * dy.h * dy.w; pixel++)
        partials_add(&p, 1, dy.data + pixel * dy.c);
    for (int c = 0; c < dy.c; c++)
        out[c] += partials_count(e, &p, c, unit_of(node->in[0]));
    free(p.sum);
}

static void add_partials_of_gap(Eval *e, const Node *node)
{
    Map x = eval_map(e->of, node->in[0]), y = eval_map(e, node);
    double pixels = (double)x.h * x.w;
    for (int n = 0; n < x.n; n++) {
        Partials p = partials_new(x.c);
        for (int64_t pixel = 0; pixel < (int64_t)x.h * x.w; pixel++)
            partials_add(&p, 1 / pixels, map_at(&x, n, 0, 0) + pixel * x.c);
        for (int c = 0; c < x.c; c++)
            map_at(&y, n, 0, 0)[c] += partials_count(e, &p, c, unit_of(node->in[0]));
        free(p.sum);
    }
}

/* The sums of one tap and input channel, over all pixels of all images. */
static void add_tap(const Map *x, const Map *dy, const Window *k, int tap, int i, const Partials *p)
{
    for (int64_t row = 0; row < (int64_t)dy->n * dy->h; row++) {
        int n = (int)(row / dy->h);
        int ih = (int)(row % dy->h) * k->stride_h - k->padding_h + tap / k->kernel_w;
        for (int ow = 0; ih >= 0 && ih < x->h && ow < dy->w; ow++) {
            int iw = ow * k->stride_w - k->padding_w + tap % k->kernel_w;
            if (iw >= 0 && iw < x->w)
                partials_add(p, map_at(x, n, ih, iw)[i], map_at(dy, n, (int)(row % dy->h), ow));
        }
    }
}

static void add_partials_of_wgrad(Eval *e, const Node *node)
{
    Map x = eval_map(e->of, node->in[0]), dy = eval_map(e->of, node->in[1]);
    const Window *k = &node->attr.window;
    double *out = eval_value(e, node);
    int taps = k->kernel_h * k->kernel_w;
    PARALLEL_FOR
    for (int piece = 0; piece < taps * x.c; piece++) {
        int tap = piece / x.c, i = piece % x.c;
        Partials p = partials_new(dy.c);
        add_tap(&x, &dy, k, tap, i, &p);
        for (int o = 0; o < dy.c; o++)
            out[((int64_t)o * x.c + i) * taps + tap] +=
                partials_count(e, &p, o, unit_of(node->in[1]));
        free(p.sum);
    }
}

static void spread_sum(Eval *e, const Node *n)
{
    eval_node(e, n);
    add_roundings(e, n);
    switch ((int)n->op) {
    case OP_BIAS_GRAD: add_partials_of_bias(e, n); return;
    case OP_GAP: add_partials_of_gap(e, n); return;
    case OP_CONV2D_WGRAD: add_partials_of_wgrad(e, n); return;
    }
}

/* ---- nodes ---- */

/* False: the op is linear. */
static bool spread_apart(Eval *e, const Node *n)
{
    switch ((int)n->op) {
    case OP_INPUT:
    case OP_STATE: spread_set(e, n); return true;
    case OP_NORMALIZE:
    case OP_RESIZE: spread_image(e, n); return true;
    case OP_RELU: spread_relu(e, n); return true;
    case OP_RELU_GRAD: spread_relu_grad(e, n); return true;
    case OP_MAXPOOL:
    case OP_MAXPOOL_CODE: spread_maxpool(e, n); return true;
    case OP_MAXPOOL_GRAD: spread_maxpool_grad(e, n); return true;
    case OP_CROSS_ENTROPY: spread_cross_entropy(e, n); return true;
    case OP_CROSS_ENTROPY_GRAD: spread_cross_entropy_grad(e, n); return true;
    case OP_CORRECT: spread_correct(e, n); return true;
    case OP_MEAN_VALID:
    case OP_COUNT_VALID: spread_reduce_valid(e, n); return true;
    }
    if (!op_is_pointwise(n->op))
        return false;
    spread_pointwise(e, n);
    return true;
}

/* Squares of the spreads of one node, from those of its operands; its value must be computed. */
void spread_node(Eval *e, const Node *n)
{
    if (!spread_apart(e, n))
        spread_sum(e, n);
    if (is_number(n) && n->op != OP_INPUT && n->op != OP_STATE)
        at_least_value(e, n);
}
