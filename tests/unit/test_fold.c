/* Folding a resize into a convolution: classes of outputs, the ops against resize, conv2d and its
 * weight gradient, their types and text. */
#include "../../ir/ir.h"
#include "windows.h"

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

/* Compares within tolerance x (1 + |want|); NaN is never near. */
static void expect_near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want))))
        ck_abort_msg("%s: %.17g, expected %.17g", what, got, want);
}

/* ---- classes ---- */

/* The first convolution of models/nin.yaml. */
static const Fold nin = {W(11, 11, 4, 4, 2, 2, false), 224, 224, 28, 28};

START_TEST(classes_of_nin)
{
    Pool *pool = pool_new();
    FoldAxes axes;
    ck_assert(fold_axes(pool, &nin, &axes));
    const FoldAxis rows = axes.rows;
    ck_assert_int_eq(rows.outputs, 55);
    ck_assert_int_eq(rows.extent, 4);
    /* The first two and the last two see the edge, where the resize clamps; between them there are
     * the odd outputs, half a source pixel behind the even ones. */
    ck_assert_int_eq(rows.classes, 6);
    for (int o = 2; o < 53; o++) {
        ck_assert_int_eq(rows.class_of[o], rows.class_of[o % 2 ? 3 : 2]);
        ck_assert_int_eq(rows.base[o], rows.base[o % 2 ? 3 : 2] + (o - 2) / 2);
    }
    ck_assert_int_eq(rows.reach[rows.class_of[2]], 3);
    ck_assert_int_eq(rows.reach[rows.class_of[3]], 4);
    ck_assert_int_eq(axes.columns.classes, rows.classes);
    pool_free(pool);
}
END_TEST

/* Sizes and whether they can be folded. */
typedef struct Sizes {
    Fold fold;
    bool folds;
} Sizes;

static const Sizes sizes[] = {
    {{W(11, 11, 4, 4, 2, 2, false), 224, 224, 28, 28}, true},
    {{W(3, 3, 1, 1, 1, 1, false), 56, 56, 28, 28}, true},
    {{W(5, 3, 2, 1, 2, 0, false), 40, 27, 20, 9}, true},       /* not square */
    {{W(7, 7, 3, 3, 3, 3, false), 24, 24, 8, 8}, true},        /* three times, which no double is */
    {{W(3, 3, 1, 1, 3, 3, false), 6, 6, 6, 6}, true},          /* windows of padding alone */
    {{W(5, 5, 2, 2, 2, 2, false), 16, 16, 16, 16}, true},      /* the same size */
    {{W(4, 4, 4, 4, 0, 0, false), 8, 8, 16, 16}, true},        /* smaller */
    {{W(3, 3, 1, 1, 1, 1, false), 6, 6, 1, 1}, true},          /* of one pixel */
    {{W(3, 3, 1, 1, 0, 0, false), 3, 3, 2, 2}, true},          /* one output */
    {{W(11, 11, 4, 4, 2, 2, false), 225, 224, 28, 28}, false}, /* all rows differ */
    {{W(11, 11, 4, 4, 2, 2, false), 224, 225, 28, 28}, false}, /* all columns */
    {{W(9, 9, 1, 1, 0, 0, false), 8, 8, 4, 4}, false},         /* no output */
    {{W(32, 32, 32, 32, 0, 0, false), 64, 64, 64, 64}, false}, /* 32 pixels an output */
};
enum { SIZES = sizeof sizes / sizeof *sizes };

START_TEST(what_can_be_folded)
{
    Pool *pool = pool_new();
    FoldAxes axes;
    ck_assert_int_eq(fold_axes(pool, &sizes[_i].fold, &axes), sizes[_i].folds);
    pool_free(pool);
}
END_TEST

/* Outputs read inside the source, and the weights of a tap inside the map add up to 1. */
START_TEST(matrices_interpolate)
{
    Pool *pool = pool_new();
    const Fold *f = &sizes[_i].fold;
    FoldAxes axes = {0};
    bool folds = fold_axes(pool, f, &axes);
    const FoldAxis rows = axes.rows;
    ck_assert(folds || !sizes[_i].folds);
    for (int o = 0; folds && o < rows.outputs; o++) {
        ck_assert(rows.base[o] >= 0 &&
                  rows.base[o] + rows.reach[rows.class_of[o]] <= f->source_h);
        for (int k = 0; k < rows.kernel; k++) {
            int at = o * f->window.stride_h - f->window.padding_h + k;
            double sum = 0;
            for (int s = 0; s < rows.extent; s++)
                sum += fold_at(&rows, rows.class_of[o], k, s);
            ck_assert_double_eq(sum, at >= 0 && at < f->height);
        }
    }
    pool_free(pool);
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

static Node *parameter(Fixture *f, const char *name, Shape shape)
{
    return graph_state(f->graph, module_add_storage(f->module, name, shape, ROLE_WEIGHT, nowhere));
}

static Node *add(Fixture *f, Op op, const Attr *attr, int arity, Node *const *in)
{
    return graph_add(f->graph, op, arity, in, attr, nowhere);
}

static void set_random(Fixture *f, Eval *e, const Node *n)
{
    for (int64_t i = 0; i < eval_elements(e, n); i++)
        eval_value(e, n)[i] = random_double(&f->random);
}

static void set_bytes(Fixture *f, Eval *e, const Node *n)
{
    for (int64_t i = 0; i < eval_elements(e, n); i++)
        eval_value(e, n)[i] = floor((random_double(&f->random) + 1) * 128);
}

static void expect_equal(Eval *e, const Node *got, const Node *want)
{
    ck_assert(shape_equal(&got->tensor.shape, &want->tensor.shape));
    for (int64_t i = 0; i < eval_elements(e, want); i++)
        expect_near(eval_value(e, got)[i], eval_value(e, want)[i], 1e-11, op_name(want->op));
}

/* Forward with and without bias, and the weight gradient. */
START_TEST(ops_are_resize_and_convolution)
{
    enum { IN = 2, OUT = 3 };
    Fixture f = fixture_new(2, (uint64_t)_i);
    const Fold *fold = &sizes[_i].fold;
    const Window *k = &fold->window;
    if (!sizes[_i].folds) {
        pool_free(f.pool);
        return;
    }
    static double mean[] = {0.25, 0.5}, std[] = {0.5, 2};
    Attr norm = {.image = {IN, mean, std}};
    Attr window = {.window = *k}, a = {.fold = *fold};
    Tensor map = {.dtype = DT_F32, .shape = shape_of(4, 2, fold->height, fold->width, IN)};
    Node *image = graph_input(f.graph, "image", DT_U8,
                              shape_of(4, 2, fold->source_h, fold->source_w, IN), nowhere);
    Node *dy = graph_input(f.graph, "dy", DT_F32,
                           shape_of(4, 2, window_extent(fold->height, k->kernel_h, k->stride_h,
                                                        k->padding_h, false),
                                    window_extent(fold->width, k->kernel_w, k->stride_w,
                                                  k->padding_w, false), OUT), nowhere);
    Node *filter = parameter(&f, "w", shape_of(4, OUT, IN, k->kernel_h, k->kernel_w));
    Node *bias = parameter(&f, "b", shape_of(1, OUT, 0, 0, 0));
    Node *big = graph_add_typed(f.graph, OP_RESIZE, 1, &image, &norm, &map, nowhere);
    Node *y = add(&f, OP_CONV2D, &window, 2, (Node *[]){big, filter});
    Node *biased = add(&f, OP_CONV2D, &window, 3, (Node *[]){big, filter, bias});
    Node *dw = graph_add_typed(f.graph, OP_CONV2D_WGRAD, 2, (Node *[]){big, dy}, &window,
                               &filter->tensor, nowhere);
    Node *small = add(&f, OP_NORMALIZE, &norm, 1, &image);
    Node *folded = add(&f, OP_FOLD_FILTER, &a, 1, &filter);
    Node *fy = add(&f, OP_CONV2D_FOLDED, &a, 2, (Node *[]){small, folded});
    Node *fbiased = add(&f, OP_CONV2D_FOLDED, &a, 3, (Node *[]){small, folded, bias});
    Node *dfolded = add(&f, OP_CONV2D_FOLDED_WGRAD, &a, 2, (Node *[]){small, dy});
    Node *fdw = add(&f, OP_FOLD_FILTER_GRAD, &a, 1, &dfolded);
    ck_assert(shape_equal(&dfolded->tensor.shape, &folded->tensor.shape));
    Eval *e = eval_new(f.graph, 0);
    set_bytes(&f, e, image);
    set_random(&f, e, dy);
    set_random(&f, e, filter);
    set_random(&f, e, bias);
    eval_run(e);
    expect_equal(e, fy, y);
    expect_equal(e, fbiased, biased);
    expect_equal(e, fdw, dw);
    eval_free(e);
    pool_free(f.pool);
}
END_TEST

START_TEST(which_values_have_a_row_an_image)
{
    Fixture f = fixture_new(3, 0); /* as many as output channels */
    Attr a = {.fold = {W(3, 3, 1, 1, 1, 1, false), 12, 12, 6, 6}};
    Node *x = graph_input(f.graph, "x", DT_F32, shape_of(4, 3, 6, 6, 1), nowhere);
    Node *filter = parameter(&f, "w", shape_of(4, 3, 1, 3, 3));
    Node *folded = add(&f, OP_FOLD_FILTER, &a, 1, &filter);
    Node *y = add(&f, OP_CONV2D_FOLDED, &a, 2, (Node *[]){x, folded});
    Node *dfolded = add(&f, OP_CONV2D_FOLDED_WGRAD, &a, 2, (Node *[]){x, y});
    Node *dw = add(&f, OP_FOLD_FILTER_GRAD, &a, 1, &dfolded);
    ck_assert(is_per_image(f.graph, y));
    ck_assert(!is_per_image(f.graph, folded) && !is_per_image(f.graph, dfolded) &&
              !is_per_image(f.graph, dw));
    ck_assert(op_sums_images(OP_CONV2D_FOLDED_WGRAD) && !op_sums_images(OP_FOLD_FILTER_GRAD));
    ck_assert(conv_filter(y) == filter && is_wgrad_of(dfolded, y));
    ck_assert_double_eq(contraction_flop(y), 2.0 * 3 * 12 * 12 * 3 * folded->tensor.shape.dim[2] *
                                                 folded->tensor.shape.dim[3]);
    ck_assert_double_eq(contraction_flop(dfolded), contraction_flop(y));
    pool_free(f.pool);
}
END_TEST

/* ---- types and text ---- */

/* An op on f32 operands of the shapes: the fault that its message holds, NULL: none. */
typedef struct Typing {
    Op op;
    Fold attr;
    int operands;
    Shape in[3];
    const char *fault;
} Typing;

#define MAP(n, h, w, c) {4, {n, h, w, c}}
#define NIN {W(11, 11, 4, 4, 2, 2, false), 224, 224, 28, 28}

static const Typing typings[] = {
    {OP_FOLD_FILTER, NIN, 1, {MAP(96, 1, 11, 11)}, NULL},
    {OP_FOLD_FILTER, NIN, 1, {MAP(96, 1, 11, 10)}, "extent 3 of filter is 10"},
    {OP_FOLD_FILTER, NIN, 1, {{2, {3, 4}}}, "takes as filter f32 of rank 4"},
    {OP_FOLD_FILTER, NIN, 1, {MAP(1, 100000000, 11, 11)}, "100000000 channels are too many"},
    {OP_FOLD_FILTER, {W(11, 11, 4, 4, 2, 2, false), 225, 224, 28, 28}, 1, {MAP(96, 1, 11, 11)},
     "more than 8 classes of outputs"},
    {OP_FOLD_FILTER, {W(11, 11, 0, 4, 2, 2, false), 224, 224, 28, 28}, 1, {MAP(96, 1, 11, 11)},
     "stride 0x4 must be at least 1x1"},
    {OP_FOLD_FILTER, {W(11, 11, 4, 4, 2, 2, true), 224, 224, 28, 28}, 1, {MAP(96, 1, 11, 11)},
     "has no ceil mode"},
    {OP_FOLD_FILTER, {W(65, 11, 4, 4, 2, 2, false), 224, 224, 28, 28}, 1, {MAP(96, 1, 65, 11)},
     "its kernel at most 64x64"},
    {OP_FOLD_FILTER, {W(11, 11, 4, 4, 2, 2, false), 224, 224, 28, 0}, 1, {MAP(96, 1, 11, 11)},
     "sizes must be 1 to 32768"},
    {OP_CONV2D_FOLDED, NIN, 2, {MAP(2, 28, 28, 1), MAP(96, 36, 4, 4)}, NULL},
    {OP_CONV2D_FOLDED, NIN, 3, {MAP(2, 28, 28, 3), MAP(96, 108, 4, 4), {1, {96}}}, NULL},
    {OP_CONV2D_FOLDED, NIN, 2, {MAP(2, 28, 27, 1), MAP(96, 36, 4, 4)}, "2 of the image is 27"},
    {OP_CONV2D_FOLDED, NIN, 2, {MAP(2, 28, 28, 1), MAP(96, 35, 4, 4)}, "each of 36 pairs"},
    {OP_CONV2D_FOLDED, NIN, 2, {MAP(2, 28, 28, 1), MAP(96, 36, 4, 3)}, "3 of the filter is 3"},
    {OP_CONV2D_FOLDED, NIN, 2, {MAP(2, 28, 28, 3), MAP(96, 36, 4, 4)}, "for 1 input channels"},
    {OP_CONV2D_FOLDED, NIN, 3, {MAP(2, 28, 28, 1), MAP(96, 36, 4, 4), {1, {95}}},
     "extent 0 of bias is 95"},
    {OP_CONV2D_FOLDED_WGRAD, NIN, 2, {MAP(2, 28, 28, 1), MAP(2, 55, 55, 96)}, NULL},
    {OP_CONV2D_FOLDED_WGRAD, NIN, 2, {MAP(2, 28, 28, 1), MAP(3, 55, 55, 96)},
     "extent 0 of the gradient is 3"},
    {OP_CONV2D_FOLDED_WGRAD, NIN, 2, {MAP(2, 28, 28, 1), MAP(2, 55, 54, 96)},
     "extent 2 of the gradient is 54"},
    {OP_FOLD_FILTER_GRAD, NIN, 1, {MAP(96, 36, 4, 4)}, NULL},
    {OP_FOLD_FILTER_GRAD, NIN, 1, {MAP(96, 36, 11, 11)}, "extent 2 of the filter is 11"},
};
enum { TYPINGS = sizeof typings / sizeof *typings };

START_TEST(types_follow_from_operands)
{
    const Typing *t = &typings[_i];
    Pool *pool = pool_new();
    Diagnostics d;
    Node node[3] = {{.op = OP_INPUT}, {.op = OP_INPUT}, {.op = OP_INPUT}};
    Attr attr = {.fold = t->attr};
    Tensor out = {0};
    diagnostics_init(&d, pool);
    for (int i = 0; i < 3; i++)
        node[i].tensor.shape = t->in[i];
    bool good = infer_type(&d, t->op, t->operands, (Node *[]){&node[0], &node[1], &node[2]}, &attr,
                           nowhere, &out);
    ck_assert_msg(good == (t->fault == NULL), "%s", d.count ? d.list[0].message : "no fault");
    ck_assert_int_eq(d.count, t->fault != NULL);
    if (t->fault)
        ck_assert_msg(strstr(d.list[0].message, t->fault) != NULL, "%s", d.list[0].message);
    pool_free(pool);
}
END_TEST

#define ATTR "{kernel=5x3 stride=2x1 padding=2x0 size=40x27 source=20x9}"

static const char text[] =
    "module m {\n"
    "  dataset idx image=20x9x1 classes=3\n"
    "  optimizer sgd lr=0.1 momentum=0 weight_decay=0\n"
    "  train batch_size=2 epochs=1 log_every=1 checkpoint_every=1 init=pytorch\n"
    "}\n"
    "\n"
    "@w : f32[5,1,5,3] = weight {fan_in=15 fan_out=75}\n"
    "@b : f32[5]       = bias {fan_in=15 fan_out=75}\n"
    "\n"
    "graph m.train batch=2 stage=training target=cpu {\n"
    "  %image : u8[2,20,9,1]    = input\n"
    "  %0     : f32[5,20,4,3]   = fold_filter @w " ATTR "\n"
    "  %1     : f32[2,20,9,1]   = normalize %image\n"
    "  %2     : f32[2,20,25,5]  = conv2d_folded %1, %0, @b " ATTR "\n"
    "  %3     : f32[5,20,4,3]   = conv2d_folded_wgrad %1, %2 " ATTR "\n"
    "  %4     : f32[5,1,5,3]    = fold_filter_grad %3 " ATTR "\n"
    "}\n";

/* The columns of the text are not looked at: it is printed, and that text reads back. */
START_TEST(text_reads_back)
{
    Pool *pool = pool_new();
    Diagnostics d;
    Text first = {0}, again = {0};
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "m.ir", text, sizeof text - 1);
    ck_assert_msg(m != NULL, "%s", d.count ? d.list[0].message : "?");
    module_print(m, &first);
    ck_assert_ptr_nonnull(strstr(first.data, "conv2d_folded %1, %0, @b " ATTR "\n"));
    m = module_parse(pool, &d, "m.ir", first.data, first.length);
    ck_assert_msg(m != NULL, "%s", d.count ? d.list[0].message : "?");
    module_print(m, &again);
    ck_assert_str_eq(first.data, again.data);
    text_free(&first);
    text_free(&again);
    pool_free(pool);
}
END_TEST

/* What to change in the text, and what the message must say. */
typedef struct Fault {
    const char *from, *to, *message;
} Fault;

static const Fault faults[] = {
    {" size=40x27", "", "expected 'size='"},
    {" source=20x9", "", "expected 'source='"},
    {"source=20x9}", "source=20x9", "expected '}'"},
    {"size=40x27", "size=41x27", "more than 8 classes"},
    {"conv2d_folded_wgrad %1, %2 {kernel=5x3", "conv2d_folded_wgrad %1, %2 {kernel=3x3",
     "extent 1 of the gradient is 20"},
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

static Suite *fold_suite(void)
{
    Suite *suite = suite_create("fold");
    TCase *tests = tcase_create("convolution of a resized image");
    tcase_add_test(tests, classes_of_nin);
    tcase_add_loop_test(tests, what_can_be_folded, 0, SIZES);
    tcase_add_loop_test(tests, matrices_interpolate, 0, SIZES);
    tcase_add_loop_test(tests, ops_are_resize_and_convolution, 0, SIZES);
    tcase_add_test(tests, which_values_have_a_row_an_image);
    tcase_add_loop_test(tests, types_follow_from_operands, 0, TYPINGS);
    tcase_add_test(tests, text_reads_back);
    tcase_add_loop_test(tests, faulty_text_is_refused, 0, FAULTS);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(fold_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
