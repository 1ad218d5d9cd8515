/* In which order a graph's kernels can run: each behind those that make what it reads and, where it
 * updates storage, behind all others that read that. */
#ifndef NINC_PASSES_READY_H
#define NINC_PASSES_READY_H

#include "passes.h"

/* A kernel that can run, and what it costs to run it next. */
typedef struct Candidate {
    int64_t cost;
    int kernel;
} Candidate;

/* Kernels by their index in the graph, whose kernels must not change meanwhile. */
typedef struct Ready {
    const Graph *graph;
    Pool *pool;
    int *waits;  /* by kernel: how many edges lead to it from kernels that are not done */
    int *begin;  /* by kernel: the first of its edges in `next` */
    int *next;   /* kernels that wait for it */
    int *maker;  /* by node id: its kernel; -1 for inputs */
    bool *done;
    Candidate *heap; /* the one of the least cost first, then of the lowest index */
    int count, capacity;
} Ready;

/* Nothing is in the heap yet. */
Ready ready_new(Pool *pool, const Graph *g);
/* Whether a kernel of that phase is not done and waits for nothing. */
bool ready_can_run(const Ready *r, int kernel, Phase phase);
/* Puts such a kernel into the heap, or once more with a lower cost. */
void ready_push(Ready *r, int kernel, int64_t cost);
/* Takes the first kernel off the heap: it is done now, and those that waited for it (`next`) may
 * be able to run. -1: the heap is empty. */
int ready_take(Ready *r);

#endif
