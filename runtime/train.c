/* The training loop: epochs over the data set, log lines, evaluation, checkpoints. */
#include "../ir/ir.h"
#include "checkpoint.h"
#include "values.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { STALL_STEPS = 500, DEAD_IMAGES = 16 };

typedef struct Run {
    const NincModel *model;
    const DeviceTable *table;
    const TrainOptions *options;
    Device *device;
    Weights *weights; /* with moments where there are checkpoints */
    Dataset train, test;
    int32_t *order; /* of the training images in this epoch */
    int ordered;    /* the epoch that it is of; -1: none yet */
    Log log;
    RunState state;
    Sums shown;          /* since the last drawing of the bar */
    double collected_at; /* seconds; when the device's metrics were last read */
    double started_at, shown_at;
    int64_t first_step, saved_step; /* done when the run started, when it was last saved */
    int64_t steps;                  /* of the whole run */
    int log_every, checkpoint_every;
    Checkpoints *checkpoints; /* NULL: none are written */
    char *resumed_from, *checkpoint_directory;
    bool unlearnable;                     /* random labels */
    Watch *watch;                         /* NULL: not opened */
    int64_t collected_step, watched_step; /* whose metrics were read, whose histograms written */
    int64_t zero_images;                  /* the last images in a row whose logits were all zero */
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
    if (r->state.warned_stall || r->unlearnable)
        return;
    log_clear(&r->log);
    notice("not learning: %s; the network is probably dead: try another --seed, a smaller --lr or "
           "another init in the model",
           seen);
    r->state.warned_stall = true;
}

/* A log line of the images since the last one. The sums stay, as the last line of a run may stand
 * in the middle of an interval, with which a resumed run goes on. */
static int write_interval(Run *r)
{
    LogEntry entry = {
        .step = r->state.step,
        .epoch = r->state.epoch,
        .loss = r->state.logged.loss / (double)r->state.logged.images,
        .accuracy = (double)r->state.logged.correct / (double)r->state.logged.images,
        .lr = r->state.lr,
        .images_per_second = (double)r->state.logged.images / r->state.logged.seconds,
    };
    return log_train(&r->log, &entry);
}

static Watch *watch_of(Run *r)
{
    if (!r->watch)
        r->watch = watch_open(r->model, r->table, r->device);
    return r->watch;
}

/* Ends training on a loss that is not finite, and saves nothing more. Always -1. */
static int stop_diverged(Run *r, const char *loss)
{
    char bad[256], saved[64] = "";
    log_clear(&r->log);
    if (watch_find_bad(watch_of(r), bad, sizeof bad) < 0)
        return -1;
    if (r->checkpoints && r->saved_step >= 0)
        snprintf(saved, sizeof saved, "; the last good checkpoint is of step %lld",
                 (long long)r->saved_step);
    return fault("%s is not finite; %s; training stops and saves nothing more%s; try a smaller "
                 "--lr (it is %g), another --init or another --seed",
                 loss, bad, saved, r->state.lr);
}

/* The host learns of a bad loss when it reads the sums: on a GPU some steps later. */
static int stop_at_bad_step(Run *r)
{
    char loss[96];
    int64_t first = r->collected_step + 1, last = r->state.step;
    if (first >= last)
        snprintf(loss, sizeof loss, "the loss of step %lld", (long long)last);
    else
        snprintf(loss, sizeof loss, "the loss of one of the steps %lld to %lld", (long long)first,
                 (long long)last);
    return write_interval(r) < 0 ? -1 : stop_diverged(r, loss);
}

/* Single images may well have no logit above zero; a batch of them is a dead network. */
static void check_zero_logits(Run *r, const Metrics *m)
{
    int batch = device_target(r->model, r->table)->train.batch;
    r->zero_images = m->all_logits_zero ? r->zero_images + m->images : 0;
    if (r->zero_images >= (batch > DEAD_IMAGES ? batch : DEAD_IMAGES))
        warn_dead(r, "all logits of a whole batch were zero");
}

/* Takes the sums off the device into all windows. */
static int collect(Run *r)
{
    Metrics m;
    if (r->table->read_metrics(r->device, &m) < 0)
        return -1;
    if (m.images == 0)
        return 0;
    double at = clock_seconds(), seconds = at - r->collected_at;
    r->collected_at = at;
    add_sums(&r->state.logged, &m, seconds);
    add_sums(&r->state.stall, &m, seconds);
    add_sums(&r->shown, &m, seconds);
    check_zero_logits(r, &m);
    if (!isfinite(m.loss))
        return stop_at_bad_step(r);
    r->collected_step = r->state.step;
    return 0;
}

/* A network whose last layer is a ReLU can start dead: all logits stay 0, the loss at ln K. */
static void check_stall(Run *r)
{
    char seen[160];
    double chance = log(r->model->classes), loss = mean(r->state.stall.loss, r->state.stall.images);
    double accuracy = mean((double)r->state.stall.correct, r->state.stall.images);
    r->state.stall = (Sums){0};
    if (!(loss >= 0.99 * chance) || !(accuracy <= 1.2 / r->model->classes))
        return;
    snprintf(seen, sizeof seen,
             "over the last %d steps the loss was no better than chance, "
             "ln %d = %.4f (mean %.4f, accuracy %.4f)",
             STALL_STEPS, r->model->classes, chance, loss, accuracy);
    warn_dead(r, seen);
}

static int log_interval(Run *r)
{
    if (collect(r) < 0)
        return -1;
    return r->state.logged.images > 0 ? write_interval(r) : 0;
}

static int show_progress(Run *r)
{
    double at = clock_seconds();
    if (!r->log.bar || at - r->shown_at < 0.2)
        return 0;
    if (collect(r) < 0)
        return -1;
    int batch = device_target(r->model, r->table)->train.batch;
    int64_t left = r->steps - r->state.step;
    int64_t epoch_left = ceil_div(r->train.count - r->state.images, batch);
    if (epoch_left > left)
        epoch_left = left;
    double seconds_a_step = (at - r->started_at) / (double)(r->state.step - r->first_step);
    Progress p = {
        .step = r->state.step,
        .steps = r->steps,
        .epoch = r->state.epoch,
        .epochs = r->state.epochs,
        .loss = mean(r->shown.loss, r->shown.images),
        .accuracy = mean((double)r->shown.correct, r->shown.images),
        .images_per_second = (double)r->shown.images / r->shown.seconds,
        .epoch_seconds = seconds_a_step * (double)epoch_left,
        .seconds = seconds_a_step * (double)left,
    };
    log_progress(&r->log, &p);
    r->shown = (Sums){0};
    r->shown_at = at;
    return 0;
}

/* ---- evaluation ---- */

/* Histograms of the step that was just done, whose gradients the next program overwrites. */
static int write_histograms(Run *r)
{
    if (!r->log.board || r->watched_step == r->state.step)
        return 0;
    r->watched_step = r->state.step;
    return watch_histograms(watch_of(r), r->log.board, r->state.step);
}

static int take_evaluation(Run *r, const Evaluation *e)
{
    const Metrics *m = &e->metrics;
    LogEntry entry = {.step = r->state.step,
                      .epoch = r->state.epoch + 1,
                      .loss = mean(m->loss, m->images),
                      .accuracy = mean((double)m->correct, m->images)};
    if (log_eval(&r->log, &entry, e) < 0)
        return -1;
    if (m->images > 0 && !isfinite(m->loss))
        return stop_diverged(r, "the loss of the test images");
    if (entry.accuracy > r->state.best_accuracy) {
        r->state.best_accuracy = entry.accuracy;
        r->state.best_step = r->state.step;
    }
    return 0;
}

static int evaluate_epoch(Run *r)
{
    Evaluation e;
    if (collect(r) < 0 || write_histograms(r) < 0 ||
        evaluate_set(r->model, r->table, r->device, &r->test, &stop_signal, &e) < 0)
        return -1;
    r->collected_at = clock_seconds(); /* the speed of training does not count evaluation */
    int status = stop_signal ? 0 : take_evaluation(r, &e);
    evaluation_free(&e);
    return status;
}

/* ---- saving ---- */

static int save_checkpoint(Run *r)
{
    if (collect(r) < 0)
        return -1;
    r->saved_step = r->state.step;
    return checkpoints_write(r->checkpoints, &r->state, r->table, r->device);
}

/* After a step and what follows it: the interval is over, or no test accuracy was as good. */
static int save_if_due(Run *r, bool best)
{
    if (!r->checkpoints)
        return 0;
    if (checkpoints_check(r->checkpoints) < 0)
        return -1;
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
    if (weights_from_device(r->weights, r->table, r->device) < 0 ||
        weights_check_finite(r->weights) < 0 || safetensors_write(r->options->save, r->weights) < 0)
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
    if (r->table->target == NINC_CPU && collect(r) < 0) /* nothing waits for it */
        return -1;
    if ((whole || finished(r)) && log_interval(r) < 0)
        return -1;
    if (whole)
        r->state.logged = (Sums){0};
    if (r->state.step % STALL_STEPS == 0) {
        if (collect(r) < 0)
            return -1;
        check_stall(r);
    }
    return show_progress(r);
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

static void print_stop(const Run *r)
{
    printf("stopped by %s after step %lld", stop_signal == SIGINT ? "SIGINT" : "SIGTERM",
           (long long)r->state.step);
    if (r->checkpoints) {
        const char *command = r->options->command;
        Text directory = {0};
        append_shell_word(&directory, r->checkpoint_directory);
        printf("; go on with\n  %s --resume %s\n", command ? command : "trainer train",
               directory.data);
        text_free(&directory);
    } else
        printf("; %s\n", r->options->save ? "go on from the saved parameters with --init"
                                          : "nothing was saved, as --save was not given");
}

static int run_all(Run *r)
{
    r->started_at = r->collected_at = clock_seconds();
    if (train_epochs(r) < 0 || write_histograms(r) < 0 || save_all(r) < 0)
        return -1;
    double seconds = clock_seconds() - r->started_at;
    log_clear(&r->log);
    if (stop_signal)
        print_stop(r);
    else
        printf("done: %lld steps in %.1f s\n", (long long)(r->state.step - r->first_step), seconds);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

/* ---- set-up: where the run starts ---- */

static bool is_random(const char *data)
{
    return data && strcmp(data, "random") == 0;
}

static void start_fresh(Run *r)
{
    const TrainOptions *o = r->options;
    r->state = (RunState){.epochs = r->model->epochs,
                          .seed = o->seed,
                          .shuffle = !o->no_shuffle,
                          .random_data = is_random(o->data),
                          .lr = o->lr >= 0 ? o->lr : r->model->lr,
                          .best_accuracy = -1};
}

/* Flags that the checkpoint cannot be gone on with. */
static int check_contradictions(const Run *r)
{
    const TrainOptions *o = r->options;
    const RunState *s = &r->state;
    const char *at = r->resumed_from;
    if (o->seed_given && o->seed != s->seed)
        return fault("--seed %llu contradicts the checkpoint %s, whose seed is %llu; leave it out",
                     (unsigned long long)o->seed, at, (unsigned long long)s->seed);
    if (o->no_shuffle && s->shuffle)
        return fault("--no-shuffle contradicts the checkpoint %s, whose run shuffles; leave it out",
                     at);
    if (o->lr >= 0 && o->lr != s->lr)
        return fault("--lr %g contradicts the checkpoint %s, whose learning rate is %g; leave it "
                     "out",
                     o->lr, at, s->lr);
    if (o->data && is_random(o->data) != s->random_data)
        return fault("--data %s contradicts the checkpoint %s, whose run has %s; leave it out",
                     o->data, at, s->random_data ? "random images" : "the images of a data set");
    return 0;
}

static int start_from_checkpoint(Run *r)
{
    const TrainOptions *o = r->options;
    if (checkpoint_find(o->resume, &r->resumed_from, &r->checkpoint_directory) < 0 ||
        checkpoint_load(r->resumed_from, &r->state, r->weights) < 0)
        return -1;
    r->saved_step = r->state.step;
    return check_contradictions(r);
}

static int start_state(Run *r)
{
    const TrainOptions *o = r->options;
    bool checkpoints = o->checkpoint_dir || o->resume;
    r->saved_step = r->ordered = -1;
    r->weights = checkpoints ? weights_new_with_moments(r->model) : weights_new(r->model);
    if (!r->weights)
        return -1;
    start_fresh(r);
    if (o->resume && start_from_checkpoint(r) < 0)
        return -1;
    if (o->epochs >= 0)
        r->state.epochs = o->epochs;
    r->first_step = r->collected_step = r->watched_step = r->state.step;
    r->unlearnable = r->state.random_data;
    return 0;
}

/* Whether the data is what the checkpoint was trained on, and its place in the epoch is one. */
static int check_data(const Run *r, uint32_t crc)
{
    const RunState *s = &r->state;
    int batch = device_target(r->model, r->table)->train.batch;
    int64_t steps = s->epoch * ceil_div(s->training_images, batch) + ceil_div(s->images, batch);
    if (s->training_images != r->train.count || s->data_crc != crc)
        return fault("the %d training images are not the %d that the checkpoint %s was trained on; "
                     "give those with --data",
                     r->train.count, s->training_images, r->resumed_from);
    if (s->images > s->training_images || steps != s->step ||
        (s->images % batch != 0 && s->images != s->training_images))
        return fault("the checkpoint %s is damaged: step %lld is not where image %d of epoch %d is",
                     r->resumed_from, (long long)s->step, s->images, s->epoch);
    return 0;
}

static int identify_data(Run *r)
{
    const Dataset *d = &r->train;
    size_t bytes = (size_t)d->count * (size_t)(d->h * d->w * d->c);
    uLong crc = crc32_z(0, d->image, bytes);
    crc = crc32_z(crc, (const Bytef *)d->label, (size_t)d->count * sizeof *d->label);
    if (r->resumed_from && check_data(r, (uint32_t)crc) < 0)
        return -1;
    r->state.training_images = d->count;
    r->state.data_crc = (uint32_t)crc;
    return 0;
}

/* ---- set-up: what it needs ---- */

static int load_data(Run *r)
{
    const char *data = r->state.random_data ? "random" : r->options->data;
    if (dataset_read(r->model, data, r->state.seed, SPLIT_TRAIN, &r->train) < 0)
        return -1;
    r->order = dataset_order(&r->train);
    if (r->options->no_eval)
        return 0;
    return dataset_read(r->model, data, r->state.seed, SPLIT_TEST, &r->test);
}

static int load_weights(Run *r)
{
    const TrainOptions *o = r->options;
    int status = 0;
    if (!r->resumed_from)
        weights_init(r->weights, r->state.seed);
    if (o->init)
        status = safetensors_read(o->init, r->weights);
    else if (o->init_partial)
        status = safetensors_read_partial(o->init_partial, r->weights);
    return status < 0 ? -1 : weights_to_device(r->weights, r->table, r->device);
}

static int open_device(Run *r)
{
    DeviceOptions options = r->options->device;
    options.with_train = true;
    r->device = device_open(r->model, &r->table, &options);
    return r->device ? 0 : -1;
}

static int open_checkpoints(Run *r)
{
    const TrainOptions *o = r->options;
    if (!o->checkpoint_dir && !o->resume)
        return 0;
    char *from = r->checkpoint_directory ? realpath(r->checkpoint_directory, NULL) : NULL;
    if (o->checkpoint_dir) {
        free(r->checkpoint_directory);
        r->checkpoint_directory = copy_text(o->checkpoint_dir);
    }
    char *into = realpath(r->checkpoint_directory, NULL);
    bool same = from && into && strcmp(from, into) == 0;
    CheckpointOptions options = {
        .directory = r->checkpoint_directory, .keep = o->keep, .resumed = same};
    if (!same)
        r->saved_step = -1;
    free(from);
    free(into);
    r->checkpoints = checkpoints_open(&options, r->weights);
    return r->checkpoints ? 0 : -1;
}

static int open_log(Run *r)
{
    const TrainOptions *o = r->options;
    const RunState *s = &r->state;
    LogOptions options = {.json = o->log,
                          .csv = o->csv,
                          .tensorboard = o->tensorboard,
                          .bar = !o->no_progress && progress_possible()};
    LogCut cut = {.step = s->step,
                  .train = s->logged.images > 0 && s->step < r->steps,
                  .eval = s->images == s->training_images};
    return log_open(&r->log, &options, r->resumed_from ? &cut : NULL);
}

static void settle_counts(Run *r)
{
    const TrainOptions *o = r->options;
    r->log_every = o->log_every > 0 ? o->log_every : r->model->log_every;
    if (r->log_every < 1)
        r->log_every = 1;
    r->checkpoint_every =
        o->checkpoint_every >= 0 ? o->checkpoint_every : r->model->checkpoint_every;
    int batch = device_target(r->model, r->table)->train.batch;
    r->steps = r->state.epochs * ceil_div(r->train.count, batch);
    if (o->max_steps >= 0 && o->max_steps < r->steps)
        r->steps = o->max_steps;
    if (r->steps > INT32_MAX)
        r->steps = INT32_MAX;
}

static int set_up(Run *r)
{
    const TrainOptions *o = r->options;
    if ((o->save && outfile_check(o->save) < 0) || start_state(r) < 0 || load_data(r) < 0 ||
        open_device(r) < 0 || load_weights(r) < 0)
        return -1;
    settle_counts(r);
    bool checkpoints = o->checkpoint_dir || o->resume;
    if ((checkpoints && identify_data(r) < 0) || open_checkpoints(r) < 0 || open_log(r) < 0)
        return -1;
    printf("model %s on %s, %.1f MB; %d training images, batch %d, %lld steps\n", r->model->name,
           r->table->describe(r->device), (double)r->table->arena_bytes(r->device) / 1e6,
           r->train.count, device_target(r->model, r->table)->train.batch, (long long)r->steps);
    if (r->resumed_from)
        printf("resumed from %s\n", strrchr(r->resumed_from, '/') + 1);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

static void tear_down(Run *r)
{
    checkpoints_close(r->checkpoints);
    watch_close(r->watch);
    if (r->device)
        r->table->close(r->device);
    weights_free(r->weights);
    dataset_free(&r->train);
    dataset_free(&r->test);
    free(r->order);
    free(r->resumed_from);
    free(r->checkpoint_directory);
}

int train(const NincModel *model, const DeviceTable *table, const TrainOptions *options)
{
    Run run = {.model = model, .table = table, .options = options};
    int status = set_up(&run);
    if (status == 0) {
        catch_signals();
        status = run_all(&run);
    }
    if (log_close(&run.log) < 0)
        status = -1;
    tear_down(&run);
    if (status < 0)
        return 1;
    return stop_signal ? 128 + stop_signal : 0;
}
