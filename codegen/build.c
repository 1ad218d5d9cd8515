/* From the planned module to the artefact directory: write the texts beside it, compile every CPU
 * variant in parallel, link the trainer, then rename file by file. */
#include "codegen.h"
#include "embed.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef NINC_TRAINER_FLAGS
#define NINC_TRAINER_FLAGS ""
#endif

enum { MAX_ARGUMENTS = 96, MAX_JOBS = 8 };

/* A directory of ours in or beside the target; everything in it goes when the build ends. */
typedef struct Build {
    Pool *pool;
    const Module *module;
    const BuildOptions *options;
    char *scratch;  /* path of the directory */
    char **file;    /* paths made in it */
    int files, file_capacity;
} Build;

/* One instruction set and the flags that select it. */
typedef struct Variant {
    const char *name, *flags;
} Variant;

static const Variant variants[] = {
#if defined(__aarch64__)
    {"neon", ""},
#elif defined(__x86_64__)
    {"avx512", "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma "
               "-mprefer-vector-width=512"},
    {"avx2", "-mavx2 -mfma"},
    {"baseline", ""},
#else
    {"baseline", ""},
#endif
};

enum { VARIANTS = sizeof variants / sizeof *variants };

/* Kernels: no errno and no traps, so that loops with sqrt and division become vectors; sums keep
 * their order. */
static const char kernel_flags[] =
    "-std=gnu11 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -g0";

static int failed(const char *what, const char *path)
{
    fprintf(stderr, "ninc: error: cannot %s %s: %s\n", what, path, strerror(errno));
    return -1;
}

/* ---- signals ---- */

/* The signal that asked the build to stop; its files are removed before ninc ends. */
static volatile sig_atomic_t stop_signal;

static const int stopping[] = {SIGINT, SIGTERM, SIGHUP};

enum { STOPPING = sizeof stopping / sizeof *stopping };

static void stop(int signal)
{
    stop_signal = signal;
}

/* Without SA_RESTART, so that waiting for a compiler ends. What was ignored stays ignored. */
static void catch_signals(struct sigaction *old)
{
    struct sigaction action = {.sa_handler = stop};
    stop_signal = 0;
    for (int i = 0; i < STOPPING; i++)
        if (sigaction(stopping[i], NULL, &old[i]) == 0 && old[i].sa_handler != SIG_IGN)
            sigaction(stopping[i], &action, NULL);
}

static void restore_signals(const struct sigaction *old)
{
    for (int i = 0; i < STOPPING; i++)
        sigaction(stopping[i], &old[i], NULL);
}

/* ---- files ---- */

static char *scratch_path(Build *b, const char *name)
{
    char *path = pool_format(b->pool, "%s/%s", b->scratch, name);
    POOL_PUSH(b->pool, b->file, b->files, b->file_capacity, path);
    return path;
}

static int write_file(const char *path, const char *data, size_t length)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return failed("write", path);
    bool written = fwrite(data, 1, length, f) == length;
    if (fclose(f) != 0 || !written)
        return failed("write", path);
    return 0;
}

static int write_text(Build *b, const char *name, Text *text)
{
    int result = write_file(scratch_path(b, name), text->data ? text->data : "", text->length);
    text_free(text);
    return result;
}

/* A path within a string of the assembler. */
static char *quoted(Pool *pool, const char *path)
{
    char *out = pool_alloc(pool, 2 * strlen(path) + 1), *o = out;
    for (; *path; path++) {
        if (*path == '"' || *path == '\\')
            *o++ = '\\';
        *o++ = *path;
    }
    return out;
}

/* The IR text inside the trainer. Without .file the symbols name the assembler's temporary file,
 * and no two trainers would be the same. */
static void emit_ir_blob(const char *ir_path, Text *out)
{
    text_append(out,
                ".file \"ir.s\"\n.section .rodata\n"
                ".globl ninc_ir_text\nninc_ir_text:\n.incbin \"%s\"\n"
                "ninc_ir_end:\n.byte 0\n.balign 8\n.globl ninc_ir_length\nninc_ir_length:\n"
                ".quad ninc_ir_end - ninc_ir_text\n"
                ".globl ninc_cuda_length\nninc_cuda_length:\n.quad 0\n"
                ".globl ninc_cuda_text\nninc_cuda_text:\n.byte 0\n"
                ".section .note.GNU-stack, \"\", %%progbits\n",
                ir_path);
}

static int write_sources(Build *b)
{
    const char *model = b->module->name;
    char *ir = pool_format(b->pool, "%s.ir", model), *c = pool_format(b->pool, "%s.c", model);
    Text text = {0};
    module_print(b->module, &text);
    if (write_text(b, ir, &text) != 0)
        return -1;
    emit_ir_blob(quoted(b->pool, pool_format(b->pool, "%s/%s", b->scratch, ir)), &text);
    if (write_text(b, "ir.s", &text) != 0)
        return -1;
    emit_cpu(b->module, &text);
    if (write_text(b, c, &text) != 0)
        return -1;
    emit_plan(b->module, &text);
    if (write_text(b, "plan.c", &text) != 0)
        return -1;
    return write_file(scratch_path(b, "libninc_runtime.a"), embedded_runtime_archive.data,
                      embedded_runtime_archive.length);
}

/* ---- commands ---- */

/* Splits at blanks; every word is a pool string. */
static int add_words(Pool *pool, char **argv, int argc, const char *words)
{
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, " \t");
        if (n > 0 && argc < MAX_ARGUMENTS - 1)
            argv[argc++] = pool_format(pool, "%.*s", (int)n, p);
        p += n + (p[n] != '\0');
    }
    argv[argc] = NULL;
    return argc;
}

static const char *compiler(void)
{
    const char *cc = getenv("CC");
    return cc && cc[strspn(cc, " \t")] ? cc : "cc";
}

/* Starts `CC words path...`; returns the process, or -1. */
static pid_t start(Build *b, const char *flags, const char *const *paths, const char *libraries)
{
    char *argv[MAX_ARGUMENTS];
    int argc = add_words(b->pool, argv, 0, compiler());
    argc = add_words(b->pool, argv, argc, flags);
    for (; *paths && argc < MAX_ARGUMENTS - 1; paths++)
        argv[argc++] = (char *)*paths;
    add_words(b->pool, argv, argc, libraries);
    if (b->options->verbose) {
        for (char **a = argv; *a; a++)
            fprintf(stderr, "%s%s", a == argv ? "" : " ", *a);
        fprintf(stderr, "\n");
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        failed("start", argv[0]);
    } else if (pid == 0) {
        execvp(argv[0], argv);
        fprintf(stderr, "ninc: error: cannot run the C compiler '%s': %s; install gcc, or set CC\n",
                argv[0], strerror(errno));
        _exit(127);
    }
    return pid;
}

static int finish(pid_t pid, const char *what)
{
    int status;
    if (pid < 0)
        return -1;
    for (;;) {
        if (stop_signal)
            kill(pid, SIGTERM);
        if (waitpid(pid, &status, 0) >= 0)
            break;
        if (errno != EINTR)
            return failed("wait for", what);
    }
    if (stop_signal)
        return -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 127)
        fprintf(stderr, "ninc: error: the C compiler '%s' failed on %s\n", compiler(), what);
    return -1;
}

/* All variants and the plan at once. */
static int compile(Build *b, const char **objects)
{
    pid_t job[MAX_JOBS];
    const char *what[MAX_JOBS], *source = pool_format(b->pool, "%s/%s.c", b->scratch,
                                                      b->module->name);
    int jobs = 0, result = 0;
    for (int i = 0; i < (int)VARIANTS; i++) {
        objects[i] = scratch_path(b, pool_format(b->pool, "%s.o", variants[i].name));
        const char *flags = pool_format(b->pool, "%s %s -DNINC_LEVEL=%s -c -o", kernel_flags,
                                        variants[i].flags, variants[i].name);
        const char *paths[] = {objects[i], source, NULL};
        what[jobs] = source;
        job[jobs++] = start(b, flags, paths, "");
    }
    objects[VARIANTS] = scratch_path(b, "plan.o");
    const char *plan[] = {objects[VARIANTS], pool_format(b->pool, "%s/plan.c", b->scratch), NULL};
    what[jobs] = plan[1];
    job[jobs++] = start(b, "-std=gnu11 -O1 -g0 -c -o", plan, "");
    for (int i = 0; i < jobs; i++)
        result |= finish(job[i], what[i]);
    return result;
}

/* Whether the compiler finds lib<name>.a, so that the trainer can carry the library along. */
static bool has_static(Build *b, const char *name)
{
    char *command = pool_format(b->pool, "%s -print-file-name=lib%s.a 2>/dev/null", compiler(),
                                name);
    char path[4096] = "";
    FILE *p = popen(command, "r");
    bool found = p && fgets(path, sizeof path, p) && path[0] == '/';
    if (p)
        pclose(p);
    return found;
}

static int link_trainer(Build *b, const char *const *objects)
{
    static const char *const libraries[] = {"jansson", "z", "gomp"};
    const char *paths[VARIANTS + 6] = {scratch_path(b, "trainer")};
    char *flags = pool_format(b->pool, "%s -o", NINC_TRAINER_FLAGS), *list = "";
    int count = 1;
    for (int i = 0; i <= (int)VARIANTS; i++)
        paths[count++] = objects[i];
    paths[count++] = pool_format(b->pool, "%s/ir.s", b->scratch);
    paths[count++] = pool_format(b->pool, "%s/libninc_runtime.a", b->scratch);
    for (int i = 0; i < (int)(sizeof libraries / sizeof *libraries); i++)
        list = pool_format(b->pool, has_static(b, libraries[i]) ? "%s -l:lib%s.a" : "%s -l%s", list,
                           libraries[i]);
    return finish(start(b, flags, paths, pool_format(b->pool, "%s -lm -lpthread -ldl", list)),
                  "the trainer");
}

/* ---- the directory ---- */

/* Where the scratch directory goes: in the target, whose file system the files must be on, and
 * beside it only when there is none yet. A leading '-' would look like an option of the
 * compiler. */
static char *scratch_pattern(Build *b, bool exists)
{
    const char *directory = b->options->directory, *here = *directory == '-' ? "./" : "";
    size_t n = strlen(directory);
    while (n > 1 && directory[n - 1] == '/')
        n--;
    return pool_format(b->pool, "%s%.*s%stmp-XXXXXX", here, (int)n, directory, exists ? "/." : ".");
}

static int make_scratch(Build *b)
{
    const char *directory = b->options->directory;
    struct stat st;
    bool exists = stat(directory, &st) == 0;
    if (exists && !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "ninc: error: %s is not a directory; give -o a directory\n", directory);
        return -1;
    }
    if (exists && access(directory, W_OK | X_OK) != 0)
        return failed("write into", directory);
    b->scratch = scratch_pattern(b, exists);
    if (!mkdtemp(b->scratch)) {
        b->scratch = NULL;
        if (!exists && errno == ENOENT) {
            fprintf(stderr, "ninc: error: the directory that %s shall stand in does not exist; "
                    "make it first\n", directory);
            return -1;
        }
        failed(exists ? "write into" : "make a directory beside", directory);
        return -1;
    }
    return 0;
}

static void remove_scratch(Build *b)
{
    for (int i = 0; i < b->files; i++)
        unlink(b->file[i]);
    if (b->scratch)
        rmdir(b->scratch);
}

/* A directory in the place of a file is found before the first file is renamed. */
static int check_places(char *const *place, int count)
{
    struct stat st;
    for (int i = 0; i < count; i++)
        if (stat(place[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            errno = EISDIR;
            return failed("write", place[i]);
        }
    return 0;
}

static int publish(Build *b)
{
    enum { FILES = 4 };
    const char *model = b->module->name, *directory = b->options->directory;
    const char *names[FILES] = {pool_format(b->pool, "%s.ir", model),
                                pool_format(b->pool, "%s.c", model), "plan.c", "trainer"};
    char *place[FILES];
    for (int i = 0; i < FILES; i++)
        place[i] = pool_format(b->pool, "%s/%s", directory, names[i]);
    if (check_places(place, FILES) != 0)
        return -1;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return failed("make", directory);
    for (int i = 0; i < FILES; i++)
        if (rename(pool_format(b->pool, "%s/%s", b->scratch, names[i]), place[i]) != 0)
            return failed("write", place[i]);
    return 0;
}

static int build(Build *b)
{
    const char *objects[VARIANTS + 1];
    double begin = clock_seconds();
    if (make_scratch(b) != 0 || write_sources(b) != 0)
        return -1;
    double emitted = clock_seconds();
    if (compile(b, objects) != 0)
        return -1;
    double compiled = clock_seconds();
    if (link_trainer(b, objects) != 0)
        return -1;
    if (b->options->time)
        fprintf(stderr, "emit       %8.3f ms\ncompile    %8.3f ms\nlink       %8.3f ms\n",
                (emitted - begin) * 1e3, (compiled - emitted) * 1e3, (clock_seconds() - compiled) * 1e3);
    return stop_signal ? -1 : publish(b);
}

int build_artefacts(const Module *m, const BuildOptions *options)
{
    Build b = {.pool = pool_new(), .module = m, .options = options};
    struct sigaction old[STOPPING];
    catch_signals(old);
    int result = build(&b);
    remove_scratch(&b);
    if (result != 0 && stop_signal)
        fprintf(stderr, "ninc: stopped by SIG%s; nothing was written\n", sigabbrev_np(stop_signal));
    restore_signals(old);
    pool_free(b.pool);
    return result;
}
