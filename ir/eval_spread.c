/* How far rounding may move what kernels compute. The spread of a sum is the root of the sum of the
 * squares of its terms: what the sum amounts to where their signs are independent, and in units of
 * the terms' relative error, what errors of independent signs amount to. A sum that cancels has the
 * spread of its terms all the same, so that an error is measured against it and not against what
 * little is left of the sum.
 *
 * Spreads go through a graph as values do, by an evaluator of their own that holds their squares:
 * an op that is linear does to squares what it does to values, with the squares of its coefficients
 * (eval_factor), so that its code serves for both. The other ops have rules of their own in op/, to
 * first order. */
#include "op/family.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* Starts the spreads of an evaluation's values. `unit`: the relative error of a term; `jump`: what
 * an error of 1 counts where a value may fall on either side of a comparison. */
Eval *spread_new(Eval *values, double unit, double jump)
{
    Eval *e = eval_new(values->graph, values->batch);
    e->of = values;
    e->unit = unit;
    e->jump = jump;
    for (int i = 0; i < values->graph->module->storage_count; i++) {
        const Storage *s = values->graph->module->storage[i];
        double *square = values->state[i] ? eval_state(e, s) : NULL;
        for (int64_t k = shape_elements(&s->tensor.shape) - 1; square && k >= 0; k--)
            square[k] = values->state[i][k] * values->state[i][k];
    }
    return e;
}

static bool is_number(const Node *n)
{
    return n->tensor.dtype == DT_F32 || n->tensor.dtype == DT_BF16;
}

/* At least the value itself; and the least normal float counts as an error, as devices may take
 * what is less for zero. */
static void at_least_value(Eval *e, const Node *n)
{
    double *square = eval_value(e, n), least = FLT_MIN / e->unit;
    const double *value = eval_value(e->of, n);
    for (int64_t i = eval_elements(e, n) - 1; i >= 0; i--)
        square[i] = fmax(square[i], value[i] * value[i]) + least * least;
}

/* What a kernel reads is exact: its terms are the values themselves. */
void spread_set(Eval *e, const Node *n)
{
    double *square = eval_value(e, n);
    const double *value = eval_value(e->of, n);
    for (int64_t i = eval_elements(e, n) - 1; i >= 0; i--)
        square[i] = is_number(n) ? value[i] * value[i] : 0;
}

/* Whether an error may bring a value of this square of a spread across zero: a zero that has no
 * spread but the least is exact. */
bool spread_is_near(const Eval *e, double value, double square)
{
    return square > square_of(100 * FLT_MIN / e->unit) &&
           square_of(value) <= square_of(e->unit) * square;
}

/* A pointwise node's operands. */
typedef struct Operands {
    const double *value[MAX_OPERANDS], *square[MAX_OPERANDS];
    int64_t step[MAX_OPERANDS]; /* 0: of rank 0 */
} Operands;

static Operands operands_of(Eval *e, const Node *node)
{
    Operands o = {{0}, {0}, {0}};
    for (int i = 0; i < node->arity; i++) {
        o.value[i] = eval_value(e->of, node->in[i]);
        o.square[i] = eval_value(e, node->in[i]);
        o.step[i] = node->in[i]->tensor.shape.rank > 0;
    }
    return o;
}

/* The square of the spread of element `at`, the first operand as it is or exact. */
static double spread_element(const Eval *e, const Node *node, const Operands *o, int64_t at,
                             SpreadRule *rule, bool exact)
{
    double x[MAX_OPERANDS] = {0}, square[MAX_OPERANDS] = {0};
    for (int i = 0; i < node->arity; i++) {
        x[i] = o->value[i][at * o->step[i]];
        square[i] = exact && i == 0 ? 0 : o->square[i][at * o->step[i]];
    }
    return rule(e, node, square, x);
}

void spread_elementwise(Eval *e, const Node *node, SpreadRule *rule)
{
    Operands o = operands_of(e, node);
    double *out = eval_value(e, node);
    for (int64_t at = eval_elements(e, node) - 1; at >= 0; at--)
        out[at] = spread_element(e, node, &o, at, rule, false);
}

double spread_of_change(Eval *e, const Node *node, SpreadRule *rule)
{
    Operands o = operands_of(e, node);
    double sum = 0;
    for (int64_t at = eval_elements(e, node) - 1; at >= 0; at--)
        sum += spread_element(e, node, &o, at, rule, true);
    return sqrt(sum);
}

/* ---- the sums themselves ---- */

/* Half of a float's last place, relative: kernels add in float. */
static const double UNIT_ROUNDOFF = FLT_EPSILON / 2;

/* Terms of independent signs: adding n of them rounds n times, by less than some units in the last
 * place of what n such terms come to. */
static void add_roundings(Eval *e, const Node *n, double terms)
{
    double ulps = 4 * UNIT_ROUNDOFF / e->unit, factor = 1 + terms * ulps * ulps;
    double *square = eval_value(e, n);
    for (int64_t i = eval_elements(e, n) - 1; i >= 0; i--)
        square[i] *= factor;
}

void spread_sum(Eval *e, const Node *n, double terms)
{
    eval_node(e, n);
    add_roundings(e, n, terms);
}

void spread_linear(Eval *e, const Node *n)
{
    spread_sum(e, n, contraction_flop(n) / 2 / (double)shape_elements(&n->tensor.shape));
}

double spread_unit(const Node *n)
{
    return n->tensor.dtype == DT_BF16 ? 1.0 / 512 : UNIT_ROUNDOFF;
}

Partials partials_new(int count)
{
    size_t bytes = 5 * (size_t)count * sizeof(double);
    double *sum = memset(xmalloc(bytes + 1), 0, bytes);
    return (Partials){sum, sum + count, sum + 2 * count, sum + 3 * count, sum + 4 * count, count};
}

void partials_add(const Partials *p, double weight, const double *row)
{
    for (int i = 0; i < p->count; i++) {
        double term = weight * row[i];
        p->sum[i] += term;
        if (term != p->last[i]) {
            p->square[i] += p->run[i] * p->run[i];
            p->run[i] = 0;
        }
        p->last[i] = term;
        p->run[i] += fabs(p->sum[i]);
        p->magnitude[i] += fabs(term);
    }
}

double partials_count(const Eval *e, const Partials *p, int i, double unit)
{
    return (p->square[i] + p->run[i] * p->run[i]) * square_of(UNIT_ROUNDOFF / e->unit) +
           square_of(p->magnitude[i] * unit / e->unit);
}

/* ---- nodes ---- */

/* Squares of the spreads of one node, from those of its operands; its value must be computed. */
void spread_node(Eval *e, const Node *n)
{
    op_rule(n->op)->spread(e, n);
    if (is_number(n) && n->op != OP_INPUT && n->op != OP_STATE)
        at_least_value(e, n);
}
