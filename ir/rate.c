/* The learning rate of each step: closed forms of torch.optim.lr_scheduler's, in double, so that a
 * run that goes on needs no history of it; of reduce_on_plateau alone what it has seen. */
#include "numbers.h"
#include "settings.h"

#include <stdio.h>

static const double PI = 3.14159265358979323846;

const char *const rate_names[RATE_KIND_COUNT] = {
#define X(id, text) text,
    RATE_KINDS(X)
#undef X
};

/* ---- closed forms ---- */

/* `unit`: units done; `units`: of the whole run, 1 or more. */
typedef struct Moment {
    const RateSchedule *s;
    double base, unit, units;
    int cuts;
} Moment;

/* A count that may stand for the whole run. */
static double or_all(double count, double units)
{
    return count > 0 ? count : units;
}

static double constant(const Moment *m)
{
    return m->base;
}

static double step(const Moment *m)
{
    return m->base * pow(m->s->gamma, floor(m->unit / m->s->step_size));
}

static double multi_step(const Moment *m)
{
    int passed = 0;
    while (passed < m->s->milestones && m->s->milestone[passed] <= m->unit)
        passed++;
    return m->base * pow(m->s->gamma, passed);
}

static double exponential(const Moment *m)
{
    return m->base * pow(m->s->gamma, m->unit);
}

static double cosine_annealing(const Moment *m)
{
    double least = m->s->eta_min, turn = PI * m->unit / or_all(m->s->t_max, m->units);
    return least + (m->base - least) * (1 + cos(turn)) / 2;
}

static double linear(const Moment *m)
{
    double start = m->s->start_factor, part = fmin(m->unit, m->s->total_iters) / m->s->total_iters;
    return m->base * (start + (m->s->end_factor - start) * part);
}

static double poly(const Moment *m)
{
    double all = or_all(m->s->total_iters, m->units);
    return m->base * pow(1 - fmin(m->unit, all) / all, m->s->power);
}

/* PyTorch leaves alone a rate that a cut would move by no more. */
static const double LEAST_CUT = 1e-8;

static double reduce_on_plateau(const Moment *m)
{
    double rate = m->base;
    for (int i = 0; i < m->cuts; i++)
        if (rate - rate * m->s->factor > LEAST_CUT)
            rate *= m->s->factor;
    return rate;
}

/* From one rate to another along half a cosine; `part` of the way, in [0, 1]. */
static double along_cosine(double from, double to, double part)
{
    return to + (from - to) / 2 * (1 + cos(PI * part));
}

/* Up to max_lr in the first part of the steps, down in the rest; the base does not count. */
static double one_cycle(const Moment *m)
{
    const RateSchedule *s = m->s;
    double all = or_all(s->total_steps, m->units), peak = s->pct_start * all - 1, end = all - 1;
    double first = s->max_lr / s->div_factor, last = first / s->final_div_factor;
    double at = fmin(m->unit, end);
    if (at <= peak && peak > 0)
        return along_cosine(first, s->max_lr, at / peak);
    return end > peak ? along_cosine(s->max_lr, last, (at - peak) / (end - peak)) : s->max_lr;
}

typedef double ClosedForm(const Moment *m);

static ClosedForm *const closed_form[RATE_KIND_COUNT] = {
    [RATE_CONSTANT] = constant,
    [RATE_STEP] = step,
    [RATE_MULTI_STEP] = multi_step,
    [RATE_EXPONENTIAL] = exponential,
    [RATE_COSINE_ANNEALING] = cosine_annealing,
    [RATE_LINEAR] = linear,
    [RATE_POLY] = poly,
    [RATE_REDUCE_ON_PLATEAU] = reduce_on_plateau,
    [RATE_ONE_CYCLE] = one_cycle,
};

bool rate_is_by_step(const RateSchedule *s)
{
    return s->by_step != 0 || s->kind == RATE_ONE_CYCLE;
}

double rate_at(const RateSchedule *s, const RateRun *run, int64_t step, double cuts)
{
    int64_t an_epoch = larger(run->epoch_steps, 1);
    bool by_step = rate_is_by_step(s);
    Moment m = {.s = s,
                .base = run->base,
                .unit = (double)(by_step ? step - 1 : (step - 1) / an_epoch),
                .units = (double)larger(by_step ? run->epochs * an_epoch : run->epochs, 1),
                .cuts = (int)cuts};
    double rate = closed_form[s->kind](&m);
    return s->warmup > 0 ? rate * fmin(1, (double)step / s->warmup) : rate;
}

/* ---- what has a memory ---- */

/* PyTorch's threshold: what is better by less is no better. */
static const double THRESHOLD = 1e-4;

void plateau_follow(const RateSchedule *s, Plateau *p, double loss, double accuracy)
{
    double value = s->accuracy != 0 ? accuracy : loss;
    bool better = isnan(p->best) || (s->accuracy != 0 ? value > p->best * (1 + THRESHOLD)
                                                      : value < p->best * (1 - THRESHOLD));
    if (better)
        p->best = value;
    p->bad = better ? 0 : p->bad + 1;
    if (p->bad <= s->patience)
        return;
    p->cuts++;
    p->bad = 0;
}

/* ---- what is surely a mistake ---- */

/* The setting that counts units and stands against the run; NULL: none. */
static const char *misfit(const RateSchedule *s, double units, double *count, const char **what)
{
    *what = "";
    switch (s->kind) {
    case RATE_STEP:
        *count = s->step_size;
        *what = "the rate never changes";
        return *count >= units ? "step_size" : NULL;
    case RATE_MULTI_STEP:
        *count = s->milestone[s->milestones > 0 ? s->milestones - 1 : 0];
        *what = "it is never reached";
        return s->milestones > 0 && *count >= units ? "milestones" : NULL;
    case RATE_COSINE_ANNEALING:
        *count = s->t_max;
        *what = *count > units ? "the rate does not come down to eta_min" : "the rate rises again";
        return *count > 0 && *count != units ? "t_max" : NULL;
    case RATE_LINEAR:
        *count = s->total_iters;
        *what = "the rate does not come to end_factor";
        return *count > units ? "total_iters" : NULL;
    case RATE_POLY:
        *count = s->total_iters;
        *what = *count > units ? "the rate does not come down to 0" : "the rate is 0 from there on";
        return *count > 0 && *count != units ? "total_iters" : NULL;
    case RATE_REDUCE_ON_PLATEAU:
        *count = s->patience;
        *what = "the rate is never reduced";
        return *count + 1 >= units ? "patience" : NULL;
    case RATE_ONE_CYCLE:
        *count = s->total_steps;
        *what = *count > units ? "the cycle does not end" : "the rate stays at its least";
        return *count > 0 && *count != units ? "total_steps" : NULL;
    case RATE_CONSTANT:
    case RATE_EXPONENTIAL:
    case RATE_KIND_COUNT: break;
    }
    return NULL;
}

const char *rate_misfit(const RateSchedule *s, int64_t units, char *text, size_t size)
{
    double count = 0;
    const char *what, *setting = misfit(s, (double)units, &count, &what);
    const char *unit = rate_is_by_step(s) ? "step" : "epoch";
    const char *last = s->kind == RATE_MULTI_STEP ? "the last of " : "";
    if (setting)
        snprintf(text, size, "%s%s's %s is %.0f, but the run has %lld %s%s: %s", last,
                 rate_names[s->kind], setting, count, (long long)units, unit,
                 units == 1 ? "" : "s", what);
    return setting;
}
