/* A GPU machine in memory, for test_gpu*.c, with the kernels of tiny_plan.h's CUDA programs. It
 * runs what it is given as late as it may: a launch or a copy from a slot happens only when
 * somebody waits for it. So a slot that is written too early, or memory that is read too early,
 * gives wrong numbers. Every call is noted in a log, and any of them can be made to fail. */
#ifndef NINC_FAKE_GPU_H
#define NINC_FAKE_GPU_H

#include "../../ir/ir.h"
#include "../../runtime/device/gpu.h"
#include "tiny_plan.h"

#include <check.h>
#include <stdarg.h>
#include <stdlib.h>

enum { MAX_OPERATIONS = 4096, MAX_BUFFERS = 64, MAX_ARGS = 16, LOG_BYTES = 1 << 20 };

typedef struct Operation {
    enum { RUN_KERNEL, RUN_FILL, RUN_SEND, RUN_GRAPH } kind;
    char name[32];
    int grid[3], slot, byte;
    char *arg[MAX_ARGS], *at;
    size_t bytes;
    struct Recording *graph;
} Operation;

typedef struct Recording {
    Operation operation[16];
    int operations;
} Recording;

static struct Fake {
    bool open, capturing;
    int64_t free_bytes, used;
    int processors, shared_bytes, architecture;
    char *buffer[MAX_BUFFERS];
    int64_t buffer_bytes[MAX_BUFFERS];
    int buffers, graphs, captures, opened;
    Operation queue[MAX_OPERATIONS];
    int queued, deepest;
    Recording *recording;
    char *slot[GPU_SLOTS], *slots[GPU_SLOTS]; /* the parts; what was allocated */
    int64_t slot_bytes[GPU_SLOTS];
    int slot_count, slot_sets;
    int split;             /* ROWS_SPLIT of the options */
    char options[4096];    /* of the last load, one a line */
    char kernels[512];     /* of the last load: "0 rows, 1 metrics, ..." */
    bool logits_zero;      /* what the last step's logits look like */
    int calls, fail_at;    /* the call of this number fails; 0: none */
    char log[LOG_BYTES];
    size_t logged;
} fake;

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fake.logged += (size_t)vsnprintf(fake.log + fake.logged, LOG_BYTES - fake.logged, format, ap);
    va_end(ap);
    ck_assert_uint_lt(fake.logged, LOG_BYTES);
}

static inline void forget_log(void)
{
    fake.logged = 0;
    fake.log[0] = '\0';
}

/* Counts a call that may fail; true: it does. */
static bool fails(const char *call)
{
    if (++fake.calls != fake.fail_at)
        return false;
    fault("planned failure of %s", call);
    return true;
}

/* ---- its kernels ---- */

/* Parts of the images, a copy of the gradient each. */
static void run_rows(Operation *o, int parts)
{
    for (int part = 0; part < parts; part++) {
        int first = part * TINY_BATCH / parts, last = (part + 1) * TINY_BATCH / parts;
        NincRange range = {.first_image = first, .images = last - first, .slices = 1};
        void *arg[] = {o->arg[0] + first * TINY_PIXELS,
                       o->arg[1] + first * 4,
                       o->arg[2],
                       o->arg[3],
                       o->arg[4],
                       o->arg[5] + first * 4,
                       o->arg[6] + first * 4,
                       o->arg[7] + first * TINY_LOGITS};
        tiny_rows(arg, &range);
        tiny_gradient((void *[]){arg[0], arg[7], o->arg[8] + part * TINY_GRADIENT_BYTES}, &range);
    }
}

static void run_update(Operation *o)
{
    float *weight = (float *)o->arg[0];
    const float *gradient = (const float *)o->arg[1], *lr = (const float *)o->arg[2];
    int count = (TINY_PIXELS + 1) * TINY_LANES;
    for (int i = 0; i < count; i++) {
        float sum = 0;
        for (int p = 0; p < fake.split; p++)
            sum += gradient[p * count + i];
        weight[i] -= *lr * sum;
    }
}

/* images, labels, index, valid, image, label */
static void run_gather(Operation *o)
{
    const int32_t *labels = (const int32_t *)o->arg[1], *index = (const int32_t *)o->arg[2];
    int32_t valid = *(const int32_t *)o->arg[3], *label = (int32_t *)o->arg[5];
    for (int n = 0; n < o->grid[0]; n++) {
        char *row = o->arg[4] + n * TINY_PIXELS;
        if (n < valid)
            memcpy(row, o->arg[0] + index[n] * TINY_PIXELS, TINY_PIXELS);
        else
            memset(row, 0, TINY_PIXELS);
        label[n] = n < valid ? labels[index[n]] : 0;
    }
}

/* loss, correct, logits (the tiny model returns none), valid, sums */
static void run_add_metrics(Operation *o)
{
    struct {
        double loss, weight;
        int64_t correct, images;
        int32_t all_logits_zero;
    } *sums = (void *)o->arg[4];
    int32_t valid = *(const int32_t *)o->arg[3];
    ck_assert_ptr_null(o->arg[2]);
    sums->loss += (double)*(const float *)o->arg[0] * valid;
    sums->weight += valid;
    sums->correct += *(const int32_t *)o->arg[1];
    sums->images += valid;
    sums->all_logits_zero &= fake.logits_zero;
}

static void run_kernel(Operation *o)
{
    NincRange whole = {.images = TINY_BATCH, .slices = 1};
    if (strcmp(o->name, "rows") == 0)
        run_rows(o, o->grid[2]);
    else if (strcmp(o->name, "eval_rows") == 0)
        tiny_rows((void *const *)o->arg, &whole);
    else if (strcmp(o->name, "metrics") == 0 || strcmp(o->name, "eval_metrics") == 0)
        tiny_metrics((void *const *)o->arg, &whole);
    else if (strcmp(o->name, "update") == 0)
        run_update(o);
    else if (strcmp(o->name, "gather_batch") == 0)
        run_gather(o);
    else if (strcmp(o->name, "add_metrics") == 0)
        run_add_metrics(o);
    else
        ck_abort_msg("no kernel %s", o->name);
}

/* ---- its stream ---- */

static void execute(Operation *o)
{
    switch (o->kind) {
    case RUN_KERNEL: run_kernel(o); break;
    case RUN_FILL: memset(o->at, o->byte, o->bytes); break;
    case RUN_SEND: memcpy(o->at, fake.slot[o->slot], o->bytes); break;
    case RUN_GRAPH:
        for (int i = 0; i < o->graph->operations; i++)
            execute(&o->graph->operation[i]);
    }
}

static void flush(void)
{
    for (int i = 0; i < fake.queued; i++)
        execute(&fake.queue[i]);
    fake.queued = 0;
}

static void enqueue(Operation o)
{
    if (fake.capturing) {
        ck_assert_int_lt(fake.recording->operations, 16);
        fake.recording->operation[fake.recording->operations++] = o;
        return;
    }
    ck_assert_int_lt(fake.queued, MAX_OPERATIONS);
    fake.queue[fake.queued++] = o;
    fake.deepest = fake.queued > fake.deepest ? fake.queued : fake.deepest;
}

static char *host(GpuAddress at)
{
    return (char *)(uintptr_t)at;
}

/* ---- its table ---- */

static GpuMachine *fake_open(int ordinal, GpuLimits *limits)
{
    note("open %d\n", ordinal);
    if (fails("open"))
        return NULL;
    *limits = (GpuLimits){.name = "Fake",
                          .architecture = fake.architecture,
                          .processors = fake.processors,
                          .shared_bytes = fake.shared_bytes,
                          .total_bytes = fake.free_bytes,
                          .free_bytes = fake.free_bytes};
    ck_assert(!fake.open);
    fake.open = true;
    fake.opened++;
    return (GpuMachine *)&fake;
}

static void fake_close(GpuMachine *m)
{
    (void)m;
    ck_assert(fake.open);
    ck_assert_int_eq(fake.graphs, 0);
    for (int i = 0; i < fake.buffers; i++)
        free(fake.buffer[i]);
    while (fake.slot_sets > 0)
        free(fake.slots[--fake.slot_sets]);
    fake.slot_count = 0;
    fake.buffers = fake.queued = 0;
    fake.used = 0;
    fake.open = false;
    note("close\n");
}

static int fake_alloc(GpuMachine *m, int64_t bytes, GpuAddress *out)
{
    (void)m;
    note("alloc\n");
    if (fails("alloc"))
        return -1;
    ck_assert_int_le(fake.used + bytes, fake.free_bytes);
    ck_assert_int_lt(fake.buffers, MAX_BUFFERS);
    char *memory = xmalloc((size_t)bytes);
    memset(memory, 0xA5, (size_t)bytes);
    fake.buffer_bytes[fake.buffers] = bytes;
    fake.buffer[fake.buffers++] = memory;
    fake.used += bytes;
    *out = (GpuAddress)(uintptr_t)memory;
    return 0;
}

static int fake_free(GpuMachine *m, GpuAddress at)
{
    (void)m;
    note("free\n");
    flush();
    if (fails("free"))
        return -1;
    for (int i = 0; i < fake.buffers; i++) {
        if (fake.buffer[i] != host(at))
            continue;
        free(fake.buffer[i]);
        fake.used -= fake.buffer_bytes[i];
        fake.buffers--;
        fake.buffer[i] = fake.buffer[fake.buffers];
        fake.buffer_bytes[i] = fake.buffer_bytes[fake.buffers];
        return 0;
    }
    ck_abort_msg("free of what was not allocated");
    return -1;
}

/* Not in the order of what is queued: whoever copies must have waited. */
static int fake_copy_in(GpuMachine *m, GpuAddress to, const void *from, int64_t bytes)
{
    (void)m;
    note("in\n");
    if (fails("copy_in"))
        return -1;
    memcpy(host(to), from, (size_t)bytes);
    return 0;
}

static int fake_copy_out(GpuMachine *m, void *to, GpuAddress from, int64_t bytes)
{
    (void)m;
    note("out\n");
    if (fails("copy_out"))
        return -1;
    memcpy(to, host(from), (size_t)bytes);
    return 0;
}

static int fake_fill(GpuMachine *m, GpuAddress at, int byte, int64_t bytes)
{
    (void)m;
    note("fill\n");
    if (fails("fill"))
        return -1;
    enqueue((Operation){.kind = RUN_FILL, .at = host(at), .byte = byte, .bytes = (size_t)bytes});
    return 0;
}

static int fake_load(GpuMachine *m, const char *text, const char *const *options, int option_count,
                     GpuKernel *kernel, int kernel_count)
{
    (void)m;
    note("load %d\n", kernel_count);
    if (fails("load"))
        return -1;
    ck_assert_ptr_eq(text, ninc_cuda_text);
    fake.options[0] = fake.kernels[0] = '\0';
    for (int i = 0; i < option_count; i++) {
        size_t at = strlen(fake.options);
        snprintf(fake.options + at, sizeof fake.options - at, "%s\n", options[i]);
        sscanf(options[i], "-DROWS_SPLIT=%d", &fake.split);
    }
    for (int i = 0; i < kernel_count; i++) {
        size_t at = strlen(fake.kernels);
        snprintf(fake.kernels + at, sizeof fake.kernels - at, "%d %s\n", kernel[i].number,
                 kernel[i].name);
        ck_assert_ptr_nonnull(kernel[i].schedule);
        kernel[i].function = kernel;
    }
    return 0;
}

static int fake_launch(GpuMachine *m, const GpuKernel *kernel, const int grid[3],
                       const GpuAddress *arg, int args)
{
    (void)m;
    note("%s %dx%dx%d\n", kernel->name, grid[0], grid[1], grid[2]);
    if (fails("launch"))
        return -1;
    Operation o = {.kind = RUN_KERNEL, .grid = {grid[0], grid[1], grid[2]}};
    ck_assert_ptr_nonnull(kernel->function);
    ck_assert_int_le(args, MAX_ARGS);
    snprintf(o.name, sizeof o.name, "%s", kernel->name);
    for (int i = 0; i < args; i++)
        o.arg[i] = host(arg[i]);
    enqueue(o);
    return 0;
}

static int fake_capture_begin(GpuMachine *m)
{
    (void)m;
    note("begin\n");
    if (fails("capture_begin"))
        return -1;
    ck_assert(!fake.capturing);
    fake.capturing = true;
    fake.recording = xmalloc(sizeof *fake.recording);
    fake.recording->operations = 0;
    return 0;
}

static int fake_capture_end(GpuMachine *m, void **graph)
{
    (void)m;
    note("end\n");
    ck_assert(fake.capturing);
    fake.capturing = false;
    if (fails("capture_end")) {
        free(fake.recording);
        return -1;
    }
    *graph = fake.recording;
    fake.graphs++;
    fake.captures++;
    return 0;
}

static int fake_graph_launch(GpuMachine *m, void *graph)
{
    (void)m;
    note("graph\n");
    if (fails("graph_launch"))
        return -1;
    ck_assert(!fake.capturing);
    enqueue((Operation){.kind = RUN_GRAPH, .graph = graph});
    return 0;
}

static void fake_graph_free(GpuMachine *m, void *graph)
{
    (void)m;
    flush();
    free(graph);
    fake.graphs--;
}

static void *fake_slots_alloc(GpuMachine *m, int slots, int64_t bytes)
{
    (void)m;
    note("slots %d\n", slots);
    if (fails("slots_alloc"))
        return NULL;
    char *memory = fake.slots[fake.slot_sets++] = xmalloc((size_t)(slots * bytes));
    for (int i = 0; i < slots; i++, fake.slot_count++) {
        fake.slot[fake.slot_count] = memory + i * bytes;
        fake.slot_bytes[fake.slot_count] = bytes;
    }
    return memory;
}

static int fake_slot_wait(GpuMachine *m, int slot)
{
    (void)m;
    note("slot %d\n", slot);
    if (fails("slot_wait"))
        return -1;
    for (int i = 0; i < fake.queued; i++)
        if (fake.queue[i].kind == RUN_SEND && fake.queue[i].slot == slot)
            flush();
    return 0;
}

static int fake_slot_send(GpuMachine *m, int slot, GpuAddress to, int64_t bytes)
{
    (void)m;
    note("send %d\n", slot);
    if (fails("slot_send"))
        return -1;
    ck_assert_int_lt(slot, fake.slot_count);
    ck_assert_int_le(bytes, fake.slot_bytes[slot]);
    enqueue((Operation){.kind = RUN_SEND, .slot = slot, .at = host(to), .bytes = (size_t)bytes});
    return 0;
}

static int fake_wait(GpuMachine *m)
{
    (void)m;
    note("wait\n");
    flush();
    return fails("wait") ? -1 : 0;
}

static int fake_time_begin(GpuMachine *m)
{
    (void)m;
    note("begin time\n");
    return fails("time_begin") ? -1 : 0;
}

static int fake_time_end(GpuMachine *m, double *seconds)
{
    (void)m;
    note("end time\n");
    flush();
    *seconds = 0.25;
    return fails("time_end") ? -1 : 0;
}

static int fake_use(GpuMachine *m)
{
    (void)m;
    note("use\n");
    return fails("use") ? -1 : 0;
}

static const GpuDriver fake_driver = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .use = fake_use,
    .alloc = fake_alloc,
    .free = fake_free,
    .copy_in = fake_copy_in,
    .copy_out = fake_copy_out,
    .fill = fake_fill,
    .load = fake_load,
    .launch = fake_launch,
    .capture_begin = fake_capture_begin,
    .capture_end = fake_capture_end,
    .graph_launch = fake_graph_launch,
    .graph_free = fake_graph_free,
    .slots_alloc = fake_slots_alloc,
    .slot_wait = fake_slot_wait,
    .slot_send = fake_slot_send,
    .wait = fake_wait,
    .time_begin = fake_time_begin,
    .time_end = fake_time_end,
};

/* ---- the device over it ---- */

static inline Device *open_device(const NincModel *model, const DeviceOptions *options)
{
    return gpu_open(&fake_driver, model, options);
}

static DeviceTable table; /* ninc_cuda_device over the fake machine */

static inline const NincTarget *target(void)
{
    return &ninc_model.target[NINC_CUDA];
}

static inline void set_up(void)
{
    fake = (struct Fake){
        .free_bytes = 1 << 20, .processors = 8, .shared_bytes = 101376, .architecture = 86};
    table = ninc_cuda_device;
    table.open = open_device;
}

static inline Device *opened(bool with_train)
{
    DeviceOptions options = {.with_train = with_train};
    Device *d = table.open(&ninc_model, &options);
    ck_assert_ptr_nonnull(d);
    return d;
}

#endif
