/* Within runtime/train/: what normalize.c (how the training images are normalized), gram.c and
 * eigen.c (what whitening takes) share. */
#ifndef NINC_NORMALIZE_H
#define NINC_NORMALIZE_H

#include "train.h"

/* ---- gram.c ---- */

/* sum[i][j] += the sum over rows of row[i] * row[j], row by row of [rows, n], for j <= i: by blocks
 * of the sum on all threads, each in one order. Products are floats, 64 of them added as such. */
void gram_add(const float *row, int rows, int n, int threads, double *sum);
/* The other half of the sum. */
void gram_mirror(double *sum, int n);

/* ---- eigen.c ---- */

/* a [n, n], symmetric, becomes its eigenvectors, a[k] that of value[k], ascending. -1 after a
 * message. Weak: only trainers of models that whiten have it. */
int symmetric_eigen(double *a, int n, double *value) __attribute__((weak));

#endif
