/* The map of the data: data sets, the names of their classes, images that a user names. Functions
 * that return int give 0, or -1 after a message. The table of the sets that are known by name
 * stands in sets.h. */
#ifndef NINC_DATA_H
#define NINC_DATA_H

#include "../formats/formats.h"
#include "../plan.h"

/* Labelled images, in host memory, as the files hold them. A GPU keeps a copy from the first step
 * that uses them on, so while the device is open they change only together with `edition`. */
typedef struct Dataset {
    uint8_t *image;  /* [count, h, w, c] */
    int32_t *label;  /* [count], 0..classes-1 */
    int count, h, w, c;
    int64_t edition; /* of the images; the labels stay */
} Dataset;

enum { RANDOM_TRAIN_IMAGES = 1024, RANDOM_TEST_IMAGES = 256 };
typedef enum Split { SPLIT_TRAIN, SPLIT_TEST } Split;

enum { DATA_PATH = 4096 }; /* bytes */

/* A format of data sets. */
typedef struct DataFormat {
    const char *name;
    bool (*probe)(const char *directory); /* whether a data set of it lies there */
    /* One split, whose images must be the model's; -1 after a message. */
    int (*read)(const NincModel *model, const char *directory, Split split, Dataset *out);
} DataFormat;

typedef struct ClassNames {
    char **name; /* UTF-8 without control characters */
    int count;
} ClassNames;

/* ---- data.c ---- */

/* Reads one split of the model's data set. `data` is --data's value: a directory, "random", or
 * NULL to search $NINC_DATA/<dataset> and /usr/share/datasets/<dataset>. */
int dataset_read(const NincModel *model, const char *data, uint64_t seed, Split split,
                 Dataset *out);
void dataset_free(Dataset *d);
/* 0, 1, ... count-1: the images in the order of the file; the caller frees it. */
int32_t *dataset_order(const Dataset *d);

/* The directory that dataset_read takes the model's data from, in `out` of DATA_PATH bytes; false
 * where there is none. */
bool dataset_directory(const NincModel *model, const char *data, char *out);

/* ---- data_idx.c: one format each ---- */

bool data_idx_probe(const char *directory);
int data_idx_read(const NincModel *model, const char *directory, Split split, Dataset *out);

/* ---- classes.c ---- */

/* The names of the model's classes: of `file`, a name a line; where that is NULL, of classes.txt in
 * the data set's directory; else those of a known data set; else the numbers from 0. */
int class_names_read(const NincModel *model, const char *file, const char *data, ClassNames *out);
void class_names_free(ClassNames *names);

/* ---- image_list.c ---- */

/* The files that arguments name: a file, "-" for standard input, a directory for the images in it
 * in the order of their names, @LIST for those that a text names, one a line. Free *out in any
 * case. */
int image_list(char *const *argument, int arguments, TextLines *out);

#endif
