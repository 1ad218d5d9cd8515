/* Pointwise ops of maps, and casts. The evaluator has its own spelling of what the op table says in
 * C: it is what that is checked against. */
#include "family.h"

#include <math.h>

/* ---- types ---- */

static bool is_float(DType dtype)
{
    return dtype == DT_F32 || dtype == DT_BF16;
}

/* Between floats; the result's dtype is given. */
static bool infer_cast(const Infer *f)
{
    DType to = f->out->dtype;
    if (!is_float(type_dtype(f, 0)) || !is_float(to))
        return type_fault(f, " is between f32 and bf16, not from %s to %s",
                          dtype_name(type_dtype(f, 0)), dtype_name(to));
    return type_give(f, to, f->in[0]->tensor.shape);
}

/* Maps of one float dtype, or what is computed from parameters. */
static bool infer_of_maps(const Infer *f)
{
    return type_pointwise(f, type_dtype(f, 0) == DT_BF16 ? DT_BF16 : DT_F32, f->arity);
}

/* ---- values ---- */

static double relu(const Node *n, const double *x)
{
    (void)n;
    return x[0] <= 0 ? 0 : x[0];
}

static double add(const Node *n, const double *x)
{
    (void)n;
    return x[0] + x[1];
}

static double relu_grad(const Node *n, const double *x)
{
    (void)n;
    return x[1] > 0 ? x[0] : 0;
}

static double sigmoid(const Node *n, const double *x)
{
    (void)n;
    return 1 / (1 + exp(-x[0]));
}

static double sigmoid_grad(const Node *n, const double *x)
{
    (void)n;
    return x[0] * x[1] * (1 - x[1]);
}

static void eval_sigmoid(Eval *e, const Node *n)
{
    eval_elementwise(e, n, sigmoid);
}

static void eval_sigmoid_grad(Eval *e, const Node *n)
{
    eval_elementwise(e, n, sigmoid_grad);
}

static void eval_relu(Eval *e, const Node *n)
{
    eval_elementwise(e, n, relu);
}

static void eval_add(Eval *e, const Node *n)
{
    eval_elementwise(e, n, add);
}

static void eval_relu_grad(Eval *e, const Node *n)
{
    eval_elementwise(e, n, relu_grad);
}

/* The evaluator never rounds. */
static void eval_cast(Eval *e, const Node *node)
{
    memcpy(eval_value(e, node), eval_value(e, node->in[0]),
           (size_t)eval_elements(e, node) * sizeof(double));
}

/* ---- spreads ---- */

static void spread_relu(Eval *e, const Node *node)
{
    const double *in = eval_value(e, node->in[0]), *value = eval_value(e->of, node->in[0]);
    double *out = eval_value(e, node);
    for (int64_t i = eval_elements(e, node) - 1; i >= 0; i--)
        out[i] = value[i] > 0 || spread_is_near(e, value[i], in[i]) ? in[i] : 0;
}

/* dy, y: where y may be on the other side of zero, all of dy may be wrong. */
static void spread_relu_grad(Eval *e, const Node *node)
{
    const double *dy = eval_value(e, node->in[0]), *y = eval_value(e, node->in[1]);
    const double *dy_value = eval_value(e->of, node->in[0]);
    const double *y_value = eval_value(e->of, node->in[1]);
    double *out = eval_value(e, node);
    for (int64_t i = eval_elements(e, node) - 1; i >= 0; i--) {
        double jump = spread_is_near(e, y_value[i], y[i]) ? square_of(dy_value[i] / e->jump) : 0;
        out[i] = (y_value[i] > 0 || jump > 0 ? dy[i] : 0) + jump;
    }
}

/* The derivative is y (1 - y). */
static double sigmoid_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    double y = sigmoid(n, x);
    (void)e;
    return square_of(y * (1 - y)) * square[0];
}

static void spread_sigmoid(Eval *e, const Node *n)
{
    spread_elementwise(e, n, sigmoid_spread);
}

static double sigmoid_grad_spread(const Eval *e, const Node *n, const double *square,
                                  const double *x)
{
    double dy = x[0], y = x[1];
    (void)e;
    (void)n;
    return square_of(y * (1 - y)) * square[0] + square_of(dy * (1 - 2 * y)) * square[1];
}

static void spread_sigmoid_grad(Eval *e, const Node *n)
{
    spread_elementwise(e, n, sigmoid_grad_spread);
}

static double add_spread(const Eval *e, const Node *n, const double *square, const double *x)
{
    (void)e;
    (void)n;
    (void)x;
    return square[0] + square[1];
}

static void spread_add(Eval *e, const Node *n)
{
    spread_elementwise(e, n, add_spread);
}

/* ---- gradients ---- */

/* Behind a dropout dy is zero where y was dropped: what is left of y says as much of its sign as y
 * itself, which then need not be kept. */
static Node *left_of(const Gradient *g, Node *y, const Node *dy)
{
    for (int i = 0; dy->op == OP_DROPOUT && i < g->graph->node_count; i++) {
        Node *n = g->graph->node[i];
        if (n->op == OP_DROPOUT && n->in[0] == y &&
            n->attr.dropout.layer == dy->attr.dropout.layer)
            return n;
    }
    return y;
}

static void gradient_relu(Gradient *g, Node *n, Node *dy)
{
    Node *y = left_of(g, n, dy);
    g->give(g, n->in[0], gradient_op(g, n, OP_RELU_GRAD, dy, y, n->in[0]), n->loc);
}

static void gradient_sigmoid(Gradient *g, Node *n, Node *dy)
{
    g->give(g, n->in[0], gradient_op(g, n, OP_SIGMOID_GRAD, dy, n, n->in[0]), n->loc);
}

static void gradient_add(Gradient *g, Node *n, Node *dy)
{
    for (int k = 0; k < 2; k++) {
        if (!shape_equal(&n->in[k]->tensor.shape, &n->tensor.shape))
            internal_error("the gradient of a broadcast operand of add is not implemented");
        if (g->needs(g, n->in[k]))
            g->give(g, n->in[k], dy, n->loc);
    }
}

OP_RULE(pointwise, RELU) = {infer_of_maps, eval_relu, spread_relu, gradient_relu, no_work};
OP_RULE(pointwise, RELU_GRAD) = {infer_of_maps, eval_relu_grad, spread_relu_grad, no_gradient,
                                 no_work};
OP_RULE(pointwise, SIGMOID) = {infer_of_maps, eval_sigmoid, spread_sigmoid, gradient_sigmoid,
                               no_work};
OP_RULE(pointwise, SIGMOID_GRAD) = {infer_of_maps, eval_sigmoid_grad, spread_sigmoid_grad,
                                    no_gradient, no_work};
OP_RULE(pointwise, ADD) = {infer_of_maps, eval_add, spread_add, gradient_add, no_work};
OP_RULE(pointwise, CAST) = {infer_cast, eval_cast, spread_linear, no_gradient, no_work};
