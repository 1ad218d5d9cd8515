/* Autodiff: makes the training step whole.
 *
 * Requires one graph `train` at stage forward with the outputs loss, which must be
 * mean_valid(cross_entropy(logits, label), valid), and correct. Makes of it `train` (forward,
 * backward in reverse order, then the optimizer's update of each parameter in storage order) and
 * `eval` (the forward alone), both at stage training. Adds the inputs lr and step and the storage
 * of the optimizer's moments. Breaks nothing. */
#include "passes.h"

#include <string.h>

/* Adjoints are looked up by the id that a forward node has when the pass starts; nodes appended
 * since then have larger ids and are never looked up. */
typedef struct Autodiff {
    Graph *graph;
    Pool *pool; /* freed when the pass ends */
    int forward_count;
    bool *needs;         /* by id: depends on a parameter */
    Node **grad;         /* by id: gradient of the loss, NULL where there is none (yet) */
    Node **code;         /* by id of a maxpool: its maxpool_code */
    Node **storage_grad; /* by index in module->storage */
    int storage_count;
} Autodiff;

static bool needs_gradient(const Autodiff *a, const Node *n)
{
    return n->op == OP_STATE ? n->storage->role != ROLE_MOMENT : a->needs[n->id];
}

static void find_needs(Autodiff *a)
{
    for (int i = 0; i < a->forward_count; i++) {
        const Node *n = a->graph->node[i];
        for (int k = 0; k < n->arity; k++)
            if (needs_gradient(a, n->in[k]))
                a->needs[i] = true;
    }
}

/* Appends a backward op of the forward node n; `like` gives the result's type. */
static Node *backward_op(Autodiff *a, const Node *n, Op op, Node *x, Node *y, const Node *like)
{
    Node *in[] = {x, y};
    Tensor type = {.dtype = like->tensor.dtype, .shape = like->tensor.shape};
    return graph_add_typed(a->graph, op, y ? 2 : 1, in, &n->attr, &type, n->loc);
}

/* Adds one use's gradient to what the operand has from its other uses. */
static void accumulate(Autodiff *a, const Node *operand, Node *grad, Loc loc)
{
    Node **sum = operand->op == OP_STATE ? &a->storage_grad[operand->storage->index]
                                         : &a->grad[operand->id];
    *sum = *sum ? graph_add(a->graph, OP_ADD, 2, (Node *[]){*sum, grad}, NULL, loc) : grad;
}

/* The order bias, filter, input lets the parameter gradients go first: the filter's gradient needs
 * the saved input and dy, both of which can be dropped once dx is there. */
static void conv2d_backward(Autodiff *a, const Node *n, Node *dy)
{
    Node *x = n->in[0], *filter = n->in[1];
    if (n->arity > 2 && needs_gradient(a, n->in[2]))
        accumulate(a, n->in[2], graph_add(a->graph, OP_BIAS_GRAD, 1, &dy, NULL, n->loc), n->loc);
    if (needs_gradient(a, filter))
        accumulate(a, filter, backward_op(a, n, OP_CONV2D_WGRAD, x, dy, filter), n->loc);
    if (needs_gradient(a, x))
        accumulate(a, x, backward_op(a, n, OP_CONV2D_DGRAD, dy, filter, x), n->loc);
}

/* The maximum's place is found once, in the forward pass; see place_codes. */
static Node *maxpool_backward(Autodiff *a, const Node *n, Node *dy)
{
    Node *code = graph_add(a->graph, OP_MAXPOOL_CODE, 1, n->in, &n->attr, n->loc);
    a->code[n->id] = code;
    return backward_op(a, n, OP_MAXPOOL_GRAD, dy, code, n->in[0]);
}

static void add_backward(Autodiff *a, const Node *n, Node *dy)
{
    for (int k = 0; k < 2; k++) {
        if (!shape_equal(&n->in[k]->tensor.shape, &n->tensor.shape))
            internal_error("the gradient of a broadcast operand of add is not implemented");
        if (needs_gradient(a, n->in[k]))
            accumulate(a, n->in[k], dy, n->loc);
    }
}

/* Adds the gradients of the operands of n, given that of its result. */
static void backward(Autodiff *a, Node *n, Node *dy)
{
    Node *x = n->in[0], *dx = NULL;
    switch ((int)n->op) {
    case OP_CONV2D: conv2d_backward(a, n, dy); return;
    case OP_ADD: add_backward(a, n, dy); return;
    case OP_RELU: dx = backward_op(a, n, OP_RELU_GRAD, dy, n, x); break;
    case OP_MAXPOOL: dx = maxpool_backward(a, n, dy); break;
    case OP_AVGPOOL: dx = backward_op(a, n, OP_AVGPOOL_GRAD, dy, NULL, x); break;
    case OP_GAP: dx = backward_op(a, n, OP_GAP_GRAD, dy, NULL, x); break;
    case OP_FLATTEN: dx = backward_op(a, n, OP_FLATTEN_GRAD, dy, NULL, x); break;
    default: internal_error("%s has no gradient", op_name(n->op));
    }
    accumulate(a, x, dx, n->loc);
}

/* The gradient of the loss enters at the logits: mean and cross-entropy have one joint gradient,
 * (softmax - onehot)/valid, that never divides by a small probability. */
static void seed(Autodiff *a)
{
    const Node *loss = graph_find_output(a->graph, "loss");
    if (!loss || loss->op != OP_MEAN_VALID || loss->in[0]->op != OP_CROSS_ENTROPY)
        internal_error("the loss is not mean_valid of cross_entropy");
    const Node *nll = loss->in[0];
    Node *logits = nll->in[0], *in[] = {logits, nll->in[1], loss->in[1]};
    if (needs_gradient(a, logits))
        accumulate(a, logits, graph_add(a->graph, OP_CROSS_ENTROPY_GRAD, 3, in, NULL, nll->loc),
                   nll->loc);
}

/* Moves each maxpool_code to right after its maxpool, which reads the same window. */
static void place_codes(Autodiff *a)
{
    Graph *g = a->graph;
    Node **order = pool_alloc(a->pool, (size_t)g->node_count * sizeof *order);
    int count = 0;
    for (int i = 0; i < g->node_count; i++) {
        if (g->node[i]->op == OP_MAXPOOL_CODE && i >= a->forward_count)
            continue;
        order[count++] = g->node[i];
        if (i < a->forward_count && a->code[i])
            order[count++] = a->code[i];
    }
    if (count != g->node_count)
        internal_error("%d of %d nodes placed", count, g->node_count);
    memcpy(g->node, order, (size_t)count * sizeof *order);
    graph_renumber(g);
}

/* ---- optimizers ---- */

/* One parameter's update under way. */
typedef struct Step {
    Graph *graph;
    Storage *storage;
    Node *parameter, *grad, *lr, *step;
} Step;

static Node *optimizer_op(const Step *s, Op op, Node *x, Node *y, double factor)
{
    return graph_add(s->graph, op, 2, (Node *[]){x, y}, &(Attr){.factor = factor}, s->storage->loc);
}

/* New storage PARAMETER.suffix, of the parameter's type. */
static Storage *add_moment(const Step *s, const char *suffix)
{
    Module *m = s->graph->module;
    char *name = pool_format(m->pool, "%s.%s", s->storage->name, suffix);
    if (module_find_storage(m, name))
        internal_error("@%s exists already", name);
    Storage *moment =
        module_add_storage(m, name, s->storage->tensor.shape, ROLE_MOMENT, s->storage->loc);
    moment->of = s->storage->name;
    return moment;
}

/* torch.optim.SGD: velocity = momentum * velocity + grad; parameter -= lr * velocity */
static void sgd_update(const Step *s, const Optimizer *o)
{
    Node *direction = s->grad;
    Storage *velocity = NULL;
    if (o->momentum != 0) {
        velocity = add_moment(s, "momentum");
        direction =
            optimizer_op(s, OP_MOMENTUM, graph_state(s->graph, velocity), direction, o->momentum);
    }
    Node *in[] = {s->parameter, direction, s->lr};
    Node *next = graph_add(s->graph, OP_SGD_STEP, 3, in, NULL, s->storage->loc);
    if (velocity)
        graph_update(s->graph, velocity, direction, s->storage->loc);
    graph_update(s->graph, s->storage, next, s->storage->loc);
}

/* torch.optim.Adam, without amsgrad */
static void adam_update(const Step *s, const Optimizer *o)
{
    Storage *m = add_moment(s, "m"), *v = add_moment(s, "v");
    Node *first = optimizer_op(s, OP_ADAM_M, graph_state(s->graph, m), s->grad, o->beta1);
    Node *second = optimizer_op(s, OP_ADAM_V, graph_state(s->graph, v), s->grad, o->beta2);
    Node *in[] = {s->parameter, first, second, s->lr, s->step};
    Attr attr = {.adam = {o->beta1, o->beta2, o->eps}};
    Node *next = graph_add(s->graph, OP_ADAM_STEP, 5, in, &attr, s->storage->loc);
    graph_update(s->graph, m, first, s->storage->loc);
    graph_update(s->graph, v, second, s->storage->loc);
    graph_update(s->graph, s->storage, next, s->storage->loc);
}

static Node *scalar_input(Graph *g, const char *name, DType dtype)
{
    Node *n = graph_find_input(g, name);
    return n ? n : graph_input(g, name, dtype, shape_of(0, 0, 0, 0, 0), (Loc){NULL, 0, 0});
}

/* Parameters that the loss does not depend on are left alone, as PyTorch leaves those whose .grad
 * is None. */
static void add_updates(Autodiff *a, Node *lr, Node *step)
{
    const Optimizer *o = &a->graph->module->optimizer;
    for (int i = 0; i < a->storage_count; i++) {
        Storage *storage = a->graph->module->storage[i];
        Step s = {a->graph, storage, NULL, a->storage_grad[i], lr, step};
        if (!s.grad)
            continue;
        s.parameter = graph_state(a->graph, storage);
        if (o->weight_decay != 0)
            s.grad = optimizer_op(&s, OP_WEIGHT_DECAY, s.grad, s.parameter, o->weight_decay);
        switch (o->kind) {
        case OPTIMIZER_SGD: sgd_update(&s, o); break;
        case OPTIMIZER_ADAM: adam_update(&s, o); break;
        case OPTIMIZER_COUNT: internal_error("unknown optimizer");
        }
    }
}

/* Completes `train` with the backward ops and the updates, and adds `eval`. */
void pass_autodiff(Module *m)
{
    Graph *g = module_find_graph(m, "train", TARGET_ANY);
    if (!g || g->stage != STAGE_FORWARD)
        internal_error("no train graph at stage forward");
    graph_remove_dead(g);
    Graph *eval = graph_clone(g, "eval", TARGET_ANY);
    Node *lr = scalar_input(g, "lr", DT_F32), *step = scalar_input(g, "step", DT_I32);
    Pool *pool = pool_new();
    size_t count = (size_t)g->node_count, storages = (size_t)m->storage_count;
    Autodiff a = {.graph = g,
                  .pool = pool,
                  .forward_count = g->node_count,
                  .needs = pool_alloc(pool, count * sizeof(bool)),
                  .grad = pool_alloc(pool, count * sizeof(Node *)),
                  .code = pool_alloc(pool, count * sizeof(Node *)),
                  .storage_grad = pool_alloc(pool, (storages + 1) * sizeof(Node *)),
                  .storage_count = m->storage_count};
    find_needs(&a);
    seed(&a);
    for (int i = a.forward_count - 1; i >= 0; i--)
        if (a.grad[i])
            backward(&a, g->node[i], a.grad[i]);
    add_updates(&a, lr, step);
    place_codes(&a);
    g->stage = eval->stage = STAGE_TRAINING;
    pool_free(pool);
}
