/* The values of the trainer's flags. */
#include "../../ir/numbers.h"
#include "flags.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Says what is needed and, where the flag's help tells, what holds without it. */
static bool wrong_value(const Flag *f, const char *value, const char *wanted)
{
    static const char by_default[] = " by default";
    char text[80];
    const char *rest = strchr(f->help, ';'), *end = rest ? strstr(rest, by_default) : NULL;
    printable(value, text, sizeof text);
    if (end && end[sizeof by_default - 1] == '\0')
        fault("--%s %s: %s is needed; without the flag it is %.*s", f->name, text, wanted,
              (int)(end - rest) - 2, rest + 2);
    else
        fault("--%s %s: %s is needed", f->name, text, wanted);
    return false;
}

static bool read_integer(const Flag *f, const char *value, int64_t *out)
{
    char *end, wanted[80];
    errno = 0;
    long long n = strtoll(value, &end, 10);
    snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)f->lowest,
             (long long)f->highest);
    if (errno || end == value || *end || n < f->lowest || n > f->highest)
        return wrong_value(f, value, wanted);
    *out = n;
    return true;
}

static bool read_seed(const Flag *f, const char *value, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (errno || end == value || *end || *value < '0' || *value > '9')
        return wrong_value(f, value, "a whole number from 0 to 2^64-1");
    *out = n;
    return true;
}

static bool read_rate(const Flag *f, const char *value, double *out)
{
    char *end;
    double x = strtod(value, &end);
    if (end == value || *end || !fits_float(x) || x < 0)
        return wrong_value(f, value, "0, or a number that a float can be: 1.2e-38 to 3.4e38");
    *out = x;
    return true;
}

static bool read_split(const Flag *f, const char *value, Split *out)
{
    for (int i = 0; i < SPLIT_COUNT; i++)
        if (strcmp(value, split_names[i]) == 0) {
            *out = (Split)i;
            return true;
        }
    bool near = strncmp(value, "val", 3) == 0;
    return wrong_value(f, value, near ? "test, validation or train (did you mean validation?)"
                                      : "test, validation or train");
}

/* Standard output holds what the trainer says: a file there is wished for by its full name only. */
static bool refuse_dash(const Flag *f)
{
    fault("--%s -: a file is needed; write /dev/stdout for standard output, ./- for a file of that "
          "name",
          f->name);
    return false;
}

/* Of eval and predict JSON or CSV stands in for their text; profile prints its table in any case,
 * and train its lines. */
static bool takes_dash(const Options *o, const Flag *f)
{
    bool result = f->place == AT(json) || f->place == AT(train.csv);
    return f->kind != KIND_OUTPUT && (!result || (o->command & (EVAL | PREDICT)));
}

static bool read_path(const Options *o, const Flag *f, const char *value, const char **out)
{
    if (*value == '\0') {
        fault("--%s '': the value is empty, %s is needed", f->name, f->value);
        return false;
    }
    if (strcmp(value, "-") == 0 && !takes_dash(o, f))
        return refuse_dash(f);
    *out = value;
    return true;
}

static bool read_device(const Flag *f, const char *value, Options *o)
{
    static const char *const names[] = {"auto", "cpu", "cuda", "sim"};
    static const char wanted[] = "auto, cpu, cuda, cuda:N or sim";
    if (device_parse(value, &o->table, &o->train.device.ordinal))
        return true;
    bool gpu = strncmp(value, "gpu", 3) == 0 || strncmp(value, "nvidia", 6) == 0;
    const char *near = gpu ? "cuda" : nearest_word(value, names, 4, sizeof *names);
    char text[80];
    if (!near)
        return wrong_value(f, value, wanted);
    fault("--device %s: %s is needed; did you mean '%s'?", printable(value, text, sizeof text),
          wanted, near);
    return false;
}

bool set_flag(Options *o, const Flag *f, const char *value)
{
    void *place = (char *)o + f->place;
    int64_t n = 0;
    switch (f->kind) {
    case KIND_SWITCH: *(bool *)place = true; return true;
    case KIND_PATH:
    case KIND_OUTPUT: return read_path(o, f, value, place);
    case KIND_TEXT: *(const char **)place = value; return true;
    case KIND_LONG: return read_integer(f, value, place);
    case KIND_SEED: o->train.seed_given = true; return read_seed(f, value, place);
    case KIND_RATE: return read_rate(f, value, place);
    case KIND_SPLIT: return read_split(f, value, place);
    case KIND_DEVICE: return read_device(f, value, o);
    case KIND_COUNT: break;
    }
    if (!read_integer(f, value, &n))
        return false;
    *(int *)place = (int)n;
    return true;
}
