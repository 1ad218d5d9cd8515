/* Activations: pointwise functions f of maps, and their gradients dy f'. One table has them, in the
 * evaluator's own spelling, which is what the op table's is checked against. PyTorch's definitions,
 * also of f' where f has a kink. */
#include "../numbers.h"
#include "family.h"

#include <math.h>

/* k: the op's factor. */
typedef double Curve(double x, double k);

/* The gradient reads x, or y where f' follows from it, which then is all that is kept. */
typedef struct Activation {
    Op op, grad;
    bool of_result;
    Curve *value, *slope, *bend; /* f(x); f' and f'' of what the gradient reads */
    int kinks;                   /* where f' jumps: the same x and y */
    double kink[2];
} Activation;

/* ---- functions ---- */

static double none(double x, double k)
{
    (void)x;
    (void)k;
    return 0;
}

static double relu6(double x, double k)
{
    (void)k;
    return x <= 0 ? 0 : x >= 6 ? 6 : x;
}

static double relu6_slope(double y, double k)
{
    (void)k;
    return y > 0 && y < 6;
}

static double leaky_relu(double x, double k)
{
    return x > 0 ? x : k * x;
}

static double leaky_relu_slope(double x, double k)
{
    return x > 0 ? 1 : k;
}

static double elu(double x, double k)
{
    return x > 0 ? x : k * expm1(x);
}

static double elu_slope(double x, double k)
{
    return x > 0 ? 1 : k * exp(x);
}

static double elu_bend(double x, double k)
{
    return x > 0 ? 0 : k * exp(x);
}

static double tangent(double x, double k)
{
    (void)k;
    return tanh(x);
}

static double tangent_slope(double y, double k)
{
    (void)k;
    return 1 - y * y;
}

static double tangent_bend(double y, double k)
{
    (void)k;
    return -2 * y;
}

static double normal(double x)
{
    return erfc(-x * sqrt(0.5)) / 2;
}

static double normal_density(double x)
{
    return exp(-x * x / 2) / sqrt(2 * acos(-1));
}

/* Hendrycks, Gimpel 2016, with the distribution itself. */
static double gelu(double x, double k)
{
    (void)k;
    return x * normal(x);
}

static double gelu_slope(double x, double k)
{
    (void)k;
    return normal(x) + x * normal_density(x);
}

static double gelu_bend(double x, double k)
{
    (void)k;
    return normal_density(x) * (2 - x * x);
}

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

static double silu(double x, double k)
{
    (void)k;
    return x * logistic(x);
}

static double silu_slope(double x, double k)
{
    (void)k;
    return logistic(x) * (1 + x * logistic(-x));
}

static double silu_bend(double x, double k)
{
    double rise = logistic(x) * logistic(-x);
    (void)k;
    return rise * (2 + x * (1 - 2 * logistic(x)));
}

static double hardswish(double x, double k)
{
    (void)k;
    return x * fmin(fmax(x + 3, 0), 6) / 6;
}

static double hardswish_slope(double x, double k)
{
    (void)k;
    return x < -3 ? 0 : x > 3 ? 1 : x / 3 + 0.5;
}

static double hardswish_bend(double x, double k)
{
    (void)k;
    return fabs(x) > 3 ? 0 : 1.0 / 3;
}

static double softplus(double x, double k)
{
    (void)k;
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double softplus_slope(double x, double k)
{
    (void)k;
    return logistic(x);
}

static double softplus_bend(double x, double k)
{
    (void)k;
    return logistic(x) * logistic(-x);
}

/* ---- the table ---- */

static const Activation activations[] = {
    {OP_RELU6, OP_RELU6_GRAD, true, relu6, relu6_slope, none, 2, {0, 6}},
    {OP_LEAKY_RELU, OP_LEAKY_RELU_GRAD, true, leaky_relu, leaky_relu_slope, none, 1, {0}},
    {OP_ELU, OP_ELU_GRAD, false, elu, elu_slope, elu_bend, 1, {0}},
    {OP_TANH, OP_TANH_GRAD, true, tangent, tangent_slope, tangent_bend, 0, {0}},
    {OP_GELU, OP_GELU_GRAD, false, gelu, gelu_slope, gelu_bend, 0, {0}},
    {OP_SILU, OP_SILU_GRAD, false, silu, silu_slope, silu_bend, 0, {0}},
    {OP_HARDSWISH, OP_HARDSWISH_GRAD, false, hardswish, hardswish_slope, hardswish_bend, 2,
     {-3, 3}},
    {OP_SOFTPLUS, OP_SOFTPLUS_GRAD, false, softplus, softplus_slope, softplus_bend, 0, {0}},
};

/* Of the op or of its gradient. */
static const Activation *activation_of(const Node *n)
{
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (activations[i].op == n->op || activations[i].grad == n->op)
            return &activations[i];
    internal_error("%s is no activation", op_name(n->op));
}

static double factor_of(const Node *n)
{
    return op_attr(n->op) == ATTR_FACTOR ? n->attr.factor : 0;
}

/* A negative factor lets y > 0 where x < 0. */
static bool reads_result(const Node *n)
{
    return activation_of(n)->of_result && factor_of(n) >= 0;
}

/* ---- types ---- */

static bool infer_activation(const Infer *f)
{
    if (op_attr(f->op) == ATTR_FACTOR && !fits_float(f->attr->factor))
        return type_fault(f, "'s factor must be a number that a float can be");
    return type_pointwise(f, type_dtype(f, 0) == DT_BF16 ? DT_BF16 : DT_F32, f->arity);
}

/* ---- values ---- */

static double value_of(const Node *n, const double *x)
{
    return activation_of(n)->value(x[0], factor_of(n));
}

static double grad_of(const Node *n, const double *x)
{
    return x[0] * activation_of(n)->slope(x[1], factor_of(n));
}

static void eval_activation(Eval *e, const Node *n)
{
    eval_elementwise(e, n, value_of);
}

static void eval_grad(Eval *e, const Node *n)
{
    eval_elementwise(e, n, grad_of);
}

/* ---- spreads ---- */

static double larger_size(double a, double b)
{
    return fabs(a) > fabs(b) ? a : b;
}

/* f' at x of that square of a spread: the greater one where an error may bring x across a kink;
 * *jump is then how far f' may be off. */
static double slope_near(const Eval *e, const Node *n, double x, double square, double *jump)
{
    const Activation *a = activation_of(n);
    double k = factor_of(n), slope = a->slope(x, k), aside = 1e-6;
    *jump = 0;
    for (int i = 0; i < a->kinks; i++) {
        double below = a->slope(a->kink[i] - aside, k), above = a->slope(a->kink[i] + aside, k);
        if (!spread_is_near(e, x - a->kink[i], square))
            continue;
        slope = larger_size(slope, larger_size(below, above));
        *jump = larger_size(*jump, above - below);
    }
    return slope;
}

static double value_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    const Activation *a = activation_of(n);
    bool smooth_result = a->of_result && a->kinks == 0;
    double jump, at = smooth_result ? a->value(x[0], factor_of(n)) : x[0];
    return square_of(slope_near(e, n, at, square[0], &jump)) * square[0];
}

static double grad_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    double jump, slope = slope_near(e, n, x[1], square[1], &jump);
    double bend = activation_of(n)->bend(x[1], factor_of(n));
    return square_of(slope) * square[0] + square_of(x[0] * bend) * square[1] +
           square_of(x[0] * jump / e->jump);
}

static void spread_activation(Eval *e, const Node *n)
{
    spread_elementwise(e, n, value_spread);
}

static void spread_grad(Eval *e, const Node *n)
{
    spread_elementwise(e, n, grad_spread);
}

/* ---- gradients ---- */

static void gradient_activation(Gradient *g, Node *n, Node *dy)
{
    Node *x = n->in[0], *read = reads_result(n) ? n : x;
    g->give(g, x, gradient_op(g, n, activation_of(n)->grad, dy, read, x), n->loc);
}

#define ACTIVATION(id)                                                                             \
    OP_RULE(activation, id) = {infer_activation, eval_activation, spread_activation,               \
                               gradient_activation, no_work};                                      \
    OP_RULE(activation, id##_GRAD) = {infer_activation, eval_grad, spread_grad, no_gradient,       \
                                      no_work}

ACTIVATION(RELU6);
ACTIVATION(LEAKY_RELU);
ACTIVATION(ELU);
ACTIVATION(TANH);
ACTIVATION(GELU);
ACTIVATION(SILU);
ACTIVATION(HARDSWISH);
ACTIVATION(SOFTPLUS);
