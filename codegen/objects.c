/* Object files of the CPU's kernels kept between runs of ninc, beside the GPU's: a compiler that is
 * given the same text and the same flags once more is not run. An entry is named by a hash of all
 * that the object depends on: the text, the flags, the compiler (its words, its files, what it says
 * of its version), the C library whose headers it reads, and the variables that lead it to
 * others. */
#include "../runtime/base/base.h"
#include "artefacts.h"

#include <gnu/libc-version.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A file is taken for the same while its place, its size and the time of its last change are. */
static bool hash_file(Hash *h, const char *path)
{
    struct stat s;
    char *place = realpath(path, NULL);
    bool found = place && stat(place, &s) == 0 && S_ISREG(s.st_mode);
    if (found) {
        long long state[] = {s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec};
        *h = hash_bytes(hash_text(*h, place), state, sizeof state);
    }
    free(place);
    return found;
}

/* Of every place in $PATH that has the program: ccache's own gcc stands before the real one. False
 * where there is none. */
static bool hash_program(Pool *pool, Hash *h, const char *name)
{
    if (strchr(name, '/'))
        return hash_file(h, name);
    const char *path = getenv("PATH");
    bool found = false;
    while (path && *path) {
        size_t length = strcspn(path, ":");
        found |= hash_file(h, pool_format(pool, "%.*s/%s", (int)length, path, name));
        path += length + (path[length] != '\0');
    }
    return found;
}

/* Whether the object depends on nothing but the letters of this flag: not on a file, a directory or
 * the processor at hand, as with -include, -I, -specs=, -Wp,... or -march=native. */
static bool is_plain_flag(const char *word)
{
    static const char *const plain[] = {"-O", "-g", "-W", "-D", "-U", "-m", "-std=", "-pipe",
                                        "-pthread", "-static"};
    if (strstr(word, "native") || strchr(word, ','))
        return false;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strncmp(word, plain[i], strlen(plain[i])) == 0)
            return true;
    return strncmp(word, "-f", 2) == 0 && !strchr(word, '=');
}

/* False where not all of it is known: a word may lead to files that are not looked at here, and the
 * compiler may not say its version. */
static bool hash_compiler(Pool *pool, char *const *word, int count, Hash *h)
{
    static const char *const variable[] = {"CPATH", "C_INCLUDE_PATH", "GCC_EXEC_PREFIX",
                                           "COMPILER_PATH", "SYSROOT",
                                           "CCC_OVERRIDE_OPTIONS"};
    char version[4096];
    char **ask = pool_alloc(pool, ((size_t)count + 2) * sizeof *ask);
    *h = hash_text(*h, gnu_get_libc_version());
    for (int i = 0; i < count; i++) {
        *h = hash_text(*h, ask[i] = word[i]);
        if (word[i][0] == '-' ? !is_plain_flag(word[i]) : !hash_program(pool, h, word[i]))
            return false;
    }
    ask[count] = "--version";
    for (size_t i = 0; i < sizeof variable / sizeof *variable; i++)
        *h = hash_text(*h, getenv(variable[i]) ? getenv(variable[i]) : "");
    if (command_output(ask, version, sizeof version) != 0 || !version[0])
        return false;
    *h = hash_text(*h, version);
    return true;
}

void objects_open(Build *b, char *const *word, int count)
{
    char directory[PATH_MAX], reason[256];
    Messages before = fault_hold(NULL, 0);
    if (!b->options->verbose)
        fault_silence(reason, sizeof reason);
    b->compiler_hash = hash_text(hash_start(), "ninc object 1");
    if (cache_directory(directory, sizeof directory) &&
        hash_compiler(b->pool, word, count, &b->compiler_hash))
        b->cache = pool_format(b->pool, "%s", directory);
    fault_release(before);
}

char *object_entry(Build *b, const char *source, const char *flags)
{
    size_t size;
    unsigned char *text = b->cache ? read_bytes(source, &size) : NULL;
    if (!text)
        return NULL;
    const char *name = strrchr(source, '/');
    Hash h = hash_text(b->compiler_hash, flags);
    h = hash_text(h, name ? name + 1 : source); /* it stands in the object */
    h = hash_bytes(h, text, size);
    free(text);
    char *path = pool_alloc(b->pool, PATH_MAX + 64);
    cache_path(path, PATH_MAX + 64, b->cache, "object", h, "");
    return path;
}

bool object_take(const char *entry, const char *object)
{
    size_t size;
    unsigned char *bytes = entry ? cache_read(entry, &size) : NULL;
    if (!bytes)
        return false;
    FILE *f = fopen(object, "wb");
    bool written = f && fwrite(bytes, 1, size, f) == size;
    if (f && fclose(f) != 0)
        written = false;
    free(bytes);
    return written;
}

void object_keep(const char *entry, const char *object)
{
    size_t size;
    unsigned char *bytes = entry ? read_bytes(object, &size) : NULL;
    if (bytes)
        cache_write(entry, bytes, size);
    free(bytes);
}
