/* Dgrad: on the CPU a data gradient is run by the forward convolution's register tiles.
 *
 * Requires stage training. With stride 1,
 *     dx[ih] = sum over o, kh of dy[ih + p - kh] filter[o,i,kh]
 *            = conv2d(dy, filter_transpose(filter)) with padding k - 1 - p,
 * which needs p <= k - 1 on both axes, with dilation p <= d (k - 1); other gradients become
 * conv2d_transpose by that filter, those in groups of whole blocks of channels too; other groups,
 * and what else has dilation, stay. The transposed filters depend on parameters alone and are
 * computed at the start of the step, before any image. The gradient of a linear layer reads its
 * filter as it lies: a chunk's images pay for turning it around bit by bit, which spares a copy of
 * what may be most of a network's memory. */
#include "cpu.h"

static bool is_convolution(const Node *n)
{
    const Window *w = &n->attr.window;
    return w->stride_h == 1 && w->stride_w == 1 && w->groups == 0 &&
           w->padding_h < window_span_h(w) && w->padding_w < window_span_w(w);
}

Node *transposed_filter(Graph *g, Finder *made, Node *filter, DType dtype, Loc loc)
{
    Node *n = finder_find(made, OP_FILTER_TRANSPOSE, filter, dtype, NULL);
    if (n)
        return n;
    const int32_t *d = filter->tensor.shape.dim;
    Tensor type = {.dtype = dtype, .shape = shape_of(4, d[1], d[0], d[2], d[3])};
    n = graph_add_typed(g, OP_FILTER_TRANSPOSE, 1, &filter, NULL, &type, loc);
    finder_add(made, n);
    return n;
}

/* The filter comes from the parameter itself, also where the gradient reads a cast of that. */
static void rewrite(Graph *g, Finder *made, Node *n)
{
    Window *w = &n->attr.window;
    bool convolution = is_convolution(n);
    Node *filter = n->in[1]->op == OP_CAST ? n->in[1]->in[0] : n->in[1];
    n->op = convolution ? OP_CONV2D : OP_CONV2D_TRANSPOSE;
    n->in[1] = transposed_filter(g, made, filter, n->in[1]->tensor.dtype, n->loc);
    if (!convolution)
        return;
    w->padding_h = window_span_h(w) - 1 - w->padding_h;
    w->padding_w = window_span_w(w) - 1 - w->padding_w;
}

bool runs_in_rows(const Graph *g, const Node *n)
{
    bool tiles = target_kind(g->target) == KIND_TILES;
    bool vectors = (node_is_blockwise(n) && !node_is_depthwise(n)) || node_is_dilated(n);
    return op_is_rows(n) && (!tiles || !vectors);
}

/* Whether the gradient of a convolution with dilation is one too, of a map of whole blocks. */
static bool is_dilated(const Node *n)
{
    enum { BLOCK = 16 };
    const Window *w = &n->attr.window;
    return (w->dilation_h || w->dilation_w) && is_convolution(n) &&
           n->in[1]->tensor.shape.dim[0] >= BLOCK;
}

/* Others in groups or with dilation stay as they are. */
static bool can_be_rewritten(const Graph *g, const Node *n)
{
    if (window_is_plain(&n->attr.window))
        return true;
    return (node_is_blockwise(n) || is_dilated(n)) && target_kind(g->target) == KIND_VECTORS;
}

bool runs_dense(const Graph *g, const Node *n)
{
    return target_kind(g->target) == KIND_VECTORS && node_is_dense(n);
}

void pass_dgrad(Graph *g)
{
    int count = g->node_count;
    Pool *pool = pool_new();
    Finder made = finder_new(pool, g, (const Op[]){OP_FILTER_TRANSPOSE}, 1);
    for (int i = 0; i < count; i++)
        if (g->node[i]->op == OP_CONV2D_DGRAD && operand_storage(g->node[i]->in[1]) &&
            !runs_dense(g, g->node[i]) && can_be_rewritten(g, g->node[i]))
            rewrite(g, &made, g->node[i]);
    pool_free(pool);
    graph_move_to_start(g, count);
    graph_sort(g);
}
