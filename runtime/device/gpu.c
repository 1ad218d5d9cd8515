/* A GPU as a device, over a machine (gpu.h): the driver API or the simulator. The host runs ahead
 * of the device and waits only to read or write its memory. */
#include "gpu_device.h"

#include <string.h>

static int gpu_use(Device *d)
{
    return d->driver->use(d->machine);
}

static const char *gpu_describe(Device *d)
{
    return d->description;
}

static int64_t gpu_bytes(Device *d)
{
    return d->arena_bytes;
}

/* ---- reading and writing: after all that was launched ---- */

static GpuAddress state_address(const Device *d, int64_t offset, int64_t count)
{
    check_state_bytes(d->target, offset, count);
    return d->state + (GpuAddress)offset;
}

static int gpu_write_state(Device *d, int64_t offset, const void *bytes, int64_t count)
{
    return put(d, state_address(d, offset, count), bytes, count);
}

static int gpu_read_state(Device *d, int64_t offset, void *bytes, int64_t count)
{
    return get(d, bytes, state_address(d, offset, count), count);
}

static int gpu_write(Device *d, const NincArg *at, int partial, const void *bytes, int64_t count)
{
    return put(d, address_of(d, at, partial), bytes, count);
}

static int gpu_read(Device *d, const NincArg *at, int partial, void *bytes, int64_t count)
{
    return get(d, bytes, address_of(d, at, partial), count);
}

static int gpu_poison(Device *d, const NincProgram *program)
{
    const struct {
        GpuAddress at;
        int64_t bytes;
    } part[] = {{d->shared, program->shared_bytes}, {d->scratch, program->chunk_bytes}};
    for (int i = 0; i < 2; i++)
        if (part[i].bytes > 0 &&
            d->driver->fill(d->machine, part[i].at, 0xFF, part[i].bytes) < 0)
            return -1;
    return 0;
}

/* ---- metrics ---- */

static int gpu_read_metrics(Device *d, Metrics *out)
{
    Sums sums;
    if (get(d, &sums, d->sums, sizeof sums) < 0)
        return -1;
    *out = (Metrics){.loss = sums.loss,
                     .weight = sums.weight,
                     .correct = sums.correct,
                     .images = sums.images,
                     .all_logits_zero = sums.images > 0 && sums.all_logits_zero};
    return reset_metrics(d);
}

/* ---- launches ---- */

/* A kernel works on the whole batch, whatever the range. */
static int gpu_launch(Device *d, const NincProgram *program, const NincLaunch *launch,
                      const NincRange *range, int partial)
{
    (void)program;
    (void)range;
    return launch_part(d, launch, partial);
}

static int gpu_copies(Device *d, const NincLaunch *launch)
{
    return kernel_of(d, launch)->split;
}

/* ---- timing ---- */

static int gpu_time(Device *d, const NincProgram *program, const NincLaunch *launch, int repeats,
                    double *seconds)
{
    void *graph = d->last[program_number(d, program)];
    int grid[3], status = d->driver->time_begin(d->machine);
    const GpuKernel *k = launch ? bind_launch(d, launch, 0, grid) : NULL;
    if (!launch && !graph)
        internal_error("no step of program %s was run that could be timed", program->name);
    for (int i = 0; i < repeats && status == 0; i++)
        status = k ? d->driver->launch(d->machine, k, grid, d->arg, launch->args)
                   : d->driver->graph_launch(d->machine, graph);
    if (status < 0 || d->driver->time_end(d->machine, seconds) < 0)
        return -1;
    return k ? 0 : reset_metrics(d);
}

/* ---- the devices ---- */

static Device *cuda_open(const NincModel *model, const DeviceOptions *options)
{
    return gpu_open(&gpu_cuda_driver, model, options);
}

static Device *sim_open(const NincModel *model, const DeviceOptions *options)
{
    return gpu_open(&gpu_sim_driver, model, options);
}

#define GPU_DEVICE(title, opener)                                                               \
    {                                                                                           \
        .name = title, .target = NINC_CUDA, .open = opener, .close = gpu_close,                 \
        .use = gpu_use, .describe = gpu_describe, .arithmetic = gpu_describe,                   \
        .write_state = gpu_write_state, .read_state = gpu_read_state,                           \
        .run_chunks = gpu_run_chunks, .reduce = gpu_reduce, .run_after = gpu_run_after,         \
        .read_metrics = gpu_read_metrics,                                                       \
        .write = gpu_write, .read = gpu_read, .poison = gpu_poison, .launch = gpu_launch,       \
        .copies = gpu_copies, .time = gpu_time, .arena_bytes = gpu_bytes,                       \
    }

const DeviceTable ninc_cuda_device = GPU_DEVICE("cuda", cuda_open);
const DeviceTable ninc_sim_device = GPU_DEVICE("sim", sim_open);
