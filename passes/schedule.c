/* schedule: how each kernel is executed on its target: images a chunk, partial sums, rows a strip,
 * register tiles.
 *
 * Requires stage kernels; brings it to scheduled. Everything is decided from shapes and the
 * target's limits: the CPU's below, a GPU's in schedule_cuda.c. */
#include "../ir/numbers.h"
#include "cuda.h"

/* Accumulator registers of a tile: AVX-512 has 32, some of which hold filters and inputs.
 * Narrower machines cut the tiles into parts (codegen/cpu/ninc_cpu.h). */
enum { ACCUMULATORS = 28, MAX_TILE_VECTORS = 4 };

/* What one worker's values may take together (its share of a level-3 cache), and the pixels of a
 * strip, few enough for its rows to stay in a level-2 cache, enough to reuse a filter read. */
enum { WORKER_BYTES = 24 * 1024 * 1024, STRIP_PIXELS = 256 };

/* Cycles, up to a factor, of `count` positions by `vectors` output vectors in tiles of at most
 * `tile` positions: a multiply-add an accumulator, and a share of the loads that feed them. */
static double tile_cost(int count, int tile, int vectors, int groups)
{
    int tiles = ceil_div(count, tile);
    double multiplies = (double)count * vectors;
    double loads = (double)count + (double)tiles * vectors;
    return (multiplies + 0.3 * loads + tiles) * groups;
}

/* The cheapest number of output vectors a tile that divides the output blocks. */
static Tile best_tile(int positions, int out_channels)
{
    int blocks = ceil_div(out_channels, 16);
    Tile best = {0, 0};
    double cost = 0;
    for (int v = MAX_TILE_VECTORS; v >= 1; v--) {
        if (blocks % v != 0)
            continue;
        int limit = ACCUMULATORS / v;
        double c = tile_cost(positions, limit, v, blocks / v);
        if (best.vectors == 0 || c < cost) {
            best = (Tile){ceil_div(positions, ceil_div(positions, limit)), v};
            cost = c;
        }
    }
    return best;
}

/* A transposed convolution runs in phases of every stride-th pixel. */
static void schedule_conv(Node *n)
{
    const int32_t *d = n->tensor.shape.dim;
    int spread = n->op == OP_CONV2D_TRANSPOSE ? n->attr.window.stride_w : 1;
    n->tile = best_tile(ceil_div(d[2], spread), d[3]);
}

/* The gradient has its filter's packing, so its vectors are those of the filter's convolution. */
static void schedule_wgrad(const Graph *g, Node *n)
{
    const int32_t *filter = n->tensor.shape.dim;
    int channels = value_is_thin_image(g, n->in[0]) ? filter[1] : 16;
    int run = filter[3] * channels, vectors = 0;
    for (int i = 0; i < g->node_count; i++) {
        const Node *c = g->node[i];
        if (is_wgrad_of(n, c))
            vectors = c->tile.vectors;
    }
    if (vectors == 0)
        vectors = best_tile(n->in[1]->tensor.shape.dim[2], filter[0]).vectors;
    n->tile = (Tile){ceil_div(run, ceil_div(run, ACCUMULATORS / vectors)), vectors};
}

/* Rows a strip: the map in equal strips of about STRIP_PIXELS, where there is more than one
 * statement to keep close together. */
static int strip_rows(const Kernel *k)
{
    if (k->class != KERNEL_MLPCONV_FORWARD && k->class != KERNEL_MLPCONV_BACKWARD &&
        k->class != KERNEL_CONV_BACKWARD)
        return 0;
    const Node *map = k->node[0];
    const int32_t *d = map->tensor.shape.dim;
    if (map->tensor.shape.rank != 4)
        return 0;
    int rows = STRIP_PIXELS / d[2];
    rows = rows < 1 ? 1 : rows;
    return ceil_div(d[1], ceil_div(d[1], rows));
}

/* About how many bytes one image's chunk values take, channels padded to vectors. */
static int64_t image_bytes(const Graph *g)
{
    int64_t bytes = 0;
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        const int32_t *d = n->tensor.shape.dim;
        if (n->op == OP_INPUT || n->tensor.shape.rank != 4 || !is_per_image(g, n) ||
            value_is_folded(n))
            continue;
        bytes += (int64_t)d[1] * d[2] * (ceil_div(d[3], 16) * 16) * dtype_bytes(n->tensor.dtype);
    }
    return bytes;
}

/* As many images as fit a worker's share of the cache, but chunks enough for all partials. */
static int chunk_images(const Graph *g, int level)
{
    if (level == 0)
        return 1;
    int64_t bytes = image_bytes(g), fit = bytes > 0 ? WORKER_BYTES / bytes : g->batch;
    int most = ceil_div(g->batch, MAX_PARTIALS);
    int chunk = fit < most ? (int)fit : most;
    return chunk < 1 ? 1 : chunk;
}

static void schedule_graph(Graph *g, int level)
{
    g->chunk = chunk_images(g, level);
    int chunks = ceil_div(g->batch, g->chunk);
    g->partials = chunks < MAX_PARTIALS ? chunks : MAX_PARTIALS;
    for (int i = 0; i < g->kernel_count; i++) {
        Kernel *k = g->kernel[i];
        if (!kernel_is_rows(k))
            continue;
        k->strip = strip_rows(k);
        for (int j = 0; j < k->node_count; j++)
            if (k->node[j]->op == OP_CONV2D || k->node[j]->op == OP_CONV2D_TRANSPOSE)
                schedule_conv(k->node[j]);
    }
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_CONV2D_WGRAD && g->node[i]->kernel &&
            kernel_is_rows(g->node[i]->kernel))
            schedule_wgrad(g, g->node[i]);
    g->stage = STAGE_SCHEDULED;
}

void pass_schedule(Module *m, int level)
{
    for (int i = 0; i < m->graph_count; i++) {
        if (m->graph[i]->target == TARGET_CPU)
            schedule_graph(m->graph[i], level);
        else if (m->graph[i]->target == TARGET_CUDA)
            schedule_cuda_graph(m->graph[i]);
    }
}
