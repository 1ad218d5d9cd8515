/* The map of training: parameters, the steps of a run, what it keeps (checkpoints) and what it
 * tells (logs, progress, evaluations). What the files of a run share stands in run.h, what those of
 * checkpoints share in checkpoint_files.h. Functions that return int give 0, or -1 after a
 * message. */
#ifndef NINC_TRAIN_H
#define NINC_TRAIN_H

#include "../../ir/ir.h"
#include "../device/device.h"

/* Parameters in host memory: value[i] is model->storage[i] in logical order (OIHW or [O]), NULL
 * for moments unless they were asked for. */
typedef struct Weights {
    const NincModel *model;
    float **value;
    int *average, *parameter; /* by storage: which has its average, of which it is one; or -1 */
    const ClassNames *names;  /* that go into a file of them; NULL: none do */
} Weights;

/* A graph of the plan's IR, the program that it became, and where that runs. */
typedef struct Values {
    const Graph *graph;
    const NincProgram *program;
    const DeviceTable *table;
    Device *device;
    int images; /* rows of every per-image value */
} Values;

/* What a run shows of its parameters and gradients. */
typedef struct Watch Watch;

/* Of more classes no matrix is kept: it would have 128 MB. */
enum { CONFUSION_CLASSES = 4096 };

/* What the model makes of a data set. */
typedef struct Evaluation {
    Metrics metrics;
    int classes;
    /* [true class, predicted class] images; the first of equal logits counts. NULL where that
     * was not asked for, the classes are too many, or the eval program returns no logits, which a
     * model written as IR need not. */
    int64_t *confusion;
} Evaluation;

/* What an evaluation goes over, and whether classes are told apart: for that the host waits for the
 * logits of each batch, which a GPU need not do for loss and accuracy. */
typedef struct EvaluationTask {
    const Dataset *data;
    const volatile sig_atomic_t *stop; /* NULL, or: ends early at a signal's number */
    bool confusion;
    const float *class_weight; /* class_weights'; NULL: the model has none */
    void (*follow)(void *who, int images); /* after each batch, with how many are done; NULL */
    /* Its images' logits [valid, classes], where the eval program returns them; NULL: not asked. */
    void (*rows)(void *who, const StepInput *input, const float *logits);
    void *who;
} EvaluationTask;

/* What a log line tells: means over the images since the last line. */
typedef struct LogEntry {
    int64_t step; /* from 1 */
    int epoch;    /* training: from 0, the current one; test: those that are done */
    int epochs;   /* of the run */
    bool quiet;   /* for the files alone */
    bool validation; /* not of test images */
    double loss, accuracy, lr, images_per_second; /* the last two: training only */
} LogEntry;

/* A file with a line an entry. */
typedef struct LogFile {
    FILE *file; /* NULL: none */
    const char *path;
    bool csv; /* else JSON lines */
} LogFile;

typedef struct Log {
    LogFile json, csv;
    Tensorboard *board; /* NULL: none */
    bool bar;           /* draw a progress bar on stdout */
    bool drawn;         /* the bar stands on the terminal's last line */
    bool mute, unheard; /* nothing can be written to standard output, to standard error */
    /* Not 0: the run stops and saves, though nobody reads standard output any more: Ctrl-C ends
     * what it is piped to as well. NULL: never. */
    const volatile sig_atomic_t *stop;
} Log;

typedef struct LogOptions {
    const char *json, *csv, *tensorboard; /* files, a directory; NULL: none */
    bool bar;
} LogOptions;

/* How far the logs of a resumed run hold: no line of a later step, and of this one neither the
 * training line of an interval that went on, nor an evaluation that is made again. */
typedef struct LogCut {
    int64_t step;
    bool train, eval; /* drop such lines of `step` itself */
    bool evaluated;   /* an evaluation after `step` stays, so of TensorBoard's events all do, which
                         can only be dropped for whole steps */
} LogCut;

typedef struct Progress {
    int64_t epoch_step, epoch_steps; /* done in this epoch; that it will have */
    int epoch, epochs;               /* from 0; of the run */
    double loss, accuracy, images_per_second;
    double seconds; /* left, of the run */
    bool testing;   /* steps are test images, the time is theirs; there is no loss yet */
    bool validating; /* they are validation images */
} Progress;

enum { PROGRESS_LINE = 1024 }; /* bytes */

/* Sums over the images since they were cleared. Losses are floats times small counts: their sums
 * are exact in double as good as always, so they do not depend on where a run was stopped. */
typedef struct Sums {
    double loss, weight, seconds; /* loss: times the weights of the images' classes, if any */
    int64_t correct, images;
} Sums;

enum { STATE_TEXT = 256 };

/* What a run is beside its parameters and moments: enough to go on with the same bits. The order of
 * an epoch's images follows from seed and epoch. */
typedef struct RunState {
    int64_t step; /* done */
    int epoch;    /* done, their evaluation too */
    int images;   /* done of the next epoch; all of them: it was not evaluated yet */
    int epochs, training_images;
    uint64_t seed;
    bool shuffle, random_data;
    uint32_t data_crc;  /* of training images and labels */
    double lr;          /* of the run, before its schedule */
    double used_lr;     /* of the last step; NaN: not known */
    Plateau plateau;    /* all NaN where the schedule is another */
    double model_lr;    /* what the model had when it was written; NaN: not known */
    Sums logged, stall; /* since the last log line, since the last look for a stall */
    bool warned_stall;
    double best_accuracy; /* of the images that evaluations go over; < 0: not evaluated yet */
    int64_t best_step;    /* where that was */
    /* What the last bits depend on: NincTarget's precision, DeviceTable's arithmetic. Empty: not
     * known. */
    char precision[STATE_TEXT], instruction_set[STATE_TEXT];
} RunState;

enum { CHECKPOINT_MODEL, CHECKPOINT_OPTIMIZER, CHECKPOINT_TENSOR_FILES };

/* The writer of a run's checkpoints. */
typedef struct Checkpoints Checkpoints;

typedef struct CheckpointOptions {
    const char *directory;   /* made where it is missing */
    int keep;                /* newest that stay beside latest and best; 0: all */
    const RunState *resumed; /* where the run comes from, in this directory; NULL: not from here */
} CheckpointOptions;

typedef struct TrainOptions {
    const char *data, *init, *init_partial, *save, *save_best, *checkpoint_dir, *resume;
    const char *log, *csv, *tensorboard;
    const char *command; /* "trainer train FLAGS", to go on with by --resume; NULL: not known */
    /* Of the commands that go on with the parameters: "trainer", its flags; NULL: not known. */
    const char *program, *shared;
    DeviceOptions device;
    int epochs;         /* -1: the model's */
    int64_t max_steps;  /* -1: no limit */
    uint64_t seed;
    bool seed_given;                 /* false: a checkpoint's own goes first */
    double lr;                       /* < 0: the model's */
    int checkpoint_every, log_every; /* -1: the model's */
    int keep;                        /* newest checkpoints that stay; 0: all */
    bool no_shuffle, no_eval, no_progress;
    bool skip_bad; /* images that cannot be decoded are left out */
    bool no_save; /* the parameters go nowhere where `save` does not say so */
} TrainOptions;

/* ---- module.c: the IR that the plan carries ---- */

/* Parsed and verified; a fault is ours. */
Module *plan_module(Pool *pool);
/* The graph `train` or `eval` of these programs. */
const Graph *plan_graph(const Module *m, NincTargetKind programs, const char *name);

/* ---- weights.c ---- */

/* All zero; NULL after an error line. An average has the values that its parameter got from
 * weights_init or a file of parameters; such a file is written of the averages. */
Weights *weights_new(const NincModel *model);
/* The optimizer's moments too. */
Weights *weights_new_with_moments(const NincModel *model);
void weights_free(Weights *w);
/* Packs what there is into the device's state region and zeroes the rest. */
int weights_to_device(const Weights *w, const DeviceTable *table, Device *device);
int weights_from_device(Weights *w, const DeviceTable *table, Device *device);
/* An error that names the first tensor with a number that is not finite, and the step that left it:
 * nothing may be saved. */
int weights_check_finite(const Weights *w, int64_t step);
/* What the parameters' role, fan and the model's `init` say; one Philox stream a storage. Moments
 * stay as they are. */
void weights_init(Weights *w, uint64_t seed);

/* A file whose tensors are exactly the model's parameters, under their state_dict names. */
int safetensors_read(const char *path, Weights *w);
int safetensors_write(const char *path, const Weights *w);
/* One that another program may have written (tensors_read_foreign). */
int safetensors_read_foreign(const char *path, Weights *w);
/* Takes the parameters that fit, and prints of each tensor whether it was taken, kept its value, or
 * is in the file only. */
int safetensors_read_partial(const char *path, Weights *w);
/* The same for the moments, PARAMETER.m and so on, of weights that have them. */
int moments_read(const char *path, Weights *w);
int moments_write(const char *path, const Weights *w);

/* ---- weights_file.c ---- */

/* Parameters as a user names them for --weights and --init: a safetensors file of any program
 * (safetensors_read_foreign), or a directory of checkpoints, of which the newest whole one is taken
 * after a notice, or one checkpoint. */
int weights_read(const char *path, Weights *w);
/* The same, and the names of the classes that the file has (class_names_kept). */
int weights_read_named(const char *path, Weights *w, ClassNames *names);
/* The same as weights_read for --init-partial (safetensors_read_partial). */
int weights_read_partial(const char *path, Weights *w);

/* ---- values.c ---- */

/* The values of the IR as they lie on a device: for those who look into a program, `verify` and the
 * gradients' histograms. Values are doubles in logical order (maps NHWC, filters OIHW). */

/* Parameters, moments and their updates: they lie in the state region. */
bool is_stored(const Node *n);
/* The launch of a kernel in a program. */
const NincLaunch *find_launch(const NincProgram *p, const Kernel *k);
/* The nearest bf16 number (ties to even); x is not NaN. */
float bf16_rounded(float x);
/* Copies of a value that its readers add up: parts of a sum over images; else 1. */
int values_copies(const Values *v, const Node *n);
/* Writes copy `copy` of the value, with zeros in halo and padding. */
int values_write(const Values *v, const Node *n, int copy, const double *value);
/* The value, its copies added up in order; returns how many halo and padding elements are not
 * zero, or -1. */
int64_t values_read(const Values *v, const Node *n, double *value);
/* The same for storage, which the graph need not read. */
int values_write_storage(const Values *v, const Storage *s, const double *value);
int64_t values_read_storage(const Values *v, const Storage *s, double *value);

/* ---- gradients.c ---- */

/* The parameter's gradient in the graph of a training step, where it still lies in memory after the
 * step (values_read): without weight decay, a mean over the valid images. NULL where the loss does
 * not depend on the parameter, or the gradient has no place of its own. */
const Node *gradient_of(const Graph *g, const Storage *s);

/* ---- watch.c ---- */

/* For the device's training program. */
Watch *watch_open(const NincModel *model, const DeviceTable *table, Device *device);
/* w may be NULL. */
void watch_close(Watch *w);
/* Right after a training step: histograms of each parameter and each gradient. */
int watch_histograms(const Watch *w, Tensorboard *board, int64_t step);
/* Right after a training step: the first tensor with a number that is not finite, first of the
 * parameters, then of the gradients, both in forward order, into `text`; says so where there is
 * none. */
int watch_find_bad(const Watch *w, char *text, size_t size);

/* ---- normalize.c ---- */

/* Marks what the training images say of how images are normalized as not known. */
void normalize_forget(Weights *w);
/* Finds out of the training images what was not read from a file since; `programs`: of whose IR.
 * The same on any number of threads (0: as many as are well). -1 after a message. */
int normalize_by(Weights *w, const Dataset *train, NincTargetKind programs, int threads);

/* ---- class_weights.c ---- */

/* What each of the model's classes weighs in the loss, as its file says or the training images
 * (`train`) have them, after a notice of those that have none; the caller frees it. NULL where the
 * model does not weigh them. */
float *class_weights(const NincModel *model, const Dataset *train);
/* A notice of the classes that no training image is of. */
void note_empty_classes(const NincModel *model, const Dataset *train);
/* Before weights_to_device; class_weight may be NULL. */
void weights_set_classes(Weights *w, const float *class_weight);
/* Of the images of a step together: infinite where they weigh nothing, so that neither loss nor
 * gradient come of them; 0 without weights. */
float label_weight(const float *class_weight, const StepInput *input);

/* ---- order.c ---- */

/* The training images of an epoch, from 0, of a run with that seed: train->count numbers. */
void order_epoch(const NincModel *model, const Dataset *train, uint64_t seed, int epoch,
                 int32_t *order);

/* ---- evaluate.c ---- */

/* Runs the eval program over all images, or until the task's `stop`, with what there is so far.
 * After 0, evaluation_free frees it. */
int evaluate_set(const NincModel *model, const DeviceTable *table, Device *device,
                 const EvaluationTask *task, Evaluation *out);
void evaluation_free(Evaluation *e);
/* Whether the eval program returns logits. */
bool has_logits(const NincModel *model, const DeviceTable *table);
/* Those of its last step into out[batch, classes]. */
int read_logits(const NincModel *model, const DeviceTable *table, Device *device, float *out);

/* ---- log.c ---- */

/* New files; with `cut` those of an earlier run are cut and gone on in, a torn last line goes too.
 * The CSV file has the columns event,step,epoch,loss,accuracy,lr,images_per_second (RFC 4180). */
int log_open(Log *log, const LogOptions *options, const LogCut *cut);
/* To standard output and all files, flushed. -1 where one fails: that is told, it is not written
 * again, and the others are. */
int log_train(Log *log, const LogEntry *entry);
/* `evaluation` may be NULL; its confusion matrix becomes a picture for TensorBoard. */
int log_eval(Log *log, const LogEntry *entry, const Evaluation *evaluation);
/* The same of what was printed between. */
int log_check(Log *log);
/* Prints to standard output, or to standard error where nothing can be written there any more. */
void log_say(Log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* After a failure that was told: no more of TensorBoard's events are written. */
void log_drop_board(Log *log);
int log_close(Log *log);

/* ---- progress.c ---- */

/* The bar's line of less than `columns` columns: what does not fit is left out, the least important
 * first. Returns its width. */
int progress_line(const Progress *progress, int columns, bool unicode, char out[PROGRESS_LINE]);
/* Draws it as wide as the terminal is now. */
void log_progress(Log *log, const Progress *progress);
/* Takes the bar off the terminal before other text is printed. */
void log_clear(Log *log);

/* ---- state.c ---- */

/* Writes state.json; `crc` of the checkpoint's other files. */
int state_write(const char *path, const RunState *state, const NincModel *model,
                const uint32_t crc[CHECKPOINT_TENSOR_FILES]);
/* The seed of the run whose checkpoint has the file; left as it is where none is beside it. */
int state_seed(const char *file, uint64_t *seed);
/* Reads it and checks its own sum. `model`: an error that names the difference when the checkpoint
 * is another model's; NULL: any model's. */
int state_read(const char *path, const NincModel *model, RunState *state,
               uint32_t crc[CHECKPOINT_TENSOR_FILES]);

/* ---- checkpoint_find.c, checkpoint.c ---- */

/* Checkpoints: a directory step-00001000 holds model.safetensors, optimizer.safetensors and
 * state.json; `latest` and `best` are symbolic links to such directories, files with the name where
 * there are no links, and copies of them in a directory that was copied. One is written beside,
 * synced and renamed, so that what has the name is whole. */

/* Which checkpoint `path` means: a step directory, or the one that its `latest` names; where that
 * is missing or damaged the newest whole one, after a notice, and where it is a copy that too.
 * *directory: where it goes on. The caller frees both. */
int checkpoint_find(const char *path, char **step_directory, char **directory);
/* The file of the parameters, after a notice: in the directory of a checkpoint, in the checkpoint
 * that a run would go on from in a directory of them, in that which `latest` or `best` names. NULL
 * where `path` is no such thing but a file. The caller frees it. */
int checkpoint_parameters(const char *path, char **file);
/* Reads a step directory; `w` has moments. */
int checkpoint_load(const char *step_directory, RunState *state, Weights *w);

/* Locks the directory, removes what killed writers left there, and makes links again of what they
 * became in copying. `copy`, with moments, is the writer's until checkpoints_wait. NULL after a
 * message. */
Checkpoints *checkpoints_open(const CheckpointOptions *options, Weights *copy);
/* Waits for the checkpoint before, copies the state and writes it in a thread. `best` too will
 * name it when state->best_step is its step. The first one of a run that went back from `latest`
 * sets the steps that it left behind aside, and says so. */
int checkpoints_write(Checkpoints *c, const RunState *state, const DeviceTable *table,
                      Device *device);
/* Whether what was written so far is well; says nothing. */
int checkpoints_check(const Checkpoints *c);
/* The same, once all is written; a failure of the thread is told here, once, as the thread's own
 * message would come in the middle of a line. */
int checkpoints_wait(Checkpoints *c);
void checkpoints_close(Checkpoints *c);

/* ---- train.c ---- */

/* Trains, on the best device that opens (device_open) where the table is NULL; returns the exit
 * status (128 + the signal's number after one that asked for an end). */
int train(const NincModel *model, const DeviceTable *table, const TrainOptions *options);

#endif
