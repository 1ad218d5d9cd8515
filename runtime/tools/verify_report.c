/* What verify tells of its checks, and within what bounds. */
#include "verification.h"

#include <math.h>
#include <string.h>

static const Bounds all_bounds[] = {
    {"fp32", 1e-5, 1e-4, 1e-3}, {"tf32", 2e-3, 5e-3, 5e-2}, {"bf16", 1e-2, 2e-2, 2e-1}};

Bounds verify_bounds(const char *precision)
{
    for (size_t i = 0; i < sizeof all_bounds / sizeof *all_bounds; i++)
        if (strcmp(all_bounds[i].precision, precision) == 0)
            return all_bounds[i];
    internal_error("no error bounds for precision %s", precision);
}

Values verify_values(const Values *at, const Subject *s)
{
    Values values = *at;
    values.device = s->device;
    return values;
}

void verify_running(Verify *v, const Subject *s, bool running)
{
    char *end = v->state->doing + v->described;
    if (!s->tally)
        return;
    s->tally->running = running;
    if (running)
        snprintf(end, sizeof v->state->doing - v->described, ", %s", s->level->name);
    else
        *end = '\0';
}

static void note_worst(Tally *t, const Check *check)
{
    if (t->checked++ > 0 && (isnan(t->worst) || check->error <= t->worst))
        return;
    t->worst = check->error;
    snprintf(t->of, sizeof t->of, "%s %s, %s", check->graph, check->what, check->of);
}

void verify_report(Verify *v, const Subject *s, const Check *check)
{
    v->state->checked++;
    v->state->failed += !check->ok;
    if (s->tally) {
        note_worst(s->tally, check);
        s->tally->failed += !check->ok;
        if (check->ok)
            return;
    }
    printf("%-5s %-6s %-34s %9.2e  %s%s%s\n", check->ok ? "ok" : "WRONG", check->graph, check->what,
           check->error, check->of, s->tally ? ", " : "", s->tally ? s->level->name : "");
}
