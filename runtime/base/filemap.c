/* Files mapped into memory, to be read. */
#include "base.h"
#include "../../ir/ir.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of an open file. */
static int map(FileMap *m, int fd, const char *path)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return fault("cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return fault("cannot read %s: it is not a file", path);
    if (s.st_size == 0)
        return fault("%s is empty; get the file again", path);
    void *bytes = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return fault("cannot map %s into memory: %s", path, strerror(errno));
    *m = (FileMap){bytes, (size_t)s.st_size};
    return 0;
}

int filemap_open(FileMap *m, const char *path)
{
    *m = (FileMap){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fault("cannot read %s: %s", path, strerror(errno));
    int status = map(m, fd, path);
    close(fd);
    return status;
}

/* ---- bytes that are gone when they are read ---- */

/* A file that is cut, or whose disk fails, while it is mapped: the system sends SIGBUS to who reads
 * there. */
typedef struct Guard {
    const uint8_t *bytes;
    size_t size;
    char *message; /* what is written then, as fault prints it */
} Guard;

enum { GUARDS = 16 };

static _Atomic(Guard *) guard[GUARDS]; /* NULL: none */
static struct sigaction before;        /* the guards' */
static pthread_once_t caught = PTHREAD_ONCE_INIT;

static void tell(const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t written = write(STDERR_FILENO, text, left);
        if (written <= 0)
            return;
        text += written, left -= (size_t)written;
    }
}

/* In a handler nothing else is safe than to end. Other addresses are not ours: the signal comes
 * again, and does what it did before. */
static void on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < GUARDS && info->si_code > 0; i++) {
        const Guard *g = atomic_load(&guard[i]);
        if (!g || at < (uintptr_t)g->bytes || at - (uintptr_t)g->bytes >= g->size)
            continue;
        tell(g->message);
        locks_remove();
        _exit(1);
    }
    sigaction(number, &before, NULL);
    raise(number);
}

static void catch_bus(void)
{
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &before);
}

void filemap_guard(const FileMap *m, const char *format, ...)
{
    va_list ap;
    char *text = NULL, *line = NULL;
    va_start(ap, format);
    if (vasprintf(&text, format, ap) < 0)
        text = NULL;
    va_end(ap);
    if (text && asprintf(&line, "%s%s: error: %s\n",
                         bar_possible(STDERR_FILENO) ? "\r\033[J" : "", fault_program, text) < 0)
        line = NULL;
    free(text);
    if (!line)
        return;
    Guard *new = xmalloc(sizeof *new);
    *new = (Guard){m->bytes, m->size, line};
    pthread_once(&caught, catch_bus);
    for (int i = 0; i < GUARDS; i++) {
        Guard *none = NULL;
        if (atomic_compare_exchange_strong(&guard[i], &none, new))
            return;
    }
    free(line);
    free(new);
}

static void remove_guard(const FileMap *m)
{
    for (int i = 0; i < GUARDS; i++) {
        Guard *g = atomic_load(&guard[i]);
        if (!g || g->bytes != m->bytes)
            continue;
        atomic_store(&guard[i], NULL);
        free(g->message);
        free(g);
    }
}

void filemap_close(FileMap *m)
{
    if (m->bytes) {
        remove_guard(m);
        munmap(m->bytes, m->size);
    }
    *m = (FileMap){0};
}
