/* What a tiled CUDA kernel has to do, from its nodes: the same before and after layouts. */
#include "numbers.h"
#include "roofline.h"

enum { LANES = 8 };

bool gpu_is_tiled(KernelClass class)
{
    return class == KERNEL_CONV_FORWARD || class == KERNEL_CONV_DGRAD ||
           class == KERNEL_CONV_WGRAD || class == KERNEL_MLPCONV_FORWARD ||
           class == KERNEL_MLPCONV_BACKWARD;
}

static int64_t lanes(const Node *map)
{
    return round_up(map->tensor.shape.dim[3], LANES);
}

static int64_t pixels(const Node *map)
{
    const int32_t *d = map->tensor.shape.dim;
    return (int64_t)d[0] * d[1] * d[2];
}

static int64_t taps(const Node *filter)
{
    return (int64_t)filter->tensor.shape.dim[2] * filter->tensor.shape.dim[3];
}

/* Maps with channels rounded up to 8; gradients that come in parts are the schedule's. */
static int64_t bytes_of(const Node *n)
{
    const Tensor *t = &n->tensor;
    int64_t elements = shape_elements(&t->shape);
    if (op_is(n->op, F_WGRAD) || n->op == OP_BIAS_GRAD)
        return 0;
    if (t->shape.rank == 4 && !n->storage && t->shape.dim[3] >= LANES)
        elements = pixels(n) * lanes(n);
    return elements * dtype_bytes(t->dtype);
}

static int64_t traffic_of(const Kernel *k)
{
    int64_t bytes = 0;
    for (int i = 0; i < k->in_count; i++)
        bytes += bytes_of(k->in[i]);
    for (int i = 0; i < k->out_count; i++)
        bytes += bytes_of(k->out[i]);
    return bytes;
}

static GpuPass pass_of(const Kernel *k)
{
    switch ((int)k->class) {
    case KERNEL_CONV_FORWARD: return GPU_FPROP;
    case KERNEL_CONV_DGRAD: return GPU_DGRAD;
    case KERNEL_CONV_WGRAD: return GPU_WGRAD;
    case KERNEL_MLPCONV_FORWARD: return GPU_BLOCK;
    default: return GPU_BLOCK_BACKWARD;
    }
}

/* The contraction n as the first of its kernel. */
static void set_product(GpuWork *w, const Node *n, bool thin)
{
    const Node *x = n->in[0];
    int64_t channels = thin ? x->tensor.shape.dim[3] : lanes(x);
    if (op_is(n->op, F_WGRAD)) {
        w->rows = n->tensor.shape.dim[0];
        w->columns = taps(n) * channels;
        w->terms = pixels(n->in[1]);
    } else {
        w->rows = pixels(n);
        w->columns = lanes(n);
        w->terms = taps(n->in[1]) * channels;
    }
}

static void add_to_block(GpuWork *w, const Node *n)
{
    const Node *map = op_is(n->op, F_WGRAD) ? n->in[0] : n;
    w->columns = larger(w->columns, lanes(map));
    if (w->convolutions++ > 0)
        w->inner += lanes(n->in[0]);
}

GpuWork gpu_work_of(const Kernel *k, bool thin)
{
    GpuWork w = {.kernel = k->name, .pass = pass_of(k), .thin = thin, .bytes = traffic_of(k)};
    const Node *first = NULL;
    bool backward = w.pass == GPU_BLOCK_BACKWARD;
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        if (!op_is(n->op, F_CONTRACTION) || (backward && !op_is(n->op, F_WGRAD)))
            continue;
        if (!first)
            set_product(&w, first = n, thin);
        if (first == n && backward)
            w.rows = pixels(n->in[1]), w.columns = lanes(n->in[1]);
        add_to_block(&w, n);
    }
    if (!first)
        internal_error("kernel %s has no contraction", k->name);
    if (w.pass != GPU_BLOCK && !backward)
        set_product(&w, first, thin), w.convolutions = 1, w.inner = 0;
    w.math = first->in[0]->tensor.dtype == DT_BF16 ? GPU_BF16
             : first->math == MATH_TF32            ? GPU_TF32
                                                   : GPU_FP32;
    return w;
}
