/* Leaves: what a graph is given, and what it writes: inputs, state, updates. */
#include "family.h"

static bool infer_given(const Infer *f)
{
    return type_give(f, f->out->dtype, f->out->shape);
}

static bool infer_update(const Infer *f)
{
    return type_give(f, f->in[0]->tensor.dtype, f->in[0]->tensor.shape);
}

/* Somebody sets their values. */
static void eval_given(Eval *e, const Node *n)
{
    (void)e;
    (void)n;
}

static void eval_update(Eval *e, const Node *node)
{
    size_t bytes = (size_t)shape_elements(&node->storage->tensor.shape) * sizeof(double);
    memcpy(eval_state(e, node->storage), eval_value(e, node->in[0]), bytes);
}

OP_RULE(leaf, INPUT) = {infer_given, eval_given, spread_set, no_gradient, no_work};
OP_RULE(leaf, STATE) = {infer_given, eval_given, spread_set, no_gradient, no_work};
OP_RULE(leaf, UPDATE) = {infer_update, eval_update, spread_linear, no_gradient, no_work};
