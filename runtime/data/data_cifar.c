/* CIFAR-10 and CIFAR-100 in the binary version (Krizhevsky 2009): records of a label, for CIFAR-100
 * two, and the red, green and blue plane of 32x32. */
#include "data.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, COARSE_CLASSES = 20, BATCHES = 5 };

/* One of the two sets. */
typedef struct Cifar {
    const char *name, *below, *train, *test; /* below: the directory that its archive makes */
    const char *names;
    RecordKind kind;
    const char *python[2]; /* files of the version for Python, and the directory of its archive */
    const char *archive;
} Cifar;

static const Cifar cifar10 = {"CIFAR-10",
                              "cifar-10-batches-bin",
                              "data_batch_1.bin",
                              "test_batch.bin",
                              "batches.meta.txt",
                              {1, 0, 0, 10, SIDE, SIDE, 3, false},
                              {"data_batch_1", "cifar-10-batches-py"},
                              "cifar-10-binary.tar.gz"};

static const Cifar cifar100 = {"CIFAR-100",
                               "cifar-100-binary",
                               "train.bin",
                               "test.bin",
                               "fine_label_names.txt",
                               {2, 1, 0, 100, SIDE, SIDE, 3, false},
                               {"train", "cifar-100-python"},
                               "cifar-100-binary.tar.gz"};

/* The place of any of the set's files; NULL: they are not there. The caller frees it. */
static char *find_set(const Cifar *set, const char *path)
{
    char *place = find_place(path, set->below, set->train);
    return place ? place : find_place(path, set->below, set->test);
}

/* Pickled data begin with a protocol number from 2 on. */
static bool is_pickled(const char *directory, const char *name)
{
    char begin[2] = {0};
    char *path = join_path(directory, name);
    FILE *f = is_regular(path) ? fopen(path, "rb") : NULL;
    bool pickled = f && fread(begin, 1, 2, f) == 2 && (unsigned char)begin[0] == 0x80 &&
                   begin[1] >= 2 && begin[1] <= 5;
    if (f)
        fclose(f);
    free(path);
    return pickled;
}

static bool is_python(const Cifar *set, const char *path)
{
    char *below = join_path(path, set->python[1]);
    bool found = is_pickled(path, set->python[0]) || is_pickled(below, set->python[0]);
    free(below);
    return found;
}

bool data_cifar_probe(const char *path)
{
    const Cifar *sets[] = {&cifar10, &cifar100};
    bool found = false;
    for (int i = 0; i < 2 && is_directory(path) && !found; i++) {
        char *place = find_set(sets[i], path);
        found = place || is_python(sets[i], path);
        free(place);
    }
    return found;
}

static int read_file(const char *place, const char *name, const RecordKind *kind, Records *out)
{
    char *file = find_file(place, name);
    int status = file ? records_read(file, kind, out)
                      : fault("%s has no file %s; get the data set again", place, name);
    free(file);
    return status;
}

/* data_batch_1.bin to data_batch_5.bin, or one file. */
static int read_records(const Cifar *set, const RecordKind *kind, const char *place, Split split,
                        Records *out)
{
    char name[32];
    int status = 0;
    if (split != SPLIT_TRAIN)
        return read_file(place, set->test, kind, out);
    if (set == &cifar100)
        return read_file(place, set->train, kind, out);
    for (int i = 1; i <= BATCHES && status == 0; i++) {
        snprintf(name, sizeof name, "data_batch_%d.bin", i);
        status = read_file(place, name, kind, out);
    }
    return status;
}

/* With 20 classes the coarse labels of CIFAR-100 are meant. */
static bool is_coarse(const Cifar *set, const DataRequest *request)
{
    return set == &cifar100 && request->model->classes == COARSE_CLASSES;
}

static int read_names(const Cifar *set, const DataRequest *request, const char *place, Dataset *out)
{
    return dataset_read_names(out, place,
                              is_coarse(set, request) ? "coarse_label_names.txt" : set->names);
}

static int read_set(const Cifar *set, const DataRequest *request, const char *place, Dataset *out)
{
    RecordKind kind = set->kind;
    if (is_coarse(set, request)) {
        kind.label = 0;
        kind.classes = COARSE_CLASSES;
    }
    Records r = {0};
    int status = read_records(set, &kind, place, request->split, &r);
    dataset_take_records(out, &kind, &r);
    return status == 0 ? read_names(set, request, place, out) : -1;
}

static int not_binary(const DataRequest *request)
{
    const Cifar *sets[2] = {&cifar10, &cifar100};
    bool fine = request->model->classes != cifar10.kind.classes;
    bool python[2] = {is_python(sets[0], request->path), is_python(sets[1], request->path)};
    const Cifar *set = python[fine] || !python[!fine] ? sets[fine] : sets[!fine];
    if (python[0] || python[1])
        return fault("%s holds the version of %s for Python, whose pickled objects are programs "
                     "and never run here; take the binary version, %s, from the same page",
                     request->path, set->name, set->archive);
    return fault("%s holds no file %s; take the binary version of %s, %s, and unpack it there",
                 request->path, request->split == SPLIT_TRAIN ? set->train : set->test, set->name,
                 set->archive);
}

/* The set that lies there, of both the one that has the model's classes, and its place; NULL: none
 * does. */
static const Cifar *choose(const DataRequest *request, char **place)
{
    int classes = request->model->classes;
    bool fine = classes == cifar100.kind.classes || classes == COARSE_CLASSES;
    const Cifar *sets[] = {fine ? &cifar100 : &cifar10, fine ? &cifar10 : &cifar100};
    *place = NULL;
    for (int i = 0; i < 2; i++)
        if ((*place = find_set(sets[i], request->path)))
            return sets[i];
    return NULL;
}

int data_cifar_read(const DataRequest *request, Dataset *out)
{
    char *place;
    const Cifar *set = choose(request, &place);
    int status = set ? read_set(set, request, place, out) : not_binary(request);
    free(place);
    return status;
}

int data_cifar_names(const DataRequest *request, Dataset *out)
{
    char *place;
    const Cifar *set = choose(request, &place);
    int status = set ? read_names(set, request, place, out) : 0;
    free(place);
    return status;
}
