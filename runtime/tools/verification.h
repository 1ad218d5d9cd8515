/* Inside of verify: what its files share. Functions that return int give 0, or -1 after a
 * message. */
#ifndef NINC_VERIFICATION_H
#define NINC_VERIFICATION_H

#include "../device/gpu.h"
#include "tools.h"

/* Spreads that an error may be. A rounding errs by a relative d of at most u. Were all of one sign,
 * a sum would err by u times the magnitudes of its partial sums (Higham, Accuracy and Stability of
 * Numerical Algorithms, 2nd ed., 4.2); of independent signs, by more than k u times the root of the
 * sum of their squares with a probability below 2 exp(-k^2 / 2) (Higham & Mary, SIAM Journal on
 * Scientific Computing 41(5), 2019): 7e-4 for k = 4, and roundings have less than a third of the
 * variance that this allows. Two rounded factors and a rounded result are 3 u at most, which is
 * below the bounds of bf16 (5 u) and tf32 (4 u). What is rounded once and counts at many pixels has
 * a term of its own (ir/eval_spread.c). */
enum { DEFAULT_IMAGES = 2, STEP = 3, SEED = -5, EPOCH = 2, SPREADS = 4 };

/* The rate of a whole step, as the device sees it. */
#define LEARNING_RATE ((double)0.01f)
#define LABEL_WEIGHT 1.75f /* of the images of a step together, where classes are weighed */

/* Errors, relative by norm, of one kernel, and of a whole step's loss and state. */
typedef struct Bounds {
    const char *precision;
    double kernel, loss, state;
} Bounds;

/* What one instruction set came to, in memory that the processes of apart.c share. */
typedef struct Tally {
    int checked, failed;
    double worst;
    char of[96];  /* what had that error */
    bool running; /* a kernel of it: where the process is lost, it was that one */
} Tally;

/* What is compared: a device or, with --levels, the CPU with one instruction set. */
typedef struct Subject {
    const NincCpuLevel *level; /* NULL: the device as it opens */
    Device *device;
    Tally *tally; /* NULL: each check is told */
} Subject;

typedef struct Verify {
    const NincModel *model;
    const NincTarget *target;
    Bounds bounds;
    const DeviceTable *table;
    const DeviceOptions *options;
    Subject subject[CPU_MOST_LEVELS]; /* with the same programs */
    int subjects;
    const char *note; /* of device_open */
    bool full;
    const char *only; /* the one item that is checked; NULL: all */
    uint64_t seed;
    Random random;
    ApartState *state;
    size_t described; /* bytes of state->doing that name the item */
} Verify;

/* What one kernel is run on. */
typedef struct Trial {
    Values values; /* of the first subject */
    const Kernel *kernel;
    Eval *eval;
    Eval *spread;  /* NULL until an error asks for it */
    bool extremes; /* zeros, denormals and large numbers instead of sensible ones */
} Trial;

/* One that is checked: a kernel of a program, or (NULL) all of them as a whole step. */
typedef struct Item {
    const Graph *graph;
    const NincProgram *program;
    const Kernel *kernel;
} Item;

typedef struct ItemList {
    Item *item;
    int count;
    int first; /* number of the first one among those of all programs */
} ItemList;

typedef struct Check {
    const char *graph, *what, *of; /* train, conv_0_0_forward, conv2d */
    double error;
    bool ok;
} Check;

/* ---- verify_report.c ---- */

Bounds verify_bounds(const char *precision);
/* The values of a graph as they lie with another subject. */
Values verify_values(const Values *at, const Subject *s);
/* What the device is doing is that subject's part: where the process is lost, it was that one. */
void verify_running(Verify *v, const Subject *s, bool running);
/* Counts a check and tells it, or notes it where each instruction set has a line in the end. */
void verify_report(Verify *v, const Subject *s, const Check *check);

/* ---- verify_items.c ---- */

/* The kernels of both programs, then their whole steps. The caller frees list.item. */
ItemList verify_list(const NincTarget *target, NincTargetKind programs, const Module *m);
/* Whether it is to be checked; a line that names it. */
bool verify_wants(const Verify *v, const Item *item);
void verify_describe(const Item *item, char *out, size_t size);
/* Checks those that are wanted from the one behind v->state->item on. */
int verify_items(Verify *v, const ItemList *list);
/* The end of an output: how many of all checks are within bounds; an error where --kernel names
 * none. */
int verify_summary(const Verify *v);
/* apart_run, or in this process where there is one item, so that a debugger sees it. */
int verify_run(const Verify *v, int (*work)(void *context, ApartState *state), void *context);

/* ---- verify_levels.c ---- */

/* Whether --levels says which instruction sets there are: into `out`; -1 after a message. */
int verify_find_levels(const char *levels, const NincCpuLevel *out[CPU_MOST_LEVELS]);
/* Compares them all, a kernel at a time; returns the exit status. */
int verify_levels(const Verify *v, const NincCpuLevel *const *level, int levels);

/* ---- verify_kernel.c ---- */

int verify_kernel(Verify *v, const Item *item);

/* ---- verify_data.c ---- */

/* A parameter at a scale that keeps activations near 1; a moment small, Adam's v not negative. */
double storage_value(const Module *m, const Storage *s, Random *r);
/* `count` values that the kernel may meet at n, which it reads. */
void fill_value(Verify *v, const Trial *t, const Node *n, int64_t count, double *out);
/* Whether extremes stay what they are: no sums over many of them. */
bool takes_extremes(const Kernel *k);

/* ---- verify_error.c ---- */

/* The difference of two arrays and the length of the second. */
typedef struct Distance {
    double difference, norm; /* roots of the sums of squares */
} Distance;

Distance distance_of(const double *got, const double *want, int64_t count);
/* 0 / 0 is 0. */
double relative(double difference, double norm);
/* ||got - want|| / ||want||; NaN when got has one. Integers: infinite unless equal. Where that is
 * more than the bound, against the spread of want instead. */
double kernel_error(const Verify *v, Trial *t, const Node *n, const double *got);
/* Squares of spreads of what the kernel reads; then, once all its nodes are evaluated, of them. */
Eval *spread_kernel(const Verify *v, const Trial *t);
void spread_nodes(const Trial *t);
/* Squares of spreads of a whole graph that was evaluated. */
Eval *spread_graph(const Verify *v, Eval *e);
/* SPREADS times the root of the sum of the squares of the value's spread. */
double spread_norm(Eval *spread, const Node *n);

/* ---- verify_step.c ---- */

/* A whole step of the graph's program, on the first images of the data: loss, gradients, state. */
int verify_step(Verify *v, const Graph *g, const NincProgram *p, const Dataset *data);

#endif
