/* Texts that diagnostics point into: reading them, finding lines, checking that they are text. */
#include "frontend.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void whole_file_fault(Diagnostics *d, const Source *s, const char *what)
{
    diagnostics_add(d, (Loc){s->name, 1, 1}, 1, "%s", what);
}

/* Reads all of fd, at most limit + 1 bytes, so that the caller sees what is too long. */
static int read_all(int fd, size_t limit, Text *text)
{
    char buffer[65536];

    while (text->length <= limit) {
        ssize_t got = read(fd, buffer, sizeof buffer);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            return 0;
        text_write(text, buffer, (size_t)got);
    }
    return 0;
}

static int open_input(const char *path)
{
    struct stat info;
    int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
        close(fd);
        errno = EISDIR;
        return -1;
    }
    return fd;
}

static char *too_long(Pool *pool, size_t limit)
{
    return pool_format(pool, "the file is larger than %zu MB, too large for a model; is it the "
                             "right file?", limit >> 20);
}

/* Keeps the bytes, without a UTF-8 byte order mark. */
static void keep_text(Pool *pool, Source *s, const Text *text)
{
    size_t skip = text->length >= 3 && memcmp(text->data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    char *copy = pool_alloc(pool, text->length - skip + 1);

    s->length = text->length - skip;
    if (s->length > 0)
        memcpy(copy, text->data + skip, s->length);
    s->text = copy;
}

/* Why there is no text, and what to do. */
static const char *unreadable(Pool *pool, const char *path, int error)
{
    const char *why = strerror(error), *models, *meant;

    if (error == EISDIR) {
        models = models_in(pool, path);
        return pool_format(pool, "cannot read the file: %s; name a model file in it%s%s", why,
                           models ? ": " : "", models ? models : "");
    }
    meant = error == ENOENT ? meant_file(pool, path) : NULL;
    return meant ? pool_format(pool, "cannot read the file: %s; did you mean '%s'?", why, meant)
                 : pool_format(pool, "cannot read the file: %s; check the path", why);
}

Source *source_read(Pool *pool, Diagnostics *d, const char *path, size_t limit)
{
    Source *s = pool_alloc(pool, sizeof *s);
    Text text = {0};
    int fd = open_input(path);
    const char *what;

    s->name = strcmp(path, "-") == 0 ? "<stdin>" : pool_strdup(pool, path);
    if (fd < 0 || read_all(fd, limit, &text) < 0) {
        whole_file_fault(d, s, unreadable(pool, path, errno));
    } else if ((what = recognise(pool, path, text.data, text.length))) {
        whole_file_fault(d, s, pool_format(pool, "this is no model file but %s", what));
    } else if (text.length > limit) {
        whole_file_fault(d, s, too_long(pool, limit));
    } else {
        keep_text(pool, s, &text);
    }
    if (fd >= 0)
        close(fd);
    text_free(&text);
    return s;
}

int utf8_decode(const char *p, size_t left, uint32_t *code)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *u = (const unsigned char *)p;
    int length = left == 0         ? 0
                 : u[0] < 0x80     ? 1
                 : u[0] >> 5 == 6  ? 2
                 : u[0] >> 4 == 14 ? 3
                 : u[0] >> 3 == 30 ? 4
                                   : 0;
    uint32_t value;

    if (length == 0 || (size_t)length > left)
        return 0;
    value = length == 1 ? u[0] : u[0] & (0x7fu >> length);
    for (int i = 1; i < length; i++) {
        if (u[i] >> 6 != 2)
            return 0;
        value = value << 6 | (u[i] & 0x3f);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *code = value;
    return length;
}

/* Bytes of the line break at p (YAML 1.1: LF, CR, CRLF, NEL, LS, PS); 0 if there is none. */
static size_t line_break(const char *p, size_t left)
{
    if (left >= 2 && p[0] == '\r' && p[1] == '\n')
        return 2;
    if (left >= 1 && (p[0] == '\n' || p[0] == '\r'))
        return 1;
    if (left >= 2 && memcmp(p, "\xc2\x85", 2) == 0)
        return 2;
    if (left >= 3 && (memcmp(p, "\xe2\x80\xa8", 3) == 0 || memcmp(p, "\xe2\x80\xa9", 3) == 0))
        return 3;
    return 0;
}

bool source_line(const Source *s, int line, const char **start, size_t *length)
{
    size_t at, end;
    int now = 1;

    if (!s->text)
        return false;
    for (at = 0; now < line && at < s->length;) {
        size_t skip = line_break(s->text + at, s->length - at);

        now += skip > 0;
        at += skip > 0 ? skip : 1;
    }
    if (now < line)
        return false;
    for (end = at; end < s->length && line_break(s->text + end, s->length - end) == 0;)
        end++;
    *start = s->text + at;
    *length = end - at;
    return true;
}

Loc source_place(const Source *s, size_t offset)
{
    Loc loc = {s->name, 1, 1};
    size_t at = 0;

    while (at < offset && at < s->length) {
        uint32_t code;
        size_t skip = line_break(s->text + at, s->length - at);
        int bytes = utf8_decode(s->text + at, s->length - at, &code);

        if (skip > 0) {
            loc.line++;
            loc.column = 1;
            at += skip;
        } else {
            loc.column++;
            at += bytes > 0 ? (size_t)bytes : 1;
        }
    }
    return loc;
}

/* What YAML allows as a character of the text. */
static bool is_printable(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0x7e) || c == 0x85 ||
           (c >= 0xa0 && c <= 0xfffd && c != 0xfeff) || c >= 0x10000;
}

static bool text_fault(const Source *s, Diagnostics *d, size_t offset, uint32_t code)
{
    Loc loc = source_place(s, offset);

    if (code == 0)
        diagnostics_add(d, loc, 1, "a NUL byte; a model file is plain text");
    else if (code == UINT32_MAX)
        diagnostics_add(d, loc, 1, "the byte 0x%02x is not valid UTF-8; save the file as UTF-8",
                        (unsigned char)s->text[offset]);
    else
        diagnostics_add(d, loc, 1, "the control character U+%04X is not allowed; delete it",
                        (unsigned)code);
    return false;
}

bool source_check_text(const Source *s, Diagnostics *d)
{
    size_t at = 0;

    if (s->length == 0) {
        whole_file_fault(d, s, "the file is empty; a model needs the keys model, input, layers, "
                               "loss, optimizer and train");
        return false;
    }
    if (s->length >= 2 && (memcmp(s->text, "\xff\xfe", 2) == 0 ||
                           memcmp(s->text, "\xfe\xff", 2) == 0)) {
        whole_file_fault(d, s, "the file is UTF-16; save it as UTF-8");
        return false;
    }
    while (at < s->length) {
        uint32_t code = UINT32_MAX;
        int bytes = utf8_decode(s->text + at, s->length - at, &code);

        if (bytes == 0 || !is_printable(code))
            return text_fault(s, d, at, bytes == 0 ? UINT32_MAX : code);
        at += (size_t)bytes;
    }
    return true;
}
