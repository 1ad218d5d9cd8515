/* Kernels of row ops: a strip of an image a slice, one call of the device library a statement. */
#include "../../ir/numbers.h"
#include "cpu.h"

#include <string.h>

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
    size_t most = (size_t)count * (MAX_OPERANDS + MAX_BESIDE + 1);
    Touched t = {pool_alloc(e->pool, most * sizeof *t.node), 0};
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < s[i].op->arity; k++)
            touch(e, &t, s[i].op->in[k]);
        const Node *beside[MAX_STATEMENT_OPERANDS];
        int maps = statement_beside(&s[i], false, beside);
        for (int k = 0; k < maps; k++)
            touch(e, &t, beside[k]);
        touch(e, &t, statement_result(&s[i]));
    }
    return t;
}

/* ---- statements ---- */

/* What a function takes as its epilogue. Maps that it does not read are the result. */
const char *epilogue_of(const CpuEmitter *e, const Statement *s)
{
    const Node *beside[MAX_STATEMENT_OPERANDS];
    int maps = statement_beside(s, false, beside);
    const char *list = "", *scalars = "";
    for (int i = 0; i < e->epilogues->maps; i++)
        list = pool_format(e->pool, "%s%s%s", list, i ? ", " : "",
                           map_name(e, i < maps ? beside[i] : statement_result(s)));
    int count = statement_beside(s, true, beside);
    for (int i = 0; i < count; i++)
        scalars = pool_format(e->pool, "%s%s%s[0]", scalars, i ? ", " : "",
                              value_name(e, beside[i]));
    return pool_format(e->pool, "&(Epilogue){%s, {%s}, {%s}}",
                       epilogue_name(e->pool, e->epilogues, s), list, count ? scalars : "0");
}

static const Node *codes_of(const CpuEmitter *e)
{
    for (int i = 0; i < e->kernel->node_count; i++)
        if (e->kernel->node[i]->op == OP_MAXPOOL_CODE)
            return e->kernel->node[i];
    return NULL;
}

static bool has_amx(const CpuEmitter *e)
{
    return target_kind(e->graph->target) == KIND_TILES;
}

/* Contractions in tiles of AMX, and those that leave zeros out, have functions of their own. */
static const char *contraction_prefix(const CpuEmitter *e, const Node *n)
{
    if (n->sparse == SPARSE_NONE)
        return has_amx(e) ? "amx_" : "";
    return n->op == OP_CONV2D ? "sparse_" : n->sparse == SPARSE_X ? "sparse_x_" : "sparse_dy_";
}

static const char *contraction_tables(const CpuEmitter *e, const Node *n)
{
    const char *table = table_name(e, n);
    if (n->sparse == SPARSE_NONE)
        return pool_format(e->pool, "&%s", table);
    return pool_format(e->pool, "&%s, &%s_sparse", table, table);
}

/* The constants of a contraction, and of its groups or its dilation where it has some. */
static const char *grouped_tables(const CpuEmitter *e, const Node *n)
{
    const char *table = contraction_tables(e, n);
    if (n->attr.window.groups)
        return pool_format(e->pool, "%s, &%s_groups", table, table_name(e, n));
    return node_is_dilated(n) ? pool_format(e->pool, "%s, &%s_dilation", table, table_name(e, n))
                              : table;
}

static const char *bias_of(const CpuEmitter *e, const Node *n, int operand)
{
    return n->arity > operand ? value_name(e, n->in[operand]) : "NULL";
}

/* A convolution of each channel by its own filter, or the gradient of its map. */
static void emit_depthwise(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    bool forward = n->op == OP_CONV2D;
    emit_line(e, "depthwise%s_rows(&%s, %s, %s, %s%s%s, %s, r0, r1);", forward ? "" : "_dgrad",
              table_name(e, n), map_name(e, n->in[0]), value_name(e, n->in[1]),
              forward ? bias_of(e, n, 2) : "", forward ? ", " : "", epilogue_of(e, s),
              map_name(e, statement_result(s)));
}

static void emit_conv(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    if (node_is_depthwise(n)) {
        emit_depthwise(e, s);
        return;
    }
    emit_line(e, "%sconv_rows(%s, %s, %s, %s, %s, %s, r0, r1);",
              n->attr.window.groups ? "grouped_"
              : node_is_dilated(n)  ? "dilated_"
                                    : contraction_prefix(e, n),
              grouped_tables(e, n), map_name(e, n->in[0]), value_name(e, n->in[1]),
              bias_of(e, n, 2), epilogue_of(e, s), map_name(e, statement_result(s)));
}

static void emit_folded(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    emit_line(e, "folded_conv_rows(&%s, %s, %s, %s, %s, %s, r0, r1);", table_name(e, n),
              map_name(e, n->in[0]), value_name(e, n->in[1]), bias_of(e, n, 2), epilogue_of(e, s),
              map_name(e, statement_result(s)));
}

static void emit_transpose(CpuEmitter *e, const Statement *s)
{
    emit_line(e, "%s_transpose_rows(%s, %s, %s, %s, %s, r0, r1);",
              s->op->attr.window.groups ? "grouped" : "conv", grouped_tables(e, s->op),
              map_name(e, s->op->in[0]), value_name(e, s->op->in[1]), epilogue_of(e, s),
              map_name(e, statement_result(s)));
}

static void emit_winograd_output(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    emit_line(e, "winograd_output_rows(&%s, %s, %s, %s, %s, n, range, r0, r1);", table_name(e, n),
              value_name(e, n->in[0]), bias_of(e, n, 1), epilogue_of(e, s),
              map_name(e, statement_result(s)));
}

static void emit_maxpool(CpuEmitter *e, const Statement *s)
{
    const Node *codes = codes_of(e);
    emit_line(e, "maxpool_rows(&%s, %s, %s, %s, %s, r0, r1);", table_name(e, s->op),
              map_name(e, s->op->in[0]), codes ? map_name(e, codes) : "(CodeMap){0}",
              epilogue_of(e, s), map_name(e, statement_result(s)));
}

/* maxpool_code: with its maxpool. */
static void emit_nothing(CpuEmitter *e, const Statement *s)
{
    (void)e, (void)s;
}

static void emit_maxpool_grad(CpuEmitter *e, const Statement *s)
{
    emit_line(e, "maxpool_grad_rows(&%s, %s, %s, %s, %s, r0, r1);", table_name(e, s->op),
              map_name(e, s->op->in[0]), map_name(e, s->op->in[1]), epilogue_of(e, s),
              map_name(e, statement_result(s)));
}

/* avgpool, avgpool_grad */
static void emit_avgpool(CpuEmitter *e, const Statement *s)
{
    emit_line(e, "%s%s_rows(&%s, %s, %s, %s, r0, r1);", op_name(s->op->op),
              s->op->attr.window.inside ? "_inside" : "", table_name(e, s->op),
              map_name(e, s->op->in[0]), epilogue_of(e, s), map_name(e, statement_result(s)));
}

static const char *pixel_of(const CpuEmitter *e, const Node *n)
{
    return pool_format(e->pool, "%s.data", map_name(e, n));
}

static void emit_gap(CpuEmitter *e, const Statement *s)
{
    MapShape m = map_shape(s->op->in[0]);
    emit_line(e, "gap_rows(%s, %s, %d, %d, %d, r0, r1);", map_name(e, s->op->in[0]),
              pixel_of(e, s->op), m.blocks, m.height, m.width);
}

static void emit_gap_grad(CpuEmitter *e, const Statement *s)
{
    MapShape m = map_shape(s->op);
    emit_line(e, "gap_grad_rows(%s, %d, %d, %d, %s, %s, r0, r1);", pixel_of(e, s->op->in[0]),
              m.blocks, m.height, m.width, epilogue_of(e, s), map_name(e, statement_result(s)));
}

/* From copy to copy of a sum in parts. */
static long long copy_elements(const Node *n)
{
    return (long long)(n->place.bytes / dtype_bytes(n->tensor.dtype));
}

static void emit_wgrad(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    emit_line(e, "%swgrad_rows(%s, %s, %s, %s + range->slice * %lld, r0, r1);",
              contraction_prefix(e, n), contraction_tables(e, n), map_name(e, n->in[0]),
              map_name(e, n->in[1]), value_name(e, n), copy_elements(n));
}

static void emit_bias_grad(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op;
    emit_line(e, "bias_grad_rows(%s, %s + range->slice * %lld, %d, %d, r0, r1);",
              map_name(e, n->in[0]), value_name(e, n), copy_elements(n),
              map_shape(n->in[0]).blocks, map_shape(n->in[0]).width);
}

static void emit_pointwise(CpuEmitter *e, const Statement *s)
{
    MapShape m = map_shape(s->op);
    emit_line(e, "pointwise_rows(%s, %d, %d, %s, %s, r0, r1);", map_name(e, statement_flow(s, 0)),
              m.blocks, m.width, epilogue_of(e, s), map_name(e, statement_result(s)));
}

const char *dropout_of(const CpuEmitter *e, const Node *n)
{
    const DropoutAttr *a = &n->attr.dropout;
    return pool_format(e->pool, "(Dropout){%uu, %d, (uint32_t)%s[0], (uint32_t)%s[0], %#.9gf}",
                       dropout_threshold(a), a->layer, value_name(e, n->in[1]),
                       value_name(e, n->in[2]), 1 / (1 - a->p));
}

static void emit_dropout(CpuEmitter *e, const Statement *s)
{
    MapShape m = map_shape(s->op);
    emit_line(e, "dropout_rows(&%s, (range->first_image + n) * %d, %s, %d, %d, %s, %s, r0, r1);",
              dropout_of(e, s->op), m.height, map_name(e, s->op->in[0]), m.blocks, m.width,
              epilogue_of(e, s), map_name(e, statement_result(s)));
}

/* What a map has no channels for stays zero. */
static void emit_zero_lanes(CpuEmitter *e, const Statement *s)
{
    const Node *n = statement_result(s);
    MapShape m = map_shape(n);
    if (m.channels % m.lanes != 0)
        emit_line(e, "zero_lanes(%s, %d, %d, %d, r0, r1);", map_name(e, n), m.blocks - 1,
                  m.channels % m.lanes, m.width);
}

static void emit_statement(CpuEmitter *e, const Statement *s)
{
    static void (*const by_op[OP_COUNT])(CpuEmitter *, const Statement *) = {
        [OP_CONV2D] = emit_conv,
        [OP_CONV2D_DGRAD] = emit_depthwise,
        [OP_CONV2D_TRANSPOSE] = emit_transpose,
        [OP_CONV2D_WGRAD] = emit_wgrad,
        [OP_CONV2D_FOLDED] = emit_folded,
        [OP_WINOGRAD_OUTPUT] = emit_winograd_output,
        [OP_BIAS_GRAD] = emit_bias_grad,
        [OP_MAXPOOL] = emit_maxpool,
        [OP_MAXPOOL_CODE] = emit_nothing,
        [OP_MAXPOOL_GRAD] = emit_maxpool_grad,
        [OP_AVGPOOL] = emit_avgpool,
        [OP_AVGPOOL_GRAD] = emit_avgpool,
        [OP_DROPOUT] = emit_dropout,
        [OP_GAP] = emit_gap,
        [OP_GAP_GRAD] = emit_gap_grad,
        [OP_BATCH_NORM] = emit_batch_norm,
        [OP_BATCH_NORM_GRAD] = emit_batch_norm_grad,
        [OP_LRN] = emit_lrn,
        [OP_LRN_GRAD] = emit_lrn,
    };
    void (*emit)(CpuEmitter *, const Statement *) =
        op_is_pointwise(s->op->op) ? emit_pointwise : by_op[s->op->op];
    if (!emit)
        internal_error("%s in a kernel of row ops", op_name(s->op->op));
    emit(e, s);
    if (!statement_keeps_zero(s))
        emit_zero_lanes(e, s);
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

void emit_statement_maps(CpuEmitter *e, const Statement *s, int count, const char *image)
{
    Touched t = touched_by(e, s, count);
    for (int i = 0; i < t.count; i++)
        emit_map(e, t.node[i], image);
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

/* Strips of an image. */
static int strips_of(const CpuEmitter *e, const Statement *s)
{
    return (int)ceil_div(statement_height(&s[0]), e->kernel->strip);
}

/* One strip, `unit`; the first of an image zeroes the halos. */
static void emit_strip(CpuEmitter *e, const Statement *s, int count, const char *unit)
{
    int height = statement_height(&s[0]), strip = e->kernel->strip, strips = strips_of(e, s);
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
    int strips = strips_of(e, s);
    emit_line(e, "if (range->slice >= range->images * %d)", strips);
    emit_line(e, "    return;");
    emit_strip(e, s, count, "range->slice");
}

/* A slice is a run of strips, which it sums in its own copy of each sum. */
static void emit_parts(CpuEmitter *e, const Statement *s, int count)
{
    int strips = strips_of(e, s);
    emit_line(e, "const ptrdiff_t strips = range->images * %d;", strips);
    emit_open(e, "if (!range->accumulate)");
    for (int i = 0; i < count; i++)
        if (op_sums_images(s[i].op->op))
            emit_line(e, "memset(%s + range->slice * %lld, 0, %lld);", value_name(e, s[i].op),
                      copy_elements(s[i].op), (long long)s[i].op->place.bytes);
    emit_close(e);
    emit_line(e, "const ptrdiff_t last = slice_end(range, strips);");
    emit_open(e, "for (ptrdiff_t u = slice_begin(range, strips); u < last; u++)");
    emit_strip(e, s, count, "u");
    emit_close(e);
}

/* All images at once: they share a pass over the result. */
static void emit_amx_wgrad(CpuEmitter *e, const Statement *s)
{
    const Node *n = s->op, *x = n->in[0], *dy = n->in[1];
    emit_block(e);
    emit_statement_maps(e, s, 1, "0");
    emit_line(e, "amx_wgrad_images(&%s, %s, %lld, %s, %lld, %s, range);", table_name(e, n),
              map_name(e, x), (long long)map_shape(x).image, map_name(e, dy),
              (long long)map_shape(dy).image, value_name(e, n));
    emit_close(e);
}

/* With AMX, emits the weight gradients and takes them out of the list; returns what is left. */
static int emit_amx_wgrads(CpuEmitter *e, Statement *s, int count)
{
    int left = 0;
    for (int i = 0; i < count; i++) {
        if (s[i].op->op == OP_CONV2D_WGRAD && has_amx(e) && !node_is_depthwise(s[i].op))
            emit_amx_wgrad(e, &s[i]);
        else
            s[left++] = s[i];
    }
    return left;
}

static const char *sum_prefix(const Node *n)
{
    if (n->op == OP_CONV2D_FOLDED_WGRAD)
        return "folded_";
    if (node_is_dilated(n))
        return "dilated_";
    return node_is_depthwise(n) ? "depthwise_" : n->attr.window.groups ? "grouped_" : "";
}

/* Sums over images: one image after the other, each slice its part of the result. */
static void emit_sums(CpuEmitter *e, Statement *s, int count)
{
    count = emit_amx_wgrads(e, s, count);
    if (count == 0)
        return;
    Touched t = touched_by(e, s, count);
    emit_open(e, "for (ptrdiff_t n = 0; n < range->images; n++)");
    emit_line(e, "const int accumulate = range->accumulate || n > 0;");
    emit_maps(e, &t, false);
    for (int i = 0; i < count; i++) {
        const Node *n = s[i].op;
        MapShape dy = map_shape(n->in[n->arity - 1]);
        if (n->op == OP_CONV2D_WGRAD || n->op == OP_CONV2D_FOLDED_WGRAD)
            emit_line(e, "%swgrad_image(%s, %s, %s, %s, accumulate, range);", sum_prefix(n),
                      node_is_depthwise(n) ? pool_format(e->pool, "&%s", table_name(e, n))
                                           : grouped_tables(e, n),
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
