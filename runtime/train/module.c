/* The IR that the plan carries as text: for those who must know what a kernel computes. */
#include "../../ir/ir.h"
#include "train.h"

Module *plan_module(Pool *pool)
{
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "the plan's IR", ninc_ir_text, ninc_ir_length);
    if (!m)
        internal_error("the plan's IR does not parse: line %d: %s",
                       d.count ? d.list[0].loc.line : 0, d.count ? d.list[0].message : "?");
    return m;
}

const Graph *plan_graph(const Module *m, NincTargetKind programs, const char *name)
{
    static const Target targets[] = {
        [NINC_CPU] = TARGET_CPU, [NINC_AMX] = TARGET_AMX, [NINC_CUDA] = TARGET_CUDA};
    const Graph *g = module_find_graph(m, name, targets[programs]);
    if (!g)
        internal_error("the plan's IR has no graph %s for programs %d", name, (int)programs);
    return g;
}
