/* The CPU as a device. A step is three lists of launches, of which the middle one runs once a chunk
 * of images. Each thread has its share of the slices of a launch (shares.c); the next launch begins
 * when all are done, whether or not every thread has come by. No two slices write the same bytes
 * and no sum crosses slices, so the number of threads cannot change a bit. */
#include "../../ir/ir.h"
#include "device.h"
#include "cpu_levels.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

enum { HUGE_PAGE = 2 << 20, LINE = 64 };

struct Device {
    const NincModel *model;
    const NincTarget *target;
    const NincCpuLevel *level;
    int threads;
    void *map;
    size_t map_bytes;
    char *state, *shared, *chunk, *thread; /* thread 0; the others follow, thread_stride apart */
    int64_t thread_stride, arena_bytes;
    void **args; /* args_each pointers a thread */
    int args_each;
    Team *team;
    Pace train_pace, eval_pace;
    Shares *shares; /* of the longest step */
    const NincProgram *kept; /* keeps_before, and its results are there: of this state; or NULL */
    Metrics metrics;
    char description[128];
};

/* ---- instruction sets ---- */

#if defined(__x86_64__)
/* Linux gives a process the tile registers when it asks for them, for all of its threads. */
static bool ask_for_amx(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XTILEDATA */
    unsigned a, b, c, d, bf16_and_tiles = 1u << 22 | 1u << 24;
    return CPU_HAS_AVX512_BF16 && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (d & bf16_and_tiles) == bf16_and_tiles &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

bool cpu_has_amx(void)
{
    enum { UNKNOWN, NO, YES };
    static atomic_int known;
    if (atomic_load(&known) == UNKNOWN)
        atomic_store(&known, ask_for_amx() ? YES : NO);
    return atomic_load(&known) == YES;
}
#else
bool cpu_has_amx(void)
{
    return false;
}
#endif

static bool level_supported(const char *name)
{
#define X(level, architecture, target, bf16, flags, condition)                                     \
    if (strcmp(name, #level) == 0 && CPU_IF_##architecture(condition))                             \
        return true;
    CPU_LEVELS(X)
#undef X
    return false;
}

/* What NINC_CPU_LEVEL asks for; NULL: nothing. */
static const char *wanted_level(void)
{
    const char *wanted = getenv("NINC_CPU_LEVEL");
    return wanted && *wanted ? wanted : NULL;
}

/* The level to run, NULL where this CPU or the trainer has none such. */
static const NincCpuLevel *find_level(void)
{
    const char *wanted = wanted_level();
    for (const NincCpuLevel *const *l = ninc_cpu_levels; *l; l++)
        if ((!wanted || strcmp((*l)->name, wanted) == 0) && level_supported((*l)->name))
            return *l;
    return NULL;
}

/* Says why there is no level. */
static void explain_level(void)
{
    const char *wanted = wanted_level();
    char names[128] = "", text[32];
    if (!wanted) {
        fault("this CPU runs none of the trainer's variants; compile the model on this machine");
        return;
    }
    for (const NincCpuLevel *const *l = ninc_cpu_levels; *l; l++) {
        size_t at = strlen(names);
        if (strcmp((*l)->name, wanted) == 0) {
            fault("NINC_CPU_LEVEL=%s: this CPU does not have it; unset NINC_CPU_LEVEL", wanted);
            return;
        }
        snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "", (*l)->name);
    }
    fault("NINC_CPU_LEVEL=%s is not in this trainer; it has %s",
          printable(wanted, text, sizeof text), names);
}

/* Without a level, opening fails and says why. */
static NincTargetKind cpu_programs(void)
{
    const NincCpuLevel *level = find_level();
    return level ? level->target : NINC_CPU;
}

/* ---- opening ---- */

static int chunks_of(const NincProgram *p)
{
    return p->chunk > 0 ? (p->batch + p->chunk - 1) / p->chunk : 0;
}

/* Launches of a step, those of every chunk counted. */
static int64_t launches_of(const NincProgram *p)
{
    return p->befores + (int64_t)chunks_of(p) * p->chunkeds + p->afters;
}

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
    int64_t launches = larger(launches_of(eval), launches_of(other)) + 1;
    d->args_each = args_of(d->target);
    d->args = malloc((size_t)d->threads * (size_t)d->args_each * sizeof *d->args);
    d->shares = shares_new(d->threads, launches);
    return d->args && d->shares ? 0
                                : fault("no memory for the launches of %d threads", d->threads);
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
    const NincCpuLevel *level = find_level();
    if (!level) {
        explain_level();
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

static int check_state(const Device *d, int64_t offset, int64_t count)
{
    if (offset < 0 || count < 0 || offset + count > d->target->state_bytes)
        internal_error("bytes %lld to %lld of a state region of %lld", (long long)offset,
                       (long long)(offset + count), (long long)d->target->state_bytes);
    return 0;
}

static int cpu_write_state(Device *d, int64_t offset, const void *bytes, int64_t count)
{
    check_state(d, offset, count);
    d->kept = NULL;
    memcpy(d->state + offset, bytes, (size_t)count);
    return 0;
}

static int cpu_read_state(Device *d, int64_t offset, void *bytes, int64_t count)
{
    check_state(d, offset, count);
    memcpy(bytes, d->state + offset, (size_t)count);
    return 0;
}

/* ---- addresses and launches ---- */

static void *address_of(const Device *d, const NincArg *at, int thread, int first_image)
{
    switch (at->region) {
    case NINC_REGION_STATE: return d->state + at->offset;
    case NINC_REGION_SHARED: return d->shared + at->offset + first_image * at->per_image;
    case NINC_REGION_CHUNK: return d->chunk + at->offset;
    case NINC_REGION_THREAD: return d->thread + thread * d->thread_stride + at->offset;
    case NINC_REGION_PARTIAL: return d->shared + at->offset;
    case NINC_REGION_NONE: break;
    }
    return NULL;
}

static int cpu_write(Device *d, const NincArg *at, int partial, const void *bytes, int64_t count)
{
    d->kept = NULL;
    memcpy((char *)address_of(d, at, 0, 0) + partial * at->per_partial, bytes, (size_t)count);
    return 0;
}

static int cpu_read(Device *d, const NincArg *at, int partial, void *bytes, int64_t count)
{
    memcpy(bytes, (char *)address_of(d, at, 0, 0) + partial * at->per_partial, (size_t)count);
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

static void run_slice(const Device *d, const NincLaunch *launch, const NincRange *range,
                      int thread)
{
    void **arg = d->args + (size_t)thread * (size_t)d->args_each;
    for (int i = 0; i < launch->args; i++)
        arg[i] = address_of(d, &launch->arg[i], thread, range->first_image);
    d->level->kernel[launch->kernel](arg, range);
}

static int cpu_launch(Device *d, const NincProgram *program, const NincLaunch *launch,
                      const NincRange *range, int partial)
{
    (void)program;
    (void)partial;
    d->kept = NULL;
    run_slice(d, launch, range, 0);
    return 0;
}

/* ---- a step ---- */

/* A step of a program, as every thread of the team takes part in it. */
typedef struct Step {
    const Device *device;
    const NincProgram *program;
    int images, threads;
    int befores; /* of the program's, that are to run */
} Step;

static int slices_of(const Step *step, const NincLaunch *launch)
{
    int slices = launch->slices > 0 ? launch->slices : 1;
    return launch->coarse && slices > step->threads ? step->threads : slices;
}

/* A thread's part in it. */
typedef struct Part {
    const Step *step;
    int thread;
    Patience *patience;
} Part;

/* `at` is the number, in the step, of the list's first launch, `range` names the images. Returns
 * the number behind the list. */
static int64_t run_list(const Part *part, const NincLaunch *launch, int count, NincRange range,
                        int64_t at)
{
    const Device *d = part->step->device;
    for (int i = 0; i < count; i++, at++) {
        int done = 0;
        range.slices = slices_of(part->step, &launch[i]);
        while ((range.slice = shares_take(d->shares, at, part->thread, range.slices)) >= 0) {
            run_slice(d, &launch[i], &range, part->thread);
            done++;
        }
        if (done > 0)
            shares_done(d->shares, at, done, range.slices);
        shares_wait(d->shares, at, range.slices, part->patience);
    }
    return at;
}

/* The images of chunk c, of `images` in all. */
static NincRange chunk_range(const NincProgram *p, int c, int images)
{
    NincRange range = {.first_image = c * p->chunk, .images = p->chunk, .accumulate = c > 0};
    if (range.images > images - range.first_image)
        range.images = images - range.first_image;
    return range;
}

static void take_part(void *data, int thread, Patience *patience)
{
    const Step *step = data;
    const NincProgram *p = step->program;
    Part part = {step, thread, patience};
    int chunks = p->chunkeds > 0 ? (step->images + p->chunk - 1) / p->chunk : 0;
    int64_t at = run_list(&part, p->before, step->befores, (NincRange){0}, 0);
    for (int c = 0; c < chunks; c++)
        at = run_list(&part, p->chunked, p->chunkeds, chunk_range(p, c, step->images), at);
    run_list(&part, p->after, p->afters, (NincRange){0}, at);
}

/* On the first `images` of the batch, by the team or one thread alone. */
static void run_program(Device *d, const NincProgram *p, int images, bool alone)
{
    Step step = {d, p, images, alone ? 1 : d->threads, d->kept == p ? 0 : p->befores};
    shares_reset(d->shares, launches_of(p), step.threads);
    if (step.threads == 1)
        team_run_alone(d->team, take_part, &step);
    else
        team_run(d->team, take_part, &step);
    d->kept = p->keeps_before ? p : NULL;
}

static Pace *pace_of(Device *d, const NincProgram *p)
{
    return p == &d->target->train ? &d->train_pace : &d->eval_pace;
}

/* The same, by as many threads as do it fastest. */
static void run_step(Device *d, const NincProgram *p, int images)
{
    Pace *pace = pace_of(d, p);
    bool alone = pace_alone(pace, images);
    if (!pace_measures(pace)) {
        run_program(d, p, images, alone);
        return;
    }
    double begin = clock_seconds();
    run_program(d, p, images, alone);
    pace_took(pace, clock_seconds() - begin);
}

/* ---- ports ---- */

/* The host's address of an input or output that may be absent. */
static void *port_address(const Device *d, const NincPort *port)
{
    return port ? address_of(d, &port->at, 0, 0) : NULL;
}

static void *input_address(const Device *d, const NincProgram *p, const char *name)
{
    return port_address(d, find_port(p->input, p->inputs, name));
}

static void *output_address(const Device *d, const NincProgram *p, const char *name)
{
    return port_address(d, find_port(p->output, p->outputs, name));
}

static void write_inputs(const Device *d, const NincProgram *p, const StepInput *input)
{
    const Dataset *data = input->data;
    size_t bytes = (size_t)data->h * (size_t)data->w * (size_t)data->c;
    uint8_t *image = input_address(d, p, "image");
    int32_t *label = input_address(d, p, "label"), *valid = input_address(d, p, "valid");
    float *lr = input_address(d, p, "lr");
    int32_t *step = input_address(d, p, "step");
    for (int i = 0; i < p->batch; i++) {
        bool real = i < input->valid;
        if (image && real)
            memcpy(image + (size_t)i * bytes, data->image + (size_t)input->index[i] * bytes, bytes);
        else if (image)
            memset(image + (size_t)i * bytes, 0, bytes);
        if (label)
            label[i] = real ? data->label[input->index[i]] : 0;
    }
    if (valid)
        *valid = input->valid;
    if (lr)
        *lr = input->lr;
    if (step)
        *step = input->step;
}

static bool logits_zero(const Device *d, const NincProgram *p, int valid)
{
    const NincPort *port = find_port(p->output, p->outputs, "logits");
    const float *value = port_address(d, port);
    if (!value || port->tensor.layout.kind != LAYOUT_PLAIN)
        return false;
    int64_t count = shape_elements(&port->tensor.shape) / p->batch * valid;
    for (int64_t i = 0; i < count; i++)
        if (value[i] != 0)
            return false;
    return true;
}

static void add_metrics(Device *d, const NincProgram *p, int valid)
{
    const float *loss = output_address(d, p, "loss");
    const int32_t *correct = output_address(d, p, "correct");
    Metrics *m = &d->metrics;
    if (loss)
        m->loss += (double)*loss * valid;
    if (correct)
        m->correct += *correct;
    m->all_logits_zero = (m->images == 0 || m->all_logits_zero) && logits_zero(d, p, valid);
    m->images += valid;
}

static int cpu_step(Device *d, const NincProgram *program, const StepInput *input)
{
    if (input->valid < 1 || input->valid > program->batch)
        internal_error("%d valid images in a batch of %d", input->valid, program->batch);
    write_inputs(d, program, input);
    run_step(d, program, input->logits_only ? input->valid : program->batch);
    if (!input->logits_only)
        add_metrics(d, program, input->valid);
    return 0;
}

/* One launch stands for all of a step: every slice, every chunk. */
static void run_whole(Device *d, const NincProgram *program, const NincLaunch *launch)
{
    NincProgram one = *program;
    bool chunked = launch >= program->chunked && launch < program->chunked + program->chunkeds;
    one.befores = one.afters = one.chunkeds = 0;
    one.keeps_before = false;
    if (chunked) {
        one.chunked = launch;
        one.chunkeds = 1;
    } else {
        one.after = launch;
        one.afters = 1;
    }
    run_program(d, &one, one.batch, pace_settled(pace_of(d, program)));
}

static int cpu_time(Device *d, const NincProgram *program, const NincLaunch *launch, int repeats,
                    double *seconds)
{
    double begin = clock_seconds();
    for (int i = 0; i < repeats; i++) {
        if (launch)
            run_whole(d, program, launch);
        else
            run_step(d, program, program->batch);
    }
    *seconds = clock_seconds() - begin;
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
    .step = cpu_step,
    .read_metrics = cpu_read_metrics,
    .write = cpu_write,
    .read = cpu_read,
    .poison = cpu_poison,
    .launch = cpu_launch,
    .copies = cpu_copies,
    .time = cpu_time,
    .arena_bytes = cpu_arena_bytes,
};
