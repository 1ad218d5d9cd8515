/* The optimizer's ops: pointwise over parameters, and what writes a result to its storage. */
#include "generic.h"

static void emit_store(CpuEmitter *e, const Node *n)
{
    emit_line(e, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)tensor_elements(&n->tensor));
    emit_line(e, "    %s[i] = %s;", value_name(e, n), element_at(e, n->in[0], "i"));
}

void generic_optimizer(CpuEmitter *e, const Node *n)
{
    if (n->op == OP_UPDATE)
        emit_store(e, n);
    else
        generic_pointwise(e, n);
}
