/* The time of each kernel and of a whole step on a device, beside what the kernel computes and
 * moves and what the device can. Images are random; all other values are what the steps before
 * left, since the time of kernels that leave zeros out depends on them. Those are taken to compute
 * with the zeros, so that they may exceed what the device can, as may those whose values lie in
 * caches what memory can. */
#include "../../ir/ir.h"
#include "tools.h"

#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 3, GROUPS = 7, MOST_GROUPS = 3 * GROUPS, MAX_GROUPS = 1000, MAX_RUNS = 100000 };
enum { NAME_COLUMNS = 32 };

/* What is timed together, so that the clock is exact: of a kernel, of which there are many, and of
 * the step. */
static const double KERNEL_SECONDS = 0.01, STEP_SECONDS = 0.1;

/* From the first to the third quartile, as a part of the median: more is somebody else's doing. */
static const double SCATTER = 0.1;

typedef struct Timing {
    double seconds; /* the median */
    double scatter; /* quartile to quartile, as a part of it */
} Timing;

/* A line of the table. */
typedef struct Row {
    const Kernel *kernel;
    Timing time;
    double flop, bytes;
} Row;

typedef struct Profile {
    const NincModel *model;
    const DeviceTable *table;
    const NincProgram *program;
    const Graph *graph;
    Device *device;
    const char *note; /* of device_open */
    Peak peak;
    FILE *json;              /* NULL: none */
    int groups, most_groups; /* measurements of which the median counts; where they scatter */
    Row *row;
    int rows;
    double kernel_seconds; /* of those that run in every step */
} Profile;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static Timing sum_up(double *group, int groups)
{
    qsort(group, (size_t)groups, sizeof *group, by_value);
    double median = group[groups / 2];
    return (Timing){median, (group[3 * groups / 4] - group[groups / 4]) / median};
}

/* One run of `launch` (NULL: of a whole step); measured again where that scatters. */
static int take_time(const Profile *p, const NincLaunch *launch, Timing *out)
{
    double seconds = 0, group[MAX_GROUPS];
    int warm_ups = p->groups < WARM_UP ? p->groups : WARM_UP;
    if (p->table->time(p->device, p->program, launch, warm_ups, &seconds) < 0)
        return -1;
    double wanted = launch ? KERNEL_SECONDS : STEP_SECONDS;
    double fitting = seconds > 0 ? wanted * warm_ups / seconds : MAX_RUNS;
    int runs = fitting < 1 ? 1 : fitting > MAX_RUNS ? MAX_RUNS : (int)fitting;
    for (int i = 0, end = p->groups; i < end; i++) {
        if (p->table->time(p->device, p->program, launch, runs, &group[i]) < 0)
            return -1;
        group[i] /= runs;
        if (i + 1 < end)
            continue;
        *out = sum_up(group, end);
        if (out->scatter > SCATTER && end < p->most_groups)
            end += p->groups;
    }
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

/* Products with the zeros of an operand, where the instruction set can. */
static bool leaves_zeros_out(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        if (k->node[i]->sparse != SPARSE_NONE)
            return true;
    return false;
}

/* What the kernel's FLOP/s are compared with; 0: not known. Some CPUs widen bf16 and multiply
 * faster than their dot product is. */
static double peak_flop(const Profile *p, const Kernel *k)
{
    const Peak *peak = &p->peak;
    if (device_programs(p->table) == NINC_AMX && multiplies_pairs(k))
        return peak->tile;
    return peak->dot > peak->fma && multiplies_pairs(k) ? peak->dot : peak->fma;
}

/* "42 %" of `peak`; "-" where that is not known, `beyond` where it is more than all of it. `out` of
 * 16 bytes. */
static void percent(double rate, double peak, const char *beyond, char *out)
{
    double part = 100 * rate / peak;
    if (peak <= 0)
        strcpy(out, "-");
    else if (part >= 100.5 && beyond)
        strcpy(out, beyond);
    else
        snprintf(out, 16, "%.0f %%", part);
}

/* Its results are kept for the next steps, so it runs once for the weights. */
static bool runs_once(const Profile *p, const Kernel *k)
{
    return k->phase == PHASE_BEFORE && p->program->keeps_before;
}

/* The name's end where it is too long. */
static const char *short_name(const char *name, char *out)
{
    size_t length = strlen(name);
    if (length <= NAME_COLUMNS)
        return name;
    snprintf(out, NAME_COLUMNS + 1, "..%s", name + length - NAME_COLUMNS + 2);
    return out;
}

static void print_row(const Profile *p, const Row *r)
{
    char of_peak[16], of_copy[16], name[NAME_COLUMNS + 1], marks[8];
    double seconds = r->time.seconds;
    bool zeros = leaves_zeros_out(r->kernel);
    snprintf(marks, sizeof marks, "%s%s%s", r->time.scatter > SCATTER ? "~" : "", zeros ? "z" : "",
             runs_once(p, r->kernel) ? "1" : "");
    percent(r->flop / seconds, peak_flop(p, r->kernel), zeros ? "zeros" : NULL, of_peak);
    percent(r->bytes / seconds, p->peak.copy, "cache", of_copy);
    printf("%-*s %9.1f %8.1f %5s %8.2f %6s%s%s\n", NAME_COLUMNS, short_name(r->kernel->name, name),
           seconds * 1e6, r->flop / seconds / 1e9, of_peak, r->bytes / 1e6, of_copy,
           marks[0] ? " " : "", marks);
}

static int by_time(const void *a, const void *b)
{
    const Row *x = a, *y = b;
    if (x->time.seconds != y->time.seconds)
        return x->time.seconds < y->time.seconds ? 1 : -1;
    return (x > y) - (x < y);
}

/* What the marks in the table stand for, those that are there. */
static void print_marks(const Profile *p, const Timing *step)
{
    bool scatters = step->scatter > SCATTER, zeros = false, once = false;
    for (int i = 0; i < p->rows; i++) {
        scatters |= p->row[i].time.scatter > SCATTER;
        zeros |= leaves_zeros_out(p->row[i].kernel);
        once |= runs_once(p, p->row[i].kernel);
    }
    if (zeros)
        printf("z: leaves products with zeros out, which GFLOP/s and peak count\n");
    if (once)
        printf("1: once for the weights, not in every step\n");
    if (scatters)
        printf("~: the machine is busy, the times scatter by more than %.0f %%\n", 100 * SCATTER);
}

/* The longest first. */
static void print_rows(Profile *p)
{
    printf("%-*s %9s %8s %5s %8s %6s\n", NAME_COLUMNS, "kernel", "us", "GFLOP/s", "peak", "MB",
           "memory");
    qsort(p->row, (size_t)p->rows, sizeof *p->row, by_time);
    for (int i = 0; i < p->rows; i++)
        print_row(p, &p->row[i]);
}

static void write_row(const Profile *p, const Row *r)
{
    char of_peak[32], of_copy[32], scatter[32];
    double seconds = r->time.seconds;
    fprintf(p->json,
            "%s\n  {\"name\":\"%s\",\"class\":\"%s\",\"seconds\":%.9g,\"scatter\":%s,"
            "\"flop\":%.0f,\"bytes\":%.0f,\"of_peak\":%s,\"of_bandwidth\":%s}",
            r == p->row ? "" : ",", r->kernel->name, class_names[r->kernel->class], seconds,
            json_number(r->time.scatter, scatter), r->flop, r->bytes,
            json_number(r->flop / seconds / peak_flop(p, r->kernel), of_peak),
            json_number(r->bytes / seconds / p->peak.copy, of_copy));
}

static int profile_kernel(Profile *p, const Kernel *k, const NincLaunch *launch)
{
    Row *r = &p->row[p->rows++];
    *r = (Row){.kernel = k, .flop = kernel_flop(k), .bytes = (double)kernel_traffic(p->graph, k)};
    if (take_time(p, launch, &r->time) < 0)
        return -1;
    p->kernel_seconds += runs_once(p, k) ? 0 : r->time.seconds;
    return 0;
}

static int profile_list(Profile *p, const NincLaunch *list, int count)
{
    for (int i = 0; i < count; i++)
        for (int j = 0; j < p->graph->kernel_count; j++)
            if (strcmp(p->graph->kernel[j]->name, list[i].name) == 0 &&
                profile_kernel(p, p->graph->kernel[j], &list[i]) < 0)
                return -1;
    return 0;
}

/* In JSON they stand in the order in which they run. */
static int profile_kernels(Profile *p)
{
    const NincProgram *program = p->program;
    if (profile_list(p, program->before, program->befores) < 0 ||
        profile_list(p, program->chunked, program->chunkeds) < 0 ||
        profile_list(p, program->after, program->afters) < 0)
        return -1;
    if (p->json) {
        fprintf(p->json, "{\"kernels\":[");
        for (int i = 0; i < p->rows; i++)
            write_row(p, &p->row[i]);
        fprintf(p->json, "],\n");
    }
    print_rows(p);
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
    StepInput input = {.data = &data, .index = order, .valid = valid, .lr = 0, .step = 1,
                       .label_weight = (float)valid};
    int status = device_step(p->table, p->device, p->program, &input);
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
    Timing step;
    char device[256], scatter[32];
    if (take_time(p, NULL, &step) < 0)
        return -1;
    int64_t bytes = p->table->arena_bytes(p->device);
    printf("all kernels %.1f us; one step %.1f us%s, %.2f us an image\n", p->kernel_seconds * 1e6,
           step.seconds * 1e6, step.scatter > SCATTER ? " ~" : "",
           step.seconds * 1e6 / p->program->batch);
    printf("%.1f images/s, %.1f MB\n", p->program->batch / step.seconds, (double)bytes / 1e6);
    print_marks(p, &step);
    if (p->json)
        fprintf(p->json,
                " \"device\":\"%s\",\"precision\":\"%s\",\"mode\":\"%s\",\"batch\":%d,"
                "\"step_seconds\":%.9g,\"step_scatter\":%s,\"kernel_seconds\":%.9g,"
                "\"arena_bytes\":%lld,\n \"peak\":{\"fma_flop\":%.9g,\"dot_flop\":%.9g,"
                "\"tile_flop\":%.9g,\"copy_bytes\":%.9g}}\n",
                json_text(p->table->describe(p->device), device, sizeof device),
                device_target(p->model, p->table)->precision, p->program->name, p->program->batch,
                step.seconds, json_number(step.scatter, scatter), p->kernel_seconds,
                (long long)bytes, p->peak.fma, p->peak.dot, p->peak.tile, p->peak.copy);
    return 0;
}

/* Of the CPU only: a GPU's ceilings have no measurement here. */
static void measure_peak(Profile *p, int threads)
{
    if (p->table->target != NINC_CPU)
        return;
    p->peak = cpu_peak(threads > 0 ? threads : thread_limit("").threads,
                       device_programs(p->table) == NINC_AMX);
    printf("peak GFLOP/s: fp32 %.1f", p->peak.fma / 1e9);
    if (p->peak.dot > 0)
        printf(", bf16 dot product %.1f", p->peak.dot / 1e9);
    if (p->peak.tile > 0)
        printf(", AMX %.1f", p->peak.tile / 1e9);
    printf("; memory copied at %.1f GB/s\n", p->peak.copy / 1e9);
    fflush(stdout);
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
    p->graph = plan_graph(plan_module(pool), device_programs(p->table), p->program->name);
    p->row = xmalloc((size_t)(p->program->befores + p->program->chunkeds + p->program->afters + 1) *
                     sizeof *p->row);
    int status = profile_device(p, options);
    free(p->row);
    pool_free(pool);
    return status;
}

int profile(const NincModel *model, const DeviceTable *table, const ProfileOptions *options)
{
    DeviceOptions device = options->device;
    OutFile json = {0};
    device.with_train = !options->eval;
    device.images[0] = RANDOM_TRAIN_IMAGES;
    Profile p = {
        .model = model, .table = table, .groups = options->repeats > 0 ? options->repeats : GROUPS};
    if (p.groups > MAX_GROUPS)
        p.groups = MAX_GROUPS;
    p.most_groups = options->repeats > 0 ? p.groups : MOST_GROUPS;
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
