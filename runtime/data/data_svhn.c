/* SVHN's cropped digits (Netzer et al. 2011): MAT-files with X, uint8 (32, 32, 3, N), and y, whose
 * label 10 is the digit 0. */
#include "data.h"

#include <stdlib.h>

static const char *const names[2] = {"train_32x32.mat", "test_32x32.mat"};

bool data_svhn_probe(const char *path)
{
    bool found = false;
    for (int i = 0; i < 2 && is_directory(path) && !found; i++) {
        char *file = find_file(path, names[i]);
        found = file != NULL;
        free(file);
    }
    return found;
}

/* X is [N, channels, columns, rows] in the order of rows. */
static int take_images(Numbers *x, Dataset *out)
{
    static const int axis[4] = {0, 3, 2, 1};
    PixelOrder order;
    if (x->rank != 4 || numbers_order(x, axis, &order) < 0)
        return fault("%s has %d dimensions or is too large; (height, width, channels, count) are "
                     "needed",
                     x->path, x->rank);
    if (numbers_to_bytes(x) < 0 || pixels_in_order(&order, &x->raw) < 0)
        return -1;
    dataset_take_pixels(out, &order, x);
    return 0;
}

/* y is a column or a row. */
static int take_labels(Numbers *y, Dataset *out)
{
    int64_t count = y->dim[0] * numbers_item(y);
    if (count != out->count)
        return fault("%s has %lld labels for %d images in X; they do not belong together", y->path,
                     (long long)count, out->count);
    y->rank = 1;
    y->dim[0] = count;
    if (numbers_labels(y, &out->label) < 0)
        return -1;
    for (int i = 0; i < out->count; i++)
        out->label[i] = out->label[i] == 10 ? 0 : out->label[i];
    return 0;
}

int data_svhn_read(const DataRequest *request, Dataset *out)
{
    static const char *const arrays[2] = {"X", "y"};
    const char *name = names[request->split != SPLIT_TRAIN];
    Numbers in[2] = {{0}, {0}};
    char *file = find_file(request->path, name);
    int status = file ? mat_read(file, arrays, 2, in)
                      : fault("%s has no file %s; SVHN's cropped digits, its format 2, are needed",
                              request->path, name);
    if (status == 0)
        status = take_images(&in[0], out);
    if (status == 0)
        status = take_labels(&in[1], out);
    numbers_free(&in[0]);
    numbers_free(&in[1]);
    free(file);
    return status;
}
