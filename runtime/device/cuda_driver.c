/* The driver API in libcuda.so.1, opened by dlopen, so that nothing of CUDA is needed to build or,
 * without a GPU, to run: its errors in words, and the devices that it has. */
#include "cuda_api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

CudaDriver cu;

/* ---- errors ---- */

const char *cuda_error_name(CUresult r)
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

int cuda_checked(CUresult r, const char *call, const char *place, const char *about)
{
    if (r == CUDA_SUCCESS)
        return 0;
    return fault("--device cuda: %s (%s): %s, %s%s%s; %s", call, place,
                 cuda_error_name(r), error_text(r), *about ? ", " : "", about, advice(r));
}

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
    snprintf(why, size, "no GPU to use: %s: %s, %s; %s", call, cuda_error_name(r), error_text(r),
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

int cuda_open_driver(char *why, size_t size)
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
    return cuda_open_driver(why, size) ? -1 : cu.devices;
}

/* ---- devices ---- */

int cuda_limits(int ordinal, CUdevice *device, GpuLimits *limits)
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
    if (cuda_open_driver(why, sizeof why)) {
        char line[600];
        snprintf(line, sizeof line, "cuda: %s", why);
        print_lines(out, line, TABLE_COLUMNS);
        return;
    }
    for (int i = 0; i < cu.devices; i++) {
        GpuLimits limits;
        CUdevice device;
        if (cuda_limits(i, &device, &limits) == 0)
            print_device(out, i, &limits);
    }
}

int cuda_check_ordinal(int ordinal)
{
    if (ordinal >= 0 && ordinal < cu.devices)
        return 0;
    return fault("--device cuda:%d: there %s %d GPU%s, from cuda:0 on; trainer info lists them",
                 ordinal, cu.devices == 1 ? "is" : "are", cu.devices, cu.devices == 1 ? "" : "s");
}
