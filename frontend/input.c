/* The section `input` of the model file: the data set, its images, how they become the network's
 * input. */
#include "../runtime/data/sets.h"
#include "input.h"

#include <string.h>

enum { MAX_EXTENT = 65536, MAX_CLASSES = 65536, MAX_COLUMNS = 1000000 };

#define INPUT_FIELD(key, member, required, example) \
    {key, FIELD_TREE, required, 0, 0, offsetof(InputSpec, member), example}

static const Field input_fields[] = {
    INPUT_FIELD("dataset", dataset, true, "dataset: fashion-mnist"),
    INPUT_FIELD("shape", shape, true, "shape: [1, 28, 28]"),
    INPUT_FIELD("resize", resize, false, "resize: bilinear"),
    INPUT_FIELD("mean", mean, false, "mean: [0.5]"),
    INPUT_FIELD("std", std, false, "std: [0.5]"),
    INPUT_FIELD("classes", classes_at, false, "classes: 10"),
    INPUT_FIELD("data_shape", data_shape, false, "data_shape: [3, 32, 32]"),
    INPUT_FIELD("transform", transform, false, "transform: [center_crop: 224]"),
    INPUT_FIELD("validation_split", validation_split, false, "validation_split: 0.1"),
    INPUT_FIELD("label", label, false, "label: species"),
    INPUT_FIELD("augment", augment, false, "augment: [{random_crop: {padding: 4}}]"),
    INPUT_FIELD("normalize", normalize, false, "normalize: {zca: {eps: 0.1}}"),
};

static const Field extent_field = {"shape", FIELD_INT, true, 1, MAX_EXTENT, 0,
                                   "shape: [1, 28, 28]"};
static const Field channel_field = {"the number of channels", FIELD_INT, true, 1,
                                    MAX_IMAGE_CHANNELS, 0, "shape: [1, 28, 28]"};
static const Field classes_field = {"classes", FIELD_INT, true, 1, MAX_CLASSES, 0, "classes: 10"};
static const Field split_field = {"validation_split", FIELD_REAL, false, 0, 1, 0,
                                  "validation_split: 0.1"};
static const Field column_field = {"label", FIELD_INT, false, 0, MAX_COLUMNS, 0, "label: 0"};
static const Field mean_field = {"mean", FIELD_REAL, false, -1e6, 1e6, 0,
                                 "mean: [0.5] or mean: auto"};
static const Field std_field = {"std", FIELD_REAL, false, 1e-6, 1e6, 0,
                                "std: [0.5] or std: auto"};

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

/* ---- shapes and pixels ---- */

static bool read_shape(Reader *r, const Tree *t, int out[3])
{
    bool sound = true;

    if (t->kind != TREE_SEQUENCE || t->count != 3) {
        reader_fault(r, t, "a shape is [channels, height, width]; for example [1, 28, 28]");
        return false;
    }
    sound &= read_int(r, t->item[0], &channel_field, &out[0]);
    sound &= read_int(r, t->item[1], &extent_field, &out[1]);
    return read_int(r, t->item[2], &extent_field, &out[2]) && sound;
}

/* mean or std: one number for all channels, or a list of one number a channel; auto leaves it. */
static bool read_per_channel(Reader *r, const Tree *t, const Field *f, int channels, double *out)
{
    bool sound = true;

    if (!t || normalize_is_auto(t))
        return true;
    if (t->kind != TREE_SEQUENCE)
        sound = read_real(r, t, f, &out[0]);
    else if (t->count == 0 || (t->count != 1 && t->count != channels) ||
             t->count > MAX_IMAGE_CHANNELS) {
        reader_fault(r, t, "%s has %d numbers for %d channel%s; give one number, or one for each "
                           "channel", f->key, t->count, channels, channels == 1 ? "" : "s");
        return false;
    } else {
        for (int i = 0; i < t->count; i++)
            sound &= read_real(r, t->item[i], f, &out[i]);
        if (t->count > 1)
            return sound;
    }
    for (int i = 1; i < channels; i++)
        out[i] = out[0];
    return sound;
}

/* ---- images ---- */

/* A share of the training images. */
static bool read_split(Reader *r, const Tree *t, double *out)
{
    if (!t)
        return true;
    if (!read_real(r, t, &split_field, out))
        return false;
    if (*out > 0 && *out < 1)
        return true;
    reader_fault(r, t, "validation_split must be above 0 and below 1: the part of the training "
                       "images that validates; for example %s", split_field.example);
    return false;
}

/* A number, from 0, or a name. */
static bool read_label(Reader *r, const InputSpec *in, DataSettings *out)
{
    const Tree *t = in->label;

    if (!t)
        return true;
    if (in->dataset_name && strcmp(in->dataset_name, "csv") != 0) {
        reader_fault(r, t, "label is only for dataset: csv; remove the key");
        return false;
    }
    if (t->kind != TREE_SCALAR || tree_is_null(t) || t->length == 0 ||
        strlen(t->text) != t->length) {
        reader_fault(r, t, "label must be the name or the number, from 0, of the column of labels, "
                           "not %s; for example label: species", reader_quote(r, t));
        return false;
    }
    if (t->quoted || t->text[strspn(t->text, "+-0123456789")] != '\0') {
        out->label = t->text;
        return true;
    }
    if (!read_int(r, t, &column_field, &out->label_column))
        return false;
    out->label_column++;
    return true;
}

/* ---- data sets ---- */

static bool refuse_set(Reader *r, const DataSet *set, const InputSpec *in)
{
    if (set->flags & SET_SEVERAL_LABELS)
        reader_fault(r, in->dataset, "%s's images are of any number of %d classes at once; the "
                                     "loss of a network here is that of one class an image, so "
                                     "choose another data set", set->name, set->classes);
    return !(set->flags & SET_SEVERAL_LABELS);
}

/* The keys of what is no known set, but a format. */
static bool refuse_keys(Reader *r, const DataSet *set, const InputSpec *in)
{
    const Tree *wrong = in->classes_at ? in->classes_at : in->data_shape;

    if (wrong)
        reader_fault(r, wrong, "%s is only for a format, as dataset: idx is; %s is known, remove "
                               "the key", in->classes_at ? "classes" : "data_shape", set->name);
    return !wrong;
}

static void default_shape(InputSpec *in)
{
    in->data[0] = in->resize ? 1 : in->net[0];
    in->data[1] = in->resize ? 28 : in->net[1];
    in->data[2] = in->resize ? 28 : in->net[2];
}

/* What comes of images of any size and of this one, or of any channels and these, is what it is. */
static bool check_transforms(Reader *r, const InputSpec *in)
{
    static const char *const what[] = {"number of channels", "height", "width"};
    int size[3] = {0, 0, 0};

    if (!transforms_size(r, in->transform, &in->images, size))
        return false;
    for (int i = 0; i < 3; i++)
        if (size[i] > 0 && size[i] != in->data[i]) {
            reader_fault(r, in->data_shape ? in->data_shape : in->shape,
                         "the images' %s is %d behind the transforms, not %d", what[i], size[i],
                         in->data[i]);
            return false;
        }
    return true;
}

/* What a format's data set says of itself in the model file; the known ones may not. */
static bool read_data(Reader *r, const DataSet *set, InputSpec *in)
{
    bool sound = true, is_format = set->classes == 0;

    if (!refuse_set(r, set, in))
        return false;
    if (!is_format && !in->classes_at && !in->data_shape) {
        memcpy(in->data, set->shape, sizeof in->data);
        in->classes = set->classes;
        return transforms_size(r, in->transform, &in->images, in->data);
    }
    if (!is_format && !(set->flags & SET_IS_FORMAT))
        return refuse_keys(r, set, in);
    in->classes = set->classes;
    if (in->classes_at)
        sound = read_int(r, in->classes_at, &classes_field, &in->classes);
    else if (is_format) {
        reader_fault(r, in->dataset, "dataset: %s needs the key 'classes'; for example "
                                     "classes: 10", set->name);
        sound = false;
    }
    default_shape(in);
    if (in->data_shape && !read_shape(r, in->data_shape, in->data))
        return false;
    return sound && check_transforms(r, in);
}

static bool check_shapes(Reader *r, const InputSpec *in)
{
    const int *data = in->data, *net = in->net;
    const char *behind = in->images.transforms ? " behind the transforms" : "";

    if (net[0] != data[0]) {
        reader_fault(r, in->shape, "shape has %d channel%s, but the images of %s have %d%s", net[0],
                     net[0] == 1 ? "" : "s", in->dataset_name, data[0], behind);
        return false;
    }
    if (!in->resize && (net[1] != data[1] || net[2] != data[2])) {
        reader_fault(r, in->shape, "shape is %dx%d, but the images of %s are %dx%d%s; add "
                                   "resize: bilinear or change the shape", net[1], net[2],
                     in->dataset_name, data[1], data[2], behind);
        return false;
    }
    return true;
}

bool read_input(Reader *r, const Tree *t, InputSpec *in)
{
    static const char *const resize_words[] = {"bilinear"};
    int dataset = -1;
    bool sound, shaped;

    in->image.mean = pool_alloc(r->pool, MAX_IMAGE_CHANNELS * sizeof *in->image.mean);
    in->image.std = pool_alloc(r->pool, MAX_IMAGE_CHANNELS * sizeof *in->image.std);
    for (int i = 0; i < MAX_IMAGE_CHANNELS; i++)
        in->image.std[i] = 1;
    sound = read_fields(r, t, "input", input_fields, COUNT(input_fields), in);
    if (in->dataset)
        dataset = find_word(r, in->dataset, "dataset",
                            (Words){data_sets, data_set_count, sizeof *data_sets});
    if (in->resize && find_word(r, in->resize, "resize", WORDS(resize_words)) < 0)
        sound = false;
    shaped = in->shape && read_shape(r, in->shape, in->net);
    in->image.channels = shaped ? in->net[0] : 1;
    if (shaped) {
        sound &= read_per_channel(r, in->mean, &mean_field, in->net[0], in->image.mean);
        sound &= read_per_channel(r, in->std, &std_field, in->net[0], in->image.std);
    }
    if (dataset >= 0)
        in->dataset_name = data_sets[dataset].name;
    sound &= read_normalize(r, in);
    sound &= read_transforms(r, in->transform, &in->images);
    sound &= read_split(r, in->validation_split, &in->images.validation_split);
    sound &= read_label(r, in, &in->images);
    shaped = shaped && sound && dataset >= 0 && read_data(r, &data_sets[dataset], in) &&
             check_shapes(r, in);
    if (in->augment && !read_augment(r, in->augment, shaped ? in->data : NULL, &in->augmentations))
        return false;
    return shaped;
}

