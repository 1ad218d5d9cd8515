/* A CUDA GPU as a machine for gpu.c: the driver API in libcuda.so.1, opened by dlopen, so that
 * nothing of CUDA is needed to build or, without a GPU, to run. One context (the device's primary
 * one) and one stream; every call is checked. */
#include "../../ir/ir.h"
#include "gpu.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- the driver API, as its header declares it ---- */

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx *CUcontext;
typedef struct CUmod *CUmodule;
typedef struct CUfunc *CUfunction;
typedef struct CUst *CUstream;
typedef struct CUev *CUevent;
typedef struct CUgr *CUgraph;
typedef struct CUgrx *CUgraphExec;

enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_STUB_LIBRARY = 34,
    CUDA_ERROR_DEVICE_UNAVAILABLE = 46,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_ECC_UNCORRECTABLE = 214,
    CUDA_ERROR_INVALID_PTX = 218,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
    CUDA_ERROR_OPERATING_SYSTEM = 304,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CUDA_ERROR_LAUNCH_TIMEOUT = 702,
    CUDA_ERROR_LAST_OF_KERNELS = 720, /* from 700: what a kernel did */
    CUDA_ERROR_SYSTEM_NOT_READY = 802,
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
    CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE = 804,
    CUDA_ERROR_MPS_CONNECTION_FAILED = 805,
    CUDA_ERROR_UNKNOWN = 999,
};

enum {
    ATTRIBUTE_PROCESSORS = 16,
    ATTRIBUTE_MAJOR = 75,
    ATTRIBUTE_MINOR = 76,
    ATTRIBUTE_SHARED_OPTIN = 97,
    FUNCTION_MAX_DYNAMIC_SHARED = 8,
    STREAM_NON_BLOCKING = 1,
    CAPTURE_THREAD_LOCAL = 1,
    EVENT_BLOCKING_SYNC = 1,
    EVENT_DISABLE_TIMING = 2,
    JIT_ERROR_LOG = 5,
    JIT_ERROR_LOG_BYTES = 6,
};

/* Name in the API, symbol in the library, arguments. */
#define DRIVER_FUNCTIONS(X)                                                                        \
    X(cuInit, "cuInit", (unsigned flags))                                                          \
    X(cuDriverGetVersion, "cuDriverGetVersion", (int *version))                                    \
    X(cuGetErrorName, "cuGetErrorName", (CUresult r, const char **text))                           \
    X(cuGetErrorString, "cuGetErrorString", (CUresult r, const char **text))                       \
    X(cuDeviceGetCount, "cuDeviceGetCount", (int *count))                                          \
    X(cuDeviceGet, "cuDeviceGet", (CUdevice * device, int ordinal))                                \
    X(cuDeviceGetName, "cuDeviceGetName", (char *name, int size, CUdevice device))                 \
    X(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int *value, int which, CUdevice device))      \
    X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t *bytes, CUdevice device))                   \
    X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext * context, CUdevice device))\
    X(cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2", (CUdevice device))                \
    X(cuCtxSetCurrent, "cuCtxSetCurrent", (CUcontext context))                                     \
    X(cuMemGetInfo, "cuMemGetInfo_v2", (size_t *free_bytes, size_t *total))                        \
    X(cuMemAlloc, "cuMemAlloc_v2", (CUdeviceptr * at, size_t bytes))                               \
    X(cuMemFree, "cuMemFree_v2", (CUdeviceptr at))                                                 \
    X(cuMemHostAlloc, "cuMemHostAlloc", (void **at, size_t bytes, unsigned flags))                 \
    X(cuMemFreeHost, "cuMemFreeHost", (void *at))                                                  \
    X(cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2",                                                   \
      (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))                           \
    X(cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2",                                                   \
      (void *to, CUdeviceptr from, size_t bytes, CUstream stream))                                 \
    X(cuMemsetD8Async, "cuMemsetD8Async",                                                          \
      (CUdeviceptr at, unsigned char byte, size_t bytes, CUstream stream))                         \
    X(cuModuleLoadDataEx, "cuModuleLoadDataEx",                                                    \
      (CUmodule * module, const void *image, unsigned options, int *option, void **value))         \
    X(cuModuleUnload, "cuModuleUnload", (CUmodule module))                                         \
    X(cuModuleGetFunction, "cuModuleGetFunction",                                                  \
      (CUfunction * function, CUmodule module, const char *name))                                  \
    X(cuFuncSetAttribute, "cuFuncSetAttribute", (CUfunction function, int which, int value))       \
    X(cuLaunchKernel, "cuLaunchKernel",                                                            \
      (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,   \
       unsigned block_y, unsigned block_z, unsigned shared, CUstream stream, void **arguments,     \
       void **extra))                                                                              \
    X(cuStreamCreate, "cuStreamCreate", (CUstream * stream, unsigned flags))                       \
    X(cuStreamDestroy, "cuStreamDestroy_v2", (CUstream stream))                                    \
    X(cuStreamSynchronize, "cuStreamSynchronize", (CUstream stream))                               \
    X(cuStreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream stream, int mode))                \
    X(cuStreamEndCapture, "cuStreamEndCapture", (CUstream stream, CUgraph *graph))                 \
    X(cuGraphInstantiate, "cuGraphInstantiateWithFlags",                                           \
      (CUgraphExec * exec, CUgraph graph, unsigned long long flags))                               \
    X(cuGraphLaunch, "cuGraphLaunch", (CUgraphExec exec, CUstream stream))                         \
    X(cuGraphExecDestroy, "cuGraphExecDestroy", (CUgraphExec exec))                                \
    X(cuGraphDestroy, "cuGraphDestroy", (CUgraph graph))                                           \
    X(cuEventCreate, "cuEventCreate", (CUevent * event, unsigned flags))                           \
    X(cuEventDestroy, "cuEventDestroy_v2", (CUevent event))                                        \
    X(cuEventRecord, "cuEventRecord", (CUevent event, CUstream stream))                            \
    X(cuEventSynchronize, "cuEventSynchronize", (CUevent event))                                   \
    X(cuEventElapsedTime, "cuEventElapsedTime", (float *ms, CUevent begin, CUevent end))

/* Opened once and kept: the driver does not like to be closed. Constant once it is open. */
static struct Driver {
    void *library;
    int version, devices; /* CUDA that it runs: 12040 */
    bool missing;         /* there is no such library */
#define X(name, symbol, arguments) CUresult(*name) arguments;
    DRIVER_FUNCTIONS(X)
#undef X
} cu;

/* ---- errors ---- */

static const char *error_name(CUresult r)
{
    const char *name = NULL;
    return cu.cuGetErrorName(r, &name) == CUDA_SUCCESS && name ? name : "an unknown error";
}

static const char *error_text(CUresult r)
{
    const char *text = NULL;
    return cu.cuGetErrorString(r, &text) == CUDA_SUCCESS && text ? text : "no description";
}

static const char *advice(CUresult r)
{
    switch (r) {
    case CUDA_ERROR_OUT_OF_MEMORY:
        return "use a smaller batch, or end other programs on the GPU (nvidia-smi lists them)";
    case CUDA_ERROR_STUB_LIBRARY:
        return "libcuda.so.1 is the toolkit's stub: take its directory off LD_LIBRARY_PATH";
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
        return "another program has the GPU for itself (nvidia-smi shows it)";
    case CUDA_ERROR_NO_DEVICE:
        return "no GPU is visible: look at nvidia-smi and CUDA_VISIBLE_DEVICES";
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
        return "the driver is too old for this NVRTC's code: update the driver, or set NINC_NVRTC "
               "to an NVRTC no newer than the driver";
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
        return "a block asks for more registers or shared memory than there are";
    case CUDA_ERROR_LAUNCH_TIMEOUT:
        return "the GPU also drives a display: use another one, or a smaller batch";
    case CUDA_ERROR_ECC_UNCORRECTABLE:
        return "the GPU's memory failed (nvidia-smi -q -d ECC): use another GPU, or restart the "
               "machine";
    case CUDA_ERROR_OPERATING_SYSTEM:
        return "the driver's device files cannot be used: look at /dev/nvidia* (a container is "
               "started with --gpus all)";
    case CUDA_ERROR_SYSTEM_NOT_READY:
        return "the fabric that joins the GPUs is not ready: wait a minute after the machine's "
               "start; else nvidia-fabricmanager, of the driver's own version, must run";
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
        return "libcuda.so.1 is a compatibility package's, which this GPU does not take: take its "
               "directory off LD_LIBRARY_PATH";
    case CUDA_ERROR_MPS_CONNECTION_FAILED:
        return "the MPS daemon does not answer: start nvidia-cuda-mps-control -d, or unset "
               "CUDA_MPS_PIPE_DIRECTORY";
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_UNKNOWN:
        return "libcuda and the kernel's driver do not fit: restart the machine";
    default:
        return r >= CUDA_ERROR_ILLEGAL_ADDRESS && r <= CUDA_ERROR_LAST_OF_KERNELS
                   ? "a kernel failed and this process can use the GPU no more; trainer verify "
                     "runs each kernel alone and names it, with --device sim also the line"
                   : "trainer info shows what is there";
    }
}

/* `about`: what the call was for; may be empty. */
static int checked(CUresult r, const char *call, int line, const char *about)
{
    if (r == CUDA_SUCCESS)
        return 0;
    return fault("--device cuda: %s (runtime/device/cuda.c:%d): %s, %s%s%s; %s", call, line,
                 error_name(r), error_text(r), *about ? ", " : "", about, advice(r));
}

#define CALL(function, ...) checked(cu.function(__VA_ARGS__), #function, __LINE__, "")
#define CALL_ABOUT(about, function, ...)                                                           \
    checked(cu.function(__VA_ARGS__), #function, __LINE__, about)

/* ---- the driver ---- */

/* Where libcuda.so.1 lies beside what the linker knows: containers that get the driver as a mount,
 * WSL, Colab, NixOS. Where it is nowhere, the linker's message about the first; where one is there
 * and cannot be opened, the message about that. */
static void *open_library(char *why, size_t size)
{
    static const char *const places[] = {"libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1",
                                         "/usr/lib/wsl/lib/libcuda.so.1",
                                         "/usr/lib64-nvidia/libcuda.so.1",
                                         "/run/opengl-driver/lib/libcuda.so.1"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        void *library = dlopen(places[i], RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
        const char *text = dlerror();
        char nowhere[128];
        snprintf(nowhere, sizeof nowhere, "%s: cannot open shared object file: No such file",
                 places[i]);
        bool missing = strncmp(text, nowhere, strlen(nowhere)) == 0;
        cu.missing = missing && (i == 0 || cu.missing);
        if (i > 0 && missing)
            continue;
        snprintf(why, size, "no NVIDIA driver: %s; install the driver, or use --device cpu", text);
    }
    return NULL;
}

/* The symbol that the library lacks; NULL: none. */
static const char *find_functions(void)
{
#define X(name, symbol, arguments)                                                                 \
    if (!(*(void **)&cu.name = dlsym(cu.library, symbol)))                                         \
        return symbol;
    DRIVER_FUNCTIONS(X)
#undef X
    return NULL;
}

static int old_driver(const char *symbol, char *why, size_t size)
{
    snprintf(why, size, "the NVIDIA driver is too old: its libcuda.so.1 has no %s; install driver "
                        "470 (CUDA 11.4) or newer, or use --device cpu",
             symbol);
    return -1;
}

static int failed_driver(CUresult r, const char *call, char *why, size_t size)
{
    snprintf(why, size, "no GPU to use: %s: %s, %s; %s", call, error_name(r), error_text(r),
             advice(r));
    return -1;
}

static int start_driver(char *why, size_t size)
{
    CUresult r = cu.cuInit(0);
    if (r != CUDA_SUCCESS)
        return failed_driver(r, "cuInit", why, size);
    r = cu.cuDriverGetVersion(&cu.version);
    if (r != CUDA_SUCCESS)
        return failed_driver(r, "cuDriverGetVersion", why, size);
    r = cu.cuDeviceGetCount(&cu.devices);
    if (r == CUDA_SUCCESS && cu.devices < 1)
        r = CUDA_ERROR_NO_DEVICE;
    return r == CUDA_SUCCESS ? 0 : failed_driver(r, "cuDeviceGetCount", why, size);
}

static int find_driver(char *why, size_t size)
{
    static bool found, started;
    if (started)
        return 0;
    if (!cu.library && !(cu.library = open_library(why, size)))
        return -1;
    const char *symbol = found ? NULL : find_functions();
    if (symbol)
        return old_driver(symbol, why, size);
    found = true;
    started = start_driver(why, size) == 0;
    return started ? 0 : -1;
}

/* 0, or -1 with the reason in why. */
static int open_driver(char *why, size_t size)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    int status = find_driver(why, size);
    pthread_mutex_unlock(&lock);
    return status;
}

bool cuda_driver_missing(void)
{
    return !cu.library && cu.missing;
}

int cuda_devices(char *why, size_t size)
{
    return open_driver(why, size) ? -1 : cu.devices;
}

/* ---- devices ---- */

/* What the device is, without a context of ours: free_bytes stays 0. */
static int read_limits(int ordinal, CUdevice *device, GpuLimits *limits)
{
    int major = 0, minor = 0;
    size_t total = 0;
    *limits = (GpuLimits){.processors = 0};
    if (CALL(cuDeviceGet, device, ordinal) ||
        CALL(cuDeviceGetName, limits->name, sizeof limits->name, *device) ||
        CALL(cuDeviceGetAttribute, &major, ATTRIBUTE_MAJOR, *device) ||
        CALL(cuDeviceGetAttribute, &minor, ATTRIBUTE_MINOR, *device) ||
        CALL(cuDeviceGetAttribute, &limits->processors, ATTRIBUTE_PROCESSORS, *device) ||
        CALL(cuDeviceGetAttribute, &limits->shared_bytes, ATTRIBUTE_SHARED_OPTIN, *device) ||
        CALL(cuDeviceTotalMem, &total, *device))
        return -1;
    limits->architecture = 10 * major + minor;
    limits->total_bytes = (int64_t)total;
    return 0;
}

static void print_device(FILE *out, int ordinal, const GpuLimits *l)
{
    fprintf(out,
            "cuda:%d %s, compute capability %d.%d, %d processors, %.1f GB, %d bytes of shared "
            "memory a block, driver of CUDA %d.%d\n",
            ordinal, l->name, l->architecture / 10, l->architecture % 10, l->processors,
            (double)l->total_bytes / 1e9, l->shared_bytes, cu.version / 1000,
            cu.version % 1000 / 10);
}

void cuda_list_devices(FILE *out)
{
    char why[512];
    if (open_driver(why, sizeof why)) {
        char line[600];
        snprintf(line, sizeof line, "cuda: %s", why);
        print_lines(out, line, TABLE_COLUMNS);
        return;
    }
    for (int i = 0; i < cu.devices; i++) {
        GpuLimits limits;
        CUdevice device;
        if (read_limits(i, &device, &limits) == 0)
            print_device(out, i, &limits);
    }
}

static int check_ordinal(int ordinal)
{
    if (ordinal >= 0 && ordinal < cu.devices)
        return 0;
    return fault("--device cuda:%d: there %s %d GPU%s, from cuda:0 on; trainer info lists them",
                 ordinal, cu.devices == 1 ? "is" : "are", cu.devices, cu.devices == 1 ? "" : "s");
}

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
    char *slot;         /* pinned */
    int64_t slot_bytes;
    CUevent *sent;      /* a slot */
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
        snprintf(out, size, "; %s answers %s", m->name, error_name(r));
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
static int checked_after(GpuMachine *m, CUresult r, const char *call, int line)
{
    char about[768] = "";
    if (r != CUDA_SUCCESS && m->last.name)
        describe(m, "launched last: ", about, sizeof about);
    return checked(r, call, line, about);
}

#define CALL_AFTER(m, function, ...)                                                               \
    checked_after(m, cu.function(__VA_ARGS__), #function, __LINE__)

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
    for (int i = 0; i < m->slots; i++)
        if (m->sent[i])
            cu.cuEventDestroy(m->sent[i]);
    if (m->slot)
        cu.cuMemFreeHost(m->slot);
    free(m->sent);
    m->slot = NULL;
    m->sent = NULL;
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
    if (open_driver(why, sizeof why)) {
        fault("--device cuda: %s", why);
        return NULL;
    }
    if (check_ordinal(ordinal))
        return NULL;
    GpuMachine *m = xmalloc(sizeof *m);
    memset(m, 0, sizeof *m);
    if (read_limits(ordinal, &m->device, limits) == 0 && open_context(m, limits) == 0) {
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
        return checked(r, "cuMemAlloc", __LINE__, about);
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
    free_slots(m);
    if (CALL_AFTER(m, cuMemHostAlloc, &memory, (size_t)slots * (size_t)bytes, 0))
        return NULL;
    m->slot = memory;
    m->slot_bytes = bytes;
    m->sent = xmalloc((size_t)slots * sizeof *m->sent);
    memset(m->sent, 0, (size_t)slots * sizeof *m->sent);
    m->slots = slots;
    for (int i = 0; i < slots; i++)
        if (CALL(cuEventCreate, &m->sent[i], EVENT_BLOCKING_SYNC | EVENT_DISABLE_TIMING)) {
            free_slots(m);
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
    if (CALL_AFTER(m, cuMemcpyHtoDAsync, to, m->slot + slot * m->slot_bytes, (size_t)bytes,
                   m->stream))
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
    return checked(r, "cuModuleLoadDataEx", __LINE__, about);
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
    return checked(r, "cuLaunchKernel", __LINE__, describe(m, "", about, sizeof about));
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
