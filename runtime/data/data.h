/* The map of the data: data sets, the names of their classes, images that a user names. Functions
 * that return int give 0, or -1 after a message. The table of the sets that are known by name
 * stands in sets.h. */
#ifndef NINC_DATA_H
#define NINC_DATA_H

#include "../../ir/images.h"
#include "../formats/formats.h"
#include "../plan.h"

typedef struct PackedSet PackedSet;

/* Labelled images of one split, in host memory, as a format's reader found them. A GPU keeps a copy
 * from the first step that uses them on, so while the device is open they change only together with
 * `edition`. */
typedef struct Dataset {
    uint8_t *image;     /* [count, h, w, c]; of `mapped` where that is set: then read only */
    int32_t *label;     /* [count] 0..classes-1; a reader leaves them as the files have them */
    int count, h, w, c;
    int64_t edition;    /* of the images; the labels stay */
    char **class_name;  /* [classes]; NULL: the format names none */
    int classes;        /* of class_name */
    char **file;        /* [count] names for messages and lists; NULL: images have none */
    FileMap mapped;     /* a mapped file that holds `image`; {0}: it is malloc'ed */
    char *source;         /* the file that has the labels, for messages; NULL: the path is it */
    long long first_line; /* in it, of the first label; 0: it has no lines */
    PackedSet *packed;  /* of packed.c; NULL: the images are not of a packed file */
} Dataset;

enum { RANDOM_TRAIN_IMAGES = 1024, RANDOM_TEST_IMAGES = 256 };
typedef enum Split { SPLIT_TRAIN, SPLIT_TEST, SPLIT_VALIDATION } Split;
enum { SPLIT_COUNT = SPLIT_VALIDATION + 1 };

enum { DATA_PATH = 4096 }; /* bytes */

/* Where the images of a model come from. */
typedef struct DataSource {
    const NincModel *model;
    const char *data; /* --data's value: a directory, a file, "random"; NULL: it is searched for */
    uint64_t seed;    /* of random images, and of those that validate */
    bool skip_bad;    /* an image that cannot be read is left out after a notice */
    int threads;      /* 0: as many as are well */
} DataSource;

/* What a reader is asked for. */
typedef struct DataRequest {
    const NincModel *model;
    const char *path;   /* the directory or file that holds the data set */
    const char *format; /* the model's data set's; NULL: it is not known */
    Split split;
    bool skip_bad;
    int threads;
    /* Where not NULL: of the training images a reader that `divides` gives those that this leaves
     * them, or for SPLIT_VALIDATION those that it takes. */
    const struct SplitBy *split_by;
} DataRequest;

/* How validation_split divides training images. */
typedef struct SplitBy {
    double share;
    uint64_t seed;
    int classes;
} SplitBy;

/* Images by class: class k has image[start[k]] to image[start[k + 1] - 1], in their order. */
typedef struct ClassIndex {
    int classes, *start;
    int32_t *image;
} ClassIndex;

/* A format of data sets. Probes go by names of files and what they begin with; they are cheap, and
 * say nothing. */
typedef struct DataFormat {
    const char *name;
    bool (*probe)(const char *path); /* whether a data set of it lies there */
    /* Whether a split of its own is there; NULL: training and test images alone. */
    bool (*has)(const char *path, Split split);
    /* Images as large as the files have them, labels as they say: what the model makes of them is
     * made behind it, but where `transforms` says that the format, whose images differ in size,
     * makes each of them the model's (image_transform). -1 after a message, with what there is so
     * far. */
    int (*read)(const DataRequest *request, Dataset *out);
    bool transforms; /* read has made of the images what the model does */
    bool divides;    /* read follows split_by, so that no image is read in vain */
    /* The names of the classes alone, into class_name and classes; NULL: read tells them, if any.
     */
    int (*names)(const DataRequest *request, Dataset *out);
} DataFormat;

typedef struct ClassNames {
    char **name; /* UTF-8 without control characters */
    int count;
} ClassNames;

/* ---- data.c ---- */

/* train, test, validation */
extern const char *const split_names[SPLIT_COUNT];

/* One split of the model's data set, each image behind the model's transforms; the source's data
 * NULL: of $NINC_DATA/<dataset> or /usr/share/datasets/<dataset>. */
int dataset_load(const DataSource *source, Split split, Dataset *out);
/* The training images, and those that validate: what the model's validation_split takes of the
 * former, else the data set's own; where there are none *validation is empty. */
int dataset_load_training(const DataSource *source, Dataset *train, Dataset *validation);
/* The same, where it says no more than that. */
int dataset_read(const NincModel *model, const char *data, uint64_t seed, Split split,
                 Dataset *out);
/* The names that the data set itself has for its classes, as class_name and classes of *out; none
 * where there is none, or it says nothing of them. */
int dataset_names(const NincModel *model, const char *data, Dataset *out);

/* The directory or file that dataset_read takes the model's data from, in `out` of DATA_PATH bytes;
 * false where there is none. */
bool dataset_directory(const NincModel *model, const char *data, char *out);

/* ---- dataset.c ---- */

void dataset_free(Dataset *d);
/* 0, 1, ... count-1: the images in the order of the file; the caller frees it. */
int32_t *dataset_order(const Dataset *d);

/* ---- transform.c ---- */

/* Whether the model makes anything of the images of its data set. */
bool has_transform(const NincModel *model);
/* What it makes of one, of any number of channels: a new image, also where that is the same. */
int image_transform(const NincModel *model, const Image *in, Image *out);
/* Of all images, which messages call `name`. */
int dataset_transform(const NincModel *model, const char *name, Dataset *d);

/* ---- data_split.c ---- */

/* Whether each of the images of these labels, all in 0..classes-1, validates. */
int split_marks(const SplitBy *by, const int32_t *label, int count, bool *validates);
/* Moves the images of d that validate. A mapped file is copied for that. */
int dataset_divide(const SplitBy *by, Dataset *d, Dataset *validation);
ClassIndex class_index(const int32_t *label, int count, int classes);
void class_index_free(ClassIndex *c);

/* ---- data_check.c ---- */

/* Whether size, channels, names and labels of what was read from `path` are the model's. */
int dataset_check(const NincModel *model, const char *path, const Dataset *d);
/* Whether so many classes, with these names, are the model's. */
int dataset_check_classes(const NincModel *model, const char *path, char *const *name, int classes);

/* ---- use.c: of images in a packed file; without effect on others ---- */

/* Before a step: those that are used for the first time are as they were packed; -1 after a
 * message. */
int dataset_use(const Dataset *d, const int32_t *index, int count);
/* The images of steps to come: the system reads them meanwhile. */
void dataset_ahead(const Dataset *d, const int32_t *index, int count);
/* A number that tells other images and labels, of any data set: of a packed file without looking at
 * the images. */
uint32_t dataset_crc(const Dataset *d);
/* s may be NULL. */
void packed_set_free(PackedSet *s);

/* ---- data_idx.c: one format each ---- */

bool data_idx_probe(const char *path);
int data_idx_read(const DataRequest *request, Dataset *out);
bool data_cifar_probe(const char *path);
int data_cifar_read(const DataRequest *request, Dataset *out);
int data_cifar_names(const DataRequest *request, Dataset *out);
bool data_stl10_probe(const char *path);
int data_stl10_read(const DataRequest *request, Dataset *out);
int data_stl10_names(const DataRequest *request, Dataset *out);
bool data_svhn_probe(const char *path);
int data_svhn_read(const DataRequest *request, Dataset *out);
bool data_npz_probe(const char *path);
bool data_npz_has(const char *path, Split split);
int data_npz_read(const DataRequest *request, Dataset *out);
bool data_csv_probe(const char *path);
bool data_csv_has(const char *path, Split split);
int data_csv_read(const DataRequest *request, Dataset *out);

/* ---- find.c: files of data sets by the names that downloads have; who asks frees what it gets
 * ---- */

/* NAME or NAME.gz in the directory; NULL: neither is there. */
char *find_file(const char *directory, const char *name);
/* Which directory has such a file: the path, or PATH/BELOW as an archive makes it; NULL: none. */
char *find_place(const char *path, const char *below, const char *name);
/* The file that a split has in the directory: train.csv, SET_train.csv, SET-test.csv.gz, ... with
 * the extension .csv; that with the name of `set` first, then that without. Returns how many are as
 * near. */
int find_split(const char *directory, const char *set, Split split, const char *extension,
               char **out);
/* Whether a file's name ends in that of a split. */
bool names_split(const char *path, const char *extension, Split *split);
/* The file beside one of the split `from`, as names_split tells, with the same name but of `to`. */
char *find_sibling(const char *path, const char *extension, Split from, Split to);

/* ---- take.c ---- */

/* What was read moves into the data set, whatever there is of it. */
void dataset_take_records(Dataset *out, const RecordKind *kind, Records *records);
void dataset_take_pixels(Dataset *out, const PixelOrder *order, Numbers *numbers);
/* The names of the classes, one a line of the file NAME, where the directory has it. */
int dataset_read_names(Dataset *out, const char *directory, const char *name);

/* ---- data_folder.c, data_archive.c ---- */

bool data_folder_probe(const char *path);
bool data_folder_has(const char *path, Split split);
int data_folder_read(const DataRequest *request, Dataset *out);
int data_folder_names(const DataRequest *request, Dataset *out);
bool data_archive_probe(const char *path);
bool data_archive_has(const char *path, Split split);
int data_archive_names(const DataRequest *request, Dataset *out);
int data_archive_read(const DataRequest *request, Dataset *out);

/* ---- class_list.c ---- */

enum { CLASS_NAME_BYTES = 254 }; /* of a class, at most */

void class_names_add(ClassNames *names, const char *text);
/* Of any text in UTF-8: without control characters, and no longer than names are. */
void class_names_add_printable(ClassNames *names, const char *text);
/* The names that a file of parameters has in its metadata; none, after a notice, where they are not
 * as many as the model has classes. */
int class_names_kept(const NincModel *model, const char *path, ClassNames *out);
void class_names_free(ClassNames *names);

/* ---- classes.c ---- */

/* What is known of the names of a model's classes. */
typedef struct NameSource {
    const char *file;       /* --classes; NULL: not given */
    const char *data;       /* --data; NULL: not given */
    const Dataset *read;    /* of the data set that was read; NULL: none was */
    const ClassNames *kept; /* class_names_kept; NULL: there are no parameters */
} NameSource;

/* The names: of `file`, a name a line; where that is NULL, those that the data set has: of
 * classes.txt in its directory, or beside its file, else its own. Where neither --data nor what was
 * read names them, those that the parameters' file keeps go before. Else those of a known data set;
 * else the numbers from 0. */
int class_names_read(const NincModel *model, const NameSource *source, ClassNames *out);
/* Those that a file of parameters should have: the data set's own, unless they are those that the
 * model's classes have in any case. */
void class_names_to_keep(const NincModel *model, const char *data, const Dataset *read,
                         ClassNames *out);

/* ---- image_list.c ---- */

/* The files that arguments name: a file, "-" for standard input, a directory for the images in it
 * in the order of their names, @LIST for those that a text names, one a line. Free *out in any
 * case. */
int image_list(char *const *argument, int arguments, TextLines *out);

#endif
