/* What a compiled model is at run time: the types of the data in the emitted plan.c and of the
 * kernels in the emitted MODEL.c. Emitted text carries a copy of this header (and of
 * ir/tensor.h), so it includes nothing else of ours. */
#ifndef NINC_PLAN_H
#define NINC_PLAN_H

#include "tensor.h"

#include <stddef.h>

/* What a kernel is asked to do. */
typedef struct NincRange {
    int first_image; /* chunk kernels: index in the batch of the chunk's first image */
    int images;      /* chunk kernels: images in this chunk, at most NincProgram.chunk */
    int accumulate;  /* 0: weight gradients are stored; 1: added to what is there */
    int slice;       /* do part `slice` of `slices` parts, no two of which write the same bytes */
    int slices;
} NincRange;

/* arg[i] points at the i-th argument of the launch, already moved to the chunk and thread. */
typedef void NincKernelFn(void *const *arg, const NincRange *range);

typedef enum NincRegion {
    NINC_REGION_NONE,
    NINC_REGION_STATE,   /* parameters and moments: outlives the step */
    NINC_REGION_SHARED,  /* one: whole batches, weight gradients */
    NINC_REGION_CHUNK,   /* one: the images of one chunk */
    NINC_REGION_THREAD,  /* CPU: one for each thread: strips */
    NINC_REGION_PARTIAL, /* in shared: sums in parts, a copy for each slice or part of a split */
} NincRegion;

/* Address = start of region + offset + (shared: first_image * per_image)
 *         + (partial: part * per_partial). */
typedef struct NincArg {
    NincRegion region;
    int64_t offset, per_image, per_partial; /* bytes */
} NincArg;

/* One way to run a CUDA kernel (Schedule in ir/ir.h): the preferred one first. */
typedef struct NincSchedule {
    int tile_m, tile_n, tile_k, stages, split, threads, shared_bytes;
    int grid_x, grid_y; /* blocks; the grid's z is the split */
    int architecture;   /* least compute capability: 75, 80 */
} NincSchedule;

typedef struct NincLaunch {
    const char *name;  /* of the kernel */
    int kernel;        /* CPU: index in NincCpuLevel.kernel; CUDA: its NINC_KERNEL number */
    const NincArg *arg;
    int args;
    int slices;        /* CPU: the most parts that may run in parallel; GPU: 1 */
    bool coarse;       /* CPU: fewer, larger parts take less time: one a thread */
    const NincSchedule *schedule; /* CUDA */
    int schedules;
} NincLaunch;

/* A named scalar or per-image value that the host writes or reads. */
typedef struct NincPort {
    const char *name; /* image, label, valid, lr, step; loss, correct */
    Tensor tensor;
    NincArg at;
} NincPort;

typedef struct NincProgram {
    const char *name; /* train, eval */
    int batch, chunk;
    int64_t shared_bytes, chunk_bytes, thread_bytes;
    const NincLaunch *before, *chunked, *after;
    int befores, chunkeds, afters;
    const NincPort *input, *output;
    int inputs, outputs;
    bool keeps_before; /* the results of `before` stay valid until the state changes */
} NincProgram;

/* MATRIX: a weight that is [O, I*KH*KW] in files. */
typedef enum NincRole {
    NINC_ROLE_WEIGHT,
    NINC_ROLE_MATRIX,
    NINC_ROLE_BIAS,
    NINC_ROLE_MOMENT,
    NINC_ROLE_SCALE, /* weight and bias of a batch norm */
    NINC_ROLE_SHIFT,
    NINC_ROLE_MEAN, /* its running statistics */
    NINC_ROLE_VARIANCE,
    NINC_ROLE_BATCHES, /* how many batches are in them: [1], in files an I64 without extents */
    NINC_ROLE_AVERAGE, /* a parameter's exponential mean, which evaluations read instead of it */
    NINC_ROLE_CLASSES  /* what each class weighs in the loss: in no file */
} NincRole;

typedef struct NincStorage {
    const char *name; /* state_dict key; moments: PARAMETER.m, .v, .momentum; averages: .ema */
    const char *of;   /* moments, averages: the parameter */
    Tensor tensor;    /* logical OIHW or [O], and the physical form of the master copy */
    NincRole role;
    int fan_in, fan_out;
    int64_t offset; /* bytes from the start of the state region */
} NincStorage;

typedef enum NincInit {
    NINC_INIT_PYTORCH,
    NINC_INIT_XAVIER_UNIFORM,
    NINC_INIT_KAIMING_NORMAL,
    NINC_INIT_NORMAL,
} NincInit;

/* What programs are for. NINC_AMX: a CPU with tiles of bf16; only where maps are bf16, beside
 * NINC_CPU. */
typedef enum NincTargetKind { NINC_CPU, NINC_AMX, NINC_CUDA, NINC_TARGETS } NincTargetKind;

/* What the programs of a target take at some batch: bytes. */
typedef struct NincMemory {
    int batch;
    int64_t state, shared, chunk;    /* of both programs together */
    int64_t eval_shared, eval_chunk; /* of eval alone, with the same state */
} NincMemory;

/* The programs for one kind of device, and how they keep the storage. */
typedef struct NincTarget {
    const char *precision; /* fp32, tf32, bf16; NULL: not compiled for this target */
    int64_t state_bytes;
    const NincStorage *storage; /* the same names in the same order for every target */
    NincProgram train, eval;
    const NincMemory *smaller; /* CUDA: compiled for smaller batches, the largest first */
    int smallers;              /* down to batch 1; 0 where that is not known */
} NincTarget;

struct RateSchedule;
struct DataSettings;

/* The initialisation of a parameter that has one of its own. */
typedef struct NincOwnInit {
    int storage; /* its index */
    NincInit init;
    double std;
} NincOwnInit;

typedef struct NincModel {
    const char *name, *dataset;
    /* What decides the numbers of a run beside its flags, a line each: data, batch, optimizer,
     * layers, parameters. The same for every target, precision and optimisation level. */
    const char *recipe;
    int image_h, image_w, image_c, classes; /* of the u8 images of the data set, behind what `data`
                                               makes of them */
    int least_images; /* of a training step: 2 with batch norm of one value an image */
    double lr;
    int epochs, log_every, checkpoint_every;
    NincInit init;
    double init_std;
    const struct RateSchedule *schedule; /* of ir/rate.h; NULL: the rate stays as it is */
    const NincOwnInit *own_init; /* by index of storage; NULL: none */
    int own_inits;
    int early_stop; /* epochs in a row without a better test accuracy that end a run; 0: none do */
    const float *class_weight; /* in the loss, one a class; NULL: the model file has no list */
    bool balanced; /* it says that training images weigh them */
    int storages;
    NincTarget target[NINC_TARGETS];
    const struct DataSettings *data; /* of ir/images.h; NULL: nothing is said of the images */
    bool draws_alike; /* an epoch draws as many images as there are, of each class as likely */
} NincModel;

/* The kernels of both programs of a target compiled for one instruction set. */
typedef struct NincCpuLevel {
    const char *name; /* amx, avx512bf16, avx512, avx2, baseline, neon */
    NincTargetKind target; /* NINC_CPU or NINC_AMX */
    NincKernelFn *const *kernel;
} NincCpuLevel;

/* A CUDA kernel that was compiled before (ninc --cubin). `options` are those it was compiled with,
 * in order, one a line. */
typedef struct NincCubin {
    const char *kernel, *architecture; /* conv_0_0_forward, sm_86 */
    const char *options;
    const unsigned char *data;
    size_t size;
} NincCubin;

/* Defined by plan.c. */
extern const NincModel ninc_model;
/* Best first, NULL at the end; the last one runs on any CPU of the architecture, unless ninc was
 * told which to compile for. */
extern const NincCpuLevel *const ninc_cpu_levels[];
/* The final IR, the very text of MODEL.ir. */
extern const char ninc_ir_text[];
extern const size_t ninc_ir_length;
/* The text of MODEL.cu, NUL-terminated; empty without the CUDA target. */
extern const char ninc_cuda_text[];
extern const size_t ninc_cuda_length;
/* `kernel` NULL at the end. */
extern const NincCubin ninc_cubins[];

#endif
