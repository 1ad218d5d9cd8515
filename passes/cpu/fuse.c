/* fuse for the CPU: mlpconv blocks as kernels of row ops; backward, the gradients of a block's
 * maps, biases and 1x1 filters in one such kernel, and a kernel for each larger filter. */
#include "cpu.h"
#include "machine.h"

/* The parameter of a forward convolution, read as it is or through a cast; NULL for other nodes. */
static const Storage *filter_storage(const Node *conv)
{
    const Node *filter = conv_filter(conv);
    return filter ? operand_storage(filter) : NULL;
}

static bool has_room(const Kernel *k)
{
    return k->node_count < MAX_FUSED_NODES;
}

/* A pointwise op on n, which k makes. A dense kernel has but one result: what others want of a
 * linear layer, as most activations' gradients do, is that. */
static Node *next_in_chain(Fuser *f, const Kernel *k, const Node *n)
{
    bool wanted = k->class == KERNEL_DENSE && graph_uses(f->g, n).count > 1;
    return has_room(k) && !wanted ? fuse_chained(f, k, n) : NULL;
}

/* The pointwise ops on n, which k makes; the last one's result. */
static Node *take_chain(Fuser *f, Kernel *k, Node *n)
{
    for (Node *next; (next = next_in_chain(f, k, n)); n = next)
        fuse_take(f, k, next);
    return n;
}

/* A row op that reads no other rows of n, whose rows lie in a cache where they are made. */
static Node *next_in_rows(const Fuser *f, const Kernel *k, const Node *n)
{
    static const Op ops[] = {OP_DROPOUT, OP_LRN, OP_LRN_GRAD};
    Node *next = NULL;
    for (size_t i = 0; !next && i < sizeof ops / sizeof *ops; i++)
        if (f->level >= 2 && k->class != KERNEL_DENSE && has_room(k))
            next = fuse_next(f->g, n, ops[i]);
    return next && f->bf16 && next->tensor.dtype != DT_BF16 ? NULL : next;
}

/* The same, and what is dropped or normalized of that where it is made. */
static Node *take_rows_chain(Fuser *f, Kernel *k, Node *n)
{
    Node *last = take_chain(f, k, n);
    for (Node *next; (next = next_in_rows(f, k, last));) {
        fuse_take(f, k, next);
        last = take_chain(f, k, next);
    }
    return last;
}

static void take_alone(Fuser *f, Node *n)
{
    bool maps = !op_is_pointwise(n->op) || n->tensor.dtype == DT_BF16 || !f->bf16;
    bool rows = runs_in_rows(f->g, n) && maps && n->op != OP_MAXPOOL_CODE &&
                fuse_phase(f->g, n) == PHASE_CHUNK;
    Kernel *k = fuse_alone(f, n, rows ? KERNEL_ROWS : KERNEL_GENERIC);
    if (rows)
        take_chain(f, k, n);
}

/* ---- forward patterns ---- */

/* Bytes of one row of a map, channels padded to vectors. */
static int64_t row_bytes(const Node *n)
{
    const int32_t *d = n->tensor.shape.dim;
    return (int64_t)d[2] * ((d[3] + 15) / 16 * 16) * dtype_bytes(n->tensor.dtype);
}

/* Fusing pays while a row of the block's input to the 1x1 and its output stays in cache. */
static bool pays_to_fuse(const Node *last, const Node *conv)
{
    return row_bytes(last) + row_bytes(conv) <= FUSED_ROW_BYTES;
}

static Node *next_pointwise_conv(const Fuser *f, const Kernel *k, Node *last)
{
    Node *conv = f->level >= 2 && has_room(k) ? fuse_next(f->g, last, OP_CONV2D) : NULL;
    if (!conv || !filter_storage(conv) || !window_is_pointwise(&conv->attr.window) ||
        runs_dense(f->g, conv) || !pays_to_fuse(last, conv))
        return NULL;
    return conv;
}

/* A batch norm of n by what is known before the images, as in evaluation. */
static Node *next_norm(const Fuser *f, const Kernel *k, const Node *n)
{
    Node *norm = f->level >= 2 && has_room(k) ? fuse_next(f->g, n, OP_BATCH_NORM) : NULL;
    return norm && norm->in[1]->op == OP_STATE && norm->in[2]->op == OP_STATE ? norm : NULL;
}

/* A convolution and what is done on it; the last one's result. */
static Node *take_conv(Fuser *f, Kernel *k, Node *conv)
{
    fuse_take(f, k, conv);
    Node *last = take_rows_chain(f, k, conv);
    Node *norm = k->class == KERNEL_DENSE ? NULL : next_norm(f, k, last);
    if (!norm)
        return last;
    fuse_take(f, k, norm);
    return take_rows_chain(f, k, norm);
}

static void fuse_forward(Fuser *f, Node *conv)
{
    char *base = pool_format(f->pool, "%s_forward",
                             fuse_identifier(f->pool, filter_storage(conv)->name));
    bool dense = runs_dense(f->g, conv);
    Kernel *k = fuse_kernel(f, base, dense ? KERNEL_DENSE : KERNEL_CONV_FORWARD, PHASE_CHUNK);
    Node *last = take_conv(f, k, conv);
    if (dense)
        return;
    for (Node *next; (next = next_pointwise_conv(f, k, last));) {
        k->class = KERNEL_MLPCONV_FORWARD;
        last = take_conv(f, k, next);
    }
    Node *gap = f->level >= 2 ? fuse_next(f->g, last, OP_GAP) : NULL;
    if (gap)
        fuse_take(f, k, gap);
}

/* ---- backward patterns ---- */

static bool is_dgrad(const Node *n)
{
    if (n->op == OP_CONV2D_DGRAD)
        return node_is_depthwise(n) && operand_storage(n->in[1]);
    return n->op != OP_WINOGRAD_MULTIPLY && conv_filter(n) &&
           conv_filter(n)->op == OP_FILTER_TRANSPOSE;
}

static bool is_dense_dgrad(const Fuser *f, const Node *n)
{
    return n->op == OP_CONV2D_DGRAD && runs_dense(f->g, n) && operand_storage(n->in[1]);
}

/* Ops whose result is the gradient of a map, row by row. */
static bool is_map_gradient(const Fuser *f, const Node *n)
{
    return is_dgrad(n) || is_dense_dgrad(f, n) || op_is(n->op, F_POOL_GRAD) || n->op == OP_GAP_GRAD;
}

static bool is_gradient_kernel(const Kernel *k)
{
    return k && (k->class == KERNEL_MLPCONV_BACKWARD || k->class == KERNEL_CONV_DGRAD ||
                 k->class == KERNEL_POOL_BACKWARD);
}

/* The gradient of a 1x1 convolution goes on, strip by strip, from the gradient that it reads. */
static bool continues(const Fuser *f, const Node *n)
{
    return f->level >= 2 && n->op == OP_CONV2D && window_is_pointwise(&n->attr.window) &&
           is_gradient_kernel(n->in[0]->kernel) && has_room(n->in[0]->kernel) &&
           pays_to_fuse(n->in[0], n);
}

/* Named after the block whose output gradient it computes, or the convolution that it is of. */
static char *gradient_name(Fuser *f, const Node *n, const Node *mask)
{
    const Node *map = mask ? mask->in[1] : n->op == OP_MAXPOOL_GRAD ? n->in[1]->in[0] : NULL;
    const Kernel *forward = map ? map->kernel : NULL;
    if (forward && (forward->class == KERNEL_CONV_FORWARD || forward->class == KERNEL_DENSE ||
                    forward->class == KERNEL_MLPCONV_FORWARD))
        return pool_format(f->pool, "%s_backward",
                           fuse_identifier(f->pool, filter_storage(forward->node[0])->name));
    const Storage *filter = n->op == OP_CONV2D_DGRAD ? operand_storage(n->in[1])
                            : is_dgrad(n) ? operand_storage(conv_filter(n)->in[0])
                                          : NULL;
    if (filter)
        return pool_format(f->pool, "%s_dgrad", fuse_identifier(f->pool, filter->name));
    return pool_strdup(f->pool, op_name(n->op));
}

static void fuse_gradient(Fuser *f, Node *n)
{
    const Node *mask = fuse_next(f->g, n, OP_RELU_GRAD);
    Kernel *k = n->in[0]->kernel;
    if (continues(f, n))
        k->class = KERNEL_MLPCONV_BACKWARD;
    else
        k = fuse_kernel(f, gradient_name(f, n, mask),
                        is_dense_dgrad(f, n) ? KERNEL_DENSE
                        : is_dgrad(n)        ? KERNEL_CONV_DGRAD
                                             : KERNEL_POOL_BACKWARD,
                        PHASE_CHUNK);
    fuse_take(f, k, n);
    take_rows_chain(f, k, n);
}

/* The forward convolution whose weight gradient this is. */
static Node *conv_of_wgrad(Fuser *f, const Node *wgrad)
{
    Uses uses = graph_uses(f->g, wgrad->in[0]);
    for (int i = 0; i < uses.count; i++) {
        Node *c = uses.use[i].user;
        if (!f->claimed[c->id] && is_wgrad_of(wgrad, c) && filter_storage(c))
            return c;
    }
    return NULL;
}

/* The weight gradient that reads the same gradient as n, a bias gradient. */
static Node *wgrad_beside(const Fuser *f, const Node *n)
{
    Uses uses = graph_uses(f->g, n->in[0]);
    for (int i = 0; i < uses.count; i++)
        if (op_is(uses.use[i].user->op, F_WGRAD) && uses.use[i].operand == 1 &&
            runs_in_rows(f->g, uses.use[i].user))
            return uses.use[i].user;
    return NULL;
}

/* Sums over the pixels of a gradient, strip by strip where it is made. */
static bool sums_in_strips(const Fuser *f, const Node *n)
{
    const Node *dy = n->in[n->arity - 1];
    if (f->level < 2 || !is_gradient_kernel(dy->kernel))
        return false;
    return n->op == OP_BIAS_GRAD ||
           (n->op == OP_CONV2D_WGRAD && window_is_pointwise(&n->attr.window) &&
            shape_elements(&n->tensor.shape) * dtype_bytes(n->tensor.dtype) <= STRIP_WGRAD_BYTES);
}

/* A convolution's weight and bias gradients read dy once. Those of a linear layer are summed when
 * all images are there: its filter is large, its maps are small. */
static bool fuse_wgrad(Fuser *f, Node *n)
{
    if (sums_in_strips(f, n)) {
        fuse_take(f, n->in[n->arity - 1]->kernel, n);
        return true;
    }
    Node *wgrad = op_is(n->op, F_WGRAD) ? n : wgrad_beside(f, n);
    Node *conv = wgrad ? conv_of_wgrad(f, wgrad) : NULL;
    if (!conv)
        return false;
    bool dense = runs_dense(f->g, wgrad);
    if (!f->backward[conv->id])
        f->backward[conv->id] = fuse_kernel(
            f, pool_format(f->pool, "%s_wgrad",
                           fuse_identifier(f->pool, filter_storage(conv)->name)),
            dense ? KERNEL_DENSE_WGRAD : KERNEL_CONV_WGRAD, dense ? PHASE_AFTER : PHASE_CHUNK);
    fuse_take(f, f->backward[conv->id], n);
    if (n == wgrad)
        f->claimed[conv->id] = true;
    return true;
}

/* The gradient that the optimizer's node steps by. */
static const Node *stepped_by(const Graph *g, const Node *n)
{
    while (n->op != OP_UPDATE) {
        Uses uses = graph_uses(g, n);
        if (uses.count == 0)
            return NULL;
        n = uses.use[0].user;
    }
    return update_gradient(n);
}

/* The kernel of a linear layer's gradient, where n is part of the step by it and nothing else wants
 * the gradient: it is used where it is made, and never whole. */
static Kernel *dense_step(const Fuser *f, const Node *n)
{
    const Node *gradient = f->level >= 2 ? stepped_by(f->g, n) : NULL;
    if (!gradient || !gradient->kernel || gradient->kernel->class != KERNEL_DENSE_WGRAD ||
        gradient->op != OP_CONV2D_WGRAD || !dense_steps_in_place(gradient))
        return NULL;
    Uses uses = graph_uses(f->g, gradient);
    for (int i = 0; i < uses.count; i++)
        if (!node_is_optimizer(uses.use[i].user) || uses.use[i].user->op == OP_CLIP)
            return NULL;
    return gradient->kernel;
}

static void fuse_optimizer(Fuser *f, Node *n)
{
    Kernel *k = dense_step(f, n);
    fuse_take(f, k ? k : fuse_the_kernel(f, "update", KERNEL_UPDATE, PHASE_AFTER), n);
}

/* ---- the rest ---- */

static bool is_head(const Node *n)
{
    return op_is(n->op, F_HEAD) || n->op == OP_FLATTEN || n->op == OP_FLATTEN_GRAD;
}

enum { ANY_OPERAND = -1 };

/* The first user of n that is of the op and reads it as that operand; NULL for none. */
static const Node *user_of(const Graph *g, const Node *n, Op op, int operand)
{
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++)
        if (uses.use[i].user->op == op &&
            (operand == ANY_OPERAND || uses.use[i].operand == operand))
            return uses.use[i].user;
    return NULL;
}

/* Whether its filter lies in blocks of inputs, in pairs where it is bf16. */
static bool reads_packed(const Graph *g, const Node *conv)
{
    return window_is_plain(&conv->attr.window) ||
           ((node_is_blockwise(conv) || node_is_dilated(conv)) && runs_in_rows(g, conv));
}

/* What conv_filter of some node is, which is packed. */
static bool is_conv_filter(const Graph *g, const Node *n)
{
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++) {
        const Node *user = uses.use[i].user;
        if (((user->op == OP_CONV2D || user->op == OP_CONV2D_TRANSPOSE) &&
             uses.use[i].operand == 1 && reads_packed(g, user)) ||
            (user->op == OP_WINOGRAD_FILTER && user_of(g, user, OP_WINOGRAD_MULTIPLY, 1)) ||
            (user->op == OP_FOLD_FILTER && user_of(g, user, OP_CONV2D_FOLDED, 1)))
            return true;
    }
    return false;
}

/* A convolution's filter, which the layout packs: a parameter, a cast or a transposed one. */
static bool is_filter(const Graph *g, const Node *n)
{
    if (n->op != OP_STATE && (n->arity == 0 || n->in[0]->op != OP_STATE))
        return false;
    if (is_conv_filter(g, n))
        return true;
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++)
        if (uses.use[i].user->op == OP_CAST && is_conv_filter(g, uses.use[i].user))
            return true;
    return false;
}

static bool is_made_of_filter(const Graph *g, const Node *n)
{
    if (n->op == OP_FOLD_FILTER)
        return n->in[0]->op == OP_STATE;
    return (n->op == OP_FILTER_TRANSPOSE || n->op == OP_CAST) && is_filter(g, n) &&
           is_filter(g, n->in[0]);
}

/* Batch norm, or its gradient, of a batch whose statistics are known, and what is done on it. */
static void fuse_norm(Fuser *f, Node *n)
{
    const char *what = n->op == OP_BATCH_NORM ? "forward" : "backward";
    Kernel *k = fuse_kernel(f, fuse_norm_name(f, n, what), KERNEL_ROWS, PHASE_CHUNK);
    fuse_take(f, k, n);
    take_chain(f, k, n);
}

/* ---- Winograd ---- */

/* The product that n, a Winograd op of maps, belongs to. */
static const Node *product_of(const Graph *g, const Node *n)
{
    const Node *x = n->op == OP_WINOGRAD_WGRAD ? n->in[0] : n;
    Uses uses = n->op == OP_WINOGRAD_OUTPUT_GRAD ? graph_uses(g, n) : (Uses){0};
    for (int i = 0; i < uses.count; i++)
        if (uses.use[i].user->op == OP_WINOGRAD_WGRAD && uses.use[i].operand == 1)
            x = uses.use[i].user->in[0];
    const Node *product =
        x->op == OP_WINOGRAD_INPUT ? user_of(g, x, OP_WINOGRAD_MULTIPLY, 0) : NULL;
    return product ? product : x;
}

/* The parameter whose gradient n serves, where the convolution itself is not in tiles. */
static const Storage *parameter_of(const Graph *g, const Node *n)
{
    const Node *sum =
        n->op == OP_WINOGRAD_WGRAD ? n : user_of(g, n, OP_WINOGRAD_WGRAD, ANY_OPERAND);
    const Node *gradient = sum ? user_of(g, sum, OP_WINOGRAD_FILTER_GRAD, ANY_OPERAND) : NULL;
    return gradient ? gradient_storage(g, gradient) : NULL;
}

/* conv_2_0_winograd_input, conv_2_0_dgrad_winograd_input ... No name is that of an op, which the
 * device library's functions have. */
static char *winograd_name(Fuser *f, const Node *n)
{
    const Node *filter = conv_filter(product_of(f->g, n));
    bool dgrad = filter && filter->op == OP_FILTER_TRANSPOSE;
    const Storage *s = filter ? (dgrad ? filter->in[0] : filter)->storage : parameter_of(f->g, n);
    if (!s)
        return pool_format(f->pool, "alone_%s", op_name(n->op));
    return pool_format(f->pool, "%s%s_%s", fuse_identifier(f->pool, s->name),
                       dgrad ? "_dgrad" : "", op_name(n->op));
}

static void fuse_winograd(Fuser *f, Node *n)
{
    if (n->op == OP_WINOGRAD_FILTER)
        fuse_take(f, fuse_the_kernel(f, "winograd_filters", KERNEL_WINOGRAD, PHASE_BEFORE), n);
    else if (n->op == OP_WINOGRAD_FILTER_GRAD)
        fuse_take(f, fuse_the_kernel(f, "winograd_filter_grads", KERNEL_WINOGRAD, PHASE_AFTER), n);
    else
        fuse_take(f, fuse_kernel(f, winograd_name(f, n), KERNEL_WINOGRAD, PHASE_CHUNK), n);
}

void fuse_cpu_node(Fuser *f, Node *n)
{
    Phase phase = fuse_phase(f->g, n);
    if (op_attr(n->op) == ATTR_IMAGE || op_is(n->op, F_AUGMENT))
        fuse_image(f, n);
    else if (is_head(n))
        fuse_take(f, fuse_the_kernel(f, "head", KERNEL_HEAD, PHASE_CHUNK), n);
    else if (n->op == OP_FOLD_FILTER_GRAD)
        fuse_take(f, fuse_the_kernel(f, "filter_grads", KERNEL_FILTER, PHASE_AFTER), n);
    else if (is_made_of_filter(f->g, n))
        fuse_take(f, fuse_the_kernel(f, "filters", KERNEL_FILTER, PHASE_BEFORE), n);
    else if (op_is(n->op, F_SUMS_ROWS))
        fuse_take(f, fuse_the_kernel(f, "metrics", KERNEL_METRICS, PHASE_AFTER), n);
    else if (phase == PHASE_AFTER && node_is_optimizer(n))
        fuse_optimizer(f, n);
    else if (op_attr(n->op) == ATTR_WINOGRAD && n->op != OP_WINOGRAD_OUTPUT)
        fuse_winograd(f, n);
    else if (runs_in_rows(f->g, n) && filter_storage(n) && phase == PHASE_CHUNK)
        fuse_forward(f, n);
    else if (op_is(n->op, F_POOL))
        take_rows_chain(f, fuse_pool_forward(f, n), n);
    else if (is_map_gradient(f, n) && phase == PHASE_CHUNK)
        fuse_gradient(f, n);
    else if (op_is(n->op, F_ROWS) && op_attr(n->op) == ATTR_NORM)
        fuse_norm(f, n);
    else if ((!op_sums_images(n->op) || !runs_in_rows(f->g, n) || !fuse_wgrad(f, n)) &&
             (!op_is(n->op, F_STATISTIC) || !fuse_statistics(f, n)))
        take_alone(f, n);
}
