/* What the targets' fuse files share: phases, names, kernels, and patterns of both. */
#include "fuse.h"

#include <ctype.h>
#include <string.h>

/* ---- phases ---- */

Phase fuse_phase(const Graph *g, const Node *n)
{
    if (n->op == OP_MEAN_VALID || n->op == OP_COUNT_VALID || n->op == OP_UPDATE)
        return PHASE_AFTER;
    if (op_sums_images(n->op) || is_per_image(g, n))
        return PHASE_CHUNK;
    for (int i = 0; i < n->arity; i++) {
        const Node *in = n->in[i];
        if (op_sums_images(in->op) || (in->kernel && in->kernel->phase == PHASE_AFTER))
            return PHASE_AFTER;
    }
    bool of_parameters = n->op == OP_CAST || op_is_of_filters(n->op);
    return of_parameters ? PHASE_BEFORE : PHASE_AFTER;
}

/* ---- names ---- */

char *fuse_identifier(Pool *pool, const char *name)
{
    char *id = pool_format(pool, "%s%s", isdigit((unsigned char)*name) ? "layer_" : "", name);
    char *end = strrchr(id, '.');
    if (end && (strcmp(end, ".weight") == 0 || strcmp(end, ".bias") == 0))
        *end = '\0';
    for (char *c = id; *c; c++)
        if (*c == '.')
            *c = '_';
    return id;
}

/* Kernels of all graphs of a target share one text. */
static bool name_taken(const Graph *g, const char *name)
{
    for (int i = 0; i < g->module->graph_count; i++) {
        const Graph *other = g->module->graph[i];
        for (int k = 0; other->target == g->target && k < other->kernel_count; k++)
            if (strcmp(other->kernel[k]->name, name) == 0)
                return true;
    }
    return false;
}

/* Eval kernels are prefixed. */
static const char *kernel_name(Fuser *f, const char *base)
{
    const char *prefix = strcmp(f->g->name, "train") == 0 ? "" : f->g->name;
    char *name = pool_format(f->pool, "%s%s%s", prefix, *prefix ? "_" : "", base);
    for (int i = 2; name_taken(f->g, name); i++)
        name = pool_format(f->pool, "%s%s%s_%d", prefix, *prefix ? "_" : "", base, i);
    return name;
}

/* ---- kernels ---- */

Kernel *fuse_kernel(Fuser *f, const char *base, KernelClass class, Phase phase)
{
    Kernel *k = pool_alloc(f->pool, sizeof *k);
    k->name = kernel_name(f, base);
    k->class = class;
    k->phase = phase;
    k->target = f->g->target;
    k->node = pool_alloc(f->pool, (size_t)f->g->node_count * sizeof *k->node);
    POOL_PUSH(f->pool, f->g->kernel, f->g->kernel_count, f->g->kernel_capacity, k);
    return k;
}

void fuse_take(Kernel *k, Node *n)
{
    n->kernel = k;
    k->node[k->node_count++] = n;
}

Kernel *fuse_the_kernel(Fuser *f, const char *base, KernelClass class, Phase phase)
{
    for (int i = 0; i < f->g->kernel_count; i++)
        if (f->g->kernel[i]->class == class && f->g->kernel[i]->phase == phase)
            return f->g->kernel[i];
    return fuse_kernel(f, base, class, phase);
}

/* A name for a kernel of one node: by its parameter where it has one, else by its op. */
static const char *single_name(Fuser *f, const Node *n)
{
    for (int i = 0; i < n->arity; i++) {
        const Node *in = n->in[i];
        if (in->op == OP_FILTER_TRANSPOSE || in->op == OP_CAST)
            in = in->in[0];
        if (in->op == OP_STATE)
            return pool_format(f->pool, "%s_%s", fuse_identifier(f->pool, in->storage->name),
                               op_name(n->op));
    }
    return n->op == OP_UPDATE ? pool_format(f->pool, "%s_update",
                                            fuse_identifier(f->pool, n->storage->name))
                              : op_name(n->op);
}

Kernel *fuse_alone(Fuser *f, Node *n, KernelClass class)
{
    Kernel *k = fuse_kernel(f, single_name(f, n), class, fuse_phase(f->g, n));
    fuse_take(k, n);
    return k;
}

/* ---- patterns of both targets ---- */

Node *fuse_next(const Graph *g, const Node *n, Op op)
{
    for (int i = n->id + 1; i < g->node_count; i++)
        if (g->node[i]->op == op && g->node[i]->in[0] == n && !g->node[i]->kernel)
            return g->node[i];
    return NULL;
}

void fuse_pool_forward(Fuser *f, Node *pool)
{
    char *base = pool_format(f->pool, "%s_%d_forward", op_name(pool->op), ++f->pools);
    Kernel *k = fuse_kernel(f, base, KERNEL_POOL_FORWARD, PHASE_CHUNK);
    fuse_take(k, pool);
    for (int i = pool->id + 1; i < f->g->node_count; i++) {
        Node *n = f->g->node[i];
        if (pool->op == OP_MAXPOOL && n->op == OP_MAXPOOL_CODE && n->in[0] == pool->in[0] &&
            !n->kernel && memcmp(&n->attr.window, &pool->attr.window, sizeof(Window)) == 0)
            fuse_take(k, n);
    }
}

bool fuse_is_optimizer(const Node *n)
{
    return n->op == OP_UPDATE || (op_is_pointwise(n->op) && n->op != OP_RELU &&
                                  n->op != OP_RELU_GRAD && n->tensor.shape.rank > 0);
}
