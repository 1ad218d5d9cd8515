/* What a model file says of the images of its data set: what is made of each, and which of them
 * validate. This header is a leaf, which the compiler, the runtime and an emitted plan with such
 * settings include; what sizes come of them stands in settings.c. */
#ifndef NINC_IMAGES_H
#define NINC_IMAGES_H

#include <stdbool.h>

#define IR_TRANSFORMS(X)                                                                           \
    X(TRANSPOSE, "transpose") X(GRAYSCALE, "grayscale") X(CENTER_CROP, "center_crop")              \
    X(RESIZE, "resize")

typedef enum TransformKind {
#define X(id, text) TRANSFORM_##id,
    IR_TRANSFORMS(X)
#undef X
        TRANSFORM_COUNT
} TransformKind;

enum { MAX_TRANSFORMS = 8 };

/* center_crop: to h x w; resize: to h x w, or where w is 0 until the shorter side is h; of the
 * others both are 0. */
typedef struct Transform {
    TransformKind kind;
    int h, w;
} Transform;

/* Layers that are made of the training images: their parameters are frozen, and named so. */
#define INPUT_SCALE "input.scale"
#define INPUT_ZCA "input.zca"

typedef struct DataSettings {
    Transform transform[MAX_TRANSFORMS]; /* in this order */
    int transforms;
    double validation_split; /* of the training images of each class; 0: none validate */
    const char *label;       /* csv: the name of the column of labels; NULL: not given */
    int label_column;        /* csv: its number, from 1; 0: not given */
    bool auto_mean, auto_std; /* of the training images, a channel each: the layer INPUT_SCALE */
    double zca_eps;           /* of the training images' whitening, INPUT_ZCA; 0: there is none */
} DataSettings;

#endif
