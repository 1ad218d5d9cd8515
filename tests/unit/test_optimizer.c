/* Optimizers on a little network, against PyTorch's formulas written out. */
#include "nets.h"

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

int main(void)
{
    Suite *suite = suite_create("optimizer");
    TCase *tests = tcase_create("networks");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, optimizer_updates, 0, OPTIMIZERS);
    tcase_add_test(tests, moments_are_named_after_their_parameter);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
