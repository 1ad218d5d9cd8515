/* The training loop: epochs over the data set, evaluation, checkpoints, an orderly end. */
#include "run.h"

#include <math.h>
#include <string.h>

/* The step is done, and what can be saved is. */
static bool ending(const Run *r)
{
    return stop_signal || r->failed;
}

/* ---- evaluation ---- */

/* Of the images that evaluations go over. */
static const char *split_name(const Run *r)
{
    return r->validates ? "validation" : "test";
}

static int take_evaluation(Run *r, const Evaluation *e)
{
    const Metrics *m = &e->metrics;
    LogEntry entry = {.step = r->state.step,
                      .epoch = r->state.epoch + 1,
                      .epochs = r->state.epochs,
                      .validation = r->validates,
                      .loss = mean(m->loss, m->weight),
                      .accuracy = mean((double)m->correct, (double)m->images)};
    run_fail(r, log_eval(&r->log, &entry, e));
    if (m->images > 0 && !isfinite(m->loss)) {
        char loss[80];
        snprintf(loss, sizeof loss, "the loss of the %s images after step %lld",
                 split_name(r), (long long)r->state.step);
        return run_stop_diverged(r, loss);
    }
    r->tested_loss = entry.loss;
    r->tested_accuracy = entry.accuracy;
    if (!r->failed && entry.accuracy > r->state.best_accuracy) {
        r->state.best_accuracy = entry.accuracy;
        r->state.best_step = r->state.step;
        run_fail(r, run_save_best(r));
    }
    return 0;
}

/* One that fails leaves the parameters as they are: they can be saved. */
static int evaluate_epoch(Run *r)
{
    Evaluation e;
    EvaluationTask task = {.data = &r->test,
                           .stop = &stop_signal,
                           .confusion = r->log.board != NULL,
                           .class_weight = r->class_weight,
                           .follow = r->log.bar ? run_show_evaluation : NULL,
                           .who = r};
    if (run_collect(r) < 0)
        return -1;
    run_write_histograms(r);
    r->evaluating_at = clock_seconds();
    run_fail(r, evaluate_set(r->model, r->table, r->device, &task, &e));
    r->collected_at = clock_seconds(); /* the speed of training does not count evaluation */
    int status = ending(r) ? 0 : take_evaluation(r, &e);
    evaluation_free(&e);
    return status;
}

/* ---- saving ---- */

static bool is_finite(const Run *r)
{
    char why[256];
    Messages before = fault_silence(why, sizeof why);
    int status = weights_check_finite(r->weights, r->state.step);
    fault_release(before);
    return status == 0;
}

/* -1: the parameters are not worth saving. */
static int save_checkpoint(Run *r)
{
    if (run_collect(r) < 0)
        return -1;
    log_clear(&r->log); /* for what may be said */
    r->saved_step = r->state.step;
    if (checkpoints_write(r->checkpoints, &r->state, r->table, r->device) == 0)
        return 0;
    r->failed = true;
    return is_finite(r) ? 0 : -1;
}

/* After a step and what follows it: the interval is over, or no accuracy was as good. */
static int save_if_due(Run *r, bool best)
{
    if (!r->checkpoints)
        return 0;
    if (checkpoints_check(r->checkpoints) < 0) {
        log_clear(&r->log);
        run_fail(r, checkpoints_wait(r->checkpoints));
        return 0;
    }
    bool due = r->checkpoint_every > 0 && r->state.step % r->checkpoint_every == 0;
    return best || (due && r->state.step != r->saved_step) ? save_checkpoint(r) : 0;
}

static int save_all(Run *r)
{
    log_clear(&r->log);
    if (r->checkpoints) {
        bool due = r->state.step != r->saved_step && checkpoints_check(r->checkpoints) == 0;
        if (due && save_checkpoint(r) < 0)
            return -1;
        run_fail(r, checkpoints_wait(r->checkpoints));
    }
    run_fail(r, run_save(r));
    return 0;
}

/* ---- the loop ---- */

static bool finished(const Run *r)
{
    return r->state.step >= r->steps || ending(r);
}

static int after_step(Run *r)
{
    bool whole = r->state.step % r->log_every == 0;
    if (r->table->target == NINC_CPU && run_collect(r) < 0) /* nothing waits for it */
        return -1;
    if ((whole || finished(r)) && run_log_interval(r, finished(r)) < 0)
        return -1;
    if (whole && !r->failed)
        r->state.logged = (Sums){0};
    if (r->state.step % STALL_STEPS == 0) {
        if (run_collect(r) < 0)
            return -1;
        run_check_stall(r);
    }
    return run_show_progress(r);
}

/* Steps whose images the system reads meanwhile. */
enum { STEPS_AHEAD = 4 };

/* At the start of an epoch, or of a run, the images of all these steps, later those of the last. */
static void read_ahead(const Run *r, int valid, int batch)
{
    int first = r->state.images + valid, span = STEPS_AHEAD * batch, last = first + span;
    bool begins = r->state.images == 0 || r->state.step == r->first_step;
    first = begins ? first : last - batch;
    last = last < r->train.count ? last : r->train.count;
    if (first < last)
        dataset_ahead(&r->train, r->order + first, last - first);
}

static int train_step(Run *r)
{
    const NincProgram *program = &device_target(r->model, r->table)->train;
    int left = r->train.count - r->state.images;
    double rate = run_rate(r, r->state.step + 1);
    run_order_epoch(r);
    StepInput input = {.data = &r->train,
                       .index = r->order + r->state.images,
                       .valid = left < program->batch ? left : program->batch,
                       .lr = (float)rate,
                       .step = (int)(r->state.step + 1),
                       .seed = step_seed(r->state.seed),
                       .epoch = r->state.epoch};
    input.label_weight = label_weight(r->class_weight, &input);
    read_ahead(r, input.valid, program->batch);
    if (dataset_use(input.data, input.index, input.valid) < 0 ||
        device_step(r->table, r->device, program, &input) < 0)
        return -1;
    r->state.step++;
    r->state.used_lr = rate;
    r->state.images += input.valid;
    return after_step(r);
}

/* So many epochs behind the best one: it follows from the state, so that a run that has stopped and
 * is resumed has stopped. */
static bool stops_early(const Run *r)
{
    int64_t steps = ceil_div(r->train.count, device_target(r->model, r->table)->train.batch);
    return r->model->early_stop > 0 && r->state.best_accuracy >= 0 && r->state.images == 0 &&
           r->state.epoch - ceil_div(r->state.best_step, steps) >= r->model->early_stop;
}

/* The last line of the log, which no interval's end has brought. */
static int say_early(Run *r)
{
    if (run_log_interval(r, true) < 0)
        return -1;
    log_say(&r->log, "stopped early: no better %s accuracy in %d epoch%s than %.4f after step "
                     "%lld\n",
            split_name(r), r->model->early_stop, r->model->early_stop == 1 ? "" : "s",
            r->state.best_accuracy, (long long)r->state.best_step);
    return 0;
}

/* An evaluation that is cut short leaves the epoch to be evaluated by the resumed run. */
static int end_epoch(Run *r)
{
    if (!r->options->no_eval && evaluate_epoch(r) < 0)
        return -1;
    if (ending(r))
        return 0;
    run_follow_plateau(r);
    r->state.epoch++;
    r->state.images = 0;
    return 0;
}

static int train_epochs(Run *r)
{
    while (!ending(r) && r->state.epoch < r->state.epochs) {
        if (stops_early(r))
            return say_early(r);
        double best = r->state.best_accuracy;
        if (r->state.images < r->train.count) {
            if (finished(r))
                break;
            if (train_step(r) < 0)
                return -1;
        }
        if (r->state.images == r->train.count && !ending(r) && end_epoch(r) < 0)
            return -1;
        if (save_if_due(r, r->state.best_accuracy > best) < 0)
            return -1;
    }
    return 0;
}

static int run_all(Run *r)
{
    r->started_at = r->collected_at = clock_seconds();
    if (run_catch_up(r) < 0 || train_epochs(r) < 0)
        return -1;
    run_write_histograms(r);
    if (save_all(r) < 0)
        return -1;
    if (ending(r))
        run_say_stop(r);
    else
        run_say_done(r, clock_seconds() - r->started_at);
    run_fail(r, log_check(&r->log));
    return 0;
}

int train(const NincModel *model, const DeviceTable *table, const TrainOptions *options)
{
    Run run = {.model = model, .table = table, .options = options};
    stop_catch();
    int status = run_set_up(&run);
    if (status == 0) {
        stop_finishes();
        run.log.stop = &stop_signal;
        status = run_all(&run);
    }
    if (log_close(&run.log) < 0)
        status = -1;
    run_tear_down(&run);
    if (status < 0 || run.failed)
        return 1;
    return stop_signal ? 128 + stop_signal : 0;
}
