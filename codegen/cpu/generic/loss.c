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

static void emit_cross_entropy(CpuEmitter *e, const Node *n)
{
    const char *own = read_map(e, n->in[0], "n", "0", "0",
                               pool_format(e->pool, "%s[n]", value_name(e, n->in[1])));
    open_logits(e, n);
    if (n->attr.factor == 0)
        emit_line(e, "%s[n] = logf(sum) + top - %s;", value_name(e, n), own);
    else
        emit_smoothed(e, n, own);
    close_loops(e, 1);
}

static void emit_cross_entropy_grad(CpuEmitter *e, const Node *n)
{
    const char *valid = value_name(e, n->in[2]);
    const char *first = e->kernel->phase == PHASE_CHUNK ? "range->first_image + " : "";
    open_logits(e, n);
    emit_line(e, "const float scale = %sn < %s[0] ? 1.0f / (float)%s[0] : 0;", first, valid, valid);
    open_loop(e, "k", map_dim(n, 3));
    emit_line(e, "const float softmax = expf(%s - top) / sum;",
              read_map(e, n->in[0], "n", "0", "0", "k"));
    const char *wanted = pool_format(e->pool, "(k == %s[n])", value_name(e, n->in[1]));
    double part = n->attr.factor, share = part / map_dim(n, 3);
    if (part != 0)
        wanted = pool_format(e->pool, "(k == %s[n] ? %s : %s)", value_name(e, n->in[1]),
                             literal(e, 1 - part + share), literal(e, share));
    emit_line(e, "%s = scale > 0 ? (softmax - %s) * scale : 0;",
              read_map(e, n, "n", "0", "0", "k"), wanted);
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
    emit_block(e);
    emit_line(e, "%s sum = 0;", mean ? "double" : "int32_t");
    emit_line(e, "for (int n = 0; n < %s[0]; n++)", valid);
    emit_line(e, "    sum += %s[n];", rows);
    if (mean)
        emit_line(e, "%s[0] = (float)(sum / %s[0]);", value_name(e, n), valid);
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
