/* The loss, the number of right answers, and both over the valid images. */
#include "generic.h"

static void open_logits(CpuEmitter *e, const Node *n)
{
    const char *logit = read_map(e, n->in[0], "n", "0", "0", "k");
    open_images(e);
    emit_line(e, "float top = %s;", read_map(e, n->in[0], "n", "0", "0", "0"));
    emit_line(e, "float sum = 0;");
    emit_line(e, "for (int k = 1; k < %d; k++)", map_dim(n->in[0], 3));
    emit_line(e, "    top = %s > top ? %s : top;", logit, logit);
    emit_line(e, "for (int k = 0; k < %d; k++)", map_dim(n->in[0], 3));
    emit_line(e, "    sum += expf(%s - top);", logit);
}

/* A double's float, as a C literal. */
static const char *literal(const CpuEmitter *e, double x)
{
    return pool_format(e->pool, "(float)%.17g", x);
}

/* What class k weighs, as a factor of what follows; "" where all weigh 1. */
static const char *weight_of(CpuEmitter *e, const Node *weight, const char *k)
{
    return weight ? pool_format(e->pool, "%s[%s] * ", value_name(e, weight), k) : "";
}

/* What is lacking to the top of the label's logit, and a share of what is lacking to it of all. */
static void emit_smoothed(CpuEmitter *e, const Node *n, const char *own)
{
    double part = n->attr.factor;
    emit_line(e, "float lacking = 0;");
    emit_line(e, "for (int k = 0; k < %d; k++)", map_dim(n->in[0], 3));
    emit_line(e, "    lacking += top - %s;", read_map(e, n->in[0], "n", "0", "0", "k"));
    emit_line(e, "%s[n] = logf(sum) + %s * (top - %s) + %s * lacking;", value_name(e, n),
              literal(e, 1 - part), own, literal(e, part / map_dim(n->in[0], 3)));
}

/* The same of the negative logarithms of the softmax, each with the weight of its class. */
static void emit_weighted(CpuEmitter *e, const Node *n, const char *own, const char *label)
{
    double part = n->attr.factor;
    const char *share = "";
    emit_line(e, "const float rest = logf(sum) + top;");
    if (part != 0) {
        emit_line(e, "float lacking = 0;");
        emit_line(e, "for (int k = 0; k < %d; k++)", map_dim(n->in[0], 3));
        emit_line(e, "    lacking += %s(rest - %s);", weight_of(e, n->in[2], "k"),
                  read_map(e, n->in[0], "n", "0", "0", "k"));
        share = pool_format(e->pool, " + %s * lacking", literal(e, part / map_dim(n->in[0], 3)));
    }
    emit_line(e, "%s[n] = %s * %s(rest - %s)%s;", value_name(e, n), literal(e, 1 - part),
              weight_of(e, n->in[2], label), own, share);
}

static void emit_cross_entropy(CpuEmitter *e, const Node *n)
{
    const char *label = pool_format(e->pool, "%s[n]", value_name(e, n->in[1]));
    const char *own = read_map(e, n->in[0], "n", "0", "0", label);
    open_logits(e, n);
    if (n->arity > 2)
        emit_weighted(e, n, own, label);
    else if (n->attr.factor == 0)
        emit_line(e, "%s[n] = logf(sum) + top - %s;", value_name(e, n), own);
    else
        emit_smoothed(e, n, own);
    close_loops(e, 1);
}

/* What the row's targets weigh together: `all`, a local. */
static void emit_target_sum(CpuEmitter *e, const Node *n)
{
    double part = n->attr.factor;
    const char *label = pool_format(e->pool, "%s[n]", value_name(e, n->in[1]));
    const char *weight = value_name(e, n->in[3]);
    emit_line(e, "float all = %s * %s[%s];", literal(e, 1 - part), weight, label);
    if (part == 0)
        return;
    emit_line(e, "for (int k = 0; k < %d; k++)", map_dim(n, 3));
    emit_line(e, "    all += %s * %s[k];", literal(e, part / map_dim(n, 3)), weight);
}

/* The gradient's target of class k. */
static const char *target_of(CpuEmitter *e, const Node *n)
{
    const char *label = value_name(e, n->in[1]);
    const char *weight = weight_of(e, n->arity > 3 ? n->in[3] : NULL, "k");
    double part = n->attr.factor, share = part / map_dim(n, 3);
    if (part == 0)
        return pool_format(e->pool, "%s(k == %s[n])", weight, label);
    return pool_format(e->pool, "%s(k == %s[n] ? %s : %s)", weight, label,
                       literal(e, 1 - part + share), literal(e, share));
}

static void emit_cross_entropy_grad(CpuEmitter *e, const Node *n)
{
    bool weighted = n->arity > 3;
    const char *valid = value_name(e, n->in[2]);
    const char *divisor = value_name(e, n->in[weighted ? 4 : 2]);
    const char *first = e->kernel->phase == PHASE_CHUNK ? "range->first_image + " : "";
    open_logits(e, n);
    emit_line(e, "const float scale = %sn < %s[0] ? 1.0f / (float)%s[0] : 0;", first, valid,
              divisor);
    if (weighted)
        emit_target_sum(e, n);
    open_loop(e, "k", map_dim(n, 3));
    emit_line(e, "const float softmax = expf(%s - top) / sum;",
              read_map(e, n->in[0], "n", "0", "0", "k"));
    emit_line(e, "%s = scale > 0 ? (%ssoftmax - %s) * scale : 0;",
              read_map(e, n, "n", "0", "0", "k"), weighted ? "all * " : "", target_of(e, n));
    close_loops(e, 2);
}

static void emit_correct(CpuEmitter *e, const Node *n)
{
    open_images(e);
    emit_line(e, "int best = 0;");
    emit_line(e, "for (int k = 1; k < %d; k++)", map_dim(n->in[0], 3));
    emit_line(e, "    if (%s > %s)", read_map(e, n->in[0], "n", "0", "0", "k"),
              read_map(e, n->in[0], "n", "0", "0", "best"));
    emit_line(e, "        best = k;");
    emit_line(e, "%s[n] = best == %s[n];", value_name(e, n), value_name(e, n->in[1]));
    close_loops(e, 1);
}

static void emit_over_valid(CpuEmitter *e, const Node *n)
{
    bool mean = n->op == OP_MEAN_VALID;
    const char *rows = value_name(e, n->in[0]), *valid = value_name(e, n->in[1]);
    const char *divisor = value_name(e, n->in[n->arity > 2 ? 2 : 1]);
    emit_block(e);
    emit_line(e, "%s sum = 0;", mean ? "double" : "int32_t");
    emit_line(e, "for (int n = 0; n < %s[0]; n++)", valid);
    emit_line(e, "    sum += %s[n];", rows);
    if (mean)
        emit_line(e, "%s[0] = (float)(sum / %s[0]);", value_name(e, n), divisor);
    else
        emit_line(e, "%s[0] = sum;", value_name(e, n));
    emit_close(e);
}

void generic_loss(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_CROSS_ENTROPY] = emit_cross_entropy,
        [OP_CROSS_ENTROPY_GRAD] = emit_cross_entropy_grad,
        [OP_CORRECT] = emit_correct,
        [OP_MEAN_VALID] = emit_over_valid,
        [OP_COUNT_VALID] = emit_over_valid,
    };
    emit_of_family(e, n, by_op);
}
