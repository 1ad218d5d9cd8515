/* Counters of slices taken and done. A thread's counters of all launches lie together and apart
 * from those of others: while it works on its share, their lines of cache stay with its core. */
#include "../../ir/numbers.h"
#include "device.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64 };

/* How many slices of a thread's share are taken: from the front in the lower half, from the end in
 * the upper one. */
typedef atomic_uint_least64_t Taken;

enum { UPPER = 32 };

struct Shares {
    int threads;
    int64_t each; /* counters a thread: whole lines */
    Word *done;   /* slices of a launch */
    Taken *taken; /* thread by thread, one a launch */
};

Shares *shares_new(int threads, int64_t launches)
{
    Shares *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->threads = threads;
    s->each = round_up(launches * (int64_t)sizeof(Taken), LINE) / (int64_t)sizeof(Taken);
    s->done = aligned_alloc(LINE, (size_t)round_up(launches * (int64_t)sizeof *s->done, LINE));
    s->taken = aligned_alloc(LINE, (size_t)(threads * s->each) * sizeof *s->taken);
    if (!s->done || !s->taken) {
        shares_free(s);
        return NULL;
    }
    return s;
}

void shares_free(Shares *s)
{
    if (!s)
        return;
    free(s->done);
    free(s->taken);
    free(s);
}

void shares_reset(Shares *s, int64_t launches, int threads)
{
    s->threads = threads;
    memset(s->done, 0, (size_t)launches * sizeof *s->done);
    for (int t = 0; t < threads; t++)
        memset(s->taken + t * s->each, 0, (size_t)launches * sizeof *s->taken);
}

/* A slice of owner's share, from its front or its end; -1: all are taken. */
static int take_from(Shares *s, int64_t launch, int owner, int slices, bool front)
{
    int begin = (int)((int64_t)slices * owner / s->threads);
    int end = (int)((int64_t)slices * (owner + 1) / s->threads);
    if (begin == end)
        return -1;
    Taken *taken = &s->taken[owner * s->each + launch];
    uint64_t was = atomic_load_explicit(taken, memory_order_relaxed);
    for (;;) {
        int first = (int)(uint32_t)was, last = (int)(was >> UPPER);
        if (begin + first >= end - last)
            return -1;
        if (atomic_compare_exchange_weak_explicit(taken, &was, was + (front ? 1 : 1ull << UPPER),
                                                  memory_order_relaxed, memory_order_relaxed))
            return front ? begin + first : end - last - 1;
    }
}

int shares_take(Shares *s, int64_t launch, int thread, int slices)
{
    int slice = take_from(s, launch, thread, slices, true);
    for (int other = 1; slice < 0 && other < s->threads; other++)
        slice = take_from(s, launch, (thread + other) % s->threads, slices, false);
    return slice;
}

void shares_done(Shares *s, int64_t launch, int count, int slices)
{
    unsigned was =
        atomic_fetch_add_explicit(&s->done[launch], (unsigned)count, memory_order_acq_rel);
    if ((was & WORD_SLEEPS) && (was & ~WORD_SLEEPS) + (unsigned)count == (unsigned)slices)
        word_wake(&s->done[launch]);
}

static bool all_done(unsigned done, unsigned slices)
{
    return done >= slices;
}

void shares_wait(Shares *s, int64_t launch, int slices, Patience *patience)
{
    word_wait(&s->done[launch], all_done, (unsigned)slices, patience);
}
