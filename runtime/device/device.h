/* The map of the devices: what runs the programs of the compiled model: the CPU, a CUDA GPU, or the
 * simulator of one. What a GPU takes beside stands in gpu.h. All functions that return int give 0,
 * or -1 after printing one line that says what failed and what to do. */
#ifndef NINC_DEVICE_H
#define NINC_DEVICE_H

#include "../../ir/numbers.h"
#include "../data/data.h"

#include <math.h>
#include <string.h>

/* One step: the images image[index[0..valid-1]] of the data set. */
typedef struct StepInput {
    const Dataset *data;
    const int32_t *index; /* valid numbers */
    int valid;            /* 1..program->batch */
    float lr;             /* training only */
    int step;             /* from 1; training only */
    int seed;             /* the run's, folded to 32 bits; training only */
    int epoch;            /* that are done; training only */
    float label_weight;   /* of models that weigh classes: label_weight() of class_weights.c */
    bool logits_only;     /* eval only: of the outputs none but the first `valid` logits is asked
                             for, which saves a CPU the rest of the batch */
} StepInput;

/* Sums since the last read_metrics. */
typedef struct Metrics {
    double loss, weight; /* sum over images of their losses times weights, of their weights: 1 each
                            where the model does not weigh classes */
    int64_t correct, images;
    bool all_logits_zero; /* of all those images; false without images */
} Metrics;

typedef struct DeviceOptions {
    int threads;               /* CPU; 0: what thread_limit says */
    const NincCpuLevel *level; /* CPU; NULL: what NINC_CPU_LEVEL says, or the best */
    int ordinal;               /* CUDA: which GPU, from 0 */
    bool verbose;              /* say what was tried */
    bool with_train;           /* false: only the eval program is needed, less memory */
    int images[2]; /* of the data sets that steps will use: a GPU that has no room for them does
                      not open */
} DeviceOptions;

/* How the processes of a run come to the same sums: by read and write of the device's table. */
typedef struct Exchange {
    int (*sums)(void *who); /* -1 after a message */
    void *who;
} Exchange;

enum { CPU_MOST_LEVELS = 16 };

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
    /* A step, in three calls, one behind the other; none of them need do its work before the last
     * one is made, but for an exchange, which finds the sums in memory.
     * run_chunks brings the inputs there and runs what is before the images and the images' part,
     * which leaves sums over them, some in parts (not gradients that are made of kept maps when all
     * images are there, KERNEL_DENSE_WGRAD: they are not exchanged, so that several processes need
     * programs without such kernels); reduce makes them those of all processes of the run (NULL:
     * there is one); run_after updates the state and adds to the metrics. Parts stay apart: those
     * who read them add them up in order, so that it does not matter who made them. */
    int (*run_chunks)(Device *d, const NincProgram *program, const StepInput *input);
    int (*reduce)(Device *d, const NincProgram *program, const Exchange *exchange);
    int (*run_after)(Device *d, const NincProgram *program);
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

typedef struct Team Team;

/* What a member does; number 0 is the caller of team_run. */
typedef void TeamWork(void *data, int number, Patience *patience);

typedef struct Shares Shares;

enum { PACE_STEPS = 7 }; /* that are measured each way */

typedef struct Pace {
    bool one_only;     /* there is no more than one processor's time to be had */
    double team_cost;  /* of a team's second, one thread's being 1 */
    int images;        /* of the steps that are measured */
    int teams, alones; /* that were measured in this trial */
    double team[PACE_STEPS], alone[PACE_STEPS];
    bool by_one;     /* what the trial came to */
    int64_t waiting; /* steps until the next trial; 0: it goes on */
} Pace;

/* ---- the devices, and what is asked of their programs ---- */

extern const DeviceTable ninc_cpu_device, ninc_cuda_device, ninc_sim_device;

/* sum / count; NaN of nothing. */
static inline double mean(double sum, double count)
{
    return count > 0 && !isnan(sum) ? sum / count : (double)NAN; /* never "-nan" */
}

/* A run's seed as a step has it. */
static inline int step_seed(uint64_t seed)
{
    return (int)(uint32_t)(seed ^ seed >> 32);
}

/* What the images of a step count together in the mean loss. */
static inline double step_weight(bool weighted, float label_weight, int valid)
{
    double weight = weighted ? (double)label_weight : valid;
    return isfinite(weight) ? weight : 0;
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

/* Ends the program where not all of the bytes lie in the state region. */
static inline void check_state_bytes(const NincTarget *t, int64_t offset, int64_t count)
{
    if (offset < 0 || count < 0 || offset + count > t->state_bytes)
        internal_error("bytes %lld to %lld of a state region of %lld", (long long)offset,
                       (long long)(offset + count), (long long)t->state_bytes);
}

/* A step of a run that has one process. */
static inline int device_step(const DeviceTable *table, Device *d, const NincProgram *program,
                              const StepInput *input)
{
    if (table->run_chunks(d, program, input) < 0 || table->reduce(d, program, NULL) < 0)
        return -1;
    return table->run_after(d, program);
}

/* ---- devices.c ---- */

/* auto, cpu, cuda, cuda:N, sim. `auto` gives the table NULL; false: no device's name. */
bool device_parse(const char *text, const DeviceTable **table, int *ordinal);
/* Opens the device of *table. Where that is NULL, a GPU or the CPU, and sets *table. Where there is
 * a GPU or its driver, and it cannot be used, a line says why; where there is none, what is said of
 * the device goes on with *note, " (no NVIDIA GPU found)", else empty. `note` may be NULL. NULL
 * after a message. */
Device *device_open(const NincModel *model, const DeviceTable **table,
                    const DeviceOptions *options, const char **note);
/* Whether an NVIDIA GPU stands in a directory like /sys/bus/pci/devices, with a driver or not. */
bool devices_on_bus(const char *bus);
/* Prints the devices that there are, each on a line, or why there is none of a kind. */
int devices_list(const NincModel *model, const DeviceOptions *options);

/* ---- cpu_level.c ---- */

/* Whether the CPU has AMX with bf16 and the system gives it to us. */
bool cpu_has_amx(void);
/* The instruction sets that the trainer was compiled for and this CPU has, the best first; how
 * many. */
int cpu_levels(const NincCpuLevel *out[CPU_MOST_LEVELS]);

/* ---- team.c ---- */

/* Threads that work together, beside the one that calls them. They belong to the process that made
 * them: in a child of fork() there are none of them. */

/* The caller and `threads` - 1 more, at most 1024 in all; thrifty: under a quota of processor time
 * (Patience). NULL, errno set: they cannot be had. */
Team *team_new(int threads, bool thrifty);
/* Also in a child of fork(). */
void team_free(Team *team);
/* Every member that comes while the caller is at work does the work as well; one that comes late
 * stays away, so nobody waits for it: what there is to do must be shared out as shares.c does.
 * Returns when nobody is at work any more. */
void team_run(Team *team, TeamWork *work, void *data);
/* The work by the caller alone. */
void team_run_alone(Team *team, TeamWork *work, void *data);

/* ---- shares.c ---- */

/* Which thread of a team does which slices of a step's launches.
 *
 * Where slices are parts of the images, slice s of S lies at about part s/S of them, in one launch
 * as in the next. So each thread has a share of neighbours, thread t of T those from S*t/T on: what
 * one launch leaves in a core's cache, the next one finds there. A thread that is through with its
 * share takes slices from the ends of others'.
 *
 * Takes 8 bytes a thread and launch. */

/* For at most `threads` of a team and steps of at most `launches`; NULL: no memory. */
Shares *shares_new(int threads, int64_t launches);
void shares_free(Shares *s);

/* Before a step of `launches` that `threads` share, by one thread. */
void shares_reset(Shares *s, int64_t launches, int threads);

/* What `thread` has to do next of launch number `launch` of the step, which has `slices`: a slice
 * that nobody else is given, or -1. */
int shares_take(Shares *s, int64_t launch, int thread, int slices);

/* Says that the thread has done so many slices, at least 1, of the launch's `slices`: what it wrote
 * is seen by those who waited for it. */
void shares_done(Shares *s, int64_t launch, int count, int slices);

/* Until all slices of the launch are done. */
void shares_wait(Shares *s, int64_t launch, int slices, Patience *patience);

/* ---- pace.c ---- */

/* Whether a step is done by a team or by one thread alone: of a network that is small enough, the
 * team takes longer. That is tried out, on steps that have to be done in any case. */

/* `quota`: CPUs of time in a second that all threads may take; 0: no limit. */
Pace pace_new(int threads, double quota);
/* Whether the next step, on so many images, is for one thread alone. */
bool pace_alone(Pace *p, int images);
/* Whether it is to be measured. */
bool pace_measures(const Pace *p);
/* What it took. */
void pace_took(Pace *p, double seconds);
/* Whether steps like the last ones are for one thread alone, as far as is known. */
bool pace_settled(const Pace *p);

#endif
