/* Which checkpoint a path means, and reading it. */
#include "checkpoint_files.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int checkpoint_load(const char *step_directory, RunState *state, Weights *w)
{
    int status = checkpoint_state(step_directory, w->model, state);
    char *model = join_path(step_directory, checkpoint_files[CHECKPOINT_MODEL]);
    char *optimizer = join_path(step_directory, checkpoint_files[CHECKPOINT_OPTIMIZER]);
    if (status == 0)
        status = safetensors_read(model, w);
    if (status == 0)
        status = moments_read(optimizer, w);
    free(model);
    free(optimizer);
    return status;
}

/* ---- finding ---- */

/* The newest of the whole ones; NULL: there is none. The caller frees it. */
static char *newest_whole(const char *directory)
{
    char why[512];
    RunState state = {.step = -1}, other;
    int count;
    int64_t *step = checkpoint_list(directory, &count);
    char *found = NULL;
    for (int i = 0; i < count && !found; i++) {
        found = checkpoint_step_path(directory, step[i]);
        if (!checkpoint_is_whole(found, &state, why, sizeof why)) {
            free(found);
            found = NULL;
            state.step = -1;
        }
    }
    free(step);
    for (int i = 0; i < CHECKPOINT_LINKS; i++) {
        char *copy = join_path(directory, checkpoint_links[i]);
        if (is_real_directory(copy) && checkpoint_is_whole(copy, &other, why, sizeof why) &&
            other.step > state.step) {
            free(found);
            found = copy;
            state = other;
        } else
            free(copy);
    }
    return found;
}

/* The step directory to go on from in the directory that holds `latest`. */
static int find_in(const char *directory, char **found)
{
    char why[512] = "it is missing";
    RunState state;
    char *latest = join_path(directory, "latest");
    bool is_copy = is_real_directory(latest);
    int64_t step = is_copy ? -1 : checkpoint_named(directory, "latest");
    free(latest);
    *found = step < 0 ? NULL : checkpoint_step_path(directory, step);
    if (*found && checkpoint_is_whole(*found, &state, why, sizeof why))
        return 0;
    free(*found);
    *found = newest_whole(directory);
    if (!*found)
        return fault("there is no checkpoint in %s: latest: %s; give the directory that "
                     "--checkpoint-dir named, or one of its step directories",
                     directory, is_copy ? "it is not whole" : why);
    if (!is_copy)
        notice("latest of %s cannot be used: %s; going on from %s, the newest whole checkpoint",
               directory, why, strrchr(*found, '/') + 1);
    return 0;
}

static int find_step_directory(char *real, char **step_directory, char **directory)
{
    if (checkpoint_step(strrchr(real, '/') + 1) < 0)
        return fault("%s is not a directory with the name of a step, such as step-00001000; "
                     "checkpoints go on beside it, so give it that name",
                     real);
    *step_directory = copy_text(real);
    *directory = directory_of(real);
    return 0;
}

/* `best` where it is no link: what it names, or the copy itself. */
static int find_best(const char *path, const char *outer, char **step_directory, char **directory)
{
    char why[512];
    RunState state;
    int64_t step = checkpoint_named(outer, "best");
    *step_directory = step < 0 ? NULL : checkpoint_step_path(outer, step);
    *directory = copy_text(outer);
    if (*step_directory && checkpoint_is_whole(*step_directory, &state, why, sizeof why))
        return 0;
    free(*step_directory);
    *step_directory = is_real_directory(path) ? copy_text(path) : NULL;
    return *step_directory ? 0
                           : fault("cannot resume from %s: it names no checkpoint; give the "
                                   "directory that --checkpoint-dir named",
                                   path);
}

int checkpoint_find(const char *path, char **step_directory, char **directory)
{
    char *copy = copy_text(path), *outer = directory_of(path), *name = basename(copy);
    const char *start = strcmp(name, "latest") == 0 ? outer : path;
    char *real = realpath(start, NULL), *state = real ? join_path(real, "state.json") : NULL;
    struct stat s;
    int status;
    *step_directory = *directory = NULL;
    if (!real)
        status = fault("cannot resume from %s: %s; give the directory that --checkpoint-dir named",
                       path, strerror(errno));
    else if (strcmp(name, "best") == 0 && lstat(path, &s) == 0 && !S_ISLNK(s.st_mode))
        status = find_best(path, outer, step_directory, directory);
    else if (stat(real, &s) == 0 && !S_ISDIR(s.st_mode))
        status = fault("cannot resume from %s: it is a file; give the directory that "
                       "--checkpoint-dir named, or start from parameters with --init FILE",
                       path);
    else if (access(state, F_OK) == 0 || checkpoint_step(strrchr(real, '/') + 1) >= 0)
        status = find_step_directory(real, step_directory, directory);
    else if ((status = find_in(real, step_directory)) == 0)
        *directory = copy_text(start);
    free(state);
    free(real);
    free(outer);
    free(copy);
    return status;
}

static bool has_checkpoints(const char *directory)
{
    int count;
    free(checkpoint_list(directory, &count));
    for (int i = 0; i < CHECKPOINT_LINKS && count == 0; i++) {
        char *copy = join_path(directory, checkpoint_links[i]);
        count += is_real_directory(copy);
        free(copy);
    }
    return count > 0;
}

/* The newest checkpoint, as --resume takes it; where another one is the best that is told. */
static int find_newest(const char *path, char **step_directory)
{
    if (!has_checkpoints(path))
        return fault("%s is a directory without checkpoints; "
                     "give a .safetensors file or the directory that --checkpoint-dir named",
                     path);
    if (find_in(path, step_directory) < 0)
        return -1;
    int64_t best = checkpoint_named(path, "best"),
            newest = checkpoint_step(strrchr(*step_directory, '/') + 1);
    if (best >= 0 && newest >= 0 && best != newest)
        notice("the newest parameters are taken; %s/best has those of step %lld", path,
               (long long)best);
    return 0;
}

/* Whether the path is one of the links, or the file with its text: then what it names. */
static bool follow_name(const char *path, char **step_directory)
{
    char *copy = copy_text(path), *outer = directory_of(path), *name = basename(copy);
    int64_t step = -1;
    for (int i = 0; i < CHECKPOINT_LINKS; i++)
        if (strcmp(name, checkpoint_links[i]) == 0)
            step = checkpoint_named(outer, name);
    *step_directory = step < 0 ? NULL : checkpoint_step_path(outer, step);
    free(outer);
    free(copy);
    return *step_directory != NULL;
}

int checkpoint_parameters(const char *path, char **file)
{
    char *step = NULL;
    bool inside = is_directory(path);
    *file = inside ? join_path(path, checkpoint_files[CHECKPOINT_MODEL]) : NULL;
    if (*file && access(*file, F_OK) == 0) {
        notice("the parameters are those of %s", *file);
        return 0;
    }
    free(*file);
    *file = NULL;
    if (inside && find_newest(path, &step) < 0)
        return -1;
    if (!inside && !follow_name(path, &step))
        return 0;
    *file = join_path(step, checkpoint_files[CHECKPOINT_MODEL]);
    notice("the parameters are those of %s", *file);
    free(step);
    return 0;
}
