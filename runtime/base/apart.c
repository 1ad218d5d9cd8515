/* Work that may take its process along: a kernel that faults on a GPU leaves a context that no call
 * works in any more, one that crashes on the CPU ends the program. */
#include "base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child ends with its parent, however that ends. */
static pid_t start(int (*work)(void *, ApartState *), void *context, ApartState *state)
{
    pid_t parent = getpid();
    fflush(stdout);
    pid_t child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    exit(getppid() == parent ? work(context, state) : EXIT_FAILURE);
}

/* Somebody wants all of it to end, not the item alone. */
static bool was_told_to_end(int status)
{
    if (!WIFSIGNALED(status))
        return false;
    int n = WTERMSIG(status);
    return n == SIGINT || n == SIGTERM || n == SIGHUP || n == SIGQUIT || n == SIGXCPU;
}

static void report_lost(ApartState *state, int status)
{
    printf("FAULT %s", state->doing);
    if (WIFSIGNALED(status))
        printf("\n      ended by signal %d, %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
    printf("\n");
    fflush(stdout);
    state->checked++;
    state->failed++;
}

/* What is known of a child that ended, whose item before was `before`: the exit status of all of
 * the work, or -1: another child is to go on. */
static int judge(ApartState *state, int before, int status)
{
    if (was_told_to_end(status))
        return 128 + WTERMSIG(status);
    if (WIFEXITED(status) && WEXITSTATUS(status) != APART_LOST)
        return WEXITSTATUS(status);
    if (state->item != before) {
        report_lost(state, status);
        return -1;
    }
    if (WIFSIGNALED(status)) /* else there was a message */
        fault("ended by signal %d, %s, before the first kernel", WTERMSIG(status),
              strsignal(WTERMSIG(status)));
    return EXIT_FAILURE;
}

static int run_children(int (*work)(void *, ApartState *), void *context, ApartState *state)
{
    int result = -1;
    while (result < 0) {
        int status, before = state->item;
        pid_t child = start(work, context, state);
        if (child < 0) {
            fault("cannot start a process: %s", strerror(errno));
            return EXIT_FAILURE;
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            continue;
        result = judge(state, before, status);
    }
    return result;
}

int apart_run(int (*work)(void *context, ApartState *state), void *context)
{
    ApartState *state =
        mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (state == MAP_FAILED) {
        fault("cannot share memory with a process: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    state->item = -1;
    int status = run_children(work, context, state);
    munmap(state, sizeof *state);
    return status;
}
