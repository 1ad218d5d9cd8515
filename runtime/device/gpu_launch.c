/* Where values lie on a GPU, and the launch of a kernel on them: what opening, steps and the table
 * of the device stand on. */
#include "gpu_device.h"

int program_number(const Device *d, const NincProgram *program)
{
    if (program != &d->target->train && program != &d->target->eval)
        internal_error("program %s is not of this model", program->name);
    if (program == &d->target->train && !d->with_train)
        internal_error("the device was opened without the program train");
    return program == &d->target->eval;
}

/* ---- memory: after all that was launched ---- */

int put(Device *d, GpuAddress to, const void *from, int64_t bytes)
{
    if (bytes == 0)
        return 0;
    if (d->driver->wait(d->machine) < 0)
        return -1;
    return d->driver->copy_in(d->machine, to, from, bytes);
}

int get(Device *d, void *to, GpuAddress from, int64_t bytes)
{
    if (bytes == 0)
        return 0;
    if (d->driver->wait(d->machine) < 0)
        return -1;
    return d->driver->copy_out(d->machine, to, from, bytes);
}

/* The batch is one chunk, so per_image counts nowhere. */
GpuAddress address_of(const Device *d, const NincArg *at, int partial)
{
    switch (at->region) {
    case NINC_REGION_STATE: return d->state + (GpuAddress)at->offset;
    case NINC_REGION_SHARED: return d->shared + (GpuAddress)at->offset;
    case NINC_REGION_CHUNK: return d->scratch + (GpuAddress)at->offset;
    case NINC_REGION_PARTIAL:
        return d->shared + (GpuAddress)(at->offset + partial * at->per_partial);
    case NINC_REGION_THREAD:
    case NINC_REGION_NONE: break;
    }
    internal_error("a value without a place is asked for");
}

static const Sums no_sums = {.all_logits_zero = 1};

int reset_metrics(Device *d)
{
    return put(d, d->sums, &no_sums, sizeof no_sums);
}

/* ---- launches ---- */

const GpuKernel *kernel_of(const Device *d, const NincLaunch *launch)
{
    for (int i = d->with_train ? 0 : d->train_kernels; i < d->kernels; i++)
        if (d->kernel[i].launch == launch)
            return &d->kernel[i];
    internal_error("kernel %s is not loaded", launch->name);
}

const GpuKernel *bind_launch(Device *d, const NincLaunch *launch, int partial, int grid[3])
{
    const GpuKernel *k = kernel_of(d, launch);
    for (int i = 0; i < launch->args; i++)
        d->arg[i] = address_of(d, &launch->arg[i], partial);
    grid[0] = k->schedule->grid_x;
    grid[1] = k->schedule->grid_y;
    grid[2] = k->split;
    return k;
}

int launch_part(Device *d, const NincLaunch *launch, int partial)
{
    int grid[3];
    const GpuKernel *k = bind_launch(d, launch, partial, grid);
    return d->driver->launch(d->machine, k, grid, d->arg, launch->args);
}
