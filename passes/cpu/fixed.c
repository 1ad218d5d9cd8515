/* Fixed: Winograd products between bf16 maps in 16-bit fixed point.
 *
 * Requires stage training, and winograd before it. The products of frequencies between bf16 maps
 * are marked `math=i16`. A map's entries have 8 bits, and results are rounded to as many; with 15
 * bits of a frequency, what the transforms magnify of their rounding stays as small as that. An
 * instruction set that has no integers of twice the rate multiplies floats
 * (codegen/cpu/ninc_fixed.h). */
#include "cpu.h"

static bool is_of_bf16(const Node *n)
{
    return op_is(n->op, F_TILES) && n->in[0]->tensor.dtype == DT_BF16;
}

static bool is_fixed(const Graph *g, const Node *n)
{
    bool product = n->op == OP_WINOGRAD_MULTIPLY ||
                   (n->op == OP_WINOGRAD_WGRAD && is_of_bf16(n->in[1]));
    return product && is_of_bf16(n->in[0]) && fixed_pays(g, &n->attr.winograd);
}

void pass_fixed(Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (is_fixed(g, g->node[i]))
            g->node[i]->math = MATH_I16;
}
