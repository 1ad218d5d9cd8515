/* fuse: groups all nodes of a target's graphs into kernels.
 *
 * Requires stage training; brings it to kernels. Level 0 gives each node a kernel of its own,
 * level 1 groups an op with its epilogue, level 2 forms mlpconv blocks forward and backward. What
 * the groups are is in cpu/fuse.c and cuda/fuse.c. */
#include "fuse.h"
#include "ready.h"

#include <string.h>

static void fuse_node(Fuser *f, Node *n)
{
    if (n->op == OP_INPUT || n->kernel)
        return;
    if (f->level == 0)
        fuse_alone(f, n, KERNEL_GENERIC);
    else if (f->g->target == TARGET_CUDA)
        fuse_cuda_node(f, n);
    else
        fuse_cpu_node(f, n);
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
               .claimed = pool_alloc(scratch, nodes),
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

/* Sorts kernels by phase and dependence, keeping their order otherwise; false on a circle. */
static bool sort_kernels(Graph *g)
{
    Pool *pool = pool_new();
    Kernel **sorted = pool_alloc(pool, (size_t)(g->kernel_count + 1) * sizeof *sorted);
    Ready ready = ready_new(pool, g);
    int count = 0;
    for (Phase phase = PHASE_BEFORE; phase < PHASE_COUNT; phase++) {
        for (int i = 0; i < g->kernel_count; i++)
            if (ready_can_run(&ready, i, phase))
                ready_push(&ready, i, 0);
        for (int k; (k = ready_take(&ready)) >= 0;) {
            sorted[count++] = g->kernel[k];
            for (int i = ready.begin[k]; i < ready.begin[k + 1]; i++)
                if (ready_can_run(&ready, ready.next[i], phase))
                    ready_push(&ready, ready.next[i], 0);
        }
    }
    bool whole = count == g->kernel_count;
    if (whole)
        memcpy(g->kernel, sorted, (size_t)count * sizeof *sorted);
    pool_free(pool);
    return whole;
}

/* Node order follows kernel order from here on. */
static void order_nodes(Graph *g)
{
    int at = 0;
    while (at < g->node_count && g->node[at]->op == OP_INPUT)
        at++;
    for (int i = 0; i < g->kernel_count; i++)
        for (int k = 0; k < g->kernel[i]->node_count; k++)
            g->node[at++] = g->kernel[i]->node[k];
    graph_renumber(g);
    graph_derive_io(g);
}

static void fuse_graph(Graph *g, int level)
{
    do
        fuse_all(g, level);
    while (!sort_kernels(g) && level-- > 0);
    order_nodes(g);
    g->stage = STAGE_KERNELS;
}

void pass_fuse(Module *m, int level)
{
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target != TARGET_ANY)
            fuse_graph(m->graph[i], level);
}
