/* Dynamic shared memory of the CUDA kernels, in bytes, from their tiles: preprocessor arithmetic, so
 * that the schedule pass (C) and the device library (CUDA C, which carries a copy of this header and
 * asserts the same numbers) cannot differ.
 *
 * A tile row is padded by 16 bytes, so that the rows of a fragment lie in different banks.
 * `size`: bytes of an element, 2 or 4; m, n, k: the GEMM tile; c: channels, rounded up to 8. */
#ifndef NINC_TILES_H
#define NINC_TILES_H

/* Elements of a padded row of `n` elements. */
#define NINC_PITCH(n, size) ((n) + 16 / (size))

/* fprop: operand tiles [m][k] and [n][k] a stage. */
#define NINC_FPROP_SHARED(m, n, k, stages, size)                                                   \
    ((stages) * ((m) + (n)) * NINC_PITCH(k, size) * (size))

/* dgrad: [m][k] of dy and [k][n] of the filter a stage. */
#define NINC_DGRAD_SHARED(m, n, k, stages, size)                                                   \
    ((stages) * ((m)*NINC_PITCH(k, size) + (k)*NINC_PITCH(n, size)) * (size))

/* wgrad: [k][m] of dy and [k][n] of x a stage; k counts pixels. */
#define NINC_WGRAD_SHARED(m, n, k, stages, size)                                                   \
    ((stages) * (k) * (NINC_PITCH(m, size) + NINC_PITCH(n, size)) * (size))

#endif
