/* Directories that are ours alone, where code that is run may lie. */
#include "../../ir/ir.h"
#include "base.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- who can write ---- */

/* What a user namespace shows of owners that it does not know, root outside of it among them. */
enum { OVERFLOW_USER = 65534 };

/* The directory itself: nobody but its owner writes there, and that is us. */
static const char *against_directory(const struct stat *s)
{
    if (s->st_uid != geteuid())
        return "belongs to another user";
    return s->st_mode & (S_IWGRP | S_IWOTH) ? "can be written by others" : NULL;
}

/* One above it: whoever writes there could put another directory in the place of ours, but where it
 * is sticky, as /tmp. A group with its owner's number is taken for one of that user alone, as most
 * systems make them. */
static const char *against_parent(const struct stat *s)
{
    mode_t others = s->st_uid == s->st_gid ? S_IWOTH : S_IWGRP | S_IWOTH;
    if (s->st_uid != geteuid() && s->st_uid != 0 && s->st_uid != OVERFLOW_USER)
        return "belongs to another user";
    return s->st_mode & others && !(s->st_mode & S_ISVTX) ? "can be written by others" : NULL;
}

bool directory_is_private(const char *path, char *why, size_t size)
{
    struct stat s;
    char *part = copy_text(path);
    const char *against =
        lstat(part, &s) != 0 || !S_ISDIR(s.st_mode) ? "is no directory" : against_directory(&s);
    for (char *slash = strrchr(part, '/'); !against && slash; slash = strrchr(part, '/')) {
        *slash = '\0';
        against = stat(*part ? part : "/", &s) != 0 ? strerror(errno) : against_parent(&s);
    }
    if (against)
        snprintf(why, size, "%s %s", *part ? part : "/", against);
    free(part);
    return !against;
}

/* ---- our own ---- */

int private_directory(const char *name, char *out, size_t size)
{
    const char *set = getenv("TMPDIR"), *place = set && *set ? set : "/tmp";
    char *absolute = realpath(place, NULL);
    int length = snprintf(out, size, "%s/%s-XXXXXX", absolute ? absolute : place, name);
    free(absolute);
    errno = ENAMETOOLONG;
    if (length > 0 && (size_t)length < size && mkdtemp(out))
        return 0;
    fault("cannot make the directory %s: %s; set TMPDIR to one that can be written", out,
          strerror(errno));
    out[0] = '\0';
    return -1;
}

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s, (void)kind, (void)at;
    return remove(path);
}

void remove_directory(const char *path)
{
    if (nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS) != 0)
        notice("cannot remove %s: %s", path, strerror(errno));
}
