/* Sparse: which products leave out the zeros of an operand.
 *
 * Requires stage kernels and the CPU. Behind ReLU about half of a map is zero, behind the mask of
 * ReLU about half of a gradient, and behind a max pool's gradient most of it: of each window one
 * position. A 1x1 convolution that reads such a map strip by strip, or such a gradient as its data
 * gradient does, is marked `sparse=x`; its weight gradient, a product of both, is marked with the
 * operand that has more zeros. In bf16, whose dense products are of pairs, only the zeros of max
 * pools pay. What the mark does is the device library's affair (codegen/cpu/ninc_sparse.h):
 * where zeros lie, and whether there are enough, is seen as the kernel runs. Results are the same
 * bits but for the weight gradients marked `sparse=dy`, whose sums over a strip are made apart, for
 * the sign of a zero, and for 0 x infinity, which is left out. */
#include "cpu.h"
#include "machine.h"

/* A map that one position of each window of a max pool has reached. */
static bool is_nearly_zero(const Node *n)
{
    return n->op == OP_MAXPOOL_GRAD;
}

/* Of a pair of bf16 three quarters are other than zero then: too many. */
static bool is_half_zero(const Node *n)
{
    return n->tensor.dtype == DT_F32 && (n->op == OP_RELU || n->op == OP_RELU_GRAD);
}

static bool is_wide(const Node *n)
{
    return n->tensor.shape.dim[3] >= LEAST_SPARSE_CHANNELS;
}

static Sparse sparse_operand(const Node *n)
{
    if ((n->op != OP_CONV2D && n->op != OP_CONV2D_WGRAD) || !kernel_is_rows(n->kernel) ||
        n->kernel->class == KERNEL_DENSE ||
        !window_is_pointwise(&n->attr.window))
        return SPARSE_NONE;
    const Node *x = n->in[0], *y = n->op == OP_CONV2D ? n : n->in[1];
    if (!is_wide(x) || !is_wide(y) || (n->op == OP_CONV2D_WGRAD && !value_is_in_parts(n)))
        return SPARSE_NONE;
    if (n->op == OP_CONV2D)
        return is_nearly_zero(x) || is_half_zero(x) ? SPARSE_X : SPARSE_NONE;
    return is_nearly_zero(y) ? SPARSE_DY
           : is_half_zero(x) ? SPARSE_X
           : is_half_zero(y) ? SPARSE_DY
                             : SPARSE_NONE;
}

void pass_sparse(Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        g->node[i]->sparse = sparse_operand(g->node[i]);
}
