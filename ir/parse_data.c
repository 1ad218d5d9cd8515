/* Reads what the IR text says of its data set. */
#include "parse.h"

/* A number, or a name in quotes. */
static bool parse_label(Parser *p, DataSettings *d)
{
    if (!lex_accept(p->lex, "label="))
        return true;
    if (lex_peek(p->lex) == '"')
        return lex_quoted(p->lex, &d->label);
    if (!lex_expect_int(p->lex, 0, &d->label_column))
        return false;
    d->label_column++;
    return true;
}

/* transpose, center_crop=28x28, resize=256 */
static bool parse_transform(Parser *p, Transform *t)
{
    int kind;
    if (!CHOOSE(p->lex, "a transform", transform_names, &kind))
        return false;
    *t = (Transform){.kind = (TransformKind)kind};
    if (!lex_accept(p->lex, "="))
        return true;
    if (!lex_expect_int(p->lex, 1, &t->h))
        return false;
    return !lex_accept(p->lex, "x") || lex_expect_int(p->lex, 1, &t->w);
}

static bool parse_transforms(Parser *p, DataSettings *d)
{
    if (!lex_accept(p->lex, "transform=["))
        return true;
    do {
        if (d->transforms == MAX_TRANSFORMS)
            return lex_fail(p->lex, "an image has at most %d transforms", MAX_TRANSFORMS);
        if (!parse_transform(p, &d->transform[d->transforms++]))
            return false;
    } while (lex_accept(p->lex, ","));
    return lex_expect(p->lex, "]");
}

bool parse_data_settings(Parser *p, DataSettings *d)
{
    *d = (DataSettings){0};
    if (!parse_label(p, d) || !parse_transforms(p, d))
        return false;
    if (lex_accept(p->lex, "validation_split=") &&
        !lex_positive_field(p->lex, "", &d->validation_split))
        return false;
    d->auto_mean = lex_accept(p->lex, "mean=auto");
    d->auto_std = lex_accept(p->lex, "std=auto");
    return !lex_accept(p->lex, "zca=") || lex_positive_field(p->lex, "", &d->zca_eps);
}
