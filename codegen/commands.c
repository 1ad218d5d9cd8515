/* The C compiler: the CPU's kernels for every instruction set, in parallel, and the linking. */
#include "../runtime/base/base.h"
#include "artefacts.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

_Static_assert((int)CPU_LEVEL_COUNT < (int)MAX_OBJECTS,
               "an object for each level, and one of the plan");

/* Kernels: no errno and no traps, so that loops with sqrt and division become vectors; sums keep
 * their order. */
static const char kernel_flags[] =
    "-std=gnu11 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -g0";

/* Arguments of a command, NULL behind them. */
typedef struct Words {
    char **at;
    int count, capacity;
} Words;

static void add_word(Pool *pool, Words *w, const char *word)
{
    POOL_PUSH(pool, w->at, w->count, w->capacity, (char *)word);
}

/* Splits our own flags at blanks; every word is a pool string. */
static void add_words(Pool *pool, Words *w, const char *words)
{
    for (const char *p = words; *p;) {
        size_t n = strcspn(p, " \t");
        if (n > 0)
            add_word(pool, w, pool_format(pool, "%.*s", (int)n, p));
        p += n + (p[n] != '\0');
    }
}

static const char *compiler(void)
{
    const char *cc = getenv("CC");
    return cc && cc[strspn(cc, " \t")] ? cc : "cc";
}

/* The words of $CC; none, after a message, where they cannot be told. */
static Words compiler_words(Pool *pool)
{
    Words words = {0};
    int count = 0;
    char **word = command_words(compiler(), &count);
    if (!word)
        print_error("ninc: error: CC is no command, a quote is not closed: %s", compiler());
    for (int i = 0; i < count; i++)
        add_word(pool, &words, pool_format(pool, "%s", word[i]));
    free(word);
    return words;
}

/* A command line: CC flags path... libraries. */
typedef struct Command {
    const char *flags, *const *path, *libraries; /* path ends with NULL */
} Command;

/* A compiler that runs, and what it says: in memory, so that a full disk cannot lose it, and so
 * that what several say at once is told once. */
typedef struct Process {
    pid_t id; /* -1: it was not started, which was said */
    int log;  /* -1: none; what it says is printed as it comes */
} Process;

/* NULL after a message. */
static char **command_line(Build *b, const Command *command)
{
    Words words = compiler_words(b->pool);
    if (words.count == 0)
        return NULL;
    add_words(b->pool, &words, command->flags);
    for (const char *const *path = command->path; *path; path++)
        add_word(b->pool, &words, *path);
    add_words(b->pool, &words, command->libraries);
    add_word(b->pool, &words, NULL);
    return words.at;
}

static void print_command(char *const *argv)
{
    Text line = {0};
    for (; *argv; argv++)
        text_append_shell_word(&line, *argv);
    fprintf(stderr, "%s\n", line.data);
    text_free(&line);
}

static Process start(Build *b, const Command *command)
{
    Process p = {-1, -1};
    char **argv = build_stopped() ? NULL : command_line(b, command);
    if (!argv)
        return p;
    if (b->options->verbose)
        print_command(argv);
    fflush(NULL);
    p.log = memfd_create("compiler", MFD_CLOEXEC);
    p.id = fork();
    if (p.id < 0) {
        build_failed("start", argv[0]);
    } else if (p.id == 0) {
        if (p.log >= 0)
            dup2(p.log, STDERR_FILENO);
        if (build_stopped()) /* by a signal that came before it could end this process */
            _exit(1);
        execvp(argv[0], argv);
        fprintf(stderr, "ninc: error: cannot run the C compiler '%s': %s; install gcc, or set CC\n",
                argv[0], strerror(errno));
        _exit(127);
    }
    return p;
}

/* What it said, as a pool string; the log is closed. */
static const char *take_log(Build *b, Process *p)
{
    struct stat st;
    if (p->log < 0)
        return "";
    size_t size = fstat(p->log, &st) == 0 ? (size_t)st.st_size : 0;
    char *text = pool_alloc(b->pool, size + 1);
    ssize_t got = pread(p->log, text, size, 0);
    text[got > 0 ? got : 0] = '\0';
    close(p->log);
    p->log = -1;
    return text;
}

/* Waits; whether it ended well, and in *missing whether there is no such compiler. */
static bool ended_well(Process *p, bool *missing)
{
    int status;
    *missing = false;
    if (p->id < 0)
        return false;
    for (;;) {
        if (build_stopped())
            kill(p->id, SIGTERM);
        if (waitpid(p->id, &status, 0) >= 0)
            break;
        if (errno != EINTR)
            return false;
    }
    *missing = WIFEXITED(status) && WEXITSTATUS(status) == 127;
    return !build_stopped() && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* What to install where the compiler misses a part of the system; NULL: it does not say so. */
static const char *missing_part(const char *log)
{
    static const struct Part {
        const char *says, *install;
    } parts[] = {
        {"cannot find -lpng16", "libpng-dev"},
        {"cannot find -ljpeg", "libjpeg-dev"},
        {"cannot find -lwebp", "libwebp-dev"},
        {"cannot find -lgif", "libgif-dev"},
        {"cannot find -larchive", "libarchive-dev"},
        {"cannot find -lnettle", "nettle-dev"},
        {"cannot find -llzma", "liblzma-dev"},
        {"cannot find -lzstd", "libzstd-dev"},
        {"cannot find -lbz2", "libbz2-dev"},
        {"cannot find -lprotobuf-c", "libprotobuf-c-dev"},
        {"cannot find -ljansson", "libjansson-dev"},
        {"cannot find -lminizip", "libminizip-dev"},
        {"cannot find -lz", "zlib1g-dev"},
        {"cannot find -llapack", "liblapack-dev"},
        {"cannot find -lblas", "libblas-dev"},
        {"cannot find -lgomp", "gcc"},
        {"cannot find -lomp", "libomp-dev"},
        {"cannot find -lm", "libc6-dev"},
        {"cannot find Scrt1.o", "libc6-dev"},
        {".h: No such file", "libc6-dev"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(log, parts[i].says))
            return parts[i].install;
    return NULL;
}

/* The first lines, which hold the cause; with -v all. */
static void print_log(const Build *b, const char *log)
{
    enum { LINES = 20 };
    const char *end = log;
    int lines = 0, more = 0;
    for (; *end && (lines < LINES || b->options->verbose); lines++)
        end += strcspn(end, "\n") + (end[strcspn(end, "\n")] == '\n');
    for (const char *c = end; *c; c++)
        more += *c == '\n';
    fwrite(log, 1, (size_t)(end - log), stderr);
    if (more > 0)
        fprintf(stderr, "... %d more lines, which --verbose prints\n", more);
}

/* Waits for the process. What it says is printed, unless it is `told`: then another has said why
 * this step fails. */
static int finish(Build *b, Process *p, const char *what, bool told)
{
    bool missing, done = ended_well(p, &missing);
    const char *log = take_log(b, p), *part = missing_part(log);
    if (!told)
        print_log(b, log);
    if (done || told || missing || p->id < 0 || build_stopped())
        return done ? 0 : -1;
    print_error("ninc: error: the C compiler '%s' failed on %s%s%s", compiler(), what,
                part ? "; a part of the system is missing, install: " : "", part ? part : "");
    return -1;
}

/* An object file and the process that makes it. */
typedef struct Job {
    const char *object, *source;
    char *entry; /* of the cache; NULL: none */
    bool taken;  /* from there */
    Process process;
} Job;

static Job start_object(Build *b, const char *name, const char *source, const char *flags)
{
    Job job = {.object = scratch_path(b, pool_format(b->pool, "%s.o", name)),
               .source = pool_format(b->pool, "%s/%s", b->scratch, source),
               .process = {-1, -1}};
    const char *paths[] = {job.object, job.source, NULL};
    Command command = {pool_format(b->pool, "%s -c -o", flags), paths, ""};
    job.entry = object_entry(b, job.source, flags);
    job.taken = object_take(job.entry, job.object);
    if (!job.taken)
        job.process = start(b, &command);
    return job;
}

static int finish_object(Build *b, Job *job, bool told)
{
    if (job->taken)
        return 0;
    int result = finish(b, &job->process, job->source, told);
    if (result == 0)
        object_keep(job->entry, job->object);
    return result;
}

/* The first that failed has said why; the others would say the same again. */
static void stop_jobs(const Job *job, int count)
{
    for (int i = 0; i < count; i++)
        if (job[i].process.id > 0)
            kill(job[i].process.id, SIGTERM);
}

/* The instruction sets to compile for; none where there are no CPU's kernels. False after a
 * message. */
static bool choose_levels(const Build *b, CpuLevelSet *set)
{
    *set = cpu_levels_of(b->module, ARCHITECTURE, b->options->levels);
    if (*set || !has_levels(b->module))
        return true;
    print_error("ninc: error: none of the instruction sets of --cpu-levels is of use to this "
                "model;\n  %s are for --precision=bf16; add another",
                cpu_levels_text(b->pool, cpu_levels_known(true), "and"));
    return false;
}

/* Waits for all; after the first failure the others are stopped. */
static int finish_objects(Build *b, Job *job, int jobs)
{
    int result = 0;
    for (int i = 0; i < jobs; i++) {
        bool failed = finish_object(b, &job[i], result != 0) != 0;
        if (failed && result == 0)
            stop_jobs(job + i + 1, jobs - i - 1);
        result |= failed;
    }
    return result;
}

int compile_objects(Build *b, const char *flags, const char **object)
{
    Job job[MAX_OBJECTS];
    CpuLevelSet levels;
    int jobs = 0;
    Words words = compiler_words(b->pool);
    if (words.count == 0 || !choose_levels(b, &levels))
        return -1;
    objects_open(b, words.at, words.count);
    for (int i = 0; i < CPU_LEVEL_COUNT; i++)
        if (levels >> i & 1)
            job[jobs++] =
                start_object(b, cpu_level[i].name, model_file(b, "c"),
                             pool_format(b->pool, "%s %s %s -DNINC_LEVEL=%s", kernel_flags, flags,
                                         cpu_level[i].flags, cpu_level[i].name));
    job[jobs++] =
        start_object(b, "plan", "plan.c", pool_format(b->pool, "-std=gnu11 -O1 -g0 %s", flags));
    for (int i = 0; i < jobs; i++)
        object[i] = job[i].object;
    return finish_objects(b, job, jobs) == 0 ? jobs : -1;
}

int compiler_run(Build *b, const char *what, const char *flags, const char *const *path,
                 const char *libraries)
{
    Command command = {flags, path, libraries};
    Process process = start(b, &command);
    return finish(b, &process, what, false);
}

/* Whether the compiler finds lib<name>.a, so that what is linked can carry the library along. */
static bool has_static(Build *b, const char *name)
{
    char path[4096];
    Words words = compiler_words(b->pool);
    if (words.count == 0)
        return false;
    add_word(b->pool, &words, pool_format(b->pool, "-print-file-name=lib%s.a", name));
    add_word(b->pool, &words, NULL);
    return command_output(words.at, path, sizeof path) == 0 && path[0] == '/';
}

const char *static_library(Build *b, const char *name)
{
    return pool_format(b->pool, has_static(b, name) ? "-l:lib%s.a" : "-l%s", name);
}

const char *compiler_file(Pool *pool, const char *file)
{
    char path[4096];
    Words words = compiler_words(pool);
    if (words.count == 0)
        return NULL;
    add_word(pool, &words, pool_format(pool, "-print-file-name=%s", file));
    add_word(pool, &words, NULL);
    if (command_output(words.at, path, sizeof path) != 0 || path[0] != '/')
        return NULL;
    path[strcspn(path, "\n")] = '\0';
    return pool_strdup(pool, path);
}

/* Not by -include, which looks into the working directory first. */
char *compiler_header(Pool *pool, const char *header)
{
    enum { HEADER_SIZE = 1 << 16 };
    const char *directory = getenv("TMPDIR");
    char *source = pool_format(pool, "%s/ninc-XXXXXX.c", directory ? directory : "/tmp");
    Words words = compiler_words(pool);
    int file = words.count > 0 ? mkstemps(source, 2) : -1;
    if (file < 0)
        return NULL;
    bool found = dprintf(file, "#include <%s>\n", header) > 0;
    close(file);
    add_words(pool, &words, "-E -C");
    add_word(pool, &words, source);
    add_word(pool, &words, NULL);
    char *text = pool_alloc(pool, HEADER_SIZE);
    found = found && command_output(words.at, text, HEADER_SIZE) == 0;
    unlink(source);
    return found ? text : NULL;
}

/* Whether lib<name>.a was compiled for shared libraries: whether it makes one. */
static bool is_position_independent(Build *b, const char *name)
{
    const char *path[] = {scratch_path(b, "trial.so"), NULL};
    Command command = {"-shared -o", path,
                       pool_format(b->pool, "-Wl,--whole-archive -l:lib%s.a", name)};
    Process process = start(b, &command);
    bool missing, done = ended_well(&process, &missing);
    take_log(b, &process);
    return done;
}

const char *shared_library(Build *b, const char *name)
{
    bool whole = has_static(b, name) && is_position_independent(b, name);
    return pool_format(b->pool, whole ? "-l:lib%s.a" : "-l%s", name);
}
