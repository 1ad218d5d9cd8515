/* Files that appear whole or not at all. */
#include "../ir/ir.h"
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

int outfile_check(const char *path)
{
    struct stat s;
    if (stat(path, &s) == 0) {
        if (S_ISDIR(s.st_mode))
            return fault("cannot write %s: it is a directory; give a file name", path);
        if (!S_ISREG(s.st_mode))
            return 0;
    }
    char *directory = directory_of(path);
    int status = 0;
    if (access(directory, W_OK | X_OK) != 0)
        status = fault("cannot write %s: directory %s: %s; choose a directory that exists and "
                       "that you may write to",
                       path, directory, strerror(errno));
    free(directory);
    return status;
}

static int open_beside(OutFile *out)
{
    size_t bytes = strlen(out->path) + 32;
    out->temporary = xmalloc(bytes);
    snprintf(out->temporary, bytes, "%s.partial-%ld", out->path, (long)getpid());
    out->file = fopen(out->temporary, "wbx");
    if (out->file)
        return 0;
    int status =
        fault("cannot write %s: %s; choose another place", out->temporary, strerror(errno));
    outfile_abandon(out);
    return status;
}

int outfile_open(OutFile *out, const char *path)
{
    struct stat s;
    *out = (OutFile){0};
    if (outfile_check(path) < 0)
        return -1;
    bool exists = stat(path, &s) == 0;
    if (!exists || S_ISREG(s.st_mode)) {
        /* Through a symbolic link the file that it names is replaced, not the link. */
        out->path = exists ? realpath(path, NULL) : NULL;
        if (!out->path)
            out->path = copy_text(path);
        return open_beside(out);
    }
    out->path = copy_text(path);
    out->file = fopen(path, "wb");
    if (out->file)
        return 0;
    int status = fault("cannot write %s: %s; choose another place", path, strerror(errno));
    outfile_abandon(out);
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

int outfile_commit(OutFile *out)
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
    if (ok && out->temporary && rename(out->temporary, out->path) != 0) {
        ok = false;
        error = errno;
    }
    int status = 0;
    if (!ok)
        status = fault("cannot write %s: %s; nothing was left there, make room or choose another "
                       "place",
                       out->path, strerror(error));
    if (ok && out->temporary) {
        char *directory = directory_of(out->path);
        directory_sync(directory);
        free(directory);
    }
    if (ok) {
        free(out->temporary);
        out->temporary = NULL;
    }
    outfile_abandon(out);
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
