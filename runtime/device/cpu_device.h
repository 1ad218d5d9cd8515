/* Inside of the CPU as a device: what cpu.c (the table), cpu_level.c (instruction sets) and
 * cpu_step.c share. */
#ifndef NINC_CPU_DEVICE_H
#define NINC_CPU_DEVICE_H

#include "../../ir/ir.h"
#include "device.h"

/* A step between its calls. */
typedef struct Begun {
    const NincProgram *program; /* NULL: none */
    int valid, images;          /* that count; that are computed */
    bool logits_only;
    bool alone;    /* by one thread */
    bool measured; /* it is worth knowing what it takes */
    bool chunks;   /* done already */
    double seconds;
} Begun;

struct Device {
    const NincModel *model;
    const NincTarget *target;
    const NincCpuLevel *level;
    int threads;
    void *map;
    size_t map_bytes;
    char *state, *shared, *chunk, *thread; /* thread 0; the others follow, thread_stride apart */
    int64_t thread_stride, arena_bytes;
    void **args; /* args_each pointers a thread */
    int args_each;
    Team *team;
    Pace train_pace, eval_pace;
    Shares *shares;          /* of the longest step */
    const NincProgram *kept; /* keeps_before, and its results are there: of this state; or NULL */
    Begun begun;
    Metrics metrics;
    char description[128];
};

/* ---- cpu_level.c ---- */

/* The level to run, NULL where this CPU or the trainer has none such. */
const NincCpuLevel *cpu_level(void);
/* Says why there is no level. */
void cpu_explain_level(void);

/* ---- cpu_step.c ---- */

/* Where a value lies for a thread and the first image of a chunk. */
void *cpu_address(const Device *d, const NincArg *at, int thread, int first_image);
/* Launches of a step, those of every chunk counted. */
int64_t cpu_launches(const NincProgram *p);
void cpu_run_slice(const Device *d, const NincLaunch *launch, const NincRange *range, int thread);
int cpu_run_chunks(Device *d, const NincProgram *program, const StepInput *input);
int cpu_reduce(Device *d, const NincProgram *program, const Exchange *exchange);
int cpu_run_after(Device *d, const NincProgram *program);
int cpu_time(Device *d, const NincProgram *program, const NincLaunch *launch, int repeats,
             double *seconds);

#endif
