/* fuse: groups all nodes of a target's graphs into kernels.
 *
 * Requires stage training; brings it to kernels. Level 0 gives each node a kernel of its own,
 * level 1 groups an op with its epilogue, level 2 forms mlpconv blocks forward and backward. */
#include "passes.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Above this many bytes for one row of a block's values, strips no longer stay in a level-2 cache
 * and a 1x1 convolution gains nothing from being fused. */
enum { FUSED_ROW_BYTES = 256 * 1024 };

typedef struct Fuser {
    Graph *g;
    Pool *pool;
    int level;
    int pools;       /* pools named so far */
    bool *claimed;   /* by id: convolutions whose weight gradient has found its kernel */
    Kernel **backward; /* by id of a forward node: the backward kernel of its kernel */
} Fuser;

/* ---- phases ---- */

/* The part of a step in which a node runs. Reductions over the images come out of the chunk phase
 * as partials, so whatever uses one runs after. */
static Phase node_phase(const Graph *g, const Node *n)
{
    if (n->op == OP_MEAN_VALID || n->op == OP_COUNT_VALID || n->op == OP_UPDATE)
        return PHASE_AFTER;
    if (n->op == OP_CONV2D_WGRAD || n->op == OP_BIAS_GRAD || is_per_image(g, n))
        return PHASE_CHUNK;
    for (int i = 0; i < n->arity; i++) {
        const Node *in = n->in[i];
        if (in->op == OP_CONV2D_WGRAD || in->op == OP_BIAS_GRAD ||
            (in->kernel && in->kernel->phase == PHASE_AFTER))
            return PHASE_AFTER;
    }
    return n->op == OP_FILTER_TRANSPOSE ? PHASE_BEFORE : PHASE_AFTER;
}

/* ---- names ---- */

/* conv.0.0.weight -> conv_0_0, 0.weight -> layer_0; others: dots become _. */
static char *identifier(Pool *pool, const char *name)
{
    char *id = pool_format(pool, "%s%s", isdigit((unsigned char)*name) ? "layer_" : "", name);
    char *end = strrchr(id, '.');
    if (end && (strcmp(end, ".weight") == 0 || strcmp(end, ".bias") == 0))
        *end = '\0';
    for (char *c = id; *c; c++)
        if (*c == '.')
            *c = '_';
    return id;
}

/* Kernels of all graphs of a target share one text. */
static bool name_taken(const Graph *g, const char *name)
{
    for (int i = 0; i < g->module->graph_count; i++) {
        const Graph *other = g->module->graph[i];
        for (int k = 0; other->target == g->target && k < other->kernel_count; k++)
            if (strcmp(other->kernel[k]->name, name) == 0)
                return true;
    }
    return false;
}

/* Eval kernels are prefixed. */
static const char *kernel_name(Fuser *f, const char *base)
{
    const char *prefix = strcmp(f->g->name, "train") == 0 ? "" : f->g->name;
    char *name = pool_format(f->pool, "%s%s%s", prefix, *prefix ? "_" : "", base);
    for (int i = 2; name_taken(f->g, name); i++)
        name = pool_format(f->pool, "%s%s%s_%d", prefix, *prefix ? "_" : "", base, i);
    return name;
}

/* ---- kernels ---- */

static Kernel *new_kernel(Fuser *f, const char *base, KernelClass class, Phase phase)
{
    Kernel *k = pool_alloc(f->pool, sizeof *k);
    k->name = kernel_name(f, base);
    k->class = class;
    k->phase = phase;
    k->target = f->g->target;
    k->node = pool_alloc(f->pool, (size_t)f->g->node_count * sizeof *k->node);
    POOL_PUSH(f->pool, f->g->kernel, f->g->kernel_count, f->g->kernel_capacity, k);
    return k;
}

static void take(Kernel *k, Node *n)
{
    n->kernel = k;
    k->node[k->node_count++] = n;
}

/* The kernel of that class, made on first use. */
static Kernel *the_kernel(Fuser *f, const char *base, KernelClass class, Phase phase)
{
    for (int i = 0; i < f->g->kernel_count; i++)
        if (f->g->kernel[i]->class == class)
            return f->g->kernel[i];
    return new_kernel(f, base, class, phase);
}

static Node *filter_state(const Node *conv)
{
    return conv->op == OP_CONV2D && conv->in[1]->op == OP_STATE ? conv->in[1] : NULL;
}

/* A name for a kernel of one node: by its parameter where it has one, else by its op. */
static const char *single_name(Fuser *f, const Node *n)
{
    for (int i = 0; i < n->arity; i++) {
        const Node *in = n->in[i];
        if (in->op == OP_FILTER_TRANSPOSE)
            in = in->in[0];
        if (in->op == OP_STATE)
            return pool_format(f->pool, "%s_%s", identifier(f->pool, in->storage->name),
                               op_name(n->op));
    }
    return n->op == OP_UPDATE ? pool_format(f->pool, "%s_update",
                                            identifier(f->pool, n->storage->name))
                              : op_name(n->op);
}

static void take_alone(Fuser *f, Node *n)
{
    bool rows = f->level > 0 && op_is_rows(n) && n->op != OP_MAXPOOL_CODE;
    Phase phase = node_phase(f->g, n);
    rows = rows && phase == PHASE_CHUNK;
    take(new_kernel(f, single_name(f, n), rows ? KERNEL_ROWS : KERNEL_GENERIC, phase), n);
}

/* ---- forward patterns ---- */

/* The only forward user of n that has op `op` and reads n as operand 0; NULL if there is none. */
static Node *next_of(const Graph *g, const Node *n, Op op)
{
    for (int i = n->id + 1; i < g->node_count; i++)
        if (g->node[i]->op == op && g->node[i]->in[0] == n && !g->node[i]->kernel)
            return g->node[i];
    return NULL;
}

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
    Node *relu = next_of(f->g, last, OP_RELU);
    if (!relu)
        return last;
    take(k, relu);
    return relu;
}

static Node *next_pointwise_conv(const Fuser *f, Node *last)
{
    Node *conv = f->level >= 2 ? next_of(f->g, last, OP_CONV2D) : NULL;
    if (!conv || !filter_state(conv) || !window_is_pointwise(&conv->attr.window) ||
        !pays_to_fuse(last, conv))
        return NULL;
    return conv;
}

static void fuse_forward(Fuser *f, Node *conv)
{
    char *base = pool_format(f->pool, "%s_forward",
                             identifier(f->pool, filter_state(conv)->storage->name));
    Kernel *k = new_kernel(f, base, KERNEL_CONV_FORWARD, PHASE_CHUNK);
    take(k, conv);
    Node *last = take_relu(f, k, conv);
    for (Node *next; (next = next_pointwise_conv(f, last));) {
        k->class = KERNEL_MLPCONV_FORWARD;
        take(k, next);
        last = take_relu(f, k, next);
    }
    Node *gap = f->level >= 2 ? next_of(f->g, last, OP_GAP) : NULL;
    if (gap)
        take(k, gap);
}

static void fuse_pool(Fuser *f, Node *pool)
{
    char *base = pool_format(f->pool, "%s_%d_forward", op_name(pool->op), ++f->pools);
    Kernel *k = new_kernel(f, base, KERNEL_POOL_FORWARD, PHASE_CHUNK);
    take(k, pool);
    for (int i = pool->id + 1; i < f->g->node_count; i++) {
        Node *n = f->g->node[i];
        if (pool->op == OP_MAXPOOL && n->op == OP_MAXPOOL_CODE && n->in[0] == pool->in[0] &&
            !n->kernel && memcmp(&n->attr.window, &pool->attr.window, sizeof(Window)) == 0)
            take(k, n);
    }
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
                                 identifier(f->pool, filter_state(first)->storage->name));
        KernelClass class = fk->class == KERNEL_CONV_FORWARD ? KERNEL_CONV_BACKWARD
                                                             : KERNEL_MLPCONV_BACKWARD;
        f->backward[first->id] = new_kernel(f, base, class, PHASE_CHUNK);
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
        Node *mask = next_of(f->g, n, OP_RELU_GRAD);
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
    take(k, n);
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

/* Elements of parameters, gradients and moments, computed each for itself. */
static bool is_optimizer(const Node *n)
{
    return n->op == OP_UPDATE || (op_is_pointwise(n->op) && n->op != OP_RELU &&
                                  n->op != OP_RELU_GRAD && n->tensor.shape.rank > 0);
}

static void fuse_node(Fuser *f, Node *n)
{
    if (n->op == OP_INPUT || n->kernel)
        return;
    Phase phase = node_phase(f->g, n);
    if (f->level == 0)
        take_alone(f, n);
    else if (n->op == OP_NORMALIZE || n->op == OP_RESIZE)
        take(new_kernel(f, "image", KERNEL_IMAGE, PHASE_CHUNK), n);
    else if (is_head(n))
        take(the_kernel(f, "head", KERNEL_HEAD, PHASE_CHUNK), n);
    else if (n->op == OP_FILTER_TRANSPOSE && is_filter(f->g, n) && is_filter(f->g, n->in[0]))
        take(the_kernel(f, "filters", KERNEL_FILTER, PHASE_BEFORE), n);
    else if (n->op == OP_MEAN_VALID || n->op == OP_COUNT_VALID)
        take(the_kernel(f, "metrics", KERNEL_METRICS, PHASE_AFTER), n);
    else if (phase == PHASE_AFTER && is_optimizer(n))
        take(the_kernel(f, "update", KERNEL_UPDATE, PHASE_AFTER), n);
    else if (n->op == OP_CONV2D && filter_state(n) && phase == PHASE_CHUNK)
        fuse_forward(f, n);
    else if (n->op == OP_MAXPOOL || n->op == OP_AVGPOOL)
        fuse_pool(f, n);
    else if (!fuse_backward(f, n))
        take_alone(f, n);
}

static void fuse_all(Graph *g, int level)
{
    Pool *pool = g->module->pool;
    size_t nodes = (size_t)g->node_count + 1;
    Fuser f = {.g = g, .pool = pool, .level = level, .claimed = pool_alloc(pool, nodes),
               .backward = pool_alloc(pool, nodes * sizeof(Kernel *))};
    g->kernel_count = 0;
    for (int i = 0; i < g->node_count; i++)
        g->node[i]->kernel = NULL;
    for (int i = 0; i < g->node_count; i++)
        fuse_node(&f, g->node[i]);
    graph_derive_io(g);
}

/* Sorts kernels by phase and dependence, keeping their order otherwise; false on a circle. */
static bool sort_kernels(Graph *g)
{
    Pool *pool = pool_new();
    Kernel **sorted = pool_alloc(pool, (size_t)(g->kernel_count + 1) * sizeof *sorted);
    bool *done = pool_alloc(pool, (size_t)g->kernel_count + 1);
    bool *computed = pool_alloc(pool, (size_t)g->node_count + 1);
    int count = 0;
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        for (int i = 0; i < g->kernel_count; i++) {
            Kernel *k = g->kernel[i];
            if (done[i] || (int)k->phase != phase || !kernel_is_ready(g, k, done, computed))
                continue;
            sorted[count++] = k;
            done[i] = true;
            for (int n = 0; n < k->node_count; n++)
                computed[k->node[n]->id] = true;
            i = -1; /* an earlier kernel may have become ready */
        }
    bool whole = count == g->kernel_count;
    if (whole)
        memcpy(g->kernel, sorted, (size_t)count * sizeof *sorted);
    pool_free(pool);
    return whole;
}

/* Node order follows kernel order from here on. */
static void order_nodes(Graph *g)
{
    int at = 0;
    while (at < g->node_count && g->node[at]->op == OP_INPUT)
        at++;
    for (int i = 0; i < g->kernel_count; i++)
        for (int k = 0; k < g->kernel[i]->node_count; k++)
            g->node[at++] = g->kernel[i]->node[k];
    graph_renumber(g);
    graph_derive_io(g);
}

static void fuse_graph(Graph *g, int level)
{
    do
        fuse_all(g, level);
    while (!sort_kernels(g) && level-- > 0);
    order_nodes(g);
    g->stage = STAGE_KERNELS;
}

void pass_fuse(Module *m, int level)
{
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target != TARGET_ANY)
            fuse_graph(m->graph[i], level);
}
