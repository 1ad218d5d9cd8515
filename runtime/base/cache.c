/* Compiled kernels kept between runs: files in the cache directory under a hash of all that they
 * depend on, each with a checksum at its end, each renamed into place when it is whole. */
#include "../../ir/ir.h"
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- hashes (FNV-1a) ---- */

Hash hash_start(void)
{
    return (Hash)0x6c62272e07bb0142 << 64 | 0x62b821756295c58d;
}

Hash hash_bytes(Hash h, const void *bytes, size_t count)
{
    const Hash prime = (Hash)1 << 88 | 0x13b;
    for (const unsigned char *b = bytes; count--; b++)
        h = (h ^ *b) * prime;
    return h;
}

Hash hash_text(Hash h, const char *text)
{
    return hash_bytes(h, text, strlen(text) + 1);
}

/* ---- the directory ---- */

/* Makes the directory and those above it; 0, or errno. */
static int make_cache_directory(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    mkdir(path, 0700);
    return faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

static char *chosen_directory(void)
{
    const char *own = getenv("NINC_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (own && *own)
        return copy_text(own);
    if (xdg && *xdg)
        return join_path(xdg, "ninc");
    return join_path(home && *home ? home : "/dev/null", ".cache/ninc");
}

/* One a process says it: each kernel asks for the directory. */
static bool refuse_cache(const char *path, const char *reason, const char *advice)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&told))
        notice("the cache directory %s %s:\n  code is compiled in each run; %s", path, reason,
               advice);
    return false;
}

static bool check_cache_directory(const char *path, int error, const char *absolute)
{
    char why[PATH_MAX + 64], reason[sizeof why + 64];
    snprintf(reason, sizeof reason, "cannot be written (%s)", strerror(error));
    if (error)
        return refuse_cache(path, reason, "set NINC_CACHE_DIR");
    if (directory_is_private(absolute, why, sizeof why))
        return true;
    snprintf(reason, sizeof reason, "is not trusted, as\n  %s", why);
    return refuse_cache(path, reason, "chmod go-w, or set NINC_CACHE_DIR to one of your own");
}

bool cache_directory(char *out, size_t size)
{
    char *path = chosen_directory();
    int error = make_cache_directory(path);
    char *absolute = realpath(path, NULL);
    if (!error && (!absolute || strlen(absolute) >= size))
        error = absolute ? ENAMETOOLONG : errno;
    bool trusted = check_cache_directory(path, error, absolute);
    snprintf(out, size, "%s", trusted ? absolute : "");
    free(absolute);
    free(path);
    return trusted;
}

void cache_path(char *out, size_t size, const char *directory, const char *kind, Hash h,
                const char *extension)
{
    snprintf(out, size, "%s/%s-%016llx%016llx%s", directory, kind,
             (unsigned long long)(h >> 64), (unsigned long long)h, extension);
}

/* ---- files ---- */

/* At the end of each file; neither the loader of libraries nor that of cubins looks there. */
typedef struct Trailer {
    char magic[8];
    uint64_t size;
    unsigned char hash[16];
} Trailer;

static const char trailer_magic[8] = "nincfil1";

static Trailer trailer_of(const void *bytes, size_t size)
{
    Trailer t = {.size = size};
    Hash h = hash_bytes(hash_start(), bytes, size);
    memcpy(t.magic, trailer_magic, sizeof t.magic);
    memcpy(t.hash, &h, sizeof t.hash);
    return t;
}

/* Closes it. NULL unless it is a regular file; where `ours`, one that we alone can write. */
static unsigned char *read_open(int fd, bool ours, size_t *size)
{
    struct stat s;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "rb");
    unsigned char *bytes = NULL;
    if (!f)
        return NULL;
    bool right = fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
    if (right && ours)
        right = s.st_uid == geteuid() && !(s.st_mode & (S_IWGRP | S_IWOTH));
    if (right) {
        bytes = xmalloc((size_t)s.st_size + 1);
        *size = fread(bytes, 1, (size_t)s.st_size, f);
        bytes[*size] = '\0';
    }
    fclose(f);
    return bytes;
}

unsigned char *read_bytes(const char *path, size_t *size)
{
    return read_open(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), false, size);
}

unsigned char *cache_read(const char *path, size_t *size)
{
    size_t all = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    unsigned char *bytes = read_open(fd, true, &all);
    if (bytes && all >= sizeof(Trailer)) {
        *size = all - sizeof(Trailer);
        Trailer t = trailer_of(bytes, *size);
        if (memcmp(&t, bytes + *size, sizeof t) == 0) {
            bytes[*size] = '\0';
            utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW); /* it was used */
            return bytes;
        }
    }
    free(bytes);
    return NULL;
}

int cache_write(const char *path, const void *bytes, size_t size)
{
    size_t length = strlen(path) + 32;
    char *beside = xmalloc(length);
    snprintf(beside, length, "%s.partial-XXXXXX", path);
    Trailer t = trailer_of(bytes, size);
    int fd = mkostemp(beside, O_CLOEXEC); /* O_EXCL, 0600 */
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    bool written = f && fwrite(bytes, 1, size, f) == size && fwrite(&t, sizeof t, 1, f) == 1;
    if (f && fclose(f))
        written = false;
    int status = written && rename(beside, path) == 0 ? 0 : -1, error = errno;
    if (status && f)
        unlink(beside);
    char *slash = strrchr(beside, '/');
    if (slash && !status) {
        *slash = '\0';
        cache_trim(beside, strrchr(path, '/') + 1);
    }
    free(beside);
    errno = error;
    return status;
}
