/* order: the order of kernels within each phase.
 *
 * Requires stage laid_out. Among the kernels that are ready, the one that frees the most bytes
 * (or adds the fewest) comes first; equals keep their order. */
#include "passes.h"

#include <string.h>

typedef struct Scheduler {
    Graph *g;
    int *uses;     /* by id: kernels that still have to read the value */
    bool *done;    /* by kernel index */
    bool *computed; /* by id */
} Scheduler;

/* Bytes that running k adds to what is live. */
static int64_t added_bytes(const Scheduler *s, const Kernel *k)
{
    int64_t bytes = 0;
    for (int i = 0; i < k->out_count; i++)
        if (k->out[i]->op != OP_UPDATE)
            bytes += value_bytes(s->g, k->out[i]);
    for (int i = 0; i < k->in_count; i++)
        if (k->in[i]->kernel && s->uses[k->in[i]->id] == 1)
            bytes -= value_bytes(s->g, k->in[i]);
    return bytes;
}

static int next_kernel(const Scheduler *s, Phase phase)
{
    int best = -1;
    int64_t least = 0;
    for (int i = 0; i < s->g->kernel_count; i++) {
        const Kernel *k = s->g->kernel[i];
        if (s->done[i] || k->phase != phase || !kernel_is_ready(s->g, k, s->done, s->computed))
            continue;
        int64_t bytes = added_bytes(s, k);
        if (best < 0 || bytes < least) {
            best = i;
            least = bytes;
        }
    }
    return best;
}

static void run(Scheduler *s, int index)
{
    Kernel *k = s->g->kernel[index];
    s->done[index] = true;
    for (int i = 0; i < k->node_count; i++)
        s->computed[k->node[i]->id] = true;
    for (int i = 0; i < k->in_count; i++)
        if (k->in[i]->kernel)
            s->uses[k->in[i]->id]--;
}

static void order_graph(Graph *g)
{
    Pool *pool = pool_new();
    size_t kernels = (size_t)g->kernel_count + 1, nodes = (size_t)g->node_count + 1;
    Scheduler s = {g, pool_alloc(pool, nodes * sizeof(int)), pool_alloc(pool, kernels),
                   pool_alloc(pool, nodes)};
    Kernel **sorted = pool_alloc(pool, kernels * sizeof *sorted);
    int count = 0;
    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->in_count; j++)
            if (g->kernel[i]->in[j]->kernel)
                s.uses[g->kernel[i]->in[j]->id]++;
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        for (int k; (k = next_kernel(&s, (Phase)phase)) >= 0;) {
            sorted[count++] = g->kernel[k];
            run(&s, k);
        }
    if (count != g->kernel_count)
        internal_error("graph %s: kernels depend on each other in a circle", g->name);
    memcpy(g->kernel, sorted, (size_t)count * sizeof *sorted);
    int at = 0;
    while (at < g->node_count && g->node[at]->op == OP_INPUT)
        at++;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < g->kernel[i]->node_count; k++)
            g->node[at++] = g->kernel[i]->node[k];
    graph_renumber(g);
    graph_derive_io(g);
    pool_free(pool);
}

void pass_order(Module *m)
{
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target != TARGET_ANY)
            order_graph(m->graph[i]);
}
