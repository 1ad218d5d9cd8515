/* Autodiff on whole little networks: gradients of every parameter against central differences of
 * the eval graph's loss, the structure of the result, and what passes behind it make of that. */
#include "nets.h"

/* ---- the networks ---- */

/* Stride 3, no padding, ragged ceil pool, whole-map average pool. */
static Net strided_net(void)
{
    Net n = net_new(3, 11, 9, 2);
    Node *x = unary(&n, OP_RELU, conv(&n, "a", normalize(&n), 5, WINDOW(3, 2, 1, 1, 1, 0, 0), 1));
    x = pool(&n, OP_MAXPOOL, x, WINDOW(3, 3, 2, 2, 0, 0, true));
    x = unary(&n, OP_RELU, conv(&n, "b", x, 4, WINDOW(2, 3, 2, 1, 1, 1, 0), 0));
    x = conv(&n, "c", x, CLASSES, WINDOW(1, 1, 1, 1, 0, 0, 0), 1);
    x = pool(&n, OP_AVGPOOL, x, WINDOW(3, 4, 1, 1, 0, 0, false));
    finish(&n, unary(&n, OP_FLATTEN, x));
    return n;
}

/* Values with several users, one filter used twice, a filter on the image used elsewhere too. */
static Net branching_net(void)
{
    Net n = net_new(2, 5, 5, 2);
    Node *x = conv(&n, "shared", normalize(&n), 2, WINDOW(3, 3, 1, 1, 1, 1, 0), true);
    Node *left = unary(&n, OP_RELU, conv(&n, "shared", x, 2, WINDOW(3, 3, 1, 1, 1, 1, 0), true));
    Node *right = conv(&n, "b", x, 2, WINDOW(1, 1, 1, 1, 0, 0, 0), false);
    Node *sum = graph_add(n.graph, OP_ADD, 2, (Node *[]){left, right}, NULL, nowhere);
    sum = graph_add(n.graph, OP_ADD, 2, (Node *[]){sum, x}, NULL, nowhere);
    sum = graph_add(n.graph, OP_ADD, 2, (Node *[]){sum, sum}, NULL, nowhere);
    x = unary(&n, OP_GAP, conv(&n, "c", sum, CLASSES, WINDOW(2, 2, 1, 1, 0, 0, 0), true));
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
    Node *sum = NULL, *x = conv(&n, "a", normalize(&n), 2, WINDOW(1, 1, 1, 1, 0, 0, 0), true);
    for (int i = 0; i < (int)(sizeof list / sizeof *list); i++) {
        const char *name = pool_format(n.pool, "c%d", i);
        Node *y = conv(&n, name, x, CLASSES, WINDOW(2, 2, 1, 1, 0, 0, 0), true);
        y = graph_add(n.graph, list[i].op, 1, &y, &(Attr){.factor = list[i].factor}, nowhere);
        sum = sum ? graph_add(n.graph, OP_ADD, 2, (Node *[]){sum, y}, NULL, nowhere) : y;
    }
    finish(&n, unary(&n, OP_FLATTEN, unary(&n, OP_GAP, sum)));
    return n;
}

/* Channels of several maps side by side, one of them twice and read elsewhere too. */
static Net concat_net(void)
{
    Net n = net_new(2, 4, 3, 1);
    Node *x = conv(&n, "a", normalize(&n), 2, WINDOW(1, 2, 1, 1, 0, 0, 0), true);
    Node *y = unary(&n, OP_TANH, conv(&n, "b", x, 3, WINDOW(1, 1, 1, 1, 0, 0, 0), true));
    Node *z = conv(&n, "c", y, 1, WINDOW(3, 3, 1, 1, 1, 1, 0), false);
    y = graph_add(n.graph, OP_CONCAT, 4, (Node *[]){y, x, z, y}, NULL, nowhere);
    y = graph_add(n.graph, OP_CONCAT, 2, (Node *[]){x, y}, NULL, nowhere);
    y = unary(&n, OP_GAP, conv(&n, "d", y, CLASSES, WINDOW(2, 2, 1, 1, 0, 0, 0), true));
    finish(&n, unary(&n, OP_FLATTEN, y));
    return n;
}

static Node *lrn(Net *n, Node *x, LrnAttr attr)
{
    return graph_add(n->graph, OP_LRN, 1, &x, &(Attr){.lrn = attr}, nowhere);
}

/* Of a map that others read too, of a normalized one, and of windows wider than the map. */
static Net lrn_net(void)
{
    Net n = net_new(2, 4, 3, 2);
    Node *x = conv(&n, "a", normalize(&n), 6, WINDOW(2, 2, 1, 1, 0, 0, 0), true);
    Node *y = lrn(&n, lrn(&n, x, (LrnAttr){5, 2, 0.75, 1}), (LrnAttr){4, 0.5, 0.6, 2});
    y = graph_add(n.graph, OP_ADD, 2, (Node *[]){x, y}, NULL, nowhere);
    y = lrn(&n, conv(&n, "b", y, CLASSES, WINDOW(2, 2, 1, 1, 0, 0, 0), true),
            (LrnAttr){40, 3, 1, 0.5});
    finish(&n, unary(&n, OP_FLATTEN, unary(&n, OP_GAP, y)));
    return n;
}

static Net (*const networks[])(void) = {strided_net, padded_net, branching_net, activations_net,
                                        concat_net, lrn_net};
enum { NETWORKS = sizeof networks / sizeof networks[0] };

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
    Node *x = conv(&n, "a", normalize(&n), 3, WINDOW(3, 3, 1, 1, 1, 1, 0), false);
    x = unary(&n, OP_RELU, batch_norm(&n, "a.norm", x, true));
    x = batch_norm(&n, "b.norm", pool(&n, OP_MAXPOOL, x, WINDOW(3, 3, 2, 2, 0, 0, 0)), false);
    x = conv(&n, "b", x, 4, WINDOW(2, 2, 1, 1, 0, 0, 0), true);
    x = batch_norm(&n, "c.norm", unary(&n, OP_GAP, x), true);
    x = conv(&n, "c", x, CLASSES, WINDOW(1, 1, 1, 1, 0, 0, 0), true);
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

/* What is frozen has no step; its statistics go on, as PyTorch's in train(). */
START_TEST(a_frozen_batch_norm_is_not_trained)
{
    Net n = norm_net();
    Storage *weight = module_find_storage(n.module, "a.norm.weight");
    Storage *bias = module_find_storage(n.module, "a.norm.bias");
    Storage *mean = module_find_storage(n.module, "a.norm.running_mean");
    weight->training.frozen = bias->training.frozen = true;
    pass_autodiff(n.module);
    const Graph *train = module_find_graph(n.module, "train", TARGET_ANY);
    int updates = 0, of_mean = 0;
    for (int i = 0; i < train->node_count; i++) {
        const Storage *s = train->node[i]->op == OP_UPDATE ? train->node[i]->storage : NULL;
        updates += s == weight || s == bias;
        of_mean += s == mean;
    }
    ck_assert_int_eq(updates, 0);
    ck_assert_int_eq(of_mean, 1);
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

/* The training graph's own loss: at a rate of 0 a run leaves the parameters as they are. */
static double dropped_loss(Eval *e, double *at, double value)
{
    double kept = *at, result;
    *at = value;
    result = loss(e);
    *at = kept;
    return result;
}

/* The gradient goes back through what was kept in the same step; an evaluation keeps all. */
START_TEST(gradients_of_dropout)
{
    const double h = 1e-5;
    Net n = net_new(2, 5, 6, 2);
    Node *seed = graph_take_input(n.graph, INPUT_SEED, nowhere);
    Node *step = graph_take_input(n.graph, INPUT_STEP, nowhere);
    Node *x = normalize(&n);
    for (int i = 0; i < 2; i++) {
        x = conv(&n, i ? "b" : "a", x, CLASSES, WINDOW(2, 2, 1, 1, 0, 0, 0), true);
        x = i ? unary(&n, OP_RELU, x) : x;
        x = graph_add(n.graph, OP_DROPOUT, 3, (Node *[]){x, seed, step},
                      &(Attr){.dropout = {0.25 + 0.25 * i, i}}, nowhere);
    }
    finish(&n, unary(&n, OP_FLATTEN, unary(&n, OP_GAP, x)));
    pass_autodiff(n.module);
    const Graph *train = module_find_graph(n.module, "train", TARGET_ANY);
    const Graph *eval = module_find_graph(n.module, "eval", TARGET_ANY);
    ck_assert_ptr_null(graph_find_input(eval, "seed"));
    ck_assert_ptr_null(graph_find_input(eval, "step"));
    Eval *e = start(&n, train, 2);
    eval_value(e, graph_find_input(train, "seed"))[0] = 3;
    eval_value(e, graph_find_input(train, "step"))[0] = 5;
    eval_value(e, graph_find_input(train, "lr"))[0] = 0;
    for (int i = 0; i < n.module->storage_count; i++) {
        const Storage *s = n.module->storage[i];
        int64_t count = shape_elements(&s->tensor.shape);
        double *grad = pool_alloc(n.pool, (size_t)count * sizeof *grad), *at = eval_state(e, s);
        loss(e);
        memcpy(grad, eval_value(e, gradient_of(train, s)), (size_t)count * sizeof *grad);
        for (int64_t k = 0; k < count; k++)
            expect_near(grad[k], (dropped_loss(e, at + k, at[k] + h) -
                                  dropped_loss(e, at + k, at[k] - h)) / (2 * h), 1e-7, s->name);
    }
    eval_free(e);
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
    Node *x = conv(&n, "a", normalize(&n), CLASSES, WINDOW(1, 1, 1, 1, 0, 0, 0), false);
    Node *again = conv(&n, "a", normalize(&n), CLASSES, WINDOW(1, 1, 1, 1, 0, 0, 0), false);
    Node *sum = graph_add(n.graph, OP_ADD, 2, (Node *[]){x, again}, NULL, nowhere);
    unary(&n, OP_RELU, sum); /* dead */
    x = unary(&n, OP_RELU, unary(&n, OP_RELU, sum));
    x = pool(&n, OP_MAXPOOL, x, WINDOW(1, 1, 1, 1, 0, 0, false));
    x = pool(&n, OP_AVGPOOL, x, WINDOW(4, 4, 1, 1, 0, 0, false));
    x = pool(&n, OP_AVGPOOL, x, WINDOW(1, 1, 2, 2, 0, 0, false));
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
    x = pool(&n, OP_AVGPOOL, x, WINDOW(4, 4, 1, 1, 1, 1, false));
    x = pool(&n, OP_MAXPOOL, x, WINDOW(1, 1, 2, 2, 0, 0, false));
    x = conv(&n, "a", x, CLASSES, WINDOW(2, 2, 1, 1, 0, 0, 0), false);
    finish(&n, unary(&n, OP_FLATTEN, x));
    int before = n.graph->node_count;
    pass_simplify(n.graph);
    ck_assert_int_eq(n.graph->node_count, before);
    ck_assert_int_eq(count_ops(n.graph, OP_GAP), 0);
    pool_free(n.pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("autodiff");
    TCase *tests = tcase_create("networks");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, gradients_by_finite_differences, 0, NETWORKS);
    tcase_add_loop_test(tests, gradients_after_target_and_dgrad, 0, NETWORKS);
    tcase_add_test(tests, gradients_of_dropout);
    tcase_add_loop_test(tests, batch_norm_by_finite_differences, 2, 5); /* valid images */
    tcase_add_test(tests, running_statistics_are_pytorchs);
    tcase_add_test(tests, a_partial_batch_is_a_smaller_one);
    tcase_add_test(tests, a_chunk_is_the_batch);
    tcase_add_test(tests, a_frozen_batch_norm_is_not_trained);
    tcase_add_test(tests, nothing_flows_to_the_image);
    tcase_add_test(tests, codes_stand_behind_their_pool);
    tcase_add_test(tests, a_shared_filter_is_transposed_once_and_first);
    tcase_add_test(tests, simplify_by_rule);
    tcase_add_test(tests, simplify_keeps_what_is_not_the_whole_map);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
