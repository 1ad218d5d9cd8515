/* Files that appear whole or not at all. */
#include "../../ir/ir.h"
#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A file that is not whole yet is FILE.partial-ninc-XXXXXXXX, of random digits: process ids come
 * again, in a container with every run. Its writer holds a lock on it until it has its name or is
 * gone, so that what a killed writer left is told from what another one is writing. */
#define PARTIAL ".partial-ninc-"
enum { DIGITS = 8, MOST_TRIES = 100 };

char *copy_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    return memcpy(xmalloc(bytes), text, bytes);
}

char *directory_of(const char *path)
{
    char *copy = copy_text(path), *directory = copy_text(dirname(copy));
    free(copy);
    return directory;
}

char *join_path(const char *directory, const char *name)
{
    size_t bytes = strlen(directory) + strlen(name) + 2;
    char *out = xmalloc(bytes);
    snprintf(out, bytes, "%s/%s", directory, name);
    return out;
}

bool is_directory(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

bool is_regular(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

bool is_real_directory(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

void open_standard_files(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd >= 0)
        close(fd);
}

char *unused_name(const char *stem, int from, int *number)
{
    struct stat s;
    size_t bytes = strlen(stem) + 40;
    char *name = xmalloc(bytes), digits[16] = "";
    *number = from - 1;
    do {
        if (++*number > 1)
            snprintf(digits, sizeof digits, "-%d", *number);
        snprintf(name, bytes, "%s%s.safetensors", stem, digits);
    } while (*number < INT_MAX && lstat(name, &s) == 0);
    return name;
}

/* ---- writing ---- */

char *resolve_links(const char *path)
{
    enum { MOST_LINKS = 40 };
    char target[PATH_MAX];
    char *at = copy_text(path);
    for (int i = 0; i < MOST_LINKS; i++) {
        ssize_t length = readlink(at, target, sizeof target - 1);
        if (length < 0)
            return at;
        target[length] = '\0';
        char *directory = directory_of(at);
        free(at);
        at = target[0] == '/' ? copy_text(target) : join_path(directory, target);
        free(directory);
    }
    free(at);
    errno = ELOOP;
    return NULL;
}

static int check_directory(const char *path, const char *file)
{
    char *directory = directory_of(file);
    int status = 0;
    if (access(directory, W_OK | X_OK) != 0)
        status = fault("cannot write %s: directory %s: %s; choose a directory that exists and "
                       "that you may write to",
                       path, directory, strerror(errno));
    free(directory);
    return status;
}

static int cannot_write(const char *path)
{
    return fault("cannot write %s: %s; choose another place", path, strerror(errno));
}

/* The longest name beside the file, that of what is not whole yet, must be possible too. */
static int check_name(const char *path, const char *file)
{
    char *directory = directory_of(file), *copy = copy_text(file);
    size_t bytes = strlen(basename(copy)), more = sizeof PARTIAL - 1 + DIGITS;
    long most = pathconf(directory, _PC_NAME_MAX);
    int status = 0;
    if (most > 0 && bytes + more > (size_t)most)
        status = fault("cannot write %s: its name has %zu bytes, and there is room for %zu: it is "
                       "written under a longer one first; choose a shorter name",
                       path, bytes, (size_t)most > more ? (size_t)most - more : 0);
    free(copy);
    free(directory);
    return status;
}

int outfile_check(const char *path)
{
    struct stat s;
    if (stat(path, &s) == 0) {
        if (S_ISDIR(s.st_mode))
            return fault("cannot write %s: it is a directory; give a file name", path);
        if (!S_ISREG(s.st_mode))
            return 0;
    }
    char *file = resolve_links(path);
    int status = file ? check_directory(path, file) : cannot_write(path);
    if (status == 0)
        status = check_name(path, file);
    free(file);
    return status;
}

/* ---- the file beside ---- */

static uint32_t random_digits(void)
{
    uint32_t bits;
    struct timespec now;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) == (ssize_t)sizeof bits)
        return bits;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint32_t)now.tv_nsec ^ (uint32_t)getpid() << 16;
}

static bool is_partial_of(const char *name, const char *file)
{
    size_t length = strlen(file), mark = sizeof PARTIAL - 1;
    return strncmp(name, file, length) == 0 && strncmp(name + length, PARTIAL, mark) == 0 &&
           strlen(name + length + mark) == DIGITS &&
           strspn(name + length + mark, "0123456789abcdef") == DIGITS;
}

/* Whoever has just made the file and did not get to lock it sees that it is gone, and makes another
 * one. Where there are no locks all stays. */
static void remove_where_dead(const char *path)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlink(path);
    close(fd);
}

static void remove_dead(const char *path)
{
    struct dirent *entry;
    char *directory = directory_of(path), *copy = copy_text(path);
    const char *file = basename(copy);
    DIR *d = opendir(directory);
    while (d && (entry = readdir(d)))
        if (is_partial_of(entry->d_name, file)) {
            char *partial = join_path(directory, entry->d_name);
            remove_where_dead(partial);
            free(partial);
        }
    if (d)
        closedir(d);
    free(copy);
    free(directory);
}

/* A new file with a lock; -1, with errno, where that cannot be. */
static int make_locked(const char *path)
{
    struct stat s;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    flock(fd, LOCK_EX); /* not all file systems can */
    if (fstat(fd, &s) == 0 && s.st_nlink > 0)
        return fd;
    close(fd);
    errno = EEXIST;
    return -1;
}

static int open_beside(OutFile *out)
{
    size_t bytes = strlen(out->path) + sizeof PARTIAL + DIGITS;
    char *path = xmalloc(bytes);
    int fd = -1;
    errno = EEXIST;
    for (int i = 0; i < MOST_TRIES && fd < 0 && errno == EEXIST; i++) {
        snprintf(path, bytes, "%s" PARTIAL "%08x", out->path, (unsigned)random_digits());
        fd = make_locked(path);
    }
    if (fd >= 0) {
        out->temporary = path;
        out->file = fdopen(fd, "wb");
    } else
        free(path);
    if (out->file)
        return 0;
    int status = cannot_write(out->path);
    if (fd >= 0)
        close(fd);
    outfile_abandon(out);
    return status;
}

int outfile_open(OutFile *out, const char *path)
{
    struct stat s;
    *out = (OutFile){0};
    if (outfile_check(path) < 0)
        return -1;
    if (stat(path, &s) != 0 || S_ISREG(s.st_mode)) {
        out->path = resolve_links(path);
        if (!out->path)
            return cannot_write(path);
        remove_dead(out->path);
        return open_beside(out);
    }
    out->path = copy_text(path);
    out->file = fopen(path, "wb");
    if (out->file)
        return 0;
    int status = cannot_write(path);
    outfile_abandon(out);
    return status;
}

int make_directories(const char *path, const char *what)
{
    char *part = copy_text(path);
    int status = 0;
    for (size_t i = 1; i <= strlen(path) && status == 0; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            status =
                fault("cannot make %s %s: %s; choose another place", what, part, strerror(errno));
        part[i] = path[i];
    }
    free(part);
    return status;
}

void directory_sync(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY);
    if (fd >= 0) {
        fsync(fd); /* not all file systems can; the rename stands all the same */
        close(fd);
    }
}

/* Flushes, to the disk where the file stands beside its place, and closes; false, with errno. */
static bool finish_writing(OutFile *out)
{
    errno = 0;
    bool ok = fflush(out->file) == 0 && !ferror(out->file);
    if (ok && out->temporary)
        ok = fsync(fileno(out->file)) == 0;
    int error = errno;
    if (fclose(out->file) != 0 && ok) {
        ok = false;
        error = errno;
    }
    out->file = NULL;
    errno = error;
    return ok;
}

int outfile_commit(OutFile *out)
{
    int status = 0;
    /* What is closed keeps its lock until it has its name. */
    int lock = out->temporary ? fcntl(fileno(out->file), F_DUPFD_CLOEXEC, 0) : -1;
    bool ok = finish_writing(out) && (!out->temporary || rename(out->temporary, out->path) == 0);
    if (!ok)
        status = fault("cannot write %s: %s; nothing was left there, make room or choose another "
                       "place",
                       out->path, strerror(errno));
    if (ok && out->temporary) {
        char *directory = directory_of(out->path);
        directory_sync(directory);
        free(directory);
        free(out->temporary);
        out->temporary = NULL;
    }
    outfile_abandon(out);
    if (lock >= 0)
        close(lock);
    return status;
}

void outfile_abandon(OutFile *out)
{
    if (out->file)
        fclose(out->file);
    if (out->temporary)
        unlink(out->temporary);
    free(out->temporary);
    free(out->path);
    *out = (OutFile){0};
}
