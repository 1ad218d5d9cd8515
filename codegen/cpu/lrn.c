/* Local response normalization as calls of ninc_lrn.h. */
#include "cpu.h"

/* {before, after, scale, beta, k} */
static const char *lrn_of(const CpuEmitter *e, const Node *n)
{
    const LrnAttr *a = &n->attr.lrn;
    LrnSpan span = lrn_span(a, n->tensor.shape.dim[3]);
    return pool_format(e->pool, "&(Lrn){%d, %d, %#.9gf, %#.9gf, %#.9gf}", span.before, span.after,
                       a->alpha / a->size, a->beta, a->k);
}

/* lrn, lrn_grad */
void emit_lrn(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    MapShape m = map_shape(n);
    const char *maps = map_name(e, n->in[0]);
    if (n->op == OP_LRN_GRAD)
        maps = pool_format(e->pool, "%s, %s", maps, map_name(e, n->in[1]));
    emit_line(e, "%s_rows(%s, %s, %d, %d, %s, %s, r0, r1);", op_name(n->op), lrn_of(e, n), maps,
              m.blocks, m.width, epilogue_of(e, s), map_name(e, statement_result(s)));
}
