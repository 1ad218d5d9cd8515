/* Batch norm: kernels of statistics, and its row ops, as calls of ninc_norm.h. */
#include "cpu.h"

/* {mean, var, weight, bias, eps} */
static const char *norm_of(const CpuEmitter *e, const Node *n, int mean, const Node *weight,
                           const Node *bias)
{
    return pool_format(e->pool, "{%s, %s, %s, %s, %.9gf}", value_name(e, n->in[mean]),
                       value_name(e, n->in[mean + 1]), weight ? value_name(e, weight) : "NULL",
                       bias ? value_name(e, bias) : "NULL", n->attr.norm.eps);
}

/* All images of a map. */
static const char *maps_of(CpuEmitter *e, const Node *x)
{
    MapShape m = map_shape(x);
    emit_map(e, x, "0");
    return pool_format(e->pool, "&(Maps){%s, %lld, %d, %d}", map_name(e, x), (long long)m.image,
                       m.height, m.width);
}

void emit_statistics(CpuEmitter *e)
{
    const Node *first = e->kernel->node[0], *second = e->kernel->node[1];
    int blocks = map_shape(first->in[0]).blocks;
    const char *x = maps_of(e, first->in[0]);
    if (first->op == OP_BATCH_MEAN) {
        emit_line(e, "batch_moments(%s, %s[0], %d, %s, %s, range);", x,
                  value_name(e, first->in[1]), blocks, value_name(e, first),
                  value_name(e, second));
        return;
    }
    emit_line(e, "const Norm norm = %s;", norm_of(e, second, 2, NULL, NULL));
    emit_line(e, "batch_sums(&norm, %s, %s, range->images, %d, %s, %s, range);", x,
              maps_of(e, second->in[1]), blocks, value_name(e, first), value_name(e, second));
}

void emit_batch_norm(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    MapShape m = map_shape(n);
    emit_line(e, "batch_norm_rows(&(Norm)%s, %s, %d, %d,",
              norm_of(e, n, 1, n->arity > 3 ? n->in[3] : NULL, n->arity > 3 ? n->in[4] : NULL),
              map_name(e, n->in[0]), m.blocks, m.width);
    emit_line(e, "                %s, %s, r0, r1);", epilogue_of(e, s),
              map_name(e, statement_result(s)));
}

void emit_batch_norm_grad(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    MapShape m = map_shape(n);
    const char *valid = value_name(e, n->in[6]);
    emit_line(e, "const NormGradient %s_gradient = {%s, %s, %s,", value_name(e, n),
              norm_of(e, n, 2, n->arity > 7 ? n->in[7] : NULL, NULL), value_name(e, n->in[4]),
              value_name(e, n->in[5]));
    emit_line(e, "    range->first_image + n < %s[0] ? (float)%s[0] * %d : 0};", valid, valid,
              m.height * m.width);
    emit_line(e, "batch_norm_grad_rows(&%s_gradient, %s, %s, %d, %d,", value_name(e, n),
              map_name(e, n->in[0]), map_name(e, n->in[1]), m.blocks, m.width);
    emit_line(e, "                     %s, %s, r0, r1);", epilogue_of(e, s),
              map_name(e, statement_result(s)));
}
