/* Kernels that augment: the chain of ops as types, and the call. */
#include "cuda.h"

typedef struct AugmentText {
    const char *type;
    int constants;
} AugmentText;

static const AugmentText texts[OP_COUNT] = {
    [OP_RANDOM_CROP] = {"CropImage", 1},       [OP_RANDOM_HORIZONTAL_FLIP] = {"FlipImage", 1},
    [OP_RANDOM_ROTATION] = {"RotateImage", 1}, [OP_RANDOM_ERASING] = {"EraseImage", 5},
    [OP_COLOR_JITTER] = {"JitterImage", 6},    [OP_RANDOM_RESIZED_CROP] = {"EnlargeImage", 6},
};

/* A1: the image behind op 1 of the chain. */
static void emit_op_type(CudaEmitter *e, const Node *n, int at)
{
    const AugmentText *t = &texts[n->op];
    const AugmentAttr *a = &n->attr.augment;
    AugmentConstants k = augment_constants(n->op, a, n->tensor.shape.dim);
    Text list = {0};
    for (int i = 0; i < t->constants; i++)
        text_append(&list, ", %lld", (long long)k.number[i]);
    cuda_line(e, "typedef %s<A%d, %d%s> A%d;", t->type, at, a->draw, list.data, at + 1);
    text_free(&list);
}

/* Image, seed, epoch, index; result. */
static void emit_chain_call(CudaEmitter *e, const char *function, const Node *result)
{
    const Node *first = e->kernel->node[0];
    const char *argument[] = {cuda_value(e, first->in[0]), cuda_value(e, first->in[1]),
                              cuda_value(e, first->in[2]), cuda_value(e, first->in[3]),
                              cuda_value(e, result), NULL};
    cuda_call(e, function, argument);
}

void cuda_emit_augmented(CudaEmitter *e)
{
    const Kernel *k = e->kernel;
    const Node *first = k->node[0], *last = k->node[k->node_count - 1];
    int ops = op_is(last->op, F_AUGMENT) ? k->node_count : k->node_count - 1;
    cuda_line(e, "typedef Pixels</* H, W, C */ %d, %d, %d> A0;", map_dim(first, 1),
              map_dim(first, 2), map_dim(first, 3));
    for (int i = 0; i < ops; i++)
        emit_op_type(e, k->node[i], i);
    if (ops == k->node_count) {
        emit_chain_call(e, pool_format(e->pool, "augment_image<A%d, %d>", ops, map_dim(last, 0)),
                        last);
        return;
    }
    cuda_emit_pixel(e, &last->attr.image);
    emit_chain_call(e, pool_format(e->pool, "%s_augmented<A%d, %s, Pixel>", op_name(last->op), ops,
                                   cuda_view(e, last)), last);
}
