/* Argument lists of kernels, and names in emitted code. */
#include "emit.h"

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

char *c_identifier(Pool *pool, const char *name)
{
    char *id = pool_strdup(pool, name);
    for (char *c = id; *c; c++)
        if (*c == '.' || *c == '-')
            *c = '_';
    return id;
}

static bool same_identifier(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && (*a == '.' ? '_' : *a) != (*b == '.' ? '_' : *b))
            return false;
    return *a == *b;
}

char *c_storage_name(Pool *pool, const Module *m, const Storage *s)
{
    char *id = c_identifier(pool, s->name);
    for (int i = 0; i < m->storage_count && m->storage[i] != s; i++)
        if (same_identifier(m->storage[i]->name, s->name))
            return pool_format(pool, "%s_%d", id, i);
    return id;
}

const Kernel *cpu_kernel(const Module *m, int index, const Graph **graph)
{
    static const char *const names[] = {"train", "eval"};
    for (int i = 0; i < 2; i++) {
        const Graph *g = module_find_graph(m, names[i], TARGET_CPU);
        if (!g)
            continue;
        *graph = g;
        if (index < g->kernel_count)
            return g->kernel[index];
        index -= g->kernel_count;
    }
    return NULL;
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
