/* Directories of checkpoints: finding and reading one, and the thread that writes them. */
#include "../../ir/ir.h"
#include "train.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* What is not whole yet is hidden: .step-00001000.partial-PID, .latest.partial-PID. */
#define PARTIAL ".partial-"

enum { MESSAGE_BYTES = 8192 };

static const char *const file_names[CHECKPOINT_TENSOR_FILES] = {"model.safetensors",
                                                                "optimizer.safetensors"};

/* ---- names ---- */

static char *step_path(const char *directory, int64_t step)
{
    char name[40];
    snprintf(name, sizeof name, "step-%08lld", (long long)step);
    return join_path(directory, name);
}

/* DIRECTORY/.NAME.partial-PID */
static char *partial_path(const char *directory, const char *name)
{
    char hidden[120];
    snprintf(hidden, sizeof hidden, ".%.60s" PARTIAL "%ld", name, (long)getpid());
    return join_path(directory, hidden);
}

/* The step that a directory is named after; -1: it is no step directory. */
static int64_t step_of(const char *name)
{
    char *end;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9')
        return -1;
    errno = 0;
    long long step = strtoll(name + 5, &end, 10);
    return errno || *end ? -1 : step;
}

static bool is_leftover(const char *name)
{
    return (strncmp(name, ".step-", 6) == 0 || strncmp(name, ".latest.", 8) == 0 ||
            strncmp(name, ".best.", 6) == 0) &&
           strstr(name, PARTIAL);
}

static int by_step_down(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* The steps that have a directory, the newest first; the caller frees them. */
static int64_t *list_steps(const char *directory, int *count)
{
    struct dirent *entry;
    int64_t *step = NULL;
    DIR *d = opendir(directory);
    *count = 0;
    while (d && (entry = readdir(d)))
        if (step_of(entry->d_name) >= 0) {
            step = xrealloc(step, (size_t)(*count + 1) * sizeof *step);
            step[(*count)++] = step_of(entry->d_name);
        }
    if (d)
        closedir(d);
    if (*count > 0)
        qsort(step, (size_t)*count, sizeof *step, by_step_down);
    return step;
}

/* ---- removing ---- */

/* A link, or a directory with its files; whatever cannot be removed stays. */
static void remove_tree(const char *path)
{
    struct dirent *entry;
    struct stat s;
    if (lstat(path, &s) != 0)
        return;
    if (!S_ISDIR(s.st_mode)) {
        unlink(path);
        return;
    }
    DIR *d = opendir(path);
    while (d && (entry = readdir(d))) {
        char *file = join_path(path, entry->d_name);
        unlink(file); /* fails for . and .. */
        free(file);
    }
    if (d)
        closedir(d);
    rmdir(path);
}

static void remove_leftovers(const char *directory)
{
    struct dirent *entry;
    DIR *d = opendir(directory);
    while (d && (entry = readdir(d)))
        if (is_leftover(entry->d_name)) {
            char *path = join_path(directory, entry->d_name);
            remove_tree(path);
            free(path);
        }
    if (d)
        closedir(d);
}

/* Hidden first, so that no step directory is ever half there. */
static void remove_step(const char *directory, int64_t step)
{
    char *path = step_path(directory, step);
    char *hidden = partial_path(directory, strrchr(path, '/') + 1);
    if (rename(path, hidden) == 0)
        remove_tree(hidden);
    free(hidden);
    free(path);
}

/* ---- reading ---- */

static int file_crc(const char *path, uint32_t *crc)
{
    static const size_t block = 1 << 16;
    size_t got;
    FILE *file = fopen(path, "rb");
    if (!file)
        return fault("cannot read %s: %s; it is not a whole checkpoint", path, strerror(errno));
    uint8_t *bytes = xmalloc(block);
    *crc = 0;
    while ((got = fread(bytes, 1, block, file)) > 0)
        *crc = (uint32_t)crc32(*crc, bytes, (uInt)got);
    int status = ferror(file) ? fault("cannot read %s: %s", path, strerror(errno)) : 0;
    free(bytes);
    fclose(file);
    return status;
}

static int read_state(const char *step_directory, const NincModel *model, RunState *state)
{
    uint32_t wanted[CHECKPOINT_TENSOR_FILES], found;
    char *path = join_path(step_directory, "state.json");
    int status = state_read(path, model, state, wanted);
    free(path);
    for (int i = 0; i < CHECKPOINT_TENSOR_FILES && status == 0; i++) {
        path = join_path(step_directory, file_names[i]);
        status = file_crc(path, &found);
        if (status == 0 && found != wanted[i])
            status = fault("%s is not what was written: its check sum differs; the checkpoint is "
                           "damaged, resume from another one",
                           path);
        free(path);
    }
    return status;
}

/* Whether a checkpoint of any model is whole; says nothing, but leaves in `why` what is wrong. */
static bool is_whole(const char *step_directory, RunState *state, char *why, size_t size)
{
    Messages before = fault_hold(why, size);
    int status = read_state(step_directory, NULL, state);
    fault_release(before);
    return status == 0;
}

static bool is_directory(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* ---- latest and best ---- */

/* What a link says, or the text of a small file. */
static bool read_name(const char *path, char *out, size_t size)
{
    ssize_t length = readlink(path, out, size - 1);
    if (length < 0) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        length = fd < 0 ? -1 : read(fd, out, size - 1);
        if (fd >= 0)
            close(fd);
    }
    out[length > 0 ? length : 0] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    return length > 0;
}

/* The step that DIRECTORY/NAME names, which is a link, where there are none a file with its text,
 * or a copy of the step directory, as some programs make it; -1: none. */
static int64_t named_step(const char *directory, const char *name)
{
    char target[512], why[512];
    RunState state;
    char *path = join_path(directory, name);
    int64_t step = -1;
    if (is_directory(path))
        step = is_whole(path, &state, why, sizeof why) ? state.step : -1;
    else if (read_name(path, target, sizeof target))
        step = step_of(basename(target));
    free(path);
    return step;
}

int checkpoint_load(const char *step_directory, RunState *state, Weights *w)
{
    int status = read_state(step_directory, w->model, state);
    char *model = join_path(step_directory, file_names[CHECKPOINT_MODEL]);
    char *optimizer = join_path(step_directory, file_names[CHECKPOINT_OPTIMIZER]);
    if (status == 0)
        status = safetensors_read(model, w);
    if (status == 0)
        status = moments_read(optimizer, w);
    free(model);
    free(optimizer);
    return status;
}

/* ---- finding ---- */

/* Copies of step directories under the names of links. */
static const char *const link_names[] = {"latest", "best"};
enum { LINKS = sizeof link_names / sizeof *link_names };

/* The newest of the whole ones; NULL: there is none. The caller frees it. */
static char *newest_whole(const char *directory)
{
    char why[512];
    RunState state = {.step = -1}, other;
    int count;
    int64_t *step = list_steps(directory, &count);
    char *found = NULL;
    for (int i = 0; i < count && !found; i++) {
        found = step_path(directory, step[i]);
        if (!is_whole(found, &state, why, sizeof why)) {
            free(found);
            found = NULL;
            state.step = -1;
        }
    }
    free(step);
    for (int i = 0; i < LINKS; i++) {
        char *copy = join_path(directory, link_names[i]);
        if (is_directory(copy) && is_whole(copy, &other, why, sizeof why) &&
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
    bool is_copy = is_directory(latest);
    int64_t step = is_copy ? -1 : named_step(directory, "latest");
    free(latest);
    *found = step < 0 ? NULL : step_path(directory, step);
    if (*found && is_whole(*found, &state, why, sizeof why))
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
    if (step_of(strrchr(real, '/') + 1) < 0)
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
    int64_t step = named_step(outer, "best");
    *step_directory = step < 0 ? NULL : step_path(outer, step);
    *directory = copy_text(outer);
    if (*step_directory && is_whole(*step_directory, &state, why, sizeof why))
        return 0;
    free(*step_directory);
    *step_directory = is_directory(path) ? copy_text(path) : NULL;
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
    else if (access(state, F_OK) == 0 || step_of(strrchr(real, '/') + 1) >= 0)
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
    free(list_steps(directory, &count));
    for (int i = 0; i < LINKS && count == 0; i++) {
        char *copy = join_path(directory, link_names[i]);
        count += is_directory(copy);
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
    int64_t best = named_step(path, "best"), newest = step_of(strrchr(*step_directory, '/') + 1);
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
    for (int i = 0; i < LINKS; i++)
        if (strcmp(name, link_names[i]) == 0)
            step = named_step(outer, name);
    *step_directory = step < 0 ? NULL : step_path(outer, step);
    free(outer);
    free(copy);
    return *step_directory != NULL;
}

int checkpoint_parameters(const char *path, char **file)
{
    struct stat s;
    char *step = NULL;
    bool inside = stat(path, &s) == 0 && S_ISDIR(s.st_mode);
    *file = inside ? join_path(path, file_names[CHECKPOINT_MODEL]) : NULL;
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
    *file = join_path(step, file_names[CHECKPOINT_MODEL]);
    notice("the parameters are those of %s", *file);
    free(step);
    return 0;
}

/* ---- writing ---- */

struct Checkpoints {
    CheckpointOptions options;
    RunState from;  /* of options.resumed */
    bool on_branch; /* its checkpoints are the newest */
    char *directory;
    Weights *copy;
    RunState state; /* what `copy` belongs to */
    Lock lock;      /* on the directory */
    pthread_t thread;
    bool running;
    atomic_int status;           /* -1: a checkpoint could not be written */
    char message[MESSAGE_BYTES]; /* why, where that was not told yet; the thread's while it runs */
};

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
static int point_link(const char *directory, const char *name, int64_t step)
{
    char *target = step_path(directory, step), *link = join_path(directory, name);
    char *hidden = partial_path(directory, name);
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
        remove_tree(hidden);
        return 0;
    }
    size_t bytes = strlen(hidden) + sizeof "-old";
    char *aside = xmalloc(bytes);
    snprintf(aside, bytes, "%s-old", hidden);
    int status = rename(path, aside) == 0 && rename(hidden, path) == 0 ? 0 : -1;
    int error = errno;
    if (status == 0)
        remove_tree(aside);
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
        char *path = join_path(hidden, file_names[i]);
        status = write[i](path, c->copy);
        if (status == 0)
            status = file_crc(path, &crc[i]);
        free(path);
    }
    return status;
}

static int write_directory(const Checkpoints *c, const char *path)
{
    uint32_t crc[CHECKPOINT_TENSOR_FILES];
    char *hidden = partial_path(c->directory, strrchr(path, '/') + 1);
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
        remove_tree(hidden);
    free(state);
    free(hidden);
    return status;
}

/* Of the steps up to this one; a later one is from before the run was killed, and comes again. */
static void prune(const Checkpoints *c)
{
    int count, kept = 0;
    int64_t latest = named_step(c->directory, "latest"), best = named_step(c->directory, "best");
    int64_t *step = list_steps(c->directory, &count);
    for (int i = 0; i < count && c->options.keep > 0; i++)
        if (step[i] <= c->state.step && ++kept > c->options.keep && step[i] != latest &&
            step[i] != best)
            remove_step(c->directory, step[i]);
    free(step);
}

static int write_checkpoint(const Checkpoints *c)
{
    char *path = step_path(c->directory, c->state.step);
    int status = write_directory(c, path);
    free(path);
    if (status < 0)
        return -1;
    directory_sync(c->directory);
    if (c->state.best_accuracy >= 0 && c->state.best_step == c->state.step)
        status = point_link(c->directory, "best", c->state.step);
    if (status == 0)
        status = point_link(c->directory, "latest", c->state.step);
    if (status < 0)
        return -1;
    directory_sync(c->directory);
    prune(c);
    return 0;
}

/* ---- going back ---- */

/* Renames a directory to NAME.abandoned, with a number behind where that is taken. */
static int set_aside(const char *directory, const char *name)
{
    struct stat s;
    char *path = join_path(directory, name);
    size_t bytes = strlen(path) + 32;
    char *aside = xmalloc(bytes);
    snprintf(aside, bytes, "%s.abandoned", path);
    for (int i = 2; lstat(aside, &s) == 0; i++)
        snprintf(aside, bytes, "%s.abandoned-%d", path, i);
    int status = 0;
    if (is_directory(path) && rename(path, aside) != 0)
        status = fault("cannot rename %s to %s: %s; choose another place with --checkpoint-dir",
                       path, aside, strerror(errno));
    free(aside);
    free(path);
    return status;
}

static int set_step_aside(const char *directory, int64_t step)
{
    char *path = step_path(directory, step);
    int status = set_aside(directory, strrchr(path, '/') + 1);
    free(path);
    return status;
}

/* `best` and `latest` name what this run came from. */
static int point_back(const Checkpoints *c)
{
    const RunState *from = &c->from;
    char *best = step_path(c->directory, from->best_step);
    char *link = join_path(c->directory, "best");
    bool stands = from->best_accuracy >= 0 && access(best, F_OK) == 0;
    int status = 0;
    if (named_step(c->directory, "best") > from->step) {
        if (stands)
            status = point_link(c->directory, "best", from->best_step);
        else
            unlink(link);
    }
    free(link);
    free(best);
    return status == 0 ? point_link(c->directory, "latest", from->step) : -1;
}

static void tell_aside(const Checkpoints *c, int64_t first, int64_t last)
{
    char to[40] = "";
    if (last > first)
        snprintf(to, sizeof to, " to step-%08lld", (long long)last);
    notice("%s: the run went back to step %lld; what it had later, step-%08lld%s, is kept as "
           "step-*.abandoned: remove it, or take the ending off to resume from there",
           c->directory, (long long)c->from.step, (long long)first, to);
}

/* The steps after the one that the run came from are another run's from now on: one that cannot
 * read `latest` must not take them for this one's, nor is `best` there. They may be wanted, so they
 * are kept under another name. Where `latest` is no later, the one step that may be is this run's
 * own, from before it was killed. */
static int leave_branch(Checkpoints *c)
{
    int count, later = 0, status = 0;
    if (c->on_branch || !c->options.resumed)
        return 0;
    c->on_branch = true;
    int64_t latest = named_step(c->directory, "latest");
    if (latest >= 0 && latest <= c->from.step)
        return 0;
    int64_t *step = list_steps(c->directory, &count);
    while (later < count && step[later] > c->from.step)
        later++;
    bool went_back = later > 0 || latest >= 0;
    for (int i = later - 1; i >= 0 && status == 0; i--)
        status = set_step_aside(c->directory, step[i]);
    if (status == 0 && went_back)
        status = point_back(c);
    if (status == 0 && later > 0)
        tell_aside(c, step[later - 1], step[0]);
    free(step);
    return status;
}

/* ---- the thread ---- */

static void *write_in_thread(void *argument)
{
    Checkpoints *c = argument;
    Messages before = fault_hold(c->message, sizeof c->message);
    if (write_checkpoint(c) < 0)
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
    if (c->message[0] && named_step(c->directory, "latest") >= 0)
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
    if (leave_branch(c) < 0) {
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

/* ---- a directory that was copied ---- */

static bool same_checkpoint(const char *a, const char *b)
{
    uint32_t crc_a[CHECKPOINT_TENSOR_FILES], crc_b[CHECKPOINT_TENSOR_FILES];
    RunState state;
    char why[512];
    char *path_a = join_path(a, "state.json"), *path_b = join_path(b, "state.json");
    Messages before = fault_hold(why, sizeof why);
    bool same = state_read(path_a, NULL, &state, crc_a) == 0 &&
                state_read(path_b, NULL, &state, crc_b) == 0 &&
                memcmp(crc_a, crc_b, sizeof crc_a) == 0;
    fault_release(before);
    free(path_a);
    free(path_b);
    return same;
}

/* The copy of a step directory under a link's name becomes that step where it is missing or not
 * whole, goes where it is the same, and else is set aside. */
static int settle_copy(const Checkpoints *c, const char *name, const char *copy, int64_t step)
{
    char why[512];
    RunState state;
    char *path = step_path(c->directory, step < 0 ? 0 : step);
    int status = 0;
    if (step >= 0 && is_directory(path) && !is_whole(path, &state, why, sizeof why))
        status = set_step_aside(c->directory, step);
    if (step >= 0 && is_directory(path) && same_checkpoint(copy, path))
        remove_tree(copy);
    else if (step < 0 || is_directory(path) || rename(copy, path) != 0) {
        status = set_aside(c->directory, name);
        notice("%s: %s is a directory, and no copy of a checkpoint that is there; it is kept as "
               "%s.abandoned",
               c->directory, name, name);
    }
    free(path);
    return status;
}

/* What a link became in copying is one again. */
static int settle_link(const Checkpoints *c, const char *name)
{
    struct stat s;
    char *path = join_path(c->directory, name);
    int64_t step = named_step(c->directory, name);
    int status = 0;
    if (lstat(path, &s) == 0 && !S_ISLNK(s.st_mode)) {
        if (S_ISDIR(s.st_mode))
            status = settle_copy(c, name, path, step);
        if (status == 0 && step >= 0)
            status = point_link(c->directory, name, step);
    }
    free(path);
    return status;
}

/* Where a copy lost it, `best` names again what the checkpoint says. */
static int settle_best(const Checkpoints *c)
{
    int64_t now = named_step(c->directory, "best");
    char *named = step_path(c->directory, now), *best = step_path(c->directory, c->from.best_step);
    bool lost =
        c->from.best_accuracy >= 0 && (now < 0 || !is_directory(named)) && is_directory(best);
    free(named);
    free(best);
    return lost ? point_link(c->directory, "best", c->from.best_step) : 0;
}

static int settle_directory(const Checkpoints *c)
{
    for (int i = 0; i < LINKS; i++)
        if (settle_link(c, link_names[i]) < 0)
            return -1;
    return settle_best(c);
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
    free(list_steps(c->directory, &count));
    if (count > 0 && !c->options.resumed)
        return another_run(c->directory);
    remove_leftovers(c->directory);
    return c->options.resumed ? settle_directory(c) : 0;
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
