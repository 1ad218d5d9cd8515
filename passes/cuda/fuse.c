/* fuse for CUDA: an op and its epilogue a kernel; mlpconv blocks, forward and backward, where the
 * cost function says that one kernel takes less time; the end of the network in one kernel. */
#include "cuda.h"

#include <string.h>

/* ---- users ---- */

/* The only user of n; NULL where there are none or more, or the graph returns n. */
static Node *sole_user(const Graph *g, const Node *n)
{
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node == n)
            return NULL;
    return uses.count == 1 ? uses.use[0].user : NULL;
}

/* The sole user of n, where it has op `op`, reads n as operand 0 and is in no kernel. */
static Node *follower(const Graph *g, const Node *n, Op op)
{
    Node *user = sole_user(g, n);
    return user && user->op == op && user->in[0] == n && !user->kernel ? user : NULL;
}

/* n with the pointwise ops that its kernel can do on it, each the only user of the one before. */
static Statement chain_of(Fuser *f, Node *n)
{
    Statement s = {.op = n};
    for (Node *next; (next = fuse_chained(f, NULL, n)) && next == sole_user(f->g, n) &&
                     statement_extend(&s, next);)
        n = next;
    return s;
}

static void take_statement(Fuser *f, Kernel *k, const Statement *s)
{
    fuse_take(f, k, s->op);
    for (int i = 0; i < s->chained; i++)
        fuse_take(f, k, s->chain[i]);
}

/* ---- the head ---- */

static Node *input_of(const Node *n, Op op)
{
    return n->in[0]->op == op ? n->in[0] : NULL;
}

/* Marks the chain from n on that leads to the gradient of the last map. */
static void mark_gradient(Fuser *f, Node *n)
{
    for (int i = 0; n && i < HEAD_GRADIENT_OPS; i++) {
        Node *next = follower(f->g, n, head_gradient_op[i]);
        if (!next)
            continue;
        f->claimed[next->id] = true;
        n = next;
    }
}

/* Marks the nodes of the head: from the mean over the last map to its gradient. None where a row of
 * logits is too long. */
static void mark_head(Fuser *f)
{
    Graph *g = f->g;
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        if (!op_is(n->op, F_HEAD) || !cost_head_fits(g, n->in[0], &f->head_note))
            continue;
        Node *logits = n->in[0], *from;
        f->claimed[n->id] = true;
        if (n->op == OP_CROSS_ENTROPY_GRAD)
            mark_gradient(f, n);
        if (logits->op != OP_FLATTEN || f->claimed[logits->id])
            continue;
        f->claimed[logits->id] = true;
        from = input_of(logits, OP_GAP);
        from = from ? from : input_of(logits, OP_CAST);
        if (from && sole_user(g, from) == logits)
            f->claimed[from->id] = true;
    }
}

/* ---- forward ---- */

static void add_to_block(Fuser *f, Block *b, Node *conv)
{
    b->chain[b->count] = chain_of(f, conv);
    b->conv[b->count] = conv;
    b->map[b->count] = statement_result(&b->chain[b->count]);
    b->count++;
}

/* conv and the 1x1 convolutions behind it that read parameters. */
static Block find_block(Fuser *f, Node *conv)
{
    Block b = {.count = 0};
    add_to_block(f, &b, conv);
    while (f->level >= 2 && b.count < MAX_BLOCK) {
        Node *next = fuse_next(f->g, b.map[b.count - 1], OP_CONV2D);
        if (!next || !window_is_pointwise(&next->attr.window) || !operand_storage(next->in[1]))
            break;
        add_to_block(f, &b, next);
    }
    return b;
}

static void fuse_forward(Fuser *f, Node *conv)
{
    Block b = find_block(f, conv);
    const char *note = NULL;
    if (b.count > 1 && !cost_forward_pays(f->g, &b, &note))
        b.count = 1;
    char *base = pool_format(f->pool, "%s_forward",
                             fuse_identifier(f->pool, operand_storage(conv->in[1])->name));
    KernelClass class = b.count > 1 ? KERNEL_MLPCONV_FORWARD : KERNEL_CONV_FORWARD;
    Kernel *k = fuse_kernel(f, base, class, PHASE_CHUNK);
    k->note = note;
    for (int i = 0; i < b.count; i++)
        take_statement(f, k, &b.chain[i]);
}

/* ---- backward ---- */

static Node *bias_grad_of(const Graph *g, const Node *dy)
{
    return fuse_next(g, dy, OP_BIAS_GRAD);
}

static Node *user_of(const Graph *g, const Node *dy, Op op, int operand)
{
    Node *found = NULL;
    Uses uses = graph_uses(g, dy);
    for (int i = 0; i < uses.count; i++) {
        Node *n = uses.use[i].user;
        if (n->op != op || uses.use[i].operand != operand || n->kernel)
            continue;
        if (found)
            return NULL;
        found = n;
    }
    return found;
}

/* Whether a chain reads no map, or `map` alone. */
static bool reads_only(const Statement *s, const Node *map)
{
    const Node *beside[MAX_STATEMENT_OPERANDS];
    int maps = statement_beside(s, false, beside);
    return maps == 0 || (maps == 1 && beside[0] == map);
}

/* Adds the 1x1 convolution whose gradient is dy; false where dy is not that of one. */
static bool add_backward(Fuser *f, BackwardBlock *b, const Node *dy)
{
    const Graph *g = f->g;
    int i = b->count;
    Node *wgrad = user_of(g, dy, OP_CONV2D_WGRAD, 1), *dgrad = user_of(g, dy, OP_CONV2D_DGRAD, 0);
    if (i == MAX_BLOCK || !wgrad || !dgrad || !window_is_pointwise(&wgrad->attr.window) ||
        !window_is_pointwise(&dgrad->attr.window) || !operand_storage(dgrad->in[1]))
        return false;
    Node *bias = bias_grad_of(g, dy);
    /* The gradient between two steps stays in the kernel: only the step itself may read it. */
    if (i > 0 && graph_uses(g, dy).count != 2 + (bias != NULL))
        return false;
    /* A mask is the map that the weight gradient reads anyway. */
    b->chain[i] = chain_of(f, dgrad);
    if (!reads_only(&b->chain[i], wgrad->in[0]))
        return false;
    b->wgrad[i] = wgrad, b->dgrad[i] = dgrad, b->bias[i] = bias;
    b->result[i] = statement_result(&b->chain[i]);
    b->count++;
    return true;
}

static void take_backward(Fuser *f, const BackwardBlock *b, const char *note)
{
    const char *name = operand_storage(b->dgrad[0]->in[1])->name;
    Kernel *k = fuse_kernel(f, pool_format(f->pool, "%s_backward", fuse_identifier(f->pool, name)),
                            KERNEL_MLPCONV_BACKWARD, PHASE_CHUNK);
    k->note = note;
    for (int i = 0; i < b->count; i++) {
        if (b->bias[i])
            fuse_take(f, k, b->bias[i]);
        fuse_take(f, k, b->wgrad[i]);
        take_statement(f, k, &b->chain[i]);
    }
}

/* The 1x1 convolutions backward from gradient dy on, as many as pay in one kernel; *note: why. */
static bool fuse_backward_block(Fuser *f, const Node *dy, const char **note)
{
    BackwardBlock b = {.count = 0};
    while (add_backward(f, &b, b.count > 0 ? b.result[b.count - 1] : dy))
        ;
    for (; b.count > 0; b.count--)
        if (cost_backward_pays(f->g, &b, note)) {
            take_backward(f, &b, *note);
            return true;
        }
    return false;
}

/* The name of the convolution whose weight gradient this is. */
static const char *wgrad_name(Fuser *f, const Node *wgrad)
{
    Uses uses = graph_uses(f->g, wgrad->in[0]);
    for (int i = 0; i < uses.count; i++) {
        const Node *c = uses.use[i].user;
        if (is_wgrad_of(wgrad, c) && operand_storage(c->in[1]))
            return fuse_identifier(f->pool, operand_storage(c->in[1])->name);
    }
    return op_name(wgrad->op);
}

static Kernel *fuse_wgrad(Fuser *f, Node *wgrad)
{
    Kernel *k = fuse_kernel(f, pool_format(f->pool, "%s_wgrad", wgrad_name(f, wgrad)),
                            KERNEL_CONV_WGRAD, PHASE_CHUNK);
    Node *bias = bias_grad_of(f->g, wgrad->in[1]);
    fuse_take(f, k, wgrad);
    if (bias)
        fuse_take(f, k, bias);
    return k;
}

static Kernel *fuse_dgrad(Fuser *f, Node *dgrad)
{
    const char *name = operand_storage(dgrad->in[1])->name;
    Kernel *k = fuse_kernel(f, pool_format(f->pool, "%s_dgrad", fuse_identifier(f->pool, name)),
                            KERNEL_CONV_DGRAD, PHASE_CHUNK);
    Statement s = chain_of(f, dgrad);
    take_statement(f, k, &s);
    return k;
}

/* What the tiles of the device library can do. */
static bool is_tiled(const Node *n)
{
    return window_is_plain(&n->attr.window);
}

static bool is_gradient_of_conv(const Node *n)
{
    return n->op == OP_BIAS_GRAD || n->op == OP_CONV2D_WGRAD || n->op == OP_CONV2D_DGRAD;
}

static void fuse_gradient_of_conv(Fuser *f, Node *n)
{
    const Node *dy = n->in[n->op == OP_CONV2D_WGRAD ? 1 : 0];
    const char *note = NULL;
    Node *wgrad = n;
    Kernel *k;
    if (f->level >= 2 && fuse_backward_block(f, dy, &note))
        return;
    if (n->op == OP_BIAS_GRAD)
        wgrad = user_of(f->g, dy, OP_CONV2D_WGRAD, 1);
    if (n->op == OP_CONV2D_DGRAD && operand_storage(n->in[1]) && is_tiled(n))
        k = fuse_dgrad(f, n);
    else if (n->op != OP_CONV2D_DGRAD && wgrad && is_tiled(wgrad))
        k = fuse_wgrad(f, wgrad);
    else
        k = fuse_alone(f, n, KERNEL_GENERIC);
    k->note = note;
}

/* maxpool_1_backward beside maxpool_1_forward. */
static const char *pool_backward_name(Fuser *f, const Node *n)
{
    static const char forward[] = "_forward";
    const char *name = n->op == OP_MAXPOOL_GRAD ? n->in[1]->kernel->name : "";
    size_t length = strlen(name), end = sizeof forward - 1;
    if (length <= end || strcmp(name + length - end, forward) != 0)
        return op_name(n->op);
    return pool_format(f->pool, "%.*s_backward", (int)(length - end), name);
}

static void fuse_pool_backward(Fuser *f, Node *n)
{
    Kernel *k = fuse_kernel(f, pool_backward_name(f, n), KERNEL_POOL_BACKWARD, PHASE_CHUNK);
    Statement s = chain_of(f, n);
    take_statement(f, k, &s);
}

/* ---- the rest ---- */

static bool is_elementwise(const Graph *g, const Node *n)
{
    return (op_is_pointwise(n->op) || n->op == OP_CAST) && n->tensor.shape.rank == 4 &&
           is_per_image(g, n);
}

/* The op that a chain of ops over one map goes on with from n: its only user. */
static Node *next_elementwise(Fuser *f, const Node *n)
{
    Node *next = sole_user(f->g, n);
    if (!next || next == fuse_chained(f, NULL, n))
        return next;
    bool can = !next->kernel && !f->claimed[next->id] && is_elementwise(f->g, next);
    return can && next->in[0] == n ? next : NULL;
}

static void fuse_elementwise(Fuser *f, Node *n)
{
    Kernel *k = fuse_alone(f, n, KERNEL_POINTWISE);
    for (Node *next; (next = next_elementwise(f, n)); n = next)
        fuse_take(f, k, next);
}

/* Batch norm, or its gradient, and its epilogue. */
static void fuse_norm(Fuser *f, Node *n)
{
    const char *what = n->op == OP_BATCH_NORM ? "forward" : "backward";
    Kernel *k = fuse_kernel(f, fuse_norm_name(f, n, what), KERNEL_NORM, PHASE_CHUNK);
    Statement s = chain_of(f, n);
    take_statement(f, k, &s);
}

static void fuse_lrn(Fuser *f, Node *n)
{
    Kernel *k = fuse_kernel(f, n->op == OP_LRN ? "response_norm_forward"
                                               : "response_norm_backward", KERNEL_LRN, PHASE_CHUNK);
    Statement s = chain_of(f, n);
    take_statement(f, k, &s);
}

/* The pool, the codes that go with it, and its epilogue. */
static void fuse_pool(Fuser *f, Node *n)
{
    Statement s = chain_of(f, n);
    Kernel *k = fuse_pool_forward(f, n);
    for (int i = 0; i < s.chained; i++)
        fuse_take(f, k, s.chain[i]);
}

/* The gradient that a node of the optimizer is made of. */
static const Node *gradient_in(const Node *n)
{
    const Node *found = NULL;
    for (int i = 0; i < n->arity && !found; i++) {
        const Node *in = n->in[i];
        if (op_is(in->op, F_SUMS_IMAGES | F_STATISTIC))
            found = in;
        else if (in->op != OP_STATE && in->op != OP_INPUT)
            found = gradient_in(in);
    }
    return found;
}

/* The gradient that it works for: of a parameter that decays on its own, its user's. */
static const Node *gradient_of(const Fuser *f, const Node *n)
{
    const Node *found = gradient_in(n), *user = found ? NULL : sole_user(f->g, n);
    return user ? gradient_in(user) : found;
}

/* All that one parameter needs is in one kernel. */
static void fuse_optimizer(Fuser *f, Node *n)
{
    const Node *gradient = gradient_of(f, n);
    Kernel *last = f->last[KERNEL_UPDATE];
    Kernel *k = gradient ? f->backward[gradient->id] : last;
    if (!k && last && f->updated < MAX_UPDATED)
        k = last;
    if (!k) {
        k = fuse_kernel(f, "update", KERNEL_UPDATE, PHASE_AFTER);
        f->updated = 0;
    }
    if (gradient && f->backward[gradient->id] != k) {
        f->backward[gradient->id] = k;
        f->updated++;
    }
    fuse_take(f, k, n);
}

/* The cast of a filter, two arguments. */
static void fuse_cast(Fuser *f, Node *n)
{
    Kernel *last = f->last[KERNEL_FILTER];
    if (!last || last->node_count == MAX_CASTS)
        last = fuse_kernel(f, "filters", KERNEL_FILTER, PHASE_BEFORE);
    fuse_take(f, last, n);
}

void fuse_cuda_node(Fuser *f, Node *n)
{
    Phase phase = fuse_phase(f->g, n);
    if (f->g->kernel_count == 0)
        mark_head(f);
    if (f->claimed[n->id])
        fuse_take(f, fuse_the_kernel(f, "head", KERNEL_HEAD, PHASE_CHUNK), n);
    else if (op_attr(n->op) == ATTR_IMAGE || op_is(n->op, F_AUGMENT))
        fuse_image(f, n);
    else if (n->op == OP_CAST && n->in[0]->op == OP_STATE)
        fuse_cast(f, n);
    else if (op_is(n->op, F_SUMS_ROWS))
        fuse_take(f, fuse_the_kernel(f, "metrics", KERNEL_METRICS, PHASE_AFTER), n);
    else if (phase == PHASE_AFTER && node_is_optimizer(n))
        fuse_optimizer(f, n);
    else if (n->op == OP_CONV2D && operand_storage(n->in[1]) && is_tiled(n))
        fuse_forward(f, n);
    else if (is_gradient_of_conv(n))
        fuse_gradient_of_conv(f, n);
    else if (op_is(n->op, F_POOL) || n->op == OP_GAP)
        fuse_pool(f, n);
    else if (n->op == OP_MAXPOOL_CODE)
        fuse_alone(f, n, KERNEL_POOL_FORWARD);
    else if (op_is(n->op, F_POOL_GRAD) || n->op == OP_GAP_GRAD)
        fuse_pool_backward(f, n);
    else if (op_is(n->op, F_ROWS) && op_attr(n->op) == ATTR_NORM)
        fuse_norm(f, n);
    else if (op_attr(n->op) == ATTR_LRN)
        fuse_lrn(f, n);
    else if (op_is(n->op, F_STATISTIC) && fuse_statistics(f, n))
        return;
    else if (is_elementwise(f->g, n))
        fuse_elementwise(f, n);
    else
        fuse_alone(f, n, KERNEL_GENERIC)->note = n->op == OP_CROSS_ENTROPY ? f->head_note : NULL;
}
