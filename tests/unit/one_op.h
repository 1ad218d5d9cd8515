/* One op in a graph of its own, its values and those of its gradient in the naive evaluator.
 * Include it in one file of a program only. */
#ifndef NINC_ONE_OP_H
#define NINC_ONE_OP_H

#include "../../ir/ir.h"
#include "windows.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

typedef struct Fixture {
    Pool *pool;
    Module *module;
    Graph *graph;
    Eval *eval;
    uint64_t random;
} Fixture;

static inline Fixture fixture_new(int batch)
{
    Fixture f = {.pool = pool_new(), .random = 0x9e3779b97f4a7c15u};
    f.module = module_new(f.pool, "test");
    f.graph = module_add_graph(f.module, "train", batch);
    return f;
}

static inline void fixture_free(Fixture *f)
{
    eval_free(f->eval);
    pool_free(f->pool);
}

static const Loc nowhere;

/* Uniform in [-1, 1). */
static inline double random_double(Fixture *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (double)(f->random >> 11) / (double)(UINT64_C(1) << 52) - 1;
}

static inline int random_int(Fixture *f, int low, int high)
{
    return low + (int)((random_double(f) + 1) / 2 * (high - low + 1));
}

static inline Node *input(Fixture *f, const char *name, DType dtype, Shape shape)
{
    return graph_input(f->graph, name, dtype, shape, nowhere);
}

static inline Node *map_input(Fixture *f, const char *name, int h, int w, int c)
{
    return input(f, name, DT_F32, shape_of(4, f->graph->batch, h, w, c));
}

static inline Node *parameter(Fixture *f, const char *name, Shape shape)
{
    return graph_state(f->graph, module_add_storage(f->module, name, shape, ROLE_WEIGHT, nowhere));
}

static inline Node *add(Fixture *f, Op op, const Attr *attr, int arity, Node *const *in)
{
    return graph_add(f->graph, op, arity, in, attr, nowhere);
}

static inline Node *add_like(Fixture *f, Op op, const Attr *attr, int arity, Node *const *in,
                      const Node *like)
{
    return graph_add_typed(f->graph, op, arity, in, attr, &like->tensor, nowhere);
}

static inline void start(Fixture *f, int batch)
{
    f->eval = eval_new(f->graph, batch);
}

static inline double *value(Fixture *f, const Node *n)
{
    return eval_value(f->eval, n);
}

static inline void set(Fixture *f, const Node *n, const double *values)
{
    for (int64_t i = 0; i < eval_elements(f->eval, n); i++)
        value(f, n)[i] = values[i];
}

static inline void set_random(Fixture *f, const Node *n)
{
    for (int64_t i = 0; i < eval_elements(f->eval, n); i++)
        value(f, n)[i] = random_double(f);
}

static inline void expect_near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want))))
        ck_abort_msg("%s: %.17g, expected %.17g", what, got, want);
}

static inline void expect_values(Fixture *f, const Node *n, int count, const double *want)
{
    ck_assert_int_eq(eval_elements(f->eval, n), count);
    for (int i = 0; i < count; i++)
        expect_near(value(f, n)[i], want[i], 1e-12, op_name(n->op));
}

#define EXPECT(f, n, ...) \
    expect_values(f, n, (int)(sizeof((double[])__VA_ARGS__) / sizeof(double)), \
                  (const double[])__VA_ARGS__)
#define SET(f, n, ...) set(f, n, (const double[])__VA_ARGS__)

static inline double dot(Fixture *f, const Node *a, const Node *b)
{
    double sum = 0;
    for (int64_t i = 0; i < eval_elements(f->eval, a); i++)
        sum += value(f, a)[i] * value(f, b)[i];
    return sum;
}

/* grad must be the gradient of dot(y, dy) by x. */
static inline void expect_gradient(Fixture *f, const Node *x, const Node *y, const Node *dy,
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
static inline void add_changes(Fixture *f, const Node *x, const Node *y, double *sums)
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
static inline void expect_spread(Fixture *f, int count, Node *const *x, const Node *y, double most)
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

static inline Attr window(int kernel_h, int kernel_w, int stride, int padding, bool ceil_mode)
{
    return (Attr){.window = W(kernel_h, kernel_w, stride, stride, padding, padding, ceil_mode)};
}

/* A window that fits a map of h x w; padding at most `most` of the kernel on each axis. */
static inline Window random_window(Fixture *f, int h, int w, bool pool)
{
    Window k = {0};
    do {
        k.kernel_h = random_int(f, 1, 4);
        k.kernel_w = random_int(f, 1, 4);
        k.stride_h = random_int(f, 1, 3);
        k.stride_w = random_int(f, 1, 3);
        k.padding_h = random_int(f, 0, pool ? k.kernel_h / 2 : k.kernel_h);
        k.padding_w = random_int(f, 0, pool ? k.kernel_w / 2 : k.kernel_w);
        k.ceil_mode = pool && random_int(f, 0, 1);
        k.dilation_h = pool ? 0 : window_unless_one(random_int(f, 1, 3));
        k.dilation_w = pool ? 0 : window_unless_one(random_int(f, 1, 2));
    } while (window_extent(h, window_span_h(&k), k.stride_h, k.padding_h, k.ceil_mode) < 1 ||
             window_extent(w, window_span_w(&k), k.stride_w, k.padding_w, k.ceil_mode) < 1);
    return k;
}

#endif
