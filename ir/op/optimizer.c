/* Optimizers, an op a line of PyTorch's, and running statistics: of parameters, gradients and
 * moments, element by element.
 * The evaluator has its own spelling of what the op table says in C. */
#include "family.h"

#include "../numbers.h"

#include <float.h>
#include <math.h>

/* ---- values ---- */

/* PyTorch's guard against a norm of 0 */
static const double LEAST_NORM = 1e-6;

static void eval_square_sum(Eval *e, const Node *n)
{
    const double *g = eval_value(e, n->in[0]);
    double sum = n->arity > 1 ? eval_value(e, n->in[1])[0] : 0;
    for (int64_t i = eval_elements(e, n->in[0]) - 1; i >= 0; i--)
        sum += g[i] * g[i];
    eval_value(e, n)[0] = sum;
}

/* NaN stays NaN. */
static void eval_clip_factor(Eval *e, const Node *n)
{
    double norm = sqrt(eval_value(e, n->in[0])[0]), factor = n->attr.factor / (norm + LEAST_NORM);
    eval_value(e, n)[0] = factor >= 1 ? 1 : factor;
}

static double clip(const Node *n, const double *x)
{
    (void)n;
    return x[0] * x[1];
}

static double weight_decay(const Node *n, const double *x)
{
    return x[0] + n->attr.factor * x[1];
}

static double momentum(const Node *n, const double *x)
{
    return n->attr.factor * x[0] + x[1];
}

static double sgd_step(const Node *n, const double *x)
{
    return x[0] - n->attr.factor * x[2] * x[1];
}

static double adam_m(const Node *n, const double *x)
{
    double k = n->attr.factor;
    return k * x[0] + (1 - k) * x[1];
}

static double adam_v(const Node *n, const double *x)
{
    double k = n->attr.factor;
    return k * x[0] + (1 - k) * x[1] * x[1];
}

/* torch.optim.RMSprop, not centered */
static double rmsprop_scale(const Node *n, const double *x)
{
    return x[1] / (sqrt(x[0]) + n->attr.factor);
}

/* torch.optim.AdamW */
static double adamw_decay(const Node *n, const double *x)
{
    return x[0] * (1 - x[1] * n->attr.factor);
}

/* torch.optim.Adam: x = parameter, m, v, lr, step */
static double adam_step(const Node *n, const double *x)
{
    const AdamAttr *adam = &n->attr.adam;
    double first = 1 - pow(adam->beta1, x[4]), second = 1 - pow(adam->beta2, x[4]);
    return x[0] - adam->lr_mult * x[3] / first * x[1] / (sqrt(x[2]) / sqrt(second) + adam->eps);
}

static double unbiased(const Node *n, const double *x)
{
    double count = n->attr.factor * x[1];
    return x[0] * count / (count - 1);
}

static double running(const Node *n, const double *x)
{
    return (1 - n->attr.factor) * x[0] + n->attr.factor * x[1];
}

static double count_batch(const Node *n, const double *x)
{
    (void)n;
    return x[0] + 1;
}

/* ---- spreads ---- */

/* The error of sqrt(v), as that of v allows: it is that over 2 sqrt(v), and no more than its root.
 * In units of e->unit. */
static double root_spread(const Eval *e, double square, double v)
{
    double error = sqrt(square);
    return fmin(v > 0 ? error / (2 * sqrt(v)) : INFINITY, sqrt(error / e->unit));
}

static void spread_square_sum(Eval *e, const Node *n)
{
    const double *g = eval_value(e->of, n->in[0]), *square = eval_value(e, n->in[0]);
    double sum = n->arity > 1 ? eval_value(e, n->in[1])[0] : 0;
    for (int64_t i = eval_elements(e, n->in[0]) - 1; i >= 0; i--)
        sum += square_of(square_of(g[i])) + 4 * square_of(g[i]) * square[i];
    eval_value(e, n)[0] = sum;
}

/* The error of the root is that of the sum over twice the root. */
static void spread_clip_factor(Eval *e, const Node *n)
{
    double sum = eval_value(e->of, n->in[0])[0], norm = sqrt(sum) + LEAST_NORM;
    double of_root = root_spread(e, eval_value(e, n->in[0])[0], sum);
    eval_value(e, n)[0] = square_of(n->attr.factor / square_of(norm) * of_root);
}

static double clip_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    (void)e;
    (void)n;
    return square_of(x[1]) * square[0] + square_of(x[0]) * square[1];
}

static double weight_decay_spread(const Eval *e, const Node *n, const double *square,
                                  const double *x)
{
    (void)e;
    (void)x;
    return square[0] + square_of(n->attr.factor) * square[1];
}

static double momentum_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    (void)e;
    (void)x;
    return square_of(n->attr.factor) * square[0] + square[1];
}

static double sgd_step_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    (void)e;
    return square[0] + square_of(n->attr.factor * x[2]) * square[1];
}

static double adam_m_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    double k = n->attr.factor;
    (void)e;
    (void)x;
    return square_of(k) * square[0] + square_of(1 - k) * square[1];
}

/* k * a + (1 - k) * b * b; the error of b * b is 2 b times that of b, or its square where b is less
 * than its error. */
static double adam_v_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    double k = n->attr.factor, a = square[0], b = square[1], b_value = x[1];
    return k * k * a + square_of(1 - k) * (4 * square_of(b_value) + square_of(e->unit) * b) * b;
}

/* g / d, d = sqrt(v) + eps */
static double rmsprop_scale_spread(const Eval *e, const Node *n, const double *square,
                                   const double *x)
{
    double d = sqrt(x[0]) + n->attr.factor;
    return (square[1] + square_of(x[1] / d * root_spread(e, square[0], x[0]))) / square_of(d);
}

static double adamw_decay_spread(const Eval *e, const Node *n, const double *square,
                                 const double *x)
{
    (void)e;
    return square_of(1 - n->attr.factor * x[1]) * square[0];
}

/* x - r m / d, d = sqrt(v) / s + eps. Operands: x, m, v, lr, step. Of a small m the product with
 * the rate is a denormal number, which has no more than a last place. */
static double adam_step_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    const AdamAttr *adam = &n->attr.adam;
    double s = sqrt(1 - pow(adam->beta2, x[4]));
    double rate = adam->lr_mult * x[3] / (1 - pow(adam->beta1, x[4]));
    double d = sqrt(x[2]) / s + adam->eps, of_root = root_spread(e, square[2], x[2]);
    return square[0] + square_of(rate / d) * (square[1] + square_of(x[1] / d * of_root / s)) +
           square_of((double)FLT_TRUE_MIN / e->unit / d);
}

static double unbiased_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    double count = n->attr.factor * x[1];
    (void)e;
    return square_of(count / (count - 1)) * square[0];
}

static double running_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    double k = n->attr.factor;
    (void)e;
    (void)x;
    return square_of(1 - k) * square[0] + square_of(k) * square[1];
}

static double count_batch_spread(const Eval *e, const Node *n, const double *square,
                                 const double *x)
{
    (void)e;
    (void)n;
    (void)x;
    return square[0];
}

/* ---- which is whose ---- */

typedef struct Step {
    Op op;
    ElementRule *value;
    SpreadRule *spread;
} Step;

static const Step steps[] = {
    {OP_CLIP, clip, clip_spread},
    {OP_WEIGHT_DECAY, weight_decay, weight_decay_spread},
    {OP_MOMENTUM, momentum, momentum_spread},
    {OP_NESTEROV, momentum, momentum_spread},
    {OP_SGD_STEP, sgd_step, sgd_step_spread},
    {OP_ADAM_M, adam_m, adam_m_spread},
    {OP_ADAM_V, adam_v, adam_v_spread},
    {OP_RMSPROP_SCALE, rmsprop_scale, rmsprop_scale_spread},
    {OP_ADAMW_DECAY, adamw_decay, adamw_decay_spread},
    {OP_ADAM_STEP, adam_step, adam_step_spread},
    {OP_EMA, adam_m, adam_m_spread},
    {OP_UNBIASED, unbiased, unbiased_spread},
    {OP_RUNNING, running, running_spread},
    {OP_COUNT_BATCH, count_batch, count_batch_spread},
};

static const Step *step_of(const Node *n)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i].op == n->op)
            return &steps[i];
    internal_error("%s is no step of an optimizer", op_name(n->op));
}

static void eval_step(Eval *e, const Node *n)
{
    eval_elementwise(e, n, step_of(n)->value);
}

static void spread_step(Eval *e, const Node *n)
{
    spread_elementwise(e, n, step_of(n)->spread);
}

double spread_movement(Eval *e, const Node *step)
{
    return spread_of_change(e, step, step_of(step)->spread);
}

/* ---- types ---- */

static bool check_attr(const Infer *f)
{
    const AdamAttr *a = &f->attr->adam;
    if (op_attr(f->op) == ATTR_FACTOR)
        return fits_float(f->attr->factor) ||
               type_fault(f, "'s factor must be a number that a float can be");
    if (op_attr(f->op) == ATTR_ADAM && !(fits_fraction(a->beta1) && fits_fraction(a->beta2) &&
                                         fits_positive(a->eps)))
        return type_fault(f, "'s beta1 and beta2 must be in [0, 1), its eps greater than 0, as "
                             "floats");
    if (op_rate_operand(f->op) >= 0 && !(attr_lr_mult(f->op, f->attr) >= 0 &&
                                         fits_float(attr_lr_mult(f->op, f->attr))))
        return type_fault(f, "'s lr_mult must be at least 0, as a float");
    return true;
}

/* The last operand of adam_step counts steps, that of unbiased images. */
static bool infer_step(const Infer *f)
{
    bool counts = f->op == OP_ADAM_STEP || f->op == OP_UNBIASED;
    int floats = counts ? f->arity - 1 : f->arity;
    return check_attr(f) && type_pointwise(f, DT_F32, floats);
}

/* A gradient, and the sum so far. */
static bool infer_square_sum(const Infer *f)
{
    if (type_dtype(f, 0) != DT_F32)
        return type_fault(f, " adds up squares of f32");
    return (f->arity < 2 || type_expect(f, 1, "the sum", DT_F32, 0)) &&
           type_give(f, DT_F32, shape_of(0, 0, 0, 0, 0));
}

static bool infer_clip_factor(const Infer *f)
{
    if (!fits_positive(f->attr->factor))
        return type_fault(f, "'s factor must be greater than 0, as a float");
    return type_expect(f, 0, "the sum", DT_F32, 0) &&
           type_give(f, DT_F32, shape_of(0, 0, 0, 0, 0));
}

OP_RULE(optimizer, SQUARE_SUM) = {infer_square_sum, eval_square_sum, spread_square_sum,
                                  no_gradient, no_work};
OP_RULE(optimizer, CLIP_FACTOR) = {infer_clip_factor, eval_clip_factor, spread_clip_factor,
                                   no_gradient, no_work};
OP_RULE(optimizer, CLIP) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, WEIGHT_DECAY) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, MOMENTUM) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, NESTEROV) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, SGD_STEP) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, ADAM_M) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, ADAM_V) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, RMSPROP_SCALE) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, ADAMW_DECAY) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, ADAM_STEP) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, EMA) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, UNBIASED) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, RUNNING) = {infer_step, eval_step, spread_step, no_gradient, no_work};
OP_RULE(optimizer, COUNT_BATCH) = {infer_step, eval_step, spread_step, no_gradient, no_work};
