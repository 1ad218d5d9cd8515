/* Schedules of the learning rate: those of torch.optim.lr_scheduler. This header is a leaf, which
 * the compiler, the runtime and an emitted plan with a schedule include; what a schedule's settings
 * are called and may be stands in settings.h, what they do in rate.c. */
#ifndef NINC_RATE_H
#define NINC_RATE_H

#define RATE_KINDS(X)                                                                              \
    X(CONSTANT, "constant") X(STEP, "step") X(MULTI_STEP, "multi_step")                            \
    X(EXPONENTIAL, "exponential") X(COSINE_ANNEALING, "cosine_annealing") X(LINEAR, "linear")      \
    X(POLY, "poly") X(REDUCE_ON_PLATEAU, "reduce_on_plateau") X(ONE_CYCLE, "one_cycle")

typedef enum RateKind {
#define X(id, text) RATE_##id,
    RATE_KINDS(X)
#undef X
        RATE_KIND_COUNT
} RateKind;

enum { MAX_MILESTONES = 64 };

/* A unit is an epoch or, where by_step is 1, a step. Counts are of units, but warmup of steps; 0
 * where the whole run is meant. */
typedef struct RateSchedule {
    RateKind kind;
    double by_step, warmup;
    double step_size, gamma, t_max, eta_min, start_factor, end_factor, total_iters, power;
    double factor, patience, accuracy; /* accuracy: 1; 0: the loss is followed */
    double max_lr, total_steps, pct_start, div_factor, final_div_factor;
    int milestone[MAX_MILESTONES], milestones; /* ascending */
} RateSchedule;

#endif
