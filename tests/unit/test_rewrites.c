/* Winograd's tiles and folded images change no number of a step. */
#include "nets.h"

/* Convolutions with enough channels for tiles, that cut their maps unevenly, beside others. */
static Net wide_net(void)
{
    Net n = net_new(8, 13, 14, 1);
    Node *x = conv(&n, "a", normalize(&n), 64, WINDOW(2, 2, 1, 1, 0, 0, 0), true);
    x = unary(&n, OP_RELU, x);
    x = unary(&n, OP_RELU, conv(&n, "b", x, 96, WINDOW(5, 5, 1, 1, 2, 1, 0), true));
    x = unary(&n, OP_RELU, conv(&n, "c", x, 64, WINDOW(5, 5, 1, 1, 2, 2, 0), false));
    x = pool(&n, OP_MAXPOOL, x, WINDOW(3, 3, 2, 2, 0, 0, true));
    x = unary(&n, OP_GAP, conv(&n, "d", x, CLASSES, WINDOW(3, 3, 1, 1, 1, 1, 0), true));
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

/* Of all graphs of two networks. */
static void expect_same_steps(Net *after, Net *before)
{
    for (int i = 0; i < after->module->graph_count; i++) {
        Eval *want = step_of(before, before->module->graph[i]);
        Eval *got = step_of(after, after->module->graph[i]);
        expect_same_step(got, want);
        eval_free(want);
        eval_free(got);
    }
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
    expect_same_steps(&after, &before);
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
    x = unary(&n, OP_RELU, conv(&n, "a", x, 6, WINDOW(9, 5, 2, 1, 1, 0, 0), true));
    x = unary(&n, OP_GAP, conv(&n, "b", x, CLASSES, WINDOW(3, 3, 1, 1, 1, 1, 0), true));
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
    expect_same_steps(&after, &before);
    pool_free(before.pool);
    pool_free(after.pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rewrites");
    TCase *tests = tcase_create("networks");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, winograd_changes_no_number);
    tcase_add_test(tests, fold_changes_no_number);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
