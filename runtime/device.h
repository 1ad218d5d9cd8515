/* A device runs the programs of the compiled model. CPU now; CUDA and its simulator stand behind
 * the same table. All functions return 0, or -1 after printing one line that says what failed and
 * what to do. */
#ifndef NINC_DEVICE_H
#define NINC_DEVICE_H

#include "plan.h"

/* Labelled images, in host memory, as the files hold them. */
typedef struct Dataset {
    uint8_t *image;  /* [count, h, w, c] */
    int32_t *label;  /* [count], 0..classes-1 */
    int count, h, w, c;
} Dataset;

/* One step: the images image[index[0..valid-1]] of the data set. */
typedef struct StepInput {
    const Dataset *data;
    const int32_t *index; /* valid numbers */
    int valid;            /* 1..program->batch */
    float lr;             /* training only */
    int step;             /* from 1; training only */
} StepInput;

/* Sums since the last device_read_metrics. */
typedef struct Metrics {
    double loss;    /* sum over images */
    int64_t correct, images;
    bool all_logits_zero;
} Metrics;

typedef struct DeviceOptions {
    int threads;       /* 0: one a processor */
    bool with_train;   /* false: only the eval program is needed, less memory */
} DeviceOptions;

typedef struct Device Device;

typedef struct DeviceTable {
    const char *name; /* cpu */
    Device *(*open)(const NincModel *model, const DeviceOptions *options); /* NULL on failure */
    void (*close)(Device *d);
    /* One line: kind, instruction set, threads. */
    const char *(*describe)(Device *d);
    /* State region, physical bytes. */
    int (*write_state)(Device *d, int64_t offset, const void *bytes, int64_t count);
    int (*read_state)(Device *d, int64_t offset, void *bytes, int64_t count);
    int (*step)(Device *d, const NincProgram *program, const StepInput *input);
    int (*read_metrics)(Device *d, Metrics *out);
    /* For verify and profile: the memory of worker 0, and one launch on it. */
    void *(*address)(Device *d, NincArg at, int first_image, int partial);
    int (*launch)(Device *d, const NincProgram *program, const NincLaunch *launch,
                  const NincRange *range, int partial);
    int64_t (*arena_bytes)(Device *d);
} DeviceTable;

extern const DeviceTable ninc_cpu_device;

#endif
