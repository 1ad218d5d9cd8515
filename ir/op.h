/* Ops and their attributes. The table is ops.h, what each op does stands in op/. */
#ifndef NINC_IR_OP_H
#define NINC_IR_OP_H

#include "ops.h"
#include "tensor.h"

/* ---- ops and attributes ---- */

typedef enum Op {
#define X(id, ...) OP_##id,
    IR_OPS(X)
#undef X
        OP_COUNT
} Op;

enum { MAX_OPERANDS = 8 };

typedef enum AttrClass {
    ATTR_NONE,
    ATTR_WINDOW,
    ATTR_IMAGE,
    ATTR_FACTOR,
    ATTR_ADAM,
    ATTR_RATE, /* the factor, of the learning rate; printed {lr_mult=2}, 1 is left out */
    ATTR_SMOOTHING, /* the factor; printed {label_smoothing=0.1}, 0 is left out */
    ATTR_DROPOUT,
    ATTR_SLICE,
    ATTR_WINOGRAD,
    ATTR_FOLD,
    ATTR_NORM,
    ATTR_LRN,
    ATTR_AUGMENT,
    ATTR_CONTRAST
} AttrClass;

/* Kernel, stride and padding in rows (h) and columns (w). Printed
 * {kernel=3x3 stride=2x2 padding=1x1 dilation=2x2 groups=4 ceil inside}; stride 1x1, padding 0x0,
 * dilation 1x1, one group and floor are left out. Pools have neither dilation nor groups; of an
 * average `inside` only values on the map count, not the padding. */
typedef struct Window {
    int kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
    bool ceil_mode;
    int dilation_h, dilation_w, groups; /* 0 where it is 1; read them by the functions below */
    bool inside;
} Window;

/* ---- ir/shape.c ---- */

/* From tap to tap, in inputs. */
int window_dilation_h(const Window *w);
int window_dilation_w(const Window *w);
/* Equal parts of the channels of input and output, the outputs of each of its inputs alone: the
 * filter is [O, I / groups, KH, KW]. */
int window_groups(const Window *w);
/* The number as a window keeps it. */
int window_unless_one(int number);
/* Inputs that the window covers, from its first tap to its last. */
int window_span_h(const Window *w);
int window_span_w(const Window *w);
/* Taps side by side, all inputs for each output: neither dilation nor groups. */
bool window_is_plain(const Window *w);

enum { MAX_IMAGE_CHANNELS = 16 };

/* Printed {mode=bilinear mean=[0.5] std=[0.5]}; `mode` only on resize, mean and std where they
 * are not all 0 and all 1. One number a channel, in the pool: every node has an Attr. */
typedef struct ImageAttr {
    int channels;
    double *mean, *std;
} ImageAttr;

typedef struct AdamAttr {
    double beta1, beta2, eps; /* {beta1=0.9 beta2=0.999 eps=1e-08} */
    double lr_mult; /* as ATTR_RATE's, printed behind them */
} AdamAttr;

/* Channels from `from` to `to` - 1. Printed {from=16 to=36}. */
typedef struct SliceAttr {
    int from, to;
} SliceAttr;

#define DROPOUT_MOST 0.999

/* What of a layer's values is dropped: each with the probability p <= DROPOUT_MOST. Layers are
 * numbered, from 0, and draw apart. Printed {p=0.5 layer=0}. */
typedef struct DropoutAttr {
    double p;
    int layer;
} DropoutAttr;

enum { WINOGRAD_MAX_TILE = 6, WINOGRAD_MAX_KERNEL = 5, WINOGRAD_MAX_SIZE = 8 };

/* F(tile x tile, kernel x kernel): a convolution with stride 1 and a square kernel, tile by tile of
 * its output y[N,height,width,O]. Tiles come row by row; the input of tile (th,tw) is the square of
 * tile + kernel - 1 <= WINOGRAD_MAX_SIZE that starts at row tile*th - padding_h, column
 * tile*tw - padding_w; what lies outside of x is zero, outputs past height, width are dropped and
 * their gradients zero. Printed {tile=4 kernel=5x5 padding=2x2 size=27x27}; padding 0x0 is left
 * out, and the size on filters, whose transform does not depend on it. */
typedef struct Winograd {
    int tile, kernel, padding_h, padding_w, height, width;
} Winograd;

/* The convolution, and the image that it was of: height x width, resized from source_h x source_w
 * (bilinear). Printed {kernel=11x11 stride=4x4 padding=2x2 size=224x224 source=28x28}. */
typedef struct Fold {
    Window window;
    int height, width, source_h, source_w;
} Fold;

/* Printed {eps=1e-05 momentum=0.1}. The momentum is that of the running statistics; it is left out
 * where it is 0, as on gradients. */
typedef struct NormAttr {
    double eps, momentum;
} NormAttr;

enum { LRN_MOST_SIZE = 4096 };

/* With these a power of what lies between is a float. */
#define LRN_MOST_ALPHA 1e6
#define LRN_MOST_BETA 10.0
#define LRN_LEAST_K 1e-3
#define LRN_MOST_K 1e6

/* Local response normalization (Krizhevsky et al. 2012) as torch.nn.LocalResponseNorm: of channel c
 * it reads `size` channels from c - size / 2 on; alpha is divided by size. Printed
 * {size=5 alpha=0.0001 beta=0.75 k=1}. */
typedef struct LrnAttr {
    int size;
    double alpha, beta, k;
} LrnAttr;

/* How many channels before and behind each one count. */
typedef struct LrnSpan {
    int before, after;
} LrnSpan;

enum { MAX_AUGMENTS = 8, MAX_AUGMENTED = 16384, AUGMENT_NUMBERS = 4, AUGMENT_SETTINGS = 3 };

/* How training images are changed, of at most MAX_AUGMENTED x MAX_AUGMENTED pixels: the numbers of
 * the op's settings (augment_settings) one behind the other, in double. Ops are numbered, from 0,
 * and draw apart. Printed {p=0.5 scale=[0.02,0.33] draw=2}. */
typedef struct AugmentAttr {
    double number[AUGMENT_NUMBERS];
    int draw;
} AugmentAttr;

/* A setting of such an op, in the model file and in the IR text: a number, or the two ends of a
 * range. */
typedef struct AugmentSetting {
    const char *name, *example;
    bool range, whole, required;
    double low, high; /* what each number may be */
    double given[2];  /* where it is left out */
} AugmentSetting;

/* What the norm of an image becomes, and below which part of it a norm stays. Printed
 * {scale=55 eps=1e-06}. */
typedef struct ContrastAttr {
    double scale, eps;
} ContrastAttr;

typedef union Attr {
    Window window;
    Winograd winograd;
    Fold fold;
    ImageAttr image;
    double factor; /* {factor=0.9} */
    AdamAttr adam;
    NormAttr norm;
    DropoutAttr dropout;
    SliceAttr slice;
    LrnAttr lrn;
    AugmentAttr augment;
    ContrastAttr contrast;
} Attr;

/* ---- ir/ops.c ---- */

const char *op_name(Op op);
int op_min_operands(Op op);
int op_max_operands(Op op);
AttrClass op_attr(Op op);
/* Which operand of an optimizer's step is the learning rate (-1: none is), and by how much that is
 * multiplied first. */
int op_rate_operand(Op op);
double attr_lr_mult(Op op, const Attr *attr);
const char *op_scalar(Op op); /* "" if not pointwise */
const char *op_what(Op op);   /* what it computes, for people: operands -> result */
bool op_is_pointwise(Op op);
/* Whether it has any of the flags (F_ROWS | ...) of ops.h. */
bool op_is(Op op, unsigned flags);
/* The result is a sum over images: a weight or bias gradient. */
bool op_sums_images(Op op);
/* Filters in, filters out: no images. */
bool op_is_of_filters(Op op);
Shape shape_of(int rank, int d0, int d1, int d2, int d3);

/* ---- ir/op/dropout.c ---- */

/* Where the random word of a value, of 32 bits, is less, the value is dropped. */
uint32_t dropout_threshold(const DropoutAttr *a);

/* ---- ir/op/augment.c ---- */

enum { AUGMENT_CONSTANTS = 6 };

/* The settings of an op that augments; how many. */
const AugmentSetting *augment_settings(Op op, int *count);
/* Why the op cannot have these numbers on images of that size, behind its name; NULL: it can. */
const char *augment_fault(Op op, const AugmentAttr *a, const int32_t *dims);
/* What an op of u8[N,h,w,C] computes with, in whole numbers (fractions of 2^k: Qk):
 *     random_crop             padding
 *     random_horizontal_flip  p Q24
 *     random_rotation         the largest angle, in turns Q32
 *     random_erasing          p Q24; part of the area: least, most - least Q30; half the binary
 *                             logarithm of height / width: least, most - least Q26
 *     random_resized_crop     the same of the area, and of width / height; height, width where ten
 *                             draws in a row did not fit
 *     color_jitter            factors of brightness, contrast, saturation: least, most - least + 1
 *                             Q16 */
typedef struct AugmentConstants {
    int64_t number[AUGMENT_CONSTANTS];
} AugmentConstants;

/* It needs a mean of the whole image. */
bool augment_needs_mean(Op op, const AugmentAttr *a);
AugmentConstants augment_constants(Op op, const AugmentAttr *a, const int32_t *dims);

/* ---- ir/op/lrn.c ---- */

/* Of a map of so many channels, no more than there are. */
LrnSpan lrn_span(const LrnAttr *a, int channels);

#endif
