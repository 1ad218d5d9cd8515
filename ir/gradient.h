/* Gradients: what autodiff and the ops' families have between them. */
#ifndef NINC_IR_GRADIENT_H
#define NINC_IR_GRADIENT_H

#include "graph.h"

/* ---- ir/op/: gradients ---- */

/* What autodiff lends to the op whose gradients are made: the ops that it appends to the graph are
 * the gradients. */
typedef struct Gradient {
    Graph *graph;
    /* Whether the loss depends on parameters through this operand. */
    bool (*needs)(const struct Gradient *g, const Node *operand);
    /* Adds one use's gradient to what the operand has from its other uses. */
    void (*give)(struct Gradient *g, const Node *operand, Node *grad, Loc loc);
    /* A value for the backward pass that is computed right behind the forward node n. */
    void (*keep)(struct Gradient *g, const Node *n, Node *value);
} Gradient;

/* Gives the operands of n their gradients, dy being that of its value; the loss itself has none. */
void gradient_of_node(Gradient *g, Node *n, Node *dy);

#endif
