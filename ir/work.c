/* How much a kernel computes and moves: what its time is compared with. */
#include "ir.h"

double contraction_flop(const Node *n)
{
    if (n->arity < 2)
        return 0;
    const Tensor *map; /* the operand or result on the output side of the forward convolution */
    const Shape *filter = &n->in[1]->tensor.shape;
    switch ((int)n->op) {
    case OP_CONV2D: map = &n->tensor; break;
    case OP_CONV2D_DGRAD: map = &n->in[0]->tensor; break;
    case OP_WINOGRAD_MULTIPLY: /* of maps of the same frequencies */
        return 2.0 * n->in[0]->tensor.shape.dim[3] * (double)shape_elements(&n->tensor.shape);
    case OP_WINOGRAD_WGRAD:
        return 2.0 * n->tensor.shape.dim[0] * (double)shape_elements(&n->in[0]->tensor.shape);
    case OP_CONV2D_FOLDED: { /* an output has the filter of its classes */
        double seen = (double)n->in[0]->tensor.shape.dim[3] * filter->dim[2] * filter->dim[3];
        return 2 * seen * (double)shape_elements(&n->tensor.shape);
    }
    case OP_CONV2D_FOLDED_WGRAD: {
        double seen =
            (double)n->in[0]->tensor.shape.dim[3] * n->tensor.shape.dim[2] * n->tensor.shape.dim[3];
        return 2 * seen * (double)shape_elements(&n->in[1]->tensor.shape);
    }
    case OP_CONV2D_WGRAD:
        map = &n->in[1]->tensor;
        filter = &n->tensor.shape;
        break;
    case OP_CONV2D_TRANSPOSE: { /* its filter is IOHW */
        double taps = (double)filter->dim[0] * filter->dim[2] * filter->dim[3];
        return 2 * taps * (double)shape_elements(&n->in[0]->tensor.shape);
    }
    default: return 0;
    }
    double taps = (double)filter->dim[1] * filter->dim[2] * filter->dim[3];
    return 2 * taps * (double)shape_elements(&map->shape);
}

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
