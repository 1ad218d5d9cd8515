/* Locks on the files and directories that one run alone may write. */
#include "../../ir/ir.h"
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The lock lies on a hidden file beside what it is for, .NAME.lock, which tells whose it is: a lock
 * of the system vanishes with its process, and over NFS the system cannot tell who has it. */
enum { OWNER = 320, MOST_LOCKS = 16, MOST_TRIES = 100 };

/* What a signal that ends the process removes. */
static char *volatile held[MOST_LOCKS];

static char *lock_path(const char *path)
{
    char *directory = directory_of(path), *copy = copy_text(path);
    size_t bytes = strlen(copy) + sizeof "..lock";
    char *name = xmalloc(bytes);
    snprintf(name, bytes, ".%s.lock", basename(copy));
    char *out = join_path(directory, name);
    free(name);
    free(copy);
    free(directory);
    return out;
}

static void own_name(char *out)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        strcpy(host, "localhost");
    snprintf(out, OWNER, "process %ld on %s", (long)getpid(), host);
}

static void read_owner(int fd, char *out)
{
    char text[OWNER] = "";
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    printable(text, out, OWNER);
}

/* A disk that is full costs the name alone. */
static void write_owner(int fd)
{
    char name[OWNER];
    own_name(name);
    if (ftruncate(fd, 0) == 0)
        dprintf(fd, "%s\n", name);
}

/* *made: there was none before. */
static int open_lock(const char *path, bool *made)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    *made = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0 && errno == EACCES) /* another user's, which can be locked all the same */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd;
}

/* Whether the open file still has its name: its holder removes it when it is done. */
static bool has_name(int fd, const char *path)
{
    struct stat ours, named;
    return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

/* The descriptor; -1, with errno: EWOULDBLOCK where `owner` has it. Some file systems of networks
 * number a file anew each time they are asked, so that it never seems to have its name. */
static int take(const char *path, char *owner)
{
    for (int i = 0; i < MOST_TRIES; i++) {
        bool made;
        int fd = open_lock(path, &made);
        if (fd < 0)
            return -1;
        bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
        int error = errno;
        if (locked && has_name(fd, path))
            return fd;
        if (!locked && error == EWOULDBLOCK)
            read_owner(fd, owner);
        else if (!locked && made)
            unlink(path); /* a lock that cannot be had; what others made is theirs */
        close(fd);
        errno = error;
        if (!locked)
            return -1;
    }
    errno = ESTALE;
    return -1;
}

static void remember(char *path, bool is_held)
{
    for (int i = 0; i < MOST_LOCKS; i++)
        if (held[i] == (is_held ? NULL : path)) {
            held[i] = is_held ? path : NULL;
            return;
        }
}

/* Whether this process has the lock already. */
static bool is_held(const char *path)
{
    struct stat ours, asked;
    for (int i = 0; i < MOST_LOCKS; i++)
        if (held[i] && stat(held[i], &ours) == 0 && stat(path, &asked) == 0 &&
            ours.st_ino == asked.st_ino && ours.st_dev == asked.st_dev)
            return true;
    return false;
}

static bool is_special(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

/* Whoever opens it will say so. */
static bool cannot_be_written(const char *path, int error)
{
    return error == ENOENT || error == ENOTDIR ||
           ((error == EACCES || error == EROFS) && access(path, W_OK) != 0);
}

LockResult lock_try(Lock *lock, const char *path, char *owner, size_t size)
{
    char who[OWNER] = "";
    *lock = (Lock){.fd = -1};
    char *target = is_special(path) ? NULL : resolve_links(path);
    if (!target)
        return LOCK_NEEDLESS;
    char *file = lock_path(target);
    int fd = take(file, who);
    int error = errno;
    LockResult result = LOCK_TAKEN;
    if (fd >= 0) {
        *lock = (Lock){.path = file, .fd = fd};
        remember(file, true);
        write_owner(fd);
    } else if (error == EWOULDBLOCK) {
        result = is_held(file) ? LOCK_OURS : LOCK_ANOTHERS;
        snprintf(owner, size, "%s", who[0] ? who : "a process that gives no name");
    } else
        result = cannot_be_written(target, error) ? LOCK_NEEDLESS : LOCK_IMPOSSIBLE;
    if (fd < 0)
        free(file);
    free(target);
    errno = error;
    return result;
}

int lock_take(Lock *lock, const char *path, const char *shown)
{
    char owner[OWNER];
    switch (lock_try(lock, path, owner, sizeof owner)) {
    case LOCK_TAKEN:
    case LOCK_NEEDLESS: return 0;
    case LOCK_IMPOSSIBLE:
        notice("cannot lock %s: %s; see to it that no other run writes there", shown,
               strerror(errno));
        return 0;
    case LOCK_OURS:
        return fault("%s is named twice, for two outputs; choose another place for one", shown);
    case LOCK_ANOTHERS: break;
    }
    return fault("another run is writing %s: %s; wait for its end or choose another place", shown,
                 owner);
}

void lock_release(Lock *lock)
{
    if (!lock->path)
        return;
    remember(lock->path, false);
    unlink(lock->path);
    close(lock->fd);
    free(lock->path);
    *lock = (Lock){.fd = -1};
}

void locks_remove(void)
{
    for (int i = 0; i < MOST_LOCKS; i++)
        if (held[i])
            unlink(held[i]);
}
