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
    ck_assert_int_eq(device_step(on, d, &device_target(&ninc_model, on)->train, &input), 0);
    ck_assert_int_eq(on->read_metrics(d, &m), 0);
    ck_assert_int_eq(m.images, valid);
    ck_assert_int_eq(weights_from_device(after, on, d), 0);
    dataset_free(&data);
    on->close(d);
    return m.loss / valid;
}

/* ---- a step whose sums are exchanged ---- */

/* Two processes, one behind the other: what the second one has goes into the first one's sums. */
typedef struct Process {
    const DeviceTable *table;
    Device *device;
    NincArg gradient;
    int copies;
    int images, others; /* of this process and of the other */
    float sum[TINY_GRADIENT_BYTES / sizeof(float)], other[TINY_GRADIENT_BYTES / sizeof(float)];
} Process;

enum { TINY_SUMS = TINY_GRADIENT_BYTES / sizeof(float) };

/* The gradient as its readers have it: its copies added up. */
static inline int take_sums(void *who)
{
    Process *p = who;
    float copy[TINY_SUMS];
    memset(p->sum, 0, sizeof p->sum);
    for (int c = 0; c < p->copies; c++) {
        if (p->table->read(p->device, &p->gradient, c, copy, sizeof copy) < 0)
            return -1;
        for (int i = 0; i < TINY_SUMS; i++)
            p->sum[i] += copy[i];
    }
    return 0;
}

/* A gradient is a mean over the images of its process. */
static inline int join_sums(void *who)
{
    Process *p = who;
    const float none[TINY_SUMS] = {0};
    if (take_sums(p) < 0)
        return -1;
    for (int i = 0; i < TINY_SUMS; i++)
        p->sum[i] = (p->sum[i] * (float)p->images + p->other[i] * (float)p->others) /
                    (float)(p->images + p->others);
    for (int c = 0; c < p->copies; c++)
        if (p->table->write(p->device, &p->gradient, c, c == 0 ? p->sum : none, sizeof none) < 0)
            return -1;
    return 0;
}

static inline int fail_sums(void *who)
{
    (void)who;
    return -1;
}

/* A step over p->images images of some_images from `first` on; returns what reduce does. */
static inline int exchange_step(Process *p, int first, int (*sums)(void *), Weights *after)
{
    DeviceOptions options = {.threads = 2, .with_train = true};
    const NincProgram *train = &device_target(&ninc_model, p->table)->train;
    Dataset data = random_data(5, SPLIT_TEST);
    StepInput input = step_on(&data, p->images);
    Exchange exchange = {.sums = sums, .who = p};
    input.index += first;
    p->device = p->table->open(&ninc_model, &options);
    ck_assert_ptr_nonnull(p->device);
    send_weights(p->table, p->device);
    ck_assert_int_eq(p->table->run_chunks(p->device, train, &input), 0);
    int status = p->table->reduce(p->device, train, &exchange);
    if (status == 0)
        ck_assert_int_eq(p->table->run_after(p->device, train), 0);
    ck_assert_int_eq(weights_from_device(after, p->table, p->device), 0);
    dataset_free(&data);
    p->table->close(p->device);
    return status;
}

static inline void expect_weights(const Weights *got, const Weights *want)
{
    for (int i = 0; i < TINY_CLASSES * TINY_PIXELS; i++)
        ck_assert(fabs(got->value[0][i] - want->value[0][i]) <= 1e-6);
}

/* Sums that are only looked at change no bit; two processes of some images each come to the weights
 * that one has of all; nothing is updated where an exchange fails. */
static inline void expect_exchange(const DeviceTable *on, NincArg gradient, int copies)
{
    enum { FIRST = 3, BYTES = TINY_CLASSES * TINY_PIXELS * sizeof(float) };
    Process p = {.table = on, .gradient = gradient, .copies = copies, .images = TINY_BATCH};
    Weights *want = weights_new(&ninc_model), *got = weights_new(&ninc_model);
    step_loss(on, 2, TINY_BATCH, want);
    ck_assert_int_eq(exchange_step(&p, 0, take_sums, got), 0);
    ck_assert_mem_eq(got->value[0], want->value[0], BYTES);
    p.images = TINY_BATCH - FIRST;
    ck_assert_int_eq(exchange_step(&p, FIRST, take_sums, got), 0);
    ck_assert_mem_ne(got->value[0], want->value[0], BYTES);
    memcpy(p.other, p.sum, sizeof p.sum);
    p.others = p.images;
    p.images = FIRST;
    ck_assert_int_eq(exchange_step(&p, 0, join_sums, got), 0);
    expect_weights(got, want);
    Weights *start = random_weights(9);
    ck_assert_int_eq(exchange_step(&p, 0, fail_sums, got), -1);
    ck_assert_mem_eq(got->value[0], start->value[0], BYTES);
    weights_free(start);
    weights_free(want);
    weights_free(got);
}

#endif
