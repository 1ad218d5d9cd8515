/* schedule: how each kernel is executed on its target: images a chunk, rows a strip, register
 * tiles; blocks and stages of a GPU's.
 *
 * Requires stage kernels; brings it to scheduled. Everything is decided from shapes and the
 * target's limits, which stand in its machine.h. */
#include "targets.h"

void pass_schedule(Graph *g)
{
    target_passes(g->target)->schedule(g);
    g->stage = STAGE_SCHEDULED;
}
