/* What the CUDA device (gpu.c: arena, programs, data set, metrics, steps as graphs) needs of a
 * machine that runs CUDA kernels. Two machines fill the table: cuda.c, the driver API and NVRTC by
 * dlopen, and sim.c, the simulator. So all of gpu.c runs in every test, without a GPU.
 *
 * Functions that return int give 0, or -1 after printing one line that names the call, the error
 * and what to do. */
#ifndef NINC_GPU_H
#define NINC_GPU_H

#include "device.h"

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

typedef struct GpuDriver {
    const char *name; /* cuda, sim */
    GpuMachine *(*open)(int ordinal, GpuLimits *limits); /* NULL on failure */
    void (*close)(GpuMachine *m);
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
    /* Pinned host memory of `slots` parts, and a copy from one part in stream order; before a part
     * is written again, slot_wait waits until its last copy is done. */
    void *(*slots_alloc)(GpuMachine *m, int slots, int64_t bytes);
    int (*slot_wait)(GpuMachine *m, int slot);
    int (*slot_send)(GpuMachine *m, int slot, GpuAddress to, int64_t bytes);
    int (*wait)(GpuMachine *m); /* for all that was launched */
    /* Seconds that `repeats` launches of kernel take together, by the device's own clock. */
    int (*time)(GpuMachine *m, const GpuKernel *kernel, const int grid[3], const GpuAddress *arg,
                int args, int repeats, double *seconds);
} GpuDriver;

extern const GpuDriver gpu_cuda_driver, gpu_sim_driver;

/* ---- specialise.c: from a plan to what fits a device ---- */

/* The first of the launch's schedules that fits the limits; NULL when none does. */
const NincSchedule *schedule_for(const NincLaunch *launch, const GpuLimits *limits);
/* How many parts of the reduction to run: at most schedule->split, and no more than fill the
 * device's processors `rounds` times over. */
int split_for(const NincSchedule *schedule, const GpuLimits *limits);
/* Limits by compute capability, for compiling ahead: shared memory of a block; processors 0. */
GpuLimits limits_of_architecture(int architecture);
/* Definitions of the schedule macros of all kernels, sorted by name: -DCONV_2_0_FORWARD_TILE_M=128.
 * The caller frees each and the array. */
char **schedule_options(const GpuKernel *kernel, int count, int *option_count);

/* ---- nvrtc.c: NVRTC by dlopen, and the cache of cubins ---- */

typedef struct Nvrtc Nvrtc;

/* NULL after a line that says where was looked and how to get NVRTC. */
Nvrtc *nvrtc_open(void);
void nvrtc_close(Nvrtc *n);
/* Whether NVRTC knows the architecture; *newest is the newest that it knows. */
bool nvrtc_knows(const Nvrtc *n, int architecture, int *newest);

typedef struct NvrtcJob {
    const char *name;               /* of the kernel, for messages */
    int number;                     /* NINC_KERNEL */
    unsigned char *data;            /* out: cubin or PTX (NUL-terminated), malloc'ed */
    size_t size;
    char *log;                      /* out: the compiler's warnings, malloc'ed; or NULL */
} NvrtcJob;

/* Compiles the text once a job with the options and -DNINC_KERNEL=number, `threads` at a time.
 * `architecture`: sm_86 gives a cubin, compute_80 PTX. A kernel that does not compile prints the
 * log and the numbered source around it. */
int nvrtc_compile(const Nvrtc *n, const char *text, const char *architecture,
                  const char *const *options, int option_count, NvrtcJob *job, int jobs,
                  int threads);

/* ---- cubin.c: resource usage of a kernel, read from its cubin (ELF) ---- */

typedef struct CubinUsage {
    int registers, shared_bytes, local_bytes; /* local: spills and stack, a thread */
} CubinUsage;

/* -1 without a message when the bytes are no cubin that holds the kernel. */
int cubin_usage(const void *cubin, size_t size, const char *kernel, CubinUsage *out);

/* ---- sim_build.c: CUDA text to a library that simulates it ---- */

typedef struct SimCompiler {
    char command[256], version[256]; /* "g++", the first line of its --version */
} SimCompiler;

/* $CXX, c++ or g++: the first that runs; $CXX alone where it is set. */
int sim_compiler(SimCompiler *out);

typedef struct SimProgram {
    const char *text;
    const char *const *option; /* -DNAME=VALUE */
    int option_count;
    const int *number; /* of the kernels: NINC_KERNEL */
    int numbers;
    bool checks; /* of plain accesses to memory */
} SimProgram;

typedef struct SimLibrary {
    char path[4352];
    bool temporary; /* not in the cache: to be removed after use */
} SimLibrary;

/* Takes the library from the cache or compiles it. */
int sim_library(const SimCompiler *compiler, const SimProgram *program, SimLibrary *out);

#endif
