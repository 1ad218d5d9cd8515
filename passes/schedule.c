/* schedule: how each kernel is executed on its target: images a chunk, rows a strip, register
 * tiles; blocks and stages of a GPU's.
 *
 * Requires stage kernels; brings it to scheduled. Everything is decided from shapes and the
 * target's limits, which stand in its machine.h. */
#include "cpu/cpu.h"
#include "cuda/cuda.h"

void pass_schedule(Module *m)
{
    for (int i = 0; i < m->graph_count; i++) {
        if (target_is_cpu(m->graph[i]->target))
            schedule_cpu_graph(m->graph[i]);
        else if (m->graph[i]->target == TARGET_CUDA)
            schedule_cuda_graph(m->graph[i]);
    }
}
