/* POSIX threads instead of OpenMP's: those do not survive a fork, not even to be made again; all of
 * them have to come to the end of a parallel region, which takes a slice of the scheduler's time
 * for each one that has lost its processor; and they spin for milliseconds in between.
 *
 * The gate is one word: how many are inside, whether it is open, and the number of the opening. A
 * member goes in once an opening. Numbers come again, so that one that stayed away for so many may
 * miss the next one, which only costs its help; the last one has a number of its own. */
#include "../../ir/numbers.h"
#include "device.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINE = 64, INSIDE = (1 << 12) - 1, OPEN = 1 << 12, OPENING = 1 << 13, LAST = 0 };

typedef struct Member {
    _Alignas(LINE) Team *team;
    int number;
    Patience patience;
    pthread_t thread;
} Member;

struct Team {
    _Alignas(LINE) Word gate;
    _Alignas(LINE) Word empty; /* 1: those left inside when it was closed are out */
    _Alignas(LINE) TeamWork *work;
    void *data;
    bool ending;
    pid_t process;
    int members; /* the caller is the first */
    Member member[];
};

static unsigned opening_of(unsigned gate)
{
    return (gate & ~WORD_SLEEPS) / OPENING;
}

static bool opened_anew(unsigned gate, unsigned before)
{
    return (gate & OPEN) && opening_of(gate) != before;
}

static bool is(unsigned value, unsigned wanted)
{
    return value == wanted;
}

/* False: it was closed meanwhile. */
static bool go_in(Team *t, unsigned gate)
{
    unsigned opening = opening_of(gate), value = gate;
    while (!atomic_compare_exchange_weak_explicit(&t->gate, &value, value + 1, memory_order_acquire,
                                                  memory_order_relaxed))
        if (!(value & OPEN) || opening_of(value) != opening)
            return false;
    return true;
}

static void go_out(Team *t)
{
    unsigned was = atomic_fetch_sub(&t->gate, 1);
    if ((was & OPEN) || (was & INSIDE) > 1)
        return;
    if (atomic_exchange(&t->empty, 1) & WORD_SLEEPS)
        word_wake(&t->empty);
}

static void *live(void *at)
{
    Member *m = at;
    Team *t = m->team;
    unsigned opening = ~0u; /* none */
    thread_bind(m->number);
    for (;;) {
        unsigned gate = word_wait(&t->gate, opened_anew, opening, &m->patience);
        opening = opening_of(gate);
        if (!go_in(t, gate))
            continue;
        bool ending = t->ending;
        if (!ending)
            t->work(t->data, m->number, &m->patience);
        go_out(t);
        if (ending)
            return NULL;
    }
}

static unsigned next_opening(Team *t)
{
    unsigned gate = atomic_load_explicit(&t->gate, memory_order_relaxed);
    unsigned next = opening_of((opening_of(gate) + 1) * OPENING);
    return next == LAST ? LAST + 1 : next;
}

static void open_gate(Team *t, unsigned opening)
{
    unsigned gate = opening * OPENING | OPEN;
    atomic_store_explicit(&t->empty, 0, memory_order_relaxed);
    if (atomic_exchange(&t->gate, gate) & WORD_SLEEPS)
        word_wake(&t->gate);
}

static void close_gate(Team *t)
{
    unsigned was = atomic_fetch_and(&t->gate, ~(unsigned)OPEN);
    if (was & INSIDE)
        word_wait(&t->empty, is, 1, &t->member[0].patience);
}

/* Signals are for the program's own threads. */
static int start_members(Team *t, int threads)
{
    sigset_t all, before;
    int error = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (t->members = 1; t->members < threads; t->members++) {
        Member *m = &t->member[t->members];
        if ((error = pthread_create(&m->thread, NULL, live, m)) != 0)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

Team *team_new(int threads, bool thrifty)
{
    size_t bytes = sizeof(Team) + (size_t)threads * sizeof(Member);
    Team *t = aligned_alloc(LINE, (size_t)round_up((int64_t)bytes, LINE));
    if (!t)
        return NULL;
    *t = (Team){.process = getpid()};
    for (int i = 0; i < threads; i++)
        t->member[i] = (Member){.team = t, .number = i, .patience = {.thrifty = thrifty}};
    int error = start_members(t, threads);
    if (error == 0)
        return t;
    team_free(t);
    errno = error;
    return NULL;
}

void team_free(Team *t)
{
    if (t && t->process == getpid()) {
        t->ending = true;
        open_gate(t, LAST);
        for (int i = 1; i < t->members; i++)
            pthread_join(t->member[i].thread, NULL);
    }
    free(t);
}

void team_run(Team *t, TeamWork *work, void *data)
{
    t->work = work;
    t->data = data;
    open_gate(t, next_opening(t));
    work(data, 0, &t->member[0].patience);
    close_gate(t);
}

void team_run_alone(Team *t, TeamWork *work, void *data)
{
    work(data, 0, &t->member[0].patience);
}
