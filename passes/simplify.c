/* Simplify: removes what the model wrote but need not compute. Requires stage forward; keeps it.
 *
 *     avgpool over the whole map            -> gap
 *     gap of a 1x1 map; 1x1 stride-1 pool   -> its operand
 *     relu of relu                          -> the inner relu
 *     two equal nodes                       -> the first one
 *
 * and nodes that no output needs. What stays keeps its position in the source. */
#include "passes.h"

static bool window_equal(const Window *a, const Window *b)
{
    return a->kernel_h == b->kernel_h && a->kernel_w == b->kernel_w && a->stride_h == b->stride_h &&
           a->stride_w == b->stride_w && a->padding_h == b->padding_h &&
           a->padding_w == b->padding_w && a->ceil_mode == b->ceil_mode &&
           a->dilation_h == b->dilation_h && a->dilation_w == b->dilation_w &&
           a->groups == b->groups && a->inside == b->inside;
}

static bool image_equal(const ImageAttr *a, const ImageAttr *b)
{
    for (int c = 0; c < a->channels && a->channels == b->channels; c++)
        if (a->mean[c] != b->mean[c] || a->std[c] != b->std[c])
            return false;
    return a->channels == b->channels;
}

static bool augment_equal(const AugmentAttr *a, const AugmentAttr *b)
{
    for (int i = 0; i < AUGMENT_NUMBERS; i++)
        if (a->number[i] != b->number[i])
            return false;
    return a->draw == b->draw;
}

static bool attr_equal(const Node *a, const Node *b)
{
    switch (op_attr(a->op)) {
    case ATTR_NONE: return true;
    case ATTR_WINDOW: return window_equal(&a->attr.window, &b->attr.window);
    case ATTR_IMAGE: return image_equal(&a->attr.image, &b->attr.image);
    case ATTR_SMOOTHING:
    case ATTR_FACTOR: return a->attr.factor == b->attr.factor;
    case ATTR_NORM:
        return a->attr.norm.eps == b->attr.norm.eps &&
               a->attr.norm.momentum == b->attr.norm.momentum;
    case ATTR_LRN:
        return a->attr.lrn.size == b->attr.lrn.size && a->attr.lrn.alpha == b->attr.lrn.alpha &&
               a->attr.lrn.beta == b->attr.lrn.beta && a->attr.lrn.k == b->attr.lrn.k;
    case ATTR_CONTRAST:
        return a->attr.contrast.scale == b->attr.contrast.scale &&
               a->attr.contrast.eps == b->attr.contrast.eps;
    case ATTR_DROPOUT:
        return a->attr.dropout.p == b->attr.dropout.p &&
               a->attr.dropout.layer == b->attr.dropout.layer;
    case ATTR_SLICE:
        return a->attr.slice.from == b->attr.slice.from && a->attr.slice.to == b->attr.slice.to;
    case ATTR_AUGMENT: return augment_equal(&a->attr.augment, &b->attr.augment);
    case ATTR_ADAM:
    case ATTR_RATE:
    case ATTR_WINOGRAD:
    case ATTR_FOLD: break; /* no forward op has them */
    }
    return false;
}

static bool node_equal(const Node *a, const Node *b)
{
    if (a->op != b->op || a->arity != b->arity || a->tensor.dtype != b->tensor.dtype ||
        !shape_equal(&a->tensor.shape, &b->tensor.shape))
        return false;
    for (int k = 0; k < a->arity; k++)
        if (a->in[k] != b->in[k])
            return false;
    return attr_equal(a, b);
}

/* Every node seen so far, by op and operands; open addressing with linear steps. */
typedef struct Table {
    Node **slot;
    size_t size; /* a power of two, more than twice the nodes */
} Table;

static size_t node_hash(const Node *n)
{
    uint64_t hash = (uint64_t)n->op + 1;
    for (int k = 0; k < n->arity; k++)
        hash = (hash ^ (uint64_t)(uintptr_t)n->in[k]) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 16);
}

/* The first node equal to n; n itself, now remembered, when there is none. */
static Node *first_equal(Table *t, Node *n)
{
    size_t at = node_hash(n) & (t->size - 1);
    for (; t->slot[at]; at = (at + 1) & (t->size - 1))
        if (node_equal(t->slot[at], n))
            return t->slot[at];
    t->slot[at] = n;
    return n;
}

/* What stands for n, whose operands are simplified already. */
static Node *simplified(Table *t, Node *n)
{
    if (n->op == OP_INPUT || n->op == OP_UPDATE)
        return n;
    if (pool_covers_map(n)) {
        n->op = OP_GAP;
        n->attr = (Attr){.factor = 0};
    }
    return node_is_identity(n) ? n->in[0] : first_equal(t, n);
}

void pass_simplify(Graph *g)
{
    Pool *pool = pool_new();
    Table table = {NULL, 16};
    graph_renumber(g);
    while (table.size <= 2 * (size_t)g->node_count)
        table.size *= 2;
    table.slot = pool_alloc(pool, table.size * sizeof *table.slot);
    Node **stands_for = pool_alloc(pool, ((size_t)g->node_count + 1) * sizeof *stands_for);
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        for (int k = 0; k < n->arity; k++)
            if (n->in[k]->id >= 0)
                n->in[k] = stands_for[n->in[k]->id];
        stands_for[i] = simplified(&table, n);
    }
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node->id >= 0)
            g->output[i].node = stands_for[g->output[i].node->id];
    graph_remove_dead(g);
    pool_free(pool);
}
