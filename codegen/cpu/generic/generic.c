/* One node in plain loops: those of its op's family. */
#include "generic.h"

void emit_of_family(CpuEmitter *e, const Node *n, GenericFn *const by_op[OP_COUNT])
{
    if (!by_op[n->op])
        internal_error("no loops for %s", op_name(n->op));
    by_op[n->op](e, n);
}

static GenericFn *family_of(Op op)
{
    switch (op) {
    case OP_NORMALIZE:
    case OP_RESIZE: return generic_image;
    case OP_CONV2D:
    case OP_CONV2D_DGRAD:
    case OP_CONV2D_TRANSPOSE:
    case OP_CONV2D_WGRAD:
    case OP_BIAS_GRAD:
    case OP_FILTER_TRANSPOSE: return generic_conv;
    case OP_WINOGRAD_INPUT:
    case OP_WINOGRAD_FILTER:
    case OP_WINOGRAD_OUTPUT:
    case OP_WINOGRAD_OUTPUT_GRAD:
    case OP_WINOGRAD_FILTER_GRAD:
    case OP_WINOGRAD_MULTIPLY:
    case OP_WINOGRAD_WGRAD: return generic_winograd;
    case OP_CONV2D_FOLDED:
    case OP_CONV2D_FOLDED_WGRAD:
    case OP_FOLD_FILTER:
    case OP_FOLD_FILTER_GRAD: return generic_fold;
    case OP_MAXPOOL:
    case OP_MAXPOOL_CODE:
    case OP_MAXPOOL_GRAD:
    case OP_AVGPOOL:
    case OP_AVGPOOL_GRAD: return generic_pool;
    case OP_GAP:
    case OP_GAP_GRAD: return generic_gap;
    case OP_FLATTEN:
    case OP_FLATTEN_GRAD: return generic_flatten;
    case OP_CROSS_ENTROPY:
    case OP_CROSS_ENTROPY_GRAD:
    case OP_CORRECT:
    case OP_MEAN_VALID:
    case OP_COUNT_VALID: return generic_loss;
    case OP_RELU:
    case OP_RELU_GRAD:
    case OP_ADD: return generic_pointwise;
    case OP_WEIGHT_DECAY:
    case OP_MOMENTUM:
    case OP_SGD_STEP:
    case OP_ADAM_M:
    case OP_ADAM_V:
    case OP_ADAM_STEP:
    case OP_UPDATE: return generic_optimizer;
    case OP_CAST: return generic_cast;
    case OP_INPUT:
    case OP_STATE:
    case OP_COUNT: break;
    }
    internal_error("no loops for %s", op_name(op));
}

void emit_generic(CpuEmitter *e, const Node *n)
{
    bool clears = n->op != OP_UPDATE && !op_sums_images(n->op) &&
                  (!op_is_pointwise(n->op) || is_per_image(e->graph, n));
    if (clears)
        emit_clear(e, n);
    family_of(n->op)(e, n);
}
