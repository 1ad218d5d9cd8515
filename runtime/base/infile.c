/* Files that users name to be read: whole, with a bound, as bytes or as lines of text. */
#include "../../ir/ir.h"
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_BYTES = 1 << 16, TEXT_BYTES = 1 << 24, PATIENCE = 30 };

static const char *name_of(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* ---- bytes ---- */

typedef struct InFile {
    const char *name;
    const InFileLimits *limits;
    int fd;
    bool piped, fifo; /* standard input; a pipe that has a path */
    uint8_t *bytes;
    size_t size, room;
} InFile;

/* A device may give bytes without end, or none. */
static int check_kind(const InFile *f, const struct stat *s)
{
    if (S_ISDIR(s->st_mode))
        return fault("cannot read %s: %s; give a file", f->name, strerror(EISDIR));
    if (f->piped && isatty(f->fd))
        return fault("cannot read standard input: it is a terminal; pipe a file into it");
    if (!S_ISREG(s->st_mode) && !S_ISFIFO(s->st_mode) && !S_ISSOCK(s->st_mode))
        return fault("cannot read %s: it is a device; give a file", f->name);
    if (S_ISREG(s->st_mode) && s->st_size > (off_t)f->limits->most)
        return fault("%s has %lld bytes; at most %zu can be read here", f->name,
                     (long long)s->st_size, f->limits->most);
    return 0;
}

/* Not blocking, as a pipe that nobody writes to would. */
static int open_infile(const char *path, InFile *f)
{
    struct stat s;
    if (!f->piped) {
        if (stat(path, &s) == 0 && check_kind(f, &s) < 0)
            return -1;
        f->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    }
    if (f->fd < 0 || fstat(f->fd, &s) != 0)
        return fault("cannot read %s: %s", f->name, strerror(errno));
    f->fifo = !f->piped && S_ISFIFO(s.st_mode);
    return check_kind(f, &s);
}

/* Until there is something to read: before the first writer has opened a pipe, it looks empty. */
static int wait_for_bytes(const InFile *f)
{
    int seconds = f->limits->seconds > 0 ? f->limits->seconds : PATIENCE, ready;
    struct pollfd wanted = {.fd = f->fd, .events = POLLIN};
    do
        ready = poll(&wanted, 1, 1000 * seconds);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return fault("cannot read %s: nothing came through this pipe for %d seconds; is there a "
                     "program that writes to it?",
                     f->name, seconds);
    return 0;
}

/* What is there, up to the room; 0 at the end, -1 after a message. */
static ssize_t read_some(InFile *f)
{
    ssize_t got;
    if (f->size == f->room) {
        f->room = f->room ? 2 * f->room : FIRST_BYTES;
        f->bytes = xrealloc(f->bytes, f->room);
    }
    do {
        if (f->fifo && wait_for_bytes(f) < 0)
            return -1;
        got = read(f->fd, f->bytes + f->size, f->room - f->size);
    } while (got < 0 && (errno == EINTR || (errno == EAGAIN && f->fifo)));
    if (got < 0)
        return fault("cannot read %s: %s", f->name, strerror(errno));
    f->size += (size_t)got;
    return got;
}

static int read_all(InFile *f)
{
    ssize_t got = 1;
    bool looked = f->limits->begins == NULL;
    while (got > 0) {
        if ((got = read_some(f)) < 0)
            return -1;
        if (f->size > f->limits->most)
            return fault("%s has more than %zu bytes, more than can be read here", f->name,
                         f->limits->most);
        if (!looked && f->size >= INFILE_BEGIN) {
            looked = true;
            if (!f->limits->begins(f->bytes, f->size))
                return 0;
        }
    }
    return 0;
}

int infile_read(const char *path, const InFileLimits *limits, uint8_t **bytes, size_t *size)
{
    InFile f = {.name = name_of(path), .limits = limits, .piped = strcmp(path, "-") == 0};
    f.fd = f.piped ? STDIN_FILENO : -1;
    int status = open_infile(path, &f);
    if (status == 0)
        status = read_all(&f);
    if (!f.piped && f.fd >= 0)
        close(f.fd);
    *bytes = f.bytes;
    *size = f.size;
    return status;
}

/* ---- lines ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void add_line(TextLines *out, const char *begin, const char *end)
{
    while (begin < end && is_blank(*begin))
        begin++;
    while (end > begin && is_blank(end[-1]))
        end--;
    size_t length = (size_t)(end - begin);
    char *line = memcpy(xmalloc(length + 1), begin, length);
    line[length] = '\0';
    out->line = xrealloc(out->line, ((size_t)out->count + 1) * sizeof *out->line);
    out->line[out->count++] = line;
}

/* Windows ends a line by CR LF, old Macs by CR. */
static void split_lines(const char *at, const char *end, TextLines *out)
{
    while (at < end) {
        const char *stop = at;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        add_line(out, at, stop);
        at = stop + (stop + 1 < end && stop[0] == '\r' && stop[1] == '\n') + 1;
    }
    while (out->count > 0 && out->line[out->count - 1][0] == '\0')
        free(out->line[--out->count]);
}

static int split_text(const char *name, const char *text, size_t size, TextLines *out)
{
    bool utf16 =
        size >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0);
    if (utf16 || (size > 0 && memchr(text, '\0', size)))
        return fault("%s is not text in UTF-8%s; save it as UTF-8, or make it so with 'iconv -f "
                     "UTF-16 -t UTF-8'",
                     name, utf16 ? " but in UTF-16" : ": it has bytes of 0");
    size_t mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (size > mark)
        split_lines(text + mark, text + size, out);
    return 0;
}

int text_lines_read(const char *path, TextLines *out)
{
    InFileLimits limits = {.most = TEXT_BYTES};
    uint8_t *bytes;
    size_t size;
    *out = (TextLines){0};
    int status = infile_read(path, &limits, &bytes, &size);
    if (status == 0)
        status = split_text(name_of(path), (const char *)bytes, size, out);
    free(bytes);
    return status;
}

void text_lines_free(TextLines *lines)
{
    for (int i = 0; i < lines->count; i++)
        free(lines->line[i]);
    free(lines->line);
    *lines = (TextLines){0};
}
