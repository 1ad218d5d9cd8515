/* See targets.h. */
#include "targets.h"

const TargetPasses *target_passes(Target target)
{
    static const TargetPasses *const table[TARGET_COUNT] = {
        [TARGET_CPU] = &cpu_passes, [TARGET_AMX] = &amx_passes, [TARGET_CUDA] = &cuda_passes};
    if (!table[target])
        internal_error("graphs for target %s have no passes", target_names[target]);
    return table[target];
}
