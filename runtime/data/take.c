/* What readers found of a data set becomes a Dataset. */
#include "data.h"

#include <limits.h>
#include <stdlib.h>

void dataset_take_records(Dataset *out, const RecordKind *kind, Records *records)
{
    out->image = records->image;
    out->label = records->label;
    out->count = (int)records->count;
    out->h = kind->h;
    out->w = kind->w;
    out->c = kind->c;
    *records = (Records){0};
}

void dataset_take_pixels(Dataset *out, const PixelOrder *order, Numbers *numbers)
{
    out->image = numbers->raw;
    out->count = (int)order->count;
    out->h = order->h;
    out->w = order->w;
    out->c = order->c;
    numbers->raw = NULL;
}

int dataset_read_names(Dataset *out, const char *directory, const char *name)
{
    TextLines lines;
    char *path = find_file(directory, name);
    int status = 0;
    if (path) {
        status = text_lines_read(path, &lines);
        out->class_name = lines.line;
        out->classes = lines.count;
    }
    free(path);
    return status;
}
