/* The table of data sets: a line each. */
#include "sets.h"

#include <stddef.h>
#include <string.h>

#define NAMES(...) (const char *const[]){__VA_ARGS__}

const DataSet data_sets[] = {
    {"fashion-mnist", "idx", {1, 28, 28}, 10, 0,
     "install it with 'apt install dataset-fashion-mnist'",
     NAMES("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
           "Bag", "Ankle boot")},
    {"mnist", "idx", {1, 28, 28}, 10, 0, NULL, NULL},
    {"cifar10", "cifar", {3, 32, 32}, 10, 0, NULL,
     NAMES("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
           "truck")},
    {"idx", "idx", {0, 0, 0}, 0, 0, NULL, NULL},
    {"cifar", "cifar", {0, 0, 0}, 0, 0, NULL, NULL},
    {"svhn", "svhn", {3, 32, 32}, 10, SET_IS_FORMAT, NULL, NULL},
    {"npz", "npz", {0, 0, 0}, 0, 0, NULL, NULL},
    {"csv", "csv", {0, 0, 0}, 0, 0, NULL, NULL},
    {"folder", "folder", {0, 0, 0}, 0, 0, NULL, NULL},
};

const int data_set_count = sizeof data_sets / sizeof *data_sets;

const DataSet *find_data_set(const char *name)
{
    for (int i = 0; i < data_set_count; i++)
        if (strcmp(data_sets[i].name, name) == 0)
            return &data_sets[i];
    return NULL;
}
