/* input.augment: what is done to the training images, a list in order. The settings of each op,
 * with their bounds, are those of ir/op/augment.c. */
#include "frontend.h"

typedef struct AugmentWord {
    const char *word; /* first, for find_word */
    Op op;
} AugmentWord;

#define WORD(op, word) {word, OP_##op}

static const AugmentWord words[] = {
    WORD(RANDOM_CROP, "random_crop"),
    WORD(RANDOM_RESIZED_CROP, "random_resized_crop"),
    WORD(RANDOM_HORIZONTAL_FLIP, "random_horizontal_flip"),
    WORD(RANDOM_ROTATION, "random_rotation"),
    WORD(RANDOM_ERASING, "random_erasing"),
    WORD(COLOR_JITTER, "color_jitter"),
};

/* One number of a setting. */
static bool read_number(Reader *r, const Tree *t, const AugmentSetting *s, double *out)
{
    Field field = {s->name, FIELD_REAL, s->required, s->low, s->high, 0, s->example};
    int whole;

    if (!s->whole)
        return read_real(r, t, &field, out);
    if (!read_int(r, t, &field, &whole))
        return false;
    *out = whole;
    return true;
}

static bool read_setting(Reader *r, const Tree *t, const AugmentSetting *s, double *out)
{
    if (!s->range)
        return read_number(r, t, s, out);
    if (t->kind != TREE_SEQUENCE || t->count != 2) {
        reader_fault(r, t, "%s must be a list of its least and its largest value; for example %s",
                     s->name, s->example);
        return false;
    }
    if (!read_number(r, t->item[0], s, &out[0]) || !read_number(r, t->item[1], s, &out[1]))
        return false;
    if (out[0] <= out[1])
        return true;
    reader_fault(r, t, "%s begins with its least value; for example %s", s->name, s->example);
    return false;
}

static bool read_settings(Reader *r, const Tree *settings, Op op, AugmentAttr *out)
{
    const Tree *tree[AUGMENT_SETTINGS] = {NULL};
    Field fields[AUGMENT_SETTINGS];
    int count, at = 0;
    const AugmentSetting *s = augment_settings(op, &count);
    bool sound;

    for (int i = 0; i < count; i++)
        fields[i] = (Field){s[i].name, FIELD_TREE, s[i].required, 0, 0, i * sizeof *tree,
                            s[i].example};
    sound = read_fields(r, settings, op_name(op), fields, count, tree);
    for (int i = 0; i < count; at += 1 + s[i].range, i++) {
        for (int k = 0; k <= s[i].range; k++)
            out->number[at + k] = s[i].given[k];
        if (tree[i])
            sound &= read_setting(r, tree[i], &s[i], &out->number[at]);
    }
    return sound;
}

/* `image`: c, h, w; NULL where they are not known. */
static bool check_settings(Reader *r, const Augmentation *a, const int *image)
{
    const double *x = a->attr.number;
    const char *fault;

    if (a->op == OP_COLOR_JITTER && x[0] == 0 && x[1] == 0 && x[2] == 0)
        fault = " changes nothing; give it brightness, contrast or saturation";
    else if (image)
        fault = augment_fault(a->op, &a->attr, (int32_t[]){1, image[1], image[2], image[0]});
    else
        return true;
    if (fault)
        reader_fault(r, a->at, "%s%s", op_name(a->op), fault);
    return !fault;
}

static bool read_augmentation(Reader *r, const Tree *t, const int *image, Augmentation *out)
{
    const Tree *settings;
    int chosen;

    if (!read_choice(r, t, "an augmentation", &out->at, &settings) ||
        (chosen = find_word(r, out->at, "an augmentation", WORDS(words))) < 0)
        return false;
    out->op = words[chosen].op;
    return read_settings(r, settings, out->op, &out->attr) && check_settings(r, out, image);
}

bool read_augment(Reader *r, const Tree *t, const int *image, AugmentList *out)
{
    bool sound = true;

    if (t->kind != TREE_SEQUENCE || t->count > MAX_AUGMENTS) {
        reader_fault(r, t, "augment must be a list of at most %d augmentations; for example "
                           "augment: [{random_crop: {padding: 4}}, random_horizontal_flip]",
                     (int)MAX_AUGMENTS);
        return false;
    }
    for (int i = 0; i < t->count; i++) {
        sound &= read_augmentation(r, t->item[i], image, &out->item[i]);
        out->item[i].attr.draw = i;
    }
    out->count = t->count;
    return sound;
}

Node *build_augment(Graph *g, Node *image, const AugmentList *list)
{
    for (int i = 0; i < list->count; i++) {
        const Augmentation *a = &list->item[i];
        Attr attr = {.augment = a->attr};
        Node *in[] = {image, graph_take_input(g, INPUT_SEED, (Loc){0}),
                      graph_take_input(g, INPUT_EPOCH, (Loc){0}),
                      graph_take_input(g, INPUT_INDEX, (Loc){0})};

        image = graph_add(g, a->op, 4, in, &attr, a->at->loc);
    }
    return image;
}
