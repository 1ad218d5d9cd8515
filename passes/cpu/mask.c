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

/* The pool whose codes those are. */
static Node *pool_of(const Graph *g, const Node *code)
{
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        if (n->op == OP_MAXPOOL && n->in[0] == code->in[0] &&
            memcmp(&n->attr.window, &code->attr.window, sizeof(Window)) == 0)
            return n;
    }
    return NULL;
}

static void mask_before(Graph *g, Node *mask, const int *uses)
{
    Node *grad = mask->in[0];
    if (grad->op != OP_MAXPOOL_GRAD || uses[grad->id] != 1 ||
        grad->in[1]->op != OP_MAXPOOL_CODE || grad->in[1]->in[0] != mask->in[1] ||
        mask->in[1]->op != OP_RELU)
        return;
    Node *pool = pool_of(g, grad->in[1]);
    if (!pool)
        return;
    Node *in[] = {grad->in[0], pool};
    grad->in[0] = graph_add(g, OP_RELU_GRAD, 2, in, NULL, mask->loc);
    grad->number = mask->number; /* it is now what the mask was */
    graph_replace(g, mask, grad);
}

void pass_mask(Graph *g)
{
    Pool *pool = pool_new();
    int *uses = graph_use_counts(g, pool), count = g->node_count;
    for (int i = 0; i < count; i++)
        if (g->node[i]->op == OP_RELU_GRAD)
            mask_before(g, g->node[i], uses);
    pool_free(pool);
    graph_sort(g);
    graph_remove_dead(g);
}
