/* The tables of optimizers' settings, asked. */
#include "settings.h"
#include "numbers.h"

#include <math.h>

static const Setting optimizers[] = {
#define X(optimizer, setting, range, standard, required, key, example)                             \
    {OPTIMIZER_##optimizer, #setting, key, example, RANGE_##range, standard, required,             \
     offsetof(Optimizer, setting)},
    IR_OPTIMIZER_SETTINGS(X)
#undef X
};

static const Setting schedules[] = {
#define X(schedule, setting, range, standard, required, key, example)                              \
    {RATE_##schedule, #setting, key, example, RANGE_##range, standard, required,                   \
     offsetof(RateSchedule, setting)},
    IR_SCHEDULE_SETTINGS(X)
#undef X
};

static const Setting *find(const Setting *list, int count, int kind, int i)
{
    for (int k = 0; k < count; k++)
        if (list[k].of == kind && i-- == 0)
            return &list[k];
    return NULL;
}

const Setting *optimizer_setting(int kind, int i)
{
    return find(optimizers, sizeof optimizers / sizeof *optimizers, kind, i);
}

const Setting *schedule_setting(int kind, int i)
{
    return find(schedules, sizeof schedules / sizeof *schedules, kind, i);
}

double *setting_value(void *of, const Setting *s)
{
    return (double *)((char *)of + s->at);
}

double setting_of(const void *of, const Setting *s)
{
    return *(const double *)((const char *)of + s->at);
}

bool setting_is_whole(const Setting *s)
{
    return s->range == RANGE_WHOLE || s->range == RANGE_COUNT || s->range == RANGE_COUNT_OR_ALL;
}

static bool is_count(double value)
{
    return value >= 0 && value <= LARGEST_COUNT && value == floor(value);
}

bool setting_fits(const Setting *s, double value)
{
    switch (s->range) {
    case RANGE_RATE: return fits_float(value) && value >= 0;
    case RANGE_NUMBER: return fits_float(value);
    case RANGE_FRACTION: return fits_fraction(value);
    case RANGE_POSITIVE: return fits_positive(value);
    case RANGE_FLAG: return value == 0 || value == 1;
    case RANGE_PART: return fits_float(value) && value >= 0 && value <= 1;
    case RANGE_SHARE: return fits_positive(value) && value <= 1;
    case RANGE_COUNT: return is_count(value) && value > 0;
    case RANGE_WHOLE:
    case RANGE_COUNT_OR_ALL: return is_count(value);
    }
    return false;
}

static void set_standard(SettingsOf *settings, int kind, void *of)
{
    const Setting *s;
    for (int i = 0; (s = settings(kind, i)) != NULL; i++)
        *setting_value(of, s) = s->standard;
}

Optimizer optimizer_standard(OptimizerKind kind)
{
    Optimizer o = {.kind = kind};
    set_standard(optimizer_setting, (int)kind, &o);
    return o;
}

RateSchedule schedule_standard(RateKind kind)
{
    RateSchedule r = {.kind = kind};
    set_standard(schedule_setting, (int)kind, &r);
    return r;
}

const char *moment_name(int i)
{
    static const char *const names[] = {
#define X(name) name,
        IR_MOMENTS(X)
#undef X
    };
    return i < (int)(sizeof names / sizeof *names) ? names[i] : NULL;
}
