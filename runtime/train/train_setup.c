/* The set-up of a training run: fresh or from a checkpoint; its data, device, parameters, logs. */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- where it starts ---- */

static void start_fresh(Run *r)
{
    const TrainOptions *o = r->options;
    r->state = (RunState){.epochs = r->model->epochs,
                          .seed = o->seed,
                          .shuffle = !o->no_shuffle,
                          .random_data = is_random(o->data),
                          .lr = o->lr >= 0 ? o->lr : r->model->lr,
                          .model_lr = r->model->lr,
                          .used_lr = NAN,
                          .plateau = {NAN, NAN, NAN},
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
    if (o->data && is_random(o->data) != s->random_data)
        return fault("--data %s contradicts the checkpoint %s, whose run has %s; leave it out",
                     o->data, at, s->random_data ? "random images" : "the images of a data set");
    return 0;
}

/* The rate that is asked for, or that the model has otherwise than it had, goes before that of the
 * checkpoint. One that does not say what the model had keeps its own. */
static void settle_rate(Run *r)
{
    RunState *s = &r->state;
    double model = r->model->lr;
    r->resumed_lr = s->lr;
    if (r->options->lr >= 0)
        s->lr = r->options->lr;
    else if (isfinite(s->model_lr) && s->model_lr != model)
        s->lr = model;
    s->model_lr = model;
}

static int start_from_checkpoint(Run *r)
{
    const TrainOptions *o = r->options;
    if (checkpoint_find(o->resume, &r->resumed_from, &r->checkpoint_directory) < 0 ||
        checkpoint_load(r->resumed_from, &r->state, r->weights) < 0)
        return -1;
    r->saved_step = r->state.step;
    settle_rate(r);
    return check_contradictions(r);
}

static int start_state(Run *r)
{
    const TrainOptions *o = r->options;
    r->saved_step = r->ordered = -1;
    r->weights =
        run_has_checkpoints(r) ? weights_new_with_moments(r->model) : weights_new(r->model);
    if (!r->weights)
        return -1;
    start_fresh(r);
    if (o->resume && start_from_checkpoint(r) < 0)
        return -1;
    if (o->epochs >= 0)
        r->state.epochs = o->epochs;
    run_start_plateau(r);
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
                     r->resumed_from, (long long)s->step, s->images, s->epoch + 1);
    return 0;
}

static int identify_data(Run *r)
{
    const Dataset *d = &r->train;
    uint32_t crc = dataset_crc(d);
    if (r->resumed_from && check_data(r, crc) < 0)
        return -1;
    r->state.training_images = d->count;
    r->state.data_crc = crc;
    return 0;
}

/* ---- what it needs ---- */

static int load_data(Run *r)
{
    DataSource source = {.model = r->model,
                         .data = r->state.random_data ? "random" : r->options->data,
                         .seed = r->state.seed,
                         .skip_bad = r->options->skip_bad,
                         .threads = r->options->device.threads};
    if (run_check_order(r) < 0 || dataset_load_training(&source, &r->train, &r->test) < 0)
        return -1;
    class_names_to_keep(r->model, source.data, &r->train, &r->names);
    r->weights->names = &r->names;
    if (r->best)
        r->best->names = &r->names;
    r->order = dataset_order(&r->train);
    r->class_weight = class_weights(r->model, &r->train);
    if (!r->state.random_data && !r->model->balanced) /* class_weights says it of those */
        note_empty_classes(r->model, &r->train);
    r->validates = r->test.count > 0;
    if (r->options->no_eval)
        dataset_free(&r->test);
    else if (!r->validates)
        return dataset_load(&source, SPLIT_TEST, &r->test);
    return 0;
}

static int load_weights(Run *r)
{
    const TrainOptions *o = r->options;
    int status = 0;
    if (!r->resumed_from) {
        weights_init(r->weights, r->state.seed);
        normalize_forget(r->weights);
    }
    if (o->init)
        status = weights_read(o->init, r->weights);
    else if (o->init_partial)
        status = weights_read_partial(o->init_partial, r->weights);
    weights_set_classes(r->weights, r->class_weight);
    if (status == 0)
        status = normalize_by(r->weights, &r->train, device_programs(r->table), o->device.threads);
    if (status < 0 || weights_to_device(r->weights, r->table, r->device) < 0)
        return -1;
    if (!run_has_checkpoints(r)) {
        weights_free(r->weights);
        r->weights = NULL;
    }
    return 0;
}

static void set_text(const char *text, char *out)
{
    printable(text ? text : "", out, STATE_TEXT);
}

/* Says where the run goes on in other arithmetic, which is allowed; from here on it is this one. */
static void identify_arithmetic(Run *r)
{
    char precision[STATE_TEXT], set[STATE_TEXT];
    RunState *s = &r->state;
    set_text(device_target(r->model, r->table)->precision, precision);
    set_text(r->table->arithmetic(r->device), set);
    bool other = (s->precision[0] && strcmp(s->precision, precision) != 0) ||
                 (s->instruction_set[0] && strcmp(s->instruction_set, set) != 0);
    if (r->resumed_from && other)
        notice("the checkpoint %s was computed in %s on %s; it goes on in %s on %s, so the numbers "
               "will differ in their last digits from those of a run that was never stopped",
               r->resumed_from, s->precision, s->instruction_set, precision, set);
    strcpy(s->precision, precision);
    strcpy(s->instruction_set, set);
}

static int open_device(Run *r)
{
    DeviceOptions options = r->options->device;
    options.with_train = true;
    options.images[0] = r->train.count;
    options.images[1] = r->test.count;
    r->device = device_open(r->model, &r->table, &options, &r->device_note);
    if (!r->device)
        return -1;
    identify_arithmetic(r);
    return 0;
}

static int open_checkpoints(Run *r)
{
    const TrainOptions *o = r->options;
    if (!run_has_checkpoints(r))
        return 0;
    char *from = r->checkpoint_directory ? realpath(r->checkpoint_directory, NULL) : NULL;
    if (o->checkpoint_dir) {
        free(r->checkpoint_directory);
        r->checkpoint_directory = copy_text(o->checkpoint_dir);
    }
    char *into = realpath(r->checkpoint_directory, NULL);
    bool same = from && into && strcmp(from, into) == 0;
    CheckpointOptions options = {
        .directory = r->checkpoint_directory, .keep = o->keep, .resumed = same ? &r->state : NULL};
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
                          .bar = !o->no_progress && bar_possible(STDOUT_FILENO)};
    LogCut cut = {.step = s->step,
                  .train = s->logged.images > 0 && s->step < r->steps,
                  .eval = s->images == s->training_images,
                  .evaluated = s->images == 0};
    return log_open(&r->log, &options, r->resumed_from ? &cut : NULL);
}

/* Lines for people: at most so many an epoch, and at least one; --log-every is obeyed. */
enum { SHOWN_AN_EPOCH = 10 };

static void settle_log(Run *r)
{
    int batch = device_target(r->model, r->table)->train.batch;
    int64_t epoch = ceil_div(r->train.count, batch), left = r->steps - r->state.step;
    int64_t span = epoch < left ? epoch : left;
    bool told = r->options->log_every > 0;
    r->log_every = told ? r->options->log_every : r->model->log_every;
    if (!told && r->log_every > epoch)
        r->log_every = (int)epoch;
    if (r->log_every < 1)
        r->log_every = 1;
    r->show_every = r->log_every;
    if (!told && span > SHOWN_AN_EPOCH * r->show_every)
        r->show_every *= ceil_div(span, SHOWN_AN_EPOCH * r->show_every);
}

/* The last batch of an epoch may be too small for a batch norm; before the run comes there. */
static int check_last_batch(const Run *r)
{
    int batch = device_target(r->model, r->table)->train.batch, last = r->train.count % batch;
    if (last == 0 || last >= r->model->least_images || r->steps < ceil_div(r->train.count, batch))
        return 0;
    int other = batch;
    while (other <= r->train.count && r->train.count % other != 0 &&
           r->train.count % other < r->model->least_images)
        other++;
    return fault("the last batch of an epoch of %d training images in batches of %d has %d image, "
                 "but a batch norm of one value an image needs %d images or more; compile the "
                 "model with --batch=%d",
                 r->train.count, batch, last, r->model->least_images, other);
}

static void settle_counts(Run *r)
{
    const TrainOptions *o = r->options;
    r->checkpoint_every =
        o->checkpoint_every >= 0 ? o->checkpoint_every : r->model->checkpoint_every;
    int batch = device_target(r->model, r->table)->train.batch;
    r->steps = r->state.epochs * ceil_div(r->train.count, batch);
    if (o->max_steps >= 0 && o->max_steps < r->steps)
        r->steps = o->max_steps;
    if (r->steps > INT32_MAX)
        r->steps = INT32_MAX;
    settle_log(r);
}

/* Where a resumed run starts, and its rate where that is not that of all. */
static void print_resumed(const Run *r)
{
    double lr = r->state.lr;
    printf("resumed from %s", strrchr(r->resumed_from, '/') + 1);
    if (lr != r->resumed_lr)
        printf("; learning rate %g (%g in the checkpoint)", lr, r->resumed_lr);
    else if (lr != r->model->lr)
        printf("; learning rate %g (%g in the model)", lr, r->model->lr);
    putchar('\n');
}

/* What is trained on what; each line fits a terminal. */
static void print_header(const Run *r)
{
    const NincTarget *target = device_target(r->model, r->table);
    printf("model %s on %s%s\n", r->model->name, r->table->describe(r->device), r->device_note);
    printf("%s, %.1f MB; %d training images, batch %d, %lld step%s\n", target->precision,
           (double)r->table->arena_bytes(r->device) / 1e6, r->train.count, target->train.batch,
           (long long)r->steps, r->steps == 1 ? "" : "s");
    if (r->test.count > 0 && r->validates)
        printf("%d validation images; the test images are left to eval\n", r->test.count);
    if (r->resumed_from)
        print_resumed(r);
    if (r->save_is_default)
        printf("the parameters will be saved in %s\n", r->save);
}

/* What another run writes is found out before anything is read or cut. */
static int claim_outputs(Run *r)
{
    const TrainOptions *o = r->options;
    if (run_claim_save(r) < 0 || run_claim_best(r) < 0 ||
        (o->log && lock_take(&r->json_lock, o->log, o->log) < 0))
        return -1;
    return o->csv ? lock_take(&r->csv_lock, o->csv, o->csv) : 0;
}

int run_set_up(Run *r)
{
    if (claim_outputs(r) < 0 || start_state(r) < 0 || load_data(r) < 0 || open_device(r) < 0 ||
        load_weights(r) < 0)
        return -1;
    settle_counts(r);
    if (run_check_schedule(r) < 0 || check_last_batch(r) < 0)
        return -1;
    if (isnan(r->state.used_lr)) /* an older checkpoint's, or no step is done */
        r->state.used_lr = run_rate(r, larger(r->state.step, 1));
    if ((run_has_checkpoints(r) && identify_data(r) < 0) || open_checkpoints(r) < 0 ||
        open_log(r) < 0)
        return -1;
    print_header(r);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

void run_tear_down(Run *r)
{
    checkpoints_close(r->checkpoints);
    watch_close(r->watch);
    if (r->device)
        r->table->close(r->device);
    weights_free(r->weights);
    dataset_free(&r->train);
    class_names_free(&r->names);
    weights_free(r->best);
    dataset_free(&r->test);
    free(r->order);
    free(r->class_weight);
    free(r->resumed_from);
    free(r->checkpoint_directory);
    lock_release(&r->save_lock);
    lock_release(&r->best_lock);
    lock_release(&r->json_lock);
    lock_release(&r->csv_lock);
    free(r->save);
}
