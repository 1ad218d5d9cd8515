/* What the passes of the CUDA target share: tiles, and what fusing gains. */
#ifndef NINC_PASSES_CUDA_H
#define NINC_PASSES_CUDA_H

#include "../../ir/numbers.h"
#include "../targets.h"
#include "machine.h"

/* A convolution and the 1x1 convolutions behind it, in forward order; map[i] is what convolution i
 * gives, behind its ReLU where it has one. */
enum { MAX_BLOCK = 8 };

typedef struct Block {
    Node *conv[MAX_BLOCK], *map[MAX_BLOCK];
    Statement chain[MAX_BLOCK]; /* each convolution with the pointwise ops on it */
    int count;
} Block;

/* The 1x1 convolutions of a block backward, last first: wgrad[i], bias[i] and dgrad[i] read one
 * gradient; result[i] is the one that goes on, dgrad[i] behind its chain. */
typedef struct BackwardBlock {
    Node *wgrad[MAX_BLOCK], *bias[MAX_BLOCK]; /* bias: NULL where there is none */
    Node *dgrad[MAX_BLOCK], *result[MAX_BLOCK];
    Statement chain[MAX_BLOCK]; /* each dgrad with the pointwise ops on it */
    int count;
} BackwardBlock;

/* ---- fuse.c ---- */
void fuse_cuda_node(Fuser *f, Node *n);

/* ---- cost.c: a roofline ---- */

/* Whether one kernel for the block takes less time than its convolutions alone; *note, in the
 * pool, says why or why not. */
bool cost_forward_pays(const Graph *g, const Block *b, const char **note);
bool cost_backward_pays(const Graph *g, const BackwardBlock *b, const char **note);
/* Whether a row of logits fits the shared memory of the head's kernel; *note: why not. */
bool cost_head_fits(const Graph *g, const Node *logits, const char **note);

/* ---- schedule.c ---- */

/* Tiles for a fused block of at most `channels` channels (rounded up to 8); dtype and math of its
 * contractions. Returns how many (0: none fits) and in *least the shared memory of the smallest. */
int schedule_block_forward(DType dtype, Math math, int channels, Schedule *out, int *least);
int schedule_block_backward(DType dtype, Math math, int channels, int steps, Schedule *out,
                            int *least);
/* Bytes of shared memory of a block of the head. */
int64_t schedule_head_shared(const Node *logits);
void schedule_cuda_graph(Graph *g);

/* ---- layout.c ---- */

/* A CUDA graph, its kernels formed, and what its layouts depend on. */
typedef struct CudaGraph {
    const Graph *graph;
    bool plain; /* all kernels of the module's CUDA graphs are plain loops */
} CudaGraph;

CudaGraph cuda_graph(const Graph *g);
/* How a value or storage of the graph lies: maps in NHWC with channels rounded up to 8, but an
 * image of a few channels with its own number where only convolutions read it; filters as
 * [O][KH][KW][I]. In a plain graph all is in logical order. */
Layout cuda_layout(const CudaGraph *c, const Node *n);
bool cuda_is_thin_image(const CudaGraph *c, const Node *n);
void layout_cuda(Module *m, Target target, int level);

static inline int padded_channels(const Node *map)
{
    return (int)round_up(map->tensor.shape.dim[3], CUDA_LANES);
}

/* Over the whole batch. */
static inline int64_t map_pixels(const Node *map)
{
    const int32_t *d = map->tensor.shape.dim;
    return (int64_t)d[0] * d[1] * d[2];
}

#endif
