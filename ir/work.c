/* How much a kernel computes and moves: what its time is compared with. */
#include "ir.h"

double kernel_flop(const Kernel *k)
{
    double flop = 0;
    for (int i = 0; i < k->node_count; i++)
        flop += contraction_flop(k->node[i]);
    return flop;
}

/* Bytes of n that k moves in a step: of a value with rows for each image those of the batch, of all
 * else once a chunk. */
static int64_t step_bytes(const Graph *g, const Kernel *k, const Node *n)
{
    int64_t bytes = value_bytes(g, n) * value_copies(n);
    if (k->phase != PHASE_CHUNK || g->chunk < 1)
        return bytes;
    if (is_per_image(g, n))
        return n->place.region == REGION_CHUNK ? bytes / g->chunk * g->batch : bytes;
    return bytes * ((g->batch + g->chunk - 1) / g->chunk);
}

int64_t kernel_traffic(const Graph *g, const Kernel *k)
{
    int64_t bytes = 0;
    for (int i = 0; i < k->in_count; i++)
        bytes += step_bytes(g, k, k->in[i]);
    for (int i = 0; i < k->out_count; i++)
        bytes += step_bytes(g, k, k->out[i]);
    return bytes;
}
