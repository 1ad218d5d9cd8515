/* Kernels of Winograd ops: the constants of each op and a call of ninc_winograd.h. */
#include "../../ir/numbers.h"
#include "cpu.h"

enum { LANES = 16 };

static int blocks_of(int channels)
{
    return (int)ceil_div(channels, LANES);
}

/* ---- transforms ---- */

/* winograd_input_4x5: of tiles of 4 and a kernel of 5. */
static const char *transform_name(Pool *pool, const Node *n)
{
    return pool_format(pool, "%s_%dx%d", op_name(n->op), n->attr.winograd.tile,
                       n->attr.winograd.kernel);
}

/* Takes n's transform into the set; its name. */
static const char *use_transform(CpuEmitter *e, const Node *n)
{
    TileSet *t = e->tiles;
    for (int i = 0; i < t->transforms; i++) {
        const Winograd *a = &t->transform[i]->attr.winograd, *b = &n->attr.winograd;
        if (t->transform[i]->op == n->op && a->tile == b->tile && a->kernel == b->kernel)
            return transform_name(e->pool, n);
    }
    POOL_PUSH(t->pool, t->transform, t->transforms, t->transform_capacity, n);
    return transform_name(e->pool, n);
}

static bool reads_map(Op op)
{
    return op == OP_WINOGRAD_INPUT || op == OP_WINOGRAD_OUTPUT_GRAD;
}

void emit_winograd_transform(Pool *pool, const Node *n, Text *out)
{
    const char *name = transform_name(pool, n);
    WinogradTransform m = winograd_transform(n);
    text_append(out, "\nstatic const float %s_matrix[%d][%d] = {\n", name, m.rows, m.columns);
    for (int r = 0; r < m.rows; r++) {
        text_append(out, "    {");
        for (int c = 0; c < m.columns; c++)
            text_append(out, "%s%.9g", c ? ", " : "", m.at[r][c]);
        text_append(out, "},\n");
    }
    bool frequencies = n->op == OP_WINOGRAD_FILTER || reads_map(n->op);
    text_append(out, "};\nWINOGRAD_TRANSFORM(%s, %s_matrix, %d, %d, %s, %s)\n", name, name, m.rows,
                m.columns, reads_map(n->op) ? "Element, load_map" : "float, load",
                frequencies ? "stream" : "store");
}

/* ---- maps ---- */

void emit_winograd_map(CpuEmitter *e, const Node *n)
{
    const Winograd *w = &n->attr.winograd;
    bool input = n->op == OP_WINOGRAD_INPUT;
    text_append(e->tables,
                "static const WinogradMap %s = {\n"
                "    .%s = %s, .tile = %d, .size = %d,\n"
                "    .tile_rows = %d, .tile_columns = %d, .blocks = %d,\n"
                "    .height = %d, .width = %d,\n"
                "    .padding_h = %d, .padding_w = %d};\n",
                table_name(e, n), reads_map(n->op) ? "from_map" : "to_map", use_transform(e, n),
                w->tile, winograd_size(w), winograd_tile_rows(w), winograd_tile_columns(w),
                blocks_of(n->tensor.shape.dim[3]), w->height, w->width, input ? w->padding_h : 0,
                input ? w->padding_w : 0);
}

/* A slice is one row of tiles of one image. */
static void emit_input(CpuEmitter *e, const Node *n)
{
    int rows = winograd_tile_rows(&n->attr.winograd);
    emit_winograd_map(e, n);
    emit_line(e, "const ptrdiff_t n = range->slice / %d;", rows);
    emit_line(e, "if (n >= range->images)");
    emit_line(e, "    return;");
    emit_map(e, n->in[0], "n");
    emit_line(e, "winograd_input_row(&%s, %s, %s, n, range->slice %% %d, range);",
              table_name(e, n), map_name(e, n->in[0]), value_name(e, n), rows);
}

/* ---- products ---- */

/* Constants of n's products in fixed point. */
static void table_fixed(CpuEmitter *e, const Node *n, const char *what, const char *fields)
{
    text_append(e->tables, "static const Fixed%s %s_fixed = {%s};\n", what, table_name(e, n),
                fields);
    e->tiles->fixed = true;
}

/* The call for the slice's frequencies of n. */
static void emit_product(CpuEmitter *e, const Node *n, const char *what)
{
    const char *table = table_name(e, n);
    const char *fixed =
        n->math == MATH_I16 ? pool_format(e->pool, "&%s_fixed, ", table) : "";
    emit_line(e, "%s_%s(&%s, %s%s, %s, %s, range);", *fixed ? "fixed" : "winograd", what, table,
              fixed, value_name(e, n->in[0]), value_name(e, n->in[1]), value_name(e, n));
}

/* What a weight gradient packs of its inputs at one time: about what stays in a level-2 cache. */
enum { FIXED_PACKED_BYTES = 128 * 1024 };

static void emit_multiply(CpuEmitter *e, const Node *n)
{
    const int32_t *filter = n->in[1]->tensor.shape.dim;
    int vectors = n->tile.vectors, groups = (int)ceil_div(filter[0], LANES * vectors);
    const char *tile = use_tile(e, (TileUse){TILE_WINOGRAD, n->tile.pixels, vectors, LANES, 1});
    const char *single = use_tile(e, (TileUse){TILE_WINOGRAD, 1, vectors, LANES, 1});
    text_append(e->tables,
                "static const WinogradMultiply %s = {\n"
                "    .tile = %s, .single = %s, .pixels = %d,\n"
                "    .frequencies = %d, .tiles = %d, .in_blocks = %d, .out_blocks = %d,\n"
                "    .groups = %d, .vectors = %d};\n",
                table_name(e, n), tile, single, n->tile.pixels, n->tensor.shape.dim[1],
                n->tensor.shape.dim[2], blocks_of(filter[1]), blocks_of(filter[0]), groups,
                vectors);
    if (n->math == MATH_I16) {
        const char *of = use_tile(e, (TileUse){TILE_FIXED, n->tile.pixels, vectors, 0, 1});
        table_fixed(e, n, "Multiply",
                    pool_format(e->pool, "%s, %s", of,
                                use_tile(e, (TileUse){TILE_FIXED, 1, vectors, 0, 1})));
    }
    emit_product(e, n, "multiply");
}

static void emit_wgrad(CpuEmitter *e, const Node *n)
{
    const int32_t *x = n->in[0]->tensor.shape.dim, *du = n->tensor.shape.dim;
    int vectors = n->tile.vectors;
    const char *tiles = wgrad_run(e, TILE_WGRAD, LANES, &n->tile);
    text_append(e->tables,
                "static const WinogradWgrad %s = {\n"
                "    .tiles = %s,\n"
                "    .frequencies = %d, .rows = %d, .in_blocks = %d, .out_blocks = %d,\n"
                "    .groups = %d, .strip = %d};\n",
                table_name(e, n), tiles, x[1], x[2], blocks_of(du[1]), blocks_of(du[0]),
                (int)ceil_div(du[0], LANES * vectors), WGRAD_STRIP_BYTES / (64 * vectors));
    if (n->math == MATH_I16) {
        int64_t line = 64, pairs = smaller(WGRAD_STRIP_BYTES / (line * vectors),
                                           FIXED_PACKED_BYTES / (line * blocks_of(du[1])));
        const char *fixed = wgrad_run(e, TILE_FIXED_WGRAD, LANES, &n->tile);
        table_fixed(e, n, "Wgrad",
                    pool_format(e->pool, "%s, %d", fixed, 2 * (int)larger(pairs, 1)));
    }
    emit_product(e, n, "wgrad");
}

/* ---- filters ---- */

static void emit_side(CpuEmitter *e, const char *side, const Tensor *t)
{
    const int32_t *d = t->shape.dim;
    int outputs = t->layout.out_block, groups = (int)ceil_div(d[0], outputs);
    long long square = (long long)LANES * outputs, taps = (long long)d[2] * d[3];
    bool by_tap = t->layout.kind == LAYOUT_TAPS;
    text_append(e->tables, "    .%s = {%d, %d, %d, %lld, %lld}", side, d[2], outputs,
                groups * outputs / LANES, by_tap ? square : taps * square,
                by_tap ? square * groups * blocks_of(d[1]) : square);
}

static void emit_filter(CpuEmitter *e, const Node *n)
{
    text_append(e->tables,
                "static const WinogradFilter %s = {\n    .transform = %s, .in_blocks = %d,\n",
                table_name(e, n), use_transform(e, n), blocks_of(n->tensor.shape.dim[1]));
    emit_side(e, "from", &n->in[0]->tensor);
    text_append(e->tables, ",\n");
    emit_side(e, "to", &n->tensor);
    text_append(e->tables, "};\n");
    emit_line(e, "winograd_filter(&%s, %s, %s, range);", table_name(e, n),
              value_name(e, n->in[0]), value_name(e, n));
}

void emit_winograd(CpuEmitter *e)
{
    static void (*const emit[OP_COUNT])(CpuEmitter *, const Node *) = {
        [OP_WINOGRAD_INPUT] = emit_input,       [OP_WINOGRAD_OUTPUT_GRAD] = emit_input,
        [OP_WINOGRAD_MULTIPLY] = emit_multiply, [OP_WINOGRAD_WGRAD] = emit_wgrad,
        [OP_WINOGRAD_FILTER] = emit_filter,     [OP_WINOGRAD_FILTER_GRAD] = emit_filter,
    };
    for (int i = 0; i < e->kernel->node_count; i++) {
        const Node *n = e->kernel->node[i];
        if (!emit[n->op])
            internal_error("%s in a Winograd kernel", op_name(n->op));
        emit[n->op](e, n);
    }
    text_append(e->tables, "\n");
}
