/* The GPUs that CUDA programs are decided for: what the least device of a precision has, and how
 * fast a large one is. */
#ifndef NINC_PASSES_CUDA_MACHINE_H
#define NINC_PASSES_CUDA_MACHINE_H

#include "../../ir/ir.h"

/* ---- memory ---- */

/* Channels of a map are padded to a multiple of this: 16 bytes of bf16. */
enum { CUDA_LANES = 8 };

/* Bytes of shared memory that a block may ask for on the least device of a precision: 64 KB on
 * compute capability 7.5 (fp32), 99 KB from 8.0 on; and that it asks for where deeper stages may
 * pay on a larger device. */
enum { SHARED_OF_75 = 64 * 1024, SHARED_OF_80 = 99 * 1024, LARGE_SHARED = 160 * 1024 };

static inline int shared_limit(DType dtype, Math math)
{
    return dtype == DT_F32 && math == MATH_FP32 ? SHARED_OF_75 : SHARED_OF_80;
}

/* Sums that a thread can keep in registers beside operands and addresses. */
enum { FORWARD_SUMS = 64, BACKWARD_SUMS = 112 };

/* Parameters an update kernel and filters a kernel of casts, so that its arguments stay below 4 KB:
 * what CUDA before 12.1 allows. */
enum { MAX_UPDATED = 64, MAX_CASTS = 240 };

/* ---- a large GPU ---- */

/* With fewer blocks than processors, smaller tiles. Splits aim at two blocks a processor. The
 * copies of a weight gradient take no more than SPLIT_BYTES, and no part has fewer pixels than
 * LEAST_PIXELS. */
enum {
    PROCESSORS = 132,
    WANTED_BLOCKS = 264,
    SPLIT_BYTES = 16 * 1024 * 1024,
    LEAST_PIXELS = 256,
};

/* Threads of a block, and elements of a parameter that one updates. */
enum { THREADS = 256, UPDATE_ELEMENTS = 1024 };

/* What a large kernel of ours can reach on an H200, by arithmetic; copies measure the memory. */
static const double BF16_FLOPS = 480e12, TF32_FLOPS = 240e12, FP32_FLOPS = 60e12, BYTES = 4.3e12;

/* What the level-2 cache gives: each block of a fused kernel reads all filters. */
static const double CACHE_BYTES = 5.5e12;

/* Seconds between two kernels of one CUDA graph. */
static const double LAUNCH = 1.5e-6;

/* A fused kernel's tile covers all channels, so it holds fewer pixels and reuses filters less; a
 * backward one also keeps the filters' gradients in registers. */
static const double FORWARD_PENALTY = 1.15, BACKWARD_PENALTY = 1.3;

#endif
