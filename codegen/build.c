/* From the planned module to the artefact directory: write the texts beside it, compile every CPU
 * variant in parallel, link the trainer with the texts that it carries along, then rename file by
 * file. */
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

enum { MAX_ARGUMENTS = 96, MAX_ARTEFACTS = 5 };

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
    bool bf16; /* of use to bf16 maps alone */
} Variant;

#define AVX512_FLAGS \
    "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512"

static const Variant variants[] = {
#if defined(__aarch64__)
    {"neon", "", false},
#elif defined(__x86_64__)
    {"amx", AVX512_FLAGS " -mavx512bf16 -mamx-tile -mamx-bf16", true},
    {"avx512bf16", AVX512_FLAGS " -mavx512bf16", true},
    {"avx512", AVX512_FLAGS, false},
    {"avx2", "-mavx2 -mfma", false},
    {"baseline", "", false},
#else
    {"baseline", "", false},
#endif
};

enum { VARIANTS = sizeof variants / sizeof *variants, MAX_OBJECTS = VARIANTS + 1 };

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

static bool has_target(const Build *b, Target target)
{
    return module_find_graph(b->module, "train", target) != NULL;
}

/* MODEL.EXTENSION */
static char *model_file(Build *b, const char *extension)
{
    return pool_format(b->pool, "%s.%s", b->module->name, extension);
}

/* A text inside the trainer, as `ninc_NAME_text`, NUL-terminated, and `ninc_NAME_length`; empty
 * where `file` is NULL. */
static void emit_blob(Build *b, const char *name, const char *file, Text *out)
{
    text_append(out, ".globl ninc_%s_text\nninc_%s_text:\n", name, name);
    if (file)
        text_append(out, ".incbin \"%s\"\n",
                    quoted(b->pool, pool_format(b->pool, "%s/%s", b->scratch, file)));
    text_append(out,
                "ninc_%s_end:\n.byte 0\n.balign 8\n.globl ninc_%s_length\nninc_%s_length:\n"
                ".quad ninc_%s_end - ninc_%s_text\n",
                name, name, name, name, name);
}

/* The kernels for the GPUs that the options name, as ninc_cubins; their bytes in a file beside. */
static int emit_compiled(Build *b, Text *out)
{
    CompiledKernels *compiled = NULL;
    Text bytes = {0};
    char *file = scratch_path(b, "cubins");
    int count = 0;
    if (b->options->cubins && has_target(b, TARGET_CUDA))
        count = compile_cubins(b->pool, b->module, b->options->cubins, &compiled);
    if (count < 0)
        return -1;
    emit_cubins(compiled, count, quoted(b->pool, file), &bytes, out);
    int result = write_file(file, bytes.data ? bytes.data : "", bytes.length);
    text_free(&bytes);
    return result;
}

/* Without .file the symbols name the assembler's temporary file, and no two trainers would be the
 * same. */
static int emit_blobs(Build *b, Text *out)
{
    text_append(out, ".file \"texts.s\"\n.section .rodata\n");
    emit_blob(b, "ir", model_file(b, "ir"), out);
    emit_blob(b, "cuda", has_target(b, TARGET_CUDA) ? model_file(b, "cu") : NULL, out);
    int result = emit_compiled(b, out);
    text_append(out, ".section .note.GNU-stack, \"\", %%progbits\n");
    return result;
}

typedef void Emit(const Module *m, Text *out);

static int write_emitted(Build *b, const char *name, Emit *emit)
{
    Text text = {0};
    emit(b->module, &text);
    return write_text(b, name, &text);
}

static int write_sources(Build *b)
{
    Text text = {0};
    if (write_emitted(b, model_file(b, "ir"), module_print) != 0)
        return -1;
    if (has_target(b, TARGET_CUDA) && write_emitted(b, model_file(b, "cu"), emit_cuda) != 0)
        return -1;
    if (has_target(b, TARGET_CPU) && write_emitted(b, model_file(b, "c"), emit_cpu) != 0)
        return -1;
    if (write_emitted(b, "plan.c", emit_plan) != 0)
        return -1;
    int result = emit_blobs(b, &text);
    if (write_text(b, "texts.s", &text) != 0 || result != 0)
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

/* An object file and the process that makes it. */
typedef struct Job {
    const char *object, *source;
    pid_t process;
} Job;

static Job start_object(Build *b, const char *name, const char *source, const char *flags)
{
    Job job = {scratch_path(b, pool_format(b->pool, "%s.o", name)),
               pool_format(b->pool, "%s/%s", b->scratch, source), -1};
    const char *paths[] = {job.object, job.source, NULL};
    job.process = start(b, pool_format(b->pool, "%s -c -o", flags), paths, "");
    return job;
}

/* All variants of the CPU's kernels and the plan at once; returns the number of objects, or -1. */
static int compile(Build *b, const char **objects)
{
    Job job[MAX_OBJECTS];
    const Graph *train = module_find_graph(b->module, "train", TARGET_CPU);
    int jobs = 0, result = 0;
    for (int i = 0; i < (int)VARIANTS && train; i++)
        if (!variants[i].bf16 || graph_has_bf16(train))
            job[jobs++] = start_object(b, variants[i].name, model_file(b, "c"),
                                       pool_format(b->pool, "%s %s -DNINC_LEVEL=%s", kernel_flags,
                                                   variants[i].flags, variants[i].name));
    job[jobs++] = start_object(b, "plan", "plan.c", "-std=gnu11 -O1 -g0");
    for (int i = 0; i < jobs; i++) {
        objects[i] = job[i].object;
        result |= finish(job[i].process, job[i].source);
    }
    return result == 0 ? jobs : -1;
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

static int link_trainer(Build *b, const char *const *objects, int object_count)
{
    static const char *const libraries[] = {"png16", "jpeg", "protobuf-c",
                                            "jansson", "z", "gomp"};
    const char *paths[MAX_OBJECTS + 4] = {scratch_path(b, "trainer")};
    char *flags = pool_format(b->pool, "%s -o", NINC_TRAINER_FLAGS), *list = "";
    int count = 1;
    for (int i = 0; i < object_count; i++)
        paths[count++] = objects[i];
    paths[count++] = pool_format(b->pool, "%s/texts.s", b->scratch);
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

/* The artefacts by name, trainer last; returns how many. */
static int artefacts(Build *b, const char **name)
{
    int count = 0;
    name[count++] = model_file(b, "ir");
    if (has_target(b, TARGET_CUDA))
        name[count++] = model_file(b, "cu");
    if (has_target(b, TARGET_CPU))
        name[count++] = model_file(b, "c");
    name[count++] = "plan.c";
    name[count++] = "trainer";
    return count;
}

static int publish(Build *b)
{
    const char *directory = b->options->directory, *name[MAX_ARTEFACTS];
    char *place[MAX_ARTEFACTS];
    int count = artefacts(b, name);
    for (int i = 0; i < count; i++)
        place[i] = pool_format(b->pool, "%s/%s", directory, name[i]);
    if (check_places(place, count) != 0)
        return -1;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return failed("make", directory);
    for (int i = 0; i < count; i++)
        if (rename(pool_format(b->pool, "%s/%s", b->scratch, name[i]), place[i]) != 0)
            return failed("write", place[i]);
    return 0;
}

static int build(Build *b)
{
    const char *objects[MAX_OBJECTS];
    double begin = clock_seconds();
    if (make_scratch(b) != 0 || write_sources(b) != 0)
        return -1;
    double emitted = clock_seconds();
    int object_count = compile(b, objects);
    if (object_count < 0)
        return -1;
    double compiled = clock_seconds();
    if (link_trainer(b, objects, object_count) != 0)
        return -1;
    if (b->options->time)
        fprintf(stderr, "emit       %8.3f ms\ncompile    %8.3f ms\nlink       %8.3f ms\n",
                (emitted - begin) * 1e3, (compiled - emitted) * 1e3,
                (clock_seconds() - compiled) * 1e3);
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
