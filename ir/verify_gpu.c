/* What a GPU's kernels need of schedules and layouts: the numbers that reach the device library,
 * and how its functions read maps and filters. */
#include "numbers.h"
#include "targets.h"
#include "tiles.h"
#include "verify.h"

/* ---- schedules ---- */

/* A kernel's GEMM, from its contraction. */
typedef struct Product {
    const Node *contraction;
    int64_t rows, columns;
    int size;     /* bytes of an operand's element */
    bool simple;  /* in fp32 */
    int channels; /* the most of any map of the kernel, rounded up */
    int steps;    /* weight gradients */
} Product;

/* Channels of a pixel in memory. */
static int lanes_of(const Node *x)
{
    int channels = x->tensor.shape.dim[3], block = x->tensor.layout.block;
    return block > 0 ? (int)round_up(channels, block) : channels;
}

static int64_t pixels_of(const Node *x)
{
    const int32_t *d = x->tensor.shape.dim;
    return (int64_t)d[0] * d[1] * d[2];
}

static int most_channels(const Kernel *k)
{
    int most = 0;
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        bool first = n->op == OP_CONV2D && i == 0;
        if (n->tensor.shape.rank == 4 && !op_is(n->op, F_WGRAD))
            most = (int)larger(most, lanes_of(n));
        if (op_is(n->op, F_CONTRACTION) && !first)
            most = (int)larger(most, lanes_of(n->in[0]));
    }
    return most;
}

static Product product_of(const Kernel *k)
{
    Product p = {0};
    for (int i = 0; i < k->node_count; i++) {
        p.steps += op_is(k->node[i]->op, F_WGRAD);
        if (!p.contraction && op_is(k->node[i]->op, F_CONTRACTION))
            p.contraction = k->node[i];
    }
    const Node *n = p.contraction;
    bool wgrad = op_is(n->op, F_WGRAD);
    const int32_t *f = (wgrad ? n : n->in[1])->tensor.shape.dim;
    p.rows = wgrad ? f[0] : pixels_of(n);
    p.columns = wgrad ? (int64_t)f[2] * f[3] * lanes_of(n->in[0]) : lanes_of(n);
    p.size = dtype_bytes(n->in[0]->tensor.dtype);
    p.simple = p.size == 4 && n->math == MATH_FP32;
    p.channels = most_channels(k);
    return p;
}

/* Bytes of shared memory that the tile takes (tiles.h). */
static int64_t shared_of(const Product *p, KernelClass class, const Schedule *s)
{
    int64_t m = s->tile_m, n = s->tile_n, k = s->tile_k, stages = s->stages;
    if (class == KERNEL_CONV_FORWARD)
        return NINC_FPROP_SHARED(m, n, k, stages, p->size);
    if (class == KERNEL_CONV_DGRAD)
        return NINC_DGRAD_SHARED(m, n, k, stages, p->size);
    if (class == KERNEL_CONV_WGRAD)
        return NINC_WGRAD_SHARED(m, n, k, stages, p->size);
    if (class == KERNEL_MLPCONV_FORWARD)
        return NINC_MLPCONV_FPROP_SHARED(m, n, k, stages, p->size);
    return NINC_MLPCONV_BACKWARD_SHARED(m, n, k, stages, p->steps, p->size);
}

enum { LEAST_TILE = 16, MOST_TILE = 128, MOST_STAGES = 4, TILE_THREADS = 256 };

/* A tile that the threads of a block can share and copy. */
static bool is_conv_tile(const Product *p, KernelClass class, const Schedule *s)
{
    int depth = p->size == 2 ? 32 : 16, least = class == KERNEL_CONV_WGRAD ? 32 : LEAST_TILE;
    bool halves = class == KERNEL_CONV_WGRAD || s->tile_m >= MOST_TILE / 2;
    bool power = s->tile_n <= MOST_TILE && (s->tile_n & (s->tile_n - 1)) == 0;
    bool wide = s->tile_n == 96 && class == KERNEL_CONV_FORWARD && s->tile_m >= MOST_TILE / 2 &&
                p->contraction->in[0]->tensor.layout.block > 0;
    int threads = s->tile_m * s->tile_n >= MOST_TILE * MOST_TILE / 2 ? TILE_THREADS
                                                                     : TILE_THREADS / 2;
    return s->tile_m >= least && s->tile_m <= MOST_TILE && (s->tile_m & (s->tile_m - 1)) == 0 &&
           halves && s->tile_n >= least && (power || wide) &&
           (s->tile_k == depth || (s->tile_k == 2 * depth && !p->simple)) && s->stages >= 2 &&
           s->stages <= MOST_STAGES && s->threads == threads &&
           s->grid_x == ceil_div(p->rows, s->tile_m) &&
           s->grid_y == ceil_div(p->columns, s->tile_n) &&
           (s->split == 1 || class == KERNEL_CONV_WGRAD);
}

/* One that covers all channels of the block. */
static bool is_block_tile(const Product *p, KernelClass class, const Schedule *s)
{
    bool forward = class == KERNEL_MLPCONV_FORWARD;
    int width = p->simple ? LEAST_TILE : 2 * LEAST_TILE, depth = p->size == 2 ? 32 : 16;
    int stages = forward ? 2 : 1;
    int64_t tiles = ceil_div(pixels_of(forward ? p->contraction : p->contraction->in[1]),
                             s->tile_m > 0 ? s->tile_m : 1);
    return (s->tile_m == MOST_TILE || s->tile_m == MOST_TILE / 2 || s->tile_m == MOST_TILE / 4) &&
           s->tile_n == round_up(p->channels, width) && s->tile_k == depth &&
           (s->stages == stages || s->stages == stages + 1) && s->threads == TILE_THREADS &&
           s->grid_y == 1 && s->grid_x == (forward ? tiles : 1) && (s->split == 1 || !forward);
}

static bool is_tiled(KernelClass class)
{
    return class == KERNEL_CONV_FORWARD || class == KERNEL_CONV_DGRAD ||
           class == KERNEL_CONV_WGRAD || class == KERNEL_MLPCONV_FORWARD ||
           class == KERNEL_MLPCONV_BACKWARD;
}

static bool is_tiled_schedule(const Kernel *k, const Schedule *s)
{
    Product p = product_of(k);
    bool block = k->class == KERNEL_MLPCONV_FORWARD || k->class == KERNEL_MLPCONV_BACKWARD;
    bool fits = block ? is_block_tile(&p, k->class, s) : is_conv_tile(&p, k->class, s);
    return fits && s->shared_bytes >= shared_of(&p, k->class, s) &&
           s->architecture >= (p.simple ? 75 : 80);
}

/* Threads of a block, and elements of a parameter that one updates. */
enum { THREADS = 256, UPDATED = 1024, VECTOR = 8 };

static int64_t elements_of(const Graph *g, const Node *n)
{
    Tensor t = n->storage ? storage_tensor(n->storage, g->target) : n->tensor;
    return tensor_elements(&t);
}

/* Blocks of the parameters that an update or a cast writes. */
static int64_t parameter_blocks(const Graph *g, const Kernel *k)
{
    int64_t blocks = 0;
    bool casts = k->class == KERNEL_FILTER;
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        if (casts || (n->op == OP_UPDATE && !role_is_beside_parameter(n->storage->role)))
            blocks += ceil_div(elements_of(g, n), casts ? THREADS : UPDATED);
    }
    return blocks;
}

/* Blocks that have a thread for all that the kernel computes. */
static int64_t blocks_of(const Graph *g, const Kernel *k)
{
    const Node *last = k->node[k->node_count - 1];
    if (op_is(k->node[0]->op, F_AUGMENT))
        return g->batch;
    switch ((int)k->class) {
    case KERNEL_METRICS: return 1;
    case KERNEL_HEAD: return g->batch;
    case KERNEL_STATISTICS: return ceil_div(k->node[0]->in[0]->tensor.shape.dim[3], VECTOR);
    case KERNEL_FILTER:
    case KERNEL_UPDATE: return parameter_blocks(g, k);
    case KERNEL_NORM:
    case KERNEL_LRN:
    case KERNEL_POOL_FORWARD:
    case KERNEL_POOL_BACKWARD: {
        const Node *map = k->class == KERNEL_POOL_FORWARD ? k->node[0] : last;
        return ceil_div(pixels_of(map) * ceil_div(map->tensor.shape.dim[3], VECTOR), THREADS);
    }
    default: return ceil_div(elements_of(g, last), THREADS);
    }
}

static int64_t least_shared(const Kernel *k)
{
    if (k->class == KERNEL_STATISTICS)
        return NINC_NORM_SHARED(THREADS);
    if (k->node[0]->op == OP_SQUARE_SUM)
        return SQUARE_SUM_SHARED;
    if (op_is(k->node[0]->op, F_AUGMENT))
        return NINC_AUGMENT_SHARED;
    for (int i = 0; k->class == KERNEL_HEAD && i < k->node_count; i++)
        if (k->node[i]->op == OP_FLATTEN)
            return NINC_HEAD_SHARED((int64_t)k->node[i]->tensor.shape.dim[1], THREADS);
    return 0;
}

static bool is_untiled_schedule(const Graph *g, const Kernel *k, const Schedule *s)
{
    bool no_tile = s->tile_m == 0 && s->tile_n == 0 && s->tile_k == 0 && s->stages == 0;
    return no_tile && s->split == 1 && s->threads == THREADS && s->grid_y == 1 &&
           s->grid_x >= blocks_of(g, k) && s->shared_bytes >= least_shared(k);
}

static bool check_schedule(const Verifier *v, const Kernel *k, const Schedule *s)
{
    enum { MAX_SPLIT = 65535, MAX_SHARED = 227 * 1024 };
    if (s->split < 1 || s->split > MAX_SPLIT || s->shared_bytes < 0 ||
        s->shared_bytes > MAX_SHARED || s->architecture < 0)
        return verify_kernel_fault(v, k, "a schedule's numbers are missing or too large");
    bool sound = is_tiled(k->class) ? is_tiled_schedule(k, s) : is_untiled_schedule(v->g, k, s);
    return sound || verify_kernel_fault(v, k, "a schedule's tile, threads, grid or shared memory "
                                              "is not one that its class can run with");
}

bool verify_gpu_schedules(const Verifier *v)
{
    const Graph *g = v->g;
    if (!graph_is_one_chunk(g))
        return verify_fault(v, (Loc){0}, "on a GPU the chunk is the batch, %d images, not %d",
                            g->batch, g->chunk);
    for (int i = 0; i < g->kernel_count; i++)
        if (g->kernel[i]->schedule_count < 1)
            return verify_kernel_fault(v, g->kernel[i], "it has no schedule");
    return true;
}

/* ---- layouts ---- */

/* NHWC in vectors of channels; an image of few channels may be thin for a convolution. */
static bool is_vectors(const Node *map, bool thin)
{
    const Layout *l = &map->tensor.layout;
    return l->kind == LAYOUT_NHWC && l->halo_h == 0 && l->halo_w == 0 &&
           (l->block == VECTOR || (thin && l->block == 0 && op_attr(map->op) == ATTR_IMAGE));
}

static bool is_row_of(const Tensor *filter, int lanes)
{
    const Layout *l = &filter->layout;
    return l->kind == LAYOUT_FILTER && l->out_block == 1 && l->block == lanes;
}

static bool lies_for_conv(const Node *n)
{
    bool wgrad = op_is(n->op, F_WGRAD), dgrad = n->op == OP_CONV2D_DGRAD;
    const Node *x = dgrad ? n : n->in[0], *y = dgrad ? n->in[0] : wgrad ? n->in[1] : n;
    const Tensor *filter = wgrad ? &n->tensor : &n->in[1]->tensor;
    const Layout *bias = n->arity > 2 ? &n->in[2]->tensor.layout : NULL;
    return is_vectors(x, !dgrad) && is_vectors(y, false) && is_row_of(filter, lanes_of(x)) &&
           (!bias || (bias->kind == LAYOUT_VECTOR && bias->block == VECTOR));
}

/* Codes of windows of at most 16 places fit in four bits. */
static bool lies_as_codes(const Node *code)
{
    const Window *w = &code->attr.window;
    bool nibbles = code->tensor.layout.kind == LAYOUT_NIBBLE;
    return nibbles ? w->kernel_h * w->kernel_w <= 16 : is_vectors(code, false);
}

/* A map in vectors of channels; of a batch norm, a vector of as many. */
static bool lies_in_octets(const Node *n)
{
    if (n->tensor.shape.rank == 4)
        return is_vectors(n, false);
    bool statistic = op_is(n->op, F_STATISTIC) || (n->storage && role_is_vector(n->storage->role));
    return !statistic ||
           (n->tensor.layout.kind == LAYOUT_VECTOR && n->tensor.layout.block == VECTOR);
}

/* How the functions of the device library but the plain loops read what the node is of. */
static bool lies_for_library(const Node *n)
{
    if (op_is(n->op, F_CONTRACTION))
        return lies_for_conv(n);
    if (n->op == OP_BIAS_GRAD)
        return n->tensor.layout.kind == LAYOUT_VECTOR && n->tensor.layout.block == VECTOR;
    if (n->op == OP_MAXPOOL_CODE)
        return lies_as_codes(n) && is_vectors(n->in[0], false);
    if (n->op == OP_MAXPOOL_GRAD)
        return is_vectors(n, false) && is_vectors(n->in[0], false) &&
               (n->in[1]->op != OP_MAXPOOL_CODE || lies_as_codes(n->in[1]));
    bool good = lies_in_octets(n);
    for (int i = 0; i < n->arity; i++)
        good &= lies_in_octets(n->in[i]);
    return good;
}

/* What plain loops can read: NHWC without a halo, packed rows of filters, or plain. */
static bool lies_for_loops(const Verifier *v, const Node *n)
{
    const Layout *l = &n->tensor.layout;
    if (n->storage || !is_per_image(v->g, n) || n->tensor.shape.rank != 4)
        return n->tensor.shape.rank != 4 || l->kind == LAYOUT_PLAIN ||
               is_row_of(&n->tensor, l->block);
    return l->kind == LAYOUT_PLAIN || l->kind == LAYOUT_NIBBLE ||
           (l->kind == LAYOUT_NHWC && l->halo_h == 0 && l->halo_w == 0);
}

static bool uses_library(const Kernel *k)
{
    return is_tiled(k->class) || k->class == KERNEL_POOL_FORWARD ||
           k->class == KERNEL_POOL_BACKWARD || k->class == KERNEL_HEAD ||
           k->class == KERNEL_NORM || k->class == KERNEL_LRN || k->class == KERNEL_STATISTICS;
}

bool verify_gpu_layouts(const Verifier *v)
{
    const Graph *g = v->g;
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        for (int j = 0; j < k->node_count; j++)
            if (!lies_for_loops(v, k->node[j]) ||
                (uses_library(k) && !lies_for_library(k->node[j])))
                return verify_node_fault(v, k->node[j], "its kernel cannot read how it or its "
                                                        "operands lie");
        for (int j = 0; j < k->schedule_count; j++)
            if (!check_schedule(v, k, &k->schedule[j]))
                return false;
    }
    return true;
}
