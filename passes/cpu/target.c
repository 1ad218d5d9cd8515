/* The CPU's part of the passes, without and with AMX. AMX has tiles of bf16 alone. */
#include "cpu.h"

const TargetPasses cpu_passes = {.fuse = fuse_cpu_node, .schedule = schedule_cpu_graph,
                                 .layout = layout_cpu};

const TargetPasses amx_passes = {.bf16_alone = true, .fuse = fuse_cpu_node,
                                 .schedule = schedule_cpu_graph, .layout = layout_cpu};
