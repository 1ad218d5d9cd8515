/* Dropout in the naive evaluator: how much is kept, what draws apart, and which random words. */
#include "../../runtime/base/base.h"

#include "one_op.h"

#include <string.h>

/* A dropout of ones: how many values are kept, and whether each is 1 / (1 - p). */
static int64_t count_kept(Fixture *f, const Node *n)
{
    double scale = 1 / (1 - n->attr.dropout.p);
    int64_t kept = 0;
    for (int64_t i = 0; i < eval_elements(f->eval, n); i++) {
        double y = value(f, n)[i];
        ck_assert_msg(y == 0 || y == scale, "%g", y);
        kept += y != 0;
    }
    return kept;
}

typedef struct Dropped {
    Fixture f;
    Node *x, *seed, *step, *y;
} Dropped;

static Dropped dropped(double p, int layer)
{
    Dropped d = {.f = fixture_new(3)};
    Attr attr = {.dropout = {p, layer}};
    Shape scalar = shape_of(0, 0, 0, 0, 0);
    d.x = map_input(&d.f, "x", 11, 30, 21);
    d.seed = input(&d.f, "seed", DT_I32, scalar);
    d.step = input(&d.f, "step", DT_I32, scalar);
    d.y = add(&d.f, OP_DROPOUT, &attr, 3, (Node *[]){d.x, d.seed, d.step});
    start(&d.f, 0);
    for (int64_t i = 0; i < eval_elements(d.f.eval, d.x); i++)
        value(&d.f, d.x)[i] = 1;
    return d;
}

/* The values for a seed and a step, in an array of the evaluator's, which a copy keeps. */
static double *drawn(Dropped *d, int seed, int step)
{
    SET(&d->f, d->seed, {seed});
    SET(&d->f, d->step, {step});
    eval_run(d->f.eval);
    size_t bytes = (size_t)eval_elements(d->f.eval, d->y) * sizeof(double);
    return memcpy(pool_alloc(d->f.module->pool, bytes), value(&d->f, d->y), bytes);
}

static double correlation(Dropped *d, const double *a, const double *b)
{
    int64_t count = eval_elements(d->f.eval, d->y);
    double p = d->y->attr.dropout.p, sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (a[i] - 1) * (b[i] - 1);
    return sum / (double)count * (1 - p) / p;
}

/* Each value is kept with the probability 1 - p: its mean is 1, its variance p / (1 - p). Within
 * five standard deviations, of a fixed seed. */
START_TEST(dropout_keeps_the_mean)
{
    static const double rates[] = {0.5, 0.1, 0.875};
    double p = rates[_i];
    Dropped d = dropped(p, 0);
    double *y = drawn(&d, 7, 1), sum = 0, squares = 0;
    int64_t count = eval_elements(d.f.eval, d.y), kept = count_kept(&d.f, d.y);
    double deviation = sqrt(p / (1 - p) / (double)count);
    for (int64_t i = 0; i < count; i++) {
        sum += y[i];
        squares += (y[i] - 1) * (y[i] - 1);
    }
    ck_assert(fabs(sum / (double)count - 1) < 5 * deviation);
    ck_assert(fabs((double)kept / (double)count - (1 - p)) < 5 * sqrt(p * (1 - p) / (double)count));
    ck_assert(fabs(squares / (double)count * (1 - p) / p - 1) < 0.05 / (1 - p));
    fixture_free(&d.f);
}
END_TEST

/* Other values at another step, of another seed or layer; the same ones for the same. */
START_TEST(dropout_draws_apart)
{
    Dropped d = dropped(0.5, 0), other = dropped(0.5, 1);
    double *y = drawn(&d, 7, 1);
    ck_assert(correlation(&d, y, drawn(&d, 7, 1)) > 0.999);
    ck_assert(fabs(correlation(&d, y, drawn(&d, 7, 2))) < 0.04);
    ck_assert(fabs(correlation(&d, y, drawn(&d, -8, 1))) < 0.04);
    ck_assert(fabs(correlation(&d, y, drawn(&other, 7, 1))) < 0.04);
    fixture_free(&d.f);
    fixture_free(&other.f);
}
END_TEST

/* Value by value, from the runtime's Philox: a counter is of four pixels of a row and a channel. */
START_TEST(dropout_is_of_philox)
{
    enum { LAYER = 3, SEED = -9, STEP = 1000001, H = 11, W = 30, C = 21 };
    Dropped d = dropped(0.25, LAYER);
    double *y = drawn(&d, SEED, STEP);
    for (int at = 0; at < 3 * H * W * C; at++) {
        uint32_t word[4], key[] = {(uint32_t)SEED, LAYER};
        int c = at % C, w = at / C % W, row = at / C / W;
        uint32_t counter[] = {(uint32_t)(row * ((W + 3) / 4) + w / 4), (uint32_t)c, STEP,
                              0x64726f70};
        philox4x32_10(counter, key, word);
        ck_assert_int_eq(y[at] != 0, word[w % 4] >= 1u << 30);
    }
    fixture_free(&d.f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("eval_dropout");
    TCase *tests = tcase_create("dropout");
    tcase_add_loop_test(tests, dropout_keeps_the_mean, 0, 3);
    tcase_add_test(tests, dropout_draws_apart);
    tcase_add_test(tests, dropout_is_of_philox);
    suite_add_tcase(s, tests);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
