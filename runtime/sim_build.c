/* CUDA text to a shared library that simulates its kernels: by the system's C++ compiler, one
 * translation unit a kernel, as many at a time as there are processors. The libraries are kept in
 * the cache directory, under a hash of all that they depend on, each with a checksum at its end. */
#include "../ir/ir.h"
#include "gpu.h"
#include "runtime.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- the simulator's own sources: sim_files.S ---- */

typedef struct FileText {
    const char *begin;
    size_t size;
} FileText;

extern const FileText sim_text_sim_h, sim_text_launch_h, sim_text_core_h, sim_text_sim_cc,
    sim_text_check_cc;

static const struct {
    const char *name;
    const FileText *text;
} simulator[] = {
    {"sim.h", &sim_text_sim_h},   {"launch.h", &sim_text_launch_h}, {"core.h", &sim_text_core_h},
    {"sim.cc", &sim_text_sim_cc}, {"check.cc", &sim_text_check_cc},
};

enum { SIMULATOR_FILES = sizeof simulator / sizeof simulator[0], MAX_WORDS = 64 };

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

static bool compiler_runs(const char *command, SimCompiler *out)
{
    char line[256];
    snprintf(out->command, sizeof out->command, "%s", command);
    snprintf(line, sizeof line, "%s --version 2>/dev/null", command);
    FILE *f = popen(line, "r");
    bool found = f && fgets(out->version, sizeof out->version, f);
    while (found && fgets(line, sizeof line, f))
        continue;
    if (f)
        found = pclose(f) == 0 && found;
    out->version[strcspn(out->version, "\n")] = '\0';
    return found;
}

int sim_compiler(SimCompiler *out)
{
    const char *chosen = getenv("CXX");
    char text[64];
    if (chosen && chosen[strspn(chosen, " \t")]) {
        if (strlen(chosen) < sizeof out->command && compiler_runs(chosen, out))
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

/* ---- commands, run in the directory where the sources lie ---- */

/* Words divided by spaces: the compiler's command and what follows. */
static pid_t start(const char *directory, const char *command, const char *rest)
{
    char text[1024], *word[MAX_WORDS + 1], *place;
    int words = 0;
    snprintf(text, sizeof text, "%s %s", command, rest);
    for (char *w = strtok_r(text, " \t", &place); w && words < MAX_WORDS;
         w = strtok_r(NULL, " \t", &place))
        word[words++] = w;
    word[words] = NULL;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, directory);
    pid_t pid;
    int error = posix_spawnp(&pid, word[0], &actions, NULL, word, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error ? fault("cannot start %s: %s", word[0], strerror(error)) : pid;
}

static int finish(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static int run(const char *directory, const char *command, const char *rest)
{
    pid_t pid = start(directory, command, rest);
    return pid < 0 ? -1 : finish(pid);
}

/* ---- one library ---- */

typedef struct Build {
    const SimProgram *program;
    const SimCompiler *compiler;
    const char *command;
    char work[PATH_MAX];      /* directory of sources and objects */
    char cache[PATH_MAX];     /* directory; empty: none */
    char core[PATH_MAX + 64]; /* the simulator's own object */
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
static const char kernel_flags[] = "-O2 -fno-tree-sra -DNINC_SIM -include sim.h\n";
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

/* The directory's name must not get into the library, so that equal sources give equal bytes. */
static int write_flags(const Build *b)
{
    char text[sizeof flags_text + PATH_MAX + 32];
    int size = snprintf(text, sizeof text, "%s-fdebug-prefix-map=%s=.\n", flags_text, b->work);
    return write_bytes(b, "flags", text, (size_t)size);
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

/* Unit -2 and -1: the simulator; 0: the kernels. */
static pid_t start_unit(const Build *b, int unit)
{
    char rest[256];
    if (unit < 0)
        snprintf(rest, sizeof rest, "@flags -O3 -c %s -o %s", unit == -2 ? "sim.cc" : "check.cc",
                 unit == -2 ? "sim.o" : "check.o");
    else if (is_whole(b->program))
        snprintf(rest, sizeof rest, "@flags @options -x c++ -c kernels.cu -o kernels.o");
    else
        snprintf(rest, sizeof rest, "@flags @options -DNINC_KERNEL=%d -x c++ -c kernels.cu "
                 "-o kernels.o", b->program->number[0]);
    return start(b->work, b->command, rest);
}

static int compile_units(const Build *b)
{
    pid_t pid[3];
    int status = 0;
    for (int i = 0; i < 3; i++)
        pid[i] = i == 2 || !b->core_ready ? start_unit(b, i - 2) : 0;
    for (int i = 0; i < 3; i++)
        if (pid[i] < 0 || (pid[i] > 0 && finish(pid[i]) != 0))
            status = -1;
    return status ? fault("--device sim: %s does not compile the kernels", b->command) : 0;
}

static int remove_entry(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s, (void)kind, (void)at;
    return remove(path);
}

static void remove_work(const Build *b)
{
    if (*b->work && nftw(b->work, remove_entry, 8, FTW_DEPTH | FTW_PHYS) != 0)
        notice("cannot remove %s: %s", b->work, strerror(errno));
}

/* ---- the cache ---- */

static bool whole(const char *path)
{
    size_t size;
    unsigned char *bytes = cache_read(path, &size);
    free(bytes);
    return bytes != NULL;
}

/* A file of the work directory into the cache. */
static int store(const Build *b, const char *name, const char *path)
{
    char from[PATH_MAX + 32];
    size_t size = 0;
    snprintf(from, sizeof from, "%s/%s", b->work, name);
    unsigned char *bytes = read_bytes(from, &size);
    if (!bytes)
        return fault("cannot read %s: %s", from, strerror(errno));
    int status = cache_write(path, bytes, size);
    free(bytes);
    return status ? fault("cannot write %s: %s", path, strerror(errno)) : 0;
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

static int make_work(Build *b)
{
    const char *place = getenv("TMPDIR");
    snprintf(b->work, sizeof b->work, "%s/ninc-sim-XXXXXX", place && *place ? place : "/tmp");
    if (mkdtemp(b->work))
        return 0;
    int status = fault("cannot make the directory %s: %s; set TMPDIR", b->work, strerror(errno));
    b->work[0] = '\0';
    return status;
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
    if (b->core_ready)
        return 0;
    if (run(b->work, b->command, "-r -nostdlib -o core.o sim.o check.o"))
        return fault("--device sim: %s does not link the simulator", b->command);
    return *b->cache ? store(b, "core.o", b->core) : 0;
}

/* The core's path may be long: it is named in a response file. */
static int link_units(const Build *b)
{
    char text[sizeof b->core + 16];
    int used = snprintf(text, sizeof text, "%s\nkernels.o\n", b->core);
    int status = write_bytes(b, "objects", text, (size_t)used);
    if (status == 0 && run(b->work, b->command, "-shared -Wl,-z,defs -o library.so @objects"))
        status = fault("--device sim: %s does not link the kernels", b->command);
    return status;
}

static int build_library(Build *b, const char *path)
{
    find_core(b);
    if (make_work(b) || write_sources(b) || compile_units(b) || link_core(b) || link_units(b))
        return -1;
    return store(b, "library.so", path);
}

int sim_library(const SimCompiler *compiler, const SimProgram *program, SimLibrary *out)
{
    Build b = {.program = program, .compiler = compiler, .command = compiler->command};
    out->temporary = !cache_directory(b.cache, sizeof b.cache);
    if (out->temporary) {
        const char *place = getenv("TMPDIR");
        b.cache[0] = '\0';
        snprintf(out->path, sizeof out->path, "%s/ninc-sim-%ld.so",
                 place && *place ? place : "/tmp", (long)getpid());
    } else {
        cache_path(out->path, sizeof out->path, b.cache, "sim", hash_program(compiler, program),
                   ".so");
        if (whole(out->path))
            return 0;
    }
    int status = build_library(&b, out->path);
    remove_work(&b);
    return status;
}
