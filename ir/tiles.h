/* Dynamic shared memory of the CUDA kernels, in bytes, from their tiles: preprocessor arithmetic,
 * so that the schedule pass (C) and the device library (CUDA C, which carries a copy of this header
 * and asserts the same numbers) cannot differ.
 *
 * A row of a tile is padded, so that the lanes of a warp read different banks: by 16 bytes where
 * the reduction runs along the row, by 8 elements where it runs across the rows.
 * `size`: bytes of an element, 2 or 4; m, n, k: the GEMM tile; c: channels, rounded up to 8. */
#ifndef NINC_TILES_H
#define NINC_TILES_H

/* Elements of a padded row of `n` elements: reduction along the row, across the rows. */
#define NINC_PITCH(n, size) ((n) + 16 / (size))
#define NINC_PITCH_ACROSS(n) ((n) + 8)

/* Blocks that tiles of `tile` need for `count`. */
#define NINC_TILES(count, tile) (((count) + (tile)-1) / (tile))

/* Grids (x, y) of the convolution kernels; z is the split of wgrad, else 1. kp, cp: physical
 * channels of y and x (and of a filter row); k: output channels.
 *     fprop  NINC_TILES(n p q, M)  NINC_TILES(kp, N)
 *     dgrad  NINC_TILES(n h w, M)  NINC_TILES(cp, N)
 *     wgrad  NINC_TILES(k, M)      NINC_TILES(r s cp, N): columns run over taps and channels */

/* fprop: operand tiles [m][k] and [n][k] a stage. */
#define NINC_FPROP_SHARED(m, n, k, stages, size)                                                   \
    ((stages) * ((m) + (n)) * NINC_PITCH(k, size) * (size))

/* dgrad: [m][k] of dy and [k][n] of the filter a stage. */
#define NINC_DGRAD_SHARED(m, n, k, stages, size)                                                   \
    ((stages) * ((m)*NINC_PITCH(k, size) + (k)*NINC_PITCH_ACROSS(n)) * (size))

/* wgrad: [k][m] of dy and [k][n] of x a stage; k counts pixels. */
#define NINC_WGRAD_SHARED(m, n, k, stages, size)                                                   \
    ((stages) * (k) * (NINC_PITCH_ACROSS(m) + NINC_PITCH_ACROSS(n)) * (size))

/* The head: a row of k logits or gradients, and 8 sums a thread. */
#define NINC_HEAD_SHARED(k, threads) ((NINC_TILES(k, 8) * 8 + 8 * (threads)) * 4)

/* Statistics: two octets of sums a thread. */
#define NINC_NORM_SHARED(threads) (2 * 8 * (threads) * 4)

/* Augmentation (codegen/cuda/augment.cuh): four numbers for each of eight ops, and one a thread. */
#define NINC_AUGMENT_SHARED (8 * 4 * 4 + 256 * 4)

/* Block fusion (codegen/cuda/mlpconv.cuh). m: pixels of a tile; n: at least every channel count of
 * the block, those of the inputs of its 1x1 convolutions too; k divides n and is a multiple of 16
 * (bf16), 8 (tf32) or 4 (fp32); size as above. The warps must share m x n in parts of 16 x 8 (fp32:
 * 4 x 8): with 8 warps they do where m and n are multiples of 32.
 *     fprop     NINC_TILES(n p q, M)  1
 *     backward  1, or the split       1; z is the split where x is 1: a range of pixels a block */

/* fprop: the stages of the convolution; then, in the same memory, [m][n] between two convolutions
 * and a filter's [n][k] a stage. stages: 2 or more. A thin image takes m and n threads at least. */
#define NINC_MLPCONV_FPROP_SHARED(m, n, k, stages, size)                                           \
    (NINC_FPROP_SHARED(m, n, k, stages, size) > NINC_MLPCONV_STEP_SHARED(m, n, k, stages, size)    \
         ? NINC_FPROP_SHARED(m, n, k, stages, size)                                                \
         : NINC_MLPCONV_STEP_SHARED(m, n, k, stages, size))
#define NINC_MLPCONV_STEP_SHARED(m, n, k, stages, size)                                            \
    (((m)*NINC_PITCH(n, size) + (stages) * (n)*NINC_PITCH(k, size)) * (size))

/* backward of `steps` 1x1 convolutions: gradient and input of this tile and of the next, all
 * [m][n]; stages 1: the filters [n][n] of all steps; stages 2 or more: a filter's [k][n] a stage. k
 * divides m too. */
#define NINC_MLPCONV_BACKWARD_SHARED(m, n, k, stages, steps, size)                                 \
    ((4 * (m) + ((stages) == 1 ? (steps) * (n) : (stages) * (k))) * NINC_PITCH_ACROSS(n) * (size))

#endif
