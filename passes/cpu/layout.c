/* layout for the CPU: maps become blocks of channels with the halo that their convolutions read;
 * filters are packed for their convolution's tile; a gradient or a moment lies as its parameter
 * does, so that the optimizer runs over flat arrays. At level 0 activations stay in logical
 * order. */
#include "../../ir/numbers.h"
#include "cpu.h"

static bool is_map(const Graph *g, const Node *n)
{
    return n->tensor.shape.rank == 4 && is_per_image(g, n);
}

/* How far past an edge of dy (extent `from`) the taps of dx (extent `to`) reach. */
static int transpose_halo(int kernel, int stride, int padding, int from, int to)
{
    int before = (kernel - 1 - padding) / stride, after = (to - 1 + padding) / stride - (from - 1);
    return (int)larger(larger(before, after), 0);
}

/* The zero border that the convolutions reading n (and their weight gradients) need. */
static void widen_halo(const Graph *g, const Node *n, Layout *layout)
{
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++) {
        const Node *user = uses.use[i].user;
        const Window *k = &user->attr.window;
        const int32_t *to = user->tensor.shape.dim, *from = n->tensor.shape.dim;
        if (uses.use[i].operand != 0)
            continue;
        if (op_is(user->op, F_TILES)) {
            int halo_h, halo_w;
            winograd_halo(user, &halo_h, &halo_w);
            layout->halo_h = (int)larger(layout->halo_h, halo_h);
            layout->halo_w = (int)larger(layout->halo_w, halo_w);
        }
        bool gradient = user->op == OP_CONV2D_TRANSPOSE ||
                        (user->op == OP_CONV2D_DGRAD && node_is_depthwise(user));
        if (gradient && kernel_is_rows(user->kernel)) {
            int h = transpose_halo(window_span_h(k), k->stride_h, k->padding_h, from[1], to[1]);
            int w = transpose_halo(window_span_w(k), k->stride_w, k->padding_w, from[2], to[2]);
            layout->halo_h = (int)larger(layout->halo_h, h);
            layout->halo_w = (int)larger(layout->halo_w, w);
        }
        if ((user->op != OP_CONV2D && user->op != OP_CONV2D_WGRAD) ||
            !kernel_is_rows(user->kernel))
            continue;
        layout->halo_h = (int)larger(layout->halo_h, k->padding_h);
        layout->halo_w =
            (int)larger(layout->halo_w, k->padding_w + overread_columns(g, n, k->kernel_w));
    }
}

static Layout map_layout(const Graph *g, const Node *n)
{
    Layout layout = {.kind = LAYOUT_NCHWC, .block = graph_lanes(g)};
    if (n->kernel->class == KERNEL_WINOGRAD)
        return (Layout){.kind = LAYOUT_HCNWC, .block = graph_lanes(g)};
    if (value_is_strip(n)) {
        layout.strip = n->kernel->strip;
        return layout;
    }
    if (value_is_thin_image(g, n))
        layout = (Layout){.kind = LAYOUT_NHWC, /* whole pairs */
                          .block = target_kind(g->target) == KIND_TILES ? 2 : 0};
    widen_halo(g, n, &layout);
    return layout;
}

/* A filter of a dtype as its convolution c walks it. */
static Layout filter_layout(const Graph *g, const Node *c, DType dtype)
{
    const int32_t *filter = c->in[1]->tensor.shape.dim;
    if (!kernel_is_rows(c->kernel))
        return (Layout){.kind = LAYOUT_FILTER, .block = filter[1], .out_block = filter[0]};
    if (node_is_depthwise(c))
        return (Layout){.kind = LAYOUT_FILTER, .block = 1, .out_block = graph_lanes(g)};
    return (Layout){.kind = LAYOUT_FILTER, .block = packed_channels(g, c->in[0]),
                    .out_block = graph_lanes(g) * c->tile.vectors, .pairs = dtype == DT_BF16};
}

static void lay_out_maps(Graph *g, int level)
{
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        if (level > 0 && n->op != OP_INPUT && !op_is(n->op, F_AUGMENT) && is_map(g, n))
            n->tensor.layout = map_layout(g, n);
    }
}

static Layout packed_filter(const Graph *g, LayoutKind kind, int vectors)
{
    int lanes = graph_lanes(g);
    return (Layout){.kind = kind, .block = lanes, .out_block = lanes * vectors};
}

/* What a Winograd op packs for itself. The storage and what is transposed from it may lie in any
 * blocks; a gradient that is summed directly wants those of its tile. */
static void lay_out_winograd(Graph *g, Node *n)
{
    Storage *s = n->op == OP_CONV2D_WGRAD && kernel_is_rows(n->kernel) ? gradient_storage(g, n)
                                                                       : NULL;
    bool taps = n->kernel && n->kernel->class == KERNEL_WINOGRAD; /* plain loops: logical order */
    if (n->op == OP_WINOGRAD_WGRAD && taps)
        n->tensor.layout = packed_filter(g, LAYOUT_TAPS, n->tile.vectors);
    if (n->op == OP_WINOGRAD_MULTIPLY && taps)
        n->in[1]->tensor.layout = packed_filter(g, LAYOUT_TAPS, n->tile.vectors);
    if (n->op == OP_WINOGRAD_FILTER && n->in[0]->op != OP_STATE)
        n->in[0]->tensor.layout = packed_filter(g, LAYOUT_FILTER, 1);
    if (n->op == OP_WINOGRAD_FILTER && n->in[0]->op == OP_STATE)
        s = n->in[0]->storage;
    if (s && s->home[g->target].layout.kind != LAYOUT_FILTER)
        s->home[g->target].layout =
            packed_filter(g, LAYOUT_FILTER, n->op == OP_CONV2D_WGRAD ? n->tile.vectors : 1);
}

/* Folded filters are packed by the channels of a pixel, each of a pair of classes one after the
 * other; the parameter in the same groups of outputs. */
static void lay_out_folded(Graph *g, Node *n)
{
    if (!kernel_is_rows(n->kernel))
        return;
    Layout packed = {.kind = LAYOUT_FILTER, .block = packed_channels(g, n->in[0]),
                     .out_block = graph_lanes(g) * n->tile.vectors};
    if (n->op == OP_CONV2D_FOLDED_WGRAD) {
        n->tensor.layout = packed;
        return;
    }
    n->in[1]->tensor.layout = packed;
    if (conv_filter(n) && conv_filter(n)->op == OP_STATE)
        conv_filter(n)->storage->home[g->target].layout = packed;
}

static void lay_out_filters(Graph *g)
{
    for (int i = g->node_count - 1; i >= 0; i--) /* gradients before what they are of */
        lay_out_winograd(g, g->node[i]);
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        if (op_attr(n->op) == ATTR_FOLD && !op_is_of_filters(n->op))
            lay_out_folded(g, n);
        if (n->op != OP_CONV2D && n->op != OP_CONV2D_TRANSPOSE &&
            (n->op != OP_CONV2D_DGRAD || !node_is_depthwise(n)))
            continue;
        Node *filter = n->in[1];
        const Node *from = behind_cast(filter);
        if (from->op == OP_STATE)
            from->storage->home[g->target].layout = filter_layout(g, n, DT_F32);
        if (filter->op != OP_STATE)
            filter->tensor.layout = filter_layout(g, n, filter->tensor.dtype);
    }
}

static Layout bias_layout(Target target)
{
    return (Layout){.kind = LAYOUT_VECTOR, .block = target_lanes(target)};
}

static void lay_out_storage(Module *m, Target target, int level)
{
    for (int i = 0; i < m->storage_count; i++) {
        Storage *s = m->storage[i];
        if (role_is_vector(s->role) && level > 0)
            s->home[target].layout = bias_layout(target);
    }
    for (int i = 0; i < m->storage_count; i++) {
        Storage *s = m->storage[i];
        if (role_is_beside_parameter(s->role))
            s->home[target].layout = storage_parameter(m, s)->home[target].layout;
    }
}

/* A weight gradient lies as its parameter. */
static Layout wgrad_layout(const Graph *g, const Node *n)
{
    const Storage *s = gradient_storage(g, n);
    return s ? s->home[g->target].layout : (Layout){.kind = LAYOUT_PLAIN};
}

/* The layout of the first operand that is no scalar. */
static Layout like_operand(const Node *n)
{
    int k = 0;
    while (k + 1 < n->arity && n->in[k]->tensor.shape.rank == 0)
        k++;
    return n->in[k]->tensor.layout;
}

/* Values outside the maps: gradients as their parameter, pointwise results as their operand. */
static void lay_out_parameters(Graph *g, int level)
{
    graph_lay_out_storage(g);
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        if (n->op == OP_CONV2D_WGRAD || n->op == OP_WINOGRAD_FILTER_GRAD ||
            n->op == OP_FOLD_FILTER_GRAD)
            n->tensor.layout = wgrad_layout(g, n);
        else if ((n->op == OP_BIAS_GRAD || op_is(n->op, F_STATISTIC)) && level > 0)
            n->tensor.layout = bias_layout(g->target);
        else if (op_is_pointwise(n->op) && !is_per_image(g, n))
            n->tensor.layout = like_operand(n);
    }
}

static bool has_row_kernels(const Module *m)
{
    for (int i = 0; i < m->graph_count; i++)
        for (int k = 0; k < m->graph[i]->kernel_count; k++)
            if (kernel_is_rows(m->graph[i]->kernel[k]))
                return true;
    return false;
}

void layout_cpu(Module *m, Target target, int level)
{
    if (level == 0 && has_row_kernels(m)) /* text that was fused at another level */
        level = 1;
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target == target) {
            lay_out_maps(m->graph[i], level);
            lay_out_filters(m->graph[i]);
        }
    lay_out_storage(m, target, level);
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target == target)
            lay_out_parameters(m->graph[i], level);
}
