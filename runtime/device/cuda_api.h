/* Inside of the CUDA machine: the driver API, as its header declares it, for cuda_driver.c (which
 * opens it) and cuda.c (the machine). */
#ifndef NINC_CUDA_API_H
#define NINC_CUDA_API_H

#include "../../ir/ir.h"
#include "gpu.h"

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
typedef struct CudaDriver {
    void *library;
    int version, devices; /* CUDA that it runs: 12040 */
    bool missing;         /* there is no such library */
#define X(name, symbol, arguments) CUresult(*name) arguments;
    DRIVER_FUNCTIONS(X)
#undef X
} CudaDriver;

extern CudaDriver cu;

/* ---- cuda_driver.c ---- */

/* 0, or -1 with the reason in why. */
int cuda_open_driver(char *why, size_t size);
const char *cuda_error_name(CUresult r);
/* 0, or -1 after a message; `place`: file and line of the call; `about`: what it was for, may be
 * empty. */
int cuda_checked(CUresult r, const char *call, const char *place, const char *about);
/* What the device is, without a context of ours: free_bytes stays 0. */
int cuda_limits(int ordinal, CUdevice *device, GpuLimits *limits);
/* An error where there are fewer devices. */
int cuda_check_ordinal(int ordinal);

#define CUDA_TEXT_(line) #line
#define CUDA_TEXT(line) CUDA_TEXT_(line)
#define CUDA_HERE __FILE__ ":" CUDA_TEXT(__LINE__)
#define CALL(function, ...) cuda_checked(cu.function(__VA_ARGS__), #function, CUDA_HERE, "")
#define CALL_ABOUT(about, function, ...)                                                           \
    cuda_checked(cu.function(__VA_ARGS__), #function, CUDA_HERE, about)

#endif
