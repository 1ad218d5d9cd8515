/* Whether a step is done by a team or by one thread alone: of a network that is small enough, the
 * team takes longer. That is tried out, on steps that have to be done in any case. */
#ifndef NINC_PACE_H
#define NINC_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum { PACE_STEPS = 7 }; /* that are measured each way */

typedef struct Pace {
    double team_cost, alone_cost; /* of a second of each; not 0 */
    int images;                   /* of the steps that are measured */
    int teams, alones;            /* that were measured in this trial */
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

#endif
