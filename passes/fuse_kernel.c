/* What the targets' fuse files share: phases, names, kernels, and patterns of both. */
#include "fuse_kernel.h"

#include <ctype.h>
#include <string.h>

/* ---- phases ---- */

Phase fuse_phase(const Graph *g, const Node *n)
{
    Phase phase = node_phase(g, n, NULL);
    bool of_parameters = n->op == OP_CAST || op_is_of_filters(n->op);
    return phase == PHASE_BEFORE && !of_parameters ? PHASE_AFTER : phase;
}

/* ---- names ---- */

char *fuse_identifier(Pool *pool, const char *name)
{
    char *id = pool_format(pool, "%s%s", isdigit((unsigned char)*name) ? "layer_" : "", name);
    char *end = strrchr(id, '.');
    if (end && strcmp(end + 1, AVERAGE_NAME) == 0) {
        *end = '\0';
        end = strrchr(id, '.');
    }
    if (end && (strcmp(end, ".weight") == 0 || strcmp(end, ".bias") == 0))
        *end = '\0';
    for (char *c = id; *c; c++)
        if (*c == '.')
            *c = '_';
    return id;
}

void fuse_note_name(Fuser *f, Kernel *k)
{
    if (!names_find(&f->taken, k->name))
        names_add(&f->taken, f->scratch, k->name, k);
}

/* The first of NAME_2, NAME_3 ... that is free. Names are given and never taken back, so that no
 * number needs to be tried twice. */
static const char *numbered_name(Fuser *f, const char *name)
{
    int *number = names_find(&f->numbers, name);
    const char *numbered;
    if (!number) {
        number = pool_alloc(f->scratch, sizeof *number);
        *number = 1;
        names_add(&f->numbers, f->scratch, name, number);
    }
    do
        numbered = pool_format(f->scratch, "%s_%d", name, ++*number);
    while (names_find(&f->taken, numbered));
    return pool_strdup(f->pool, numbered);
}

/* Eval kernels are prefixed. */
static const char *kernel_name(Fuser *f, const char *base)
{
    const char *prefix = strcmp(f->g->name, "train") == 0 ? "" : f->g->name;
    const char *name = pool_format(f->pool, "%s%s%s", prefix, *prefix ? "_" : "", base);
    return names_find(&f->taken, name) ? numbered_name(f, name) : name;
}

/* ---- kernels ---- */

Kernel *fuse_kernel(Fuser *f, const char *base, KernelClass class, Phase phase)
{
    Kernel *k = pool_alloc(f->pool, sizeof *k);
    k->name = kernel_name(f, base);
    k->class = class;
    k->phase = phase;
    k->target = f->g->target;
    POOL_PUSH(f->pool, f->g->kernel, f->g->kernel_count, f->g->kernel_capacity, k);
    fuse_note_name(f, k);
    if (!f->first[class][phase])
        f->first[class][phase] = k;
    f->last[class] = k;
    return k;
}

void fuse_take(Fuser *f, Kernel *k, Node *n)
{
    n->kernel = k;
    POOL_PUSH(f->pool, k->node, k->node_count, k->node_capacity, n);
}

Kernel *fuse_the_kernel(Fuser *f, const char *base, KernelClass class, Phase phase)
{
    Kernel *k = f->first[class][phase];
    return k ? k : fuse_kernel(f, base, class, phase);
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
    fuse_take(f, k, n);
    return k;
}

/* ---- patterns of both targets ---- */

Node *fuse_next(const Graph *g, const Node *n, Op op)
{
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++) {
        Node *user = uses.use[i].user;
        if (user->op == op && uses.use[i].operand == 0 && !user->kernel)
            return user;
    }
    return NULL;
}

/* Forward kernels wait for forward ones that were there before them, and for no others. */
static bool is_forward(const Kernel *k)
{
    return k->class == KERNEL_CONV_FORWARD || k->class == KERNEL_MLPCONV_FORWARD ||
           k->class == KERNEL_POOL_FORWARD || k->class == KERNEL_IMAGE;
}

/* Whether kernel `from` must wait for k. */
static bool waits_for(Fuser *f, const Kernel *from, const Kernel *k)
{
    if (from == k)
        return true;
    if (is_forward(from) || f->seen[from->node[0]->id] == f->searches)
        return false;
    f->seen[from->node[0]->id] = f->searches;
    for (int i = 0; i < from->node_count; i++)
        for (int j = 0; j < from->node[i]->arity; j++) {
            const Kernel *before = from->node[i]->in[j]->kernel;
            if (before && before != from && waits_for(f, before, k))
                return true;
        }
    return false;
}

/* Whether k can read the value: it makes it itself, or does not make what that is made of. No
 * kernel that is there waits for one that is to come. */
static bool is_at_hand(Fuser *f, const Kernel *k, const Node *in)
{
    if (in->op == OP_INPUT || !in->kernel)
        return in->op == OP_INPUT;
    f->searches++;
    return !k || in->kernel == k || !waits_for(f, in->kernel, k);
}

Node *fuse_chained(Fuser *f, const Kernel *k, const Node *n)
{
    Uses uses = graph_uses(f->g, n);
    for (int i = 0; i < uses.count; i++) {
        Node *user = uses.use[i].user;
        bool all = !user->kernel && !f->claimed[user->id] && node_chains(n, user) &&
                   (n->tensor.dtype == DT_BF16 || !f->bf16);
        for (int j = 0; j < user->arity && all; j++)
            all = user->in[j] == n || is_at_hand(f, k, user->in[j]);
        if (all)
            return user;
    }
    return NULL;
}

Kernel *fuse_pool_forward(Fuser *f, Node *pool)
{
    char *base = pool_format(f->pool, "%s_%d_forward", op_name(pool->op), ++f->pools);
    Kernel *k = fuse_kernel(f, base, KERNEL_POOL_FORWARD, PHASE_CHUNK);
    fuse_take(f, k, pool);
    Uses uses = graph_uses(f->g, pool->in[0]);
    for (int i = 0; i < uses.count; i++) {
        Node *n = uses.use[i].user;
        if (pool->op == OP_MAXPOOL && n->op == OP_MAXPOOL_CODE && n->id > pool->id && !n->kernel &&
            memcmp(&n->attr.window, &pool->attr.window, sizeof(Window)) == 0)
            fuse_take(f, k, n);
    }
    return k;
}

/* ---- images ---- */

/* The image op that alone reads the image n; NULL where there is none. */
static Node *next_image(const Graph *g, const Node *n)
{
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node == n)
            return NULL;
    Node *user = uses.count == 1 && uses.use[0].operand == 0 ? uses.use[0].user : NULL;
    return user && (op_is(user->op, F_AUGMENT) || op_attr(user->op) == ATTR_IMAGE) ? user : NULL;
}

/* Whether the chain from n on, drawn from the same inputs, ends in a map. */
static bool leads_to_map(const Graph *g, const Node *n)
{
    const Node *first = n;
    int ops = 0;
    for (; n && op_is(n->op, F_AUGMENT); n = next_image(g, n), ops++)
        for (int i = 1; i < n->arity; i++)
            if (n->in[i] != first->in[i])
                return false;
    return n && ops <= MAX_AUGMENTS;
}

void fuse_image(Fuser *f, Node *n)
{
    if (!leads_to_map(f->g, n)) {
        fuse_alone(f, n, KERNEL_GENERIC);
        return;
    }
    Kernel *k = fuse_kernel(f, "image", KERNEL_IMAGE, PHASE_CHUNK);
    for (; op_is(n->op, F_AUGMENT); n = next_image(f->g, n))
        fuse_take(f, k, n);
    fuse_take(f, k, n);
}

/* ---- batch norm ---- */

const char *fuse_norm_name(Fuser *f, const Node *n, const char *what)
{
    const Storage *s = norm_storage(f->g, n);
    const char *end = s ? strrchr(s->name, '.') : NULL;
    if (!end)
        return pool_format(f->pool, "%s_%s", op_name(n->op), what);
    char *layer = pool_format(f->pool, "%.*s", (int)(end - s->name), s->name);
    return pool_format(f->pool, "%s_%s", fuse_identifier(f->pool, layer), what);
}

/* The variance by the mean n, or the products beside the sum n. */
static Node *second_statistic(const Fuser *f, const Node *n)
{
    bool mean = n->op == OP_BATCH_MEAN;
    Uses uses = graph_uses(f->g, n->in[0]);
    for (int i = 0; i < uses.count; i++) {
        Node *user = uses.use[i].user;
        if (user->kernel || uses.use[i].operand != 0)
            continue;
        if (mean && user->op == OP_BATCH_VAR && user->in[1] == n && user->in[2] == n->in[1])
            return user;
        if (!mean && user->op == OP_BATCH_DOT && user->in[1]->kernel && user->in[2]->kernel &&
            user->in[3]->kernel)
            return user;
    }
    return NULL;
}

bool fuse_statistics(Fuser *f, Node *n)
{
    bool mean = n->op == OP_BATCH_MEAN;
    Node *second = mean || n->op == OP_BATCH_SUM ? second_statistic(f, n) : NULL;
    if (!second)
        return false;
    Kernel *k = fuse_kernel(f, fuse_norm_name(f, second, mean ? "statistics" : "sums"),
                            KERNEL_STATISTICS, PHASE_CHUNK);
    fuse_take(f, k, n);
    fuse_take(f, k, second);
    return true;
}
