/* Fold: on the CPU the resize of the image is folded into the convolution that reads it.
 *
 * Requires stage training and f32 maps. Bilinear resize is linear, so that
 *     conv2d(resize image, filter[, bias])      -> conv2d_folded(normalize image,
 *                                                                fold_filter filter[, bias])
 *     conv2d_wgrad(resize image, dy)            -> fold_filter_grad(conv2d_folded_wgrad(
 *                                                                       normalize image, dy))
 * are the same but for rounding, with folded filters of a few source pixels (ir/fold.c). It is done
 * where nothing else reads the resized image and the multiplications become half as many or fewer.
 * Folded filters depend on parameters alone and are computed at the start of the step, before any
 * image; without updates once for all steps. */
#include "cpu.h"
#include "machine.h"

/* Above it, images lie in blocks of channels, whose filter rows are no runs. */
enum { MAX_FOLDED_CHANNELS = 15 };

static bool is_wgrad_reading(const Node *n, const Node *conv)
{
    return n->op == OP_CONV2D_WGRAD && is_wgrad_of(n, conv);
}

/* Whether only conv and its weight gradients read the resized image. */
static bool has_image_alone(const Graph *g, const Node *conv)
{
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->arity; k++)
            if (g->node[i]->in[k] == conv->in[0] && g->node[i] != conv &&
                (k != 0 || !is_wgrad_reading(g->node[i], conv)))
                return false;
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node == conv->in[0])
            return false;
    return true;
}

/* Whether the folded convolution takes few enough multiplications, for each output and input
 * channel: those of the images, and of folding and unfolding the filter once a step, axis by axis,
 * where it does not stay for the next ones. */
static bool pays(const Graph *g, const FoldAxes *axes)
{
    const FoldAxis *rows = &axes->rows, *columns = &axes->columns;
    double outputs = (double)rows->outputs * columns->outputs * g->batch;
    double taps = (double)rows->kernel * columns->kernel;
    double seen = (double)rows->extent * columns->extent;
    double pairs = (double)rows->classes * columns->classes;
    double folding = rows->classes * rows->extent * taps + pairs * columns->kernel * seen;
    double once = graph_keeps_before(g) ? 0 : 2 * folding;
    return outputs * seen + once <= FOLD_WORTH * outputs * taps;
}

static bool choose(const Graph *g, const Node *conv, Fold *out)
{
    const Node *image = conv->in[0];
    if (conv->op != OP_CONV2D || image->op != OP_RESIZE || image->tensor.dtype != DT_F32 ||
        !window_is_plain(&conv->attr.window) || conv->in[1]->op != OP_STATE ||
        image->tensor.shape.dim[3] > MAX_FOLDED_CHANNELS || !has_image_alone(g, conv))
        return false;
    const int32_t *to = image->tensor.shape.dim, *from = image->in[0]->tensor.shape.dim;
    *out = (Fold){conv->attr.window, to[1], to[2], from[1], from[2]};
    if (to[1] > FOLD_MAX_SIZE || to[2] > FOLD_MAX_SIZE || from[1] > FOLD_MAX_SIZE ||
        from[2] > FOLD_MAX_SIZE || conv->attr.window.kernel_h > FOLD_MAX_KERNEL ||
        conv->attr.window.kernel_w > FOLD_MAX_KERNEL)
        return false;
    FoldAxes axes;
    Pool *pool = pool_new();
    bool chosen = fold_axes(pool, out, &axes) && pays(g, &axes);
    pool_free(pool);
    return chosen;
}

static void rewrite_wgrad(Graph *g, Node *n, const Attr *attr)
{
    Node *in[] = {n->in[0], n->in[1]};
    n->in[0] = graph_add(g, OP_CONV2D_FOLDED_WGRAD, 2, in, attr, n->loc);
    n->op = OP_FOLD_FILTER_GRAD;
    n->arity = 1;
    n->attr = *attr;
}

/* The folded filter of the parameter, which is there by now. */
static Node *folded_filter(const Graph *g, const Node *filter)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_FOLD_FILTER && g->node[i]->in[0] == filter)
            return g->node[i];
    internal_error("@%s was not folded", filter->storage->name);
}

static void rewrite(Graph *g, Node *conv, const Fold *f)
{
    const Attr attr = {.fold = *f};
    Node *image = conv->in[0];
    int count = g->node_count;
    image->op = OP_NORMALIZE;
    image->tensor.shape.dim[1] = f->source_h;
    image->tensor.shape.dim[2] = f->source_w;
    for (int i = 0; i < count; i++)
        if (is_wgrad_reading(g->node[i], conv))
            rewrite_wgrad(g, g->node[i], &attr);
    conv->op = OP_CONV2D_FOLDED;
    conv->in[1] = folded_filter(g, conv->in[1]);
    conv->attr = attr;
}

void pass_fold(Graph *g)
{
    Fold f;
    int count = g->node_count;
    for (int i = 0; i < count; i++)
        if (choose(g, g->node[i], &f))
            graph_add(g, OP_FOLD_FILTER, 1, &g->node[i]->in[1], &(Attr){.fold = f},
                      g->node[i]->loc);
    graph_move_to_start(g, count);
    count = g->node_count;
    for (int i = 0; i < count; i++)
        if (choose(g, g->node[i], &f))
            rewrite(g, g->node[i], &f);
    graph_sort(g);
}
