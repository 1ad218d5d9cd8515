/* The tables of optimizers' settings, asked; what sizes images have behind transforms. */
#include "settings.h"
#include "numbers.h"

#include <math.h>
#include <stdio.h>

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

/* ---- images ---- */

/* torchvision's Resize(N): the longer side is cut to a whole number. */
static void resize_shorter(int side, int size[3])
{
    int *h = &size[1], *w = &size[2];
    if (*h == 0 || *w == 0)
        *h = *w = 0;
    else if (*h <= *w) {
        *w = (int)((int64_t)side * *w / *h);
        *h = side;
    } else {
        *h = (int)((int64_t)side * *h / *w);
        *w = side;
    }
}

const char *transform_size(const Transform *t, int size[3], char *text, size_t bytes)
{
    int h = size[1];
    switch (t->kind) {
    case TRANSFORM_TRANSPOSE:
        size[1] = size[2];
        size[2] = h;
        return NULL;
    case TRANSFORM_GRAYSCALE:
        if (size[0] != 0 && size[0] != 1 && size[0] != 3) {
            snprintf(text, bytes, "grayscale is of 1 or 3 channels, the images have %d", size[0]);
            return text;
        }
        size[0] = 1;
        return NULL;
    case TRANSFORM_CENTER_CROP:
        if ((size[1] > 0 && t->h > size[1]) || (size[2] > 0 && t->w > size[2])) {
            snprintf(text, bytes, "center_crop of %dx%d (height, width) is larger than the images, "
                                  "which are %dx%d there; make it smaller, or put a resize before "
                                  "it", t->h, t->w, size[1], size[2]);
            return text;
        }
        size[1] = t->h;
        size[2] = t->w;
        return NULL;
    case TRANSFORM_RESIZE:
        size[1] = t->w ? t->h : size[1];
        size[2] = t->w ? t->w : size[2];
        if (!t->w)
            resize_shorter(t->h, size);
        return NULL;
    case TRANSFORM_COUNT: break;
    }
    return NULL;
}

bool data_settings_given(const DataSettings *d)
{
    return d->transforms > 0 || d->validation_split > 0 || d->label || d->label_column > 0 ||
           d->auto_mean || d->auto_std || d->zca_eps > 0;
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
