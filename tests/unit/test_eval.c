/* The naive evaluator, ops of maps: each against hand-computed values or an independent formula,
 * and each backward op against central differences of its forward, over small odd shapes. */
#include "one_op.h"

/* ---- images ---- */

START_TEST(normalize_scales_then_shifts)
{
    Fixture f = fixture_new(1);
    Attr attr = {.image = {2, (double[]){0.5, 0.25}, (double[]){0.5, 2}}};
    Node *image = input(&f, "image", DT_U8, shape_of(4, 1, 1, 2, 2));
    Node *y = add(&f, OP_NORMALIZE, &attr, 1, &image);
    start(&f, 0);
    SET(&f, image, {0, 255, 51, 102});
    eval_run(f.eval);
    EXPECT(&f, y, {-1, 0.375, -0.6, 0.075});
    fixture_free(&f);
}
END_TEST

/* Values of torch.nn.functional.interpolate(mode='bilinear', align_corners=False). */
START_TEST(resize_is_bilinear_without_aligned_corners)
{
    Fixture f = fixture_new(1);
    Attr attr = {.image = {1, (double[]){0}, (double[]){1}}};
    Tensor wide = {.dtype = DT_F32, .shape = shape_of(4, 1, 1, 4, 1)};
    Tensor tall = {.dtype = DT_F32, .shape = shape_of(4, 1, 3, 1, 1)};
    Node *two = input(&f, "two", DT_U8, shape_of(4, 1, 1, 2, 1));
    Node *five = input(&f, "five", DT_U8, shape_of(4, 1, 5, 1, 1));
    Node *up = graph_add_typed(f.graph, OP_RESIZE, 1, &two, &attr, &wide, nowhere);
    Node *down = graph_add_typed(f.graph, OP_RESIZE, 1, &five, &attr, &tall, nowhere);
    start(&f, 0);
    SET(&f, two, {0, 255});
    SET(&f, five, {0, 51, 102, 204, 255});
    eval_run(f.eval);
    EXPECT(&f, up, {0, 0.25, 0.75, 1});
    /* sources 1/3, 2, 3 + 2/3 */
    EXPECT(&f, down, {0.2 / 3, 0.4, 0.8 + 0.2 * 2 / 3});
    fixture_free(&f);
}
END_TEST

/* ---- convolution ---- */

/* The definition over a padded copy of x: another order of loops than the evaluator's. */
static double conv2d_at(Fixture *f, const Node *x, const Node *filter, const Window *k, int n,
                        int oh, int ow, int o)
{
    const int32_t *dx = x->tensor.shape.dim, *df = filter->tensor.shape.dim;
    int first = o / (df[0] / window_groups(k)) * df[1]; /* of the inputs of o's group */
    double sum = 0;
    for (int i = 0; i < df[1]; i++)
        for (int kh = 0; kh < df[2]; kh++)
            for (int kw = 0; kw < df[3]; kw++) {
                int h = oh * k->stride_h + kh * window_dilation_h(k) - k->padding_h;
                int w = ow * k->stride_w + kw * window_dilation_w(k) - k->padding_w;
                if (h >= 0 && w >= 0 && h < dx[1] && w < dx[2])
                    sum += value(f, x)[((n * dx[1] + h) * dx[2] + w) * dx[3] + first + i] *
                           value(f, filter)[((o * df[1] + i) * df[2] + kh) * df[3] + kw];
            }
    return sum;
}

START_TEST(conv2d_by_hand)
{
    Fixture f = fixture_new(1);
    Attr attr = window(2, 2, 1, 0, false);
    Node *x = map_input(&f, "x", 2, 3, 1), *w = parameter(&f, "w", shape_of(4, 1, 1, 2, 2));
    Node *b = parameter(&f, "b", shape_of(1, 1, 0, 0, 0));
    Node *y = add(&f, OP_CONV2D, &attr, 3, (Node *[]){x, w, b});
    start(&f, 0);
    SET(&f, x, {1, 2, 3, 4, 5, 6});
    SET(&f, w, {1, 10, 100, 1000});
    SET(&f, b, {0.5});
    eval_run(f.eval);
    EXPECT(&f, y, {5421.5, 6532.5});
    fixture_free(&f);
}
END_TEST

START_TEST(conv2d_and_its_gradients)
{
    Fixture f = fixture_new(random_int(&(Fixture){.random = (uint64_t)_i + 1}, 1, 3));
    f.random += (uint64_t)_i * 77;
    int h = random_int(&f, 1, 7), w = random_int(&f, 1, 7);
    int groups = _i % 3 ? 1 : random_int(&f, 1, 4);
    int in = groups * random_int(&f, 1, 7), out = groups * random_int(&f, 1, 11);
    Attr attr = {.window = random_window(&f, h, w, false)};
    const Window *k = &attr.window;
    attr.window.groups = window_unless_one(groups);
    Node *x = map_input(&f, "x", h, w, in);
    Node *filter =
        parameter(&f, "w", shape_of(4, out, in / groups, k->kernel_h, k->kernel_w));
    Node *bias = parameter(&f, "b", shape_of(1, out, 0, 0, 0));
    Node *y = add(&f, OP_CONV2D, &attr, 3, (Node *[]){x, filter, bias});
    const int32_t *dim = y->tensor.shape.dim;
    Node *dy = map_input(&f, "dy", dim[1], dim[2], out);
    Node *dx = add_like(&f, OP_CONV2D_DGRAD, &attr, 2, (Node *[]){dy, filter}, x);
    Node *dw = add_like(&f, OP_CONV2D_WGRAD, &attr, 2, (Node *[]){x, dy}, filter);
    Node *db = add(&f, OP_BIAS_GRAD, NULL, 1, &dy);
    start(&f, 0);
    set_random(&f, x);
    set_random(&f, filter);
    set_random(&f, bias);
    set_random(&f, dy);
    eval_run(f.eval);
    for (int i = 0; i < dim[0] * dim[1] * dim[2] * out; i++) {
        int pixel = i / out;
        double want = conv2d_at(&f, x, filter, k, pixel / dim[2] / dim[1], pixel / dim[2] % dim[1],
                                pixel % dim[2], i % out);
        expect_near(value(&f, y)[i], want + value(&f, bias)[i % out], 1e-12, "conv2d");
    }
    expect_gradient(&f, x, y, dy, dx);
    expect_gradient(&f, filter, y, dy, dw);
    expect_gradient(&f, bias, y, dy, db);
    expect_spread(&f, 2, (Node *[]){x, bias}, y, 1);
    expect_spread(&f, 1, &dy, dx, 1);
    expect_spread(&f, 1, &dy, dw, 1);
    expect_spread(&f, 1, &dy, db, 1);
    fixture_free(&f);
}
END_TEST

/* A stride-1 dgrad is the convolution by the transposed filter with the padding k - 1 - p. */
START_TEST(filter_transpose_makes_dgrad_a_convolution)
{
    Fixture f = fixture_new(2);
    f.random += (uint64_t)_i * 101;
    int kh = random_int(&f, 1, 4), kw = random_int(&f, 1, 4);
    int ph = random_int(&f, 0, kh - 1), pw = random_int(&f, 0, kw - 1);
    Attr attr = {.window = W(kh, kw, 1, 1, ph, pw, false)};
    Attr back = {.window = W(kh, kw, 1, 1, kh - 1 - ph, kw - 1 - pw, false)};
    Node *x = map_input(&f, "x", 5, 4, 3), *w = parameter(&f, "w", shape_of(4, 5, 3, kh, kw));
    Node *y = add(&f, OP_CONV2D, &attr, 2, (Node *[]){x, w});
    Node *dy = map_input(&f, "dy", y->tensor.shape.dim[1], y->tensor.shape.dim[2], 5);
    Node *dx = add_like(&f, OP_CONV2D_DGRAD, &attr, 2, (Node *[]){dy, w}, x);
    Node *wt = add(&f, OP_FILTER_TRANSPOSE, NULL, 1, &w);
    Node *same = add(&f, OP_CONV2D, &back, 2, (Node *[]){dy, wt});
    start(&f, 0);
    set_random(&f, w);
    set_random(&f, dy);
    eval_run(f.eval);
    expect_values(&f, same, (int)eval_elements(f.eval, dx), value(&f, dx));
    fixture_free(&f);
}
END_TEST

START_TEST(filter_transpose_by_hand)
{
    Fixture f = fixture_new(1);
    Node *w = parameter(&f, "w", shape_of(4, 2, 1, 1, 3));
    Node *wt = add(&f, OP_FILTER_TRANSPOSE, NULL, 1, &w);
    start(&f, 0);
    SET(&f, w, {1, 2, 3, 4, 5, 6});
    eval_run(f.eval);
    EXPECT(&f, wt, {3, 2, 1, 6, 5, 4});
    fixture_free(&f);
}
END_TEST

/* ---- pools ---- */

START_TEST(maxpool_takes_the_first_maximum)
{
    Fixture f = fixture_new(1);
    Attr attr = window(3, 3, 2, 1, false);
    Node *x = map_input(&f, "x", 3, 3, 1);
    Node *y = add(&f, OP_MAXPOOL, &attr, 1, &x), *code = add(&f, OP_MAXPOOL_CODE, &attr, 1, &x);
    start(&f, 0);
    SET(&f, x, {-1, -5, -2, -1, -5, -5, -7, -4, -4});
    eval_run(f.eval);
    EXPECT(&f, y, {-1, -2, -1, -4});
    EXPECT(&f, code, {4, 4, 1, 3});
    fixture_free(&f);
}
END_TEST

START_TEST(maxpool_lets_nan_through)
{
    Fixture f = fixture_new(1);
    Attr attr = window(1, 3, 3, 0, false);
    Node *x = map_input(&f, "x", 1, 6, 1), *y = add(&f, OP_MAXPOOL, &attr, 1, &x);
    Node *code = add(&f, OP_MAXPOOL_CODE, &attr, 1, &x);
    start(&f, 0);
    SET(&f, x, {1, NAN, 3, -INFINITY, -INFINITY, -INFINITY});
    eval_run(f.eval);
    ck_assert(isnan(value(&f, y)[0]));
    ck_assert(value(&f, y)[1] == -INFINITY);
    EXPECT(&f, code, {1, 0});
    fixture_free(&f);
}
END_TEST

/* AvgPool2d(3, 2, padding=1, ceil_mode) over 4 positions: windows -1..1, 1..3, 3..5; padded input
 * ends at 5, so the last divides by 2, of which one is padding. */
START_TEST(avgpool_divides_by_the_padded_window)
{
    Fixture f = fixture_new(1);
    Attr attr = {.window = W(1, 3, 1, 2, 0, 1, true)};
    Node *x = map_input(&f, "x", 1, 4, 1), *y = add(&f, OP_AVGPOOL, &attr, 1, &x);
    start(&f, 0);
    SET(&f, x, {3, 6, 9, 12});
    eval_run(f.eval);
    EXPECT(&f, y, {3, 9, 6});
    fixture_free(&f);
}
END_TEST

/* The same with count_include_pad=False: 1, 3 and 1 values of the map. */
START_TEST(avgpool_divides_by_what_is_inside)
{
    Fixture f = fixture_new(1);
    Attr attr = {.window = {.kernel_h = 1, .kernel_w = 3, .stride_h = 1, .stride_w = 2,
                            .padding_w = 1, .ceil_mode = true, .inside = true}};
    Node *x = map_input(&f, "x", 1, 4, 1), *y = add(&f, OP_AVGPOOL, &attr, 1, &x);
    start(&f, 0);
    SET(&f, x, {3, 6, 9, 12});
    eval_run(f.eval);
    EXPECT(&f, y, {4.5, 9, 12});
    fixture_free(&f);
}
END_TEST

START_TEST(avgpool_ragged_without_padding)
{
    Fixture f = fixture_new(1);
    Attr attr = window(2, 2, 2, 0, true);
    Node *x = map_input(&f, "x", 3, 3, 1), *y = add(&f, OP_AVGPOOL, &attr, 1, &x);
    start(&f, 0);
    SET(&f, x, {1, 2, 3, 4, 5, 6, 7, 8, 9});
    eval_run(f.eval);
    EXPECT(&f, y, {3, 4.5, 7.5, 9});
    fixture_free(&f);
}
END_TEST

START_TEST(pool_gradients)
{
    Fixture f = fixture_new(2);
    f.random += (uint64_t)_i * 31;
    int h = random_int(&f, 1, 8), w = random_int(&f, 1, 8), c = random_int(&f, 1, 5);
    Attr attr = {.window = random_window(&f, h, w, true)};
    Node *x = map_input(&f, "x", h, w, c);
    Node *largest = add(&f, OP_MAXPOOL, &attr, 1, &x);
    Attr averaged = attr;
    averaged.window.inside = _i % 2;
    Node *mean = add(&f, OP_AVGPOOL, &averaged, 1, &x);
    Node *code = add(&f, OP_MAXPOOL_CODE, &attr, 1, &x);
    const int32_t *dim = largest->tensor.shape.dim;
    Node *dy = map_input(&f, "dy", dim[1], dim[2], c);
    Node *dlargest = add_like(&f, OP_MAXPOOL_GRAD, &attr, 2, (Node *[]){dy, code}, x);
    Node *dmean = add_like(&f, OP_AVGPOOL_GRAD, &averaged, 1, &dy, x);
    start(&f, 0);
    set_random(&f, x);
    set_random(&f, dy);
    expect_gradient(&f, x, largest, dy, dlargest);
    expect_gradient(&f, x, mean, dy, dmean);
    expect_spread(&f, 1, &x, mean, 1);
    expect_spread(&f, 1, &dy, dmean, 1);
    fixture_free(&f);
}
END_TEST

/* torch.nn.LocalResponseNorm of six channels: an even size has one channel more before than behind,
 * and no size reads channels that there are not. */
START_TEST(lrn_is_pytorchs)
{
    static const double want[3][6] = {
        {0.399384137858, 0.598139512488, 0.661950183929, -0.662240104305, 0.851119626673,
         1.09162242742},
        {0.666666666667, 0.942809041582, 1.02899151086, -1.05045146288, 1.05409255339,
         1.33333333333},
        {0.051724137931, 0.063829787234, 0.0957446808511, -0.127659574468, 0.159574468085,
         0.193548387097}};
    static const LrnAttr attr[3] = {{5, 0.5, 0.75, 2}, {4, 1, 0.5, 1}, {9, 3, 1, 1}};
    Fixture f = fixture_new(1);
    Node *x = map_input(&f, "x", 1, 1, 6);
    Node *y = add(&f, OP_LRN, &(Attr){.lrn = attr[_i]}, 1, &x);
    start(&f, 0);
    SET(&f, x, {1, 2, 3, -4, 5, 6});
    eval_run(f.eval);
    for (int c = 0; c < 6; c++)
        expect_near(value(&f, y)[c], want[_i][c], 1e-10, "lrn");
    fixture_free(&f);
}
END_TEST

START_TEST(lrn_gradients)
{
    Fixture f = fixture_new(2);
    f.random += (uint64_t)_i * 31;
    Attr attr = {.lrn = {random_int(&f, 1, 9), 0.5 * random_int(&f, 0, 4),
                         _i % 2 ? 0.75 : 0.25 * random_int(&f, 0, 8), 0.5 * random_int(&f, 1, 3)}};
    Node *x = map_input(&f, "x", 2, 3, random_int(&f, 1, 7));
    Node *dy = map_input(&f, "dy", 2, 3, x->tensor.shape.dim[3]);
    Node *y = add(&f, OP_LRN, &attr, 1, &x);
    Node *dx = add(&f, OP_LRN_GRAD, &attr, 2, (Node *[]){dy, x});
    start(&f, 0);
    set_random(&f, x);
    set_random(&f, dy);
    expect_gradient(&f, x, y, dy, dx);
    expect_spread(&f, 1, &x, y, 1e6);
    expect_spread(&f, 1, &dy, dx, 1e6);
    fixture_free(&f);
}
END_TEST

START_TEST(maxpool_grad_ignores_codes_outside_the_map)
{
    Fixture f = fixture_new(1);
    Attr attr = window(3, 3, 2, 1, false);
    Node *x = map_input(&f, "x", 3, 3, 1), *dy = map_input(&f, "dy", 2, 2, 1);
    Node *code = input(&f, "code", DT_U8, shape_of(4, 1, 2, 2, 1));
    Node *dx = add_like(&f, OP_MAXPOOL_GRAD, &attr, 2, (Node *[]){dy, code}, x);
    start(&f, 0);
    SET(&f, dy, {1, 2, 3, 4});
    SET(&f, code, {0, 255, 4, 0});
    eval_run(f.eval);
    EXPECT(&f, dx, {0, 0, 0, 0, 4, 0, 3, 0, 0});
    fixture_free(&f);
}
END_TEST

START_TEST(gap_and_flatten)
{
    Fixture f = fixture_new(1);
    Node *x = map_input(&f, "x", 2, 3, 2);
    Node *mean = add(&f, OP_GAP, NULL, 1, &x), *flat = add(&f, OP_FLATTEN, NULL, 1, &x);
    start(&f, 0);
    SET(&f, x, {1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60});
    eval_run(f.eval);
    EXPECT(&f, mean, {3.5, 35});
    EXPECT(&f, flat, {1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60});
    fixture_free(&f);
}
END_TEST

START_TEST(gap_and_flatten_gradients)
{
    Fixture f = fixture_new(2);
    f.random += (uint64_t)_i * 13;
    int h = random_int(&f, 1, 5), w = random_int(&f, 1, 5), c = random_int(&f, 1, 5);
    Node *x = map_input(&f, "x", h, w, c);
    Node *mean = add(&f, OP_GAP, NULL, 1, &x), *flat = add(&f, OP_FLATTEN, NULL, 1, &x);
    Node *dmean = map_input(&f, "dmean", 1, 1, c);
    Node *dflat = input(&f, "dflat", DT_F32, shape_of(2, 2, h * w * c, 0, 0));
    Node *by_mean = add_like(&f, OP_GAP_GRAD, NULL, 1, &dmean, x);
    Node *by_flat = add_like(&f, OP_FLATTEN_GRAD, NULL, 1, &dflat, x);
    start(&f, 0);
    set_random(&f, x);
    set_random(&f, dmean);
    set_random(&f, dflat);
    expect_gradient(&f, x, mean, dmean, by_mean);
    expect_gradient(&f, x, flat, dflat, by_flat);
    expect_spread(&f, 1, &x, mean, 1);
    expect_spread(&f, 1, &x, flat, 1);
    expect_spread(&f, 1, &dmean, by_mean, 1);
    expect_spread(&f, 1, &dflat, by_flat, 1);
    fixture_free(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("eval");
    TCase *tests = tcase_create("ops");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, normalize_scales_then_shifts);
    tcase_add_test(tests, resize_is_bilinear_without_aligned_corners);
    tcase_add_test(tests, conv2d_by_hand);
    tcase_add_loop_test(tests, conv2d_and_its_gradients, 0, 40);
    tcase_add_loop_test(tests, filter_transpose_makes_dgrad_a_convolution, 0, 10);
    tcase_add_test(tests, filter_transpose_by_hand);
    tcase_add_test(tests, maxpool_takes_the_first_maximum);
    tcase_add_test(tests, maxpool_lets_nan_through);
    tcase_add_test(tests, avgpool_divides_by_the_padded_window);
    tcase_add_test(tests, avgpool_divides_by_what_is_inside);
    tcase_add_test(tests, avgpool_ragged_without_padding);
    tcase_add_loop_test(tests, pool_gradients, 0, 40);
    tcase_add_loop_test(tests, lrn_is_pytorchs, 0, 3);
    tcase_add_loop_test(tests, lrn_gradients, 0, 30);
    tcase_add_test(tests, maxpool_grad_ignores_codes_outside_the_map);
    tcase_add_test(tests, gap_and_flatten);
    tcase_add_loop_test(tests, gap_and_flatten_gradients, 0, 5);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
