/* What the plan says of a GPU's work: its launches in order, and the device memory that programs
 * and data sets take, at this batch and at smaller ones. */
#include "gpu_device.h"

/* ---- launches ---- */

int launches_of(const NincProgram *p)
{
    return p->befores + p->chunkeds + p->afters;
}

const NincLaunch *launch_at(const NincProgram *p, int i)
{
    if (i < p->befores)
        return &p->before[i];
    i -= p->befores;
    return i < p->chunkeds ? &p->chunked[i] : &p->after[i - p->chunkeds];
}

/* ---- memory ---- */

NincMemory memory_of(const NincTarget *t)
{
    const NincProgram *train = &t->train, *eval = &t->eval;
    return (NincMemory){
        .batch = (int)larger(train->batch, eval->batch),
        .state = t->state_bytes,
        .shared = larger(train->shared_bytes, eval->shared_bytes),
        .chunk = larger(train->chunk_bytes, eval->chunk_bytes),
        .eval_shared = eval->shared_bytes,
        .eval_chunk = eval->chunk_bytes,
    };
}

Parts parts_of(const NincMemory *m, bool with_train)
{
    Parts p = {
        .state = m->state,
        .shared = with_train ? m->shared : m->eval_shared,
        .scratch = with_train ? m->chunk : m->eval_chunk,
        .index = m->batch * (int64_t)sizeof(int32_t),
        .sums = sizeof(Sums),
    };
    int64_t *const part[] = {&p.state, &p.shared, &p.scratch, &p.index, &p.sums};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        *part[i] = round_up(*part[i], ALIGNMENT);
    return p;
}

int64_t arena_of(const NincMemory *m, bool with_train)
{
    Parts p = parts_of(m, with_train);
    return p.state + p.shared + p.scratch + p.index + p.sums;
}

int64_t gpu_arena_bytes(const NincTarget *target, bool with_train)
{
    NincMemory memory = memory_of(target);
    return arena_of(&memory, with_train);
}

int64_t image_bytes(const NincModel *m, int images)
{
    return (int64_t)images * m->image_h * m->image_w * m->image_c;
}

int64_t dataset_bytes(const NincModel *model, int images)
{
    return round_up(image_bytes(model, images), ALIGNMENT) + images * (int64_t)sizeof(int32_t);
}

static int64_t stage_of(const Device *d, int batch)
{
    return round_up(dataset_bytes(d->model, batch), ALIGNMENT);
}

int64_t stage_bytes(const Device *d)
{
    return stage_of(d, memory_of(d->target).batch);
}

const char *batch_advice(const Device *d, bool images, char *out, size_t size)
{
    const NincTarget *t = d->target;
    int64_t room = d->limits.free_bytes - d->data_bytes;
    int i = 0;
    while (i < t->smallers && arena_of(&t->smaller[i], d->with_train) +
                                      (images ? stage_of(d, t->smaller[i].batch) : 0) >
                                  room)
        i++;
    if (i < t->smallers)
        snprintf(out, size, "compile it with --batch=%d", t->smaller[i].batch);
    else if (i > 0 || memory_of(t).batch == 1)
        snprintf(out, size, "no smaller batch fits: use another GPU or --device cpu");
    else
        snprintf(out, size, "compile it for a smaller batch, or use another GPU or --device cpu");
    return out;
}
