/* The schedules of a convolution on tensor cores: of all tiles that its warps can share, those that
 * the roofline (ir/roofline.h) says are fastest on some kind of GPU, and the next best. */
#include "../../ir/numbers.h"
#include "../../ir/tiles.h"
#include "cuda.h"

/* Kinds of GPU that a schedule of their own may pay on; the first is the preferred one. */
static const int wanted_kinds[] = {90, 80, 86, 120};

enum { WANTED = sizeof wanted_kinds / sizeof *wanted_kinds };
enum { MOST_CANDIDATES = 256, LEAST_SUMS = 8, SUMS = 128, SAFE_REGISTERS = 240, WARP = 32 };

typedef struct Candidate {
    Schedule schedule;
    double seconds; /* on the kind that is looked at */
    bool taken;
} Candidate;

typedef struct Candidates {
    const GpuWork *work;
    Candidate list[MOST_CANDIDATES];
    int count;
} Candidates;

static int shared_bytes(const GpuWork *w, const Schedule *s)
{
    int size = w->math == GPU_BF16 ? 2 : 4;
    if (w->pass == GPU_FPROP)
        return NINC_FPROP_SHARED(s->tile_m, s->tile_n, s->tile_k, s->stages, size);
    if (w->pass == GPU_DGRAD)
        return NINC_DGRAD_SHARED(s->tile_m, s->tile_n, s->tile_k, s->stages, size);
    return NINC_WGRAD_SHARED(s->tile_m, s->tile_n, s->tile_k, s->stages, size);
}

/* The copies of a weight gradient take no more than SPLIT_BYTES, each has enough pixels. */
static int most_parts(const GpuWork *w)
{
    if (w->pass != GPU_WGRAD)
        return 1;
    int64_t most = larger(SPLIT_BYTES / (w->rows * w->columns * 4), 1);
    return (int)larger(smaller(most, w->terms / LEAST_PIXELS), 1);
}

/* Whether the warps share the tile, a thread has room for its sums, and threads copy whole rows. */
static bool is_sound(const GpuWork *w, const Schedule *s)
{
    WarpGrid grid = gpu_warps((GpuMath)w->math, s->tile_m, s->tile_n, s->threads / WARP);
    bool gathers =
        !w->thin || w->pass == GPU_WGRAD || (s->tile_m <= s->threads && s->tile_n <= s->threads);
    return grid.m && gathers && s->tile_m * s->tile_n <= SUMS * s->threads &&
           s->tile_m * s->tile_n >= LEAST_SUMS * s->threads &&
           gpu_registers(w, s) <= SAFE_REGISTERS;
}

static void add_candidate(Candidates *c, Schedule s)
{
    const GpuWork *w = c->work;
    s.grid_x = (int)ceil_div(w->rows, s.tile_m);
    s.grid_y = (int)ceil_div(w->columns, s.tile_n);
    s.split = most_parts(w);
    s.architecture = 80;
    s.shared_bytes = shared_bytes(w, &s);
    if (s.shared_bytes <= LARGE_SHARED && is_sound(w, &s) && c->count < MOST_CANDIDATES)
        c->list[c->count++].schedule = s;
}

/* All depths of a stage and numbers of stages. */
static void add_depths(Candidates *c, int m, int n, int threads)
{
    static const int stages[][2] = {{2, 3}, {1, 4}, {2, 2}, {1, 2}};
    int depth = c->work->math == GPU_BF16 ? 32 : 16;
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        add_candidate(c, (Schedule){.tile_m = m,
                                    .tile_n = n,
                                    .tile_k = depth * stages[i][0],
                                    .stages = stages[i][1],
                                    .threads = threads});
}

/* A tile is no larger than the least that covers all. */
static void add_tiles(Candidates *c)
{
    static const int sizes[] = {16, 32, 64, 96, 128, 256};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    bool wgrad = c->work->pass == GPU_WGRAD;
    int first_m = wgrad ? 1 : 2, first_n = wgrad ? 1 : 0;
    for (int i = first_m; i < SIZES; i++)
        for (int j = first_n; j < SIZES; j++) {
            bool tall = i > first_m && sizes[i - 1] >= c->work->rows;
            bool wide = j > first_n && sizes[j - 1] >= c->work->columns;
            if (tall || wide || (!wgrad && sizes[i] == 96))
                continue;
            add_depths(c, sizes[i], sizes[j], 128);
            add_depths(c, sizes[i], sizes[j], 256);
        }
}

static void time_all(Candidates *c, const GpuKind *kind)
{
    for (int i = 0; i < c->count; i++) {
        Schedule *s = &c->list[i].schedule;
        int split = gpu_split(kind, kind->processors, c->work, s);
        c->list[i].seconds = gpu_time(kind, kind->processors, c->work, s, split, NULL).seconds;
    }
}

/* The fastest of those that fit and are not taken; NULL: none. */
static Candidate *fastest(Candidates *c, const GpuKind *kind)
{
    Candidate *best = NULL;
    for (int i = 0; i < c->count; i++) {
        Candidate *other = &c->list[i];
        bool fits = other->schedule.shared_bytes <= kind->block_shared_kb * 1024;
        if (fits && !other->taken && (!best || other->seconds < best->seconds))
            best = other;
    }
    return best;
}

/* Takes the fastest of each kind, then the next on the first kind. */
static void take_fastest(Candidates *c)
{
    int taken = 0;
    for (int i = WANTED - 1; i >= 0; i--) {
        const GpuKind *kind = gpu_kind(wanted_kinds[i]);
        time_all(c, kind);
        Candidate *best = fastest(c, kind);
        if (best)
            best->taken = true, taken++;
    }
    for (Candidate *next; taken < MAX_SCHEDULES && (next = fastest(c, gpu_kind(wanted_kinds[0])));)
        next->taken = true, taken++;
}

/* Those that are taken, the fastest on the first kind before the others. */
static int in_order(const Candidates *c, Schedule *out)
{
    int count = 0;
    double seconds[MAX_SCHEDULES];
    for (int i = 0; i < c->count; i++) {
        if (!c->list[i].taken)
            continue;
        int at = count++;
        for (; at > 0 && seconds[at - 1] > c->list[i].seconds; at--)
            out[at] = out[at - 1], seconds[at] = seconds[at - 1];
        out[at] = c->list[i].schedule, seconds[at] = c->list[i].seconds;
    }
    return count;
}

/* The most parts that any kind wants of the schedule: so many have room. */
static int parts_of(const GpuWork *w, const Schedule *s)
{
    int most = 1;
    for (int i = 0; i < WANTED; i++) {
        const GpuKind *kind = gpu_kind(wanted_kinds[i]);
        int split = gpu_split(kind, kind->processors, w, s);
        most = split > most ? split : most;
    }
    return most;
}

int schedule_candidates(const GpuWork *w, Schedule *out)
{
    Candidates c = {.work = w};
    add_tiles(&c);
    take_fastest(&c);
    int count = in_order(&c, out);
    for (int i = 0; i < count; i++)
        out[i].split = parts_of(w, &out[i]);
    return count;
}
