/* Kernels of row ops: a strip of an image a slice, one call of the device library a statement. */
#include "../../ir/numbers.h"
#include "cpu.h"

#include <string.h>

/* A map's geometry, in elements. */
typedef struct MapShape {
    int height, width, channels, blocks, lanes;
    int64_t row, block, image, origin; /* origin: from the buffer to logical row 0, column 0 */
} MapShape;

static MapShape map_shape(const Node *n)
{
    const Layout *l = &n->tensor.layout;
    const int32_t *d = n->tensor.shape.dim;
    MapShape s = {.height = d[1], .width = d[2], .channels = d[3]};
    bool blocked = l->kind == LAYOUT_NCHWC;
    s.lanes = map_lanes(n);
    s.blocks = blocked ? (d[3] + l->block - 1) / l->block : 1;
    s.row = (int64_t)(d[2] + 2 * l->halo_w) * s.lanes;
    s.block = (l->strip > 0 ? l->strip : d[1] + 2 * l->halo_h) * s.row;
    s.image = l->strip > 0 ? 0 : image_elements(n);
    s.origin = l->halo_h * s.row + (int64_t)l->halo_w * s.lanes;
    return s;
}

/* Of the gradient that a weight gradient's tiles read again and again: half a level-1 cache. */
enum { WGRAD_STRIP_BYTES = 24 * 1024 };

/* ---- tiles ---- */

const char *use_tile(CpuEmitter *e, TileUse use)
{
    TileSet *t = e->tiles;
    const char *name = tile_name(e->pool, &use);
    for (int i = 0; i < t->count; i++)
        if (t->use[i].wgrad == use.wgrad && t->use[i].positions == use.positions &&
            t->use[i].vectors == use.vectors && t->use[i].step == use.step &&
            t->use[i].spread == use.spread)
            return name;
    POOL_PUSH(e->pool, t->use, t->count, t->capacity, use);
    return name;
}

/* extent = larges * large + smalls * (large - 1), with as few tiles as `most` allows. */
typedef struct Split {
    int large, larges, smalls;
} Split;

static Split split(int extent, int most)
{
    int tiles = (extent + most - 1) / most, large = (extent + tiles - 1) / tiles;
    int larges = extent - tiles * (large - 1);
    return (Split){large, larges, tiles - larges};
}

/* A RowTiles initialiser for a row of `pixels`, in tiles of at most `most`. */
static const char *row_tiles(CpuEmitter *e, int pixels, int most, int vectors, int step, int spread)
{
    if (pixels < 1)
        return "{0}";
    Split s = split(pixels, most);
    const char *large = use_tile(e, (TileUse){false, s.large, vectors, step, spread}), *small = large;
    if (s.smalls)
        small = use_tile(e, (TileUse){false, s.large - 1, vectors, step, spread});
    return pool_format(e->pool, "{%s, %s, %d, %d, %d}", large, small, s.large, s.larges, s.smalls);
}

static const char *wgrad_tile(CpuEmitter *e, int count, int vectors)
{
    return use_tile(e, (TileUse){true, count, vectors, 0, 1});
}

/* ---- constants of a statement ---- */

static const char *table_name(const CpuEmitter *e, const Node *n)
{
    return pool_format(e->pool, "%s_v%d", e->kernel->name, e->number[n->id]);
}

/* The vectors of a filter (or its gradient) packed for contraction n, whose input has blocks of
 * `lanes` channels. */
static int packed_vectors(const CpuEmitter *e, const Node *n, const Layout *filter, int lanes)
{
    int vectors = filter->out_block / graph_lanes(e->graph);
    if (filter->kind != LAYOUT_FILTER || filter->block != lanes || vectors != n->tile.vectors)
        internal_error("%s: %s has a filter that is not packed for its input", e->kernel->name,
                       op_name(n->op));
    return vectors;
}

static void table_conv(CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    const Layout *filter = &n->in[1]->tensor.layout;
    MapShape x = map_shape(n->in[0]);
    int vectors = packed_vectors(e, n, filter, x.lanes), step = k->stride_w * x.lanes;
    int filters = n->tensor.shape.dim[3];
    text_append(e->tables,
                "static const Conv %s = {\n"
                "    .in_blocks = %d, .kernel_h = %d, .run = %d, .groups = %d, .vectors = %d,\n"
                "    .stride_h = %d, .padding_h = %d, .step = %d, .padding = %d,\n"
                "    .tiles = %s};\n",
                table_name(e, n), x.blocks, k->kernel_h, k->kernel_w * x.lanes,
                (filters + filter->out_block - 1) / filter->out_block, vectors, k->stride_h,
                k->padding_h, step, k->padding_w * x.lanes,
                row_tiles(e, n->tensor.shape.dim[2], n->tile.pixels, vectors, step, 1));
}

static void table_transpose(CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    const Layout *filter = &n->in[1]->tensor.layout;
    const int32_t *d = n->tensor.shape.dim;
    int lanes = graph_lanes(e->graph), vectors = packed_vectors(e, n, filter, lanes);
    int more = (d[2] + k->stride_w - 1) / k->stride_w;
    text_append(e->tables,
                "static const ConvTranspose %s = {\n"
                "    .in_blocks = %d, .kernel_h = %d, .kernel_w = %d,\n"
                "    .groups = %d, .vectors = %d,\n"
                "    .stride_h = %d, .stride_w = %d, .padding_h = %d, .padding_w = %d,\n"
                "    .width = %d,\n    .more = %s,\n    .fewer = %s};\n",
                table_name(e, n), map_shape(n->in[0]).blocks, k->kernel_h, k->kernel_w,
                (d[3] + filter->out_block - 1) / filter->out_block, vectors, k->stride_h,
                k->stride_w, k->padding_h, k->padding_w, d[2],
                row_tiles(e, more, n->tile.pixels, vectors, lanes, k->stride_w),
                row_tiles(e, more - 1, n->tile.pixels, vectors, lanes, k->stride_w));
}

static void table_wgrad(CpuEmitter *e, const Node *n)
{
    const Window *k = &n->attr.window;
    const Layout *filter = &n->tensor.layout;
    const int32_t *dy = n->in[1]->tensor.shape.dim;
    MapShape x = map_shape(n->in[0]);
    int vectors = packed_vectors(e, n, filter, x.lanes), filters = n->tensor.shape.dim[0];
    int rows = value_is_in_parts(n) ? e->kernel->strip : dy[1];
    int64_t fit = larger(WGRAD_STRIP_BYTES / (dy[2] * vectors * 64), 1);
    int strip = (int)ceil_div(rows, ceil_div(rows, fit)); /* equal strips */
    Split s = split(k->kernel_w * x.lanes, n->tile.pixels);
    const char *large = wgrad_tile(e, s.large, vectors);
    const char *small = s.smalls ? wgrad_tile(e, s.large - 1, vectors) : large;
    text_append(e->tables,
                "static const Wgrad %s = {\n"
                "    .in_blocks = %d, .kernel_h = %d, .run = %d, .groups = %d, .vectors = %d,\n"
                "    .stride_h = %d, .padding_h = %d, .height = %d, .width = %d, .strip = %d,\n"
                "    .step = %d, .padding = %d,\n"
                "    .large_tile = %s, .small_tile = %s,\n"
                "    .large = %d, .larges = %d, .smalls = %d};\n",
                table_name(e, n), x.blocks, k->kernel_h, k->kernel_w * x.lanes,
                (filters + filter->out_block - 1) / filter->out_block, vectors, k->stride_h,
                k->padding_h, dy[1], dy[2], strip, k->stride_w * x.lanes,
                k->padding_w * x.lanes, large, small, s.large, s.larges, s.smalls);
}

/* input: the node whose shape is the pool's input; output likewise. */
static void table_pool(CpuEmitter *e, const Node *n, const Node *input, const Node *output)
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

static void emit_table(CpuEmitter *e, const Node *n)
{
    switch ((int)n->op) {
    case OP_CONV2D:
        table_conv(e, n);
        return;
    case OP_CONV2D_TRANSPOSE:
        table_transpose(e, n);
        return;
    case OP_CONV2D_WGRAD:
        table_wgrad(e, n);
        return;
    case OP_WINOGRAD_OUTPUT:
        emit_winograd_map(e, n);
        return;
    case OP_MAXPOOL:
    case OP_AVGPOOL:
        table_pool(e, n, n->in[0], n);
        return;
    case OP_MAXPOOL_GRAD:
    case OP_AVGPOOL_GRAD:
        table_pool(e, n, n, n->in[0]);
        return;
    default:
        return;
    }
}

/* ---- maps ---- */

const char *map_name(const CpuEmitter *e, const Node *n)
{
    return pool_format(e->pool, "%s_map", value_name(e, n));
}

static bool is_map(const CpuEmitter *e, const Node *n)
{
    return n->tensor.shape.rank == 4 && n->op != OP_STATE && is_per_image(e->graph, n) &&
           n->tensor.layout.kind != LAYOUT_HCNWC;
}

static const char *map_type(const CpuEmitter *e, const Node *n)
{
    if (n->tensor.dtype == DT_U8)
        return "CodeMap";
    bool beside_bf16 = n->tensor.dtype == DT_F32 && graph_has_bf16(e->graph);
    return beside_bf16 ? "FloatMap" : "Map";
}

void emit_map(CpuEmitter *e, const Node *n, const char *image)
{
    MapShape s = map_shape(n);
    bool strip = n->tensor.layout.strip > 0;
    const char *first = strcmp(image, "0") == 0 || s.image == 0
                            ? ""
                            : pool_format(e->pool, " + %s * %lld", image, (long long)s.image);
    const char *origin = s.origin ? pool_format(e->pool, " + %lld", (long long)s.origin) : "";
    /* Maps that are only read come as const arguments. */
    emit_line(e, "const %s %s = {.data = (%s *)%s%s%s, .row = %lld, .block = %lld%s};",
              map_type(e, n), map_name(e, n), c_type(n->tensor.dtype), value_name(e, n), first,
              origin, (long long)s.row, (long long)s.block, strip ? ", .first = r0" : "");
}

/* Values that a segment's statements touch. */
typedef struct Touched {
    const Node **node;
    int count;
} Touched;

static void touch(const CpuEmitter *e, Touched *t, const Node *n)
{
    if (!is_map(e, n) || value_is_folded(n))
        return;
    for (int i = 0; i < t->count; i++)
        if (t->node[i] == n)
            return;
    t->node[t->count++] = n;
}

static Touched touched_by(const CpuEmitter *e, const Statement *s, int count)
{
    Touched t = {pool_alloc(e->pool, (size_t)count * (MAX_OPERANDS + 3) * sizeof *t.node), 0};
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < s[i].op->arity; k++)
            touch(e, &t, s[i].op->in[k]);
        if (s[i].epilogue)
            touch(e, &t, s[i].epilogue->in[s[i].epilogue->arity - 1]);
        touch(e, &t, statement_result(&s[i]));
    }
    return t;
}

static void emit_halo(CpuEmitter *e, const Node *n, const char *when)
{
    const Layout *l = &n->tensor.layout;
    MapShape s = map_shape(n);
    if (l->halo_h || l->halo_w)
        emit_line(e, "%szero_halo(%s, %d, %d, %d, %d, %d, %d);", when, map_name(e, n), s.blocks,
                  s.height, s.width, l->halo_h, l->halo_w, s.lanes);
}

/* ---- statements ---- */

/* The epilogue's flags and its mask map ("y" where there is none). */
typedef struct Epilogue {
    const char *flags, *mask;
} Epilogue;

static Epilogue epilogue_of(const CpuEmitter *e, const Statement *s)
{
    const char *result = map_name(e, statement_result(s));
    if (!s->epilogue)
        return (Epilogue){"0", result};
    if (s->epilogue->op == OP_RELU)
        return (Epilogue){"EPILOGUE_RELU", result};
    return (Epilogue){"EPILOGUE_MASK", map_name(e, s->epilogue->in[1])};
}

static const Node *codes_of(const CpuEmitter *e)
{
    for (int i = 0; i < e->kernel->node_count; i++)
        if (e->kernel->node[i]->op == OP_MAXPOOL_CODE)
            return e->kernel->node[i];
    return NULL;
}

/* Contractions of bf16 maps have instructions of their own. */
static const char *bf16_prefix(const CpuEmitter *e)
{
    return graph_has_bf16(e->graph) ? "bf16_" : "";
}

static void emit_conv(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    Epilogue p = epilogue_of(e, s);
    emit_line(e, "%sconv_rows(&%s, %s, %s, %s, %s, %s, %s, r0, r1);",
              bf16_prefix(e), table_name(e, n),
              map_name(e, n->in[0]), value_name(e, n->in[1]),
              n->arity > 2 ? value_name(e, n->in[2]) : "NULL", p.mask,
              map_name(e, statement_result(s)), p.flags);
}

static void emit_transpose(CpuEmitter *e, const Statement *s)
{
    Epilogue p = epilogue_of(e, s);
    emit_line(e, "conv_transpose_rows(&%s, %s, %s, %s, %s, %s, r0, r1);", table_name(e, s->op),
              map_name(e, s->op->in[0]), value_name(e, s->op->in[1]), p.mask,
              map_name(e, statement_result(s)), p.flags);
}

static void emit_winograd_output(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    Epilogue p = epilogue_of(e, s);
    emit_line(e, "winograd_output_rows(&%s, %s, %s, %s, %s, %s, n, range, r0, r1);",
              table_name(e, n), value_name(e, n->in[0]),
              n->arity > 1 ? value_name(e, n->in[1]) : "NULL", p.mask,
              map_name(e, statement_result(s)), p.flags);
}

static void emit_pool_grad(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    Epilogue p = epilogue_of(e, s);
    const char *result = map_name(e, statement_result(s));
    if (n->op == OP_MAXPOOL_GRAD)
        emit_line(e, "maxpool_grad_rows(&%s, %s, %s, %s, %s, %s, r0, r1);", table_name(e, n),
                  map_name(e, n->in[0]), map_name(e, n->in[1]), p.mask, result, p.flags);
    else
        emit_line(e, "avgpool_grad_rows(&%s, %s, %s, %s, %s, r0, r1);", table_name(e, n),
                  map_name(e, n->in[0]), p.mask, result, p.flags);
}

static void emit_gap(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op, *map = n->op == OP_GAP ? n->in[0] : n;
    const Node *pixel = n->op == OP_GAP ? n : n->in[0];
    MapShape m = map_shape(map);
    Epilogue p = epilogue_of(e, s);
    const char *at = pool_format(e->pool, "%s_map.data", value_name(e, pixel));
    if (n->op == OP_GAP)
        emit_line(e, "gap_rows(%s, %s, %d, %d, %d, r0, r1);", map_name(e, map), at, m.blocks,
                  m.height, m.width);
    else
        emit_line(e, "gap_grad_rows(%s, %s, %s, %s, %d, %d, %d, r0, r1);", at, p.mask,
                  map_name(e, statement_result(s)), p.flags, m.blocks, m.height, m.width);
}

/* From copy to copy of a sum in parts. */
static long long copy_elements(const Node *n)
{
    return (long long)(n->place.bytes / dtype_bytes(n->tensor.dtype));
}

static void emit_pointwise(CpuEmitter *e, const Node *n)
{
    MapShape m = map_shape(n);
    if (n->op == OP_RELU)
        emit_line(e, "relu_rows(%s, %s, %d, %d, r0, r1);", map_name(e, n->in[0]), map_name(e, n),
                  m.blocks, m.width);
    else
        emit_line(e, "%s_rows(%s, %s, %s, %d, %d, r0, r1);",
                  n->op == OP_ADD ? "add" : "relu_grad", map_name(e, n->in[0]),
                  map_name(e, n->in[1]), map_name(e, n), m.blocks, m.width);
}

static void emit_statement(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op, *codes;
    switch ((int)n->op) {
    case OP_CONV2D:
        emit_conv(e, s);
        return;
    case OP_CONV2D_TRANSPOSE:
        emit_transpose(e, s);
        return;
    case OP_WINOGRAD_OUTPUT:
        emit_winograd_output(e, s);
        return;
    case OP_CONV2D_WGRAD:
        emit_line(e, "%swgrad_rows(&%s, %s, %s, %s + range->slice * %lld, r0, r1);",
                  bf16_prefix(e), table_name(e, n), map_name(e, n->in[0]),
                  map_name(e, n->in[1]), value_name(e, n), copy_elements(n));
        return;
    case OP_BIAS_GRAD:
        emit_line(e, "bias_grad_rows(%s, %s + range->slice * %lld, %d, %d, r0, r1);",
                  map_name(e, n->in[0]), value_name(e, n), copy_elements(n),
                  map_shape(n->in[0]).blocks, map_shape(n->in[0]).width);
        return;
    case OP_MAXPOOL:
        codes = codes_of(e);
        emit_line(e, "maxpool_rows(&%s, %s, %s, %s, r0, r1);", table_name(e, n),
                  map_name(e, n->in[0]), map_name(e, n),
                  codes ? map_name(e, codes) : "(CodeMap){0}");
        return;
    case OP_MAXPOOL_CODE: /* with its maxpool */
        return;
    case OP_AVGPOOL:
        emit_line(e, "avgpool_rows(&%s, %s, %s, r0, r1);", table_name(e, n),
                  map_name(e, n->in[0]), map_name(e, n));
        return;
    case OP_MAXPOOL_GRAD:
    case OP_AVGPOOL_GRAD:
        emit_pool_grad(e, s);
        return;
    case OP_GAP:
    case OP_GAP_GRAD:
        emit_gap(e, s);
        return;
    case OP_RELU:
    case OP_RELU_GRAD:
    case OP_ADD:
        emit_pointwise(e, n);
        return;
    default:
        internal_error("%s in a kernel of row ops", op_name(n->op));
    }
}

/* ---- segments ---- */

static void emit_maps(CpuEmitter *e, const Touched *t, bool strips)
{
    for (int i = 0; i < t->count; i++)
        if ((t->node[i]->tensor.layout.strip > 0) == strips)
            emit_map(e, t->node[i], "n");
}

static void emit_halos(CpuEmitter *e, const Statement *s, int count, const char *when)
{
    for (int i = 0; i < count; i++)
        if (is_map(e, statement_result(&s[i])) &&
            statement_result(&s[i])->tensor.layout.strip == 0)
            emit_halo(e, statement_result(&s[i]), when);
}

/* Image n, whole maps. */
static void emit_segment(CpuEmitter *e, const Statement *s, int count)
{
    Touched t = touched_by(e, s, count);
    emit_block(e);
    emit_line(e, "const int r0 = 0, r1 = %d;", statement_height(&s[0]));
    emit_maps(e, &t, false);
    emit_maps(e, &t, true);
    emit_halos(e, s, count, "");
    for (int i = 0; i < count; i++)
        emit_statement(e, &s[i]);
    emit_close(e);
}

static void emit_images(CpuEmitter *e, const Statement *s, int count)
{
    emit_open(e, "for (ptrdiff_t n = first_image(range); n < last_image(range); n++)");
    for (int begin = 0; begin < count;) {
        int end = begin;
        while (end < count && s[end].segment == s[begin].segment)
            end++;
        emit_segment(e, s + begin, end - begin);
        begin = end;
    }
    emit_close(e);
}

/* One strip, `unit`; the first of an image zeroes the halos. */
static void emit_strip(CpuEmitter *e, const Statement *s, int count, const char *unit)
{
    int height = statement_height(&s[0]), strip = e->kernel->strip;
    int strips = (height + strip - 1) / strip;
    Touched t = touched_by(e, s, count);
    emit_line(e, "const ptrdiff_t n = %s / %d;", unit, strips);
    emit_line(e, "const int r0 = (int)(%s %% %d) * %d, r1 = smaller(r0 + %d, %d);", unit, strips,
              strip, strip, height);
    emit_maps(e, &t, false);
    emit_maps(e, &t, true);
    emit_halos(e, s, count, "if (r0 == 0) ");
    for (int i = 0; i < count; i++)
        emit_statement(e, &s[i]);
}

/* A slice is one strip of one image. */
static void emit_strips(CpuEmitter *e, const Statement *s, int count)
{
    int strips = (int)ceil_div(statement_height(&s[0]), e->kernel->strip);
    emit_line(e, "if (range->slice >= range->images * %d)", strips);
    emit_line(e, "    return;");
    emit_strip(e, s, count, "range->slice");
}

/* A slice is a run of strips, which it sums in its own copy of each sum. */
static void emit_parts(CpuEmitter *e, const Statement *s, int count)
{
    int strips = (int)ceil_div(statement_height(&s[0]), e->kernel->strip);
    emit_line(e, "const ptrdiff_t strips = range->images * %d;", strips);
    emit_open(e, "if (!range->accumulate)");
    for (int i = 0; i < count; i++)
        if (op_sums_images(s[i].op->op))
            emit_line(e, "memset(%s + range->slice * %lld, 0, %lld);", value_name(e, s[i].op),
                      copy_elements(s[i].op), (long long)s[i].op->place.bytes);
    emit_close(e);
    emit_open(e, "for (ptrdiff_t u = slice_begin(range, strips); u < slice_end(range, strips); u++)");
    emit_strip(e, s, count, "u");
    emit_close(e);
}

/* All images at once: they share a pass over the result. */
static void emit_bf16_wgrad(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op, *x = n->in[0], *dy = n->in[1];
    Touched t = touched_by(e, s, 1);
    emit_block(e);
    for (int i = 0; i < t.count; i++)
        emit_map(e, t.node[i], "0");
    emit_line(e, "bf16_wgrad(&%s, %s, %lld, %s, %lld, %s, range);", table_name(e, n),
              map_name(e, x), (long long)map_shape(x).image, map_name(e, dy),
              (long long)map_shape(dy).image, value_name(e, n));
    emit_close(e);
}

/* Emits the bf16 weight gradients and takes them out of the list; returns how many are left. */
static int emit_bf16_wgrads(CpuEmitter *e, Statement *s, int count)
{
    int left = 0;
    for (int i = 0; i < count; i++) {
        if (s[i].op->op == OP_CONV2D_WGRAD && graph_has_bf16(e->graph))
            emit_bf16_wgrad(e, &s[i]);
        else
            s[left++] = s[i];
    }
    return left;
}

/* Sums over images: one image after the other, each slice its part of the result. */
static void emit_sums(CpuEmitter *e, Statement *s, int count)
{
    count = emit_bf16_wgrads(e, s, count);
    if (count == 0)
        return;
    Touched t = touched_by(e, s, count);
    emit_open(e, "for (ptrdiff_t n = 0; n < range->images; n++)");
    emit_line(e, "const int accumulate = range->accumulate || n > 0;");
    emit_maps(e, &t, false);
    for (int i = 0; i < count; i++) {
        const Node *n = s[i].op;
        MapShape dy = map_shape(n->in[n->arity - 1]);
        if (n->op == OP_CONV2D_WGRAD)
            emit_line(e, "wgrad_image(&%s, %s, %s, %s, accumulate, range);", table_name(e, n),
                      map_name(e, n->in[0]), map_name(e, n->in[1]), value_name(e, n));
        else
            emit_line(e, "bias_grad_image(%s, %s, %d, %d, %d, accumulate, range);",
                      map_name(e, n->in[0]), value_name(e, n), dy.blocks, dy.height, dy.width);
    }
    emit_close(e);
}

void emit_rows(CpuEmitter *e)
{
    int count;
    Statement *s = kernel_statement_list(e->pool, e->kernel, &count);
    for (int i = 0; i < count; i++)
        emit_table(e, s[i].op);
    bool parts = false, sums = true;
    for (int i = 0; i < count; i++) {
        parts |= value_is_in_parts(s[i].op);
        sums &= op_sums_images(s[i].op->op);
    }
    if (sums)
        emit_sums(e, s, count);
    else if (parts)
        emit_parts(e, s, count);
    else if (e->kernel->strip > 0 && s[count - 1].segment == 0)
        emit_strips(e, s, count);
    else
        emit_images(e, s, count);
    if (e->tables->length)
        text_append(e->tables, "\n");
}
