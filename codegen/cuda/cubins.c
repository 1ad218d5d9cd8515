/* The CUDA kernels of a model compiled ahead, by the NVRTC and with the schedules that the trainer
 * would take on such a GPU: for the trainer to carry along (ninc --cubin), and to see what they use
 * of a processor. */
#include "../../ir/roofline.h"
#include "../../runtime/device/gpu.h"
#include "../codegen.h"
#include "../emit.h"

#include <stdlib.h>
#include <string.h>

/* ---- kernels and their schedules ---- */

/* Those of the graphs in table order, then the runtime's own two. */
enum { OWN_KERNELS = 2, OWN_THREADS = 256 };

static const char *const own_kernels[OWN_KERNELS] = {"gather_batch", "add_metrics"};

static const NincSchedule own_schedule = {
    .split = 1, .threads = OWN_THREADS, .grid_x = 1, .grid_y = 1, .architecture = 75};

static NincSchedule runtime_schedule(const Schedule *s)
{
    return (NincSchedule){s->tile_m, s->tile_n,       s->tile_k, s->stages, s->split,
                          s->threads, s->shared_bytes, s->grid_x, s->grid_y, s->architecture};
}

/* The kernel with the first of its schedules that fits; false after a message. */
static bool choose_schedule(Pool *pool, const Kernel *k, const GpuLimits *limits, GpuKernel *out)
{
    NincSchedule *schedule = pool_alloc(pool, (size_t)k->schedule_count * sizeof *schedule);
    NincLaunch *launch = pool_alloc(pool, sizeof *launch);
    for (int i = 0; i < k->schedule_count; i++)
        schedule[i] = runtime_schedule(&k->schedule[i]);
    *launch = (NincLaunch){.name = k->name, .schedule = schedule, .schedules = k->schedule_count};
    out->name = k->name;
    out->launch = launch;
    out->schedule = schedule_for(launch, limits);
    if (!out->schedule)
        return schedule_fault(launch, limits) == 0;
    out->split = split_for(out->schedule, limits);
    return true;
}

static int count_kernels(const Module *m)
{
    const Graph *g;
    int count = 0;
    while (target_kernel(m, TARGET_CUDA, count, &g))
        count++;
    return count;
}

/* The launch form of all kernels; NULL after a message. */
static GpuKernel *choose_schedules(Pool *pool, const Module *m, const GpuLimits *limits, int count)
{
    const Graph *g;
    GpuKernel *kernel = pool_alloc(pool, (size_t)count * sizeof *kernel);
    for (int i = 0; i < count; i++) {
        const Kernel *k = target_kernel(m, TARGET_CUDA, i, &g);
        int own = i - (count - OWN_KERNELS);
        if (own >= 0)
            kernel[i] = (GpuKernel){
                .name = own_kernels[own], .schedule = &own_schedule, .split = 1};
        else if (!choose_schedule(pool, k, limits, &kernel[i]))
            return NULL;
        kernel[i].number = i;
    }
    return kernel;
}

/* ---- what a kernel uses ---- */

static bool read_usage(const KernelCode *code, const GpuKernel *kernel, int architecture,
                       CompiledKernel *out)
{
    CubinUsage usage;
    if (cubin_usage(code->data, code->size, code->name, &usage)) {
        fault("NVRTC's code of kernel %s cannot be read", code->name);
        return false;
    }
    out->registers = usage.registers;
    out->local_bytes = usage.local_bytes;
    out->threads = kernel->schedule->threads;
    out->shared_bytes = usage.shared_bytes + kernel->schedule->shared_bytes;
    out->schedule = kernel->launch ? (int)(kernel->schedule - kernel->launch->schedule) : 0;
    out->split = kernel->split;
    out->blocks = gpu_resident(gpu_kind(architecture), out->threads, out->registers,
                               out->shared_bytes);
    return true;
}

/* ---- compiling ---- */

static bool take_code(Pool *pool, KernelCode *code, const GpuKernel *kernel, int architecture,
                      CompiledKernel *out)
{
    unsigned char *data = pool_alloc(pool, code->size + 1);
    memcpy(data, code->data, code->size);
    out->name = code->name;
    out->options = pool_strdup(pool, code->options);
    out->log = code->log ? pool_strdup(pool, code->log) : NULL;
    out->data = data;
    out->size = code->size;
    return read_usage(code, kernel, architecture, out);
}

static bool compile_code(Pool *pool, const CodeRequest *request, const GpuKernel *kernel,
                         CompiledKernels *out)
{
    KernelCode *code = pool_alloc(pool, (size_t)out->count * sizeof *code);
    for (int i = 0; i < out->count; i++)
        code[i] = (KernelCode){.name = kernel[i].name, .number = kernel[i].number};
    bool good = code_get(request, code, out->count) == 0;
    for (int i = 0; i < out->count && good; i++)
        good = take_code(pool, &code[i], &kernel[i], out->architecture, &out->kernel[i]);
    code_free(code, out->count);
    return good;
}

/* False, and it is said, where it is none. */
static bool is_architecture(const char *target)
{
    bool known = target_architecture(target) != 0;
    fault_program = "ninc";
    if (!known)
        fault("\"%s\" is no GPU architecture; write sm_86 or sm_90a", target);
    return known;
}

bool compile_cuda(Pool *pool, const Module *m, const char *target, CompiledKernels *out)
{
    Text text = {0};
    int options;
    *out = (CompiledKernels){.target = target, .architecture = target_architecture(target)};
    if (!is_architecture(target))
        return false;
    GpuLimits limits = limits_of_architecture(out->architecture);
    out->count = count_kernels(m) + OWN_KERNELS;
    out->kernel = pool_alloc(pool, (size_t)out->count * sizeof *out->kernel);
    out->most_shared_bytes = limits.shared_bytes;
    GpuKernel *kernel = choose_schedules(pool, m, &limits, out->count);
    if (!kernel)
        return false;
    char **option = schedule_options(kernel, out->count, &options);
    emit_cuda(m, &text);
    CodeRequest request = {.text = text.data, .option = (const char *const *)option,
                           .options = options, .target = target};
    bool good = compile_code(pool, &request, kernel, out);
    for (int i = 0; i < options; i++)
        free(option[i]);
    free(option);
    text_free(&text);
    return good;
}

/* ---- the words of a list ---- */

/* The next word of "sm_86,sm_90a"; NULL at the end. */
static const char *next_word(Pool *pool, const char **list)
{
    size_t length;
    *list += strspn(*list, ", ");
    if ((length = strcspn(*list, ", ")) == 0)
        return NULL;
    const char *word = pool_format(pool, "%.*s", (int)length, *list);
    *list += length;
    return word;
}

/* The list is looked through before the first is compiled, which takes seconds. */
int compile_cubins(Pool *pool, const Module *m, const char *targets, CompiledKernels **out)
{
    int count = 0, capacity = 0;
    *out = NULL;
    const char *rest = targets;
    for (const char *word; (word = next_word(pool, &rest));)
        if (!is_architecture(word))
            return -1;
    for (const char *word; (word = next_word(pool, &targets));) {
        *out = pool_grow(pool, *out, count, &capacity, sizeof **out);
        if (!compile_cuda(pool, m, word, &(*out)[count++]))
            return -1;
    }
    return count;
}

/* ---- what others read ---- */

void print_usage(const CompiledKernels *c, Text *out)
{
    text_append(out, "%-27s %9s %7s %6s %7s %6s %11s\n", c->target, "registers", "threads",
                "stack", "shared", "blocks", "instructions");
    for (int i = 0; i < c->count; i++) {
        const CompiledKernel *k = &c->kernel[i];
        text_append(out, "%-27s %9d %7d %6d %7d %6d %9.1f kB\n", k->name, k->registers, k->threads,
                    k->local_bytes, k->shared_bytes, k->blocks, (double)k->size / 1e3);
    }
}

/* A text within a string of the assembler. */
static void emit_string(const char *label, int number, const char *text, Text *out)
{
    text_append(out, "%s%d: .asciz \"", label, number);
    for (; *text; text++)
        text_append(out, *text == '\n' ? "\\n" : "%c", *text);
    text_append(out, "\"\n");
}

/* Kernel j of all, whose code lies in `file` from `offset` on. */
static void emit_entry(const CompiledKernels *c, const CompiledKernel *k, int j, const char *file,
                       size_t offset, Text *out)
{
    text_append(out, ".section .rodata\n.balign 64\ncubin_%d: .incbin \"%s\", %zu, %zu\n", j, file,
                offset, k->size);
    emit_string("cubin_kernel_", j, k->name, out);
    emit_string("cubin_target_", j, c->target, out);
    emit_string("cubin_options_", j, k->options, out);
    text_append(out,
                ".section .data.rel.ro, \"aw\"\n"
                ".quad cubin_kernel_%d, cubin_target_%d, cubin_options_%d, cubin_%d, %zu\n",
                j, j, j, j, k->size);
}

void emit_cubins(const CompiledKernels *compiled, int count, const char *file, Text *bytes,
                 Text *out)
{
    int number = 0;
    text_append(out, ".section .data.rel.ro, \"aw\"\n.balign 8\n"
                     ".globl ninc_cubins\nninc_cubins:\n");
    for (int i = 0; i < count; i++) {
        for (int j = 0; j < compiled[i].count; j++) {
            const CompiledKernel *k = &compiled[i].kernel[j];
            emit_entry(&compiled[i], k, number++, file, bytes->length, out);
            text_write(bytes, (const char *)k->data, k->size);
        }
    }
    text_append(out, ".quad 0, 0, 0, 0, 0\n");
}
