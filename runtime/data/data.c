/* Data sets: where they are, and in which format; read whole, images as u8, labels as i32. */
#include "data.h"
#include "sets.h"
#include "../../ir/ir.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where Debian puts data sets. */
#define PACKAGED "/usr/share/datasets"

/* ---- where the files are ---- */

static int not_found(const NincModel *model, const char *searched)
{
    const char *dataset = model->dataset;
    const DataSet *known = find_data_set(dataset);
    int rank = model->image_c == 1 ? 3 : 4;
    if (known && known->get)
        return fault("data set %s not found (%s); %s, or give its directory with --data DIR",
                     dataset, searched, known->get);
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

/* ---- formats ---- */

/* The first that knows the directory reads it; where none does, the first says what it lacks. */
static const DataFormat formats[] = {
    {"idx", data_idx_probe, data_idx_read},
};

enum { FORMATS = sizeof formats / sizeof *formats };

static int read_directory(const NincModel *model, const char *directory, Split split, Dataset *out)
{
    for (int i = 0; i < FORMATS; i++)
        if (formats[i].probe(directory))
            return formats[i].read(model, directory, split, out);
    return formats[0].read(model, directory, split, out);
}

/* ---- data sets ---- */

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
        status = read_directory(model, directory, split, out);
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
