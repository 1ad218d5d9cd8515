/* Inside of the GPU device: what gpu.c (the table), gpu_open.c (kernels, memory) and gpu_step.c
 * (data sets, steps) share and take from gpu_launch.c and gpu_plan.c.
 *
 * All of a model's device memory is one arena: state, what the programs share and their scratch,
 * the index of a step's images, the sums of metrics. Data sets lie beside it. */
#ifndef NINC_GPU_DEVICE_H
#define NINC_GPU_DEVICE_H

#include "../../ir/ir.h"
#include "gpu.h"

/* ALIGNMENT: bytes, of every part of device memory. SPAN: bytes, at least, that a slot carries. */
enum { ALIGNMENT = 256, SLOTS = 64, SPAN = 4096, DATA_SETS = 4, PROGRAMS = 2, STREAMS = 2 };

/* The kernels that every CUDA text has behind those of its programs. */
enum { GATHER_BATCH, ADD_METRICS, OWN_KERNELS };

/* What add_metrics adds to; the emitted text has the same type. */
typedef struct Sums {
    double loss, weight;
    int64_t correct, images;
    int32_t all_logits_zero;
} Sums;

/* Graphs of a step: all of it, or what comes before an exchange, and what comes after one. */
typedef enum StepPart { STEP_WHOLE, STEP_CHUNKS, STEP_AFTER, STEP_PARTS } StepPart;

/* A data set on the device, or where the device has no room for it the images of one step after the
 * other, and the step of each program on it. */
typedef struct Resident {
    const uint8_t *image; /* on the host: which data set it is */
    const int32_t *label;
    int count;
    int64_t edition, bytes;
    GpuAddress at, labels; /* on the device */
    bool streamed;         /* there lie the images of one step, those of all such data sets */
    void *graph[PROGRAMS][STEP_PARTS]; /* NULL: not captured yet */
} Resident;

struct Device {
    const GpuDriver *driver;
    const NincModel *model;
    const NincTarget *target;
    GpuMachine *machine;
    GpuLimits limits;
    GpuKernel *kernel; /* those of train, those of eval, our own */
    int kernels, train_kernels;
    bool with_train;
    GpuAddress *arg; /* of one launch */
    GpuAddress state, shared, scratch, index, sums;
    int64_t arena_bytes, data_bytes;
    char *slots;
    int64_t slot_bytes;
    int next_slot;
    Resident data[DATA_SETS];
    GpuAddress stage;     /* of a step's images and labels, for data sets that have no room; or 0 */
    char *stream;         /* pinned: STREAMS parts of that, behind the slots */
    int64_t stream_bytes; /* of one */
    int next_stream;
    int32_t *places; /* 0, 1, ...: where a step's images lie there */
    int next_data;         /* the one to be replaced */
    void *last[PROGRAMS];  /* graph of the last whole step; NULL: none yet */
    const NincProgram *begun; /* of a step between its calls; NULL: none is */
    Resident *begun_on;       /* its data set */
    bool exchanged;           /* its chunks were run */
    char description[256];
};

static inline double megabytes(int64_t bytes)
{
    return (double)bytes / 1e6;
}

/* Bytes of the arena's parts, in order. */
typedef struct Parts {
    int64_t state, shared, scratch, index, sums;
} Parts;

/* ---- gpu_plan.c ---- */

int launches_of(const NincProgram *p);
/* In execution order. */
const NincLaunch *launch_at(const NincProgram *p, int i);
/* What the target's programs take at their own batch. */
NincMemory memory_of(const NincTarget *target);
Parts parts_of(const NincMemory *m, bool with_train);
/* Bytes of all parts. */
int64_t arena_of(const NincMemory *m, bool with_train);
/* Of so many images alone, and with their labels as they lie in device memory. */
int64_t image_bytes(const NincModel *model, int images);
int64_t dataset_bytes(const NincModel *model, int images);
/* Of the images of one step of any program, and their labels, as they lie there. */
int64_t stage_bytes(const Device *d);
/* What to do where the programs, or they and the images of a step, do not fit beside the data sets:
 * names the largest batch of the plan with which they do. */
const char *batch_advice(const Device *d, bool images, char *out, size_t size);

/* ---- gpu_launch.c ---- */

/* 0: train, 1: eval. Another program is a fault of ours. */
int program_number(const Device *d, const NincProgram *program);
GpuAddress address_of(const Device *d, const NincArg *at, int partial);
/* To and from the device's memory, after all that was launched. */
int put(Device *d, GpuAddress to, const void *from, int64_t bytes);
int get(Device *d, void *to, GpuAddress from, int64_t bytes);
int reset_metrics(Device *d);
const GpuKernel *kernel_of(const Device *d, const NincLaunch *launch);
/* Fills d->arg and the grid: x and y from the schedule, z the parts of the reduction. */
const GpuKernel *bind_launch(Device *d, const NincLaunch *launch, int partial, int grid[3]);
/* One kernel in stream order, writing from copy `partial` on. */
int launch_part(Device *d, const NincLaunch *launch, int partial);

/* ---- gpu_open.c ---- */

void gpu_close(Device *d);

/* ---- gpu_step.c ---- */

/* The graphs of all steps on a data set. */
void free_graphs(Device *d, Resident *r);
/* Room for a step's images; -1 after a message. */
int open_stream(Device *d);
int gpu_run_chunks(Device *d, const NincProgram *program, const StepInput *input);
int gpu_reduce(Device *d, const NincProgram *program, const Exchange *exchange);
int gpu_run_after(Device *d, const NincProgram *program);

#endif
