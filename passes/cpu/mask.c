/* Mask: the gradient's ReLU mask before a max pool's gradient instead of behind it.
 *
 * Requires stage training. The gradient that leaves a window goes to its maximum, which is y > 0
 * where the window's result is, so
 *     relu_grad(maxpool_grad(dy, code(y)), y) = maxpool_grad(relu_grad(dy, maxpool(y)), code(y))
 * exactly. The map before the pool is then dead once it is pooled, and the mask costs a pass over
 * the smaller map, which the next layer's weight gradient reads anyway. CPU: on a GPU the pool's
 * gradient and the mask are one kernel. */
#include "cpu.h"

#include <string.h>

/* The first pool whose codes those are. */
static Node *pool_of(const Graph *g, const Node *code)
{
    Uses uses = graph_uses(g, code->in[0]);
    for (int i = 0; i < uses.count; i++) {
        Node *n = uses.use[i].user;
        if (n->op == OP_MAXPOOL && memcmp(&n->attr.window, &code->attr.window, sizeof(Window)) == 0)
            return n;
    }
    return NULL;
}

/* The pool's result, where `mask` masks the gradient of a max pool by what the pool reads, a
 * ReLU's result, and nothing else reads the gradient; else NULL. */
static Node *masked_pool(const Graph *g, const Node *mask, const int *uses)
{
    const Node *grad = mask->in[0], *y = mask->in[1];
    if (mask->op != OP_RELU_GRAD || grad->op != OP_MAXPOOL_GRAD || y->op != OP_RELU ||
        uses[grad->id] != 1 || grad->in[1]->op != OP_MAXPOOL_CODE ||
        grad->in[1]->in[0] != y)
        return NULL;
    return pool_of(g, grad->in[1]);
}

static void mask_before(Graph *g, Node *mask, Node *pool)
{
    Node *grad = mask->in[0], *in[] = {grad->in[0], pool};
    grad->in[0] = graph_add(g, OP_RELU_GRAD, 2, in, NULL, mask->loc);
    grad->number = mask->number; /* it is now what the mask was */
    graph_replace(g, mask, grad);
}

void pass_mask(Graph *g)
{
    Pool *scratch = pool_new();
    int *uses = graph_use_counts(g, scratch), count = g->node_count;
    Node **pool = pool_alloc(scratch, ((size_t)count + 1) * sizeof *pool);
    for (int i = 0; i < count; i++) /* before anything changes, as who reads what is asked */
        pool[i] = masked_pool(g, g->node[i], uses);
    for (int i = 0; i < count; i++)
        if (pool[i])
            mask_before(g, g->node[i], pool[i]);
    pool_free(scratch);
    graph_sort(g);
    graph_remove_dead(g);
}
