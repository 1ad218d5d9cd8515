/* Who reads each value of a graph: found once for a graph that stays as it is, and asked often. */
#include "ir.h"

#include <string.h>

struct UseIndex {
    bool current;
    int *begin; /* by slot: its first use; one more than there are slots */
    Use *use;   /* of all values, slot by slot */
    int slots, slot_capacity, use_capacity;
};

int node_slot(const Graph *g, const Node *n)
{
    return n->op == OP_STATE ? g->node_count + n->storage->index : n->id;
}

int graph_slots(const Graph *g)
{
    return g->node_count + g->module->storage_count;
}

UseIndex *uses_new(Pool *pool)
{
    return pool_alloc(pool, sizeof(UseIndex));
}

void graph_forget_uses(const Graph *g)
{
    g->uses->current = false;
}

/* Of a pool array whose contents need not stay. */
static void *renew(Pool *pool, void *array, int count, int *capacity, size_t item)
{
    if (count <= *capacity)
        return array;
    *capacity = count + count / 2;
    return pool_alloc(pool, (size_t)*capacity * item);
}

static void count_uses(const Graph *g, UseIndex *u)
{
    memset(u->begin, 0, ((size_t)u->slots + 1) * sizeof *u->begin);
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->arity; k++)
            u->begin[node_slot(g, g->node[i]->in[k]) + 1]++;
    for (int i = 0; i < u->slots; i++)
        u->begin[i + 1] += u->begin[i];
}

/* Each slot's begin moves to its end while it is filled, and is the next one's then. */
static void fill_uses(const Graph *g, UseIndex *u)
{
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->arity; k++)
            u->use[u->begin[node_slot(g, g->node[i]->in[k])]++] = (Use){g->node[i], k};
    memmove(u->begin + 1, u->begin, (size_t)u->slots * sizeof *u->begin);
    u->begin[0] = 0;
}

static void index_uses(const Graph *g)
{
    UseIndex *u = g->uses;
    Pool *pool = g->module->pool;
    u->slots = graph_slots(g);
    u->begin = renew(pool, u->begin, u->slots + 1, &u->slot_capacity, sizeof *u->begin);
    count_uses(g, u);
    u->use = renew(pool, u->use, u->begin[u->slots], &u->use_capacity, sizeof *u->use);
    fill_uses(g, u);
    u->current = true;
}

Uses graph_uses(const Graph *g, const Node *n)
{
    const UseIndex *u = g->uses;
    if (!u->current)
        index_uses(g);
    int slot = node_slot(g, n);
    return (Uses){u->use + u->begin[slot], u->begin[slot + 1] - u->begin[slot]};
}

bool graph_uses_are_current(const Graph *g)
{
    const UseIndex *u = g->uses;
    int uses = 0;
    if (!u->current)
        return true;
    for (int i = 0; i < g->node_count; i++)
        uses += g->node[i]->arity;
    if (u->slots != graph_slots(g) || u->begin[u->slots] != uses)
        return false;
    for (int slot = 0; slot < u->slots; slot++)
        for (int i = u->begin[slot]; i < u->begin[slot + 1]; i++)
            if (node_slot(g, u->use[i].user->in[u->use[i].operand]) != slot)
                return false;
    return true;
}
