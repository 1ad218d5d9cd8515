/* Which training images validate. */
#include "../../runtime/train/run.h"

#include "messages.h"
#include "scratch.h"
#include "tiny_plan.h"

#include <string.h>

enum { IMAGES = 130, CLASSES = 3, PIXELS = 4 };

/* 100 images of class 0, 28 of class 1, 2 of class 2, mixed. */
static int label_of(int i)
{
    return i == 7 || i == 99 ? 2 : i % 14 < 3 ? 1 : 0;
}

/* Image i has the pixels i, i + 1 ... */
static Dataset make_images(void)
{
    Dataset d = {.count = IMAGES, .h = 2, .w = 2, .c = 1, .image = xmalloc(IMAGES * PIXELS),
                 .label = xmalloc(IMAGES * sizeof(int32_t))};
    for (int i = 0; i < IMAGES; i++) {
        d.label[i] = label_of(i);
        for (int k = 0; k < PIXELS; k++)
            d.image[i * PIXELS + k] = (uint8_t)(i + k);
    }
    return d;
}

static void count_classes(const Dataset *d, int count[CLASSES])
{
    memset(count, 0, CLASSES * sizeof *count);
    for (int i = 0; i < d->count; i++)
        count[d->label[i]]++;
}

/* The images are those that they were, in their order, with their labels. */
static void expect_images(const Dataset *d)
{
    for (int i = 0; i < d->count; i++) {
        int image = d->image[i * PIXELS];
        ck_assert_int_eq(d->image[i * PIXELS + 3], image + 3);
        ck_assert_int_eq(d->label[i], label_of(image));
        ck_assert(i == 0 || image > d->image[(i - 1) * PIXELS]);
    }
}

START_TEST(test_classes)
{
    SplitBy by = {0.1, 5, CLASSES};
    Dataset train = make_images(), validation, whole = make_images();
    int all[CLASSES], left[CLASSES], taken[CLASSES];
    count_classes(&whole, all);
    ck_assert_int_eq(dataset_divide(&by, &train, &validation), 0);
    expect_images(&train);
    expect_images(&validation);
    ck_assert_int_eq(train.count + validation.count, IMAGES);
    count_classes(&train, left);
    count_classes(&validation, taken);
    for (int k = 0; k < CLASSES; k++) {
        ck_assert_int_eq(left[k] + taken[k], all[k]);
        ck_assert_int_eq(taken[k], k == 2 ? 1 : (all[k] + 5) / 10);
    }
    dataset_free(&train);
    dataset_free(&validation);
    dataset_free(&whole);
}
END_TEST

static void mark(uint64_t seed, double share, bool out[IMAGES])
{
    Dataset d = make_images();
    ck_assert_int_eq(split_marks(&(SplitBy){share, seed, CLASSES}, d.label, d.count, out), 0);
    dataset_free(&d);
}

/* A seed's are always the same, another's are others; of a larger part the smaller is part. */
START_TEST(test_seeds)
{
    bool a[IMAGES], b[IMAGES], c[IMAGES], more[IMAGES];
    mark(5, 0.2, a);
    mark(5, 0.2, b);
    mark(6, 0.2, c);
    mark(5, 0.5, more);
    ck_assert_mem_eq(a, b, sizeof a);
    ck_assert(memcmp(a, c, sizeof a) != 0);
    for (int i = 0; i < IMAGES; i++)
        ck_assert(!a[i] || more[i]);
}
END_TEST

/* Neither part of a class is empty. */
START_TEST(test_extremes)
{
    static const double share[] = {1e-6, 0.999999};
    for (int s = 0; s < 2; s++) {
        SplitBy by = {share[s], 1, CLASSES};
        Dataset train = make_images(), validation;
        int left[CLASSES], taken[CLASSES];
        ck_assert_int_eq(dataset_divide(&by, &train, &validation), 0);
        count_classes(&train, left);
        count_classes(&validation, taken);
        for (int k = 0; k < CLASSES; k++)
            ck_assert_int_eq(s == 0 ? taken[k] : left[k], 1);
        dataset_free(&train);
        dataset_free(&validation);
    }
}
END_TEST

/* A class that no image is of stays so; one of a single image cannot be divided. */
START_TEST(test_single)
{
    SplitBy by = {0.5, 1, CLASSES};
    bool mark_of[5];
    ck_assert_int_eq(split_marks(&by, (int32_t[]){0, 0, 2, 2, 0}, 5, mark_of), 0);
    catch_errors();
    ck_assert_int_eq(split_marks(&by, (int32_t[]){0, 0, 1, 2, 2}, 5, mark_of), -1);
    expect_error("would leave class 1, which has 1 training image, without any");
}
END_TEST

/* Of a mapped file both are copies; names go with their images. */
START_TEST(test_mapped)
{
    Dataset made = make_images(), d = made, validation;
    SplitBy by = {0.3, 2, CLASSES};
    write_file("images", made.image, IMAGES * PIXELS);
    ck_assert_int_eq(filemap_open(&d.mapped, at("images")), 0);
    d.image = d.mapped.bytes;
    d.file = xmalloc(IMAGES * sizeof *d.file);
    for (int i = 0; i < IMAGES; i++) {
        d.file[i] = xmalloc(16);
        snprintf(d.file[i], 16, "%d.png", i);
    }
    ck_assert_int_eq(dataset_divide(&by, &d, &validation), 0);
    ck_assert_ptr_null(d.mapped.bytes);
    expect_images(&d);
    expect_images(&validation);
    for (int i = 0; i < validation.count; i++)
        ck_assert_int_eq(atoi(validation.file[i]), validation.image[i * PIXELS]);
    for (int i = 0; i < d.count; i++)
        ck_assert_int_eq(atoi(d.file[i]), d.image[i * PIXELS]);
    dataset_free(&d);
    dataset_free(&validation);
    free(made.image);
}
END_TEST

/* Random images as a data set: both parts of one reading are those of each alone. */
START_TEST(test_load)
{
    DataSettings settings = {.validation_split = 0.25};
    NincModel model = ninc_model;
    model.data = &settings;
    DataSource source = {.model = &model, .data = "random", .seed = 3};
    Dataset train, validation, alone, test;
    ck_assert_int_eq(dataset_load_training(&source, &train, &validation), 0);
    ck_assert_int_eq(train.count + validation.count, RANDOM_TRAIN_IMAGES);
    ck_assert_int_eq(dataset_load(&source, SPLIT_VALIDATION, &alone), 0);
    ck_assert_int_eq(alone.count, validation.count);
    ck_assert_mem_eq(alone.image, validation.image, (size_t)(alone.count * TINY_PIXELS));
    dataset_free(&alone);
    ck_assert_int_eq(dataset_load(&source, SPLIT_TRAIN, &alone), 0);
    ck_assert_int_eq(alone.count, train.count);
    ck_assert_mem_eq(alone.image, train.image, (size_t)(alone.count * TINY_PIXELS));
    ck_assert_int_eq(dataset_load(&source, SPLIT_TEST, &test), 0);
    ck_assert_int_eq(test.count, RANDOM_TEST_IMAGES);
    dataset_free(&alone);
    dataset_free(&train);
    dataset_free(&validation);
    dataset_free(&test);
    model.data = NULL;
    catch_errors();
    ck_assert_int_eq(dataset_load(&source, SPLIT_VALIDATION, &alone), -1);
    expect_error("no validation images of its own, and the model no validation_split");
}
END_TEST

/* A run whose training images are those. */
static Run run_of(const NincModel *model)
{
    Run r = {.model = model, .ordered = -1, .train = make_images()};
    r.state = (RunState){.seed = 4, .shuffle = true};
    r.order = dataset_order(&r.train);
    return r;
}

/* Each class is drawn as often as the others but for chance: of 130 draws 43, give or take four
 * deviations of 5.4; the two images of class 2 come many times. */
START_TEST(test_sampler)
{
    NincModel model = ninc_model;
    model.draws_alike = true;
    Run r = run_of(&model), again = run_of(&model);
    int32_t first[IMAGES];
    for (r.state.epoch = 0; r.state.epoch < 3; r.state.epoch++) {
        int count[CLASSES] = {0};
        run_order_epoch(&r);
        for (int i = 0; i < IMAGES; i++)
            count[r.train.label[r.order[i]]]++;
        for (int k = 0; k < CLASSES; k++)
            ck_assert(abs(count[k] - 43) < 22);
        ck_assert(r.state.epoch == 0 || memcmp(first, r.order, sizeof first) != 0);
        memcpy(first, r.order, sizeof first);
    }
    again.state.epoch = 2; /* a run that is resumed there */
    run_order_epoch(&again);
    ck_assert_mem_eq(again.order, first, sizeof first);
    for (int i = 0; i < 2; i++) {
        Run *run = i ? &again : &r;
        dataset_free(&run->train);
        free(run->order);
    }
}
END_TEST

/* Classes without images are never drawn. */
START_TEST(test_sampler_gaps)
{
    NincModel model = ninc_model;
    model.draws_alike = true;
    Run r = run_of(&model);
    for (int i = 0; i < IMAGES; i++)
        r.train.label[i] = r.train.label[i] ? 2 : 0;
    run_order_epoch(&r);
    for (int i = 0; i < IMAGES; i++)
        ck_assert(r.order[i] >= 0 && r.order[i] < IMAGES);
    dataset_free(&r.train);
    free(r.order);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_classes, test_seeds, test_extremes, test_single,
                                  test_mapped,  test_load,  test_sampler,  test_sampler_gaps};
    return run_in_scratch("split", tests, sizeof tests / sizeof *tests, NULL);
}
