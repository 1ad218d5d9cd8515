/* The rules of all ops by op, and what stands for a gradient or work that an op does not have. */
#include "family.h"

const OpRule *op_rule(Op op)
{
    static const OpRule *const rules[OP_COUNT] = {
#define X(id, text, lo, hi, attr, family, ...) &rule_##family##_##id,
        IR_OPS(X)
#undef X
    };
    if (op >= OP_COUNT)
        internal_error("op %d is not in the table", (int)op);
    return rules[op];
}

void no_gradient(Gradient *g, Node *n, Node *dy)
{
    (void)g;
    (void)dy;
    internal_error("%s has no gradient", op_name(n->op));
}

double no_work(const Node *n)
{
    (void)n;
    return 0;
}

double contraction_flop(const Node *n)
{
    return op_rule(n->op)->work(n);
}
