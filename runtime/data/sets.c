/* The table of data sets: a line each. */
#include "sets.h"

#include <stddef.h>
#include <string.h>

const DataSet data_sets[] = {
    {"fashion-mnist",
     {1, 28, 28},
     10,
     "install it with 'apt install dataset-fashion-mnist'",
     {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
      "Ankle boot"}},
    {"mnist", {1, 28, 28}, 10, NULL, {NULL}},
    {"cifar10",
     {3, 32, 32},
     10,
     NULL,
     {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}},
    {"idx", {0, 0, 0}, 0, NULL, {NULL}},
};

const int data_set_count = sizeof data_sets / sizeof *data_sets;

const DataSet *find_data_set(const char *name)
{
    for (int i = 0; i < data_set_count; i++)
        if (strcmp(data_sets[i].name, name) == 0)
            return &data_sets[i];
    return NULL;
}
