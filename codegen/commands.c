/* The C compiler: the CPU's kernels for every instruction set, in parallel, and the linking. */
#include "../runtime/command.h"
#include "build.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
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
        fprintf(stderr, "ninc: error: CC is no command, a quote is not closed: %s\n", compiler());
    for (int i = 0; i < count; i++)
        add_word(pool, &words, pool_format(pool, "%s", word[i]));
    free(word);
    return words;
}

/* A command line: CC flags path... libraries. */
typedef struct Command {
    const char *flags, *const *path, *libraries; /* path ends with NULL */
    bool silent;                                 /* nobody is to see what it says */
} Command;

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

/* Returns the process, or -1. */
static pid_t start(Build *b, const Command *command)
{
    char **argv = command_line(b, command);
    if (!argv)
        return -1;
    if (b->options->verbose)
        print_command(argv);
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        build_failed("start", argv[0]);
    } else if (pid == 0) {
        if (command->silent && !freopen("/dev/null", "w", stderr))
            _exit(127);
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
        if (build_stopped())
            kill(pid, SIGTERM);
        if (waitpid(pid, &status, 0) >= 0)
            break;
        if (errno != EINTR)
            return build_failed("wait for", what);
    }
    if (build_stopped())
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
    Command command = {pool_format(b->pool, "%s -c -o", flags), paths, "", false};
    job.process = start(b, &command);
    return job;
}

int compile_objects(Build *b, const char *flags, const char **object)
{
    Job job[MAX_OBJECTS];
    int jobs = 0, result = 0;
    if (compiler_words(b->pool).count == 0)
        return -1;
    CpuLevelSet levels = cpu_levels_of(b->module, ARCHITECTURE, b->options->levels);
    if (!levels && has_target(b, TARGET_CPU)) {
        fprintf(stderr, "ninc: error: none of the instruction sets of --cpu-levels is of use to this "
                        "model;\n  amx and avx512bf16 are for --precision=bf16; add another\n");
        return -1;
    }
    for (int i = 0; i < CPU_LEVEL_COUNT; i++)
        if (levels >> i & 1)
            job[jobs++] =
                start_object(b, cpu_level[i].name, model_file(b, "c"),
                             pool_format(b->pool, "%s %s %s -DNINC_LEVEL=%s", kernel_flags, flags,
                                         cpu_level[i].flags, cpu_level[i].name));
    job[jobs++] =
        start_object(b, "plan", "plan.c", pool_format(b->pool, "-std=gnu11 -O1 -g0 %s", flags));
    for (int i = 0; i < jobs; i++) {
        object[i] = job[i].object;
        result |= finish(job[i].process, job[i].source);
    }
    return result == 0 ? jobs : -1;
}

int compiler_run(Build *b, const char *what, const char *flags, const char *const *path,
                 const char *libraries)
{
    Command command = {flags, path, libraries, false};
    return finish(start(b, &command), what);
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

/* Whether lib<name>.a was compiled for shared libraries: whether it makes one. */
static bool is_position_independent(Build *b, const char *name)
{
    const char *path[] = {scratch_path(b, "trial.so"), NULL};
    Command command = {"-shared -o", path,
                       pool_format(b->pool, "-Wl,--whole-archive -l:lib%s.a", name), true};
    int status;
    pid_t pid = start(b, &command);
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

const char *shared_library(Build *b, const char *name)
{
    bool whole = has_static(b, name) && is_position_independent(b, name);
    return pool_format(b->pool, whole ? "-l:lib%s.a" : "-l%s", name);
}
