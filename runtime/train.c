/* The training loop: epochs over the data set, log lines, evaluation, saving. */
#include "../ir/ir.h"
#include "runtime.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STALL_STEPS = 500 };

/* Sums over the images since they were cleared. */
typedef struct Sums {
    double loss, seconds;
    int64_t correct, images;
} Sums;

typedef struct Run {
    const NincModel *model;
    const DeviceTable *table;
    const TrainOptions *options;
    Device *device;
    Weights *weights;
    Dataset train, test;
    int32_t *order; /* of the training images in this epoch */
    Log log;
    Sums logged, stall, shown; /* since the last log line, stall check, drawing of the bar */
    double collected_at;       /* seconds; when the device's metrics were last read */
    double started_at, shown_at;
    int64_t step, steps; /* done; of the whole run */
    int epochs, log_every, checkpoint_every;
    double lr;
    char *checkpoint; /* path of the checkpoint file; NULL: none */
    bool warned_stall, warned_finite;
    bool unlearnable; /* random labels */
} Run;

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
}

/* The first signal asks for an orderly end, a second one kills. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- metrics ---- */

static void add_sums(Sums *w, const Metrics *m, double seconds)
{
    w->loss += m->loss;
    w->correct += m->correct;
    w->images += m->images;
    w->seconds += seconds;
}

static void warn_dead(Run *r, const char *seen)
{
    if (r->warned_stall || r->unlearnable)
        return;
    log_clear(&r->log);
    notice("not learning: %s; the network is probably dead: try another --seed, a smaller --lr or "
           "another init in the model",
           seen);
    r->warned_stall = true;
}

/* Takes the sums off the device into all windows. */
static int collect(Run *r)
{
    Metrics m;
    if (r->table->read_metrics(r->device, &m) < 0)
        return -1;
    double at = clock_seconds(), seconds = at - r->collected_at;
    r->collected_at = at;
    add_sums(&r->logged, &m, seconds);
    add_sums(&r->stall, &m, seconds);
    add_sums(&r->shown, &m, seconds);
    if (m.all_logits_zero)
        warn_dead(r, "all logits were zero");
    if (!isfinite(m.loss) && m.images > 0 && !r->warned_finite) {
        log_clear(&r->log);
        notice("the loss is not finite any more at step %lld; a smaller learning rate "
               "(--lr) or another --init may help",
               (long long)r->step);
        r->warned_finite = true;
    }
    return 0;
}

/* A network whose last layer is a ReLU can start dead: all logits stay 0, the loss at ln K. */
static void check_stall(Run *r)
{
    char seen[160];
    double chance = log(r->model->classes), loss = mean(r->stall.loss, r->stall.images);
    double accuracy = mean((double)r->stall.correct, r->stall.images);
    r->stall = (Sums){0};
    if (!(loss >= 0.99 * chance) || !(accuracy <= 1.2 / r->model->classes))
        return;
    snprintf(seen, sizeof seen,
             "over the last %d steps the loss was no better than chance, "
             "ln %d = %.4f (mean %.4f, accuracy %.4f)",
             STALL_STEPS, r->model->classes, chance, loss, accuracy);
    warn_dead(r, seen);
}

static int log_window(Run *r, int epoch)
{
    if (collect(r) < 0)
        return -1;
    if (r->logged.images == 0)
        return 0;
    LogEntry entry = {
        .step = r->step,
        .epoch = epoch,
        .loss = r->logged.loss / (double)r->logged.images,
        .accuracy = (double)r->logged.correct / (double)r->logged.images,
        .lr = r->lr,
        .images_per_second = (double)r->logged.images / r->logged.seconds,
    };
    r->logged = (Sums){0};
    return log_train(&r->log, &entry);
}

static int show_progress(Run *r)
{
    double at = clock_seconds();
    if (!r->log.bar || at - r->shown_at < 0.2)
        return 0;
    if (collect(r) < 0)
        return -1;
    Progress p = {
        .step = r->step,
        .steps = r->steps,
        .loss = mean(r->shown.loss, r->shown.images),
        .accuracy = mean((double)r->shown.correct, r->shown.images),
        .images_per_second = (double)r->shown.images / r->shown.seconds,
        .seconds_left = (at - r->started_at) / (double)r->step * (double)(r->steps - r->step),
    };
    log_progress(&r->log, &p);
    r->shown = (Sums){0};
    r->shown_at = at;
    return 0;
}

/* ---- evaluation ---- */

static int evaluate_epoch(Run *r, int epochs_done)
{
    Evaluation e;
    if (r->options->no_eval)
        return 0;
    if (collect(r) < 0 ||
        evaluate_set(r->model, r->table, r->device, &r->test, &stop_signal, &e) < 0)
        return -1;
    Metrics m = e.metrics;
    evaluation_free(&e);
    r->collected_at = clock_seconds(); /* the speed of training does not count evaluation */
    if (stop_signal)
        return 0;
    LogEntry entry = {.step = r->step,
                      .epoch = epochs_done,
                      .loss = mean(m.loss, m.images),
                      .accuracy = mean((double)m.correct, m.images)};
    return log_eval(&r->log, &entry);
}

/* ---- saving ---- */

static int save_to(Run *r, const char *path)
{
    if (weights_from_device(r->weights, r->table, r->device) < 0)
        return -1;
    return safetensors_write(path, r->weights);
}

static int save_all(Run *r)
{
    log_clear(&r->log);
    if (r->checkpoint && save_to(r, r->checkpoint) < 0)
        return -1;
    if (!r->options->save)
        return 0;
    if (save_to(r, r->options->save) < 0)
        return -1;
    printf("saved %s\n", r->options->save);
    return 0;
}

static int prepare_checkpoint(Run *r)
{
    const char *directory = r->options->checkpoint_dir;
    if (!directory)
        return 0;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return fault("cannot make the checkpoint directory %s: %s; choose another place", directory,
                     strerror(errno));
    size_t bytes = strlen(directory) + sizeof "/model.safetensors";
    r->checkpoint = xmalloc(bytes);
    snprintf(r->checkpoint, bytes, "%s/model.safetensors", directory);
    return outfile_check(r->checkpoint);
}

/* ---- the loop ---- */

static bool finished(const Run *r)
{
    return r->step >= r->steps || stop_signal;
}

static int after_step(Run *r, int epoch)
{
    bool due = r->step % r->log_every == 0 || finished(r);
    if (due && log_window(r, epoch) < 0)
        return -1;
    if (r->step % STALL_STEPS == 0) {
        if (collect(r) < 0)
            return -1;
        check_stall(r);
    }
    if (r->checkpoint && r->checkpoint_every > 0 && r->step % r->checkpoint_every == 0 &&
        save_to(r, r->checkpoint) < 0)
        return -1;
    return show_progress(r);
}

static int train_epoch(Run *r, int epoch)
{
    const NincProgram *program = &device_target(r->model, r->table)->train;
    Random random = random_stream(r->options->seed, STREAM_EPOCH + (uint64_t)epoch);
    if (!r->options->no_shuffle)
        random_permutation(&random, r->order, r->train.count);
    for (int at = 0; at < r->train.count && !finished(r); at += program->batch) {
        int left = r->train.count - at;
        StepInput input = {.data = &r->train,
                           .index = r->order + at,
                           .valid = left < program->batch ? left : program->batch,
                           .lr = (float)r->lr,
                           .step = (int)(r->step + 1)};
        if (r->table->step(r->device, program, &input) < 0)
            return -1;
        r->step++;
        if (after_step(r, epoch) < 0)
            return -1;
        if (left <= program->batch && !stop_signal && evaluate_epoch(r, epoch + 1) < 0)
            return -1;
    }
    return 0;
}

static int train_epochs(Run *r)
{
    r->started_at = r->collected_at = clock_seconds();
    for (int epoch = 0; epoch < r->epochs && !finished(r); epoch++)
        if (train_epoch(r, epoch) < 0)
            return -1;
    if (save_all(r) < 0)
        return -1;
    double seconds = clock_seconds() - r->started_at;
    log_clear(&r->log);
    if (stop_signal)
        printf("stopped by %s after step %lld%s\n", stop_signal == SIGINT ? "SIGINT" : "SIGTERM",
               (long long)r->step,
               r->options->save || r->checkpoint ? "; go on from the saved parameters with --init"
                                                 : "; nothing was saved, as --save was not given");
    else
        printf("done: %lld steps in %.1f s\n", (long long)r->step, seconds);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

/* ---- set-up ---- */

static int load_data(Run *r)
{
    const TrainOptions *o = r->options;
    if (dataset_read(r->model, o->data, o->seed, SPLIT_TRAIN, &r->train) < 0)
        return -1;
    r->order = dataset_order(&r->train);
    if (o->no_eval)
        return 0;
    return dataset_read(r->model, o->data, o->seed, SPLIT_TEST, &r->test);
}

static int load_weights(Run *r)
{
    r->weights = weights_new(r->model);
    if (!r->weights)
        return -1;
    if (!r->options->init)
        weights_init(r->weights, r->options->seed);
    else if (safetensors_read(r->options->init, r->weights) < 0)
        return -1;
    return weights_to_device(r->weights, r->table, r->device);
}

static int open_device(Run *r)
{
    DeviceOptions options = r->options->device;
    options.with_train = true;
    r->device = device_open(r->model, &r->table, &options);
    return r->device ? 0 : -1;
}

static void settle_counts(Run *r)
{
    const TrainOptions *o = r->options;
    r->epochs = o->epochs >= 0 ? o->epochs : r->model->epochs;
    r->log_every = o->log_every > 0 ? o->log_every : r->model->log_every;
    if (r->log_every < 1)
        r->log_every = 1;
    r->checkpoint_every =
        o->checkpoint_every >= 0 ? o->checkpoint_every : r->model->checkpoint_every;
    r->lr = o->lr >= 0 ? o->lr : r->model->lr;
    r->unlearnable = o->data && strcmp(o->data, "random") == 0;
    int batch = device_target(r->model, r->table)->train.batch;
    r->steps = (int64_t)r->epochs * ((r->train.count + batch - 1) / batch);
    if (o->max_steps >= 0 && o->max_steps < r->steps)
        r->steps = o->max_steps;
    if (r->steps > INT32_MAX)
        r->steps = INT32_MAX;
}

static int set_up(Run *r)
{
    const TrainOptions *o = r->options;
    bool bar = !o->no_progress && isatty(STDOUT_FILENO);
    if ((o->save && outfile_check(o->save) < 0) || load_data(r) < 0 || open_device(r) < 0 ||
        load_weights(r) < 0 || prepare_checkpoint(r) < 0 || log_open(&r->log, o->log, bar) < 0)
        return -1;
    settle_counts(r);
    printf("model %s on %s, %.1f MB; %d training images, batch %d, %lld steps\n", r->model->name,
           r->table->describe(r->device), (double)r->table->arena_bytes(r->device) / 1e6,
           r->train.count, device_target(r->model, r->table)->train.batch, (long long)r->steps);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

static void tear_down(Run *r)
{
    if (r->device)
        r->table->close(r->device);
    weights_free(r->weights);
    dataset_free(&r->train);
    dataset_free(&r->test);
    free(r->order);
    free(r->checkpoint);
}

int train(const NincModel *model, const DeviceTable *table, const TrainOptions *options)
{
    Run run = {.model = model, .table = table, .options = options};
    int status = set_up(&run);
    if (status == 0) {
        catch_signals();
        status = train_epochs(&run);
    }
    if (log_close(&run.log) < 0)
        status = -1;
    tear_down(&run);
    if (status < 0)
        return 1;
    return stop_signal ? 128 + stop_signal : 0;
}
