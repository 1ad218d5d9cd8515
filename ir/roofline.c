/* The roofline of CUDA kernels: every number of a GPU, every assumption, and what follows from
 * them. No hardware has corrected it. A step of a tiled kernel's reduction takes the longest of
 *     mma      its tensor-core (or FFMA) work at the rate that the instruction reaches
 *     shared   the bytes that warps read and copies write, at SHARED_BYTES a clock
 *     issue    its instructions, one a clock and scheduler
 * over how well the blocks that are resident together hide each other's waiting; a wave of blocks
 * takes its steps, a first load and its results; the kernel its waves, or its bytes. */
#include "roofline.h"

#include "numbers.h"

/* ---- devices ---- */

/* Processors, clocks under load, memory: vendor's data sheets and whitepapers (Turing TU102, Ampere
 * GA100 and GA102, Ada AD102, Hopper H100, Blackwell, GeForce Blackwell). Threads, blocks, shared
 * memory: CUDA C++ Programming Guide, technical specifications per compute capability.
 *
 * flop: operations a clock of FFMA (two an FP32 lane) and of mma.sync with sums in float. On
 * 8.0 and 8.x mma.sync is the tensor cores' own instruction: its dense peak (GeForce boards have
 * half the rate of others with sums in float, and the 90 series stands here). On 9.0 it reaches 63
 * % of wgmma's 4096 (arXiv 2501.12084). On 10.0 no figure is public; taken as on 9.0.
 *
 * bytes: an H200's copies reach 4.3 of 4.8 TB/s (measured); the others 0.9 of their data sheet. Its
 * 1.85 GHz is between boost and what it held in products of matrices. */
static const GpuKind kinds[] = {
    {75, "RTX 2080 Ti", 68, 1.55e9, 1024, 16, 64, 64, {128, 0, 0}, 0.55e12},
    {80, "A100", 108, 1.41e9, 2048, 32, 164, 163, {128, 1024, 2048}, 1.84e12},
    {86, "RTX 3090", 82, 1.70e9, 1536, 16, 100, 99, {256, 256, 512}, 0.84e12},
    {87, "Orin", 16, 1.30e9, 1536, 16, 164, 163, {256, 1024, 2048}, 0.18e12},
    {89, "RTX 4090", 128, 2.52e9, 1536, 24, 100, 99, {256, 256, 512}, 0.91e12},
    {90, "H200", 132, 1.85e9, 2048, 32, 228, 227, {256, 1290, 2580}, 4.3e12},
    {100, "B200", 148, 1.85e9, 2048, 32, 228, 227, {256, 1290, 2580}, 7.2e12},
    {120, "RTX 5090", 170, 2.41e9, 1536, 24, 100, 99, {256, 256, 512}, 1.61e12},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- assumptions ---- */

/* Between two nodes of a CUDA graph. */
const double GPU_LAUNCH = 1.25e-6;

/* Of a processor, the same on all kinds: registers, which warps get by 256 and four warps at a
 * time; shared memory that blocks get by 128 bytes and of which each loses 1 KB (8.0 on);
 * schedulers, each of which issues an instruction a clock; bytes a clock of shared memory.
 * (Programming Guide.) */
enum { REGISTERS = 65536, WARP = 32, REGISTER_UNIT = 256, SHARED_UNIT = 128, RESERVED = 1024 };
enum { SCHEDULERS = 4, SHARED_BYTES = 128, FRAGMENT = 16, MOST_REGISTERS = 255 };

/* How much of a step's longest part a processor does, by the blocks that are resident: alone, a
 * block waits for its barrier and its loads. Phases of fused blocks follow one another with
 * barriers between, so that less of them overlaps. */
static const double overlap_of[] = {0.70, 0.85, 0.90};
static const double FUSED_OVERLAP = 0.75;

/* Clocks from a block's start to its first tile: launch, addresses, device memory. */
static const double FILL = 900;

/* Of the device's memory, what kernels without tiles reach; ramp at both ends. */
static const double SIMPLE_BYTES = 0.85, SIMPLE_ISSUE = 0.75, SIMPLE_RAMP = 1.5e-6;

/* Lines that a warp's loads of a thin image's filter touch: rows lie far apart. */
enum { FILTER_LINES = 32 };

/* As NVRTC 13 compiles for 8.0 to 12.0, for each pass. Instructions of a warp and step beside mma
 * and ldmatrix, with each copy of 16 bytes, and with each element that is gathered; registers of a
 * thread beside sums and fragments of operands, and with each copy. */
enum { STEP_INSTRUCTIONS = 30, GATHER_INSTRUCTIONS = 14, BASE_REGISTERS = 34 };
static const int copy_instructions[] = {9, 13, 28, 9, 9};
static const int copy_registers[] = {3, 1, 1, 2, 0};

/* ---- what follows ---- */

const GpuKind *gpu_kind_at(int i)
{
    return i >= 0 && i < KINDS ? &kinds[i] : NULL;
}

const GpuKind *gpu_kind(int architecture)
{
    const GpuKind *kind = &kinds[0];
    for (int i = 0; i < KINDS; i++)
        if (kinds[i].architecture <= architecture)
            kind = &kinds[i];
    return kind;
}

int gpu_resident(const GpuKind *kind, int threads, int registers, int shared_bytes)
{
    int64_t warps = ceil_div(threads, WARP);
    int64_t of_warp = round_up(round_up(registers, 8) * WARP, REGISTER_UNIT);
    int64_t blocks = smaller(kind->blocks, kind->threads / (warps * WARP));
    int64_t shared =
        round_up(shared_bytes + (kind->architecture >= 80 ? RESERVED : 0), SHARED_UNIT);
    if (of_warp)
        blocks = smaller(blocks, REGISTERS / of_warp / 4 * 4 / round_up(warps, 4));
    return (int)(shared ? smaller(blocks, kind->shared_kb * 1024 / shared) : blocks);
}

/* Nearest to square, in multiples of unit_m x unit_n. */
static WarpGrid share_tile(int m, int n, int warps, int unit_m, int unit_n)
{
    WarpGrid best = {0, 0};
    for (int i = 1; i <= warps; i++) {
        int j = warps / i;
        if (warps % i || m % (i * unit_m) || n % (j * unit_n))
            continue;
        if (!best.m || m / i + n / j < m / best.m + n / best.n)
            best = (WarpGrid){i, j};
    }
    return best;
}

WarpGrid gpu_warps(GpuMath math, int m, int n, int warps)
{
    if (math == GPU_FP32)
        return share_tile(m, n, warps, 4, 8);
    WarpGrid two = share_tile(m, n, warps, FRAGMENT, FRAGMENT);
    return two.m ? two : share_tile(m, n, warps, FRAGMENT, FRAGMENT / 2);
}

static int size_of(const GpuWork *w)
{
    return w->math == GPU_BF16 ? 2 : 4;
}

/* A product of m x n x k in a block: bytes that its warps read, instructions of a warp, and sums
 * and fragments that a thread holds. */
typedef struct WarpProduct {
    double bytes, instructions;
    int registers;
} WarpProduct;

static WarpProduct warp_product(const GpuWork *w, int m, int n, int k, int threads)
{
    int warps = threads / WARP;
    WarpGrid grid = gpu_warps((GpuMath)w->math, m, n, warps);
    WarpProduct p = {0};
    if (!grid.m)
        return p;
    double rows = (double)m / grid.m, columns = (double)n / grid.n;
    double fragments = rows / FRAGMENT * columns / 8, depth = w->math == GPU_BF16 ? 16 : 8;
    p.bytes = warps * (rows + columns) * k * size_of(w);
    p.instructions = k / depth * (fragments + (rows + columns) / FRAGMENT);
    p.registers = (int)(fragments * 4 + rows / FRAGMENT * 4 + columns / 8 * 2);
    if (w->math == GPU_TF32)
        p.instructions += k / depth * (rows / FRAGMENT * 4 + columns / 8 * 2);
    if (w->math != GPU_FP32)
        return p;
    p.instructions = rows * columns * k / WARP * 1.1;
    p.registers = (int)(rows * columns / WARP + rows / 4 * 4 + columns / 8);
    p.bytes = warps * (rows * 8 + columns * 4) * k * 4 / 4; /* lanes of a row read the same */
    return p;
}

/* Copies of 16 bytes of a step, and gathered elements, a thread. */
static double copies_of(const GpuWork *w, const Schedule *s, double *gathered)
{
    double a = (double)s->tile_m * s->tile_k, b = (double)s->tile_n * s->tile_k, chunk;
    chunk = 16.0 / size_of(w) * s->threads;
    *gathered = w->thin ? (w->pass == GPU_WGRAD ? b : a + b) / s->threads : 0;
    return w->thin ? (w->pass == GPU_WGRAD ? a / chunk : 0) : (a + b) / chunk;
}

int gpu_registers(const GpuWork *w, const Schedule *s)
{
    double gathered, copies = copies_of(w, s, &gathered);
    WarpProduct p = warp_product(w, s->tile_m, s->tile_n, s->tile_k, s->threads);
    int all = p.registers + BASE_REGISTERS + (int)(copies * copy_registers[w->pass] + gathered);
    if (w->pass == GPU_BLOCK_BACKWARD)
        all += (w->convolutions - 1) * p.registers;
    return (int)smaller(round_up(all, 8), MOST_REGISTERS);
}

static double estimated_instructions(const GpuWork *w, const Schedule *s)
{
    double gathered, copies = copies_of(w, s, &gathered);
    return warp_product(w, s->tile_m, s->tile_n, s->tile_k, s->threads).instructions +
           copies * copy_instructions[w->pass] + gathered * GATHER_INSTRUCTIONS + STEP_INSTRUCTIONS;
}

static double overlap(int resident, bool fused)
{
    enum { KNOWN = sizeof overlap_of / sizeof *overlap_of };
    int i = (int)smaller(larger(resident, 1), KNOWN) - 1;
    return fused ? FUSED_OVERLAP * overlap_of[i] : overlap_of[i];
}

/* Clocks of one step of one block. */
typedef struct Step {
    double mma, shared, issue;
} Step;

static Step step_of(const GpuKind *kind, const GpuWork *w, const Schedule *s, int instructions)
{
    int m = s->tile_m, n = s->tile_n, k = s->tile_k, flop = kind->flop[w->math];
    Step step = {.mma = 2.0 * m * n * k / (flop > 0 ? flop : 1)};
    double bytes = (double)(m + n) * k * size_of(w) + warp_product(w, m, n, k, s->threads).bytes;
    step.shared = bytes / SHARED_BYTES;
    step.issue = instructions * (double)(s->threads / WARP) / SCHEDULERS;
    return step;
}

/* The gradients of a block's 1x1 convolutions: one step is a tile of pixels. */
static Step tile_of_backward(const GpuKind *kind, const GpuWork *w, const Schedule *s)
{
    double m = s->tile_m, n = w->columns, size = size_of(w), each;
    int flop = kind->flop[w->math];
    Step step = {.mma = 4 * m * n * n * w->convolutions / (flop > 0 ? flop : 1)};
    WarpProduct data = warp_product(w, s->tile_m, s->tile_n, (int)n, s->threads);
    WarpProduct filter = warp_product(w, s->tile_n, s->tile_n, s->tile_m, s->threads);
    each = data.bytes + filter.bytes + 5 * m * n * size; /* in, out of sums, chain, to the map */
    step.shared = each * w->convolutions / SHARED_BYTES;
    step.issue = (data.instructions + filter.instructions + 400) * w->convolutions *
                 (s->threads / WARP) / SCHEDULERS;
    return step;
}

static double longest(const Step *s)
{
    double longer = s->mma > s->shared ? s->mma : s->shared;
    return longer > s->issue ? longer : s->issue;
}

/* Blocks of the grid, and what each writes at its end: bytes. */
static double blocks_of(const Schedule *s, int split)
{
    return (double)s->grid_x * s->grid_y * split;
}

static double result_bytes(const GpuWork *w, const Schedule *s)
{
    double tile = (double)s->tile_m * s->tile_n;
    if (w->pass == GPU_WGRAD)
        return tile * 4;
    return tile * size_of(w) * (w->pass == GPU_BLOCK ? w->convolutions : 1);
}

/* Clocks that the loads of a thin image and of its filters take in the first-level cache, which
 * serves a line of 128 bytes a clock: neighbouring lanes read neighbouring pixels, which span about
 * LINES of them, or neighbouring elements of a filter row. */
static double gather_clocks(const GpuWork *w, const Schedule *s)
{
    enum { LINES = 2 };
    double a = (double)s->tile_m * s->tile_k, b = (double)s->tile_n * s->tile_k;
    if (!w->thin)
        return 0;
    return w->pass == GPU_WGRAD ? LINES * b / WARP : LINES * a / WARP + FILTER_LINES * b / WARP;
}

/* What one block takes of its processor, whatever else is resident there. */
typedef struct Block {
    double steps;  /* clocks of all steps, of which overlap() says how many are hidden */
    double gather; /* clocks of the first-level cache */
    double drain;  /* clocks in which its share of the device's memory takes its results */
    bool fused;
} Block;

/* Clocks of a wave of `resident` blocks a processor. */
static double wave_clocks(const Block *b, int resident)
{
    double steps = b->drain + b->steps / overlap(resident, b->fused);
    return FILL + resident * (steps > b->gather ? steps : b->gather);
}

/* Of all waves: whole ones, and the last with fewer blocks a processor. */
static double clocks_of_waves(const Block *b, int resident, double blocks, int processors)
{
    double slots = (double)processors * resident, whole = floor(blocks / slots);
    int last = (int)ceil((blocks - whole * slots) / processors);
    return whole * wave_clocks(b, resident) + (last > 0 ? wave_clocks(b, last) : 0);
}

/* A step of the 1x1 convolutions behind a block's first: one operand is there. */
static double inner_clocks(const GpuKind *kind, const GpuWork *w, const Schedule *s)
{
    GpuWork dense = *w;
    dense.thin = 0;
    Step step = step_of(kind, &dense, s, (int)estimated_instructions(&dense, s));
    return longest(&step);
}

static Block block_of(const GpuKind *kind, int processors, const GpuWork *w, const Schedule *s,
                      const GpuTime *t)
{
    Step step = {t->mma / t->resident, t->shared / t->resident, t->issue / t->resident};
    double inner = ceil((double)w->inner / s->tile_k), outer = t->steps;
    double share = kind->bytes / kind->clock / processors;
    Block b = {.fused = w->pass == GPU_BLOCK || w->pass == GPU_BLOCK_BACKWARD};
    if (w->pass == GPU_BLOCK)
        outer -= inner, b.steps = inner * inner_clocks(kind, w, s);
    b.steps += outer * longest(&step);
    b.gather = outer * gather_clocks(w, s);
    b.drain = w->pass == GPU_BLOCK_BACKWARD ? 0 : result_bytes(w, s) / share;
    return b;
}

/* Of sums in parts: what the kernel writes, and the update reads. */
static double part_bytes(const GpuWork *w, int split)
{
    if (w->pass == GPU_WGRAD)
        return 4.0 * (double)w->rows * (double)w->columns * split;
    if (w->pass == GPU_BLOCK_BACKWARD)
        return 4.0 * (double)w->columns * (double)w->columns * w->convolutions * split;
    return 0;
}

GpuTime gpu_time(const GpuKind *kind, int processors, const GpuWork *w, const Schedule *s,
                 int split, const GpuCode *code)
{
    GpuTime t = {.registers = code && code->registers ? code->registers : gpu_registers(w, s),
                 .instructions = code && code->instructions ? code->instructions
                                                            : (int)estimated_instructions(w, s)};
    double blocks = blocks_of(s, split), terms = (double)ceil_div(w->terms, split);
    bool backward = w->pass == GPU_BLOCK_BACKWARD;
    t.resident = (int)larger(gpu_resident(kind, s->threads, t.registers, s->shared_bytes), 1);
    t.steps = ceil(terms / s->tile_k) + ceil((double)w->inner / s->tile_k);
    if (backward)
        t.steps = ceil(ceil((double)w->rows / s->tile_m) / split);
    Step step = backward ? tile_of_backward(kind, w, s) : step_of(kind, w, s, t.instructions);
    t.mma = step.mma * t.resident, t.shared = step.shared * t.resident;
    t.issue = step.issue * t.resident;
    t.waves = blocks / ((double)processors * t.resident);
    t.bytes = (double)w->bytes + part_bytes(w, split);
    t.memory = t.bytes / kind->bytes;
    Block block = block_of(kind, processors, w, s, &t);
    t.seconds = clocks_of_waves(&block, t.resident, blocks, processors) / kind->clock;
    if (t.memory > t.seconds)
        t.seconds = t.memory;
    return t;
}

int gpu_split(const GpuKind *kind, int processors, const GpuWork *w, const Schedule *s)
{
    double best = 0;
    int at = 1;
    for (int split = 1; split <= s->split; split++) {
        double seconds = gpu_time(kind, processors, w, s, split, NULL).seconds +
                         part_bytes(w, split) / kind->bytes;
        if (split == 1 || seconds < 0.99 * best)
            best = seconds, at = split;
    }
    return at;
}

double gpu_simple_time(const GpuKind *kind, int processors, double bytes, double instructions)
{
    double memory = bytes / (SIMPLE_BYTES * kind->bytes);
    double issue = instructions / (SIMPLE_ISSUE * processors * SCHEDULERS * kind->clock);
    return (memory > issue ? memory : issue) + SIMPLE_RAMP;
}
