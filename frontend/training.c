/* How a model is trained: the optimizer, and the settings of train, with the rate's schedule. */
#include "frontend.h"

#include <string.h>

enum { MAX_BATCH = 1 << 20 };

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

/* ---- settings of the tables ---- */

enum { MAX_SETTINGS = 12 };

/* Settings that are read: of an optimizer or a schedule. */
typedef struct Settings {
    SettingsOf *list;
    int kind;
    const char *word; /* the kind's */
    void *of;
} Settings;

/* What is read of each, before it goes there. */
typedef struct SettingsSpec {
    const Tree *tree[MAX_SETTINGS]; /* of a pair, it and the next, which share a key; of a choice */
    bool flag[MAX_SETTINGS];
    int count[MAX_SETTINGS];
    double number[MAX_SETTINGS];
    const Tree *milestones;
} SettingsSpec;

/* A setting of two words in the model file: the second is what the flag of its name says. */
static const struct {
    const char *key, *words[2];
} choices[] = {
    {"unit", {"epoch", "step"}},
    {"metric", {"loss", "accuracy"}},
};

static int choice_of(const Setting *s)
{
    for (int i = 0; i < COUNT(choices); i++)
        if (strcmp(s->key, choices[i].key) == 0)
            return i;
    return -1;
}

/* The bounds of a setting in a model file. A beta of 1, which 0.99999999 is as a float, would never
 * forget, and lead to 0 / 0; so would an eps of less than the least float. */
static Field number_field(const Setting *s)
{
    Field f = {s->key, FIELD_REAL, s->required, 0, 1e6, 0, s->example};

    switch (s->range) {
    case RANGE_FRACTION:
        f.high = 0.9999999;
        break;
    case RANGE_POSITIVE:
        f.low = 1.2e-38;
        break;
    case RANGE_PART:
        f.high = 1;
        break;
    case RANGE_SHARE:
        f.low = 1.2e-38;
        f.high = 1;
        break;
    case RANGE_RATE:
    case RANGE_NUMBER:
    case RANGE_FLAG:
        break;
    case RANGE_WHOLE:
    case RANGE_COUNT:
    case RANGE_COUNT_OR_ALL:
        f.kind = FIELD_INT;
        f.low = s->range != RANGE_WHOLE;
        f.high = LARGEST_COUNT;
        break;
    }
    return f;
}

static bool is_pair(const Settings *s, int i)
{
    const Setting *first = s->list(s->kind, i), *next = s->list(s->kind, i + 1);

    return next && strcmp(first->key, next->key) == 0;
}

#define PLACE(member, i) \
    (offsetof(SettingsSpec, member) + (size_t)(i) * sizeof *((SettingsSpec *)0)->member)

static Field spec_field(const Settings *s, int i)
{
    const Setting *setting = s->list(s->kind, i);
    Field f = number_field(setting);

    if (is_pair(s, i) || choice_of(setting) >= 0) {
        f.kind = FIELD_TREE;
        f.low = f.high = 0;
        f.offset = PLACE(tree, i);
    } else if (setting->range == RANGE_FLAG) {
        f.kind = FIELD_BOOL;
        f.offset = PLACE(flag, i);
    } else {
        f.offset = setting_is_whole(setting) ? PLACE(count, i) : PLACE(number, i);
    }
    return f;
}

/* The fields of all settings, a pair is one; the spec gets what they are before. */
static int spec_fields(const Settings *s, Field *fields, SettingsSpec *spec)
{
    const Setting *setting;
    int count = 0;

    for (int i = 0; (setting = s->list(s->kind, i)) != NULL; i++) {
        spec->number[i] = setting_of(s->of, setting);
        spec->count[i] = setting_is_whole(setting) ? (int)spec->number[i] : 0;
        if (i == 0 || !is_pair(s, i - 1))
            fields[count++] = spec_field(s, i);
    }
    return count;
}

static bool read_pair(Reader *r, const Tree *t, const Setting *s, void *of)
{
    const Field field = number_field(s);
    bool sound;

    if (t->kind != TREE_SEQUENCE || t->count != 2) {
        reader_fault(r, t, "%s must be two numbers; for example %s", s->key, s->example);
        return false;
    }
    sound = read_real(r, t->item[0], &field, setting_value(of, s));
    return read_real(r, t->item[1], &field, setting_value(of, s + 1)) && sound;
}

static bool read_word(Reader *r, const Tree *t, const Setting *s, void *of)
{
    int word = find_word(r, t, s->key, WORDS(choices[choice_of(s)].words));

    *setting_value(of, s) = word > 0;
    return word >= 0;
}

/* What was read of the i-th goes where it is a setting of. */
static bool take_setting(Reader *r, const Settings *s, const SettingsSpec *spec, int i)
{
    const Setting *setting = s->list(s->kind, i);
    double *value = setting_value(s->of, setting);

    if (choice_of(setting) >= 0)
        return !spec->tree[i] || read_word(r, spec->tree[i], setting, s->of);
    if (is_pair(s, i))
        return !spec->tree[i] || read_pair(r, spec->tree[i], setting, s->of);
    if (i > 0 && is_pair(s, i - 1))
        return true;
    *value = setting->range == RANGE_FLAG ? spec->flag[i]
             : setting_is_whole(setting)  ? spec->count[i]
                                          : spec->number[i];
    return true;
}

/* With milestones, if `milestones` is not NULL: their tree goes there. */
static bool read_settings(Reader *r, const Tree *t, const Settings *s, const Tree **milestones)
{
    static const Field milestones_field = {"milestones", FIELD_TREE, true, 0, 0,
                                           offsetof(SettingsSpec, milestones),
                                           "milestones: [30, 80]"};
    Field fields[MAX_SETTINGS + 1] = {milestones_field};
    SettingsSpec spec = {.milestones = NULL};
    int first = milestones != NULL, count = first + spec_fields(s, fields + first, &spec);
    bool sound = read_fields(r, t, s->word, fields, count, &spec);

    for (int i = 0; s->list(s->kind, i); i++)
        sound &= take_setting(r, s, &spec, i);
    if (milestones)
        *milestones = spec.milestones;
    return sound;
}

/* ---- optimizer ---- */

static bool check_nesterov(Reader *r, const Tree *settings, const Optimizer *o)
{
    if (o->nesterov == 0 || o->momentum != 0)
        return true;
    reader_fault(r, tree_find(settings, "nesterov"), "nesterov needs a momentum above 0; for "
                                                     "example momentum: 0.9");
    return false;
}

bool read_optimizer(Reader *r, const Tree *t, Optimizer *out)
{
    const Tree *word, *settings;
    bool sound;
    int kind;

    if (!read_choice(r, t, "optimizer", &word, &settings))
        return false;
    kind = find_word(r, word, "optimizer", (Words){optimizer_names, OPTIMIZER_COUNT,
                                                   sizeof *optimizer_names});
    if (kind < 0)
        return false;
    *out = optimizer_standard((OptimizerKind)kind);
    sound = read_settings(r, settings,
                          &(Settings){optimizer_setting, kind, optimizer_names[kind], out}, NULL);
    return check_nesterov(r, settings, out) && sound;
}

/* ---- schedule ---- */

static bool read_milestones(Reader *r, const Tree *t, RateSchedule *out)
{
    static const Field field = {"milestones", FIELD_INT, true, 1, LARGEST_COUNT, 0,
                                "milestones: [30, 80]"};

    if (t->kind != TREE_SEQUENCE || t->count == 0 || t->count > MAX_MILESTONES) {
        reader_fault(r, t, "milestones must be a list of 1 to %d whole numbers; for example %s",
                     MAX_MILESTONES, field.example);
        return false;
    }
    for (int i = 0; i < t->count; i++) {
        if (!read_int(r, t->item[i], &field, &out->milestone[i]))
            return false;
        if (i > 0 && out->milestone[i] <= out->milestone[i - 1]) {
            reader_fault(r, t->item[i], "milestones must rise: %d stands behind %d",
                         out->milestone[i], out->milestone[i - 1]);
            return false;
        }
        out->milestones++;
    }
    return true;
}

/* The notice of a schedule by epochs that does not fit their number; a trainer knows its steps. */
static void check_length(Reader *r, const Tree *word, const Tree *settings,
                         const TrainSettings *train)
{
    const Tree *at = word;
    const char *setting;
    char text[200];

    if (rate_is_by_step(&train->schedule) || train->epochs < 1)
        return;
    setting = rate_misfit(&train->schedule, train->epochs, text, sizeof text);
    if (setting && settings->kind == TREE_MAPPING && tree_find(settings, setting))
        at = tree_find(settings, setting);
    if (setting)
        diagnostics_note(r->d, at->loc, at->width, "%s", text);
}

/* A loss of single steps is noise, no plateau. */
static bool check_unit(Reader *r, const Tree *settings, const RateSchedule *s)
{
    if (s->kind != RATE_REDUCE_ON_PLATEAU || s->by_step == 0)
        return true;
    reader_fault(r, tree_find(settings, "unit"), "reduce_on_plateau goes by epochs, as it follows "
                                                 "the test images; leave unit out");
    return false;
}

static bool read_schedule(Reader *r, const Tree *t, TrainSettings *train)
{
    RateSchedule *out = &train->schedule;
    const Tree *word, *settings, *milestones = NULL;
    bool sound;
    int kind;

    if (!t)
        return true;
    if (!read_choice(r, t, "schedule", &word, &settings))
        return false;
    /* The first, a rate that does not change, is what a file without a schedule has. */
    kind = 1 + find_word(r, word, "schedule", (Words){rate_names + 1, RATE_KIND_COUNT - 1,
                                                      sizeof *rate_names});
    if (kind == RATE_CONSTANT)
        return false;
    *out = schedule_standard((RateKind)kind);
    sound = read_settings(r, settings, &(Settings){schedule_setting, kind, rate_names[kind], out},
                          kind == RATE_MULTI_STEP ? &milestones : NULL);
    sound = sound && check_unit(r, settings, out);
    if (milestones)
        sound &= read_milestones(r, milestones, out);
    if (sound)
        check_length(r, word, settings, train);
    return sound;
}

/* ---- train ---- */

typedef struct TrainSpec {
    const Tree *init, *schedule, *early_stop, *sampler;
    TrainSettings settings;
} TrainSpec;

static const Field train_fields[] = {
#define X(setting, least, standard, required, low, high, example) \
    {#setting, FIELD_INT, required, low, high, offsetof(TrainSpec, settings.setting), example},
    IR_TRAIN_SETTINGS(X)
#undef X
    {"init", FIELD_TREE, false, 0, 0, offsetof(TrainSpec, init), "init: pytorch"},
    {"clip_grad_norm", FIELD_REAL, false, 1.2e-38, 1e6,
     offsetof(TrainSpec, settings.clip_grad_norm), "clip_grad_norm: 1.0"},
    {"ema", FIELD_REAL, false, 1.2e-38, 0.9999999, offsetof(TrainSpec, settings.ema),
     "ema: 0.999"},
    {"early_stop", FIELD_TREE, false, 0, 0, offsetof(TrainSpec, early_stop),
     "early_stop: {patience: 5}"},
    {"schedule", FIELD_TREE, false, 0, 0, offsetof(TrainSpec, schedule),
     "schedule: {step: {step_size: 30}}"},
    {"sampler", FIELD_TREE, false, 0, 0, offsetof(TrainSpec, sampler), "sampler: balanced"},
};

bool read_init(Reader *r, const Tree *t, InitKind *out, double *std)
{
    static const Field normal_fields[] = {
        {"std", FIELD_REAL, true, 0, 1e6, 0, "std: 0.05"},
    };
    const Tree *word, *settings;
    int kind;

    if (!t)
        return true;
    if (!read_choice(r, t, "init", &word, &settings))
        return false;
    kind = find_word(r, word, "init", (Words){init_names, INIT_COUNT, sizeof *init_names});
    if (kind < 0)
        return false;
    *out = (InitKind)kind;
    if (kind == INIT_NORMAL)
        return read_fields(r, settings, "normal", normal_fields, 1, std);
    if (settings->kind == TREE_SCALAR && tree_is_null(settings))
        return true;
    if (settings->kind == TREE_MAPPING && settings->count == 0)
        return true;
    reader_fault(r, settings, "init %s has no settings; write init: %s", init_names[kind],
                 init_names[kind]);
    return false;
}

static bool read_early_stop(Reader *r, const Tree *t, TrainSettings *out)
{
    static const Field fields[] = {
        {"patience", FIELD_INT, true, 1, 1000000, offsetof(TrainSettings, early_stop),
         "patience: 5"},
    };

    if (!t || !read_fields(r, t, "early_stop", fields, COUNT(fields), out))
        return !t;
    if (out->epochs > 0 && out->early_stop >= out->epochs)
        diagnostics_note(r->d, t->loc, t->width, "early_stop's patience is %d, but the run has %d "
                                                 "epoch%s: it never stops early", out->early_stop,
                         out->epochs, out->epochs == 1 ? "" : "s");
    return true;
}

static bool read_sampler(Reader *r, const Tree *t, Sampler *out)
{
    int word = t ? find_word(r, t, "sampler", (Words){sampler_names, SAMPLER_COUNT,
                                                      sizeof *sampler_names})
                 : SAMPLER_SHUFFLE;

    *out = (Sampler)(word < 0 ? 0 : word);
    return word >= 0;
}

bool read_train(Reader *r, const Tree *t, TrainSettings *out)
{
#define X(setting, least, standard, ...) .setting = standard,
    TrainSpec spec = {NULL, NULL, NULL, NULL, {IR_TRAIN_SETTINGS(X).init = INIT_PYTORCH}};
#undef X
    bool sound = read_fields(r, t, "train", train_fields, COUNT(train_fields), &spec);

    sound &= read_init(r, spec.init, &spec.settings.init, &spec.settings.init_std);
    sound &= read_schedule(r, spec.schedule, &spec.settings);
    sound &= read_early_stop(r, spec.early_stop, &spec.settings);
    sound &= read_sampler(r, spec.sampler, &spec.settings.sampler);
    *out = spec.settings;
    return sound;
}
