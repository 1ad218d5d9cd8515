/* The map of the trainer's commands and of its command line. What the files of `verify` share
 * stands in verification.h, what those of the command line share in flags.h. Where a table is NULL
 * the best device that opens is taken (device_open). Functions that return int give 0, or -1 after
 * a message. */
#ifndef NINC_TOOLS_H
#define NINC_TOOLS_H

#include "../train/train.h"

enum { EXIT_FAULT = 1, EXIT_USAGE = 2 };

/* One bit each. */
typedef enum Command {
    COMMAND_TRAIN = 1,
    COMMAND_EVAL = 2,
    COMMAND_VERIFY = 4,
    COMMAND_PROFILE = 8,
    COMMAND_INFO = 16,
    COMMAND_PREDICT = 32,
    COMMAND_EXPORT = 64,
    COMMAND_PREVIEW = 128,
    COMMAND_ANY = 255,
} Command;

/* What the flags of all commands say. */
typedef struct Options {
    Command command;
    const DeviceTable *table; /* NULL: the best that opens */
    TrainOptions train;       /* what commands share stands here: data, device, seed */
    const char *weights, *json, *classes, *heatmap, *onnx, *kernel, *levels;
    const char *mistakes, *confusion, *out;
    int repeats, top, map_class, count, epoch;
    bool full, list, eval, invert, preprocessing;
    Split split;
    char *const *argument; /* what is no flag, for commands that take such */
    int arguments;
    /* For a shell: the command line but for what a checkpoint stands for, the program, and the
     * flags that go on with eval and predict. */
    Text line, program, shared;
    Text help; /* "trainer COMMAND --help", for a shell */
} Options;

typedef enum OptionsResult { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG } OptionsResult;

typedef struct EvalOptions {
    const char *data, *weights;
    const char *classes, *json, *csv;  /* files; NULL: none */
    const char *mistakes, *confusion; /* PNG files; NULL: none */
    DeviceOptions device;
    uint64_t seed; /* of --data random, and of which training images validate */
    bool seed_given; /* false: where the weights are a checkpoint's, its run's goes first */
    Split split;
    bool skip_bad;   /* images that cannot be decoded are left out */
} EvalOptions;

/* What the model makes of one image. */
typedef struct EvalRow {
    int image, label, predicted;  /* its number in the set; classes */
    double probability, of_label; /* of `predicted`, of `label` */
} EvalRow;

typedef struct EvalRows {
    EvalRow *row;
    int count, classes;
    double *probability; /* [classes] of the image at hand */
} EvalRows;

/* Of one class; a ratio without images is NaN. */
typedef struct ClassScore {
    double precision; /* part of the images taken for it that are of it */
    double recall;    /* part of its images that are taken for it */
    double f1;        /* harmonic mean of both */
    int64_t images, predicted;
} ClassScore;

typedef struct PredictOptions {
    const char *data, *weights;
    const char *classes, *json, *csv; /* files; NULL: none */
    const char *heatmap;        /* PNG file of a class map over the only image; NULL: none */
    int map_class;              /* which; -1: the most probable */
    char *const *image;         /* as image_list takes them */
    int images;
    int top;     /* classes an image that are told */
    bool invert; /* the images are negatives of the data set's */
    DeviceOptions device;
} PredictOptions;

/* What the global average pooling of a network averages: one map a class. */
typedef struct ClassMaps {
    int h, w, classes;
    double *value; /* [h, w, classes] */
} ClassMaps;

/* Ceilings of a device, FLOP/s and bytes/s; 0: not known, or it cannot do that. */
typedef struct Peak {
    double fma;  /* fp32 multiply-add */
    double dot;  /* bf16 dot product */
    double tile; /* bf16 products of tiles: AMX */
    double copy; /* memory, bytes read plus bytes written */
} Peak;

typedef struct ProfileOptions {
    DeviceOptions device;
    uint64_t seed;
    int repeats;      /* measurements, of which the median counts; 0: as many as are usual */
    bool eval;        /* the forward pass alone, not a training step */
    const char *json; /* NULL: none */
} ProfileOptions;

typedef struct VerifyOptions {
    DeviceOptions device;
    uint64_t seed;
    bool full, list;
    const char *kernel; /* the only one that is checked, or train_step, eval_step; NULL: all */
    const char *levels; /* instruction sets of the CPU, "all" or "avx512,avx2"; NULL: the device */
} VerifyOptions;

typedef struct ExportOptions {
    const char *weights, *onnx; /* what is read, what is written */
    bool preprocessing;         /* the model takes the data set's u8 images */
} ExportOptions;

typedef struct PreviewOptions {
    const char *data, *out; /* out: a PNG file */
    const char *classes;    /* a file; NULL: none */
    DeviceOptions device;
    uint64_t seed;
    int count, epoch; /* images; the epoch, from 1 */
    bool no_shuffle;
} PreviewOptions;

/* ---- options.c: the command line, one line a flag ---- */

/* Reads the whole command line into *o. OPTIONS_DONE: it asked for help or the version,
 * which was printed; OPTIONS_WRONG: after a message; exit with EXIT_USAGE. */
OptionsResult options_parse(Options *o, int argc, char **argv);
void options_free(Options *o);

/* ---- advice.c ---- */

/* What a flag that the command has not (without its dashes), or a command that there is not, was
 * meant to be: the end of a message. NULL: not known. */
const char *flag_advice(const char *flag, Command command);
/* The same of a word that is nearly known. */
const char *near_flag_advice(const char *flag, Command command);
const char *command_advice(const char *word);

/* ---- eval.c ---- */

/* Prints what the model makes of the test images, class by class; returns the exit status. */
int evaluate(const NincModel *model, const DeviceTable *table, const EvalOptions *options);

/* ---- preview.c ---- */

/* Draws training images as the network gets them; returns the exit status. */
int preview(const NincModel *model, const DeviceTable *table, const PreviewOptions *options);

/* ---- eval_rows.c: image by image ---- */

/* For `images` of a set. */
int eval_rows_new(EvalRows *rows, int images, int classes);
void eval_rows_free(EvalRows *rows);
/* An EvaluationTask's `rows`; `who` is an EvalRows. */
void eval_rows_take(void *who, const StepInput *input, const float *logits);
/* A line an image, with its file or its number, from 0; `path` may be "-", standard output. */
int eval_rows_csv(const EvalRows *rows, const Dataset *data, const ClassNames *names,
                  const char *path);
/* The images whose class had the least probability, with their class and what they are taken for;
 * no picture, after a notice, where none is mistaken. */
int eval_rows_mistakes(const EvalRows *rows, const Dataset *data, const ClassNames *names,
                       const char *path);

/* ---- report.c ---- */

ClassScore class_score(const Evaluation *e, int class);
/* The plain mean over the classes that images are of or are taken for; a ratio without images
 * counts as 0, as in scikit-learn's macro average. */
ClassScore macro_score(const Evaluation *e);
/* Prints an evaluation of the split's images; of more classes than a matrix of TABLE_COLUMNS has
 * the pairs that are confused most. */
int report_print(const Evaluation *e, const ClassNames *names, Split split);
/* Writes all of it as JSON, with where it comes from, to options->json, which may be "-", standard
 * output. Classes and confusion are null without logits. */
int report_json(const Evaluation *e, const ClassNames *names, const EvalOptions *options);
/* The confusion as a picture; -1 also where there is none. */
int report_picture(const Evaluation *e, const char *path);

/* ---- predict.c, with predict.h ---- */

/* The probabilities of the classes, of their logits. */
void softmax(const float *logit, int classes, double *out);
/* Prints the most probable classes of each image, scaled to the model's input; returns the exit
 * status: 1 also where one of several images could not be read. */
int predict(const NincModel *model, const DeviceTable *table, const PredictOptions *options);

/* ---- heatmap.c: class maps (Lin, Chen, Yan, arXiv 1312.4400, section 4.6) ---- */

/* The maps of one image [h, w, c] of the data set's size, by the naive evaluator; an error where
 * the logits are no averages of maps. The caller frees out->value. */
int class_maps(const Graph *eval, const Weights *weights, const uint8_t *pixel,
               ClassMaps *out);
/* The map of a class over the image, both enlarged so that the longer side has at least 256
 * pixels. What speaks for the class is red to yellow, the largest value; the image is gray. */
int heatmap_draw(const ClassMaps *maps, int class, const Image *image, Image *out);

/* ---- peak.c ---- */

/* Measures the CPU on `threads` threads, its tiles where they are asked for; takes about half a
 * second. */
Peak cpu_peak(int threads, bool tiles);

/* ---- profile.c ---- */

/* Prints the time of each kernel beside what the device can do, and that of a whole step; returns
 * the exit status. */
int profile(const NincModel *model, const DeviceTable *table, const ProfileOptions *options);

/* ---- verify.c ---- */

/* Compares every kernel with the naive evaluator, also those behind one that fails and takes the
 * process along; `list` prints their names only. Returns the exit status. */
int verify(const NincModel *model, const DeviceTable *table, const VerifyOptions *options);

/* ---- export.c ---- */

/* Writes the forward pass with these parameters as an ONNX model; needs no device. Returns the exit
 * status. */
int export_model(const NincModel *model, const ExportOptions *options);

/* ---- info.c ---- */

/* Prints the model, its parameters, its memory plan (table NULL: of every target) and the devices;
 * returns the exit status. */
int info(const NincModel *model, const DeviceTable *table, const DeviceOptions *options);

#endif
