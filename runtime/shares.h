/* Which thread of a team does which slices of a step's launches.
 *
 * Where slices are parts of the images, slice s of S lies at about part s/S of them, in one launch
 * as in the next. So each thread has a share of neighbours, thread t of T those from S*t/T on: what
 * one launch leaves in a core's cache, the next one finds there. A thread that is through with its
 * share takes slices from the ends of others'.
 *
 * Takes 8 bytes a thread and launch. */
#ifndef NINC_SHARES_H
#define NINC_SHARES_H

#include "wait.h"

#include <stdint.h>

typedef struct Shares Shares;

/* For at most `threads` of a team and steps of at most `launches`; NULL: no memory. */
Shares *shares_new(int threads, int64_t launches);
void shares_free(Shares *s);

/* Before a step of `launches` that `threads` share, by one thread. */
void shares_reset(Shares *s, int64_t launches, int threads);

/* What `thread` has to do next of launch number `launch` of the step, which has `slices`: a slice
 * that nobody else is given, or -1. */
int shares_take(Shares *s, int64_t launch, int thread, int slices);

/* Says that the thread has done so many slices, at least 1, of the launch's `slices`: what it wrote
 * is seen by those who waited for it. */
void shares_done(Shares *s, int64_t launch, int count, int slices);

/* Until all slices of the launch are done. */
void shares_wait(Shares *s, int64_t launch, int slices, Patience *patience);

#endif
