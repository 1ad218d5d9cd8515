/* Data sets: four IDX files (the format of MNIST), plain or gzipped, read whole as u8. */
#include "../ir/ir.h"
#include "runtime.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/* Deflate compresses at most 1032 to 1, so a header that says more lies. */
enum { IDX_U8 = 0x08, DEFLATE_RATIO = 1032 };

/* Where Debian puts data sets. */
#define PACKAGED "/usr/share/datasets"

typedef struct IdxFile {
    gzFile gz;
    char path[DATA_PATH];
    uint64_t size; /* of the file, in bytes */
    uint32_t dim[4];
    int rank;
} IdxFile;

static bool is_directory(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* ---- where the files are ---- */

static int images_rank(const NincModel *model)
{
    return model->image_c == 1 ? 3 : 4;
}

static int not_found(const NincModel *model, const char *searched)
{
    const char *dataset = model->dataset;
    int rank = images_rank(model);
    if (strcmp(dataset, "fashion-mnist") == 0)
        return fault("data set fashion-mnist not found (%s); install it with 'apt install "
                     "dataset-fashion-mnist', or give its directory with --data DIR",
                     searched);
    return fault("data set %s not found (%s); put train-images-idx%d-ubyte, "
                 "train-labels-idx1-ubyte, t10k-images-idx%d-ubyte and t10k-labels-idx1-ubyte "
                 "(or these with .gz) into one directory and give it with --data DIR",
                 dataset, searched, rank, rank);
}

bool dataset_directory(const NincModel *model, const char *data, char *out)
{
    const char *root = getenv("NINC_DATA");
    if (data) {
        snprintf(out, DATA_PATH, "%s", data);
        return is_directory(out);
    }
    snprintf(out, DATA_PATH, "%s/%s", root ? root : "", model->dataset);
    if (root && is_directory(out))
        return true;
    snprintf(out, DATA_PATH, PACKAGED "/%s", model->dataset);
    return is_directory(out);
}

/* Finds the directory, or says where it is not. */
static int find_directory(const NincModel *model, const char *data, char *out)
{
    const char *dataset = model->dataset, *root = getenv("NINC_DATA");
    char searched[2 * DATA_PATH + 64];
    if (dataset_directory(model, data, out))
        return 0;
    if (data)
        snprintf(searched, sizeof searched, "--data %s is not a directory", data);
    else if (root)
        snprintf(searched, sizeof searched, "looked in %s/%s and " PACKAGED "/%s", root, dataset,
                 dataset);
    else
        snprintf(searched, sizeof searched, "looked in " PACKAGED "/%s; NINC_DATA is not set",
                 dataset);
    return not_found(model, searched);
}

/* ---- one IDX file ---- */

static int idx_open(IdxFile *f, const char *directory, const char *name)
{
    struct stat s;
    int length = snprintf(f->path, DATA_PATH, "%s/%s", directory, name);
    if (length < 0 || length >= DATA_PATH - 3)
        return fault("the path of %s in %.200s... is too long", name, directory);
    if (stat(f->path, &s) != 0 && errno == ENOENT)
        strcat(f->path, ".gz");
    if (stat(f->path, &s) != 0) {
        int error = errno;
        f->path[length] = '\0';
        return fault("cannot read %s or %s.gz: %s; the directory must hold the four IDX files",
                     f->path, f->path, strerror(error));
    }
    if (!S_ISREG(s.st_mode))
        return fault("cannot read %s: it is not a file", f->path);
    f->size = (uint64_t)s.st_size;
    f->gz = gzopen(f->path, "rb");
    if (!f->gz)
        return fault("cannot read %s: %s", f->path, errno ? strerror(errno) : "no memory");
    gzbuffer(f->gz, 1 << 17);
    return 0;
}

static void idx_close(IdxFile *f)
{
    if (f->gz)
        gzclose(f->gz);
    f->gz = NULL;
}

static int idx_broken(const IdxFile *f)
{
    int code = Z_OK;
    const char *why = gzerror(f->gz, &code);
    if (code == Z_ERRNO)
        why = strerror(errno);
    return fault("%s is corrupt: %s; get the file again", f->path, why);
}

/* Reads exactly `count` bytes of `what`. */
static int idx_bytes(IdxFile *f, void *out, size_t count, const char *what)
{
    size_t done = 0;
    while (done < count) {
        size_t part = count - done < INT_MAX / 2 ? count - done : INT_MAX / 2;
        int got = gzread(f->gz, (char *)out + done, (unsigned)part);
        if (got < 0)
            return idx_broken(f);
        if (got == 0)
            return fault("%s is truncated: %s need %zu bytes and only %zu are there; get the "
                         "file again",
                         f->path, what, count, done);
        done += (size_t)got;
    }
    return 0;
}

/* Reads the magic number and the sizes; `rank` dimensions of unsigned bytes are wanted. */
static int idx_header(IdxFile *f, int rank)
{
    uint8_t raw[4 * 4], magic[4];
    if (idx_bytes(f, magic, 4, "the IDX header") < 0)
        return -1;
    if (magic[0] || magic[1] || magic[2] != IDX_U8 || magic[3] != rank)
        return fault("%s: bad magic number %02x%02x%02x%02x, expected 0000%02x%02x (IDX, unsigned "
                     "bytes, %d dimensions); it is not the file its name says",
                     f->path, magic[0], magic[1], magic[2], magic[3], (unsigned)IDX_U8,
                     (unsigned)rank, rank);
    if (idx_bytes(f, raw, 4 * (size_t)rank, "the sizes in the IDX header") < 0)
        return -1;
    f->rank = rank;
    for (int i = 0; i < rank; i++)
        f->dim[i] = (uint32_t)raw[4 * i] << 24 | (uint32_t)raw[4 * i + 1] << 16 |
                    (uint32_t)raw[4 * i + 2] << 8 | raw[4 * i + 3];
    if (f->dim[0] == 0 || f->dim[0] > INT32_MAX)
        return fault("%s: its header says %u items; from 1 to %d are possible", f->path, f->dim[0],
                     INT32_MAX);
    return 0;
}

/* The data must end where the header says; reading on also makes zlib check its sum. */
static int idx_end(IdxFile *f)
{
    char extra;
    int got = gzread(f->gz, &extra, 1), code = Z_OK;
    gzerror(f->gz, &code);
    if (got < 0 || code != Z_OK) /* a check sum that is cut off is no error of gzread */
        return idx_broken(f);
    if (got > 0)
        return fault("%s has bytes after its %u items; the header or the file is wrong", f->path,
                     f->dim[0]);
    return 0;
}

/* Reads items of `item` bytes into *out, which the caller frees. */
static int idx_items(IdxFile *f, size_t item, uint8_t **out)
{
    size_t bytes = f->dim[0] * item;
    if (bytes / DEFLATE_RATIO > f->size)
        return fault("%s is truncated: its header says %u items (%zu bytes), more than a file of "
                     "%llu bytes can hold; get the file again",
                     f->path, f->dim[0], bytes, (unsigned long long)f->size);
    *out = malloc(bytes);
    if (!*out)
        return fault("%s: its header says %u items, which need %zu bytes of memory; that is not "
                     "to be had, or the header is wrong",
                     f->path, f->dim[0], bytes);
    if (idx_bytes(f, *out, bytes, "the items that the header promises") < 0)
        return -1;
    return idx_end(f);
}

/* ---- images and labels ---- */

static int read_images(const NincModel *model, IdxFile *f, Dataset *out)
{
    int rank = images_rank(model);
    if (idx_header(f, rank) < 0)
        return -1;
    uint32_t c = rank == 4 ? f->dim[3] : 1;
    if (f->dim[1] != (uint32_t)model->image_h || f->dim[2] != (uint32_t)model->image_w ||
        c != (uint32_t)model->image_c)
        return fault("%s holds images of %ux%ux%u (height, width, channels), the model was "
                     "compiled for %dx%dx%d; use the data set %s",
                     f->path, f->dim[1], f->dim[2], c, model->image_h, model->image_w,
                     model->image_c, model->dataset);
    out->h = model->image_h;
    out->w = model->image_w;
    out->c = model->image_c;
    out->count = (int)f->dim[0];
    return idx_items(f, (size_t)out->h * (size_t)out->w * (size_t)out->c, &out->image);
}

static int convert_labels(const NincModel *model, const IdxFile *f, const uint8_t *raw,
                          Dataset *out)
{
    out->label = malloc((size_t)out->count * sizeof *out->label);
    if (!out->label)
        return fault("no memory for %d labels", out->count);
    for (int i = 0; i < out->count; i++) {
        if (raw[i] >= model->classes)
            return fault("%s: label %d of item %d is out of range, the model has classes 0 to "
                         "%d",
                         f->path, raw[i], i, model->classes - 1);
        out->label[i] = raw[i];
    }
    return 0;
}

static int read_labels(const NincModel *model, IdxFile *f, Dataset *out)
{
    uint8_t *raw = NULL;
    if (idx_header(f, 1) < 0)
        return -1;
    if (f->dim[0] != (uint32_t)out->count)
        return fault("%s holds %u labels for %d images; the two files do not belong together",
                     f->path, f->dim[0], out->count);
    int status = idx_items(f, 1, &raw);
    if (status == 0)
        status = convert_labels(model, f, raw, out);
    free(raw);
    return status;
}

static int read_idx(const NincModel *model, const char *directory, Split split, Dataset *out)
{
    const char *part = split == SPLIT_TRAIN ? "train" : "t10k";
    char images[64], labels[64];
    snprintf(images, sizeof images, "%s-images-idx%d-ubyte", part, images_rank(model));
    snprintf(labels, sizeof labels, "%s-labels-idx1-ubyte", part);
    IdxFile f = {0};
    int status = idx_open(&f, directory, images);
    if (status == 0)
        status = read_images(model, &f, out);
    idx_close(&f);
    if (status < 0)
        return status;
    status = idx_open(&f, directory, labels);
    if (status == 0)
        status = read_labels(model, &f, out);
    idx_close(&f);
    return status;
}

static int make_random(const NincModel *model, uint64_t seed, Split split, Dataset *out)
{
    Random r = random_stream(seed, STREAM_DATA + (uint64_t)split);
    out->count = split == SPLIT_TRAIN ? RANDOM_TRAIN_IMAGES : RANDOM_TEST_IMAGES;
    out->h = model->image_h;
    out->w = model->image_w;
    out->c = model->image_c;
    size_t bytes = (size_t)out->count * (size_t)out->h * (size_t)out->w * (size_t)out->c;
    out->image = malloc(bytes);
    out->label = malloc((size_t)out->count * sizeof *out->label);
    if (!out->image || !out->label)
        return fault("no memory for %d random images (%zu bytes)", out->count, bytes);
    for (size_t i = 0; i < bytes; i++)
        out->image[i] = (uint8_t)(random_u32(&r) >> 24);
    for (int i = 0; i < out->count; i++)
        out->label[i] = (int32_t)random_below(&r, (uint32_t)model->classes);
    return 0;
}

int dataset_read(const NincModel *model, const char *data, uint64_t seed, Split split, Dataset *out)
{
    char directory[DATA_PATH];
    int status;
    *out = (Dataset){0};
    if (data && strcmp(data, "random") == 0)
        status = make_random(model, seed, split, out);
    else if ((status = find_directory(model, data, directory)) == 0)
        status = read_idx(model, directory, split, out);
    if (status < 0)
        dataset_free(out);
    return status;
}

void dataset_free(Dataset *d)
{
    free(d->image);
    free(d->label);
    *d = (Dataset){0};
}

int32_t *dataset_order(const Dataset *d)
{
    int32_t *order = xmalloc((size_t)d->count * sizeof *order);
    for (int i = 0; i < d->count; i++)
        order[i] = i;
    return order;
}
