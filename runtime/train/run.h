/* A training run, which four files share: train.c goes through its steps, train_setup.c says where
 * it starts and opens what it needs, train_watch.c follows how it goes, train_result.c keeps what
 * comes of it. Functions that return int give 0, or -1 after a message. */
#ifndef NINC_RUN_H
#define NINC_RUN_H

#include "train.h"

enum { STALL_STEPS = 500 };

typedef struct Run {
    const NincModel *model;
    const DeviceTable *table;
    const TrainOptions *options;
    Device *device;
    const char *device_note; /* of device_open */
    /* With moments where there are checkpoints; elsewhere NULL while the device has them. */
    Weights *weights;
    Dataset train, test; /* test: what evaluations go over */
    ClassNames names;    /* of the data set, for files of parameters */
    bool validates;      /* these are no test images: the run never sees those */
    float *class_weight; /* class_weights' */
    int32_t *order; /* of the training images in this epoch */
    int ordered;    /* the epoch that it is of; -1: none yet */
    Log log;
    RunState state;
    Sums shown;          /* since the last drawing of the bar */
    double collected_at; /* seconds; when the device's metrics were last read */
    double started_at, shown_at, evaluating_at;
    int64_t first_step, saved_step; /* done at the start, in the newest checkpoint */
    int64_t steps;                  /* of the whole run */
    int log_every, checkpoint_every;
    int64_t show_every; /* a multiple of log_every: steps between lines on standard output */
    Checkpoints *checkpoints; /* NULL: none are written */
    char *resumed_from, *checkpoint_directory;
    double resumed_lr; /* the rate of the checkpoint that it comes from */
    double tested_loss, tested_accuracy; /* of the last evaluation */
    bool failed;       /* an output failed, and was told: the run ends, and saves first */
    char *save;        /* where the parameters go; NULL: nowhere */
    bool saved, save_is_default;
    Weights *best;     /* room for those that --save-best writes; NULL: none are */
    bool best_saved;   /* they were written, if not by this run */
    Lock save_lock, best_lock, json_lock, csv_lock;
    bool unlearnable;                     /* random labels */
    Watch *watch;                         /* NULL: not opened */
    int64_t collected_step, watched_step; /* whose metrics were read, whose histograms written */
    int64_t zero_images;                  /* the last images in a row whose logits were all zero */
} Run;

/* ---- train_setup.c ---- */

/* Opens data, device, checkpoints and logs of a run that has model, table and options alone; prints
 * the line that says what is trained on what. */
int run_set_up(Run *r);
/* Frees what the set-up, whole or not, has opened; the log is closed before (log_close). */
void run_tear_down(Run *r);

/* ---- order.c ---- */

/* Makes `order` that of the epoch that is now. */
void run_order_epoch(Run *r);
/* A flag that the model's sampler cannot be followed with. */
int run_check_order(const Run *r);

/* ---- rate.c ---- */

/* The learning rate of a step, from 1: the run's, as the model's schedule has it there. */
double run_rate(const Run *r, int64_t step);
/* Makes of what a checkpoint had of reduce_on_plateau, if it had, what the model's schedule goes on
 * with. */
void run_start_plateau(Run *r);
/* After an epoch and its evaluation. */
void run_follow_plateau(Run *r);
/* Flags that the schedule cannot be followed with; notices where it is not as long as the run. */
int run_check_schedule(const Run *r);

/* ---- train_watch.c ---- */

/* After a message: what failed (status < 0) is no fault of the training, which ends with what it
 * has. */
void run_fail(Run *r, int status);
/* Takes the device's sums into those of the run. A loss that is not finite ends the run: -1. */
int run_collect(Run *r);
/* Writes a log line of the images since the last one, if there are any, and shows it where that is
 * due, or it is the last of the run. The sums stay, as the last
 * line of a run may stand in the middle of an interval, with which a resumed run goes on. */
int run_log_interval(Run *r, bool last);
/* At the start of a resumed run: the line that the run before could not write everywhere. */
int run_catch_up(Run *r);
/* Warns, once, where the last STALL_STEPS steps were no better than chance; called after these. */
void run_check_stall(Run *r);
/* Ends training on a loss that is not finite (`loss` says which), and saves nothing more: always
 * -1. */
int run_stop_diverged(Run *r, const char *loss);
/* Draws the progress bar where it is due. */
int run_show_progress(Run *r);
/* The same while the test images are gone through, of which `images` are done; `run` is a Run. */
void run_show_evaluation(void *run, int images);
/* Histograms of the step that was just done, whose gradients the next program overwrites. */
void run_write_histograms(Run *r);

/* ---- train_result.c ---- */

/* Whether checkpoints are written. */
bool run_has_checkpoints(const Run *r);
bool is_random(const char *data);
/* Before anything is read: finds out where the parameters go, and that no other run writes there.
 * Without --save, --no-save and checkpoints that is MODEL.safetensors, or the first MODEL-N that is
 * nobody's. */
int run_claim_save(Run *r);
/* The same of --save-best. */
int run_claim_best(Run *r);
/* Writes the parameters there; nothing where a default name waits and no step was done. Where that
 * place, or the only checkpoints, cannot be written they go elsewhere; it is -1 all the same. */
int run_save(Run *r);
/* Where --save-best says so: writes the parameters, whose accuracy is the best so far. */
int run_save_best(Run *r);
/* The last lines: what came of it, and the commands to go on with. */
void run_say_done(Run *r, double seconds);
void run_say_stop(Run *r);

#endif
