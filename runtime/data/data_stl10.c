/* STL-10 in the binary version (Coates, Ng, Lee 2011): images of 96x96 in planes, each column by
 * column, and labels from 1 in files of their own. */
#include "data.h"

#include <stdlib.h>

enum { SIDE = 96, CLASSES = 10 };

static const char below[] = "stl10_binary";

static char *find_set(const char *path)
{
    char *place = find_place(path, below, "train_X.bin");
    return place ? place : find_place(path, below, "test_X.bin");
}

bool data_stl10_probe(const char *path)
{
    char *place = is_directory(path) ? find_set(path) : NULL;
    free(place);
    return place != NULL;
}

static int read_file(const char *place, const char *name, const RecordKind *kind, Records *out)
{
    char *file = find_file(place, name);
    int status = file ? records_read(file, kind, out)
                      : fault("%s has no file %s; get the data set again", place, name);
    free(file);
    return status;
}

static int read_split(const char *place, bool train, Dataset *out)
{
    static const RecordKind images = {0, 0, 0, 0, SIDE, SIDE, 3, true};
    static const RecordKind labels = {1, 0, 1, CLASSES, 0, 0, 0, false};
    Records image = {0}, label = {0};
    int status = read_file(place, train ? "train_X.bin" : "test_X.bin", &images, &image);
    if (status == 0)
        status = read_file(place, train ? "train_y.bin" : "test_y.bin", &labels, &label);
    if (status == 0 && image.count != label.count)
        status = fault("%s: %s_y.bin has %lld labels for %lld images in %s_X.bin; the two files do "
                       "not belong together",
                       place, train ? "train" : "test", (long long)label.count,
                       (long long)image.count, train ? "train" : "test");
    int32_t *unused = image.label;
    image.label = label.label;
    label.label = unused;
    dataset_take_records(out, &images, &image);
    records_free(&label);
    return status;
}

int data_stl10_read(const DataRequest *request, Dataset *out)
{
    char *place = find_set(request->path);
    if (!place)
        return fault("%s holds no train_X.bin; take STL-10's binary files, stl10_binary.tar.gz, "
                     "and unpack them there",
                     request->path);
    int status = read_split(place, request->split == SPLIT_TRAIN, out);
    if (status == 0)
        status = dataset_read_names(out, place, "class_names.txt");
    free(place);
    return status;
}

int data_stl10_names(const DataRequest *request, Dataset *out)
{
    char *place = find_set(request->path);
    int status = place ? dataset_read_names(out, place, "class_names.txt") : 0;
    free(place);
    return status;
}
