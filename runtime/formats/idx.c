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

enum { MOST_SHOWN = 4 };

/* How far a name lies from the usual one for what stands before it. */
enum { PLAIN_NAME = 16, OTHER_SET = 64, OTHER_SETS = 1024 };

static const struct {
    int code;
    NumberKind type;
} types[] = {
    {0x08, NUMBER_U8},  {0x09, NUMBER_I8},  {0x0B, NUMBER_I16},
    {0x0C, NUMBER_I32}, {0x0D, NUMBER_F32}, {0x0E, NUMBER_F64},
};

/* ---- names ---- */

static bool is_separator(char c)
{
    return c == '-' || c == '_' || c == '.';
}

/* Where PART-WHAT begins in a file's name, at its start or behind a separator; NULL: nowhere. */
static const char *find_part(const char *file, const char *part, const char *what)
{
    size_t length = strlen(part);
    for (const char *at = file; *at; at++)
        if ((at == file || is_separator(at[-1])) && strncmp(at, part, length) == 0 &&
            is_separator(at[length]) && strncmp(at + length + 1, what, strlen(what)) == 0)
            return at;
    return NULL;
}

/* What stands before: nothing, or the name of a set, as emnist-letters-train-images ... */
static int prefix_distance(const char *file, size_t length, const char *set)
{
    if (length == 0)
        return set ? PLAIN_NAME : 0;
    return set && strlen(set) == length - 1 && strncasecmp(file, set, length - 1) == 0 ? 0
                                                                                       : OTHER_SET;
}

/* What stands behind: .idx3-ubyte and its like; -1: something else. */
static int suffix_distance(const char *at, int rank)
{
    if (!is_separator(*at) || strncmp(at + 1, "idx", 3) != 0 || !isdigit((unsigned char)at[4]))
        return -1;
    int distance = 2 * (*at != '-') + 8 * (at[4] - '0' != rank);
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

/* How far a file's name lies from the one that is looked for, 0 being that; -1: it is another
 * file's. The test images are t10k's, or test's as those of EMNIST and QMNIST. */
static int name_distance(const char *file, const IdxName *name)
{
    bool is_test = strcmp(name->part, "t10k") == 0;
    const char *part = name->part, *at = find_part(file, part, name->what);
    if (!at && is_test)
        at = find_part(file, part = "test", name->what);
    if (!at)
        return -1;
    size_t length = strlen(part);
    int suffix = suffix_distance(at + length + 1 + strlen(name->what), name->rank);
    if (suffix < 0)
        return -1;
    return suffix + 2 * (at[length] != '-') + prefix_distance(file, (size_t)(at - file), name->set);
}

/* Whether two names differ in what stands before the part. */
static bool other_set(const char *a, const char *b, const IdxName *name)
{
    const char *part[2] = {find_part(a, name->part, name->what),
                           find_part(b, name->part, name->what)};
    if (!part[0] || !part[1])
        return !part[0] != !part[1];
    return part[0] - a != part[1] - b || strncmp(a, b, (size_t)(part[0] - a)) != 0;
}

/* The file of the directory with the nearest name, and its distance, which is OTHER_SETS where
 * several sets that nobody named have one; NULL: there is none. The caller frees it. */
static char *find_nearest(const char *directory, const IdxName *name, int *nearest)
{
    struct dirent *entry;
    char *best = NULL, *best_name = NULL;
    bool several = false;
    DIR *d = opendir(directory);
    *nearest = INT_MAX;
    while (d && (entry = readdir(d))) {
        int distance = name_distance(entry->d_name, name);
        char *path = distance < 0 ? NULL : join_path(directory, entry->d_name);
        if (!path || !is_regular(path)) {
            free(path);
            continue;
        }
        several = several || (best && distance >= OTHER_SET && *nearest >= OTHER_SET &&
                              other_set(entry->d_name, best_name, name));
        if (distance < *nearest || (distance == *nearest && strcmp(path, best) < 0)) {
            char *old[] = {best, best_name};
            best = path;
            best_name = copy_text(entry->d_name);
            *nearest = distance;
            free(old[0]);
            free(old[1]);
        } else {
            free(path);
        }
    }
    if (d)
        closedir(d);
    free(best_name);
    if (several && *nearest >= OTHER_SET)
        *nearest = OTHER_SETS;
    return best;
}

bool idx_any(const char *directory)
{
    static const IdxName names[] = {
        {"train", "images", 3, NULL},
        {"train", "labels", 1, NULL},
        {"t10k", "images", 3, NULL},
        {"t10k", "labels", 1, NULL},
    };
    int distance;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = find_nearest(directory, &names[i], &distance);
        free(path);
        if (path)
            return true;
    }
    return false;
}

/* Whether the name reads as if it was what is looked for, and is not that of the other split. */
static bool is_like(const char *file, const IdxName *name)
{
    IdxName train = {"train", name->what, name->rank, NULL};
    IdxName test = {"t10k", name->what, name->rank, NULL};
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

/* ---- opening ---- */

static NumberKind find_type(int code)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].code == code)
            return types[i].type;
    return NUMBER_TYPES;
}

static int read_header(IdxFile *f)
{
    uint8_t raw[4 * IDX_MAX_RANK], magic[4];
    if (gzip_read(&f->in, magic, 4, "the IDX header") < 0)
        return -1;
    f->type = find_type(magic[2]);
    f->rank = magic[3];
    if (magic[0] || magic[1] || f->type == NUMBER_TYPES || f->rank < 1 || f->rank > IDX_MAX_RANK)
        return fault("%s: bad magic number %02x%02x%02x%02x, expected 0000, a type (08, 09, 0b to "
                     "0e) and 01 to %02x dimensions; it is not the IDX file its name says",
                     f->path, magic[0], magic[1], magic[2], magic[3], (unsigned)IDX_MAX_RANK);
    if (gzip_read(&f->in, raw, 4 * (size_t)f->rank, "the sizes in the IDX header") < 0)
        return -1;
    for (int i = 0; i < f->rank; i++)
        f->dim[i] = (uint32_t)raw[4 * i] << 24 | (uint32_t)raw[4 * i + 1] << 16 |
                    (uint32_t)raw[4 * i + 2] << 8 | raw[4 * i + 3];
    if (f->dim[0] == 0 || f->dim[0] > INT32_MAX)
        return fault("%s: its header says %u items; from 1 to %d are possible", f->path, f->dim[0],
                     INT32_MAX);
    return 0;
}

/* Several sets lie there, and no name says which is meant. */
static int several_sets(const char *directory, const IdxName *name)
{
    return fault("%s holds the %s-%s of several sets; take the one that is meant into a directory "
                 "of its own, or name it as the model's dataset",
                 directory, name->part, name->what);
}

int idx_open(IdxFile *f, const char *directory, const IdxName *name)
{
    int distance, status;
    *f = (IdxFile){0};
    char *path = find_nearest(directory, name, &distance);
    if (!path)
        status = not_found(directory, name);
    else if (distance == OTHER_SETS)
        status = several_sets(directory, name);
    else
        status = gzip_open(&f->in, path);
    f->path = f->in.path;
    if (status == 0)
        status = read_header(f);
    free(path);
    if (status < 0)
        idx_close(f);
    return status;
}

void idx_close(IdxFile *f)
{
    gzip_close(&f->in);
}

/* ---- elements ---- */

static int too_short(const IdxFile *f, int64_t item)
{
    return fault("%s is truncated: its header says %u items of %lld %s, more than a file of "
                 "%llu bytes can hold; get the file again",
                 f->path, f->dim[0], (long long)item, number_types[f->type].name,
                 (unsigned long long)f->in.size);
}

/* All elements, where the file can hold as many. */
static int read_numbers(IdxFile *f, Numbers *out)
{
    int64_t bytes;
    char items[32];
    snprintf(items, sizeof items, "%u items", f->dim[0]);
    *out =
        (Numbers){.path = copy_text(f->path), .type = f->type, .big_endian = true, .rank = f->rank};
    for (int i = 0; i < f->rank; i++)
        out->dim[i] = f->dim[i];
    int64_t item = numbers_item(out);
    if (__builtin_mul_overflow(item, (int64_t)f->dim[0] * number_types[f->type].bytes, &bytes) ||
        !gzip_can_hold(&f->in, (uint64_t)bytes))
        return too_short(f, item);
    if (numbers_room(out) < 0 ||
        gzip_read(&f->in, out->raw, out->bytes, "the items that the header promises") < 0)
        return -1;
    return gzip_end(&f->in, items);
}

int idx_bytes(IdxFile *f, uint8_t **out)
{
    Numbers n;
    int status = read_numbers(f, &n);
    if (status == 0)
        status = numbers_to_bytes(&n);
    *out = NULL;
    if (status == 0) {
        *out = n.raw;
        n.raw = NULL;
    }
    numbers_free(&n);
    return status;
}

/* QMNIST's labels are rows of eight numbers, whose first is the class. */
static bool is_qmnist(const IdxFile *f)
{
    return f->rank == 2 && f->dim[1] == 8 && f->type == NUMBER_I32 && strcasestr(f->path, "qmnist");
}

int idx_labels(IdxFile *f, int classes, int32_t **out)
{
    const NumberType *type = &number_types[f->type];
    int64_t item = 1;
    Numbers n;
    *out = NULL;
    for (int i = 1; i < f->rank; i++)
        item *= f->dim[i] < 1000 ? f->dim[i] : 1000;
    if (item != 1 && !is_qmnist(f))
        return fault("%s holds %lld values an item; a label is one whole number", f->path,
                     (long long)item);
    if (!type->is_float && classes - 1 > type->highest)
        return fault("%s: labels of %s tell %d classes apart, the model has %d; "
                     "write them as 32-bit integers (IDX type 0c)",
                     f->path, type->name, (int)type->highest + 1, classes);
    int status = read_numbers(f, &n);
    if (status == 0)
        status = numbers_labels(&n, out);
    numbers_free(&n);
    return status;
}
