/* schedule for CUDA: the batch is one chunk; tiles, stages, split and grid of each kernel, the
 * preferred schedule first. The runtime takes the first that fits the device it meets. */
#include "../../ir/numbers.h"
#include "../../ir/tiles.h"
#include "cuda.h"

static void add_schedule(Kernel *k, Schedule s)
{
    if (k->schedule_count < MAX_SCHEDULES)
        k->schedule[k->schedule_count++] = s;
}

/* ---- kernels without tiles ---- */

static void schedule_blocks(Kernel *k, int64_t blocks, int shared_bytes)
{
    add_schedule(k, (Schedule){.split = 1, .threads = THREADS, .shared_bytes = shared_bytes,
                               .grid_x = (int)larger(blocks, 1), .grid_y = 1,
                               .architecture = 75});
}

/* Physical elements of a value as the layout pass will lay it out. */
static int64_t physical_elements(const CudaGraph *c, const Node *n)
{
    Tensor t = n->tensor;
    if (n->storage)
        t = storage_tensor(n->storage, c->graph->target);
    t.layout = cuda_layout(c, n);
    return tensor_elements(&t);
}

/* So many blocks for each image, whose pixels they share: where all of an image must be known
 * first, they each go through it. */
static int64_t image_blocks(const CudaGraph *c, const Kernel *k)
{
    enum { ELEMENTS = 8 * THREADS, ELEMENTS_OF_MEAN = 64 * THREADS };
    bool mean = false;
    for (int i = 0; i < k->node_count; i++)
        mean |= augment_needs_mean(k->node[i]->op, &k->node[i]->attr.augment);
    const Node *result = k->node[k->node_count - 1];
    int64_t each = physical_elements(c, result) / c->graph->batch;
    return c->graph->batch * ceil_div(each, mean ? ELEMENTS_OF_MEAN : ELEMENTS);
}

static int64_t update_blocks(const CudaGraph *c, const Kernel *k)
{
    int64_t blocks = 0;
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        if (n->op == OP_UPDATE && !role_is_beside_parameter(n->storage->role))
            blocks += ceil_div(physical_elements(c, n), UPDATE_ELEMENTS);
    }
    return blocks;
}

static int64_t filter_blocks(const CudaGraph *c, const Kernel *k)
{
    int64_t blocks = 0;
    for (int i = 0; i < k->node_count; i++)
        blocks += ceil_div(physical_elements(c, k->node[i]), THREADS);
    return blocks;
}

int64_t schedule_head_shared(const Node *logits)
{
    int64_t classes = logits->tensor.shape.dim[1];
    return NINC_HEAD_SHARED(classes, THREADS);
}

static void schedule_head(const Graph *g, Kernel *k)
{
    int64_t shared = 0;
    for (int i = 0; i < k->node_count; i++)
        if (k->node[i]->op == OP_FLATTEN)
            shared = schedule_head_shared(k->node[i]);
    schedule_blocks(k, g->batch, (int)shared);
}

/* ---- convolutions ---- */

/* A convolution's GEMM: rows x columns, each over `terms`. */
typedef struct Gemm {
    int64_t rows, columns, terms;
    DType dtype;
    Math math;
} Gemm;

/* As they lie in memory. */
static int64_t channels_of(const CudaGraph *c, const Node *map)
{
    return cuda_is_thin_image(c, map) ? map->tensor.shape.dim[3] : padded_channels(map);
}

static Gemm gemm_of(const CudaGraph *c, const Node *n)
{
    bool wgrad = op_is(n->op, F_WGRAD);
    const int32_t *f = (wgrad ? n : n->in[1])->tensor.shape.dim;
    int64_t taps = (int64_t)f[2] * f[3], run = taps * channels_of(c, n->in[0]);
    Gemm m = {.dtype = n->in[0]->tensor.dtype, .math = n->math};
    if (wgrad)
        m.rows = f[0], m.columns = run, m.terms = map_pixels(n->in[1]);
    else
        m.rows = map_pixels(n), m.columns = padded_channels(n), m.terms = run;
    return m;
}

static bool is_float(const Gemm *m)
{
    return m->dtype == DT_F32 && m->math == MATH_FP32;
}

/* The width from `least` to 128 of the tiles for `columns`: few columns wasted, and the other
 * operand, which each tile reads again, read seldom. 96 only where `any`: not all copies can share
 * such a row. */
static int tile_width(int64_t columns, int least, bool any)
{
    static const int width[] = {128, 96, 64, 32, 16};
    enum { REREAD = 48 }; /* columns that a second read costs as much as */
    int best = 128;
    int64_t lowest = INT64_MAX;
    for (size_t i = 0; i < sizeof width / sizeof *width && width[i] >= least; i++) {
        int64_t cost = ceil_div(columns, width[i]) * (width[i] + REREAD);
        if (cost < lowest && (any || width[i] != 96)) {
            best = width[i];
            lowest = cost;
        }
    }
    return best;
}

static int shared_bytes(Op op, const Schedule *s, int size)
{
    if (op == OP_CONV2D)
        return NINC_FPROP_SHARED(s->tile_m, s->tile_n, s->tile_k, s->stages, size);
    if (op == OP_CONV2D_DGRAD)
        return NINC_DGRAD_SHARED(s->tile_m, s->tile_n, s->tile_k, s->stages, size);
    return NINC_WGRAD_SHARED(s->tile_m, s->tile_n, s->tile_k, s->stages, size);
}

static int64_t wgrad_split(const Gemm *m, int64_t blocks)
{
    int64_t bytes = m->rows * m->columns * 4;
    int64_t split = smaller(ceil_div(WANTED_BLOCKS, blocks), larger(SPLIT_BYTES / bytes, 1));
    return larger(smaller(split, m->terms / LEAST_PIXELS), 1);
}

/* Fills in grid, split and shared bytes for the tile; drops it where it is too large. */
static void add_tiled(Kernel *k, const Node *n, const Gemm *m, Schedule s, int limit)
{
    s.grid_x = (int)ceil_div(m->rows, s.tile_m);
    s.grid_y = (int)ceil_div(m->columns, s.tile_n);
    s.split = 1;
    if (n->op == OP_CONV2D_WGRAD)
        s.split = (int)wgrad_split(m, (int64_t)s.grid_x * s.grid_y);
    s.architecture = is_float(m) ? 75 : 80;
    s.shared_bytes = shared_bytes(n->op, &s, dtype_bytes(m->dtype));
    if (s.shared_bytes <= limit)
        add_schedule(k, s);
}

/* Terms of the reduction a stage: 64 bytes of a row. */
static int stage_depth(const Gemm *m)
{
    return m->dtype == DT_BF16 ? 32 : 16;
}

static void schedule_conv(const CudaGraph *c, Kernel *k, const Node *n)
{
    Gemm m = gemm_of(c, n);
    Schedule s = {.tile_m = 128, .tile_k = stage_depth(&m)};
    int least = n->op == OP_CONV2D_WGRAD ? 32 : 16; /* what the warps of a block can share */
    bool any = n->op == OP_CONV2D && !cuda_is_thin_image(c, n->in[0]);
    s.tile_n = tile_width(m.columns, least, any);
    if (n->op == OP_CONV2D_WGRAD)
        s.tile_m = tile_width(m.rows, least, false);
    bool few = ceil_div(m.rows, s.tile_m) * ceil_div(m.columns, s.tile_n) < PROCESSORS;
    if (n->op != OP_CONV2D_WGRAD && few)
        s.tile_m = 64;
    s.threads = s.tile_m * s.tile_n >= 128 * 64 ? 256 : 128;
    if (!is_float(&m)) { /* deeper stages where there is room */
        Schedule deep = s;
        deep.tile_k *= 2;
        deep.stages = 3;
        add_tiled(k, n, &m, deep, LARGE_SHARED);
    }
    s.stages = is_float(&m) ? 3 : 4;
    add_tiled(k, n, &m, s, shared_limit(m.dtype, m.math));
    s.stages = 2;
    add_tiled(k, n, &m, s, shared_limit(m.dtype, m.math));
}

static const Node *contraction_of(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        if (op_is(k->node[i]->op, F_CONTRACTION))
            return k->node[i];
    internal_error("kernel %s has no contraction", k->name);
}

/* ---- blocks ---- */

static const int block_pixels[] = {128, 64, 32};

enum { BLOCK_PIXELS = sizeof block_pixels / sizeof *block_pixels };

/* Appends the schedule where it fits; keeps the least shared memory that any wanted. */
static int add_block(Schedule s, int limit, Schedule *out, int count, int *least)
{
    if (*least == 0 || s.shared_bytes < *least)
        *least = s.shared_bytes;
    if (s.shared_bytes <= limit && count < MAX_SCHEDULES / 2)
        out[count++] = s;
    return count;
}

static Schedule block_schedule(DType dtype, Math math, int channels)
{
    bool simple = dtype == DT_F32 && math == MATH_FP32;
    return (Schedule){.tile_n = (int)round_up(channels, simple ? 16 : 32),
                      .tile_k = dtype == DT_BF16 ? 32 : 16, .split = 1, .threads = THREADS,
                      .grid_y = 1, .architecture = simple ? 75 : 80};
}

int schedule_block_forward(DType dtype, Math math, int channels, Schedule *out, int *least)
{
    int count = 0, size = dtype_bytes(dtype), limit = shared_limit(dtype, math);
    Schedule s = block_schedule(dtype, math, channels);
    for (int i = 0; i < BLOCK_PIXELS; i++)
        for (s.stages = 3; s.stages >= 2; s.stages--) {
            s.tile_m = block_pixels[i];
            s.shared_bytes = NINC_MLPCONV_FPROP_SHARED(s.tile_m, s.tile_n, s.tile_k, s.stages,
                                                       size);
            if (s.tile_m * s.tile_n / s.threads <= FORWARD_SUMS)
                count = add_block(s, limit, out, count, least);
        }
    return count;
}

int schedule_block_backward(DType dtype, Math math, int channels, int steps, Schedule *out,
                            int *least)
{
    int count = 0, size = dtype_bytes(dtype), limit = shared_limit(dtype, math);
    Schedule s = block_schedule(dtype, math, channels);
    for (int i = 0; i < BLOCK_PIXELS; i++)
        for (s.stages = 1; s.stages <= 2; s.stages++) { /* 1: the filters stay */
            s.tile_m = block_pixels[i];
            s.shared_bytes = NINC_MLPCONV_BACKWARD_SHARED(s.tile_m, s.tile_n, s.tile_k, s.stages,
                                                          steps, size);
            if ((s.tile_m + steps * s.tile_n) * s.tile_n / s.threads <= BACKWARD_SUMS)
                count = add_block(s, limit, out, count, least);
        }
    return count;
}

static int most_channels(const Kernel *k)
{
    int most = 0;
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        for (int j = 0; j < n->arity; j++) {
            bool thin = n->op == OP_CONV2D && i == 0;
            bool map = n->in[j]->tensor.shape.rank == 4 && n->op != OP_CONV2D_WGRAD && j == 0;
            if (map && !thin)
                most = padded_channels(n->in[j]) > most ? padded_channels(n->in[j]) : most;
        }
        if (n->tensor.shape.rank == 4 && n->op != OP_CONV2D_WGRAD)
            most = padded_channels(n) > most ? padded_channels(n) : most;
    }
    return most;
}

static void schedule_forward(Kernel *k)
{
    const Node *conv = contraction_of(k);
    Schedule fits[MAX_SCHEDULES];
    int least = 0, count = schedule_block_forward(conv->in[0]->tensor.dtype, conv->math,
                                                  most_channels(k), fits, &least);
    for (int i = 0; i < count; i++) {
        fits[i].grid_x = (int)ceil_div(map_pixels(conv), fits[i].tile_m);
        add_schedule(k, fits[i]);
    }
}

/* Each block has a range of pixels and its own copy of the weight gradients. */
static void schedule_backward(Kernel *k)
{
    const Node *wgrad = contraction_of(k), *dy = wgrad->in[1];
    int steps = 0, least = 0;
    Schedule fits[MAX_SCHEDULES];
    for (int i = 0; i < k->node_count; i++)
        steps += k->node[i]->op == OP_CONV2D_WGRAD;
    int count = schedule_block_backward(dy->tensor.dtype, wgrad->math, most_channels(k), steps,
                                        fits, &least);
    for (int i = 0; i < count; i++) {
        int64_t tiles = ceil_div(map_pixels(dy), fits[i].tile_m);
        fits[i].split = (int)smaller(tiles, PROCESSORS);
        fits[i].grid_x = 1;
        add_schedule(k, fits[i]);
    }
}

/* ---- the pass ---- */

/* The value whose elements the threads of an untiled kernel share: what its last node gives. */
static const Node *result_of(const Kernel *k)
{
    return k->class == KERNEL_POOL_FORWARD ? k->node[0] : k->node[k->node_count - 1];
}

static int64_t pixel_groups(const Node *map)
{
    Tensor t = map->tensor;
    t.layout = (Layout){.kind = LAYOUT_NHWC, .block = CUDA_LANES};
    return tensor_elements(&t) / CUDA_LANES;
}

static void find_schedules(const CudaGraph *c, Kernel *k)
{
    switch (k->class) {
    case KERNEL_CONV_FORWARD:
    case KERNEL_CONV_DGRAD:
    case KERNEL_CONV_WGRAD: schedule_conv(c, k, contraction_of(k)); return;
    case KERNEL_MLPCONV_FORWARD: schedule_forward(k); return;
    case KERNEL_MLPCONV_BACKWARD: schedule_backward(k); return;
    case KERNEL_POOL_FORWARD:
    case KERNEL_POOL_BACKWARD:
    case KERNEL_NORM:
    case KERNEL_LRN:
        schedule_blocks(k, ceil_div(pixel_groups(result_of(k)), THREADS), 0);
        return;
    case KERNEL_STATISTICS:
        schedule_blocks(k, padded_channels(k->node[0]->in[0]) / CUDA_LANES,
                        NINC_NORM_SHARED(THREADS));
        return;
    case KERNEL_HEAD: schedule_head(c->graph, k); return;
    case KERNEL_METRICS: schedule_blocks(k, 1, 0); return;
    case KERNEL_FILTER: schedule_blocks(k, filter_blocks(c, k), 0); return;
    case KERNEL_UPDATE: schedule_blocks(k, update_blocks(c, k), 0); return;
    case KERNEL_GENERIC:
    case KERNEL_IMAGE:
    case KERNEL_POINTWISE:
        if (op_is(k->node[0]->op, F_AUGMENT)) {
            schedule_blocks(k, image_blocks(c, k), NINC_AUGMENT_SHARED);
            return;
        }
        schedule_blocks(k, ceil_div(physical_elements(c, result_of(k)), THREADS),
                        k->node[0]->op == OP_SQUARE_SUM ? SQUARE_SUM_SHARED : 0);
        return;
    case KERNEL_ROWS:
    case KERNEL_DENSE:
    case KERNEL_DENSE_WGRAD:
    case KERNEL_WINOGRAD:
    case KERNEL_CLASS_COUNT: break;
    }
    internal_error("kernel %s: class %s is not of this target", k->name, class_names[k->class]);
}

/* Most kernels have fewer schedules than there may be. */
static void schedule_kernel(const CudaGraph *c, Kernel *k)
{
    Schedule found[MAX_SCHEDULES];
    k->schedule = found;
    k->schedule_count = 0;
    find_schedules(c, k);
    k->schedule = pool_copy(c->graph->module->pool, found,
                            (size_t)k->schedule_count * sizeof *found);
}

void schedule_cuda_graph(Graph *g)
{
    CudaGraph c = cuda_graph(g);
    g->chunk = g->batch;
    for (int i = 0; i < g->kernel_count; i++)
        schedule_kernel(&c, g->kernel[i]);
}
