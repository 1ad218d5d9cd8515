/* Epilogues: chains of pointwise ops as types, made of the op table's expressions, and the values
 * that kernels pass to the device library. */
#include "cuda.h"

static const char *operand(Pool *pool, const Statement *s, int at, const Node *in)
{
    bool scalar = in->tensor.shape.rank == 0;
    if (in == statement_flow(s, at))
        return "x[e]";
    return pool_format(pool, scalar ? "scalar[%d]" : "m[%d][e]", chain_place(s, in));
}

/* The lines of a chain, with its op `at` from 1 on. */
static const char *text_of(Pool *pool, const Statement *s)
{
    const char *text = "";
    for (int at = 1; at <= s->chained; at++) {
        const char *in[MAX_OPERANDS];
        const Node *n = s->chain[at - 1];
        for (int i = 0; i < n->arity; i++)
            in[i] = operand(pool, s, at, n->in[i]);
        text = pool_format(pool, "%s            x[e] = %s;\n", text, cuda_apply(pool, n, in, 19));
    }
    return text;
}

/* Chain_add_relu */
static const char *name_of(Pool *pool, const Statement *s)
{
    const char *name = "Chain";
    for (int i = 0; i < s->chained; i++)
        name = pool_format(pool, "%s_%s", name, op_name(s->chain[i]->op));
    return name;
}

static void add_chain(Pool *pool, Chains *c, const Statement *s)
{
    const char *text = text_of(pool, s);
    if (s->chained > 0 && !chains_find(c, text))
        chains_add(pool, c, name_of(pool, s), text, s);
}

Chains cuda_find_chains(Pool *pool, const Module *m)
{
    Chains c = {0};
    const Graph *g;
    const Kernel *k;
    for (int i = 0; (k = target_kernel(m, TARGET_CUDA, i, &g)); i++)
        for (int j = 0; j < k->node_count && k->class != KERNEL_POINTWISE; j++) {
            if (op_is_pointwise(k->node[j]->op))
                continue;
            Statement s = kernel_statement(k, k->node[j]);
            add_chain(pool, &c, &s);
        }
    return c;
}

void cuda_emit_chains(const Chains *c, Text *out)
{
    if (c->count)
        text_append(out, "/* ---- the epilogues of this model ---- */\n\n");
    for (int i = 0; i < c->count; i++) {
        const Chain *chain = &c->chain[i];
        text_append(out,
                    "template <class Element> struct %s {\n    static constexpr int MAPS = %d;\n",
                    chain->name, chain->maps);
        if (chain->maps)
            text_append(out, "    const Element *map[MAPS];\n");
        if (chain->scalars)
            text_append(out, "    float scalar[%d];\n", chain->scalars);
        text_append(out,
                    "\n    template <int V>\n"
                    "    NINC_MEMBER void apply(float (&x)[V], const float (&%s)[%d][V]) const\n"
                    "    {\n#pragma unroll\n        for (int e = 0; e < V; e++) {\n%s        }\n"
                    "    }\n};\n\n",
                    chain->maps ? "m" : "", chain->maps ? chain->maps : 1, chain->text);
    }
}

/* ---- what kernels pass ---- */

static const char *braced(Pool *pool, const char *list, const char *item)
{
    return pool_format(pool, "%s%s%s", list, *list ? ", " : "", item);
}

const char *cuda_chain_type(const CudaEmitter *e, const Statement *s)
{
    if (s->chained == 0)
        return "NoChain";
    return pool_format(e->pool, "%s<%s>", chains_find(e->chains, text_of(e->pool, s))->name,
                       cuda_type(statement_result(s)->tensor.dtype));
}

const char *cuda_chain(const CudaEmitter *e, const Statement *s)
{
    const Node *list[MAX_STATEMENT_OPERANDS];
    const char *maps = "", *scalars = "", *all = "";
    int count = statement_beside(s, false, list);
    for (int i = 0; i < count; i++)
        maps = braced(e->pool, maps, cuda_value(e, list[i]));
    all = count ? pool_format(e->pool, "{%s}", maps) : "";
    count = statement_beside(s, true, list);
    for (int i = 0; i < count; i++)
        scalars = braced(e->pool, scalars, pool_format(e->pool, "*%s", cuda_value(e, list[i])));
    if (count)
        all = braced(e->pool, all, pool_format(e->pool, "{%s}", scalars));
    return pool_format(e->pool, "%s{%s}", cuda_chain_type(e, s), all);
}
