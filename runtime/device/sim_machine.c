/* The simulated CUDA device: a machine for gpu.c that runs the CUDA text on the CPU
 * (sim/), each launch at once, with all its checks. $NINC_SIM sets what it is like:
 *
 *     NINC_SIM="arch=86 sms=4 shared=101376 memory=1073741824 seed=7 races=1 checks=1"
 *
 * arch: compute capability; sms: processors; shared: bytes of shared memory that a block may have;
 * memory: bytes of device memory; seed: of the order in which blocks and threads run; races=0: no
 * race checks; checks=0: plain accesses to memory are not checked at all (faster). */
#include "gpu.h"
#include "../../ir/ir.h"
#include "../sim/launch.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GAP = 1 << 20 };

typedef struct SimSettings {
    int64_t arch, sms, shared, memory, seed, races, checks;
} SimSettings;

typedef struct Operation {
    enum { OP_LAUNCH, OP_FILL, OP_SEND } kind;
    GpuKernel kernel;
    int grid[3], args, slot, byte;
    GpuAddress *arg, at;
    int64_t bytes;
} Operation;

typedef struct Recording {
    Operation *operation;
    int operations;
} Recording;

typedef int LaunchFunction(const SimLaunch *launch, SimReport *report);

struct GpuMachine {
    SimSettings settings;
    SimCompiler compiler;
    SimBuffer *buffer;
    int buffers;
    int64_t used; /* bytes of device memory */
    uint32_t clock;
    uint64_t launches;
    SimLibrary file;
    void *library;
    LaunchFunction *run;
    const char *text; /* of the kernels */
    char *slot[GPU_SLOTS]; /* the first of those that were allocated together owns them */
    bool slot_first[GPU_SLOTS];
    int slots;
    Recording *recording; /* NULL: operations are run, not recorded */
    double time_begin;    /* s */
};

/* ---- settings ---- */

static int bad_setting(const char *word)
{
    char text[64];
    return fault("NINC_SIM: \"%s\" is no setting; there are arch=, sms=, shared=, memory=, seed=, "
                 "races=, checks=, each with a number, divided by spaces",
                 printable(word, text, sizeof text));
}

static int read_setting(SimSettings *s, const char *word)
{
    const struct {
        const char *name;
        int64_t *value, least, most;
    } setting[] = {
        {"arch", &s->arch, 75, 999},          {"sms", &s->sms, 1, 1024},
        {"shared", &s->shared, 0, 256 << 10}, {"memory", &s->memory, 0, INT64_MAX},
        {"seed", &s->seed, 0, INT64_MAX},     {"races", &s->races, 0, 1},
        {"checks", &s->checks, 0, 1},
    };
    size_t length = strcspn(word, "=");
    for (size_t i = 0; i < sizeof setting / sizeof setting[0]; i++) {
        if (strlen(setting[i].name) != length || strncmp(word, setting[i].name, length))
            continue;
        char *end;
        errno = 0;
        long long value = word[length] ? strtoll(word + length + 1, &end, 10) : -1;
        if (!word[length] || end == word + length + 1 || *end || errno ||
            value < setting[i].least || value > setting[i].most)
            return bad_setting(word);
        *setting[i].value = value;
        return 0;
    }
    return bad_setting(word);
}

static int read_settings(SimSettings *s)
{
    const char *given = getenv("NINC_SIM");
    *s = (SimSettings){.arch = 90, .sms = 4, .shared = 232448, .races = 1, .checks = 1};
    s->memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    if (!given)
        return 0;
    char *copy = xmalloc(strlen(given) + 1), *rest;
    strcpy(copy, given);
    int status = 0;
    for (char *w = strtok_r(copy, " ,", &rest); w && status == 0; w = strtok_r(NULL, " ,", &rest))
        status = read_setting(s, w);
    free(copy);
    return status;
}

/* ---- open and close ---- */

static void sim_close(GpuMachine *m);

static GpuMachine *sim_open(int ordinal, GpuLimits *limits)
{
    GpuMachine *m = xmalloc(sizeof *m);
    *m = (GpuMachine){.used = 0};
    if (ordinal != 0) {
        fault("--device sim: there is one simulated device, 0, no %d", ordinal);
    } else if (read_settings(&m->settings) == 0 && sim_compiler(&m->compiler) == 0) {
        *limits = (GpuLimits){.architecture = (int)m->settings.arch,
                              .processors = (int)m->settings.sms,
                              .shared_bytes = (int)m->settings.shared,
                              .total_bytes = m->settings.memory,
                              .free_bytes = m->settings.memory};
        snprintf(limits->name, sizeof limits->name, "simulator, %.100s", m->compiler.version);
        return m;
    }
    sim_close(m);
    return NULL;
}

static void unload(GpuMachine *m)
{
    if (!m->library)
        return;
    void (*end)(void) = (void (*)(void))(uintptr_t)dlsym(m->library, "ninc_sim_end");
    if (end)
        end();
    dlclose(m->library);
    m->library = NULL;
    sim_library_close(&m->file);
}

static size_t shadow_bytes(const SimBuffer *b)
{
    return (size_t)(b->end - b->begin) * 4;
}

/* With room behind it that is no buffer's. */
static size_t mapped_bytes(int64_t bytes)
{
    return (size_t)bytes + GAP;
}

static void release(SimBuffer *b)
{
    munmap(b->begin, mapped_bytes(b->end - b->begin));
    if (b->shadow)
        munmap(b->shadow, shadow_bytes(b));
}

static void sim_close(GpuMachine *m)
{
    unload(m);
    for (int i = 0; i < m->buffers; i++)
        release(&m->buffer[i]);
    free(m->buffer);
    for (int i = 0; i < m->slots; i++)
        if (m->slot_first[i])
            free(m->slot[i]);
    sim_compiler_free(&m->compiler);
    free(m);
}

/* ---- memory ---- */

static void *map_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static int sim_alloc(GpuMachine *m, int64_t bytes, GpuAddress *out)
{
    SimBuffer b = {.begin = NULL};
    int64_t left = m->settings.memory - m->used;
    if (bytes < 1 || bytes > left)
        return fault("--device sim: %lld bytes of device memory asked for, %lld are free",
                     (long long)bytes, (long long)left);
    b.begin = map_memory(mapped_bytes(bytes));
    if (!b.begin)
        return fault("--device sim: no %lld bytes of memory: %s", (long long)bytes,
                     strerror(errno));
    b.end = b.begin + bytes;
    if (m->settings.races && !(b.shadow = map_memory(shadow_bytes(&b))))
        notice("no memory for the race check of %lld bytes", (long long)bytes);
    m->buffer = xrealloc(m->buffer, (size_t)(m->buffers + 1) * sizeof *m->buffer);
    m->buffer[m->buffers++] = b;
    m->used += bytes;
    *out = (GpuAddress)(uintptr_t)b.begin;
    return 0;
}

static int sim_free(GpuMachine *m, GpuAddress at)
{
    for (int i = 0; i < m->buffers; i++) {
        if ((GpuAddress)(uintptr_t)m->buffer[i].begin == at) {
            m->used -= m->buffer[i].end - m->buffer[i].begin;
            release(&m->buffer[i]);
            m->buffer[i] = m->buffer[--m->buffers];
            return 0;
        }
    }
    return fault("--device sim: free of an address that alloc did not give");
}

/* The bytes at an address; NULL after a message where they are not all of one buffer. */
static unsigned char *bytes_at(GpuMachine *m, GpuAddress at, int64_t bytes, const char *what)
{
    unsigned char *p = (unsigned char *)(uintptr_t)at;
    for (int i = 0; i < m->buffers; i++)
        if (p >= m->buffer[i].begin && p <= m->buffer[i].end && bytes <= m->buffer[i].end - p)
            return p;
    fault("--device sim: %s of %lld bytes outside of device memory", what, (long long)bytes);
    return NULL;
}

static int sim_copy_in(GpuMachine *m, GpuAddress to, const void *from, int64_t bytes)
{
    unsigned char *p = bytes_at(m, to, bytes, "copy_in");
    if (p)
        memcpy(p, from, (size_t)bytes);
    return p ? 0 : -1;
}

static int sim_copy_out(GpuMachine *m, void *to, GpuAddress from, int64_t bytes)
{
    unsigned char *p = bytes_at(m, from, bytes, "copy_out");
    if (p)
        memcpy(to, p, (size_t)bytes);
    return p ? 0 : -1;
}

/* ---- kernels ---- */

static int find_functions(GpuMachine *m, GpuKernel *kernel, int count)
{
    m->run = (LaunchFunction *)(uintptr_t)dlsym(m->library, "ninc_sim_launch");
    for (int i = 0; i < count; i++) {
        kernel[i].function = dlsym(m->library, kernel[i].name);
        if (!kernel[i].function)
            return fault("--device sim: the CUDA text has no kernel %s under NINC_KERNEL == %d",
                         kernel[i].name, kernel[i].number);
    }
    return m->run ? 0 : fault("--device sim: %s is no simulator", m->file.path);
}

static int unique_numbers(const GpuKernel *kernel, int count, int *number)
{
    int numbers = 0;
    for (int i = 0; i < count; i++) {
        int at = 0;
        while (at < numbers && number[at] != kernel[i].number)
            at++;
        number[at] = kernel[i].number;
        numbers += at == numbers;
    }
    return numbers;
}

static int sim_load(GpuMachine *m, const char *text, const char *const *options, int option_count,
                    GpuKernel *kernel, int kernel_count)
{
    int *number = xmalloc((size_t)kernel_count * sizeof *number + 1);
    int numbers = unique_numbers(kernel, kernel_count, number);
    SimProgram program = {text, options, option_count, number, numbers, m->settings.checks != 0};
    unload(m);
    m->text = text;
    int status = sim_library(&m->compiler, &program, &m->file);
    free(number);
    if (status)
        return -1;
    m->library = dlopen(m->file.path, RTLD_NOW | RTLD_LOCAL);
    if (!m->library)
        fault("--device sim: cannot load %s: %s", m->file.path, dlerror());
    sim_library_loaded(&m->file);
    if (!m->library)
        return -1;
    return find_functions(m, kernel, kernel_count);
}

/* ---- reports ---- */

/* The line of the CUDA text that an instruction stems from, by addr2line; 0: not known. Functions
 * that were inlined are unfolded, innermost first: those of sim.h are passed over. */
static int line_of(GpuMachine *m, const void *site)
{
    Dl_info image;
    char address[32], text[16384], mark[] = "kernels.cu:";
    if (!site || !dladdr(site, &image))
        return 0;
    snprintf(address, sizeof address, "0x%lx",
             (unsigned long)((const char *)site - 1 - (const char *)image.dli_fbase));
    char *word[] = {"addr2line", "-i", "-e", m->file.path, address, NULL};
    if (command_output(word, text, sizeof text) != 0)
        return 0;
    const char *name = strstr(text, mark);
    return name ? atoi(name + strlen(mark)) : 0;
}

static const char *text_line(const char *text, int line, int *length)
{
    while (--line > 0 && text)
        text = (text = strchr(text, '\n')) ? text + 1 : NULL;
    if (!text)
        text = "";
    text += strspn(text, " \t");
    *length = (int)strcspn(text, "\n");
    return text;
}

static int fail(GpuMachine *m, const SimReport *report)
{
    int line = line_of(m, report->site[0]), length;
    if (!line)
        return fault("--device sim: %s", report->text);
    const char *text = text_line(m->text, line, &length);
    return fault("--device sim: %s, at line %d of the CUDA text: %.*s", report->text, line, length,
                 text);
}

/* ---- what happens in stream order ---- */

static int run_kernel(GpuMachine *m, const GpuKernel *kernel, const int grid[3],
                      const GpuAddress *arg, int args)
{
    void **pointer = xmalloc((size_t)args * sizeof *pointer + 1);
    for (int i = 0; i < args; i++)
        pointer[i] = (void *)(uintptr_t)arg[i];
    SimLaunch launch = {.name = kernel->name,
                        .function = kernel->function,
                        .grid = {grid[0], grid[1], grid[2]},
                        .threads = kernel->schedule->threads,
                        .shared_bytes = kernel->schedule->shared_bytes,
                        .arg = pointer,
                        .args = args,
                        .seed = (uint64_t)m->settings.seed + m->launches++,
                        .buffer = m->buffer,
                        .buffers = m->buffers,
                        .clock = &m->clock,
                        .races = m->settings.races != 0,
                        .plain = m->settings.checks != 0};
    SimReport report;
    int status = launch.shared_bytes > m->settings.shared
                     ? fault("--device sim: kernel %s asks for %d bytes of shared memory, a block "
                             "may have %d",
                             kernel->name, launch.shared_bytes, (int)m->settings.shared)
                 : m->run(&launch, &report) ? fail(m, &report)
                                            : 0;
    free(pointer);
    return status;
}

static Operation *record(GpuMachine *m)
{
    Recording *r = m->recording;
    r->operation = xrealloc(r->operation, (size_t)(r->operations + 1) * sizeof *r->operation);
    Operation *o = &r->operation[r->operations++];
    memset(o, 0, sizeof *o);
    return o;
}

static int sim_launch(GpuMachine *m, const GpuKernel *kernel, const int grid[3],
                      const GpuAddress *arg, int args)
{
    if (!m->recording)
        return run_kernel(m, kernel, grid, arg, args);
    Operation *o = record(m);
    *o = (Operation){.kind = OP_LAUNCH, .kernel = *kernel, .args = args};
    memcpy(o->grid, grid, sizeof o->grid);
    o->arg = xmalloc((size_t)args * sizeof *arg + 1);
    memcpy(o->arg, arg, (size_t)args * sizeof *arg);
    return 0;
}

static int sim_fill(GpuMachine *m, GpuAddress at, int byte, int64_t bytes)
{
    unsigned char *p = bytes_at(m, at, bytes, "fill");
    if (!p)
        return -1;
    if (m->recording)
        *record(m) = (Operation){.kind = OP_FILL, .at = at, .byte = byte, .bytes = bytes};
    else
        memset(p, byte, (size_t)bytes);
    return 0;
}

static void *sim_slots_alloc(GpuMachine *m, int slots, int64_t bytes)
{
    char *memory = xmalloc((size_t)slots * (size_t)bytes);
    if (m->slots + slots > GPU_SLOTS)
        internal_error("%d slots of a GPU", m->slots + slots);
    for (int i = 0; i < slots; i++, m->slots++) {
        m->slot[m->slots] = memory + i * bytes;
        m->slot_first[m->slots] = i == 0;
    }
    return memory;
}

static int sim_slot_wait(GpuMachine *m, int slot)
{
    (void)m, (void)slot;
    return 0;
}

static int sim_slot_send(GpuMachine *m, int slot, GpuAddress to, int64_t bytes)
{
    if (!bytes_at(m, to, bytes, "slot_send"))
        return -1;
    if (!m->recording)
        return sim_copy_in(m, to, m->slot[slot], bytes);
    *record(m) = (Operation){.kind = OP_SEND, .slot = slot, .at = to, .bytes = bytes};
    return 0;
}

static int sim_wait(GpuMachine *m)
{
    (void)m;
    return 0;
}

/* ---- graphs ---- */

static int sim_capture_begin(GpuMachine *m)
{
    if (m->recording)
        return fault("--device sim: a capture has begun already");
    m->recording = xmalloc(sizeof *m->recording);
    *m->recording = (Recording){.operation = NULL};
    return 0;
}

static int sim_capture_end(GpuMachine *m, void **graph)
{
    if (!m->recording)
        return fault("--device sim: no capture has begun");
    *graph = m->recording;
    m->recording = NULL;
    return 0;
}

static int run_operation(GpuMachine *m, const Operation *o)
{
    switch (o->kind) {
    case OP_LAUNCH: return run_kernel(m, &o->kernel, o->grid, o->arg, o->args);
    case OP_FILL: return sim_fill(m, o->at, o->byte, o->bytes);
    case OP_SEND: return sim_slot_send(m, o->slot, o->at, o->bytes);
    }
    return -1;
}

static int sim_graph_launch(GpuMachine *m, void *graph)
{
    const Recording *r = graph;
    for (int i = 0; i < r->operations; i++)
        if (run_operation(m, &r->operation[i]))
            return -1;
    return 0;
}

static void sim_graph_free(GpuMachine *m, void *graph)
{
    (void)m;
    Recording *r = graph;
    for (int i = 0; r && i < r->operations; i++)
        free(r->operation[i].arg);
    if (r)
        free(r->operation);
    free(r);
}

static int sim_time_begin(GpuMachine *m)
{
    m->time_begin = clock_seconds();
    return 0;
}

static int sim_time_end(GpuMachine *m, double *seconds)
{
    *seconds = clock_seconds() - m->time_begin;
    return 0;
}

const GpuDriver gpu_sim_driver = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .use = sim_wait,
    .alloc = sim_alloc,
    .free = sim_free,
    .copy_in = sim_copy_in,
    .copy_out = sim_copy_out,
    .fill = sim_fill,
    .load = sim_load,
    .launch = sim_launch,
    .capture_begin = sim_capture_begin,
    .capture_end = sim_capture_end,
    .graph_launch = sim_graph_launch,
    .graph_free = sim_graph_free,
    .slots_alloc = sim_slots_alloc,
    .slot_wait = sim_slot_wait,
    .slot_send = sim_slot_send,
    .wait = sim_wait,
    .time_begin = sim_time_begin,
    .time_end = sim_time_end,
};
