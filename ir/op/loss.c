/* What a step returns: cross-entropy, correct images, and their sums over the rows that count. */
#include "family.h"

#include <math.h>

/* ---- types ---- */

/* Operand k, if there: the weights of the K classes of the logits. */
static bool check_weights(const Infer *f, int k)
{
    return f->arity <= k || (type_expect(f, k, "weight", DT_F32, 1) &&
                             type_expect_extent(f, k, "the weight", 0, type_dims(f, 0)[1]));
}

/* logits[N,K], label[N](, valid(, weight[K], divisor)), or weight[K] behind the label. */
static bool check_logits(const Infer *f)
{
    if (f->op == OP_CROSS_ENTROPY && !check_weights(f, 2))
        return false;
    if (f->op == OP_CROSS_ENTROPY_GRAD && f->arity > 3 &&
        (f->arity < 5 || !type_expect(f, 4, "the divisor", DT_F32, 0) || !check_weights(f, 3)))
        return f->arity == 4 ? type_fault(f, " has weights and a divisor, or neither") : false;
    if (op_attr(f->op) == ATTR_SMOOTHING && !(f->attr->factor >= 0 && f->attr->factor <= 1))
        return type_fault(f, "'s label_smoothing must be in [0, 1]");
    return type_expect(f, 0, "logits", DT_F32, 2) && type_expect(f, 1, "label", DT_I32, 1) &&
           type_expect_extent(f, 1, "the label", 0, type_dims(f, 0)[0]) &&
           (f->op == OP_CROSS_ENTROPY || f->arity < 3 || type_expect(f, 2, "valid", DT_I32, 0));
}

/* Losses are f32, counts i32. */
static bool infer_row_sum(const Infer *f)
{
    DType dtype = f->op == OP_MEAN_VALID ? DT_F32 : DT_I32;
    return type_expect(f, 0, "rows", dtype, 1) && type_expect(f, 1, "valid", DT_I32, 0) &&
           (f->arity < 3 || type_expect(f, 2, "the divisor", DT_F32, 0)) &&
           type_give(f, dtype, shape_of(0, 0, 0, 0, 0));
}

/* A loss, or whether it is correct, of each row. */
static bool infer_rows(const Infer *f)
{
    DType dtype = f->op == OP_CORRECT ? DT_I32 : DT_F32;
    return check_logits(f) && type_give(f, dtype, shape_of(1, type_dims(f, 0)[0], 0, 0, 0));
}

static bool infer_logits_grad(const Infer *f)
{
    return check_logits(f) && type_give(f, DT_F32, f->in[0]->tensor.shape);
}

/* ---- values ---- */

/* The run-time scalar %valid, at most the number of rows that are evaluated. */
static int valid_rows(Eval *e, const Node *n)
{
    double valid = eval_value(e, n)[0];
    return valid < e->batch ? (int)valid : e->batch;
}

/* What the classes of a loss weigh. */
typedef struct Weighing {
    const double *weight; /* NULL: 1 each */
    double part;          /* label smoothing */
    int classes;
} Weighing;

/* `values`: of all nodes, not of spreads. */
static Weighing weighing_of(Eval *values, const Node *n)
{
    int k = n->op == OP_CROSS_ENTROPY ? 2 : 3;
    return (Weighing){n->arity > k ? eval_value(values, n->in[k]) : NULL, n->attr.factor,
                      n->in[0]->tensor.shape.dim[1]};
}

/* What class k is taken for in a row of that label: with label smoothing a part of the label's 1 is
 * shared out over all classes, and each counts with its own weight
 * (torch.nn.functional.cross_entropy). */
static double target(const Weighing *w, double label, int k)
{
    double share = (label == k ? 1 - w->part : 0) + w->part / w->classes;
    return share * (w->weight ? w->weight[k] : 1);
}

/* Over all classes; 1 without weights. */
static double target_sum(const Weighing *w, double label)
{
    double sum = 0;
    for (int k = 0; k < w->classes; k++)
        sum += target(w, label, k);
    return w->weight ? sum : 1;
}

/* What the losses are divided by. */
static double divisor_of(Eval *values, const Node *n)
{
    int at = n->op == OP_MEAN_VALID ? 2 : 4;
    const Node *valid = n->in[n->op == OP_MEAN_VALID ? 1 : 2];
    return eval_value(values, n->arity > at ? n->in[at] : valid)[0];
}

/* log(sum of exp(row)), shifted by the maximum so that it cannot overflow */
static double log_sum_exp(const double *row, int count)
{
    double top = row[0], sum = 0;
    for (int k = 1; k < count; k++)
        top = row[k] > top ? row[k] : top;
    for (int k = 0; k < count; k++)
        sum += exp(row[k] - top);
    return top + log(sum);
}

/* nll[n] = sum over k of target[k] (log sum exp logits[n] - logits[n, k]); NaN for a label that is
 * no class */
static void eval_cross_entropy(Eval *e, const Node *node)
{
    Map logits = eval_map(e, node->in[0]);
    const double *label = eval_value(e, node->in[1]);
    Weighing w = weighing_of(e, node);
    double *out = eval_value(e, node);
    for (int n = 0; n < logits.n; n++) {
        const double *row = map_at(&logits, n, 0, 0);
        bool is_class = label[n] >= 0 && label[n] < logits.c;
        out[n] = is_class ? target_sum(&w, label[n]) * log_sum_exp(row, logits.c) : NAN;
        for (int k = 0; k < logits.c; k++)
            out[n] -= target(&w, label[n], k) * row[k];
    }
}

/* (sum of target * softmax(logits[n]) - target) / divisor for rows n < valid, else 0 */
static void eval_cross_entropy_grad(Eval *e, const Node *node)
{
    Map logits = eval_map(e, node->in[0]), out = eval_map(e, node);
    const double *label = eval_value(e, node->in[1]);
    Weighing w = weighing_of(e, node);
    double divisor = divisor_of(e, node);
    int valid = valid_rows(e, node->in[2]);
    for (int n = 0; n < logits.n; n++) {
        const double *row = map_at(&logits, n, 0, 0);
        double shift = log_sum_exp(row, logits.c), all = n < valid ? target_sum(&w, label[n]) : 0;
        for (int k = 0; k < logits.c; k++) {
            double softmax = exp(row[k] - shift), wanted = n < valid ? target(&w, label[n], k) : 0;
            map_at(&out, n, 0, 0)[k] = n < valid ? (all * softmax - wanted) / divisor : 0;
        }
    }
}

/* 1 where the first largest logit is the label's */
static void eval_correct(Eval *e, const Node *node)
{
    Map logits = eval_map(e, node->in[0]);
    const double *label = eval_value(e, node->in[1]);
    double *out = eval_value(e, node);
    for (int n = 0; n < logits.n; n++) {
        const double *row = map_at(&logits, n, 0, 0);
        int best = 0;
        for (int k = 1; k < logits.c; k++)
            if (row[k] > row[best] || (isnan(row[k]) && !isnan(row[best])))
                best = k;
        out[n] = label[n] == best;
    }
}

/* Sum of the rows below valid; the mean divides by valid */
static void eval_reduce_valid(Eval *e, const Node *node)
{
    const double *row = eval_value(e, node->in[0]);
    int valid = valid_rows(e, node->in[1]);
    double sum = 0;
    for (int n = 0; n < valid; n++)
        sum += row[n];
    double divisor = node->op == OP_MEAN_VALID ? divisor_of(e, node) : 1;
    eval_value(e, node)[0] = sum / divisor;
}

/* ---- spreads ---- */

static double largest_logit(const Map *logits, int n)
{
    double top = 0;
    for (int k = 0; k < logits->c; k++)
        top = fmax(top, fabs(map_at(logits, n, 0, 0)[k]));
    return top;
}

/* log(sum of exp(row)) */
static double log_sum(const Map *logits, int n)
{
    const double *row = map_at(logits, n, 0, 0);
    double top = row[0], sum = 0;
    for (int k = 1; k < logits->c; k++)
        top = fmax(top, row[k]);
    for (int k = 0; k < logits->c; k++)
        sum += exp(row[k] - top);
    return top + log(sum);
}

/* The derivative of the loss by logit k is sum of target * p[k] - target[k]. */
static void spread_cross_entropy(Eval *e, const Node *node)
{
    Map logits = eval_map(e->of, node->in[0]), square = eval_map(e, node->in[0]);
    const double *label = eval_value(e->of, node->in[1]);
    Weighing w = weighing_of(e->of, node);
    double *out = eval_value(e, node);
    for (int n = 0; n < logits.n; n++) {
        double shift = log_sum(&logits, n), all = target_sum(&w, label[n]);
        out[n] = square_of(all) * (square_of(largest_logit(&logits, n)) + 1);
        for (int k = 0; k < logits.c; k++)
            out[n] += square_of(all * exp(map_at(&logits, n, 0, 0)[k] - shift) -
                                target(&w, label[n], k)) *
                      map_at(&square, n, 0, 0)[k];
    }
}

/* (sum of target * p[k] - target[k]) / divisor; dp[k] = p[k] (dx[k] - sum over j of p[j] dx[j]) */
static void spread_cross_entropy_grad(Eval *e, const Node *node)
{
    Map logits = eval_map(e->of, node->in[0]), square = eval_map(e, node->in[0]);
    Map out = eval_map(e, node);
    const double *label = eval_value(e->of, node->in[1]);
    Weighing w = weighing_of(e->of, node);
    double valid = eval_value(e->of, node->in[2])[0], divisor = divisor_of(e->of, node);
    for (int n = 0; n < logits.n; n++) {
        double shift = log_sum(&logits, n), all = square_of(largest_logit(&logits, n)) + 1;
        double weight = square_of(target_sum(&w, label[n]));
        for (int k = 0; k < logits.c; k++)
            all += exp(2 * (map_at(&logits, n, 0, 0)[k] - shift)) * map_at(&square, n, 0, 0)[k];
        for (int k = 0; k < logits.c; k++) {
            double p = exp(map_at(&logits, n, 0, 0)[k] - shift);
            double terms = weight * p * p * (1 + all + map_at(&square, n, 0, 0)[k]) +
                           square_of(target(&w, label[n], k));
            map_at(&out, n, 0, 0)[k] = n < valid ? terms / square_of(divisor) : 0;
        }
    }
}

/* 1 where another logit than the largest may be it */
static void spread_correct(Eval *e, const Node *node)
{
    Map logits = eval_map(e->of, node->in[0]), square = eval_map(e, node->in[0]);
    double *out = eval_value(e, node);
    for (int n = 0; n < logits.n; n++) {
        const double *row = map_at(&logits, n, 0, 0), *spread = map_at(&square, n, 0, 0);
        int best = 0, near = 0;
        for (int k = 1; k < logits.c; k++)
            best = row[k] > row[best] ? k : best;
        for (int k = 0; k < logits.c; k++)
            near += spread_is_near(e, row[best] - row[k], spread[best] + spread[k]);
        out[n] = near > 1;
    }
}

static void spread_reduce_valid(Eval *e, const Node *node)
{
    const double *row = eval_value(e, node->in[0]);
    double valid = eval_value(e->of, node->in[1])[0], sum = 0;
    for (int n = 0; n < valid && n < e->batch; n++)
        sum += row[n];
    eval_value(e, node)[0] =
        node->op == OP_MEAN_VALID ? sum / square_of(divisor_of(e->of, node)) : sum;
}

/* ---- gradients ---- */

/* The gradient of the loss enters at the logits: mean and cross-entropy have one joint gradient,
 * (softmax - target) / divisor, that never divides by a small probability. */
static void gradient_mean_valid(Gradient *g, Node *n, Node *dy)
{
    Node *nll = n->in[0];
    if (dy || nll->op != OP_CROSS_ENTROPY)
        internal_error("the loss is not mean_valid of cross_entropy");
    bool weighted = n->arity > 2;
    Node *logits = nll->in[0], *in[] = {logits, nll->in[1], n->in[1], weighted ? nll->in[2] : NULL,
                                        weighted ? n->in[2] : NULL};
    if (g->needs(g, logits))
        g->give(g, logits, graph_add(g->graph, OP_CROSS_ENTROPY_GRAD, weighted ? 5 : 3, in,
                                     &nll->attr, nll->loc), nll->loc);
}

OP_RULE(loss, CROSS_ENTROPY) = {infer_rows, eval_cross_entropy, spread_cross_entropy, no_gradient,
                                no_work};
OP_RULE(loss, CROSS_ENTROPY_GRAD) = {infer_logits_grad, eval_cross_entropy_grad,
                                     spread_cross_entropy_grad, no_gradient, no_work};
OP_RULE(loss, CORRECT) = {infer_rows, eval_correct, spread_correct, no_gradient, no_work};
OP_RULE(loss, MEAN_VALID) = {infer_row_sum, eval_reduce_valid, spread_reduce_valid,
                             gradient_mean_valid, no_work};
OP_RULE(loss, COUNT_VALID) = {infer_row_sum, eval_reduce_valid, spread_reduce_valid, no_gradient,
                              no_work};
