/* See target.h. */
#include "target.h"

const CodeTarget *code_target(Target target)
{
    static const CodeTarget *const table[TARGET_COUNT] = {
        [TARGET_CPU] = &cpu_code, [TARGET_AMX] = &amx_code, [TARGET_CUDA] = &cuda_code};
    if (!table[target])
        internal_error("target %s has no programs", target_names[target]);
    return table[target];
}

bool has_target(const Module *m, Target target)
{
    return module_find_graph(m, "eval", target);
}

bool has_levels(const Module *m)
{
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        if (code_target(target)->levels && has_target(m, target))
            return true;
    return false;
}
