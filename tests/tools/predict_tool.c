/* Predicts what a training step of an IR file takes on a GPU, kernel by kernel (bench/predict.sh).
 *
 *   predict_tool FILE.ir TARGET [NVDISASM]
 *
 * TARGET: sm_90a, whose kernels NVRTC compiles. NVDISASM prints a cubin's instructions; without it
 * those of tiled kernels are estimated, and others are taken to be bound by bytes. */
#include "../../codegen/codegen.h"
#include "../../codegen/emit.h"
#include "../../ir/roofline.h"
#include "../../runtime/device/gpu.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- instructions ---- */

enum { MAX_LABELS = 4096, MAX_CODE = 65536, MAX_LABEL = 32 };

/* MMA: of tensor cores, or FFMA; LOAD: from shared memory; COPY: from global memory. */
typedef enum What { REST, MMA, LOAD, COPY, WHATS } What;

/* Instructions of a piece of code. */
typedef struct Count {
    int all, of[WHATS];
} Count;

typedef struct Disassembly {
    struct {
        char name[MAX_LABEL];
        int at;
    } label[MAX_LABELS];
    unsigned char what[MAX_CODE];
    int labels, count;
    Count loop; /* the one with the most products so far; of those with as many the shortest */
} Disassembly;

static What what_of(const char *op)
{
    static const struct {
        const char *op;
        What what;
    } known[] = {{"HMMA", MMA}, {"HGMMA", MMA},   {"FFMA", MMA}, {"LDSM", LOAD},
                 {"LDS", LOAD}, {"LDGSTS", COPY}, {"LDG", COPY}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i].op);
        if (strncmp(op, known[i].op, length) == 0 && strchr(". ", op[length]))
            return known[i].what;
    }
    return REST;
}

static Count count_from(const Disassembly *d, int from)
{
    Count c = {.all = d->count - from};
    for (int i = from; i < d->count; i++)
        c.of[d->what[i]]++;
    return c;
}

/* The last instruction branches to `target`: a loop, where it lies before. */
static void end_loop(Disassembly *d, const char *target)
{
    for (int i = 0; i < d->labels; i++) {
        Count loop = count_from(d, d->label[i].at);
        if (strcmp(d->label[i].name, target) == 0 && loop.of[MMA] > 0 &&
            (loop.of[MMA] > d->loop.of[MMA] ||
             (loop.of[MMA] == d->loop.of[MMA] && loop.all < d->loop.all)))
            d->loop = loop;
    }
}

static void add_label(Disassembly *d, const char *line)
{
    if (d->labels == MAX_LABELS)
        internal_error("a kernel has more than %d labels", MAX_LABELS);
    snprintf(d->label[d->labels].name, MAX_LABEL, "%.*s", (int)strcspn(line, ":"), line);
    d->label[d->labels++].at = d->count;
}

/* `.L_x_3:`, or `@!P0 BRA (.L_x_3)` with its address in a comment before it. */
static void read_line(Disassembly *d, const char *line)
{
    char target[MAX_LABEL];
    const char *op = strstr(line, "*/"), *label = strstr(line, "`(");
    if (strncmp(line, ".L_x_", 5) == 0)
        add_label(d, line);
    if (!op || !strchr(op, ';'))
        return;
    if (d->count == MAX_CODE)
        internal_error("a kernel has more than %d instructions", MAX_CODE);
    op += 2 + strspn(op + 2, " \t{");
    if (*op == '@')
        op += strcspn(op, " "), op += strspn(op, " ");
    d->what[d->count++] = (unsigned char)what_of(op);
    if (strncmp(op, "BRA", 3) == 0 && label && sscanf(label, "`(%31[^)])", target) == 1)
        end_loop(d, target);
}

static void read_output(Disassembly *d, const char *program, const char *path)
{
    char command[1024], line[1024];
    snprintf(command, sizeof command, "'%s' -c '%s'", program, path);
    FILE *pipe = popen(command, "r");
    while (pipe && fgets(line, sizeof line, pipe))
        read_line(d, line);
    if (!pipe || pclose(pipe) != 0 || d->count == 0)
        internal_error("%s has printed no instructions", program);
}

/* *loop: the one with the most products; nothing where the kernel has none. *all: all of it. */
static void disassemble(const char *program, const CompiledKernel *k, Count *loop, Count *all)
{
    char path[] = "/tmp/predict-XXXXXX";
    Disassembly *d = calloc(1, sizeof *d);
    int file = mkstemp(path);
    if (!d || file < 0 || write(file, k->data, k->size) != (ssize_t)k->size)
        internal_error("%s cannot be written", path);
    read_output(d, program, path);
    *loop = d->loop;
    *all = count_from(d, 0);
    close(file);
    unlink(path);
    free(d);
}

/* ---- the table ---- */

typedef struct Row {
    const Kernel *kernel;
    const Graph *graph;
    const CompiledKernel *code;
    Count loop, all; /* nothing where there is no disassembler */
} Row;

static bool is_thin(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        if (op_is(k->node[i]->op, F_CONTRACTION)) {
            const Layout *l = &k->node[i]->in[0]->tensor.layout;
            return l->kind == LAYOUT_NHWC && l->block == 0;
        }
    return false;
}

static void print_heading(void)
{
    printf("%-22s %7s %6s %7s %7s  %-16s %5s %6s %2s %8s %6s %6s %5s %6s %6s %6s  %s\n", "kernel",
           "us", "bound", "GFLOP", "MB", "tile*stages", "split", "blocks", "on", "regs", "shared",
           "waves", "steps", "mma", "shared", "issue", "instructions: all, mma, load, copy");
}

/* The longest of what the model knows of the kernel. */
static const char *bound_of(const GpuTime *t)
{
    if (t->memory >= t->seconds)
        return "bytes";
    if (t->mma >= t->shared && t->mma >= t->issue)
        return "mma";
    return t->shared >= t->issue ? "shared" : "issue";
}

static double print_tiled(const Row *r, const GpuKind *kind)
{
    const Schedule *s = &r->kernel->schedule[r->code->schedule];
    GpuWork w = gpu_work_of(r->kernel, is_thin(r->kernel));
    bool fused = w.pass == GPU_BLOCK || w.pass == GPU_BLOCK_BACKWARD;
    GpuCode code = {.registers = r->code->registers, .instructions = fused ? 0 : r->loop.all};
    GpuTime t = gpu_time(kind, kind->processors, &w, s, r->code->split, &code);
    GpuTime estimate = gpu_time(kind, kind->processors, &w, s, r->code->split, NULL);
    char tile[64], registers[32];
    snprintf(tile, sizeof tile, "%dx%dx%d*%d/%d", s->tile_m, s->tile_n, s->tile_k, s->stages,
             s->threads);
    snprintf(registers, sizeof registers, "%d~%d", t.registers, estimate.registers);
    printf(
        "%-22s %7.1f %6s %7.2f %7.1f  %-16s %5d %6.0f %2d %8s %6d %6.2f %5.0f %6.0f %6.0f %6.0f  "
        "%d~%d, %d, %d, %d\n",
        r->kernel->name, t.seconds * 1e6, bound_of(&t), kernel_flop(r->kernel) / 1e9, t.bytes / 1e6,
        tile, r->code->split, (double)s->grid_x * s->grid_y * r->code->split, t.resident, registers,
        r->code->shared_bytes, t.waves, t.steps, t.mma, t.shared, t.issue, r->loop.all,
        estimate.instructions, r->loop.of[MMA], r->loop.of[LOAD], r->loop.of[COPY]);
    return t.seconds;
}

/* Each block of an update or of casts runs the part of one parameter. */
static double print_simple(const Row *r, const GpuKind *kind)
{
    const Schedule *s = &r->kernel->schedule[0];
    bool parts = r->kernel->class == KERNEL_UPDATE || r->kernel->class == KERNEL_FILTER;
    double bytes = (double)kernel_traffic(r->graph, r->kernel), blocks = (double)s->grid_x;
    double each = (double)r->all.all / (parts ? r->kernel->node_count : 1);
    double issued = blocks * s->threads / 32 * each;
    double seconds = gpu_simple_time(kind, kind->processors, bytes, issued);
    bool bytes_bind = seconds <= gpu_simple_time(kind, kind->processors, bytes, 0);
    printf("%-22s %7.1f %6s %7s %7.1f  %-16s %5s %6.0f %2d %8d %6d %6s %5s %6s %6s %6s  %d\n",
           r->kernel->name, seconds * 1e6, bytes_bind ? "bytes" : "issue", "", bytes / 1e6, "", "",
           blocks, r->code->blocks, r->code->registers, r->code->shared_bytes, "", "", "", "", "",
           r->all.all);
    return seconds;
}

static void print_sum(const GpuKind *kind, const Graph *g, double seconds, int kernels)
{
    double gaps = kernels * GPU_LAUNCH;
    printf("%-22s %7.1f\n", "gaps between kernels", gaps * 1e6);
    printf("%-22s %7.1f  %.2f an image, batch %d, %s\n", "step", (seconds + gaps) * 1e6,
           (seconds + gaps) * 1e6 / g->batch, g->batch, kind->name);
}

static void print_table(const Module *m, const CompiledKernels *c, const char *disassembler)
{
    const GpuKind *kind = gpu_kind(c->architecture);
    const Graph *train = module_find_graph(m, "train", TARGET_CUDA);
    double seconds = 0;
    int kernels = 0;
    print_heading();
    for (int i = 0; i < c->count; i++) {
        Row r = {.code = &c->kernel[i]};
        r.kernel = target_kernel(m, TARGET_CUDA, i, &r.graph);
        if (!r.kernel || r.graph != train)
            continue;
        if (disassembler)
            disassemble(disassembler, r.code, &r.loop, &r.all);
        seconds += gpu_is_tiled(r.kernel->class) ? print_tiled(&r, kind) : print_simple(&r, kind);
        kernels++;
    }
    print_sum(kind, train, seconds, kernels);
}

/* ---- the program ---- */

static Module *read_module(Pool *pool, const char *path)
{
    Diagnostics d;
    size_t size;
    char *text = (char *)read_bytes(path, &size);
    diagnostics_init(&d, pool);
    Module *m = text ? module_parse(pool, &d, path, text, size) : NULL;
    if (!text)
        fprintf(stderr, "predict_tool: cannot read %s\n", path);
    else if (!m)
        fprintf(stderr, "%s:%d: %s\n", path, d.list[0].loc.line, d.list[0].message);
    else if (!module_find_graph(m, "train", TARGET_CUDA))
        fprintf(stderr, "%s: it has no training step of the CUDA target\n", path), m = NULL;
    free(text);
    return m;
}

int main(int argc, char **argv)
{
    CompiledKernels c;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: predict_tool FILE.ir TARGET [NVDISASM]\n");
        return 2;
    }
    Pool *pool = pool_new();
    Module *m = read_module(pool, argv[1]);
    int status = 1;
    if (m)
        name_kernels(m);
    if (m && compile_cuda(pool, m, argv[2], &c)) {
        print_table(m, &c, argc > 3 ? argv[3] : NULL);
        status = 0;
    }
    pool_free(pool);
    return status;
}
