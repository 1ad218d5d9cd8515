/* CUDA text to a shared library that simulates its kernels: by the system's C++ compiler, one
 * translation unit a kernel, as many at a time as there are processors. The libraries are kept in
 * the cache directory, under a hash of all that they depend on, each with a checksum at its end. */
#include "../../ir/ir.h"
#include "gpu.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- the simulator's own sources: sim_files.S ---- */

typedef struct FileText {
    const char *begin;
    size_t size;
} FileText;

extern const FileText sim_text_sim_h, sim_text_launch_h, sim_text_core_h, sim_text_fiber_cc,
    sim_text_sim_cc, sim_text_check_cc;

static const struct {
    const char *name;
    const FileText *text;
} simulator[] = {
    {"sim.h", &sim_text_sim_h},   {"launch.h", &sim_text_launch_h}, {"core.h", &sim_text_core_h},
    {"fiber.cc", &sim_text_fiber_cc}, {"sim.cc", &sim_text_sim_cc},
    {"check.cc", &sim_text_check_cc},
};

enum { SIMULATOR_FILES = sizeof simulator / sizeof simulator[0] };

/* What -march=native depends on. */
static Hash hash_processor(Hash h)
{
    char line[4096];
    int lines = 0;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && lines < 2 && fgets(line, sizeof line, f)) {
        if (!strncmp(line, "model name", 10) || !strncmp(line, "flags", 5) ||
            !strncmp(line, "Features", 8)) {
            h = hash_text(h, line);
            lines++;
        }
    }
    if (f)
        fclose(f);
    return h;
}

/* ---- the compiler ---- */

/* The words of a command, with room for `more` behind them; the caller frees it. */
static char **with_words(const SimCompiler *c, const char *const *more)
{
    int count = 0, used = 0;
    while (more[count])
        count++;
    char **word = xmalloc((size_t)(c->words + count + 1) * sizeof *word);
    for (; used < c->words; used++)
        word[used] = c->word[used];
    for (int i = 0; i < count; i++)
        word[used++] = (char *)more[i];
    word[used] = NULL;
    return word;
}

/* It is run in another directory than where its name was given. */
static void make_absolute(SimCompiler *c)
{
    char *here = c->word[0][0] != '/' && strchr(c->word[0], '/') ? getcwd(NULL, 0) : NULL;
    if (here)
        c->word[0] = c->program = join_path(here, c->word[0]);
    free(here);
}

static bool compiler_runs(const char *command, SimCompiler *out)
{
    static const char *const version[] = {"--version", NULL};
    *out = (SimCompiler){.command = command};
    out->word = command_words(command, &out->words);
    if (!out->word)
        return false;
    make_absolute(out);
    char **word = with_words(out, version);
    bool found = command_output(word, out->version, sizeof out->version) == 0 && *out->version;
    free(word);
    out->version[strcspn(out->version, "\n")] = '\0';
    if (!found)
        sim_compiler_free(out);
    return found;
}

int sim_compiler(SimCompiler *out)
{
    const char *chosen = getenv("CXX");
    char text[64];
    if (chosen && chosen[strspn(chosen, " \t")]) {
        if (compiler_runs(chosen, out))
            return 0;
        return fault("--device sim needs a C++ compiler: \"%s --version\" ($CXX) fails; set CXX to "
                     "one that runs, or unset it",
                     printable(chosen, text, sizeof text));
    }
    if (compiler_runs("c++", out) || compiler_runs("g++", out))
        return 0;
    return fault("--device sim needs a C++ compiler: neither c++ nor g++ runs; install g++ or set "
                 "CXX");
}

void sim_compiler_free(SimCompiler *compiler)
{
    free(compiler->word);
    free(compiler->program);
    compiler->word = NULL;
    compiler->program = NULL;
}

/* ---- commands, run in the directory where the sources lie ---- */

/* The compiler with more words. */
static pid_t start(const char *directory, const SimCompiler *compiler, const char *const *more)
{
    char **word = with_words(compiler, more);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, directory);
    pid_t pid;
    int error = posix_spawnp(&pid, word[0], &actions, NULL, word, environ);
    if (error)
        pid = fault("cannot start %s: %s", word[0], strerror(error));
    posix_spawn_file_actions_destroy(&actions);
    free(word);
    return pid;
}

static int finish(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static int run(const char *directory, const SimCompiler *compiler, const char *const *more)
{
    pid_t pid = start(directory, compiler, more);
    return pid < 0 ? -1 : finish(pid);
}

/* ---- one library ---- */

typedef struct Build {
    const SimProgram *program;
    const SimCompiler *compiler;
    char work[PATH_MAX];       /* directory of sources and objects, ours alone */
    char cache[PATH_MAX];      /* directory; empty: none */
    char core[PATH_MAX + 256]; /* the simulator's own object */
    bool core_ready;
} Build;

static int write_bytes(const Build *b, const char *name, const void *bytes, size_t count)
{
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", b->work, name);
    FILE *f = fopen(path, "wb");
    bool written = f && fwrite(bytes, 1, count, f) == count;
    if (f && fclose(f))
        written = false;
    return written ? 0 : fault("cannot write %s: %s", path, strerror(errno));
}

/* Common to all compilations. Products and sums are contracted, as NVRTC does. */
static const char flags_text[] =
    "-w -g1 -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti "
    "-fno-strict-aliasing -fno-stack-protector -ffp-contract=fast -std=c++17 "
#if defined(__aarch64__)
    "-mcpu=native\n";
#else
    "-march=native\n";
#endif
/* Without scalar replacement a float4 is read as 16 bytes, so that its alignment is seen. */
static const char kernel_flags[] = "-Og -fno-tree-sra -DNINC_SIM -include sim.h\n";
/* Makes plain accesses visible (check.cc). */
static const char check_flags[] = "-fsanitize=thread\n";

static int write_options(const Build *b)
{
    const SimProgram *p = b->program;
    size_t size = sizeof kernel_flags + sizeof check_flags, used;
    for (int i = 0; i < p->option_count; i++)
        size += strlen(p->option[i]) + 1;
    char *text = xmalloc(size);
    used = (size_t)sprintf(text, "%s%s", kernel_flags, p->checks ? check_flags : "");
    for (int i = 0; i < p->option_count; i++)
        used += (size_t)sprintf(text + used, "%s\n", p->option[i]);
    int status = write_bytes(b, "options", text, used);
    free(text);
    return status;
}

/* A word of a file that compilers read arguments from: a backslash before all that could divide it
 * or mean something. The caller frees it. */
static char *response_word(const char *text)
{
    char *out = xmalloc(2 * strlen(text) + 1), *to = out;
    for (; *text; text++) {
        if (strchr(" \t\r\n\v\f\"'\\", *text))
            *to++ = '\\';
        *to++ = *text;
    }
    *to = '\0';
    return out;
}

static int write_words(const Build *b, const char *name, const char *format, const char *path)
{
    char *word = response_word(path);
    size_t size = strlen(format) + strlen(word) + 1;
    char *text = xmalloc(size);
    int used = snprintf(text, size, format, word);
    int status = write_bytes(b, name, text, (size_t)used);
    free(text);
    free(word);
    return status;
}

/* The directory's name must not get into the library, so that equal sources give equal bytes. */
static int write_flags(const Build *b)
{
    char format[sizeof flags_text + 32];
    snprintf(format, sizeof format, "%s-fdebug-prefix-map=%%s=.\n", flags_text);
    return write_words(b, "flags", format, b->work);
}

static int write_sources(const Build *b)
{
    for (int i = 0; i < SIMULATOR_FILES; i++)
        if (write_bytes(b, simulator[i].name, simulator[i].text->begin, simulator[i].text->size))
            return -1;
    if (write_bytes(b, "kernels.cu", b->program->text, strlen(b->program->text)) || write_flags(b))
        return -1;
    return write_options(b);
}

/* Several kernels are compiled in one go: what they share of the device library is then read and
 * compiled once, which is most of the work. */
static bool is_whole(const SimProgram *p)
{
    return p->numbers != 1;
}

/* The simulator's own, then the kernels. */
static const char *const units[] = {"fiber", "sim", "check", "kernels"};

enum { UNITS = sizeof units / sizeof *units, KERNELS = UNITS - 1 };

static pid_t start_unit(const Build *b, int unit)
{
    char number[32], source[32], object[32];
    const char *const core[] = {"@flags", "-O2", "-c", source, "-o", object, NULL};
    const char *const kernels[] = {"@flags", "@options",  "-x",
                                   "c++",    "-c",        "kernels.cu",
                                   "-o",     "kernels.o", is_whole(b->program) ? NULL : number,
                                   NULL};
    snprintf(number, sizeof number, "-DNINC_KERNEL=%d", b->program->number[0]);
    snprintf(source, sizeof source, "%s.cc", units[unit]);
    snprintf(object, sizeof object, "%s.o", units[unit]);
    return start(b->work, b->compiler, unit == KERNELS ? kernels : core);
}

static int compile_units(const Build *b)
{
    pid_t pid[UNITS];
    int status = 0;
    for (int i = 0; i < UNITS; i++)
        pid[i] = i == KERNELS || !b->core_ready ? start_unit(b, i) : 0;
    for (int i = 0; i < UNITS; i++)
        if (pid[i] < 0 || (pid[i] > 0 && finish(pid[i]) != 0))
            status = -1;
    return status ? fault("--device sim: %s does not compile the kernels", b->compiler->command)
                  : 0;
}

/* ---- the cache ---- */

static bool whole(const char *path)
{
    size_t size;
    unsigned char *bytes = cache_read(path, &size);
    free(bytes);
    return bytes != NULL;
}

/* A file of the work directory into the cache; where that does not go, it is said, and the file is
 * used where it is. */
static bool store(const Build *b, const char *name, const char *path)
{
    char from[PATH_MAX + 32];
    size_t size = 0;
    snprintf(from, sizeof from, "%s/%s", b->work, name);
    unsigned char *bytes = *b->cache ? read_bytes(from, &size) : NULL;
    bool stored = bytes && cache_write(path, bytes, size) == 0;
    if (*b->cache && !stored)
        notice("cannot write %s: %s", path, strerror(errno));
    free(bytes);
    return stored;
}

static Hash hash_simulator(const SimCompiler *compiler)
{
    Hash h = hash_processor(hash_start());
    h = hash_text(hash_text(h, compiler->command), compiler->version);
    h = hash_text(h, flags_text);
    for (int i = 0; i < SIMULATOR_FILES; i++)
        h = hash_bytes(h, simulator[i].text->begin, simulator[i].text->size);
    return h;
}

static Hash hash_program(const SimCompiler *compiler, const SimProgram *p)
{
    Hash h = hash_text(hash_simulator(compiler), kernel_flags);
    h = hash_bytes(h, &p->checks, sizeof p->checks);
    for (int i = 0; i < p->option_count; i++)
        h = hash_text(h, p->option[i]);
    int number = is_whole(p) ? -1 : p->number[0];
    h = hash_bytes(h, &number, sizeof number);
    return hash_text(h, p->text);
}

/* The simulator's object is the same for all programs: it has a place of its own in the cache. */
static void find_core(Build *b)
{
    snprintf(b->core, sizeof b->core, "core.o");
    if (!*b->cache)
        return;
    cache_path(b->core, sizeof b->core, b->cache, "simcore", hash_simulator(b->compiler), ".o");
    b->core_ready = whole(b->core);
}

static int link_core(Build *b)
{
    static const char *const words[] = {"-r",      "-nostdlib", "-o",      "core.o",
                                        "fiber.o", "sim.o",     "check.o", NULL};
    if (b->core_ready)
        return 0;
    if (run(b->work, b->compiler, words))
        return fault("--device sim: %s does not link the simulator", b->compiler->command);
    if (!store(b, "core.o", b->core))
        snprintf(b->core, sizeof b->core, "core.o");
    return 0;
}

/* The core's path may be long: it is named in a response file. */
static int link_units(const Build *b)
{
    static const char *const words[] = {"-shared",    "-Wl,-z,defs", "-o",
                                        "library.so", "@objects",    NULL};
    int status = write_words(b, "objects", "%s\nkernels.o\n", b->core);
    if (status == 0 && run(b->work, b->compiler, words))
        status = fault("--device sim: %s does not link the kernels", b->compiler->command);
    return status;
}

static int build_library(Build *b)
{
    find_core(b);
    if (private_directory("ninc-sim", b->work, sizeof b->work))
        return -1;
    return write_sources(b) || compile_units(b) || link_core(b) || link_units(b) ? -1 : 0;
}

void sim_library_loaded(SimLibrary *library)
{
    if (!*library->work)
        return;
    int file = open(library->path, O_RDONLY | O_CLOEXEC);
    if (file > 0) {
        library->file = file;
        snprintf(library->path, sizeof library->path, "/proc/%ld/fd/%d", (long)getpid(), file);
    }
    remove_directory(library->work);
    library->work[0] = '\0';
}

void sim_library_close(SimLibrary *library)
{
    if (library->file > 0)
        close(library->file);
    library->file = 0;
}

int sim_library(const SimCompiler *compiler, const SimProgram *program, SimLibrary *out)
{
    Build b = {.program = program, .compiler = compiler};
    *out = (SimLibrary){.file = 0};
    if (cache_directory(b.cache, sizeof b.cache)) {
        cache_path(out->path, sizeof out->path, b.cache, "sim", hash_program(compiler, program),
                   ".so");
        if (whole(out->path))
            return 0;
    }
    int status = build_library(&b);
    bool stays = status == 0 && !store(&b, "library.so", out->path);
    if (stays) {
        snprintf(out->work, sizeof out->work, "%s", b.work);
        snprintf(out->path, sizeof out->path, "%s/library.so", b.work);
    } else if (*b.work) {
        remove_directory(b.work);
    }
    return status;
}
