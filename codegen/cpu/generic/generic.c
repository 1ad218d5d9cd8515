/* One node in plain loops: those of its op's family. */
#include "generic.h"

#define X(id, text, lo, hi, attr, family, ...) [OP_##id] = generic_##family,
static GenericFn *const by_op[OP_COUNT] = {IR_OPS(X)};
#undef X

void emit_of_family(CpuEmitter *e, const Node *n, GenericFn *const of_family[OP_COUNT])
{
    if (!of_family[n->op])
        internal_error("no loops for %s", op_name(n->op));
    of_family[n->op](e, n);
}

void emit_generic(CpuEmitter *e, const Node *n)
{
    bool clears = n->op != OP_UPDATE && !op_sums_images(n->op) &&
                  (!op_is_pointwise(n->op) || is_per_image(e->graph, n));
    if (clears)
        emit_clear(e, n);
    by_op[n->op](e, n);
}
