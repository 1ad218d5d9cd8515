/* Kernels: where and how values are computed, once nodes are grouped, and what a kernel costs. */
#ifndef NINC_IR_KERNEL_H
#define NINC_IR_KERNEL_H

#include "op.h"
#include "targets.h"

typedef struct Node Node;
typedef struct Kernel Kernel;
typedef struct Graph Graph;

/* ---- where and how a value is computed ---- */

/* Where a value lies at run time. Offsets are bytes from the start of the region.
 *   shared  one; a value with one row an image holds the whole batch
 *   chunk   one; holds the images of one chunk
 *   thread  one for each thread; holds the strips of one kernel
 *   partial in shared; sums over images in parts: value_copies copies, `bytes` apart */
#define IR_REGIONS(X) X(NONE, "none") X(STATE, "state") X(SHARED, "shared") X(CHUNK, "chunk") \
    X(THREAD, "thread") X(PARTIAL, "partial")

typedef enum Region {
#define X(id, text) REGION_##id,
    IR_REGIONS(X)
#undef X
        REGION_COUNT
} Region;

typedef struct Place {
    Region region;
    int64_t offset, bytes; /* bytes: of one copy */
} Place;

/* CPU: register tile of a contraction: output pixels (columns) x output vectors of 16 channels for
 * a convolution; filter run x output vectors for a weight gradient. 0: not scheduled. */
typedef struct Tile {
    int pixels, vectors;
} Tile;

/* CPU: the operand of a 1x1 convolution or its weight gradient whose zeros are left out, where the
 * instruction set can; printed ` sparse=x`. */
#define IR_SPARSES(X) X(NONE, "none") X(X, "x") X(DY, "dy")

typedef enum Sparse {
#define X(id, text) SPARSE_##id,
    IR_SPARSES(X)
#undef X
        SPARSE_COUNT
} Sparse;

/* How the products of a contraction are computed. bf16 shows in the operands' dtypes. i16: those of
 * Winograd's frequencies between bf16 maps, in 16-bit fixed point where the instruction set can,
 * else in fp32. */
#define IR_MATHS(X) X(FP32, "fp32") X(TF32, "tf32") X(I16, "i16")

typedef enum Math {
#define X(id, text) MATH_##id,
    IR_MATHS(X)
#undef X
        MATH_COUNT
} Math;

/* ---- kernels ---- */

#define IR_KERNEL_CLASSES(X)                                                                     \
    X(GENERIC, "generic")                   /* plain loops over one op, any layout */            \
    X(IMAGE, "image")                       /* u8 image -> padded map */                         \
    X(ROWS, "rows")                         /* CPU: row ops of no named pattern */               \
    X(POINTWISE, "pointwise")               /* CUDA: one thread an element of the result */      \
    X(CONV_FORWARD, "conv_forward")         /* conv + epilogue */                                \
    X(MLPCONV_FORWARD, "mlpconv_forward")   /* conv and 1x1 convs strip by strip (+ gap) */      \
    X(POOL_FORWARD, "pool_forward")                                                              \
    X(NORM, "norm")                         /* CUDA: batch norm or its gradient */               \
    X(LRN, "lrn")                           /* CUDA: lrn or its gradient */                      \
    X(STATISTICS, "statistics")             /* two sums over all images, a channel each */       \
    X(HEAD, "head")                         /* softmax, loss, accuracy, logits gradient */       \
    X(POOL_BACKWARD, "pool_backward")       /* pool gather + mask */                             \
    X(CONV_DGRAD, "conv_dgrad")             /* dgrad + mask */                                   \
    X(DENSE, "dense")                       /* CPU: a linear layer, or its map's gradient */    \
    X(DENSE_WGRAD, "dense_wgrad")           /* CPU: its parameters', and the filter's step */  \
    X(CONV_WGRAD, "conv_wgrad")             /* wgrad + bias grad; CUDA: split over pixels */     \
    X(MLPCONV_BACKWARD, "mlpconv_backward") /* (pool gather,) masks, dgrads; CUDA: wgrads too */ \
    X(FILTER, "filter")                     /* transposed or cast filters of all layers */       \
    X(WINOGRAD, "winograd")                 /* CPU: transforms and products by frequency */      \
    X(METRICS, "metrics")                   /* loss and correct count of the step */             \
    X(UPDATE, "update")                     /* ordered reduction and optimizer, all parameters */

typedef enum KernelClass {
#define X(id, text) KERNEL_##id,
    IR_KERNEL_CLASSES(X)
#undef X
        KERNEL_CLASS_COUNT
} KernelClass;

/* A step is three lists: before the images, for each chunk of images, after them. */
#define IR_PHASES(X) X(BEFORE, "before") X(CHUNK, "chunk") X(AFTER, "after")

typedef enum Phase {
#define X(id, text) PHASE_##id,
    IR_PHASES(X)
#undef X
        PHASE_COUNT
} Phase;

/* CUDA: one way to run a kernel. A kernel lists its ways, the preferred one first; the runtime
 * takes the first that fits the device (its shared memory and compute capability) and may lower
 * `split`. The numbers reach NVRTC as macros KERNEL_TILE_M, _TILE_N, _TILE_K, _STAGES, _SPLIT,
 * _THREADS, and _SHARED. Printed as
 *     schedule=[128x128x32 stages=4 split=7 threads=256 shared=73728 grid=92x2 sm=80, ...] */
typedef struct Schedule {
    int tile_m, tile_n, tile_k; /* of the GEMM; 0: the kernel has no tiles */
    int stages;                 /* of the copy pipeline; 0: none */
    int split;                  /* parts of the reduction, each with its own copy of the result */
    int threads;                /* a block */
    int shared_bytes;           /* dynamic shared memory a block */
    int grid_x, grid_y;         /* blocks; the grid's z is `split` */
    int architecture;           /* least compute capability: 75, 80 */
} Schedule;

enum { MAX_SCHEDULES = 6 };

struct Kernel {
    const char *name; /* a C identifier, unique among the target's graphs: conv_0_0_forward */
    KernelClass class;
    Phase phase;
    Target target; /* of its graph */
    int strip; /* CPU: rows of output a strip; 0: the whole map at once */
    Schedule *schedule; /* CUDA: at most MAX_SCHEDULES, in the pool; else NULL */
    int schedule_count;
    const char *note; /* why it was or was not fused, for the summary; not in the text; or NULL */
    Node **node;
    int node_count, node_capacity;
    Node **in; /* leaves and values of other kernels that it reads, in order of first use */
    int in_count, in_capacity;
    Node **out; /* its values that others read or the graph returns, and its updates */
    int out_count, out_capacity;
};

/* ---- ir/kernel.c: how a kernel of row ops is executed ---- */

/* Pointwise ops that one op may have behind it, and maps, and scalars, that they may read beside
 * its result. */
enum { MAX_CHAIN = 8, MAX_BESIDE = 4, MAX_STATEMENT_OPERANDS = (MAX_CHAIN + 1) * MAX_OPERANDS };

/* A GPU's head goes on behind the gradient of the logits, up to that of the map that they come
 * from, by these ops, in this order; any of them may be missing. */
enum { HEAD_GRADIENT_OPS = 4 };
extern const Op head_gradient_op[HEAD_GRADIENT_OPS];

/* One call of the device library: an op with the pointwise ops that finish it, its epilogue.
 * Statements of one segment run strip by strip (kernel->strip rows); a segment ends where an op
 * needs rows that the strip does not hold. */
typedef struct Statement {
    Node *op;
    Node *chain[MAX_CHAIN]; /* each of the one before, whose value never reaches memory */
    int chained;
    int segment;
} Statement;

/* Kernels of row ops; the others execute node by node over whole values. */
bool kernel_is_rows(const Kernel *k);
/* Parts of a CPU kernel that can run at the same time; in a chunk kernel some of them may have
 * nothing to do for a chunk of fewer images. coarse: parts read much of the same memory, so that
 * fewer and larger ones are better. */
typedef struct Slices {
    int count;
    bool coarse;
} Slices;
Slices kernel_slices(const Graph *g, const Kernel *k);
/* A sum over images that each slice of its kernel (CUDA: each part of the split) makes a copy of:
 * on the CPU one beside maps, whose slices are images and strips. */
bool value_is_in_parts(const Node *n);
bool op_is_rows(const Node *n);
/* A convolution, or a gradient of one, of each channel by a filter of its own: as many groups as
 * channels on both sides. */
bool node_is_depthwise(const Node *n);
/* One in groups of whole blocks of 16 channels on both sides, without dilation. */
bool node_is_blockwise(const Node *n);
/* A convolution with dilation of a map of at least a block of channels, not in groups, whose taps
 * are columns of a block; or its filter's gradient. */
bool node_is_dilated(const Node *n);
/* A convolution of one pixel an image, without padding, or a gradient of one (that of its map if it
 * has no more outputs than a panel holds of them): a product of matrices whose rows are images. */
enum { MAX_DENSE_OUTPUTS = 16384 };
bool node_is_dense(const Node *n);
/* Pointwise over the map, or a 1x1 convolution without padding and stride. */
bool window_is_pointwise(const Window *w);
/* An average over the whole map: what gap computes. */
bool pool_covers_map(const Node *n);
/* The value of a forward node is that of its operand. */
bool node_is_identity(const Node *n);
/* Elements of parameters, gradients and moments, computed each for itself. */
bool node_is_optimizer(const Node *n);
/* Whether the gradient of a linear layer's filter may be taken up by the step where it is made: a
 * filter row of a group of outputs at least, of which a thread's stack has room for 1 MB. */
bool dense_steps_in_place(const Node *wgrad);
/* Shared memory of a square_sum's block on a GPU: a float a warp. */
enum { SQUARE_SUM_SHARED = 32 };
Node *statement_result(const Statement *s);
/* The operand of its pointwise op `at` that stays in registers: of chain[at - 1] what stands before
 * it, of a pointwise `op` itself, 0, its first map. */
const Node *statement_flow(const Statement *s, int at);
/* The other operands of its pointwise ops, each once: the maps, or the scalars. */
int statement_beside(const Statement *s, bool scalars, const Node **list);
/* Appends n, pointwise on the result, where that leaves a chain that an epilogue can be. */
bool statement_extend(Statement *s, Node *n);
/* The statement that op begins in a kernel that is one call of the device library. */
Statement kernel_statement(const Kernel *k, Node *op);
/* Whether zeros in, where maps have no channels, give zeros out. */
bool statement_keeps_zero(const Statement *s);
/* Whether `next` is pointwise over maps and can be done where n, one of its operands, is made. */
bool node_chains(const Node *n, const Node *next);
/* Rows over which the statement runs: of its result, or of the operand that it reduces. */
int statement_height(const Statement *s);
/* Fills out (room for k->node_count) and returns the number of statements. */
int kernel_statements(const Kernel *k, Statement *out);
/* The statement list as a pool array. */
Statement *kernel_statement_list(Pool *pool, const Kernel *k, int *count);
bool kernel_returns(const Kernel *k, const Node *n);
/* Whether wgrad can be the weight gradient of conv: same input, window and filter shape. */
bool is_wgrad_of(const Node *wgrad, const Node *conv);
/* The value is finished by a pointwise op in its kernel and never reaches memory. */
bool value_is_folded(const Node *n);
/* The value is used in its own segment only, so a strip of it suffices. */
bool value_is_strip(const Node *n);
/* Whether the training graph of the same target drops values of the image itself: then it is no run
 * of a few channels in either graph, which share the filters. */
bool image_is_dropped(const Graph *g);
/* An image kernel whose images are augmented on the way: ops that do so, each of the one before it,
 * and the normalize or resize that reads the last of them. */
bool kernel_is_augmented(const Kernel *k);
/* A u8 image inside of such a kernel: on the CPU one image for each thread. */
bool value_is_image(const Node *n);
/* A network input of fewer than 16 channels that only convolutions in kernels of row ops read: it
 * stays NHWC, so that a filter row is one contiguous run of columns x channels. */
bool value_is_thin_image(const Graph *g, const Node *n);
/* Channels a block of the maps of a CPU graph: the 16 floats of a vector, or the 32 bf16 that make
 * up a row of an AMX tile. */
int graph_lanes(const Graph *g);
bool graph_has_bf16(const Graph *g);
/* fp32, tf32, bf16: what the contractions of a target's graph compute in. */
const char *graph_precision(const Graph *g);
/* Channels of x that the filter of its convolution is packed by: those of a block or, where x is a
 * thin image, of a pixel; for AMX in pairs. */
int packed_channels(const Graph *g, const Node *x);
/* Columns of x that a convolution reads past its window: a row of an odd number of bf16 entries is
 * read in pairs. 0 or 1. */
int overread_columns(const Graph *g, const Node *x, int kernel_w);

/* ---- ir/work.c: what a kernel computes and moves ---- */

/* Multiplications and additions of a contraction, over the logical shapes; 0 for other ops. */
double contraction_flop(const Node *n);
/* The same of all nodes of a kernel, over the whole batch. */
double kernel_flop(const Kernel *k);
/* Bytes of its inputs and outputs in a step, each once a chunk where it is not of an image, padding
 * and all copies included. */
int64_t kernel_traffic(const Graph *g, const Kernel *k);

#endif
