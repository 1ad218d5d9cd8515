/* How a kernel of row ops is executed: statements and segments. Derived from the nodes alone, so
 * that the passes and the emitters agree without keeping a second list. */
#include "ir.h"
#include "numbers.h"

#include <stdlib.h>
#include <string.h>

bool kernel_is_rows(const Kernel *k)
{
    if (target_kind(k->target) == KIND_THREADS)
        return false;
    switch (k->class) {
    case KERNEL_ROWS:
    case KERNEL_CONV_FORWARD:
    case KERNEL_MLPCONV_FORWARD:
    case KERNEL_POOL_FORWARD:
    case KERNEL_POOL_BACKWARD:
    case KERNEL_CONV_DGRAD:
    case KERNEL_CONV_WGRAD:
    case KERNEL_MLPCONV_BACKWARD: return true;
    case KERNEL_WINOGRAD:
    case KERNEL_GENERIC:
    case KERNEL_IMAGE:
    case KERNEL_HEAD:
    case KERNEL_FILTER:
    case KERNEL_METRICS:
    case KERNEL_UPDATE:
    case KERNEL_POINTWISE:
    case KERNEL_CLASS_COUNT: break;
    }
    return false;
}

bool op_is_rows(const Node *n)
{
    return op_is(n->op, F_ROWS) || (op_is(n->op, F_OF_MAPS) && n->tensor.shape.rank == 4);
}

bool window_is_pointwise(const Window *w)
{
    return w->kernel_h == 1 && w->kernel_w == 1 && w->stride_h == 1 && w->stride_w == 1 &&
           w->padding_h == 0 && w->padding_w == 0;
}

static bool is_unit_pool(const Window *w)
{
    return w->kernel_h == 1 && w->kernel_w == 1 && w->stride_h == 1 && w->stride_w == 1 &&
           w->padding_h == 0 && w->padding_w == 0;
}

static bool has_one_pixel(const Node *n)
{
    const Shape *s = &n->tensor.shape;
    return s->rank == 4 && s->dim[1] == 1 && s->dim[2] == 1;
}

bool pool_covers_map(const Node *n)
{
    if (n->op != OP_AVGPOOL)
        return false;
    const Window *w = &n->attr.window;
    const int32_t *dim = n->in[0]->tensor.shape.dim;
    return w->kernel_h == dim[1] && w->kernel_w == dim[2] && w->padding_h == 0 &&
           w->padding_w == 0 && has_one_pixel(n);
}

bool node_is_identity(const Node *n)
{
    if (op_is(n->op, F_POOL))
        return is_unit_pool(&n->attr.window) || (pool_covers_map(n) && has_one_pixel(n->in[0]));
    return (n->op == OP_GAP && has_one_pixel(n->in[0])) ||
           (n->op == OP_RELU && n->in[0]->op == OP_RELU);
}

bool kernel_returns(const Kernel *k, const Node *n)
{
    return n->kernel == k && n->returned;
}

bool is_wgrad_of(const Node *wgrad, const Node *conv)
{
    if (wgrad->op == OP_CONV2D_FOLDED_WGRAD)
        return conv->op == OP_CONV2D_FOLDED && conv->in[0] == wgrad->in[0] &&
               shape_equal(&conv->in[1]->tensor.shape, &wgrad->tensor.shape) &&
               memcmp(&conv->attr.fold, &wgrad->attr.fold, sizeof(Fold)) == 0;
    return conv->op == OP_CONV2D && conv->in[0] == wgrad->in[0] &&
           shape_equal(&conv->in[1]->tensor.shape, &wgrad->tensor.shape) &&
           memcmp(&conv->attr.window, &wgrad->attr.window, sizeof(Window)) == 0;
}

/* The only node of n's kernel that uses n; NULL when there are more, or none. */
static Node *only_user(const Node *n)
{
    Node *user = NULL;
    const Kernel *k = n->kernel;
    for (int i = 0; i < k->node_count; i++)
        for (int j = 0; j < k->node[i]->arity; j++)
            if (k->node[i]->in[j] == n) {
                if (user)
                    return NULL;
                user = k->node[i];
            }
    return user;
}

static Node *epilogue_of(const Node *n)
{
    bool forward =
        n->op == OP_CONV2D || n->op == OP_WINOGRAD_OUTPUT || n->op == OP_CONV2D_FOLDED;
    bool backward = forward || n->op == OP_CONV2D_TRANSPOSE || n->op == OP_MAXPOOL_GRAD ||
                    n->op == OP_AVGPOOL_GRAD || n->op == OP_GAP_GRAD;
    if (!backward || !n->kernel || !kernel_is_rows(n->kernel) || kernel_returns(n->kernel, n))
        return NULL;
    Node *user = only_user(n);
    if (!user || user->in[0] != n)
        return NULL;
    if ((user->op == OP_RELU && forward) || user->op == OP_RELU_GRAD)
        return user;
    return NULL;
}

Node *statement_result(const Statement *s)
{
    return s->epilogue ? s->epilogue : s->op;
}

int statement_height(const Statement *s)
{
    const Node *rows = s->op;
    if (s->op->op == OP_BIAS_GRAD || s->op->op == OP_GAP)
        rows = s->op->in[0];
    if (op_is(s->op->op, F_WGRAD))
        rows = s->op->in[1];
    return rows->tensor.shape.rank == 4 ? rows->tensor.shape.dim[1] : 1;
}

/* Whether the op reads other rows of operand `in` than those that it works on. */
static bool reads_other_rows(const Node *n, int in)
{
    if (n->op == OP_CONV2D || n->op == OP_CONV2D_WGRAD)
        return in == 0 && !window_is_pointwise(&n->attr.window);
    return op_is(n->op, F_NEIGHBOURS);
}

/* Whether s can run strip by strip in the segment of the statements from `begin` on. */
static bool joins(const Statement *list, int begin, int at)
{
    const Node *n = list[at].op;
    if (statement_height(&list[begin]) != statement_height(&list[at]))
        return false;
    bool contraction =
        n->op == OP_CONV2D || n->op == OP_CONV2D_WGRAD || n->op == OP_CONV2D_TRANSPOSE;
    bool begun_by_wgrad =
        list[begin].op->op == OP_CONV2D_WGRAD && !window_is_pointwise(&list[begin].op->attr.window);
    if (begun_by_wgrad || list[begin].op->op == OP_CONV2D_FOLDED_WGRAD ||
        n->op == OP_WINOGRAD_OUTPUT || op_attr(n->op) == ATTR_FOLD ||
        (contraction && !window_is_pointwise(&n->attr.window)))
        return false;
    for (int i = begin; i < at; i++)
        for (int k = 0; k < n->arity; k++)
            if (n->in[k] == statement_result(&list[i]) &&
                (reads_other_rows(n, k) || list[i].op->op == OP_GAP))
                return false;
    return true;
}

int kernel_statements(const Kernel *k, Statement *out)
{
    int count = 0;
    for (int i = 0; i < k->node_count; i++) {
        Node *n = k->node[i];
        if (epilogue_of(n))
            continue;
        Node *first = n->arity > 0 && n->in[0]->kernel == k ? n->in[0] : NULL;
        bool finishes = first && epilogue_of(first) == n;
        out[count++] = (Statement){finishes ? first : n, finishes ? n : NULL, 0};
    }
    for (int i = 1, begin = 0; i < count; i++) {
        bool same = joins(out, begin, i);
        begin = same ? begin : i;
        out[i].segment = out[i - 1].segment + !same;
    }
    return count;
}

Statement *kernel_statement_list(Pool *pool, const Kernel *k, int *count)
{
    Statement *list = pool_alloc(pool, (size_t)(k->node_count + 1) * sizeof *list);
    *count = kernel_statements(k, list);
    return list;
}

/* ---- slices ---- */

enum { FLAT_SLICES = 16 }; /* of loops over parameters */

/* Each output group, input block and row of a filter is summed for itself. */
static int wgrad_units(const Node *n)
{
    const int32_t *filter = n->tensor.shape.dim;
    if (n->op == OP_BIAS_GRAD)
        return (int)ceil_div(filter[0], 16);
    int lanes = n->tensor.layout.block, outputs = n->tensor.layout.out_block;
    return (int)(ceil_div(filter[0], outputs) * ceil_div(filter[1], lanes)) * filter[2];
}

/* Kernels of sums only cut the sums, others the images. */
static bool sums_only(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        if (!op_sums_images(k->node[i]->op))
            return false;
    return true;
}

bool value_is_in_parts(const Node *n)
{
    if (!op_sums_images(n->op) || n->kernel->phase != PHASE_CHUNK)
        return false;
    return target_kind(n->kernel->target) == KIND_THREADS ||
           (kernel_is_rows(n->kernel) && !sums_only(n->kernel));
}

static Slices rows_slices(const Graph *g, const Kernel *k)
{
    Slices slices = {1, true};
    if (sums_only(k)) {
        for (int i = 0; i < k->node_count; i++)
            slices.count = (int)larger(slices.count, wgrad_units(k->node[i]));
        return slices;
    }
    for (int i = 0; i < k->node_count; i++)
        if (op_sums_images(k->node[i]->op))
            return (Slices){PARTIALS, false};
    Statement *list = xmalloc((size_t)k->node_count * sizeof *list);
    int count = kernel_statements(k, list), height = statement_height(&list[0]);
    bool strips = list[count - 1].segment == 0 && k->strip > 0;
    free(list);
    return (Slices){g->chunk * (strips ? (int)ceil_div(height, k->strip) : 1), false};
}

/* A row of tiles of an image; a frequency of a product. */
static Slices winograd_slices(const Graph *g, const Node *n)
{
    if (op_is_of_filters(n->op))
        return (Slices){FLAT_SLICES, false};
    if (op_is(n->op, F_TILES))
        return (Slices){g->chunk * winograd_tile_rows(&n->attr.winograd), false};
    return (Slices){n->in[0]->tensor.shape.dim[1], false};
}

Slices kernel_slices(const Graph *g, const Kernel *k)
{
    if (!target_is_cpu(g->target))
        return (Slices){1, false};
    if (k->class == KERNEL_FILTER || k->class == KERNEL_UPDATE)
        return (Slices){FLAT_SLICES, false};
    if (k->class == KERNEL_WINOGRAD)
        return winograd_slices(g, k->node[0]);
    if (k->phase != PHASE_CHUNK)
        return (Slices){1, false};
    if (kernel_is_rows(k))
        return rows_slices(g, k);
    for (int i = 0; i < k->node_count; i++)
        if (op_sums_images(k->node[i]->op))
            return (Slices){1, false};
    return (Slices){g->chunk, false};
}

/* ---- values ---- */

bool value_is_folded(const Node *n)
{
    return n->kernel && epilogue_of(n) != NULL;
}

static bool statement_uses(const Statement *s, const Node *n)
{
    for (int i = 0; i < s->op->arity; i++)
        if (s->op->in[i] == n)
            return true;
    return s->epilogue && s->epilogue->in[s->epilogue->arity - 1] == n;
}

bool value_is_strip(const Node *n)
{
    const Kernel *k = n->kernel;
    if (!k || !kernel_is_rows(k) || k->strip == 0 || kernel_returns(k, n) || value_is_folded(n) ||
        n->tensor.shape.rank != 4 || n->op == OP_GAP)
        return false;
    Statement *list = xmalloc((size_t)k->node_count * sizeof *list);
    int count = kernel_statements(k, list), segment = -1;
    bool strip = true;
    for (int i = 0; i < count; i++)
        if (statement_result(&list[i]) == n)
            segment = list[i].segment;
    for (int i = 0; i < count; i++)
        if (statement_uses(&list[i], n) && list[i].segment != segment)
            strip = false;
    free(list);
    return strip;
}

const char *graph_precision(const Graph *g)
{
    for (int i = 0; i < g->node_count; i++) {
        Op op = g->node[i]->op;
        if (op_is(op, F_CONVOLUTION) && g->node[i]->tensor.dtype == DT_BF16)
            return "bf16";
        if (g->node[i]->math == MATH_TF32)
            return "tf32";
    }
    return "fp32";
}

bool graph_has_bf16(const Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->tensor.dtype == DT_BF16)
            return true;
    return false;
}

int graph_lanes(const Graph *g)
{
    return target_lanes(g->target);
}

int overread_columns(const Graph *g, const Node *x, int kernel_w)
{
    return x->tensor.dtype == DT_BF16 && packed_channels(g, x) * kernel_w % 2;
}

int packed_channels(const Graph *g, const Node *x)
{
    int channels = x->tensor.shape.dim[3];
    if (!value_is_thin_image(g, x))
        return graph_lanes(g);
    return target_kind(g->target) == KIND_TILES ? (int)round_up(channels, 2) : channels;
}

/* Convolutions, and their weight gradients, whose filter row is a run. */
static bool reads_runs(Op op)
{
    return op_is(op, F_WGRAD) || (op_is(op, F_CONVOLUTION) && op != OP_WINOGRAD_OUTPUT);
}

bool value_is_thin_image(const Graph *g, const Node *n)
{
    if (op_attr(n->op) != ATTR_IMAGE || n->tensor.shape.dim[3] >= 16 ||
        n->kernel->class != KERNEL_IMAGE)
        return false;
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++)
        if (!reads_runs(uses.use[i].user->op) || !kernel_is_rows(uses.use[i].user->kernel))
            return false;
    return true;
}
