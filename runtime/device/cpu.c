/* The CPU as a device: its threads and memory. How a step goes stands in cpu_step.c. */
#include "cpu_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, LINE = 64 };

/* Without a level, opening fails and says why. */
static NincTargetKind cpu_programs(void)
{
    const NincCpuLevel *level = cpu_level();
    return level ? level->target : NINC_CPU;
}

/* ---- opening ---- */

static void check_program(const NincProgram *p)
{
    if (p->batch < 1 || (p->chunkeds > 0 && p->chunk < 1))
        internal_error("program %s has batch %d, chunk %d", p->name, p->batch, p->chunk);
}

static void most_args(const NincLaunch *launch, int count, int *most)
{
    for (int i = 0; i < count; i++)
        if (launch[i].args > *most)
            *most = launch[i].args;
}

static int args_of(const NincTarget *target)
{
    int most = 1;
    for (const NincProgram *p = &target->train;; p = &target->eval) {
        most_args(p->before, p->befores, &most);
        most_args(p->chunked, p->chunkeds, &most);
        most_args(p->after, p->afters, &most);
        if (p == &target->eval)
            return most;
    }
}

/* One mapping, aligned to huge pages: state, shared, chunk, threads. */
static int map_arena(Device *d, int64_t state, int64_t shared, int64_t chunk)
{
    d->arena_bytes = state + shared + chunk + d->thread_stride * d->threads;
    d->map_bytes = (size_t)round_up(d->arena_bytes, HUGE_PAGE) + HUGE_PAGE;
    d->map = mmap(NULL, d->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (d->map == MAP_FAILED) {
        d->map = NULL;
        return fault("cannot get %.1f MB of memory for model %s on %d threads: %s; free memory, "
                     "use fewer --threads, or compile with a smaller --batch",
                     (double)d->arena_bytes / 1e6, d->model->name, d->threads, strerror(errno));
    }
    uintptr_t start = (uintptr_t)d->map, aligned = (start + HUGE_PAGE - 1) & -(uintptr_t)HUGE_PAGE;
    d->state = (char *)d->map + (aligned - start);
    if (d->arena_bytes >= HUGE_PAGE)
        madvise(d->state, (size_t)round_up(d->arena_bytes, HUGE_PAGE), MADV_HUGEPAGE);
    d->shared = d->state + state;
    d->chunk = d->shared + shared;
    d->thread = d->chunk + chunk;
    return 0;
}

static int allocate(Device *d, bool with_train)
{
    const NincProgram *eval = &d->target->eval, *other = with_train ? &d->target->train : eval;
    d->thread_stride = round_up(larger(eval->thread_bytes, other->thread_bytes), LINE);
    if (map_arena(d, round_up(d->target->state_bytes, LINE),
                  round_up(larger(eval->shared_bytes, other->shared_bytes), LINE),
                  round_up(larger(eval->chunk_bytes, other->chunk_bytes), LINE)) < 0)
        return -1;
    int64_t launches = larger(cpu_launches(eval), cpu_launches(other)) + 1;
    d->args_each = args_of(d->target);
    d->args = malloc((size_t)d->threads * (size_t)d->args_each * sizeof *d->args);
    d->shares = shares_new(d->threads, launches);
    return d->args && d->shares ? 0 : fault("no memory for the launches of %d threads", d->threads);
}

/* As many threads as are asked for, or as this process should use. */
static void count_threads(Device *d, const ThreadLimit *limit, int wanted)
{
    d->threads = wanted > 0 ? (int)smaller(wanted, MAX_THREADS) : limit->threads;
    d->train_pace = d->eval_pace = pace_new(d->threads, limit->quota);
    int length = snprintf(d->description, sizeof d->description, "cpu, %s, %d thread%s",
                          d->level->name, d->threads, d->threads == 1 ? "" : "s");
    if (wanted <= 0 && limit->reason[0])
        snprintf(d->description + length, sizeof d->description - (size_t)length, " (%s)",
                 limit->reason);
}

static int start_threads(Device *d, const ThreadLimit *limit)
{
    d->team = team_new(d->threads, limit->quota > 0 && limit->quota < d->threads);
    if (d->team)
        return 0;
    return fault("cannot start %d threads: %s; use fewer --threads", d->threads, strerror(errno));
}

static void cpu_close(Device *d)
{
    if (!d)
        return;
    if (d->map)
        munmap(d->map, d->map_bytes);
    team_free(d->team);
    free(d->args);
    shares_free(d->shares);
    free(d);
}

static Device *cpu_open(const NincModel *model, const DeviceOptions *options)
{
    if (!model->target[NINC_CPU].storage) {
        fault("model %s was compiled without CPU code; compile it with --target=all", model->name);
        return NULL;
    }
    const NincCpuLevel *level = options->level ? options->level : cpu_level();
    if (!level) {
        cpu_explain_level();
        return NULL;
    }
    const NincTarget *target = &model->target[level->target];
    if (options->with_train)
        check_program(&target->train);
    check_program(&target->eval);
    Device *d = xmalloc(sizeof *d);
    *d = (Device){.model = model, .target = target, .level = level};
    ThreadLimit limit = thread_limit("");
    count_threads(d, &limit, options->threads);
    if (allocate(d, options->with_train) < 0 || start_threads(d, &limit) < 0) {
        cpu_close(d);
        return NULL;
    }
    return d;
}

static int cpu_use(Device *d)
{
    (void)d;
    return 0;
}

static const char *cpu_describe(Device *d)
{
    return d->description;
}

static const char *cpu_arithmetic(Device *d)
{
    return d->level->name;
}

static int64_t cpu_arena_bytes(Device *d)
{
    return d->arena_bytes;
}

/* ---- state ---- */

static int cpu_write_state(Device *d, int64_t offset, const void *bytes, int64_t count)
{
    check_state_bytes(d->target, offset, count);
    d->kept = NULL;
    memcpy(d->state + offset, bytes, (size_t)count);
    return 0;
}

static int cpu_read_state(Device *d, int64_t offset, void *bytes, int64_t count)
{
    check_state_bytes(d->target, offset, count);
    memcpy(bytes, d->state + offset, (size_t)count);
    return 0;
}

/* ---- addresses and launches ---- */

static int cpu_write(Device *d, const NincArg *at, int partial, const void *bytes, int64_t count)
{
    d->kept = NULL;
    memcpy((char *)cpu_address(d, at, 0, 0) + partial * at->per_partial, bytes, (size_t)count);
    return 0;
}

static int cpu_read(Device *d, const NincArg *at, int partial, void *bytes, int64_t count)
{
    memcpy(bytes, (char *)cpu_address(d, at, 0, 0) + partial * at->per_partial, (size_t)count);
    return 0;
}

static int cpu_poison(Device *d, const NincProgram *program)
{
    d->kept = NULL;
    memset(d->shared, 0xFF, (size_t)program->shared_bytes);
    memset(d->chunk, 0xFF, (size_t)program->chunk_bytes);
    memset(d->thread, 0xFF, (size_t)program->thread_bytes);
    return 0;
}

/* Each slice has its copy. */
static int cpu_copies(Device *d, const NincLaunch *launch)
{
    (void)d;
    return launch->slices;
}

static int cpu_launch(Device *d, const NincProgram *program, const NincLaunch *launch,
                      const NincRange *range, int partial)
{
    (void)program;
    (void)partial;
    d->kept = NULL;
    cpu_run_slice(d, launch, range, 0);
    return 0;
}

static int cpu_read_metrics(Device *d, Metrics *out)
{
    *out = d->metrics;
    d->metrics = (Metrics){0};
    return 0;
}

const DeviceTable ninc_cpu_device = {
    .name = "cpu",
    .target = NINC_CPU,
    .programs = cpu_programs,
    .open = cpu_open,
    .close = cpu_close,
    .use = cpu_use,
    .describe = cpu_describe,
    .arithmetic = cpu_arithmetic,
    .write_state = cpu_write_state,
    .read_state = cpu_read_state,
    .run_chunks = cpu_run_chunks,
    .reduce = cpu_reduce,
    .run_after = cpu_run_after,
    .read_metrics = cpu_read_metrics,
    .write = cpu_write,
    .read = cpu_read,
    .poison = cpu_poison,
    .launch = cpu_launch,
    .copies = cpu_copies,
    .time = cpu_time,
    .arena_bytes = cpu_arena_bytes,
};
