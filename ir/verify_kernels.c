/* The verifier from stage kernels on: kernels, schedule, layouts, places. */
#include "numbers.h"
#include "verify.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

/* ---- kernels ---- */

/* The kernels, one after another, are the graph's nodes behind its inputs. */
static bool check_cover(const Verifier *v)
{
    const Graph *g = v->g;
    int at = 0;
    while (at < g->node_count && g->node[at]->op == OP_INPUT)
        if (g->node[at++]->kernel)
            return verify_node_fault(v, g->node[at - 1], "an input is in no kernel");
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        if (k->node_count == 0)
            return verify_kernel_fault(v, k, "it is empty");
        for (int j = 0; j < k->node_count; j++, at++)
            if (k->node[j]->kernel != k || at >= g->node_count || g->node[at] != k->node[j])
                return verify_kernel_fault(v, k,
                                           "the graph's nodes do not follow its kernels' order");
    }
    return at == g->node_count || verify_node_fault(v, g->node[at], "it is in no kernel");
}

/* What the checks of one graph's kernels look up. */
typedef struct KernelCheck {
    const bool *escapes; /* by node id */
    int *read;           /* by slot: the serial number of the last kernel that reads it */
} KernelCheck;

static bool check_inputs_of(const Verifier *v, const Kernel *k, int *read, int serial)
{
    int next = 0;
    for (int i = 0; i < k->node_count; i++)
        for (int j = 0; j < k->node[i]->arity; j++) {
            const Node *in = k->node[i]->in[j];
            int slot = node_slot(v->g, in);
            if (in->kernel == k || read[slot] == serial)
                continue;
            if (next == k->in_count || k->in[next] != in)
                return verify_kernel_fault(v, k, "its inputs are not what its nodes read");
            read[slot] = serial;
            next++;
        }
    return next == k->in_count || verify_kernel_fault(v, k, "it has inputs that no node reads");
}

static bool check_outputs_of(const Verifier *v, const Kernel *k, const bool *escapes)
{
    int next = 0;
    for (int i = 0; i < k->node_count; i++) {
        Node *n = k->node[i];
        if (n->op != OP_UPDATE && !escapes[n->id])
            continue;
        if (!n->returned || next == k->out_count || k->out[next] != n)
            return verify_kernel_fault(v, k, "its outputs are not what others read of it");
        next++;
    }
    return next == k->out_count || verify_kernel_fault(v, k, "it has outputs that nobody reads");
}

static bool check_phase_of(const Verifier *v, const Node *n)
{
    const char *rule = node_phase_fault(v->g, n);
    if (!rule && n->kernel->class == KERNEL_UPDATE && n->kernel->phase != PHASE_AFTER)
        rule = "an update kernel cannot hold it";
    return !rule || verify_node_fault(v, n, rule);
}

void verify_find_names_given_twice(const Module *m, Pool *pool, NameTable *by_target)
{
    for (int target = 0; target < TARGET_COUNT; target++) {
        Pool *scratch = pool_new();
        NameTable once = {0};
        for (int i = 0; i < m->graph_count; i++)
            for (int j = 0; j < m->graph[i]->kernel_count; j++) {
                Kernel *k = m->graph[i]->kernel[j];
                if ((int)m->graph[i]->target != target)
                    break;
                if (names_find(&once, k->name))
                    names_add(&by_target[target], pool, k->name, k);
                else
                    names_add(&once, scratch, k->name, k);
            }
        pool_free(scratch);
    }
}

static bool check_kernel(const Verifier *v, int index, const KernelCheck *c)
{
    const Kernel *k = v->g->kernel[index];
    if (!verify_is_identifier(k->name))
        return verify_kernel_fault(v, k, "its name is not an identifier");
    if (names_find(&v->given_twice[v->g->target], k->name))
        return verify_kernel_fault(v, k, "there is another kernel of that name");
    if (k->class >= KERNEL_CLASS_COUNT || k->phase >= PHASE_COUNT || k->strip < 0)
        return verify_kernel_fault(v, k, "its class, phase or strip is unknown");
    if (k->target != v->g->target)
        return verify_kernel_fault(v, k, "its class does not exist on the graph's target");
    if (index > 0 && v->g->kernel[index - 1]->phase > k->phase)
        return verify_kernel_fault(v, k, "it stands behind a kernel of a later phase");
    if (!check_outputs_of(v, k, c->escapes) || !verify_class(v, k))
        return false;
    for (int i = 0; i < k->node_count; i++)
        if (!check_phase_of(v, k->node[i]))
            return false;
    return check_inputs_of(v, k, c->read, index + 1);
}

bool verify_kernels(const Verifier *v)
{
    if (!check_cover(v))
        return false;
    const size_t slots = (size_t)graph_slots(v->g) + 1;
    KernelCheck c = {graph_escapes(v->g, v->pool), pool_alloc(v->pool, slots * sizeof(int))};
    bool good = true;
    for (int i = 0; i < v->g->kernel_count; i++)
        good &= check_kernel(v, i, &c);
    return good;
}

/* Contractions of row and Winograd kernels run in register tiles. */
static bool check_tile(const Verifier *v, const Node *n)
{
    enum { MAX_TILE = 64 };
    const Tile *t = &n->tile;
    bool product = op_is(n->op, F_FREQUENCIES);
    bool contraction = verify_is_contraction(n->op) || n->op == OP_CONV2D_DGRAD;
    if (!product && (!contraction || !kernel_is_rows(n->kernel) || node_is_depthwise(n)))
        return true;
    if (t->pixels < 1 || t->vectors < 1 || t->pixels > MAX_TILE || t->vectors > MAX_TILE)
        return verify_node_fault(v, n, "its tile is missing or too large");
    const Node *filter = n->op == OP_WINOGRAD_MULTIPLY ? n->in[1] : n;
    if (product && ceil_div(filter->tensor.shape.dim[0], WINOGRAD_LANES) % t->vectors != 0)
        return verify_node_fault(v, n, "its tile does not divide its blocks of outputs");
    Uses of_input = op_is(n->op, F_WGRAD) ? graph_uses(v->g, n->in[0]) : (Uses){0};
    for (int i = 0; i < of_input.count && of_input.use[i].user->id < n->id; i++) {
        const Node *c = of_input.use[i].user;
        if (is_wgrad_of(n, c) && kernel_is_rows(c->kernel) && c->tile.vectors != t->vectors)
            return verify_node_fault(v, n, "its tile has not the vectors of its convolution's");
    }
    return true;
}

/* Zeros are left out of products in tiles: of a 1x1 convolution, or of its weight gradient where
 * that is summed strip by strip. */
/* What a kernel of row ops keeps of a map at a time, and adds to its part of a sum. */
static bool check_strip(const Verifier *v, const Node *n)
{
    if (!n->kernel || !kernel_is_rows(n->kernel))
        return true;
    int strip = n->kernel->strip;
    if (strip == 0 && value_is_in_parts(n))
        return verify_node_fault(v, n, "a sum in parts is made strip by strip, its kernel has "
                                       "none");
    if (n->op == OP_WINOGRAD_OUTPUT && strip % n->attr.winograd.tile != 0 &&
        strip < n->tensor.shape.dim[1])
        return verify_node_fault(v, n, "its kernel's strip is not of whole rows of its tiles");
    bool higher = n->tensor.shape.rank == 4 && strip > n->tensor.shape.dim[1];
    return !higher || !value_is_strip(n) ||
           verify_node_fault(v, n, "its kernel's strip has more rows than it");
}

static bool check_sparse(const Verifier *v, const Node *n)
{
    bool wgrad = n->op == OP_CONV2D_WGRAD;
    if (n->sparse == SPARSE_NONE)
        return true;
    if (n->sparse == SPARSE_DY && !wgrad)
        return verify_node_fault(v, n, "it has no operand dy to be sparse");
    bool pointwise = (wgrad || n->op == OP_CONV2D) && window_is_pointwise(&n->attr.window);
    if (pointwise && target_kind(v->g->target) == KIND_VECTORS && kernel_is_rows(n->kernel) &&
        (!wgrad || value_is_in_parts(n)))
        return true;
    return verify_node_fault(v, n, "only 1x1 convolutions in row kernels of a CPU, and their "
                                   "gradients in parts, are sparse");
}

bool verify_schedule(const Verifier *v)
{
    const Graph *g = v->g;
    if (target_kind(g->target) == KIND_THREADS)
        return verify_gpu_schedules(v);
    if (g->chunk < 1 || g->chunk > g->batch)
        return verify_fault(v, (Loc){0}, "a chunk must hold 1 to %d images, not %d", g->batch,
                            g->chunk);
    if (graph_looks_across(g) && !graph_is_one_chunk(g))
        return verify_fault(v, (Loc){0}, "a chunk must hold all %d images, of which there are "
                                         "statistics, not %d", g->batch, g->chunk);
    for (int i = 0; i < g->node_count; i++)
        if (!check_tile(v, g->node[i]) || !check_strip(v, g->node[i]) ||
            !check_sparse(v, g->node[i]))
            return false;
    return true;
}
