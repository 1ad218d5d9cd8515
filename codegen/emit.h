/* What the emitters share: argument lists of kernels, names in emitted code. */
#ifndef NINC_EMIT_H
#define NINC_EMIT_H

#include "../ir/ir.h"

/* The memory that a kernel touches, each place once: operands from outside, results, values kept
 * inside. The launch list of plan.c and the kernels of MODEL.c follow this order. */
typedef struct KernelArgs {
    Node **node; /* for storage both read and written: the `state` node */
    bool *written;
    int count;
    int *slot, slots; /* a hash table of places: the argument's index + 1, or 0 */
} KernelArgs;

/* The C names of a module's storage. */
typedef struct CNames {
    const char **storage; /* by index */
} CNames;

/* ---- args.c ---- */

KernelArgs kernel_args(Pool *pool, const Kernel *k);
/* The argument that a node's memory is; -1 for none. */
int kernel_arg(const KernelArgs *args, const Node *n);
/* The C name of a node's memory (or local variable): v12, image, conv_0_0_weight. */
const char *c_value_name(Pool *pool, const CNames *names, const Node *n);
/* Extent of an axis of a map [N,H,W,C]; [N,C] is seen as H = W = 1. */
int map_dim(const Node *n, int axis);
/* Channels of a pixel that lie together in a map: of a block, or all, zero lanes included. */
int map_lanes(const Node *n);
/* Whether the node has elements; not a scalar. */
bool is_element_wise(const Node *n);
/* An update kernel's nodes by parameter: group[i] of k->node[i], from 1; 0: scalars. Nodes that
 * share a value or storage are one group. Returns the number of groups. */
int optimizer_groups(Pool *pool, const Kernel *k, int *group);
/* Kernels of a target's graphs in table order: train, then eval. NULL past the end. */
const Kernel *target_kernel(const Module *m, Target target, int index, const Graph **graph);
/* The value holds rows of single images: its address moves with the chunk. */
bool is_chunked(const Graph *g, const Node *n);
/* From one image of a per-image value to the next. */
int64_t image_elements(const Node *n);
int64_t image_bytes(const Node *n);

/* ---- plan_data.c ---- */

/* The text as part of a string of C. */
void emit_escaped(const char *text, Text *out);
/* `data` of the plan, with its type; nothing where the model file says nothing of its images. */
void emit_data_settings(const DataSettings *d, Text *out);

/* ---- names.c ---- */

/* No kernel or storage will have that name in the text. */
void declare_name(NameTable *words, Pool *pool, char *name);
/* The C names of all storage, by index: conv.0.0.weight -> conv_0_0_weight, told apart where two
 * names (a.b, a_b) would meet, or one and a name of the target's device library. */
const char **c_storage_names(Pool *pool, const Module *m, Target target);

#endif
