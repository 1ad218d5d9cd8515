/* The passes of the CPU's graphs, with and without AMX. Each requires what ../passes.h says of its
 * stage, and leaves other targets' graphs alone. */
#ifndef NINC_PASSES_CPU_H
#define NINC_PASSES_CPU_H

#include "../find.h"
#include "../passes.h"

/* ---- mask.c: ReLU masks before max pools' gradients ---- */
void pass_mask(Module *m);

/* ---- dgrad.c: conv2d_dgrad -> conv2d, conv2d_transpose by the transposed filter ---- */
void pass_dgrad(Module *m);
/* A filter with outputs and inputs exchanged and each kernel turned around, in a dtype: made once
 * for all its users, at the end of the graph; the caller moves it before them. */
Node *transposed_filter(Graph *g, Finder *made, Node *filter, DType dtype, Loc loc);

/* ---- winograd.c: level 2; stride-1 convolutions and their gradients in tiles ---- */
void pass_winograd(Module *m, int level);
/* Whether the tiles of a chunk of a batch are enough for making integers of the frequencies of the
 * filter that they share. */
bool fixed_pays(const Winograd *w, int batch);

/* ---- fixed.c: level 2; Winograd products between bf16 maps in fixed point ---- */
void pass_fixed(Module *m, int level);

/* ---- fold.c: level 2; the resize of the image into the convolution that reads it ---- */
void pass_fold(Module *m, int level);

/* ---- sparse.c: level 2; 1x1 convolutions that leave zeros out ---- */
void pass_sparse(Module *m, int level);

/* ---- schedule.c: chunk, strips, register tiles of one graph ---- */
void schedule_cpu_graph(Graph *g);

/* ---- layout.c: all CPU graphs, and the storage's homes there ---- */
void layout_cpu(Module *m, int level);

#endif
