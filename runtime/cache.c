/* Compiled kernels kept between runs: files in the cache directory under a hash of all that they
 * depend on, each with a checksum at its end, each renamed into place when it is whole. */
#include "../ir/ir.h"
#include "gpu.h"
#include "runtime.h"

#include <errno.h>
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

/* Makes the directory and those above it. */
static bool make_cache_directory(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    mkdir(path, 0777);
    return access(path, W_OK | X_OK) == 0;
}

bool cache_directory(char *out, size_t size)
{
    const char *own = getenv("NINC_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (own && *own)
        snprintf(out, size, "%s", own);
    else if (xdg && *xdg)
        snprintf(out, size, "%s/ninc", xdg);
    else
        snprintf(out, size, "%s/.cache/ninc", home && *home ? home : "/nonexistent");
    if (make_cache_directory(out))
        return true;
    notice("the cache directory %s cannot be written (%s): kernels are compiled in each run; set "
           "NINC_CACHE_DIR",
           out, strerror(errno));
    return false;
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

unsigned char *read_bytes(const char *path, size_t *size)
{
    struct stat s;
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    unsigned char *bytes = NULL;
    if (fstat(fileno(f), &s) == 0 && S_ISREG(s.st_mode)) {
        bytes = xmalloc((size_t)s.st_size + 1);
        *size = fread(bytes, 1, (size_t)s.st_size, f);
        bytes[*size] = '\0';
    }
    fclose(f);
    return bytes;
}

unsigned char *cache_read(const char *path, size_t *size)
{
    size_t all = 0;
    unsigned char *bytes = read_bytes(path, &all);
    if (bytes && all >= sizeof(Trailer)) {
        *size = all - sizeof(Trailer);
        Trailer t = trailer_of(bytes, *size);
        if (memcmp(&t, bytes + *size, sizeof t) == 0) {
            bytes[*size] = '\0';
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
    snprintf(beside, length, "%s.partial-%ld", path, (long)gettid());
    Trailer t = trailer_of(bytes, size);
    FILE *f = fopen(beside, "wb");
    bool written = f && fwrite(bytes, 1, size, f) == size && fwrite(&t, sizeof t, 1, f) == 1;
    if (f && fclose(f))
        written = false;
    int status = written && rename(beside, path) == 0 ? 0 : -1, error = errno;
    if (status && f)
        unlink(beside);
    free(beside);
    errno = error;
    return status;
}
