/* What a tiled CUDA kernel has to do, whatever its schedule. A leaf: the emitted plan carries a
 * copy beside that of runtime/plan.h where the model has CUDA kernels. */
#ifndef NINC_GPU_WORK_H
#define NINC_GPU_WORK_H

#include <stdint.h>

typedef enum GpuPass {
    GPU_FPROP,
    GPU_DGRAD,
    GPU_WGRAD,
    GPU_BLOCK,          /* a convolution and 1x1 convolutions behind it */
    GPU_BLOCK_BACKWARD, /* the gradients of the 1x1 convolutions of a block */
} GpuPass;

typedef enum GpuMath { GPU_FP32, GPU_TF32, GPU_BF16, GPU_MATHS } GpuMath;

/* A product of rows x columns, each a sum of `terms`. Rows are pixels of the result, columns its
 * channels; wgrad: output channels x elements of a filter row, over pixels. Blocks: `columns` is
 * the most channels of any map, `terms` the first convolution's. */
typedef struct GpuWork {
    const char *kernel;
    int pass, math; /* GpuPass, GpuMath */
    int64_t rows, columns, terms;
    int64_t inner;    /* blocks: terms of the 1x1 convolutions together; else 0 */
    int convolutions; /* of a block; else 1 */
    int thin;         /* 1: of an image of few channels, gathered element by element */
    int64_t bytes;    /* maps and filters that it reads and writes, each once; no parts of sums */
} GpuWork;

/* Of every tiled kernel of the plan, in no order; `kernel` is NULL at the end. */
extern const GpuWork ninc_gpu_work[];

#endif
