/* The verifier at stage planned: places, and what lies in them when. */
#include "numbers.h"
#include "verify.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/* When a value lives: moments are kernels, and the chunk phase is one moment for shared memory,
 * because it is run once a chunk. What is kept for the next steps lives to the end. */
typedef struct Life {
    const Node *node;
    int begin, end;
    int64_t from, to; /* bytes in the region; `to` is behind the last */
} Life;

static bool is_in_registers(const Node *n)
{
    KernelClass class = n->kernel->class;
    return value_is_folded(n) || class == KERNEL_UPDATE || class == KERNEL_DENSE_WGRAD ||
           target_kind(n->kernel->target) == KIND_THREADS;
}

static bool check_region_of(const Verifier *v, const Node *n, bool escapes)
{
    const Place *p = &n->place;
    bool chunk = n->kernel && n->kernel->phase == PHASE_CHUNK, sums = op_sums_images(n->op);
    bool parts = sums && value_is_in_parts(n);
    switch (p->region) {
    case REGION_NONE:
        return n->op == OP_UPDATE || (n->op != OP_INPUT && !escapes && is_in_registers(n)) ||
               verify_node_fault(v, n, "it is kept in memory, but has no place");
    case REGION_STATE:
        return n->op == OP_UPDATE ||
               verify_node_fault(v, n, "only storage lies in the state region");
    case REGION_SHARED:
        return !parts || verify_node_fault(v, n, "a sum in parts lies in partial");
    case REGION_CHUNK:
        return (chunk && !sums) || verify_node_fault(v, n, "only values of one chunk lie in chunk");
    case REGION_THREAD:
        return n->tensor.layout.strip > 0 || value_is_image(n) ||
               verify_node_fault(v, n, "only strips, and images on their way, lie in thread");
    case REGION_PARTIAL:
        return parts || verify_node_fault(v, n, "only sums in parts lie in partial");
    case REGION_COUNT: break;
    }
    return verify_node_fault(v, n, "its region is unknown");
}

static int64_t region_bytes(const Graph *g, Region region)
{
    if (region == REGION_CHUNK)
        return g->chunk_bytes;
    return region == REGION_THREAD ? g->thread_bytes : g->shared_bytes;
}

static bool check_place(const Verifier *v, const Node *n, bool escapes)
{
    const Place *p = &n->place;
    if (!check_region_of(v, n, escapes))
        return false;
    int64_t copies = value_copies(n), limit = region_bytes(v->g, p->region);
    if (n->tensor.layout.strip > 0 && (escapes || p->region != REGION_THREAD))
        return verify_node_fault(v, n, "a strip stays inside its kernel, in thread memory");
    if (p->region == REGION_NONE || p->region == REGION_STATE)
        return true;
    if (p->offset < 0 || p->offset % PLACE_ALIGNMENT != 0)
        return verify_node_fault(v, n, "its offset is not aligned");
    if (p->bytes != value_bytes(v->g, n))
        return verify_node_fault(v, n, "its place has another size than its value");
    return p->bytes <= (limit - p->offset) / copies ||
           verify_node_fault(v, n, "its place leaves the region");
}

/* The moment of each kernel, by index. */
static int *find_moments(const Verifier *v, Region region)
{
    int *moment = pool_alloc(v->pool, ((size_t)v->g->kernel_count + 1) * sizeof *moment);
    int chunk = -1;
    for (int i = 0; i < v->g->kernel_count; i++) {
        bool together = region == REGION_SHARED && v->g->kernel[i]->phase == PHASE_CHUNK;
        if (together && chunk < 0)
            chunk = i;
        moment[i] = together ? chunk : i;
    }
    return moment;
}

static Life life_of(const Graph *g, const Node *n)
{
    int64_t copies = value_copies(n);
    return (Life){.node = n,
                  .begin = 0,
                  .end = n->op == OP_INPUT || value_is_kept(g, n) ? g->kernel_count : 0,
                  .from = n->place.offset,
                  .to = n->place.offset + n->place.bytes * copies};
}

/* The lives of one region's values (partials lie in shared); index by node id is -1 for others. */
static int find_lives(const Verifier *v, Region region, Life *life)
{
    const Graph *g = v->g;
    const int *moment = find_moments(v, region);
    int *index = pool_alloc(v->pool, ((size_t)g->node_count + 1) * sizeof *index);
    int count = 0;
    for (int i = 0; i < g->node_count; i++) {
        Region r = g->node[i]->place.region;
        bool here = r == region || (region == REGION_SHARED && r == REGION_PARTIAL);
        index[i] = here ? count : -1;
        if (here)
            life[count++] = life_of(g, g->node[i]);
    }
    for (int i = 0; i < g->kernel_count; i++)
        for (int j = 0; j < g->kernel[i]->node_count; j++) {
            const Node *n = g->kernel[i]->node[j];
            if (index[n->id] >= 0) {
                life[index[n->id]].begin = moment[i];
                if (life[index[n->id]].end < moment[i])
                    life[index[n->id]].end = moment[i];
            }
            for (int k = 0; k < n->arity; k++)
                if (n->in[k]->id >= 0 && index[n->in[k]->id] >= 0 &&
                    life[index[n->in[k]->id]].end < moment[i])
                    life[index[n->in[k]->id]].end = moment[i];
        }
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node->id >= 0 && index[g->output[i].node->id] >= 0)
            life[index[g->output[i].node->id]].end = g->kernel_count;
    return count;
}

/* The order of bytes in memory; lives that share some are equal. */
static int by_place(const void *a, const void *b)
{
    const Life *x = a, *y = b;
    return x->to <= y->from ? -1 : x->from >= y->to;
}

static int by_first_moment(const void *a, const void *b)
{
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : x < y ? -1 : x > y;
}

static int by_last_moment(const void *a, const void *b)
{
    const Life *x = *(Life *const *)a, *y = *(Life *const *)b;
    return x->end != y->end ? (x->end < y->end ? -1 : 1) : x < y ? -1 : x > y;
}

static Life **sorted_lives(Pool *pool, Life *life, int count,
                           int (*order)(const void *, const void *))
{
    Life **list = pool_alloc(pool, ((size_t)count + 1) * sizeof *list);
    for (int i = 0; i < count; i++)
        list[i] = &life[i];
    qsort(list, (size_t)count, sizeof *list, order);
    return list;
}

static void keep_life(void *life)
{
    (void)life;
}

/* Goes through the moments with the tree of those alive, in which no two share a byte. */
static bool some_overlap(const Verifier *v, Life *life, int count)
{
    Life **born = sorted_lives(v->pool, life, count, by_first_moment);
    Life **dying = sorted_lives(v->pool, life, count, by_last_moment);
    void *alive = NULL;
    bool found = false;
    for (int i = 0, dead = 0; i < count && !found; i++) {
        for (; dying[dead]->end < born[i]->begin; dead++)
            tdelete(dying[dead], &alive, by_place);
        Life *const *at = tsearch(born[i], &alive, by_place);
        if (!at)
            fatal("error: out of memory");
        found = *at != born[i];
    }
    tdestroy(alive, keep_life);
    return found;
}

static bool check_overlaps(const Verifier *v, Region region)
{
    Life *life = pool_alloc(v->pool, ((size_t)v->g->node_count + 1) * sizeof *life);
    int count = find_lives(v, region, life);
    if (!some_overlap(v, life, count))
        return true;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            const Life *a = &life[i], *b = &life[j];
            if (a->begin <= b->end && b->begin <= a->end && a->from < b->to && b->from < a->to)
                return verify_fault(v, a->node->loc,
                                    "%s overlaps %s in memory while both are alive",
                                    verify_label(v, a->node), verify_label(v, b->node));
        }
    return true;
}

static bool sums_squares(const Kernel *k)
{
    return k->node_count == 1 && k->node[0]->op == OP_SQUARE_SUM;
}

/* A chunk's value is gone when the chunk is: its readers are chunk kernels. On the CPU only the
 * update kernel and square_sum add up the copies of a sum in parts. `reader`: NULL where the graph
 * returns it. */
static const char *read_fault(const Node *n, const Kernel *reader)
{
    bool parts = n->place.region == REGION_PARTIAL && target_is_cpu(n->kernel->target);
    if (n->place.region == REGION_CHUNK && !reader)
        return "it is returned, but lies in chunk";
    if (n->place.region == REGION_CHUNK && reader->phase != PHASE_CHUNK)
        return "it reads a chunk's value after the images";
    if (parts && !reader)
        return "it is returned, but lies in parts";
    if (parts && reader->class != KERNEL_UPDATE && !sums_squares(reader))
        return "only an update kernel and square_sum add up a sum in parts";
    return NULL;
}

static bool check_reads(const Verifier *v)
{
    const char *fault;
    for (int i = 0; i < v->g->node_count; i++) {
        const Node *n = v->g->node[i];
        for (int k = 0; k < n->arity; k++)
            if ((fault = read_fault(n->in[k], n->kernel)))
                return verify_node_fault(v, n, fault);
    }
    for (int i = 0; i < v->g->output_count; i++)
        if ((fault = read_fault(v->g->output[i].node, NULL)))
            return verify_node_fault(v, v->g->output[i].node, fault);
    return true;
}

bool verify_places(const Verifier *v)
{
    bool *escapes = graph_escapes(v->g, v->pool), good = true;
    for (int i = 0; i < v->g->node_count; i++)
        good &= check_place(v, v->g->node[i], escapes[i]);
    if (v->g->shared_bound > v->g->shared_bytes || v->g->chunk_bound > v->g->chunk_bytes ||
        v->g->thread_bound > v->g->thread_bytes)
        good = verify_fault(v, (Loc){0}, "a region is smaller than its lower bound");
    return good && check_reads(v) &&
           check_overlaps(v, REGION_SHARED) && check_overlaps(v, REGION_CHUNK) &&
           check_overlaps(v, REGION_THREAD);
}
