/* Whether a step is done by a team or by one thread alone: of a network that is small enough, the
 * team takes longer. That is tried out, on steps that have to be done in any case. */
#ifndef NINC_PACE_H
#define NINC_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum { PACE_STEPS = 7 }; /* that are measured each way */

typedef struct Pace {
    bool one_only;     /* there is no more than one processor's time to be had */
    double team_cost;  /* of a team's second, one thread's being 1 */
    int images;        /* of the steps that are measured */
    int teams, alones; /* that were measured in this trial */
    double team[PACE_STEPS], alone[PACE_STEPS];
    bool by_one;     /* what the trial came to */
    int64_t waiting; /* steps until the next trial; 0: it goes on */
} Pace;

/* `quota`: CPUs of time in a second that all threads may take; 0: no limit. */
Pace pace_new(int threads, double quota);
/* Whether the next step, on so many images, is for one thread alone. */
bool pace_alone(Pace *p, int images);
/* Whether it is to be measured. */
bool pace_measures(const Pace *p);
/* What it took. */
void pace_took(Pace *p, double seconds);
/* Whether steps like the last ones are for one thread alone, as far as is known. */
bool pace_settled(const Pace *p);

#endif
