/* CUDA's part of the passes. */
#include "cuda.h"

const TargetPasses cuda_passes = {.has_tf32 = true, .fuse = fuse_cuda_node,
                                  .schedule = schedule_cuda_graph, .layout = layout_cuda};
