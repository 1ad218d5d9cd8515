/* See ready.h. */
#include "ready.h"

#include <string.h>

/* Edges that lead from kernels to those that wait for them, counted first, then written. */
typedef struct Edges {
    Ready *ready;
    const int *reader, *reader_begin; /* by index of storage: the kernels that read it */
    bool write;
} Edges;

static void add_edge(const Edges *e, int from, int to)
{
    Ready *r = e->ready;
    if (e->write)
        r->next[r->begin[from]++] = to;
    else
        r->begin[from + 1]++, r->waits[to]++;
}

static void add_edges_to(const Edges *e, int index)
{
    const Ready *r = e->ready;
    const Kernel *k = r->graph->kernel[index];
    for (int i = 0; i < k->in_count; i++)
        if (k->in[i]->kernel)
            add_edge(e, r->maker[k->in[i]->id], index);
    for (int i = 0; i < k->out_count; i++) {
        if (k->out[i]->op != OP_UPDATE)
            continue;
        int s = k->out[i]->storage->index;
        for (int j = e->reader_begin[s]; j < e->reader_begin[s + 1]; j++)
            if (e->reader[j] != index)
                add_edge(e, e->reader[j], index);
    }
}

/* Each begin has moved to its end, which is the next one's begin. */
static void move_back(int *begin, int count)
{
    memmove(begin + 1, begin, (size_t)count * sizeof *begin);
    begin[0] = 0;
}

static void sum_up(int *begin, int count)
{
    for (int i = 0; i < count; i++)
        begin[i + 1] += begin[i];
}

/* The kernels that read each storage; *begin by its index. */
static int *find_readers(Pool *pool, const Graph *g, int **begin)
{
    int storages = g->module->storage_count, *reader = NULL;
    *begin = pool_alloc(pool, ((size_t)storages + 2) * sizeof **begin);
    for (int write = 0; write < 2; write++) {
        for (int i = 0; i < g->kernel_count; i++)
            for (int j = 0; j < g->kernel[i]->in_count; j++) {
                const Storage *s = g->kernel[i]->in[j]->storage;
                if (s && write)
                    reader[(*begin)[s->index]++] = i;
                else if (s)
                    (*begin)[s->index + 1]++;
            }
        if (write)
            break;
        sum_up(*begin, storages);
        reader = pool_alloc(pool, ((size_t)(*begin)[storages] + 1) * sizeof *reader);
    }
    move_back(*begin, storages);
    return reader;
}

static void find_edges(Ready *r)
{
    int kernels = r->graph->kernel_count, *reader_begin;
    int *reader = find_readers(r->pool, r->graph, &reader_begin);
    Edges e = {r, reader, reader_begin, false};
    for (int i = 0; i < kernels; i++)
        add_edges_to(&e, i);
    sum_up(r->begin, kernels);
    r->next = pool_alloc(r->pool, ((size_t)r->begin[kernels] + 1) * sizeof *r->next);
    e.write = true;
    for (int i = 0; i < kernels; i++)
        add_edges_to(&e, i);
    move_back(r->begin, kernels);
}

Ready ready_new(Pool *pool, const Graph *g)
{
    size_t kernels = (size_t)g->kernel_count + 2;
    Ready r = {.graph = g, .pool = pool, .waits = pool_alloc(pool, kernels * sizeof(int)),
               .begin = pool_alloc(pool, kernels * sizeof(int)), .done = pool_alloc(pool, kernels),
               .maker = pool_alloc(pool, ((size_t)g->node_count + 1) * sizeof(int))};
    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->node_count; j++)
            r.maker[g->kernel[i]->node[j]->id] = i;
    find_edges(&r);
    return r;
}

/* ---- the heap ---- */

static bool is_before(const Candidate *a, const Candidate *b)
{
    return a->cost != b->cost ? a->cost < b->cost : a->kernel < b->kernel;
}

static void swap(Candidate *a, Candidate *b)
{
    Candidate c = *a;
    *a = *b;
    *b = c;
}

bool ready_can_run(const Ready *r, int kernel, Phase phase)
{
    return !r->done[kernel] && r->waits[kernel] == 0 && r->graph->kernel[kernel]->phase == phase;
}

void ready_push(Ready *r, int kernel, int64_t cost)
{
    const Candidate item = {cost, kernel};
    int at = r->count;
    POOL_PUSH(r->pool, r->heap, r->count, r->capacity, item);
    for (; at > 0 && is_before(&r->heap[at], &r->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&r->heap[at], &r->heap[(at - 1) / 2]);
}

static void remove_first(Ready *r)
{
    r->heap[0] = r->heap[--r->count];
    for (int at = 0, least = 0;; at = least) {
        for (int child = 2 * at + 1; child <= 2 * at + 2 && child < r->count; child++)
            if (is_before(&r->heap[child], &r->heap[least]))
                least = child;
        if (least == at)
            return;
        swap(&r->heap[at], &r->heap[least]);
    }
}

int ready_take(Ready *r)
{
    while (r->count > 0 && r->done[r->heap[0].kernel])
        remove_first(r); /* pushed again with a lower cost, and done */
    if (r->count == 0)
        return -1;
    int index = r->heap[0].kernel;
    remove_first(r);
    r->done[index] = true;
    for (int i = r->begin[index]; i < r->begin[index + 1]; i++)
        r->waits[r->next[i]]--;
    return index;
}
