/* What lies in a directory of checkpoints: names, whole ones and leftovers, what links name. */
#include "checkpoint_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* What is not whole yet is hidden: .step-00001000.partial-PID, .latest.partial-PID. */
#define PARTIAL ".partial-"

const char *const checkpoint_files[CHECKPOINT_TENSOR_FILES] = {"model.safetensors",
                                                               "optimizer.safetensors"};
const char *const checkpoint_links[CHECKPOINT_LINKS] = {"latest", "best"};

/* ---- names ---- */

char *checkpoint_step_path(const char *directory, int64_t step)
{
    char name[40];
    snprintf(name, sizeof name, "step-%08lld", (long long)step);
    return join_path(directory, name);
}

/* DIRECTORY/.NAME.partial-PID */
char *checkpoint_partial_path(const char *directory, const char *name)
{
    char hidden[120];
    snprintf(hidden, sizeof hidden, ".%.60s" PARTIAL "%ld", name, (long)getpid());
    return join_path(directory, hidden);
}

/* The step that a directory is named after; -1: it is no step directory. */
int64_t checkpoint_step(const char *name)
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
int64_t *checkpoint_list(const char *directory, int *count)
{
    struct dirent *entry;
    int64_t *step = NULL;
    DIR *d = opendir(directory);
    *count = 0;
    while (d && (entry = readdir(d)))
        if (checkpoint_step(entry->d_name) >= 0) {
            step = xrealloc(step, (size_t)(*count + 1) * sizeof *step);
            step[(*count)++] = checkpoint_step(entry->d_name);
        }
    if (d)
        closedir(d);
    if (*count > 0)
        qsort(step, (size_t)*count, sizeof *step, by_step_down);
    return step;
}

/* ---- removing ---- */

/* A link, or a directory with its files; whatever cannot be removed stays. */
void checkpoint_remove(const char *path)
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

void checkpoint_remove_leftovers(const char *directory)
{
    struct dirent *entry;
    DIR *d = opendir(directory);
    while (d && (entry = readdir(d)))
        if (is_leftover(entry->d_name)) {
            char *path = join_path(directory, entry->d_name);
            checkpoint_remove(path);
            free(path);
        }
    if (d)
        closedir(d);
}

/* Hidden first, so that no step directory is ever half there. */
void checkpoint_remove_step(const char *directory, int64_t step)
{
    char *path = checkpoint_step_path(directory, step);
    char *hidden = checkpoint_partial_path(directory, strrchr(path, '/') + 1);
    if (rename(path, hidden) == 0)
        checkpoint_remove(hidden);
    free(hidden);
    free(path);
}

/* ---- reading ---- */

int checkpoint_crc(const char *path, uint32_t *crc)
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

int checkpoint_state(const char *step_directory, const NincModel *model, RunState *state)
{
    uint32_t wanted[CHECKPOINT_TENSOR_FILES], found;
    char *path = join_path(step_directory, "state.json");
    int status = state_read(path, model, state, wanted);
    free(path);
    for (int i = 0; i < CHECKPOINT_TENSOR_FILES && status == 0; i++) {
        path = join_path(step_directory, checkpoint_files[i]);
        status = checkpoint_crc(path, &found);
        if (status == 0 && found != wanted[i])
            status = fault("%s is not what was written: its check sum differs; the checkpoint is "
                           "damaged, resume from another one",
                           path);
        free(path);
    }
    return status;
}

/* Whether a checkpoint of any model is whole; says nothing, but leaves in `why` what is wrong. */
bool checkpoint_is_whole(const char *step_directory, RunState *state, char *why, size_t size)
{
    Messages before = fault_hold(why, size);
    int status = checkpoint_state(step_directory, NULL, state);
    fault_release(before);
    return status == 0;
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
int64_t checkpoint_named(const char *directory, const char *name)
{
    char target[512], why[512];
    RunState state;
    char *path = join_path(directory, name);
    int64_t step = -1;
    if (is_real_directory(path))
        step = checkpoint_is_whole(path, &state, why, sizeof why) ? state.step : -1;
    else if (read_name(path, target, sizeof target))
        step = checkpoint_step(basename(target));
    free(path);
    return step;
}
