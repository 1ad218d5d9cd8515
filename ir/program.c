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

static bool has_input(const Check *c, GraphInput input)
{
    const Node *n = graph_find_input(c->g, input_name(input));
    Tensor type = input_type(c->g, input);
    if (!n)
        return !input_is_needed(input) || fault(c, "it lacks the input %", input_name(input));
    return (n->tensor.dtype == type.dtype && shape_equal(&n->tensor.shape, &type.shape)) ||
           fault(c, "its type is not the data set's or trainer's: %", input_name(input));
}

static bool check_inputs(const Check *c)
{
    const Graph *g = c->g;
    for (int i = 0; i < g->node_count && g->node[i]->op == OP_INPUT; i++)
        if (input_named(g->node[i]->name) == INPUT_COUNT)
            return fault(c, "the trainer knows no input %", g->node[i]->name);
    for (int i = 0; i < (int)INPUT_COUNT; i++)
        if (!has_input(c, (GraphInput)i))
            return false;
    return true;
}

/* A sum of rows that `op` makes from the logits and the labels. */
static bool is_metric(const Check *c, const Node *n, Op sum, Op op)
{
    bool weighted = n && n->arity > 2;
    if (weighted && (n->in[0]->arity < 3 || n->in[0]->in[2]->op != OP_STATE ||
                     n->in[0]->in[2]->storage->role != ROLE_CLASSES ||
                     n->in[2] != graph_find_input(c->g, "label_weight")))
        return false;
    return n && n->op == sum && n->in[0]->op == op && (weighted || n->in[0]->arity == 2) &&
           n->in[1] == graph_find_input(c->g, "valid") &&
           n->in[0]->in[1] == graph_find_input(c->g, "label") &&
           n->in[0]->in[0]->tensor.shape.dim[1] == c->m->classes;
}

static bool check_outputs(const Check *c)
{
    const Node *loss = graph_find_output(c->g, "loss");
    const Node *correct = graph_find_output(c->g, "correct");
    const Node *logits = graph_find_output(c->g, "logits");
    if (c->g->output_count != 2 + (logits != NULL))
        return fault(c, "it must return loss and correct, may return logits, and nothing else", "");
    if (!is_metric(c, loss, OP_MEAN_VALID, OP_CROSS_ENTROPY))
        return fault(c, "loss must be mean_valid of cross_entropy of one logit a class", "");
    if (!is_metric(c, correct, OP_COUNT_VALID, OP_CORRECT) ||
        correct->in[0]->in[0] != loss->in[0]->in[0])
        return fault(c, "correct must be count_valid of correct of the same logits", "");
    if (logits && logits != loss->in[0]->in[0])
        return fault(c, "logits must be the operand of cross_entropy", "");
    return true;
}

/* ---- images and parameters ---- */

/* Whether operand k of n must have one row an image; scalars may stand anywhere. */
static bool wants_images(const Graph *g, const Node *n, int k)
{
    if (op_is_pointwise(n->op) || n->op == OP_CAST)
        return is_per_image(g, n);
    if (op_is(n->op, F_OF_FILTERS | F_OF_GRADIENTS) || n->op == OP_UPDATE)
        return false;
    if (n->in[k]->op == OP_STATE && n->in[k]->storage->role == ROLE_CLASSES)
        return !op_is(n->op, F_HEAD);
    if (op_is(n->op, F_STATISTIC) || op_attr(n->op) == ATTR_NORM)
        return n->in[k]->tensor.shape.rank == 4;
    return k == 0 || !op_is(n->op, F_FILTERED);
}

/* Sums over the images are whole after all of them. */
static bool check_node_phase(const Check *c, const Node *n, Phase *phase)
{
    phase[n->id] = node_phase(c->g, n, phase);
    if (phase[n->id] != PHASE_CHUNK || !node_reads_sums(n, phase))
        return true;
    diagnostics_add(c->d, n->loc.file ? n->loc : c->loc, 1,
                    "graph %s: %s works on single images, but reads what is known after all of "
                    "them", c->g->name, op_name(n->op));
    return false;
}

static bool node_fault(const Check *c, const Node *n, const char *rule)
{
    diagnostics_add(c->d, n->loc.file ? n->loc : c->loc, 1, "graph %s: %s: %s", c->g->name,
                    op_name(n->op), rule);
    return false;
}

static bool check_augmentation(const Check *c, const Node *n)
{
    return !op_is(n->op, F_AUGMENT) || strcmp(c->g->name, "eval") != 0 ||
           node_fault(c, n, "an evaluation changes no image");
}

static bool check_operands(const Check *c, const Node *n)
{
    for (int k = 0; k < n->arity; k++)
        if (n->in[k]->tensor.shape.rank > 0 &&
            is_per_image(c->g, n->in[k]) != wants_images(c->g, n, k))
            return node_fault(c, n, "images stand where a parameter must, or the other way round");
    return true;
}

/* What n packs for itself: a convolution's filter, or the parameter that is folded into one. */
static const Node *packed_filter(const Node *n)
{
    if (n->op == OP_FOLD_FILTER)
        return n->in[0];
    return n->op == OP_CONV2D || n->op == OP_CONV2D_FOLDED ? n->in[1] : NULL;
}

/* A filter is packed for its convolution. */
static bool check_filter(const Check *c, const Node *n)
{
    const Node *filter = packed_filter(n);
    Uses uses = filter ? graph_uses(c->g, filter) : (Uses){0};
    for (int i = 0; i < uses.count && uses.use[i].user->id < n->id; i++)
        if (packed_filter(uses.use[i].user) == filter)
            return node_fault(c, n, "another convolution has its filter; give each its own");
    return true;
}

/* ---- folded convolutions ---- */

static bool is_folded(Op op)
{
    return op_attr(op) == ATTR_FOLD && !op_is_of_filters(op);
}

/* The convolution whose weight gradient n is. */
static bool has_convolution(const Check *c, const Node *n)
{
    Uses uses = graph_uses(c->g, n->in[0]);
    for (int i = 0; i < uses.count; i++)
        if (is_wgrad_of(n, uses.use[i].user))
            return true;
    return false;
}

static bool is_read_folded_only(const Check *c, const Node *image, const Fold *fold)
{
    Uses uses = graph_uses(c->g, image);
    for (int i = 0; i < uses.count; i++)
        if (!is_folded(uses.use[i].user->op) ||
            memcmp(&uses.use[i].user->attr.fold, fold, sizeof *fold) != 0)
            return false;
    return true;
}

/* Rewritten convolutions, each on its target. The image that a folded one reads stands for the
 * resized one. */
static bool check_rewritten(const Check *c, const Node *n)
{
    enum { MAX_FOLDED_CHANNELS = 15 };
    if (op_attr(n->op) == ATTR_WINOGRAD && target_kind(c->g->target) == KIND_TILES)
        return node_fault(c, n, "AMX convolves directly");
    if (op_attr(n->op) != ATTR_FOLD)
        return true;
    if (target_kind(c->g->target) != KIND_VECTORS)
        return node_fault(c, n, "only a CPU without AMX has it");
    if (!is_folded(n->op))
        return true;
    if (n->in[0]->op != OP_NORMALIZE || n->in[0]->tensor.shape.dim[3] > MAX_FOLDED_CHANNELS ||
        !is_read_folded_only(c, n->in[0], &n->attr.fold))
        return node_fault(c, n, "it reads the normalised image of at most 15 channels, which "
                                "nothing else may read");
    if (n->op == OP_CONV2D_FOLDED)
        return (n->in[1]->op == OP_FOLD_FILTER && n->in[1]->in[0]->op == OP_STATE &&
                memcmp(&n->in[1]->attr.fold, &n->attr.fold, sizeof(Fold)) == 0) ||
               node_fault(c, n, "its filter is the fold_filter of a parameter, folded alike");
    return has_convolution(c, n) ||
           node_fault(c, n, "it is of no conv2d_folded of the same image and filter");
}

/* ---- before autodiff ---- */

/* The storage of a batch_norm is its own: each step updates it once. */
static bool check_norm(const Check *c, const Node *n)
{
    static const Role role[] = {ROLE_MEAN, ROLE_VARIANCE, ROLE_SCALE, ROLE_SHIFT};
    for (int k = 1; k < n->arity; k++) {
        if (n->in[k]->storage->role != role[k - 1])
            return node_fault(c, n, "before autodiff its operands are x, a mean, a variance, and a "
                                    "scale and a shift");
        if (graph_uses(c->g, n->in[k]).count != 1)
            return node_fault(c, n, "another layer reads its storage; give each its own");
    }
    return true;
}

/* What autodiff can differentiate: forward ops, parameters read by convolutions alone. */
static bool check_forward(const Check *c, const Node *n)
{
    if (!op_is(n->op, F_FORWARD))
        return node_fault(c, n, "before autodiff a graph has forward ops only");
    if (n->op == OP_ADD && !shape_equal(&n->in[0]->tensor.shape, &n->in[1]->tensor.shape))
        return node_fault(c, n, "before autodiff its operands have one shape");
    for (int k = 0; k < n->arity; k++)
        if ((n->in[k]->op == OP_STATE) !=
            (((n->op == OP_CONV2D || n->op == OP_BATCH_NORM) && k > 0) ||
             (n->op == OP_CROSS_ENTROPY && k == 2)))
            return node_fault(c, n,
                              "filters and biases of convolutions, statistics, weight and bias of "
                              "batch_norm are storage, and nothing else reads storage before "
                              "autodiff");
    return n->op != OP_BATCH_NORM || check_norm(c, n);
}

static bool check_nodes(const Check *c)
{
    const Graph *g = c->g;
    Pool *pool = pool_new();
    Phase *phase = pool_alloc(pool, ((size_t)g->node_count + 1) * sizeof *phase);
    bool good = true;
    for (int i = 0; good && i < g->node_count; i++) {
        const Node *n = g->node[i];
        good = (g->stage > STAGE_FORWARD || check_forward(c, n)) && check_operands(c, n) &&
               check_augmentation(c, n) && check_filter(c, n) && check_rewritten(c, n) &&
               (g->stage >= STAGE_KERNELS || check_node_phase(c, n, phase));
    }
    pool_free(pool);
    return good;
}

/* Autodiff makes the moments. */
static bool check_no_moments(const Check *c)
{
    const Module *m = c->m;
    bool taken = false;
    Pool *pool = pool_new();
    for (int i = 0; i < m->storage_count; i++)
        for (int k = 0; moment_name(k); k++) {
            const char *name = pool_format(pool, "%s.%s", m->storage[i]->name, moment_name(k));
            taken |= module_find_storage(m, name) != NULL;
        }
    pool_free(pool);
    return !taken || fault(c, "before autodiff no storage is named like an optimizer's moment", "");
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
    const Graph *beside = module_find_graph(c->m, g->name, target_device(g->target));
    bool tiles = target_kind(g->target) == KIND_TILES;
    if (tiles && !beside)
        return fault(c, "programs for amx stand beside those for cpu", "");
    if (tiles && graph_has_bf16(g) != graph_has_bf16(beside))
        return fault(c, "programs for amx and for cpu have maps of one dtype", "");
    if (tiles && g->stage >= STAGE_KERNELS && !graph_has_bf16(g))
        return fault(c, "amx works on bf16 maps, and there are none", "");
    return (module_find_graph(c->m, "train", g->target) &&
            module_find_graph(c->m, "eval", g->target)) ||
           fault(c, "a target has both graphs, train and eval", "");
}

static bool check_graph(const Check *c)
{
    if (strcmp(c->g->name, "train") != 0 && strcmp(c->g->name, "eval") != 0)
        return fault(c, "graphs are named train and eval", "");
    return check_target(c) && check_inputs(c) && check_outputs(c) && check_nodes(c) &&
           (c->g->stage > STAGE_FORWARD || check_no_moments(c));
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
