/* The learning rate of a run's steps, as the model's schedule has it. */
#include "run.h"

#include <math.h>

static const RateSchedule *schedule_of(const Run *r)
{
    static const RateSchedule none = {.kind = RATE_CONSTANT};
    return r->model->schedule ? r->model->schedule : &none;
}

static int64_t epoch_steps(const Run *r)
{
    return ceil_div(r->train.count, device_target(r->model, r->table)->train.batch);
}

double run_rate(const Run *r, int64_t step)
{
    const RateSchedule *s = schedule_of(r);
    RateRun run = {.base = r->state.lr, .epochs = r->state.epochs, .epoch_steps = epoch_steps(r)};
    return rate_at(s, &run, step, s->kind == RATE_REDUCE_ON_PLATEAU ? r->state.plateau.cuts : 0);
}

void run_start_plateau(Run *r)
{
    Plateau *p = &r->state.plateau;
    if (schedule_of(r)->kind != RATE_REDUCE_ON_PLATEAU)
        *p = (Plateau){NAN, NAN, NAN};
    else if (isnan(p->bad) || isnan(p->cuts))
        *p = (Plateau){NAN, 0, 0};
}

void run_follow_plateau(Run *r)
{
    if (schedule_of(r)->kind == RATE_REDUCE_ON_PLATEAU)
        plateau_follow(schedule_of(r), &r->state.plateau, r->tested_loss, r->tested_accuracy);
}

/* ---- the schedule and the run ---- */

/* What ninc has said of the model's epochs is not said again. */
static void note_length(const Run *r)
{
    const RateSchedule *s = schedule_of(r);
    int64_t steps = r->state.epochs * epoch_steps(r);
    bool by_step = rate_is_by_step(s);
    char text[200];
    if (s->warmup >= (double)steps && steps > 0)
        notice("warmup of %s is %.0f steps, but the run has %lld: the rate does not come up to the "
               "scheduled one",
               rate_names[s->kind], s->warmup, (long long)steps);
    if ((by_step || r->state.epochs != r->model->epochs) && steps > 0 &&
        rate_misfit(s, by_step ? steps : r->state.epochs, text, sizeof text))
        notice("%s", text);
}

int run_check_schedule(const Run *r)
{
    RateKind kind = schedule_of(r)->kind;
    if (kind == RATE_REDUCE_ON_PLATEAU && r->options->no_eval)
        return fault("reduce_on_plateau follows the evaluations, which --no-eval leaves out; leave "
                     "--no-eval out, or compile the model with another schedule");
    if (r->model->early_stop > 0 && r->options->no_eval)
        return fault("early_stop follows the evaluations, which --no-eval leaves out; leave "
                     "--no-eval out, or compile the model without early_stop");
    if (kind == RATE_ONE_CYCLE && r->options->lr >= 0)
        return fault("--lr says nothing to one_cycle, whose max_lr the model has; leave it out, or "
                     "compile with ninc --set train.schedule.one_cycle.max_lr=%g",
                     r->options->lr);
    note_length(r);
    return 0;
}
