/* The passes of the CPU's graphs, with and without AMX: each rewrites one graph. */
#ifndef NINC_PASSES_CPU_H
#define NINC_PASSES_CPU_H

#include "../find.h"
#include "../targets.h"

/* ---- mask.c: requires training; ReLU masks before max pools' gradients ---- */
void pass_mask(Graph *g);

/* ---- dgrad.c: requires training; conv2d_dgrad -> conv2d, conv2d_transpose by the transposed
 * filter ---- */
void pass_dgrad(Graph *g);
/* Whether the images are the rows of a matrix to n, in a kernel of its own: node_is_dense where the
 * target runs it so. */
/* Whether n can run strip by strip of rows on the graph's target. */
bool runs_in_rows(const Graph *g, const Node *n);
bool runs_dense(const Graph *g, const Node *n);
/* A filter with outputs and inputs exchanged and each kernel turned around, in a dtype: made once
 * for all its users, at the end of the graph; the caller moves it before them. */
Node *transposed_filter(Graph *g, Finder *made, Node *filter, DType dtype, Loc loc);

/* ---- winograd.c: requires training; stride-1 convolutions and their gradients in tiles ---- */
void pass_winograd(Graph *g);
/* Whether the tiles of a chunk of images are enough for making integers of the frequencies of the
 * filter that they share. */
bool fixed_pays(const Graph *g, const Winograd *w);

/* ---- fixed.c: requires training; Winograd products between bf16 maps in fixed point ---- */
void pass_fixed(Graph *g);

/* ---- fold.c: requires training; the resize of the image into the convolution of it ---- */
void pass_fold(Graph *g);

/* ---- sparse.c: requires kernels; 1x1 convolutions that leave zeros out ---- */
void pass_sparse(Graph *g);

/* ---- fuse.c, schedule.c, layout.c: see TargetPasses ---- */
void fuse_cpu_node(Fuser *f, Node *n);
/* Chunk, strips, register tiles. */
void schedule_cpu_graph(Graph *g);
void layout_cpu(Module *m, Target target, int level);

#endif
