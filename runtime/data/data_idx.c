/* A data set in four IDX files: images and labels of each split. */
#include "data.h"

/* Any file under one of their names. */
bool data_idx_probe(const char *path)
{
    return idx_any(path);
}

static int read_images(IdxFile *f, Dataset *out)
{
    if (f->rank < 3)
        return fault("%s has %d dimension%s, images have 3 (items, height, width) or 4 (and "
                     "channels); it is not the file its name says",
                     f->path, f->rank, f->rank == 1 ? "" : "s");
    for (int i = 1; i < f->rank; i++)
        if (f->dim[i] < 1 || f->dim[i] > IMAGE_MAX_PIXELS)
            return fault("%s: its header says %u for a side or the channels of an image; it is "
                         "damaged, get the file again",
                         f->path, f->dim[i]);
    out->h = (int)f->dim[1];
    out->w = (int)f->dim[2];
    out->c = f->rank > 3 ? (int)f->dim[3] : 1;
    out->count = (int)f->dim[0];
    return idx_bytes(f, &out->image);
}

static int read_labels(const NincModel *model, IdxFile *f, Dataset *out)
{
    if (f->dim[0] != (uint32_t)out->count)
        return fault("%s holds %u labels for %d images; the two files do not belong together",
                     f->path, f->dim[0], out->count);
    return idx_labels(f, model->classes, &out->label);
}

int data_idx_read(const DataRequest *request, Dataset *out)
{
    const NincModel *model = request->model;
    const char *part = request->split == SPLIT_TRAIN ? "train" : "t10k";
    IdxFile f;
    int status = idx_open(&f, request->path,
                          &(IdxName){part, "images", model->image_c == 1 ? 3 : 4,
                                     model->dataset});
    if (status == 0)
        status = read_images(&f, out);
    idx_close(&f);
    if (status < 0)
        return status;
    status = idx_open(&f, request->path, &(IdxName){part, "labels", 1, model->dataset});
    if (status == 0)
        status = read_labels(model, &f, out);
    idx_close(&f);
    return status;
}
