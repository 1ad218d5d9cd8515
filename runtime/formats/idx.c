/* IDX files: finding, and reading elements of every type. */
#include "../../ir/ir.h"
#include "formats.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/* Deflate compresses at most 1032 to 1, so a header that says more lies. */
enum { DEFLATE_RATIO = 1032, BLOCK = 1 << 14, MOST_SHOWN = 4 };

static const IdxType types[] = {
    {"unsigned bytes", 0x08, 1, 0, UINT8_MAX, false},
    {"signed bytes", 0x09, 1, INT8_MIN, INT8_MAX, false},
    {"16-bit integers", 0x0B, 2, INT16_MIN, INT16_MAX, false},
    {"32-bit integers", 0x0C, 4, INT32_MIN, INT32_MAX, false},
    {"32-bit floats", 0x0D, 4, 0, 0, true},
    {"64-bit floats", 0x0E, 8, 0, 0, true},
};

/* ---- names ---- */

static bool is_separator(char c)
{
    return c == '-' || c == '_' || c == '.';
}

/* How far a file's name lies from the one that is looked for, 0 being that; -1: it is another
 * file's. */
static int name_distance(const char *file, const IdxName *name)
{
    size_t part = strlen(name->part), what = strlen(name->what);
    int distance = 0;
    if (strncmp(file, name->part, part) != 0 || !is_separator(file[part]) ||
        strncmp(file + part + 1, name->what, what) != 0)
        return -1;
    const char *at = file + part + 1 + what;
    if (!is_separator(*at) || strncmp(at + 1, "idx", 3) != 0 || !isdigit((unsigned char)at[4]))
        return -1;
    distance += 2 * (file[part] != '-') + 2 * (*at != '-') + 8 * (at[4] - '0' != name->rank);
    at += 5;
    size_t length = strlen(at);
    if (length >= 3 && strcmp(at + length - 3, ".gz") == 0) {
        distance++;
        length -= 3;
    }
    if (length != 6 || strncmp(at, "-ubyte", 6) != 0) /* idx1-int, idx3 */
        distance += 4;
    if (length > 0 && !is_separator(*at))
        return -1;
    for (size_t i = 1; i < length; i++)
        if (!isalnum((unsigned char)at[i]))
            return -1;
    return distance;
}

/* The file of the directory with the nearest name; NULL: there is none. The caller frees it. */
static char *find_nearest(const char *directory, const IdxName *name)
{
    struct dirent *entry;
    char *best = NULL;
    int nearest = INT_MAX;
    DIR *d = opendir(directory);
    while (d && (entry = readdir(d))) {
        int distance = name_distance(entry->d_name, name);
        char *path = distance < 0 ? NULL : join_path(directory, entry->d_name);
        if (path && is_regular(path) &&
            (distance < nearest || (distance == nearest && strcmp(path, best) < 0))) {
            free(best);
            best = path;
            nearest = distance;
        } else {
            free(path);
        }
    }
    if (d)
        closedir(d);
    return best;
}

bool idx_any(const char *directory)
{
    static const IdxName names[] = {
        {"train", "images", 3},
        {"train", "labels", 1},
        {"t10k", "images", 3},
        {"t10k", "labels", 1},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = find_nearest(directory, &names[i]);
        free(path);
        if (path)
            return true;
    }
    return false;
}

/* Whether the name reads as if it was what is looked for, and is not that of the other split. */
static bool is_like(const char *file, const IdxName *name)
{
    IdxName train = {"train", name->what, name->rank}, test = {"t10k", name->what, name->rank};
    return strcasestr(file, name->what) && file[0] != '.' && name_distance(file, &train) < 0 &&
           name_distance(file, &test) < 0;
}

/* The first names in the directory that are like what is looked for. */
static void list_like(const char *directory, const IdxName *name, Text *out)
{
    struct dirent *entry;
    char text[256];
    int count = 0;
    DIR *d = opendir(directory);
    while (d && (entry = readdir(d)))
        if (is_like(entry->d_name, name) && ++count <= MOST_SHOWN)
            text_append(out, "%s%s", count > 1 ? ", " : "",
                        printable(entry->d_name, text, sizeof text));
    if (d)
        closedir(d);
    if (count > MOST_SHOWN)
        text_append(out, ", ...");
}

static int not_found(const char *directory, const IdxName *name)
{
    Text there = {0};
    struct stat s;
    char file[64];
    const char *advice =
        strcmp(name->part, "t10k") == 0 ? "; 'train --no-eval' goes without test images" : "";
    snprintf(file, sizeof file, "%s-%s-idx%d-ubyte", name->part, name->what, name->rank);
    char *path = join_path(directory, file);
    bool stands = stat(path, &s) == 0;
    list_like(directory, name, &there);
    if (stands)
        fault("cannot read %s: it is not a file%s", path,
              S_ISDIR(s.st_mode) ? "; give the directory that holds the files themselves" : "");
    else if (there.length > 0)
        fault("cannot read %s: %s, also not as %s-%s.idx%d-ubyte or with .gz; "
              "there is %s; rename the file that is meant%s",
              path, strerror(ENOENT), name->part, name->what, name->rank, there.data, advice);
    else
        fault("cannot read %s or %s.gz: %s; the directory must hold the four IDX files%s", path,
              path, strerror(ENOENT), advice);
    free(path);
    text_free(&there);
    return -1;
}

/* ---- bytes ---- */

static int broken(const IdxFile *f)
{
    int code = Z_OK;
    const char *why = gzerror(f->gz, &code);
    if (code == Z_ERRNO)
        why = strerror(errno);
    return fault("%s is corrupt: %s; get the file again", f->path, why);
}

/* Reads exactly `count` bytes of `what`, of which `before` were read. */
static int read_exactly(IdxFile *f, void *out, size_t count, const char *what)
{
    size_t done = 0;
    while (done < count) {
        size_t part = count - done < INT_MAX / 2 ? count - done : INT_MAX / 2;
        int got = gzread(f->gz, (char *)out + done, (unsigned)part);
        if (got < 0)
            return broken(f);
        if (got == 0)
            return fault("%s is truncated: %s need %zu bytes and only %zu are there; get the "
                         "file again",
                         f->path, what, count, done);
        done += (size_t)got;
    }
    return 0;
}

/* The data must end where the header says; reading on also makes zlib check its sum. */
static int check_end(IdxFile *f)
{
    char extra;
    int got = gzread(f->gz, &extra, 1), code = Z_OK;
    gzerror(f->gz, &code);
    if (got < 0 || code != Z_OK) /* a check sum that is cut off is no error of gzread */
        return broken(f);
    if (got > 0)
        return fault("%s has bytes after its %u items; the header or the file is wrong", f->path,
                     f->dim[0]);
    return 0;
}

/* ---- opening ---- */

static const IdxType *find_type(int code)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].code == code)
            return &types[i];
    return NULL;
}

static int read_header(IdxFile *f)
{
    uint8_t raw[4 * IDX_MAX_RANK], magic[4];
    if (read_exactly(f, magic, 4, "the IDX header") < 0)
        return -1;
    f->type = find_type(magic[2]);
    f->rank = magic[3];
    if (magic[0] || magic[1] || !f->type || f->rank < 1 || f->rank > IDX_MAX_RANK)
        return fault("%s: bad magic number %02x%02x%02x%02x, expected 0000, a type (08, 09, 0b to "
                     "0e) and 01 to %02x dimensions; it is not the IDX file its name says",
                     f->path, magic[0], magic[1], magic[2], magic[3], (unsigned)IDX_MAX_RANK);
    if (read_exactly(f, raw, 4 * (size_t)f->rank, "the sizes in the IDX header") < 0)
        return -1;
    for (int i = 0; i < f->rank; i++)
        f->dim[i] = (uint32_t)raw[4 * i] << 24 | (uint32_t)raw[4 * i + 1] << 16 |
                    (uint32_t)raw[4 * i + 2] << 8 | raw[4 * i + 3];
    if (f->dim[0] == 0 || f->dim[0] > INT32_MAX)
        return fault("%s: its header says %u items; from 1 to %d are possible", f->path, f->dim[0],
                     INT32_MAX);
    return 0;
}

static int open_file(IdxFile *f, const char *path)
{
    struct stat s;
    if (snprintf(f->path, sizeof f->path, "%s", path) >= (int)sizeof f->path)
        return fault("the path %.200s... is too long", path);
    if (stat(path, &s) != 0)
        return fault("cannot read %s: %s", path, strerror(errno));
    f->size = (uint64_t)s.st_size;
    f->gz = gzopen(path, "rb");
    if (!f->gz)
        return fault("cannot read %s: %s", path, errno ? strerror(errno) : "no memory");
    gzbuffer(f->gz, 1 << 17);
    return read_header(f);
}

int idx_open(IdxFile *f, const char *directory, const IdxName *name)
{
    *f = (IdxFile){0};
    char *path = find_nearest(directory, name);
    int status = path ? open_file(f, path) : not_found(directory, name);
    free(path);
    if (status < 0)
        idx_close(f);
    return status;
}

void idx_close(IdxFile *f)
{
    if (f->gz)
        gzclose(f->gz);
    f->gz = NULL;
}

int64_t idx_item(const IdxFile *f)
{
    int64_t item = 1;
    for (int i = 1; i < f->rank; i++)
        if (__builtin_mul_overflow(item, (int64_t)f->dim[i], &item))
            return INT64_MAX;
    return item;
}

/* ---- elements ---- */

static int64_t big_endian(const uint8_t *raw, int bytes)
{
    uint64_t n = 0;
    for (int i = 0; i < bytes; i++)
        n = n << 8 | raw[i];
    return (int64_t)n;
}

static double element(const IdxType *type, const uint8_t *raw)
{
    int64_t bits = big_endian(raw, type->bytes);
    float single;
    double value;
    uint32_t half = (uint32_t)bits;
    switch (type->code) {
    case 0x09: return (int8_t)bits;
    case 0x0B: return (int16_t)bits;
    case 0x0C: return (int32_t)bits;
    case 0x0D: memcpy(&single, &half, sizeof single); return (double)single;
    case 0x0E: memcpy(&value, &bits, sizeof value); return value;
    }
    return (double)bits;
}

/* Where the elements go, one after another. */
typedef struct Sink {
    void *out;
    double scale; /* of pixels */
    double most;  /* the largest so far */
} Sink;

/* -1 after a message: it cannot be the element `at`. */
typedef int PutFn(const IdxFile *f, Sink *sink, int64_t at, double value);

static int for_all(IdxFile *f, PutFn *put, Sink *sink)
{
    size_t bytes = (size_t)f->type->bytes;
    int64_t item = idx_item(f), count = f->dim[0] * item;
    uint8_t *raw = xmalloc(BLOCK * bytes);
    int status = gzseek(f->gz, 4 + 4 * f->rank, SEEK_SET) < 0 ? broken(f) : 0;
    for (int64_t at = 0; at < count && status == 0; at += BLOCK) {
        int64_t some = count - at < BLOCK ? count - at : BLOCK;
        status = read_exactly(f, raw, (size_t)some * bytes, "the items that the header promises");
        for (int64_t i = 0; i < some && status == 0; i++)
            status = put(f, sink, at + i, element(f->type, raw + (size_t)i * bytes));
    }
    free(raw);
    return status == 0 ? check_end(f) : -1;
}

/* Room for all elements, `bytes` each, where the file can hold as many. */
static int make_room(const IdxFile *f, size_t bytes, void **out)
{
    int64_t item = idx_item(f), in_file, needed;
    *out = NULL;
    if (__builtin_mul_overflow(item, (int64_t)f->dim[0], &needed) ||
        __builtin_mul_overflow(needed, (int64_t)f->type->bytes, &in_file) ||
        (uint64_t)in_file / DEFLATE_RATIO > f->size)
        return fault("%s is truncated: its header says %u items of %lld %s, more than a file of "
                     "%llu bytes can hold; get the file again",
                     f->path, f->dim[0], (long long)item, f->type->name,
                     (unsigned long long)f->size);
    *out = malloc((size_t)needed * bytes + 1);
    if (!*out)
        return fault("%s: its header says %u items, which need %zu bytes of memory; that is not "
                     "to be had, or the header is wrong",
                     f->path, f->dim[0], (size_t)needed * bytes);
    return 0;
}

/* ---- pixels ---- */

static int put_most(const IdxFile *f, Sink *sink, int64_t at, double value)
{
    (void)f;
    (void)at;
    sink->most = fmax(sink->most, value);
    return 0;
}

static int put_pixel(const IdxFile *f, Sink *sink, int64_t at, double value)
{
    static const double rounding = 1e-3; /* of k / 255 as a float, times 255 */
    double pixel = nearbyint(value * sink->scale);
    if (!(pixel >= 0 && pixel <= UINT8_MAX) || !(fabs(value * sink->scale - pixel) <= rounding))
        return fault("%s: the value %g in item %lld cannot be a pixel, which is a byte: "
                     "whole numbers from 0 to 255%s are needed",
                     f->path, value, (long long)(at / idx_item(f)),
                     f->type->is_float ? ", or those divided by 255," : "");
    ((uint8_t *)sink->out)[at] = (uint8_t)pixel;
    return 0;
}

/* Floats up to 1 are pixels that were divided by 255. */
static int find_scale(IdxFile *f, Sink *sink)
{
    sink->scale = 1;
    if (!f->type->is_float)
        return 0;
    if (for_all(f, put_most, sink) < 0)
        return -1;
    if (sink->most <= 1) {
        sink->scale = UINT8_MAX;
        notice("%s: its pixels are from 0 to 1 and taken times 255", f->path);
    }
    return 0;
}

int idx_bytes(IdxFile *f, uint8_t **out)
{
    Sink sink = {0};
    void *room;
    int status = make_room(f, 1, &room);
    sink.out = *out = room;
    if (status < 0)
        return -1;
    if (f->type->code == types[0].code) { /* as they are */
        status = read_exactly(f, *out, (size_t)(f->dim[0] * idx_item(f)),
                            "the items that the header promises");
        return status == 0 ? check_end(f) : -1;
    }
    status = find_scale(f, &sink);
    return status == 0 ? for_all(f, put_pixel, &sink) : -1;
}

/* ---- labels ---- */

static int put_label(const IdxFile *f, Sink *sink, int64_t at, double value)
{
    if (!(value >= INT32_MIN && value <= INT32_MAX) || floor(value) != value)
        return fault("%s: label %g of item %lld is no whole number of a class", f->path, value,
                     (long long)at);
    ((int32_t *)sink->out)[at] = (int32_t)value;
    return 0;
}

int idx_labels(IdxFile *f, int classes, int32_t **out)
{
    Sink sink = {0};
    void *room;
    *out = NULL;
    if (idx_item(f) != 1)
        return fault("%s holds %lld values an item; a label is one whole number", f->path,
                     (long long)idx_item(f));
    if (!f->type->is_float && classes - 1 > f->type->highest)
        return fault("%s: labels of %s tell %d classes apart, the model has %d; "
                     "write them as 32-bit integers (IDX type 0c)",
                     f->path, f->type->name, (int)f->type->highest + 1, classes);
    int status = make_room(f, sizeof **out, &room);
    sink.out = *out = room;
    return status == 0 ? for_all(f, put_label, &sink) : -1;
}
