/* The safetensors format: u64 little-endian header length, a JSON object of tensors, the data.
 * Nothing in the header is believed before it is checked. */
#include "../../ir/ir.h"
#include "formats.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_HEADER = 100 << 20, MAX_NAME = 80, BEGIN_BYTES = 64 };

/* The key of the metadata that has the names of the classes. */
#define CLASSES "classes"

typedef struct Entry {
    const char *name;
    json_t *info;
    int64_t begin, end; /* in the data */
} Entry;

/* The dtypes of safetensors, and how one element of those that can be read becomes a float. */
typedef struct Dtype {
    const char *name;
    int bytes;
    float (*to_float)(const uint8_t *element); /* NULL: not a dtype of ours */
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

/* A count, by convention below 2^24, up to which floats have all. */
static float i64_to_float(const uint8_t *element)
{
    int64_t value;
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

/* What makes a safetensors file of one that torch.save wrote, in a shell. */
#define CONVERSION \
    "python3 -c \"import sys, torch; from safetensors.torch import save_file; " \
    "d = torch.load(sys.argv[1], map_location='cpu'); d = d.get('state_dict', d); " \
    "save_file({k: v.contiguous().clone() for k, v in d.items() if torch.is_tensor(v)}, " \
    "sys.argv[2])\""

static int pytorch_fault(const char *path)
{
    Text words = {0};
    const char *dot = strrchr(path, '.');
    size_t stem = dot && dot > path && !strchr(dot, '/') ? (size_t)(dot - path) : strlen(path);
    char *out = xmalloc(stem + sizeof ".safetensors");
    memcpy(out, path, stem);
    strcpy(out + stem, ".safetensors");
    text_append_shell_word(&words, path);
    text_append_shell_word(&words, out);
    int status = fault("%s is a file of PyTorch, not of safetensors; make one of it with\n"
                       "  " CONVERSION " %s",
                       path, words.data);
    text_free(&words);
    free(out);
    return status;
}

/* Files that people have parameters in too: -1 after a message that names the kind, else 0. */
static int check_kind(const char *path, const uint8_t *begin, size_t size)
{
    bool zip = size > 4 && memcmp(begin, "PK\3\4", 4) == 0;
    /* A safetensors file begins with a length whose upper half is 0. */
    bool pickle = size >= 8 && begin[0] == 0x80 && begin[1] >= 2 && begin[1] <= 5 &&
                  memcmp(begin + 4, "\0\0\0\0", 4) != 0;
    if (zip && !memmem(begin, size, ".pkl", 4))
        return fault("%s is a zip archive (of NumPy or Keras?), not a safetensors file", path);
    if (zip || pickle)
        return pytorch_fault(path);
    if (size >= 8 && memcmp(begin, "\x89HDF\r\n\x1a\n", 8) == 0)
        return fault("%s is an HDF5 file (of Keras?), not a safetensors file", path);
    return 0;
}

static int read_length(TensorFile *f, size_t *length)
{
    struct stat s;
    uint8_t raw[BEGIN_BYTES];
    uint64_t value = 0;
    if (fstat(fileno(f->file), &s) != 0)
        return fault("cannot read %s: %s", f->path, strerror(errno));
    size_t begin = fread(raw, 1, sizeof raw, f->file);
    if (check_kind(f->path, raw, begin) < 0)
        return -1;
    if (begin < 8)
        return fault("%s is truncated: %lld bytes are too few for a safetensors file", f->path,
                     (long long)s.st_size);
    for (int i = 7; i >= 0; i--)
        value = value << 8 | raw[i];
    if (value > MAX_HEADER || (int64_t)value > s.st_size - 8)
        return fault("%s: its header claims %llu bytes, the file has %lld; it is truncated or "
                     "not a safetensors file",
                     f->path, (unsigned long long)value, (long long)s.st_size);
    *length = (size_t)value;
    f->data_start = 8 + (int64_t)value;
    f->data_bytes = s.st_size - f->data_start;
    return 0;
}

static int read_header(TensorFile *f)
{
    size_t length = 0;
    json_error_t error;
    char text[MAX_NAME];
    if (read_length(f, &length) < 0)
        return -1;
    char *raw = malloc(length + 1);
    if (!raw)
        return fault("%s: no memory for its header of %zu bytes", f->path, length);
    if (fseek(f->file, 8, SEEK_SET) != 0 || fread(raw, 1, length, f->file) != length) {
        free(raw);
        return fault("cannot read %s: %s", f->path, strerror(errno));
    }
    f->header = json_loadb(raw, length, JSON_REJECT_DUPLICATES, &error);
    free(raw);
    if (!f->header)
        return fault("%s: its header is not valid JSON: %s (byte %d); the file is corrupt", f->path,
                     printable(error.text, text, sizeof text), error.position);
    if (!json_is_object(f->header))
        return fault("%s: its header is not a JSON object; the file is corrupt", f->path);
    return 0;
}

/* ---- claims: inside the file, no gap, no overlap, the size that the shape has ---- */

static const Dtype *find_dtype(const char *name)
{
    static const Dtype known[] = {
        {"F64", 8, f64_to_float},   {"F32", 4, f32_to_float}, {"F16", 2, f16_to_float},
        {"BF16", 2, bf16_to_float}, {"I64", 8, i64_to_float},         {"U64", 8, NULL},
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

static int check_claim(TensorFile *f, Entry *e)
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
                     f->path, name);
    e->begin = json_integer_value(json_array_get(range, 0));
    e->end = json_integer_value(json_array_get(range, 1));
    if (e->begin < 0 || e->end < e->begin || e->end > f->data_bytes)
        return fault("%s: tensor %s claims bytes %lld to %lld of %lld; the file is truncated or "
                     "corrupt",
                     f->path, name, (long long)e->begin, (long long)e->end,
                     (long long)f->data_bytes);
    const Dtype *known = find_dtype(json_string_value(dtype));
    int64_t bytes;
    if (known && (!shape_bytes(shape, known->bytes, &bytes) || bytes != e->end - e->begin))
        return fault("%s: tensor %s has %lld bytes of data, which is not what its shape and "
                     "dtype need; the file is corrupt",
                     f->path, name, (long long)(e->end - e->begin));
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int check_cover(const TensorFile *f, Entry *entry, int count)
{
    int64_t at = 0;
    char name[MAX_NAME];
    qsort(entry, (size_t)count, sizeof *entry, by_begin);
    for (int i = 0; i < count; i++) {
        if (entry[i].begin != at)
            return fault("%s: the data of tensor %s %s; the file is corrupt", f->path,
                         printable(entry[i].name, name, sizeof name),
                         entry[i].begin < at ? "overlaps another's" : "leaves a gap before it");
        at = entry[i].end;
    }
    if (at != f->data_bytes)
        return fault("%s has %lld bytes after its last tensor; the file is corrupt", f->path,
                     (long long)(f->data_bytes - at));
    return 0;
}

static int check_claims(TensorFile *f)
{
    const char *name;
    json_t *info;
    int count = 0, status = 0;
    Entry *entry = malloc((json_object_size(f->header) + 1) * sizeof *entry);
    if (!entry)
        return fault("%s: no memory for its header", f->path);
    json_object_foreach(f->header, name, info)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        entry[count] = (Entry){.name = name, .info = info};
        if ((status = check_claim(f, &entry[count++])) < 0)
            break;
    }
    if (status == 0)
        status = check_cover(f, entry, count);
    free(entry);
    return status;
}

/* ---- reading ---- */

bool tensor_dtype_readable(const char *dtype, bool whole)
{
    const Dtype *known = find_dtype(dtype);
    return known && known->to_float && (known->to_float == i64_to_float) == whole;
}

static int read_elements(const TensorFile *f, const Dtype *dtype, uint8_t *raw,
                         const NamedTensor *t)
{
    size_t count = (size_t)shape_elements(&t->shape), bytes = (size_t)dtype->bytes;
    if (fread(raw, bytes, count, f->file) != count)
        return fault("cannot read tensor %s of %s: %s", t->name, f->path,
                     ferror(f->file) ? strerror(errno) : "the file ended");
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        t->value[i] = dtype->to_float(raw + i * bytes);
        bad += !isfinite(t->value[i]);
    }
    if (bad > 0)
        return fault("tensor %s of %s has %zu value%s that %s not finite; give the file of a "
                     "training that went well",
                     t->name, f->path, bad, bad == 1 ? "" : "s", bad == 1 ? "is" : "are");
    return 0;
}

int tensor_file_load(const TensorFile *f, const char *name, const NamedTensor *t)
{
    const json_t *info = json_object_get(f->header, name);
    const json_t *range = json_object_get(info, "data_offsets");
    const Dtype *dtype = find_dtype(json_string_value(json_object_get(info, "dtype")));
    int64_t at = f->data_start + json_integer_value(json_array_get(range, 0));
    if (fseeko(f->file, at, SEEK_SET) != 0)
        return fault("cannot read tensor %s of %s: %s", t->name, f->path, strerror(errno));
    uint8_t *raw = malloc((size_t)(shape_elements(&t->shape) * dtype->bytes) + 1);
    if (!raw)
        return fault("no memory for tensor %s of %s", t->name, f->path);
    int status = read_elements(f, dtype, raw, t);
    free(raw);
    return status;
}

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

/* Another kind of file could block, or never end. */
static int open_regular(TensorFile *f)
{
    struct stat s;
    if (!little_endian())
        return fault("safetensors files need a little-endian machine");
    if (stat(f->path, &s) == 0 && S_ISDIR(s.st_mode))
        return directory_fault(f->path);
    if (stat(f->path, &s) == 0 && !S_ISREG(s.st_mode))
        return fault("%s is not a regular file; give a .safetensors file", f->path);
    f->file = fopen(f->path, "rb");
    if (!f->file)
        return fault("cannot read %s: %s; give an existing .safetensors file", f->path,
                     strerror(errno));
    return 0;
}

int tensor_file_open(TensorFile *f, const char *path)
{
    *f = (TensorFile){.path = path};
    int status = open_regular(f);
    if (status == 0)
        status = read_header(f);
    if (status == 0)
        status = check_claims(f);
    if (status < 0)
        tensor_file_close(f);
    return status;
}

void tensor_file_close(TensorFile *f)
{
    json_decref(f->header);
    if (f->file)
        fclose(f->file);
    *f = (TensorFile){0};
}

/* ---- the names of classes ---- */

static bool take_texts(const json_t *list, TextLines *out)
{
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count; i++)
        if (!json_is_string(json_array_get(list, i)))
            return false;
    if (!json_is_array(list) || count > INT_MAX)
        return false;
    out->line = xmalloc((count + 1) * sizeof *out->line);
    for (size_t i = 0; i < count; i++)
        out->line[out->count++] = copy_text(json_string_value(json_array_get(list, i)));
    return true;
}

int tensor_file_classes(const char *path, TextLines *out)
{
    TensorFile f;
    *out = (TextLines){0};
    if (tensor_file_open(&f, path) < 0)
        return -1;
    const json_t *text =
        json_object_get(json_object_get(f.header, "__metadata__"), CLASSES);
    json_t *list = json_is_string(text) ? json_loads(json_string_value(text), 0, NULL) : NULL;
    if (text && !take_texts(list, out))
        notice("%s: \"" CLASSES "\" of its metadata is no JSON list of names, and is passed over",
               path);
    json_decref(list);
    tensor_file_close(&f);
    return 0;
}

/* ---- writing ---- */

static int64_t bytes_in_file(const NamedTensor *t)
{
    return shape_elements(&t->shape) * (int64_t)(t->whole ? sizeof(int64_t) : sizeof(float));
}

/* Where the data of item i begins: that of whole numbers comes first, as readers want it
 * aligned. */
static int64_t begin_in_file(const TensorList *list, int i)
{
    int64_t at = 0;
    for (int k = 0; k < list->count; k++)
        if (list->item[k].whole == list->item[i].whole ? k < i : list->item[k].whole)
            at += bytes_in_file(&list->item[k]);
    return at;
}

static void add_claim(json_t *header, const NamedTensor *t, int64_t at)
{
    json_t *shape = json_array();
    for (int k = 0; k < t->shape.rank; k++)
        json_array_append_new(shape, json_integer(t->shape.dim[k]));
    json_object_set_new(header, t->name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->whole ? "I64" : "F32",
                                  "shape", shape, "data_offsets", (json_int_t)at,
                                  (json_int_t)(at + bytes_in_file(t))));
}

/* Values of metadata are texts, so the list is one. */
static void add_classes(json_t *header, const TensorList *list)
{
    json_t *names = json_array();
    for (int i = 0; i < list->classes; i++)
        json_array_append_new(names, json_name(list->class_name[i]));
    char *text = json_dumps(names, JSON_COMPACT);
    json_object_set_new(json_object_get(header, "__metadata__"), CLASSES, json_string(text));
    free(text);
    json_decref(names);
}

/* The JSON header, padded with spaces so that the data starts at a multiple of 8. */
static char *make_header(const TensorList *list, size_t *length)
{
    json_t *header =
        json_pack("{s:{s:s, s:s}}", "__metadata__", "format", "pt", "model", list->model);
    if (header && list->classes > 0)
        add_classes(header, list);
    for (int i = 0; header && i < list->count; i++)
        add_claim(header, &list->item[i], begin_in_file(list, i));
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

static void write_elements(const NamedTensor *t, FILE *out)
{
    int64_t count = shape_elements(&t->shape);
    if (!t->whole)
        fwrite(t->value, sizeof(float), (size_t)count, out);
    for (int64_t i = 0; t->whole && i < count; i++) {
        const int64_t value = (int64_t)t->value[i];
        fwrite(&value, sizeof value, 1, out);
    }
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
    for (int whole = 1; whole >= 0; whole--)
        for (int i = 0; i < list->count; i++)
            if (list->item[i].whole == whole)
                write_elements(&list->item[i], out.file);
    return outfile_commit(&out);
}
