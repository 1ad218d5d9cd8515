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
    {"cifar10", "cifar", {3, 32, 32}, 10, 0,
     "get cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it",
     NAMES("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
           "truck")},
    {"cifar100", "cifar", {3, 32, 32}, 100, 0,
     "get cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it",
     NULL},
    {"stl10", "stl10", {3, 96, 96}, 10, 0,
     "get stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10/ and unpack it",
     NAMES("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")},
    {"idx", "idx", {0, 0, 0}, 0, 0, NULL, NULL},
    {"cifar", "cifar", {0, 0, 0}, 0, 0,
     "unpack cifar-10-binary.tar.gz or cifar-100-binary.tar.gz", NULL},
    {"svhn", "svhn", {3, 32, 32}, 10, SET_IS_FORMAT,
     "get train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers/", NULL},
    {"npz", "npz", {0, 0, 0}, 0, 0, "put the .npz file there", NULL},
    {"csv", "csv", {0, 0, 0}, 0, 0, "put train.csv and test.csv there", NULL},
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
