/* Autodiff on whole little networks: gradients of every parameter against central differences of
 * the eval graph's loss, the structure of the result, and the optimizers against PyTorch's
 * formulas written out. Also that the passes behind it, target, dgrad, winograd and fold, change
 * no number. */
#include "../../passes/passes.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 3 };

static const Loc nowhere;

typedef struct Net {
    Pool *pool;
    Module *module;
    Graph *graph; /* train */
    Node *image, *label, *valid;
    uint64_t random;
} Net;

static Net net_new(int batch, int h, int w, int c)
{
    Net n = {.pool = pool_new(), .random = 88172645463325252u};
    n.module = module_new(n.pool, "little");
    n.module->image_h = h;
    n.module->image_w = w;
    n.module->image_c = c;
    n.module->classes = CLASSES;
    n.graph = module_add_graph(n.module, "train", batch);
    n.image = graph_input(n.graph, "image", DT_U8, shape_of(4, batch, h, w, c), nowhere);
    n.label = graph_input(n.graph, "label", DT_I32, shape_of(1, batch, 0, 0, 0), nowhere);
    n.valid = graph_input(n.graph, "valid", DT_I32, shape_of(0, 0, 0, 0, 0), nowhere);
    return n;
}

static double random_double(Net *n)
{
    n->random ^= n->random << 13;
    n->random ^= n->random >> 7;
    n->random ^= n->random << 17;
    return (double)(n->random >> 11) / (double)(UINT64_C(1) << 52) - 1;
}

static void run_pass(const char *name, Module *m, int level)
{
    ck_assert(pipeline_run_pass(name, m, &(PipelineOptions){.level = level}));
}

static Node *unary(Net *n, Op op, Node *x)
{
    return graph_add(n->graph, op, 1, &x, NULL, nowhere);
}

static Node *normalize(Net *n)
{
    static double half[] = {0.5, 0.5, 0.5};
    Attr attr = {.image = {n->module->image_c, half, half}};
    ck_assert_int_le(n->module->image_c, 3);
    return graph_add(n->graph, OP_NORMALIZE, 1, &n->image, &attr, nowhere);
}

static Node *pool(Net *n, Op op, Node *x, Window window)
{
    return graph_add(n->graph, op, 1, &x, &(Attr){.window = window}, nowhere);
}

/* The parameter NAME.weight or NAME.bias; used again when it is there already. */
static Node *parameter(Net *n, const char *name, const char *kind, Shape shape)
{
    char *full = pool_format(n->pool, "%s.%s", name, kind);
    Storage *s = module_find_storage(n->module, full);
    if (!s)
        s = module_add_storage(n->module, full, shape,
                               strcmp(kind, "bias") == 0 ? ROLE_BIAS : ROLE_WEIGHT, nowhere);
    return graph_state(n->graph, s);
}

static Node *conv(Net *n, const char *name, Node *x, int out, Window w, bool bias)
{
    int in = x->tensor.shape.dim[3];
    Node *operand[3] = {x};
    operand[1] = parameter(n, name, "weight", shape_of(4, out, in, w.kernel_h, w.kernel_w));
    if (bias)
        operand[2] = parameter(n, name, "bias", shape_of(1, out, 0, 0, 0));
    return graph_add(n->graph, OP_CONV2D, bias ? 3 : 2, operand, &(Attr){.window = w}, nowhere);
}

static void finish(Net *n, Node *logits)
{
    Node *in[] = {logits, n->label};
    Node *nll = graph_add(n->graph, OP_CROSS_ENTROPY, 2, in, NULL, nowhere);
    Node *hit = graph_add(n->graph, OP_CORRECT, 2, in, NULL, nowhere);
    Node *loss = graph_add(n->graph, OP_MEAN_VALID, 2, (Node *[]){nll, n->valid}, NULL, nowhere);
    Node *hits = graph_add(n->graph, OP_COUNT_VALID, 2, (Node *[]){hit, n->valid}, NULL, nowhere);
    graph_output(n->graph, "loss", loss);
    graph_output(n->graph, "correct", hits);
}

/* ---- the networks ---- */

/* Stride 3, no padding, ragged ceil pool, whole-map average pool. */
static Net strided_net(void)
{
    Net n = net_new(3, 11, 9, 2);
    Node *x = unary(&n, OP_RELU, conv(&n, "a", normalize(&n), 5, (Window){3, 2, 1, 1, 1, 0, 0}, 1));
    x = pool(&n, OP_MAXPOOL, x, (Window){3, 3, 2, 2, 0, 0, true});
    x = unary(&n, OP_RELU, conv(&n, "b", x, 4, (Window){2, 3, 2, 1, 1, 1, 0}, 0));
    x = conv(&n, "c", x, CLASSES, (Window){1, 1, 1, 1, 0, 0, 0}, 1);
    x = pool(&n, OP_AVGPOOL, x, (Window){3, 4, 1, 1, 0, 0, false});
    finish(&n, unary(&n, OP_FLATTEN, x));
    return n;
}

/* Padded overlapping pools, a flattened map that is not 1x1. */
static Net padded_net(void)
{
    Net n = net_new(2, 6, 5, 1);
    Node *x = conv(&n, "a", normalize(&n), 3, (Window){5, 5, 1, 1, 2, 2, 0}, true);
    x = pool(&n, OP_AVGPOOL, unary(&n, OP_RELU, x), (Window){3, 2, 2, 2, 1, 1, true});
    x = conv(&n, "b", x, 4, (Window){3, 3, 1, 1, 1, 1, 0}, true);
    x = pool(&n, OP_MAXPOOL, x, (Window){3, 3, 1, 1, 1, 1, false});
    const int32_t *dim = x->tensor.shape.dim;
    x = conv(&n, "c", x, CLASSES, (Window){dim[1], dim[2], 1, 1, 0, 0, 0}, true);
    finish(&n, unary(&n, OP_FLATTEN, x));
    return n;
}

/* Values with several users, one filter used twice, a filter on the image used elsewhere too. */
static Net branching_net(void)
{
    Net n = net_new(2, 5, 5, 2);
    Node *x = conv(&n, "shared", normalize(&n), 2, (Window){3, 3, 1, 1, 1, 1, 0}, true);
    Node *left = unary(&n, OP_RELU, conv(&n, "shared", x, 2, (Window){3, 3, 1, 1, 1, 1, 0}, true));
    Node *right = conv(&n, "b", x, 2, (Window){1, 1, 1, 1, 0, 0, 0}, false);
    Node *sum = graph_add(n.graph, OP_ADD, 2, (Node *[]){left, right}, NULL, nowhere);
    sum = graph_add(n.graph, OP_ADD, 2, (Node *[]){sum, x}, NULL, nowhere);
    sum = graph_add(n.graph, OP_ADD, 2, (Node *[]){sum, sum}, NULL, nowhere);
    x = unary(&n, OP_GAP, conv(&n, "c", sum, CLASSES, (Window){2, 2, 1, 1, 0, 0, 0}, true));
    finish(&n, unary(&n, OP_FLATTEN, x));
    return n;
}

/* Every activation, of a convolution's values; of both signs of a factor. */
static Net activations_net(void)
{
    static const struct {
        Op op;
        double factor;
    } list[] = {{OP_SIGMOID, 0},        {OP_RELU6, 0},   {OP_LEAKY_RELU, 0.125},
                {OP_LEAKY_RELU, -0.25}, {OP_ELU, 0.75},  {OP_ELU, -0.5},
                {OP_TANH, 0},           {OP_GELU, 0},    {OP_SILU, 0},
                {OP_HARDSWISH, 0},      {OP_SOFTPLUS, 0}};
    Net n = net_new(2, 3, 4, 2);
    Node *sum = NULL, *x = conv(&n, "a", normalize(&n), 2, (Window){1, 1, 1, 1, 0, 0, 0}, true);
    for (int i = 0; i < (int)(sizeof list / sizeof *list); i++) {
        const char *name = pool_format(n.pool, "c%d", i);
        Node *y = conv(&n, name, x, CLASSES, (Window){2, 2, 1, 1, 0, 0, 0}, true);
        y = graph_add(n.graph, list[i].op, 1, &y, &(Attr){.factor = list[i].factor}, nowhere);
        sum = sum ? graph_add(n.graph, OP_ADD, 2, (Node *[]){sum, y}, NULL, nowhere) : y;
    }
    finish(&n, unary(&n, OP_FLATTEN, unary(&n, OP_GAP, sum)));
    return n;
}

static Net (*const networks[])(void) = {strided_net, padded_net, branching_net, activations_net};
enum { NETWORKS = sizeof networks / sizeof networks[0] };

/* ---- running them ---- */

static Eval *start(Net *n, const Graph *g, int valid)
{
    Eval *e = eval_new(g, 0);
    n->random = 88172645463325252u; /* the same data each time */
    Node *image = graph_find_input(g, "image"), *label = graph_find_input(g, "label");
    for (int64_t i = 0; i < eval_elements(e, image); i++)
        eval_value(e, image)[i] = floor((random_double(n) + 1) * 127.9);
    for (int64_t i = 0; i < eval_elements(e, label); i++)
        eval_value(e, label)[i] = (double)((i + 1) % CLASSES);
    eval_value(e, graph_find_input(g, "valid"))[0] = valid;
    for (int i = 0; i < n->module->storage_count; i++) {
        const Storage *s = n->module->storage[i];
        for (int64_t k = 0; s->role != ROLE_MOMENT && k < shape_elements(&s->tensor.shape); k++)
            eval_state(e, s)[k] = random_double(n) * 0.7;
    }
    return e;
}

static double loss(Eval *e)
{
    eval_run(e);
    return eval_value(e, graph_find_output(e->graph, "loss"))[0];
}

static void expect_near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want))))
        ck_abort_msg("%s: %.17g, expected %.17g", what, got, want);
}

/* The gradient that an SGD step without momentum and weight decay subtracts. */
static const Node *gradient_of(const Graph *g, const Storage *s)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_SGD_STEP && g->node[i]->in[0]->storage == s)
            return g->node[i]->in[1];
    ck_abort_msg("no step for %s", s->name);
    return NULL;
}

static void expect_gradients(Net *n, const Graph *train, const Graph *eval, int valid)
{
    const double h = 1e-5;
    Eval *e = start(n, eval, valid), *t = start(n, train, valid);
    eval_run(t);
    expect_near(eval_value(t, graph_find_output(train, "loss"))[0], loss(e), 1e-14, "loss");
    for (int i = 0; i < n->module->storage_count; i++) {
        const Storage *s = n->module->storage[i];
        const double *grad = eval_value(t, gradient_of(train, s));
        for (int64_t k = 0; k < shape_elements(&s->tensor.shape); k++) {
            double *at = eval_state(e, s) + k, middle = *at, side[2];
            for (int j = 0; j < 2; j++) {
                *at = middle + (j ? h : -h);
                side[j] = loss(e);
            }
            *at = middle;
            expect_near(grad[k], (side[1] - side[0]) / (2 * h), 1e-7, s->name);
        }
    }
    eval_free(e);
    eval_free(t);
}

START_TEST(gradients_by_finite_differences)
{
    for (int simplify = 0; simplify < 2; simplify++) {
        Net n = networks[_i]();
        if (simplify)
            pass_simplify(n.graph);
        pass_autodiff(n.module);
        const Graph *train = module_find_graph(n.module, "train", TARGET_ANY);
        const Graph *eval = module_find_graph(n.module, "eval", TARGET_ANY);
        ck_assert_int_eq(train->stage, STAGE_TRAINING);
        ck_assert_int_eq(eval->stage, STAGE_TRAINING);
        expect_gradients(&n, train, eval, n.graph->batch);
        expect_gradients(&n, train, eval, 1);
        pool_free(n.pool);
    }
}
END_TEST

static int count_ops(const Graph *g, Op op)
{
    int count = 0;
    for (int i = 0; i < g->node_count; i++)
        count += g->node[i]->op == op;
    return count;
}

/* ---- batch norm ---- */

static Node *state_of(Net *n, const char *name, const char *kind, Role role, int count)
{
    char *full = pool_format(n->pool, "%s.%s", name, kind);
    return graph_state(n->graph, module_add_storage(n->module, full, shape_of(1, count, 0, 0, 0),
                                                    role, nowhere));
}

static Node *batch_norm(Net *n, const char *name, Node *x, bool affine)
{
    int c = x->tensor.shape.dim[3];
    Node *in[5] = {x, state_of(n, name, "running_mean", ROLE_MEAN, c),
                   state_of(n, name, "running_var", ROLE_VARIANCE, c)};
    char *batches = pool_format(n->pool, "%s.batches", name);
    if (affine) {
        in[3] = state_of(n, name, "weight", ROLE_SCALE, c);
        in[4] = state_of(n, name, "bias", ROLE_SHIFT, c);
    }
    module_add_storage(n->module, batches, shape_of(1, 1, 0, 0, 0), ROLE_BATCHES, nowhere)->of =
        in[1]->storage->name;
    return graph_add(n->graph, OP_BATCH_NORM, affine ? 5 : 3, in,
                     &(Attr){.norm = {1e-3, 0.25}}, nowhere);
}

/* Behind a convolution with and without bias, behind a pool, and of one value an image. */
static Net norm_net(void)
{
    Net n = net_new(4, 7, 6, 2);
    Node *x = conv(&n, "a", normalize(&n), 3, (Window){3, 3, 1, 1, 1, 1, 0}, false);
    x = unary(&n, OP_RELU, batch_norm(&n, "a.norm", x, true));
    x = batch_norm(&n, "b.norm", pool(&n, OP_MAXPOOL, x, (Window){3, 3, 2, 2, 0, 0, 0}), false);
    x = conv(&n, "b", x, 4, (Window){2, 2, 1, 1, 0, 0, 0}, true);
    x = batch_norm(&n, "c.norm", unary(&n, OP_GAP, x), true);
    x = conv(&n, "c", x, CLASSES, (Window){1, 1, 1, 1, 0, 0, 0}, true);
    finish(&n, unary(&n, OP_FLATTEN, x));
    return n;
}

/* By the train graph itself: in evaluation other statistics count. Its rate is 0. */
START_TEST(batch_norm_by_finite_differences)
{
    const double h = 1e-5;
    Net n = norm_net();
    pass_autodiff(n.module);
    const Graph *train = module_find_graph(n.module, "train", TARGET_ANY);
    Eval *e = start(&n, train, _i), *t = start(&n, train, _i);
    int compared = 0;
    eval_run(t);
    for (int i = 0; i < n.module->storage_count; i++) {
        const Storage *s = n.module->storage[i];
        if (!role_is_parameter(s->role))
            continue;
        const double *grad = eval_value(t, gradient_of(train, s));
        for (int64_t k = 0; k < shape_elements(&s->tensor.shape); k++, compared++) {
            double *at = eval_state(e, s) + k, middle = *at, side[2];
            for (int j = 0; j < 2; j++) {
                *at = middle + (j ? h : -h);
                side[j] = loss(e);
            }
            *at = middle;
            expect_near(grad[k], (side[1] - side[0]) / (2 * h), 1e-7, s->name);
        }
    }
    ck_assert_int_eq(compared, 3 * 2 * 9 + 4 * 3 * 4 + 4 + 3 * 4 + 3 + 2 * 3 + 2 * 4);
    eval_free(e);
    eval_free(t);
    pool_free(n.pool);
}
END_TEST

/* The running statistics of c.norm, of one value an image, after a step. */
START_TEST(running_statistics_are_pytorchs)
{
    enum { VALID = 3 };
    Net n = norm_net();
    pass_autodiff(n.module);
    const Graph *train = module_find_graph(n.module, "train", TARGET_ANY);
    Eval *e = start(&n, train, VALID);
    const Storage *running[] = {module_find_storage(n.module, "c.norm.running_mean"),
                                module_find_storage(n.module, "c.norm.running_var")};
    const Storage *batches = module_find_storage(n.module, "c.norm.batches");
    double before[2] = {eval_state(e, running[0])[1], eval_state(e, running[1])[1]};
    eval_state(e, batches)[0] = 7;
    eval_run(e);
    const Node *gap = NULL;
    for (int i = 0; i < train->node_count; i++)
        gap = train->node[i]->op == OP_GAP ? train->node[i] : gap;
    double mean = 0, var = 0;
    for (int i = 0; i < VALID; i++)
        mean += eval_value(e, gap)[i * 4 + 1] / VALID;
    for (int i = 0; i < VALID; i++)
        var += pow(eval_value(e, gap)[i * 4 + 1] - mean, 2) / (VALID - 1);
    expect_near(eval_state(e, running[0])[1], 0.75 * before[0] + 0.25 * mean, 1e-12, "mean");
    expect_near(eval_state(e, running[1])[1], 0.75 * before[1] + 0.25 * var, 1e-12, "variance");
    ck_assert_double_eq(eval_state(e, batches)[0], 8);
    eval_free(e);
    pool_free(n.pool);
}
END_TEST

/* Statistics of all images need all images at a time. */
START_TEST(a_chunk_is_the_batch)
{
    Net n = norm_net();
    Diagnostics d;
    n.module->dataset = "idx";
    n.module->train.batch_size = 4;
    n.module->optimizer.lr = 0.1;
    pass_autodiff(n.module);
    pass_target(n.module, &(PipelineOptions){.wanted[TARGET_CPU] = true});
    run_pass("fuse", n.module, 2);
    run_pass("schedule", n.module, 2);
    Graph *train = module_find_graph(n.module, "train", TARGET_CPU);
    ck_assert_int_eq(train->chunk, 4);
    diagnostics_init(&d, n.pool);
    ck_assert_msg(module_verify(n.module, &d), "%s", d.count ? d.list[0].message : "");
    train->chunk = 2;
    ck_assert(!module_verify(n.module, &d));
    ck_assert_msg(strstr(d.list[0].message, "a chunk must hold all 4 images") != NULL, "%s",
                  d.list[0].message);
    pool_free(n.pool);
}
END_TEST

/* Rows from `valid` on count nothing: what stands there changes no gradient. */
START_TEST(a_partial_batch_is_a_smaller_one)
{
    Net n = norm_net();
    pass_autodiff(n.module);
    const Graph *train = module_find_graph(n.module, "train", TARGET_ANY);
    Eval *e = start(&n, train, 3), *t = start(&n, train, 3);
    double *image = eval_value(t, graph_find_input(train, "image"));
    for (int64_t k = eval_elements(t, graph_find_input(train, "image")) * 3 / 4,
                 end = k / 3 * 4; k < end; k++)
        image[k] = 255 - image[k] / 2;
    eval_run(e);
    eval_run(t);
    for (int i = 0; i < n.module->storage_count; i++) {
        const Storage *s = n.module->storage[i];
        const Node *grad = role_is_parameter(s->role) ? gradient_of(train, s) : NULL;
        for (int64_t k = 0; k < shape_elements(&s->tensor.shape); k++) {
            expect_near(eval_state(t, s)[k], eval_state(e, s)[k], 1e-12, s->name);
            if (grad)
                expect_near(eval_value(t, grad)[k], eval_value(e, grad)[k], 1e-12, s->name);
        }
    }
    eval_free(e);
    eval_free(t);
    pool_free(n.pool);
}
END_TEST

START_TEST(gradients_after_target_and_dgrad)
{
    Net n = networks[_i]();
    pass_simplify(n.graph);
    pass_autodiff(n.module);
    pass_target(n.module, &(PipelineOptions){.wanted[TARGET_CPU] = true});
    ck_assert_int_eq(n.module->graph_count, 2);
    const Graph *train = module_find_graph(n.module, "train", TARGET_CPU);
    const Graph *eval = module_find_graph(n.module, "eval", TARGET_CPU);
    int before = count_ops(train, OP_CONV2D_DGRAD);
    run_pass("dgrad", n.module, 2);
    ck_assert_int_lt(count_ops(train, OP_CONV2D_DGRAD), before);
    ck_assert_int_eq(count_ops(eval, OP_FILTER_TRANSPOSE), 0);
    expect_gradients(&n, train, eval, 2);
    pool_free(n.pool);
}
END_TEST

/* ---- Winograd ---- */

/* Convolutions with enough channels for tiles, that cut their maps unevenly, beside others. */
static Net wide_net(void)
{
    Net n = net_new(8, 13, 14, 1);
    Node *x = conv(&n, "a", normalize(&n), 64, (Window){2, 2, 1, 1, 0, 0, 0}, true);
    x = unary(&n, OP_RELU, x);
    x = unary(&n, OP_RELU, conv(&n, "b", x, 96, (Window){5, 5, 1, 1, 2, 1, 0}, true));
    x = unary(&n, OP_RELU, conv(&n, "c", x, 64, (Window){5, 5, 1, 1, 2, 2, 0}, false));
    x = pool(&n, OP_MAXPOOL, x, (Window){3, 3, 2, 2, 0, 0, true});
    x = unary(&n, OP_GAP, conv(&n, "d", x, CLASSES, (Window){3, 3, 1, 1, 1, 1, 0}, true));
    finish(&n, unary(&n, OP_FLATTEN, x));
    return n;
}

/* One step; weights are scaled so that the softmax does not saturate. */
static Eval *step_of(Net *n, const Graph *g)
{
    Eval *e = start(n, g, 2);
    for (int i = 0; i < n->module->storage_count; i++) {
        const Shape *s = &n->module->storage[i]->tensor.shape;
        int64_t count = shape_elements(s);
        double fan_in = s->rank == 4 ? (double)count / s->dim[0] : 1;
        for (int64_t k = 0; k < count; k++)
            eval_state(e, n->module->storage[i])[k] /= sqrt(fan_in) * 0.3;
    }
    Node *lr = graph_find_input(g, "lr");
    if (lr)
        eval_value(e, lr)[0] = 0.1;
    eval_run(e);
    return e;
}

static void expect_same_step(Eval *got, Eval *want)
{
    const Module *m = want->graph->module;
    for (int i = 0; i < want->graph->output_count; i++)
        expect_near(eval_value(got, got->graph->output[i].node)[0],
                    eval_value(want, want->graph->output[i].node)[0], 1e-9,
                    want->graph->output[i].name);
    for (int i = 0; i < m->storage_count; i++) {
        const double *updated = eval_state(got, got->graph->module->storage[i]);
        for (int64_t k = 0; k < shape_elements(&m->storage[i]->tensor.shape); k++)
            expect_near(updated[k], eval_state(want, m->storage[i])[k], 1e-9,
                        m->storage[i]->name);
    }
}

static Net wide_net_for_cpu(void)
{
    Net n = wide_net();
    pass_autodiff(n.module);
    pass_target(n.module, &(PipelineOptions){.wanted[TARGET_CPU] = true});
    run_pass("dgrad", n.module, 2);
    return n;
}

START_TEST(winograd_changes_no_number)
{
    Net before = wide_net_for_cpu(), after = wide_net_for_cpu();
    const Graph *train = module_find_graph(after.module, "train", TARGET_CPU);
    run_pass("winograd", after.module, 1);
    ck_assert_int_eq(count_ops(train, OP_WINOGRAD_INPUT), 0);
    run_pass("winograd", after.module, 2);
    ck_assert_int_eq(count_ops(train, OP_WINOGRAD_FILTER), 4);
    ck_assert_int_eq(count_ops(train, OP_WINOGRAD_INPUT), 4); /* of x and dy of b and c */
    ck_assert_int_eq(count_ops(train, OP_WINOGRAD_OUTPUT), 4);
    ck_assert_int_eq(count_ops(train, OP_WINOGRAD_WGRAD), 2);
    ck_assert_int_eq(count_ops(train, OP_CONV2D_WGRAD), 2);
    for (int i = 0; i < after.module->graph_count; i++) {
        Eval *want = step_of(&before, before.module->graph[i]);
        Eval *got = step_of(&after, after.module->graph[i]);
        expect_same_step(got, want);
        eval_free(want);
        eval_free(got);
    }
    pool_free(before.pool);
    pool_free(after.pool);
}
END_TEST

/* An image enlarged four times in rows and three times in columns. */
static Net resized_net_for_cpu(void)
{
    Net n = net_new(4, 8, 9, 2);
    static double mean[] = {0.25, 0.5}, std[] = {0.5, 0.75};
    Attr attr = {.image = {2, mean, std}};
    Tensor map = {.dtype = DT_F32, .shape = shape_of(4, 4, 32, 27, 2)};
    Node *x = graph_add_typed(n.graph, OP_RESIZE, 1, &n.image, &attr, &map, nowhere);
    x = unary(&n, OP_RELU, conv(&n, "a", x, 6, (Window){9, 5, 2, 1, 1, 0, 0}, true));
    x = unary(&n, OP_GAP, conv(&n, "b", x, CLASSES, (Window){3, 3, 1, 1, 1, 1, 0}, true));
    finish(&n, unary(&n, OP_FLATTEN, x));
    pass_autodiff(n.module);
    pass_target(n.module, &(PipelineOptions){.wanted[TARGET_CPU] = true});
    run_pass("dgrad", n.module, 2);
    return n;
}

START_TEST(fold_changes_no_number)
{
    Net before = resized_net_for_cpu(), after = resized_net_for_cpu();
    const Graph *train = module_find_graph(after.module, "train", TARGET_CPU);
    run_pass("fold", after.module, 1);
    ck_assert_int_eq(count_ops(train, OP_CONV2D_FOLDED), 0);
    run_pass("fold", after.module, 2);
    ck_assert_int_eq(count_ops(train, OP_CONV2D_FOLDED), 1);
    ck_assert_int_eq(count_ops(train, OP_CONV2D_FOLDED_WGRAD), 1);
    ck_assert_int_eq(count_ops(train, OP_RESIZE), 0);
    for (int i = 0; i < after.module->graph_count; i++) {
        Eval *want = step_of(&before, before.module->graph[i]);
        Eval *got = step_of(&after, after.module->graph[i]);
        expect_same_step(got, want);
        eval_free(want);
        eval_free(got);
    }
    pool_free(before.pool);
    pool_free(after.pool);
}
END_TEST

/* ---- structure ---- */

START_TEST(nothing_flows_to_the_image)
{
    Net n = padded_net();
    pass_autodiff(n.module);
    ck_assert_int_eq(count_ops(n.graph, OP_CONV2D_WGRAD), 3);
    ck_assert_int_eq(count_ops(n.graph, OP_CONV2D_DGRAD), 2);
    pool_free(n.pool);
}
END_TEST

START_TEST(codes_stand_behind_their_pool)
{
    Net n = strided_net();
    pass_autodiff(n.module);
    for (int i = 0; i < n.graph->node_count; i++) {
        ck_assert_int_eq(n.graph->node[i]->id, i);
        if (n.graph->node[i]->op == OP_MAXPOOL)
            ck_assert_int_eq(n.graph->node[i + 1]->op, OP_MAXPOOL_CODE);
    }
    const Graph *eval = module_find_graph(n.module, "eval", TARGET_ANY);
    ck_assert_int_eq(count_ops(eval, OP_MAXPOOL), 1);
    ck_assert_int_eq(count_ops(eval, OP_MAXPOOL_CODE), 0);
    ck_assert_ptr_null(graph_find_input(eval, "lr"));
    ck_assert_ptr_nonnull(graph_find_input(n.graph, "lr"));
    ck_assert_ptr_nonnull(graph_find_input(n.graph, "step"));
    pool_free(n.pool);
}
END_TEST

START_TEST(a_shared_filter_is_transposed_once_and_first)
{
    Net n = branching_net();
    pass_autodiff(n.module);
    pass_target(n.module, &(PipelineOptions){.wanted[TARGET_CPU] = true});
    run_pass("dgrad", n.module, 2);
    const Graph *g = module_find_graph(n.module, "train", TARGET_CPU);
    int first = 0;
    while (g->node[first]->op == OP_INPUT)
        first++;
    ck_assert_int_eq(count_ops(g, OP_FILTER_TRANSPOSE), 3);
    for (int i = first; i < first + 3; i++)
        ck_assert_int_eq(g->node[i]->op, OP_FILTER_TRANSPOSE);
    pool_free(n.pool);
}
END_TEST

START_TEST(simplify_by_rule)
{
    Net n = net_new(1, 4, 4, 1);
    Node *x = conv(&n, "a", normalize(&n), CLASSES, (Window){1, 1, 1, 1, 0, 0, 0}, false);
    Node *again = conv(&n, "a", normalize(&n), CLASSES, (Window){1, 1, 1, 1, 0, 0, 0}, false);
    Node *sum = graph_add(n.graph, OP_ADD, 2, (Node *[]){x, again}, NULL, nowhere);
    unary(&n, OP_RELU, sum); /* dead */
    x = unary(&n, OP_RELU, unary(&n, OP_RELU, sum));
    x = pool(&n, OP_MAXPOOL, x, (Window){1, 1, 1, 1, 0, 0, false});
    x = pool(&n, OP_AVGPOOL, x, (Window){4, 4, 1, 1, 0, 0, false});
    x = pool(&n, OP_AVGPOOL, x, (Window){1, 1, 2, 2, 0, 0, false});
    finish(&n, unary(&n, OP_FLATTEN, x));
    pass_simplify(n.graph);
    ck_assert_int_eq(count_ops(n.graph, OP_NORMALIZE), 1);
    ck_assert_int_eq(count_ops(n.graph, OP_CONV2D), 1);
    ck_assert_int_eq(count_ops(n.graph, OP_RELU), 1);
    ck_assert_int_eq(count_ops(n.graph, OP_MAXPOOL), 0);
    ck_assert_int_eq(count_ops(n.graph, OP_AVGPOOL), 0);
    ck_assert_int_eq(count_ops(n.graph, OP_GAP), 1);
    pool_free(n.pool);
}
END_TEST

START_TEST(simplify_keeps_what_is_not_the_whole_map)
{
    Net n = net_new(1, 4, 4, 1);
    Node *x = normalize(&n);
    x = pool(&n, OP_AVGPOOL, x, (Window){4, 4, 1, 1, 1, 1, false});
    x = pool(&n, OP_MAXPOOL, x, (Window){1, 1, 2, 2, 0, 0, false});
    x = conv(&n, "a", x, CLASSES, (Window){2, 2, 1, 1, 0, 0, 0}, false);
    finish(&n, unary(&n, OP_FLATTEN, x));
    int before = n.graph->node_count;
    pass_simplify(n.graph);
    ck_assert_int_eq(n.graph->node_count, before);
    ck_assert_int_eq(count_ops(n.graph, OP_GAP), 0);
    pool_free(n.pool);
}
END_TEST

/* ---- optimizers ---- */

/* A parameter followed by hand through the steps of PyTorch's optimizers. */
typedef struct Hand {
    double x, velocity, m, v;
} Hand;

static void hand_descend(Hand *hand, const Optimizer *o, double grad, double lr, int step)
{
    hand->velocity = step == 1 ? grad : o->momentum * hand->velocity + grad;
    if (o->nesterov != 0)
        hand->x -= lr * (grad + o->momentum * hand->velocity);
    else
        hand->x -= lr * (o->momentum != 0 ? hand->velocity : grad);
}

static void hand_rmsprop(Hand *hand, const Optimizer *o, double grad, double lr)
{
    hand->v = o->alpha * hand->v + (1 - o->alpha) * grad * grad;
    hand->velocity = o->momentum * hand->velocity + grad / (sqrt(hand->v) + o->eps);
    hand->x -= lr * hand->velocity;
}

static void hand_step(Hand *hand, const Optimizer *o, double grad, double lr, int step)
{
    if (o->kind == OPTIMIZER_ADAMW)
        hand->x *= 1 - lr * o->weight_decay;
    else
        grad += o->weight_decay * hand->x;
    if (o->kind == OPTIMIZER_SGD || o->kind == OPTIMIZER_RMSPROP) {
        if (o->kind == OPTIMIZER_SGD)
            hand_descend(hand, o, grad, lr, step);
        else
            hand_rmsprop(hand, o, grad, lr);
        return;
    }
    hand->m = o->beta1 * hand->m + (1 - o->beta1) * grad;
    hand->v = o->beta2 * hand->v + (1 - o->beta2) * grad * grad;
    double m_hat = hand->m / (1 - pow(o->beta1, step)), v_hat = hand->v / (1 - pow(o->beta2, step));
    hand->x -= lr * m_hat / (sqrt(v_hat) + o->eps);
}

static const Optimizer optimizers[] = {
    {OPTIMIZER_SGD, .lr = 0.1},
    {OPTIMIZER_SGD, .lr = 0.1, .momentum = 0.9},
    {OPTIMIZER_SGD, .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01},
    {OPTIMIZER_SGD, .lr = 0.1, .weight_decay = 0.01},
    {OPTIMIZER_SGD, .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = 1},
    {OPTIMIZER_ADAM, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
    {OPTIMIZER_ADAM, .lr = 0.01, .weight_decay = 0.1, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-3},
    {OPTIMIZER_ADAMW, .lr = 0.01, .weight_decay = 0.1, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-3},
    {OPTIMIZER_ADAMW, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
    {OPTIMIZER_RMSPROP, .lr = 0.01, .alpha = 0.9, .eps = 1e-3},
    {OPTIMIZER_RMSPROP, .lr = 0.01, .weight_decay = 0.1, .momentum = 0.8, .eps = 1e-3,
     .alpha = 0.9},
};
enum { OPTIMIZERS = sizeof optimizers / sizeof optimizers[0] };

static int moments(const Optimizer *o)
{
    if (o->kind == OPTIMIZER_ADAM || o->kind == OPTIMIZER_ADAMW)
        return 2;
    return (o->kind == OPTIMIZER_RMSPROP) + (o->momentum != 0);
}

/* d loss / d (element 0 of the parameter) at the state of `e`, by finite differences. */
static double slope(Eval *e, const Storage *s)
{
    double *at = eval_state(e, s), middle = *at, side[2];
    for (int j = 0; j < 2; j++) {
        *at = middle + (j ? 1e-5 : -1e-5);
        side[j] = loss(e);
    }
    *at = middle;
    return (side[1] - side[0]) / 2e-5;
}

START_TEST(optimizer_updates)
{
    Net n = padded_net();
    n.module->optimizer = optimizers[_i];
    const Optimizer *o = &n.module->optimizer;
    int parameters = n.module->storage_count;
    pass_autodiff(n.module);
    ck_assert_int_eq(n.module->storage_count, parameters * (1 + moments(o)));
    ck_assert_int_eq(count_ops(n.graph, OP_UPDATE), n.module->storage_count);
    Eval *t = start(&n, n.graph, 2);
    Eval *e = start(&n, module_find_graph(n.module, "eval", TARGET_ANY), 2);
    const Storage *s = n.module->storage[2];
    Hand hand = {.x = eval_state(t, s)[0]};
    for (int step = 1; step <= 4; step++) {
        double lr = o->lr / step;
        for (int i = 0; i < parameters; i++)
            memcpy(eval_state(e, n.module->storage[i]), eval_state(t, n.module->storage[i]),
                   (size_t)shape_elements(&n.module->storage[i]->tensor.shape) * sizeof(double));
        hand_step(&hand, o, slope(e, s), lr, step);
        eval_value(t, graph_find_input(n.graph, "lr"))[0] = lr;
        eval_value(t, graph_find_input(n.graph, "step"))[0] = step;
        eval_run(t);
        expect_near(eval_state(t, s)[0], hand.x, 1e-6, s->name);
    }
    eval_free(t);
    eval_free(e);
    pool_free(n.pool);
}
END_TEST

START_TEST(moments_are_named_after_their_parameter)
{
    Net n = padded_net();
    n.module->optimizer = optimizers[5];
    pass_autodiff(n.module);
    const Storage *m = module_find_storage(n.module, "b.weight.m");
    const Storage *v = module_find_storage(n.module, "b.weight.v");
    ck_assert_ptr_nonnull(m);
    ck_assert_ptr_nonnull(v);
    ck_assert_int_eq(m->role, ROLE_MOMENT);
    ck_assert_str_eq(m->of, "b.weight");
    ck_assert(shape_equal(&m->tensor.shape, &v->tensor.shape));
    pool_free(n.pool);
}
END_TEST

static Suite *autodiff_suite(void)
{
    Suite *suite = suite_create("autodiff");
    TCase *tests = tcase_create("networks");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, gradients_by_finite_differences, 0, NETWORKS);
    tcase_add_loop_test(tests, gradients_after_target_and_dgrad, 0, NETWORKS);
    tcase_add_loop_test(tests, batch_norm_by_finite_differences, 2, 5); /* valid images */
    tcase_add_test(tests, running_statistics_are_pytorchs);
    tcase_add_test(tests, a_partial_batch_is_a_smaller_one);
    tcase_add_test(tests, a_chunk_is_the_batch);
    tcase_add_test(tests, winograd_changes_no_number);
    tcase_add_test(tests, fold_changes_no_number);
    tcase_add_test(tests, nothing_flows_to_the_image);
    tcase_add_test(tests, codes_stand_behind_their_pool);
    tcase_add_test(tests, a_shared_filter_is_transposed_once_and_first);
    tcase_add_test(tests, simplify_by_rule);
    tcase_add_test(tests, simplify_keeps_what_is_not_the_whole_map);
    tcase_add_loop_test(tests, optimizer_updates, 0, OPTIMIZERS);
    tcase_add_test(tests, moments_are_named_after_their_parameter);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(autodiff_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
