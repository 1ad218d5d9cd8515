/* Kernels of linear layers and their gradients: the images of a chunk are the positions of register
 * tiles, one call of the device library a statement. */
#include "../../ir/numbers.h"
#include "cpu.h"

/* Whether the maps that the statement reads beside its result lie as it does, image by image; their
 * distances from image to image, as an initialiser. */
static bool beside_lie_alike(const CpuEmitter *e, const Statement *s, const char **images)
{
    const Node *beside[MAX_STATEMENT_OPERANDS], *result = statement_result(s);
    int maps = statement_beside(s, false, beside);
    bool alike = true;
    *images = "";
    for (int i = 0; i < e->epilogues->maps; i++) {
        int64_t image = map_shape(i < maps ? beside[i] : result).image;
        alike &= image == map_shape(result).image;
        *images = pool_format(e->pool, "%s%s%lld", *images, i ? ", " : "", (long long)image);
    }
    return alike;
}

/* What a tile walks: rows of `run` entries of a block of inputs, `row` elements of the filter from
 * one to the next, `block` from block to block. */
typedef struct FilterWalk {
    int blocks, kernel_h, run;
    int64_t block, row;
} FilterWalk;

/* That of a layer is the filter as it lies, that of its map's gradient a panel of one run. */
static FilterWalk filter_walk(const CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    const Layout *l = &n->in[1]->tensor.layout;
    MapShape x = map_shape(n->in[0]);
    if (n->op == OP_CONV2D_DGRAD)
        return (FilterWalk){1, 1, x.blocks * x.lanes, 0, 0};
    int run = filter_run(n);
    int64_t row = (int64_t)run * packed_vectors(e, n, l, x.lanes) * graph_lanes(e->graph);
    return (FilterWalk){x.blocks, k->kernel_h, run, k->kernel_h * row, row};
}

/* The tiles of a chunk's images, of one image less, and of one. */
static const char *image_tiles(CpuEmitter *e, const Node *n, int64_t step, int64_t spread)
{
    int large = split_evenly(e->graph->chunk, n->tile.pixels).large;
    TileUse use = {TILE_CONV, large, n->tile.vectors, (int)step, (int)spread}, small = use;
    TileUse one = use;
    small.positions = (int)larger(large - 1, 1);
    one.positions = 1;
    return pool_format(e->pool,
                       ".large_tile = %s, .small_tile = %s,\n    .one_tile = %s, .large = %d",
                       use_tile(e, use), use_tile(e, small), use_tile(e, one), large);
}

static void emit_dense_table(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op, *result = statement_result(s);
    MapShape x = map_shape(n->in[0]), y = map_shape(result);
    FilterWalk f = filter_walk(e, n);
    int groups = (int)ceil_div(y.blocks, n->tile.vectors);
    const char *images;
    bool alike = beside_lie_alike(e, s, &images);
    bool clears = !statement_keeps_zero(s) && y.channels % y.lanes != 0;
    e->tiles->dense = true;
    text_append(
        e->tables,
        "static const Dense %s = {\n"
        "    .in_blocks = %d, .kernel_h = %d, .run = %d, .groups = %d, .vectors = %d,\n"
        "    .taps_h = %d, .taps_w = %d, .filter_block = %lld, .filter_row = %lld,\n"
        "    .x_image = %lld, .y_image = %lld,\n"
        "    .beside_image = {%s}, .alike = %s, .kept = %d,\n    %s};\n",
        table_name(e, n), f.blocks, f.kernel_h, f.run, groups, n->tile.vectors, y.height, y.width,
        (long long)f.block, (long long)f.row, (long long)x.image, (long long)y.image, images,
        alike ? "true" : "false",
        clears ? y.channels % y.lanes : 0,
        image_tiles(e, n, x.image, y.image / graph_lanes(e->graph)));
}

/* What a convolution reads past the edges, each slice of some images. */
static void emit_halos(CpuEmitter *e, const Node *result)
{
    const Layout *l = &result->tensor.layout;
    if (l->halo_h == 0 && l->halo_w == 0)
        return;
    emit_open(e, "for (ptrdiff_t n = first_image(range); n < last_image(range); n++)");
    emit_map(e, result, "n");
    emit_halo(e, result, "");
    emit_close(e);
}

static void emit_forward(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    emit_line(e, "dense_forward(&%s, %s, %s, %s, %s, %s, range);", table_name(e, n),
              map_name(e, n->in[0]), value_name(e, n->in[1]),
              n->arity > 2 ? value_name(e, n->in[2]) : "NULL", epilogue_of(e, s),
              map_name(e, statement_result(s)));
}

static void emit_dgrad(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    const Window *k = &n->attr.window;
    text_append(e->tables, "static const DenseFilter %s_filter = {%d, %d, %d, %d};\n",
                table_name(e, n), map_shape(n->in[0]).blocks, map_shape(n).blocks,
                n->in[1]->tensor.layout.out_block, k->kernel_h * k->kernel_w);
    emit_line(e, "dense_dgrad(&%s, &%s_filter, %s, %s, %s, %s, range);", table_name(e, n),
              table_name(e, n), map_name(e, n->in[0]), value_name(e, n->in[1]),
              epilogue_of(e, s), map_name(e, statement_result(s)));
}

static void emit_layer(CpuEmitter *e, const Statement *s)
{
    emit_dense_table(e, s);
    emit_halos(e, statement_result(s));
    emit_statement_maps(e, s, 1, "0");
    if (s->op->op == OP_CONV2D)
        emit_forward(e, s);
    else
        emit_dgrad(e, s);
}

void emit_dense(CpuEmitter *e)
{
    int count;
    const Statement *s = kernel_statement_list(e->pool, e->kernel, &count);
    for (int i = 0; i < count; i++)
        emit_layer(e, &s[i]);
    text_append(e->tables, "\n");
}

/* ---- gradients of parameters ---- */

/* Bytes of a filter's gradient that a slice makes at a time, which its step then takes up: part of
 * a level-2 cache. */
enum { STEP_BYTES = 64 * 1024 };

static int64_t unit_elements(const CpuEmitter *e, const Node *n)
{
    int lanes = map_shape(n->in[0]).lanes;
    int vectors = packed_vectors(e, n, &n->tensor.layout, lanes);
    return (int64_t)n->attr.window.kernel_w * lanes * vectors * graph_lanes(e->graph);
}

/* By units first to last - 1, to its place or, where the step takes it, to `gradient`. */
static void emit_units(CpuEmitter *e, const Node *n, const char *to)
{
    emit_line(e, "dense_wgrad(&%s, %s, %s, first, last, %s);", table_name(e, n),
              map_name(e, n->in[0]), map_name(e, n->in[1]), to);
}

static void emit_whole(CpuEmitter *e, const Node *n)
{
    emit_line(e, "const ptrdiff_t first = slice_begin(range, wgrad_units(&%s));", table_name(e, n));
    emit_line(e, "const ptrdiff_t last = slice_end(range, wgrad_units(&%s));", table_name(e, n));
    emit_units(e, n, pool_format(e->pool, "%s + first * %lld", value_name(e, n),
                                 (long long)unit_elements(e, n)));
}

/* Some units at a time, and the optimizer's step of their part of the filter. */
static void emit_in_steps(CpuEmitter *e, const Node *n)
{
    long long unit = unit_elements(e, n), units = larger(STEP_BYTES / (4 * unit), 1);
    emit_line(e, "_Alignas(64) float gradient[%lld];", units * unit);
    emit_line(e, "const ptrdiff_t end = slice_end(range, wgrad_units(&%s));", table_name(e, n));
    emit_line(e, "ptrdiff_t first = slice_begin(range, wgrad_units(&%s)), last;",
              table_name(e, n));
    emit_step_scalars(e, e->kernel->node, e->kernel->node_count);
    emit_open(e, "for (; first < end; first = last)");
    emit_line(e, "last = first + %lld < end ? first + %lld : end;", units, units);
    emit_units(e, n, "gradient");
    emit_open(e, "for (ptrdiff_t i = first * %lld; i < last * %lld; i++)", unit, unit);
    emit_line(e, "const float %s_i = gradient[i - first * %lld];", value_name(e, n), unit);
    if (n->place.region != REGION_NONE)
        emit_line(e, "%s[i] = %s_i;", value_name(e, n), value_name(e, n));
    emit_step(e, e->kernel->node, e->kernel->node_count);
    emit_close(e);
    emit_close(e);
}

static void emit_filter_gradient(CpuEmitter *e, Node *n)
{
    Statement s = {.op = n};
    e->tiles->dense = true;
    emit_table(e, n);
    emit_block(e);
    emit_statement_maps(e, &s, 1, "0");
    if (kernel_returns(e->kernel, n))
        emit_whole(e, n);
    else
        emit_in_steps(e, n);
    emit_close(e);
}

static void emit_bias_gradient(CpuEmitter *e, Node *n)
{
    Statement s = {.op = n};
    emit_open(e, "for (ptrdiff_t n = 0; n < %d; n++)", e->graph->batch);
    emit_statement_maps(e, &s, 1, "n");
    emit_line(e, "bias_grad_image(%s, %s, %d, 1, 1, n > 0, range);", map_name(e, n->in[0]),
              value_name(e, n), map_shape(n->in[0]).blocks);
    emit_close(e);
}

void emit_dense_wgrad(CpuEmitter *e)
{
    for (int i = 0; i < e->kernel->node_count; i++)
        if (e->kernel->node[i]->op == OP_BIAS_GRAD)
            emit_bias_gradient(e, e->kernel->node[i]);
        else if (e->kernel->node[i]->op == OP_CONV2D_WGRAD)
            emit_filter_gradient(e, e->kernel->node[i]);
    text_append(e->tables, "\n");
}
