/* Storage that is written in place. */
#include "generic.h"

static void emit_update_loop(CpuEmitter *e, const Node *n)
{
    emit_line(e, "for (ptrdiff_t i = 0; i < %lld; i++)", (long long)tensor_elements(&n->tensor));
    emit_line(e, "    %s[i] = %s;", value_name(e, n), element_at(e, n->in[0], "i"));
}

void generic_leaf(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {[OP_UPDATE] = emit_update_loop};
    emit_of_family(e, n, by_op);
}
