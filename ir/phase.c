/* The parts of a step: before its images, for each chunk of them, after all of them. */
#include "ir.h"

static Phase phase_of(const Node *n, const Phase *known)
{
    if (n->op == OP_STATE || n->op == OP_INPUT)
        return PHASE_BEFORE;
    if (known)
        return known[n->id];
    return n->kernel ? n->kernel->phase : PHASE_BEFORE;
}

/* What is computed from statistics of the batch and is of no image is for after the images. */
static bool reads_statistics(const Node *n)
{
    for (int i = 0; i < n->arity; i++)
        if (op_is(n->in[i]->op, F_STATISTIC))
            return true;
    return false;
}

bool node_reads_sums(const Node *n, const Phase *known)
{
    for (int i = 0; i < n->arity; i++)
        if (op_sums_images(n->in[i]->op) || phase_of(n->in[i], known) == PHASE_AFTER)
            return true;
    return false;
}

Phase node_phase(const Graph *g, const Node *n, const Phase *known)
{
    if (n->op == OP_UPDATE || op_is(n->op, F_SUMS_ROWS))
        return PHASE_AFTER;
    if (op_is(n->op, F_SUMS_IMAGES | F_STATISTIC) || is_per_image(g, n))
        return PHASE_CHUNK;
    return node_reads_sums(n, known) || reads_statistics(n) ? PHASE_AFTER : PHASE_BEFORE;
}

/* A sum that is made when all images are there. */
static bool sums_at_once(const Node *n)
{
    return op_sums_images(n->op) && n->kernel->class == KERNEL_DENSE_WGRAD;
}

const char *node_phase_fault(const Graph *g, const Node *n)
{
    Phase phase = n->kernel->phase, rule = node_phase(g, n, NULL);
    if ((n->op == OP_UPDATE || op_is(n->op, F_SUMS_ROWS)) && phase != PHASE_AFTER)
        return "it belongs in the phase after the images";
    if (op_sums_images(n->op) && phase == PHASE_BEFORE)
        return "it cannot run before the images";
    if (phase != PHASE_AFTER && node_reads_sums(n, NULL))
        return "it reads a sum over images before all images are done";
    return sums_at_once(n) || (phase == PHASE_CHUNK) == (rule == PHASE_CHUNK)
               ? NULL
               : "images are worked on in the chunk phase, all else outside of it";
}

bool graph_looks_across(const Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (op_is(g->node[i]->op, F_STATISTIC))
            return true;
    return false;
}

int graph_least_images(const Graph *g)
{
    for (int i = 0; i < g->node_count; i++) {
        const int32_t *x = g->node[i]->in[0] ? g->node[i]->in[0]->tensor.shape.dim : NULL;
        if (g->node[i]->op == OP_BATCH_VAR && x[1] * x[2] == 1)
            return 2;
    }
    return 1;
}

bool graph_is_one_chunk(const Graph *g)
{
    return g->chunk == g->batch;
}
