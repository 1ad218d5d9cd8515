/* One checkpoint: written beside, synced, renamed, named by the links; older ones go. */
#include "checkpoint_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file whose text is what a link would hold. */
static int write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return -1;
    bool ok = fprintf(file, "%s\n", text) > 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    return fclose(file) == 0 && ok ? 0 : -1;
}

/* Replaces DIRECTORY/NAME in one go: a link, or a text where the file system has none. */
int checkpoint_point(const char *directory, const char *name, int64_t step)
{
    char *target = checkpoint_step_path(directory, step), *link = join_path(directory, name);
    char *hidden = checkpoint_partial_path(directory, name);
    const char *step_name = strrchr(target, '/') + 1;
    int status = 0;
    if ((symlink(step_name, hidden) != 0 && write_text(hidden, step_name) != 0) ||
        rename(hidden, link) != 0) {
        status =
            fault("cannot write %s: %s; the checkpoint %s is whole", link, strerror(errno), target);
        unlink(hidden);
    }
    free(hidden);
    free(link);
    free(target);
    return status;
}

/* Swaps two directories, and removes what comes out; where the file system cannot swap, `path` is
 * not there for a moment. */
static int swap_in(const char *hidden, const char *path)
{
    if (renameat2(AT_FDCWD, hidden, AT_FDCWD, path, RENAME_EXCHANGE) == 0) {
        checkpoint_remove(hidden);
        return 0;
    }
    size_t bytes = strlen(hidden) + sizeof "-old";
    char *aside = xmalloc(bytes);
    snprintf(aside, bytes, "%s-old", hidden);
    int status = rename(path, aside) == 0 && rename(hidden, path) == 0 ? 0 : -1;
    int error = errno;
    if (status == 0)
        checkpoint_remove(aside);
    else
        rename(aside, path);
    free(aside);
    errno = error;
    return status;
}

/* Gives the whole directory its name. A checkpoint of the same step, which an earlier run left
 * there, is swapped for it. */
static int publish(const char *hidden, const char *path)
{
    if (rename(hidden, path) == 0 ||
        ((errno == ENOTEMPTY || errno == EEXIST) && swap_in(hidden, path) == 0))
        return 0;
    return fault("cannot write %s: %s; remove what is there or choose another place", path,
                 strerror(errno));
}

static int write_tensors(const Checkpoints *c, const char *hidden, uint32_t *crc)
{
    int (*const write[])(const char *, const Weights *) = {safetensors_write, moments_write};
    int status = 0;
    for (int i = 0; i < CHECKPOINT_TENSOR_FILES && status == 0; i++) {
        char *path = join_path(hidden, checkpoint_files[i]);
        status = write[i](path, c->copy);
        if (status == 0)
            status = checkpoint_crc(path, &crc[i]);
        free(path);
    }
    return status;
}

static int write_directory(const Checkpoints *c, const char *path)
{
    uint32_t crc[CHECKPOINT_TENSOR_FILES];
    char *hidden = checkpoint_partial_path(c->directory, strrchr(path, '/') + 1);
    char *state = join_path(hidden, "state.json");
    int status = 0;
    if (mkdir(hidden, 0777) != 0)
        status =
            fault("cannot make %s: %s; make room or choose another place", hidden, strerror(errno));
    if (status == 0)
        status = write_tensors(c, hidden, crc);
    if (status == 0)
        status = state_write(state, &c->state, c->copy->model, crc);
    if (status == 0)
        status = publish(hidden, path);
    if (status < 0)
        checkpoint_remove(hidden);
    free(state);
    free(hidden);
    return status;
}

/* Of the steps up to this one; a later one is from before the run was killed, and comes again. */
static void prune(const Checkpoints *c)
{
    int count, kept = 0;
    int64_t latest = checkpoint_named(c->directory, "latest"),
            best = checkpoint_named(c->directory, "best");
    int64_t *step = checkpoint_list(c->directory, &count);
    for (int i = 0; i < count && c->options.keep > 0; i++)
        if (step[i] <= c->state.step && ++kept > c->options.keep && step[i] != latest &&
            step[i] != best)
            checkpoint_remove_step(c->directory, step[i]);
    free(step);
}

int checkpoint_write(const Checkpoints *c)
{
    char *path = checkpoint_step_path(c->directory, c->state.step);
    int status = write_directory(c, path);
    free(path);
    if (status < 0)
        return -1;
    directory_sync(c->directory);
    if (c->state.best_accuracy >= 0 && c->state.best_step == c->state.step)
        status = checkpoint_point(c->directory, "best", c->state.step);
    if (status == 0)
        status = checkpoint_point(c->directory, "latest", c->state.step);
    if (status < 0)
        return -1;
    directory_sync(c->directory);
    prune(c);
    return 0;
}
