/* Nodes that a pass makes once for all their users: found again by op and first operand. */
#ifndef NINC_PASSES_FIND_H
#define NINC_PASSES_FIND_H

#include "passes.h"

typedef struct Finder {
    Pool *pool;
    Node **slot;
    int count, capacity; /* capacity is a power of two */
} Finder;

/* With the graph's nodes of the `count` ops from `op` on. */
Finder finder_new(Pool *pool, const Graph *g, const Op *op, int count);
void finder_add(Finder *f, Node *n);
/* The first one added of that op, dtype and first operand, with those attributes; NULL for none. */
Node *finder_find(const Finder *f, Op op, const Node *operand, DType dtype, const Attr *attr);

#endif
