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
        return is_directory(out) || access(out, F_OK) == 0;
    }
    snprintf(out, DATA_PATH, "%s/%s", root ? root : "", model->dataset);
    if (root && is_directory(out))
        return true;
    snprintf(out, DATA_PATH, PACKAGED "/%s", model->dataset);
    return is_directory(out);
}

/* Finds the directory or file, or says where it is not. */
static int find_data(const NincModel *model, const char *data, char *out)
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

/* ---- formats ---- */

/* A format a line; the first that takes the path is it where the model says none. */
static const DataFormat formats[] = {
    {"idx", data_idx_probe, NULL, data_idx_read, false},
    {"cifar", data_cifar_probe, NULL, data_cifar_read, false},
    {"svhn", data_svhn_probe, NULL, data_svhn_read, false},
    {"stl10", data_stl10_probe, NULL, data_stl10_read, false},
    {"npz", data_npz_probe, data_npz_has, data_npz_read, false},
    {"csv", data_csv_probe, data_csv_has, data_csv_read, false},
};

enum { FORMATS = sizeof formats / sizeof *formats };

/* That the model's data set is in, unless its files are of another; NULL: it is not known. */
static const char *usual_format(const NincModel *model)
{
    const DataSet *set = find_data_set(model->dataset);
    return set ? set->format : NULL;
}

static const DataFormat *format_named(const char *name)
{
    for (int i = 0; name && i < FORMATS; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

/* The format of what lies there: the usual one, or any; NULL: none that is known. */
static const DataFormat *format_at(const NincModel *model, const char *path)
{
    const DataFormat *usual = format_named(usual_format(model));
    if (usual && usual->probe(path))
        return usual;
    for (int i = 0; i < FORMATS; i++)
        if (formats[i].probe(path))
            return &formats[i];
    return NULL;
}

/* Such as one of the four files: its directory is meant. */
static int is_a_file(const char *path)
{
    char *directory = directory_of(path);
    Text word = {0};
    text_append_shell_word(&word, directory);
    bool idx = data_idx_probe(directory);
    fault("--data %s is a file%s; give the directory of the %s: --data %s", path,
          idx ? "" : " of no known format of data sets", idx ? "four files" : "data set",
          word.data);
    text_free(&word);
    free(directory);
    return -1;
}

/* Nothing that lies there is known: the usual format says what it lacks. */
static int read_unknown(const DataRequest *request, Dataset *out)
{
    const DataFormat *usual = format_named(request->format);
    if (!is_directory(request->path))
        return is_a_file(request->path);
    return (usual ? usual : &formats[0])->read(request, out);
}

static int read_path(const DataSource *source, const char *path, Split split, Dataset *out)
{
    const NincModel *model = source->model;
    const DataFormat *format = format_at(model, path);
    DataRequest request = {model, path,           usual_format(model), split,
                           source->skip_bad, source->threads};
    if (!format)
        return read_unknown(&request, out);
    if (format->read(&request, out) < 0)
        return -1;
    if (!format->transforms && has_transform(model) && dataset_transform(model, path, out) < 0)
        return -1;
    return dataset_check(model, path, out);
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

int dataset_load(const DataSource *source, Split split, Dataset *out)
{
    const char *data = source->data;
    char path[DATA_PATH];
    int status;
    *out = (Dataset){0};
    if (data && strcmp(data, "random") == 0)
        status = make_random(source->model, source->seed, split, out);
    else if ((status = find_data(source->model, data, path)) == 0)
        status = read_path(source, path, split, out);
    if (status < 0)
        dataset_free(out);
    return status;
}

int dataset_read(const NincModel *model, const char *data, uint64_t seed, Split split, Dataset *out)
{
    return dataset_load(&(DataSource){.model = model, .data = data, .seed = seed}, split, out);
}

static void free_texts(char **text, int count)
{
    for (int i = 0; text && i < count; i++)
        free(text[i]);
    free(text);
}

void dataset_free(Dataset *d)
{
    if (d->mapped.bytes)
        filemap_close(&d->mapped);
    else
        free(d->image);
    free(d->label);
    free(d->source);
    free_texts(d->class_name, d->classes);
    free_texts(d->file, d->count);
    *d = (Dataset){0};
}

int32_t *dataset_order(const Dataset *d)
{
    int32_t *order = xmalloc((size_t)d->count * sizeof *order);
    for (int i = 0; i < d->count; i++)
        order[i] = i;
    return order;
}
