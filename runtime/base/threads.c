/* See cgroups(7), and for what a container sees of them cgroup_namespaces(7): a quota holds for all
 * below it, so each directory from the process's own up to the mount counts. */
#include "base.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, LINE_BYTES = 3 * PATH_BYTES, MOST_CPUS = 1 << 16 };

/* ---- the affinity mask ---- */

static cpu_set_t *kept; /* of kept_bytes, as the process began; NULL: not known */
static size_t kept_bytes;

/* The calling thread's mask, as large as the kernel wants it; NULL: it cannot be had. */
static cpu_set_t *get_mask(size_t *bytes)
{
    for (int cpus = CPU_SETSIZE; cpus <= MOST_CPUS; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        *bytes = CPU_ALLOC_SIZE((size_t)cpus);
        if (set && sched_getaffinity(0, *bytes, set) == 0)
            return set;
        CPU_FREE(set);
        if (!set || errno != EINVAL)
            break;
    }
    return NULL;
}

void threads_keep_mask(void)
{
    kept = get_mask(&kept_bytes);
}

static int mask_count(void)
{
    size_t bytes;
    cpu_set_t *set = kept ? NULL : get_mask(&bytes);
    int count = kept ? CPU_COUNT_S(kept_bytes, kept) : set ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    return count;
}

/* The CPU that comes `steps` behind `cpu` in the kept mask, which goes round. */
static int cpu_behind(int cpu, int steps)
{
    int all = (int)(8 * kept_bytes);
    while (steps > 0) {
        cpu = (cpu + 1) % all;
        steps -= CPU_ISSET_S((size_t)cpu, kept_bytes, kept) ? 1 : 0;
    }
    return cpu;
}

void thread_bind(int thread)
{
    size_t bytes;
    cpu_set_t *set = kept ? get_mask(&bytes) : NULL;
    int count = set ? CPU_COUNT_S(bytes, set) : 0, all = kept ? CPU_COUNT_S(kept_bytes, kept) : 0;
    if (count == 1 && all > 1 && bytes == kept_bytes) {
        int cpu = 0;
        while (!CPU_ISSET_S((size_t)cpu, bytes, set))
            cpu++;
        CPU_ZERO_S(bytes, set);
        CPU_SET_S((size_t)cpu_behind(cpu, thread % all), bytes, set);
        sched_setaffinity(0, bytes, set);
    }
    CPU_FREE(set);
}

/* ---- cgroups ---- */

/* A line of /proc/self/mountinfo, proc(5). */
typedef struct Mount {
    char root[PATH_BYTES], point[PATH_BYTES];
    bool second; /* version 2 */
} Mount;

/* The text of a small file, cut to the size; false: it cannot be read. */
static bool read_text(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(out, 1, size - 1, f) : 0;
    out[n] = '\0';
    if (f)
        fclose(f);
    return n > 0;
}

/* Whether the list "cpu,cpuacct" has the word. */
static bool list_has(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

/* Blanks and the like are written as \040. */
static void unescape(char *text)
{
    char *out = text;
    for (const char *in = text; *in; out++) {
        if (in[0] == '\\' && isdigit((unsigned char)in[1]) && isdigit((unsigned char)in[2]) &&
            isdigit((unsigned char)in[3])) {
            *out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
            in += 4;
        } else {
            *out = *in++;
        }
    }
    *out = '\0';
}

/* Whether the line is a mount of the cgroups that limit CPU time. */
static bool parse_mount(const char *line, Mount *m)
{
    char type[32], options[PATH_BYTES];
    const char *dash = strstr(line, " - ");
    if (!dash || sscanf(line, "%*s %*s %*s %4095s %4095s", m->root, m->point) != 2 ||
        sscanf(dash, " - %31s %*s %4095s", type, options) != 2)
        return false;
    unescape(m->root);
    unescape(m->point);
    m->second = strcmp(type, "cgroup2") == 0;
    return m->second || (strcmp(type, "cgroup") == 0 && list_has(options, "cpu"));
}

/* The process's place in the hierarchy, of /proc/self/cgroup: "4:cpu,cpuacct:/a", "0::/a". */
static bool find_place(const char *root, bool second, char *out)
{
    char path[PATH_BYTES], line[LINE_BYTES];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *place;
        if (!controllers || !(place = strchr(++controllers, ':')))
            continue;
        *place++ = '\0';
        found = second ? *controllers == '\0' && line[0] == '0' : list_has(controllers, "cpu");
        if (found)
            snprintf(out, PATH_BYTES, "%s", place);
    }
    if (f)
        fclose(f);
    return found;
}

/* Where the place lies under the mount; where the mount does not show it, as in a container without
 * a namespace of its own, "": what the mount shows is the container's. */
static const char *below_mount(const Mount *m, const char *place)
{
    size_t length = strcmp(m->root, "/") == 0 ? 0 : strlen(m->root);
    if (strstr(place, "/..") || strncmp(place, m->root, length) != 0 ||
        (place[length] != '/' && place[length] != '\0'))
        return "";
    return strcmp(place + length, "/") == 0 ? "" : place + length;
}

/* Up to two numbers of a file in the directory; returns how many. */
static int read_numbers(const char *directory, const char *name, double *first, double *second)
{
    char path[LINE_BYTES + 32], text[64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return read_text(path, text, sizeof text) ? sscanf(text, "%lf %lf", first, second) : 0;
}

/* CPUs that the directory itself allows; 0: no limit. */
static double quota_of(const char *directory, bool second)
{
    double quota = 0, period = 0, none;
    if (second)
        read_numbers(directory, "cpu.max", &quota, &period); /* "max 100000" has no number first */
    else if (read_numbers(directory, "cpu.cfs_quota_us", &quota, &none) != 1 ||
             read_numbers(directory, "cpu.cfs_period_us", &period, &none) != 1)
        return 0;
    return quota > 0 && period > 0 ? quota / period : 0;
}

static double less_of_limits(double a, double b)
{
    return a > 0 && (b <= 0 || a < b) ? a : b;
}

/* Of the process's directory in the mount and all above it. */
static double mount_quota(const char *root, const Mount *m)
{
    char place[PATH_BYTES], directory[LINE_BYTES];
    if (!find_place(root, m->second, place))
        return 0;
    int base = snprintf(directory, sizeof directory, "%s%s", root, m->point);
    snprintf(directory + base, sizeof directory - (size_t)base, "%s", below_mount(m, place));
    for (double quota = 0;;) {
        quota = less_of_limits(quota_of(directory, m->second), quota);
        char *slash = strrchr(directory + base, '/');
        if (!slash)
            return quota;
        *slash = '\0';
    }
}

static double cgroup_quota(const char *root)
{
    char path[PATH_BYTES], line[LINE_BYTES];
    Mount mount;
    double quota = 0;
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (parse_mount(line, &mount))
            quota = less_of_limits(mount_quota(root, &mount), quota);
    }
    if (f)
        fclose(f);
    return quota;
}

/* ---- all of them ---- */

/* The first number of OMP_NUM_THREADS=4,2; 0 where it is not set, or no such number. OpenMP's
 * library says so itself. */
static int omp_number(const char *name)
{
    const char *text = getenv(name);
    char *end;
    if (!text)
        return 0;
    errno = 0;
    long n = strtol(text, &end, 10);
    end += strspn(end, " \t");
    return errno || n < 1 || (*end && *end != ',') ? 0 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

static void limit_to(ThreadLimit *l, double most, const char *reason)
{
    int threads = most >= MAX_THREADS ? MAX_THREADS : (int)ceil(most);
    if (most <= 0 || threads >= l->threads)
        return;
    l->threads = threads;
    snprintf(l->reason, sizeof l->reason, "%s", reason);
}

ThreadLimit thread_limit(const char *root)
{
    static const char *const variables[] = {"OMP_NUM_THREADS", "OMP_THREAD_LIMIT"};
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    ThreadLimit l = {.threads = processors < 1             ? 1
                                : processors > MAX_THREADS ? MAX_THREADS
                                                           : (int)processors,
                     .quota = cgroup_quota(root)};
    char reason[sizeof l.reason];
    int mask = mask_count();
    snprintf(reason, sizeof reason, "affinity mask of %d CPU%s", mask, mask == 1 ? "" : "s");
    limit_to(&l, mask, reason);
    snprintf(reason, sizeof reason, "cgroup quota of %.3g CPU%s", l.quota, l.quota == 1 ? "" : "s");
    limit_to(&l, l.quota, reason);
    for (int i = 0; i < 2; i++) {
        snprintf(reason, sizeof reason, "%s=%d", variables[i], omp_number(variables[i]));
        limit_to(&l, omp_number(variables[i]), reason);
    }
    return l;
}
