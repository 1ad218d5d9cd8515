/* A step of the CPU is three lists of launches, of which the middle one runs once a chunk of
 * images. Each thread has its share of the slices of a launch (shares.c); the next launch begins
 * when all are done, whether or not every thread has come by. No two slices write the same bytes
 * and no sum crosses slices, so the number of threads cannot change a bit. */
#include "../../ir/inputs.h"
#include "cpu_device.h"

#include <string.h>

/* ---- the team's part ---- */

static int chunks_of(const NincProgram *p)
{
    return p->chunk > 0 ? (p->batch + p->chunk - 1) / p->chunk : 0;
}

int64_t cpu_launches(const NincProgram *p)
{
    return p->befores + (int64_t)chunks_of(p) * p->chunkeds + p->afters;
}

void *cpu_address(const Device *d, const NincArg *at, int thread, int first_image)
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

void cpu_run_slice(const Device *d, const NincLaunch *launch, const NincRange *range, int thread)
{
    void **arg = d->args + (size_t)thread * (size_t)d->args_each;
    for (int i = 0; i < launch->args; i++)
        arg[i] = cpu_address(d, &launch->arg[i], thread, range->first_image);
    d->level->kernel[launch->kernel](arg, range);
}

/* A step of a program, as every thread of the team takes part in it. */
typedef struct Step {
    const Device *device;
    const NincProgram *program;
    int images, threads;
    int befores;        /* of the program's, that are to run */
    bool chunks, after; /* the halves of it that are to run */
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
            cpu_run_slice(d, &launch[i], &range, part->thread);
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

/* Half a step is the images' part, with what is before them, or what comes after. */
static void take_part(void *data, int thread, Patience *patience)
{
    const Step *step = data;
    const NincProgram *p = step->program;
    Part part = {step, thread, patience};
    int chunks = p->chunkeds > 0 && step->chunks ? (step->images + p->chunk - 1) / p->chunk : 0;
    int64_t at = run_list(&part, p->before, step->befores, (NincRange){0}, 0);
    for (int c = 0; c < chunks; c++)
        at = run_list(&part, p->chunked, p->chunkeds, chunk_range(p, c, step->images), at);
    run_list(&part, p->after, step->after ? p->afters : 0, (NincRange){0}, at);
}

/* On the first images of the batch, by the team or one thread alone. */
static void run_team(Device *d, Step *step)
{
    shares_reset(d->shares, cpu_launches(step->program), step->threads);
    if (step->threads == 1)
        team_run_alone(d->team, take_part, step);
    else
        team_run(d->team, take_part, step);
}

/* Those of the program's that have to be run. */
static int befores_of(const Device *d, const NincProgram *p)
{
    return d->kept == p ? 0 : p->befores;
}

static Pace *pace_of(Device *d, const NincProgram *p)
{
    return p == &d->target->train ? &d->train_pace : &d->eval_pace;
}

/* ---- ports ---- */

/* The host's address of an input or output that may be absent. */
static void *port_address(const Device *d, const NincPort *port)
{
    return port ? cpu_address(d, &port->at, 0, 0) : NULL;
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
    int32_t *label = input_address(d, p, "label"), *index = input_address(d, p, "index");
    for (int i = 0; i < p->batch; i++) {
        bool real = i < input->valid;
        if (image && real)
            memcpy(image + (size_t)i * bytes, data->image + (size_t)input->index[i] * bytes, bytes);
        else if (image)
            memset(image + (size_t)i * bytes, 0, bytes);
        if (label)
            label[i] = real ? data->label[input->index[i]] : 0;
        if (index)
            index[i] = real ? input->index[i] : 0;
    }
#define X(name, member)                                                                            \
    if (input_address(d, p, name))                                                                 \
        memcpy(input_address(d, p, name), &input->member, sizeof input->member);
    GRAPH_SCALARS(X)
#undef X
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
    const float *weight = input_address(d, p, "label_weight");
    double weighs = step_weight(weight != NULL, weight ? *weight : 0, valid);
    Metrics *m = &d->metrics;
    if (loss && weighs > 0)
        m->loss += (double)*loss * weighs;
    m->weight += weighs;
    if (correct)
        m->correct += *correct;
    m->all_logits_zero = (m->images == 0 || m->all_logits_zero) && logits_zero(d, p, valid);
    m->images += valid;
}

/* ---- a step in three calls ---- */

/* What is to run of the step that was begun, by as many threads as do it fastest. */
static void run_begun(Device *d, bool chunks, bool after)
{
    Begun *b = &d->begun;
    double begin = b->measured ? clock_seconds() : 0;
    Step step = {.device = d,
                 .program = b->program,
                 .images = b->images,
                 .threads = b->alone ? 1 : d->threads,
                 .befores = chunks ? befores_of(d, b->program) : 0,
                 .chunks = chunks,
                 .after = after};
    run_team(d, &step);
    if (chunks)
        d->kept = b->program->keeps_before ? b->program : NULL;
    if (b->measured)
        b->seconds += clock_seconds() - begin;
}

/* Without inputs: those of the last one stand. */
static void begin_step(Device *d, const NincProgram *p, int images)
{
    Pace *pace = pace_of(d, p);
    d->begun = (Begun){.program = p, .images = images, .alone = pace_alone(pace, images)};
    d->begun.measured = pace_measures(pace);
}

static void end_step(Device *d)
{
    Begun *b = &d->begun;
    run_begun(d, !b->chunks, true);
    if (b->measured)
        pace_took(pace_of(d, b->program), b->seconds);
    b->program = NULL;
}

/* Puts the work off: with what comes after it takes one meeting of the team, not two. */
int cpu_run_chunks(Device *d, const NincProgram *program, const StepInput *input)
{
    if (input->valid < 1 || input->valid > program->batch)
        internal_error("%d valid images in a batch of %d", input->valid, program->batch);
    write_inputs(d, program, input);
    begin_step(d, program, input->logits_only ? input->valid : program->batch);
    d->begun.valid = input->valid;
    d->begun.logits_only = input->logits_only;
    return 0;
}

static void check_begun(const Device *d, const NincProgram *program)
{
    if (d->begun.program != program)
        internal_error("no step of program %s was begun", program->name);
}

int cpu_reduce(Device *d, const NincProgram *program, const Exchange *exchange)
{
    check_begun(d, program);
    if (!exchange)
        return 0;
    run_begun(d, true, false);
    d->begun.chunks = true;
    return exchange->sums(exchange->who);
}

int cpu_run_after(Device *d, const NincProgram *program)
{
    check_begun(d, program);
    end_step(d);
    if (!d->begun.logits_only)
        add_metrics(d, program, d->begun.valid);
    return 0;
}

/* ---- timing ---- */

/* One launch stands for all of a step: every slice, every chunk. */
static void run_whole(Device *d, const NincProgram *program, const NincLaunch *launch)
{
    NincProgram one = *program;
    bool chunked = launch >= program->chunked && launch < program->chunked + program->chunkeds;
    one.befores = one.afters = one.chunkeds = 0;
    if (chunked) {
        one.chunked = launch;
        one.chunkeds = 1;
    } else {
        one.after = launch;
        one.afters = 1;
    }
    Step step = {.device = d,
                 .program = &one,
                 .images = one.batch,
                 .threads = pace_settled(pace_of(d, program)) ? 1 : d->threads,
                 .chunks = true,
                 .after = true};
    run_team(d, &step);
    d->kept = NULL;
}

int cpu_time(Device *d, const NincProgram *program, const NincLaunch *launch, int repeats,
             double *seconds)
{
    double begin = clock_seconds();
    for (int i = 0; i < repeats; i++) {
        if (launch) {
            run_whole(d, program, launch);
            continue;
        }
        begin_step(d, program, program->batch);
        end_step(d);
    }
    *seconds = clock_seconds() - begin;
    return 0;
}
