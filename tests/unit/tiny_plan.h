/* A plan written by hand: a linear classifier of 4x4 images, trained by plain SGD. It stands for
 * the emitted plan.c where the runtime is tested by itself. Include it in one file only. Its CUDA
 * programs keep their values in the same places; one kernel of theirs computes logits and
 * gradient. */
#ifndef NINC_TINY_PLAN_H
#define NINC_TINY_PLAN_H

#include "../../runtime/plan.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    TINY_SIDE = 4,
    TINY_PIXELS = TINY_SIDE * TINY_SIDE,
    TINY_CLASSES = 3,
    TINY_BATCH = 7,
    TINY_CHUNK = 2,
    TINY_SPLIT = 3, /* copies of the gradient on a GPU */
    TINY_LANES = 16, /* both layouts are padded to 16 output channels */
    /* bytes in the shared region */
    TINY_IMAGE = 0,
    TINY_LABEL = 128,
    TINY_VALID = 192,
    TINY_LR = 196,
    TINY_LOSS = 200,
    TINY_CORRECT = 204,
    TINY_ROW_LOSS = 256,
    TINY_ROW_CORRECT = 320,
    TINY_GRADIENT = 384,
    TINY_GRADIENT_BYTES = (TINY_PIXELS + 1) * TINY_LANES * 4,
    TINY_SHARED = TINY_GRADIENT + TINY_GRADIENT_BYTES,
    TINY_CUDA_SHARED = TINY_GRADIENT + TINY_SPLIT * TINY_GRADIENT_BYTES,
    TINY_LOGITS = TINY_LANES * 4, /* in the chunk region, of an image */
    TINY_BIAS = TINY_PIXELS * TINY_LANES * 4,
    TINY_STATE = TINY_BIAS + TINY_LANES * 4,
};

/* Parts of the last launch of tiny_gradient. */
static atomic_int tiny_slices;

static int slice_begin(const NincRange *range, int count)
{
    return count * range->slice / range->slices;
}

static int slice_end(const NincRange *range, int count)
{
    return count * (range->slice + 1) / range->slices;
}

/* Runs of tiny_prepare. */
static atomic_int tiny_prepared;

/* A kernel before the images. */
static void tiny_prepare(void *const *arg, const NincRange *range)
{
    (void)arg;
    (void)range;
    tiny_prepared++;
}

/* image, label, valid, weight, bias, row loss, row correct, logits: what comes out is the gradient
 * of the logits. A slice is some of the images. */
static void tiny_rows(void *const *arg, const NincRange *range)
{
    const unsigned char *image = arg[0];
    const int32_t *label = arg[1], *valid = arg[2];
    const float *weight = arg[3], *bias = arg[4];
    float *loss = arg[5];
    int32_t *correct = arg[6];
    for (int n = slice_begin(range, range->images); n < slice_end(range, range->images); n++) {
        float sum = 0, *logit = (float *)arg[7] + n * TINY_LANES;
        int best = 0;
        for (int k = 0; k < TINY_CLASSES; k++) {
            logit[k] = bias[k];
            for (int p = 0; p < TINY_PIXELS; p++)
                logit[k] += weight[p * TINY_LANES + k] * (float)image[n * TINY_PIXELS + p] / 255;
            sum += expf(logit[k]);
            best = logit[k] > logit[best] ? k : best;
        }
        loss[n] = logf(sum) - logit[label[n]];
        correct[n] = best == label[n];
        for (int k = 0; k < TINY_CLASSES; k++)
            logit[k] = range->first_image + n < *valid
                           ? (expf(logit[k]) / sum - (k == label[n])) / (float)*valid
                           : 0;
    }
}

/* image, gradient of the logits, gradient: of the weight and, behind it, the bias. A slice is some
 * of the pixels, of which the bias is one that is always 1, and sums over the chunk's images. */
static void tiny_gradient(void *const *arg, const NincRange *range)
{
    const unsigned char *image = arg[0];
    const float *logit = arg[1];
    float *gradient = arg[2];
    tiny_slices = range->slices;
    for (int p = slice_begin(range, TINY_PIXELS + 1); p < slice_end(range, TINY_PIXELS + 1); p++)
        for (int k = 0; k < TINY_LANES; k++) {
            float sum = range->accumulate ? gradient[p * TINY_LANES + k] : 0;
            for (int n = 0; k < TINY_CLASSES && n < range->images; n++)
                sum += logit[n * TINY_LANES + k] *
                       (p < TINY_PIXELS ? (float)image[n * TINY_PIXELS + p] / 255 : 1);
            gradient[p * TINY_LANES + k] = sum;
        }
}

/* row loss, row correct, valid, loss, correct */
static void tiny_metrics(void *const *arg, const NincRange *range)
{
    const float *row_loss = arg[0];
    const int32_t *row_correct = arg[1], *valid = arg[2];
    float loss = 0;
    int32_t correct = 0;
    (void)range;
    for (int n = 0; n < *valid; n++) {
        loss += row_loss[n];
        correct += row_correct[n];
    }
    *(float *)arg[3] = loss / (float)*valid;
    *(int32_t *)arg[4] = correct;
}

/* weight (the bias follows it), gradient, lr */
static void tiny_update(void *const *arg, const NincRange *range)
{
    float *weight = arg[0];
    const float *gradient = arg[1], *lr = arg[2];
    int count = (TINY_PIXELS + 1) * TINY_LANES;
    for (int i = slice_begin(range, count); i < slice_end(range, count); i++)
        weight[i] -= *lr * gradient[i];
}

#define TINY_AT(where, each) {NINC_REGION_SHARED, where, each, 0}
#define TINY_SUM {NINC_REGION_PARTIAL, TINY_GRADIENT, 0, TINY_GRADIENT_BYTES}
#define TINY_ROW_ARGS                                                                            \
    TINY_AT(TINY_IMAGE, TINY_PIXELS), TINY_AT(TINY_LABEL, 4), TINY_AT(TINY_VALID, 0),            \
        {NINC_REGION_STATE, 0, 0, 0}, {NINC_REGION_STATE, TINY_BIAS, 0, 0},                      \
        TINY_AT(TINY_ROW_LOSS, 4), TINY_AT(TINY_ROW_CORRECT, 4), {NINC_REGION_CHUNK, 0, 0, 0}

static const NincArg tiny_row_args[] = {TINY_ROW_ARGS};
static const NincArg tiny_gradient_args[] = {
    TINY_AT(TINY_IMAGE, TINY_PIXELS), {NINC_REGION_CHUNK, 0, 0, 0}, TINY_AT(TINY_GRADIENT, 0)};
static const NincArg tiny_metrics_args[] = {
    TINY_AT(TINY_ROW_LOSS, 4), TINY_AT(TINY_ROW_CORRECT, 4), TINY_AT(TINY_VALID, 0),
    TINY_AT(TINY_LOSS, 0), TINY_AT(TINY_CORRECT, 0)};
static const NincArg tiny_update_args[] = {
    {NINC_REGION_STATE, 0, 0, 0}, TINY_AT(TINY_GRADIENT, 0), TINY_AT(TINY_LR, 0)};
static const NincArg tiny_cuda_row_args[] = {TINY_ROW_ARGS, TINY_SUM};
static const NincArg tiny_cuda_update_args[] = {
    {NINC_REGION_STATE, 0, 0, 0}, TINY_SUM, TINY_AT(TINY_LR, 0)};

#define TINY_ROWS {"rows", 0, tiny_row_args, 8, TINY_CHUNK, false, NULL, 0}
#define TINY_METRICS {"metrics", 2, tiny_metrics_args, 5, 1, false, NULL, 0}
static const NincLaunch tiny_train_chunk[] = {
    TINY_ROWS, {"gradient", 1, tiny_gradient_args, 3, TINY_PIXELS + 1, true, NULL, 0}};
static const NincLaunch tiny_eval_chunk[] = {TINY_ROWS};
static const NincLaunch tiny_train_after[] = {
    TINY_METRICS, {"update", 3, tiny_update_args, 3, 4, false, NULL, 0}};
static const NincLaunch tiny_eval_after[] = {TINY_METRICS};

#define TINY_SCALAR(name, type, where) \
    {name, {.dtype = type, .shape = {0, {0}}}, TINY_AT(where, 0)}
static const NincPort tiny_inputs[] = {
    {"image", {.dtype = DT_U8, .shape = {4, {TINY_BATCH, TINY_SIDE, TINY_SIDE, 1}}},
     TINY_AT(TINY_IMAGE, TINY_PIXELS)},
    {"label", {.dtype = DT_I32, .shape = {1, {TINY_BATCH}}}, TINY_AT(TINY_LABEL, 4)},
    TINY_SCALAR("valid", DT_I32, TINY_VALID),
    TINY_SCALAR("lr", DT_F32, TINY_LR)};
static const NincPort tiny_outputs[] = {TINY_SCALAR("loss", DT_F32, TINY_LOSS),
                                        TINY_SCALAR("correct", DT_I32, TINY_CORRECT)};

static const NincStorage tiny_storage[] = {
    {"fc.weight", NULL,
     {DT_F32, {4, {TINY_CLASSES, 1, TINY_SIDE, TINY_SIDE}},
      {.kind = LAYOUT_FILTER, .block = 1, .out_block = TINY_LANES}},
     NINC_ROLE_WEIGHT, TINY_PIXELS, TINY_CLASSES * TINY_PIXELS, 0},
    {"fc.bias", NULL,
     {DT_F32, {1, {TINY_CLASSES}}, {.kind = LAYOUT_VECTOR, .block = TINY_LANES}},
     NINC_ROLE_BIAS, TINY_PIXELS, TINY_CLASSES * TINY_PIXELS, TINY_BIAS}};

/* Shared bytes, images a chunk, the launches for each chunk and those after them. */
#define TINY_PROGRAM(title, bytes, images, steps, count, tail, tails)                            \
    {.name = title, .batch = TINY_BATCH, .chunk = images, .shared_bytes = bytes,                 \
     .chunk_bytes = (images) * TINY_LOGITS, .chunked = steps, .chunkeds = count, .after = tail,  \
     .afters = tails, .input = tiny_inputs, .inputs = 4, .output = tiny_outputs, .outputs = 2}

/* Two blocks of tiles by three parts of the images; the first way needs more shared memory. */
static const NincSchedule tiny_tiled[] = {
    {64, 32, 16, 4, TINY_SPLIT, 128, 90000, 2, 1, 80},
    {64, 32, 16, 2, TINY_SPLIT, 128, 40000, 2, 1, 75}};
static const NincSchedule tiny_simple[] = {{0, 0, 0, 0, 1, 256, 0, 5, 1, 75}};
static const NincLaunch tiny_cuda_train[] = {
    {"rows", 0, tiny_cuda_row_args, 9, 1, false, tiny_tiled, 2}};
static const NincLaunch tiny_cuda_train_after[] = {
    {"metrics", 1, tiny_metrics_args, 5, 1, false, tiny_simple, 1},
    {"update", 2, tiny_cuda_update_args, 3, 1, false, tiny_simple, 1}};
static const NincLaunch tiny_cuda_eval[] = {
    {"eval_rows", 3, tiny_row_args, 8, 1, false, tiny_simple, 1}};
static const NincLaunch tiny_cuda_eval_after[] = {
    {"eval_metrics", 4, tiny_metrics_args, 5, 1, false, tiny_simple, 1}};

const NincModel ninc_model = {
    .name = "tiny", .dataset = "idx", .recipe = "batch 7\nparameter fc.weight 3x1x4x4\n",
    .image_h = TINY_SIDE, .image_w = TINY_SIDE, .image_c = 1,
    .classes = TINY_CLASSES, .lr = 0.5, .epochs = 2, .log_every = 10, .checkpoint_every = 20,
    .init = NINC_INIT_PYTORCH, .storages = 2,
    .target = {[NINC_CPU] = {
        .precision = "fp32", .state_bytes = TINY_STATE, .storage = tiny_storage,
        .train = TINY_PROGRAM("train", TINY_SHARED, TINY_CHUNK, tiny_train_chunk, 2,
                              tiny_train_after, 2),
        .eval = TINY_PROGRAM("eval", TINY_SHARED, TINY_CHUNK, tiny_eval_chunk, 1,
                             tiny_eval_after, 1)},
     [NINC_CUDA] = {
        .precision = "fp32", .state_bytes = TINY_STATE, .storage = tiny_storage,
        .train = TINY_PROGRAM("train", TINY_CUDA_SHARED, TINY_BATCH, tiny_cuda_train, 1,
                              tiny_cuda_train_after, 2),
        .eval = TINY_PROGRAM("eval", TINY_CUDA_SHARED, TINY_BATCH, tiny_cuda_eval, 1,
                             tiny_cuda_eval_after, 1)}}};

static NincKernelFn *const tiny_kernels[] = {tiny_rows, tiny_gradient, tiny_metrics, tiny_update,
                                             tiny_prepare};
static const NincCpuLevel tiny_level = {"baseline", NINC_CPU, tiny_kernels};
const NincCpuLevel *const ninc_cpu_levels[] = {&tiny_level, NULL};
const char ninc_ir_text[] = "";
const size_t ninc_ir_length = 0;
const char ninc_cuda_text[] = "";
const size_t ninc_cuda_length = 0;
const NincCubin ninc_cubins[] = {{0}};

#endif
