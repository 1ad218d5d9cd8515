/* order: the order of kernels within each phase.
 *
 * Requires stage laid_out. Among the kernels that are ready, the one that frees the most bytes
 * (or adds the fewest) comes first; equals keep their order. */
#include "ready.h"

#include <string.h>

typedef struct Scheduler {
    Graph *g;
    Ready ready;
    bool by_bytes;
    int *uses; /* by id: kernels that still have to read the value */
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

static void push(Scheduler *s, int kernel, Phase phase)
{
    if (ready_can_run(&s->ready, kernel, phase))
        ready_push(&s->ready, kernel, s->by_bytes ? added_bytes(s, s->g->kernel[kernel]) : 0);
}

/* The kernels that still have to read n: the last of them frees it, and so costs less now. */
static void push_readers(Scheduler *s, const Node *n, Phase phase)
{
    Uses uses = graph_uses(s->g, n);
    for (int i = 0; i < uses.count; i++)
        if (uses.use[i].user->kernel != n->kernel)
            push(s, s->ready.maker[uses.use[i].user->id], phase);
}

static void run(Scheduler *s, int index, Phase phase)
{
    const Kernel *k = s->g->kernel[index];
    for (int i = s->ready.begin[index]; i < s->ready.begin[index + 1]; i++)
        push(s, s->ready.next[i], phase);
    for (int i = 0; s->by_bytes && i < k->in_count; i++)
        if (k->in[i]->kernel && --s->uses[k->in[i]->id] == 1)
            push_readers(s, k->in[i], phase);
}

static void count_uses(Scheduler *s, Pool *pool)
{
    const Graph *g = s->g;
    s->uses = pool_alloc(pool, ((size_t)g->node_count + 1) * sizeof *s->uses);
    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->in_count; j++)
            if (g->kernel[i]->in[j]->kernel)
                s->uses[g->kernel[i]->in[j]->id]++;
}

/* The kernels in the order in which they run; returns how many are in no circle. */
static int sort(Scheduler *s, Kernel **sorted)
{
    int count = 0;
    for (Phase phase = PHASE_BEFORE; phase < PHASE_COUNT; phase++) {
        for (int i = 0; i < s->g->kernel_count; i++)
            push(s, i, phase);
        for (int k; (k = ready_take(&s->ready)) >= 0;) {
            sorted[count++] = s->g->kernel[k];
            run(s, k, phase);
        }
    }
    return count;
}

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

bool order_kernels(Graph *g, bool by_bytes)
{
    Pool *pool = pool_new();
    Scheduler s = {g, ready_new(pool, g), by_bytes, NULL};
    Kernel **sorted = pool_alloc(pool, ((size_t)g->kernel_count + 1) * sizeof *sorted);
    count_uses(&s, pool);
    bool whole = sort(&s, sorted) == g->kernel_count;
    if (whole) {
        memcpy(g->kernel, sorted, (size_t)g->kernel_count * sizeof *sorted);
        order_nodes(g);
    }
    pool_free(pool);
    return whole;
}

void pass_order(Graph *g)
{
    if (!order_kernels(g, true))
        internal_error("graph %s: kernels depend on each other in a circle", g->name);
}
