/* Target: from here on each target has its own graphs. Requires stage training; replaces each
 * graph for any target by one copy for each wanted target. All copies share the storage. */
#include "targets.h"

/* Whether g is to have a copy for the target. A CPU with AMX wants other programs than one without
 * where maps are bf16: convolutions straight through its tiles, which are faster than Winograd's in
 * f32. */
static bool is_wanted(const Graph *g, Target target, const PipelineOptions *o)
{
    bool bf16 = o->precision == PRECISION_BF16 || graph_has_bf16(g);
    return o->wanted[target_device(target)] && (bf16 || !target_passes(target)->bf16_alone);
}

/* Clones each any-target graph for the wanted targets and drops the original. */
void pass_target(Module *m, const PipelineOptions *options)
{
    int count = m->graph_count, kept = 0;
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        for (int i = 0; i < count; i++) {
            Graph *g = m->graph[i];
            if (g->target == TARGET_ANY && is_wanted(g, target, options))
                graph_clone(g, g->name, target);
        }
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target != TARGET_ANY)
            m->graph[kept++] = m->graph[i];
    m->graph_count = kept;
}
