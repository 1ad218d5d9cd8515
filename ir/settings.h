/* Optimizers and training settings, a line each: what a model file gives, the IR text prints and
 * reads back, the verifier checks, and a recipe compares. */
#ifndef NINC_SETTINGS_H
#define NINC_SETTINGS_H

#include "images.h"
#include "rate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IR_OPTIMIZERS(X)                                                                           \
    X(SGD, "sgd") X(ADAM, "adam") X(ADAMW, "adamw") X(RMSPROP, "rmsprop")

/* X(optimizer, setting, range, default, must be given, in the model file, example): the text has
 * them in this order, a FLAG as a word where it is set. Two settings of one name in the model file
 * are a pair there. */
#define IR_OPTIMIZER_SETTINGS(X)                                                                   \
    X(SGD, lr, RATE, 0, true, "lr", "lr: 0.01")                                                    \
    X(SGD, momentum, NUMBER, 0, false, "momentum", "momentum: 0.9")                                \
    X(SGD, weight_decay, NUMBER, 0, false, "weight_decay", "weight_decay: 0.0001")                 \
    X(SGD, nesterov, FLAG, 0, false, "nesterov", "nesterov: true")                                 \
    IR_ADAM_SETTINGS(X, ADAM, 0)                                                                   \
    IR_ADAM_SETTINGS(X, ADAMW, 0.01)                                                               \
    X(RMSPROP, lr, RATE, 0.01, false, "lr", "lr: 0.01")                                            \
    X(RMSPROP, alpha, FRACTION, 0.99, false, "alpha", "alpha: 0.99")                               \
    X(RMSPROP, eps, POSITIVE, 1e-8, false, "eps", "eps: 1.0e-8")                                   \
    X(RMSPROP, momentum, NUMBER, 0, false, "momentum", "momentum: 0.9")                            \
    X(RMSPROP, weight_decay, NUMBER, 0, false, "weight_decay", "weight_decay: 0.0001")

/* Adam, and what differs from it in the default of weight_decay */
#define IR_ADAM_SETTINGS(X, id, decay)                                                             \
    X(id, lr, RATE, 0.001, false, "lr", "lr: 0.001")                                               \
    X(id, beta1, FRACTION, 0.9, false, "betas", "betas: [0.9, 0.999]")                             \
    X(id, beta2, FRACTION, 0.999, false, "betas", "betas: [0.9, 0.999]")                           \
    X(id, eps, POSITIVE, 1e-8, false, "eps", "eps: 1.0e-8")                                        \
    X(id, weight_decay, NUMBER, decay, false, "weight_decay", "weight_decay: 0.0001")

/* X(name): storage PARAMETER.name beside a parameter; v is a mean of squares */
#define IR_MOMENTS(X) X("momentum") X("m") X("v") X(AVERAGE_NAME)

/* That of the exponential mean of the parameter itself, which is no optimizer's. */
#define AVERAGE_NAME "ema"

typedef enum OptimizerKind {
#define X(id, text) OPTIMIZER_##id,
    IR_OPTIMIZERS(X)
#undef X
        OPTIMIZER_COUNT
} OptimizerKind;

typedef struct Optimizer {
    OptimizerKind kind;
    double lr, momentum, weight_decay, nesterov, beta1, beta2, eps, alpha;
} Optimizer;

/* The same of schedules. `by_step` is unit: step in a model file, `accuracy` metric: accuracy; a
 * count of 0 stands for the whole run. */
#define IR_SCHEDULE_SETTINGS(X)                                                                    \
    X(STEP, step_size, COUNT, 0, true, "step_size", "step_size: 30")                               \
    X(STEP, gamma, RATE, 0.1, false, "gamma", "gamma: 0.1")                                        \
    IR_UNIT_SETTINGS(X, STEP)                                                                      \
    X(MULTI_STEP, gamma, RATE, 0.1, false, "gamma", "gamma: 0.1")                                  \
    IR_UNIT_SETTINGS(X, MULTI_STEP)                                                                \
    X(EXPONENTIAL, gamma, RATE, 0, true, "gamma", "gamma: 0.95")                                   \
    IR_UNIT_SETTINGS(X, EXPONENTIAL)                                                               \
    X(COSINE_ANNEALING, t_max, COUNT_OR_ALL, 0, false, "t_max", "t_max: 30")                       \
    X(COSINE_ANNEALING, eta_min, RATE, 0, false, "eta_min", "eta_min: 0.0001")                     \
    IR_UNIT_SETTINGS(X, COSINE_ANNEALING)                                                          \
    X(LINEAR, start_factor, SHARE, 0.3333333, false, "start_factor", "start_factor: 0.1")          \
    X(LINEAR, end_factor, PART, 1, false, "end_factor", "end_factor: 1.0")                         \
    X(LINEAR, total_iters, COUNT, 5, false, "total_iters", "total_iters: 5")                       \
    IR_UNIT_SETTINGS(X, LINEAR)                                                                    \
    X(POLY, power, RATE, 1, false, "power", "power: 1.0")                                          \
    X(POLY, total_iters, COUNT_OR_ALL, 0, false, "total_iters", "total_iters: 30")                 \
    IR_UNIT_SETTINGS(X, POLY)                                                                      \
    X(REDUCE_ON_PLATEAU, factor, FRACTION, 0.1, false, "factor", "factor: 0.1")                    \
    X(REDUCE_ON_PLATEAU, patience, WHOLE, 10, false, "patience", "patience: 10")                   \
    X(REDUCE_ON_PLATEAU, accuracy, FLAG, 0, false, "metric", "metric: loss")                       \
    IR_UNIT_SETTINGS(X, REDUCE_ON_PLATEAU)                                                         \
    X(ONE_CYCLE, max_lr, POSITIVE, 0, true, "max_lr", "max_lr: 0.1")                               \
    X(ONE_CYCLE, total_steps, COUNT_OR_ALL, 0, false, "total_steps", "total_steps: 5000")          \
    X(ONE_CYCLE, pct_start, PART, 0.3, false, "pct_start", "pct_start: 0.3")                       \
    X(ONE_CYCLE, div_factor, POSITIVE, 25, false, "div_factor", "div_factor: 25")                  \
    X(ONE_CYCLE, final_div_factor, POSITIVE, 10000, false, "final_div_factor",                     \
      "final_div_factor: 10000")

#define IR_UNIT_SETTINGS(X, id)                                                                    \
    X(id, by_step, FLAG, 0, false, "unit", "unit: epoch")                                          \
    X(id, warmup, WHOLE, 0, false, "warmup", "warmup: 500")

#define IR_INITS(X)                                                                                \
    X(PYTORCH, "pytorch") X(XAVIER_UNIFORM, "xavier_uniform") X(KAIMING_NORMAL, "kaiming_normal")  \
    X(NORMAL, "normal")

typedef enum InitKind {
#define X(id, text) INIT_##id,
    IR_INITS(X)
#undef X
        INIT_COUNT
} InitKind;

#define IR_SAMPLERS(X) X(SHUFFLE, "shuffle") X(BALANCED, "balanced")

/* Which training images an epoch has: each once, or as many, of each class as likely. */
typedef enum Sampler {
#define X(id, text) SAMPLER_##id,
    IR_SAMPLERS(X)
#undef X
        SAMPLER_COUNT
} Sampler;

/* X(setting, least in IR text, default, must be given, least and most in a model file, example) */
#define IR_TRAIN_SETTINGS(X)                                                                       \
    X(batch_size, 1, 0, true, 1, MAX_BATCH, "batch_size: 16")                                      \
    X(epochs, 0, 0, true, 1, 1000000, "epochs: 3")                                                 \
    X(log_every, 0, 100, false, 1, 1000000000, "log_every: 100")                                   \
    X(checkpoint_every, 0, 1000, false, 1, 1000000000, "checkpoint_every: 1000")

typedef struct TrainSettings {
#define X(setting, ...) int setting;
    IR_TRAIN_SETTINGS(X)
#undef X
    InitKind init;
    double init_std; /* normal */
    RateSchedule schedule;
    double clip_grad_norm; /* the most that the norm of all gradients may be; 0: any */
    double ema; /* an exponential mean of the parameters keeps so much a step; 0: there is none */
    int early_stop; /* epochs in a row without a better test accuracy that end a run; 0: none do */
    Sampler sampler;
} TrainSettings;

/* What each class weighs in the loss. */
typedef enum ClassWeighing { WEIGH_ALIKE, WEIGH_LIST, WEIGH_BALANCED } ClassWeighing;

/* BALANCED: images / (classes * images of the class), of the training images. */
typedef struct ClassWeights {
    ClassWeighing how;
    const double *weight; /* LIST: one a class, of the module's pool */
} ClassWeights;

/* The name of their storage. */
#define CLASS_WEIGHTS_NAME "class_weight"

/* ---- ir/settings.c ---- */

/* What a setting may be, as a float: RATE at least 0, FRACTION in [0, 1), POSITIVE above 0, FLAG 0
 * or 1, PART in [0, 1], SHARE above 0 and at most 1, WHOLE a number without fraction of at least 0,
 * COUNT of at least 1, or COUNT_OR_ALL 0, which no model file says. */
typedef enum SettingRange {
    RANGE_RATE,
    RANGE_NUMBER,
    RANGE_FRACTION,
    RANGE_POSITIVE,
    RANGE_FLAG,
    RANGE_PART,
    RANGE_SHARE,
    RANGE_WHOLE,
    RANGE_COUNT,
    RANGE_COUNT_OR_ALL
} SettingRange;

enum { LARGEST_COUNT = 1000000000 };

typedef struct Setting {
    int of; /* OptimizerKind or RateKind */
    const char *name, *key, *example; /* key: in the model file */
    SettingRange range;
    double standard;
    bool required;
    size_t at; /* in Optimizer or RateSchedule */
} Setting;

/* The i-th setting of an optimizer, or of a schedule; NULL past the last. */
typedef const Setting *SettingsOf(int kind, int i);
SettingsOf optimizer_setting, schedule_setting;
/* In what the setting is of. */
double *setting_value(void *of, const Setting *s);
double setting_of(const void *of, const Setting *s);
/* Without a fraction. */
bool setting_is_whole(const Setting *s);
/* The value is in the setting's range. */
bool setting_fits(const Setting *s, double value);
Optimizer optimizer_standard(OptimizerKind kind);
RateSchedule schedule_standard(RateKind kind);
/* The size [c, h, w] of an image becomes that behind the transform; a side of 0 is not known. NULL,
 * or what speaks against it, of `text`. */
const char *transform_size(const Transform *t, int size[3], char *text, size_t bytes);
/* Whether what the text and a plan say of the images is anything. */
bool data_settings_given(const DataSettings *d);
/* The i-th name that what is beside a parameter ends in; NULL past the last. */
const char *moment_name(int i);

/* ---- ir/rate.c ---- */

extern const char *const rate_names[RATE_KIND_COUNT];

/* A run, whole, as its schedule sees it. */
typedef struct RateRun {
    double base; /* the optimizer's lr */
    int64_t epochs, epoch_steps;
} RateRun;

/* What reduce_on_plateau has seen: the best value, NaN before the first; how many in a row were no
 * better; how often the rate was reduced. */
typedef struct Plateau {
    double best, bad, cuts;
} Plateau;

/* The rate of a step, from 1, after so many cuts of reduce_on_plateau. */
double rate_at(const RateSchedule *s, const RateRun *run, int64_t step, double cuts);
/* After an epoch, of the test images. */
void plateau_follow(const RateSchedule *s, Plateau *p, double loss, double accuracy);
/* Whether its units are steps. */
bool rate_is_by_step(const RateSchedule *s);
/* The setting that says that the schedule is longer or shorter than a run of so many units, and
 * what comes of it into `text`; NULL where it fits. */
const char *rate_misfit(const RateSchedule *s, int64_t units, char *text, size_t size);

#endif
