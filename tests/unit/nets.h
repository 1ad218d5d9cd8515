/* Little networks as graphs, their steps in the naive evaluator, and gradients against central
 * differences. Include it in one file of a program only. */
#ifndef NINC_NETS_H
#define NINC_NETS_H

#include "../../passes/passes.h"
#include "windows.h"

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

static inline Net net_new(int batch, int h, int w, int c)
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

static inline double random_double(Net *n)
{
    n->random ^= n->random << 13;
    n->random ^= n->random >> 7;
    n->random ^= n->random << 17;
    return (double)(n->random >> 11) / (double)(UINT64_C(1) << 52) - 1;
}

static inline void run_pass(const char *name, Module *m, int level)
{
    ck_assert(pipeline_run_pass(name, m, &(PipelineOptions){.level = level}));
}

static inline Node *unary(Net *n, Op op, Node *x)
{
    return graph_add(n->graph, op, 1, &x, NULL, nowhere);
}

static inline Node *normalize(Net *n)
{
    static double half[] = {0.5, 0.5, 0.5};
    Attr attr = {.image = {n->module->image_c, half, half}};
    ck_assert_int_le(n->module->image_c, 3);
    return graph_add(n->graph, OP_NORMALIZE, 1, &n->image, &attr, nowhere);
}

static inline Node *pool(Net *n, Op op, Node *x, Window window)
{
    return graph_add(n->graph, op, 1, &x, &(Attr){.window = window}, nowhere);
}

/* The parameter NAME.weight or NAME.bias; used again when it is there already. */
static inline Node *parameter(Net *n, const char *name, const char *kind, Shape shape)
{
    char *full = pool_format(n->pool, "%s.%s", name, kind);
    Storage *s = module_find_storage(n->module, full);
    if (!s)
        s = module_add_storage(n->module, full, shape,
                               strcmp(kind, "bias") == 0 ? ROLE_BIAS : ROLE_WEIGHT, nowhere);
    return graph_state(n->graph, s);
}

static inline Node *conv(Net *n, const char *name, Node *x, int out, Window w, bool bias)
{
    int in = x->tensor.shape.dim[3];
    Node *operand[3] = {x};
    operand[1] = parameter(n, name, "weight", shape_of(4, out, in, w.kernel_h, w.kernel_w));
    if (bias)
        operand[2] = parameter(n, name, "bias", shape_of(1, out, 0, 0, 0));
    return graph_add(n->graph, OP_CONV2D, bias ? 3 : 2, operand, &(Attr){.window = w}, nowhere);
}

static inline void finish(Net *n, Node *logits)
{
    Node *in[] = {logits, n->label};
    Node *nll = graph_add(n->graph, OP_CROSS_ENTROPY, 2, in, NULL, nowhere);
    Node *hit = graph_add(n->graph, OP_CORRECT, 2, in, NULL, nowhere);
    Node *loss = graph_add(n->graph, OP_MEAN_VALID, 2, (Node *[]){nll, n->valid}, NULL, nowhere);
    Node *hits = graph_add(n->graph, OP_COUNT_VALID, 2, (Node *[]){hit, n->valid}, NULL, nowhere);
    graph_output(n->graph, "loss", loss);
    graph_output(n->graph, "correct", hits);
}

/* Padded overlapping pools, a flattened map that is not 1x1. */
static inline Net padded_net(void)
{
    Net n = net_new(2, 6, 5, 1);
    Node *x = conv(&n, "a", normalize(&n), 3, WINDOW(5, 5, 1, 1, 2, 2, 0), true);
    x = pool(&n, OP_AVGPOOL, unary(&n, OP_RELU, x), WINDOW(3, 2, 2, 2, 1, 1, true));
    x = conv(&n, "b", x, 4, WINDOW(3, 3, 1, 1, 1, 1, 0), true);
    x = pool(&n, OP_MAXPOOL, x, WINDOW(3, 3, 1, 1, 1, 1, false));
    const int32_t *dim = x->tensor.shape.dim;
    x = conv(&n, "c", x, CLASSES, WINDOW(dim[1], dim[2], 1, 1, 0, 0, 0), true);
    finish(&n, unary(&n, OP_FLATTEN, x));
    return n;
}

/* ---- running them ---- */

static inline Eval *start(Net *n, const Graph *g, int valid)
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

static inline double loss(Eval *e)
{
    eval_run(e);
    return eval_value(e, graph_find_output(e->graph, "loss"))[0];
}

static inline void expect_near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance * (1 + fabs(want))))
        ck_abort_msg("%s: %.17g, expected %.17g", what, got, want);
}

/* The gradient that an SGD step without momentum and weight decay subtracts. */
static inline const Node *gradient_of(const Graph *g, const Storage *s)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_SGD_STEP && g->node[i]->in[0]->storage == s)
            return g->node[i]->in[1];
    ck_abort_msg("no step for %s", s->name);
    return NULL;
}

static inline void expect_gradients(Net *n, const Graph *train, const Graph *eval, int valid)
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

static inline int count_ops(const Graph *g, Op op)
{
    int count = 0;
    for (int i = 0; i < g->node_count; i++)
        count += g->node[i]->op == op;
    return count;
}

#endif
