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
/* Kernels of a target's graphs in table order: train, then eval. NULL past the end. */
const Kernel *target_kernel(const Module *m, Target target, int index, const Graph **graph);
/* The value holds rows of single images: its address moves with the chunk. */
bool is_chunked(const Graph *g, const Node *n);
/* From one image of a per-image value to the next. */
int64_t image_elements(const Node *n);
int64_t image_bytes(const Node *n);

#endif
