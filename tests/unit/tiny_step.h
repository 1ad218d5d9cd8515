/* What the tests of devices share: a step of tiny_plan.h's model on any of them. Include it in one
 * file of a program only. */
#ifndef NINC_TINY_STEP_H
#define NINC_TINY_STEP_H

#include "../../ir/ir.h"
#include "../../runtime/train/train.h"
#include "messages.h"
#include "tiny_plan.h"

#include <check.h>
#include <stdlib.h>

/* ---- a step ---- */

static const int32_t some_images[TINY_BATCH] = {40, 3, 17, 90, 6, 25, 14};

static Dataset random_data(uint64_t seed, Split split)
{
    Dataset data;
    ck_assert_int_eq(dataset_read(&ninc_model, "random", seed, split, &data), 0);
    return data;
}

static StepInput step_on(const Dataset *data, int valid)
{
    return (StepInput){
        .data = data, .index = some_images, .valid = valid, .lr = 0.5f, .step = 1};
}

static Weights *random_weights(uint64_t seed)
{
    Weights *w = weights_new(&ninc_model);
    weights_init(w, seed);
    return w;
}

/* The weights that every step here starts from. */
static void send_weights(const DeviceTable *to, Device *d)
{
    Weights *w = random_weights(9);
    ck_assert_int_eq(weights_to_device(w, to, d), 0);
    weights_free(w);
}

/* Loss and weights after one step over `valid` images; the rows past them must count nothing. */
static inline double step_loss(const DeviceTable *on, int threads, int valid, Weights *after)
{
    DeviceOptions options = {.threads = threads, .with_train = true};
    Device *d = on->open(&ninc_model, &options);
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, valid);
    Metrics m;
    ck_assert_ptr_nonnull(d);
    send_weights(on, d);
    ck_assert_int_eq(on->step(d, &device_target(&ninc_model, on)->train, &input), 0);
    ck_assert_int_eq(on->read_metrics(d, &m), 0);
    ck_assert_int_eq(m.images, valid);
    ck_assert_int_eq(weights_from_device(after, on, d), 0);
    dataset_free(&data);
    on->close(d);
    return m.loss / valid;
}

static inline void expect_weights(const Weights *got, const Weights *want)
{
    for (int i = 0; i < TINY_CLASSES * TINY_PIXELS; i++)
        ck_assert(fabs(got->value[0][i] - want->value[0][i]) <= 1e-6);
}

#endif
