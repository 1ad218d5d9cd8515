/* What a module must have to be compiled: IR text may hold any sound graphs, a program is a train
 * and an eval graph with the inputs and outputs that the trainer knows. */
#include "ir.h"

#include <string.h>

/* Where a fault of the whole text stands. */
typedef struct Check {
    const Module *m;
    const Graph *g;
    Diagnostics *d;
    Loc loc;
} Check;

static bool fault(const Check *c, const char *rule, const char *name)
{
    diagnostics_add(c->d, c->loc, 1, "graph %s: %s%s", c->g->name, rule, name);
    return false;
}

static bool has_input(const Check *c, const char *name, DType dtype, Shape shape)
{
    const Node *n = graph_find_input(c->g, name);
    if (!n)
        return fault(c, "it lacks the input %", name);
    return (n->tensor.dtype == dtype && shape_equal(&n->tensor.shape, &shape)) ||
           fault(c, "its type is not the data set's or trainer's: %", name);
}

static bool is_known_input(const Node *n)
{
    static const char *const names[] = {"image", "label", "valid", "lr", "step"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(n->name, names[i]) == 0)
            return true;
    return false;
}

static bool check_inputs(const Check *c)
{
    const Graph *g = c->g;
    const Module *m = c->m;
    const Shape scalar = shape_of(0, 0, 0, 0, 0);
    for (int i = 0; i < g->node_count && g->node[i]->op == OP_INPUT; i++)
        if (!is_known_input(g->node[i]))
            return fault(c, "the trainer knows no input %", g->node[i]->name);
    const Shape image = shape_of(4, g->batch, m->image_h, m->image_w, m->image_c);
    return has_input(c, "image", DT_U8, image) &&
           has_input(c, "label", DT_I32, shape_of(1, g->batch, 0, 0, 0)) &&
           has_input(c, "valid", DT_I32, scalar) &&
           (!graph_find_input(g, "lr") || has_input(c, "lr", DT_F32, scalar)) &&
           (!graph_find_input(g, "step") || has_input(c, "step", DT_I32, scalar));
}

/* A sum of rows that `op` makes from the logits and the labels. */
static bool is_metric(const Check *c, const Node *n, Op sum, Op op)
{
    return n && n->op == sum && n->in[0]->op == op && n->in[1] == graph_find_input(c->g, "valid") &&
           n->in[0]->in[1] == graph_find_input(c->g, "label") &&
           n->in[0]->in[0]->tensor.shape.dim[1] == c->m->classes;
}

static bool check_outputs(const Check *c)
{
    const Node *loss = graph_find_output(c->g, "loss");
    const Node *correct = graph_find_output(c->g, "correct");
    if (c->g->output_count != 2)
        return fault(c, "it must return loss and correct, nothing else", "");
    if (!is_metric(c, loss, OP_MEAN_VALID, OP_CROSS_ENTROPY))
        return fault(c, "loss must be mean_valid of cross_entropy of one logit a class", "");
    if (!is_metric(c, correct, OP_COUNT_VALID, OP_CORRECT) ||
        correct->in[0]->in[0] != loss->in[0]->in[0])
        return fault(c, "correct must be count_valid of correct of the same logits", "");
    return true;
}

static bool check_target(const Check *c)
{
    const Graph *g = c->g;
    if (g->stage != c->m->graph[0]->stage)
        return fault(c, "it has not reached the stage of graph ", c->m->graph[0]->name);
    if (g->stage == STAGE_FORWARD)
        return (g->target == TARGET_ANY && strcmp(g->name, "train") == 0) ||
               fault(c, "before autodiff there is graph train for any target alone", "");
    if (g->stage >= STAGE_KERNELS && g->target == TARGET_ANY)
        return fault(c, "kernels are made for a target", "");
    return (module_find_graph(c->m, "train", g->target) &&
            module_find_graph(c->m, "eval", g->target)) ||
           fault(c, "a target has both graphs, train and eval", "");
}

static bool check_graph(const Check *c)
{
    if (strcmp(c->g->name, "train") != 0 && strcmp(c->g->name, "eval") != 0)
        return fault(c, "graphs are named train and eval", "");
    return check_target(c) && check_inputs(c) && check_outputs(c);
}

bool module_check_program(const Module *m, Diagnostics *d, Loc loc)
{
    if (m->graph_count == 0) {
        diagnostics_add(d, loc, 1, "module %s has no graph", m->name);
        return false;
    }
    for (int i = 0; i < m->graph_count; i++) {
        Check c = {m, m->graph[i], d, loc};
        if (!check_graph(&c))
            return false;
    }
    return true;
}
