/* Archives of NumPy's arrays with the names that Keras and MedMNIST use. */
#include "../../ir/ir.h"
#include "data.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The arrays of a split, images and labels. */
static const char *const arrays[][2][2] = {
    [SPLIT_TRAIN] = {{"x_train", "y_train"}, {"train_images", "train_labels"}},
    [SPLIT_TEST] = {{"x_test", "y_test"}, {"test_images", "test_labels"}},
    [SPLIT_VALIDATION] = {{"x_val", "y_val"}, {"val_images", "val_labels"}},
};

enum { SPLITS = sizeof arrays / sizeof *arrays, NAMINGS = 2 };

/* The naming of a split that is there, NAMINGS: none. */
static int find_naming(const Npz *z, Split split)
{
    int naming = 0;
    while (naming < NAMINGS && !npz_has(z, arrays[split][naming][0]))
        naming++;
    return naming;
}

static bool holds_split(const char *file, Split split)
{
    char text[8];
    Npz z;
    Messages before = fault_silence(text, sizeof text);
    bool found = npz_open(&z, file) == 0 && find_naming(&z, split) < NAMINGS;
    npz_close(&z);
    fault_release(before);
    return found;
}

/* ---- the archive of a directory ---- */

static bool is_archive(const char *name)
{
    size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".npz") == 0;
}

/* The archive that holds the split: the path itself; of a directory that of the set's name, or the
 * only one. *several: there are more. NULL: there is none. The caller frees it. */
static char *find_archive(const char *path, const char *set, Split split, bool *several)
{
    struct dirent *entry;
    char *best = NULL;
    bool named = false;
    *several = false;
    if (!is_directory(path))
        return is_archive(path) && holds_split(path, split) ? copy_text(path) : NULL;
    DIR *d = opendir(path);
    while (d && (entry = readdir(d)) && !named) {
        char *file = is_archive(entry->d_name) ? join_path(path, entry->d_name) : NULL;
        if (!file || !is_regular(file) || !holds_split(file, split)) {
            free(file);
            continue;
        }
        named = set && strlen(set) + 4 == strlen(entry->d_name) &&
                strncasecmp(entry->d_name, set, strlen(set)) == 0;
        *several = best && !named;
        free(best);
        best = file;
    }
    if (d)
        closedir(d);
    return best;
}

/* A file is believed to be an archive by its name, so that one that is damaged is told. */
bool data_npz_probe(const char *path)
{
    bool found = false, several;
    if (!is_directory(path))
        return is_archive(path);
    for (Split split = SPLIT_TRAIN; (int)split < SPLITS && !found; split++) {
        char *file = find_archive(path, NULL, split, &several);
        found = file != NULL;
        free(file);
    }
    return found;
}

bool data_npz_has(const char *path, Split split)
{
    bool several;
    char *file = find_archive(path, NULL, split, &several);
    free(file);
    return file != NULL;
}

/* ---- reading ---- */

static int read_images(Npz *z, const char *name, Dataset *out)
{
    Numbers n = {0};
    PixelOrder order;
    int status = npz_read(z, name, &n);
    if (status == 0)
        status = numbers_images(&n, &order);
    if (status == 0)
        status = numbers_to_bytes(&n);
    if (status == 0)
        status = pixels_in_order(&order, &n.raw);
    if (status == 0)
        dataset_take_pixels(out, &order, &n);
    numbers_free(&n);
    return status;
}

static int take_labels(const Numbers *n, Dataset *out)
{
    if (numbers_item(n) != 1)
        return fault("%s has %lld values an image; a label is one whole number (of one-hot rows "
                     "numpy.argmax(..., axis=1))",
                     n->path, (long long)numbers_item(n));
    if (n->dim[0] != out->count)
        return fault("%s has %lld labels for %d images; they do not belong together", n->path,
                     (long long)n->dim[0], out->count);
    return numbers_labels(n, &out->label);
}

static int read_labels(Npz *z, const char *name, Dataset *out)
{
    Numbers n = {0};
    int status = npz_read(z, name, &n);
    if (status == 0)
        status = take_labels(&n, out);
    if (status == 0)
        out->source = copy_text(n.path);
    numbers_free(&n);
    return status;
}

static int no_arrays(const Npz *z, Split split)
{
    Text there = {0};
    npz_list(z, &there);
    fault("%s has no array %s or %s, as archives of Keras and MedMNIST have; it has %s", z->path,
          arrays[split][0][0], arrays[split][1][0], there.length > 0 ? there.data : "nothing");
    text_free(&there);
    return -1;
}

static int read_archive(const char *file, Split split, Dataset *out)
{
    Npz z;
    int status = npz_open(&z, file), naming = status == 0 ? find_naming(&z, split) : 0;
    if (status == 0 && naming == NAMINGS)
        status = no_arrays(&z, split);
    if (status == 0)
        status = read_images(&z, arrays[split][naming][0], out);
    if (status == 0)
        status = read_labels(&z, arrays[split][naming][1], out);
    npz_close(&z);
    return status;
}

int data_npz_read(const DataRequest *request, Dataset *out)
{
    bool several;
    char *file = find_archive(request->path, request->model->dataset, request->split, &several);
    int status;
    if (several)
        status = fault("%s has several archives with the array %s or %s; give the one that is "
                       "meant with --data",
                       request->path, arrays[request->split][0][0], arrays[request->split][1][0]);
    else if (file || !is_directory(request->path))
        status = read_archive(file ? file : request->path, request->split, out);
    else
        status = fault("%s has no .npz file with the array %s or %s", request->path,
                       arrays[request->split][0][0], arrays[request->split][1][0]);
    free(file);
    return status;
}
