/* Which training images validate: of each class the same part, drawn from the seed alone, so that
 * every run, device and evaluation of that seed has the same ones. */
#include "data.h"

#include "../../ir/ir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* So many of a class's images, at least one, and never all. */
static int share_of(int images, double split)
{
    int share = (int)lrint(images * split);
    share = share < images - 1 ? share : images - 1;
    return share > 1 ? share : 1;
}

/* start[k]: of class k in `by_class`, which has the images of each class in their order. */
static int32_t *sort_by_class(const int32_t *label, int count, int classes, int *start)
{
    int32_t *by_class = xmalloc(((size_t)count + 1) * sizeof *by_class);
    memset(start, 0, ((size_t)classes + 1) * sizeof *start);
    for (int i = 0; i < count; i++)
        start[label[i] + 1]++;
    for (int k = 0; k < classes; k++)
        start[k + 1] += start[k];
    int *next = xmalloc(((size_t)classes + 1) * sizeof *next);
    memcpy(next, start, ((size_t)classes + 1) * sizeof *next);
    for (int i = 0; i < count; i++)
        by_class[next[label[i]]++] = i;
    free(next);
    return by_class;
}

ClassIndex class_index(const int32_t *label, int count, int classes)
{
    ClassIndex c = {.classes = classes};
    c.start = xmalloc(((size_t)classes + 1) * sizeof *c.start);
    c.image = sort_by_class(label, count, classes, c.start);
    return c;
}

void class_index_free(ClassIndex *c)
{
    free(c->start);
    free(c->image);
    *c = (ClassIndex){0};
}

static int mark_class(const ClassIndex *c, int k, const SplitBy *by, bool *validates)
{
    int images = c->start[k + 1] - c->start[k];
    if (images == 0)
        return 0;
    if (images == 1)
        return fault("validation_split would leave class %d, which has 1 training image, without "
                     "any; give the class more images, or compile the model without it",
                     k);
    Random random = random_stream(by->seed, STREAM_SPLIT + (uint64_t)k);
    int32_t *order = xmalloc((size_t)images * sizeof *order);
    random_permutation(&random, order, images);
    for (int i = 0; i < share_of(images, by->share); i++)
        validates[c->image[c->start[k] + order[i]]] = true;
    free(order);
    return 0;
}

int split_marks(const SplitBy *by, const int32_t *label, int count, bool *validates)
{
    ClassIndex c = class_index(label, count, by->classes);
    int status = 0;
    memset(validates, 0, (size_t)count * sizeof *validates);
    for (int k = 0; k < by->classes && status == 0; k++)
        status = mark_class(&c, k, by, validates);
    class_index_free(&c);
    return status;
}

/* ---- of a data set ---- */

static int64_t image_bytes(const Dataset *d)
{
    return (int64_t)d->h * d->w * d->c;
}

/* Image i of `from` becomes the next of `to`, which may be the same. */
static void move_image(Dataset *from, int i, Dataset *to)
{
    int64_t bytes = image_bytes(from);
    int at = to->count++;
    if (to->image != from->image || at != i)
        memcpy(to->image + at * bytes, from->image + i * bytes, (size_t)bytes);
    to->label[at] = from->label[i];
    if (to->file) {
        char *name = from->file[i];
        from->file[i] = NULL;
        to->file[at] = name;
    }
}

/* Room for so many images like those of d. */
static int make_room(const Dataset *d, int count, Dataset *out)
{
    *out = (Dataset){.h = d->h, .w = d->w, .c = d->c};
    out->image = malloc((size_t)count * (size_t)image_bytes(d) + 1);
    out->label = malloc(((size_t)count + 1) * sizeof *out->label);
    if (d->file)
        out->file = memset(xmalloc(((size_t)count + 1) * sizeof *out->file), 0,
                           ((size_t)count + 1) * sizeof *out->file);
    if (out->image && out->label)
        return 0;
    return fault("no memory for %d images of %lld bytes", count, (long long)image_bytes(d));
}

static int count_marks(const bool *mark, int count)
{
    int marks = 0;
    for (int i = 0; i < count; i++)
        marks += mark[i];
    return marks;
}

/* Where the images are in a file that cannot be written, both parts are copies. */
static int unmap(Dataset *d)
{
    size_t bytes = (size_t)d->count * (size_t)image_bytes(d);
    uint8_t *image = d->mapped.bytes ? malloc(bytes + 1) : NULL;
    if (!d->mapped.bytes)
        return 0;
    if (!image)
        return fault("no memory for %d images, which validation_split copies (%zu bytes)", d->count,
                     bytes);
    memcpy(image, d->image, bytes);
    filemap_close(&d->mapped);
    d->image = image;
    return 0;
}

static int divide(Dataset *d, const bool *validates, Dataset *validation)
{
    int marks = count_marks(validates, d->count), count = d->count;
    if (unmap(d) < 0 || make_room(d, marks, validation) < 0)
        return -1;
    d->count = 0;
    for (int i = 0; i < count; i++)
        move_image(d, i, validates[i] ? validation : d);
    return 0;
}

int dataset_divide(const SplitBy *by, Dataset *d, Dataset *validation)
{
    bool *validates = xmalloc((size_t)d->count * sizeof *validates);
    *validation = (Dataset){0};
    int status = split_marks(by, d->label, d->count, validates);
    if (status == 0)
        status = divide(d, validates, validation);
    free(validates);
    if (status < 0)
        dataset_free(validation);
    return status;
}
