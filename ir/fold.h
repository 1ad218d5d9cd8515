/* How a resize is folded into the convolution that reads it. */
#ifndef NINC_IR_FOLD_H
#define NINC_IR_FOLD_H

#include "graph.h"

/* ---- ir/fold.c: a convolution of a resized image as one of the source image ---- */

enum { FOLD_MAX_CLASSES = 8, FOLD_MAX_EXTENT = 16, FOLD_MAX_KERNEL = 64, FOLD_MAX_SIZE = 1 << 15 };

/* One axis. Bilinear resize is linear: what the taps of output `o` meet is a matrix times the
 * source positions from base[o] on. Outputs with the same matrix are a class, and have the same
 * folded filter. Classes may reach less far than `extent`: the rest of their filters is zero, and
 * of their filters' gradients too. */
typedef struct FoldAxis {
    int outputs, kernel, classes, extent;
    int *class_of, *base; /* by output */
    int *reach;           /* by class: source positions that it reads, all inside the source */
    double *matrix;       /* [classes][kernel][extent] */
} FoldAxis;

typedef struct FoldAxes {
    FoldAxis rows, columns;
} FoldAxes;

/* The axes of a folded convolution, in the pool; false where one has more classes or a larger
 * extent than the limits above. */
bool fold_axes(Pool *pool, const Fold *f, FoldAxes *axes);

/* The axes of a node with a Fold, which is one of those that fold_axes can do. */
FoldAxes folded_axes(Pool *pool, const Node *n);

/* matrix[tap][at] of a class. */
double fold_at(const FoldAxis *a, int class, int tap, int at);
/* The convolution that reads the image n folded: n stands for the resized one. NULL: none. */
const Node *fold_of_image(const Graph *g, const Node *n);
/* n, or where n is the source of a folded convolution, the resize that it stands for. */
Node unfolded_image(const Graph *g, const Node *n);

#endif
