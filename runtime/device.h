/* A device runs the programs of the compiled model: the CPU, a CUDA GPU, or the simulator of one.
 * All functions return 0, or -1 after printing one line that says what failed and what to do. */
#ifndef NINC_DEVICE_H
#define NINC_DEVICE_H

#include "../ir/numbers.h"
#include "plan.h"

#include <math.h>
#include <string.h>

/* Labelled images, in host memory, as the files hold them. A GPU keeps a copy from the first step
 * that uses them on, so while the device is open they change only together with `edition`. */
typedef struct Dataset {
    uint8_t *image;  /* [count, h, w, c] */
    int32_t *label;  /* [count], 0..classes-1 */
    int count, h, w, c;
    int64_t edition; /* of the images; the labels stay */
} Dataset;

/* One step: the images image[index[0..valid-1]] of the data set. */
typedef struct StepInput {
    const Dataset *data;
    const int32_t *index; /* valid numbers */
    int valid;            /* 1..program->batch */
    float lr;             /* training only */
    int step;             /* from 1; training only */
    bool logits_only;     /* eval only: of the outputs none but the first `valid` logits is asked
                             for, which saves a CPU the rest of the batch */
} StepInput;

/* Sums since the last read_metrics. */
typedef struct Metrics {
    double loss;    /* sum over images */
    int64_t correct, images;
    bool all_logits_zero; /* of all those images; false without images */
} Metrics;

typedef struct DeviceOptions {
    int threads;       /* CPU; 0: what thread_limit says */
    int ordinal;       /* CUDA: which GPU, from 0 */
    bool verbose;      /* say what was tried */
    bool with_train;   /* false: only the eval program is needed, less memory */
    int images[2];     /* of the data sets that steps will use: a GPU that has no room for them
                          does not open */
} DeviceOptions;

typedef struct Device Device;

typedef struct DeviceTable {
    const char *name; /* cpu, cuda, sim */
    NincTargetKind target; /* NINC_CPU or NINC_CUDA */
    /* Whose programs it runs on this machine; NULL: the target's. */
    NincTargetKind (*programs)(void);
    Device *(*open)(const NincModel *model, const DeviceOptions *options); /* NULL on failure */
    void (*close)(Device *d);
    /* Before calls from another thread than the one that opened it or used it last. */
    int (*use)(Device *d);
    /* One line: kind, instruction set, threads. */
    const char *(*describe)(Device *d);
    /* What of it the last bits of a result depend on: of a CPU the instruction set, not the
     * threads; of a GPU all that is described. */
    const char *(*arithmetic)(Device *d);
    /* State region, physical bytes. */
    int (*write_state)(Device *d, int64_t offset, const void *bytes, int64_t count);
    int (*read_state)(Device *d, int64_t offset, void *bytes, int64_t count);
    int (*step)(Device *d, const NincProgram *program, const StepInput *input);
    int (*read_metrics)(Device *d, Metrics *out);
    /* For verify and profile: the memory (in the partial region copy `partial`), physical bytes,
     * and one launch on it. poison sets every byte of the program's memory to 0xFF, of the threads
     * that of the first. */
    int (*write)(Device *d, const NincArg *at, int partial, const void *bytes, int64_t count);
    int (*read)(Device *d, const NincArg *at, int partial, void *bytes, int64_t count);
    int (*poison)(Device *d, const NincProgram *program);
    int (*launch)(Device *d, const NincProgram *program, const NincLaunch *launch,
                  const NincRange *range, int partial);
    /* Copies of a value in the partial region that one run of `launch` leaves: its slices, or on a
     * GPU the split in use on this device. */
    int (*copies)(Device *d, const NincLaunch *launch);
    /* Seconds that `repeats` runs take together: of one launch over a whole step, or (launch NULL)
     * of the whole step on the inputs of the last one. */
    int (*time)(Device *d, const NincProgram *program, const NincLaunch *launch, int repeats,
                double *seconds);
    int64_t (*arena_bytes)(Device *d);
} DeviceTable;

extern const DeviceTable ninc_cpu_device, ninc_cuda_device, ninc_sim_device;

/* sum / count; NaN of nothing. */
static inline double mean(double sum, int64_t count)
{
    return count > 0 && !isnan(sum) ? sum / (double)count : (double)NAN; /* never "-nan" */
}

/* The input or output of a program by name; NULL where it has none. */
static inline const NincPort *find_port(const NincPort *port, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(port[i].name, name) == 0)
            return &port[i];
    return NULL;
}

/* The model's storage as the first target has it, for what is the same on all: names, logical
 * shapes, roles. */
static inline const NincStorage *model_storage(const NincModel *model)
{
    const NincTarget *cpu = &model->target[NINC_CPU];
    return cpu->storage ? cpu->storage : model->target[NINC_CUDA].storage;
}

static inline NincTargetKind device_programs(const DeviceTable *table)
{
    return table->programs ? table->programs() : table->target;
}

/* The programs of the model that the device runs. */
static inline const NincTarget *device_target(const NincModel *model, const DeviceTable *table)
{
    return &model->target[device_programs(table)];
}

#endif
