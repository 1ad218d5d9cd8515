/* state.json of a checkpoint: one line a field, a sum over all of it. */
#include "../../ir/ir.h"
#include "train.h"

#include <errno.h>
#include <float.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { STATE_VERSION = 1, DUMP = JSON_SORT_KEYS | JSON_REAL_PRECISION(17) };

/* A seed is a text, as JSON's readers lose whole numbers past 2^53. A sum that is not finite is
 * null and reads back as NaN. A text of STATE_TEXT bytes may be missing, and a number that older
 * checkpoints, or runs of other models, do not have: it is NaN. */
typedef enum Kind {
    KIND_INT,
    KIND_LONG,
    KIND_CRC,
    KIND_SEED,
    KIND_BOOL,
    KIND_TEXT,
    KIND_REAL,
    KIND_SUM,
    KIND_LATER
} Kind;

/* The sum only tells what was damaged from what was written, so that each number must also be one
 * that a run can have. */
typedef struct Field {
    const char *name;
    Kind kind;
    size_t place; /* in RunState */
    double least, most;
} Field;

#define MOST_IMAGES 0x1p53 /* that go through a run */

#define FIELD(kind, name, least, most) \
    { \
#name, KIND_##kind, offsetof(RunState, name), least, most \
    }
#define SUMS(name) \
    {#name "_loss", KIND_SUM, offsetof(RunState, name.loss), -DBL_MAX, DBL_MAX}, \
        {#name "_weight", KIND_LATER, offsetof(RunState, name.weight), 0, DBL_MAX}, \
        {#name "_correct", KIND_LONG, offsetof(RunState, name.correct), 0, MOST_IMAGES}, \
        {#name "_images", KIND_LONG, offsetof(RunState, name.images), 0, MOST_IMAGES}, \
    { \
#name "_seconds", KIND_REAL, offsetof(RunState, name.seconds), 0, DBL_MAX \
    }

static const Field fields[] = {
    FIELD(LONG, step, 0, INT32_MAX),
    FIELD(INT, epoch, 0, INT32_MAX),
    FIELD(INT, images, 0, INT32_MAX),
    FIELD(INT, epochs, 0, INT32_MAX),
    FIELD(SEED, seed, 0, 0),
    FIELD(BOOL, shuffle, 0, 0),
    FIELD(REAL, lr, 0, FLT_MAX),
    FIELD(LATER, model_lr, 0, FLT_MAX),
    FIELD(LATER, used_lr, 0, FLT_MAX),
    {"plateau_best", KIND_LATER, offsetof(RunState, plateau.best), -DBL_MAX, DBL_MAX},
    {"plateau_bad", KIND_LATER, offsetof(RunState, plateau.bad), 0, INT32_MAX},
    {"plateau_cuts", KIND_LATER, offsetof(RunState, plateau.cuts), 0, INT32_MAX},
    FIELD(BOOL, random_data, 0, 0),
    FIELD(INT, training_images, 1, INT32_MAX),
    FIELD(CRC, data_crc, 0, UINT32_MAX),
    SUMS(logged),
    SUMS(stall),
    FIELD(BOOL, warned_stall, 0, 0),
    FIELD(REAL, best_accuracy, -1, 1),
    FIELD(LONG, best_step, 0, INT32_MAX),
    FIELD(TEXT, precision, 0, 0),
    FIELD(TEXT, instruction_set, 0, 0),
};

enum { FIELDS = sizeof fields / sizeof *fields };

static const char *const crc_names[CHECKPOINT_TENSOR_FILES] = {"model_crc", "optimizer_crc"};

/* ---- the sum ---- */

/* Of the text without spaces, keys sorted, without the sum itself. */
static bool sum_of(json_t *root, uint32_t *sum)
{
    json_object_del(root, "sum");
    char *text = json_dumps(root, DUMP | JSON_COMPACT);
    if (text)
        *sum = (uint32_t)crc32(0, (const Bytef *)text, (uInt)strlen(text));
    free(text);
    return text != NULL;
}

static const char *recipe_of(const NincModel *model)
{
    return model->recipe ? model->recipe : "";
}

static json_int_t recipe_hash(const char *recipe)
{
    return (json_int_t)crc32(0, (const Bytef *)recipe, (uInt)strlen(recipe));
}

/* ---- writing ---- */

static json_t *put_field(const Field *f, const RunState *state)
{
    const void *place = (const char *)state + f->place;
    char digits[32];
    switch (f->kind) {
    case KIND_INT: return json_integer(*(const int *)place);
    case KIND_LONG: return json_integer((json_int_t) * (const int64_t *)place);
    case KIND_CRC: return json_integer((json_int_t) * (const uint32_t *)place);
    case KIND_BOOL: return json_boolean(*(const bool *)place);
    case KIND_SEED:
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)*(const uint64_t *)place);
        return json_string(digits);
    case KIND_TEXT: return json_name(place);
    case KIND_REAL:
    case KIND_SUM:
    case KIND_LATER: break;
    }
    double value = *(const double *)place;
    return isfinite(value) ? json_real(value) : json_null();
}

static bool is_there(const Field *f, const RunState *state)
{
    return f->kind != KIND_LATER || isfinite(*(const double *)((const char *)state + f->place));
}

static json_t *put_all(const RunState *state, const NincModel *model, const uint32_t *crc)
{
    json_t *root =
        json_pack("{s:i, s:s, s:I, s:s}", "version", STATE_VERSION, "model", model->name,
                  "model_hash", recipe_hash(recipe_of(model)), "recipe", recipe_of(model));
    uint32_t sum = 0;
    bool whole = root != NULL;
    for (int i = 0; i < FIELDS && whole; i++)
        whole = !is_there(&fields[i], state) ||
                json_object_set_new(root, fields[i].name, put_field(&fields[i], state)) == 0;
    for (int i = 0; i < CHECKPOINT_TENSOR_FILES && whole; i++)
        whole = json_object_set_new(root, crc_names[i], json_integer(crc[i])) == 0;
    if (whole && sum_of(root, &sum) && json_object_set_new(root, "sum", json_integer(sum)) == 0)
        return root;
    json_decref(root);
    return NULL;
}

int state_write(const char *path, const RunState *state, const NincModel *model,
                const uint32_t crc[CHECKPOINT_TENSOR_FILES])
{
    OutFile out;
    json_t *root = put_all(state, model, crc);
    char *text = root ? json_dumps(root, DUMP | JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text)
        return fault("no memory for %s", path);
    int status = outfile_open(&out, path);
    if (status == 0) {
        fprintf(out.file, "%s\n", text);
        status = outfile_commit(&out);
    }
    free(text);
    return status;
}

/* ---- reading ---- */

static bool take_integer(const json_t *value, json_int_t highest, json_int_t *out)
{
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= 0 && *out <= highest;
}

static bool take_seed(const json_t *value, uint64_t *out)
{
    const char *text = json_string_value(value);
    char *end;
    if (!text || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool take_text(const json_t *value, char *out)
{
    const char *text = value ? json_string_value(value) : "";
    printable(text ? text : "", out, STATE_TEXT);
    return text != NULL;
}

static bool take_real(const Field *f, const json_t *value, double *out)
{
    bool none = (f->kind == KIND_SUM && json_is_null(value)) ||
                (f->kind == KIND_LATER && (!value || json_is_null(value)));
    *out = none ? NAN : json_number_value(value);
    return none || (json_is_number(value) && *out >= f->least && *out <= f->most);
}

static bool take_field(const Field *f, const json_t *value, RunState *state)
{
    void *place = (char *)state + f->place;
    json_int_t n = 0;
    bool counts = f->kind == KIND_INT || f->kind == KIND_LONG || f->kind == KIND_CRC;
    if (counts && (!take_integer(value, (json_int_t)f->most, &n) || n < (json_int_t)f->least))
        return false;
    switch (f->kind) {
    case KIND_INT: *(int *)place = (int)n; return true;
    case KIND_LONG: *(int64_t *)place = n; return true;
    case KIND_CRC: *(uint32_t *)place = (uint32_t)n; return true;
    case KIND_BOOL: *(bool *)place = json_is_true(value); return json_is_boolean(value);
    case KIND_SEED: return take_seed(value, place);
    case KIND_TEXT: return take_text(value, place);
    case KIND_REAL:
    case KIND_SUM:
    case KIND_LATER: break;
    }
    return take_real(f, value, place);
}

static int check_version(const char *path, json_t *root)
{
    json_int_t version, wanted;
    uint32_t sum = 0;
    if (!take_integer(json_object_get(root, "version"), INT_MAX, &version))
        return fault("%s has no version; it is not the state of a checkpoint", path);
    if (version != STATE_VERSION)
        return fault("%s has version %lld, this trainer reads %d; resume with the trainer that "
                     "wrote it",
                     path, (long long)version, STATE_VERSION);
    if (!take_integer(json_object_get(root, "sum"), UINT32_MAX, &wanted))
        return fault("%s: sum is missing or wrong; the checkpoint is damaged", path);
    if (!sum_of(root, &sum) || wanted != sum)
        return fault("%s is not what was written: its check sum differs; the checkpoint is "
                     "damaged, resume from another one",
                     path);
    return 0;
}

static int wrong_field(const char *path, const char *name, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL, shown[40];
    int status = fault("%s: %s is missing or wrong (%s); the checkpoint is damaged", path, name,
                       text ? printable(text, shown, sizeof shown) : "nothing");
    free(text);
    return status;
}

/* The name of a number that the others speak against; NULL: none. */
static const char *contradiction(const RunState *s)
{
    int64_t seen = s->epoch * (int64_t)s->training_images + s->images;
    return s->images > s->training_images         ? "images"
           : s->best_step > s->step               ? "best_step"
           : s->logged.correct > s->logged.images ? "logged_correct"
           : s->stall.correct > s->stall.images   ? "stall_correct"
           : s->logged.images > seen              ? "logged_images"
           : s->stall.images > seen               ? "stall_images"
                                                  : NULL;
}

/* In older checkpoints images weigh 1 each. */
static void settle_weight(Sums *sums)
{
    if (isnan(sums->weight))
        sums->weight = (double)sums->images;
}

static int take_all(const char *path, const json_t *root, RunState *state, uint32_t *crc)
{
    json_int_t n;
    for (int i = 0; i < FIELDS; i++) {
        const json_t *value = json_object_get(root, fields[i].name);
        if (!take_field(&fields[i], value, state))
            return wrong_field(path, fields[i].name, value);
    }
    settle_weight(&state->logged);
    settle_weight(&state->stall);
    for (int i = 0; i < CHECKPOINT_TENSOR_FILES; i++) {
        const json_t *value = json_object_get(root, crc_names[i]);
        if (!take_integer(value, UINT32_MAX, &n))
            return wrong_field(path, crc_names[i], value);
        crc[i] = (uint32_t)n;
    }
    const char *name = contradiction(state);
    return name ? wrong_field(path, name, json_object_get(root, name)) : 0;
}

static const char convolution[] = "layer conv2d ";

/* A recipe without its convolutions; the caller frees it. */
static char *without_convolutions(const char *recipe)
{
    char *out = xmalloc(strlen(recipe) + 1), *end = out;
    while (*recipe) {
        size_t n = strcspn(recipe, "\n");
        n += recipe[n] != '\0';
        if (strncmp(recipe, convolution, sizeof convolution - 1) != 0)
            end = (char *)memcpy(end, recipe, n) + n;
        recipe += n;
    }
    *end = '\0';
    return out;
}

static void copy_line(const char *text, char *out, size_t size)
{
    snprintf(out, size, "%.*s", (int)strcspn(text, "\n"), text);
    if (out[0] == '\0')
        snprintf(out, size, "nothing more");
}

/* The first line in which two recipes differ, of each. */
static void first_difference(const char *a, const char *b, char *line_a, char *line_b, size_t size)
{
    for (;;) {
        size_t n = strcspn(a, "\n");
        if (*a == '\0' || strncmp(a, b, n + 1) != 0)
            break;
        a += n + (a[n] != '\0');
        b += n + (b[n] != '\0');
    }
    copy_line(a, line_a, size);
    copy_line(b, line_b, size);
}

static int compare_recipes(const char *path, const char *recipe, const char *own)
{
    char theirs[160] = "", ours[160] = "", shown[160];
    if (strcmp(recipe, own) == 0)
        return 0;
    first_difference(recipe, own, theirs, ours, sizeof theirs);
    return fault("%s belongs to another model: it has '%s', this one '%s'; use the trainer that "
                 "wrote it, or start with --init-partial FILE",
                 path, printable(theirs, shown, sizeof shown), ours);
}

/* A recipe that names no convolution is silent about them, and all else of it counts. */
static int check_model(const char *path, const json_t *root, const NincModel *model)
{
    const char *recipe = json_string_value(json_object_get(root, "recipe"));
    if (!recipe)
        return fault("%s: recipe is missing or wrong; the checkpoint is damaged", path);
    char *rest = strstr(recipe, convolution) ? NULL : without_convolutions(recipe_of(model));
    int status = compare_recipes(path, recipe, rest ? rest : recipe_of(model));
    free(rest);
    return status;
}

int state_read(const char *path, const NincModel *model, RunState *state,
               uint32_t crc[CHECKPOINT_TENSOR_FILES])
{
    json_error_t error;
    char text[80];
    FILE *file = fopen(path, "rb");
    if (!file)
        return fault("cannot read %s: %s; it is not a whole checkpoint", path, strerror(errno));
    json_t *root = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
    fclose(file);
    if (!root)
        return fault("%s is not valid JSON: %s (line %d); the checkpoint is damaged", path,
                     printable(error.text, text, sizeof text), error.line);
    int status = check_version(path, root);
    if (status == 0 && model)
        status = check_model(path, root, model);
    if (status == 0)
        status = take_all(path, root, state, crc);
    json_decref(root);
    return status;
}

int state_seed(const char *file, uint64_t *seed)
{
    uint32_t crc[CHECKPOINT_TENSOR_FILES];
    RunState state;
    char *directory = directory_of(file), *path = join_path(directory, "state.json");
    int status = is_regular(path) ? state_read(path, NULL, &state, crc) : 0;
    if (status == 0 && is_regular(path))
        *seed = state.seed;
    free(directory);
    free(path);
    return status;
}
