/* The naive evaluator: every op straight from its definition, in double, never rounded. It is the
 * oracle that emitted kernels are compared with, so it shares no code with them; the ops stand in
 * op/. The only thing done for speed is that the innermost loops run over contiguous channels. */
#include "op/family.h"

#include <stdlib.h>

/* The caller frees it. */
double *eval_zeroed(int64_t count)
{
    size_t bytes = (size_t)(count > 0 ? count : 1) * sizeof(double);
    double *p = xmalloc(bytes);
    memset(p, 0, bytes);
    return p;
}

/* ---- values ---- */

/* A state node has the id -1; update nodes have an id, but their value is the storage's. */
static bool is_state(const Node *n)
{
    return n->op == OP_STATE || n->op == OP_UPDATE;
}

/* Starts the evaluation of a graph for `batch` images, at most the graph's batch; 0: all of them.
 * Storage is zero and no value is set. The caller frees it with eval_free. */
Eval *eval_new(const Graph *g, int batch)
{
    if (batch < 0 || batch > g->batch)
        internal_error("%d images in a batch of %d", batch, g->batch);
    Eval *e = xmalloc(sizeof *e);
    e->graph = g;
    e->batch = batch ? batch : g->batch;
    e->of = NULL;
    e->value = xmalloc(((size_t)g->node_count + 1) * sizeof *e->value);
    e->state = xmalloc(((size_t)g->module->storage_count + 1) * sizeof *e->state);
    for (int i = 0; i < g->node_count; i++)
        e->value[i] = NULL;
    for (int i = 0; i < g->module->storage_count; i++)
        e->state[i] = NULL;
    return e;
}

/* Frees an evaluation and all its values; NULL is allowed. */
void eval_free(Eval *e)
{
    if (!e)
        return;
    for (int i = 0; i < e->graph->node_count; i++)
        free(e->value[i]);
    for (int i = 0; i < e->graph->module->storage_count; i++)
        free(e->state[i]);
    free(e->value);
    free(e->state);
    free(e);
}

/* Elements of the node's value in this evaluation: per-image values have e->batch rows. */
int64_t eval_elements(const Eval *e, const Node *n)
{
    Shape shape = n->tensor.shape;
    if (!is_state(n) && is_per_image(e->graph, n))
        shape.dim[0] = e->batch;
    return shape_elements(&shape);
}

/* The array of a storage, logical row-major (weights OIHW); zero until written. */
double *eval_state(Eval *e, const Storage *s)
{
    const Module *m = e->graph->module;
    for (int i = 0; i < m->storage_count; i++) {
        if (m->storage[i] != s)
            continue;
        if (!e->state[i])
            e->state[i] = eval_zeroed(shape_elements(&s->tensor.shape));
        return e->state[i];
    }
    internal_error("@%s is not in the module", s->name);
}

/* The array of a node's value, logical row-major; zero until written. */
double *eval_value(Eval *e, const Node *n)
{
    if (is_state(n))
        return eval_state(e, n->storage);
    if (n->id < 0 || n->id >= e->graph->node_count || e->graph->node[n->id] != n)
        internal_error("a %s node is not in graph %s", op_name(n->op), e->graph->name);
    if (!e->value[n->id])
        e->value[n->id] = eval_zeroed(eval_elements(e, n));
    return e->value[n->id];
}

Map eval_map(Eval *e, const Node *n)
{
    const int32_t *dim = n->tensor.shape.dim;
    double *data = eval_value(e, n);
    if (n->tensor.shape.rank == 4)
        return (Map){data, e->batch, dim[1], dim[2], dim[3]};
    if (n->tensor.shape.rank == 2)
        return (Map){data, e->batch, 1, 1, dim[1]};
    internal_error("the result of %s is no activation", op_name(n->op));
}

double *eval_filter_by_tap(Eval *e, const Node *n, bool out_first)
{
    const double *filter = eval_value(e, n);
    const Shape *shape = &n->tensor.shape;
    int outs = shape->dim[0], ins = shape->dim[1], taps = shape->dim[2] * shape->dim[3];
    double *by_tap = eval_zeroed(shape_elements(shape));
    for (int o = 0; o < outs; o++)
        for (int i = 0; i < ins; i++)
            for (int t = 0; t < taps; t++) {
                int64_t from = ((int64_t)o * ins + i) * taps + t;
                int64_t to = out_first ? (int64_t)o * ins + i : (int64_t)i * outs + o;
                by_tap[(int64_t)t * outs * ins + to] = filter[from];
            }
    return by_tap;
}

void eval_elementwise(Eval *e, const Node *node, ElementRule *rule)
{
    const double *in[MAX_OPERANDS] = {0};
    double *out = eval_value(e, node), x[MAX_OPERANDS] = {0};
    int64_t step[MAX_OPERANDS] = {0}, count = eval_elements(e, node);
    for (int i = 0; i < node->arity; i++) {
        in[i] = eval_value(e, node->in[i]);
        step[i] = node->in[i]->tensor.shape.rank > 0;
        if (step[i] && eval_elements(e, node->in[i]) != count)
            internal_error("operand %d of %s has another size", i, op_name(node->op));
    }
    for (int64_t at = 0; at < count; at++) {
        for (int i = 0; i < node->arity; i++)
            x[i] = in[i][at * step[i]];
        out[at] = rule(node, x);
    }
}

/* ---- nodes ---- */

/* Computes one node from the values of its operands, which must be set. An update writes the
 * state; inputs and state nodes have nothing to compute. */
void eval_node(Eval *e, const Node *n)
{
    op_rule(n->op)->eval(e, n);
}

/* Computes all nodes in order; inputs and state must be set. */
void eval_run(Eval *e)
{
    for (int i = 0; i < e->graph->node_count; i++)
        eval_node(e, e->graph->node[i]);
}
