/* The model of a GPU's time: what is resident, and the large convolutions of nin at batch 128,
 * whose times were computed by hand from their machine code for an H200, within a fifth. */
#include "../../ir/roofline.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

/* 65536 registers a processor: 256 threads of 141 leave no room for a second block. */
START_TEST(test_resident)
{
    const GpuKind *h200 = gpu_kind(90);
    ck_assert_str_eq(h200->name, "H200");
    ck_assert_int_eq(gpu_resident(h200, 256, 141, 110592), 1);
    ck_assert_int_eq(gpu_resident(h200, 256, 128, 104448), 2);
    ck_assert_int_eq(gpu_resident(h200, 128, 211, 104448), 2);
    ck_assert_int_eq(gpu_resident(h200, 256, 32, 0), 8);
    ck_assert_int_eq(gpu_resident(gpu_kind(86), 256, 32, 0), 6);
    ck_assert_int_eq(gpu_resident(gpu_kind(86), 256, 32, 50 * 1024), 1);
}
END_TEST

START_TEST(test_kinds)
{
    ck_assert_str_eq(gpu_kind(103)->name, "B200");
    ck_assert_int_eq(gpu_kind(61)->architecture, 75);
    for (int i = 0; gpu_kind_at(i); i++) {
        const GpuKind *k = gpu_kind_at(i);
        ck_assert_ptr_eq(gpu_kind(k->architecture), k);
        ck_assert_int_le(k->block_shared_kb, k->shared_kb);
        ck_assert(k->flop[GPU_FP32] > 0 && k->bytes > 0 && k->clock > 0);
    }
}
END_TEST

/* As tile.cuh's share_warps: nearest to square. */
START_TEST(test_warps)
{
    static const int expected[][5] = {{128, 128, 8, 2, 4}, {128, 128, 4, 2, 2}, {64, 128, 8, 2, 4},
                                      {256, 128, 8, 4, 2}, {128, 96, 8, 4, 2},  {48, 40, 4, 0, 0}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const int *e = expected[i];
        WarpGrid grid = gpu_warps(GPU_BF16, e[0], e[1], e[2]);
        ck_assert_msg(grid.m == e[3] && grid.n == e[4], "%d x %d on %d: %d x %d", e[0], e[1], e[2],
                      grid.m, grid.n);
    }
}
END_TEST

typedef struct Known {
    GpuWork work;
    Schedule schedule;
    GpuCode code;
    double microseconds;
} Known;

#define TILES(x, y, parts, bytes) \
    { \
        .tile_m = 128, .tile_n = 128, .tile_k = 64, .stages = 3, .threads = 256, .grid_x = x, \
        .grid_y = y, .split = parts, .shared_bytes = bytes \
    }

static const Known known[] = {
    {{"conv_2_0_forward", GPU_FPROP, GPU_BF16, 93312, 256, 2400, 0, 1, 0, 66900000},
     TILES(729, 2, 1, 110592),
     {141, 187},
     359},
    {{"conv_2_0_dgrad", GPU_DGRAD, GPU_BF16, 93312, 96, 6400, 0, 1, 0, 66900000},
     TILES(729, 1, 1, 107520),
     {127, 224},
     390},
    {{"conv_2_0_wgrad", GPU_WGRAD, GPU_BF16, 256, 2400, 93312, 0, 1, 0, 65700000},
     TILES(2, 19, 6, 104448),
     {128, 395},
     316},
    {{"conv_4_0_forward", GPU_FPROP, GPU_BF16, 21632, 384, 2304, 0, 1, 0, 29500000},
     TILES(169, 3, 1, 110592),
     {141, 183},
     114},
    {{"conv_4_0_dgrad", GPU_DGRAD, GPU_BF16, 21632, 256, 3456, 0, 1, 0, 29500000},
     TILES(169, 2, 1, 107520),
     {124, 220},
     110},
    {{"conv_4_0_wgrad", GPU_WGRAD, GPU_BF16, 384, 2304, 21632, 0, 1, 0, 27700000},
     TILES(3, 18, 4, 104448),
     {126, 394},
     111},
};

START_TEST(test_known_times)
{
    const Known *k = &known[_i];
    GpuTime t = gpu_time(gpu_kind(90), 132, &k->work, &k->schedule, k->schedule.split, &k->code);
    double us = t.seconds * 1e6;
    ck_assert_msg(fabs(us - k->microseconds) <= 0.2 * k->microseconds, "%s: %.1f us, not %.1f",
                  k->work.kernel, us, k->microseconds);
    /* 128 rows and columns of 64 terms on 8 warps: half of the peak that wgmma has */
    ck_assert(fabs(t.shared / t.resident - 1024) < 1);
}
END_TEST

/* Parts that end a wave: not one block more than the processors hold. */
START_TEST(test_split)
{
    Known k = known[2];
    k.schedule.split = 64;
    for (int processors = 80; processors <= 170; processors += 15) {
        int split = gpu_split(gpu_kind(90), processors, &k.work, &k.schedule);
        int resident =
            gpu_time(gpu_kind(90), processors, &k.work, &k.schedule, split, NULL).resident;
        double waves = 38.0 * split / (processors * resident);
        ck_assert_msg(ceil(waves) - waves < 0.25, "%d parts on %d: %.2f waves", split, processors,
                      waves);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("roofline");
    TCase *tests = tcase_create("times");
    tcase_add_test(tests, test_resident);
    tcase_add_test(tests, test_kinds);
    tcase_add_test(tests, test_warps);
    tcase_add_loop_test(tests, test_known_times, 0, sizeof known / sizeof *known);
    tcase_add_test(tests, test_split);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
