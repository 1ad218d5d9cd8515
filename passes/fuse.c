/* fuse: groups all nodes of a target's graphs into kernels.
 *
 * Requires stage training; brings it to kernels. Level 0 gives each node a kernel of plain loops,
 * which have no fixed point; level 1 groups an op with its epilogue, level 2 forms mlpconv blocks
 * forward and backward. What the groups are is in cpu/fuse.c and cuda/fuse.c. */
#include "targets.h"

static void in_plain_loops(Fuser *f, Node *n)
{
    if (n->math == MATH_I16)
        n->math = MATH_FP32;
    fuse_alone(f, n, KERNEL_GENERIC);
}

static void fuse_node(Fuser *f, Node *n)
{
    if (n->op == OP_INPUT || n->kernel)
        return;
    if (f->level == 0)
        in_plain_loops(f, n);
    else
        target_passes(f->g->target)->fuse(f, n);
}

/* Kernels of all graphs of a target share one text. */
static void find_names(Fuser *f)
{
    const Module *m = f->g->module;
    for (int i = 0; i < m->graph_count; i++)
        for (int k = 0; m->graph[i]->target == f->g->target && k < m->graph[i]->kernel_count; k++)
            fuse_note_name(f, m->graph[i]->kernel[k]);
}

static void fuse_all(Graph *g, int level)
{
    Pool *pool = g->module->pool;
    size_t nodes = (size_t)g->node_count + 1;
    Pool *scratch = pool_new();
    Fuser f = {.g = g, .pool = pool, .scratch = scratch, .level = level,
               .bf16 = graph_has_bf16(g), .claimed = pool_alloc(scratch, nodes),
               .seen = pool_alloc(scratch, nodes * sizeof(int)),
               .backward = pool_alloc(scratch, nodes * sizeof(Kernel *))};
    g->kernel_count = 0;
    find_names(&f);
    for (int i = 0; i < g->node_count; i++)
        g->node[i]->kernel = NULL;
    for (int i = 0; i < g->node_count; i++)
        fuse_node(&f, g->node[i]);
    graph_derive_io(g);
    pool_free(scratch);
}

/* A kernel that would have to wait for itself is none: then each graph is fused less. */
static void fuse_graph(Graph *g, int level)
{
    do
        fuse_all(g, level);
    while (!order_kernels(g, false) && level-- > 0);
    g->stage = STAGE_KERNELS;
}

void pass_fuse(Module *m, const PipelineOptions *options)
{
    for (int i = 0; i < m->graph_count; i++)
        fuse_graph(m->graph[i], options->level);
}
