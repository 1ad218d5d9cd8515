/* Within frontend/: what a model file says of its input. */
#ifndef NINC_INPUT_H
#define NINC_INPUT_H

#include "frontend.h"

typedef struct InputSpec {
    const Tree *dataset, *shape, *resize, *mean, *std, *data_shape, *classes_at;
    const Tree *transform, *validation_split, *label, *augment, *normalize;
    const char *dataset_name;
    int classes;
    int data[3], net[3]; /* c, h, w: of images behind the transforms, of the network's input */
    DataSettings images;
    ImageAttr image;
    AugmentList augmentations;
    ContrastAttr contrast; /* scale 0: none */
} InputSpec;

/* ---- input.c ---- */

/* False after a diagnostic. */
bool read_input(Reader *r, const Tree *t, InputSpec *in);

/* ---- normalize.c ---- */

/* Whether mean or std is the word auto: what the training images have. */
bool normalize_is_auto(const Tree *t);
/* Reads `normalize`, and which of mean and std are auto; false after a diagnostic. */
bool read_normalize(Reader *r, InputSpec *in);
/* What is made of the map x behind mean and std: scaled as the training images are, then of global
 * contrast 1, then whitened. */
Node *normalize_build(Reader *r, Graph *g, const InputSpec *in, Node *x);

/* ---- transforms.c ---- */

/* The list `transform`, a NULL tree being none. */
bool read_transforms(Reader *r, const Tree *t, DataSettings *out);
/* The size [c, h, w] of the images becomes that behind the transforms, whose list is `at`; sides
 * that are not known are 0. */
bool transforms_size(Reader *r, const Tree *at, const DataSettings *d, int size[3]);

#endif
