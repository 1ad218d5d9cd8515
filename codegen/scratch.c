/* The directory in which a build works, so that nothing half-written is ever seen: made in or
 * beside the target, removed in any case, its files renamed into place one by one. */
#include "artefacts.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int build_failed(const char *what, const char *path)
{
    print_error("ninc: error: cannot %s %s: %s", what, path, strerror(errno));
    return -1;
}

/* ---- signals ---- */

/* The signal that asked the build to stop; its files are removed before ninc ends. */
static volatile sig_atomic_t end_signal;

static const int stopping[] = {SIGINT, SIGTERM, SIGHUP};

enum { STOPPING = sizeof stopping / sizeof *stopping };

static void stop(int signal)
{
    end_signal = signal;
}

/* Without SA_RESTART, so that waiting for a compiler ends. What was ignored stays ignored. */
static void catch_signals(struct sigaction *old)
{
    struct sigaction action = {.sa_handler = stop};
    end_signal = 0;
    for (int i = 0; i < STOPPING; i++)
        if (sigaction(stopping[i], NULL, &old[i]) == 0 && old[i].sa_handler != SIG_IGN)
            sigaction(stopping[i], &action, NULL);
}

static void restore_signals(const struct sigaction *old)
{
    for (int i = 0; i < STOPPING; i++)
        sigaction(stopping[i], &old[i], NULL);
}

bool build_stopped(void)
{
    return end_signal != 0;
}

/* ---- files ---- */

char *scratch_path(Build *b, const char *name)
{
    char *path = pool_format(b->pool, "%s/%s", b->scratch, name);
    POOL_PUSH(b->pool, b->file, b->files, b->file_capacity, path);
    return path;
}

int scratch_write(Build *b, const char *name, const char *data, size_t length)
{
    const char *path = scratch_path(b, name);
    FILE *f = fopen(path, "wb");
    if (!f)
        return build_failed("write", path);
    bool written = fwrite(data, 1, length, f) == length;
    if (fclose(f) != 0 || !written)
        return build_failed("write", path);
    return 0;
}

int scratch_text(Build *b, const char *name, Text *text)
{
    int result = scratch_write(b, name, text->data ? text->data : "", text->length);
    text_free(text);
    return result;
}

/* ---- the directory ---- */

/* Where the scratch directory goes: in the target, whose file system the files must be on, and
 * beside it only when there is none yet. A leading '-' would look like an option of the
 * compiler. */
static char *scratch_pattern(Build *b, bool exists)
{
    const char *directory = b->options->directory, *here = *directory == '-' ? "./" : "";
    size_t n = strlen(directory);
    while (n > 1 && directory[n - 1] == '/')
        n--;
    return pool_format(b->pool, "%s%.*s%stmp-XXXXXX", here, (int)n, directory, exists ? "/." : ".");
}

static int make_scratch(Build *b)
{
    const char *directory = b->options->directory;
    struct stat st;
    bool exists = stat(directory, &st) == 0;
    if (exists && !S_ISDIR(st.st_mode)) {
        print_error("ninc: error: %s is not a directory; give -o a directory", directory);
        return -1;
    }
    if (exists && access(directory, W_OK | X_OK) != 0)
        return build_failed("write into", directory);
    b->scratch = scratch_pattern(b, exists);
    if (!mkdtemp(b->scratch)) {
        b->scratch = NULL;
        if (!exists && errno == ENOENT) {
            print_error("ninc: error: the directory that %s shall stand in does not exist; "
                        "make it first",
                        directory);
            return -1;
        }
        build_failed(exists ? "write into" : "make a directory beside", directory);
        return -1;
    }
    return 0;
}

static void remove_scratch(Build *b)
{
    for (int i = 0; i < b->files; i++)
        unlink(b->file[i]);
    if (b->scratch)
        rmdir(b->scratch);
}

/* A directory in the place of a file is found before the first file is renamed. */
static int check_places(char *const *place, int count)
{
    struct stat st;
    for (int i = 0; i < count; i++)
        if (stat(place[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            errno = EISDIR;
            return build_failed("write", place[i]);
        }
    return 0;
}

int build_publish(Build *b, const char *const *name, int count)
{
    const char *directory = b->options->directory;
    char *place[MAX_ARTEFACTS];
    for (int i = 0; i < count; i++)
        place[i] = pool_format(b->pool, "%s/%s", directory, name[i]);
    if (check_places(place, count) != 0)
        return -1;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return build_failed("make", directory);
    for (int i = 0; i < count; i++)
        if (rename(pool_format(b->pool, "%s/%s", b->scratch, name[i]), place[i]) != 0)
            return build_failed("write", place[i]);
    return 0;
}

int build_run(Build *b, const Product *product, int (*steps)(Build *b, const Product *product))
{
    struct sigaction old[STOPPING];
    catch_signals(old);
    int result = make_scratch(b) != 0 ? -1 : steps(b, product);
    remove_scratch(b);
    if (result != 0 && end_signal)
        fprintf(stderr, "ninc: stopped by SIG%s; nothing was written\n", sigabbrev_np(end_signal));
    restore_signals(old);
    return result;
}
