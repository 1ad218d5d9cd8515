/* A libcuda.so.1 for tests: device memory is host memory, kernels are not run, every call writes a
 * line to $FAKE_LOG. $FAKE_CUDA sets what it is like, words divided by spaces:
 *
 *     arch=90 processors=132 driver=13000 devices=1 memory=1000000 refuse=1 fail=cuLaunchKernel:719
 *
 * refuse: PTX and the code inside the trainer do not load; fail: the call gives this error;
 * fail=CALL:ERROR:N: from its N-th time on. fault=KERNEL:ERROR: launched, that kernel leaves a
 * context in which every call gives this error; hang=KERNEL: one that never ends.
 * Compiled with -DOLD it lacks what came with CUDA 11.4. */
#include "fake_library.h"

#include <stdint.h>
#include <unistd.h>

typedef int Result;
typedef struct Function {
    char name[64];
} Function;
typedef struct State {
    Result error; /* 0: none */
    int hangs;
} State;

typedef struct Graph {
    int operations;
    State leaves;
} Graph;

static Graph *capture;
static size_t used;
static State context; /* what kernels did to it */

static Result wanted_failure(const char *call)
{
    static int count;
    char name[64];
    int error = 0, from = 1;
    const char *all = getenv("FAKE_CUDA"), *at = all ? strstr(all, "fail=") : NULL;
    if (!at || sscanf(at, "fail=%63[^:]:%d:%d", name, &error, &from) < 2 || strcmp(name, call))
        return 0;
    return ++count >= from ? error : 0;
}

/* The call's line in the log, then the failure that was asked for. What frees has done so before:
 * the driver takes back all that a process had. */
#define CALL(...)                                                                                  \
    do {                                                                                           \
        char line[512];                                                                            \
        snprintf(line, sizeof line, __VA_ARGS__);                                                  \
        say(line);                                                                                 \
        line[strcspn(line, " ")] = '\0';                                                           \
        Result failure = context.error ? context.error : wanted_failure(line);                     \
        if (failure)                                                                               \
            return failure;                                                                        \
    } while (0)

static int is_set(const char *what, const char *kernel, int *number)
{
    char name[64];
    const char *all = getenv("FAKE_CUDA"), *at = all ? strstr(all, what) : NULL;
    return at && sscanf(at + strlen(what), "%63[^: ]:%d", name, number) >= 1 &&
           strcmp(name, kernel) == 0;
}

static void run_kernel(const char *kernel, State *state)
{
    int number = 0;
    if (is_set("fault=", kernel, &number))
        state->error = number;
    state->hangs |= is_set("hang=", kernel, &number);
}

Result cuInit(unsigned flags)
{
    CALL("cuInit %u", flags);
    return 0;
}

Result cuDriverGetVersion(int *version)
{
    *version = (int)setting("FAKE_CUDA", "driver=", 13000);
    return 0;
}

Result cuGetErrorName(Result r, const char **text)
{
    static char name[32];
    snprintf(name, sizeof name, "CUDA_ERROR_%d", r);
    *text = name;
    return r >= 2000;
}

Result cuGetErrorString(Result r, const char **text)
{
    *text = "as asked for";
    return r >= 2000;
}

Result cuDeviceGetCount(int *count)
{
    *count = (int)setting("FAKE_CUDA", "devices=", 1);
    CALL("cuDeviceGetCount");
    return 0;
}

Result cuDeviceGet(int *device, int ordinal)
{
    *device = 10 + ordinal;
    CALL("cuDeviceGet %d", ordinal);
    return 0;
}

Result cuDeviceGetName(char *name, int size, int device)
{
    snprintf(name, (size_t)size, "Fake GPU %d", device - 10);
    return 0;
}

Result cuDeviceGetAttribute(int *value, int which, int device)
{
    int arch = (int)setting("FAKE_CUDA", "arch=", 90);
    int processors = (int)setting("FAKE_CUDA", "processors=", 132);
    (void)device;
    *value = which == 16 ? processors : which == 75 ? arch / 10 : which == 76 ? arch % 10
             : which == 97 ? 232448 : -1;
    return *value < 0;
}

static size_t memory(void)
{
    return (size_t)setting("FAKE_CUDA", "memory=", 1L << 30);
}

Result cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    (void)device;
    *bytes = memory();
    return 0;
}

Result cuDevicePrimaryCtxRetain(void **out, int device)
{
    CALL("cuDevicePrimaryCtxRetain %d", device);
    *out = &used;
    return 0;
}

Result cuDevicePrimaryCtxRelease_v2(int device)
{
    CALL("cuDevicePrimaryCtxRelease %d", device);
    return 0;
}

Result cuCtxSetCurrent(void *wanted)
{
    CALL("cuCtxSetCurrent");
    return wanted != &used;
}

Result cuMemGetInfo_v2(size_t *available, size_t *total)
{
    *total = memory();
    *available = *total - used;
    return 0;
}

/* In front of each allocation: its size. */
Result cuMemAlloc_v2(uint64_t *at, size_t bytes)
{
    CALL("cuMemAlloc %zu", bytes);
    if (bytes > memory() - used)
        return 2;
    char *memory = malloc(bytes + 256);
    memcpy(memory, &bytes, sizeof bytes);
    *at = (uint64_t)(uintptr_t)(memory + 256);
    used += bytes;
    return 0;
}

Result cuMemFree_v2(uint64_t at)
{
    size_t bytes;
    char *memory = (char *)(uintptr_t)at - 256;
    memcpy(&bytes, memory, sizeof bytes);
    used -= bytes;
    free(memory);
    CALL("cuMemFree %zu", bytes);
    return 0;
}

Result cuMemHostAlloc(void **at, size_t bytes, unsigned flags)
{
    CALL("cuMemHostAlloc %zu %u", bytes, flags);
    *at = malloc(bytes);
    return 0;
}

Result cuMemFreeHost(void *at)
{
    free(at);
    CALL("cuMemFreeHost");
    return 0;
}

Result cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream)
{
    (void)stream;
    CALL("cuMemcpyHtoDAsync %zu", bytes);
    memcpy((void *)(uintptr_t)to, from, bytes);
    return 0;
}

Result cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream)
{
    (void)stream;
    CALL("cuMemcpyDtoHAsync %zu", bytes);
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return 0;
}

Result cuMemsetD8Async(uint64_t at, unsigned char byte, size_t bytes, void *stream)
{
    (void)stream;
    CALL("cuMemsetD8Async 0x%x %zu", byte, bytes);
    if (capture)
        capture->operations++;
    else
        memset((void *)(uintptr_t)at, byte, bytes);
    return 0;
}

/* NVRTC asks libcuda for its tables, and calls a NULL where it has no such function. */
Result cuGetExportTable(const void **table, const void *id)
{
    (void)id;
    *table = NULL;
    return 1;
}

Result cuModuleLoadDataEx(void **module, const void *image, unsigned options, int *option,
                          void **value)
{
    const char *code = image;
    CALL("cuModuleLoadDataEx %.*s", (int)strcspn(code, "\n"), code);
    for (unsigned i = 0; i < options; i++)
        if (option[i] == 5 && setting("FAKE_CUDA", "refuse=", 0) && strncmp(code, "PTX", 3) == 0) {
            strcpy(value[i], "ptxas fatal: as asked for\n");
            return 218;
        }
    if (setting("FAKE_CUDA", "refuse=", 0) && strncmp(code, "cubin of the trainer", 20) == 0)
        return 209;
    *module = malloc(1);
    return 0;
}

Result cuModuleUnload(void *module)
{
    free(module);
    CALL("cuModuleUnload");
    return 0;
}

Result cuModuleGetFunction(void **function, void *module, const char *name)
{
    static Function functions[512];
    static int count;
    (void)module;
    CALL("cuModuleGetFunction %s", name);
    Function *f = &functions[count++ % 512];
    snprintf(f->name, sizeof f->name, "%s", name);
    *function = f;
    return 0;
}

Result cuFuncSetAttribute(void *function, int which, int value)
{
    CALL("cuFuncSetAttribute %s %d %d", ((Function *)function)->name, which, value);
    return 0;
}

Result cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                      unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                      void *stream, void **arguments, void **extra)
{
    (void)stream;
    CALL("cuLaunchKernel %s %ux%ux%u %ux%ux%u %u %s%s", ((Function *)function)->name, grid_x,
         grid_y, grid_z, block_x, block_y, block_z, shared, arguments ? "arguments" : "none",
         extra ? " extra" : "");
    if (capture)
        capture->operations++;
    run_kernel(((Function *)function)->name, capture ? &capture->leaves : &context);
    return 0;
}

Result cuStreamCreate(void **stream, unsigned flags)
{
    CALL("cuStreamCreate %u", flags);
    *stream = malloc(1);
    return 0;
}

Result cuStreamDestroy_v2(void *stream)
{
    free(stream);
    CALL("cuStreamDestroy");
    return 0;
}

Result cuStreamSynchronize(void *stream)
{
    (void)stream;
    CALL("cuStreamSynchronize");
    while (context.hangs)
        pause();
    return 0;
}

Result cuStreamBeginCapture_v2(void *stream, int mode)
{
    (void)stream;
    CALL("cuStreamBeginCapture %d", mode);
    capture = calloc(1, sizeof *capture);
    return 0;
}

Result cuStreamEndCapture(void *stream, void **graph)
{
    (void)stream;
    *graph = capture;
    CALL("cuStreamEndCapture %d", capture->operations);
    capture = NULL;
    return 0;
}

#ifndef OLD
Result cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags)
{
    (void)flags;
    CALL("cuGraphInstantiate %d", ((Graph *)graph)->operations);
    *exec = memcpy(malloc(sizeof(Graph)), graph, sizeof(Graph));
    return 0;
}
#endif

Result cuGraphLaunch(void *exec, void *stream)
{
    (void)stream;
    CALL("cuGraphLaunch %d", ((Graph *)exec)->operations);
    context = ((Graph *)exec)->leaves;
    return 0;
}

Result cuGraphExecDestroy(void *exec)
{
    free(exec);
    CALL("cuGraphExecDestroy");
    return 0;
}

Result cuGraphDestroy(void *graph)
{
    free(graph);
    CALL("cuGraphDestroy");
    return 0;
}

Result cuEventCreate(void **event, unsigned flags)
{
    CALL("cuEventCreate %u", flags);
    *event = calloc(1, sizeof(int));
    return 0;
}

Result cuEventDestroy_v2(void *event)
{
    free(event);
    CALL("cuEventDestroy");
    return 0;
}

Result cuEventRecord(void *event, void *stream)
{
    (void)stream;
    CALL("cuEventRecord");
    *(int *)event = 1;
    return 0;
}

Result cuEventSynchronize(void *event)
{
    CALL("cuEventSynchronize %d", *(int *)event);
    return 0;
}

Result cuEventElapsedTime(float *ms, void *begin, void *end)
{
    CALL("cuEventElapsedTime %d %d", *(int *)begin, *(int *)end);
    *ms = 2.5f;
    return 0;
}
