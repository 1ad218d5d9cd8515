/* Winograd convolution: the matrices of every transform against the direct correlation, the ops
 * against conv2d and its gradients, their types and text. */
#include "../../ir/ir.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const Loc nowhere;

/* Uniform in [-1, 1). */
static double random_double(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (double)(*random >> 11) / (double)(UINT64_C(1) << 52) - 1;
}

static int random_int(uint64_t *random, int low, int high)
{
    return low + (int)((random_double(random) + 1) / 2 * (high - low + 1));
}

/* Compares within tolerance x (1 + |want|); NaN is never near. */
static void expect_near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want))))
        ck_abort_msg("%s: %.17g, expected %.17g", what, got, want);
}

/* ---- matrices ---- */

/* The pairs that have a transform, by index of the loop tests. */
typedef struct Pair {
    int tile, kernel;
} Pair;

static const Pair pairs[] = {{2, 2}, {3, 2}, {4, 2}, {5, 2}, {6, 2}, {2, 3}, {3, 3}, {4, 3}, {5, 3},
                             {6, 3}, {2, 4}, {3, 4}, {4, 4}, {5, 4}, {2, 5}, {3, 5}, {4, 5}};
enum { PAIRS = sizeof pairs / sizeof *pairs };

START_TEST(valid_pairs)
{
    int valid = 0;
    for (int tile = -1; tile < 20; tile++)
        for (int kernel = -1; kernel < 20; kernel++)
            valid += winograd_is_valid(tile, kernel);
    ck_assert_int_eq(valid, PAIRS);
    for (int i = 0; i < PAIRS; i++)
        ck_assert(winograd_is_valid(pairs[i].tile, pairs[i].kernel));
}
END_TEST

/* A^T [(G g) * (B^T d)] */
static void correlate(const WinogradMatrices *m, Pair p, const double *d, const double *g,
                      double *y)
{
    memset(y, 0, (size_t)p.tile * sizeof *y);
    for (int f = 0; f < m->size; f++) {
        double filter = 0, input = 0;
        for (int k = 0; k < p.kernel; k++)
            filter += m->g[f][k] * g[k];
        for (int i = 0; i < m->size; i++)
            input += m->bt[f][i] * d[i];
        for (int i = 0; i < p.tile; i++)
            y[i] += m->at[i][f] * filter * input;
    }
}

static void expect_correlation(Pair p, const double *d, const double *g)
{
    double y[WINOGRAD_MAX_TILE];
    WinogradMatrices m;
    winograd_matrices(p.tile, p.kernel, &m);
    ck_assert_int_eq(m.size, p.tile + p.kernel - 1);
    correlate(&m, p, d, g, y);
    for (int i = 0; i < p.tile; i++) {
        double want = 0;
        for (int k = 0; k < p.kernel; k++)
            want += d[i + k] * g[k];
        expect_near(y[i], want, 1e-12, "F(tile, kernel)");
    }
}

START_TEST(one_axis_is_the_direct_correlation)
{
    double d[WINOGRAD_MAX_SIZE], g[WINOGRAD_MAX_KERNEL];
    double ones[WINOGRAD_MAX_SIZE] = {1, 1, 1, 1, 1, 1, 1, 1};
    uint64_t random = 88172645463325252u + (uint64_t)_i;
    expect_correlation(pairs[_i], ones, ones);
    for (int trial = 0; trial < 100; trial++) {
        for (int i = 0; i < WINOGRAD_MAX_SIZE; i++)
            d[i] = random_double(&random);
        for (int k = 0; k < WINOGRAD_MAX_KERNEL; k++)
            g[k] = random_double(&random);
        expect_correlation(pairs[_i], d, g);
    }
}
END_TEST

START_TEST(rows_of_the_input_transform_have_maximum_one)
{
    WinogradMatrices m;
    winograd_matrices(pairs[_i].tile, pairs[_i].kernel, &m);
    for (int f = 0; f < m.size; f++) {
        double largest = 0;
        for (int i = 0; i < m.size; i++)
            largest = fmax(largest, fabs(m.bt[f][i]));
        ck_assert_double_eq(largest, 1);
    }
}
END_TEST

/* Lavin & Gray's F(2,3), but for the factors that the scaling moves and signs of both. */
START_TEST(smallest_by_hand)
{
    static const double at[2][4] = {{1, 1, 1, 0}, {0, 1, -1, 1}};
    static const double g[4][3] = {{-1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
    static const double bt[4][4] = {{-1, 0, 1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}};
    WinogradMatrices m;
    winograd_matrices(2, 3, &m);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            ck_assert(m.g[i][j] != 0 || !signbit(m.g[i][j])); /* emitted as 0, not -0 */
            ck_assert_double_eq(m.bt[i][j], bt[i][j]);
            if (i < 2)
                ck_assert_double_eq(m.at[i][j], at[i][j]);
            if (j < 3)
                ck_assert_double_eq(m.g[i][j], g[i][j]);
        }
}
END_TEST

START_TEST(tiles_cover_the_output)
{
    Winograd w = {.tile = 4, .kernel = 5, .height = 27, .width = 12};
    ck_assert_int_eq(winograd_size(&w), 8);
    ck_assert_int_eq(winograd_tile_rows(&w), 7);
    ck_assert_int_eq(winograd_tile_columns(&w), 3);
    ck_assert_int_eq(winograd_tiles(&w), 21);
}
END_TEST

/* ---- ops ---- */

typedef struct Fixture {
    Pool *pool;
    Module *module;
    Graph *graph;
    uint64_t random;
} Fixture;

static Fixture fixture_new(int batch, uint64_t seed)
{
    Fixture f = {.pool = pool_new(), .random = 0x9e3779b97f4a7c15u + seed * 7919};
    f.module = module_new(f.pool, "test");
    f.graph = module_add_graph(f.module, "train", batch);
    return f;
}

static Node *map_input(Fixture *f, const char *name, int h, int w, int c)
{
    return graph_input(f->graph, name, DT_F32, shape_of(4, f->graph->batch, h, w, c), nowhere);
}

static Node *parameter(Fixture *f, const char *name, Shape shape)
{
    return graph_state(f->graph, module_add_storage(f->module, name, shape, ROLE_WEIGHT, nowhere));
}

static Node *add(Fixture *f, Op op, const Attr *attr, int arity, Node *const *in)
{
    return graph_add(f->graph, op, arity, in, attr, nowhere);
}

static Node *unary(Fixture *f, Op op, const Attr *attr, Node *x)
{
    return add(f, op, attr, 1, &x);
}

static void set_random(Fixture *f, Eval *e, const Node *n)
{
    for (int64_t i = 0; i < eval_elements(e, n); i++)
        eval_value(e, n)[i] = random_double(&f->random);
}

static void expect_equal(Eval *e, const Node *got, const Node *want)
{
    ck_assert(shape_equal(&got->tensor.shape, &want->tensor.shape));
    for (int64_t i = 0; i < eval_elements(e, want); i++)
        expect_near(eval_value(e, got)[i], eval_value(e, want)[i], 1e-11, op_name(want->op));
}

/* Forward with and without bias, and the weight gradient, over maps of any size and padding. */
START_TEST(ops_are_the_convolution_and_its_weight_gradient)
{
    Pair p = pairs[_i % PAIRS];
    Fixture f = fixture_new(2, (uint64_t)_i);
    int h = random_int(&f.random, p.kernel, 13), w = random_int(&f.random, p.kernel, 13);
    int in = random_int(&f.random, 1, 3), out = random_int(&f.random, 1, 4);
    Attr a = {.window = {p.kernel, p.kernel, 1, 1, random_int(&f.random, 0, p.kernel),
                         random_int(&f.random, 0, p.kernel), false}};
    Node *x = map_input(&f, "x", h, w, in);
    Node *filter = parameter(&f, "w", shape_of(4, out, in, p.kernel, p.kernel));
    Node *bias = parameter(&f, "b", shape_of(1, out, 0, 0, 0));
    Node *y = add(&f, OP_CONV2D, &a, 2, (Node *[]){x, filter});
    Node *biased = add(&f, OP_CONV2D, &a, 3, (Node *[]){x, filter, bias});
    const int32_t *d = y->tensor.shape.dim;
    Node *dy = map_input(&f, "dy", d[1], d[2], out);
    Node *dw = graph_add_typed(f.graph, OP_CONV2D_WGRAD, 2, (Node *[]){x, dy}, &a, &filter->tensor,
                               nowhere);
    Attr t = {.winograd = {p.tile, p.kernel, a.window.padding_h, a.window.padding_w, d[1], d[2]}};
    Node *tx = unary(&f, OP_WINOGRAD_INPUT, &t, x), *tw = unary(&f, OP_WINOGRAD_FILTER, &t, filter);
    Node *m = add(&f, OP_WINOGRAD_MULTIPLY, &t, 2, (Node *[]){tx, tw});
    Node *ty = unary(&f, OP_WINOGRAD_OUTPUT, &t, m);
    Node *tbiased = add(&f, OP_WINOGRAD_OUTPUT, &t, 2, (Node *[]){m, bias});
    Node *tdy = unary(&f, OP_WINOGRAD_OUTPUT_GRAD, &t, dy);
    Node *du = add(&f, OP_WINOGRAD_WGRAD, &t, 2, (Node *[]){tx, tdy});
    Node *tdw = unary(&f, OP_WINOGRAD_FILTER_GRAD, &t, du);
    Eval *e = eval_new(f.graph, 0);
    set_random(&f, e, x);
    set_random(&f, e, dy);
    set_random(&f, e, filter);
    set_random(&f, e, bias);
    eval_run(e);
    expect_equal(e, ty, y);
    expect_equal(e, tbiased, biased);
    expect_equal(e, tdw, dw);
    eval_free(e);
    pool_free(f.pool);
}
END_TEST

START_TEST(which_values_have_a_row_an_image)
{
    Fixture f = fixture_new(3, 0);
    Attr t = {.winograd = {4, 3, 1, 1, 9, 9}};
    Node *x = map_input(&f, "x", 9, 9, 3);
    Node *filter = unary(&f, OP_WINOGRAD_FILTER, &t, parameter(&f, "w", shape_of(4, 3, 3, 3, 3)));
    Node *tx = unary(&f, OP_WINOGRAD_INPUT, &t, x);
    Node *m = add(&f, OP_WINOGRAD_MULTIPLY, &t, 2, (Node *[]){tx, filter});
    Node *y = unary(&f, OP_WINOGRAD_OUTPUT, &t, m);
    Node *dy = unary(&f, OP_WINOGRAD_OUTPUT_GRAD, &t, y);
    Node *du = add(&f, OP_WINOGRAD_WGRAD, &t, 2, (Node *[]){tx, dy});
    Node *dw = unary(&f, OP_WINOGRAD_FILTER_GRAD, &t, du);
    const Node *const images[] = {tx, m, y, dy}, *const others[] = {filter, du, dw};
    for (int i = 0; i < 4; i++)
        ck_assert(is_per_image(f.graph, images[i]) && !op_sums_images(images[i]->op));
    for (int i = 0; i < 3; i++)
        ck_assert(!is_per_image(f.graph, others[i]));
    ck_assert(op_sums_images(OP_WINOGRAD_WGRAD) && !op_sums_images(OP_WINOGRAD_FILTER_GRAD));
    pool_free(f.pool);
}
END_TEST

/* ---- types and text ---- */

/* An op on f32 operands of the shapes: the fault that its message holds, NULL: none. */
typedef struct Typing {
    Op op;
    Winograd attr;
    int operands;
    Shape in[2];
    const char *fault;
} Typing;

#define MAP(n, h, w, c) {4, {n, h, w, c}}

static const Typing typings[] = {
    {OP_WINOGRAD_INPUT, {4, 5, 2, 2, 27, 27}, 1, {MAP(2, 27, 27, 96)}, NULL},
    {OP_WINOGRAD_INPUT, {4, 5, 2, 2, 27, 26}, 1, {MAP(2, 27, 27, 96)},
     "size is 27x26, but its map makes it 27x27"},
    {OP_WINOGRAD_INPUT, {4, 6, 2, 2, 27, 27}, 1, {MAP(2, 27, 27, 96)},
     "tile 4 and kernel 6x6 have no transform"},
    {OP_WINOGRAD_INPUT, {6, 5, 2, 2, 27, 27}, 1, {MAP(2, 27, 27, 96)}, "have no transform"},
    {OP_WINOGRAD_INPUT, {1, 3, 2, 2, 27, 27}, 1, {MAP(2, 27, 27, 96)}, "have no transform"},
    {OP_WINOGRAD_INPUT, {4, 5, 2, -2, 27, 27}, 1, {MAP(2, 27, 27, 96)}, "must not be negative"},
    {OP_WINOGRAD_INPUT, {4, 5, 2, 2, 0, 0}, 1, {MAP(2, 27, 27, 96)}, "size 0x0 must be that of"},
    {OP_WINOGRAD_INPUT, {2, 2, 0, 0, 65536, 65536}, 1, {MAP(1, 1, 1, 1)}, "size 65536x65536 must"},
    {OP_WINOGRAD_INPUT, {4, 5, 2, 2, 27, 27}, 1, {{2, {3, 4}}}, "takes as map f32 of rank 4"},
    {OP_WINOGRAD_FILTER, {4, 5, 0, 0, 0, 0}, 1, {MAP(256, 96, 5, 5)}, NULL},
    {OP_WINOGRAD_FILTER, {4, 5, 0, 0, 0, 0}, 1, {MAP(256, 96, 5, 3)}, "extent 3 of filter is 3"},
    {OP_WINOGRAD_MULTIPLY, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 49, 96), MAP(256, 96, 8, 8)}, NULL},
    {OP_WINOGRAD_MULTIPLY, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 48, 96), MAP(256, 96, 8, 8)},
     "extent 2 of the input is 48"},
    {OP_WINOGRAD_MULTIPLY, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 49, 96), MAP(256, 95, 8, 8)},
     "extent 1 of the filter is 95"},
    {OP_WINOGRAD_MULTIPLY, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 49, 96), MAP(256, 96, 5, 5)},
     "extent 2 of filter is 5"},
    {OP_WINOGRAD_OUTPUT, {4, 5, 2, 2, 27, 27}, 1, {MAP(2, 64, 49, 256)}, NULL},
    {OP_WINOGRAD_OUTPUT, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 49, 256), {1, {256}}}, NULL},
    {OP_WINOGRAD_OUTPUT, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 49, 256), {1, {25}}},
     "extent 0 of bias is 25"},
    {OP_WINOGRAD_OUTPUT, {4, 5, 2, 2, 27, 27}, 1, {MAP(2, 36, 49, 256)},
     "extent 1 of the product is 36"},
    {OP_WINOGRAD_OUTPUT_GRAD, {4, 5, 2, 2, 27, 27}, 1, {MAP(2, 27, 27, 256)}, NULL},
    {OP_WINOGRAD_OUTPUT_GRAD, {4, 5, 2, 2, 27, 27}, 1, {MAP(2, 28, 27, 256)}, "makes it 28x27"},
    {OP_WINOGRAD_WGRAD, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 49, 96), MAP(2, 64, 49, 256)}, NULL},
    {OP_WINOGRAD_WGRAD, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 49, 96), MAP(3, 64, 49, 256)},
     "extent 0 of the gradient is 3"},
    {OP_WINOGRAD_WGRAD, {4, 5, 2, 2, 27, 27}, 2, {MAP(2, 64, 49, 96), MAP(2, 64, 7, 256)},
     "extent 2 of the gradient is 7"},
    {OP_WINOGRAD_FILTER_GRAD, {4, 5, 0, 0, 0, 0}, 1, {MAP(256, 96, 8, 8)}, NULL},
    {OP_WINOGRAD_FILTER_GRAD, {4, 5, 0, 0, 0, 0}, 1, {MAP(256, 96, 5, 5)}, "extent 2 of filter"},
};
enum { TYPINGS = sizeof typings / sizeof *typings };

START_TEST(types_follow_from_operands)
{
    const Typing *t = &typings[_i];
    Pool *pool = pool_new();
    Diagnostics d;
    Node node[2] = {{.op = OP_INPUT}, {.op = OP_INPUT}};
    Attr attr = {.winograd = t->attr};
    Tensor out = {0};
    diagnostics_init(&d, pool);
    for (int i = 0; i < 2; i++)
        node[i].tensor.shape = t->in[i];
    bool good = infer_type(&d, t->op, t->operands, (Node *[]){&node[0], &node[1]}, &attr, nowhere,
                           &out);
    ck_assert_msg(good == (t->fault == NULL), "%s", d.count ? d.list[0].message : "no fault");
    ck_assert_int_eq(d.count, t->fault != NULL);
    if (t->fault)
        ck_assert_msg(strstr(d.list[0].message, t->fault) != NULL, "%s", d.list[0].message);
    pool_free(pool);
}
END_TEST

static const char text[] =
    "module m {\n"
    "  dataset idx image=9x7x1 classes=3\n"
    "  optimizer sgd lr=0.1 momentum=0 weight_decay=0\n"
    "  train batch_size=2 epochs=1 log_every=1 checkpoint_every=1 init=pytorch\n"
    "}\n"
    "\n"
    "@w : f32[5,1,3,3] = weight {fan_in=9 fan_out=45}\n"
    "@b : f32[5]       = bias {fan_in=9 fan_out=45}\n"
    "\n"
    "graph m.train batch=2 stage=training target=cpu {\n"
    "  %image : u8[2,9,7,1]                   = input\n"
    "  %0     : f32[5,1,6,6] {taps c16 o32}   = winograd_filter @w {tile=4 kernel=3x3}\n"
    "  %1     : f32[2,9,7,1]                  = normalize %image\n"
    "  %2     : f32[2,36,6,1] {nchw16c}       = winograd_input %1 "
    "{tile=4 kernel=3x3 padding=1x0 size=9x5}\n"
    "  %3     : f32[2,36,6,5] {nchw16c}       = winograd_multiply %2, %0 "
    "{tile=4 kernel=3x3 padding=1x0 size=9x5} math=i16\n"
    "  %4     : f32[2,9,5,5] {nchw16c halo=1} = winograd_output %3, @b "
    "{tile=4 kernel=3x3 padding=1x0 size=9x5}\n"
    "  %5     : f32[2,36,6,5] {nchw16c}       = winograd_output_grad %4 "
    "{tile=4 kernel=3x3 padding=1x0 size=9x5}\n"
    "  %6     : f32[5,1,6,6] {taps c16 o16}   = winograd_wgrad %2, %5 "
    "{tile=4 kernel=3x3 padding=1x0 size=9x5}\n"
    "  %7     : f32[5,1,3,3] {filter c16 o16} = winograd_filter_grad %6 {tile=4 kernel=3x3}\n"
    "}\n";

START_TEST(text_reads_back)
{
    Pool *pool = pool_new();
    Diagnostics d;
    Text again = {0};
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "m.ir", text, sizeof text - 1);
    ck_assert_msg(m != NULL, "%s", d.count ? d.list[0].message : "?");
    module_print(m, &again);
    ck_assert_str_eq(text, again.data);
    text_free(&again);
    pool_free(pool);
}
END_TEST

/* What to change in the text, and what the message must say. */
typedef struct Fault {
    const char *from, *to, *message;
} Fault;

static const Fault faults[] = {
    {"{tile=4 kernel=3x3}", "{tile=4 kernel=3x2}", "expected a square kernel"},
    {"{tile=4 kernel=3x3}", "{kernel=3x3}", "expected 'tile='"},
    {"{tile=4 kernel=3x3}", "{tile=7 kernel=3x3}", "have no transform"},
    {"{taps c16 o32}", "{taps c16 o99}", "its layout does not fit its shape"},
    {"{taps c16 o32}", "{taps c16 o32 halo=1}", "its layout does not fit its shape"},
    {"{taps c16 o32}", "{taps c16}", "expected 'o'"},
    {"{taps c16 o32}", "{tips c16 o32}", "expected a layout"},
    {"@w {tile=4 kernel=3x3}", "@w {tile=4 kernel=3x3} math=i16",
     "(winograd_filter): only Winograd products on a CPU are in fixed point"},
    {"math=i16", "math=i8", "'i8' is not a math"},
};
enum { FAULTS = sizeof faults / sizeof *faults };

START_TEST(faulty_text_is_refused)
{
    const Fault *f = &faults[_i];
    Pool *pool = pool_new();
    Diagnostics d;
    diagnostics_init(&d, pool);
    const char *at = strstr(text, f->from);
    ck_assert_ptr_nonnull(at);
    char *faulty = pool_format(pool, "%.*s%s%s", (int)(at - text), text, f->to,
                               at + strlen(f->from));
    ck_assert_ptr_null(module_parse(pool, &d, "m.ir", faulty, strlen(faulty)));
    ck_assert_int_ge(d.count, 1);
    ck_assert_msg(strstr(d.list[0].message, f->message) != NULL, "%s", d.list[0].message);
    pool_free(pool);
}
END_TEST

static Suite *winograd_suite(void)
{
    Suite *suite = suite_create("winograd");
    TCase *tests = tcase_create("convolution");
    tcase_add_test(tests, valid_pairs);
    tcase_add_loop_test(tests, one_axis_is_the_direct_correlation, 0, PAIRS);
    tcase_add_loop_test(tests, rows_of_the_input_transform_have_maximum_one, 0, PAIRS);
    tcase_add_test(tests, smallest_by_hand);
    tcase_add_test(tests, tiles_cover_the_output);
    tcase_add_loop_test(tests, ops_are_the_convolution_and_its_weight_gradient, 0, 4 * PAIRS);
    tcase_add_test(tests, which_values_have_a_row_an_image);
    tcase_add_loop_test(tests, types_follow_from_operands, 0, TYPINGS);
    tcase_add_test(tests, text_reads_back);
    tcase_add_loop_test(tests, faulty_text_is_refused, 0, FAULTS);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(winograd_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
