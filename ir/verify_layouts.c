/* The verifier from stage laid_out on: layouts. */
#include "numbers.h"
#include "verify.h"

static bool is_blocked(const Verifier *v, const Node *n)
{
    return n->tensor.layout.kind == LAYOUT_NCHWC && n->tensor.layout.block == graph_lanes(v->g);
}

/* One value a channel, in whole blocks. */
static bool is_vector(const Verifier *v, const Node *n)
{
    return n->tensor.shape.rank == 1 && n->tensor.layout.kind == LAYOUT_VECTOR &&
           n->tensor.layout.block == graph_lanes(v->g);
}

static bool check_statistic(const Verifier *v, const Node *n)
{
    bool good = is_vector(v, n);
    for (int k = 0; k < n->arity; k++)
        good &= is_blocked(v, n->in[k]) || n->in[k]->tensor.shape.rank == 0 ||
                is_vector(v, n->in[k]);
    return good || verify_node_fault(v, n, "its maps do not lie in blocks of channels");
}

/* Channels of one pixel of a map of NHWC, zero lanes included. */
static int pixel_lanes(const Node *x)
{
    int channels = x->tensor.shape.dim[3], multiple = x->tensor.layout.block;
    return multiple > 0 ? (channels + multiple - 1) / multiple * multiple : channels;
}

/* A filter, or its gradient, packed for a contraction of x in tiles; a bf16 one in pairs. */
static bool is_packed(const Verifier *v, const Node *filter, const Node *x, const Tile *tile)
{
    const Layout *l = &filter->tensor.layout;
    int lanes = is_blocked(v, x) ? graph_lanes(v->g) : pixel_lanes(x);
    return (is_blocked(v, x) || x->tensor.layout.kind == LAYOUT_NHWC) &&
           l->kind == LAYOUT_FILTER && l->block == lanes &&
           l->out_block == graph_lanes(v->g) * tile->vectors &&
           l->pairs == (filter->tensor.dtype == DT_BF16);
}

static bool has_halo(const Node *n, int h, int w)
{
    return n->tensor.layout.halo_h >= h && n->tensor.layout.halo_w >= w;
}

/* Rows or columns of dy past an edge that conv2d_transpose reads. */
static int reach(int kernel, int stride, int padding, int from, int to)
{
    int before = (kernel - 1 - padding) / stride, after = (to - 1 + padding) / stride - from + 1;
    return before > after ? before : after;
}

/* The image is thin, so that a filter row is a run of it. */
static bool check_folded(const Verifier *v, const Node *n)
{
    bool wgrad = n->op == OP_CONV2D_FOLDED_WGRAD;
    const Node *x = n->in[0];
    if (x->tensor.layout.kind != LAYOUT_NHWC ||
        !is_packed(v, wgrad ? n : n->in[1], x, &n->tile))
        return verify_node_fault(v, n, "its filter is not packed for its image and tile");
    if (!is_blocked(v, wgrad ? n->in[1] : n))
        return verify_node_fault(v, n, "its map does not lie in blocks of channels");
    return n->arity < 3 || n->in[2]->tensor.layout.kind == LAYOUT_VECTOR ||
           verify_node_fault(v, n, "its bias is not a vector of whole blocks");
}

/* Folding keeps groups of outputs; a block is all input channels. */
static bool check_fold_filter(const Verifier *v, const Node *n)
{
    const Layout *from = &n->in[0]->tensor.layout, *to = &n->tensor.layout;
    int inputs = (n->op == OP_FOLD_FILTER ? n->in[0] : n)->tensor.shape.dim[1];
    return (from->out_block == to->out_block && from->block == inputs && to->block == inputs) ||
           verify_node_fault(v, n, "its filters are not packed alike, by the channels of a pixel");
}

static bool check_contraction(const Verifier *v, const Node *n)
{
    if (op_attr(n->op) == ATTR_FOLD)
        return check_folded(v, n);
    const Window *w = &n->attr.window;
    const Node *x = n->in[0];
    const int32_t *from = x->tensor.shape.dim, *to = n->tensor.shape.dim;
    bool transpose = n->op == OP_CONV2D_TRANSPOSE, wgrad = n->op == OP_CONV2D_WGRAD;
    int h =
        transpose ? reach(w->kernel_h, w->stride_h, w->padding_h, from[1], to[1]) : w->padding_h;
    int columns =
        transpose ? reach(w->kernel_w, w->stride_w, w->padding_w, from[2], to[2])
                  : w->padding_w + overread_columns(v->g, x, w->kernel_w);
    if (!is_packed(v, wgrad ? n : n->in[1], x, &n->tile) || (transpose && !is_blocked(v, x)))
        return verify_node_fault(v, n, "its filter is not packed for its input and tile");
    if (!is_blocked(v, wgrad ? n->in[1] : n))
        return verify_node_fault(v, n, "its map does not lie in blocks of channels");
    if (n->arity > 2 && n->in[2]->tensor.layout.kind != LAYOUT_VECTOR)
        return verify_node_fault(v, n, "its bias is not a vector of whole blocks");
    return has_halo(x, h, columns) ||
           verify_node_fault(v, n, "its input lacks the halo that it reads");
}

/* Frequencies lie by row, filters by tap, maps in blocks with a halo as wide as whole tiles. */
static bool check_winograd(const Verifier *v, const Node *n)
{
    const Winograd *w = &n->attr.winograd;
    const Node *x = n->in[0];
    bool product = op_is(n->op, F_FREQUENCIES);
    const Layout *filter = &(n->op == OP_WINOGRAD_MULTIPLY ? n->in[1] : n)->tensor.layout;
    int halo_h = 0, halo_w = 0;
    if (product && (filter->kind != LAYOUT_TAPS || filter->block != WINOGRAD_LANES ||
                    filter->out_block != WINOGRAD_LANES * n->tile.vectors))
        return verify_node_fault(v, n, "its filter is not packed for its tile");
    if (op_is_of_filters(n->op))
        return (n->tensor.layout.block == WINOGRAD_LANES &&
                x->tensor.layout.block == WINOGRAD_LANES &&
                n->tensor.layout.out_block % WINOGRAD_LANES == 0 &&
                x->tensor.layout.out_block % WINOGRAD_LANES == 0) ||
               verify_node_fault(v, n, "its filters are not packed in blocks of 16 channels");
    if (n->op == OP_WINOGRAD_OUTPUT)
        return (is_blocked(v, n) && x->tensor.layout.kind == LAYOUT_HCNWC &&
                (n->arity < 2 || n->in[1]->tensor.layout.kind == LAYOUT_VECTOR)) ||
               verify_node_fault(v, n, "its maps do not lie in blocks of 16 channels");
    if (x->tensor.layout.kind != (product ? LAYOUT_HCNWC : LAYOUT_NCHWC) ||
        (n->op != OP_WINOGRAD_WGRAD && n->tensor.layout.kind != LAYOUT_HCNWC))
        return verify_node_fault(v, n, "its frequencies do not lie by row");
    if (!product)
        winograd_halo(n, &halo_h, &halo_w);
    return w->tile <= 0 || has_halo(x, halo_h, halo_w) ||
           verify_node_fault(v, n, "its input lacks the halo that it reads");
}

/* The filter lies as the layer itself wants it. */
static bool check_dense_dgrad(const Verifier *v, const Node *n)
{
    const Layout *l = &n->in[1]->tensor.layout;
    int lanes = graph_lanes(v->g);
    if (l->kind != LAYOUT_FILTER || l->block != lanes || l->out_block % lanes != 0 ||
        l->pairs != (n->in[1]->tensor.dtype == DT_BF16))
        return verify_node_fault(v, n, "its filter is not packed in blocks of channels");
    return (is_blocked(v, n) && is_blocked(v, n->in[0])) ||
           verify_node_fault(v, n, "its maps do not lie in blocks of channels");
}

/* Filters and their gradients lie block by block, the taps of a block one after the other. */
static bool check_depthwise(const Verifier *v, const Node *n)
{
    const Window *w = &n->attr.window;
    bool wgrad = n->op == OP_CONV2D_WGRAD, dgrad = n->op == OP_CONV2D_DGRAD;
    const Node *x = n->in[0], *y = wgrad ? n->in[1] : n;
    const Layout *filter = &(wgrad ? n : n->in[1])->tensor.layout;
    const int32_t *from = x->tensor.shape.dim, *to = n->tensor.shape.dim;
    int h = dgrad ? reach(window_span_h(w), w->stride_h, w->padding_h, from[1], to[1])
                  : w->padding_h;
    int columns = dgrad ? reach(window_span_w(w), w->stride_w, w->padding_w, from[2], to[2])
                        : w->padding_w;
    if (filter->kind != LAYOUT_FILTER || filter->block != 1 ||
        filter->out_block != graph_lanes(v->g) || filter->pairs)
        return verify_node_fault(v, n, "its filter is not packed in blocks of channels");
    if (!is_blocked(v, x) || !is_blocked(v, y))
        return verify_node_fault(v, n, "its maps do not lie in blocks of channels");
    if (n->arity > 2 && n->in[2]->tensor.layout.kind != LAYOUT_VECTOR)
        return verify_node_fault(v, n, "its bias is not a vector of whole blocks");
    return has_halo(x, h, columns) ||
           verify_node_fault(v, n, "its input lacks the halo that it reads");
}

static bool check_row_layout(const Verifier *v, const Node *n)
{
    if (node_is_depthwise(n))
        return check_depthwise(v, n);
    if (n->op == OP_CONV2D_DGRAD)
        return check_dense_dgrad(v, n);
    if (verify_is_contraction(n->op))
        return check_contraction(v, n);
    bool sums = n->op == OP_BIAS_GRAD;
    bool good = sums ? n->tensor.layout.kind == LAYOUT_VECTOR : is_blocked(v, n);
    for (int k = 0; k < n->arity; k++)
        good &= is_blocked(v, n->in[k]) || n->in[k]->tensor.shape.rank == 0 ||
                is_vector(v, n->in[k]);
    return good || verify_node_fault(v, n, "its maps do not lie in blocks of channels");
}

/* Parameters and what is computed from them element by element lie alike. */
static bool check_flat_layout(const Verifier *v, const Node *n)
{
    LayoutKind kind = n->tensor.layout.kind;
    if (kind == LAYOUT_NHWC || kind == LAYOUT_NCHWC)
        return verify_node_fault(v, n, "a parameter cannot lie like a map");
    for (int k = 0; k < n->arity && (op_is_pointwise(n->op) || n->op == OP_UPDATE); k++) {
        Tensor like = n->in[k]->tensor;
        like.dtype = n->tensor.dtype;
        if (like.shape.rank > 0 && !verify_same_tensor(&like, &n->tensor))
            return verify_node_fault(v, n, "its operands lie in different layouts");
    }
    return true;
}

static bool check_layout(const Verifier *v, const Node *n)
{
    LayoutKind kind = n->tensor.layout.kind;
    int strip = n->kernel && value_is_strip(n) ? n->kernel->strip : 0;
    if (n->op == OP_INPUT)
        return kind == LAYOUT_PLAIN || verify_node_fault(v, n, "an input is plain");
    if (n->tensor.layout.strip != 0 && n->tensor.layout.strip != strip)
        return verify_node_fault(v, n, "it cannot be held by strips of that height");
    if (n->kernel->class == KERNEL_WINOGRAD ||
        (n->op == OP_WINOGRAD_OUTPUT && kernel_is_rows(n->kernel)))
        return check_winograd(v, n);
    if (kernel_is_rows(n->kernel) && !node_is_optimizer(n))
        return check_row_layout(v, n);
    if (n->kernel->class == KERNEL_STATISTICS && target_is_cpu(v->g->target))
        return check_statistic(v, n);
    if (!is_per_image(v->g, n))
        return check_flat_layout(v, n);
    return (kind != LAYOUT_FILTER && kind != LAYOUT_TAPS && kind != LAYOUT_VECTOR) ||
           verify_node_fault(v, n, "a map cannot lie like a parameter");
}

/* A filter kernel works on packed filters; on a GPU, whose kernels take them element by element,
 * also on plain ones. */
static bool is_of_filters(const Verifier *v, const Node *n)
{
    LayoutKind from = n->in[0]->tensor.layout.kind, to = n->tensor.layout.kind;
    bool plain = target_kind(v->g->target) == KIND_THREADS && to == LAYOUT_PLAIN;
    return from == to && (to == LAYOUT_FILTER || plain);
}

bool verify_layouts(const Verifier *v)
{
    if (target_kind(v->g->target) == KIND_THREADS && !verify_gpu_layouts(v))
        return false;
    for (int i = 0; i < v->g->node_count; i++)
        if (!check_layout(v, v->g->node[i]))
            return false;
    for (int i = 0; i < v->g->kernel_count; i++)
        for (int j = 0; j < v->g->kernel[i]->node_count; j++) {
            const Node *n = v->g->kernel[i]->node[j];
            if (v->g->kernel[i]->class == KERNEL_FILTER && !is_of_filters(v, n))
                return verify_node_fault(v, n, "a filter kernel works on packed filters");
            if (v->g->kernel[i]->class == KERNEL_FILTER && op_attr(n->op) == ATTR_FOLD &&
                !check_fold_filter(v, n))
                return false;
        }
    return true;
}
