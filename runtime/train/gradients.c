/* Where the gradient of each parameter lies after a training step. */
#include "train.h"

/* The node that writes the parameter; NULL where the loss does not depend on it. */
static const Node *update_of(const Graph *g, const Storage *s)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_UPDATE && g->node[i]->storage == s)
            return g->node[i];
    return NULL;
}

static int kernel_index(const Graph *g, const Kernel *k)
{
    for (int i = 0; i < g->kernel_count; i++)
        if (g->kernel[i] == k)
            return i;
    internal_error("kernel %s is not in graph %s", k->name, g->name);
}

/* One memory: sums in parts lie in the shared region. */
static bool in_shared(const Node *n)
{
    return n->place.region == REGION_SHARED || n->place.region == REGION_PARTIAL;
}

static bool overlap(const Node *a, const Node *b)
{
    int64_t a_end = a->place.offset + a->place.bytes * value_copies(a);
    int64_t b_end = b->place.offset + b->place.bytes * value_copies(b);
    return in_shared(a) && in_shared(b) && a->place.offset < b_end && b->place.offset < a_end;
}

/* Our own plans keep gradients to the end of a step; IR that was planned elsewhere may not. */
static bool is_overwritten(const Graph *g, const Node *gradient)
{
    int written = kernel_index(g, gradient->kernel);
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        if (n != gradient && n->kernel && overlap(n, gradient) &&
            kernel_index(g, n->kernel) > written)
            return true;
    }
    return false;
}

const Node *gradient_of(const Graph *g, const Storage *s)
{
    const Node *update = update_of(g, s);
    const Node *gradient = update ? update_gradient(update) : NULL;
    if (!gradient || !gradient->kernel || !in_shared(gradient) || is_overwritten(g, gradient))
        return NULL;
    return gradient;
}
