/* Schedules of the learning rate against those of PyTorch's schedulers
 * (tests/models/pytorch/schedules.txt), and what PyTorch has not: warm-up, units that are steps. */
#include "../../ir/ir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNITS = 30 };

static const double BASE = 0.1;

/* ---- PyTorch's ---- */

typedef struct Case {
    const char *name;
    RateSchedule schedule;
} Case;

static const Case cases[] = {
    {"step", {.kind = RATE_STEP, .step_size = 7, .gamma = 0.3}},
    {"multi_step",
     {.kind = RATE_MULTI_STEP, .milestone = {3, 11, 12}, .milestones = 3, .gamma = 0.5}},
    {"exponential", {.kind = RATE_EXPONENTIAL, .gamma = 0.9}},
    {"cosine_annealing", {.kind = RATE_COSINE_ANNEALING, .eta_min = 0.001}},
    {"cosine_annealing_short", {.kind = RATE_COSINE_ANNEALING, .t_max = 12}},
    {"linear",
     {.kind = RATE_LINEAR, .start_factor = 0.25, .end_factor = 0.8, .total_iters = 9}},
    {"poly", {.kind = RATE_POLY, .power = 2}},
    {"poly_short", {.kind = RATE_POLY, .power = 0.5, .total_iters = 10}},
    {"one_cycle_settings",
     {.kind = RATE_ONE_CYCLE, .max_lr = 0.4, .total_steps = UNITS, .pct_start = 0.45,
      .div_factor = 10, .final_div_factor = 100}},
    {"reduce_on_plateau", {.kind = RATE_REDUCE_ON_PLATEAU, .factor = 0.5, .patience = 2}},
    {"reduce_on_plateau_accuracy",
     {.kind = RATE_REDUCE_ON_PLATEAU, .factor = 0.1, .patience = 3, .accuracy = 1}},
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* The numbers behind a name, and those of the last line `metric` before it. */
static void read_rates(const char *name, double *rate, double *metric)
{
    char line[2048], word[64];
    FILE *file = fopen("tests/models/pytorch/schedules.txt", "r");
    bool found = false;
    ck_assert_ptr_nonnull(file);
    while (!found && fgets(line, sizeof line, file)) {
        ck_assert_int_eq(sscanf(line, "%63s", word), 1);
        found = strcmp(word, name) == 0;
        double *out = found ? rate : strcmp(word, "metric") == 0 ? metric : NULL;
        char *at = line + strlen(word);
        for (int i = 0; i < UNITS && out; i++)
            out[i] = strtod(at, &at);
    }
    fclose(file);
    ck_assert_msg(found, "there is no %s", name);
}

static void expect_rates(const char *name, const RateSchedule *s)
{
    double want[UNITS], metric[UNITS] = {0};
    Plateau plateau = {NAN, 0, 0};
    RateRun run = {BASE, .epochs = UNITS, .epoch_steps = 1};
    read_rates(name, want, metric);
    for (int i = 0; i < UNITS; i++) {
        double got = rate_at(s, &run, i + 1, plateau.cuts);
        ck_assert_msg(fabs(got - want[i]) <= 1e-9 * want[i] + 1e-15,
                      "%s, unit %d: %.17g, not %.17g", name, i, got, want[i]);
        plateau_follow(s, &plateau, metric[i], metric[i]);
    }
}

START_TEST(rates_are_those_of_pytorch)
{
    expect_rates(cases[_i].name, &cases[_i].schedule);
}
END_TEST

START_TEST(standard_settings_are_those_of_pytorch)
{
    RateSchedule linear = schedule_standard(RATE_LINEAR), cycle = schedule_standard(RATE_ONE_CYCLE);
    cycle.max_lr = 0.4;
    expect_rates("linear_default", &linear);
    expect_rates("one_cycle", &cycle);
    ck_assert(schedule_standard(RATE_STEP).gamma == 0.1);
    ck_assert(schedule_standard(RATE_REDUCE_ON_PLATEAU).patience == 10);
}
END_TEST

/* ---- units, warm-up, the run ---- */

START_TEST(an_epoch_has_one_rate_and_a_step_its_own)
{
    RateSchedule s = {.kind = RATE_EXPONENTIAL, .gamma = 0.5};
    RateRun run = {BASE, .epochs = 4, .epoch_steps = 3};
    for (int step = 1; step <= 12; step++) {
        s.by_step = 0;
        ck_assert(rate_at(&s, &run, step, 0) == BASE * pow(0.5, (step - 1) / 3));
        s.by_step = 1;
        ck_assert(rate_at(&s, &run, step, 0) == BASE * pow(0.5, step - 1));
    }
}
END_TEST

START_TEST(warmup_goes_up_to_the_scheduled_rate)
{
    RateSchedule s = {.kind = RATE_EXPONENTIAL, .gamma = 0.5, .warmup = 4};
    RateRun run = {BASE, .epochs = 4, .epoch_steps = 3};
    for (int step = 1; step <= 12; step++) {
        double scheduled = BASE * pow(0.5, (step - 1) / 3);
        ck_assert(rate_at(&s, &run, step, 0) == scheduled * fmin(1, step / 4.0));
    }
}
END_TEST

/* A cosine of the whole run ends with it, in its own unit. */
START_TEST(the_whole_run_is_the_default)
{
    RateSchedule s = schedule_standard(RATE_COSINE_ANNEALING);
    RateSchedule cycle = schedule_standard(RATE_ONE_CYCLE);
    RateRun run = {BASE, .epochs = 5, .epoch_steps = 8};
    ck_assert_double_eq_tol(rate_at(&s, &run, 41, 0), 0, 1e-12);
    ck_assert_double_eq_tol(rate_at(&s, &run, 9, 0), BASE * (1 + cos(acos(-1) / 5)) / 2, 1e-12);
    s.by_step = 1;
    ck_assert_double_eq_tol(rate_at(&s, &run, 21, 0), BASE / 2, 1e-12);
    cycle.max_lr = 1;
    ck_assert_double_eq_tol(rate_at(&cycle, &run, 12, 0), 1, 1e-12);
    ck_assert_double_eq_tol(rate_at(&cycle, &run, 40, 0), 1.0 / 25 / 10000, 1e-12);
    ck_assert_double_eq_tol(rate_at(&cycle, &run, 1000, 0), 1.0 / 25 / 10000, 1e-12);
}
END_TEST

/* Cuts of less than 1e-8 are none, as PyTorch's. */
START_TEST(a_plateau_has_an_end)
{
    RateSchedule s = {.kind = RATE_REDUCE_ON_PLATEAU, .factor = 0.1};
    RateRun run = {BASE, .epochs = 1, .epoch_steps = 1};
    ck_assert_double_eq_tol(rate_at(&s, &run, 1, 7), 1e-8, 1e-15);
    ck_assert(rate_at(&s, &run, 1, 8) == rate_at(&s, &run, 1, 7));
    ck_assert(rate_at(&s, &run, 1, 100) == rate_at(&s, &run, 1, 7));
}
END_TEST

/* ---- lengths ---- */

static const struct {
    RateSchedule schedule;
    int units;
    const char *setting;
} lengths[] = {
    {{.kind = RATE_STEP, .step_size = 3}, 3, "step_size"},
    {{.kind = RATE_STEP, .step_size = 2}, 3, NULL},
    {{.kind = RATE_MULTI_STEP, .milestone = {1, 3}, .milestones = 2}, 3, "milestones"},
    {{.kind = RATE_MULTI_STEP, .milestone = {1, 2}, .milestones = 2}, 3, NULL},
    {{.kind = RATE_COSINE_ANNEALING, .t_max = 2}, 3, "t_max"},
    {{.kind = RATE_COSINE_ANNEALING, .t_max = 4}, 3, "t_max"},
    {{.kind = RATE_COSINE_ANNEALING, .t_max = 3}, 3, NULL},
    {{.kind = RATE_COSINE_ANNEALING}, 3, NULL},
    {{.kind = RATE_LINEAR, .total_iters = 5}, 3, "total_iters"},
    {{.kind = RATE_LINEAR, .total_iters = 2}, 3, NULL},
    {{.kind = RATE_POLY, .total_iters = 2}, 3, "total_iters"},
    {{.kind = RATE_POLY}, 3, NULL},
    {{.kind = RATE_REDUCE_ON_PLATEAU, .patience = 10}, 3, "patience"},
    {{.kind = RATE_REDUCE_ON_PLATEAU, .patience = 1}, 3, NULL},
    {{.kind = RATE_ONE_CYCLE, .total_steps = 2}, 3, "total_steps"},
    {{.kind = RATE_ONE_CYCLE}, 3, NULL},
    {{.kind = RATE_EXPONENTIAL}, 3, NULL},
    {{.kind = RATE_CONSTANT}, 3, NULL},
};
enum { LENGTHS = sizeof lengths / sizeof lengths[0] };

START_TEST(a_schedule_of_another_length_is_told)
{
    char text[200] = "";
    const char *setting = rate_misfit(&lengths[_i].schedule, lengths[_i].units, text, sizeof text);
    if (!lengths[_i].setting) {
        ck_assert_ptr_null(setting);
        return;
    }
    ck_assert_ptr_nonnull(setting);
    ck_assert_str_eq(setting, lengths[_i].setting);
    ck_assert_ptr_nonnull(strstr(text, "but the run has 3 "));
}
END_TEST

static Suite *rate_suite(void)
{
    Suite *suite = suite_create("rate");
    TCase *tests = tcase_create("schedules");
    tcase_add_loop_test(tests, rates_are_those_of_pytorch, 0, CASES);
    tcase_add_test(tests, standard_settings_are_those_of_pytorch);
    tcase_add_test(tests, an_epoch_has_one_rate_and_a_step_its_own);
    tcase_add_test(tests, warmup_goes_up_to_the_scheduled_rate);
    tcase_add_test(tests, the_whole_run_is_the_default);
    tcase_add_test(tests, a_plateau_has_an_end);
    tcase_add_loop_test(tests, a_schedule_of_another_length_is_told, 0, LENGTHS);
    suite_add_tcase(suite, tests);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(rate_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
