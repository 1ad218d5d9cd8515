/* Sleeping costs the sleeper some microseconds, spinning costs those who could have run meanwhile:
 * a neighbour of the same processor, for whom the scheduler then takes the time from us elsewhere,
 * or our own threads under a quota. Whether there is such a neighbour shows in how long a thread is
 * away that yields. */
#include "base.h"

#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

enum {
    SPINS = 4096,    /* some 100 us */
    FEW_SPINS = 128, /* some us: less than to sleep and be woken */
    CALM_TRIALS = 3
};

/* Nanoseconds: away for longer than that, somebody else ran meanwhile; how long to yield before
 * sleeping; between trials. */
static const long long AWAY = 100000, YIELDING = 2000000, TRIAL_EVERY = 200000000;

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pause_once(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Until the word changes from `value`, or for no reason. */
static void sleep_on(Word *word, unsigned value)
{
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
    (void)word;
    (void)value;
    sched_yield();
#endif
}

void word_wake(Word *word)
{
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
    (void)word;
#endif
}

static unsigned value_of(Word *word)
{
    return atomic_load_explicit(word, memory_order_acquire) & ~WORD_SLEEPS;
}

/* Whether somebody else had the processor. */
static bool yield_meets(Patience *p)
{
    long long begin = now();
    sched_yield();
    p->tried = now();
    return p->tried - begin > AWAY;
}

/* Now and then, where the processor was crowded. */
static void try_again(Patience *p)
{
    if (now() - p->tried < TRIAL_EVERY)
        return;
    p->calm = yield_meets(p) ? 0 : p->calm + 1;
    p->crowded = p->calm < CALM_TRIALS;
}

static unsigned spin(Word *word, WordReady *ready, unsigned wanted, int spins)
{
    unsigned value = value_of(word);
    for (; !ready(value, wanted) && spins > 0; spins--) {
        pause_once();
        value = value_of(word);
    }
    return value;
}

/* Until the word is ready, or somebody wants the processor, or for too long. */
static unsigned yield(Word *word, WordReady *ready, unsigned wanted, Patience *p)
{
    long long end = now() + YIELDING;
    unsigned value;
    do {
        p->crowded = yield_meets(p);
        p->calm = 0;
        value = value_of(word);
    } while (!ready(value, wanted) && !p->crowded && p->tried < end);
    return value;
}

static unsigned sleep_until(Word *word, WordReady *ready, unsigned wanted)
{
    for (;;) {
        unsigned seen = atomic_fetch_or(word, WORD_SLEEPS) | WORD_SLEEPS;
        if (ready(seen & ~WORD_SLEEPS, wanted))
            return seen & ~WORD_SLEEPS;
        sleep_on(word, seen);
        unsigned value = value_of(word);
        if (ready(value, wanted))
            return value;
    }
}

unsigned word_wait(Word *word, WordReady *ready, unsigned wanted, Patience *p)
{
    unsigned value = spin(word, ready, wanted, p->crowded || p->thrifty ? FEW_SPINS : SPINS);
    if (!ready(value, wanted) && p->crowded)
        try_again(p);
    if (!ready(value, wanted) && !p->crowded && !p->thrifty)
        value = yield(word, ready, wanted, p);
    return ready(value, wanted) ? value : sleep_until(word, ready, wanted);
}
