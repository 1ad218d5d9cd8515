/* Labelled images that were read. */
#include "data.h"

#include <stdlib.h>

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
    packed_set_free(d->packed);
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
