/* The safetensors format: u64 little-endian header length, a JSON object of tensors, the data.
 * Nothing in the header is believed before it is checked. */
#include "../ir/ir.h"
#include "runtime.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_HEADER = 100 << 20, MAX_NAMED = 10, MAX_NAME = 80 };

typedef struct Reader {
    const char *path;
    FILE *file;
    json_t *header;
    int64_t data_start, data_bytes;
    const TensorList *list;
    int faults; /* of the wanted tensors, found so far */
} Reader;

typedef struct Entry {
    const char *name;
    json_t *info;
    int64_t begin, end; /* in the data */
} Entry;

/* The dtypes of safetensors, and how one element of those that can be read becomes a float. */
typedef struct Dtype {
    const char *name;
    int bytes;
    float (*to_float)(const uint8_t *element); /* NULL: not a dtype of parameters */
} Dtype;

static int little_endian(void)
{
    const uint16_t one = 1;
    return *(const uint8_t *)&one == 1;
}

/* ---- elements ---- */

static float f64_to_float(const uint8_t *element)
{
    double value;
    memcpy(&value, element, sizeof value);
    return (float)value;
}

static float f32_to_float(const uint8_t *element)
{
    float value;
    memcpy(&value, element, sizeof value);
    return value;
}

static float bf16_to_float(const uint8_t *element)
{
    uint32_t bits = (uint32_t)element[0] << 16 | (uint32_t)element[1] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE binary16: sign, 5 bits of exponent, 10 of mantissa. */
static float f16_to_float(const uint8_t *element)
{
    int bits = element[0] | element[1] << 8, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float value;
    if (exponent == 31)
        value = mantissa ? NAN : INFINITY;
    else
        value =
            ldexpf((float)(exponent ? mantissa | 1024 : mantissa), (exponent ? exponent : 1) - 25);
    return bits & 0x8000 ? -value : value;
}

/* ---- header ---- */

/* Of checkpoints, or a checkpoint: names the file in it. */
static int directory_fault(const char *path)
{
    static const char *const places[] = {"latest/model.safetensors", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        char *file = join_path(path, places[i]);
        bool stands = access(file, R_OK) == 0;
        if (stands)
            fault("%s is a directory; give the file %s", path, file);
        free(file);
        if (stands)
            return -1;
    }
    return fault("%s is a directory, not a regular file; give a .safetensors file", path);
}

static int read_length(Reader *r, size_t *length)
{
    struct stat s;
    uint8_t raw[8];
    uint64_t value = 0;
    if (fstat(fileno(r->file), &s) == 0 && S_ISDIR(s.st_mode))
        return directory_fault(r->path);
    if (fstat(fileno(r->file), &s) != 0 || !S_ISREG(s.st_mode))
        return fault("%s is not a regular file; give a .safetensors file", r->path);
    if (fread(raw, 1, 8, r->file) != 8)
        return fault("%s is truncated: %lld bytes are too few for a safetensors file", r->path,
                     (long long)s.st_size);
    for (int i = 7; i >= 0; i--)
        value = value << 8 | raw[i];
    if (value > MAX_HEADER || (int64_t)value > s.st_size - 8)
        return fault("%s: its header claims %llu bytes, the file has %lld; it is truncated or "
                     "not a safetensors file",
                     r->path, (unsigned long long)value, (long long)s.st_size);
    *length = (size_t)value;
    r->data_start = 8 + (int64_t)value;
    r->data_bytes = s.st_size - r->data_start;
    return 0;
}

static int read_header(Reader *r)
{
    size_t length = 0;
    json_error_t error;
    char text[MAX_NAME];
    if (read_length(r, &length) < 0)
        return -1;
    char *raw = malloc(length + 1);
    if (!raw)
        return fault("%s: no memory for its header of %zu bytes", r->path, length);
    if (fread(raw, 1, length, r->file) != length) {
        free(raw);
        return fault("cannot read %s: %s", r->path, strerror(errno));
    }
    r->header = json_loadb(raw, length, JSON_REJECT_DUPLICATES, &error);
    free(raw);
    if (!r->header)
        return fault("%s: its header is not valid JSON: %s (byte %d); the file is corrupt", r->path,
                     printable(error.text, text, sizeof text), error.position);
    if (!json_is_object(r->header))
        return fault("%s: its header is not a JSON object; the file is corrupt", r->path);
    return 0;
}

/* ---- claims: inside the file, no gap, no overlap, the size that the shape has ---- */

static const Dtype *find_dtype(const char *name)
{
    static const Dtype known[] = {
        {"F64", 8, f64_to_float},   {"F32", 4, f32_to_float}, {"F16", 2, f16_to_float},
        {"BF16", 2, bf16_to_float}, {"I64", 8, NULL},         {"U64", 8, NULL},
        {"I32", 4, NULL},           {"U32", 4, NULL},         {"I16", 2, NULL},
        {"U16", 2, NULL},           {"I8", 1, NULL},          {"U8", 1, NULL},
        {"BOOL", 1, NULL}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0)
            return &known[i];
    return NULL;
}

static bool shape_bytes(const json_t *shape, int element, int64_t *bytes)
{
    *bytes = element;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0 ||
            __builtin_mul_overflow(*bytes, (int64_t)json_integer_value(d), bytes))
            return false;
    }
    return true;
}

static int check_claim(Reader *r, Entry *e)
{
    char name[MAX_NAME];
    const json_t *dtype = json_object_get(e->info, "dtype");
    const json_t *shape = json_object_get(e->info, "shape");
    const json_t *range = json_object_get(e->info, "data_offsets");
    printable(e->name, name, sizeof name);
    if (!json_is_string(dtype) || !json_is_array(shape) || !json_is_array(range) ||
        json_array_size(range) != 2 || !json_is_integer(json_array_get(range, 0)) ||
        !json_is_integer(json_array_get(range, 1)))
        return fault("%s: tensor %s lacks a dtype, a shape or two data_offsets; the file is "
                     "corrupt",
                     r->path, name);
    e->begin = json_integer_value(json_array_get(range, 0));
    e->end = json_integer_value(json_array_get(range, 1));
    if (e->begin < 0 || e->end < e->begin || e->end > r->data_bytes)
        return fault("%s: tensor %s claims bytes %lld to %lld of %lld; the file is truncated or "
                     "corrupt",
                     r->path, name, (long long)e->begin, (long long)e->end,
                     (long long)r->data_bytes);
    const Dtype *known = find_dtype(json_string_value(dtype));
    int64_t bytes;
    if (known && (!shape_bytes(shape, known->bytes, &bytes) || bytes != e->end - e->begin))
        return fault("%s: tensor %s has %lld bytes of data, which is not what its shape and "
                     "dtype need; the file is corrupt",
                     r->path, name, (long long)(e->end - e->begin));
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int check_cover(const Reader *r, Entry *entry, int count)
{
    int64_t at = 0;
    char name[MAX_NAME];
    qsort(entry, (size_t)count, sizeof *entry, by_begin);
    for (int i = 0; i < count; i++) {
        if (entry[i].begin != at)
            return fault("%s: the data of tensor %s %s; the file is corrupt", r->path,
                         printable(entry[i].name, name, sizeof name),
                         entry[i].begin < at ? "overlaps another's" : "leaves a gap before it");
        at = entry[i].end;
    }
    if (at != r->data_bytes)
        return fault("%s has %lld bytes after its last tensor; the file is corrupt", r->path,
                     (long long)(r->data_bytes - at));
    return 0;
}

static int check_claims(Reader *r)
{
    const char *name;
    json_t *info;
    int count = 0, status = 0;
    Entry *entry = malloc((json_object_size(r->header) + 1) * sizeof *entry);
    if (!entry)
        return fault("%s: no memory for its header", r->path);
    json_object_foreach(r->header, name, info)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        entry[count] = (Entry){.name = name, .info = info};
        if ((status = check_claim(r, &entry[count++])) < 0)
            break;
    }
    if (status == 0)
        status = check_cover(r, entry, count);
    free(entry);
    return status;
}

/* ---- do the tensors fit those that are wanted? ---- */

static void shape_text(const json_t *shape, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(shape) && at + 24 < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? "x" : "",
                               (long long)json_integer_value(json_array_get(shape, i)));
    if (json_array_size(shape) == 0)
        snprintf(out, size, "a scalar");
}

static void wanted_shape_text(const Shape *shape, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < shape->rank; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%d", i ? "x" : "", shape->dim[i]);
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

static bool may_name(Reader *r)
{
    return ++r->faults <= MAX_NAMED;
}

/* Why the file's tensor cannot be read into *t; NULL: it can. */
static const char *misfit(const Reader *r, const NamedTensor *t, char *why, size_t size)
{
    char have[128], want[64];
    const json_t *info = json_object_get(r->header, t->name);
    if (!info)
        return "is missing";
    const json_t *shape = json_object_get(info, "shape");
    const char *dtype = json_string_value(json_object_get(info, "dtype"));
    const Dtype *known = find_dtype(dtype);
    shape_text(shape, have, sizeof have);
    wanted_shape_text(&t->shape, want, sizeof want);
    if (!same_shape(&t->shape, shape))
        snprintf(why, size, "has shape %s, the model needs %s", have, want);
    else if (!known || !known->to_float)
        snprintf(why, size, "has dtype %s; F32, F64, F16 or BF16 is needed",
                 printable(dtype, have, sizeof have));
    else
        return NULL;
    return why;
}

static const NamedTensor *find_wanted(const Reader *r, const char *name)
{
    for (int i = 0; i < r->list->count; i++)
        if (strcmp(r->list->item[i].name, name) == 0)
            return &r->list->item[i];
    return NULL;
}

static int check_fit(Reader *r)
{
    const char *name;
    json_t *info;
    char text[256];
    for (int i = 0; i < r->list->count; i++) {
        const char *why = misfit(r, &r->list->item[i], text, sizeof text);
        if (why && may_name(r))
            fault("%s: tensor %s %s", r->path, r->list->item[i].name, why);
    }
    json_object_foreach(r->header, name, info)
    {
        if (strcmp(name, "__metadata__") == 0 || find_wanted(r, name))
            continue;
        if (may_name(r))
            fault("%s: tensor %s is not in the model", r->path, printable(name, text, MAX_NAME));
    }
    if (r->faults == 0)
        return 0;
    if (r->faults > MAX_NAMED)
        fault("%s: and %d more tensors do not fit", r->path, r->faults - MAX_NAMED);
    return fault("%s does not hold %s of model %s; give a file of this model, or compile the "
                 "model that it belongs to",
                 r->path, r->list->what, r->list->model);
}

static int read_elements(const Reader *r, const Dtype *dtype, uint8_t *raw, const NamedTensor *t)
{
    size_t count = (size_t)shape_elements(&t->shape), bytes = (size_t)dtype->bytes;
    if (fread(raw, bytes, count, r->file) != count)
        return fault("cannot read tensor %s of %s: %s", t->name, r->path,
                     ferror(r->file) ? strerror(errno) : "the file ended");
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        t->value[i] = dtype->to_float(raw + i * bytes);
        bad += !isfinite(t->value[i]);
    }
    if (bad > 0)
        return fault("tensor %s of %s has %zu value%s that %s not finite; give the file of a "
                     "training that went well",
                     t->name, r->path, bad, bad == 1 ? "" : "s", bad == 1 ? "is" : "are");
    return 0;
}

static int read_tensor(const Reader *r, const NamedTensor *t)
{
    const json_t *info = json_object_get(r->header, t->name);
    const json_t *range = json_object_get(info, "data_offsets");
    const Dtype *dtype = find_dtype(json_string_value(json_object_get(info, "dtype")));
    int64_t at = r->data_start + json_integer_value(json_array_get(range, 0));
    if (fseeko(r->file, at, SEEK_SET) != 0)
        return fault("cannot read tensor %s of %s: %s", t->name, r->path, strerror(errno));
    uint8_t *raw = malloc((size_t)(shape_elements(&t->shape) * dtype->bytes) + 1);
    if (!raw)
        return fault("no memory for tensor %s of %s", t->name, r->path);
    int status = read_elements(r, dtype, raw, t);
    free(raw);
    return status;
}

static int read_all(Reader *r)
{
    if (check_fit(r) < 0)
        return -1;
    for (int i = 0; i < r->list->count; i++)
        if (read_tensor(r, &r->list->item[i]) < 0)
            return -1;
    return 0;
}

/* ---- reading what fits ---- */

static void report_unused(const Reader *r)
{
    const char *name;
    json_t *info;
    char text[MAX_NAME], shape[128], why[256];
    json_object_foreach(r->header, name, info)
    {
        const NamedTensor *t = find_wanted(r, name);
        if (strcmp(name, "__metadata__") == 0 || (t && !misfit(r, t, why, sizeof why)))
            continue;
        shape_text(json_object_get(info, "shape"), shape, sizeof shape);
        printf("not used: %s (%s)\n", printable(name, text, sizeof text), shape);
    }
}

static int read_fitting(Reader *r)
{
    char why[256], shape[64];
    int taken = 0;
    for (int i = 0; i < r->list->count; i++) {
        const NamedTensor *t = &r->list->item[i];
        const char *reason = misfit(r, t, why, sizeof why);
        wanted_shape_text(&t->shape, shape, sizeof shape);
        if (!reason && read_tensor(r, t) < 0)
            return -1;
        taken += !reason;
        if (reason)
            printf("kept its initial value: %s (%s): in the file it %s\n", t->name, shape, reason);
        else
            printf("taken: %s (%s)\n", t->name, shape);
    }
    report_unused(r);
    printf("%d of %d tensors taken from %s\n", taken, r->list->count, r->path);
    if (taken == 0)
        return fault("%s has no tensor with the name and shape of one of model %s; give the file "
                     "of a related model",
                     r->path, r->list->model);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

static int open_and_read(const char *path, const TensorList *list, int (*read)(Reader *))
{
    Reader r = {.path = path, .list = list};
    if (!little_endian())
        return fault("safetensors files need a little-endian machine");
    r.file = fopen(path, "rb");
    if (!r.file)
        return fault("cannot read %s: %s; give an existing .safetensors file", path,
                     strerror(errno));
    int status = read_header(&r);
    if (status == 0)
        status = check_claims(&r);
    if (status == 0)
        status = read(&r);
    json_decref(r.header);
    fclose(r.file);
    return status;
}

int tensors_read(const char *path, const TensorList *list)
{
    return open_and_read(path, list, read_all);
}

int tensors_read_partial(const char *path, const TensorList *list)
{
    return open_and_read(path, list, read_fitting);
}

/* ---- writing ---- */

/* The JSON header, padded with spaces so that the data starts at a multiple of 8. */
static char *make_header(const TensorList *list, size_t *length)
{
    json_t *header =
        json_pack("{s:{s:s, s:s}}", "__metadata__", "format", "pt", "model", list->model);
    int64_t at = 0;
    for (int i = 0; header && i < list->count; i++) {
        const NamedTensor *t = &list->item[i];
        json_t *shape = json_array();
        for (int k = 0; k < t->shape.rank; k++)
            json_array_append_new(shape, json_integer(t->shape.dim[k]));
        int64_t end = at + shape_elements(&t->shape) * (int64_t)sizeof(float);
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape,
                                      "data_offsets", (json_int_t)at, (json_int_t)end));
        at = end;
    }
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text)
        return NULL;
    size_t bytes = strlen(text), padded = (bytes + 7) / 8 * 8;
    char *out = xmalloc(padded);
    memset(out, ' ', padded);
    memcpy(out, text, bytes);
    free(text);
    *length = padded;
    return out;
}

int tensors_write(const char *path, const TensorList *list)
{
    OutFile out;
    size_t length;
    uint8_t raw[8];
    if (!little_endian())
        return fault("safetensors files need a little-endian machine");
    char *header = make_header(list, &length);
    if (!header)
        return fault("no memory for the header of %s", path);
    if (outfile_open(&out, path) < 0) {
        free(header);
        return -1;
    }
    for (int i = 0; i < 8; i++)
        raw[i] = (uint8_t)((uint64_t)length >> (8 * i));
    fwrite(raw, 1, 8, out.file);
    fwrite(header, 1, length, out.file);
    free(header);
    for (int i = 0; i < list->count; i++)
        fwrite(list->item[i].value, sizeof(float), (size_t)shape_elements(&list->item[i].shape),
               out.file);
    return outfile_commit(&out);
}
