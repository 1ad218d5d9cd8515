/* How many threads a process should use, and how a thread is bound. */
#ifndef NINC_THREADS_H
#define NINC_THREADS_H

#include <stdbool.h>

enum { MAX_THREADS = 1024 };

typedef struct ThreadLimit {
    int threads;     /* 1..MAX_THREADS */
    double quota;    /* CPUs of time in a second that the cgroups allow; 0: no limit */
    char reason[64]; /* what makes them fewer than the machine's processors; "": nothing does */
} ThreadLimit;

/* The least of: the affinity mask, the quotas of the cgroups (versions 1 and 2) that the process is
 * in, rounded up, OMP_NUM_THREADS and OMP_THREAD_LIMIT. `root` is "", or in tests a directory that
 * holds proc/ and what the mounts named there hold. */
ThreadLimit thread_limit(const char *root);

/* Before OpenMP's library starts: keeps the affinity mask, as OMP_PROC_BIND then binds the first
 * thread to one of its processors, and others would inherit that. */
void threads_keep_mask(void);
/* Binds the calling thread, number `thread` of a team, to a processor of its own where the first
 * thread was bound to one by OMP_PROC_BIND. */
void thread_bind(int thread);

#endif
