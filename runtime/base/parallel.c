/* Work that falls into parts, by threads that last as long as it does. */
#include "../../ir/ir.h"
#include "base.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

typedef struct Parallel {
    void (*part)(void *who, int i);
    void *who;
    int parts;
    atomic_int next;
} Parallel;

static void *take_parts(void *at)
{
    Parallel *p = at;
    for (int i; (i = atomic_fetch_add(&p->next, 1)) < p->parts;)
        p->part(p->who, i);
    return NULL;
}

/* Signals are for the program's own threads. Where no thread can be had, the others do all. */
void parallel_run(int threads, int parts, void (*part)(void *who, int i), void *who)
{
    Parallel p = {.part = part, .who = who, .parts = parts};
    int wanted = (threads > 0 ? threads : thread_limit("").threads) - 1, started = 0;
    wanted = wanted > parts - 1 ? parts - 1 : wanted;
    pthread_t *thread = xmalloc((size_t)(wanted > 0 ? wanted : 1) * sizeof *thread);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < wanted && pthread_create(&thread[started], NULL, take_parts, &p) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    take_parts(&p);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    free(thread);
}
