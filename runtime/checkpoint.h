/* Checkpoints: a directory step-00001000 holds model.safetensors, optimizer.safetensors and
 * state.json; `latest` and `best` are symbolic links to such directories, files with the name where
 * there are no links, and copies of them in a directory that was copied. One is written beside,
 * synced and renamed, so that what has the name is whole. */
#ifndef NINC_CHECKPOINT_H
#define NINC_CHECKPOINT_H

#include "runtime.h"

/* Sums over the images since they were cleared. Losses are floats times small counts: their sums
 * are exact in double as good as always, so they do not depend on where a run was stopped. */
typedef struct Sums {
    double loss, seconds;
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
    double lr;          /* of the run */
    double model_lr;    /* what the model had when it was written; NaN: not known */
    Sums logged, stall; /* since the last log line, since the last look for a stall */
    bool warned_stall;
    double best_accuracy; /* of the test images; < 0: not evaluated yet */
    int64_t best_step;    /* where that was */
    /* What the last bits depend on: NincTarget's precision, DeviceTable's arithmetic. Empty: not
     * known. */
    char precision[STATE_TEXT], instruction_set[STATE_TEXT];
} RunState;

/* ---- state.c ---- */

enum { CHECKPOINT_MODEL, CHECKPOINT_OPTIMIZER, CHECKPOINT_TENSOR_FILES };

/* Writes state.json; `crc` of the checkpoint's other files. */
int state_write(const char *path, const RunState *state, const NincModel *model,
                const uint32_t crc[CHECKPOINT_TENSOR_FILES]);
/* Reads it and checks its own sum. `model`: an error that names the difference when the checkpoint
 * is another model's; NULL: any model's. */
int state_read(const char *path, const NincModel *model, RunState *state,
               uint32_t crc[CHECKPOINT_TENSOR_FILES]);

/* ---- checkpoint.c ---- */

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

/* The writer of a run's checkpoints. */
typedef struct Checkpoints Checkpoints;

typedef struct CheckpointOptions {
    const char *directory;   /* made where it is missing */
    int keep;                /* newest that stay beside latest and best; 0: all */
    const RunState *resumed; /* where the run comes from, in this directory; NULL: not from here */
} CheckpointOptions;

/* Locks the directory, removes what killed writers left there, and makes links again of what they
 * became in copying. `copy`, with moments, is the
 * writer's until checkpoints_wait. NULL after a message. */
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

#endif
