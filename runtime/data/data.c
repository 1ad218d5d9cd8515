/* Data sets: where they are, and in which format; read whole, images as u8, labels as i32. */
#include "data.h"
#include "sets.h"
#include "../../ir/ir.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where Debian puts data sets. */
#define PACKAGED "/usr/share/datasets"

const char *const split_names[] = {"train", "test", "validation"};

/* ---- where the files are ---- */

static int not_found(const NincModel *model, const char *searched)
{
    const char *dataset = model->dataset;
    const DataSet *known = find_data_set(dataset);
    int rank = model->image_c == 1 ? 3 : 4;
    if (known && strcmp(known->format, "folder") == 0)
        return fault("data set %s not found (%s); give with --data a directory, or an archive of "
                     "it, that has the images of each class in a directory of its name: "
                     "DIR/train/CLASS/1.jpg, and DIR/test and DIR/val beside train",
                     dataset, searched);
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
    const DataSet *set = find_data_set(model->dataset);
    const char *names[] = {model->dataset, set ? set->family : NULL};
    for (int place = 0; place < 2; place++)
        for (int i = 0; i < 2 && names[i]; i++) {
            snprintf(out, DATA_PATH, "%s/%s", place == 0 && root ? root : PACKAGED, names[i]);
            if ((place > 0 || root) && is_directory(out))
                return true;
        }
    return false;
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
    {"idx", data_idx_probe, NULL, data_idx_read, false, false, NULL},
    {"cifar", data_cifar_probe, NULL, data_cifar_read, false, false, data_cifar_names},
    {"svhn", data_svhn_probe, NULL, data_svhn_read, false, false, NULL},
    {"stl10", data_stl10_probe, NULL, data_stl10_read, false, false, data_stl10_names},
    {"npz", data_npz_probe, data_npz_has, data_npz_read, false, false, NULL},
    {"csv", data_csv_probe, data_csv_has, data_csv_read, false, false, NULL},
    {"folder", data_folder_probe, data_folder_has, data_folder_read, true, true, data_folder_names},
    {"archive", data_archive_probe, data_archive_has, data_archive_read, true, true,
     data_archive_names},
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

/* ---- random images ---- */

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

/* ---- data sets ---- */

/* A data set that was found. */
typedef struct Found {
    char path[DATA_PATH];
    bool random;
    const DataFormat *format; /* NULL: none that is known */
    SplitBy by;               /* validation_split; share 0: none */
} Found;

/* Labels of which none is 0. */
static void count_from_zero(Dataset *d)
{
    int32_t least = INT32_MAX;
    for (int i = 0; i < d->count; i++)
        least = d->label[i] < least ? d->label[i] : least;
    for (int i = 0; i < d->count && least > 0; i++)
        d->label[i]--;
}

/* What the files of a known set have otherwise than others: EMNIST's images lie on their side, its
 * letters count from 1. In an archive of NumPy or as pictures somebody has set that right. */
static int settle_set(const DataFormat *format, const DataRequest *request, Dataset *d)
{
    const DataSet *set = find_data_set(request->model->dataset);
    bool raw = strcmp(format->name, "idx") == 0 || strcmp(format->name, "csv") == 0;
    DataSettings turn = {.transforms = 1, .transform = {{TRANSFORM_TRANSPOSE, 0, 0}}};
    NincModel turned = *request->model;
    if (!set || !raw)
        return 0;
    if (set->flags & SET_FROM_ONE)
        count_from_zero(d);
    turned.data = &turn;
    return set->flags & SET_TRANSPOSED ? dataset_transform(&turned, request->path, d) : 0;
}

/* As the files have them, but for the model's transforms. */
static int read_split(const DataFormat *format, const DataRequest *request, Dataset *out)
{
    const NincModel *model = request->model;
    if (format->read(request, out) < 0 || settle_set(format, request, out) < 0)
        return -1;
    if (!format->transforms && has_transform(model) &&
        dataset_transform(model, request->path, out) < 0)
        return -1;
    return dataset_check(model, request->path, out);
}

/* What validation_split divides, of a format that does not. */
static bool is_divided(const Found *f)
{
    return f->by.share > 0 && !(f->format && f->format->divides);
}

/* One split as it lies there. */
static int read_found(const DataSource *source, const Found *f, Split split, Dataset *out)
{
    DataRequest request = {.model = source->model,
                           .path = f->path,
                           .format = usual_format(source->model),
                           .split = split,
                           .skip_bad = source->skip_bad,
                           .threads = source->threads,
                           .split_by = f->by.share > 0 && split != SPLIT_TEST ? &f->by : NULL};
    if (f->random)
        return make_random(source->model, source->seed, split, out);
    if (f->format)
        return read_split(f->format, &request, out);
    if (!is_directory(f->path))
        return is_a_file(f->path);
    /* Nothing that is known lies there: the usual format says what it lacks. */
    const DataFormat *usual = format_named(request.format);
    return read_split(usual ? usual : &formats[0], &request, out);
}

/* Where nothing lies in the directory itself, what a download has below it. */
static void find_below(const NincModel *model, Found *f)
{
    const DataSet *set = find_data_set(model->dataset);
    f->format = format_at(model, f->path);
    for (int i = 0; !f->format && set && set->below && set->below[i]; i++) {
        char *path = join_path(f->path, set->below[i]);
        f->format = is_directory(path) ? format_at(model, path) : NULL;
        if (f->format)
            snprintf(f->path, sizeof f->path, "%s", path);
        free(path);
    }
}

static int find_format(const DataSource *source, Found *f)
{
    const NincModel *model = source->model;
    f->random = source->data && strcmp(source->data, "random") == 0;
    f->by = (SplitBy){model->data ? model->data->validation_split : 0, source->seed,
                      model->classes};
    if (f->random)
        return 0;
    int status = find_data(model, source->data, f->path);
    if (status == 0)
        find_below(model, f);
    return status;
}

static bool has_own_validation(const Found *f)
{
    return f->format && f->format->has && f->format->has(f->path, SPLIT_VALIDATION);
}

/* Both parts, where validation_split makes them of one. */
static int read_divided(const DataSource *source, const Found *f, Dataset *train,
                        Dataset *validation)
{
    int status = read_found(source, f, SPLIT_TRAIN, train);
    return status < 0 ? status : dataset_divide(&f->by, train, validation);
}

static int read_validation(const DataSource *source, const Found *f, Dataset *out)
{
    Dataset train = {0};
    if (!is_divided(f)) {
        if (f->by.share > 0 || has_own_validation(f))
            return read_found(source, f, SPLIT_VALIDATION, out);
        return fault("the data set %s has no validation images of its own, and the model no "
                     "validation_split; compile it with ninc --set input.validation_split=0.1",
                     f->random ? "random" : f->path);
    }
    int status = read_divided(source, f, &train, out);
    dataset_free(&train);
    return status;
}

int dataset_load(const DataSource *source, Split split, Dataset *out)
{
    Found found = {0};
    Dataset validation = {0};
    *out = (Dataset){0};
    int status = find_format(source, &found);
    if (status == 0 && split == SPLIT_VALIDATION)
        status = read_validation(source, &found, out);
    else if (status == 0 && split == SPLIT_TRAIN && is_divided(&found))
        status = read_divided(source, &found, out, &validation);
    else if (status == 0)
        status = read_found(source, &found, split, out);
    dataset_free(&validation);
    if (status < 0)
        dataset_free(out);
    return status;
}

int dataset_load_training(const DataSource *source, Dataset *train, Dataset *validation)
{
    Found found = {0};
    *train = *validation = (Dataset){0};
    int status = find_format(source, &found);
    bool own = status == 0 && has_own_validation(&found);
    if (own && found.by.share > 0)
        notice("%s has validation images of its own; the model's validation_split goes before "
               "them",
               found.path);
    if (status == 0 && is_divided(&found))
        status = read_divided(source, &found, train, validation);
    else if (status == 0)
        status = read_found(source, &found, SPLIT_TRAIN, train);
    if (status == 0 && !is_divided(&found) && (own || found.by.share > 0))
        status = read_found(source, &found, SPLIT_VALIDATION, validation);
    if (status < 0) {
        dataset_free(train);
        dataset_free(validation);
    }
    return status;
}

int dataset_names(const NincModel *model, const char *data, Dataset *out)
{
    DataSource source = {.model = model, .data = data};
    Found found = {0};
    *out = (Dataset){0};
    Messages before = fault_silence((char[256]){0}, 256); /* there need be no data set */
    int status = find_format(&source, &found);
    fault_release(before);
    if (status < 0 || !found.format || !found.format->names)
        return 0;
    DataRequest request = {.model = model,
                           .path = found.path,
                           .format = usual_format(model),
                           .split = SPLIT_TRAIN};
    return found.format->names(&request, out);
}

int dataset_read(const NincModel *model, const char *data, uint64_t seed, Split split, Dataset *out)
{
    return dataset_load(&(DataSource){.model = model, .data = data, .seed = seed}, split, out);
}
