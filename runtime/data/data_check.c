/* Whether what was read of a data set is the model's: one kind of message for all formats. */
#include "data.h"

enum { NAMES_SHOWN = 4 };

static int check_size(const NincModel *model, const char *path, const Dataset *d)
{
    if (d->h == model->image_h && d->w == model->image_w && d->c == model->image_c)
        return 0;
    const char *behind = has_transform(model) ? " behind the model's transform" : "";
    return fault("%s holds images of %dx%dx%d (height, width, channels)%s, the model was compiled "
                 "for %dx%dx%d; use the data set %s, or compile the model with the shape of these",
                 path, d->h, d->w, d->c, behind, model->image_h, model->image_w, model->image_c,
                 model->dataset);
}

int dataset_check_classes(const NincModel *model, const char *path, char *const *name, int classes)
{
    Text names = {0};
    char shown[64];
    if (classes == model->classes)
        return 0;
    for (int i = 0; i < classes && i < NAMES_SHOWN; i++)
        text_append(&names, "%s%s", i ? ", " : "", printable(name[i], shown, sizeof shown));
    fault("%s has %d classes (%s%s), the model has %d; compile it with classes: %d, or give the "
          "data set that it is for",
          path, classes, names.data ? names.data : "", classes > NAMES_SHOWN ? ", ..." : "",
          model->classes, classes);
    text_free(&names);
    return -1;
}

static int bad_label(const NincModel *model, const char *path, const Dataset *d, int i)
{
    if (d->first_line)
        return fault("%s:%lld: label %d is out of range, the model has classes 0 to %d", path,
                     d->first_line + i, d->label[i], model->classes - 1);
    return fault("%s: label %d of item %d%s%s is out of range, the model has classes 0 to %d", path,
                 d->label[i], i, d->file ? ", " : "", d->file ? d->file[i] : "",
                 model->classes - 1);
}

/* From 1 on, as other tools count. */
static int bad_origin(const NincModel *model, const char *path)
{
    return fault("%s: the labels are from 1 to %d, none is 0; classes are counted from 0: write "
                 "each label less 1, or compile the model with classes: %d, of which class 0 then "
                 "has no images",
                 path, model->classes, model->classes + 1);
}

static int check_labels(const NincModel *model, const char *path, const Dataset *d)
{
    int bad = -1;
    int32_t least = INT32_MAX, most = INT32_MIN;
    for (int i = 0; i < d->count; i++) {
        least = d->label[i] < least ? d->label[i] : least;
        most = d->label[i] > most ? d->label[i] : most;
        if (bad < 0 && (d->label[i] < 0 || d->label[i] >= model->classes))
            bad = i;
    }
    if (bad < 0)
        return 0;
    if (least == 1 && most == model->classes)
        return bad_origin(model, path);
    return bad_label(model, path, d, bad);
}

int dataset_check(const NincModel *model, const char *path, const Dataset *d)
{
    if (d->count < 1)
        return fault("%s holds no images of that split; get the data set again", path);
    if (check_size(model, path, d) < 0 ||
        (d->class_name && dataset_check_classes(model, path, d->class_name, d->classes) < 0))
        return -1;
    return check_labels(model, d->source ? d->source : path, d);
}
