/* NVRTC, NVIDIA's run-time compiler of CUDA C, opened by dlopen. It is looked for in this order:
 *
 *   1. $NINC_NVRTC, the path of a library; then nothing else counts
 *   2. what the dynamic linker finds under the names below ($LD_LIBRARY_PATH, /etc/ld.so.conf)
 *   3. $CUDA_HOME, $CUDA_PATH and /usr/local/cuda*: their lib64
 *   4. where pip puts NVIDIA's packages: under $VIRTUAL_ENV, $CONDA_PREFIX, ~/.local, /usr/local
 *      and /usr
 *   5. beside the programs of $PATH: a toolkit's lib64 beside its nvcc, the packages of a Python
 *      whose environment is not activated but first in $PATH
 *
 * It needs neither a GPU nor a driver. */
#include "../../ir/ir.h"
#include "gpu.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- NVRTC's interface, as its header declares it ---- */

typedef int NvrtcResult;
typedef struct NvrtcProgram *NvrtcHandle;

enum { NVRTC_SUCCESS = 0 };

#define NVRTC_FUNCTIONS(X)                                                                         \
    X(nvrtcVersion, (int *major, int *minor))                                                      \
    X(nvrtcGetNumSupportedArchs, (int *count))                                                     \
    X(nvrtcGetSupportedArchs, (int *architecture))                                                 \
    X(nvrtcCreateProgram, (NvrtcHandle * program, const char *text, const char *name, int headers, \
                           const char *const *header, const char *const *include))                 \
    X(nvrtcDestroyProgram, (NvrtcHandle * program))                                                \
    X(nvrtcCompileProgram, (NvrtcHandle program, int options, const char *const *option))          \
    X(nvrtcGetProgramLogSize, (NvrtcHandle program, size_t *size))                                 \
    X(nvrtcGetProgramLog, (NvrtcHandle program, char *log))                                        \
    X(nvrtcGetCUBINSize, (NvrtcHandle program, size_t *size))                                      \
    X(nvrtcGetCUBIN, (NvrtcHandle program, char *cubin))                                           \
    X(nvrtcGetPTXSize, (NvrtcHandle program, size_t *size))                                        \
    X(nvrtcGetPTX, (NvrtcHandle program, char *ptx))

struct Nvrtc {
    void *library;
    char path[PATH_MAX];
    int version; /* 12040 */
    int *known;  /* architectures, ascending */
    int knowns;
    const char *(*nvrtcGetErrorString)(NvrtcResult result);
#define X(name, arguments) NvrtcResult(*name) arguments;
    NVRTC_FUNCTIONS(X)
#undef X
};

/* ---- opening ---- */

static const char *const library_names[] = {"libnvrtc.so.13", "libnvrtc.so.12",
                                            "libnvrtc.so.11.2", "libnvrtc.so"};

enum { LIBRARY_NAMES = sizeof library_names / sizeof library_names[0] };

/* Directories: the value of a variable (NULL: none is needed) and a pattern below it. */
static const struct {
    const char *variable, *pattern;
} places[] = {
    {"CUDA_HOME", "/lib64"},
    {"CUDA_PATH", "/lib64"},
    {NULL, "/usr/local/cuda*/lib64"},
    {"VIRTUAL_ENV", "/lib/python3*/site-packages/nvidia/{cu13,cuda_nvrtc}/lib"},
    {"CONDA_PREFIX", "/lib"},
    {"CONDA_PREFIX", "/lib/python3*/site-packages/nvidia/{cu13,cuda_nvrtc}/lib"},
    {"HOME", "/.local/lib/python3*/site-packages/nvidia/{cu13,cuda_nvrtc}/lib"},
    {NULL, "/usr/local/lib/python3*/{dist,site}-packages/nvidia/{cu13,cuda_nvrtc}/lib"},
    {NULL, "/usr/lib/python3*/{dist,site}-packages/nvidia/{cu13,cuda_nvrtc}/lib"},
};

static bool find_functions(Nvrtc *n)
{
    bool found = true;
    *(void **)&n->nvrtcGetErrorString = dlsym(n->library, "nvrtcGetErrorString");
#define X(name, arguments) found &= (*(void **)&n->name = dlsym(n->library, #name)) != NULL;
    NVRTC_FUNCTIONS(X)
#undef X
    return found && n->nvrtcGetErrorString;
}

static bool read_version(Nvrtc *n)
{
    int major, minor;
    if (n->nvrtcVersion(&major, &minor) != NVRTC_SUCCESS)
        return false;
    n->version = 1000 * major + 10 * minor;
    if (n->nvrtcGetNumSupportedArchs(&n->knowns) != NVRTC_SUCCESS || n->knowns < 1)
        return false;
    n->known = xmalloc((size_t)n->knowns * sizeof *n->known);
    return n->nvrtcGetSupportedArchs(n->known) == NVRTC_SUCCESS;
}

/* The file that a name led to. */
static void note_path(Nvrtc *n, const char *name)
{
    Dl_info image;
    bool found = dladdr(*(void **)&n->nvrtcVersion, &image) != 0 && image.dli_fname;
    if (!found || !realpath(image.dli_fname, n->path))
        snprintf(n->path, sizeof n->path, "%s", name);
}

/* The library stays: NVRTC does not give back what it took when it is closed. */
static void forget(Nvrtc *n)
{
    free(n->known);
    *n = (Nvrtc){.library = NULL};
}

static bool try_library(Nvrtc *n, const char *name, int most)
{
    n->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (n->library && find_functions(n) && read_version(n) &&
        (most == 0 || n->version / 1000 <= most)) {
        note_path(n, name);
        return true;
    }
    forget(n);
    return false;
}

static bool try_directory(Nvrtc *n, const char *directory, int most)
{
    char path[PATH_MAX];
    for (int i = 0; i < LIBRARY_NAMES; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, library_names[i]);
        if (access(path, R_OK) == 0 && try_library(n, path, most))
            return true;
    }
    return false;
}

static bool try_pattern(Nvrtc *n, const char *pattern, int most)
{
    glob_t found;
    bool opened = false;
    if (glob(pattern, GLOB_BRACE, NULL, &found) == 0)
        for (size_t i = found.gl_pathc; i-- > 0 && !opened;) /* the newest Python first */
            opened = try_directory(n, found.gl_pathv[i], most);
    globfree(&found);
    return opened;
}

/* The lib64 and the Python packages beside each directory of $PATH that is a bin. */
static bool try_programs(Nvrtc *n, int most)
{
    char pattern[PATH_MAX];
    const char *at = getenv("PATH");
    for (int length; at && *at; at += length + (at[length] == ':')) {
        length = (int)strcspn(at, ":");
        int base = length - 4;
        if (base < 1 || strncmp(at + base, "/bin", 4) != 0)
            continue;
        snprintf(pattern, sizeof pattern,
                 "%.*s/{lib64,lib/python3*/{dist,site}-packages/nvidia/{cu13,cuda_nvrtc}/lib}",
                 base, at);
        if (try_pattern(n, pattern, most))
            return true;
    }
    return false;
}

static bool search(Nvrtc *n, int most)
{
    char pattern[PATH_MAX];
    for (int i = 0; i < LIBRARY_NAMES; i++)
        if (try_library(n, library_names[i], most))
            return true;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *base = places[i].variable ? getenv(places[i].variable) : "";
        if (!base || (places[i].variable && !*base))
            continue;
        snprintf(pattern, sizeof pattern, "%s%s", base, places[i].pattern);
        if (try_pattern(n, pattern, most))
            return true;
    }
    return try_programs(n, most);
}

/* The library that the user named, whatever its version. */
static int open_named(Nvrtc *n, const char *name)
{
    if (try_library(n, name, 0))
        return 0;
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    const char *why = library ? "it is no NVRTC of CUDA 11.2 or newer" : dlerror();
    return fault("$NINC_NVRTC does not open: %s: %s; give the path of libnvrtc.so, or unset it",
                 name, why);
}

static int not_found(int most)
{
    char wanted[64] = "";
    if (most)
        snprintf(wanted, sizeof wanted, " that this driver can use (CUDA %d or older)", most);
    return fault("no NVRTC%s: looked for libnvrtc.so.13, .12 and .11.2 in the linker's "
                 "directories, $CUDA_HOME, $CUDA_PATH, /usr/local/cuda*/lib64, Python's "
                 "site-packages and beside the programs of $PATH; install it (pip install "
                 "nvidia-cuda-nvrtc%s, or the CUDA toolkit), or set NINC_NVRTC to the library's "
                 "path",
                 wanted, most == 12 ? "-cu12" : most == 11 ? "-cu11" : "");
}

Nvrtc *nvrtc_open(int most)
{
    const char *named = getenv("NINC_NVRTC");
    Nvrtc *n = xmalloc(sizeof *n);
    *n = (Nvrtc){.library = NULL};
    bool own = named && *named;
    if (own ? open_named(n, named) == 0 : search(n, most))
        return n;
    if (!own)
        not_found(most);
    free(n);
    return NULL;
}

void nvrtc_close(Nvrtc *n)
{
    if (n)
        forget(n);
    free(n);
}

const char *nvrtc_path(const Nvrtc *n)
{
    return n->path;
}

int nvrtc_version(const Nvrtc *n)
{
    return n->version;
}

int nvrtc_newest(const Nvrtc *n, int limit)
{
    int newest = 0;
    for (int i = 0; i < n->knowns; i++)
        if (n->known[i] <= limit && n->known[i] > newest)
            newest = n->known[i];
    return newest;
}

/* ---- compiling ---- */

/* The compilations of one call, shared by its threads. */
typedef struct Work {
    const Nvrtc *nvrtc;
    const char *text, *target;
    KernelCode *code;
    int count;
    NvrtcResult *result; /* a kernel */
    const char **call;   /* a kernel: the function that gave the result */
    atomic_int next;
} Work;

static const char file_name[] = "kernels.cu";

static void take_log(const Nvrtc *n, NvrtcHandle program, KernelCode *code)
{
    size_t size = 0;
    if (n->nvrtcGetProgramLogSize(program, &size) != NVRTC_SUCCESS || size <= 1)
        return;
    code->log = xmalloc(size + 1);
    code->log[size] = '\0';
    if (n->nvrtcGetProgramLog(program, code->log) == NVRTC_SUCCESS)
        return;
    free(code->log);
    code->log = NULL;
}

static NvrtcResult take_code(const Work *w, NvrtcHandle program, KernelCode *code,
                             const char **call)
{
    const Nvrtc *n = w->nvrtc;
    bool ptx = strncmp(w->target, "compute_", 8) == 0;
    *call = ptx ? "nvrtcGetPTXSize" : "nvrtcGetCUBINSize";
    NvrtcResult r = (ptx ? n->nvrtcGetPTXSize : n->nvrtcGetCUBINSize)(program, &code->size);
    if (r != NVRTC_SUCCESS)
        return r;
    code->data = xmalloc(code->size + 1);
    code->data[code->size] = '\0';
    *call = ptx ? "nvrtcGetPTX" : "nvrtcGetCUBIN";
    return (ptx ? n->nvrtcGetPTX : n->nvrtcGetCUBIN)(program, (char *)code->data);
}

/* Ours and those of the kernel, whose text is cut into lines in place; *count of them. */
static const char **option_list(const char *const *ours, int our_count, char *lines, int *count)
{
    size_t most = (size_t)our_count + 1;
    for (const char *c = lines; *c; c++)
        most += *c == '\n';
    const char **option = xmalloc(most * sizeof *option);
    memcpy(option, ours, (size_t)our_count * sizeof *option);
    *count = our_count;
    for (char *rest, *l = strtok_r(lines, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest))
        option[(*count)++] = l;
    return option;
}

static NvrtcResult compile_program(const Work *w, NvrtcHandle program, KernelCode *code,
                                   const char **call)
{
    char target[64], number[48], *lines = xmalloc(strlen(code->options) + 1);
    const char *const ours[] = {target, "-std=c++17", "-default-device", number};
    int count;
    strcpy(lines, code->options);
    snprintf(target, sizeof target, "--gpu-architecture=%s", w->target);
    snprintf(number, sizeof number, "-DNINC_KERNEL=%d", code->number);
    const char **option = option_list(ours, sizeof ours / sizeof *ours, lines, &count);
    *call = "nvrtcCompileProgram";
    NvrtcResult r = w->nvrtc->nvrtcCompileProgram(program, count, option);
    free(option);
    free(lines);
    take_log(w->nvrtc, program, code);
    return r == NVRTC_SUCCESS ? take_code(w, program, code, call) : r;
}

static NvrtcResult compile_kernel(const Work *w, KernelCode *code, const char **call)
{
    const Nvrtc *n = w->nvrtc;
    NvrtcHandle program;
    *call = "nvrtcCreateProgram";
    NvrtcResult r = n->nvrtcCreateProgram(&program, w->text, file_name, 0, NULL, NULL);
    if (r != NVRTC_SUCCESS)
        return r;
    r = compile_program(w, program, code, call);
    n->nvrtcDestroyProgram(&program);
    if (r != NVRTC_SUCCESS) {
        free(code->data);
        code->data = NULL;
    }
    return r;
}

static void *compile_kernels(void *work)
{
    Work *w = work;
    for (int i; (i = atomic_fetch_add(&w->next, 1)) < w->count;)
        if (!w->code[i].data)
            w->result[i] = compile_kernel(w, &w->code[i], &w->call[i]);
    return NULL;
}

/* In as many threads as there are processors, this one among them. */
static void run_threads(Work *w)
{
    int started = 0, threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    threads = threads > w->count ? w->count : threads;
    pthread_t *thread = xmalloc((size_t)(threads + 1) * sizeof *thread);
    while (started < threads - 1 &&
           pthread_create(&thread[started], NULL, compile_kernels, w) == 0)
        started++;
    compile_kernels(w);
    while (started > 0)
        pthread_join(thread[--started], NULL);
    free(thread);
}

/* ---- what failed ---- */

/* The line of the text that the log's first error stands in; 0: it names none. */
static int error_line(const char *log)
{
    for (const char *at = log; at && (at = strstr(at, file_name)); at++) {
        const char *number = at + sizeof file_name - 1, *end = strchr(number, '\n');
        const char *error = strstr(number, "error");
        if (*number == '(' && error && (!end || error < end))
            return atoi(number + 1);
    }
    return 0;
}

/* The numbered lines around `line`, those of the error marked. */
static void print_source(const char *text, int line)
{
    enum { BEFORE = 6, AFTER = 3 };
    for (int i = 1; *text && i <= line + AFTER; i++) {
        int length = (int)strcspn(text, "\n");
        if (i >= line - BEFORE)
            detail("%c%6d  %.*s\n", i == line ? '>' : ' ', i, length, text);
        text += length + (text[length] == '\n');
    }
}

static int report(const Work *w, int failed, int failures)
{
    const KernelCode *code = &w->code[failed];
    int line = error_line(code->log);
    fault("kernel %s does not compile for %s: %s by %s (NVRTC %d.%d, %s)", code->name,
          w->target, w->nvrtc->nvrtcGetErrorString(w->result[failed]), w->call[failed],
          w->nvrtc->version / 1000, w->nvrtc->version % 1000 / 10, w->nvrtc->path);
    if (code->log)
        detail("%s%s", code->log, code->log[strlen(code->log) - 1] == '\n' ? "" : "\n");
    if (line)
        print_source(w->text, line);
    if (failures > 1)
        detail("%d more do%s not compile\n", failures - 1, failures == 2 ? "es" : "");
    return -1;
}

static int outcome(const Work *w)
{
    int failed = -1, failures = 0;
    for (int i = w->count - 1; i >= 0; i--)
        if (w->result[i] != NVRTC_SUCCESS) {
            failed = i;
            failures++;
        }
    return failures ? report(w, failed, failures) : 0;
}

int nvrtc_compile(const Nvrtc *n, const char *text, const char *target, KernelCode *code,
                  int count)
{
    Work w = {.nvrtc = n, .text = text, .target = target, .code = code, .count = count};
    w.result = xmalloc((size_t)count * sizeof *w.result + 1);
    w.call = xmalloc((size_t)count * sizeof *w.call + 1);
    memset(w.result, 0, (size_t)count * sizeof *w.result);
    run_threads(&w);
    int status = outcome(&w);
    free(w.result);
    free(w.call);
    return status;
}
