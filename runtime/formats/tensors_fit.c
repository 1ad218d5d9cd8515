/* Which tensor of a safetensors file is which of the model. Other programs put a prefix before all
 * names, keep a convolution over the whole map as the linear layer that it is, and store more than
 * the parameters. */
#include "../../ir/ir.h"
#include "formats.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMED = 10, MAX_NAME = 80, MAX_NOTED = 3, SHAPE_TEXT = 128, WHY_TEXT = 320 };

typedef struct Fit {
    TensorFile file;
    const TensorList *list;
    bool exact;   /* the file is ours: only the names and shapes of the list will do */
    char *prefix; /* what stands before the names in the file */
    int faults;   /* of the wanted tensors, found so far */
} Fit;

/* ---- shapes ---- */

static void shape_text(const json_t *shape, char out[SHAPE_TEXT])
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(shape) && at + 24 < SHAPE_TEXT; i++)
        at += (size_t)snprintf(out + at, SHAPE_TEXT - at, "%s%lld", i ? "x" : "",
                               (long long)json_integer_value(json_array_get(shape, i)));
    if (json_array_size(shape) == 0)
        snprintf(out, SHAPE_TEXT, "a scalar");
}

static void wanted_shape_text(const Shape *shape, char out[SHAPE_TEXT])
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < shape->rank; i++)
        at += (size_t)snprintf(out + at, SHAPE_TEXT - at, "%s%d", i ? "x" : "", shape->dim[i]);
    if (shape->rank == 0)
        snprintf(out, SHAPE_TEXT, "a scalar");
}

static bool same_shape(const Shape *shape, const json_t *array)
{
    if (json_array_size(array) != (size_t)shape->rank)
        return false;
    for (int i = 0; i < shape->rank; i++)
        if (json_integer_value(json_array_get(array, (size_t)i)) != shape->dim[i])
            return false;
    return true;
}

/* A linear layer [K, C h w] on a flattened map [C, h, w] is the convolution [K, C, h, w] over all
 * of it, its numbers in the same order. */
static bool same_layer(const Shape *shape, const json_t *array)
{
    size_t rank = json_array_size(array);
    if (rank < 2 || shape->rank < 2 || (rank != 2 && shape->rank != 2) ||
        json_integer_value(json_array_get(array, 0)) != shape->dim[0])
        return false;
    int64_t count = 1;
    for (size_t i = 0; i < rank; i++)
        if (__builtin_mul_overflow(count, (int64_t)json_integer_value(json_array_get(array, i)),
                                   &count))
            return false;
    return count == shape_elements(shape);
}

/* ---- names ---- */

/* A name of the list as the file has it; the caller frees it. */
static char *name_in_file(const char *prefix, const NamedTensor *t)
{
    size_t bytes = strlen(prefix) + strlen(t->name) + 1;
    char *name = xmalloc(bytes);
    snprintf(name, bytes, "%s%s", prefix, t->name);
    return name;
}

static json_t *find_info(const Fit *f, const char *prefix, const NamedTensor *t)
{
    char *name = name_in_file(prefix, t);
    json_t *info = json_object_get(f->file.header, name);
    free(name);
    return info;
}

/* Why the file's tensor cannot be read into *t; NULL: it can. */
static const char *misfit(const Fit *f, const char *prefix, const NamedTensor *t,
                          char why[WHY_TEXT])
{
    char have[SHAPE_TEXT], want[SHAPE_TEXT];
    const json_t *info = find_info(f, prefix, t);
    if (!info)
        return "is missing";
    const json_t *shape = json_object_get(info, "shape");
    const char *dtype = json_string_value(json_object_get(info, "dtype"));
    shape_text(shape, have);
    wanted_shape_text(&t->shape, want);
    if (!same_shape(&t->shape, shape) && (f->exact || !same_layer(&t->shape, shape)))
        snprintf(why, WHY_TEXT, "has shape %s, the model needs %s", have, want);
    else if (!tensor_dtype_readable(dtype, t->whole))
        snprintf(why, WHY_TEXT, "has dtype %s; %s is needed", printable(dtype, have, sizeof have),
                 t->whole ? "I64" : "F32, F64, F16 or BF16");
    else
        return NULL;
    return why;
}

static int count_fitting(const Fit *f, const char *prefix)
{
    char why[WHY_TEXT];
    int count = 0;
    for (int i = 0; i < f->list->count; i++)
        count += misfit(f, prefix, &f->list->item[i], why) == NULL;
    return count;
}

/* The part of the file's name before that of *t, which follows a dot; 0: it is another name. */
static size_t prefix_length(const char *name, const NamedTensor *t)
{
    size_t length = strlen(name), wanted = strlen(t->name);
    if (length <= wanted + 1 || name[length - wanted - 1] != '.' ||
        strcmp(name + length - wanted, t->name) != 0)
        return 0;
    return length - wanted;
}

/* The first of the list that the file has behind some prefix; NULL: none. */
static const NamedTensor *first_prefixed(const Fit *f)
{
    const char *name;
    json_t *info;
    for (int i = 0; i < f->list->count; i++)
        json_object_foreach(f->file.header, name, info) if (prefix_length(name, &f->list->item[i]) >
                                                            0) return &f->list->item[i];
    return NULL;
}

/* Takes the prefix with which more tensors fit than without; an error where two are as good. */
static int find_prefix(Fit *f)
{
    char *best = copy_text(""), *rival = NULL;
    const char *name;
    json_t *info;
    int most = count_fitting(f, "");
    const NamedTensor *t = f->exact || most == f->list->count ? NULL : first_prefixed(f);
    json_object_foreach(f->file.header, name, info)
    {
        size_t length = t ? prefix_length(name, t) : 0;
        if (length == 0)
            continue;
        char *prefix = copy_text(name);
        prefix[length] = '\0';
        int count = count_fitting(f, prefix);
        if (count > most) {
            free(best);
            free(rival);
            best = prefix, rival = NULL, most = count;
        } else if (count == most && count > 0 && best[0] && !rival) {
            rival = prefix;
        } else {
            free(prefix);
        }
    }
    f->prefix = best;
    int status = 0;
    if (rival)
        status = fault("%s has the parameters more than once, as %s%s and as %s%s; leave those "
                       "that are meant in a file of their own",
                       f->file.path, best, t->name, rival, t->name);
    free(rival);
    return status;
}

static const NamedTensor *find_wanted(const Fit *f, const char *name)
{
    size_t length = strlen(f->prefix);
    if (strncmp(name, f->prefix, length) != 0)
        return NULL;
    for (int i = 0; i < f->list->count; i++)
        if (strcmp(f->list->item[i].name, name + length) == 0)
            return &f->list->item[i];
    return NULL;
}

static int load(const Fit *f, const NamedTensor *t)
{
    char *name = name_in_file(f->prefix, t);
    int status = tensor_file_load(&f->file, name, t);
    free(name);
    return status;
}

/* ---- what is told ---- */

static bool is_metadata(const char *name)
{
    return strcmp(name, "__metadata__") == 0;
}

/* The first few names of a list, and how many more there are. */
typedef struct Names {
    char text[MAX_NOTED * (MAX_NAME + 2 * SHAPE_TEXT)];
    int count;
} Names;

static void add_name(Names *n, const char *name, const char *more)
{
    char text[MAX_NAME];
    size_t at = strlen(n->text);
    if (n->count++ < MAX_NOTED)
        snprintf(n->text + at, sizeof n->text - at, "%s%s%s", at > 0 ? ", " : "",
                 printable(name, text, sizeof text), more);
}

static const char *and_more(const Names *n)
{
    return n->count > MAX_NOTED ? ", ..." : "";
}

static void note_prefix(const Fit *f)
{
    char text[MAX_NAME];
    if (f->prefix[0])
        notice("%s: the prefix '%s' is taken off its names", f->file.path,
               printable(f->prefix, text, sizeof text));
}

/* Tensors that are taken in another shape. */
static void note_shapes(const Fit *f)
{
    Names n = {0};
    char have[SHAPE_TEXT], want[SHAPE_TEXT], more[2 * SHAPE_TEXT + 8];
    for (int i = 0; i < f->list->count; i++) {
        const NamedTensor *t = &f->list->item[i];
        const json_t *shape = json_object_get(find_info(f, f->prefix, t), "shape");
        if (same_shape(&t->shape, shape))
            continue;
        shape_text(shape, have);
        wanted_shape_text(&t->shape, want);
        snprintf(more, sizeof more, " %s as %s", have, want);
        add_name(&n, t->name, more);
    }
    if (n.count > 0)
        notice("%s: %d tensor%s taken for the same layer in another form: %s%s", f->file.path,
               n.count, n.count == 1 ? " is" : "s are", n.text, and_more(&n));
}

static void note_extras(const Fit *f)
{
    Names n = {0};
    const char *name;
    json_t *info;
    json_object_foreach(f->file.header, name, info) if (!is_metadata(name) && !find_wanted(f, name))
        add_name(&n, name, "");
    if (n.count > 0)
        notice("%s: %d tensor%s not in the model and left out: %s%s", f->file.path, n.count,
               n.count == 1 ? " is" : "s are", n.text, and_more(&n));
}

/* ---- reading all ---- */

static bool may_name(Fit *f)
{
    return ++f->faults <= MAX_NAMED;
}

/* A count that an older program did not write: PyTorch before 0.4.1 had no num_batches_tracked. */
static bool may_lack(const Fit *f, const NamedTensor *t)
{
    return t->whole && !f->exact && !find_info(f, f->prefix, t);
}

/* Where the file does not fit, its other tensors are named too: one may be what is missing. */
static int check_fit(Fit *f)
{
    const char *name;
    json_t *info;
    char text[WHY_TEXT];
    for (int i = 0; i < f->list->count; i++) {
        const char *why = misfit(f, f->prefix, &f->list->item[i], text);
        if (why && !may_lack(f, &f->list->item[i]) && may_name(f))
            fault("%s: tensor %s %s", f->file.path, f->list->item[i].name, why);
    }
    if (f->faults == 0 && !f->exact)
        return 0;
    json_object_foreach(f->file.header, name, info)
    {
        if (!is_metadata(name) && !find_wanted(f, name) && may_name(f))
            fault("%s: tensor %s is not in the model", f->file.path,
                  printable(name, text, MAX_NAME));
    }
    if (f->faults == 0)
        return 0;
    if (f->faults > MAX_NAMED)
        fault("%s: and %d more tensors do not fit", f->file.path, f->faults - MAX_NAMED);
    return fault("%s does not hold %s of model %s; give a file of this model, or compile the "
                 "model that it belongs to",
                 f->file.path, f->list->what, f->list->model);
}

static int read_all(Fit *f)
{
    if (check_fit(f) < 0)
        return -1;
    for (int i = 0; i < f->list->count; i++)
        if (!may_lack(f, &f->list->item[i]) && load(f, &f->list->item[i]) < 0)
            return -1;
    note_prefix(f);
    note_shapes(f);
    note_extras(f);
    return 0;
}

/* ---- reading what fits ---- */

static void report_taken(const Fit *f, const NamedTensor *t)
{
    char want[SHAPE_TEXT], have[SHAPE_TEXT];
    const json_t *shape = json_object_get(find_info(f, f->prefix, t), "shape");
    wanted_shape_text(&t->shape, want);
    shape_text(shape, have);
    if (same_shape(&t->shape, shape))
        printf("taken: %s (%s)\n", t->name, want);
    else
        printf("taken: %s (%s), in the file %s\n", t->name, want, have);
}

static void report_unused(const Fit *f)
{
    const char *name;
    json_t *info;
    char text[MAX_NAME], shape[SHAPE_TEXT], why[WHY_TEXT];
    json_object_foreach(f->file.header, name, info)
    {
        const NamedTensor *t = is_metadata(name) ? NULL : find_wanted(f, name);
        if (is_metadata(name) || (t && !misfit(f, f->prefix, t, why)))
            continue;
        shape_text(json_object_get(info, "shape"), shape);
        printf("not used: %s (%s)\n", printable(name, text, sizeof text), shape);
    }
}

static int read_fitting(Fit *f)
{
    char why[WHY_TEXT], shape[SHAPE_TEXT];
    int taken = 0;
    note_prefix(f);
    for (int i = 0; i < f->list->count; i++) {
        const NamedTensor *t = &f->list->item[i];
        const char *reason = misfit(f, f->prefix, t, why);
        wanted_shape_text(&t->shape, shape);
        if (!reason && load(f, t) < 0)
            return -1;
        taken += !reason;
        if (reason)
            printf("kept its initial value: %s (%s): in the file it %s\n", t->name, shape, reason);
        else
            report_taken(f, t);
    }
    report_unused(f);
    printf("%d of %d tensors taken from %s\n", taken, f->list->count, f->file.path);
    if (taken == 0)
        return fault("%s has no tensor with the name and shape of one of model %s; give the file "
                     "of a related model",
                     f->file.path, f->list->model);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

/* ---- the three ways ---- */

static int open_and_read(const char *path, const TensorList *list, bool exact, int (*read)(Fit *))
{
    Fit f = {.list = list, .exact = exact};
    int status = tensor_file_open(&f.file, path);
    if (status == 0)
        status = find_prefix(&f);
    if (status == 0)
        status = read(&f);
    free(f.prefix);
    tensor_file_close(&f.file);
    return status;
}

int tensors_read(const char *path, const TensorList *list)
{
    return open_and_read(path, list, true, read_all);
}

int tensors_read_foreign(const char *path, const TensorList *list)
{
    return open_and_read(path, list, false, read_all);
}

int tensors_read_partial(const char *path, const TensorList *list)
{
    return open_and_read(path, list, false, read_fitting);
}
