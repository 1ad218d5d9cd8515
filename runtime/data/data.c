/* Data sets: four IDX files, read whole; images as u8, labels as i32. */
#include "data.h"
#include "../../ir/ir.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where Debian puts data sets. */
#define PACKAGED "/usr/share/datasets"

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

/* Such as one of the four files: its directory is meant. */
static int is_a_file(const char *data)
{
    char *directory = directory_of(data);
    Text word = {0};
    text_append_shell_word(&word, directory);
    fault("--data %s is a file; give the directory of the four files: --data %s", data, word.data);
    text_free(&word);
    free(directory);
    return -1;
}

/* Finds the directory, or says where it is not. */
static int find_directory(const NincModel *model, const char *data, char *out)
{
    const char *dataset = model->dataset, *root = getenv("NINC_DATA");
    char searched[2 * DATA_PATH + 64];
    if (dataset_directory(model, data, out))
        return 0;
    if (data && access(data, F_OK) == 0)
        return is_a_file(data);
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

/* ---- images and labels ---- */

static int read_images(const NincModel *model, IdxFile *f, Dataset *out)
{
    uint32_t h = f->dim[1], w = f->dim[2], c = f->rank > 3 ? f->dim[3] : 1;
    if (f->rank < 3)
        return fault("%s has %d dimension%s, images have 3 (items, height, width) or 4 (and "
                     "channels); it is not the file its name says",
                     f->path, f->rank, f->rank == 1 ? "" : "s");
    if (h != (uint32_t)model->image_h || w != (uint32_t)model->image_w ||
        c != (uint32_t)model->image_c)
        return fault("%s holds images of %ux%ux%u (height, width, channels), the model was "
                     "compiled for %dx%dx%d; use the data set %s",
                     f->path, h, w, c, model->image_h, model->image_w, model->image_c,
                     model->dataset);
    out->h = model->image_h;
    out->w = model->image_w;
    out->c = model->image_c;
    out->count = (int)f->dim[0];
    return idx_bytes(f, &out->image);
}

static int read_labels(const NincModel *model, IdxFile *f, Dataset *out)
{
    if (f->dim[0] != (uint32_t)out->count)
        return fault("%s holds %u labels for %d images; the two files do not belong together",
                     f->path, f->dim[0], out->count);
    return idx_labels(f, model->classes, &out->label);
}

static int read_idx(const NincModel *model, const char *directory, Split split, Dataset *out)
{
    const char *part = split == SPLIT_TRAIN ? "train" : "t10k";
    IdxFile f;
    int status = idx_open(&f, directory, &(IdxName){part, "images", images_rank(model)});
    if (status == 0)
        status = read_images(model, &f, out);
    idx_close(&f);
    if (status < 0)
        return status;
    status = idx_open(&f, directory, &(IdxName){part, "labels", 1});
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
