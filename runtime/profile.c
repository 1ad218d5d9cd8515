/* The time of each kernel and of a whole step on a device, beside what the kernel computes and
 * moves and what the device can. Images are random; all other values are what the steps before
 * left, since the time of kernels that leave zeros out depends on them. Those are taken to compute
 * with the zeros, so that they may exceed what the device can. */
#include "../ir/ir.h"
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 3, GROUPS = 7, MAX_GROUPS = 1000, MAX_RUNS = 100000 };

/* What is timed together, so that the clock is exact: of a kernel, of which there are many, and of
 * the step. */
static const double KERNEL_SECONDS = 0.01, STEP_SECONDS = 0.1;

typedef struct Profile {
    const NincModel *model;
    const DeviceTable *table;
    const NincProgram *program;
    const Graph *graph;
    Device *device;
    const char *note; /* of device_open */
    Peak peak;
    FILE *json; /* NULL: none */
    int groups; /* measurements, of which the median counts */
    double kernel_seconds; /* of those that run in every step */
} Profile;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds of one run of `launch` (NULL: of a whole step). */
static int median_time(const Profile *p, const NincLaunch *launch, double *out)
{
    double seconds = 0, group[MAX_GROUPS];
    int warm_ups = p->groups < WARM_UP ? p->groups : WARM_UP;
    if (p->table->time(p->device, p->program, launch, warm_ups, &seconds) < 0)
        return -1;
    double wanted = launch ? KERNEL_SECONDS : STEP_SECONDS;
    double fitting = seconds > 0 ? wanted * warm_ups / seconds : MAX_RUNS;
    int runs = fitting < 1 ? 1 : fitting > MAX_RUNS ? MAX_RUNS : (int)fitting;
    for (int i = 0; i < p->groups; i++) {
        if (p->table->time(p->device, p->program, launch, runs, &group[i]) < 0)
            return -1;
        group[i] /= runs;
    }
    qsort(group, (size_t)p->groups, sizeof *group, by_value);
    *out = group[p->groups / 2];
    return 0;
}

/* Whether a dot product of bf16, or of integers as fast, could compute the kernel's products. */
static bool multiplies_pairs(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++) {
        const Node *n = k->node[i];
        if (n->math == MATH_I16)
            return true;
        if (n->arity >= 2 && n->in[0]->tensor.dtype == DT_BF16 && n->in[1]->tensor.dtype == DT_BF16)
            return true;
    }
    return false;
}

/* What the kernel's FLOP/s are compared with; 0: not known. Some CPUs widen bf16 and multiply
 * faster than their dot product is. */
static double peak_flop(const Peak *peak, const Kernel *k)
{
    return peak->dot > peak->fma && multiplies_pairs(k) ? peak->dot : peak->fma;
}

/* "42 %" of `peak`, or "-" where that is not known. `out` of 16 bytes. */
static const char *percent(double rate, double peak, char *out)
{
    if (peak > 0)
        snprintf(out, 16, "%.0f %%", 100 * rate / peak);
    else
        strcpy(out, "-");
    return out;
}

/* Its results are kept for the next steps, so it runs once for the weights. */
static bool runs_once(const Profile *p, const Kernel *k)
{
    return k->phase == PHASE_BEFORE && p->program->keeps_before;
}

static void print_kernel(const Profile *p, const Kernel *k, double seconds, double flop,
                         double bytes)
{
    char of_peak[16], of_copy[16];
    printf("%-34s %-16s %10.1f %9.1f %6s %9.2f %8.2f %7s%s\n", k->name, class_names[k->class],
           seconds * 1e6, flop / seconds / 1e9,
           percent(flop / seconds, peak_flop(&p->peak, k), of_peak), bytes / 1e6,
           bytes / seconds / 1e9, percent(bytes / seconds, p->peak.copy, of_copy),
           runs_once(p, k) ? "  once" : "");
}

static void write_kernel(const Profile *p, const Kernel *k, double seconds, double flop,
                         double bytes)
{
    char of_peak[32], of_copy[32];
    fprintf(p->json,
            "\n  {\"name\":\"%s\",\"class\":\"%s\",\"seconds\":%.9g,\"flop\":%.0f,"
            "\"bytes\":%.0f,\"of_peak\":%s,\"of_bandwidth\":%s}",
            k->name, class_names[k->class], seconds, flop, bytes,
            json_number(flop / seconds / peak_flop(&p->peak, k), of_peak),
            json_number(bytes / seconds / p->peak.copy, of_copy));
}

static int profile_kernel(Profile *p, const Kernel *k, const NincLaunch *launch, bool first)
{
    double seconds, flop = kernel_flop(k), bytes = (double)kernel_traffic(p->graph, k);
    if (median_time(p, launch, &seconds) < 0)
        return -1;
    p->kernel_seconds += runs_once(p, k) ? 0 : seconds;
    print_kernel(p, k, seconds, flop, bytes);
    if (p->json && !first)
        fputc(',', p->json);
    if (p->json)
        write_kernel(p, k, seconds, flop, bytes);
    return 0;
}

static int profile_list(Profile *p, const NincLaunch *list, int count, bool *first)
{
    for (int i = 0; i < count; i++)
        for (int j = 0; j < p->graph->kernel_count; j++)
            if (strcmp(p->graph->kernel[j]->name, list[i].name) == 0) {
                if (profile_kernel(p, p->graph->kernel[j], &list[i], *first) < 0)
                    return -1;
                *first = false;
            }
    return 0;
}

static int profile_kernels(Profile *p)
{
    const NincProgram *program = p->program;
    bool first = true;
    printf("%-34s %-16s %10s %9s %6s %9s %8s %7s\n", "kernel", "class", "us", "GFLOP/s", "peak",
           "MB", "GB/s", "memory");
    if (p->json)
        fprintf(p->json, "{\"kernels\":[");
    if (profile_list(p, program->before, program->befores, &first) < 0 ||
        profile_list(p, program->chunked, program->chunkeds, &first) < 0 ||
        profile_list(p, program->after, program->afters, &first) < 0)
        return -1;
    if (p->json)
        fprintf(p->json, "],\n");
    return 0;
}

/* A step needs images on the device: one step on random ones. */
static int warm_up(const Profile *p, uint64_t seed)
{
    Dataset data;
    Metrics discarded;
    if (dataset_read(p->model, "random", seed, SPLIT_TRAIN, &data) < 0)
        return -1;
    int valid = p->program->batch < data.count ? p->program->batch : data.count;
    int32_t *order = xmalloc((size_t)valid * sizeof *order);
    for (int i = 0; i < valid; i++)
        order[i] = i;
    StepInput input = {.data = &data, .index = order, .valid = valid, .lr = 0, .step = 1};
    int status = p->table->step(p->device, p->program, &input);
    if (status == 0)
        status = p->table->read_metrics(p->device, &discarded);
    free(order);
    dataset_free(&data);
    return status;
}

/* Without the characters that would end a string of JSON. */
static const char *json_text(const char *text, char *out, size_t size)
{
    printable(text, out, size);
    for (char *c = out; *c; c++)
        if (*c == '"' || *c == '\\')
            *c = '\'';
    return out;
}

static int profile_step(const Profile *p)
{
    double seconds;
    char device[256];
    if (median_time(p, NULL, &seconds) < 0)
        return -1;
    int64_t bytes = p->table->arena_bytes(p->device);
    printf("all kernels %.1f us, one step %.1f us, %.2f us an image, %.1f images/s; %.1f MB\n",
           p->kernel_seconds * 1e6, seconds * 1e6, seconds * 1e6 / p->program->batch,
           p->program->batch / seconds, (double)bytes / 1e6);
    if (p->json)
        fprintf(p->json,
                " \"device\":\"%s\",\"precision\":\"%s\",\"mode\":\"%s\",\"batch\":%d,"
                "\"step_seconds\":%.9g,\"kernel_seconds\":%.9g,\"arena_bytes\":%lld,\n"
                " \"peak\":{\"fma_flop\":%.9g,\"dot_flop\":%.9g,\"copy_bytes\":%.9g}}\n",
                json_text(p->table->describe(p->device), device, sizeof device),
                device_target(p->model, p->table)->precision, p->program->name, p->program->batch,
                seconds, p->kernel_seconds, (long long)bytes, p->peak.fma, p->peak.dot,
                p->peak.copy);
    return 0;
}

/* Of the CPU only: a GPU's ceilings have no measurement here. */
static void measure_peak(Profile *p, int threads)
{
    if (p->table->target != NINC_CPU)
        return;
    p->peak = cpu_peak(threads);
    printf("peak %.1f GFLOP/s", p->peak.fma / 1e9);
    if (p->peak.dot > 0)
        printf(" (bf16 dot product %.1f)", p->peak.dot / 1e9);
    printf(", memory %.1f GB/s copied\n", p->peak.copy / 1e9);
}

static int profile_device(Profile *p, const ProfileOptions *options)
{
    Weights *weights = weights_new(p->model);
    if (!weights)
        return -1;
    weights_init(weights, options->seed);
    int status = weights_to_device(weights, p->table, p->device);
    weights_free(weights);
    if (status < 0 || warm_up(p, options->seed) < 0)
        return -1;
    printf("%s%s, %s, batch %d\n", p->table->describe(p->device), p->note, p->program->name,
           p->program->batch);
    measure_peak(p, options->device.threads);
    return profile_kernels(p) < 0 ? -1 : profile_step(p);
}

static int profile_module(Profile *p, const ProfileOptions *options)
{
    Pool *pool = pool_new();
    const NincTarget *target = device_target(p->model, p->table);
    p->program = options->eval ? &target->eval : &target->train;
    p->graph = plan_graph(plan_module(pool), p->table, p->program->name);
    int status = profile_device(p, options);
    pool_free(pool);
    return status;
}

int profile(const NincModel *model, const DeviceTable *table, const ProfileOptions *options)
{
    DeviceOptions device = options->device;
    OutFile json = {0};
    device.with_train = !options->eval;
    device.images[0] = RANDOM_TRAIN_IMAGES;
    Profile p = {.model = model,
                 .table = table,
                 .groups = options->repeats > 0 ? options->repeats : GROUPS};
    if (p.groups > MAX_GROUPS)
        p.groups = MAX_GROUPS;
    if (options->json && outfile_open(&json, options->json) < 0)
        return 1;
    p.json = json.file;
    p.device = device_open(model, &p.table, &device, &p.note);
    int status = p.device ? profile_module(&p, options) : -1;
    if (json.file && status == 0)
        status = outfile_commit(&json);
    else if (json.file)
        outfile_abandon(&json);
    if (p.device)
        p.table->close(p.device);
    if (status == 0 && fflush(stdout) != 0)
        status = fault("cannot write to standard output");
    return status < 0 ? 1 : 0;
}
