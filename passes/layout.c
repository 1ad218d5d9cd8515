/* layout: the physical form of every value and storage.
 *
 * Requires stage scheduled; brings it to laid_out. At level 0 activations stay in logical
 * order. */
#include "targets.h"

static bool has_graph_of(const Module *m, Target target)
{
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target == target)
            return true;
    return false;
}

void pass_layout(Module *m, const PipelineOptions *options)
{
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        if (has_graph_of(m, target))
            target_passes(target)->layout(m, target, options->level);
    for (int i = 0; i < m->graph_count; i++)
        m->graph[i]->stage = STAGE_LAID_OUT;
}
