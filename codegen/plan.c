/* plan.c: the storage, the launch lists and the settings of a compiled model, as data. */
#include "../ir/numbers.h"
#include "codegen.h"
#include "target.h"
#include "emit.h"
#include "recipe.h"

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
    text_append(out, "{%s, {%d, {%d, %d, %d, %d}}, {%s, %d, %d, %d, %d, %d, %d}}",
                dtype_ids[t->dtype], t->shape.rank, d[0], d[1], d[2], d[3], layout_ids[l->kind],
                l->block, l->out_block, l->halo_h, l->halo_w, l->strip, l->pairs);
}

static void emit_arg(const Graph *g, const Node *n, Text *out)
{
    if (n->storage) {
        text_append(out, "{NINC_REGION_STATE, %lld, 0, 0}",
                    (long long)n->storage->home[g->target].offset);
        return;
    }
    Place p = n->place;
    long long image = is_chunked(g, n) ? image_bytes(n) : 0;
    switch (p.region) {
    case REGION_SHARED:
        text_append(out, "{NINC_REGION_SHARED, %lld, %lld, 0}", (long long)p.offset, image);
        return;
    case REGION_CHUNK:
        text_append(out, "{NINC_REGION_CHUNK, %lld, 0, 0}", (long long)p.offset);
        return;
    case REGION_THREAD:
        text_append(out, "{NINC_REGION_THREAD, %lld, 0, 0}", (long long)p.offset);
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

/* The index of the graph's first kernel in the target's table: train's come before eval's. */
static int first_kernel(const Graph *g)
{
    const Graph *train = module_find_graph(g->module, "train", g->target);
    return train && train != g ? train->kernel_count : 0;
}

/* Tables as long as the lists of a deep model's kernels are not kept for all of them. */
static int count_args(const Kernel *k)
{
    Pool *pool = pool_new();
    int count = kernel_args(pool, k).count;
    pool_free(pool);
    return count;
}

static void emit_args(const Graph *g, const Kernel *k, Text *out)
{
    Pool *pool = pool_new();
    KernelArgs args = kernel_args(pool, k);
    text_append(out, "static const NincArg %s_%s_args[] = {\n", target_names[g->target], k->name);
    for (int i = 0; i < args.count; i++) {
        text_append(out, "    ");
        emit_arg(g, args.node[i], out);
        text_append(out, ",\n");
    }
    text_append(out, "};\n");
    pool_free(pool);
}

static void emit_schedules(const Kernel *k, Text *out)
{
    if (k->schedule_count == 0)
        return;
    text_append(out, "static const NincSchedule %s_%s_schedules[] = {\n",
                target_names[k->target], k->name);
    for (int i = 0; i < k->schedule_count; i++) {
        const Schedule *s = &k->schedule[i];
        text_append(out, "    {%d, %d, %d, %d, %d, %d, %d, %d, %d, %d},\n", s->tile_m, s->tile_n,
                    s->tile_k, s->stages, s->split, s->threads, s->shared_bytes, s->grid_x,
                    s->grid_y, s->architecture);
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

static void emit_launch(const Graph *g, int at, Text *out)
{
    const Kernel *k = g->kernel[at];
    const char *target = target_names[g->target];
    Slices slices = kernel_slices(g, k);
    text_append(out, "    {\"%s\", %d, %s_%s_args, %d, %d, %s, ", k->name, first_kernel(g) + at,
                target, k->name, count_args(k), slices.count, slices.coarse ? "true" : "false");
    if (k->schedule_count)
        text_append(out, "%s_%s_schedules, %d},\n", target, k->name, k->schedule_count);
    else
        text_append(out, "NULL, 0},\n");
}

static void emit_launches(const Graph *g, Phase phase, const char *list, Text *out)
{
    if (phase_launches(g, phase) == 0)
        return;
    text_append(out, "static const NincLaunch %s_%s_%s[] = {\n", target_names[g->target], g->name,
                list);
    for (int i = 0; i < g->kernel_count; i++)
        if (g->kernel[i]->phase == phase)
            emit_launch(g, i, out);
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
    const char *target = target_names[g->target];
    text_append(out, "static const NincPort %s_%s_input[] = {\n", target, g->name);
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_INPUT) {
            emit_port(g, g->node[i]->name, g->node[i], out);
            inputs++;
        }
    text_append(out, "};\nstatic const NincPort %s_%s_output[] = {\n", target, g->name);
    for (int i = 0; i < g->output_count; i++)
        emit_port(g, g->output[i].name, g->output[i].node, out);
    text_append(out, "};\n");
    return inputs;
}

/* ---- programs ---- */

static const char *list_name(Pool *pool, const Graph *g, Phase phase, const char *list)
{
    return phase_launches(g, phase)
               ? pool_format(pool, "%s_%s_%s", target_names[g->target], g->name, list)
               : "NULL";
}

/* The program's tables go to out, its initialiser to `program`. */
static void emit_program(Pool *pool, const Graph *g, Text *out, Text *program)
{
    const char *target = target_names[g->target];
    for (int i = 0; i < g->kernel_count; i++) {
        emit_args(g, g->kernel[i], out);
        emit_schedules(g->kernel[i], out);
    }
    emit_launches(g, PHASE_BEFORE, "before", out);
    emit_launches(g, PHASE_CHUNK, "chunked", out);
    emit_launches(g, PHASE_AFTER, "after", out);
    int inputs = emit_ports(g, out);
    text_append(program,
                "{\"%s\", %d, %d, %lld, %lld, %lld,\n"
                "     %s, %s, %s, %d, %d, %d,\n"
                "     %s_%s_input, %s_%s_output, %d, %d, %s}",
                g->name, g->batch, g->chunk, (long long)g->shared_bytes,
                (long long)g->chunk_bytes, (long long)g->thread_bytes,
                list_name(pool, g, PHASE_BEFORE, "before"),
                list_name(pool, g, PHASE_CHUNK, "chunked"),
                list_name(pool, g, PHASE_AFTER, "after"), phase_launches(g, PHASE_BEFORE),
                phase_launches(g, PHASE_CHUNK), phase_launches(g, PHASE_AFTER), target, g->name,
                target, g->name, inputs, g->output_count, graph_keeps_before(g) ? "true" : "false");
}

static void emit_storage(const Module *m, Target target, Text *out)
{
    text_append(out, "static const NincStorage %s_storage[] = {\n", target_names[target]);
    for (int i = 0; i < m->storage_count; i++) {
        const Storage *s = m->storage[i];
        Tensor home = storage_tensor(s, target);
        text_append(out, "    {\"%s\", ", s->name);
        text_append(out, s->of ? "\"%s\", " : "NULL, ", s->of);
        emit_tensor(&home, out);
        text_append(out, ", %s, %d, %d, %lld},\n", role_ids[s->role], s->fan_in, s->fan_out,
                    (long long)s->home[target].offset);
    }
    text_append(out, "};\n");
}

/* What the same model takes at smaller batches. */
static void emit_smaller(const Module *m, const char *name, Text *out)
{
    text_append(out, "static const NincMemory %s[] = {\n", name);
    for (int i = 0; i < m->smaller_count; i++) {
        const BatchMemory *b = &m->smaller[i];
        text_append(out, "    {%d, %lld, %lld, %lld, %lld, %lld},\n", b->batch,
                    (long long)b->state, (long long)b->shared, (long long)b->chunk,
                    (long long)b->eval_shared, (long long)b->eval_chunk);
    }
    text_append(out, "};\n");
}

/* The target's tables go to out, its initialiser to `targets`; nothing where it has no graphs. A
 * library has no train graph, and its program no images. */
static void emit_target(const Module *m, Target target, Text *out, Text *targets)
{
    const Graph *train = module_find_graph(m, "train", target);
    const Graph *eval = module_find_graph(m, "eval", target);
    Text train_program = {0}, eval_program = {0};
    if (!eval)
        return;
    Pool *pool = pool_new();
    emit_storage(m, target, out);
    if (train)
        emit_program(pool, train, out, &train_program);
    else
        text_append(&train_program, "{.batch = 0}");
    emit_program(pool, eval, out, &eval_program);
    const CodeTarget *code = code_target(target);
    const char *smaller = NULL;
    if (code->smaller && m->smaller_count > 0) {
        smaller = pool_format(pool, "%s_smaller", target_names[target]);
        emit_smaller(m, smaller, out);
    }
    text_append(targets,
                "    [%s] = {\"%s\", %lld, %s_storage,\n     %s,\n     %s,\n     %s, %d},\n",
                code->id, graph_precision(eval), (long long)m->state_bytes[target],
                target_names[target], train_program.data, eval_program.data,
                smaller ? smaller : "NULL", smaller ? m->smaller_count : 0);
    text_free(&train_program);
    text_free(&eval_program);
    pool_free(pool);
}

static const char *const rate_ids[] = {
#define X(id, text) "RATE_" #id,
    RATE_KINDS(X)
#undef X
};

/* The schedule's type too, as only plans of models that have one need it. */
static void emit_schedule(const RateSchedule *r, Text *out)
{
    char digits[32];
    const Setting *s;
    if (r->kind == RATE_CONSTANT)
        return;
    emit_header(&embedded_rate_h, out);
    text_append(out, "\nstatic const RateSchedule schedule = {\n    .kind = %s",
                rate_ids[r->kind]);
    for (int i = 0; (s = schedule_setting((int)r->kind, i)) != NULL; i++)
        text_append(out, ",\n    .%s = %s", s->name, format_double(setting_of(r, s), digits));
    for (int i = 0; i < r->milestones; i++)
        text_append(out, "%s%d", i ? ", " : ",\n    .milestone = {", r->milestone[i]);
    text_append(out, r->milestones ? "},\n    .milestones = %d};\n" : "};\n", r->milestones);
}

static int least_images(const Module *m)
{
    const Graph *train = module_first_graph(m, "train"); /* a library has none */
    return train ? graph_least_images(train) : 1;
}

/* Returns how many parameters have an initialisation of their own. */
static int emit_own_inits(const Module *m, Text *out)
{
    char std[32];
    int count = 0;
    for (int i = 0; i < m->storage_count; i++) {
        const Training *t = &m->storage[i]->training;
        if (!t->has_init)
            continue;
        text_append(out, "%s    {%d, %s, %s},\n",
                    count++ ? "" : "static const NincOwnInit own_init[] = {\n", i,
                    init_ids[t->init], format_double(t->init_std, std));
    }
    text_append(out, count ? "};\n" : "");
    return count;
}

static void emit_class_weights(const Module *m, Text *out)
{
    char digits[32];
    if (m->class_weights.how != WEIGH_LIST)
        return;
    text_append(out, "static const float class_weight[] = {");
    for (int k = 0; k < m->classes; k++)
        text_append(out, "%s(float)%s", k % 8 ? ", " : k ? ",\n    " : "\n    ",
                    format_double(m->class_weights.weight[k], digits));
    text_append(out, "};\n");
}

static void emit_model(const Module *m, const Text *targets, Text *out)
{
    char lr[32], std[32];
    const TrainSettings *t = &m->train;
    int own_inits = emit_own_inits(m, out);
    emit_class_weights(m, out);
    text_append(out, "const NincModel ninc_model = {\n    \"%s\", \"%s\",\n", m->name, m->dataset);
    emit_recipe(m, module_first_graph(m, "eval"), out);
    text_append(out,
                "    \"\",\n    %d, %d, %d, %d, %d,\n"
                "    %s, %d, %d, %d, %s, %s, %s, %s, %d, %d, %s, %s, %d,\n"
                "    {\n%s    },\n    %s, %s};\n",
                m->image_h, m->image_w, m->image_c, m->classes, least_images(m),
                format_double(m->optimizer.lr, lr), t->epochs, t->log_every, t->checkpoint_every,
                init_ids[t->init], format_double(t->init_std, std),
                t->schedule.kind == RATE_CONSTANT ? "NULL" : "&schedule",
                own_inits ? "own_init" : "NULL", own_inits, t->early_stop,
                m->class_weights.how == WEIGH_LIST ? "class_weight" : "NULL",
                m->class_weights.how == WEIGH_BALANCED ? "true" : "false", m->storage_count,
                targets->data, data_settings_given(&m->data) ? "&data" : "NULL",
                m->train.sampler == SAMPLER_BALANCED ? "true" : "false");
}

/* The kernels' tables of one architecture, best first. */
static void emit_level_list(CpuLevelSet set, Text *out)
{
    for (int i = 0; i < CPU_LEVEL_COUNT; i++)
        if (set >> i & 1)
            text_append(out, "extern const NincCpuLevel ninc_cpu_%s;\n", cpu_level[i].name);
    text_append(out, "const NincCpuLevel *const ninc_cpu_levels[] = {");
    for (int i = 0; i < CPU_LEVEL_COUNT; i++)
        if (set >> i & 1)
            text_append(out, "&ninc_cpu_%s, ", cpu_level[i].name);
    text_append(out, "NULL};\n");
}

static void emit_levels(const Module *m, CpuLevelSet wanted, Text *out)
{
    static const char *const condition[ARCHITECTURES] = {
        [X86_64] = "#if defined(__x86_64__)", [AARCH64] = "#elif defined(__aarch64__)",
        [OTHER] = "#else"};
    text_append(out, "\n");
    if (!has_levels(m)) {
        emit_level_list(0, out);
        return;
    }
    for (int i = 0; i < (int)ARCHITECTURES; i++) {
        text_append(out, "%s\n", condition[i]);
        emit_level_list(cpu_levels_of(m, (Architecture)i, wanted), out);
    }
    text_append(out, "#endif\n");
}

void emit_plan(const Module *m, CpuLevelSet levels, Text *out)
{
    Text targets = {0};
    text_append(out, "/* The plan of model %s, made by ninc: data only. */\n", m->name);
    emit_header(&embedded_tensor_h, out);
    emit_header(&embedded_plan_h, out);
    text_append(out, "\n");
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        emit_target(m, target, out, &targets);
    if (!targets.data)
        internal_error("the module has no graphs of a target");
    emit_schedule(&m->train.schedule, out);
    emit_data_settings(&m->data, out);
    emit_model(m, &targets, out);
    emit_levels(m, levels, out);
    text_free(&targets);
}
