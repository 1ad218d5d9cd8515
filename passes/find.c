/* See find.h: a hash table with open addressing, in which equals stand in the order of adding. */
#include "find.h"

#include <string.h>

static int first_slot(const Finder *f, Op op, const Node *operand)
{
    uint64_t hash = ((uint64_t)op + 1) ^ (uint64_t)(uintptr_t)operand;
    return (int)(hash * UINT64_C(0x9e3779b97f4a7c15) >> 33) & (f->capacity - 1);
}

static void put(Finder *f, Node *n)
{
    int at = first_slot(f, n->op, n->in[0]);
    while (f->slot[at])
        at = (at + 1) & (f->capacity - 1);
    f->slot[at] = n;
}

/* From behind a gap on, so that equals keep their order. */
static void grow(Finder *f)
{
    Finder bigger = {f->pool, NULL, f->count, f->capacity ? 2 * f->capacity : 64};
    bigger.slot = pool_alloc(f->pool, (size_t)bigger.capacity * sizeof *bigger.slot);
    int start = 0;
    while (start < f->capacity && f->slot[start])
        start++;
    for (int i = 0; i < f->capacity; i++) {
        Node *n = f->slot[(start + i) & (f->capacity - 1)];
        if (n)
            put(&bigger, n);
    }
    *f = bigger;
}

void finder_add(Finder *f, Node *n)
{
    if (2 * (f->count + 1) > f->capacity)
        grow(f);
    put(f, n);
    f->count++;
}

Finder finder_new(Pool *pool, const Graph *g, const Op *op, int count)
{
    Finder f = {.pool = pool};
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < count; k++)
            if (g->node[i]->op == op[k])
                finder_add(&f, g->node[i]);
    return f;
}

static bool has_attr(const Node *n, const Attr *attr)
{
    switch (op_attr(n->op)) {
    case ATTR_NONE: return true;
    case ATTR_WINOGRAD: return memcmp(&n->attr.winograd, &attr->winograd, sizeof(Winograd)) == 0;
    case ATTR_FOLD: return memcmp(&n->attr.fold, &attr->fold, sizeof(Fold)) == 0;
    case ATTR_WINDOW:
    case ATTR_IMAGE:
    case ATTR_FACTOR:
    case ATTR_NORM:
    case ATTR_LRN:
    case ATTR_CONTRAST:
    case ATTR_SMOOTHING:
    case ATTR_ADAM:
    case ATTR_RATE:
    case ATTR_DROPOUT:
    case ATTR_AUGMENT:
    case ATTR_SLICE: break;
    }
    internal_error("%s is not looked for", op_name(n->op));
}

Node *finder_find(const Finder *f, Op op, const Node *operand, DType dtype, const Attr *attr)
{
    for (int at = f->capacity ? first_slot(f, op, operand) : 0; f->capacity && f->slot[at];
         at = (at + 1) & (f->capacity - 1)) {
        Node *n = f->slot[at];
        if (n->op == op && n->in[0] == operand && n->tensor.dtype == dtype && has_attr(n, attr))
            return n;
    }
    return NULL;
}
