/* How far a device's numbers are from the evaluator's: against their size, and where that is too
 * far, as it is of sums that cancel, against the spread of their terms, which takes the evaluator's
 * time once more. */
#include "../../ir/ir.h"
#include "verification.h"

#include <float.h>
#include <math.h>

Distance distance_of(const double *got, const double *want, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return (Distance){sqrt(difference), sqrt(norm)};
}

double relative(double difference, double norm)
{
    return norm > 0 ? difference / norm : difference;
}

static bool is_number(const Node *n)
{
    return n->tensor.dtype == DT_F32 || n->tensor.dtype == DT_BF16;
}

Eval *spread_kernel(const Verify *v, const Trial *t)
{
    Eval *spread = spread_new(t->eval, v->bounds.kernel, v->bounds.kernel);
    for (int i = 0; i < t->kernel->in_count; i++)
        spread_set(spread, t->kernel->in[i]);
    return spread;
}

void spread_nodes(const Trial *t)
{
    for (int i = 0; i < t->kernel->node_count; i++)
        spread_node(t->spread, t->kernel->node[i]);
}

double spread_norm(Eval *spread, const Node *n)
{
    const double *square = eval_value(spread, n);
    double sum = 0;
    for (int64_t i = eval_elements(spread, n) - 1; i >= 0; i--)
        sum += square[i];
    return SPREADS * sqrt(sum);
}

/* The worst element: numbers of all sizes stand beside each other. What is too large for a float
 * must be infinite. */
static double worst_element(const double *got, const double *want, const double *square,
                            int64_t count)
{
    double worst = 0;
    for (int64_t i = 0; i < count && !isnan(worst); i++) {
        bool infinite = isinf(got[i]) && fabs(want[i]) > 0.999 * FLT_MAX && got[i] * want[i] > 0;
        double error = infinite ? 0 : fabs(got[i] - want[i]) / (SPREADS * sqrt(square[i]));
        if (!(error <= worst))
            worst = error;
    }
    return worst;
}

double kernel_error(const Verify *v, Trial *t, const Node *n, const double *got)
{
    int64_t count = eval_elements(t->eval, n);
    const double *want = eval_value(t->eval, n);
    Distance d = distance_of(got, want, count);
    double error = relative(d.difference, d.norm);
    if (!is_number(n))
        return d.difference == 0 ? 0 : INFINITY;
    if (t->extremes)
        return worst_element(got, want, eval_value(t->spread, n), count);
    if (error <= v->bounds.kernel || isnan(error))
        return error;
    if (!t->spread) {
        t->spread = spread_kernel(v, t);
        spread_nodes(t);
    }
    return relative(d.difference, spread_norm(t->spread, n));
}

Eval *spread_graph(const Verify *v, Eval *e)
{
    Eval *spread = spread_new(e, v->bounds.kernel, v->bounds.state);
    for (int i = 0; i < e->graph->node_count; i++)
        spread_node(spread, e->graph->node[i]);
    return spread;
}
