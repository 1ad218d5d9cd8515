/* The constants of row ops: filter walks, tiles and windows. */
#include "../../ir/numbers.h"
#include "cpu.h"

int packed_vectors(const CpuEmitter *e, const Node *n, const Layout *filter, int lanes)
{
    int vectors = filter->out_block / graph_lanes(e->graph);
    if (filter->kind != LAYOUT_FILTER || filter->block != lanes || vectors != n->tile.vectors)
        internal_error("%s: %s has a filter that is not packed for its input", e->kernel->name,
                       op_name(n->op));
    return vectors;
}

int filter_run(const Node *conv)
{
    int entries = conv->attr.window.kernel_w * map_shape(conv->in[0]).lanes;
    return conv->in[1]->tensor.layout.pairs ? (int)round_up(entries, 2) : entries;
}

/* Vectors that a row of a sparse product has at most, each of which multiplies an entry of a list:
 * more take fewer lists, which are dear where they run over pixels; fewer leave room for longer
 * ones, which few entries need. */
enum { SPARSE_VECTORS = 8, SPARSE_WGRAD_VECTORS = 12 };

/* Tiles of at most `most` vectors for `units` of `inner` vectors that lie side by side; inner = 0:
 * units of one, and all of a tile's lie side by side. */
static void table_sparse(CpuEmitter *e, const Node *n, int units, int inner, int most)
{
    int unit = inner ? inner : 1;
    Split s = split_evenly(units, (int)larger(most / unit, 1));
    int large = s.large * unit, small = (s.large - 1) * unit;
    TileUse use = {TILE_SPARSE, large, inner ? inner : large, 0, 1};
    const char *large_tile = use_tile(e, use), *small_tile = large_tile;
    if (s.smalls)
        small_tile =
            use_tile(e, (TileUse){TILE_SPARSE, small, inner ? inner : small, 0, 1});
    e->tiles->sparse = true;
    text_append(e->tables, "static const SparseRun %s_sparse = {%s, %s, %d, %d, %d, %d};\n",
                table_name(e, n), large_tile, small_tile, large, s.larges, small, s.smalls);
}

/* Blocks of one group of a map that contraction n reads or gives. */
static int group_blocks(const Node *n, const Node *map)
{
    return map_shape(map).blocks / window_groups(&n->attr.window);
}

/* What a contraction in groups needs beside the constants of one of them: x is read, y the map on
 * the other side. */
static void table_groups(CpuEmitter *e, const Node *n, const Node *x, const Node *y)
{
    const Window *k = &n->attr.window;
    int lanes = graph_lanes(e->graph), from = group_blocks(n, x), to = group_blocks(n, y);
    if (k->groups == 0)
        return;
    text_append(e->tables, "static const Groups %s_groups = {%d, %d, %d, %lld};\n",
                table_name(e, n), k->groups, from, to,
                (long long)from * to * lanes * lanes * k->kernel_h * k->kernel_w);
}

/* And one with dilation. */
static void table_dilation(CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    if (node_is_dilated(n))
        text_append(e->tables, "static const Dilation %s_dilation = {%d, %d, %d};\n",
                    table_name(e, n), window_dilation_h(k), window_dilation_w(k), k->kernel_w);
}

static void table_conv(CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    const Layout *filter = &n->in[1]->tensor.layout;
    MapShape x = map_shape(n->in[0]);
    int vectors = packed_vectors(e, n, filter, x.lanes), step = k->stride_w * x.lanes;
    int filters = n->tensor.shape.dim[3] / window_groups(k);
    text_append(e->tables,
                "static const Conv %s = {\n"
                "    .in_blocks = %d, .kernel_h = %d, .run = %d, .groups = %d, .vectors = %d,\n"
                "    .stride_h = %d, .padding_h = %d, .step = %d, .padding = %d,\n"
                "    .tiles = %s};\n",
                table_name(e, n), group_blocks(n, n->in[0]), k->kernel_h,
                filter_run(n), (int)ceil_div(filters, filter->out_block), vectors, k->stride_h,
                k->padding_h, step, k->padding_w * x.lanes,
                row_tiles(e, n->tensor.shape.dim[2], &n->tile, step, 1));
    table_groups(e, n, n->in[0], n);
    table_dilation(e, n);
    if (n->sparse != SPARSE_NONE) /* sums of bf16 results are floats side by side */
        table_sparse(e, n, map_shape(n).blocks, e->bf16 ? 0 : 1, SPARSE_VECTORS);
}

static void table_transpose(CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    const Layout *filter = &n->in[1]->tensor.layout;
    const int32_t *d = n->tensor.shape.dim;
    int lanes = graph_lanes(e->graph), vectors = packed_vectors(e, n, filter, lanes);
    int more = (int)ceil_div(d[2], k->stride_w);
    text_append(e->tables,
                "static const ConvTranspose %s = {\n"
                "    .in_blocks = %d, .kernel_h = %d, .kernel_w = %d,\n"
                "    .groups = %d, .vectors = %d,\n"
                "    .stride_h = %d, .stride_w = %d, .padding_h = %d, .padding_w = %d,\n"
                "    .width = %d,\n    .more = %s,\n    .fewer = %s};\n",
                table_name(e, n), group_blocks(n, n->in[0]), k->kernel_h, k->kernel_w,
                k->groups ? 1 : (int)ceil_div(d[3], filter->out_block), vectors, k->stride_h,
                k->stride_w, k->padding_h, k->padding_w, d[2],
                row_tiles(e, more, &n->tile, lanes, k->stride_w),
                row_tiles(e, more - 1, &n->tile, lanes, k->stride_w));
    table_groups(e, n, n->in[0], n);
}

/* The largest of the parts that an extent falls into, as equal as can be and none above `fit`. */
static int equal_part(int extent, int fit)
{
    return (int)ceil_div(extent, ceil_div(extent, fit));
}

static void table_wgrad(CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    const Layout *filter = &n->tensor.layout;
    const int32_t *dy = n->in[1]->tensor.shape.dim;
    MapShape x = map_shape(n->in[0]);
    int vectors = packed_vectors(e, n, filter, x.lanes);
    int filters = n->tensor.shape.dim[0] / window_groups(k);
    bool dense = e->kernel->class == KERNEL_DENSE_WGRAD;
    int rows = value_is_in_parts(n) ? e->kernel->strip : dy[1];
    int width = dense ? e->graph->batch : dy[2];
    int pixel = vectors * graph_lanes(e->graph) * (int)dtype_bytes(n->in[1]->tensor.dtype);
    int fit = (int)larger(WGRAD_STRIP_BYTES / pixel, 2), columns = equal_part(width, fit);
    int strip = equal_part(rows, (int)larger(fit / width, 1));
    TileKind kind = e->bf16 ? TILE_WGRAD_PAIRS : TILE_WGRAD;
    int run = (node_is_dilated(n) ? 1 : k->kernel_w) * x.lanes;
    const char *tiles = wgrad_run(e, kind, run, &n->tile);
    text_append(e->tables,
                "static const Wgrad %s = {\n"
                "    .in_blocks = %d, .kernel_h = %d, .run = %d, .groups = %d, .vectors = %d,\n"
                "    .stride_h = %d, .padding_h = %d, .height = %d, .width = %d,\n"
                "    .strip = %d, .columns = %d,\n"
                "    .step = %lld, .padding = %d, .dy_step = %lld,\n    .tiles = %s};\n",
                table_name(e, n), group_blocks(n, n->in[0]), k->kernel_h, run,
                (int)ceil_div(filters, filter->out_block), vectors, k->stride_h,
                k->padding_h, dy[1], width, strip, (int)round_up(columns, 2),
                dense ? (long long)x.image : k->stride_w * x.lanes, k->padding_w * x.lanes,
                (long long)(dense ? map_shape(n->in[1]).image : graph_lanes(e->graph)), tiles);
    table_groups(e, n, n->in[0], n->in[1]);
    table_dilation(e, n);
    if (n->sparse == SPARSE_X)
        table_sparse(e, n, (int)ceil_div(filters, filter->out_block), vectors,
                     SPARSE_WGRAD_VECTORS);
    else if (n->sparse == SPARSE_DY)
        table_sparse(e, n, x.blocks, 0, SPARSE_VECTORS);
}

/* input: the node whose shape is the pool's input; output likewise. */
static void table_pool_of(CpuEmitter *e, const Node *n, const Node *input, const Node *output)
{
    const Window *k = &n->attr.window;
    const int32_t *in = input->tensor.shape.dim, *out = output->tensor.shape.dim;
    int lanes = graph_lanes(e->graph);
    text_append(e->tables,
                "static const Pool %s = {%d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d};\n",
                table_name(e, n), k->kernel_h, k->kernel_w, k->stride_h, k->stride_w,
                k->padding_h, k->padding_w, in[1], in[2], out[1], out[2],
                (in[3] + lanes - 1) / lanes);
}

static void table_pool(CpuEmitter *e, const Node *n)
{
    table_pool_of(e, n, n->in[0], n);
}

static void table_pool_grad(CpuEmitter *e, const Node *n)
{
    table_pool_of(e, n, n, n->in[0]);
}

static void table_depthwise(CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    const Node *y = n->op == OP_CONV2D ? n : n->in[n->op == OP_CONV2D_WGRAD];
    text_append(e->tables,
                "static const Depthwise %s = {\n"
                "    .blocks = %d, .kernel_h = %d, .kernel_w = %d,\n"
                "    .stride_h = %d, .stride_w = %d, .padding_h = %d, .padding_w = %d,\n"
                "    .dilation_h = %d, .dilation_w = %d,\n"
                "    .height = %d, .width = %d, .columns = %d};\n",
                table_name(e, n), map_shape(y).blocks, k->kernel_h, k->kernel_w, k->stride_h,
                k->stride_w, k->padding_h, k->padding_w, window_dilation_h(k),
                window_dilation_w(k), map_dim(y, 1), map_dim(y, 2), map_dim(n, 2));
}

void emit_table(CpuEmitter *e, const Node *n)
{
    static void (*const by_op[OP_COUNT])(CpuEmitter *, const Node *) = {
        [OP_CONV2D] = table_conv,
        [OP_CONV2D_TRANSPOSE] = table_transpose,
        [OP_CONV2D_WGRAD] = table_wgrad,
        [OP_CONV2D_FOLDED] = emit_fold_table,
        [OP_CONV2D_FOLDED_WGRAD] = emit_fold_table,
        [OP_WINOGRAD_OUTPUT] = emit_winograd_map,
        [OP_MAXPOOL] = table_pool,
        [OP_AVGPOOL] = table_pool,
        [OP_MAXPOOL_GRAD] = table_pool_grad,
        [OP_AVGPOOL_GRAD] = table_pool_grad,
    };
    if (node_is_depthwise(n))
        table_depthwise(e, n);
    else if (by_op[n->op])
        by_op[n->op](e, n);
}
