/* Files that may be gzipped, read from the beginning to the end. */
#include "formats.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/* Deflate compresses at most 1032 to 1, so a header that says more lies. */
enum { DEFLATE_RATIO = 1032, BUFFER = 1 << 17 };

int gzip_open(GzipFile *f, const char *path)
{
    struct stat s;
    *f = (GzipFile){.path = copy_text(path)};
    if (stat(path, &s) != 0)
        return fault("cannot read %s: %s", path, strerror(errno));
    if (S_ISDIR(s.st_mode))
        return fault("cannot read %s: %s; give a file", path, strerror(EISDIR));
    f->size = (uint64_t)s.st_size;
    f->gz = gzopen(path, "rb");
    if (!f->gz)
        return fault("cannot read %s: %s", path, errno ? strerror(errno) : "no memory");
    gzbuffer(f->gz, BUFFER);
    return 0;
}

void gzip_close(GzipFile *f)
{
    if (f->gz)
        gzclose(f->gz);
    free(f->path);
    *f = (GzipFile){0};
}

static int broken(const GzipFile *f)
{
    int code = Z_OK;
    const char *why = gzerror(f->gz, &code);
    if (code == Z_ERRNO)
        why = strerror(errno);
    return fault("%s is corrupt: %s; get the file again", f->path, why);
}

int gzip_some(GzipFile *f, void *out, size_t count, size_t *got)
{
    *got = 0;
    while (*got < count) {
        size_t part = count - *got < INT_MAX / 2 ? count - *got : INT_MAX / 2;
        int some = gzread(f->gz, (char *)out + *got, (unsigned)part), code = Z_OK;
        if (some == 0) /* a check sum that is cut off is no error of gzread */
            gzerror(f->gz, &code);
        if (some < 0 || code != Z_OK)
            return broken(f);
        if (some == 0)
            break;
        *got += (size_t)some;
    }
    f->at += *got;
    return 0;
}

int gzip_read(GzipFile *f, void *out, size_t count, const char *what)
{
    size_t got;
    if (gzip_some(f, out, count, &got) < 0)
        return -1;
    if (got < count)
        return fault("%s is truncated: %s need %zu bytes and only %zu are there; get the file "
                     "again",
                     f->path, what, count, got);
    return 0;
}

int gzip_end(GzipFile *f, const char *what)
{
    char extra;
    size_t got;
    if (gzip_some(f, &extra, 1, &got) < 0)
        return -1;
    if (got > 0)
        return fault("%s has bytes after its %s; the header or the file is wrong", f->path, what);
    return 0;
}

bool gzip_can_hold(const GzipFile *f, uint64_t bytes)
{
    return bytes / (gzdirect(f->gz) ? 1 : DEFLATE_RATIO) <= f->size;
}
