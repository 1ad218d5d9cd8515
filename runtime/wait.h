/* Waiting for another thread's word: spinning where nobody else wants the processor, asleep where
 * somebody does. The top bit of the word says that threads sleep on it; who changes the word so
 * that they may go on clears or sees it, and wakes them. */
#ifndef NINC_WAIT_H
#define NINC_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>

typedef atomic_uint Word;

#define WORD_SLEEPS (1u << 31)

/* What a thread has learnt of its processor. All zero to begin with. */
typedef struct Patience {
    bool thrifty;    /* time spent spinning is taken from the others (a quota): never for long */
    bool crowded;    /* others want its processor */
    long long tried; /* when that was looked at last, nanoseconds */
    int calm;        /* such trials, one behind the other, that met nobody */
} Patience;

typedef bool WordReady(unsigned value, unsigned wanted);

/* Until the word, its top bit taken off, is ready; returns it. What was written before it was
 * changed is seen. */
unsigned word_wait(Word *word, WordReady *ready, unsigned wanted, Patience *patience);
/* All that sleep on the word. */
void word_wake(Word *word);

#endif
