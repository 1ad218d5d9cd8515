/* schedule for the CPU: images a chunk, rows a strip, register tiles. */
#include "../../ir/numbers.h"
#include "cpu.h"
#include "machine.h"

/* Half cycles, up to a factor, for each of the sum's `terms`, of `count` positions by `vectors`
 * output vectors in tiles of at most `tile` positions: a multiply-add an accumulator, and a share
 * of the loads that feed them. */
static double tile_cost(int count, int tile, int vectors, int groups, int64_t terms)
{
    int tiles = (int)ceil_div(count, tile);
    double multiplies = (double)count * vectors;
    double filter = terms * vectors * 64 <= RESIDENT_BYTES ? 0.3 : 0.6;
    return (multiplies + 0.3 * count + filter * tiles * vectors + tiles) * groups;
}

/* The cheapest number of output vectors a tile that divides the output blocks. */
static Tile best_tile_of(int positions, int out_channels, int64_t terms, int most)
{
    int blocks = ceil_div(out_channels, 16);
    Tile best = {0, 0};
    double cost = 0;
    for (int v = most; v >= 1; v--) {
        if (blocks % v != 0)
            continue;
        int limit = ACCUMULATORS / v;
        double c = tile_cost(positions, limit, v, blocks / v, terms);
        if (best.vectors == 0 || c < cost) {
            best = (Tile){ceil_div(positions, ceil_div(positions, limit)), v};
            cost = c;
        }
    }
    return best;
}

static Tile best_tile(int positions, int out_channels, int64_t terms)
{
    return best_tile_of(positions, out_channels, terms, MAX_TILE_VECTORS);
}

/* The gradient of a linear layer's map: of its filter a panel of that many vectors for all outputs
 * is turned around at a time, which stays in a level-2 cache. */
static void schedule_dense_dgrad(const Graph *g, Node *n)
{
    int64_t outputs = n->in[0]->tensor.shape.dim[3];
    int fit = (int)smaller(larger(PANEL_BYTES / (outputs * 64), 1), MAX_TILE_VECTORS);
    n->tile = best_tile_of(g->chunk, n->tensor.shape.dim[3], outputs, fit);
}

/* AMX: equal tiles of at most the rows of an AMX tile, by one block of outputs. */
static Tile amx_tile(int positions)
{
    return (Tile){ceil_div(positions, ceil_div(positions, AMX_ROWS)), 1};
}

/* Positions that a tile has to choose from: a row's pixels, of a transposed convolution those of a
 * phase, every stride-th; of a dense one the images of a chunk. */
static int positions_of(const Graph *g, const Node *n)
{
    if (n->kernel->class == KERNEL_DENSE)
        return g->chunk;
    int spread = n->op == OP_CONV2D_TRANSPOSE ? n->attr.window.stride_w : 1;
    return (int)ceil_div(n->tensor.shape.dim[2], spread);
}

static void schedule_conv(const Graph *g, Node *n)
{
    const int32_t *d = n->tensor.shape.dim;
    int positions = positions_of(g, n);
    const int32_t *filter = n->in[1]->tensor.shape.dim;
    int groups = window_groups(&n->attr.window);
    int64_t terms = (int64_t)filter[1] * filter[2] * filter[3];
    n->tile = target_kind(g->target) == KIND_TILES ? amx_tile(positions)
                                                   : best_tile(positions, d[3] / groups, terms);
}

/* Most outputs of one class in a row: what a tile has to choose from. */
static int outputs_of_a_class(const Node *n)
{
    int count[FOLD_MAX_CLASSES] = {0}, most = 0;
    Pool *pool = pool_new();
    const FoldAxis columns = folded_axes(pool, n).columns;
    for (int o = 0; o < columns.outputs; o++)
        most = (int)larger(most, ++count[columns.class_of[o]]);
    pool_free(pool);
    return most;
}

static void schedule_folded(Node *n)
{
    const int32_t *filter = n->in[1]->tensor.shape.dim;
    int64_t terms = (int64_t)n->in[0]->tensor.shape.dim[3] * filter[2] * filter[3];
    n->tile = best_tile(outputs_of_a_class(n), filter[0], terms);
}

/* The gradient has its filter's packing, so its vectors are those of the filter's convolution. */
static void schedule_wgrad(const Graph *g, Node *n)
{
    const int32_t *filter = n->tensor.shape.dim;
    int columns = node_is_dilated(n) ? 1 : filter[3], vectors = 0;
    int run = columns * packed_channels(g, n->in[0]);
    int registers = graph_lanes(g) / 16;
    Uses uses = graph_uses(g, n->in[0]);
    for (int i = 0; i < uses.count; i++)
        if (is_wgrad_of(n, uses.use[i].user))
            vectors = uses.use[i].user->tile.vectors;
    if (vectors == 0)
        vectors = registers > 1 ? 1
                                : best_tile(n->in[1]->tensor.shape.dim[2], filter[0], 0).vectors;
    int limit = ACCUMULATORS / (vectors * registers);
    n->tile = (Tile){ceil_div(run, ceil_div(run, limit)), vectors};
}

/* The products of a Winograd convolution: a row is a tile of an image, of which a chunk has
 * many. */
static void schedule_winograd(const Graph *g, Node *n)
{
    const int32_t *d = n->in[0]->tensor.shape.dim;
    bool wgrad = n->op == OP_WINOGRAD_WGRAD;
    int outputs = wgrad ? n->tensor.shape.dim[0] : n->in[1]->tensor.shape.dim[0];
    n->tile = best_tile(wgrad ? 16 : d[2] * g->chunk, outputs, wgrad ? 0 : d[3]);
}

/* Rows a strip: the map in equal strips of about STRIP_PIXELS, whole Winograd tiles. What sums over
 * a whole map, or only over images, has none. */
static int strip_rows(const Graph *g, const Kernel *k)
{
    const int32_t *d = k->node[0]->tensor.shape.dim;
    if (op_sums_images(k->node[0]->op) || k->class == KERNEL_DENSE)
        return 0;
    for (int i = 0; i < k->node_count; i++)
        if (k->node[i]->op == OP_GAP)
            return 0;
    const Node *first = k->node[0];
    int unit = first->op == OP_WINOGRAD_OUTPUT ? first->attr.winograd.tile : 1;
    int units = (int)ceil_div(d[1], unit), fit = (int)larger(STRIP_PIXELS / d[2] / unit, 1);
    int strips = (int)larger(ceil_div(units, fit), ceil_div(LEAST_STRIPS, g->chunk));
    return (int)smaller(ceil_div(units, smaller(strips, units)) * unit, d[1]);
}

/* About how many bytes one image's chunk values take, channels padded to vectors. */
static int64_t image_bytes(const Graph *g)
{
    int64_t bytes = 0, lanes = graph_lanes(g);
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        const int32_t *d = n->tensor.shape.dim;
        if (n->op == OP_INPUT || n->tensor.shape.rank != 4 || !is_per_image(g, n) ||
            value_is_folded(n) || op_is(n->op, F_AUGMENT))
            continue;
        bytes += (int64_t)d[1] * d[2] * round_up(d[3], lanes) * dtype_bytes(n->tensor.dtype);
    }
    return bytes;
}

/* Of the filters of linear layers, in bytes. */
static int64_t dense_bytes(const Graph *g)
{
    int64_t bytes = 0;
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        if (n->kernel && n->kernel->class == KERNEL_DENSE && n->op == OP_CONV2D)
            bytes += shape_elements(&n->in[1]->tensor.shape) * dtype_bytes(n->in[1]->tensor.dtype);
    }
    return bytes;
}

/* As many images as those bytes allow, in chunks of equal size. */
static int chunk_images(const Graph *g)
{
    if (graph_looks_across(g))
        return g->batch;
    int64_t bytes = larger(image_bytes(g), 1);
    int64_t fit = larger(CHUNK_BYTES / bytes, smaller(FEW_IMAGES_BYTES / bytes, FEW_IMAGES));
    fit = larger(fit, smaller(CHUNK_OF_DENSE * dense_bytes(g) / bytes, DENSE_IMAGES));
    if (fit >= g->batch)
        return g->batch;
    return fit < 1 ? 1 : ceil_div(g->batch, ceil_div(g->batch, (int)fit));
}

void schedule_cpu_graph(Graph *g)
{
    g->chunk = chunk_images(g);
    for (int i = 0; i < g->kernel_count; i++) {
        Kernel *k = g->kernel[i];
        if (!kernel_is_rows(k))
            continue;
        k->strip = strip_rows(g, k);
        for (int j = 0; j < k->node_count; j++)
            if (node_is_depthwise(k->node[j]))
                continue;
            else if (k->node[j]->op == OP_CONV2D || k->node[j]->op == OP_CONV2D_TRANSPOSE)
                schedule_conv(g, k->node[j]);
            else if (k->node[j]->op == OP_CONV2D_DGRAD)
                schedule_dense_dgrad(g, k->node[j]);
            else if (k->node[j]->op == OP_CONV2D_FOLDED)
                schedule_folded(k->node[j]);
    }
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        if (op_is(n->op, F_WGRAD) && kernel_is_rows(n->kernel) && !node_is_depthwise(n))
            schedule_wgrad(g, n);
        if (op_is(n->op, F_FREQUENCIES))
            schedule_winograd(g, n);
    }
}
