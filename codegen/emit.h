/* What the emitters share: argument lists of kernels, names in emitted code. */
#ifndef NINC_EMIT_H
#define NINC_EMIT_H

#include "../ir/ir.h"

/* The memory that a kernel touches, each place once: operands from outside, results, values kept
 * inside. The launch list of plan.c and the kernels of MODEL.c follow this order. */
typedef struct KernelArgs {
    Node **node; /* for storage both read and written: the `state` node */
    int count;
} KernelArgs;

/* ---- args.c ---- */

KernelArgs kernel_args(Pool *pool, const Kernel *k);
/* The C name of storage: conv.0.0.weight -> conv_0_0_weight, told apart where two names (a.b, a_b)
 * would meet. */
char *c_storage_name(Pool *pool, const Module *m, const Storage *s);
/* By node id: the N of %N in the IR text and of vN in emitted code; not of inputs and updates. */
int *value_numbers(Pool *pool, const Graph *g);
/* The C name of a node's memory (or local variable): v12, image, conv_0_0_weight. */
const char *c_value_name(Pool *pool, const Module *m, const int *number, const Node *n);
/* Extent of an axis of a map [N,H,W,C]; [N,C] is seen as H = W = 1. */
int map_dim(const Node *n, int axis);
/* Channels of a pixel that lie together in a map: of a block, or all, zero lanes included. */
int map_lanes(const Node *n);
/* Whether a kernel writes the node's memory. */
bool is_written(const Kernel *k, const Node *n);
/* Whether the node has elements; not a scalar. */
bool is_element_wise(const Node *n);
/* An update kernel's nodes by parameter: group[i] of k->node[i], from 1; 0: scalars. Nodes that
 * share a value or storage are one group. Returns the number of groups. */
int optimizer_groups(const Kernel *k, int *group);
/* Kernels of a target's graphs in table order: train, then eval. NULL past the end. */
const Kernel *target_kernel(const Module *m, Target target, int index, const Graph **graph);
/* NINC_CPU ... of runtime/plan.h. */
const char *target_id(Target target);
/* The value holds rows of single images: its address moves with the chunk. */
bool is_chunked(const Graph *g, const Node *n);
/* From one image of a per-image value to the next. */
int64_t image_elements(const Node *n);
int64_t image_bytes(const Node *n);

#endif
