/* fuse for the CPU: mlpconv blocks as kernels of row ops, one backward kernel a forward kernel. */
#include "fuse.h"

/* Above this many bytes for one row of a block's values, strips no longer stay in a level-2 cache
 * and a 1x1 convolution gains nothing from being fused. */
enum { FUSED_ROW_BYTES = 256 * 1024 };

static Node *filter_state(const Node *conv)
{
    return conv->op == OP_CONV2D && conv->in[1]->op == OP_STATE ? conv->in[1] : NULL;
}

static void take_alone(Fuser *f, Node *n)
{
    bool rows = op_is_rows(n) && n->op != OP_MAXPOOL_CODE && fuse_phase(f->g, n) == PHASE_CHUNK;
    fuse_alone(f, n, rows ? KERNEL_ROWS : KERNEL_GENERIC);
}

/* ---- forward patterns ---- */

/* Bytes of one row of a map, channels padded to vectors. */
static int64_t row_bytes(const Node *n)
{
    const int32_t *d = n->tensor.shape.dim;
    return (int64_t)d[2] * ((d[3] + 15) / 16 * 16) * 4;
}

/* Fusing pays while a row of the block's input to the 1x1 and its output stays in cache. */
static bool pays_to_fuse(const Node *last, const Node *conv)
{
    return row_bytes(last) + row_bytes(conv) <= FUSED_ROW_BYTES;
}

static Node *take_relu(Fuser *f, Kernel *k, Node *last)
{
    Node *relu = fuse_next(f->g, last, OP_RELU);
    if (!relu)
        return last;
    fuse_take(k, relu);
    return relu;
}

static Node *next_pointwise_conv(const Fuser *f, Node *last)
{
    Node *conv = f->level >= 2 ? fuse_next(f->g, last, OP_CONV2D) : NULL;
    if (!conv || !filter_state(conv) || !window_is_pointwise(&conv->attr.window) ||
        !pays_to_fuse(last, conv))
        return NULL;
    return conv;
}

static void fuse_forward(Fuser *f, Node *conv)
{
    char *base = pool_format(f->pool, "%s_forward",
                             fuse_identifier(f->pool, filter_state(conv)->storage->name));
    Kernel *k = fuse_kernel(f, base, KERNEL_CONV_FORWARD, PHASE_CHUNK);
    fuse_take(k, conv);
    Node *last = take_relu(f, k, conv);
    for (Node *next; (next = next_pointwise_conv(f, last));) {
        k->class = KERNEL_MLPCONV_FORWARD;
        fuse_take(k, next);
        last = take_relu(f, k, next);
    }
    Node *gap = f->level >= 2 ? fuse_next(f->g, last, OP_GAP) : NULL;
    if (gap)
        fuse_take(k, gap);
}

/* ---- backward patterns ---- */

static Kernel *backward_of(Fuser *f, const Node *forward)
{
    Kernel *fk = forward->kernel;
    if (!fk || (fk->class != KERNEL_CONV_FORWARD && fk->class != KERNEL_MLPCONV_FORWARD))
        return NULL;
    Node *first = fk->node[0];
    if (!f->backward[first->id]) {
        char *base = pool_format(f->pool, "%s_backward",
                                 fuse_identifier(f->pool, filter_state(first)->storage->name));
        KernelClass class = fk->class == KERNEL_CONV_FORWARD ? KERNEL_CONV_BACKWARD
                                                             : KERNEL_MLPCONV_BACKWARD;
        f->backward[first->id] = fuse_kernel(f, base, class, PHASE_CHUNK);
    }
    return f->backward[first->id];
}

/* The forward convolution whose weight gradient this is. */
static Node *conv_of_wgrad(Fuser *f, const Node *wgrad)
{
    for (int i = 0; i < f->g->node_count; i++) {
        Node *c = f->g->node[i];
        if (!f->claimed[i] && is_wgrad_of(wgrad, c) && filter_state(c))
            return c;
    }
    return NULL;
}

static Node *conv_of_filter(const Graph *g, const Node *state)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_CONV2D && g->node[i]->in[1] == state)
            return g->node[i];
    return NULL;
}

/* The forward node whose backward kernel should hold n; NULL for none. */
static Node *forward_of(Fuser *f, const Node *n)
{
    if (n->op == OP_RELU_GRAD)
        return n->in[1];
    if (n->op == OP_CONV2D_WGRAD)
        return conv_of_wgrad(f, n);
    if ((n->op == OP_CONV2D || n->op == OP_CONV2D_TRANSPOSE) &&
        n->in[1]->op == OP_FILTER_TRANSPOSE)
        return conv_of_filter(f->g, n->in[1]->in[0]);
    if (n->op == OP_BIAS_GRAD) {
        for (int i = n->id + 1; i < f->g->node_count; i++)
            if (f->g->node[i]->op == OP_CONV2D_WGRAD && f->g->node[i]->in[1] == n->in[0])
                return conv_of_wgrad(f, f->g->node[i]);
        return NULL;
    }
    if (n->op == OP_MAXPOOL_GRAD || n->op == OP_AVGPOOL_GRAD || n->op == OP_GAP_GRAD) {
        Node *mask = fuse_next(f->g, n, OP_RELU_GRAD);
        return mask ? mask->in[1] : NULL;
    }
    return NULL;
}

static bool fuse_backward(Fuser *f, Node *n)
{
    Node *forward = forward_of(f, n);
    Kernel *k = forward ? backward_of(f, forward) : NULL;
    if (!k)
        return false;
    if (n->op == OP_CONV2D_WGRAD)
        f->claimed[forward->id] = true;
    fuse_take(k, n);
    return true;
}

/* ---- the rest ---- */

static bool is_head(const Node *n)
{
    return n->op == OP_CROSS_ENTROPY || n->op == OP_CORRECT || n->op == OP_CROSS_ENTROPY_GRAD ||
           n->op == OP_FLATTEN || n->op == OP_FLATTEN_GRAD;
}

/* A convolution's filter, which the layout packs; `state` or a transposed one. */
static bool is_filter(const Graph *g, const Node *n)
{
    bool used = false;
    for (int i = 0; i < g->node_count; i++)
        used |= (g->node[i]->op == OP_CONV2D || g->node[i]->op == OP_CONV2D_TRANSPOSE) &&
                g->node[i]->in[1] == n;
    return used && (n->op == OP_STATE || n->in[0]->op == OP_STATE);
}

void fuse_cpu_node(Fuser *f, Node *n)
{
    Phase phase = fuse_phase(f->g, n);
    if (n->op == OP_NORMALIZE || n->op == OP_RESIZE)
        fuse_take(fuse_kernel(f, "image", KERNEL_IMAGE, PHASE_CHUNK), n);
    else if (is_head(n))
        fuse_take(fuse_the_kernel(f, "head", KERNEL_HEAD, PHASE_CHUNK), n);
    else if (n->op == OP_FILTER_TRANSPOSE && is_filter(f->g, n) && is_filter(f->g, n->in[0]))
        fuse_take(fuse_the_kernel(f, "filters", KERNEL_FILTER, PHASE_BEFORE), n);
    else if (n->op == OP_MEAN_VALID || n->op == OP_COUNT_VALID)
        fuse_take(fuse_the_kernel(f, "metrics", KERNEL_METRICS, PHASE_AFTER), n);
    else if (phase == PHASE_AFTER && fuse_is_optimizer(n))
        fuse_take(fuse_the_kernel(f, "update", KERNEL_UPDATE, PHASE_AFTER), n);
    else if (n->op == OP_CONV2D && filter_state(n) && phase == PHASE_CHUNK)
        fuse_forward(f, n);
    else if (n->op == OP_MAXPOOL || n->op == OP_AVGPOOL)
        fuse_pool_forward(f, n);
    else if (!fuse_backward(f, n))
        take_alone(f, n);
}
