/* First the team, so that steps that are worth sharing are hardly ever done by one: not at all
 * where they take long, and twice where the team is seen to be much faster. */
#include "device.h"

enum { BETWEEN_TRIALS = 5000, SEEN = 2 };

/* Seconds of a team's step that no team is too large for; how much longer one thread takes where
 * there is no doubt. */
static const double LONG_STEP = 0.004, CLEARLY = 1.25;

Pace pace_new(int threads, double quota)
{
    return (Pace){.one_only = threads == 1 || (quota > 0 && quota <= 1),
                  .team_cost = quota > 0 && quota < threads ? threads / quota : 1};
}

static double middle(const double *value, int count)
{
    double sorted[PACE_STEPS];
    for (int i = 0; i < count; i++) {
        int at = i;
        for (; at > 0 && sorted[at - 1] > value[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = value[i];
    }
    return sorted[(count - 1) / 2];
}

bool pace_alone(Pace *p, int images)
{
    if (p->one_only)
        return true;
    if (p->images != images)
        *p = (Pace){.team_cost = p->team_cost, .images = images};
    if (p->waiting > 0 && --p->waiting == 0)
        p->teams = p->alones = 0;
    return p->waiting > 0 ? p->by_one : p->teams == PACE_STEPS;
}

bool pace_measures(const Pace *p)
{
    return !p->one_only && p->waiting == 0;
}

bool pace_settled(const Pace *p)
{
    return p->one_only || p->by_one;
}

void pace_took(Pace *p, double seconds)
{
    bool over = false;
    if (p->teams < PACE_STEPS) {
        p->team[p->teams++] = seconds;
        p->by_one = false;
        over = p->teams == PACE_STEPS && middle(p->team, p->teams) > LONG_STEP;
    } else {
        p->alone[p->alones++] = seconds;
        double team = p->team_cost * middle(p->team, p->teams);
        double alone = middle(p->alone, p->alones);
        p->by_one = alone < team;
        over = p->alones == PACE_STEPS || (p->alones >= SEEN && alone > CLEARLY * team);
    }
    if (over)
        p->waiting = BETWEEN_TRIALS;
}
