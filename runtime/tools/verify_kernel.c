/* One kernel against the naive evaluator, on fresh random data. */
#include "../../ir/ir.h"
#include "verification.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Worst {
    double error;     /* norm-relative */
    const Node *node; /* that has it */
    int64_t dirty;    /* halo and padding elements that are not zero, over all outputs */
} Worst;

static double *value_in(const Trial *t, const Node *n)
{
    return is_stored(n) ? eval_state(t->eval, n->storage) : eval_value(t->eval, n);
}

/* Partials get random parts each; the evaluator sees their sum in order. */
static int place_input(Verify *v, const Trial *t, const Node *n)
{
    int64_t count = eval_elements(t->eval, n);
    int copies = values_copies(&t->values, n), status = 0;
    double *sum = value_in(t, n), *part = xmalloc((size_t)count * sizeof *part + 1);
    for (int c = 0; c < copies && status == 0; c++) {
        if (c > 0 && t->extremes)
            memset(part, 0, (size_t)count * sizeof *part); /* parts that cancel say nothing */
        else
            fill_value(v, t, n, count, part);
        for (int s = 0; s < v->subjects && status == 0; s++) {
            Values at = verify_values(&t->values, &v->subject[s]);
            status = values_write(&at, n, c, part);
        }
        for (int64_t i = 0; i < count; i++)
            sum[i] += part[i];
    }
    free(part);
    return status;
}

/* On a GPU a sum over images comes in as many parts as one run of the kernel leaves. */
static int compare_output(const Verify *v, const Subject *s, Trial *t, const Node *n, Worst *worst)
{
    Values at = verify_values(&t->values, s);
    int64_t count = eval_elements(t->eval, n);
    double *got = xmalloc((size_t)count * sizeof *got + 1);
    int64_t dirty = values_read(&at, n, got);
    /* The code of a padding lane is that of a window of zeros, not 0; its gradient is zero. */
    if (n->op != OP_MAXPOOL_CODE && dirty > 0)
        worst->dirty += dirty;
    double error = dirty < 0 ? 0 : kernel_error(v, t, n, got);
    if (!worst->node || (!isnan(worst->error) && !(error <= worst->error))) { /* NaN is the worst */
        worst->error = error;
        worst->node = n;
    }
    free(got);
    return dirty < 0 ? -1 : 0;
}

static int launch_kernel(Verify *v, const Subject *subject, const Trial *t)
{
    const NincLaunch *launch = find_launch(t->values.program, t->kernel);
    bool chunk = t->kernel->phase == PHASE_CHUNK;
    int slices = launch->slices < 1 ? 1 : launch->slices, status = 0;
    verify_running(v, subject, true);
    for (int s = 0; s < slices && status == 0; s++) {
        NincRange range = {.images = chunk ? t->values.images : 0, .slice = s, .slices = slices};
        status = v->table->launch(subject->device, t->values.program, launch, &range, 0);
    }
    verify_running(v, subject, false);
    return status;
}

static void report(Verify *v, const Subject *s, const Trial *t, const Worst *w)
{
    char of[64];
    bool ok = w->error <= v->bounds.kernel && w->dirty == 0;
    snprintf(of, sizeof of, "%s%s",
             op_name(w->node->op == OP_UPDATE ? w->node->in[0]->op : w->node->op),
             t->extremes ? ", limits" : "");
    verify_report(v, s, &(Check){t->values.graph->name, t->kernel->name, of, w->error, ok});
    if (w->dirty)
        printf("      %lld halo or padding elements are not zero\n", (long long)w->dirty);
    if (!ok) {
        Text node = {0};
        node_print(t->values.graph, w->node, &node);
        printf("      in %s\n", node.data ? node.data : "");
        text_free(&node);
    }
    fflush(stdout);
}

/* Rows of every per-image value: on a GPU a kernel works on the whole batch. */
static int trial_images(const Verify *v, const Graph *g, const Kernel *k)
{
    if (k->phase != PHASE_CHUNK || !target_is_cpu(g->target))
        return g->batch;
    return v->full || g->chunk < DEFAULT_IMAGES ? g->chunk : DEFAULT_IMAGES;
}

/* worst[s]: of that subject. */
static int run_trial(Verify *v, Trial *t, Worst *worst)
{
    const Kernel *k = t->kernel;
    for (int s = 0; s < v->subjects; s++)
        if (v->table->poison(v->subject[s].device, t->values.program) < 0)
            return -1;
    for (int i = 0; i < k->in_count; i++)
        if (place_input(v, t, k->in[i]) < 0)
            return -1;
    if (t->extremes)
        t->spread = spread_kernel(v, t);
    for (int s = 0; s < v->subjects; s++)
        if (launch_kernel(v, &v->subject[s], t) < 0)
            return -1;
    for (int i = 0; i < k->node_count; i++)
        eval_node(t->eval, k->node[i]);
    if (t->extremes)
        spread_nodes(t);
    for (int s = 0; s < v->subjects; s++)
        for (int i = 0; i < k->out_count; i++)
            if (compare_output(v, &v->subject[s], t, k->out[i], &worst[s]) < 0)
                return -1;
    return 0;
}

static int try_kernel(Verify *v, Trial *t)
{
    Worst worst[CPU_MOST_LEVELS] = {{0}};
    t->eval = eval_new(t->values.graph, t->values.images);
    int status = run_trial(v, t, worst);
    for (int s = 0; s < v->subjects && status == 0; s++)
        if (worst[s].node)
            report(v, &v->subject[s], t, &worst[s]);
    eval_free(t->spread);
    eval_free(t->eval);
    t->eval = t->spread = NULL;
    return status;
}

int verify_kernel(Verify *v, const Item *item)
{
    Trial t = {.values = {.graph = item->graph,
                          .program = item->program,
                          .table = v->table,
                          .device = v->subject[0].device,
                          .images = trial_images(v, item->graph, item->kernel)},
               .kernel = item->kernel};
    int status = try_kernel(v, &t);
    t.extremes = takes_extremes(item->kernel);
    return status < 0 || !t.extremes ? status : try_kernel(v, &t);
}
