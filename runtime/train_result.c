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

static int claim_default(Run *r)
{
    int number = 0;
    if (access(".", W_OK | X_OK) != 0)
        return fault("cannot write %s.safetensors into this directory: %s; choose another place "
                     "with --save FILE, or give --no-save",
                     r->model->name, strerror(errno));
    do {
        free(r->save);
        r->save = unused_name(r->model->name, number + 1, &number);
    } while (!claim(r, r->save));
    r->save_is_default = true;
    return 0;
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

/* ---- saving ---- */

/* The name was free when the run began; what got it since stays. */
static int renew_default(Run *r)
{
    if (!r->save_is_default || !exists(r->save))
        return 0;
    lock_release(&r->save_lock);
    return claim_default(r);
}

int run_save(Run *r)
{
    if (!r->save || (r->save_is_default && r->state.step == r->first_step))
        return 0;
    if (!r->weights && !(r->weights = weights_new(r->model)))
        return -1;
    if (weights_from_device(r->weights, r->table, r->device) < 0 ||
        weights_check_finite(r->weights, r->state.step) < 0 || renew_default(r) < 0 ||
        safetensors_write(r->save, r->weights) < 0)
        return -1;
    r->saved = true;
    log_say(&r->log, "saved %s\n", r->save);
    return 0;
}

/* ---- the last lines ---- */

static bool has_checkpoint(const Run *r)
{
    return r->checkpoints && checkpoints_check(r->checkpoints) == 0 && r->saved_step >= 0;
}

/* The file that evaluates best, or is the last; NULL: nothing was kept. The caller frees it. */
static char *kept_parameters(const Run *r)
{
    char name[80];
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

void run_say_done(Run *r, double seconds)
{
    log_say(&r->log, "done: %lld steps in %.1f s\n", (long long)(r->state.step - r->first_step),
            seconds);
    if (r->save_is_default && !r->saved && !r->failed)
        log_say(&r->log, "nothing was trained, so nothing is saved\n");
    say_next(r);
}

static void say_resume(Run *r)
{
    const char *command = r->options->command;
    Text directory = {0};
    text_append_shell_word(&directory, r->checkpoint_directory);
    log_say(&r->log, "go on with\n  %s --resume %s\n", command ? command : "trainer train",
            directory.data);
    text_free(&directory);
}

void run_say_stop(Run *r)
{
    if (r->failed)
        log_say(&r->log, "stopped after step %lld, as not all could be written; ",
                (long long)r->state.step);
    else
        log_say(&r->log, "stopped by %s after step %lld; ", stop_name(), (long long)r->state.step);
    if (has_checkpoint(r))
        say_resume(r);
    else if (r->saved)
        log_say(&r->log, "go on from the saved parameters with --init; the optimizer's state is "
                         "lost, --checkpoint-dir DIR would have kept it\n");
    else
        log_say(&r->log,
                "nothing was saved; --checkpoint-dir DIR saves a run to go on with, --save "
                "FILE its parameters\n");
    if (r->saved)
        say_next(r);
}
