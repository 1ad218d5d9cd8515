/* A CUDA GPU as a machine for gpu.c. One context (the device's primary one) and one stream; every
 * call is checked. */
#include "cuda_api.h"

#include <stdlib.h>
#include <string.h>

/* ---- the machine ---- */

enum { SHOWN_ARGS = 4 };

/* What was launched last, for messages. */
typedef struct Launched {
    const char *name;
    int grid[3], threads, shared, args;
    GpuAddress arg[SHOWN_ARGS]; /* the first ones */
} Launched;

struct GpuMachine {
    CUdevice device;
    CUcontext context;
    CUstream stream;
    CUmodule *module;
    int modules;
    CUdeviceptr *buffer; /* what alloc gave */
    int buffers;
    CUevent begin, end; /* of time */
    char *slot[GPU_SLOTS]; /* pinned; the first of those that were allocated together owns them */
    bool slot_first[GPU_SLOTS];
    CUevent sent[GPU_SLOTS];
    int slots;
    int architecture;
    bool capturing;
    Launched last;
    char name[sizeof ((GpuLimits *)0)->name];
};

/* The device's state: memory, or that a kernel's fault made it unusable for this process. */
static void describe_device(const GpuMachine *m, char *out, size_t size)
{
    size_t available = 0, total = 0;
    CUresult r = cu.cuMemGetInfo(&available, &total);
    if (r == CUDA_SUCCESS)
        snprintf(out, size, "; %s works on, %zu of %zu bytes are free", m->name, available, total);
    else
        snprintf(out, size, "; %s answers %s", m->name, cuda_error_name(r));
}

/* The last launch and the device, for the message of what failed. */
static const char *describe(const GpuMachine *m, const char *prefix, char *out, size_t size)
{
    const Launched *l = &m->last;
    size_t at = (size_t)snprintf(out, size, "%skernel %s, grid %dx%dx%d, %d threads, %d bytes of "
                                            "shared memory, %d arguments",
                                 prefix, l->name, l->grid[0], l->grid[1], l->grid[2], l->threads,
                                 l->shared, l->args);
    for (int i = 0; i < l->args && i < SHOWN_ARGS && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, " 0x%llx", (unsigned long long)l->arg[i]);
    if (l->args > SHOWN_ARGS && at < size)
        at += (size_t)snprintf(out + at, size - at, " ...");
    if (at < size)
        describe_device(m, out + at, size - at);
    return out;
}

/* For a result that launches from before may be the cause of. */
static int checked_after(GpuMachine *m, CUresult r, const char *call, const char *place)
{
    char about[768] = "";
    if (r != CUDA_SUCCESS && m->last.name)
        describe(m, "launched last: ", about, sizeof about);
    return cuda_checked(r, call, place, about);
}

#define CALL_AFTER(m, function, ...)                                                               \
    checked_after(m, cu.function(__VA_ARGS__), #function, CUDA_HERE)

static void unload(GpuMachine *m)
{
    for (int i = 0; i < m->modules; i++)
        cu.cuModuleUnload(m->module[i]);
    free(m->module);
    m->module = NULL;
    m->modules = 0;
}

static void free_slots(GpuMachine *m)
{
    for (int i = 0; i < m->slots; i++) {
        if (m->sent[i])
            cu.cuEventDestroy(m->sent[i]);
        if (m->slot_first[i])
            cu.cuMemFreeHost(m->slot[i]);
    }
    m->slots = 0;
}

/* A machine after an error is closed too: what fails here has been told before. */
static void cuda_close(GpuMachine *m)
{
    if (m->context) {
        if (m->stream)
            cu.cuStreamSynchronize(m->stream);
        unload(m);
        free_slots(m);
        for (int i = 0; i < m->buffers; i++)
            cu.cuMemFree(m->buffer[i]);
        if (m->begin)
            cu.cuEventDestroy(m->begin);
        if (m->end)
            cu.cuEventDestroy(m->end);
        if (m->stream)
            cu.cuStreamDestroy(m->stream);
        cu.cuDevicePrimaryCtxRelease(m->device);
    }
    free(m->buffer);
    free(m);
}

static int open_context(GpuMachine *m, GpuLimits *limits)
{
    size_t available = 0, total = 0;
    CUcontext context;
    if (CALL_ABOUT(limits->name, cuDevicePrimaryCtxRetain, &context, m->device))
        return -1;
    m->context = context;
    if (CALL(cuCtxSetCurrent, context) ||
        CALL(cuStreamCreate, &m->stream, STREAM_NON_BLOCKING) ||
        CALL(cuEventCreate, &m->begin, EVENT_BLOCKING_SYNC) ||
        CALL(cuEventCreate, &m->end, EVENT_BLOCKING_SYNC) ||
        CALL(cuMemGetInfo, &available, &total))
        return -1;
    limits->free_bytes = (int64_t)available;
    return 0;
}

static GpuMachine *cuda_open(int ordinal, GpuLimits *limits)
{
    char why[512];
    if (cuda_open_driver(why, sizeof why)) {
        fault("--device cuda: %s", why);
        return NULL;
    }
    if (cuda_check_ordinal(ordinal))
        return NULL;
    GpuMachine *m = xmalloc(sizeof *m);
    memset(m, 0, sizeof *m);
    if (cuda_limits(ordinal, &m->device, limits) == 0 && open_context(m, limits) == 0) {
        m->architecture = limits->architecture;
        memcpy(m->name, limits->name, sizeof m->name);
        return m;
    }
    cuda_close(m);
    return NULL;
}

static int cuda_use(GpuMachine *m)
{
    return CALL(cuCtxSetCurrent, m->context);
}

/* ---- memory ---- */

static int cuda_alloc(GpuMachine *m, int64_t bytes, GpuAddress *out)
{
    char about[96];
    size_t available = 0, total = 0;
    if (bytes < 1)
        return fault("--device cuda: %lld bytes of memory asked for", (long long)bytes);
    CUresult r = cu.cuMemAlloc(out, (size_t)bytes);
    if (r != CUDA_SUCCESS) {
        if (cu.cuMemGetInfo(&available, &total) != CUDA_SUCCESS)
            available = total = 0;
        snprintf(about, sizeof about, "%lld bytes asked for, %zu of %zu are free",
                 (long long)bytes, available, total);
        return cuda_checked(r, "cuMemAlloc", CUDA_HERE, about);
    }
    m->buffer = xrealloc(m->buffer, (size_t)(m->buffers + 1) * sizeof *m->buffer);
    m->buffer[m->buffers++] = *out;
    return 0;
}

static int cuda_free(GpuMachine *m, GpuAddress at)
{
    int i = 0;
    while (i < m->buffers && m->buffer[i] != at)
        i++;
    if (i == m->buffers)
        return fault("--device cuda: free of an address that alloc did not give");
    m->buffer[i] = m->buffer[--m->buffers];
    return CALL_AFTER(m, cuMemFree, at);
}

static int cuda_wait(GpuMachine *m)
{
    return CALL_AFTER(m, cuStreamSynchronize, m->stream);
}

static int cuda_copy_in(GpuMachine *m, GpuAddress to, const void *from, int64_t bytes)
{
    if (CALL_AFTER(m, cuMemcpyHtoDAsync, to, from, (size_t)bytes, m->stream))
        return -1;
    return cuda_wait(m);
}

static int cuda_copy_out(GpuMachine *m, void *to, GpuAddress from, int64_t bytes)
{
    if (CALL_AFTER(m, cuMemcpyDtoHAsync, to, from, (size_t)bytes, m->stream))
        return -1;
    return cuda_wait(m);
}

static int cuda_fill(GpuMachine *m, GpuAddress at, int byte, int64_t bytes)
{
    return CALL_AFTER(m, cuMemsetD8Async, at, (unsigned char)byte, (size_t)bytes, m->stream);
}

/* ---- slots ---- */

static void *cuda_slots_alloc(GpuMachine *m, int slots, int64_t bytes)
{
    void *memory;
    int first = m->slots;
    if (first + slots > GPU_SLOTS)
        internal_error("%d slots of a GPU", first + slots);
    if (CALL_AFTER(m, cuMemHostAlloc, &memory, (size_t)slots * (size_t)bytes, 0))
        return NULL;
    for (int i = first; i < first + slots; i++) {
        m->slot[i] = (char *)memory + (i - first) * bytes;
        m->slot_first[i] = i == first;
        m->sent[i] = NULL;
        m->slots++;
        if (CALL(cuEventCreate, &m->sent[i], EVENT_BLOCKING_SYNC | EVENT_DISABLE_TIMING))
            return NULL;
    }
    return memory;
}

static int cuda_slot_wait(GpuMachine *m, int slot)
{
    return CALL_AFTER(m, cuEventSynchronize, m->sent[slot]);
}

static int cuda_slot_send(GpuMachine *m, int slot, GpuAddress to, int64_t bytes)
{
    if (m->capturing)
        return fault("--device cuda: a copy from a slot cannot be part of a graph");
    if (CALL_AFTER(m, cuMemcpyHtoDAsync, to, m->slot[slot], (size_t)bytes, m->stream))
        return -1;
    return CALL_AFTER(m, cuEventRecord, m->sent[slot], m->stream);
}

/* ---- kernels ---- */

/* The driver does not take this code: it is older than what made it. */
static bool refuses(CUresult r)
{
    return r == CUDA_ERROR_INVALID_IMAGE || r == CUDA_ERROR_NO_BINARY_FOR_GPU;
}

/* PTX is compiled here by the driver, which may have something to say. *refused: the code in the
 * trainer is of no use here. */
static int load_module(const KernelCode *code, CUmodule *module, bool *refused)
{
    char log[2048] = "", about[2560];
    int option[] = {JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES};
    void *value[] = {log, (void *)(uintptr_t)sizeof log};
    CUresult r = cu.cuModuleLoadDataEx(module, code->data, 2, option, value);
    if (r == CUDA_SUCCESS)
        return 0;
    if (code->ready && refuses(r)) {
        *refused = true;
        return -1;
    }
    log[sizeof log - 1] = '\0';
    log[strcspn(log, "\n")] = '\0';
    snprintf(about, sizeof about, "code of kernel %s, driver of CUDA %d.%d%s%s", code->name,
             cu.version / 1000, cu.version % 1000 / 10, *log ? ": " : "", log);
    return cuda_checked(r, "cuModuleLoadDataEx", CUDA_HERE, about);
}

/* More than 48 KiB of dynamic shared memory have to be asked for. */
static int allow_shared(CUfunction function, const GpuKernel *k)
{
    char about[160];
    snprintf(about, sizeof about, "kernel %s, %d bytes of shared memory", k->name,
             k->schedule->shared_bytes);
    return CALL_ABOUT(about, cuFuncSetAttribute, function, FUNCTION_MAX_DYNAMIC_SHARED,
                      k->schedule->shared_bytes);
}

static int load_kernel(GpuMachine *m, const KernelCode *code, GpuKernel *k, bool *refused)
{
    CUmodule module;
    CUfunction function;
    if (load_module(code, &module, refused))
        return -1;
    m->module[m->modules++] = module;
    if (CALL_ABOUT(k->name, cuModuleGetFunction, &function, module, k->name))
        return -1;
    k->function = function;
    return allow_shared(function, k);
}

static int load_kernels(GpuMachine *m, const CodeRequest *request, GpuKernel *kernel, int count,
                        bool *refused)
{
    KernelCode *code = xmalloc((size_t)count * sizeof *code + 1);
    for (int i = 0; i < count; i++)
        code[i] = (KernelCode){.name = kernel[i].name, .number = kernel[i].number};
    unload(m);
    m->module = xmalloc((size_t)count * sizeof *m->module + 1);
    int status = code_get(request, code, count);
    for (int i = 0; i < count && status == 0; i++)
        status = load_kernel(m, &code[i], &kernel[i], refused);
    code_free(code, count);
    free(code);
    return status;
}

static int cuda_load(GpuMachine *m, const char *text, const char *const *options, int option_count,
                     GpuKernel *kernel, int kernel_count)
{
    bool refused = false;
    CodeRequest request = {.text = text, .option = options, .options = option_count,
                           .architecture = m->architecture, .most = cu.version / 1000,
                           .ready = ninc_cubins};
    int status = load_kernels(m, &request, kernel, kernel_count, &refused);
    if (status == 0 || !refused)
        return status;
    notice("the driver (CUDA %d.%d) is older than the kernels inside the trainer: they are "
           "compiled anew",
           cu.version / 1000, cu.version % 1000 / 10);
    request.ready = NULL;
    return load_kernels(m, &request, kernel, kernel_count, &refused);
}

static void note_launch(GpuMachine *m, const GpuKernel *k, const int grid[3],
                        const GpuAddress *arg, int args)
{
    m->last = (Launched){.name = k->name, .threads = k->schedule->threads,
                         .shared = k->schedule->shared_bytes, .args = args};
    memcpy(m->last.grid, grid, sizeof m->last.grid);
    memcpy(m->last.arg, arg, (size_t)(args < SHOWN_ARGS ? args : SHOWN_ARGS) * sizeof *arg);
}

static int cuda_launch(GpuMachine *m, const GpuKernel *kernel, const int grid[3],
                       const GpuAddress *arg, int args)
{
    char about[768];
    void *few[64], **pointer = args <= 64 ? few : xmalloc((size_t)args * sizeof *pointer);
    for (int i = 0; i < args; i++)
        pointer[i] = (void *)(uintptr_t)&arg[i];
    note_launch(m, kernel, grid, arg, args);
    CUresult r = cu.cuLaunchKernel(kernel->function, (unsigned)grid[0], (unsigned)grid[1],
                                   (unsigned)grid[2], (unsigned)kernel->schedule->threads, 1, 1,
                                   (unsigned)kernel->schedule->shared_bytes, m->stream, pointer,
                                   NULL);
    if (pointer != few)
        free(pointer);
    if (r == CUDA_SUCCESS)
        return 0;
    return cuda_checked(r, "cuLaunchKernel", CUDA_HERE, describe(m, "", about, sizeof about));
}

/* ---- graphs ---- */

static int cuda_capture_begin(GpuMachine *m)
{
    if (CALL_AFTER(m, cuStreamBeginCapture, m->stream, CAPTURE_THREAD_LOCAL))
        return -1;
    m->capturing = true;
    return 0;
}

static int cuda_capture_end(GpuMachine *m, void **graph)
{
    CUgraph recorded = NULL;
    CUgraphExec exec = NULL;
    m->capturing = false;
    if (CALL_AFTER(m, cuStreamEndCapture, m->stream, &recorded))
        return -1;
    int status = CALL(cuGraphInstantiate, &exec, recorded, 0);
    cu.cuGraphDestroy(recorded);
    *graph = exec;
    return status;
}

static int cuda_graph_launch(GpuMachine *m, void *graph)
{
    return CALL_AFTER(m, cuGraphLaunch, graph, m->stream);
}

/* The graph may still run. */
static void cuda_graph_free(GpuMachine *m, void *graph)
{
    if (!graph)
        return;
    cu.cuStreamSynchronize(m->stream);
    cu.cuGraphExecDestroy(graph);
}

/* ---- time ---- */

static int cuda_time_begin(GpuMachine *m)
{
    return CALL_AFTER(m, cuEventRecord, m->begin, m->stream);
}

static int cuda_time_end(GpuMachine *m, double *seconds)
{
    float ms = 0;
    if (CALL_AFTER(m, cuEventRecord, m->end, m->stream) ||
        CALL_AFTER(m, cuEventSynchronize, m->end) ||
        CALL_AFTER(m, cuEventElapsedTime, &ms, m->begin, m->end))
        return -1;
    *seconds = 1e-3 * (double)ms;
    return 0;
}

const GpuDriver gpu_cuda_driver = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .use = cuda_use,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .copy_in = cuda_copy_in,
    .copy_out = cuda_copy_out,
    .fill = cuda_fill,
    .load = cuda_load,
    .launch = cuda_launch,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .slots_alloc = cuda_slots_alloc,
    .slot_wait = cuda_slot_wait,
    .slot_send = cuda_slot_send,
    .wait = cuda_wait,
    .time_begin = cuda_time_begin,
    .time_end = cuda_time_end,
};
