/* Signals that ask for an end. */
#include "base.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

volatile sig_atomic_t stop_signal;

/* Batch systems send SIGXCPU, SIGUSR1 or SIGUSR2 before they kill. */
static const struct {
    int number;
    const char *name;
    bool again; /* a second one is no wish to end at once: a terminal that is closed sends SIGHUP
                   as often as it likes, the limit of CPU time SIGXCPU each second */
} signals[] = {{SIGHUP, "SIGHUP", true},   {SIGINT, "SIGINT", false},  {SIGTERM, "SIGTERM", false},
               {SIGXCPU, "SIGXCPU", true}, {SIGUSR1, "SIGUSR1", true}, {SIGUSR2, "SIGUSR2", true}};

enum { SIGNALS = sizeof signals / sizeof *signals };

/* What is sent to a process and its group, as timeout(1) does, comes twice at once. */
enum { TWICE_MS = 500 };

static volatile sig_atomic_t finishes; /* the step is finished and saved */
static struct timespec first;

static int index_of(int number)
{
    int i = 0;
    while (i < SIGNALS - 1 && signals[i].number != number)
        i++;
    return i;
}

static bool means_at_once(int number)
{
    struct timespec now;
    if (!finishes)
        return true;
    if (!stop_signal || signals[index_of(number)].again)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - first.tv_sec) * 1000 + (now.tv_nsec - first.tv_nsec) / 1000000 > TWICE_MS;
}

static void on_signal(int number)
{
    int error = errno;
    if (means_at_once(number)) {
        locks_remove();
        signal(number, SIG_DFL);
        raise(number);
    } else if (!stop_signal) {
        clock_gettime(CLOCK_MONOTONIC, &first);
        stop_signal = number;
    }
    errno = error;
}

/* Writing goes on after a signal. One that was shut out stays out: SIGHUP by nohup(1), SIGINT by a
 * shell that starts a program in the background, so that Ctrl-C ends what is before it. */
void stop_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++)
        if (sigaction(signals[i].number, NULL, &old) != 0 || old.sa_handler != SIG_IGN)
            sigaction(signals[i].number, &action, NULL);
}

void stop_finishes(void)
{
    finishes = 1;
}

const char *stop_name(void)
{
    return signals[index_of(stop_signal)].name;
}
