/* Target: from here on each target has its own graphs. Requires stage training; replaces each
 * graph for any target by one for each wanted target. All share the storage. */
#include "targets.h"

#include <string.h>

/* Whether g is to have a copy for the target. A CPU with AMX wants other programs than one without
 * where maps are bf16: convolutions straight through its tiles, which are faster than Winograd's in
 * f32. */
static bool is_wanted(const Graph *g, Target target, const PipelineOptions *o)
{
    bool bf16 = o->precision == PRECISION_BF16 || graph_has_bf16(g);
    return o->wanted[target_device(target)] && (bf16 || !target_passes(target)->bf16_alone);
}

static Target last_wanted(const Graph *g, const PipelineOptions *o)
{
    Target last = TARGET_ANY;
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        if (g->target == TARGET_ANY && is_wanted(g, target, o))
            last = target;
    return last;
}

/* Puts the graph behind all others. */
static void move_to_end(Module *m, Graph *g)
{
    int at = 0;
    while (m->graph[at] != g)
        at++;
    memmove(m->graph + at, m->graph + at + 1,
            (size_t)(m->graph_count - at - 1) * sizeof *m->graph);
    m->graph[m->graph_count - 1] = g;
}

/* The original is the last target's; the others get clones. One that no target wants is dropped. */
void pass_target(Module *m, const PipelineOptions *options)
{
    int count = m->graph_count, kept = 0;
    Graph **original = pool_copy(m->pool, m->graph, (size_t)count * sizeof(Graph *));
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        for (int i = 0; i < count; i++) {
            Graph *g = original[i];
            if (g->target != TARGET_ANY || !is_wanted(g, target, options))
                continue;
            if (target == last_wanted(g, options)) {
                graph_retarget(g, target);
                move_to_end(m, g);
            } else {
                graph_clone(g, g->name, target);
            }
        }
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target != TARGET_ANY)
            m->graph[kept++] = m->graph[i];
    m->graph_count = kept;
}
