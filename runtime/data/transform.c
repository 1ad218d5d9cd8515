/* What a model makes of the images of its data set before the device gets them: torchvision's
 * CenterCrop, Resize with antialias, Grayscale; transpose. */
#include "data.h"

#include "../../ir/ir.h"

#include <stdlib.h>
#include <string.h>

bool has_transform(const NincModel *model)
{
    return model->data && model->data->transforms > 0;
}

static int copy(const Image *in, Image *out)
{
    if (image_new("an image", in->h, in->w, in->c, out) < 0)
        return -1;
    memcpy(out->pixel, in->pixel, (size_t)in->h * (size_t)in->w * (size_t)in->c);
    return 0;
}

static int transpose(const Image *in, Image *out)
{
    size_t c = (size_t)in->c;
    if (image_new("the transposed image", in->w, in->h, in->c, out) < 0)
        return -1;
    for (int y = 0; y < in->h; y++)
        for (int x = 0; x < in->w; x++)
            memcpy(out->pixel + ((size_t)x * (size_t)in->h + (size_t)y) * c,
                   in->pixel + ((size_t)y * (size_t)in->w + (size_t)x) * c, c);
    return 0;
}

/* What of (size - cut) / 2 pixels stands before the cut: half goes to the even neighbour, as in
 * Python's round. */
static int margin(int size, int cut)
{
    int twice = size - cut, half = twice / 2;
    return half + (twice % 2 != 0 && half % 2 != 0);
}

static int crop(const Image *in, int h, int w, Image *out)
{
    size_t c = (size_t)in->c;
    int top = margin(in->h, h), left = margin(in->w, w);
    if (image_new("the cropped image", h, w, in->c, out) < 0)
        return -1;
    for (int y = 0; y < h; y++)
        memcpy(out->pixel + (size_t)y * (size_t)w * c,
               in->pixel + ((size_t)(top + y) * (size_t)in->w + (size_t)left) * c, (size_t)w * c);
    return 0;
}

static int make_gray(const Image *in, Image *out)
{
    int status = copy(in, out);
    return status < 0 ? status : image_convert(out, 1);
}

/* `size`: what comes of it. */
static int apply(const Transform *t, const Image *in, const int size[3], Image *out)
{
    switch (t->kind) {
    case TRANSFORM_TRANSPOSE: return transpose(in, out);
    case TRANSFORM_GRAYSCALE: return make_gray(in, out);
    case TRANSFORM_CENTER_CROP: return crop(in, size[1], size[2], out);
    case TRANSFORM_RESIZE: return image_scale(in, size[1], size[2], out);
    case TRANSFORM_COUNT: break;
    }
    return fault("the model has an unknown transform; compile it again");
}

/* What is laid on black or is gray counts as one channel or three. */
static int colours(int channels)
{
    return channels == 2 ? 1 : channels == 4 ? 3 : channels;
}

static int transform_once(const Transform *t, const Image *in, Image *out)
{
    char why[200];
    bool gray = t->kind == TRANSFORM_GRAYSCALE;
    int size[3] = {gray ? colours(in->c) : in->c, in->h, in->w};
    if (transform_size(t, size, why, sizeof why))
        return fault("%s", why);
    return apply(t, in, size, out);
}

int image_transform(const NincModel *model, const Image *in, Image *out)
{
    int count = has_transform(model) ? model->data->transforms : 0, status = copy(in, out);
    for (int i = 0; i < count && status == 0; i++) {
        Image next = {0};
        status = transform_once(&model->data->transform[i], out, &next);
        image_free(out);
        *out = next;
    }
    if (status < 0)
        image_free(out);
    return status;
}

/* ---- of a data set ---- */

static int64_t bytes_of(const Image *image)
{
    return (int64_t)image->h * image->w * image->c;
}

/* Image i becomes that of `all`, which the first one makes room for. */
static int transform_one(const NincModel *model, const Dataset *d, int i, Dataset *all)
{
    Image in = {d->image, d->h, d->w, d->c}, out;
    in.pixel += i * bytes_of(&in);
    if (image_transform(model, &in, &out) < 0)
        return -1;
    int64_t bytes = bytes_of(&out);
    if (i == 0) {
        *all = (Dataset){.h = out.h, .w = out.w, .c = out.c};
        all->image = malloc((size_t)d->count * (size_t)bytes);
    }
    if (all->image)
        memcpy(all->image + i * bytes, out.pixel, (size_t)bytes);
    image_free(&out);
    return all->image ? 0 : fault("no memory for %d images of %lld bytes", d->count,
                                  (long long)bytes);
}

int dataset_transform(const NincModel *model, const char *name, Dataset *d)
{
    char why[300];
    Dataset all = {0};
    int status = 0;
    Messages before = fault_hold(why, sizeof why);
    for (int i = 0; i < d->count && status == 0; i++)
        status = transform_one(model, d, i, &all);
    fault_release(before);
    if (status < 0) {
        free(all.image);
        return fault("the images in %s: %s", name, why);
    }
    if (d->mapped.bytes)
        filemap_close(&d->mapped);
    else
        free(d->image);
    d->image = all.image;
    d->h = all.h;
    d->w = all.w;
    d->c = all.c;
    return 0;
}
