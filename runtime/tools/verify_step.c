/* A whole step of a program against the naive evaluator: loss, gradients, and what was updated. */
#include "../../ir/ir.h"
#include "verification.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A whole step that was evaluated, and what a subject made of it. */
typedef struct Step {
    Verify *verify;
    const Subject *subject;
    const Values *at; /* its values */
    Eval *eval;
    Eval *spread;          /* NULL until an error asks for it */
    double *const *before; /* storage before the step */
} Step;

static void check_number(const Step *s, const char *what, double error, double bound)
{
    verify_report(s->verify, s->subject,
                  &(Check){s->at->graph->name, what, "whole step", error, error <= bound});
}

/* Random state on both sides. The copy is what movements are measured from. */
static int place_state(Verify *v, const Values *at, Eval *e)
{
    const Module *m = at->graph->module;
    for (int i = 0; i < m->storage_count; i++) {
        const Storage *s = m->storage[i];
        int64_t count = shape_elements(&s->tensor.shape);
        double *value = eval_state(e, s);
        for (int64_t k = 0; k < count; k++)
            value[k] = storage_value(m, s, &v->random);
        for (int k = 0; k < v->subjects; k++) {
            Values there = verify_values(at, &v->subject[k]);
            if (values_write_storage(&there, s, value) < 0)
                return -1;
        }
    }
    return 0;
}

static Eval *spread_of_step(Step *s)
{
    if (!s->spread)
        s->spread = spread_graph(s->verify, s->eval);
    return s->spread;
}

static const Node *update_of(const Graph *g, const Storage *s)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_UPDATE && g->node[i]->storage == s)
            return g->node[i];
    return NULL;
}

/* How far storage may move where terms cancel, and what its own rounding is of that. */
static double movement_norm(Step *s, const Storage *storage, double norm)
{
    const Node *update = update_of(s->at->graph, storage);
    double moved = update ? SPREADS * spread_movement(spread_of_step(s), update->in[0]) : 0;
    return moved + FLT_EPSILON / s->verify->bounds.state * norm;
}

static double storage_error(Step *s, int i, const double *got)
{
    const Storage *storage = s->at->graph->module->storage[i];
    int64_t count = shape_elements(&storage->tensor.shape);
    const double *want = eval_state(s->eval, storage);
    Distance d = distance_of(got, want, count), moved = distance_of(s->before[i], want, count);
    double error = relative(d.difference, moved.difference);
    if (error <= s->verify->bounds.state || isnan(error))
        return error;
    return relative(d.difference, fmax(moved.difference, movement_norm(s, storage, moved.norm)));
}

/* The worst error of all storage, relative to how far each moved. */
static int compare_state(Step *s)
{
    const Module *m = s->at->graph->module;
    Verify *v = s->verify;
    double worst = 0;
    int64_t dirty = 0;
    for (int i = 0; i < m->storage_count && dirty >= 0; i++) {
        int64_t count = shape_elements(&m->storage[i]->tensor.shape);
        double *got = xmalloc((size_t)count * sizeof *got + 1);
        dirty = values_read_storage(s->at, m->storage[i], got);
        if (dirty > 0)
            printf("WRONG padding of %s is not zero\n", m->storage[i]->name);
        v->state->failed += dirty > 0;
        if (s->subject->tally)
            s->subject->tally->failed += dirty > 0;
        double error = storage_error(s, i, got);
        if (!(error <= worst))
            worst = error;
        free(got);
    }
    if (dirty < 0)
        return -1;
    check_number(s, "parameters and moments", worst, v->bounds.state);
    return 0;
}

static double gradient_error(Step *s, const Node *n, const double *got)
{
    Distance d = distance_of(got, eval_value(s->eval, n), eval_elements(s->eval, n));
    double error = relative(d.difference, d.norm);
    if (error <= s->verify->bounds.state || isnan(error))
        return error;
    return relative(d.difference, spread_norm(spread_of_step(s), n));
}

/* The worst error of the gradients that lie in memory after the step. */
static int compare_gradients(Step *s)
{
    const Module *m = s->at->graph->module;
    double worst = 0;
    int count = 0;
    char what[48];
    for (int i = 0; i < m->storage_count; i++) {
        const Node *n = gradient_of(s->at->graph, m->storage[i]);
        if (!role_is_parameter(m->storage[i]->role) || !n)
            continue;
        double *got = xmalloc((size_t)eval_elements(s->eval, n) * sizeof *got + 1);
        int64_t dirty = values_read(s->at, n, got);
        double error = dirty < 0 ? 0 : gradient_error(s, n, got);
        if (!(error <= worst))
            worst = error;
        free(got);
        if (dirty < 0)
            return -1;
        count++;
    }
    snprintf(what, sizeof what, "gradients of %d parameters", count);
    if (count > 0)
        check_number(s, what, worst, s->verify->bounds.state);
    return 0;
}

static double **copy_state(const Module *m, Eval *e)
{
    double **copy = xmalloc(((size_t)m->storage_count + 1) * sizeof *copy);
    for (int i = 0; i < m->storage_count; i++) {
        size_t bytes = (size_t)shape_elements(&m->storage[i]->tensor.shape) * sizeof **copy;
        copy[i] = memcpy(xmalloc(bytes + 1), eval_state(e, m->storage[i]), bytes);
    }
    return copy;
}

static void free_state(const Module *m, double **copy)
{
    for (int i = 0; i < m->storage_count; i++)
        free(copy[i]);
    free(copy);
}

/* Element k of the input n. */
static double input_element(const Node *n, const StepInput *input, int64_t k)
{
    switch (input_named(n->name)) {
    case INPUT_IMAGE: return input->data->image[k];
    case INPUT_LABEL: return input->data->label[k];
    case INPUT_VALID: return input->valid;
    case INPUT_LR: return (double)input->lr;
    case INPUT_STEP: return input->step;
    case INPUT_SEED: return input->seed;
    case INPUT_EPOCH: return input->epoch;
    case INPUT_INDEX: return input->index[k];
    case INPUT_LABEL_WEIGHT: return (double)input->label_weight;
    case INPUT_COUNT: break;
    }
    internal_error("nobody gives the input %s", n->name);
}

/* Sets the evaluator's inputs to what the device is given. */
static void set_inputs(const Graph *g, Eval *e, const StepInput *input)
{
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        if (n->op != OP_INPUT)
            continue;
        int64_t count = eval_elements(e, n);
        double *value = eval_value(e, n);
        for (int64_t k = 0; k < count; k++)
            value[k] = input_element(n, input, k);
    }
}

static double loss_error(Step *s, const Node *loss, double got)
{
    double want = *eval_value(s->eval, loss), difference = fabs(got - want);
    double error = relative(difference, fabs(want));
    if (error <= s->verify->bounds.loss || isnan(error))
        return error;
    return relative(difference, spread_norm(spread_of_step(s), loss));
}

/* Images whose largest logit rounding may change count for either. */
static double correct_error(Step *s, const Node *correct, double got)
{
    double difference = fabs(got - *eval_value(s->eval, correct));
    return difference == 0 ? 0 : fmax(0, difference - *eval_value(spread_of_step(s), correct));
}

static void compare_metrics(Step *s)
{
    Metrics m;
    Verify *v = s->verify;
    const Graph *g = s->at->graph;
    const Node *loss = graph_find_output(g, "loss"), *correct = graph_find_output(g, "correct");
    if (v->table->read_metrics(s->subject->device, &m) < 0)
        return;
    if (loss)
        check_number(s, "loss", loss_error(s, loss, mean(m.loss, m.weight)), v->bounds.loss);
    if (correct)
        check_number(s, "correct", correct_error(s, correct, (double)m.correct), 0);
}

static int compare_step(Step *s)
{
    compare_metrics(s);
    return compare_gradients(s) < 0 ? -1 : compare_state(s);
}

static int run_step(Verify *v, const Subject *subject, const NincProgram *p, const StepInput *input)
{
    Metrics discarded;
    if (v->table->poison(subject->device, p) < 0 ||
        v->table->read_metrics(subject->device, &discarded) < 0)
        return -1;
    verify_running(v, subject, true);
    int status = device_step(v->table, subject->device, p, input);
    verify_running(v, subject, false);
    return status;
}

/* The state of all subjects is placed: each does the step, the evaluator once for all. */
static int compare_steps(Verify *v, Step *s, const StepInput *input)
{
    const Values *at = s->at;
    int status = 0;
    for (int i = 0; i < v->subjects && status == 0; i++)
        status = run_step(v, &v->subject[i], at->program, input);
    if (status == 0)
        eval_run(s->eval);
    for (int i = 0; i < v->subjects && status == 0; i++) {
        Values there = verify_values(at, &v->subject[i]);
        s->at = &there;
        s->subject = &v->subject[i];
        status = compare_step(s);
    }
    s->at = at;
    return status;
}

/* A small batch, so that the masking of rows past `valid` is checked too. */
int verify_step(Verify *v, const Graph *g, const NincProgram *p, const Dataset *data)
{
    int32_t order[DEFAULT_IMAGES];
    int valid = p->batch < DEFAULT_IMAGES ? p->batch : DEFAULT_IMAGES;
    for (int i = 0; i < valid; i++)
        order[i] = i;
    StepInput input = {
        .data = data, .index = order, .valid = valid, .lr = (float)LEARNING_RATE, .step = STEP,
        .seed = SEED, .epoch = EPOCH, .label_weight = LABEL_WEIGHT};
    Values at = {.graph = g,
                 .program = p,
                 .table = v->table,
                 .device = v->subject[0].device,
                 .images = valid};
    Eval *e = eval_new(g, valid);
    int status = place_state(v, &at, e);
    double **before = copy_state(g->module, e);
    Step s = {.verify = v, .at = &at, .eval = e, .before = before};
    set_inputs(g, e, &input);
    if (status == 0)
        status = compare_steps(v, &s, &input);
    free_state(g->module, before);
    eval_free(s.spread);
    eval_free(e);
    return status;
}
