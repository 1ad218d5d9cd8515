/* What the CUDA device (gpu.c: arena, programs, data set, metrics, steps as graphs) needs of a
 * machine that runs CUDA kernels. Two machines fill the table: cuda.c, the driver API and NVRTC by
 * dlopen, and sim.c, the simulator. So all of gpu.c runs in every test, without a GPU.
 *
 * Functions that return int give 0, or -1 after printing one line that names the call, the error
 * and what to do. */
#ifndef NINC_GPU_H
#define NINC_GPU_H

#include "device.h"

#include <limits.h>
#include <stdio.h>

typedef uint64_t GpuAddress; /* in device memory; the simulator's is a host address */

typedef struct GpuLimits {
    char name[128];      /* NVIDIA H200 */
    int architecture;    /* compute capability: 75, 80, 86, 89, 90 ... */
    int processors;      /* SMs */
    int shared_bytes;    /* a block may ask for, dynamic */
    int64_t total_bytes, free_bytes; /* device memory */
} GpuLimits;

/* A kernel as it will be launched. */
typedef struct GpuKernel {
    const char *name;
    const NincLaunch *launch;     /* NULL: one of gpu.c's own (gather_batch, add_metrics) */
    const NincSchedule *schedule; /* the one in use */
    int split;                    /* at most schedule->split */
    int number;                   /* NINC_KERNEL */
    void *function;               /* the machine's handle, set by load */
} GpuKernel;

typedef struct GpuMachine GpuMachine;

enum { GPU_SLOTS = 128 };

typedef struct GpuDriver {
    const char *name; /* cuda, sim */
    GpuMachine *(*open)(int ordinal, GpuLimits *limits); /* NULL on failure */
    void (*close)(GpuMachine *m); /* gives back all memory too; prints nothing */
    int (*use)(GpuMachine *m);    /* the calling thread works with this machine from now on */
    int (*alloc)(GpuMachine *m, int64_t bytes, GpuAddress *out);
    int (*free)(GpuMachine *m, GpuAddress at);
    int (*copy_in)(GpuMachine *m, GpuAddress to, const void *from, int64_t bytes);  /* waits */
    int (*copy_out)(GpuMachine *m, void *to, GpuAddress from, int64_t bytes);       /* waits */
    int (*fill)(GpuMachine *m, GpuAddress at, int byte, int64_t bytes);             /* in order */
    /* Compiles the text's kernels (or takes them from the cache or the trainer) and finds their
     * functions. `options`: macro definitions -DNAME=VALUE, the same for all. */
    int (*load)(GpuMachine *m, const char *text, const char *const *options, int option_count,
                GpuKernel *kernel, int kernel_count);
    /* One launch in stream order: grid, a block of kernel->schedule->threads, pointers. */
    int (*launch)(GpuMachine *m, const GpuKernel *kernel, const int grid[3],
                  const GpuAddress *arg, int args);
    /* What is launched between begin and end is recorded, not run; graph_launch runs it. */
    int (*capture_begin)(GpuMachine *m);
    int (*capture_end)(GpuMachine *m, void **graph);
    int (*graph_launch)(GpuMachine *m, void *graph);
    void (*graph_free)(GpuMachine *m, void *graph);
    /* Pinned host memory of `slots` parts of `bytes` each, one behind the other, numbered behind
     * those that there are (at most GPU_SLOTS), and a copy from the start of one part in stream
     * order; before a part is written again, slot_wait waits until its last copy is done. */
    void *(*slots_alloc)(GpuMachine *m, int slots, int64_t bytes);
    int (*slot_wait)(GpuMachine *m, int slot);
    int (*slot_send)(GpuMachine *m, int slot, GpuAddress to, int64_t bytes);
    int (*wait)(GpuMachine *m); /* for all that was launched */
    /* By the device's own clock: the seconds that it takes for what is launched between the two.
     * time_end waits for it. */
    int (*time_begin)(GpuMachine *m);
    int (*time_end)(GpuMachine *m, double *seconds);
} GpuDriver;

extern const GpuDriver gpu_cuda_driver, gpu_sim_driver;

/* ---- gpu.c: the device over a machine ---- */

/* What ninc_cuda_device and ninc_sim_device open; NULL after a message. */
Device *gpu_open(const GpuDriver *driver, const NincModel *model, const DeviceOptions *options);
/* Device memory that the programs take, data sets not counted. */
int64_t gpu_arena_bytes(const NincTarget *target, bool with_train);

/* ---- specialise.c: from a plan to what fits a device ---- */

/* The first of the launch's schedules that fits the limits; NULL when none does. */
const NincSchedule *schedule_for(const NincLaunch *launch, const GpuLimits *limits);
/* Says why none of them fits; always -1. */
int schedule_fault(const NincLaunch *launch, const GpuLimits *limits);
/* How many parts of the reduction to run: at most schedule->split, and no more than fill the
 * device's processors a few times over. All of them where the processors are not known (0). */
int split_for(const NincSchedule *schedule, const GpuLimits *limits);
/* Limits by compute capability, for compiling ahead: shared memory of a block; processors 0. */
GpuLimits limits_of_architecture(int architecture);
/* Definitions of the schedule macros of all kernels, sorted by name: -DCONV_2_0_FORWARD_TILE_M=128.
 * The caller frees each and the array. */
char **schedule_options(const GpuKernel *kernel, int count, int *option_count);

/* ---- cuda_driver.c: the driver API by dlopen ---- */

/* The number of GPUs; -1 with the reason in `why` where there is none that runs kernels. */
int cuda_devices(char *why, size_t size);
/* Whether a call has found that this machine has no driver at all, rather than one that fails. */
bool cuda_driver_missing(void);
/* One line a GPU, or one that says why there is none. */
void cuda_list_devices(FILE *out);

/* ---- nvrtc.c: NVRTC by dlopen ---- */

typedef struct Nvrtc Nvrtc;

/* An NVRTC that is no newer than CUDA `most` (12 for any 12.x; 0: any). NULL after a line that
 * says where was looked and how to get NVRTC. */
Nvrtc *nvrtc_open(int most);
void nvrtc_close(Nvrtc *n);
/* The file that was opened. */
const char *nvrtc_path(const Nvrtc *n);
/* Major and minor: 12040 is 12.4. */
int nvrtc_version(const Nvrtc *n);
/* The newest architecture that it knows, of those up to `limit`: 90 for limit 99; 0: none. */
int nvrtc_newest(const Nvrtc *n, int limit);

/* The code of one kernel. */
typedef struct KernelCode {
    const char *name;    /* for messages */
    int number;          /* NINC_KERNEL */
    char *options;       /* -DNAME=VALUE, one a line; malloc'ed */
    unsigned char *data; /* cubin or PTX, a NUL behind it, malloc'ed; NULL: to be made */
    size_t size;
    char *log;           /* the compiler's warnings where it was compiled now; or NULL */
    bool ready;          /* it came with the trainer */
} KernelCode;

/* Compiles the text once for each kernel that has no data, with its options and
 * -DNINC_KERNEL=number, as many at a time as there are processors. `target`: sm_86 gives cubins,
 * compute_80 PTX. A kernel that does not compile prints the log and the numbered source around the
 * first error. */
int nvrtc_compile(const Nvrtc *n, const char *text, const char *target, KernelCode *code,
                  int count);

/* ---- cubin_cache.c: code compiled before, in the trainer or in the cache, else by NVRTC ---- */

typedef struct CodeRequest {
    const char *text;
    const char *const *option; /* -DNAME=VALUE, of all kernels */
    int options;
    int architecture;          /* of the device: 86 */
    const char *target;        /* exactly this, sm_86 or sm_90a, whatever the device; or NULL */
    int most;                  /* newest CUDA major whose code the driver takes; 0: any */
    const NincCubin *ready;    /* ninc_cubins; or NULL */
} CodeRequest;

/* Finds or makes the code of each kernel, from name and number; `options` become those of the
 * request's that the kernel reads. NVRTC is opened only when a kernel is neither ready nor in the
 * cache. A device that NVRTC does not know gets PTX. */
int code_get(const CodeRequest *request, KernelCode *code, int count);
void code_free(KernelCode *code, int count);
/* sm_90a -> 90; 0: no such word. */
int target_architecture(const char *target);
/* Whether a cubin of sm_86 (runs on 8.6 and later 8.x) or sm_90a (on 9.0 alone) runs there. */
bool cubin_runs_on(const char *target, int architecture);

/* ---- cubin.c: resource usage of a kernel, read from its cubin (ELF) ---- */

typedef struct CubinUsage {
    int registers, local_bytes; /* a thread; local: spills and stack */
    int shared_bytes;           /* static, a block */
} CubinUsage;

/* -1 without a message when the bytes are no cubin that holds the kernel. */
int cubin_usage(const void *cubin, size_t size, const char *kernel, CubinUsage *out);

/* ---- sim_build.c: CUDA text to a library that simulates it ---- */

typedef struct SimCompiler {
    const char *command; /* "g++ -m64": as it was given */
    char **word;         /* of it; [0] may be an absolute path that was given relative */
    int words;
    char *program;       /* that path; or NULL */
    char version[256];   /* the first line of its --version */
} SimCompiler;

typedef struct SimProgram {
    const char *text;
    const char *const *option; /* -DNAME=VALUE */
    int option_count;
    const int *number; /* of the kernels: NINC_KERNEL */
    int numbers;
    bool checks; /* of plain accesses to memory */
} SimProgram;

typedef struct SimLibrary {
    char path[PATH_MAX + 256];
    char work[PATH_MAX]; /* directory of ours that it is in; empty: it is in the cache */
    int file;            /* 0, or what it is read through when that directory is gone */
} SimLibrary;

/* $CXX, c++ or g++: the first that runs; $CXX alone where it is set. */
int sim_compiler(SimCompiler *out);
void sim_compiler_free(SimCompiler *compiler);

/* Takes the library from the cache or compiles it. */
int sim_library(const SimCompiler *compiler, const SimProgram *program, SimLibrary *out);
/* Once it is loaded, or was not: removes the directory, so that nothing stays however the program
 * ends; `path` leads to the library all the same. */
void sim_library_loaded(SimLibrary *library);
void sim_library_close(SimLibrary *library);

#endif
