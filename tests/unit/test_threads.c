/* How many threads there are to be, whether a step is worth sharing, and teams: also in a child of
 * fork(), and where threads sleep. */
#include "../../runtime/device/device.h"

#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- how many ---- */

static char root[] = "/tmp/ninc-threads-XXXXXX";

static void make_root(void)
{
    ck_assert_ptr_nonnull(mkdtemp(root));
    unsetenv("OMP_NUM_THREADS");
    unsetenv("OMP_THREAD_LIMIT");
}

static void remove_root(void)
{
    char line[64];
    snprintf(line, sizeof line, "rm -rf %s", root);
    ck_assert_int_eq(system(line), 0);
}

/* A file under the root, and the directories that it lies in. */
static void put(const char *path, const char *text)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        mkdir(whole, 0700);
    }
    FILE *f = fopen(whole, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static const char mount_v2[] =
    "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
static const char mount_v1[] =
    "30 23 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
    "31 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:6 - cgroup cgroup rw,cpu,cpuacct\n";

START_TEST(test_no_cgroup)
{
    ck_assert_double_eq(thread_limit(root).quota, 0);
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    ck_assert_double_eq(thread_limit(root).quota, 0);
}
END_TEST

/* The least of all levels counts; a directory without the file (the root has none) limits nothing.
 */
START_TEST(test_quota_of_v2)
{
    put("proc/self/cgroup", "0::/work.slice/job/leaf\n");
    put("proc/self/mountinfo", mount_v2);
    put("sys/fs/cgroup/work.slice/cpu.max", "150000 100000\n");
    put("sys/fs/cgroup/work.slice/job/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/work.slice/job/leaf/cpu.max", "250000 100000\n");
    ck_assert_double_eq(thread_limit(root).quota, 1.5);
    put("sys/fs/cgroup/work.slice/job/leaf/cpu.max", "25000 50000\n");
    ThreadLimit l = thread_limit(root);
    ck_assert_double_eq(l.quota, 0.5);
    ck_assert_int_eq(l.threads, 1);
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        ck_assert_str_eq(l.reason, "cgroup quota of 0.5 CPUs");
}
END_TEST

START_TEST(test_quota_of_v1)
{
    put("proc/self/cgroup", "4:memory:/a\n3:cpu,cpuacct:/docker/b\n0::/\n");
    put("proc/self/mountinfo", mount_v1);
    put("sys/fs/cgroup/cpu,cpuacct/docker/b/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/docker/b/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/a/cpu.cfs_quota_us", "100\n");
    ck_assert_double_eq(thread_limit(root).quota, 0);
    put("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
    ThreadLimit l = thread_limit(root);
    ck_assert_double_eq(l.quota, 1);
    ck_assert_int_eq(l.threads, 1);
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        ck_assert_str_eq(l.reason, "cgroup quota of 1 CPU");
}
END_TEST

/* A container that shares the host's namespace of cgroups: what is mounted is its own directory. */
START_TEST(test_quota_of_a_container)
{
    put("proc/self/cgroup", "3:cpu,cpuacct:/docker/b/inner\n");
    put("proc/self/mountinfo",
        "31 23 0:28 /docker/b /sys/fs/cgroup/a\\040b ro - cgroup cgroup rw,cpu\n");
    put("sys/fs/cgroup/a b/inner/cpu.cfs_quota_us", "300000");
    put("sys/fs/cgroup/a b/inner/cpu.cfs_period_us", "100000");
    ck_assert_double_eq(thread_limit(root).quota, 3);
    put("sys/fs/cgroup/a b/cpu.cfs_quota_us", "200000");
    put("sys/fs/cgroup/a b/cpu.cfs_period_us", "100000");
    ck_assert_double_eq(thread_limit(root).quota, 2);
    put("proc/self/cgroup", "3:cpu,cpuacct:/elsewhere\n");
    ck_assert_double_eq(thread_limit(root).quota, 2);
    put("proc/self/cgroup", "3:cpu,cpuacct:/docker/bc\n");
    ck_assert_double_eq(thread_limit(root).quota, 2);
    put("proc/self/cgroup", "3:cpu,cpuacct:/docker/b/../inner\n");
    ck_assert_double_eq(thread_limit(root).quota, 2);
}
END_TEST

START_TEST(test_torn_files)
{
    put("proc/self/cgroup", "\n0:\n0::/a\n");
    put("proc/self/mountinfo", mount_v2);
    static const char *const texts[] = {"", "max", "x y", "100000", "0 0", "-1 100000", "1 -1"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put("sys/fs/cgroup/a/cpu.max", texts[i]);
        ck_assert_double_eq(thread_limit(root).quota, 0);
    }
    put("proc/self/mountinfo", "29 23 0:26 / - cgroup2\n - \n29 23 0:26 / /sys - cgroup2 x\n");
    ck_assert_double_eq(thread_limit(root).quota, 0);
}
END_TEST

START_TEST(test_environment)
{
    int all = thread_limit(root).threads;
    setenv("OMP_NUM_THREADS", "1,4", 1);
    ck_assert_int_eq(thread_limit(root).threads, 1);
    if (all > 1)
        ck_assert_str_eq(thread_limit(root).reason, "OMP_NUM_THREADS=1");
    static const char *const wrong[] = {"", "0", "-1", "x", "1x", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        setenv("OMP_NUM_THREADS", wrong[i], 1);
        ck_assert_int_eq(thread_limit(root).threads, all);
    }
    setenv("OMP_NUM_THREADS", "100000", 1);
    setenv("OMP_THREAD_LIMIT", " 1 ", 1);
    ck_assert_int_eq(thread_limit(root).threads, 1);
    if (all > 1)
        ck_assert_str_eq(thread_limit(root).reason, "OMP_THREAD_LIMIT=1");
}
END_TEST

START_TEST(test_mask)
{
    cpu_set_t set, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    int cpu = 0, all = CPU_COUNT(&set);
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_int_eq(thread_limit(root).threads, 1);
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
        ck_assert_str_eq(thread_limit(root).reason, "affinity mask of 1 CPU");
    thread_bind(1); /* a mask of the user's, not OpenMP's */
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    ck_assert(CPU_EQUAL(&set, &one));
    ck_assert_int_eq(all > 0, 1);
}
END_TEST

/* As where OpenMP binds the first thread, after the mask was kept. */
START_TEST(test_bound)
{
    cpu_set_t all, one;
    threads_keep_mask();
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    int cpu = 0, count = CPU_COUNT(&all);
    while (!CPU_ISSET(cpu, &all))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_int_eq(thread_limit(root).threads, count);
    thread_bind(1);
    cpu_set_t other;
    ck_assert_int_eq(sched_getaffinity(0, sizeof other, &other), 0);
    ck_assert_int_eq(CPU_COUNT(&other), 1);
    ck_assert(count == 1 || !CPU_EQUAL(&one, &other));
    thread_bind(count - 1); /* and round to the first one again */
    ck_assert_int_eq(sched_getaffinity(0, sizeof other, &other), 0);
    ck_assert(CPU_EQUAL(&one, &other));
}
END_TEST

/* ---- worth sharing ---- */

/* So many steps; returns how many of them one thread alone did. */
static int steps_alone(Pace *p, int steps, double team, double alone)
{
    int count = 0;
    for (int i = 0; i < steps; i++) {
        bool by_one = pace_alone(p, 16);
        count += by_one;
        if (pace_measures(p))
            pace_took(p, by_one ? alone : team);
    }
    return count;
}

START_TEST(test_pace)
{
    Pace p = pace_new(2, 0);
    ck_assert_int_eq(steps_alone(&p, 10000, 0.01, 0.011), 0); /* long: not tried */
    p = pace_new(2, 0);
    ck_assert_int_eq(steps_alone(&p, 4000, 0.001, 0.0018), 2); /* shared well: hardly tried */
    p = pace_new(2, 0);
    ck_assert_int_eq(steps_alone(&p, 4000, 0.00006, 0.00004), 4000 - PACE_STEPS);
    ck_assert_int_eq(steps_alone(&p, 20000, 0.00003, 0.00004) < 3000, 1); /* looked at again */
    p = pace_new(4, 2); /* under a quota the time of all counts */
    ck_assert_int_eq(steps_alone(&p, 4000, 0.001, 0.0018), 4000 - PACE_STEPS);
    p = pace_new(2, 1);
    ck_assert_int_eq(steps_alone(&p, 4000, 0.1, 0.18), 4000);
    p = pace_new(1, 0);
    ck_assert_int_eq(steps_alone(&p, 4000, 0.1, 0.18), 4000);
    p = pace_new(2, 2);
    ck_assert_int_eq(steps_alone(&p, 4000, 0.001, 0.0018), 2);
}
END_TEST

/* One slow step of each kind does not decide. */
START_TEST(test_pace_with_neighbours)
{
    Pace p = pace_new(2, 0);
    for (int i = 0; i < 2 * PACE_STEPS; i++) {
        bool alone = pace_alone(&p, 16);
        ck_assert_int_eq(alone, i >= PACE_STEPS);
        pace_took(&p, i % 4 == 0 ? 0.004 : alone ? 0.00004 : 0.00006);
    }
    ck_assert(pace_alone(&p, 16));
    ck_assert(!pace_measures(&p));
    ck_assert(!pace_alone(&p, 8)); /* other steps: another trial */
    ck_assert(pace_measures(&p));
}
END_TEST

/* ---- teams ---- */

enum { TEAM = 4, RUNS = 2000 };

typedef struct Count {
    atomic_int left; /* pieces of work */
    atomic_int done[TEAM];
    atomic_int inside;
} Count;

static void take_pieces(void *data, int number, Patience *patience)
{
    Count *c = data;
    (void)patience;
    atomic_fetch_add(&c->inside, 1);
    while (atomic_fetch_sub(&c->left, 1) > 0) {
        atomic_fetch_add(&c->done[number], 1);
        if (number % 2)
            sched_yield();
    }
    atomic_fetch_sub(&c->inside, 1);
}

static int sum_of(const Count *c)
{
    int sum = 0;
    for (int i = 0; i < TEAM; i++)
        sum += c->done[i];
    return sum;
}

/* Runs that follow at once, and runs that find the members asleep. */
static void run_often(Team *t, int runs, Count *c)
{
    for (int i = 0; i < runs; i++) {
        atomic_store(&c->left, 50);
        team_run(t, take_pieces, c);
        ck_assert_int_eq(atomic_load(&c->inside), 0);
        if (i % 500 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    ck_assert_int_eq(sum_of(c), runs * 50);
}

START_TEST(test_team)
{
    for (int thrifty = 0; thrifty < 2; thrifty++) {
        Count c = {.left = 0};
        Team *t = team_new(TEAM, thrifty);
        ck_assert_ptr_nonnull(t);
        run_often(t, RUNS, &c);
        team_free(t);
        memset(&c, 0, sizeof c);
        t = team_new(1, thrifty);
        run_often(t, 10, &c);
        ck_assert_int_eq(c.done[0], 500);
        team_free(t);
    }
    team_free(NULL);
}
END_TEST

/* The members come, where there is time for them. */
static void wait_for_others(void *data, int number, Patience *patience)
{
    Count *c = data;
    (void)patience;
    atomic_fetch_add(&c->done[number], 1);
    atomic_fetch_add(&c->inside, 1);
    while (number == 0 && atomic_load(&c->inside) < TEAM)
        sched_yield();
}

START_TEST(test_all_come)
{
    Team *t = team_new(TEAM, true);
    for (int run = 1; run <= 50; run++) {
        Count c = {.left = 0};
        team_run(t, wait_for_others, &c);
        for (int i = 0; i < TEAM; i++)
            ck_assert_int_eq(c.done[i], 1);
        if (run % 10 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    team_free(t);
}
END_TEST

/* After 2^18 openings of the gate, the word that a team begins with, their numbers come again. */
START_TEST(test_numbers_come_again)
{
    for (int runs = 0; runs < 3; runs++) {
        Team *t = team_new(TEAM, true);
        atomic_fetch_or((Word *)t, ((1u << 18) - 1) << 13);
        for (int run = 0; run < runs; run++) {
            Count c = {.left = 0};
            team_run(t, wait_for_others, &c);
            ck_assert_int_eq(c.done[TEAM - 1], 1);
        }
        team_free(t);
    }
}
END_TEST

/* Between runs members are asleep: they take no processor time. */
START_TEST(test_asleep)
{
    Count c = {.left = 0};
    struct rusage before, after;
    Team *t = team_new(TEAM, false);
    run_often(t, 10, &c);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    getrusage(RUSAGE_SELF, &before);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    getrusage(RUSAGE_SELF, &after);
    long us = (after.ru_utime.tv_usec - before.ru_utime.tv_usec) +
              (after.ru_stime.tv_usec - before.ru_stime.tv_usec) +
              (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000L +
              (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000L;
    ck_assert_int_lt(us, 20000);
    team_free(t);
}
END_TEST

/* The parent's team can be freed, its own is whole; neither hangs. */
START_TEST(test_child)
{
    Count c = {.left = 0};
    Team *t = team_new(TEAM, false);
    run_often(t, 10, &c);
    pid_t child = fork();
    if (child == 0) {
        Count own = {.left = 0};
        alarm(10);
        team_free(t);
        t = team_new(TEAM, true);
        team_run(t, wait_for_others, &own);
        team_free(t);
        _exit(own.done[TEAM - 1] == 1 ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    run_often(t, 10, &(Count){.left = 0});
    team_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *limits = tcase_create("limits"), *teams = tcase_create("teams");
    tcase_add_checked_fixture(limits, make_root, remove_root);
    tcase_add_test(limits, test_no_cgroup);
    tcase_add_test(limits, test_quota_of_v2);
    tcase_add_test(limits, test_quota_of_v1);
    tcase_add_test(limits, test_quota_of_a_container);
    tcase_add_test(limits, test_torn_files);
    tcase_add_test(limits, test_environment);
    tcase_add_test(limits, test_mask);
    tcase_add_test(limits, test_bound);
    tcase_set_timeout(teams, 60);
    tcase_add_test(teams, test_pace);
    tcase_add_test(teams, test_pace_with_neighbours);
    tcase_add_test(teams, test_team);
    tcase_add_test(teams, test_all_come);
    tcase_add_test(teams, test_numbers_come_again);
    tcase_add_test(teams, test_asleep);
    tcase_add_test(teams, test_child);
    suite_add_tcase(suite, limits);
    suite_add_tcase(suite, teams);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed;
}
