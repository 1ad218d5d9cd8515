/* The training loop: epochs over the data set, evaluation, checkpoints, an orderly end. */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
}

/* The first signal asks for an orderly end, a second one kills. Writing goes on after it. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- evaluation ---- */

static int take_evaluation(Run *r, const Evaluation *e)
{
    const Metrics *m = &e->metrics;
    LogEntry entry = {.step = r->state.step,
                      .epoch = r->state.epoch + 1,
                      .epochs = r->state.epochs,
                      .loss = mean(m->loss, m->images),
                      .accuracy = mean((double)m->correct, m->images)};
    if (log_eval(&r->log, &entry, e) < 0)
        return -1;
    if (m->images > 0 && !isfinite(m->loss)) {
        char loss[80];
        snprintf(loss, sizeof loss, "the loss of the test images after step %lld",
                 (long long)r->state.step);
        return run_stop_diverged(r, loss);
    }
    if (entry.accuracy > r->state.best_accuracy) {
        r->state.best_accuracy = entry.accuracy;
        r->state.best_step = r->state.step;
    }
    return 0;
}

static int evaluate_epoch(Run *r)
{
    Evaluation e;
    EvaluationTask task = {
        .data = &r->test, .stop = &stop_signal, .confusion = r->log.board != NULL};
    if (run_collect(r) < 0 || run_write_histograms(r) < 0 ||
        evaluate_set(r->model, r->table, r->device, &task, &e) < 0)
        return -1;
    r->collected_at = clock_seconds(); /* the speed of training does not count evaluation */
    int status = stop_signal ? 0 : take_evaluation(r, &e);
    evaluation_free(&e);
    return status;
}

/* ---- saving ---- */

static int save_checkpoint(Run *r)
{
    if (run_collect(r) < 0)
        return -1;
    log_clear(&r->log); /* for what may be said */
    r->saved_step = r->state.step;
    return checkpoints_write(r->checkpoints, &r->state, r->table, r->device);
}

/* After a step and what follows it: the interval is over, or no test accuracy was as good. */
static int save_if_due(Run *r, bool best)
{
    if (!r->checkpoints)
        return 0;
    if (checkpoints_check(r->checkpoints) < 0) {
        log_clear(&r->log);
        return checkpoints_wait(r->checkpoints);
    }
    bool due = r->checkpoint_every > 0 && r->state.step % r->checkpoint_every == 0;
    return best || (due && r->state.step != r->saved_step) ? save_checkpoint(r) : 0;
}

static int save_all(Run *r)
{
    log_clear(&r->log);
    if (r->checkpoints && ((r->state.step != r->saved_step && save_checkpoint(r) < 0) ||
                           checkpoints_wait(r->checkpoints) < 0))
        return -1;
    if (!r->options->save)
        return 0;
    if (!r->weights && !(r->weights = weights_new(r->model)))
        return -1;
    if (weights_from_device(r->weights, r->table, r->device) < 0 ||
        weights_check_finite(r->weights, r->state.step) < 0 ||
        safetensors_write(r->options->save, r->weights) < 0)
        return -1;
    printf("saved %s\n", r->options->save);
    return 0;
}

/* ---- the loop ---- */

static bool finished(const Run *r)
{
    return r->state.step >= r->steps || stop_signal;
}

static int after_step(Run *r)
{
    bool whole = r->state.step % r->log_every == 0;
    if (r->table->target == NINC_CPU && run_collect(r) < 0) /* nothing waits for it */
        return -1;
    if ((whole || finished(r)) && run_log_interval(r, finished(r)) < 0)
        return -1;
    if (whole)
        r->state.logged = (Sums){0};
    if (r->state.step % STALL_STEPS == 0) {
        if (run_collect(r) < 0)
            return -1;
        run_check_stall(r);
    }
    return run_show_progress(r);
}

static void order_epoch(Run *r)
{
    if (r->ordered == r->state.epoch || !r->state.shuffle)
        return;
    Random random = random_stream(r->state.seed, STREAM_EPOCH + (uint64_t)r->state.epoch);
    random_permutation(&random, r->order, r->train.count);
    r->ordered = r->state.epoch;
}

static int train_step(Run *r)
{
    const NincProgram *program = &device_target(r->model, r->table)->train;
    int left = r->train.count - r->state.images;
    order_epoch(r);
    StepInput input = {.data = &r->train,
                       .index = r->order + r->state.images,
                       .valid = left < program->batch ? left : program->batch,
                       .lr = (float)r->state.lr,
                       .step = (int)(r->state.step + 1)};
    if (r->table->step(r->device, program, &input) < 0)
        return -1;
    r->state.step++;
    r->state.images += input.valid;
    return after_step(r);
}

/* An evaluation that a signal cuts short leaves the epoch to be evaluated by the resumed run. */
static int end_epoch(Run *r)
{
    if (!r->options->no_eval && evaluate_epoch(r) < 0)
        return -1;
    if (stop_signal)
        return 0;
    r->state.epoch++;
    r->state.images = 0;
    return 0;
}

static int train_epochs(Run *r)
{
    while (!stop_signal && r->state.epoch < r->state.epochs) {
        double best = r->state.best_accuracy;
        if (r->state.images < r->train.count) {
            if (finished(r))
                break;
            if (train_step(r) < 0)
                return -1;
        }
        if (r->state.images == r->train.count && !stop_signal && end_epoch(r) < 0)
            return -1;
        if (save_if_due(r, r->state.best_accuracy > best) < 0)
            return -1;
    }
    return 0;
}

static void print_stop(const Run *r, FILE *out)
{
    fprintf(out, "stopped by %s after step %lld", stop_signal == SIGINT ? "SIGINT" : "SIGTERM",
            (long long)r->state.step);
    if (r->checkpoints) {
        const char *command = r->options->command;
        Text directory = {0};
        text_append_shell_word(&directory, r->checkpoint_directory);
        fprintf(out, "; go on with\n  %s --resume %s\n", command ? command : "trainer train",
                directory.data);
        text_free(&directory);
    } else
        fprintf(out, "; %s\n",
                r->options->save
                    ? "go on from the saved parameters with --init; the optimizer's state is lost, "
                      "--checkpoint-dir DIR would have kept it"
                    : "nothing was saved; --checkpoint-dir DIR saves a run to go on with, --save "
                      "FILE its parameters");
}

static int run_all(Run *r)
{
    r->started_at = r->collected_at = clock_seconds();
    if (train_epochs(r) < 0 || run_write_histograms(r) < 0 || save_all(r) < 0)
        return -1;
    double seconds = clock_seconds() - r->started_at;
    log_clear(&r->log);
    if (stop_signal) {
        print_stop(r, stdout);
        if (fflush(stdout) != 0)
            print_stop(r, stderr);
        return 0;
    }
    printf("done: %lld steps in %.1f s\n", (long long)(r->state.step - r->first_step), seconds);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

int train(const NincModel *model, const DeviceTable *table, const TrainOptions *options)
{
    Run run = {.model = model, .table = table, .options = options};
    int status = run_set_up(&run);
    if (status == 0) {
        catch_signals();
        run.log.stop = &stop_signal;
        status = run_all(&run);
    }
    if (log_close(&run.log) < 0)
        status = -1;
    run_tear_down(&run);
    if (status < 0)
        return 1;
    return stop_signal ? 128 + stop_signal : 0;
}
