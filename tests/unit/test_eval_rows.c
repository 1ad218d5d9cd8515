/* The naive evaluator, ops of rows and of single elements: the loss, pointwise ops, optimizers, and
 * how far rounding moves them. */
#include "one_op.h"

/* ---- loss ---- */

typedef struct Head {
    Node *logits, *label, *valid, *weight, *divisor, *nll, *loss, *hit, *hits, *grad;
} Head;

/* A head whose classes have weights. */
static Head weighted_head(Fixture *f, int classes, double smoothing)
{
    const Attr attr = {.factor = smoothing};
    int batch = f->graph->batch;
    Head h = {NULL};
    h.logits = input(f, "logits", DT_F32, shape_of(2, batch, classes, 0, 0));
    h.label = input(f, "label", DT_I32, shape_of(1, batch, 0, 0, 0));
    h.valid = input(f, "valid", DT_I32, shape_of(0, 0, 0, 0, 0));
    h.weight = parameter(f, "weight", shape_of(1, classes, 0, 0, 0));
    h.divisor = input(f, "label_weight", DT_F32, shape_of(0, 0, 0, 0, 0));
    h.nll = add(f, OP_CROSS_ENTROPY, &attr, 3, (Node *[]){h.logits, h.label, h.weight});
    h.loss = add(f, OP_MEAN_VALID, NULL, 3, (Node *[]){h.nll, h.valid, h.divisor});
    h.grad = add(f, OP_CROSS_ENTROPY_GRAD, &attr, 5,
                 (Node *[]){h.logits, h.label, h.valid, h.weight, h.divisor});
    return h;
}

static Head head_new(Fixture *f, int classes, double smoothing)
{
    const Attr attr = {.factor = smoothing};
    int batch = f->graph->batch;
    Head h = {NULL};
    h.logits = input(f, "logits", DT_F32, shape_of(2, batch, classes, 0, 0));
    h.label = input(f, "label", DT_I32, shape_of(1, batch, 0, 0, 0));
    h.valid = input(f, "valid", DT_I32, shape_of(0, 0, 0, 0, 0));
    h.nll = add(f, OP_CROSS_ENTROPY, &attr, 2, (Node *[]){h.logits, h.label});
    h.loss = add(f, OP_MEAN_VALID, NULL, 2, (Node *[]){h.nll, h.valid});
    h.hit = add(f, OP_CORRECT, NULL, 2, (Node *[]){h.logits, h.label});
    h.hits = add(f, OP_COUNT_VALID, NULL, 2, (Node *[]){h.hit, h.valid});
    h.grad = add(f, OP_CROSS_ENTROPY_GRAD, &attr, 3, (Node *[]){h.logits, h.label, h.valid});
    return h;
}

START_TEST(loss_by_hand)
{
    Fixture f = fixture_new(3);
    Head h = head_new(&f, 2, 0);
    start(&f, 0);
    SET(&f, h.logits, {0, log(3), 1000, 1000, 5, 5});
    SET(&f, h.label, {1, 1, 0});
    SET(&f, h.valid, {2});
    eval_run(f.eval);
    EXPECT(&f, h.nll, {log(4) - log(3), log(2), log(2)});
    EXPECT(&f, h.loss, {(log(4) - log(3) + log(2)) / 2});
    EXPECT(&f, h.hit, {1, 0, 1});
    EXPECT(&f, h.hits, {1});
    EXPECT(&f, h.grad, {0.125, -0.125, 0.25, -0.25, 0, 0});
    fixture_free(&f);
}
END_TEST

/* Of the label 0.7 and 0.1, of each other class 0.1 (F.cross_entropy, label_smoothing=0.3). */
START_TEST(smoothed_loss_by_hand)
{
    Fixture f = fixture_new(2);
    Head h = head_new(&f, 3, 0.3);
    start(&f, 0);
    SET(&f, h.logits, {0, log(2), 0, 0, 0, 0});
    SET(&f, h.label, {1, 2});
    SET(&f, h.valid, {2});
    eval_run(f.eval);
    EXPECT(&f, h.nll, {log(4) - 0.8 * log(2), log(3)});
    EXPECT(&f, h.grad, {0.075, -0.15, 0.075, 0.7 / 6, 0.7 / 6, -1.4 / 6});
    fixture_free(&f);
}
END_TEST

/* F.cross_entropy(weight=[1, 2, 4], label_smoothing=0.3), whose mean is by the labels' weights. */
START_TEST(weighted_loss_by_hand)
{
    Fixture f = fixture_new(2);
    Head h = weighted_head(&f, 3, 0.3);
    start(&f, 0);
    SET(&f, h.logits, {0, log(2), 0, 0, 0, 0});
    SET(&f, h.label, {1, 2});
    SET(&f, h.valid, {2});
    SET(&f, h.weight, {1, 2, 4});
    SET(&f, h.divisor, {6});
    eval_run(f.eval);
    /* targets 0.1, 1.6, 0.4 and 0.1, 0.2, 3.2 */
    EXPECT(&f, h.nll, {2.1 * log(4) - 1.6 * log(2), 3.5 * log(3)});
    EXPECT(&f, h.loss, {(2.1 * log(4) - 1.6 * log(2) + 3.5 * log(3)) / 6});
    EXPECT(&f, h.grad,
           {(2.1 / 4 - 0.1) / 6, (2.1 / 2 - 1.6) / 6, (2.1 / 4 - 0.4) / 6, (3.5 / 3 - 0.1) / 6,
            (3.5 / 3 - 0.2) / 6, (3.5 / 3 - 3.2) / 6});
    fixture_free(&f);
}
END_TEST

/* Smoothed where _i is even; for _i images, past 4 for _i - 4 and weighted. */
START_TEST(loss_gradient)
{
    Fixture f = fixture_new(4);
    double smoothing = _i % 2 ? 0 : 0.2;
    Head h = _i > 4 ? weighted_head(&f, 5, smoothing) : head_new(&f, 5, smoothing);
    const double step = 1e-5;
    start(&f, 0);
    set_random(&f, h.logits);
    SET(&f, h.label, {4, 0, 2, 2});
    value(&f, h.valid)[0] = _i > 4 ? _i - 4 : _i;
    if (_i > 4) {
        SET(&f, h.weight, {3, 0.5, 1.5, 0, 0.25});
        SET(&f, h.divisor, {1.75});
    }
    eval_run(f.eval);
    for (int i = 0; i < 20; i++) {
        double at = value(&f, h.logits)[i], side[2];
        for (int k = 0; k < 2; k++) {
            value(&f, h.logits)[i] = at + (k ? step : -step);
            eval_node(f.eval, h.nll);
            eval_node(f.eval, h.loss);
            side[k] = value(&f, h.loss)[0];
        }
        value(&f, h.logits)[i] = at;
        expect_near(value(&f, h.grad)[i], (side[1] - side[0]) / (2 * step), 1e-8, "logits");
    }
    expect_spread(&f, 1, &h.logits, h.nll, 1e6);
    expect_spread(&f, 1, &h.logits, h.grad, 1e6);
    expect_spread(&f, 1, &h.nll, h.loss, 1);
    fixture_free(&f);
}
END_TEST

/* Fewer images than the graph's batch: fewer rows, and valid may still say more. */
START_TEST(part_of_a_batch)
{
    Fixture f = fixture_new(16);
    Head h = head_new(&f, 2, 0);
    start(&f, 2);
    ck_assert_int_eq(eval_elements(f.eval, h.logits), 4);
    ck_assert_int_eq(eval_elements(f.eval, h.loss), 1);
    SET(&f, h.logits, {0, log(3), 0, 0});
    SET(&f, h.label, {0, 1});
    SET(&f, h.valid, {2});
    eval_run(f.eval);
    EXPECT(&f, h.loss, {(log(4) + log(2)) / 2});
    fixture_free(&f);
}
END_TEST

START_TEST(a_parameter_is_not_cut_to_the_batch)
{
    Fixture f = fixture_new(4);
    Attr attr = window(1, 1, 1, 0, false), decay = {.factor = 0.5};
    Node *x = map_input(&f, "x", 2, 2, 3), *w = parameter(&f, "w", shape_of(4, 4, 3, 1, 1));
    Node *y = add(&f, OP_CONV2D, &attr, 2, (Node *[]){x, w});
    Node *dw = add_like(&f, OP_CONV2D_WGRAD, &attr, 2, (Node *[]){x, y}, w);
    Node *sum = add(&f, OP_WEIGHT_DECAY, &decay, 2, (Node *[]){dw, w});
    graph_update(f.graph, w->storage, sum, nowhere);
    start(&f, 1);
    ck_assert_int_eq(eval_elements(f.eval, y), 16);
    ck_assert_int_eq(eval_elements(f.eval, sum), 12);
    set_random(&f, x);
    set_random(&f, w);
    eval_run(f.eval);
    expect_values(&f, w, 12, value(&f, sum));
    fixture_free(&f);
}
END_TEST

/* ---- pointwise ---- */

START_TEST(relu_and_add)
{
    Fixture f = fixture_new(1);
    Node *x = map_input(&f, "x", 1, 4, 1), *dy = map_input(&f, "dy", 1, 4, 1);
    Node *y = add(&f, OP_RELU, NULL, 1, &x);
    Node *dx = add(&f, OP_RELU_GRAD, NULL, 2, (Node *[]){dy, y});
    Node *sum = add(&f, OP_ADD, NULL, 2, (Node *[]){x, dy});
    start(&f, 0);
    SET(&f, x, {-1, 0, 2, NAN});
    SET(&f, dy, {5, 6, 7, 8});
    eval_run(f.eval);
    ck_assert(isnan(value(&f, y)[3]));
    value(&f, y)[3] = 1;
    EXPECT(&f, y, {0, 0, 2, 1});
    eval_node(f.eval, dx);
    EXPECT(&f, dx, {0, 0, 7, 8});
    ck_assert(isnan(value(&f, sum)[3]));
    value(&f, sum)[3] = 0;
    EXPECT(&f, sum, {4, 6, 9, 0});
    fixture_free(&f);
}
END_TEST

/* Of 0 it is a half, far off 0 and 1; its gradient against a difference of its values. */
START_TEST(sigmoid_and_its_gradient)
{
    Fixture f = fixture_new(1);
    Node *x = map_input(&f, "x", 1, 4, 1), *dy = map_input(&f, "dy", 1, 4, 1);
    Node *y = add(&f, OP_SIGMOID, NULL, 1, &x);
    Node *dx = add(&f, OP_SIGMOID_GRAD, NULL, 2, (Node *[]){dy, y});
    start(&f, 0);
    SET(&f, x, {0, -800, 800, 0.7});
    SET(&f, dy, {4, 5, 6, 7});
    eval_run(f.eval);
    EXPECT(&f, y, {0.5, 0, 1, 1 / (1 + exp(-0.7))});
    double gradient = value(&f, dx)[3], above, below;
    EXPECT(&f, dx, {1, 0, 0, gradient});
    SET(&f, x, {0, 0, 0, 0.7 + 1e-5});
    eval_node(f.eval, y);
    above = value(&f, y)[3];
    SET(&f, x, {0, 0, 0, 0.7 - 1e-5});
    eval_node(f.eval, y);
    below = value(&f, y)[3];
    expect_near(gradient, 7 * (above - below) / 2e-5, 1e-6, "the gradient of sigmoid");
    fixture_free(&f);
}
END_TEST

/* What PyTorch has for them: of -4, -1, 0, 1, 3 and 7, with the factor 0.25. */
START_TEST(activations)
{
    static const double x[] = {-4, -1, 0, 1, 3, 7};
    static const struct {
        Op op;
        double y[6];
    } known[] = {
        {OP_RELU6, {0, 0, 0, 1, 3, 6}},
        {OP_LEAKY_RELU, {-1, -0.25, 0, 1, 3, 7}},
        {OP_ELU, {-0.245421090278, -0.158030139707, 0, 1, 3, 7}},
        {OP_TANH, {-0.999329299739, -0.761594155956, 0, 0.761594155956, 0.995054753687,
                   0.999998336944}},
        {OP_GELU, {-0.000126684967, -0.158655253931, 0, 0.841344746069, 2.99595030571,
                   6.999999999991}},
        {OP_SILU, {-0.0719448398495, -0.268941421370, 0, 0.731058578630, 2.857722380487,
                   6.993622644}},
        {OP_HARDSWISH, {0, -1.0 / 3, 0, 2.0 / 3, 3, 7}},
        {OP_SOFTPLUS, {0.0181499279178, 0.313261687518, 0.693147180560, 1.313261687518,
                       3.048587351573, 7.000911466454}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        Fixture f = fixture_new(1);
        Node *in = map_input(&f, "x", 2, 3, 1);
        Node *y = add(&f, known[i].op, &(Attr){.factor = 0.25}, 1, &in);
        start(&f, 0);
        set(&f, in, x);
        eval_run(f.eval);
        for (int k = 0; k < 6; k++)
            expect_near(value(&f, y)[k], known[i].y[k], 1e-9, op_name(known[i].op));
        fixture_free(&f);
    }
}
END_TEST

/* At a kink, and of a factor below 0, whose results do not tell on which side x was. */
START_TEST(gradients_at_kinks)
{
    static const struct {
        Op op;
        double factor, x[4], dx[4];
    } known[] = {
        {OP_RELU6_GRAD, 0, {0, 6, 5.9, -1}, {0, 0, 2, 0}},
        {OP_LEAKY_RELU_GRAD, 0.25, {0, -1, 1, 1e-30}, {0.5, 0.5, 2, 2}},
        {OP_LEAKY_RELU_GRAD, -0.5, {0, -1, 1, 1e-30}, {-1, -1, 2, 2}},
        {OP_ELU_GRAD, 0.25, {0, 1e-30, 5, -1e30}, {0.5, 2, 2, 0}},
        {OP_HARDSWISH_GRAD, 0, {-3, 3, -3.1, 3.1}, {-1, 3, 0, 2}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        Fixture f = fixture_new(1);
        Node *dy = map_input(&f, "dy", 1, 4, 1), *x = map_input(&f, "x", 1, 4, 1);
        Node *dx = add(&f, known[i].op, &(Attr){.factor = known[i].factor}, 2, (Node *[]){dy, x});
        start(&f, 0);
        SET(&f, dy, {2, 2, 2, 2});
        set(&f, x, known[i].x);
        eval_run(f.eval);
        expect_values(&f, dx, 4, known[i].dx);
        fixture_free(&f);
    }
}
END_TEST

/* Pixel by pixel, and back. */
START_TEST(concat_and_slice)
{
    Fixture f = fixture_new(1);
    Node *x = map_input(&f, "x", 1, 2, 2), *y = map_input(&f, "y", 1, 2, 1);
    Node *z = add(&f, OP_CONCAT, NULL, 3, (Node *[]){x, y, x});
    Node *part = add(&f, OP_SLICE, &(Attr){.slice = {1, 4}}, 1, &z);
    start(&f, 0);
    SET(&f, x, {1, 2, 3, 4});
    SET(&f, y, {5, 6});
    eval_run(f.eval);
    EXPECT(&f, z, {1, 2, 5, 1, 2, 3, 4, 6, 3, 4});
    EXPECT(&f, part, {2, 5, 1, 4, 6, 3});
    fixture_free(&f);
}
END_TEST

START_TEST(optimizer_ops)
{
    Fixture f = fixture_new(1);
    Shape two = shape_of(1, 2, 0, 0, 0), scalar = shape_of(0, 0, 0, 0, 0);
    Attr k = {.factor = 0.75}, adam = {.adam = {0.5, 0.75, 0.25, 2}};
    Node *p = parameter(&f, "p", two), *g = parameter(&f, "g", two), *v = parameter(&f, "v", two);
    Node *lr = input(&f, "lr", DT_F32, scalar), *step = input(&f, "step", DT_I32, scalar);
    Node *decay = add(&f, OP_WEIGHT_DECAY, &k, 2, (Node *[]){g, p});
    Node *momentum = add(&f, OP_MOMENTUM, &k, 2, (Node *[]){v, g});
    Node *sgd = add(&f, OP_SGD_STEP, &k, 3, (Node *[]){p, g, lr});
    Node *first = add(&f, OP_ADAM_M, &k, 2, (Node *[]){v, g});
    Node *second = add(&f, OP_ADAM_V, &k, 2, (Node *[]){v, g});
    Node *one = add(&f, OP_SQUARE_SUM, NULL, 1, &p);
    Node *sum = add(&f, OP_SQUARE_SUM, NULL, 2, (Node *[]){g, one});
    Node *factor = add(&f, OP_CLIP_FACTOR, &k, 1, &sum);
    Node *whole = add(&f, OP_CLIP_FACTOR, &(Attr){.factor = 100}, 1, &sum);
    Node *clipped = add(&f, OP_CLIP, NULL, 2, (Node *[]){g, factor});
    Node *ahead = add(&f, OP_NESTEROV, &k, 2, (Node *[]){v, g});
    Node *scaled = add(&f, OP_RMSPROP_SCALE, &k, 2, (Node *[]){v, g});
    Node *decayed = add(&f, OP_ADAMW_DECAY, &k, 2, (Node *[]){p, lr});
    Node *next = add(&f, OP_ADAM_STEP, &adam, 5, (Node *[]){p, g, v, lr, step});
    Node *average = add(&f, OP_EMA, &k, 2, (Node *[]){p, g});
    start(&f, 0);
    SET(&f, p, {1, -2});
    SET(&f, g, {4, 8});
    SET(&f, v, {16, 4});
    SET(&f, lr, {0.5});
    SET(&f, step, {2});
    eval_run(f.eval);
    EXPECT(&f, decay, {4.75, 6.5});
    EXPECT(&f, momentum, {16, 11});
    EXPECT(&f, sgd, {-0.5, -5});
    EXPECT(&f, first, {13, 5});
    EXPECT(&f, second, {16, 19});
    EXPECT(&f, one, {5});
    EXPECT(&f, sum, {85});
    EXPECT(&f, factor, {0.75 / (sqrt(85) + 1e-6)});
    EXPECT(&f, whole, {1});
    EXPECT(&f, clipped, {3 / (sqrt(85) + 1e-6), 6 / (sqrt(85) + 1e-6)});
    EXPECT(&f, ahead, {16, 11});
    EXPECT(&f, scaled, {4 / 4.75, 8 / 2.75});
    EXPECT(&f, decayed, {0.625, -1.25});
    EXPECT(&f, average, {1.75, 0.5});
    /* corrections 1 - 0.25 and 1 - 0.5625 */
    EXPECT(&f, next,
           {1 - 2 * 0.5 / 0.75 * 4 / (4 / sqrt(0.4375) + 0.25),
            -2 - 2 * 0.5 / 0.75 * 8 / (2 / sqrt(0.4375) + 0.25)});
    expect_spread(&f, 2, (Node *[]){p, g}, decay, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, momentum, 1);
    expect_spread(&f, 2, (Node *[]){p, g}, sgd, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, first, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, second, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, ahead, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, scaled, 1);
    expect_spread(&f, 1, &p, decayed, 1);
    expect_spread(&f, 2, (Node *[]){p, g}, average, 1);
    expect_spread(&f, 3, (Node *[]){p, g, v}, next, 1);
    fixture_free(&f);
}
END_TEST

/* A sum that cancels has the spread of its terms, and what compares it may go either way. */
START_TEST(spread_of_what_cancels)
{
    Fixture f = fixture_new(1);
    Attr one = window(1, 1, 1, 0, false);
    Node *x = map_input(&f, "x", 1, 2, 2), *dy = map_input(&f, "dy", 1, 2, 1);
    Node *filter = parameter(&f, "w", shape_of(4, 1, 2, 1, 1));
    Node *y = add(&f, OP_CONV2D, &one, 2, (Node *[]){x, filter});
    Node *relu = add(&f, OP_RELU, NULL, 1, &y);
    Node *back = add(&f, OP_RELU_GRAD, NULL, 2, (Node *[]){dy, relu});
    start(&f, 0);
    SET(&f, x, {3, 3, -5, 4});
    SET(&f, filter, {1, -1});
    SET(&f, dy, {7, 7});
    eval_run(f.eval);
    EXPECT(&f, y, {0, -9});
    Eval *spread = spread_new(f.eval, 1e-3, 0.1);
    for (int i = 0; i < f.graph->node_count; i++)
        spread_node(spread, f.graph->node[i]);
    expect_near(eval_value(spread, y)[0], 18, 1e-6, "the spread of 3 - 3");
    expect_near(eval_value(spread, y)[1], 81, 1e-6, "the spread of -5 - 4");
    expect_near(eval_value(spread, relu)[0], 18, 1e-6, "the spread of relu near 0");
    expect_near(eval_value(spread, relu)[1], 0, 1e-6, "the spread of relu below 0");
    expect_near(eval_value(spread, back)[0], 49 + 4900, 1e-6, "the spread of a gradient near 0");
    expect_near(eval_value(spread, back)[1], 0, 1e-6, "the spread of a gradient of 0");
    eval_free(spread);
    fixture_free(&f);
}
END_TEST

/* Equal terms in a row are rounded alike: 64 runs of 1024 come to far more than 64 * 1024 terms of
 * independent signs. */
START_TEST(spread_of_equal_terms)
{
    enum { IMAGES = 64, SIDE = 32 };
    Fixture f = fixture_new(IMAGES);
    Node *dy = map_input(&f, "dy", SIDE, SIDE, 1), *sum = add(&f, OP_BIAS_GRAD, NULL, 1, &dy);
    double spread_of[2];
    for (int alike = 0; alike < 2; alike++) {
        start(&f, 0);
        for (int i = 0; i < IMAGES * SIDE * SIDE; i++)
            value(&f, dy)[i] = (alike ? i / SIDE / SIDE : i) % 2 ? 1 : -1;
        eval_run(f.eval);
        EXPECT(&f, sum, {0});
        Eval *spread = spread_new(f.eval, 1e-5, 1);
        spread_set(spread, dy);
        spread_node(spread, sum);
        spread_of[alike] = sqrt(eval_value(spread, sum)[0]);
        eval_free(spread);
        eval_free(f.eval);
    }
    start(&f, 0);
    ck_assert(spread_of[0] > IMAGES * SIDE / 2 && spread_of[0] < 10 * IMAGES * SIDE);
    ck_assert(spread_of[1] > 5 * spread_of[0]);
    fixture_free(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("eval_rows");
    TCase *tests = tcase_create("ops");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, loss_by_hand);
    tcase_add_test(tests, smoothed_loss_by_hand);
    tcase_add_test(tests, weighted_loss_by_hand);
    tcase_add_loop_test(tests, loss_gradient, 1, 9);
    tcase_add_test(tests, part_of_a_batch);
    tcase_add_test(tests, a_parameter_is_not_cut_to_the_batch);
    tcase_add_test(tests, relu_and_add);
    tcase_add_test(tests, sigmoid_and_its_gradient);
    tcase_add_test(tests, activations);
    tcase_add_test(tests, gradients_at_kinks);
    tcase_add_test(tests, concat_and_slice);
    tcase_add_test(tests, optimizer_ops);
    tcase_add_test(tests, spread_of_what_cancels);
    tcase_add_test(tests, spread_of_equal_terms);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
