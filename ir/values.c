/* Questions about values: whose they are, how they are placed. */
#include "ir.h"

/* ---- storage ---- */

bool role_is_parameter(Role role)
{
    static const bool trained[ROLE_COUNT] = {[ROLE_WEIGHT] = true, [ROLE_MATRIX] = true,
                                             [ROLE_BIAS] = true, [ROLE_SCALE] = true,
                                             [ROLE_SHIFT] = true};
    return trained[role];
}

bool role_is_beside_parameter(Role role)
{
    return role == ROLE_MOMENT || role == ROLE_AVERAGE;
}

const Storage *storage_parameter(const Module *m, const Storage *s)
{
    return role_is_beside_parameter(s->role) ? module_find_storage(m, s->of) : s;
}

Storage *storage_average(const Module *m, const Storage *parameter)
{
    Pool *pool = pool_new();
    Storage *s = module_find_storage(m, pool_format(pool, "%s.%s", parameter->name, AVERAGE_NAME));
    pool_free(pool);
    return s && s->role == ROLE_AVERAGE ? s : NULL;
}

bool role_is_vector(Role role)
{
    static const bool vector[ROLE_COUNT] = {[ROLE_BIAS] = true, [ROLE_SCALE] = true,
                                            [ROLE_SHIFT] = true, [ROLE_MEAN] = true,
                                            [ROLE_VARIANCE] = true};
    return vector[role];
}

/* ---- operands ---- */

const Node *behind_cast(const Node *operand)
{
    return operand->op == OP_CAST ? operand->in[0] : operand;
}

const Storage *operand_storage(const Node *operand)
{
    operand = behind_cast(operand);
    return operand->op == OP_STATE ? operand->storage : NULL;
}

Node *conv_filter(const Node *n)
{
    if (n->op == OP_WINOGRAD_OUTPUT)
        n = n->in[0];
    if (n->op == OP_WINOGRAD_MULTIPLY)
        return n->in[1]->op == OP_WINOGRAD_FILTER ? n->in[1]->in[0] : NULL;
    if (n->op == OP_CONV2D_FOLDED)
        return n->in[1]->op == OP_FOLD_FILTER ? n->in[1]->in[0] : NULL;
    return n->op == OP_CONV2D || n->op == OP_CONV2D_TRANSPOSE ? n->in[1] : NULL;
}

const Storage *norm_storage(const Graph *g, const Node *n)
{
    static const int at[OP_COUNT] = {[OP_BATCH_NORM] = 1, [OP_BATCH_VAR] = 1, [OP_BATCH_DOT] = 2,
                                     [OP_BATCH_NORM_GRAD] = 2};
    const Node *mean = at[n->op] ? n->in[at[n->op]] : n;
    if (mean->op == OP_STATE)
        return mean->storage;
    Uses uses = graph_uses(g, mean);
    for (int i = 0; i < uses.count; i++)
        if (uses.use[i].user->op == OP_RUNNING)
            return uses.use[i].user->in[0]->storage;
    return NULL;
}

/* ---- placed values ---- */

/* A parameter may have as many channels as the batch has images, so the ops decide. */
bool is_per_image(const Graph *g, const Node *n)
{
    while (op_is_pointwise(n->op) || n->op == OP_CAST) {
        int k = 0;
        while (k + 1 < n->arity && n->in[k]->tensor.shape.rank == 0)
            k++;
        n = n->in[k];
    }
    if (n->op == OP_STATE || n->op == OP_UPDATE || op_is_of_filters(n->op) ||
        op_is(n->op, F_SUMS_IMAGES | F_STATISTIC))
        return false;
    return n->tensor.shape.rank > 0 && n->tensor.shape.dim[0] == g->batch;
}

bool graph_keeps_before(const Graph *g)
{
    return g->update_count == 0 && target_is_cpu(g->target);
}

bool value_is_kept(const Graph *g, const Node *n)
{
    return n->kernel && n->kernel->phase == PHASE_BEFORE && graph_keeps_before(g);
}

Tensor placed_tensor(const Graph *g, const Node *n)
{
    if (n->storage)
        return storage_tensor(n->storage, g->target);
    Tensor t = n->tensor;
    if (n->place.region == REGION_CHUNK && is_per_image(g, n))
        t.shape.dim[0] = g->chunk;
    if (n->place.region == REGION_THREAD && value_is_image(n))
        t.shape.dim[0] = 1;
    return t;
}

int64_t value_bytes(const Graph *g, const Node *n)
{
    Tensor t = placed_tensor(g, n);
    return tensor_elements(&t) * dtype_bytes(t.dtype);
}

int value_copies(const Node *n)
{
    if (n->place.region != REGION_PARTIAL || n->storage)
        return 1;
    if (target_is_cpu(n->kernel->target))
        return PARTIALS;
    int copies = 1;
    for (int i = 0; i < n->kernel->schedule_count; i++)
        if (n->kernel->schedule[i].split > copies)
            copies = n->kernel->schedule[i].split;
    return copies;
}

const Node *update_gradient(const Node *update)
{
    const Node *n = update->in[0];
    for (;;) {
        if (!op_is(n->op, F_OPTIMIZER))
            return n;
        n = n->in[n->op == OP_CLIP || n->op == OP_WEIGHT_DECAY ? 0 : 1];
    }
}

Storage *gradient_storage(const Graph *g, const Node *n)
{
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++) {
        const Node *user = uses.use[i].user;
        if (user->op == OP_CLIP)
            return gradient_storage(g, user);
        for (int k = 0; k < user->arity; k++) {
            Storage *s = user->in[k]->storage;
            if (s && user->in[k]->op == OP_STATE)
                return role_is_beside_parameter(s->role) ? module_find_storage(g->module, s->of)
                                                         : s;
        }
    }
    return NULL;
}
