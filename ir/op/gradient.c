/* What the families' gradients are made with. */
#include "family.h"

Node *gradient_op(Gradient *g, const Node *n, Op op, Node *x, Node *y, const Node *like)
{
    Node *in[] = {x, y};
    Tensor type = {.dtype = like->tensor.dtype, .shape = like->tensor.shape};
    return graph_add_typed(g->graph, op, y ? 2 : 1, in, &n->attr, &type, n->loc);
}

void gradient_of_node(Gradient *g, Node *n, Node *dy)
{
    op_rule(n->op)->gradient(g, n, dy);
}
