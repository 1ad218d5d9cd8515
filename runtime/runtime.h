/* The map of the runtime: what every trainer links. The emitted plan.c is data; all that happens
 * in a training run is here. Functions that return int give 0, or -1 after printing one line that
 * names the file or setting at fault and says what to do. */
#ifndef NINC_RUNTIME_H
#define NINC_RUNTIME_H

#include "device.h"

#include <signal.h>
#include <stdio.h>

/* What people read as a table has lines of at most so many columns. */
enum { TABLE_COLUMNS = 80 };

/* ---- fault.c ---- */

/* The word that messages begin with. */
extern const char *fault_program;
/* Prints "trainer: error: ..." to stderr; always -1. */
int fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Where the messages of a thread go. */
typedef struct Messages {
    char *text; /* the first error is kept there and none is printed; NULL: they are printed */
    size_t size;
    bool silent; /* nothing else is printed either */
} Messages;

/* From now on the first error of this thread is kept in `text` and none is printed; NULL: they are
 * printed again. Returns what held before. */
Messages fault_hold(char *text, size_t size);
/* The same, and notices and details are dropped. */
Messages fault_silence(char *text, size_t size);
void fault_release(Messages before);
/* Prints "trainer: ..." to stderr. */
void notice(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints to stderr what belongs to the message before. */
void detail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Copies at most size-1 bytes of `text`, control characters as '?', for use in messages. */
const char *printable(const char *text, char *out, size_t size);

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

/* ---- random.c: Philox4x32-10 (Salmon et al., SC 2011) ---- */

void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A stream of random numbers: the key is the seed, the upper half of the counter the stream. */
typedef struct Random {
    uint32_t key[2], counter[4], block[4];
    int used; /* of block */
} Random;

/* Each purpose has its own streams; the number is added to these. */
#define STREAM_INIT ((uint64_t)1 << 32)   /* + index of the storage */
#define STREAM_EPOCH ((uint64_t)2 << 32)  /* + epoch */
#define STREAM_DATA ((uint64_t)3 << 32)   /* + 0 training, 1 test images */
#define STREAM_VERIFY ((uint64_t)4 << 32) /* + 1 + place of what is checked */

Random random_stream(uint64_t seed, uint64_t stream);
uint32_t random_u32(Random *r);
/* Uniform in 0..n-1 without bias (Lemire's method), n > 0. */
uint32_t random_below(Random *r, uint32_t n);
/* Uniform in [-1, 1), in steps of 2^-23. */
float random_symmetric(Random *r);
/* Standard normal (Box-Muller). */
double random_normal(Random *r);
/* A permutation of 0..count-1 (Fisher-Yates). */
void random_permutation(Random *r, int32_t *order, int count);

/* ---- files.c ---- */

/* A file that is written beside its place and renamed when it is whole; a symbolic link stays, and
 * what it names is replaced or made. */
typedef struct OutFile {
    FILE *file;
    char *path, *temporary; /* temporary NULL: path is a device or pipe, written in place */
} OutFile;

/* Whether `path` can be written at all: its directory exists and lets us. */
int outfile_check(const char *path);
int outfile_open(OutFile *out, const char *path);
/* Flushes to the disk and renames. On failure nothing is left behind. */
int outfile_commit(OutFile *out);
void outfile_abandon(OutFile *out);
/* The directory that holds `path`, and a copy of a text; the caller frees them. */
char *directory_of(const char *path);
char *copy_text(const char *text);
/* "DIRECTORY/NAME"; the caller frees it. */
char *join_path(const char *directory, const char *name);
/* Makes the directory and those that it lies in; `what` it is, for the message. */
int make_directories(const char *path, const char *what);
/* What was renamed in the directory is on the disk. */
void directory_sync(const char *directory);
/* Through the symbolic links that the last part of a path may be, to a file that need not exist
 * yet. NULL, with errno: the links go in a circle. The caller frees it. */
char *resolve_links(const char *path);
/* Opens on /dev/null what is closed of standard input, output and error, so that no file that is
 * opened later takes what was meant for these. The first thing that a program does. */
void open_standard_files(void);
/* The first path of STEM.safetensors, STEM-2.safetensors, ... from `from` on (1: without a number)
 * that nothing has; *number: of it. The caller frees it. */
char *unused_name(const char *stem, int from, int *number);

/* ---- lock.c ---- */

/* That no other run writes a file or directory: for as long as this process lives, on machines that
 * share it too where the file system can. */
typedef struct Lock {
    char *path; /* of the hidden file that is locked; NULL: none is */
    int fd;
} Lock;

typedef enum LockResult {
    LOCK_TAKEN,
    LOCK_NEEDLESS,   /* a device, a pipe, or nothing that can be written */
    LOCK_IMPOSSIBLE, /* why: errno */
    LOCK_OURS,       /* this process has it already */
    LOCK_ANOTHERS
} LockResult;

/* Takes it without a word; `owner`: who has it, where it is another's. */
LockResult lock_try(Lock *lock, const char *path, char *owner, size_t size);
/* The same; an error names who has it. Where there are no locks it says so, and goes on. `shown`:
 * what `path` is in messages. */
int lock_take(Lock *lock, const char *path, const char *shown);
void lock_release(Lock *lock);
/* Removes the hidden files of all locks; a handler of signals may call it before it dies. */
void locks_remove(void);

/* ---- stop.c ---- */

/* The number of the signal that asked for an end; 0: none did. */
extern volatile sig_atomic_t stop_signal;
/* From here on a signal that asks for an end leaves no locks behind. */
void stop_catch(void);
/* From here on the first one is noted in stop_signal alone; SIGINT and SIGTERM that come again end
 * at once. */
void stop_finishes(void);
/* "SIGTERM": the signal in stop_signal. */
const char *stop_name(void);

/* ---- infile.c ---- */

enum { INFILE_BEGIN = 16 };

typedef struct InFileLimits {
    size_t most; /* bytes */
    /* NULL, or whether a file that begins so is worth reading on; asked once it has INFILE_BEGIN
     * bytes. */
    bool (*begins)(const uint8_t *bytes, size_t size);
    int seconds; /* that a pipe may be silent; 0: 30 */
} InFileLimits;

/* All bytes of a file or pipe that a user named, "-" being standard input; those so far where
 * `begins` says no. Devices, directories and what is larger are errors. The caller frees *bytes in
 * any case. */
int infile_read(const char *path, const InFileLimits *limits, uint8_t **bytes, size_t *size);

/* The lines of a text without what editors leave around them: the byte order mark, blanks at both
 * ends, CR, empty lines at the end. */
typedef struct TextLines {
    char **line;
    int count;
} TextLines;

/* Reads any text that a user hands over; UTF-16 is an error that says so. */
int text_lines_read(const char *path, TextLines *out);
void text_lines_free(TextLines *lines);

/* ---- data.c ---- */

enum { RANDOM_TRAIN_IMAGES = 1024, RANDOM_TEST_IMAGES = 256 };

typedef enum Split { SPLIT_TRAIN, SPLIT_TEST } Split;

/* Reads one split of the model's data set. `data` is --data's value: a directory, "random", or
 * NULL to search $NINC_DATA/<dataset> and /usr/share/datasets/<dataset>. */
int dataset_read(const NincModel *model, const char *data, uint64_t seed, Split split,
                 Dataset *out);
void dataset_free(Dataset *d);
/* 0, 1, ... count-1: the images in the order of the file; the caller frees it. */
int32_t *dataset_order(const Dataset *d);

/* The directory that dataset_read takes the model's data from, in `out` of DATA_PATH bytes; false
 * where there is none. */
enum { DATA_PATH = 4096 };
bool dataset_directory(const NincModel *model, const char *data, char *out);

/* ---- classes.c ---- */

typedef struct ClassNames {
    char **name; /* UTF-8 without control characters */
    int count;
} ClassNames;

/* The names of the model's classes: of `file`, a name a line; where that is NULL, of classes.txt in
 * the data set's directory; else those of a known data set; else the numbers from 0. */
int class_names_read(const NincModel *model, const char *file, const char *data, ClassNames *out);
void class_names_free(ClassNames *names);

/* ---- weights.c ---- */

/* Parameters in host memory: value[i] is model->storage[i] in logical order (OIHW or [O]), NULL
 * for moments unless they were asked for. */
typedef struct Weights {
    const NincModel *model;
    float **value;
} Weights;

/* All zero; NULL after an error line. */
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
/* The same for --init-partial (safetensors_read_partial). */
int weights_read_partial(const char *path, Weights *w);

/* ---- named tensors ---- */

typedef struct NamedTensor {
    const char *name;
    Shape shape;
    float *value; /* shape_elements(&shape), row by row */
} NamedTensor;

typedef struct TensorList {
    const char *what, *model; /* for messages: the parameters, nin */
    NamedTensor *item;
    int count;
} TensorList;

/* ---- tensors_fit.c ---- */

/* Reads a file that has exactly these tensors, as F32, F64, F16 or BF16; checks every claim of the
 * header, and changes no value before all are found sound; a value that is not finite (in F32) is
 * an error too. */
int tensors_read(const char *path, const TensorList *list);
/* The same of a file that another program may have written: a common prefix of the names, a linear
 * layer [K, C h w] for a convolution [K, C, h, w] or the reverse, and tensors beside are taken
 * after a notice. */
int tensors_read_foreign(const char *path, const TensorList *list);
/* Reads those that fit so and prints what was done with each; an error when none fits. */
int tensors_read_partial(const char *path, const TensorList *list);

/* ---- safetensors.c, with safetensors.h ---- */

/* Writes all, F32. */
int tensors_write(const char *path, const TensorList *list);

/* ---- log.c ---- */

struct Evaluation;
struct Tensorboard;

/* What a log line tells: means over the images since the last line. */
typedef struct LogEntry {
    int64_t step; /* from 1 */
    int epoch;    /* training: from 0, the current one; test: those that are done */
    int epochs;   /* of the run */
    bool quiet;   /* for the files alone */
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
    struct Tensorboard *board; /* NULL: none */
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

/* New files; with `cut` those of an earlier run are cut and gone on in, a torn last line goes too.
 * The CSV file has the columns event,step,epoch,loss,accuracy,lr,images_per_second (RFC 4180). */
int log_open(Log *log, const LogOptions *options, const LogCut *cut);
/* To standard output and all files, flushed. -1 where one fails: that is told, it is not written
 * again, and the others are. */
int log_train(Log *log, const LogEntry *entry);
/* `evaluation` may be NULL; its confusion matrix becomes a picture for TensorBoard. */
int log_eval(Log *log, const LogEntry *entry, const struct Evaluation *evaluation);
/* The same of what was printed between. */
int log_check(Log *log);
/* Prints to standard output, or to standard error where nothing can be written there any more. */
void log_say(Log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* After a failure that was told: no more of TensorBoard's events are written. */
void log_drop_board(Log *log);
int log_close(Log *log);
/* The text of a JSON number: `null` when it is not finite. `out` of 32 bytes. */
const char *json_number(double value, char *out);

/* ---- progress.c ---- */

typedef struct Progress {
    int64_t epoch_step, epoch_steps; /* done in this epoch; that it will have */
    int epoch, epochs;               /* from 0; of the run */
    double loss, accuracy, images_per_second;
    double seconds; /* left, of the run */
    bool testing;   /* steps are test images, the time is theirs; there is no loss yet */
} Progress;

/* Whether standard output is a terminal that can draw a bar. */
bool progress_possible(void);
/* Whether the environment's locale is one of UTF-8; it need not be installed. */
bool progress_unicode(void);
/* The bar's line of less than `columns` columns: what does not fit is left out, the least important
 * first. Returns its width. */
enum { PROGRESS_LINE = 1024 };
int progress_line(const Progress *progress, int columns, bool unicode, char out[PROGRESS_LINE]);
/* Draws it as wide as the terminal is now. */
void log_progress(Log *log, const Progress *progress);
/* Takes the bar off the terminal before other text is printed. */
void log_clear(Log *log);

/* ---- train.c ---- */

typedef struct TrainOptions {
    const char *data, *init, *init_partial, *save, *checkpoint_dir, *resume;
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
    bool no_save; /* the parameters go nowhere where `save` does not say so */
} TrainOptions;

/* In what follows the table may be NULL: the best device that opens (device_open).
 *
 * Trains; returns the exit status (128 + the signal's number after one that asked for an end). */
int train(const NincModel *model, const DeviceTable *table, const TrainOptions *options);

/* ---- evaluate.c ---- */

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
    void (*follow)(void *who, int images); /* after each batch, with how many are done; NULL */
    void *who;
} EvaluationTask;

/* Runs the eval program over all images, or until the task's `stop`, with what there is so far.
 * After 0, evaluation_free frees it. */
int evaluate_set(const NincModel *model, const DeviceTable *table, Device *device,
                 const EvaluationTask *task, Evaluation *out);
void evaluation_free(Evaluation *e);
/* Whether the eval program returns logits. */
bool has_logits(const NincModel *model, const DeviceTable *table);
/* Those of its last step into out[batch, classes]. */
int read_logits(const NincModel *model, const DeviceTable *table, Device *device, float *out);

typedef struct EvalOptions {
    const char *data, *weights;
    const char *classes, *json; /* files; NULL: none */
    DeviceOptions device;
    uint64_t seed; /* of --data random */
} EvalOptions;

/* Prints what the model makes of the test images, class by class; returns the exit status. */
int evaluate(const NincModel *model, const DeviceTable *table, const EvalOptions *options);

/* ---- report.c ---- */

/* Of one class; a ratio without images is NaN. */
typedef struct ClassScore {
    double precision; /* part of the images taken for it that are of it */
    double recall;    /* part of its images that are taken for it */
    double f1;        /* harmonic mean of both */
    int64_t images, predicted;
} ClassScore;

ClassScore class_score(const Evaluation *e, int class);
/* Prints an evaluation; of more classes than a matrix of TABLE_COLUMNS has the pairs that are
 * confused most. */
int report_print(const Evaluation *e, const ClassNames *names);
/* Writes all of it as JSON; `path` may be "-", standard output. Classes and confusion are null
 * without logits. */
int report_json(const Evaluation *e, const ClassNames *names, const char *path);

/* ---- image_list.c ---- */

/* The files that arguments name: a file, "-" for standard input, a directory for the images in it
 * in the order of their names, @LIST for those that a text names, one a line. Free *out in any
 * case. */
int image_list(char *const *argument, int arguments, TextLines *out);

/* ---- predict.c ---- */

typedef struct PredictOptions {
    const char *data, *weights;
    const char *classes, *json; /* files; NULL: none */
    const char *heatmap;        /* PNG file of a class map over the only image; NULL: none */
    int map_class;              /* which; -1: the most probable */
    char *const *image;         /* as image_list takes them */
    int images;
    int top;     /* classes an image that are told */
    bool invert; /* the images are negatives of the data set's */
    DeviceOptions device;
} PredictOptions;

/* Prints the most probable classes of each image, scaled to the model's input; returns the exit
 * status: 1 also where one of several images could not be read. */
int predict(const NincModel *model, const DeviceTable *table, const PredictOptions *options);

/* ---- module.c: the IR that the plan carries ---- */

struct Module;
struct Graph;
struct Pool;

/* Parsed and verified; a fault is ours. */
struct Module *plan_module(struct Pool *pool);
/* The graph `train` or `eval` that the device runs. */
const struct Graph *plan_graph(const struct Module *m, const DeviceTable *table, const char *name);

/* ---- heatmap.c: class maps (Lin, Chen, Yan, arXiv 1312.4400, section 4.6) ---- */

struct Image;

/* What the global average pooling of a network averages: one map a class. */
typedef struct ClassMaps {
    int h, w, classes;
    double *value; /* [h, w, classes] */
} ClassMaps;

/* The maps of one image [h, w, c] of the data set's size, by the naive evaluator; an error where
 * the logits are no averages of maps. The caller frees out->value. */
int class_maps(const struct Graph *eval, const Weights *weights, const uint8_t *pixel,
               ClassMaps *out);
/* The map of a class over the image, both enlarged so that the longer side has at least 256
 * pixels. What speaks for the class is red to yellow, the largest value; the image is gray. */
int heatmap_draw(const ClassMaps *maps, int class, const struct Image *image, struct Image *out);

/* ---- peak.c ---- */

/* Ceilings of a device, FLOP/s and bytes/s; 0: not known, or it cannot do that. */
typedef struct Peak {
    double fma;  /* fp32 multiply-add */
    double dot;  /* bf16 dot product */
    double tile; /* bf16 products of tiles: AMX */
    double copy; /* memory, bytes read plus bytes written */
} Peak;

/* Measures the CPU on `threads` threads, its tiles where they are asked for; takes about half a
 * second. */
Peak cpu_peak(int threads, bool tiles);

/* ---- cpu.c ---- */

/* Whether the CPU has AMX with bf16 and the system gives it to us. */
bool cpu_has_amx(void);

/* ---- profile.c ---- */

typedef struct ProfileOptions {
    DeviceOptions device;
    uint64_t seed;
    int repeats;      /* measurements, of which the median counts; 0: as many as are usual */
    bool eval;        /* the forward pass alone, not a training step */
    const char *json; /* NULL: none */
} ProfileOptions;

/* Prints the time of each kernel beside what the device can do, and that of a whole step; returns
 * the exit status. */
int profile(const NincModel *model, const DeviceTable *table, const ProfileOptions *options);

/* ---- apart.c: work that may take its process along ---- */

/* What is known of items that are checked one after the other, by whichever process. */
typedef struct ApartState {
    int item; /* that is being checked; -1: none is begun */
    int checked, failed;
    char doing[192]; /* the item, for the line that says that it was lost */
} ApartState;

enum { APART_LOST = 3 };

/* Runs work(context, state) in a process of its own: it checks the items behind state->item, and
 * notes there which it begins. Where the process is lost with an item (it ends by a signal, or with
 * APART_LOST after a message: the device can be used no more), that item is printed as a fault and
 * counted as failed, and another process goes on behind it. Returns the exit status: work's, or
 * that of a process that was told to end. */
int apart_run(int (*work)(void *context, ApartState *state), void *context);

/* ---- verify.c ---- */

typedef struct VerifyOptions {
    DeviceOptions device;
    uint64_t seed;
    bool full, list;
    const char *kernel; /* the only one that is checked, or train_step, eval_step; NULL: all */
} VerifyOptions;

/* Compares every kernel with the naive evaluator, also those behind one that fails and takes the
 * process along; `list` prints their names only. Returns the exit status. */
int verify(const NincModel *model, const DeviceTable *table, const VerifyOptions *options);

/* ---- export.c, with onnx.h ---- */

typedef struct ExportOptions {
    const char *weights, *onnx; /* what is read, what is written */
    bool preprocessing;         /* the model takes the data set's u8 images */
} ExportOptions;

/* Writes the forward pass with these parameters as an ONNX model; needs no device. Returns the exit
 * status. */
int export_model(const NincModel *model, const ExportOptions *options);

/* ---- info.c ---- */

/* Prints the model, its parameters, its memory plan (table NULL: of every target) and the devices;
 * returns the exit status. */
int info(const NincModel *model, const DeviceTable *table, const DeviceOptions *options);

#endif
