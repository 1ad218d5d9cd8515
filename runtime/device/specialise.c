/* From the schedules of a plan to what one device runs: the first schedule that fits it, how many
 * parts of a reduction fill it, and the macros that tell the CUDA text so. All of it follows from
 * the plan and the device's limits alone, so that every run on a device gives the same bits. */
#include "../../ir/roofline.h"
#include "gpu.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of a split reduction for each processor: enough to fill it and to even out the end. */
enum { ROUNDS = 4 };

/* That any kernel runs on: what fp32 ones need. */
enum { LEAST_ARCHITECTURE = 75 };

static bool fits(const NincSchedule *s, const GpuLimits *limits)
{
    return s->architecture <= limits->architecture && s->shared_bytes <= limits->shared_bytes;
}

const NincSchedule *schedule_for(const NincLaunch *launch, const GpuLimits *limits)
{
    for (int i = 0; i < launch->schedules; i++)
        if (fits(&launch->schedule[i], limits))
            return &launch->schedule[i];
    return NULL;
}

/* A kernel without tiles is the same with -O0. */
static int shared_fault(const NincLaunch *launch, const GpuLimits *limits, int needed)
{
    bool tiled = launch->schedule[0].tile_m > 0;
    return fault("kernel %s needs %d bytes of shared memory a block, %s has %d; %s", launch->name,
                 needed, limits->name, limits->shared_bytes,
                 tiled ? "compile the model with -O0, whose kernels need less, or use another GPU"
                       : "use another GPU, or the CPU");
}

int schedule_fault(const NincLaunch *launch, const GpuLimits *limits)
{
    int architecture = 0, shared = 0;
    if (launch->schedules < 1)
        internal_error("kernel %s has no schedule", launch->name);
    for (int i = 0; i < launch->schedules; i++) {
        const NincSchedule *s = &launch->schedule[i];
        if (!architecture || s->architecture < architecture)
            architecture = s->architecture;
        if (s->architecture <= limits->architecture && (!shared || s->shared_bytes < shared))
            shared = s->shared_bytes;
    }
    if (shared)
        return shared_fault(launch, limits, shared);
    if (limits->architecture < LEAST_ARCHITECTURE)
        return fault("compute capability %d.%d or newer is needed, %s has %d.%d; use a newer GPU, "
                     "or the CPU",
                     LEAST_ARCHITECTURE / 10, LEAST_ARCHITECTURE % 10, limits->name,
                     limits->architecture / 10, limits->architecture % 10);
    return fault("kernel %s needs compute capability %d.%d, %s has %d.%d; compile the model with "
                 "--precision=fp32, or use a newer GPU",
                 launch->name, architecture / 10, architecture % 10, limits->name,
                 limits->architecture / 10, limits->architecture % 10);
}

int split_for(const NincSchedule *schedule, const GpuLimits *limits)
{
    int64_t blocks = (int64_t)schedule->grid_x * schedule->grid_y;
    int64_t fill = (int64_t)limits->processors * ROUNDS;
    int64_t most = blocks > 0 ? fill / blocks : 1;
    if (limits->processors == 0 || most >= schedule->split)
        return schedule->split > 0 ? schedule->split : 1;
    return most > 0 ? (int)most : 1;
}

GpuLimits limits_of_architecture(int architecture)
{
    GpuLimits limits = {.architecture = architecture,
                        .shared_bytes = gpu_kind(architecture)->block_shared_kb << 10};
    snprintf(limits.name, sizeof limits.name, "sm_%d", architecture);
    return limits;
}

/* ---- macros ---- */

enum { MACROS = 7 };

static char *definition(const char *kernel, const char *what, int value)
{
    size_t bytes = strlen(kernel) + strlen(what) + sizeof "-D_=-2147483648";
    char *text = xmalloc(bytes);
    int at = snprintf(text, bytes, "-D%s_", kernel);
    for (char *c = text; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    snprintf(text + at, bytes - (size_t)at, "%s=%d", what, value);
    return text;
}

static int define_kernel(const GpuKernel *k, char **out)
{
    const NincSchedule *s = k->schedule;
    const struct {
        const char *name;
        int value;
    } macro[MACROS] = {
        {"TILE_M", s->tile_m}, {"TILE_N", s->tile_n},   {"TILE_K", s->tile_k},
        {"STAGES", s->stages}, {"SPLIT", k->split},     {"THREADS", s->threads},
        {"SHARED", s->shared_bytes},
    };
    for (int i = 0; i < MACROS; i++)
        out[i] = definition(k->name, macro[i].name, macro[i].value);
    return MACROS;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **schedule_options(const GpuKernel *kernel, int count, int *option_count)
{
    char **option = xmalloc(((size_t)count * MACROS + 1) * sizeof *option);
    int options = 0;
    for (int i = 0; i < count; i++)
        if (kernel[i].schedule && kernel[i].schedule->tile_m > 0)
            options += define_kernel(&kernel[i], option + options);
    qsort(option, (size_t)options, sizeof *option, by_text);
    *option_count = options;
    return option;
}
