/* Argument lists of kernels, and what else all emitters ask of the IR. */
#include "emit.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What two nodes have in common that lie in one place. */
static const void *place_of(const Node *n)
{
    return n->storage ? (const void *)n->storage : n;
}

/* Where the argument of that place is noted, or would be. */
static int *arg_slot(const KernelArgs *args, const void *place)
{
    uint64_t hash = (uint64_t)(uintptr_t)place * UINT64_C(0x9e3779b97f4a7c15);
    int at = (int)(hash >> 33) & (args->slots - 1);
    while (args->slot[at] && place_of(args->node[args->slot[at] - 1]) != place)
        at = (at + 1) & (args->slots - 1);
    return &args->slot[at];
}

int kernel_arg(const KernelArgs *args, const Node *n)
{
    return *arg_slot(args, place_of(n)) - 1;
}

static void add_arg(KernelArgs *args, const Kernel *k, Node *n)
{
    if (!n->storage && n->op != OP_INPUT && n->place.region == REGION_NONE)
        return;
    int *slot = arg_slot(args, place_of(n));
    if (!*slot) {
        args->node[args->count++] = n;
        *slot = args->count;
    }
    args->written[*slot - 1] |= n->storage ? n->op == OP_UPDATE && n->kernel == k : n->kernel == k;
}

KernelArgs kernel_args(Pool *pool, const Kernel *k)
{
    size_t most = (size_t)(k->in_count + k->out_count + k->node_count);
    KernelArgs args = {pool_alloc(pool, most * sizeof *args.node), pool_alloc(pool, most), 0,
                       NULL, 16};
    while ((size_t)args.slots < 2 * most)
        args.slots *= 2;
    args.slot = pool_alloc(pool, (size_t)args.slots * sizeof *args.slot);
    for (int i = 0; i < k->in_count; i++)
        add_arg(&args, k, k->in[i]);
    for (int i = 0; i < k->out_count; i++)
        add_arg(&args, k, k->out[i]);
    for (int i = 0; i < k->node_count; i++)
        add_arg(&args, k, k->node[i]);
    return args;
}

const Kernel *target_kernel(const Module *m, Target target, int index, const Graph **graph)
{
    static const char *const names[] = {"train", "eval"};
    for (int i = 0; i < 2; i++) {
        const Graph *g = module_find_graph(m, names[i], target);
        if (!g)
            continue;
        *graph = g;
        if (index < g->kernel_count)
            return g->kernel[index];
        index -= g->kernel_count;
    }
    return NULL;
}

const char *c_value_name(Pool *pool, const CNames *names, const Node *n)
{
    if (n->storage)
        return names->storage[n->storage->index];
    if (n->op == OP_INPUT)
        return n->name;
    return pool_format(pool, "v%d", n->number);
}

int map_dim(const Node *n, int axis)
{
    const Shape *s = &n->tensor.shape;
    if (s->rank == 4)
        return s->dim[axis];
    if (axis == 0)
        return s->rank > 0 ? s->dim[0] : 1;
    return axis == 3 && s->rank > 1 ? s->dim[s->rank - 1] : 1;
}

int map_lanes(const Node *n)
{
    const Layout *l = &n->tensor.layout;
    int channels = map_dim(n, 3);
    if (l->kind == LAYOUT_NCHWC)
        return l->block;
    return l->kind == LAYOUT_NHWC && l->block > 0
               ? (channels + l->block - 1) / l->block * l->block
               : channels;
}

bool is_element_wise(const Node *n)
{
    return n->tensor.shape.rank > 0;
}

/* Sets of nodes that are being joined: each node leads to one of its set, in the end to the set's
 * first node, which leads to itself. */
static int first_of(int *set, int at)
{
    while (set[at] != at)
        at = set[at] = set[set[at]];
    return at;
}

static void join(int *set, int a, int b)
{
    a = first_of(set, a), b = first_of(set, b);
    if (a < b)
        set[b] = a;
    else
        set[a] = b;
}

/* What a node of the kernel shares with others: its own value or storage, its operands' ones. */
typedef struct Share {
    const void *place;
    int at; /* of the node in the kernel */
} Share;

static int by_share(const void *a, const void *b)
{
    const Share *x = a, *y = b;
    if (x->place != y->place)
        return (uintptr_t)x->place < (uintptr_t)y->place ? -1 : 1;
    return x->at - y->at;
}

static int find_shares(const Kernel *k, Share *share)
{
    int shares = 0;
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        share[shares++] = (Share){place_of(n), i};
        for (int a = 0; a < n->arity; a++)
            if (is_element_wise(n->in[a]))
                share[shares++] = (Share){place_of(n->in[a]), i};
    }
    return shares;
}

int optimizer_groups(Pool *pool, const Kernel *k, int *group)
{
    size_t nodes = (size_t)k->node_count;
    int *set = pool_alloc(pool, (nodes + 1) * sizeof *set), groups = 0;
    Share *share = pool_alloc(pool, nodes * (MAX_OPERANDS + 1) * sizeof *share);
    int shares = find_shares(k, share);
    for (int i = 0; i < k->node_count; i++)
        set[i] = i;
    qsort(share, (size_t)shares, sizeof *share, by_share);
    for (int i = 1; i < shares; i++)
        if (share[i].place == share[i - 1].place)
            join(set, share[i].at, share[i - 1].at);
    for (int i = 0; i < k->node_count; i++)
        group[i] = 0;
    for (int i = 0; i < k->node_count; i++) {
        int *first = &group[first_of(set, i)];
        if (*first == 0 && is_element_wise(k->node[i]))
            *first = ++groups;
        group[i] = *first;
    }
    return groups;
}

bool is_chunked(const Graph *g, const Node *n)
{
    return n->place.region == REGION_SHARED && !n->storage && is_per_image(g, n);
}

int64_t image_elements(const Node *n)
{
    Tensor t = n->tensor;
    if (t.shape.rank > 0)
        t.shape.dim[0] = 1;
    return tensor_elements(&t);
}

int64_t image_bytes(const Node *n)
{
    return image_elements(n) * dtype_bytes(n->tensor.dtype);
}
