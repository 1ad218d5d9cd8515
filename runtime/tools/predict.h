/* Inside of predict: what predict.c (the command and the network), predict_read.c (images) and
 * predict_tell.c (text, JSON, CSV) share. */
#ifndef NINC_PREDICT_H
#define NINC_PREDICT_H

#include "tools.h"

/* One image of the command line. */
typedef struct Prediction {
    const char *file;
    char *error;         /* why there is none; NULL: there is one */
    int *rank;           /* [told] the most probable classes, the first of equal ones first */
    double *probability; /* [told] of these; NULL before there is one */
} Prediction;

typedef struct Predict {
    const NincModel *model;
    const DeviceTable *table;
    const PredictOptions *options;
    Device *device;
    Weights *weights;
    ClassNames names, kept; /* kept: of the weights' file */
    TextLines files;
    int told;         /* classes an image */
    int group, first; /* images that are in memory at once, and the first of them in `list` */
    Dataset data;     /* those of a group that could be read, packed */
    uint8_t *place;   /* [group, h, w, c], each image at its place in the group */
    Image original;   /* the only image, in its own size, where a heat map is asked for */
    Prediction *list; /* [files.count] */
    int bad;
} Predict;

/* ---- predict_read.c ---- */

/* Images that a group has at most: few enough that a GPU and the host have room for them. */
int predict_group_most(const Predict *p);
/* Makes the room, on the device that is open: of whole batches, where there are several groups. */
int predict_make_room(Predict *p);
/* Reads the group's images on all threads; bad ones are told, in order, and left out. */
void predict_load(Predict *p);

/* ---- predict_tell.c ---- */

/* The group's predictions as lines of text. */
int predict_print(const Predict *p);
/* All of them: to the files that the options name. */
int predict_save(const Predict *p);

#endif
