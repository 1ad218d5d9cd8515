/* Random numbers, and the weights that a run starts from. */
#include "../../runtime/train/train.h"
#include "scratch.h"

#include <math.h>

/* ---- random ---- */

/* Known answers of Random123's kat_vectors, philox4x32 with 10 rounds. */
START_TEST(test_philox_vectors)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        philox4x32_10(known[i].counter, known[i].key, out);
        ck_assert_mem_eq(out, known[i].out, sizeof out);
    }
}
END_TEST

START_TEST(test_streams_differ)
{
    Random a = random_stream(7, 1), b = random_stream(7, 2), c = random_stream(8, 1);
    Random again = random_stream(7, 1);
    uint32_t first = random_u32(&a);
    ck_assert_uint_eq(first, random_u32(&again));
    ck_assert_uint_ne(first, random_u32(&b));
    ck_assert_uint_ne(first, random_u32(&c));
}
END_TEST

START_TEST(test_below_and_symmetric)
{
    Random r = random_stream(1, 1);
    int seen[3] = {0};
    double sum = 0;
    for (int i = 0; i < 3000; i++)
        seen[random_below(&r, 3)]++;
    for (int i = 0; i < 3; i++)
        ck_assert_int_gt(seen[i], 850);
    for (int i = 0; i < 4000; i++) {
        float x = random_symmetric(&r);
        ck_assert(x >= -1 && x < 1);
        sum += x;
    }
    ck_assert(fabs(sum / 4000) < 0.05);
}
END_TEST

START_TEST(test_permutation)
{
    enum { N = 1000 };
    int32_t a[N], b[N];
    int seen[N] = {0}, fixed = 0;
    Random first = random_stream(3, STREAM_EPOCH), second = random_stream(3, STREAM_EPOCH + 1);
    random_permutation(&first, a, N);
    random_permutation(&second, b, N);
    for (int i = 0; i < N; i++) {
        seen[a[i]]++;
        fixed += a[i] == i;
    }
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(seen[i], 1);
    ck_assert_int_lt(fixed, 10);
    ck_assert_mem_ne(a, b, sizeof a);
}
END_TEST

/* ---- init ---- */

static void check_spread(const float *value, int64_t count, double bound, double std)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < count; i++) {
        ck_assert(!(fabs(value[i]) > bound));
        sum += value[i];
        square += (double)value[i] * value[i];
    }
    ck_assert(fabs(sum / (double)count) < 0.1 * std);
    ck_assert(fabs(sqrt(square / (double)count) / std - 1) < 0.05);
}

START_TEST(test_init_ranges)
{
    static const NincStorage storage[] = {
        {"w", NULL, {DT_F32, {4, {64, 4, 3, 3}}, {0}}, NINC_ROLE_WEIGHT, 36, 576, 0},
        {"b", NULL, {DT_F32, {1, {64}}, {0}}, NINC_ROLE_BIAS, 36, 576, 9216},
        {"w.m", "w", {DT_F32, {4, {64, 4, 3, 3}}, {0}}, NINC_ROLE_MOMENT, 0, 0, 9472},
    };
    NincModel model = {
        .storages = 3, .init_std = 0.05, .target = {[NINC_CPU] = {.storage = storage}}};
    Weights *w = weights_new(&model);
    ck_assert_ptr_null(w->value[2]);
    model.init = NINC_INIT_PYTORCH;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, 1.0 / 6, 1.0 / 6 / sqrt(3));
    for (int i = 0; i < 64; i++)
        ck_assert(fabs(w->value[1][i]) <= 1.0 / 6);
    ck_assert(w->value[1][0] != 0);
    model.init = NINC_INIT_XAVIER_UNIFORM;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, sqrt(6.0 / 612), sqrt(2.0 / 612));
    ck_assert(w->value[1][5] == 0);
    model.init = NINC_INIT_KAIMING_NORMAL;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, 7 * sqrt(2.0 / 36), sqrt(2.0 / 36));
    model.init = NINC_INIT_NORMAL;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, 0.35, 0.05);
    static const NincOwnInit own[] = {{0, NINC_INIT_NORMAL, 0.2}};
    model.own_init = own;
    model.own_inits = 1;
    model.init = NINC_INIT_PYTORCH;
    weights_init(w, 1);
    check_spread(w->value[0], 2304, 1.4, 0.2);
    ck_assert(w->value[1][0] != 0);
    weights_free(w);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_philox_vectors, test_streams_differ,
                                  test_below_and_symmetric, test_permutation, test_init_ranges};
    return run_in_scratch("random", tests, sizeof tests / sizeof *tests, NULL);
}
