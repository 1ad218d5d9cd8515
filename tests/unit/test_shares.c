/* Which thread does which slices: every slice once, one's own first, and nobody ahead of a wait. */
#include "../../runtime/device/device.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { TEAM = 4, LAUNCHES = 300, MOST_SLICES = 97 };

/* Takes all that thread 1 of 3 can get of 10 slices, its share being 3, 4 and 5. */
START_TEST(test_own_share_first)
{
    static const int order[] = {3, 4, 5, 9, 8, 7, 6, 2, 1, 0};
    Shares *s = shares_new(3, 2);
    ck_assert_ptr_nonnull(s);
    shares_reset(s, 2, 3);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        ck_assert_int_eq(shares_take(s, 1, 1, 10), order[i]);
    for (int t = 0; t < 3; t++)
        ck_assert_int_eq(shares_take(s, 1, t, 10), -1);
    ck_assert_int_eq(shares_take(s, 0, 2, 10), 6);
    shares_free(s);
}
END_TEST

START_TEST(test_owner_and_thief_meet)
{
    Shares *s = shares_new(2, 1);
    ck_assert_ptr_nonnull(s);
    shares_reset(s, 1, 2);
    static const struct {
        int thread, slice;
    } turn[] = {{0, 0}, {1, 3}, {1, 4}, {1, 5}, {1, 2}, {0, 1}, {0, -1}, {1, -1}};
    for (size_t i = 0; i < sizeof turn / sizeof *turn; i++)
        ck_assert_int_eq(shares_take(s, 0, turn[i].thread, 6), turn[i].slice);
    shares_free(s);
}
END_TEST

START_TEST(test_fewer_slices_than_threads)
{
    Shares *s = shares_new(8, 1);
    ck_assert_ptr_nonnull(s);
    shares_reset(s, 1, 8);
    int seen[3] = {0};
    for (int t = 7; t >= 0; t--) {
        int slice = shares_take(s, 0, t, 3);
        if (slice >= 0)
            seen[slice]++;
        else
            ck_assert_int_lt(t, 5);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(seen[i], 1);
    shares_reset(s, 1, 8);
    ck_assert_int_eq(shares_take(s, 0, 0, 1), 0);
    shares_free(s);
}
END_TEST

static Shares *shares;
static int round_now;
static atomic_int taken[LAUNCHES][MOST_SLICES]; /* how often */
static atomic_int early;                        /* slices that were missing behind a wait */

static int slices_of(int launch)
{
    return 1 + launch * 7 % MOST_SLICES;
}

static void *work(void *data)
{
    int thread = (int)(intptr_t)data;
    Patience patience = {.thrifty = thread % 2};
    for (int l = 0; l < LAUNCHES; l++) {
        int done = 0, slice;
        while ((slice = shares_take(shares, l, thread, slices_of(l))) >= 0) {
            if (slice % 16 == 0)
                sched_yield(); /* so that others may come to the wait first */
            atomic_fetch_add(&taken[l][slice], 1);
            done++;
        }
        if (done > 0)
            shares_done(shares, l, done, slices_of(l));
        shares_wait(shares, l, slices_of(l), &patience);
        for (int i = 0; i < slices_of(l); i++)
            if (atomic_load(&taken[l][i]) < round_now)
                atomic_fetch_add(&early, 1);
    }
    return NULL;
}

START_TEST(test_a_team_does_each_slice_once)
{
    shares = shares_new(TEAM, LAUNCHES);
    ck_assert_ptr_nonnull(shares);
    for (round_now = 1; round_now <= 3; round_now++) {
        pthread_t thread[TEAM];
        shares_reset(shares, LAUNCHES, TEAM);
        for (int t = 0; t < TEAM; t++)
            ck_assert_int_eq(pthread_create(&thread[t], NULL, work, (void *)(intptr_t)t), 0);
        for (int t = 0; t < TEAM; t++)
            pthread_join(thread[t], NULL);
        for (int l = 0; l < LAUNCHES; l++)
            for (int i = 0; i < slices_of(l); i++)
                ck_assert_int_eq(atomic_load(&taken[l][i]), round_now);
    }
    ck_assert_int_eq(atomic_load(&early), 0);
    shares_free(shares);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shares");
    TCase *tests = tcase_create("shares");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_own_share_first);
    tcase_add_test(tests, test_owner_and_thief_meet);
    tcase_add_test(tests, test_fewer_slices_than_threads);
    tcase_add_test(tests, test_a_team_does_each_slice_once);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed;
}
