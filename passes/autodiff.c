/* Autodiff: makes the training step whole.
 *
 * Requires one graph `train` at stage forward with the outputs loss, which must be
 * mean_valid(cross_entropy(logits, label), valid), and correct. Makes of it `train` (forward,
 * batch norms by the batch's statistics, backward in reverse order, then the optimizer's update of
 * each parameter in storage order, and those of the running statistics) and
 * `eval` (the forward alone), both at stage training. Adds the inputs lr and step, and the storage
 * of the optimizer's moments and of the parameters' averages, which `eval` reads instead of them.
 * Breaks nothing. */
#include "passes.h"

#include <string.h>

/* Adjoints are looked up by the id that a forward node has when the pass starts; nodes appended
 * since then have larger ids and are never looked up. */
typedef struct Autodiff {
    Gradient lent; /* to the ops' gradients; first, so that a pointer to it is one to this */
    Graph *graph;
    Pool *pool; /* freed when the pass ends */
    int forward_count;
    bool *needs;         /* by id: depends on a parameter */
    Node **grad;         /* by id: gradient of the loss, NULL where there is none (yet) */
    Node **kept;         /* by id: what is computed right behind it for its gradient */
    Node **storage_grad; /* by index in module->storage */
    int storage_count;
} Autodiff;

static bool needs_gradient(const Autodiff *a, const Node *n)
{
    if (n->op == OP_STATE)
        return role_is_parameter(n->storage->role) && !n->storage->training.frozen;
    return a->needs[n->id];
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

/* ---- what the ops' gradients are made with ---- */

static bool needs(const Gradient *g, const Node *operand)
{
    return needs_gradient((const Autodiff *)g, operand);
}

static void give(Gradient *g, const Node *operand, Node *grad, Loc loc)
{
    Autodiff *a = (Autodiff *)g;
    Node **sum = operand->op == OP_STATE ? &a->storage_grad[operand->storage->index]
                                         : &a->grad[operand->id];
    *sum = *sum ? graph_add(g->graph, OP_ADD, 2, (Node *[]){*sum, grad}, NULL, loc) : grad;
}

static void keep(Gradient *g, const Node *n, Node *value)
{
    Autodiff *a = (Autodiff *)g;
    a->kept[n->id] = value;
}

/* The gradient of the loss enters where it is summed over the images. */
static void seed(Autodiff *a)
{
    Node *loss = graph_find_output(a->graph, "loss");
    if (!loss)
        internal_error("there is no loss");
    gradient_of_node(&a->lent, loss, NULL);
}

/* Moves what is kept to right behind its forward node, which reads the same operands. */
static void place_kept(Autodiff *a)
{
    Graph *g = a->graph;
    Node **order = pool_alloc(a->pool, (size_t)g->node_count * sizeof *order);
    bool *moved = pool_alloc(a->pool, (size_t)g->node_count);
    int count = 0;
    for (int i = 0; i < a->forward_count; i++)
        if (a->kept[i])
            moved[a->kept[i]->id] = true;
    for (int i = 0; i < g->node_count; i++) {
        if (moved[i])
            continue;
        order[count++] = g->node[i];
        if (i < a->forward_count && a->kept[i])
            order[count++] = a->kept[i];
    }
    if (count != g->node_count)
        internal_error("%d of %d nodes placed", count, g->node_count);
    memcpy(g->node, order, (size_t)count * sizeof *order);
    graph_renumber(g);
}

/* ---- optimizers ---- */

enum { MAX_MOMENTS = 2 };

/* One parameter's update under way. */
typedef struct Step {
    Graph *graph;
    Storage *storage;
    Node *parameter, *grad, *lr, *step;
    Storage *moment[MAX_MOMENTS];
    Node *next[MAX_MOMENTS]; /* of each moment */
    int moments;
} Step;

static Node *optimizer_op(const Step *s, Op op, Node *x, Node *y, double factor)
{
    return graph_add(s->graph, op, 2, (Node *[]){x, y}, &(Attr){.factor = factor}, s->storage->loc);
}

/* New storage PARAMETER.suffix, of the parameter's type. */
static Storage *add_beside(const Step *s, Role role, const char *suffix)
{
    Module *m = s->graph->module;
    char *name = pool_format(m->pool, "%s.%s", s->storage->name, suffix);
    if (module_find_storage(m, name))
        internal_error("@%s exists already", name);
    Storage *beside =
        module_add_storage(m, name, s->storage->tensor.shape, role, s->storage->loc);
    beside->of = s->storage->name;
    return beside;
}

/* The next value of a new moment, which is stored behind the step. */
static Node *next_moment(Step *s, Op op, const char *suffix, Node *by, double factor)
{
    Storage *moment = add_beside(s, ROLE_MOMENT, suffix);
    Node *next = optimizer_op(s, op, graph_state(s->graph, moment), by, factor);
    if (s->moments == MAX_MOMENTS)
        internal_error("an optimizer of more than %d moments", MAX_MOMENTS);
    s->moment[s->moments] = moment;
    s->next[s->moments++] = next;
    return next;
}

static Node *sgd_op(const Step *s, Node *direction)
{
    return graph_add(s->graph, OP_SGD_STEP, 3, (Node *[]){s->parameter, direction, s->lr},
                     &(Attr){.factor = s->storage->training.lr_mult}, s->storage->loc);
}

/* torch.optim.SGD: velocity = momentum * velocity + grad; parameter -= lr * velocity */
static Node *sgd_step(Step *s, const Optimizer *o)
{
    Node *direction = s->grad;
    if (o->momentum != 0)
        direction = next_moment(s, OP_MOMENTUM, "momentum", direction, o->momentum);
    if (o->nesterov != 0)
        direction = optimizer_op(s, OP_NESTEROV, direction, s->grad, o->momentum);
    return sgd_op(s, direction);
}

/* torch.optim.Adam, without amsgrad */
static Node *adam_step(Step *s, const Optimizer *o)
{
    Node *m = next_moment(s, OP_ADAM_M, "m", s->grad, o->beta1);
    Node *v = next_moment(s, OP_ADAM_V, "v", s->grad, o->beta2);
    Node *in[] = {s->parameter, m, v, s->lr, s->step};
    double lr_mult = s->storage->training.lr_mult;
    if (o->kind == OPTIMIZER_ADAMW && o->weight_decay != 0)
        in[0] = optimizer_op(s, OP_ADAMW_DECAY, s->parameter, s->lr, lr_mult * o->weight_decay);
    return graph_add(s->graph, OP_ADAM_STEP, 5, in,
                     &(Attr){.adam = {o->beta1, o->beta2, o->eps, lr_mult}}, s->storage->loc);
}

/* torch.optim.RMSprop, not centered */
static Node *rmsprop_step(Step *s, const Optimizer *o)
{
    Node *v = next_moment(s, OP_ADAM_V, "v", s->grad, o->alpha);
    Node *direction = optimizer_op(s, OP_RMSPROP_SCALE, v, s->grad, o->eps);
    if (o->momentum != 0)
        direction = next_moment(s, OP_MOMENTUM, "momentum", direction, o->momentum);
    return sgd_op(s, direction);
}

typedef Node *StepFn(Step *s, const Optimizer *o);

/* By optimizer: how its step is made, and whether weight_decay is part of the gradient. */
static const struct {
    StepFn *step;
    bool decays_gradient;
} optimizers[OPTIMIZER_COUNT] = {
    [OPTIMIZER_SGD] = {sgd_step, true},
    [OPTIMIZER_ADAM] = {adam_step, true},
    [OPTIMIZER_ADAMW] = {adam_step, false},
    [OPTIMIZER_RMSPROP] = {rmsprop_step, true},
};

/* torch.nn.utils.clip_grad_norm_: what all gradients are multiplied by; NULL: nothing. */
static Node *clip_factor(const Autodiff *a)
{
    double most = a->graph->module->train.clip_grad_norm;
    Node *sum = NULL;
    for (int i = 0; i < a->storage_count && most > 0; i++)
        if (a->storage_grad[i])
            sum = graph_add(a->graph, OP_SQUARE_SUM, 1 + (sum != NULL),
                            (Node *[]){a->storage_grad[i], sum}, NULL,
                            a->graph->module->storage[i]->loc);
    return sum ? graph_add(a->graph, OP_CLIP_FACTOR, 1, &sum, &(Attr){.factor = most}, sum->loc)
               : NULL;
}

/* Of the parameter after its step, beside it. */
static void add_average(const Step *s, Node *next)
{
    Storage *average = add_beside(s, ROLE_AVERAGE, AVERAGE_NAME);
    Node *before = graph_state(s->graph, average);
    graph_update(s->graph, average,
                 optimizer_op(s, OP_EMA, before, next, s->graph->module->train.ema),
                 s->storage->loc);
}

/* `all`: the optimizer of all parameters, whose rate and decay this one may have a multiple of. */
static void add_update(Step *s, const Optimizer *all)
{
    Optimizer own = *all, *o = &own;
    own.weight_decay *= s->storage->training.weight_decay_mult;
    if (o->weight_decay != 0 && optimizers[o->kind].decays_gradient)
        s->grad = optimizer_op(s, OP_WEIGHT_DECAY, s->grad, s->parameter, o->weight_decay);
    Node *next = optimizers[o->kind].step(s, o);
    for (int i = 0; i < s->moments; i++)
        graph_update(s->graph, s->moment[i], s->next[i], s->storage->loc);
    graph_update(s->graph, s->storage, next, s->storage->loc);
    if (s->graph->module->train.ema > 0)
        add_average(s, next);
}

/* Parameters that the loss does not depend on are left alone, as PyTorch leaves those whose .grad
 * is None. */
static void add_updates(Autodiff *a, Node *lr, Node *step)
{
    const Optimizer *o = &a->graph->module->optimizer;
    Node *factor = clip_factor(a);
    for (int i = 0; i < a->storage_count; i++) {
        Storage *storage = a->graph->module->storage[i];
        Step s = {a->graph, storage, NULL, a->storage_grad[i], lr, step, {NULL}, {NULL}, 0};
        if (!s.grad)
            continue;
        if (factor)
            s.grad = graph_add(a->graph, OP_CLIP, 2, (Node *[]){s.grad, factor}, NULL,
                               storage->loc);
        s.parameter = graph_state(a->graph, storage);
        add_update(&s, o);
    }
}

/* ---- batch norm ---- */

/* One batch norm of `train`, which reads the batch's statistics, and what becomes of them. */
typedef struct Norm {
    Storage *mean, *var;
    Node *node;
    double momentum;
} Norm;

/* In training a batch is normalized by its own statistics. Fills in `list`; how many there are. */
static int take_statistics(Graph *g, Norm *list)
{
    int count = 0, nodes = g->node_count;
    Node *valid = graph_find_input(g, "valid");
    for (int i = 0; i < nodes; i++) {
        Node *n = g->node[i], *x = n->in[0];
        if (n->op != OP_BATCH_NORM)
            continue;
        list[count++] = (Norm){n->in[1]->storage, n->in[2]->storage, n, n->attr.norm.momentum};
        Node *mean = graph_add(g, OP_BATCH_MEAN, 2, (Node *[]){x, valid}, NULL, n->loc);
        Node *var = graph_add(g, OP_BATCH_VAR, 3, (Node *[]){x, mean, valid}, NULL, n->loc);
        n->in[1] = mean, n->in[2] = var;
        n->attr.norm.momentum = 0;
    }
    graph_sort(g);
    return count;
}

static Storage *batches_of(const Module *m, const Storage *mean)
{
    for (int i = 0; i < m->storage_count; i++)
        if (m->storage[i]->role == ROLE_BATCHES && strcmp(m->storage[i]->of, mean->name) == 0)
            return m->storage[i];
    return NULL;
}

/* running = (1 - momentum) * running + momentum * statistic */
static void update_running(Graph *g, Storage *s, Node *statistic, double momentum, Loc loc)
{
    Node *in[] = {graph_state(g, s), statistic};
    Attr attr = {.factor = momentum};
    graph_update(g, s, graph_add(g, OP_RUNNING, 2, in, &attr, loc), loc);
}

/* torch.nn.BatchNorm2d in training: the running variance is of the unbiased one. */
static void add_running_statistics(Graph *g, const Norm *norm)
{
    Node *n = norm->node, *var[] = {n->in[2], graph_find_input(g, "valid")};
    const int32_t *x = n->in[0]->tensor.shape.dim;
    Attr pixels = {.factor = (double)x[1] * x[2]};
    Storage *batches = batches_of(g->module, norm->mean);
    update_running(g, norm->mean, n->in[1], norm->momentum, n->loc);
    update_running(g, norm->var, graph_add(g, OP_UNBIASED, 2, var, &pixels, n->loc),
                   norm->momentum, n->loc);
    if (batches) {
        Node *before = graph_state(g, batches);
        graph_update(g, batches, graph_add(g, OP_COUNT_BATCH, 1, &before, NULL, n->loc), n->loc);
    }
}

/* ---- what only training does ---- */

/* An evaluation drops nothing and changes no image, and is not given what only a training step
 * reads. */
static void keep_all(Graph *eval)
{
    int kept = 0;
    for (int i = 0; i < eval->node_count; i++)
        if (eval->node[i]->op == OP_DROPOUT || op_is(eval->node[i]->op, F_AUGMENT))
            graph_replace(eval, eval->node[i], eval->node[i]->in[0]);
    graph_remove_dead(eval);
    for (int i = 0; i < eval->node_count; i++) {
        Node *n = eval->node[i];
        bool unread = n->op == OP_INPUT && !input_is_needed(input_named(n->name)) &&
                      graph_uses(eval, n).count == 0;
        if (!unread)
            eval->node[kept++] = n;
    }
    eval->node_count = kept;
    graph_renumber(eval);
}

/* ---- averages ---- */

/* An evaluation goes by the averages of the parameters, where they have some. */
static void read_averages(Graph *eval)
{
    const Module *m = eval->module;
    for (int i = 0; i < m->storage_count; i++) {
        Storage *average = storage_average(m, m->storage[i]);
        Node *state = i < eval->state_of_capacity ? eval->state_of[i] : NULL;
        if (average && state)
            graph_replace(eval, state, graph_state(eval, average));
    }
    graph_remove_dead(eval);
}

/* Completes `train` with the backward ops and the updates, and adds `eval`. */
void pass_autodiff(Module *m)
{
    Graph *g = module_find_graph(m, "train", TARGET_ANY);
    if (!g || g->stage != STAGE_FORWARD)
        internal_error("no train graph at stage forward");
    graph_remove_dead(g);
    Graph *eval = graph_clone(g, "eval", TARGET_ANY);
    keep_all(eval);
    Node *lr = graph_take_input(g, INPUT_LR, (Loc){0});
    Node *step = graph_take_input(g, INPUT_STEP, (Loc){0});
    Pool *pool = pool_new();
    Norm *norm = pool_alloc(pool, (size_t)g->node_count * sizeof *norm);
    int norms = take_statistics(g, norm);
    size_t count = (size_t)g->node_count, storages = (size_t)m->storage_count;
    Autodiff a = {.lent = {g, needs, give, keep},
                  .graph = g,
                  .pool = pool,
                  .forward_count = g->node_count,
                  .needs = pool_alloc(pool, count * sizeof(bool)),
                  .grad = pool_alloc(pool, count * sizeof(Node *)),
                  .kept = pool_alloc(pool, count * sizeof(Node *)),
                  .storage_grad = pool_alloc(pool, (storages + 1) * sizeof(Node *)),
                  .storage_count = m->storage_count};
    find_needs(&a);
    seed(&a);
    for (int i = a.forward_count - 1; i >= 0; i--)
        if (a.grad[i])
            gradient_of_node(&a.lent, g->node[i], a.grad[i]);
    add_updates(&a, lr, step);
    for (int i = 0; i < norms; i++)
        add_running_statistics(g, &norm[i]);
    place_kept(&a);
    read_averages(eval);
    g->stage = eval->stage = STAGE_TRAINING;
    pool_free(pool);
}
