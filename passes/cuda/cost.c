/* cost: whether one kernel for several convolutions takes less time than a kernel for each. A
 * kernel takes the longer of its arithmetic and its memory traffic, and a launch. */
#include "cuda.h"

static double flops_of(const Node *conv)
{
    if (conv->in[0]->tensor.dtype == DT_BF16)
        return BF16_FLOPS;
    return conv->math == MATH_TF32 ? TF32_FLOPS : FP32_FLOPS;
}

static double longer(double a, double b)
{
    return a > b ? a : b;
}

static double map_bytes(const Node *map)
{
    return (double)map_pixels(map) * padded_channels(map) * dtype_bytes(map->tensor.dtype);
}

static const char *say(Pool *pool, bool pays, double fused, double alone)
{
    return pool_format(pool, "%s: one kernel takes about %.1f us, a kernel for each %.1f us",
                       pays ? "fused" : "not fused", fused * 1e6, alone * 1e6);
}

static const char *say_too_large(Pool *pool, int channels, int least, int limit)
{
    if (least == 0)
        return pool_format(pool, "not fused: sums of %d channels do not fit the registers",
                           channels);
    return pool_format(pool, "not fused: %d channels need %d KB of shared memory, %d KB are there",
                       channels, (least + 1023) / 1024, limit / 1024);
}

static double filter_bytes(const Node *filter)
{
    return (double)shape_elements(&filter->tensor.shape) * dtype_bytes(filter->tensor.dtype);
}

static bool is_read_outside(const Graph *g, const Node *n, const Node *inside)
{
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++)
        if (uses.use[i].user != inside)
            return true;
    return false;
}

bool cost_forward_pays(const Graph *g, const Block *b, const char **note)
{
    const Node *first = b->conv[0], *x = first->in[0];
    double rate = flops_of(first), flop = 0, bytes = map_bytes(x), filters = 0, alone = 0;
    int channels = 0, least = 0;
    Schedule fits[MAX_SCHEDULES];
    for (int i = 0; i < b->count; i++) {
        const Node *conv = b->conv[i], *y = b->map[i];
        double own = contraction_flop(conv);
        bool last = i + 1 == b->count;
        alone += longer(own / rate, (map_bytes(conv->in[0]) + map_bytes(y)) / BYTES) + LAUNCH;
        flop += own;
        filters += filter_bytes(conv->in[1]);
        if (last || is_read_outside(g, y, b->conv[i + 1]))
            bytes += map_bytes(y);
        channels = padded_channels(y) > channels ? padded_channels(y) : channels;
    }
    DType dtype = x->tensor.dtype;
    if (schedule_block_forward(dtype, first->math, channels, fits, &least) == 0) {
        *note = say_too_large(g->module->pool, channels, least, shared_limit(dtype, first->math));
        return false;
    }
    filters *= (double)map_pixels(b->map[0]) / fits[0].tile_m;
    double fused = longer(longer(FORWARD_PENALTY * flop / rate, bytes / BYTES),
                          filters / CACHE_BYTES) + LAUNCH;
    *note = say(g->module->pool, fused < alone, fused, alone);
    return fused < alone;
}

bool cost_backward_pays(const Graph *g, const BackwardBlock *b, const char **note)
{
    const Node *dgrad = b->dgrad[0], *dy = dgrad->in[0];
    double rate = flops_of(dgrad), flop = 0, bytes = map_bytes(dy), alone = 0;
    int channels = padded_channels(dy), least = 0;
    Schedule fits[MAX_SCHEDULES];
    for (int i = 0; i < b->count; i++) {
        const Node *x = b->wgrad[i]->in[0], *d = b->dgrad[i]->in[0], *dx = b->result[i];
        double own = contraction_flop(b->dgrad[i]);
        double masked = dx != b->dgrad[i] ? map_bytes(x) : 0;
        alone += longer(own / rate, (map_bytes(x) + map_bytes(d)) / BYTES) + LAUNCH;
        alone += longer(own / rate, (map_bytes(d) + map_bytes(dx) + masked) / BYTES) + LAUNCH;
        flop += 2 * own;
        bytes += map_bytes(x);
        channels = padded_channels(dx) > channels ? padded_channels(dx) : channels;
    }
    bytes += map_bytes(b->result[b->count - 1]);
    DType dtype = dy->tensor.dtype;
    if (schedule_block_backward(dtype, dgrad->math, channels, b->count, fits, &least) == 0) {
        *note = say_too_large(g->module->pool, channels, least, shared_limit(dtype, dgrad->math));
        return false;
    }
    double fused = longer(BACKWARD_PENALTY * flop / rate, bytes / BYTES) + LAUNCH;
    *note = say(g->module->pool, fused < alone, fused, alone);
    return fused < alone;
}

/* Bytes that a block of any kernel may ask for on the least device of the graph's precision. */
static int graph_limit(const Graph *g)
{
    int least = shared_limit(DT_BF16, MATH_FP32);
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        int limit = n->op == OP_CONV2D ? shared_limit(n->in[0]->tensor.dtype, n->math) : least;
        least = limit < least ? limit : least;
    }
    return least;
}

bool cost_head_fits(const Graph *g, const Node *logits, const char **note)
{
    int limit = graph_limit(g);
    int64_t needs = schedule_head_shared(logits);
    if (needs <= limit)
        return true;
    *note = pool_format(g->module->pool,
                        "not fused: %d classes need %lld KB of shared memory, %d KB are there",
                        logits->tensor.shape.dim[1], (long long)ceil_div(needs, 1024),
                        limit / 1024);
    return false;
}
