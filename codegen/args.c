/* Argument lists of kernels, names in emitted code, and what else all emitters ask of the IR. */
#include "emit.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static bool same_place(const Node *a, const Node *b)
{
    return a == b || (a->storage && a->storage == b->storage);
}

static void add_arg(KernelArgs *args, Node *n)
{
    if (!n->storage && n->op != OP_INPUT && n->place.region == REGION_NONE)
        return;
    for (int i = 0; i < args->count; i++)
        if (same_place(args->node[i], n))
            return;
    args->node[args->count++] = n;
}

KernelArgs kernel_args(Pool *pool, const Kernel *k)
{
    size_t most = (size_t)(k->in_count + k->out_count + k->node_count);
    KernelArgs args = {pool_alloc(pool, most * sizeof *args.node), 0};
    for (int i = 0; i < k->in_count; i++)
        add_arg(&args, k->in[i]);
    for (int i = 0; i < k->out_count; i++)
        add_arg(&args, k->out[i]);
    for (int i = 0; i < k->node_count; i++)
        add_arg(&args, k->node[i]);
    return args;
}

enum { MAX_C_NAME = 256 };

static bool ends_like_parameter(const char *name)
{
    static const char *const ends[] = {".weight", ".bias", ".m", ".v", ".momentum"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (strcmp(dot, ends[i]) == 0)
            return true;
    return false;
}

/* No name that ends in _weight, _bias, _m, _v or _momentum, or starts with state_, is C's, the
 * library's or a local variable's. */
static void write_identifier(const char *name, char *id)
{
    const char *prefix = isdigit((unsigned char)*name) ? "layer_" : "";
    if (!ends_like_parameter(name))
        prefix = "state_";
    snprintf(id, MAX_C_NAME, "%s%s", prefix, name);
    for (char *c = id; *c; c++)
        if (*c == '.')
            *c = '_';
}

char *c_storage_name(Pool *pool, const Module *m, const Storage *s)
{
    char id[MAX_C_NAME], other[MAX_C_NAME];
    write_identifier(s->name, id);
    bool taken = false;
    int at = 0;
    for (; at < m->storage_count && m->storage[at] != s; at++) {
        write_identifier(m->storage[at]->name, other);
        taken |= strcmp(id, other) == 0;
    }
    return taken ? pool_format(pool, "state_%d_%s", at, id) : pool_strdup(pool, id);
}

const char *target_id(Target target)
{
    switch (target) {
    case TARGET_CPU: return "NINC_CPU";
    case TARGET_AMX: return "NINC_AMX";
    case TARGET_CUDA: return "NINC_CUDA";
    case TARGET_ANY:
    case TARGET_COUNT: break;
    }
    internal_error("target %d has no programs", (int)target);
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

int *value_numbers(Pool *pool, const Graph *g)
{
    int *number = pool_alloc(pool, (size_t)(g->node_count + 1) * sizeof *number), next = 0;
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op != OP_INPUT && g->node[i]->op != OP_UPDATE)
            number[i] = next++;
    return number;
}

const char *c_value_name(Pool *pool, const Module *m, const int *number, const Node *n)
{
    if (n->storage)
        return c_storage_name(pool, m, n->storage);
    if (n->op == OP_INPUT)
        return n->name;
    return pool_format(pool, "v%d", number[n->id]);
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

bool is_written(const Kernel *k, const Node *n)
{
    for (int i = 0; i < k->out_count; i++)
        if (n->storage && k->out[i]->storage == n->storage)
            return true;
    return !n->storage && n->kernel == k;
}

bool is_element_wise(const Node *n)
{
    return n->tensor.shape.rank > 0;
}

/* Found by following operands, in-kernel values and storage from one node. */
static void mark_group(const Kernel *k, int *group, int at, int id)
{
    group[at] = id;
    const Node *n = k->node[at];
    for (int i = 0; i < k->node_count; i++) {
        const Node *m = k->node[i];
        bool linked = false;
        for (int a = 0; a < n->arity; a++)
            linked |= is_element_wise(n->in[a]) && n->in[a] == m;
        for (int b = 0; b < m->arity; b++) {
            linked |= is_element_wise(m->in[b]) && m->in[b] == n;
            linked |= n->storage && m->in[b]->storage == n->storage;
            for (int a = 0; a < n->arity; a++)
                linked |= is_element_wise(m->in[b]) && m->in[b] == n->in[a];
        }
        if (linked && group[i] == 0)
            mark_group(k, group, i, id);
    }
}

int optimizer_groups(const Kernel *k, int *group)
{
    int groups = 0;
    for (int i = 0; i < k->node_count; i++)
        group[i] = 0;
    for (int i = 0; i < k->node_count; i++)
        if (group[i] == 0 && is_element_wise(k->node[i]))
            mark_group(k, group, i, ++groups);
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
