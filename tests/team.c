/* What runtime/cpu.c needs of OpenMP, for ThreadSanitizer: libgomp is not instrumented, so its
 * barriers would look like races; here the team is made of POSIX threads, that ThreadSanitizer
 * knows. */
#include "../ir/ir.h"

#include <pthread.h>
#include <unistd.h>

enum { MAX_TEAM = 16 };

typedef struct Member {
    void (*work)(void *data);
    void *data;
    int number;
} Member;

static _Thread_local int number;

void GOMP_parallel(void (*work)(void *data), void *data, unsigned threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_procs(void);

int omp_get_thread_num(void)
{
    return number;
}

int omp_get_num_procs(void)
{
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

static void *join_team(void *at)
{
    const Member *member = at;
    number = member->number;
    member->work(member->data);
    return NULL;
}

void GOMP_parallel(void (*work)(void *data), void *data, unsigned threads, unsigned flags)
{
    pthread_t thread[MAX_TEAM];
    Member team[MAX_TEAM];
    (void)flags;
    for (unsigned i = 1; i < threads; i++) {
        team[i] = (Member){work, data, (int)i};
        if (pthread_create(&thread[i], NULL, join_team, &team[i]) != 0)
            internal_error("no thread %u", i);
    }
    work(data);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(thread[i], NULL);
}
