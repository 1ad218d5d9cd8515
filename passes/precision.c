/* precision: what the contractions compute in.
 *
 * Requires stage training. fp32 leaves all as it is, tf32 marks the contractions of the CUDA graphs
 * (a CPU has no such arithmetic and computes in fp32), and graphs for AMX, which has none but bf16,
 * go. bf16 makes every map and its gradient bf16: filters are read through casts, the image ops and
 * the gradient of gap give bf16 at once, gap and the sums over images give f32 as before, and a
 * cast stands where a bf16 map meets an op of f32 alone. Parameters, moments and the loss stay
 * f32. */
#include "find.h"
#include "targets.h"

static void mark_tf32(Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (op_is(g->node[i]->op, F_CONTRACTION))
            g->node[i]->math = MATH_TF32;
}

/* A map of single images: what becomes bf16. */
static bool is_map(const Graph *g, const Node *n)
{
    return n->tensor.dtype == DT_F32 && n->tensor.shape.rank == 4 && n->op != OP_STATE &&
           is_per_image(g, n);
}

static Node *add_cast(Graph *g, Node *from, DType dtype, Loc loc)
{
    Tensor type = from->tensor;
    type.dtype = dtype;
    return graph_add_typed(g, OP_CAST, 1, &from, NULL, &type, loc);
}

/* The cast of `from` to dtype, made once. */
static Node *cast_of(Graph *g, Finder *made, Node *from, DType dtype)
{
    Node *n = finder_find(made, OP_CAST, from, dtype, NULL);
    if (n)
        return n;
    n = add_cast(g, from, dtype, from->loc);
    finder_add(made, n);
    return n;
}

/* The dtype that operand k of n must have; DT_COUNT: as it comes. A bias stays f32. */
static DType wanted(const Node *n, int k)
{
    if (op_is(n->op, F_CONTRACTION | F_SUMS_IMAGES))
        return k < 2 ? DT_BF16 : DT_F32;
    if (op_is(n->op, F_STATISTIC) || op_attr(n->op) == ATTR_NORM)
        return n->in[k]->tensor.shape.rank == 4 ? DT_BF16 : DT_F32;
    if (op_is(n->op, F_OF_MAPS) || op_attr(n->op) == ATTR_LRN ||
        (op_is(n->op, F_POOL_GRAD) && k == 0))
        return n->tensor.dtype;
    return op_is(n->op, F_READS_F32) ? DT_F32 : DT_COUNT;
}

static bool is_float(DType dtype)
{
    return dtype == DT_F32 || dtype == DT_BF16;
}

static void make_bf16(Graph *g)
{
    Pool *pool = pool_new();
    Finder made = {.pool = pool};
    int count = g->node_count;
    for (int i = 0; i < count; i++)
        if (is_map(g, g->node[i]) && !op_is(g->node[i]->op, F_GIVES_F32))
            g->node[i]->tensor.dtype = DT_BF16;
    for (int i = 0; i < count; i++) {
        Node *n = g->node[i];
        for (int k = 0; k < n->arity; k++) {
            DType dtype = wanted(n, k);
            if (dtype != DT_COUNT && is_float(n->in[k]->tensor.dtype) &&
                n->in[k]->tensor.dtype != dtype)
                n->in[k] = cast_of(g, &made, n->in[k], dtype);
        }
    }
    pool_free(pool);
    graph_sort(g);
}

/* Text may come in with its precision decided. */
static bool is_decided(const Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->math != MATH_FP32 || g->node[i]->tensor.dtype == DT_BF16)
            return true;
    return false;
}

/* Programs of targets that have no arithmetic but bf16. */
static void drop_f32_of_bf16_targets(Module *m)
{
    int kept = 0;
    for (int i = 0; i < m->graph_count; i++)
        if (!target_passes(m->graph[i]->target)->bf16_alone || graph_has_bf16(m->graph[i]))
            m->graph[kept++] = m->graph[i];
    m->graph_count = kept;
}

void pass_precision(Module *m, const PipelineOptions *options)
{
    for (int i = 0; i < m->graph_count; i++) {
        Graph *g = m->graph[i];
        if (is_decided(g))
            continue;
        if (options->precision == PRECISION_TF32 && target_passes(g->target)->has_tf32)
            mark_tf32(g);
        else if (options->precision == PRECISION_BF16)
            make_bf16(g);
    }
    drop_f32_of_bf16_targets(m);
}
