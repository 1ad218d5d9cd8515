/* plan.c: the storage, the launch lists and the settings of a compiled model, as data. */
#include "codegen.h"
#include "embed.h"
#include "emit.h"

/* Parts in which threads share a kernel before or after the images; a constant, so that no sum
 * depends on the number of threads. */
enum { SLICES = 16 };

static const char *const dtype_ids[] = {
#define X(id, text, bytes) "DT_" #id,
    TENSOR_DTYPES(X)
#undef X
};

static const char *const layout_ids[] = {
#define X(id, text) "LAYOUT_" #id,
    TENSOR_LAYOUTS(X)
#undef X
};

static const char *const role_ids[] = {
#define X(id, text) "NINC_ROLE_" #id,
    IR_ROLES(X)
#undef X
};

static const char *const init_ids[] = {
#define X(id, text) "NINC_INIT_" #id,
    IR_INITS(X)
#undef X
};

static void emit_tensor(const Tensor *t, Text *out)
{
    const int32_t *d = t->shape.dim;
    const Layout *l = &t->layout;
    text_append(out, "{%s, {%d, {%d, %d, %d, %d}}, {%s, %d, %d, %d, %d, %d}}",
                dtype_ids[t->dtype], t->shape.rank, d[0], d[1], d[2], d[3], layout_ids[l->kind],
                l->block, l->out_block, l->halo_h, l->halo_w, l->strip);
}

static void emit_arg(const Graph *g, const Node *n, Text *out)
{
    if (n->storage) {
        text_append(out, "{NINC_REGION_STATE, %lld, 0, 0}", (long long)n->storage->offset);
        return;
    }
    Place p = n->place;
    long long image = is_chunked(g, n) ? image_bytes(n) : 0;
    switch (p.region) {
    case REGION_SHARED:
        text_append(out, "{NINC_REGION_SHARED, %lld, %lld, 0}", (long long)p.offset, image);
        return;
    case REGION_WORKER:
        text_append(out, "{NINC_REGION_WORKER, %lld, 0, 0}", (long long)p.offset);
        return;
    case REGION_PARTIAL:
        text_append(out, "{NINC_REGION_PARTIAL, %lld, 0, %lld}", (long long)p.offset,
                    (long long)p.bytes);
        return;
    case REGION_NONE:
    case REGION_STATE:
    case REGION_COUNT:
        break;
    }
    internal_error("a value without a place is an argument of a kernel");
}

/* ---- launches ---- */

static int kernel_index(const Module *m, const Kernel *k)
{
    const Graph *g;
    for (int i = 0;; i++)
        if (cpu_kernel(m, i, &g) == k)
            return i;
}

static void emit_args(Pool *pool, const Graph *g, const Kernel *k, Text *out)
{
    KernelArgs args = kernel_args(pool, k);
    text_append(out, "static const NincArg %s_args[] = {\n", k->name);
    for (int i = 0; i < args.count; i++) {
        text_append(out, "    ");
        emit_arg(g, args.node[i], out);
        text_append(out, ",\n");
    }
    text_append(out, "};\n");
}

static int phase_launches(const Graph *g, Phase phase)
{
    int count = 0;
    for (int i = 0; i < g->kernel_count; i++)
        count += g->kernel[i]->phase == phase;
    return count;
}

static void emit_launches(Pool *pool, const Graph *g, Phase phase, const char *list, Text *out)
{
    if (phase_launches(g, phase) == 0)
        return;
    text_append(out, "static const NincLaunch %s_%s[] = {\n", g->name, list);
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        bool sliced = k->class == KERNEL_FILTER || k->class == KERNEL_UPDATE;
        if (k->phase == phase)
            text_append(out, "    {\"%s\", %d, %s_args, %d, %d},\n", k->name,
                        kernel_index(g->module, k), k->name, kernel_args(pool, k).count,
                        sliced ? SLICES : 1);
    }
    text_append(out, "};\n");
}

/* ---- ports ---- */

static void emit_port(const Graph *g, const char *name, const Node *n, Text *out)
{
    text_append(out, "    {\"%s\", ", name);
    emit_tensor(&n->tensor, out);
    text_append(out, ", ");
    emit_arg(g, n, out);
    text_append(out, "},\n");
}

static int emit_ports(const Graph *g, Text *out)
{
    int inputs = 0;
    text_append(out, "static const NincPort %s_input[] = {\n", g->name);
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_INPUT) {
            emit_port(g, g->node[i]->name, g->node[i], out);
            inputs++;
        }
    text_append(out, "};\nstatic const NincPort %s_output[] = {\n", g->name);
    for (int i = 0; i < g->output_count; i++)
        emit_port(g, g->output[i].name, g->output[i].node, out);
    text_append(out, "};\n");
    return inputs;
}

/* ---- programs ---- */

static const char *list_name(Pool *pool, const Graph *g, Phase phase, const char *list)
{
    return phase_launches(g, phase) ? pool_format(pool, "%s_%s", g->name, list) : "NULL";
}

/* The program's tables go to out, its initialiser to `program`. */
static void emit_program(Pool *pool, const Graph *g, Text *out, Text *program)
{
    for (int i = 0; i < g->kernel_count; i++)
        emit_args(pool, g, g->kernel[i], out);
    emit_launches(pool, g, PHASE_BEFORE, "before", out);
    emit_launches(pool, g, PHASE_CHUNK, "chunked", out);
    emit_launches(pool, g, PHASE_AFTER, "after", out);
    int inputs = emit_ports(g, out);
    text_append(program,
                "{\"%s\", %d, %d, %d, %lld, %lld,\n"
                "     %s, %s, %s, %d, %d, %d,\n"
                "     %s_input, %s_output, %d, %d}",
                g->name, g->batch, g->chunk, g->partials, (long long)g->shared_bytes,
                (long long)g->worker_bytes, list_name(pool, g, PHASE_BEFORE, "before"),
                list_name(pool, g, PHASE_CHUNK, "chunked"),
                list_name(pool, g, PHASE_AFTER, "after"), phase_launches(g, PHASE_BEFORE),
                phase_launches(g, PHASE_CHUNK), phase_launches(g, PHASE_AFTER), g->name, g->name,
                inputs, g->output_count);
}

static void emit_storage(const Module *m, Text *out)
{
    text_append(out, "static const NincStorage storage[] = {\n");
    for (int i = 0; i < m->storage_count; i++) {
        const Storage *s = m->storage[i];
        text_append(out, "    {\"%s\", ", s->name);
        text_append(out, s->of ? "\"%s\", " : "NULL, ", s->of);
        emit_tensor(&s->tensor, out);
        text_append(out, ", %s, %d, %d, %lld},\n", role_ids[s->role], s->fan_in, s->fan_out,
                    (long long)s->offset);
    }
    text_append(out, "};\n");
}

static void emit_model(const Module *m, const Text *train, const Text *eval, Text *out)
{
    char lr[32], std[32];
    const TrainSettings *t = &m->train;
    text_append(out,
                "const NincModel ninc_model = {\n"
                "    \"%s\", \"%s\", %d, %d, %d, %d,\n"
                "    %s, %d, %d, %d, %s, %s,\n"
                "    %lld, storage, %d,\n"
                "    %s,\n    %s};\n",
                m->name, m->dataset, m->image_h, m->image_w, m->image_c, m->classes,
                format_double(m->optimizer.lr, lr), t->epochs, t->log_every, t->checkpoint_every,
                init_ids[t->init], format_double(t->init_std, std), (long long)m->state_bytes,
                m->storage_count, train->data, eval->data);
}

void emit_plan(const Module *m, Text *out)
{
    Pool *pool = pool_new();
    Text train = {0}, eval = {0};
    const Graph *train_graph = module_find_graph(m, "train", TARGET_CPU);
    const Graph *eval_graph = module_find_graph(m, "eval", TARGET_CPU);
    if (!train_graph || !eval_graph)
        internal_error("no train or no eval graph for the CPU");
    text_append(out, "/* The plan of model %s, made by ninc: data only. */\n", m->name);
    emit_header(&embedded_tensor_h, out);
    emit_header(&embedded_plan_h, out);
    text_append(out, "\n");
    emit_storage(m, out);
    emit_program(pool, train_graph, out, &train);
    emit_program(pool, eval_graph, out, &eval);
    emit_model(m, &train, &eval, out);
    text_append(out, "\n#if defined(__x86_64__)\n"
                     "extern const NincCpuLevel ninc_cpu_avx512, ninc_cpu_avx2;\n"
                     "extern const NincCpuLevel ninc_cpu_baseline;\n"
                     "const NincCpuLevel *const ninc_cpu_levels[] = {\n"
                     "    &ninc_cpu_avx512, &ninc_cpu_avx2, &ninc_cpu_baseline, NULL};\n"
                     "#elif defined(__aarch64__)\n"
                     "extern const NincCpuLevel ninc_cpu_neon;\n"
                     "const NincCpuLevel *const ninc_cpu_levels[] = {&ninc_cpu_neon, NULL};\n"
                     "#else\n"
                     "extern const NincCpuLevel ninc_cpu_baseline;\n"
                     "const NincCpuLevel *const ninc_cpu_levels[] = {&ninc_cpu_baseline, NULL};\n"
                     "#endif\n");
    text_free(&train);
    text_free(&eval);
    pool_free(pool);
}
