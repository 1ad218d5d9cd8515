/* Where the code of a kernel comes from: the cubins inside the trainer, the cache directory, or
 * NVRTC, in that order. An entry of the cache is named by a hash of its key, holds the whole key,
 * and the key says all that the code depends on: the text, the kernel, the options that the kernel
 * reads, the device and the NVRTC.
 *
 * To know the NVRTC without opening it, the cache also keeps which library the search led to last
 * time, for each setting of the variables that steer the search; stat tells whether it is still the
 * same file. One that is gone since then counts as the same: its code is still right. */
#include "../../ir/ir.h"
#include "gpu.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- targets ---- */

int target_architecture(const char *target)
{
    char *end;
    if (strncmp(target, "sm_", 3) || !isdigit((unsigned char)target[3]))
        return 0;
    long number = strtol(target + 3, &end, 10);
    end += *end == 'a';
    return number > 999 || *end ? 0 : (int)number;
}

bool cubin_runs_on(const char *target, int architecture)
{
    int number = target_architecture(target);
    if (number && strchr(target, 'a'))
        return number == architecture;
    return number && number / 10 == architecture / 10 && number <= architecture;
}

/* What NVRTC is told for the device: its own architecture, else PTX for the driver to compile. */
static int own_target(const Nvrtc *n, int architecture, char *out, size_t size)
{
    int known = nvrtc_newest(n, architecture), version = nvrtc_version(n);
    if (known == architecture) {
        bool wgmma = architecture == 90 && version >= 12000;
        snprintf(out, size, "sm_%d%s", architecture, wgmma ? "a" : "");
        return 0;
    }
    if (!known)
        return fault("NVRTC %d.%d (%s) does not compile for compute capability %d.%d any more; set "
                     "NINC_NVRTC to an older one",
                     version / 1000, version % 1000 / 10, nvrtc_path(n), architecture / 10,
                     architecture % 10);
    notice("NVRTC %d.%d does not know compute capability %d.%d: the driver compiles PTX for %d.%d",
           version / 1000, version % 1000 / 10, architecture / 10, architecture % 10, known / 10,
           known % 10);
    snprintf(out, size, "compute_%d", known);
    return 0;
}

static int nvrtc_target(const Nvrtc *n, const CodeRequest *r, char *out, size_t size)
{
    if (!r->target)
        return own_target(n, r->architecture, out, size);
    int number = target_architecture(r->target);
    if (!number)
        return fault("\"%s\" is no architecture; write sm_86 or sm_90a", r->target);
    if (nvrtc_newest(n, number) != number)
        return fault("NVRTC %d.%d (%s) does not know %s; it knows up to sm_%d",
                     nvrtc_version(n) / 1000, nvrtc_version(n) % 1000 / 10, nvrtc_path(n),
                     r->target, nvrtc_newest(n, INT_MAX));
    snprintf(out, size, "%s", r->target);
    return 0;
}

/* ---- which options a kernel reads ---- */

/* The text's reader, a line at a time. Lines of one kernel stand between kernel_guard with its
 * number and the #endif that belongs to it; the rest belongs to all. */
typedef struct Lines {
    const char *at;
    int length; /* with its newline */
    int kernel; /* whose line it is; -1: of all */
    int depth;  /* of #if within the kernel's lines */
} Lines;

static const char kernel_guard[] = "#if !defined NINC_KERNEL || NINC_KERNEL == ";

static bool next_line(Lines *l)
{
    l->at += l->length;
    if (!*l->at)
        return false;
    l->length = (int)strcspn(l->at, "\n");
    l->length += l->at[l->length] == '\n';
    if (l->depth == 0)
        l->kernel = -1;
    if (l->kernel < 0 && strncmp(l->at, kernel_guard, sizeof kernel_guard - 1) == 0)
        l->kernel = atoi(l->at + sizeof kernel_guard - 1);
    if (l->kernel >= 0)
        l->depth += strncmp(l->at, "#if", 3) == 0 ? 1 : strncmp(l->at, "#endif", 6) == 0 ? -1 : 0;
    return true;
}

typedef struct Macro {
    const char *name; /* ends at '=' */
    size_t length;
    int option;
} Macro;

/* read[j * options + i]: kernel j reads option i. */
typedef struct Reads {
    const CodeRequest *request;
    const KernelCode *code;
    int count;
    Macro *macro; /* sorted */
    bool *read;
} Reads;

static int by_name(const void *a, const void *b)
{
    const Macro *m = a, *n = b;
    int order = strncmp(m->name, n->name, m->length < n->length ? m->length : n->length);
    return order ? order : (m->length > n->length) - (m->length < n->length);
}

static void note_word(Reads *r, int kernel, const char *word, size_t length)
{
    int options = r->request->options;
    Macro key = {word, length, 0};
    const Macro *m = bsearch(&key, r->macro, (size_t)options, sizeof key, by_name);
    for (int j = 0; m && j < r->count; j++)
        if (kernel < 0 || kernel == r->code[j].number)
            r->read[j * options + m->option] = true;
}

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* `#ifndef NAME` and `#define NAME` only set NAME's default: that word does not count. */
static void note_line(Reads *r, const Lines *l)
{
    const char *at = l->at, *end = at + l->length;
    if (strncmp(at, "#ifndef ", 8) == 0 || strncmp(at, "#define ", 8) == 0)
        for (at += 8; at < end && in_word(*at); at++)
            continue;
    while (at < end) {
        const char *word = at;
        while (at < end && in_word(*at))
            at++;
        if (at > word)
            note_word(r, l->kernel, word, (size_t)(at - word));
        else
            at++;
    }
}

/* As one text, an option a line. */
static char *join_options(const Reads *r, int kernel)
{
    const CodeRequest *q = r->request;
    size_t size = 1, used = 0;
    for (int i = 0; i < q->options; i++)
        size += strlen(q->option[i]) + 1;
    char *text = xmalloc(size);
    text[0] = '\0';
    for (int i = 0; i < q->options; i++)
        if (r->read[kernel * q->options + i])
            used += (size_t)sprintf(text + used, "%s\n", q->option[i]);
    return text;
}

static void choose_options(const CodeRequest *q, KernelCode *code, int count)
{
    size_t cells = (size_t)count * (size_t)q->options;
    Reads r = {.request = q, .code = code, .count = count};
    r.macro = xmalloc((size_t)q->options * sizeof *r.macro + 1);
    r.read = memset(xmalloc(cells + 1), 0, cells + 1);
    for (int i = 0; i < q->options; i++) {
        const char *name = q->option[i] + 2;
        r.macro[i] = (Macro){name, strcspn(name, "="), i};
    }
    qsort(r.macro, (size_t)q->options, sizeof *r.macro, by_name);
    for (Lines l = {.at = q->text}; next_line(&l);)
        note_line(&r, &l);
    for (int j = 0; j < count; j++)
        code[j].options = join_options(&r, j);
    free(r.macro);
    free(r.read);
}

/* ---- in the trainer ---- */

static void take_bytes(KernelCode *code, const unsigned char *bytes, size_t size)
{
    code->data = xmalloc(size + 1);
    memcpy(code->data, bytes, size);
    code->data[size] = '\0';
    code->size = size;
}

static void take_ready(const CodeRequest *r, KernelCode *code)
{
    for (const NincCubin *c = r->ready; c && c->kernel && !code->data; c++)
        if (strcmp(c->kernel, code->name) == 0 && cubin_runs_on(c->architecture, r->architecture) &&
            strcmp(c->options, code->options) == 0) {
            take_bytes(code, c->data, c->size);
            code->ready = true;
        }
}

/* ---- which NVRTC ---- */

typedef struct Library {
    int version;
    long long size, seconds, nanoseconds; /* of its file, and when it was written */
    char path[PATH_MAX];
} Library;

typedef struct Cache {
    char directory[PATH_MAX]; /* empty: none */
    char index[PATH_MAX + 128]; /* the file that says which NVRTC */
    Library library;            /* version 0: not known */
    bool warned;
} Cache;

static void stat_library(Library *l)
{
    struct stat s;
    if (stat(l->path, &s))
        return;
    l->size = (long long)s.st_size;
    l->seconds = (long long)s.st_mtim.tv_sec;
    l->nanoseconds = (long long)s.st_mtim.tv_nsec;
}

static bool parse_library(const char *text, Library *l)
{
    int path = 0;
    if (sscanf(text, "%d %lld %lld %lld %n", &l->version, &l->size, &l->seconds, &l->nanoseconds,
               &path) != 4 || !path)
        return false;
    return (size_t)snprintf(l->path, sizeof l->path, "%s", text + path) < sizeof l->path;
}

/* What the search led to last time, if that file did not change. */
static void read_index(Cache *c)
{
    size_t size;
    Library was = {0};
    char *text = (char *)cache_read(c->index, &size);
    if (text && parse_library(text, &was)) {
        Library now = was;
        stat_library(&now);
        if (now.size == was.size && now.seconds == was.seconds &&
            now.nanoseconds == was.nanoseconds)
            c->library = was;
    }
    free(text);
}

static void open_cache(Cache *c, int most)
{
    static const char *const variable[] = {"NINC_NVRTC", "LD_LIBRARY_PATH", "CUDA_HOME",
                                           "CUDA_PATH",  "VIRTUAL_ENV",     "CONDA_PREFIX",
                                           "HOME",       "PATH"};
    *c = (Cache){.warned = false};
    if (!cache_directory(c->directory, sizeof c->directory)) {
        c->directory[0] = '\0';
        return;
    }
    Hash h = hash_bytes(hash_start(), &most, sizeof most);
    for (size_t i = 0; i < sizeof variable / sizeof *variable; i++)
        h = hash_text(h, getenv(variable[i]) ? getenv(variable[i]) : "");
    cache_path(c->index, sizeof c->index, c->directory, "nvrtc", h, "");
    read_index(c);
}

static void write_entry(Cache *c, const char *path, const void *bytes, size_t size)
{
    if (cache_write(path, bytes, size) == 0 || c->warned)
        return;
    notice("cannot write %s: %s; kernels are compiled again in the next run", path,
           strerror(errno));
    c->warned = true;
}

static int print_library(const Library *l, char *out, size_t size)
{
    return snprintf(out, size, "%d %lld %lld %lld %s", l->version, l->size, l->seconds,
                    l->nanoseconds, l->path);
}

/* The NVRTC that was opened is the one of the index. */
static void note_library(Cache *c, const Nvrtc *n)
{
    char was[sizeof c->library + 128], now[sizeof c->library + 128];
    print_library(&c->library, was, sizeof was);
    c->library = (Library){.version = nvrtc_version(n)};
    snprintf(c->library.path, sizeof c->library.path, "%s", nvrtc_path(n));
    stat_library(&c->library);
    int length = print_library(&c->library, now, sizeof now);
    if (*c->directory && strcmp(was, now))
        write_entry(c, c->index, now, (size_t)length);
}

/* ---- entries ---- */

/* All that the code depends on; the caller frees it. */
static char *entry_key(const Cache *c, const CodeRequest *r, Hash text, const KernelCode *code)
{
    char device[32];
    size_t size = strlen(code->options) + strlen(code->name) + 256;
    char *key = xmalloc(size);
    snprintf(device, sizeof device, "device %d", r->architecture);
    snprintf(key, size,
             "ninc code 1\nkernel %s %d\n%s\nnvrtc %d %lld %lld.%lld\ntext %zu %016llx%016llx\n%s",
             code->name, code->number, r->target ? r->target : device, c->library.version,
             c->library.size, c->library.seconds, c->library.nanoseconds, strlen(r->text),
             (unsigned long long)(text >> 64), (unsigned long long)text, code->options);
    return key;
}

static void entry_path(const Cache *c, const char *key, char *out, size_t size)
{
    cache_path(out, size, c->directory, "cubin", hash_text(hash_start(), key), "");
}

static void take_entry(const Cache *c, const char *key, KernelCode *code)
{
    char path[PATH_MAX + 128];
    size_t size, length = strlen(key) + 1;
    entry_path(c, key, path, sizeof path);
    unsigned char *bytes = cache_read(path, &size);
    if (bytes && size > length && memcmp(bytes, key, length) == 0)
        take_bytes(code, bytes + length, size - length);
    free(bytes);
}

static void keep_entry(Cache *c, const char *key, const KernelCode *code)
{
    char path[PATH_MAX + 128];
    size_t length = strlen(key) + 1;
    entry_path(c, key, path, sizeof path);
    unsigned char *bytes = xmalloc(length + code->size);
    memcpy(bytes, key, length);
    memcpy(bytes + length, code->data, code->size);
    write_entry(c, path, bytes, length + code->size);
    free(bytes);
}

static int missing(const KernelCode *code, int count)
{
    int left = 0;
    for (int i = 0; i < count; i++)
        left += !code[i].data;
    return left;
}

static void take_entries(const Cache *c, const CodeRequest *r, KernelCode *code, int count)
{
    if (!*c->directory || !c->library.version)
        return;
    Hash text = hash_text(hash_start(), r->text);
    for (int i = 0; i < count; i++) {
        if (code[i].data)
            continue;
        char *key = entry_key(c, r, text, &code[i]);
        take_entry(c, key, &code[i]);
        free(key);
    }
}

/* ---- compiling ---- */

/* With NVRTC open its identity is sure: entries that an old index hid are looked for again. */
static int compile_missing(Cache *c, const Nvrtc *n, const CodeRequest *r, KernelCode *code,
                           int count)
{
    char target[64];
    note_library(c, n);
    take_entries(c, r, code, count);
    int left = missing(code, count);
    if (left == 0)
        return 0;
    if (nvrtc_target(n, r, target, sizeof target))
        return -1;
    notice("compiling %d CUDA kernel%s for %s by NVRTC %d.%d", left, left == 1 ? "" : "s", target,
           c->library.version / 1000, c->library.version % 1000 / 10);
    bool *fresh = xmalloc((size_t)count);
    for (int i = 0; i < count; i++)
        fresh[i] = !code[i].data;
    int status = nvrtc_compile(n, r->text, target, code, count);
    Hash text = hash_text(hash_start(), r->text);
    for (int i = 0; i < count && *c->directory; i++) {
        if (!fresh[i] || !code[i].data)
            continue;
        char *key = entry_key(c, r, text, &code[i]);
        keep_entry(c, key, &code[i]);
        free(key);
    }
    free(fresh);
    return status;
}

int code_get(const CodeRequest *request, KernelCode *code, int count)
{
    Cache cache;
    choose_options(request, code, count);
    for (int i = 0; i < count; i++)
        take_ready(request, &code[i]);
    if (missing(code, count) == 0)
        return 0;
    open_cache(&cache, request->most);
    take_entries(&cache, request, code, count);
    if (missing(code, count) == 0)
        return 0;
    Nvrtc *n = nvrtc_open(request->most);
    int status = n ? compile_missing(&cache, n, request, code, count) : -1;
    nvrtc_close(n);
    return status;
}

void code_free(KernelCode *code, int count)
{
    for (int i = 0; i < count; i++) {
        free(code[i].options);
        free(code[i].data);
        free(code[i].log);
        code[i].options = code[i].log = NULL;
        code[i].data = NULL;
    }
}
