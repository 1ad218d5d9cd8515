/* Target: from here on each target has its own graphs. Requires stage training; replaces each
 * graph for any target by one copy for each wanted target. All copies share the storage. */
#include "passes.h"

/* A CPU with tiles of bf16 wants other programs than one without: convolutions straight through the
 * tiles, which are faster than Winograd's in f32. */
static bool wants_amx(const Graph *g, const PipelineOptions *options)
{
    return options->cpu && (options->precision == PRECISION_BF16 || graph_has_bf16(g));
}

/* Clones each any-target graph for the wanted targets and drops the original. */
void pass_target(Module *m, const PipelineOptions *options)
{
    int count = m->graph_count, kept = 0;
    for (int i = 0; i < count; i++) {
        Graph *g = m->graph[i];
        if (g->target == TARGET_ANY && options->cpu)
            graph_clone(g, g->name, TARGET_CPU);
    }
    for (int i = 0; i < count; i++) {
        Graph *g = m->graph[i];
        if (g->target == TARGET_ANY && wants_amx(g, options))
            graph_clone(g, g->name, TARGET_AMX);
    }
    for (int i = 0; i < count; i++) {
        Graph *g = m->graph[i];
        if (g->target == TARGET_ANY && options->cuda)
            graph_clone(g, g->name, TARGET_CUDA);
    }
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target != TARGET_ANY)
            m->graph[kept++] = m->graph[i];
    m->graph_count = kept;
}
