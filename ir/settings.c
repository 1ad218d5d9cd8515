/* The tables of optimizers' settings, asked. */
#include "settings.h"
#include "numbers.h"

static const Setting settings[] = {
#define X(optimizer, setting, range, standard, required, key, example)                             \
    {OPTIMIZER_##optimizer, #setting, key, example, RANGE_##range, standard, required,             \
     offsetof(Optimizer, setting)},
    IR_OPTIMIZER_SETTINGS(X)
#undef X
};

enum { SETTINGS = sizeof settings / sizeof *settings };

const Setting *optimizer_setting(OptimizerKind kind, int i)
{
    for (int k = 0; k < SETTINGS; k++)
        if (settings[k].of == kind && i-- == 0)
            return &settings[k];
    return NULL;
}

double *setting_value(Optimizer *o, const Setting *s)
{
    return (double *)((char *)o + s->at);
}

double setting_of(const Optimizer *o, const Setting *s)
{
    return *(const double *)((const char *)o + s->at);
}

bool setting_fits(const Setting *s, double value)
{
    switch (s->range) {
    case RANGE_RATE: return fits_float(value) && value >= 0;
    case RANGE_NUMBER: return fits_float(value);
    case RANGE_FRACTION: return fits_fraction(value);
    case RANGE_POSITIVE: return fits_positive(value);
    case RANGE_FLAG: return value == 0 || value == 1;
    }
    return false;
}

Optimizer optimizer_standard(OptimizerKind kind)
{
    Optimizer o = {.kind = kind};
    const Setting *s;
    for (int i = 0; (s = optimizer_setting(kind, i)) != NULL; i++)
        *setting_value(&o, s) = s->standard;
    return o;
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
