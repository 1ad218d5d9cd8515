/* memory: a place for every value and storage.
 *
 * Requires stage laid_out; brings it to planned. A value lives from the kernel that makes it to
 * the last that reads it, the gradient of a parameter and what is kept for the next steps to the
 * end of the step; values that are alive at one time must not overlap. In the shared region the
 * whole chunk phase is one moment, because it is run once a chunk. */
#include "../ir/numbers.h"
#include "arena.h"
#include "passes.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

typedef struct Item {
    Node *node;
    int begin, end; /* first and last moment, inclusive */
    int64_t bytes;  /* aligned, all copies */
    int64_t offset;
} Item;

typedef struct Items {
    Item *list;
    int count;
} Items;

static int64_t align(int64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* ---- regions ---- */

static bool is_read_after(const Graph *g, const Node *n)
{
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node == n)
            return true;
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++)
        if (uses.use[i].user->kernel->phase == PHASE_AFTER)
            return true;
    return false;
}

/* Values of an update kernel that nobody else reads stay in registers, as does the gradient that is
 * used up where it is made. */
static bool is_in_registers(const Node *n)
{
    KernelClass class = n->kernel->class;
    bool unwritten = class == KERNEL_UPDATE || class == KERNEL_DENSE_WGRAD ||
                     target_kind(n->kernel->target) == KIND_THREADS;
    return n->op == OP_UPDATE || value_is_folded(n) ||
           (unwritten && !kernel_returns(n->kernel, n));
}

static Region region_of(const Graph *g, const Node *n)
{
    if (n->op == OP_INPUT)
        return REGION_SHARED;
    if (is_in_registers(n))
        return REGION_NONE;
    if (n->kernel->phase != PHASE_CHUNK)
        return REGION_SHARED;
    if (op_sums_images(n->op))
        return value_is_in_parts(n) ? REGION_PARTIAL : REGION_SHARED;
    if (n->tensor.layout.strip > 0 || value_is_image(n))
        return REGION_THREAD;
    return is_read_after(g, n) ? REGION_SHARED : REGION_CHUNK;
}

/* ---- lifetimes ---- */

/* The moment of each kernel, by its index: that index or, in shared time, where the chunk phase is
 * one moment, the index of its first kernel. */
static int *find_moments(const Graph *g, bool shared)
{
    int *moment = xmalloc((size_t)(g->kernel_count + 1) * sizeof *moment), first_chunk = -1;
    for (int i = 0; i < g->kernel_count; i++) {
        bool chunk = g->kernel[i]->phase == PHASE_CHUNK;
        if (first_chunk < 0 && chunk)
            first_chunk = i;
        moment[i] = shared && chunk ? first_chunk : i;
    }
    return moment;
}

/* The parameters' gradients stay to the end of the step, so that a run can show them. */
static void keep_gradients(const Graph *g, Items *items, const int *index)
{
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        if (n->op != OP_UPDATE || !role_is_parameter(n->storage->role))
            continue;
        const Node *gradient = update_gradient(n);
        if (gradient->id >= 0 && index[gradient->id] >= 0)
            items->list[index[gradient->id]].end = g->kernel_count;
    }
}

/* From the kernel that makes it, or the start. */
static void begin_lives(const Graph *g, Items *items, const int *index, const int *moment)
{
    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->node_count; j++) {
            const Node *n = g->kernel[i]->node[j];
            if (index[n->id] >= 0)
                items->list[index[n->id]].begin = moment[i];
        }
    for (int i = 0; i < items->count; i++) {
        Item *it = &items->list[i];
        bool stays = !it->node->kernel || value_is_kept(g, it->node);
        it->end = stays ? g->kernel_count : it->begin;
    }
}

static void find_lifetimes(const Graph *g, Items *items, bool shared)
{
    int *index = xmalloc((size_t)(g->node_count + 1) * sizeof *index);
    int *moment = find_moments(g, shared);
    for (int i = 0; i < g->node_count; i++)
        index[i] = -1;
    for (int i = 0; i < items->count; i++)
        index[items->list[i].node->id] = i;
    begin_lives(g, items, index, moment);
    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->in_count; j++) {
            const Node *in = g->kernel[i]->in[j];
            if (in->id >= 0 && index[in->id] >= 0 && items->list[index[in->id]].end < moment[i])
                items->list[index[in->id]].end = moment[i];
        }
    for (int i = 0; i < g->output_count; i++)
        if (index[g->output[i].node->id] >= 0)
            items->list[index[g->output[i].node->id]].end = g->kernel_count;
    keep_gradients(g, items, index);
    free(index);
    free(moment);
}

/* ---- offsets ---- */

static int by_size(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->node->id - y->node->id;
}

static int by_begin(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    return x->begin != y->begin ? x->begin - y->begin : by_size(a, b);
}

static int by_length(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    int lx = x->end - x->begin, ly = y->end - y->begin;
    return lx != ly ? ly - lx : by_size(a, b);
}

/* Places each item in turn at the lowest offset that is free; returns the bytes that all take. */
static int64_t place_in_turn(Items *items, int moments)
{
    int64_t end = 0;
    Pool *pool = pool_new();
    Arena *arena = arena_new(pool, moments);
    for (int i = 0; i < items->count; i++) {
        Item *it = &items->list[i];
        it->offset = arena_place(arena, it->begin, it->end, it->bytes);
        end = it->offset + it->bytes > end ? it->offset + it->bytes : end;
    }
    pool_free(pool);
    return end;
}

/* Moves the item that reaches the top half way to the front: placed sooner, it lies lower. */
static void hurry_highest(Items *items)
{
    int at = 0;
    for (int i = 1; i < items->count; i++)
        if (items->list[i].offset + items->list[i].bytes >
            items->list[at].offset + items->list[at].bytes)
            at = i;
    Item highest = items->list[at];
    memmove(&items->list[at / 2 + 1], &items->list[at / 2], (size_t)(at - at / 2) * sizeof highest);
    items->list[at / 2] = highest;
}

/* How often an order is improved, and of how many values together in all rounds of it. The models
 * need one round. */
enum { ROUNDS = 12, IMPROVED_VALUES = 24000 };

/* Offsets by the best of three greedy orders, each improved until it takes no more than `bound`;
 * returns the bytes of the region. */
static int64_t place_items(Items *items, int moments, int64_t bound)
{
    int (*const orders[])(const void *, const void *) = {by_size, by_begin, by_length};
    int64_t least = items->count > 0 ? INT64_MAX : 0;
    int rounds = (int)smaller(ROUNDS, 1 + IMPROVED_VALUES / (items->count + 1));
    for (int i = 0; i < 3; i++) {
        qsort(items->list, (size_t)items->count, sizeof *items->list, orders[i]);
        for (int round = 0; round < rounds && least > bound; round++) {
            int64_t end = place_in_turn(items, moments);
            for (int k = 0; k < items->count && end < least; k++)
                items->list[k].node->place.offset = items->list[k].offset;
            least = end < least ? end : least;
            hurry_highest(items);
        }
    }
    return least;
}

/* The largest sum of live bytes at any moment. */
static int64_t lower_bound(const Items *items, int moments)
{
    int64_t *change = xmalloc(((size_t)moments + 1) * sizeof *change), live = 0, most = 0;
    memset(change, 0, ((size_t)moments + 1) * sizeof *change);
    for (int i = 0; i < items->count; i++) {
        change[items->list[i].begin] += items->list[i].bytes;
        change[items->list[i].end + 1] -= items->list[i].bytes;
    }
    for (int t = 0; t < moments; t++) {
        live += change[t];
        most = live > most ? live : most;
    }
    free(change);
    return most;
}

/* ---- the pass ---- */

/* Region shared holds the partials too. */
static int64_t place_region(Graph *g, Region region, int64_t *bound)
{
    Items items = {xmalloc((size_t)(g->node_count + 1) * sizeof(Item)), 0};
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        bool here = n->place.region == region ||
                    (region == REGION_SHARED && n->place.region == REGION_PARTIAL);
        if (!here)
            continue;
        int64_t bytes = align(n->place.bytes * value_copies(n));
        items.list[items.count++] = (Item){.node = n, .bytes = bytes};
    }
    find_lifetimes(g, &items, region == REGION_SHARED);
    int moments = g->kernel_count + 1;
    *bound = lower_bound(&items, moments);
    int64_t bytes = place_items(&items, moments, *bound);
    free(items.list);
    return bytes;
}

static void place_graph(Graph *g)
{
    for (int i = 0; i < g->node_count; i++) {
        Node *n = g->node[i];
        n->place = (Place){.region = region_of(g, n)};
        n->place.bytes = n->place.region == REGION_NONE ? 0 : value_bytes(g, n);
    }
    g->shared_bytes = place_region(g, REGION_SHARED, &g->shared_bound);
    g->chunk_bytes = place_region(g, REGION_CHUNK, &g->chunk_bound);
    g->thread_bytes = place_region(g, REGION_THREAD, &g->thread_bound);
    g->stage = STAGE_PLANNED;
}

static void place_storage(Module *m, Target target)
{
    int64_t at = 0;
    for (int i = 0; i < m->storage_count; i++) {
        Storage *s = m->storage[i];
        Tensor t = storage_tensor(s, target);
        s->home[target].offset = at;
        at += align(tensor_elements(&t) * dtype_bytes(t.dtype));
    }
    m->state_bytes[target] = at;
}

void pass_memory(Module *m)
{
    for (int t = 0; t < TARGET_COUNT; t++)
        m->state_bytes[t] = 0;
    for (int i = 0; i < m->graph_count; i++) {
        Graph *g = m->graph[i];
        if (g->target == TARGET_ANY)
            continue;
        if (m->state_bytes[g->target] == 0)
            place_storage(m, g->target);
        place_graph(g);
    }
}
