/* Augmentation in the naive evaluator: how often and how far images are changed, what draws apart,
 * and each change against the formulas of torchvision in double, from the runtime's Philox. */
#include "../../runtime/base/base.h"

#include "one_op.h"

#include <string.h>

enum { IMAGES = 1000, TAG = 0x6175676d };

typedef struct Augmented {
    Fixture f;
    Node *image, *seed, *epoch, *index, *y;
    int h, w, c;
} Augmented;

static Augmented augmented(Op op, AugmentAttr attr, int h, int w, int c)
{
    Augmented a = {.f = fixture_new(IMAGES), .h = h, .w = w, .c = c};
    Attr all = {.augment = attr};
    Shape scalar = shape_of(0, 0, 0, 0, 0);
    a.image = input(&a.f, "image", DT_U8, shape_of(4, IMAGES, h, w, c));
    a.seed = input(&a.f, "seed", DT_I32, scalar);
    a.epoch = input(&a.f, "epoch", DT_I32, scalar);
    a.index = input(&a.f, "index", DT_I32, shape_of(1, IMAGES, 0, 0, 0));
    a.y = add(&a.f, op, &all, 4, (Node *[]){a.image, a.seed, a.epoch, a.index});
    start(&a.f, 0);
    SET(&a.f, a.seed, {-7});
    SET(&a.f, a.epoch, {3});
    for (int i = 0; i < IMAGES; i++)
        value(&a.f, a.index)[i] = 3 * i + 1;
    return a;
}

/* Every image has in place i what the function gives. */
static void fill(Augmented *a, double (*of)(int i))
{
    int size = a->h * a->w * a->c;
    for (int64_t i = 0; i < eval_elements(a->f.eval, a->image); i++)
        value(&a->f, a->image)[i] = of((int)(i % size));
    eval_run(a->f.eval);
}

static const double *result(Augmented *a, int image)
{
    return value(&a->f, a->y) + (int64_t)image * a->h * a->w * a->c;
}

static double one(int i)
{
    (void)i;
    return 1;
}

static double place(int i)
{
    return i + 1;
}

static double noise(int i)
{
    return (double)((uint32_t)(i + 1) * 2654435761u >> 24);
}

/* The words that an image's op draws from. */
static void draw(const Augmented *a, int image, uint32_t block, double unit[4])
{
    uint32_t word[4], key[] = {(uint32_t)-7, (uint32_t)a->y->attr.augment.draw};
    uint32_t counter[] = {(uint32_t)(3 * image + 1), 3, block, TAG};
    philox4x32_10(counter, key, word);
    for (int i = 0; i < 4; i++)
        unit[i] = ((double)word[i] + 0.5) / 4294967296.0;
}

static double source(const Augmented *a, double y, double x, int c)
{
    bool inside = y >= 0 && y < a->h && x >= 0 && x < a->w;
    return inside ? noise(((int)y * a->w + (int)x) * a->c + c) : 0;
}

/* A count of tries, each of which comes about with the probability p: within five standard
 * deviations. */
static void expect_count(int64_t count, int64_t tries, double p)
{
    double n = (double)tries;
    if (!(fabs((double)count - n * p) <= 5 * sqrt(n * p * (1 - p))))
        ck_abort_msg("%lld of %lld, expected %g", (long long)count, (long long)tries, n * p);
}

/* ---- crop, flip ---- */

START_TEST(crop_moves_alike_everywhere)
{
    enum { PADDING = 2, SIDE = 5, PLACES = 2 * PADDING + 1 };
    Augmented a = augmented(OP_RANDOM_CROP, (AugmentAttr){{PADDING}, 0}, SIDE, SIDE, 1);
    int64_t count[PLACES][PLACES] = {{0}};
    fill(&a, place);
    for (int n = 0; n < IMAGES; n++) {
        const double *y = result(&a, n);
        int centre = (int)y[SIDE * SIDE / 2] - 1; /* it always comes from inside */
        int down = centre / SIDE - SIDE / 2, across = centre % SIDE - SIDE / 2;
        count[down + PADDING][across + PADDING]++;
        for (int i = 0; i < SIDE * SIDE; i++) {
            int row = i / SIDE + down, column = i % SIDE + across;
            bool inside = row >= 0 && row < SIDE && column >= 0 && column < SIDE;
            ck_assert(y[i] == (inside ? row * SIDE + column + 1 : 0));
        }
    }
    for (int i = 0; i < PLACES * PLACES; i++)
        expect_count(count[i / PLACES][i % PLACES], IMAGES, 1.0 / (PLACES * PLACES));
    fixture_free(&a.f);
}
END_TEST

START_TEST(flip_mirrors_as_often_as_it_is_told)
{
    static const double ps[] = {0, 0.25, 0.5, 1};
    Augmented a = augmented(OP_RANDOM_HORIZONTAL_FLIP, (AugmentAttr){{ps[_i]}, 1}, 2, 3, 2);
    int64_t flipped = 0;
    fill(&a, place);
    for (int n = 0; n < IMAGES; n++) {
        bool mirrored = result(&a, n)[0] != 1;
        for (int i = 0; i < 12; i++)
            ck_assert(result(&a, n)[i] ==
                      (mirrored ? i / 6 * 6 + (2 - i / 2 % 3) * 2 + i % 2 : i) + 1);
        flipped += mirrored;
    }
    expect_count(flipped, IMAGES, ps[_i]);
    fixture_free(&a.f);
}
END_TEST

/* ---- rotation ---- */

/* Nearest, where it is not a matter of rounding. */
static int compare_turned(const Augmented *a, const double *y, double radians)
{
    int compared = 0;
    for (int i = 0; i < a->h * a->w; i++) {
        double right = i % a->w - (a->w - 1) / 2.0, below = i / a->w - (a->h - 1) / 2.0;
        double x = cos(radians) * right - sin(radians) * below + (a->w - 1) / 2.0 + 0.5;
        double row = sin(radians) * right + cos(radians) * below + (a->h - 1) / 2.0 + 0.5;
        if (fabs(x - rint(x)) < 1e-5 || fabs(row - rint(row)) < 1e-5)
            continue;
        for (int c = 0; c < a->c; c++)
            ck_assert(y[i * a->c + c] == source(a, floor(row), floor(x), c));
        compared++;
    }
    return compared;
}

START_TEST(rotation_turns_evenly_around_the_centre)
{
    static const double degrees[] = {180, 20};
    Augmented a = augmented(OP_RANDOM_ROTATION, (AugmentAttr){{degrees[_i]}, 2}, 9, 14, 2);
    double sum = 0, squares = 0, unit[4];
    fill(&a, noise);
    for (int n = 0; n < IMAGES; n++) {
        draw(&a, n, 0, unit);
        double angle = (2 * unit[0] - 1) * degrees[_i];
        ck_assert_int_gt(compare_turned(&a, result(&a, n), angle * acos(-1) / 180), 9 * 14 / 2);
        sum += angle, squares += angle * angle;
    }
    double deviation = degrees[_i] / sqrt(3);
    ck_assert(fabs(sum / IMAGES) < 5 * deviation / sqrt(IMAGES));
    ck_assert(fabs(squares / IMAGES / (deviation * deviation) - 1) < 0.15);
    fixture_free(&a.f);
}
END_TEST

START_TEST(rotation_by_nothing_changes_nothing)
{
    Augmented a = augmented(OP_RANDOM_ROTATION, (AugmentAttr){{0}, 2}, 9, 14, 2);
    fill(&a, noise);
    for (int n = 0; n < IMAGES; n++)
        for (int i = 0; i < 9 * 14 * 2; i++)
            ck_assert(result(&a, n)[i] == noise(i));
    fixture_free(&a.f);
}
END_TEST

/* ---- parts ---- */

typedef struct Sides {
    double h, w;
    bool near; /* a rounding may be otherwise */
} Sides;

/* Of sides whose ratio first / second was drawn. */
static Sides sides_of(const Augmented *a, const double unit[4], const double *scale, double least,
                      double most, bool first_is_h)
{
    double area = a->h * a->w * (scale[0] + unit[0] * (scale[1] - scale[0]));
    double ratio = exp(log(least) + unit[1] * (log(most) - log(least)));
    double first = sqrt(area * ratio), second = sqrt(area / ratio);
    Sides s = {round(first_is_h ? first : second), round(first_is_h ? second : first), false};
    s.near = fabs(first - floor(first) - 0.5) < 1e-3 || fabs(second - floor(second) - 0.5) < 1e-3;
    return s;
}

/* Height and width of the zeros, which must be a rectangle; all else must be as it was. */
static Sides erased(const Augmented *a, const double *y)
{
    int top = a->h, left = a->w, bottom = -1, right = -1, zeros = 0;
    for (int i = 0; i < a->h * a->w; i++) {
        ck_assert(y[i] == 0 || y[i] == 1);
        if (y[i] != 0)
            continue;
        top = i / a->w < top ? i / a->w : top;
        bottom = i / a->w > bottom ? i / a->w : bottom;
        left = i % a->w < left ? i % a->w : left;
        right = i % a->w > right ? i % a->w : right;
        zeros++;
    }
    Sides s = {bottom < 0 ? 0 : bottom - top + 1, right < 0 ? 0 : right - left + 1, false};
    ck_assert(zeros == s.h * s.w);
    return s;
}

START_TEST(erasing_takes_boxes_of_the_size_it_is_told)
{
    const AugmentAttr attr = {{0.4, 0.05, 0.25}, 0};
    Augmented a = augmented(OP_RANDOM_ERASING, attr, 24, 30, 1);
    int64_t count = 0;
    double area = 0, unit[4];
    fill(&a, one);
    for (int n = 0; n < IMAGES; n++) {
        Sides box = erased(&a, result(&a, n)), want = {0};
        draw(&a, n, 0, unit);
        bool erases = unit[0] < 0.4;
        for (uint32_t attempt = 1; erases && attempt <= 10 && want.h == 0; attempt++) {
            draw(&a, n, attempt, unit);
            want = sides_of(&a, unit, attr.number + 1, 0.3, 3.3, true);
            if (want.near || (want.h < a.h && want.w < a.w))
                break;
            want = (Sides){0};
        }
        ck_assert(want.near || (box.h == want.h && box.w == want.w));
        count += erases;
        area += box.h * box.w / (a.h * a.w);
    }
    expect_count(count, IMAGES, 0.4);
    ck_assert(fabs(area / (double)count - 0.15) < 0.015);
    fixture_free(&a.f);
}
END_TEST

/* F.interpolate(mode='bilinear', align_corners=False) of the part, in double. */
static double enlarged(const Augmented *a, double top, double left, Sides part, int i, int c)
{
    double y = fmax((i / a->w + 0.5) * part.h / a->h - 0.5, 0), x0, y0;
    double x = fmax((i % a->w + 0.5) * part.w / a->w - 0.5, 0);
    double down = modf(y, &y0), across = modf(x, &x0);
    double y1 = fmin(y0 + 1, part.h - 1), x1 = fmin(x0 + 1, part.w - 1);
    double above = source(a, top + y0, left + x0, c) * (1 - across) +
                   source(a, top + y0, left + x1, c) * across;
    double below = source(a, top + y1, left + x0, c) * (1 - across) +
                   source(a, top + y1, left + x1, c) * across;
    return above * (1 - down) + below * down;
}

START_TEST(resized_crop_enlarges_a_part)
{
    const AugmentAttr attr = {{0.08, 1, 0.75, 4. / 3}, 4};
    Augmented a = augmented(OP_RANDOM_RESIZED_CROP, attr, 13, 17, 3);
    double unit[4];
    int compared = 0;
    fill(&a, noise);
    for (int n = 0; n < IMAGES; n++) {
        Sides part = {0};
        for (uint32_t attempt = 1; attempt <= 10; attempt++) {
            draw(&a, n, attempt, unit);
            part = sides_of(&a, unit, attr.number, 0.75, 4. / 3, false);
            if (part.near || (part.w <= a.w && part.h <= a.h))
                break;
            part.h = 0;
        }
        if (part.near || part.h == 0)
            continue;
        double top = floor(unit[2] * (a.h - part.h + 1));
        double left = floor(unit[3] * (a.w - part.w + 1));
        for (int i = 0; i < a.h * a.w * a.c; i++)
            ck_assert(fabs(result(&a, n)[i] - enlarged(&a, top, left, part, i / a.c, i % a.c)) <=
                      0.57);
        compared++;
    }
    ck_assert_int_gt(compared, IMAGES * 9 / 10);
    fixture_free(&a.f);
}
END_TEST

/* Where no draw can fit, the part is central, and of a ratio that is wanted. */
START_TEST(resized_crop_falls_back_to_the_centre)
{
    Augmented a = augmented(OP_RANDOM_RESIZED_CROP, (AugmentAttr){{0.9, 1, 4, 4}, 0}, 12, 12, 1);
    fill(&a, noise);
    for (int n = 0; n < IMAGES; n += 100)
        for (int i = 0; i < 144; i++)
            ck_assert(fabs(result(&a, n)[i] -
                           enlarged(&a, 4, 0, (Sides){3, 12, false}, i, 0)) <= 0.57);
    fixture_free(&a.f);
}
END_TEST

/* ---- colours ---- */

static double clamped(double x)
{
    return fmin(fmax(floor(x), 0), 255);
}

static double gray(const double *v, int channels)
{
    return channels == 3 ? floor(0.2989 * v[0] + 0.587 * v[1] + 0.114 * v[2]) : v[0];
}

/* ColorJitter in double, of one image; in `out`. */
static void jittered(const Augmented *a, const double factor[3], double *out)
{
    double mean = 0;
    int pixels = a->h * a->w;
    for (int i = 0; i < pixels * a->c; i++)
        out[i] = clamped(noise(i) * factor[0]);
    for (int i = 0; i < pixels; i++)
        mean += gray(out + i * a->c, a->c) / pixels;
    for (int i = 0; i < pixels; i++) {
        double *v = out + i * a->c;
        for (int c = 0; c < a->c; c++)
            v[c] = clamped(factor[1] * v[c] + (1 - factor[1]) * mean);
        double level = gray(v, a->c);
        for (int c = 0; c < a->c; c++)
            v[c] = clamped(factor[2] * v[c] + (1 - factor[2]) * level);
    }
}

/* Fixed point rounds down otherwise than double now and then: once an op that does. */
START_TEST(jitter_is_torchvisions)
{
    static const AugmentAttr attrs[] = {{{0.4, 0, 0}, 0}, {{0, 0.8, 0}, 1}, {{0, 0, 1.5}, 2},
                                        {{0.3, 0.3, 0.3}, 3}};
    const AugmentAttr *attr = &attrs[_i];
    Augmented a = augmented(OP_COLOR_JITTER, *attr, 7, 9, 3);
    double unit[4], factor[3], sum[3] = {0}, want[7 * 9 * 3];
    int64_t off = 0;
    fill(&a, noise);
    for (int n = 0; n < IMAGES; n++) {
        draw(&a, n, 0, unit);
        for (int i = 0; i < 3; i++) {
            double s = attr->number[i], least = fmax(0, 1 - s);
            factor[i] = least + unit[i] * (1 + s - least);
            sum[i] += factor[i];
        }
        jittered(&a, factor, want);
        for (int i = 0; i < 7 * 9 * 3; i++) {
            double difference = fabs(result(&a, n)[i] - want[i]);
            ck_assert(difference <= 3);
            off += difference > 0;
        }
    }
    ck_assert((double)off < 0.02 * IMAGES * 7 * 9 * 3);
    for (int i = 0; i < 3; i++) {
        double s = attr->number[i], least = fmax(0, 1 - s), width = 1 + s - least;
        ck_assert(fabs(sum[i] / IMAGES - (least + width / 2)) <= 5 * width / sqrt(12. * IMAGES));
    }
    fixture_free(&a.f);
}
END_TEST

/* ---- what draws apart ---- */

/* How many images are the same in both; of places of a crop one in (2 * padding + 1)^2. */
static int64_t same(Augmented *a, const double *before)
{
    int64_t count = 0;
    size_t bytes = (size_t)(a->h * a->w) * sizeof(double);
    for (int n = 0; n < IMAGES; n++)
        count += memcmp(result(a, n), before + n * a->h * a->w, bytes) == 0;
    return count;
}

START_TEST(seed_epoch_image_and_op_draw_apart)
{
    enum { SIDE = 5, CHANCES = 25 };
    Augmented a = augmented(OP_RANDOM_CROP, (AugmentAttr){{2}, 0}, SIDE, SIDE, 1);
    Augmented other = augmented(OP_RANDOM_CROP, (AugmentAttr){{2}, 1}, SIDE, SIDE, 1);
    size_t bytes = (size_t)eval_elements(a.f.eval, a.y) * sizeof(double);
    fill(&a, place);
    fill(&other, place);
    double *before = memcpy(pool_alloc(a.f.pool, bytes), value(&a.f, a.y), bytes);
    eval_run(a.f.eval);
    ck_assert_int_eq(same(&a, before), IMAGES);
    expect_count(same(&other, before), IMAGES, 1. / CHANCES);
    SET(&a.f, a.seed, {8});
    eval_run(a.f.eval);
    expect_count(same(&a, before), IMAGES, 1. / CHANCES);
    SET(&a.f, a.seed, {-7});
    SET(&a.f, a.epoch, {4});
    eval_run(a.f.eval);
    expect_count(same(&a, before), IMAGES, 1. / CHANCES);
    SET(&a.f, a.epoch, {3});
    for (int i = 0; i < IMAGES; i++) /* an image's place in the batch says nothing */
        value(&a.f, a.index)[i] = 3 * (IMAGES - 1 - i) + 1;
    eval_run(a.f.eval);
    for (int n = 0; n < IMAGES; n++)
        ck_assert(memcmp(result(&a, n), before + (IMAGES - 1 - n) * SIDE * SIDE,
                         SIDE * SIDE * sizeof(double)) == 0);
    fixture_free(&a.f);
    fixture_free(&other.f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("eval_augment");
    TCase *tests = tcase_create("augment");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, crop_moves_alike_everywhere);
    tcase_add_loop_test(tests, flip_mirrors_as_often_as_it_is_told, 0, 4);
    tcase_add_loop_test(tests, rotation_turns_evenly_around_the_centre, 0, 2);
    tcase_add_test(tests, rotation_by_nothing_changes_nothing);
    tcase_add_test(tests, erasing_takes_boxes_of_the_size_it_is_told);
    tcase_add_test(tests, resized_crop_enlarges_a_part);
    tcase_add_test(tests, resized_crop_falls_back_to_the_centre);
    tcase_add_loop_test(tests, jitter_is_torchvisions, 0, 4);
    tcase_add_test(tests, seed_epoch_image_and_op_draw_apart);
    suite_add_tcase(s, tests);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
