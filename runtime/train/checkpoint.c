/* The writer of a run's checkpoints: the directory that it has for itself, and its thread. */
#include "checkpoint_files.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the thread ---- */

static void *write_in_thread(void *argument)
{
    Checkpoints *c = argument;
    Messages before = fault_hold(c->message, sizeof c->message);
    if (checkpoint_write(c) < 0)
        atomic_store(&c->status, -1);
    fault_release(before);
    return NULL;
}

int checkpoints_check(const Checkpoints *c)
{
    return atomic_load(&c->status);
}

int checkpoints_wait(Checkpoints *c)
{
    if (c->running)
        pthread_join(c->thread, NULL);
    c->running = false;
    Text word = {0};
    text_append_shell_word(&word, c->directory);
    if (c->message[0] && checkpoint_named(c->directory, "latest") >= 0)
        fault("%s; go on with --resume %s", c->message, word.data);
    else if (c->message[0])
        fault("%s", c->message);
    text_free(&word);
    c->message[0] = '\0';
    return checkpoints_check(c);
}

int checkpoints_write(Checkpoints *c, const RunState *state, const DeviceTable *table,
                      Device *device)
{
    if (checkpoints_wait(c) < 0 || weights_from_device(c->copy, table, device) < 0 ||
        weights_check_finite(c->copy, state->step) < 0)
        return -1;
    if (checkpoint_leave_branch(c) < 0) {
        atomic_store(&c->status, -1);
        return -1;
    }
    c->state = *state;
    c->running = pthread_create(&c->thread, NULL, write_in_thread, c) == 0;
    if (!c->running)
        write_in_thread(c);
    return checkpoints_check(c);
}

/* ---- opening ---- */

/* No two runs in one directory: they would take each other's unfinished files for leftovers. */
static int lock_directory(Checkpoints *c)
{
    char *path = join_path(c->directory, "checkpoints");
    int status = 0;
    if (access(c->directory, R_OK | W_OK | X_OK) != 0)
        status = fault("cannot write into the checkpoint directory %s: %s; choose another place",
                       c->directory, strerror(errno));
    else
        status = lock_take(&c->lock, path, c->directory);
    free(path);
    return status;
}

static int another_run(const char *directory)
{
    Text word = {0};
    text_append_shell_word(&word, directory);
    fault("%s holds the checkpoints of another run; go on from them with --resume %s, or choose "
          "another place",
          directory, word.data);
    text_free(&word);
    return -1;
}

static int prepare_directory(Checkpoints *c)
{
    int count;
    if (make_directories(c->directory, "the checkpoint directory") < 0 || lock_directory(c) < 0)
        return -1;
    free(checkpoint_list(c->directory, &count));
    if (count > 0 && !c->options.resumed)
        return another_run(c->directory);
    checkpoint_remove_leftovers(c->directory);
    return c->options.resumed ? checkpoint_settle(c) : 0;
}

Checkpoints *checkpoints_open(const CheckpointOptions *options, Weights *copy)
{
    Checkpoints *c = xmalloc(sizeof *c);
    *c = (Checkpoints){
        .options = *options, .directory = copy_text(options->directory), .copy = copy};
    if (options->resumed)
        c->from = *options->resumed;
    if (prepare_directory(c) == 0)
        return c;
    checkpoints_close(c);
    return NULL;
}

void checkpoints_close(Checkpoints *c)
{
    if (!c)
        return;
    checkpoints_wait(c);
    lock_release(&c->lock);
    free(c->directory);
    free(c);
}
