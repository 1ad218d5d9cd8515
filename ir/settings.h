/* Optimizers and training settings, a line each: what a model file gives, the IR text prints and
 * reads back, the verifier checks, and a recipe compares. */
#ifndef NINC_SETTINGS_H
#define NINC_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

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

/* X(name): storage PARAMETER.name of an optimizer; v is a mean of squares */
#define IR_MOMENTS(X) X("momentum") X("m") X("v")

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

#define IR_INITS(X)                                                                                \
    X(PYTORCH, "pytorch") X(XAVIER_UNIFORM, "xavier_uniform") X(KAIMING_NORMAL, "kaiming_normal")  \
    X(NORMAL, "normal")

typedef enum InitKind {
#define X(id, text) INIT_##id,
    IR_INITS(X)
#undef X
        INIT_COUNT
} InitKind;

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
} TrainSettings;

/* ---- ir/settings.c ---- */

/* What a setting may be, as a float: RATE at least 0, FRACTION in [0, 1), POSITIVE above 0, FLAG 0
 * or 1. */
typedef enum SettingRange {
    RANGE_RATE,
    RANGE_NUMBER,
    RANGE_FRACTION,
    RANGE_POSITIVE,
    RANGE_FLAG
} SettingRange;

typedef struct Setting {
    OptimizerKind of;
    const char *name, *key, *example; /* key: in the model file */
    SettingRange range;
    double standard;
    bool required;
    size_t at; /* in Optimizer */
} Setting;

/* The i-th setting of an optimizer; NULL past the last. */
const Setting *optimizer_setting(OptimizerKind kind, int i);
double *setting_value(Optimizer *o, const Setting *s);
double setting_of(const Optimizer *o, const Setting *s);
/* The value is in the setting's range. */
bool setting_fits(const Setting *s, double value);
Optimizer optimizer_standard(OptimizerKind kind);
/* The i-th name that moments of any optimizer end in; NULL past the last. */
const char *moment_name(int i);

#endif
