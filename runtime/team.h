/* Threads that work together, beside the one that calls them. They belong to the process that made
 * them: in a child of fork() there are none of them. */
#ifndef NINC_TEAM_H
#define NINC_TEAM_H

#include "wait.h"

typedef struct Team Team;

/* What a member does; number 0 is the caller of team_run. */
typedef void TeamWork(void *data, int number, Patience *patience);

/* The caller and `threads` - 1 more, at most 1024 in all; thrifty: under a quota of processor time
 * (wait.h). NULL, errno set: they cannot be had. */
Team *team_new(int threads, bool thrifty);
/* Also in a child of fork(). */
void team_free(Team *team);
/* Every member that comes while the caller is at work does the work as well; one that comes late
 * stays away, so nobody waits for it: what there is to do must be shared out as shares.h does.
 * Returns when nobody is at work any more. */
void team_run(Team *team, TeamWork *work, void *data);
/* The work by the caller alone. */
void team_run_alone(Team *team, TeamWork *work, void *data);

#endif
