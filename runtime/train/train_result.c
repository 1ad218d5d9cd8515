/* What comes of a training run: where its parameters go, and the lines that it ends with. */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the place ---- */

static bool exists(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0;
}

/* Takes the name where nobody has it. */
static bool claim(Run *r, char *name)
{
    char owner[320];
    LockResult got = lock_try(&r->save_lock, name, owner, sizeof owner);
    if (got == LOCK_ANOTHERS)
        return false;
    if (got == LOCK_IMPOSSIBLE)
        notice("cannot lock %s: %s; see to it that no other run writes there", name,
               strerror(errno));
    if (!exists(name)) /* its run may have ended just now */
        return true;
    lock_release(&r->save_lock);
    return false;
}

/* The first name with this stem. */
static void claim_first(Run *r, const char *stem)
{
    int number = 0;
    lock_release(&r->save_lock);
    do {
        free(r->save);
        r->save = unused_name(stem, number + 1, &number);
    } while (!claim(r, r->save));
}

static int claim_default(Run *r)
{
    if (access(".", W_OK | X_OK) != 0)
        return fault("cannot write %s.safetensors into this directory: %s; choose another place "
                     "with --save FILE, or give --no-save",
                     r->model->name, strerror(errno));
    claim_first(r, r->model->name);
    r->save_is_default = true;
    return 0;
}

bool is_random(const char *data)
{
    return data && strcmp(data, "random") == 0;
}

bool run_has_checkpoints(const Run *r)
{
    return r->options->checkpoint_dir || r->options->resume;
}

int run_claim_save(Run *r)
{
    const TrainOptions *o = r->options;
    if (o->save) {
        r->save = copy_text(o->save);
        return outfile_check(o->save) < 0 ? -1 : lock_take(&r->save_lock, o->save, o->save);
    }
    return o->no_save || run_has_checkpoints(r) || is_random(o->data) ? 0 : claim_default(r);
}

int run_claim_best(Run *r)
{
    const char *path = r->options->save_best;
    if (!path)
        return 0;
    r->best = weights_new(r->model);
    r->best_saved = exists(path) && r->options->resume;
    return !r->best || outfile_check(path) < 0 ? -1 : lock_take(&r->best_lock, path, path);
}

/* ---- saving ---- */

int run_save_best(Run *r)
{
    if (!r->best)
        return 0;
    log_clear(&r->log); /* for what may be said */
    if (weights_from_device(r->best, r->table, r->device) < 0 ||
        weights_check_finite(r->best, r->state.step) < 0 ||
        safetensors_write(r->options->save_best, r->best) < 0)
        return -1;
    r->best_saved = true;
    return 0;
}

static bool has_averages(const NincModel *model)
{
    for (int i = 0; i < model->storages; i++)
        if (model_storage(model)[i].role == NINC_ROLE_AVERAGE)
            return true;
    return false;
}

static int write_parameters(Run *r)
{
    if (safetensors_write(r->save, r->weights) < 0)
        return -1;
    r->saved = true;
    log_say(&r->log, "saved %s%s\n", r->save,
            has_averages(r->model) ? ", the mean of the parameters (ema)" : "");
    return 0;
}

static bool has_checkpoint(const Run *r)
{
    return r->checkpoints && checkpoints_check(r->checkpoints) == 0 && r->saved_step >= 0;
}

/* The place, or that of the checkpoints, could be written when the run began, and cannot be now:
 * what was trained goes to the working directory, or where temporary files go. */
static void rescue(Run *r)
{
    const char *temporary = getenv("TMPDIR");
    const char *place[] = {".", temporary && *temporary ? temporary : "/tmp"};
    /* A default name is of the working directory already. */
    for (int i = r->save_is_default; i < 2 && !r->saved; i++) {
        char *stem = i == 0 ? copy_text(r->model->name) : join_path(place[i], r->model->name);
        if (access(place[i], W_OK | X_OK) == 0) {
            claim_first(r, stem);
            write_parameters(r);
        }
        free(stem);
    }
}

/* Checkpoints were to keep what was trained, and could not be written. */
static bool lost_checkpoints(const Run *r)
{
    return r->checkpoints && checkpoints_check(r->checkpoints) < 0 && !r->options->no_save &&
           !r->state.random_data;
}

int run_save(Run *r)
{
    if ((!r->save && !lost_checkpoints(r)) ||
        (r->save_is_default && r->state.step == r->first_step))
        return 0;
    if (!r->weights && !(r->weights = weights_new(r->model)))
        return -1;
    r->weights->names = &r->names;
    if (weights_from_device(r->weights, r->table, r->device) < 0 ||
        weights_check_finite(r->weights, r->state.step) < 0)
        return -1;
    /* The name was free when the run began; what got it since stays. */
    if (r->save_is_default && exists(r->save) && claim_default(r) < 0)
        return -1;
    if (r->save && write_parameters(r) == 0)
        return 0;
    if (!has_checkpoint(r) && r->state.step > r->first_step)
        rescue(r);
    return -1;
}

/* ---- the last lines ---- */

/* The file that evaluates best, or is the last; NULL: nothing was kept. The caller frees it. */
static char *kept_parameters(const Run *r)
{
    char name[80];
    if (r->best_saved && r->state.best_accuracy >= 0)
        return copy_text(r->options->save_best);
    if (r->saved)
        return copy_text(r->save);
    if (!has_checkpoint(r))
        return NULL;
    int64_t steps[] = {r->state.best_accuracy >= 0 ? r->state.best_step : r->saved_step,
                       r->saved_step};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "step-%08lld/model.safetensors", (long long)steps[i]);
        char *path = join_path(r->checkpoint_directory, name);
        if (exists(path))
            return path;
        free(path);
    }
    return NULL;
}

static void say_next(Run *r)
{
    const TrainOptions *o = r->options;
    char *file = r->state.random_data ? NULL : kept_parameters(r);
    Text word = {0};
    if (!file)
        return;
    text_append_shell_word(&word, file);
    const char *program = o->program ? o->program : "trainer";
    const char *shared = o->shared ? o->shared : "", *space = *shared ? " " : "";
    log_say(&r->log, "next: %s eval --weights %s%s%s\n      %s predict --weights %s%s%s IMAGE\n",
            program, word.data, space, shared, program, word.data, space, shared);
    text_free(&word);
    free(file);
}

/* Of a run that was resumed the best may have been written by the one before. */
static void say_best(Run *r)
{
    if (r->best && r->best_saved && r->state.best_accuracy >= 0)
        log_say(&r->log, "best %s accuracy %.4f after step %lld: %s\n",
                r->validates ? "validation" : "test", r->state.best_accuracy,
                (long long)r->state.best_step, r->options->save_best);
    else if (r->best)
        log_say(&r->log, "%s: %s is not written\n",
                r->state.best_accuracy < 0 ? "nothing was evaluated"
                                           : "no accuracy was better than the best so far",
                r->options->save_best);
}

void run_say_done(Run *r, double seconds)
{
    long long steps = r->state.step - r->first_step;
    log_say(&r->log, "done: %lld step%s in %.1f s\n", steps, steps == 1 ? "" : "s", seconds);
    say_best(r);
    if (r->save_is_default && !r->saved && !r->failed)
        log_say(&r->log, "nothing was trained, so nothing is saved\n");
    say_next(r);
}

static void say_go_on(Run *r, const char *flag, const char *path)
{
    const char *command = r->options->command;
    Text word = {0};
    text_append_shell_word(&word, path);
    log_say(&r->log, "go on with\n  %s --%s %s\n", command ? command : "trainer train", flag,
            word.data);
    text_free(&word);
}

void run_say_stop(Run *r)
{
    if (r->failed)
        log_say(&r->log, "stopped after step %lld, as not all could be written; ",
                (long long)r->state.step);
    else
        log_say(&r->log, "stopped by %s after step %lld; ", stop_name(), (long long)r->state.step);
    if (has_checkpoint(r)) {
        say_go_on(r, "resume", r->checkpoint_directory);
    } else if (r->saved) {
        say_go_on(r, "init", r->save);
        log_say(&r->log, "the optimizer's state is lost%s\n",
                r->checkpoints ? "" : "; --checkpoint-dir DIR would have kept it");
    } else if (r->checkpoints)
        log_say(&r->log, "what came after the last whole checkpoint is lost\n");
    else
        log_say(&r->log, "nothing was saved;\n--checkpoint-dir DIR saves a run to go on with, "
                         "--save FILE its parameters\n");
    if (r->saved)
        say_next(r);
}
