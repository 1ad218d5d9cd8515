/* How a kernel of row ops is executed: statements and segments. Derived from the nodes alone, so
 * that the passes and the emitters agree without keeping a second list. */
#include "ir.h"
#include "numbers.h"

#include <stdlib.h>
#include <string.h>

const Op head_gradient_op[HEAD_GRADIENT_OPS] = {OP_FLATTEN_GRAD, OP_CAST, OP_GAP_GRAD,
                                                OP_RELU_GRAD};

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
    case KERNEL_DENSE:
    case KERNEL_DENSE_WGRAD:
    case KERNEL_CONV_WGRAD:
    case KERNEL_MLPCONV_BACKWARD: return true;
    case KERNEL_WINOGRAD:
    case KERNEL_GENERIC:
    case KERNEL_NORM:
    case KERNEL_LRN:
    case KERNEL_STATISTICS:
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

/* A pointwise op over maps: its other operands are maps of its shape and dtype, or scalars that the
 * trainer gives. */
static bool is_of_maps(const Node *n)
{
    if (!op_is(n->op, F_OF_MAPS) || n->tensor.shape.rank != 4)
        return false;
    for (int i = 0; i < n->arity; i++) {
        const Node *in = n->in[i];
        bool scalar = in->tensor.shape.rank == 0 && in->op == OP_INPUT;
        bool map = in->op != OP_STATE && in->tensor.dtype == n->tensor.dtype &&
                   shape_equal(&in->tensor.shape, &n->tensor.shape);
        if (!map && (!scalar || in->tensor.dtype != DT_F32))
            return false;
    }
    return true;
}

bool op_is_rows(const Node *n)
{
    bool plain = op_attr(n->op) != ATTR_WINDOW || window_is_plain(&n->attr.window);
    return (op_is(n->op, F_ROWS) && plain) || is_of_maps(n) || node_is_depthwise(n) ||
           (op_is(n->op, F_ROWS) && node_is_blockwise(n)) || node_is_dilated(n);
}

enum { BLOCK = 16 };

bool node_is_dilated(const Node *n)
{
    const Window *w = &n->attr.window;
    if (n->op != OP_CONV2D && n->op != OP_CONV2D_WGRAD)
        return false;
    const Shape *filter = &(n->op == OP_CONV2D_WGRAD ? n : n->in[1])->tensor.shape;
    return w->groups == 0 && (w->dilation_h || w->dilation_w) && filter->dim[1] >= BLOCK;
}

bool node_is_blockwise(const Node *n)
{
    const Window *w = &n->attr.window;
    if ((n->op != OP_CONV2D && n->op != OP_CONV2D_DGRAD && n->op != OP_CONV2D_WGRAD &&
         n->op != OP_CONV2D_TRANSPOSE) ||
        w->groups == 0 || w->dilation_h || w->dilation_w)
        return false;
    const Shape *filter = &(n->op == OP_CONV2D_WGRAD ? n : n->in[1])->tensor.shape;
    bool transposed = n->op == OP_CONV2D_TRANSPOSE;
    return filter->dim[!transposed] % BLOCK == 0 &&
           filter->dim[transposed] / w->groups % BLOCK == 0;
}

bool node_is_depthwise(const Node *n)
{
    if (n->op != OP_CONV2D && n->op != OP_CONV2D_DGRAD && n->op != OP_CONV2D_WGRAD)
        return false;
    const Shape *filter = &(n->op == OP_CONV2D_WGRAD ? n : n->in[1])->tensor.shape;
    return n->attr.window.groups > 0 && filter->dim[1] == 1 &&
           filter->dim[0] == n->attr.window.groups;
}

bool window_is_pointwise(const Window *w)
{
    return w->kernel_h == 1 && w->kernel_w == 1 && w->stride_h == 1 && w->stride_w == 1 &&
           w->padding_h == 0 && w->padding_w == 0 && window_is_plain(w);
}

static bool has_one_pixel(const Node *n)
{
    const Shape *s = &n->tensor.shape;
    return s->rank == 4 && s->dim[1] == 1 && s->dim[2] == 1;
}

bool node_is_dense(const Node *n)
{
    const Window *w = &n->attr.window;
    if (op_attr(n->op) != ATTR_WINDOW || w->padding_h != 0 || w->padding_w != 0 ||
        !window_is_plain(w))
        return false;
    if (n->op == OP_CONV2D_DGRAD)
        return has_one_pixel(n->in[0]) && w->kernel_h == n->tensor.shape.dim[1] &&
               w->kernel_w == n->tensor.shape.dim[2] &&
               n->in[0]->tensor.shape.dim[3] <= MAX_DENSE_OUTPUTS;
    return n->op == OP_CONV2D_WGRAD ? has_one_pixel(n->in[1])
                                    : n->op == OP_CONV2D && has_one_pixel(n);
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
        return window_is_pointwise(&n->attr.window) ||
               (pool_covers_map(n) && has_one_pixel(n->in[0]));
    return (n->op == OP_GAP && has_one_pixel(n->in[0])) ||
           (n->op == OP_RELU && n->in[0]->op == OP_RELU);
}

bool node_is_optimizer(const Node *n)
{
    return n->op == OP_UPDATE || (op_is_pointwise(n->op) && !op_is(n->op, F_ACTIVATION) &&
                                  n->tensor.shape.rank > 0);
}

bool dense_steps_in_place(const Node *wgrad)
{
    enum { MOST_VECTORS = 4, STACK_VECTORS = 16384 }; /* vectors of 16 floats */
    int64_t entries = wgrad->attr.window.kernel_w * smaller(wgrad->tensor.shape.dim[1], 16);
    return entries * (wgrad->tile.vectors > 0 ? wgrad->tile.vectors : MOST_VECTORS) <=
           STACK_VECTORS;
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

/* Whether its result can go on in registers: what makes a map, place by place. */
static bool makes_map(const Node *n)
{
    return (op_is_rows(n) || n->op == OP_CONV2D_DGRAD) && !op_sums_images(n->op) &&
           n->op != OP_GAP && n->op != OP_MAXPOOL_CODE;
}

bool node_chains(const Node *n, const Node *next)
{
    int uses = 0;
    for (int i = 0; i < next->arity; i++)
        uses += next->in[i] == n;
    return uses == 1 && makes_map(n) && is_of_maps(next) && n->tensor.dtype == next->tensor.dtype;
}

Node *statement_result(const Statement *s)
{
    return s->chained > 0 ? s->chain[s->chained - 1] : s->op;
}

const Node *statement_flow(const Statement *s, int at)
{
    if (at > 0)
        return at > 1 ? s->chain[at - 2] : s->op;
    for (int i = 0; i < s->op->arity; i++)
        if (s->op->in[i]->tensor.shape.rank > 0)
            return s->op->in[i];
    return NULL;
}

/* Adds operands of n other than its flow: of rank 0, or maps. */
static int add_beside(const Node *n, const Node *flow, bool scalars, const Node **list, int count)
{
    for (int i = 0; i < n->arity; i++) {
        int at = 0;
        if (n->in[i] == flow || (n->in[i]->tensor.shape.rank == 0) != scalars)
            continue;
        while (at < count && list[at] != n->in[i])
            at++;
        list[at] = n->in[i];
        count += at == count;
    }
    return count;
}

int statement_beside(const Statement *s, bool scalars, const Node **list)
{
    int count = 0;
    if (op_is_pointwise(s->op->op))
        count = add_beside(s->op, statement_flow(s, 0), scalars, list, count);
    for (int i = 0; i < s->chained; i++)
        count = add_beside(s->chain[i], statement_flow(s, i + 1), scalars, list, count);
    return count;
}

bool statement_extend(Statement *s, Node *n)
{
    const Node *beside[MAX_STATEMENT_OPERANDS];
    if (s->chained == MAX_CHAIN)
        return false;
    s->chain[s->chained++] = n;
    if (statement_beside(s, false, beside) <= MAX_BESIDE &&
        statement_beside(s, true, beside) <= MAX_BESIDE)
        return true;
    s->chained--;
    return false;
}

/* The last of the statements whose result nobody but n reads, and n does so as an epilogue can. */
static Statement *chained_by(Statement *list, int count, const Node *n)
{
    for (Statement *s = list + count; s-- > list;) {
        const Node *result = statement_result(s);
        if (node_chains(result, n) && !kernel_returns(n->kernel, result) &&
            only_user(result) == n)
            return s;
    }
    return NULL;
}

Statement kernel_statement(const Kernel *k, Node *op)
{
    Statement s = {.op = op};
    for (Node *n = op; !kernel_returns(k, n); n = statement_result(&s)) {
        Node *next = only_user(n);
        if (!next || !node_chains(n, next) || !statement_extend(&s, next))
            break;
    }
    return s;
}

bool statement_keeps_zero(const Statement *s)
{
    const Node *scalar[MAX_STATEMENT_OPERANDS];
    for (int i = 0; i < s->chained; i++)
        if (!op_is(s->chain[i]->op, F_KEEPS_ZERO))
            return false;
    return statement_beside(s, true, scalar) == 0 &&
           (!op_is_pointwise(s->op->op) || op_is(s->op->op, F_KEEPS_ZERO));
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
    if (n->op == OP_CONV2D || n->op == OP_CONV2D_WGRAD || n->op == OP_CONV2D_DGRAD)
        return in == 0 && !window_is_pointwise(&n->attr.window);
    return op_is(n->op, F_NEIGHBOURS);
}

/* Whether s can run strip by strip in the segment of the statements from `begin` on. */
static bool joins(const Statement *list, int begin, int at)
{
    const Node *n = list[at].op;
    if (statement_height(&list[begin]) != statement_height(&list[at]))
        return false;
    bool contraction = n->op == OP_CONV2D || n->op == OP_CONV2D_WGRAD ||
                       n->op == OP_CONV2D_TRANSPOSE || n->op == OP_CONV2D_DGRAD;
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

/* A statement runs where its last op stands: what lies beside it has been computed by then. */
static void finish_later(Statement *list, int count, Statement *s)
{
    Statement moved = *s;
    memmove(s, s + 1, (size_t)(list + count - s - 1) * sizeof *s);
    list[count - 1] = moved;
}

int kernel_statements(const Kernel *k, Statement *out)
{
    int count = 0;
    for (int i = 0; i < k->node_count; i++) {
        Node *n = k->node[i];
        Statement *s = is_of_maps(n) ? chained_by(out, count, n) : NULL;
        if (s && statement_extend(s, n))
            finish_later(out, count, s);
        else
            out[count++] = (Statement){.op = n};
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

/* Groups of outputs, pixels of the map whose gradient it is, and tiles of images. */
static int dense_units(const Graph *g, const Node *n)
{
    const int32_t *d = n->tensor.shape.dim;
    int groups = (int)ceil_div(ceil_div(d[3], graph_lanes(g)), n->tile.vectors);
    return groups * d[1] * d[2] * (int)ceil_div(g->chunk, n->tile.pixels);
}

/* Of the sums of a kernel, the one that falls into most parts. */
static int most_units(const Kernel *k)
{
    int units = 1;
    for (int i = 0; i < k->node_count; i++)
        if (op_sums_images(k->node[i]->op))
            units = (int)larger(units, wgrad_units(k->node[i]));
    return units;
}

static Slices rows_slices(const Graph *g, const Kernel *k)
{
    if (sums_only(k))
        return (Slices){most_units(k), true};
    if (k->class == KERNEL_DENSE)
        return (Slices){dense_units(g, k->node[0]), true};
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
    if (k->class == KERNEL_STATISTICS)
        return (Slices){ceil_div(k->node[0]->in[0]->tensor.shape.dim[3], graph_lanes(g)), false};
    if (k->class == KERNEL_DENSE_WGRAD)
        return (Slices){most_units(k), true};
    if (k->phase != PHASE_CHUNK)
        return (Slices){1, false};
    if (kernel_is_rows(k))
        return rows_slices(g, k);
    for (int i = 0; i < k->node_count; i++)
        if (op_is(k->node[i]->op, F_SUMS_IMAGES | F_STATISTIC))
            return (Slices){1, false};
    return (Slices){g->chunk, false};
}

/* ---- values ---- */

bool value_is_folded(const Node *n)
{
    const Kernel *k = n->kernel;
    const Node *user = k && kernel_is_rows(k) && !kernel_returns(k, n) ? only_user(n) : NULL;
    if (!user || !node_chains(n, user))
        return false;
    Statement *list = xmalloc((size_t)k->node_count * sizeof *list);
    int count = kernel_statements(k, list);
    bool stored = false;
    for (int i = 0; i < count; i++)
        stored |= statement_result(&list[i]) == n;
    free(list);
    return !stored;
}

static bool statement_uses(const Statement *s, const Node *n)
{
    const Node *beside[MAX_STATEMENT_OPERANDS];
    int count = statement_beside(s, false, beside);
    for (int i = 0; i < count; i++)
        if (beside[i] == n)
            return true;
    for (int i = 0; i < s->op->arity; i++)
        if (s->op->in[i] == n)
            return true;
    return false;
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

bool image_is_dropped(const Graph *g)
{
    const Graph *train = module_find_graph(g->module, "train", g->target);
    for (int i = 0; train && i < train->node_count; i++) {
        Uses uses = graph_uses(train, train->node[i]);
        for (int k = 0; op_attr(train->node[i]->op) == ATTR_IMAGE && k < uses.count; k++)
            if (uses.use[k].user->op == OP_DROPOUT)
                return true;
    }
    return false;
}

/* n augments what its kernel has made so far, drawing from what the kernel's first node draws
 * from. */
static bool is_augmentation(const Kernel *k, const Node *n)
{
    if (!op_is(n->op, F_AUGMENT) || n->returned)
        return false;
    for (int i = 1; i < n->arity; i++)
        if (n->in[i] != k->node[0]->in[i])
            return false;
    return true;
}

bool kernel_is_augmented(const Kernel *k)
{
    int last = k->node_count - 1;
    for (int i = 0; i < last; i++)
        if (!is_augmentation(k, k->node[i]) || k->node[i + 1]->in[0] != k->node[i])
            return false;
    return last > 0 && last <= MAX_AUGMENTS && op_attr(k->node[last]->op) == ATTR_IMAGE;
}

bool value_is_image(const Node *n)
{
    return op_is(n->op, F_AUGMENT) && n->kernel && n->kernel->class == KERNEL_IMAGE &&
           kernel_is_augmented(n->kernel);
}

bool value_is_thin_image(const Graph *g, const Node *n)
{
    if (op_attr(n->op) != ATTR_IMAGE || n->tensor.shape.dim[3] >= 16 ||
        n->kernel->class != KERNEL_IMAGE)
        return false;
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++)
        if (!reads_runs(uses.use[i].user->op) || !kernel_is_rows(uses.use[i].user->kernel) ||
            node_is_depthwise(uses.use[i].user))
            return false;
    return !image_is_dropped(g);
}
