/* A step is one captured graph: gather_batch, the program's kernels, add_metrics; or two, where the
 * sums over the images are exchanged between. Its inputs reach the device before it through pinned
 * slots, so that the host can prepare further steps meanwhile; the images lie on the device
 * already. */
#include "../../ir/inputs.h"
#include "gpu_device.h"

#include <string.h>

/* ---- data sets ---- */

void free_graphs(Device *d, Resident *r)
{
    for (int p = 0; p < PROGRAMS; p++)
        for (int part = 0; part < STEP_PARTS; part++)
            if (r->graph[p][part])
                d->driver->graph_free(d->machine, r->graph[p][part]);
}

static void forget(Device *d, Resident *r)
{
    for (int p = 0; p < PROGRAMS; p++)
        if (d->last[p] == r->graph[p][STEP_WHOLE])
            d->last[p] = NULL;
    free_graphs(d, r);
    d->data_bytes -= r->bytes;
    *r = (Resident){0};
}

/* Makes room for one more data set where the table is full. */
static Resident *vacant(Device *d)
{
    Resident *r = &d->data[d->next_data];
    d->next_data = (d->next_data + 1) % DATA_SETS;
    if (!r->image)
        return r;
    GpuAddress at = r->streamed ? 0 : r->at;
    if (d->driver->wait(d->machine) < 0)
        return NULL;
    forget(d, r);
    return at && d->driver->free(d->machine, at) < 0 ? NULL : r;
}

static int64_t free_bytes(const Device *d)
{
    return d->limits.free_bytes - d->arena_bytes - d->data_bytes;
}

int open_stream(Device *d)
{
    int64_t bytes = stage_bytes(d);
    int batch = memory_of(d->target).batch;
    if (d->stage)
        return 0;
    if (bytes > free_bytes(d)) {
        char advice[96];
        return fault("the images of a step need %.1f MB of device memory, %s has %.1f MB left "
                     "beside model %s at batch %d; %s",
                     megabytes(bytes), d->limits.name, megabytes(free_bytes(d)), d->model->name,
                     batch, batch_advice(d, true, advice, sizeof advice));
    }
    d->stream = d->driver->slots_alloc(d->machine, STREAMS, bytes);
    if (!d->stream || d->driver->alloc(d->machine, bytes, &d->stage) < 0)
        return -1;
    d->stream_bytes = bytes;
    d->data_bytes += bytes;
    d->places = xmalloc((size_t)batch * sizeof *d->places);
    for (int i = 0; i < batch; i++)
        d->places[i] = i;
    return 0;
}

static GpuAddress stage_labels(const Device *d)
{
    return (GpuAddress)round_up(image_bytes(d->model, memory_of(d->target).batch), ALIGNMENT);
}

/* There is no room for all of it. */
static int stream(Device *d, const Dataset *data, Resident *r)
{
    if (open_stream(d) < 0)
        return -1;
    notice("the data set's %d images take %.1f MB, more than %s has free: the images of each step "
           "are sent to it",
           data->count, megabytes(dataset_bytes(d->model, data->count)), d->limits.name);
    *r = (Resident){.image = data->image,
                    .label = data->label,
                    .count = data->count,
                    .edition = data->edition,
                    .at = d->stage,
                    .streamed = true};
    r->labels = r->at + stage_labels(d);
    return 0;
}

static int upload(Device *d, const Dataset *data, Resident *r)
{
    int64_t images = image_bytes(d->model, data->count);
    int64_t labels = data->count * (int64_t)sizeof *data->label;
    int64_t bytes = dataset_bytes(d->model, data->count);
    if (bytes > free_bytes(d))
        return stream(d, data, r);
    Resident new = {.image = data->image,
                    .label = data->label,
                    .count = data->count,
                    .edition = data->edition,
                    .bytes = bytes};
    if (d->driver->alloc(d->machine, bytes, &new.at) < 0)
        return -1;
    new.labels = new.at + (GpuAddress)round_up(images, ALIGNMENT);
    if (d->driver->copy_in(d->machine, new.at, data->image, images) < 0 ||
        d->driver->copy_in(d->machine, new.labels, data->label, labels) < 0) {
        d->driver->free(d->machine, new.at);
        return -1;
    }
    d->data_bytes += bytes;
    *r = new;
    return 0;
}

/* The images again, to the same place, where they changed. */
static int refresh(Device *d, const Dataset *data, Resident *r)
{
    if (r->edition == data->edition || r->streamed)
        return 0;
    r->edition = data->edition;
    return put(d, r->at, data->image, image_bytes(d->model, data->count));
}

/* The data set on the device, brought there where it is not; NULL after a message. */
static Resident *resident(Device *d, const Dataset *data)
{
    const NincModel *m = d->model;
    if (data->h != m->image_h || data->w != m->image_w || data->c != m->image_c)
        internal_error("images of %dx%dx%d for a model of %dx%dx%d", data->h, data->w, data->c,
                       m->image_h, m->image_w, m->image_c);
    for (int i = 0; i < DATA_SETS; i++) {
        Resident *r = &d->data[i];
        if (r->image == data->image && r->label == data->label && r->count == data->count)
            return refresh(d, data, r) == 0 ? r : NULL;
    }
    Resident *r = vacant(d);
    return r && upload(d, data, r) == 0 ? r : NULL;
}

/* ---- the inputs of a step ---- */

/* The host's bytes to the device in stream order, from the next slot. */
static int send(Device *d, GpuAddress to, const void *from, int64_t bytes)
{
    int slot = d->next_slot;
    d->next_slot = (slot + 1) % SLOTS;
    if (d->driver->slot_wait(d->machine, slot) < 0)
        return -1;
    memcpy(d->slots + slot * d->slot_bytes, from, (size_t)bytes);
    return d->driver->slot_send(d->machine, slot, to, bytes);
}

/* A scalar of four bytes and its place in the shared region. */
typedef struct Argument {
    const void *value;
    int64_t offset;
} Argument;

static int find_scalars(const NincProgram *p, const StepInput *input, Argument *out)
{
    const struct {
        const char *name;
        const void *value;
    } known[] = {
#define X(name, member) {name, &input->member},
        GRAPH_SCALARS(X)
#undef X
    };
    int count = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const NincPort *port = find_port(p->input, p->inputs, known[i].name);
        if (port)
            out[count++] = (Argument){known[i].value, port->at.offset};
    }
    return count;
}

/* One copy where they lie close together: before a step nothing between them is alive. */
static int send_scalars(Device *d, const NincProgram *p, const StepInput *input)
{
    enum { WORD = 4 };
#define X(...) +1
    Argument scalar[GRAPH_SCALARS(X)];
#undef X
    char block[SPAN] = {0};
    int count = find_scalars(p, input, scalar);
    int64_t low = count ? scalar[0].offset : 0, high = low;
    for (int i = 0; i < count; i++) {
        low = scalar[i].offset < low ? scalar[i].offset : low;
        high = larger(scalar[i].offset + WORD, high);
    }
    if (high - low <= SPAN) {
        for (int i = 0; i < count; i++)
            memcpy(block + (scalar[i].offset - low), scalar[i].value, WORD);
        return send(d, d->shared + (GpuAddress)low, block, high - low);
    }
    for (int i = 0; i < count; i++)
        if (send(d, d->shared + (GpuAddress)scalar[i].offset, scalar[i].value, WORD) < 0)
            return -1;
    return 0;
}

/* The step's images and labels to where they lie on the device, while the device is at work on the
 * step before. */
static int send_images(Device *d, const StepInput *input)
{
    int64_t each = image_bytes(d->model, 1), labels = (int64_t)stage_labels(d);
    int part = d->next_stream;
    d->next_stream = (part + 1) % STREAMS;
    if (d->driver->slot_wait(d->machine, SLOTS + part) < 0)
        return -1;
    char *to = d->stream + part * d->stream_bytes;
    for (int i = 0; i < input->valid; i++) {
        int32_t n = input->index[i];
        memcpy(to + i * each, input->data->image + n * each, (size_t)each);
        memcpy(to + labels + i * (int64_t)sizeof n, &input->data->label[n], sizeof n);
    }
    int64_t bytes = labels + input->valid * (int64_t)sizeof(int32_t);
    return d->driver->slot_send(d->machine, SLOTS + part, d->stage, bytes);
}

/* ---- a step ---- */

/* The address of an input or output; 0 where the program has none of that name. */
static GpuAddress port_address(const Device *d, const NincPort *port)
{
    return port ? address_of(d, &port->at, 0) : 0;
}

static GpuAddress input_address(const Device *d, const NincProgram *p, const char *name)
{
    return port_address(d, find_port(p->input, p->inputs, name));
}

/* The images' numbers, for gather_batch and, where the program reads them, for it. */
static int send_index(Device *d, const NincProgram *p, const StepInput *input)
{
    int64_t bytes = input->valid * (int64_t)sizeof *input->index;
    GpuAddress own = input_address(d, p, "index");
    if (own && input->valid < p->batch &&
        d->driver->fill(d->machine, own, 0, p->batch * (int64_t)sizeof *input->index) < 0)
        return -1;
    if (own && send(d, own, input->index, bytes) < 0)
        return -1;
    return send(d, d->index, d->begun_on->streamed ? d->places : input->index, bytes);
}

static int send_inputs(Device *d, const NincProgram *p, const StepInput *input)
{
    if (send_scalars(d, p, input) < 0 || (d->begun_on->streamed && send_images(d, input) < 0))
        return -1;
    return send_index(d, p, input);
}

static GpuAddress output_address(const Device *d, const NincProgram *p, const char *name)
{
    return port_address(d, find_port(p->output, p->outputs, name));
}

static const GpuKernel *own_kernel(const Device *d, int which)
{
    return &d->kernel[d->kernels - OWN_KERNELS + which];
}

static int launch_gather(Device *d, const NincProgram *p, const Resident *data)
{
    const GpuAddress arg[] = {data->at,
                              data->labels,
                              d->index,
                              input_address(d, p, "valid"),
                              input_address(d, p, "image"),
                              input_address(d, p, "label")};
    const int grid[3] = {p->batch, 1, 1};
    return d->driver->launch(d->machine, own_kernel(d, GATHER_BATCH), grid, arg, 6);
}

static int launch_add_metrics(Device *d, const NincProgram *p)
{
    const GpuAddress arg[] = {output_address(d, p, "loss"),
                              output_address(d, p, "correct"),
                              output_address(d, p, "logits"),
                              input_address(d, p, "valid"),
                              d->sums,
                              input_address(d, p, "label_weight")};
    const int grid[3] = {1, 1, 1};
    return d->driver->launch(d->machine, own_kernel(d, ADD_METRICS), grid, arg, arg[5] ? 6 : 5);
}

static int launch_step(Device *d, const NincProgram *p, const Resident *data, StepPart part)
{
    int first = part == STEP_AFTER ? p->befores + p->chunkeds : 0;
    int end = part == STEP_CHUNKS ? p->befores + p->chunkeds : launches_of(p);
    if (part != STEP_AFTER && launch_gather(d, p, data) < 0)
        return -1;
    for (int i = first; i < end; i++)
        if (launch_part(d, launch_at(p, i), 0) < 0)
            return -1;
    return part != STEP_CHUNKS ? launch_add_metrics(d, p) : 0;
}

/* A capture is ended in any case, so that the machine can go on. */
static int capture_step(Device *d, const NincProgram *p, const Resident *data, StepPart part,
                        void **out)
{
    void *graph = NULL;
    if (d->driver->capture_begin(d->machine) < 0)
        return -1;
    int status = launch_step(d, p, data, part);
    if (d->driver->capture_end(d->machine, &graph) < 0)
        return -1;
    if (status == 0)
        *out = graph;
    else
        d->driver->graph_free(d->machine, graph);
    return status;
}

static int run_part(Device *d, const NincProgram *p, StepPart part)
{
    void **graph = &d->begun_on->graph[program_number(d, p)][part];
    if (!*graph && capture_step(d, p, d->begun_on, part, graph) < 0)
        return -1;
    return d->driver->graph_launch(d->machine, *graph);
}

/* ---- its three calls ---- */

/* The kernels are put off: one graph takes less than two. */
int gpu_run_chunks(Device *d, const NincProgram *program, const StepInput *input)
{
    program_number(d, program);
    if (input->valid < 1 || input->valid > program->batch)
        internal_error("%d valid images in a batch of %d", input->valid, program->batch);
    d->begun = NULL;
    d->begun_on = resident(d, input->data);
    if (!d->begun_on || send_inputs(d, program, input) < 0)
        return -1;
    d->begun = program;
    d->exchanged = false;
    return 0;
}

static void check_begun(const Device *d, const NincProgram *program)
{
    if (d->begun != program)
        internal_error("no step of program %s was begun", program->name);
}

int gpu_reduce(Device *d, const NincProgram *program, const Exchange *exchange)
{
    check_begun(d, program);
    if (!exchange)
        return 0;
    d->exchanged = true;
    return run_part(d, program, STEP_CHUNKS) < 0 ? -1 : exchange->sums(exchange->who);
}

int gpu_run_after(Device *d, const NincProgram *program)
{
    int number = program_number(d, program);
    check_begun(d, program);
    d->begun = NULL;
    if (run_part(d, program, d->exchanged ? STEP_AFTER : STEP_WHOLE) < 0)
        return -1;
    if (!d->exchanged)
        d->last[number] = d->begun_on->graph[number][STEP_WHOLE];
    return 0;
}
