/* A kernel of one node in plain loops: the types that say how its operands lie, and the call. */
#include "cuda.h"

/* Types by the letters that generic.cuh uses for them. */
typedef struct View {
    const char *letter;
    const Node *node;
} View;

static void emit_views(CudaEmitter *e, const View *view)
{
    for (; view->letter; view++)
        cuda_line(e, "typedef %s %s;", cuda_view(e, view->node), view->letter);
}

static void emit_window(CudaEmitter *e, const Node *n)
{
    const Window *w = &n->attr.window;
    cuda_line(e, "typedef Window</* R, S */ %d, %d, /* stride */ %d, %d, /* padding */ %d, %d> G;",
              w->kernel_h, w->kernel_w, w->stride_h, w->stride_w, w->padding_h, w->padding_w);
}

/* generic_OP<types>(operands, result) */
static void emit_loops(CudaEmitter *e, const Node *n, const char *types)
{
    const char *argument[MAX_OPERANDS + 3];
    int count = 0;
    for (int i = 0; i < n->arity; i++)
        argument[count++] = cuda_value(e, n->in[i]);
    if (n->op == OP_CONV2D && n->arity == 2)
        argument[count++] = "nullptr";
    argument[count++] = cuda_value(e, n);
    argument[count] = NULL;
    cuda_call(e, pool_format(e->pool, "generic_%s<%s>", op_name(n->op), types), argument);
}

static void emit_conv(CudaEmitter *e, const Node *x, const Node *filter, const Node *y)
{
    const Node *n = e->kernel->node[0];
    emit_views(e, (View[]){{"X", x}, {"F", filter}, {"Y", y}, {NULL, NULL}});
    emit_window(e, n);
    emit_loops(e, n, "X, F, Y, G");
}

/* The transposed filter is read as the filter. */
static void emit_conv_transpose(CudaEmitter *e, const Node *n)
{
    const char *argument[] = {cuda_value(e, n->in[0]), cuda_value(e, n->in[1]), cuda_value(e, n),
                              NULL};
    emit_views(e, (View[]){{"X", n}, {"T", n->in[1]}, {"Y", n->in[0]}, {NULL, NULL}});
    cuda_line(e, "typedef Transposed<T> F;");
    emit_window(e, n);
    cuda_call(e, "generic_conv2d_dgrad<X, F, Y, G>", argument);
}

static void emit_pool(CudaEmitter *e, const Node *x, const Node *y, const char *types)
{
    const Node *n = e->kernel->node[0];
    emit_views(e, (View[]){{"X", x}, {"Y", y}, {NULL, NULL}});
    if (n->op == OP_MAXPOOL_GRAD)
        emit_views(e, (View[]){{"Code", n->in[1]}, {NULL, NULL}});
    emit_window(e, n);
    emit_loops(e, n, types);
}

static void emit_pair(CudaEmitter *e, View a, View b)
{
    emit_views(e, (View[]){a, b, {NULL, NULL}});
    emit_loops(e, e->kernel->node[0], pool_format(e->pool, "%s, %s", a.letter, b.letter));
}

static void emit_logits_gradient(CudaEmitter *e, const Node *n)
{
    emit_views(e, (View[]){{"L", n}, {NULL, NULL}});
    emit_loops(e, n, "L");
}

void cuda_emit_generic(CudaEmitter *e)
{
    const Node *n = e->kernel->node[0], *const *in = (const Node *const *)n->in;
    switch (n->op) {
    case OP_NORMALIZE:
    case OP_RESIZE: cuda_emit_image(e, n); return;
    case OP_CONV2D: emit_conv(e, in[0], in[1], n); return;
    case OP_CONV2D_DGRAD: emit_conv(e, n, in[1], in[0]); return;
    case OP_CONV2D_WGRAD: emit_conv(e, in[0], n, in[1]); return;
    case OP_CONV2D_TRANSPOSE: emit_conv_transpose(e, n); return;
    case OP_BIAS_GRAD: emit_pair(e, (View){"Y", in[0]}, (View){"B", n}); return;
    case OP_FILTER_TRANSPOSE: emit_pair(e, (View){"F", in[0]}, (View){"T", n}); return;
    case OP_MAXPOOL:
    case OP_MAXPOOL_CODE:
    case OP_AVGPOOL: emit_pool(e, in[0], n, "X, Y, G"); return;
    case OP_MAXPOOL_GRAD: emit_pool(e, n, in[0], "X, Y, Code, G"); return;
    case OP_AVGPOOL_GRAD: emit_pool(e, n, in[0], "X, Y, G"); return;
    case OP_GAP: emit_pair(e, (View){"X", in[0]}, (View){"Y", n}); return;
    case OP_GAP_GRAD: emit_pair(e, (View){"X", n}, (View){"Y", in[0]}); return;
    case OP_FLATTEN: emit_pair(e, (View){"X", in[0]}, (View){"L", n}); return;
    case OP_FLATTEN_GRAD: emit_pair(e, (View){"X", n}, (View){"L", in[0]}); return;
    case OP_CROSS_ENTROPY:
    case OP_CORRECT: emit_pair(e, (View){"L", in[0]}, (View){"Rows", n}); return;
    case OP_CROSS_ENTROPY_GRAD: emit_logits_gradient(e, n); return;
    case OP_MEAN_VALID:
    case OP_COUNT_VALID: cuda_emit_sum(e, n); return;
    case OP_RELU:
    case OP_RELU_GRAD:
    case OP_SIGMOID:
    case OP_SIGMOID_GRAD:
    case OP_ADD:
    case OP_CAST:
    case OP_WEIGHT_DECAY:
    case OP_MOMENTUM:
    case OP_SGD_STEP:
    case OP_ADAM_M:
    case OP_ADAM_V:
    case OP_ADAM_STEP:
    case OP_UPDATE: cuda_emit_pointwise(e); return;
    case OP_WINOGRAD_INPUT: /* not in CUDA graphs */
    case OP_WINOGRAD_FILTER:
    case OP_WINOGRAD_MULTIPLY:
    case OP_WINOGRAD_OUTPUT:
    case OP_WINOGRAD_OUTPUT_GRAD:
    case OP_WINOGRAD_WGRAD:
    case OP_WINOGRAD_FILTER_GRAD:
    case OP_FOLD_FILTER:
    case OP_CONV2D_FOLDED:
    case OP_CONV2D_FOLDED_WGRAD:
    case OP_FOLD_FILTER_GRAD:
    case OP_INPUT:
    case OP_STATE:
    case OP_COUNT: break;
    }
    internal_error("no loops for %s", op_name(n->op));
}
