/* MODEL.c: the kernels of all CPU graphs, after a copy of the headers that they need. */
#include "../codegen.h"
#include "../target.h"
#include "cpu.h"

/* ---- one kernel ---- */

static void emit_arguments(CpuEmitter *e)
{
    for (int i = 0; i < e->args.count; i++) {
        const Node *n = e->args.node[i];
        emit_line(e, "%s%s *const restrict %s = arg[%d];", e->args.written[i] ? "" : "const ",
                  c_type(n->tensor.dtype), value_name(e, n), i);
    }
}

static void emit_body(CpuEmitter *e)
{
    static void (*const by_class[KERNEL_CLASS_COUNT])(CpuEmitter *) = {
        [KERNEL_DENSE] = emit_dense,           [KERNEL_DENSE_WGRAD] = emit_dense_wgrad,
        [KERNEL_UPDATE] = emit_update,         [KERNEL_WINOGRAD] = emit_winograd,
        [KERNEL_STATISTICS] = emit_statistics, [KERNEL_FILTER] = emit_filters,
    };
    if (by_class[e->kernel->class])
        by_class[e->kernel->class](e);
    else if (kernel_is_augmented(e->kernel))
        emit_augmented(e);
    else if (kernel_is_rows(e->kernel))
        emit_rows(e);
    else
        for (int i = 0; i < e->kernel->node_count; i++)
            emit_generic(e, e->kernel->node[i]);
}

static void emit_kernel(CpuEmitter *e, const Kernel *k, Text *to)
{
    Text body = {0}, tables = {0};
    e->kernel = k;
    e->pool = pool_new();
    e->args = kernel_args(e->pool, k);
    e->out = &body;
    e->tables = &tables;
    e->indent = 1;
    emit_arguments(e);
    emit_line(e, "(void)range;");
    emit_body(e);
    text_append(to, "\n/*\n");
    kernel_print(e->graph, k, " * ", to);
    text_append(to, " */\n");
    if (tables.length)
        text_write(to, tables.data, tables.length);
    text_append(to, "static void %s(void *const *arg, const NincRange *range)\n{\n", k->name);
    text_write(to, body.data, body.length);
    text_append(to, "}\n");
    text_free(&body);
    text_free(&tables);
    pool_free(e->pool);
}

/* ---- the file ---- */

static const char *tile_macro(TileKind kind)
{
    switch (kind) {
    case TILE_CONV: return "CONV_TILE";
    case TILE_WGRAD: return "WGRAD_TILE";
    case TILE_WGRAD_PAIRS: return "WGRAD_PAIRS";
    case TILE_WINOGRAD: return "WINOGRAD_TILE";
    case TILE_FIXED: return "FIXED_TILE";
    case TILE_FIXED_WGRAD: return "FIXED_WGRAD_TILE";
    case TILE_SPARSE: return "SPARSE_TILE";
    }
    internal_error("tile kind %d", (int)kind);
}

static void emit_tiles(Pool *pool, const TileSet *tiles, Text *out)
{
    if (tiles->transforms > 0) {
        text_append(out, "\n");
        emit_header(&embedded_winograd_h, out);
    }
    if (tiles->fixed) {
        text_append(out, "\n");
        emit_header(&embedded_fixed_h, out);
    }
    if (tiles->sparse) {
        text_append(out, "\n");
        emit_header(&embedded_sparse_h, out);
    }
    if (tiles->dense) {
        text_append(out, "\n");
        emit_header(&embedded_dense_h, out);
    }
    if (tiles->folds) {
        text_append(out, "\n");
        emit_header(&embedded_fold_h, out);
    }
    text_append(out, "\n/* Register tiles: positions x vectors of 16 channels. */\n");
    for (int i = 0; i < tiles->count; i++) {
        const TileUse *u = &tiles->use[i];
        if (u->kind == TILE_CONV)
            text_append(out, "CONV_TILE(%s, %d, %d, %d, %d)\n", tile_name(pool, u), u->positions,
                        u->vectors, u->step, u->spread);
        else
            text_append(out, "%s(%s, %d, %d)\n", tile_macro(u->kind), tile_name(pool, u),
                        u->positions, u->vectors);
    }
    for (int i = 0; i < tiles->transforms; i++)
        emit_winograd_transform(pool, tiles->transform[i], out);
}

static const char level_name[] =
    "\n#ifndef NINC_LEVEL\n"
    "#define NINC_LEVEL baseline\n"
    "#endif\n"
    "#define NINC_TEXT_(x) #x\n"
    "#define NINC_TEXT(x) NINC_TEXT_(x)\n"
    "#define NINC_JOIN_(a, b) a##b\n"
    "#define NINC_JOIN(a, b) NINC_JOIN_(a, b)\n";

static void emit_kernel_table(const Module *m, Target target, Text *out)
{
    const Graph *g;
    const Kernel *k;
    text_append(out, "\nstatic NincKernelFn *const kernels[] = {\n");
    for (int i = 0; (k = target_kernel(m, target, i, &g)); i++)
        text_append(out, "    %s,\n", k->name);
    text_append(out, "};\n\nconst NincCpuLevel NINC_JOIN(ninc_cpu_, NINC_LEVEL) = {\n"
                     "    NINC_TEXT(NINC_LEVEL), %s, kernels};\n", code_target(target)->id);
}

/* The kernels of a target's programs, behind what they call, and their table. */
static void emit_programs(const Module *m, Target target, const Epilogues *epilogues, Text *out)
{
    Pool *pool = pool_new();
    TileSet tiles = {.pool = pool};
    Text called = {0};
    size_t at = out->length;
    CpuEmitter e = {.module = m, .tiles = &tiles, .epilogues = epilogues,
                    .names = {.storage = c_storage_names(pool, m, target)}};
    const Kernel *k;
    const Graph *g = NULL;
    for (int i = 0; (k = target_kernel(m, target, i, &g)); i++) {
        if (g != e.graph)
            e.bf16 = graph_has_bf16(g);
        e.graph = g;
        emit_kernel(&e, k, out);
    }
    emit_tiles(pool, &tiles, &called);
    text_insert(out, at, &called);
    emit_kernel_table(m, target, out);
    text_free(&called);
    pool_free(pool);
}

/* The programs of an instruction set that has some of its own, or else those of all others. */
static void emit_targets(const Module *m, const Epilogues *epilogues, Text *out)
{
    int conditions = 0;
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++) {
        const CodeTarget *code = code_target(target);
        if (!code->condition || !has_target(m, target))
            continue;
        text_append(out, "\n#ifdef %s\n", code->condition);
        emit_header(code->library, out);
        emit_programs(m, target, epilogues, out);
        text_append(out, "\n#else\n");
        conditions++;
    }
    emit_programs(m, TARGET_CPU, epilogues, out);
    while (conditions-- > 0)
        text_append(out, "#endif\n");
}

static bool is_inside(const Node *n)
{
    return op_attr(n->op) == ATTR_WINDOW && n->attr.window.inside;
}

static bool is_norm(const Node *n)
{
    return op_attr(n->op) == ATTR_NORM;
}

static bool is_dropout(const Node *n)
{
    return n->op == OP_DROPOUT;
}

static bool augments(const Node *n)
{
    return op_is(n->op, F_AUGMENT);
}

static bool is_lrn(const Node *n)
{
    return op_attr(n->op) == ATTR_LRN;
}

static bool takes_roots(const Node *n)
{
    return is_norm(n) || is_lrn(n);
}

static bool is_depthwise(const Node *n)
{
    return node_is_depthwise(n) && kernel_is_rows(n->kernel);
}

static bool is_blockwise(const Node *n)
{
    return node_is_blockwise(n) && kernel_is_rows(n->kernel);
}

static bool is_dilated(const Node *n)
{
    return node_is_dilated(n) && kernel_is_rows(n->kernel);
}

static bool has_op(const Module *m, bool (*is_such)(const Node *))
{
    const Graph *g;
    const Kernel *k;
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        for (int i = 0; target_is_cpu(target) && (k = target_kernel(m, target, i, &g)); i++)
            for (int j = 0; j < k->node_count; j++)
                if (is_such(k->node[j]))
                    return true;
    return false;
}

/* The device library in the order of what needs what, and the nodes that need each part. */
typedef struct Part {
    const Embedded *text;
    bool (*by)(const Node *n); /* NULL: every model */
} Part;

static const Part library[] = {
    {&embedded_cpu_h, NULL},        {&embedded_wgrad_h, NULL},   {&embedded_pool_h, NULL},
    {&embedded_image_h, NULL},      {&embedded_inside_h, is_inside},
    {&embedded_root_h, takes_roots}, {&embedded_norm_h, is_norm},
    {&embedded_lrn_h, is_lrn},      {&embedded_dropout_h, is_dropout},
    {&embedded_augment_h, augments},
    {&embedded_depthwise_h, is_depthwise}, {&embedded_grouped_h, is_blockwise},
    {&embedded_dilated_h, is_dilated},
};

void emit_cpu(const Module *m, Text *out)
{
    const Graph *eval = module_find_graph(m, "eval", TARGET_CPU);
    Pool *pool = pool_new();
    Epilogues epilogues = find_epilogues(pool, m);
    text_append(out, "/* The CPU kernels of model %s, made by ninc. Compile with GNU C. */\n",
                m->name);
    emit_header(&embedded_tensor_h, out);
    emit_header(&embedded_plan_h, out);
    if (eval && graph_has_bf16(eval))
        text_append(out, "\n#define NINC_BF16\n");
    emit_epilogue_sizes(&epilogues, out);
    emit_header(&embedded_map_h, out);
    text_append(out, "\n");
    emit_header(&embedded_math_h, out);
    emit_epilogues(pool, &epilogues, out);
    for (size_t i = 0; i < sizeof library / sizeof *library; i++)
        if (!library[i].by || has_op(m, library[i].by)) {
            text_append(out, "\n");
            emit_header(library[i].text, out);
        }
    text_append(out, level_name);
    emit_targets(m, &epilogues, out);
    pool_free(pool);
}
