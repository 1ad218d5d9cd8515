/* What grouping nodes into kernels shares between the targets. */
#ifndef NINC_FUSE_KERNEL_H
#define NINC_FUSE_KERNEL_H

#include "passes.h"

typedef struct Fuser {
    Graph *g;
    Pool *pool, *scratch; /* scratch: until all nodes are in kernels */
    NameTable taken;          /* names of the target's kernels -> the kernel */
    NameTable numbers;        /* names that many kernels ask for -> the last number given, an int */
    Kernel *first[KERNEL_CLASS_COUNT][PHASE_COUNT]; /* kernel of a class and phase, or NULL */
    Kernel *last[KERNEL_CLASS_COUNT];
    int updated; /* CUDA: parameters of the last update kernel */
    int level;         /* 0: each node alone; 1: an op with its epilogue; 2: mlpconv blocks */
    int pools;         /* pools named so far */
    bool bf16;         /* the graph's maps are of bf16, but for some of one pixel */
    int *seen, searches; /* by id of a kernel's first node: the last search that has been there */
    const char *head_note; /* CUDA: why the head is not one kernel; NULL where it is */
    bool *claimed;     /* by id: CPU: convolutions whose weight gradient has found its kernel;
                          CUDA: nodes of the head */
    Kernel **backward; /* by id: CPU: of a convolution: the kernel of its parameters' gradients;
                          CUDA: of a gradient: the update kernel of its parameter */
} Fuser;

/* ---- fuse_kernel.c ---- */

/* The part of a step in which a node runs. Sums over the images are whole only when the chunk phase
 * is over, so whatever uses one runs after. */
Phase fuse_phase(const Graph *g, const Node *n);
/* conv.0.0.weight -> conv_0_0, 0.weight -> layer_0; others: dots become _. */
char *fuse_identifier(Pool *pool, const char *name);
/* No other kernel will have its name. */
void fuse_note_name(Fuser *f, Kernel *k);
/* A new kernel, empty; its name is `base`, told apart from others. */
Kernel *fuse_kernel(Fuser *f, const char *base, KernelClass class, Phase phase);
/* The kernel of that class and phase, made on first use. */
Kernel *fuse_the_kernel(Fuser *f, const char *base, KernelClass class, Phase phase);
/* Appends n to the kernel; nodes are taken in graph order. */
void fuse_take(Fuser *f, Kernel *k, Node *n);
/* A kernel of one node, named by its parameter where it has one, else by its op. */
Kernel *fuse_alone(Fuser *f, Node *n, KernelClass class);
/* The first user of n behind it that has op `op`, reads n as operand 0 and is in no kernel; NULL if
 * there is none. */
Node *fuse_next(const Graph *g, const Node *n, Op op);
/* The pointwise op that kernel k can do where it has made n, one of its operands: the others have
 * been computed by then. k = NULL: a kernel to come, which reads nothing that it makes. NULL: there
 * is none. */
Node *fuse_chained(Fuser *f, const Kernel *k, const Node *n);
/* Both statistics that n is the first of, in a kernel; false: it is not. */
bool fuse_statistics(Fuser *f, Node *n);
/* A normalize or resize, with the augmentation before it: each op waits for the only one that reads
 * what it makes. */
void fuse_image(Fuser *f, Node *n);
/* conv_0_norm_forward, or _backward, of a batch norm or its gradient. */
const char *fuse_norm_name(Fuser *f, const Node *n, const char *what);
/* The pool's kernel, named by its number, with the code that goes with it. */
Kernel *fuse_pool_forward(Fuser *f, Node *pool);

#endif
