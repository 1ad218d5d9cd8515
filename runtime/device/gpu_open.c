/* Opens a GPU for a model: its kernels, each with the schedule that fits, and its memory. */
#include "gpu_device.h"

#include <stdlib.h>

/* ---- kernels ---- */

/* The device's limits, but with all parts of the reductions where the trainer has kernels for it:
 * those were compiled without knowing its processors. */
static GpuLimits limits_for_code(const Device *d)
{
    GpuLimits limits = d->limits;
    for (const NincCubin *c = ninc_cubins; c->kernel; c++)
        if (cubin_runs_on(c->architecture, limits.architecture))
            limits.processors = 0;
    return limits;
}

/* A kernel that is not needed may have no schedule that fits the device. */
static int add_program(Device *d, const NincProgram *p, bool needed)
{
    const GpuLimits limits = limits_for_code(d);
    for (int i = 0; i < launches_of(p); i++) {
        const NincLaunch *launch = launch_at(p, i);
        const NincSchedule *schedule = schedule_for(launch, &d->limits);
        if (!schedule && needed)
            return schedule_fault(launch, &d->limits);
        d->kernel[d->kernels++] =
            (GpuKernel){.name = launch->name,
                        .launch = launch,
                        .schedule = schedule,
                        .split = schedule ? split_for(schedule, &limits) : 1,
                        .number = launch->kernel};
    }
    return 0;
}

/* Their numbers follow those of the programs' kernels. */
static void add_own_kernels(Device *d)
{
    static const char *const names[OWN_KERNELS] = {"gather_batch", "add_metrics"};
    static const NincSchedule schedule = {
        .split = 1, .threads = 256, .grid_x = 1, .grid_y = 1, .architecture = 75};
    for (int i = 0; i < OWN_KERNELS; i++, d->kernels++)
        d->kernel[d->kernels] = (GpuKernel){
            .name = names[i], .schedule = &schedule, .split = 1, .number = d->kernels};
}

static int choose_kernels(Device *d)
{
    const NincProgram *train = &d->target->train, *eval = &d->target->eval;
    d->train_kernels = launches_of(train);
    int most = d->train_kernels + launches_of(eval) + OWN_KERNELS;
    d->kernel = xmalloc((size_t)most * sizeof *d->kernel);
    if (add_program(d, train, d->with_train) < 0 || add_program(d, eval, true) < 0)
        return -1;
    add_own_kernels(d);
    return 0;
}

/* The options are those of all kernels, whichever are loaded, so that what was compiled for one
 * command serves the others. */
static int load_kernels(Device *d)
{
    int options, first = d->with_train ? 0 : d->train_kernels;
    char **option = schedule_options(d->kernel, d->kernels, &options);
    int status = d->driver->load(d->machine, ninc_cuda_text, (const char *const *)option, options,
                                 d->kernel + first, d->kernels - first);
    for (int i = 0; i < options; i++)
        free(option[i]);
    free(option);
    return status;
}

/* ---- memory ---- */

static int too_little_memory(const Device *d, const NincMemory *memory, int64_t data_bytes)
{
    char images[64] = "", advice[96];
    if (data_bytes > 0)
        snprintf(images, sizeof images, " and %.1f MB for the images", megabytes(data_bytes));
    return fault("model %s needs %.1f MB of device memory at batch %d%s, %s has %.1f MB free; %s",
                 d->model->name, megabytes(arena_of(memory, d->with_train)), memory->batch, images,
                 d->limits.name, megabytes(d->limits.free_bytes),
                 batch_advice(d, data_bytes > 0, advice, sizeof advice));
}

/* With room beside it for the data sets to come, or for the images of a step, so that `auto` still
 * has the choice. */
static int allocate(Device *d, const int images[2])
{
    int64_t data_bytes = dataset_bytes(d->model, images[0]) + dataset_bytes(d->model, images[1]);
    NincMemory memory = memory_of(d->target);
    Parts parts = parts_of(&memory, d->with_train);
    int64_t bytes = arena_of(&memory, d->with_train);
    bool streams = bytes + data_bytes > d->limits.free_bytes;
    int64_t stage = data_bytes > 0 ? stage_bytes(d) : 0;
    if (streams && bytes + stage > d->limits.free_bytes)
        return too_little_memory(d, &memory, stage);
    if (d->driver->alloc(d->machine, bytes, &d->state) < 0)
        return -1;
    d->arena_bytes = bytes;
    d->shared = d->state + (GpuAddress)parts.state;
    d->scratch = d->shared + (GpuAddress)parts.shared;
    d->index = d->scratch + (GpuAddress)parts.scratch;
    d->sums = d->index + (GpuAddress)parts.index;
    d->slot_bytes = larger(SPAN, parts.index);
    d->slots = d->driver->slots_alloc(d->machine, SLOTS, d->slot_bytes);
    if (!d->slots || (stage > 0 && streams && open_stream(d) < 0) ||
        d->driver->fill(d->machine, d->state, 0, parts.state) < 0)
        return -1;
    return reset_metrics(d);
}

void gpu_close(Device *d)
{
    for (int i = 0; i < DATA_SETS; i++)
        free_graphs(d, &d->data[i]);
    if (d->machine)
        d->driver->close(d->machine);
    free(d->kernel);
    free(d->arg);
    free(d->places);
    free(d);
}

static int most_args(const Device *d)
{
    int most = 1;
    for (int i = 0; i < d->kernels - OWN_KERNELS; i++)
        if (d->kernel[i].launch->args > most)
            most = d->kernel[i].launch->args;
    return most;
}

static int prepare(Device *d, const DeviceOptions *options)
{
    d->machine = d->driver->open(options->ordinal, &d->limits);
    if (!d->machine || choose_kernels(d) < 0 || allocate(d, options->images) < 0 ||
        load_kernels(d) < 0)
        return -1;
    d->arg = xmalloc((size_t)most_args(d) * sizeof *d->arg);
    snprintf(d->description, sizeof d->description,
             "%s, %s, compute capability %d.%d, %d processor%s", d->driver->name, d->limits.name,
             d->limits.architecture / 10, d->limits.architecture % 10, d->limits.processors,
             d->limits.processors == 1 ? "" : "s");
    return 0;
}

Device *gpu_open(const GpuDriver *driver, const NincModel *model, const DeviceOptions *options)
{
    const NincTarget *target = &model->target[NINC_CUDA];
    if (!target->precision) {
        fault("model %s was compiled without CUDA code; compile it with --target=all or "
              "--target=cuda",
              model->name);
        return NULL;
    }
    Device *d = xmalloc(sizeof *d);
    *d = (Device){.driver = driver,
                  .model = model,
                  .target = target,
                  .with_train = options->with_train};
    if (prepare(d, options) == 0)
        return d;
    gpu_close(d);
    return NULL;
}
