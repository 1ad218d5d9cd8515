/* The naive evaluator: each op against hand-computed values or an independent formula, and each
 * backward op against central differences of its forward, over small odd shapes. */
#include "../../ir/ir.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

/* ---- one op under test ---- */

typedef struct Fixture {
    Pool *pool;
    Module *module;
    Graph *graph;
    Eval *eval;
    uint64_t random;
} Fixture;

static Fixture fixture_new(int batch)
{
    Fixture f = {.pool = pool_new(), .random = 0x9e3779b97f4a7c15u};
    f.module = module_new(f.pool, "test");
    f.graph = module_add_graph(f.module, "train", batch);
    return f;
}

static void fixture_free(Fixture *f)
{
    eval_free(f->eval);
    pool_free(f->pool);
}

static const Loc nowhere;

/* Uniform in [-1, 1). */
static double random_double(Fixture *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (double)(f->random >> 11) / (double)(UINT64_C(1) << 52) - 1;
}

static int random_int(Fixture *f, int low, int high)
{
    return low + (int)((random_double(f) + 1) / 2 * (high - low + 1));
}

static Node *input(Fixture *f, const char *name, DType dtype, Shape shape)
{
    return graph_input(f->graph, name, dtype, shape, nowhere);
}

static Node *map_input(Fixture *f, const char *name, int h, int w, int c)
{
    return input(f, name, DT_F32, shape_of(4, f->graph->batch, h, w, c));
}

static Node *parameter(Fixture *f, const char *name, Shape shape)
{
    return graph_state(f->graph, module_add_storage(f->module, name, shape, ROLE_WEIGHT, nowhere));
}

static Node *add(Fixture *f, Op op, const Attr *attr, int arity, Node *const *in)
{
    return graph_add(f->graph, op, arity, in, attr, nowhere);
}

static Node *add_like(Fixture *f, Op op, const Attr *attr, int arity, Node *const *in,
                      const Node *like)
{
    return graph_add_typed(f->graph, op, arity, in, attr, &like->tensor, nowhere);
}

static void start(Fixture *f, int batch)
{
    f->eval = eval_new(f->graph, batch);
}

static double *value(Fixture *f, const Node *n)
{
    return eval_value(f->eval, n);
}

static void set(Fixture *f, const Node *n, const double *values)
{
    for (int64_t i = 0; i < eval_elements(f->eval, n); i++)
        value(f, n)[i] = values[i];
}

static void set_random(Fixture *f, const Node *n)
{
    for (int64_t i = 0; i < eval_elements(f->eval, n); i++)
        value(f, n)[i] = random_double(f);
}

static void expect_near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want))))
        ck_abort_msg("%s: %.17g, expected %.17g", what, got, want);
}

static void expect_values(Fixture *f, const Node *n, int count, const double *want)
{
    ck_assert_int_eq(eval_elements(f->eval, n), count);
    for (int i = 0; i < count; i++)
        expect_near(value(f, n)[i], want[i], 1e-12, op_name(n->op));
}

#define EXPECT(f, n, ...) \
    expect_values(f, n, (int)(sizeof((double[])__VA_ARGS__) / sizeof(double)), \
                  (const double[])__VA_ARGS__)
#define SET(f, n, ...) set(f, n, (const double[])__VA_ARGS__)

static double dot(Fixture *f, const Node *a, const Node *b)
{
    double sum = 0;
    for (int64_t i = 0; i < eval_elements(f->eval, a); i++)
        sum += value(f, a)[i] * value(f, b)[i];
    return sum;
}

/* grad must be the gradient of dot(y, dy) by x. */
static void expect_gradient(Fixture *f, const Node *x, const Node *y, const Node *dy,
                            const Node *grad)
{
    const double h = 1e-5;
    int64_t count = eval_elements(f->eval, x);
    ck_assert_int_eq(eval_elements(f->eval, grad), count);
    eval_run(f->eval);
    for (int64_t i = 0; i < count; i++) {
        double at = value(f, x)[i], side[2];
        for (int k = 0; k < 2; k++) {
            value(f, x)[i] = at + (k ? h : -h);
            eval_node(f->eval, y);
            side[k] = dot(f, y, dy);
        }
        value(f, x)[i] = at;
        expect_near(value(f, grad)[i], (side[1] - side[0]) / (2 * h), 1e-7, op_name(grad->op));
    }
}

/* sums[i] += the squares of what element i of y changes by as each element of x changes by all of
 * itself, to first order. */
static void add_changes(Fixture *f, const Node *x, const Node *y, double *sums)
{
    const double h = 1e-5;
    int64_t count = eval_elements(f->eval, y);
    double *low = malloc((size_t)count * sizeof *low);
    for (int64_t j = 0; j < eval_elements(f->eval, x); j++) {
        double at = value(f, x)[j];
        value(f, x)[j] = at - h;
        eval_node(f->eval, y);
        memcpy(low, value(f, y), (size_t)count * sizeof *low);
        value(f, x)[j] = at + h;
        eval_node(f->eval, y);
        for (int64_t i = 0; i < count; i++) {
            double change = (value(f, y)[i] - low[i]) / (2 * h) * at;
            sums[i] += change * change;
        }
        value(f, x)[j] = at;
    }
    eval_node(f->eval, y);
    free(low);
}

/* The squares of y's spreads are those of the changes by its `count` operands, of each element one
 * term, or of the value where that is more; `most` times that where the op is not linear. */
static void expect_spread(Fixture *f, int count, Node *const *x, const Node *y, double most)
{
    double *sums = calloc((size_t)eval_elements(f->eval, y) + 1, sizeof *sums);
    eval_run(f->eval);
    Eval *spread = spread_new(f->eval, 1e-3, 1);
    for (int i = 0; i < f->graph->node_count; i++)
        if (f->graph->node[i] == y || f->graph->node[i]->op == OP_INPUT)
            spread_node(spread, f->graph->node[i]);
        else
            spread_set(spread, f->graph->node[i]);
    for (int i = 0; i < y->arity; i++)
        spread_set(spread, y->in[i]);
    spread_node(spread, y);
    for (int i = 0; i < count; i++)
        add_changes(f, x[i], y, sums);
    for (int64_t i = 0; i < eval_elements(f->eval, y); i++) {
        double v = value(f, y)[i], want = fmax(sums[i], v * v), got = eval_value(spread, y)[i];
        if (!(got >= want * 0.9999 - 1e-12 && got <= want * most * 1.0001 + 1e-12))
            ck_abort_msg("%s: the square of a spread is %.9g, expected %.9g", op_name(y->op), got,
                         want);
    }
    eval_free(spread);
    free(sums);
}

static Attr window(int kernel_h, int kernel_w, int stride, int padding, bool ceil_mode)
{
    return (Attr){.window = {kernel_h, kernel_w, stride, stride, padding, padding, ceil_mode}};
}

/* A window that fits a map of h x w; padding at most `most` of the kernel on each axis. */
static Window random_window(Fixture *f, int h, int w, bool pool)
{
    Window k;
    do {
        k.kernel_h = random_int(f, 1, 4);
        k.kernel_w = random_int(f, 1, 4);
        k.stride_h = random_int(f, 1, 3);
        k.stride_w = random_int(f, 1, 3);
        k.padding_h = random_int(f, 0, pool ? k.kernel_h / 2 : k.kernel_h);
        k.padding_w = random_int(f, 0, pool ? k.kernel_w / 2 : k.kernel_w);
        k.ceil_mode = pool && random_int(f, 0, 1);
    } while (window_extent(h, k.kernel_h, k.stride_h, k.padding_h, k.ceil_mode) < 1 ||
             window_extent(w, k.kernel_w, k.stride_w, k.padding_w, k.ceil_mode) < 1);
    return k;
}

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
    double sum = 0;
    for (int i = 0; i < df[1]; i++)
        for (int kh = 0; kh < df[2]; kh++)
            for (int kw = 0; kw < df[3]; kw++) {
                int h = oh * k->stride_h + kh - k->padding_h;
                int w = ow * k->stride_w + kw - k->padding_w;
                if (h >= 0 && w >= 0 && h < dx[1] && w < dx[2])
                    sum += value(f, x)[((n * dx[1] + h) * dx[2] + w) * dx[3] + i] *
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
    int in = random_int(&f, 1, 7), out = random_int(&f, 1, 11);
    Attr attr = {.window = random_window(&f, h, w, false)};
    const Window *k = &attr.window;
    Node *x = map_input(&f, "x", h, w, in);
    Node *filter = parameter(&f, "w", shape_of(4, out, in, k->kernel_h, k->kernel_w));
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
    Attr attr = {.window = {kh, kw, 1, 1, ph, pw, false}};
    Attr back = {.window = {kh, kw, 1, 1, kh - 1 - ph, kw - 1 - pw, false}};
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
    Attr attr = {.window = {1, 3, 1, 2, 0, 1, true}};
    Node *x = map_input(&f, "x", 1, 4, 1), *y = add(&f, OP_AVGPOOL, &attr, 1, &x);
    start(&f, 0);
    SET(&f, x, {3, 6, 9, 12});
    eval_run(f.eval);
    EXPECT(&f, y, {3, 9, 6});
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
    Node *largest = add(&f, OP_MAXPOOL, &attr, 1, &x), *mean = add(&f, OP_AVGPOOL, &attr, 1, &x);
    Node *code = add(&f, OP_MAXPOOL_CODE, &attr, 1, &x);
    const int32_t *dim = largest->tensor.shape.dim;
    Node *dy = map_input(&f, "dy", dim[1], dim[2], c);
    Node *dlargest = add_like(&f, OP_MAXPOOL_GRAD, &attr, 2, (Node *[]){dy, code}, x);
    Node *dmean = add_like(&f, OP_AVGPOOL_GRAD, &attr, 1, &dy, x);
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

/* ---- loss ---- */

typedef struct Head {
    Node *logits, *label, *valid, *nll, *loss, *hit, *hits, *grad;
} Head;

static Head head_new(Fixture *f, int classes)
{
    int batch = f->graph->batch;
    Head h;
    h.logits = input(f, "logits", DT_F32, shape_of(2, batch, classes, 0, 0));
    h.label = input(f, "label", DT_I32, shape_of(1, batch, 0, 0, 0));
    h.valid = input(f, "valid", DT_I32, shape_of(0, 0, 0, 0, 0));
    h.nll = add(f, OP_CROSS_ENTROPY, NULL, 2, (Node *[]){h.logits, h.label});
    h.loss = add(f, OP_MEAN_VALID, NULL, 2, (Node *[]){h.nll, h.valid});
    h.hit = add(f, OP_CORRECT, NULL, 2, (Node *[]){h.logits, h.label});
    h.hits = add(f, OP_COUNT_VALID, NULL, 2, (Node *[]){h.hit, h.valid});
    h.grad = add(f, OP_CROSS_ENTROPY_GRAD, NULL, 3, (Node *[]){h.logits, h.label, h.valid});
    return h;
}

START_TEST(loss_by_hand)
{
    Fixture f = fixture_new(3);
    Head h = head_new(&f, 2);
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

START_TEST(loss_gradient)
{
    Fixture f = fixture_new(4);
    Head h = head_new(&f, 5);
    const double step = 1e-5;
    start(&f, 0);
    set_random(&f, h.logits);
    SET(&f, h.label, {4, 0, 2, 2});
    value(&f, h.valid)[0] = _i;
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
    Head h = head_new(&f, 2);
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

START_TEST(optimizer_ops)
{
    Fixture f = fixture_new(1);
    Shape two = shape_of(1, 2, 0, 0, 0), scalar = shape_of(0, 0, 0, 0, 0);
    Attr k = {.factor = 0.75}, adam = {.adam = {0.5, 0.75, 0.25}};
    Node *p = parameter(&f, "p", two), *g = parameter(&f, "g", two), *v = parameter(&f, "v", two);
    Node *lr = input(&f, "lr", DT_F32, scalar), *step = input(&f, "step", DT_I32, scalar);
    Node *decay = add(&f, OP_WEIGHT_DECAY, &k, 2, (Node *[]){g, p});
    Node *momentum = add(&f, OP_MOMENTUM, &k, 2, (Node *[]){v, g});
    Node *sgd = add(&f, OP_SGD_STEP, NULL, 3, (Node *[]){p, g, lr});
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
    start(&f, 0);
    SET(&f, p, {1, -2});
    SET(&f, g, {4, 8});
    SET(&f, v, {16, 4});
    SET(&f, lr, {0.5});
    SET(&f, step, {2});
    eval_run(f.eval);
    EXPECT(&f, decay, {4.75, 6.5});
    EXPECT(&f, momentum, {16, 11});
    EXPECT(&f, sgd, {-1, -6});
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
    /* corrections 1 - 0.25 and 1 - 0.5625 */
    EXPECT(&f, next,
           {1 - 0.5 / 0.75 * 4 / (4 / sqrt(0.4375) + 0.25),
            -2 - 0.5 / 0.75 * 8 / (2 / sqrt(0.4375) + 0.25)});
    expect_spread(&f, 2, (Node *[]){p, g}, decay, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, momentum, 1);
    expect_spread(&f, 2, (Node *[]){p, g}, sgd, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, first, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, second, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, ahead, 1);
    expect_spread(&f, 2, (Node *[]){v, g}, scaled, 1);
    expect_spread(&f, 1, &p, decayed, 1);
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

static Suite *eval_suite(void)
{
    Suite *suite = suite_create("eval");
    TCase *ops = tcase_create("ops");
    tcase_set_timeout(ops, 120);
    tcase_add_test(ops, normalize_scales_then_shifts);
    tcase_add_test(ops, resize_is_bilinear_without_aligned_corners);
    tcase_add_test(ops, conv2d_by_hand);
    tcase_add_loop_test(ops, conv2d_and_its_gradients, 0, 40);
    tcase_add_loop_test(ops, filter_transpose_makes_dgrad_a_convolution, 0, 10);
    tcase_add_test(ops, filter_transpose_by_hand);
    tcase_add_test(ops, maxpool_takes_the_first_maximum);
    tcase_add_test(ops, maxpool_lets_nan_through);
    tcase_add_test(ops, avgpool_divides_by_the_padded_window);
    tcase_add_test(ops, avgpool_ragged_without_padding);
    tcase_add_loop_test(ops, pool_gradients, 0, 40);
    tcase_add_test(ops, maxpool_grad_ignores_codes_outside_the_map);
    tcase_add_test(ops, gap_and_flatten);
    tcase_add_loop_test(ops, gap_and_flatten_gradients, 0, 5);
    tcase_add_test(ops, loss_by_hand);
    tcase_add_loop_test(ops, loss_gradient, 1, 5);
    tcase_add_test(ops, part_of_a_batch);
    tcase_add_test(ops, a_parameter_is_not_cut_to_the_batch);
    tcase_add_test(ops, relu_and_add);
    tcase_add_test(ops, sigmoid_and_its_gradient);
    tcase_add_test(ops, activations);
    tcase_add_test(ops, gradients_at_kinks);
    tcase_add_test(ops, optimizer_ops);
    tcase_add_test(ops, spread_of_what_cancels);
    tcase_add_test(ops, spread_of_equal_terms);
    suite_add_tcase(suite, ops);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(eval_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
