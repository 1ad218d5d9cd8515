/* A data set in four IDX files: images and labels of each split. */
#include "data.h"

static int images_rank(const NincModel *model)
{
    return model->image_c == 1 ? 3 : 4;
}

/* Any file under one of their names. */
bool data_idx_probe(const char *directory)
{
    return idx_any(directory);
}

static int read_images(const NincModel *model, IdxFile *f, Dataset *out)
{
    uint32_t h = f->dim[1], w = f->dim[2], c = f->rank > 3 ? f->dim[3] : 1;
    if (f->rank < 3)
        return fault("%s has %d dimension%s, images have 3 (items, height, width) or 4 (and "
                     "channels); it is not the file its name says",
                     f->path, f->rank, f->rank == 1 ? "" : "s");
    if (h != (uint32_t)model->image_h || w != (uint32_t)model->image_w ||
        c != (uint32_t)model->image_c)
        return fault("%s holds images of %ux%ux%u (height, width, channels), the model was "
                     "compiled for %dx%dx%d; use the data set %s",
                     f->path, h, w, c, model->image_h, model->image_w, model->image_c,
                     model->dataset);
    out->h = model->image_h;
    out->w = model->image_w;
    out->c = model->image_c;
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

int data_idx_read(const NincModel *model, const char *directory, Split split, Dataset *out)
{
    const char *part = split == SPLIT_TRAIN ? "train" : "t10k";
    IdxFile f;
    int status = idx_open(&f, directory, &(IdxName){part, "images", images_rank(model)});
    if (status == 0)
        status = read_images(model, &f, out);
    idx_close(&f);
    if (status < 0)
        return status;
    status = idx_open(&f, directory, &(IdxName){part, "labels", 1});
    if (status == 0)
        status = read_labels(model, &f, out);
    idx_close(&f);
    return status;
}
