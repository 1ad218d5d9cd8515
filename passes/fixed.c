/* Fixed: Winograd products between bf16 maps in 16-bit fixed point.
 *
 * Requires stage training, and winograd before it. Between bf16 maps the products of frequencies
 * that will be rounded to bf16, or summed to the gradient of what was, are marked `math=i16`: the
 * maps and filters have 8 bits each, and 15 of a frequency keep what the transforms magnify of
 * their rounding within what rounding those to bf16 costs. An instruction set that has no integers
 * of twice the rate multiplies floats (codegen/cpu/ninc_fixed.h). */
#include "passes.h"

/* Rows, tiles of all images, that share the filter's integers; fewer do not pay for making them. */
enum { LEAST_ROWS = 32 };

static bool is_product(const Node *n)
{
    return n->op == OP_WINOGRAD_MULTIPLY || n->op == OP_WINOGRAD_WGRAD;
}

static bool is_fixed(const Graph *g, const Node *n)
{
    return is_product(n) && n->in[0]->in[0]->tensor.dtype == DT_BF16 &&
           winograd_tiles(&n->attr.winograd) * g->batch >= LEAST_ROWS;
}

/* Marks the products of all CPU graphs at stage training, from level 2 on. */
void pass_fixed(Module *m, int level)
{
    for (int i = 0; i < m->graph_count; i++) {
        Graph *g = m->graph[i];
        if (level < 2 || g->target != TARGET_CPU || g->stage != STAGE_TRAINING)
            continue;
        for (int k = 0; k < g->node_count; k++)
            if (is_fixed(g, g->node[k]))
                g->node[k]->math = MATH_I16;
    }
}
