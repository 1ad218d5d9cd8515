/* What a model file makes of the images of its data set, before they are the device's. */
#include "input.h"

enum { MAX_SIDE = 65536 };

static const Field crop_field = {"center_crop", FIELD_SIZE, true, 1, MAX_SIDE, 0,
                                 "center_crop: 224"};
static const Field resize_field = {"resize", FIELD_SIZE, true, 1, MAX_SIDE, 0, "resize: 256"};

/* A transform that has no settings. */
static bool expect_bare(Reader *r, const Tree *word, const Tree *settings)
{
    if (tree_is_null(settings))
        return true;
    reader_fault(r, settings, "%s has no settings; write it as a bare word, as in "
                              "transform: [%s]", word->text, word->text);
    return false;
}

/* N or [height, width]; a resize by one number goes by the shorter side. */
static bool read_side(Reader *r, const Tree *t, const Field *f, bool shorter, Transform *out)
{
    int size[2];

    if (!read_size(r, t, f, size))
        return false;
    out->h = size[0];
    out->w = shorter && t->kind == TREE_SCALAR ? 0 : size[1];
    return true;
}

static bool read_transform(Reader *r, const Tree *t, Transform *out)
{
    const Tree *word, *settings;
    int kind;

    if (!read_choice(r, t, "a transform", &word, &settings))
        return false;
    kind = find_word(r, word, "a transform", (Words){transform_names, TRANSFORM_COUNT,
                                                     sizeof *transform_names});
    *out = (Transform){.kind = (TransformKind)(kind < 0 ? 0 : kind)};
    if (kind < 0)
        return false;
    switch (out->kind) {
    case TRANSFORM_TRANSPOSE:
    case TRANSFORM_GRAYSCALE: return expect_bare(r, word, settings);
    case TRANSFORM_CENTER_CROP: return read_side(r, settings, &crop_field, false, out);
    case TRANSFORM_RESIZE: return read_side(r, settings, &resize_field, true, out);
    case TRANSFORM_COUNT: break;
    }
    internal_error("a transform of kind %d", kind);
}

bool read_transforms(Reader *r, const Tree *t, DataSettings *out)
{
    bool sound = true;

    if (!t)
        return true;
    if (t->kind != TREE_SEQUENCE || t->count == 0 || t->count > MAX_TRANSFORMS) {
        reader_fault(r, t, "transform must be a list of 1 to %d transforms; for example "
                           "transform: [resize: 256, center_crop: 224]", MAX_TRANSFORMS);
        return false;
    }
    for (int i = 0; i < t->count; i++)
        sound &= read_transform(r, t->item[i], &out->transform[out->transforms++]);
    return sound;
}

bool transforms_size(Reader *r, const Tree *at, const DataSettings *d, int size[3])
{
    char why[200];

    for (int i = 0; i < d->transforms; i++)
        if (transform_size(&d->transform[i], size, why, sizeof why)) {
            reader_fault(r, at->item[i], "%s", why);
            return false;
        }
    return true;
}
