/* Which kernels of each class there are: what passes make and emitters write. On a CPU a class says
 * how its ops run, and each of its nodes is asked; on a GPU a class is one function of the device
 * library, and the kernel as a whole must be what that function computes. */
#include "targets.h"
#include "verify.h"

#include <string.h>

/* ---- nodes: what a kernel of a CPU can hold ---- */

static bool is_row_op(const Node *n)
{
    return op_is_rows(n) && n->kernel->phase == PHASE_CHUNK;
}

static bool is_winograd(const Node *n)
{
    return op_attr(n->op) == ATTR_WINOGRAD && n->op != OP_WINOGRAD_OUTPUT;
}

static bool is_of_filter(const Node *n)
{
    bool made_of_one =
        n->op == OP_CAST || n->op == OP_FOLD_FILTER || n->op == OP_FILTER_TRANSPOSE;
    return n->op == OP_FOLD_FILTER_GRAD || (made_of_one && n->in[0]->op == OP_STATE);
}

static bool is_statistic(const Node *n)
{
    return op_is(n->op, F_STATISTIC);
}

/* A kernel of plain loops: anything but products in fixed point. */
static bool has_any_loops(const Node *n)
{
    return !is_winograd(n) || n->math != MATH_I16;
}

/* The same by the name of a class that is for other ops. */
static bool has_loops(const Node *n)
{
    return !is_winograd(n);
}

/* ---- kernels as a whole ---- */

static bool is_any(const Kernel *k)
{
    (void)k;
    return true;
}

/* Filters of any number, in one phase, or one op of maps. */
static bool is_one_transform(const Kernel *k)
{
    for (int i = 0; i < k->node_count && k->node_count > 1; i++)
        if (k->node[i]->op != k->node[0]->op || !op_is_of_filters(k->node[i]->op))
            return false;
    return true;
}

/* Mean and variance of one map, or both sums of one gradient. */
static bool is_pair_of_statistics(const Kernel *k)
{
    const Node *a = k->node[0], *b = k->node_count == 2 ? k->node[1] : NULL;
    if (!b || a->in[0] != b->in[0])
        return false;
    if (a->op == OP_BATCH_MEAN && b->op == OP_BATCH_VAR)
        return b->in[1] == a && b->in[2] == a->in[1];
    return a->op == OP_BATCH_SUM && b->op == OP_BATCH_DOT;
}

static bool is_row_op_or_dense(const Node *n)
{
    return is_row_op(n) || (node_is_dense(n) && n->kernel->phase == PHASE_CHUNK);
}

/* A linear layer, forward or the gradient of its map, and the pointwise ops on it. */
static bool is_dense(const Kernel *k)
{
    return target_kind(k->target) == KIND_VECTORS && node_is_dense(k->node[0]) &&
           !op_sums_images(k->node[0]->op) &&
           kernel_statement(k, k->node[0]).chained + 1 == k->node_count;
}

/* The gradient of a linear layer's bias, or of its filter. */
static bool is_dense_sum(const Node *n)
{
    if (n->op == OP_CONV2D_WGRAD)
        return node_is_dense(n);
    return n->op == OP_BIAS_GRAD && n->in[0]->tensor.shape.dim[1] == 1 &&
           n->in[0]->tensor.shape.dim[2] == 1;
}

static bool is_dense_sum_or_step(const Node *n)
{
    return is_dense_sum(n) || node_is_optimizer(n);
}

/* Part of the optimizer's step by that gradient, whose elements it takes one by one. */
static bool steps_by(const Node *n, const Node *gradient)
{
    return gradient && n->op != OP_CLIP && shape_equal(&n->tensor.shape, &gradient->tensor.shape) &&
           (n->op == OP_UPDATE ? update_gradient(n) == gradient : !n->returned);
}

/* Gradients of one linear layer after the images, and the optimizer's step of its filter, with one
 * rate. */
static bool is_dense_wgrad(const Kernel *k)
{
    const Node *filter = NULL;
    int biases = 0, steps = 0, adams = 0;
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        if (n->op == OP_CONV2D_WGRAD && filter)
            return false;
        filter = n->op == OP_CONV2D_WGRAD ? n : filter;
        biases += n->op == OP_BIAS_GRAD;
        steps += node_is_optimizer(n);
        adams += n->op == OP_ADAM_STEP;
        if (node_is_optimizer(n) && !steps_by(n, filter))
            return false;
    }
    return target_kind(k->target) == KIND_VECTORS && k->phase == PHASE_AFTER && biases <= 1 &&
           adams <= 1 && (filter || biases == 1) &&
           (!filter || kernel_returns(k, filter) || dense_steps_in_place(filter)) &&
           (steps == 0 || !kernel_returns(k, filter));
}

/* ---- kernels of a GPU ---- */

static bool is_at(const Kernel *k, int at, Op op)
{
    return at < k->node_count && k->node[at]->op == op;
}

/* Node `at` reads the one before it as its first operand, and nobody else reads that one. */
static bool follows(const Kernel *k, int at)
{
    return at > 0 && k->node[at]->in[0] == k->node[at - 1] && !k->node[at - 1]->returned;
}

/* The pointwise ops on node `op` that stand from `at` on, done where its map is made: how many.
 * *result: the last of them, or the op. */
static int count_chain(const Kernel *k, int op, int at, const Node **result)
{
    Statement s = kernel_statement(k, k->node[op]);
    *result = k->node[op];
    for (int i = 0; i < s.chained; i++) {
        if (at + i >= k->node_count || k->node[at + i] != s.chain[i])
            return i;
        *result = s.chain[i];
    }
    return s.chained;
}

static bool is_chain(const Kernel *k)
{
    const Node *result;
    return 1 + count_chain(k, 0, 1, &result) == k->node_count;
}

static bool is_alone(const Kernel *k)
{
    AttrClass attr = op_attr(k->node[0]->op);
    return k->node_count == 1 && attr != ATTR_WINOGRAD && attr != ATTR_FOLD;
}

static bool is_image(const Kernel *k)
{
    return (k->node_count == 1 && op_attr(k->node[0]->op) == ATTR_IMAGE) || kernel_is_augmented(k);
}

/* Node `at` reads the one before it, and no other kernel does. */
static bool reads_last(const Kernel *k, int at)
{
    bool reads = false;
    for (int i = 0; i < k->node[at]->arity; i++)
        reads |= k->node[at]->in[i] == k->node[at - 1];
    return reads && !k->node[at - 1]->returned;
}

/* Element by element of maps of one shape; all but the last stay in registers. */
static bool is_pointwise(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        bool element = (op_is_pointwise(n->op) || n->op == OP_CAST) && n->tensor.shape.rank == 4;
        if (!element || !shape_equal(&n->tensor.shape, &k->node[0]->tensor.shape) ||
            (i > 0 && !reads_last(k, i)))
            return false;
    }
    return true;
}

/* Neither groups nor dilation, which the tiles do not know. */
static bool is_plain(const Node *n)
{
    return window_is_plain(&n->attr.window);
}

static bool is_conv_forward(const Kernel *k)
{
    return k->node[0]->op == OP_CONV2D && is_plain(k->node[0]) && is_chain(k);
}

static bool is_conv_dgrad(const Kernel *k)
{
    return k->node[0]->op == OP_CONV2D_DGRAD && is_plain(k->node[0]) && is_chain(k);
}

static bool is_conv_wgrad(const Kernel *k)
{
    bool bias = is_at(k, 1, OP_BIAS_GRAD) && k->node[1]->in[0] == k->node[0]->in[1];
    return k->node[0]->op == OP_CONV2D_WGRAD && is_plain(k->node[0]) && k->node_count == 1 + bias;
}

/* Two convolutions or more, each with the pointwise ops on it, all but the first of 1x1. Each map
 * may be kept. */
static bool is_mlpconv_forward(const Kernel *k)
{
    const Node *map = NULL;
    int convs = 0;
    for (int i = 0; i < k->node_count; i++) {
        const Node *conv = k->node[i];
        if (conv->op != OP_CONV2D || !is_plain(conv) ||
            (map && (conv->in[0] != map || !window_is_pointwise(&conv->attr.window) ||
                     conv->math != map->kernel->node[0]->math)))
            return false;
        convs++;
        i += count_chain(k, i, i + 1, &map);
    }
    return convs > 1;
}

/* Whether what is done on node `op` reads no map beside it, or `map` alone. */
static bool reads_only(const Kernel *k, int op, const Node *map)
{
    Statement s = kernel_statement(k, k->node[op]);
    const Node *beside[MAX_STATEMENT_OPERANDS];
    int maps = statement_beside(&s, false, beside);
    return maps == 0 || (maps == 1 && beside[0] == map);
}

/* The nodes of one 1x1 convolution, backward, from `at` on: [bias_grad] wgrad dgrad, all of dy, and
 * the pointwise ops on dgrad. Returns how many; 0 where they are not. *result: the gradient of its
 * input. */
static int count_step(const Kernel *k, int at, const Node *dy, const Node **result)
{
    int i = at;
    if (is_at(k, i, OP_BIAS_GRAD) && k->node[i]->in[0] == dy)
        i++;
    if (!is_at(k, i, OP_CONV2D_WGRAD) || !is_at(k, i + 1, OP_CONV2D_DGRAD))
        return 0;
    const Node *wgrad = k->node[i], *dgrad = k->node[i + 1];
    if (wgrad->in[1] != dy || dgrad->in[0] != dy || !window_is_pointwise(&wgrad->attr.window) ||
        !window_is_pointwise(&dgrad->attr.window))
        return 0;
    i += 2;
    return reads_only(k, i - 1, wgrad->in[0]) ? i + count_chain(k, i - 1, i, result) - at : 0;
}

static bool is_mlpconv_backward(const Kernel *k)
{
    const Node *first = k->node[0];
    const Node *dy = first->in[op_is(first->op, F_WGRAD) ? 1 : 0], *result = NULL;
    for (int i = 0, nodes; i < k->node_count; i += nodes) {
        if (result && result->returned)
            return false;
        nodes = count_step(k, i, result ? result : dy, &result);
        if (nodes == 0)
            return false;
    }
    return true;
}

/* A max pool and its codes, or one of them, or a mean; and the pointwise ops on it. */
static bool is_pool_forward(const Kernel *k)
{
    const Node *pool = k->node[0], *code = k->node_count > 1 ? k->node[1] : NULL;
    bool coded = code && code->op == OP_MAXPOOL_CODE;
    if (coded && (pool->op != OP_MAXPOOL || code->in[0] != pool->in[0] ||
                  memcmp(&code->attr.window, &pool->attr.window, sizeof(Window)) != 0))
        return false;
    if (pool->op == OP_MAXPOOL_CODE)
        return !code;
    return (op_is(pool->op, F_POOL) || pool->op == OP_GAP) &&
           1 + coded + count_chain(k, 0, 1 + coded, &pool) == k->node_count;
}

static bool is_pool_backward(const Kernel *k)
{
    return (op_is(k->node[0]->op, F_POOL_GRAD) || k->node[0]->op == OP_GAP_GRAD) &&
           is_chain(k);
}

static bool is_norm(const Kernel *k)
{
    return (k->node[0]->op == OP_BATCH_NORM || k->node[0]->op == OP_BATCH_NORM_GRAD) && is_chain(k);
}

static bool is_lrn(const Kernel *k)
{
    return op_attr(k->node[0]->op) == ATTR_LRN && is_chain(k);
}

/* The gradient of the logits, and what leads from there to that of the map x. */
static bool is_head_gradient(const Kernel *k, int at, const Node *logits, bool mean)
{
    bool spread = false;
    if (!is_at(k, at, OP_CROSS_ENTROPY_GRAD) || k->node[at]->in[0] != logits ||
        k->node[at]->attr.factor != k->node[at - 2]->attr.factor ||
        k->node[at]->in[3] != k->node[at - 2]->in[2])
        return false;
    at++;
    for (int i = 0; i < HEAD_GRADIENT_OPS; i++)
        if (is_at(k, at, head_gradient_op[i]) && follows(k, at)) {
            spread |= head_gradient_op[i] == OP_GAP_GRAD;
            at++;
        }
    return at == k->node_count && spread == mean;
}

/* [mean] flatten cross_entropy correct, and in training the gradient. */
static bool is_head(const Kernel *k)
{
    bool mean = is_at(k, 0, OP_GAP), cast = is_at(k, 0, OP_CAST);
    int at = mean || cast;
    if (!is_at(k, at, OP_FLATTEN) || (at && !follows(k, at)))
        return false;
    const Node *logits = k->node[at];
    for (int i = 1; i <= 2; i++)
        if (!is_at(k, at + i, i == 1 ? OP_CROSS_ENTROPY : OP_CORRECT) ||
            k->node[at + i]->in[0] != logits || k->node[at + i]->in[1] != k->node[at + 1]->in[1])
            return false;
    return at + 3 == k->node_count || is_head_gradient(k, at + 3, logits, mean);
}

/* What the optimizer computes on its way stays in registers. */
static bool is_update(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        if (!node_is_optimizer(k->node[i]) || (k->node[i]->returned && k->node[i]->op != OP_UPDATE))
            return false;
    return true;
}

static bool is_casts(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        if (k->node[i]->op != OP_CAST || k->node[i]->in[0]->op != OP_STATE)
            return false;
    return true;
}

static bool is_metrics(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        if (!op_is(k->node[i]->op, F_SUMS_ROWS))
            return false;
    return true;
}

/* ---- the table ---- */

/* A class on a kind of target: NULLs where there is none. */
typedef struct ClassRule {
    bool (*holds)(const Node *n); /* CPU: each node */
    const char *holder;           /* what cannot hold another node */
    bool (*is)(const Kernel *k);  /* the kernel as a whole */
    const char *what;             /* that it is */
} ClassRule;

#define ROW_OPS {is_row_op, "a kernel of row ops cannot hold it", is_any, ""}
#define LOOPS {has_loops, "a kernel of plain loops cannot hold it", is_any, ""}

#define STATISTICS "batch_mean and batch_var of one map, or batch_sum and batch_dot of one gradient"

static const ClassRule cpu_class[KERNEL_CLASS_COUNT] = {
    [KERNEL_GENERIC] = {has_any_loops, "a kernel of plain loops cannot hold it", is_any, ""},
    [KERNEL_IMAGE] = LOOPS,
    [KERNEL_HEAD] = LOOPS,
    [KERNEL_METRICS] = LOOPS,
    [KERNEL_ROWS] = ROW_OPS,
    [KERNEL_CONV_FORWARD] = ROW_OPS,
    [KERNEL_MLPCONV_FORWARD] = ROW_OPS,
    [KERNEL_POOL_FORWARD] = ROW_OPS,
    [KERNEL_POOL_BACKWARD] = ROW_OPS,
    [KERNEL_CONV_DGRAD] = ROW_OPS,
    [KERNEL_DENSE] = {is_row_op_or_dense, "a kernel of row ops cannot hold it", is_dense,
                      "one convolution of one pixel an image and the pointwise ops on it"},
    [KERNEL_DENSE_WGRAD] = {is_dense_sum_or_step, "a kernel of a linear layer's gradients cannot "
                                                  "hold it",
                            is_dense_wgrad, "after the images, the gradients of one linear layer "
                                            "and the step of its filter, which is not kept"},
    [KERNEL_CONV_WGRAD] = ROW_OPS,
    [KERNEL_MLPCONV_BACKWARD] = ROW_OPS,
    [KERNEL_FILTER] = {is_of_filter, "a filter kernel cannot hold it", is_any, ""},
    [KERNEL_WINOGRAD] = {is_winograd, "a Winograd kernel cannot hold it", is_one_transform,
                         "one transform of filters, or one op of maps"},
    [KERNEL_UPDATE] = {node_is_optimizer, "an update kernel cannot hold it", is_any, ""},
    [KERNEL_STATISTICS] = {is_statistic, "a kernel of statistics cannot hold it",
                           is_pair_of_statistics, STATISTICS},
};

#define WHOLE(is, what) {NULL, NULL, is, what}

static const ClassRule gpu_class[KERNEL_CLASS_COUNT] = {
    [KERNEL_GENERIC] = WHOLE(is_alone, "one op"),
    [KERNEL_IMAGE] = WHOLE(is_image, "a normalize or resize, and the augmentation before it"),
    [KERNEL_POINTWISE] = WHOLE(is_pointwise, "a chain of pointwise ops over one map"),
    [KERNEL_CONV_FORWARD] = WHOLE(is_conv_forward, "a conv2d and the pointwise ops on it"),
    [KERNEL_CONV_DGRAD] = WHOLE(is_conv_dgrad, "a conv2d_dgrad and the pointwise ops on it"),
    [KERNEL_CONV_WGRAD] = WHOLE(is_conv_wgrad, "a conv2d_wgrad and the bias_grad of its dy"),
    [KERNEL_MLPCONV_FORWARD] =
        WHOLE(is_mlpconv_forward, "a chain of a conv2d and 1x1 ones, two or more, each with the "
                                  "pointwise ops on it"),
    [KERNEL_MLPCONV_BACKWARD] =
        WHOLE(is_mlpconv_backward, "1x1 convolutions backward: bias_grad, conv2d_wgrad, "
                                   "conv2d_dgrad of each, and the pointwise ops on that"),
    [KERNEL_POOL_FORWARD] = WHOLE(is_pool_forward, "a pool, the codes of a max pool, and the "
                                                   "pointwise ops on it"),
    [KERNEL_POOL_BACKWARD] =
        WHOLE(is_pool_backward, "a pool's gradient and the pointwise ops on it"),
    [KERNEL_NORM] = WHOLE(is_norm, "a batch_norm or its gradient and the pointwise ops on it"),
    [KERNEL_LRN] = WHOLE(is_lrn, "an lrn or its gradient and the pointwise ops on it"),
    [KERNEL_STATISTICS] = WHOLE(is_pair_of_statistics, STATISTICS),
    [KERNEL_HEAD] = WHOLE(is_head, "the end of the network: gap, flatten, cross_entropy, correct, "
                                   "and their gradient"),
    [KERNEL_FILTER] = WHOLE(is_casts, "casts of parameters"),
    [KERNEL_METRICS] = WHOLE(is_metrics, "mean_valid and count_valid"),
    [KERNEL_UPDATE] = WHOLE(is_update, "the optimizer, whose results are updates"),
};

bool verify_class(const Verifier *v, const Kernel *k)
{
    bool gpu = target_kind(k->target) == KIND_THREADS;
    const ClassRule *rule = gpu ? &gpu_class[k->class] : &cpu_class[k->class];
    if (!rule->is)
        return verify_kernel_fault(v, k, "its class does not exist on the graph's target");
    for (int i = 0; rule->holds && i < k->node_count; i++)
        if (!rule->holds(k->node[i]))
            return verify_node_fault(v, k->node[i], rule->holder);
    return rule->is(k) ||
           verify_kernel_fault(v, k, pool_format(v->pool, "a kernel of class %s is %s",
                                                 class_names[k->class], rule->what));
}
