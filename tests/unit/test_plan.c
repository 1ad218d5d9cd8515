/* The arena. A step is played through on a map of who wrote each block of memory last: whatever a
 * kernel reads must still be there, when its own results are written as well. The arenas are near
 * their bound and do not grow with the batch. */
#include "../../codegen/recipe.h"
#include "../../frontend/frontend.h"
#include "windows.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Bytes: places are aligned to BLOCK; of the values of a chunk, 188 MB at most, a part lives at one
 * time. */
enum { BLOCK = 64, CHUNK_BYTES = 96 << 20 };

/* ---- models ---- */

/* The planned module of a YAML text; NULL when it is no model. */
static Module *plan_text(Pool *pool, const char *name, const char *text, int level)
{
    Diagnostics d;
    diagnostics_init(&d, pool);
    Source source = {.name = name, .text = text, .length = strlen(text)};
    Tree *root = yaml_parse(pool, &d, &source);
    ck_assert_msg(root != NULL, "%s is not YAML", name);
    Module *m = model_build(pool, &d, root);
    PipelineOptions options = {.level = level, .wanted[TARGET_CPU] = true};
    if (m)
        ck_assert(pipeline_run(m, &options, &d));
    return m;
}

/* The planned module of a file, with another batch size where batch > 0. */
static Module *plan_file(Pool *pool, const char *path, int level, int batch)
{
    Diagnostics d;
    diagnostics_init(&d, pool);
    Source *source = source_read(pool, &d, path, MAX_YAML_BYTES);
    ck_assert_msg(source->text != NULL, "%s is missing; run from the top of the source", path);
    char *text = pool_strdup(pool, source->text), *at = strstr(text, "batch_size: ");
    ck_assert(at != NULL);
    *at = '\0';
    at += strlen("batch_size: ");
    int written = (int)strtol(at, &at, 10);
    text = pool_format(pool, "%sbatch_size: %d%s", text, batch > 0 ? batch : written, at);
    Module *m = plan_text(pool, path, text, level);
    ck_assert(m != NULL);
    return m;
}

static int pick(uint64_t *state, int count)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (int)((*state >> 33) % (uint64_t)count);
}

static void draw_layer(Text *yaml, int i, uint64_t *state)
{
    int kernel = 1 + 2 * pick(state, 3), channels = 1 + pick(state, 40);
    text_append(yaml, pick(state, 2) ? "  - mlpconv: {name: l%d, out_channels: %d, " :
                                       "  - conv2d: {name: l%d, out_channels: %d, ", i, channels);
    text_append(yaml, "kernel_size: %d, stride: %d, padding: %d}\n", kernel, 1 + pick(state, 2),
                pick(state, kernel / 2 + 1));
    if (pick(state, 2))
        text_append(yaml, "  - relu\n");
    if (pick(state, 2))
        text_append(yaml, "  - %s: {kernel_size: 2, ceil_mode: %s}\n",
                    pick(state, 2) ? "maxpool" : "avgpool", pick(state, 2) ? "true" : "false");
}

static void draw_network(Text *yaml, uint64_t seed)
{
    uint64_t state = seed;
    int channels = pick(&state, 2) ? 3 : 1, size = 12 + pick(&state, 20);
    text_append(yaml, "model: drawn\ninput: {dataset: idx, classes: 7, data_shape: [%d, %d, %d], "
                "shape: [%d, %d, %d]}\nlayers:\n", channels, size, size, channels, size, size);
    for (int i = 0, layers = 1 + pick(&state, 4); i < layers; i++)
        draw_layer(yaml, i, &state);
    text_append(yaml, "  - conv2d: {name: last, out_channels: 7, kernel_size: 1}\n  - gap\n"
                "  - flatten\nloss: cross_entropy\noptimizer: {%s}\n"
                "train: {batch_size: %d, epochs: 1}\n",
                pick(&state, 2) ? "adam: {}" : "sgd: {lr: 0.1, momentum: 0.9, weight_decay: 0.1}",
                1 + pick(&state, 30));
}

/* ---- playing a step ---- */

/* Who wrote each block of a region last: a node's id + 1, 0 for nobody. */
typedef struct Memory {
    const Graph *g;
    Region region;
    int *owner;
    int64_t blocks;
} Memory;

/* Partial is a part of shared. */
static Region memory_of(const Node *n)
{
    return n->place.region == REGION_PARTIAL ? REGION_SHARED : n->place.region;
}

static bool lies_in(const Memory *m, const Node *n)
{
    return memory_of(n) == m->region;
}

/* Bytes of a value and its copies, from its type. */
static int64_t bytes_of(const Graph *g, const Node *n)
{
    Tensor t = n->tensor;
    if (n->place.region == REGION_CHUNK && is_per_image(g, n))
        t.shape.dim[0] = g->chunk;
    int copies = n->place.region == REGION_PARTIAL ? PARTIALS : 1;
    return copies * tensor_elements(&t) * dtype_bytes(t.dtype);
}

static void write_value(Memory *m, const Node *n)
{
    if (!lies_in(m, n))
        return;
    int64_t begin = n->place.offset / BLOCK, end = n->place.offset + bytes_of(m->g, n);
    ck_assert_int_eq(n->place.offset % BLOCK, 0);
    end = (end + BLOCK - 1) / BLOCK;
    ck_assert_msg(end <= m->blocks, "node %d leaves its region", n->id);
    for (int64_t i = begin; i < end; i++)
        m->owner[i] = n->id + 1;
}

static void read_value(const Memory *m, const Node *n, const char *reader)
{
    if (!lies_in(m, n))
        return;
    int64_t begin = n->place.offset / BLOCK, end = n->place.offset + bytes_of(m->g, n);
    for (int64_t i = begin; i < (end + BLOCK - 1) / BLOCK; i++)
        if (m->owner[i] != n->id + 1)
            ck_abort_msg("graph %s: node %d lies where %s reads node %d", m->g->name,
                         m->owner[i] - 1, reader, n->id);
}

static void write_results(Memory *m, const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        write_value(m, k->node[i]);
}

/* All that the kernel works on, its own results included. */
static void read_all(const Memory *m, const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++) {
        read_value(m, k->node[i], k->name);
        for (int j = 0; j < k->node[i]->arity; j++)
            if (k->node[i]->in[j]->op != OP_STATE)
                read_value(m, k->node[i]->in[j], k->name);
    }
}

/* A step from kernel `first` on. The kernels of a chunk run again for the next one, so for shared
 * memory they are one. */
static void play(Memory *m, int first)
{
    const Graph *g = m->g;
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_INPUT)
            write_value(m, g->node[i]);
    for (int i = first; i < g->kernel_count;) {
        bool together = m->region == REGION_SHARED && g->kernel[i]->phase == PHASE_CHUNK;
        int end = i + 1;
        while (together && end < g->kernel_count && g->kernel[end]->phase == PHASE_CHUNK)
            end++;
        for (int k = i; k < end; k++)
            write_results(m, g->kernel[k]);
        for (int k = i; k < end; k++)
            read_all(m, g->kernel[k]);
        i = end;
    }
    for (int i = 0; i < g->output_count; i++)
        read_value(m, g->output[i].node, "the host");
}

static int kernels_before(const Graph *g)
{
    int count = 0;
    while (count < g->kernel_count && g->kernel[count]->phase == PHASE_BEFORE)
        count++;
    return count;
}

/* Further steps of a graph without updates find what the first one made before the images. */
static void check_memory(const Graph *g)
{
    static const Region regions[] = {REGION_SHARED, REGION_CHUNK, REGION_THREAD};
    const int64_t bytes[] = {g->shared_bytes, g->chunk_bytes, g->thread_bytes};
    for (int i = 0; i < 3; i++) {
        int64_t blocks = bytes[i] / BLOCK;
        Memory m = {g, regions[i], xmalloc(((size_t)blocks + 1) * sizeof(int)), blocks};
        memset(m.owner, 0, ((size_t)blocks + 1) * sizeof(int));
        play(&m, 0);
        if (strcmp(g->name, "eval") == 0)
            play(&m, kernels_before(g));
        free(m.owner);
    }
}

static int sums_of(const Kernel *k)
{
    int sums = 0;
    for (int i = 0; i < k->node_count; i++)
        sums += op_sums_images(k->node[i]->op);
    return sums;
}

/* Made strip by strip with maps, a sum has a copy for each part of the strips. */
static bool sums_beside_maps(const Kernel *k)
{
    return kernel_is_rows(k) && k->phase == PHASE_CHUNK && sums_of(k) > 0 &&
           sums_of(k) < k->node_count;
}

/* Sums over images outlive the chunk, but where the step uses one up; threads keep strips only. */
static void check_region(const Graph *g, const Node *n)
{
    bool parts = op_sums_images(n->op) && sums_beside_maps(n->kernel);
    bool used_up = n->kernel && n->kernel->class == KERNEL_DENSE_WGRAD &&
                   !kernel_returns(n->kernel, n);
    ck_assert_int_eq(n->place.region == REGION_PARTIAL, parts);
    if (op_sums_images(n->op) && !parts)
        ck_assert_int_eq(n->place.region, used_up ? REGION_NONE : REGION_SHARED);
    if (n->place.region == REGION_THREAD)
        ck_assert_int_le(bytes_of(g, n), g->thread_bytes);
    ck_assert_int_eq(n->place.region == REGION_THREAD, n->tensor.layout.strip > 0);
}

static void check_graphs(const Module *m)
{
    ck_assert_int_eq(m->graph_count, 2);
    for (int i = 0; i < m->graph_count; i++) {
        const Graph *g = m->graph[i];
        check_memory(g);
        ck_assert_int_ge(g->chunk, 1);
        ck_assert_int_le(g->chunk, g->batch);
        for (int n = 0; n < g->node_count; n++)
            check_region(g, g->node[n]);
    }
}

START_TEST(drawn_networks)
{
    int planned = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        Pool *pool = pool_new();
        Text yaml = {0};
        draw_network(&yaml, seed);
        Module *m = plan_text(pool, "drawn.yaml", yaml.data, (int)(seed % 3));
        if (m)
            check_graphs(m);
        planned += m != NULL; /* a window may not fit what the layers before it left */
        text_free(&yaml);
        pool_free(pool);
    }
    ck_assert_int_ge(planned, 20);
}
END_TEST

/* ---- the models ---- */

static const char *const models[] = {"models/nin.yaml", "tests/models/plain/nin_cifar10.yaml",
                                     "models/nin_fashion.yaml"};

START_TEST(models_are_sound)
{
    for (int level = 0; level <= 2; level++) {
        Pool *pool = pool_new();
        check_graphs(plan_file(pool, models[_i], level, 0));
        pool_free(pool);
    }
}
END_TEST

/* The bytes of the region's values that are alive while kernel `at` runs. */
static int64_t live_bytes(const Graph *g, Region region, int at)
{
    int64_t sum = 0;
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        bool made = false, needed = false;
        for (int k = 0; k < g->kernel_count; k++) {
            made |= k <= at && n->kernel == g->kernel[k];
            for (int j = 0; k >= at && j < g->kernel[k]->in_count; j++)
                needed |= g->kernel[k]->in[j] == n;
        }
        needed |= n->kernel == g->kernel[at];
        if (made && needed && n->place.region == region)
            sum += (bytes_of(g, n) + BLOCK - 1) / BLOCK * BLOCK;
    }
    return sum;
}

static int64_t most_live_bytes(const Graph *g, Region region)
{
    int64_t most = 0;
    for (int k = 0; k < g->kernel_count; k++)
        if (live_bytes(g, region, k) > most)
            most = live_bytes(g, region, k);
    return most;
}

static Node *kept_value(const Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (value_is_kept(g, g->node[i]))
            return g->node[i];
    return NULL;
}

/* Transformed filters of the eval graph stay, of the train graph they do not; and the verifier
 * finds what is put on top of one after its last reader. */
START_TEST(what_depends_on_parameters_alone_is_kept)
{
    Pool *pool = pool_new();
    Module *m = plan_file(pool, "tests/models/plain/nin_cifar10.yaml", 2, 4);
    Graph *eval = module_find_graph(m, "eval", TARGET_CPU);
    Diagnostics d;
    diagnostics_init(&d, pool);
    ck_assert(graph_keeps_before(eval));
    ck_assert_ptr_nonnull(kept_value(eval));
    ck_assert_ptr_null(kept_value(module_find_graph(m, "train", TARGET_CPU)));
    ck_assert(module_verify(m, &d));
    graph_find_output(eval, "loss")->place.offset = kept_value(eval)->place.offset;
    ck_assert(!module_verify(m, &d));
    ck_assert_ptr_nonnull(strstr(d.list[0].message, "in memory while both are alive"));
    pool_free(pool);
}
END_TEST

START_TEST(arenas_are_near_their_bound)
{
    Pool *pool = pool_new();
    const Module *m = plan_file(pool, models[_i], 2, 0);
    for (int i = 0; i < m->graph_count; i++) {
        const Graph *g = m->graph[i];
        ck_assert_int_eq(g->chunk_bound, most_live_bytes(g, REGION_CHUNK));
        ck_assert_int_eq(g->thread_bound, most_live_bytes(g, REGION_THREAD));
        ck_assert_int_le(g->chunk_bytes * 50, g->chunk_bound * 51);
        ck_assert_int_le(g->thread_bytes * 50, g->thread_bound * 51);
        ck_assert_int_le(g->shared_bytes * 50, g->shared_bound * 51);
    }
    pool_free(pool);
}
END_TEST

/* From the batch on of which a chunk is a part, only what holds a row an image grows. */
START_TEST(memory_does_not_grow_with_the_batch)
{
    Pool *pool = pool_new();
    const Module *small = plan_file(pool, models[_i], 2, 256);
    const Module *large = plan_file(pool, models[_i], 2, 1024);
    const Graph *a = module_find_graph(small, "train", TARGET_CPU);
    const Graph *b = module_find_graph(large, "train", TARGET_CPU);
    int64_t image = small->image_h * small->image_w * small->image_c;
    ck_assert_int_lt(a->chunk, 256);
    ck_assert_int_le(a->chunk_bytes, CHUNK_BYTES);
    ck_assert_int_le(b->chunk_bytes, CHUNK_BYTES);
    ck_assert_int_eq(a->thread_bytes, b->thread_bytes);
    ck_assert_int_le(b->shared_bytes - a->shared_bytes, (1024 - 256) * (image + 256));
    pool_free(pool);
}
END_TEST

/* So that a batch of one image keeps several threads busy. A block that ends in a sum over the
 * whole map and the smallest filters are one slice. */
START_TEST(one_image_is_cut_into_slices)
{
    Pool *pool = pool_new();
    const Graph *g = module_find_graph(plan_file(pool, models[_i], 2, 1), "train", TARGET_CPU);
    double cut = 0, all = 0;
    for (int i = 0; i < g->kernel_count; i++) {
        double flop = kernel_flop(g->kernel[i]);
        all += flop;
        cut += kernel_slices(g, g->kernel[i]).count >= 4 ? flop : 0;
    }
    ck_assert_msg(cut >= 0.85 * all, "%g of %g FLOP in kernels of 4 slices or more", cut, all);
    pool_free(pool);
}
END_TEST

/* Twice the batch is twice as many chunks, each of which moves its maps and filters. */
START_TEST(a_step_moves_all_chunks)
{
    Pool *pool = pool_new();
    const Graph *g = module_find_graph(plan_file(pool, models[_i], 2, 512), "train", TARGET_CPU);
    const Graph *h = module_find_graph(plan_file(pool, models[_i], 2, 1024), "train", TARGET_CPU);
    ck_assert_int_gt(g->batch, g->chunk);
    ck_assert_int_eq(g->kernel_count, h->kernel_count);
    int compared = 0;
    for (int i = 0; i < g->kernel_count; i++) {
        if (g->kernel[i]->phase != PHASE_CHUNK)
            continue;
        double once = (double)kernel_traffic(g, g->kernel[i]);
        ck_assert_double_eq_tol((double)kernel_traffic(h, h->kernel[i]) / once, 2, 0.1);
        compared++;
    }
    ck_assert_int_gt(compared, 3);
    pool_free(pool);
}
END_TEST

/* Sums in parts have a slice a part, products of Winograd one a frequency; all else is cut by
 * image. Outside of the chunk there are loops over parameters. */
static void check_slices(const Graph *g, const Kernel *k)
{
    Slices s = kernel_slices(g, k);
    Op op = k->node[0]->op;
    bool sums = kernel_is_rows(k) && sums_of(k) == k->node_count;
    ck_assert_int_eq(s.coarse, sums);
    if (k->phase != PHASE_CHUNK)
        ck_assert_int_eq(s.count > 1, k->class == KERNEL_UPDATE || k->class == KERNEL_FILTER ||
                                          k->class == KERNEL_WINOGRAD ||
                                          k->class == KERNEL_DENSE_WGRAD);
    else if (sums_beside_maps(k))
        ck_assert_int_eq(s.count, PARTIALS);
    else if (op == OP_WINOGRAD_MULTIPLY || op == OP_WINOGRAD_WGRAD)
        ck_assert_int_eq(s.count, k->node[0]->in[0]->tensor.shape.dim[1]);
    else if (!sums)
        ck_assert_int_eq(s.count % g->chunk, 0);
}

/* More images a chunk are more slices, of which each has something to do. */
START_TEST(slices_count_the_images_of_a_chunk)
{
    Pool *pool = pool_new();
    const Graph *g = module_find_graph(plan_file(pool, models[_i], 2, 128), "train", TARGET_CPU);
    for (int i = 0; i < g->kernel_count; i++)
        check_slices(g, g->kernel[i]);
    pool_free(pool);
}
END_TEST

/* ---- the recipe ---- */

static char *recipe_layers(Pool *pool, const Graph *g)
{
    Text text = {0};
    emit_recipe_layers(g, &text);
    char *copy = pool_strdup(pool, text.data ? text.data : "");
    text_free(&text);
    return copy;
}

/* As op, n is nothing that a checkpoint could contradict: such ops may stand for each other. */
static bool changes_nothing(const Node *n, Op op)
{
    Node as_op = *n;
    as_op.op = op;
    if (node_is_identity(&as_op))
        return true;
    return op == OP_FLATTEN || op == OP_CAST || op == OP_FILTER_TRANSPOSE || op == OP_UPDATE ||
           op == OP_WINOGRAD_FILTER || op == OP_WINOGRAD_INPUT || op == OP_WINOGRAD_MULTIPLY;
}

static void check_swap(Pool *pool, Graph *g, Node *n, Op a, Op b)
{
    if (changes_nothing(n, a) && changes_nothing(n, b))
        return;
    n->op = a;
    const char *with_a = recipe_layers(pool, g);
    n->op = b;
    ck_assert_msg(strcmp(with_a, recipe_layers(pool, g)) != 0,
                  "a checkpoint of a model with %s would be one of that with %s", op_name(a),
                  op_name(b));
    n->op = a;
}

static bool takes(Op op, int arity)
{
    return op_min_operands(op) <= arity && arity <= op_max_operands(op);
}

static const char every_layer[] =
    "model: m\ninput: {dataset: idx, classes: 7, data_shape: [1, 20, 20], shape: [1, 20, 20]}\n"
    "layers:\n"
    "  - conv2d: {name: a, out_channels: 8, kernel_size: 3}\n  - relu\n"
    "  - maxpool: {kernel_size: 2}\n  - avgpool: {kernel_size: 3}\n"
    "  - conv2d: {name: b, out_channels: 7, kernel_size: 1}\n  - gap\n  - flatten\n"
    "loss: cross_entropy\noptimizer: {sgd: {lr: 0.1}}\ntrain: {batch_size: 2, epochs: 1}\n";

/* The forward graph of every_layer, as the frontend builds it. */
static Graph *forward_graph(Pool *pool)
{
    Diagnostics d;
    diagnostics_init(&d, pool);
    Source source = {.name = "m", .text = every_layer, .length = strlen(every_layer)};
    Module *m = model_build(pool, &d, yaml_parse(pool, &d, &source));
    ck_assert_msg(m != NULL, "%s", d.count ? d.list[0].message : "");
    return m->graph[0];
}

/* Each op of a graph, the loss's too, in its place against every other that could stand there. */
START_TEST(no_op_of_a_graph_is_missing_from_the_recipe)
{
    Pool *pool = pool_new();
    Graph *g = forward_graph(pool);
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        for (int b = 0; b < OP_COUNT && n->arity > 0; b++)
            if ((Op)b != n->op && op_attr((Op)b) == op_attr(n->op) && takes((Op)b, n->arity))
                check_swap(pool, g, n, n->op, (Op)b);
    }
    pool_free(pool);
}
END_TEST

static Attr sample_attr(Op op)
{
    static double mean[] = {0.25}, std[] = {0.5};
    if (op_attr(op) == ATTR_IMAGE)
        return (Attr){.image = {1, mean, std}};
    return (Attr){.window = W(2, 2, 1, 1, 0, 0, false)};
}

/* Each op of the table against every other of its attributes and operands, as the result of a
 * graph: also those that no model has yet. */
START_TEST(no_two_ops_have_one_recipe)
{
    Pool *pool = pool_new();
    Graph *g = forward_graph(pool);
    Node *x = graph_find_output(g, "loss")->in[0]->in[0]->in[0]->in[0]; /* of gap */
    ck_assert_int_eq(x->op, OP_CONV2D);
    Node *n = graph_add(g, OP_RELU, 1, &x, NULL, x->loc);
    graph_output(g, "result", n);
    for (int i = 0; i < MAX_OPERANDS; i++)
        n->in[i] = x;
    int swaps = 0;
    for (int a = 0; a < OP_COUNT; a++) {
        n->attr = sample_attr((Op)a);
        for (int b = a + 1; b < OP_COUNT; b++)
            for (n->arity = 1; n->arity <= MAX_OPERANDS; n->arity++)
                if (op_attr((Op)a) == op_attr((Op)b) && takes((Op)a, n->arity) &&
                    takes((Op)b, n->arity)) {
                    check_swap(pool, g, n, (Op)a, (Op)b);
                    swaps++;
                }
    }
    ck_assert_int_gt(swaps, 80);
    pool_free(pool);
}
END_TEST

/* Nor groups or dilation that leave the maps as large. */
START_TEST(the_recipe_tells_groups_and_dilation)
{
    Pool *pool = pool_new();
    Graph *g = forward_graph(pool);
    Node *conv = graph_find_output(g, "loss")->in[0]->in[0]->in[0]->in[0]; /* of gap */
    const char *text = recipe_layers(pool, g);
    ck_assert_int_eq(conv->op, OP_CONV2D);
    conv->attr.window.groups = 2;
    const char *grouped = recipe_layers(pool, g);
    conv->attr.window.groups = 0;
    conv->attr.window.dilation_w = 2;
    const char *dilated = recipe_layers(pool, g);
    ck_assert_str_ne(text, grouped);
    ck_assert_str_ne(text, dilated);
    ck_assert_str_ne(grouped, dilated);
    pool_free(pool);
}
END_TEST

/* Nor what it reads, where that is not the layer before. */
START_TEST(the_recipe_tells_what_is_added)
{
    Pool *pool = pool_new();
    Graph *g = forward_graph(pool);
    Node *gap = graph_find_output(g, "loss")->in[0]->in[0]->in[0], *x = gap->in[0];
    Node *relu = graph_add(g, OP_RELU, 1, &x, NULL, x->loc);
    Node *sum = graph_add(g, OP_ADD, 2, (Node *[]){relu, x}, NULL, x->loc);
    gap->in[0] = sum;
    graph_sort(g);
    const char *text = recipe_layers(pool, g);
    ck_assert_msg(strstr(text, " of 7,6"), "%s", text);
    sum->in[1] = relu;
    graph_forget_uses(g);
    ck_assert_str_ne(text, recipe_layers(pool, g));
    pool_free(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, drawn_networks);
    tcase_add_loop_test(t, models_are_sound, 0, 3);
    tcase_add_test(t, what_depends_on_parameters_alone_is_kept);
    tcase_add_loop_test(t, arenas_are_near_their_bound, 0, 3);
    tcase_add_loop_test(t, memory_does_not_grow_with_the_batch, 0, 3);
    tcase_add_loop_test(t, a_step_moves_all_chunks, 0, 3);
    tcase_add_loop_test(t, one_image_is_cut_into_slices, 0, 3);
    tcase_add_loop_test(t, slices_count_the_images_of_a_chunk, 0, 3);
    tcase_add_test(t, no_op_of_a_graph_is_missing_from_the_recipe);
    tcase_add_test(t, no_two_ops_have_one_recipe);
    tcase_add_test(t, the_recipe_tells_groups_and_dilation);
    tcase_add_test(t, the_recipe_tells_what_is_added);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
