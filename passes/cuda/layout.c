/* layout for CUDA: see cuda_layout. */
#include "cuda.h"

enum { NIBBLE_CODES = 16 };

static bool is_map(const Graph *g, const Node *n)
{
    return n->tensor.shape.rank == 4 && is_per_image(g, n);
}

static bool is_plain(const Module *m, Target target)
{
    for (int i = 0; i < m->graph_count; i++)
        for (int k = 0; m->graph[i]->target == target && k < m->graph[i]->kernel_count; k++)
            if (m->graph[i]->kernel[k]->class != KERNEL_GENERIC)
                return false;
    return true;
}

CudaGraph cuda_graph(const Graph *g)
{
    return (CudaGraph){.graph = g, .plain = is_plain(g->module, g->target)};
}

/* Whether all convolutions that read `filter`, itself or through a cast, are of the map n. */
static bool is_filter_of(const Graph *g, const Node *filter, const Node *n)
{
    Uses uses = graph_uses(g, filter);
    for (int i = 0; i < uses.count; i++) {
        const Node *user = uses.use[i].user;
        if ((user->op == OP_CONV2D && uses.use[i].operand == 1 && user->in[0] != n) ||
            (user->op == OP_CAST && filter->op != OP_CAST && !is_filter_of(g, user, n)))
            return false;
    }
    return true;
}

bool cuda_is_thin_image(const CudaGraph *c, const Node *n)
{
    const Graph *g = c->graph;
    if (c->plain || (n->op != OP_RESIZE && n->op != OP_NORMALIZE) ||
        n->tensor.shape.dim[3] >= CUDA_LANES)
        return false;
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++) {
        const Node *user = uses.use[i].user;
        if ((user->op != OP_CONV2D && user->op != OP_CONV2D_WGRAD) ||
            user->kernel->class == KERNEL_GENERIC)
            return false;
        if (user->op == OP_CONV2D && !is_filter_of(g, behind_cast(user->in[1]), n))
            return false;
    }
    return !image_is_dropped(g);
}

static Layout map_layout(const CudaGraph *c, const Node *n)
{
    const Window *w = &n->attr.window;
    if (n->op == OP_MAXPOOL_CODE && w->kernel_h * w->kernel_w <= NIBBLE_CODES)
        return (Layout){.kind = LAYOUT_NIBBLE};
    if (cuda_is_thin_image(c, n))
        return (Layout){.kind = LAYOUT_NHWC};
    return (Layout){.kind = LAYOUT_NHWC, .block = CUDA_LANES};
}

/* The filter of a convolution, or of its gradient n; plain loops read it as it is. */
static Layout filter_layout(const CudaGraph *c, const Node *n)
{
    const Node *x = n->in[0];
    if (!window_is_plain(&n->attr.window))
        return (Layout){.kind = LAYOUT_PLAIN};
    int channels = cuda_is_thin_image(c, x) ? x->tensor.shape.dim[3] : padded_channels(x);
    return (Layout){.kind = LAYOUT_FILTER, .block = channels, .out_block = 1};
}

/* The first convolution that reads `filter` itself or through a cast. */
static const Node *conv_of(const Graph *g, const Node *filter)
{
    const Node *first = NULL;
    Uses uses = graph_uses(g, filter);
    for (int i = 0; i < uses.count; i++) {
        const Node *user = uses.use[i].user, *conv = NULL;
        if (user->op == OP_CONV2D && uses.use[i].operand == 1)
            conv = user;
        else if (user->op == OP_CAST && filter->op == OP_STATE)
            conv = conv_of(g, user);
        if (conv && (!first || conv->id < first->id))
            first = conv;
    }
    return first;
}

/* The convolution whose filter it is; NULL: none. */
static const Node *conv_of_storage(const Graph *g, const Storage *s)
{
    const Node *state = s->index < g->state_of_capacity ? g->state_of[s->index] : NULL;
    return state ? conv_of(g, state) : NULL;
}

/* An evaluation may read a parameter's average instead of it. */
static Layout storage_layout(const CudaGraph *c, const Storage *s)
{
    const Storage *parameter = storage_parameter(c->graph->module, s);
    if (role_is_vector(parameter->role))
        return (Layout){.kind = LAYOUT_VECTOR, .block = CUDA_LANES};
    const Node *conv = conv_of_storage(c->graph, s);
    if (!conv)
        conv = conv_of_storage(c->graph, parameter);
    return conv ? filter_layout(c, conv) : (Layout){.kind = LAYOUT_PLAIN};
}

Layout cuda_layout(const CudaGraph *c, const Node *n)
{
    static const Layout plain = {.kind = LAYOUT_PLAIN};
    if (n->op == OP_INPUT || op_is(n->op, F_AUGMENT) || c->plain)
        return plain;
    if (n->storage)
        return storage_layout(c, n->storage);
    if (is_map(c->graph, n))
        return map_layout(c, n);
    if (n->op == OP_CONV2D_WGRAD)
        return filter_layout(c, n);
    if (n->op == OP_BIAS_GRAD || op_is(n->op, F_STATISTIC))
        return (Layout){.kind = LAYOUT_VECTOR, .block = CUDA_LANES};
    if ((op_is_pointwise(n->op) || n->op == OP_CAST) && !is_per_image(c->graph, n))
        for (int k = 0; k < n->arity; k++)
            if (n->in[k]->tensor.shape.rank > 0)
                return cuda_layout(c, n->in[k]);
    return plain;
}

/* Homes are those that the training graph needs; eval reads the same filters. */
static void lay_out_storage(const Graph *g)
{
    const Module *m = g->module;
    CudaGraph c = cuda_graph(g);
    for (int i = 0; i < m->storage_count; i++)
        m->storage[i]->home[g->target].layout =
            c.plain ? (Layout){.kind = LAYOUT_PLAIN} : storage_layout(&c, m->storage[i]);
}

static void lay_out_graph(Graph *g)
{
    CudaGraph c = cuda_graph(g);
    graph_lay_out_storage(g);
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op != OP_UPDATE)
            g->node[i]->tensor.layout = cuda_layout(&c, g->node[i]);
}

/* Kernels that are plain loops ask for the logical order themselves, whatever the level. */
void layout_cuda(Module *m, Target target, int level)
{
    const Graph *train = module_find_graph(m, "train", target);
    (void)level;
    if (train)
        lay_out_storage(train);
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target == target)
            lay_out_graph(m->graph[i]);
}
