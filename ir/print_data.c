/* What the IR text says of the images of its data set. */
#include "print_parts.h"

/* Each word that is not bare is in quotes. */
static void print_label(const DataSettings *d, Text *out)
{
    if (d->label_column > 0)
        text_append(out, " label=%d", d->label_column - 1);
    else if (d->label) {
        text_append(out, " label=");
        print_quoted(d->label, out);
    }
}

static void print_transform(const Transform *t, Text *out)
{
    text_append(out, "%s", transform_names[t->kind]);
    if (t->h > 0)
        text_append(out, t->w > 0 ? "=%dx%d" : "=%d", t->h, t->w);
}

void data_settings_print(const DataSettings *d, Text *out)
{
    print_label(d, out);
    for (int i = 0; i < d->transforms; i++) {
        text_append(out, i ? "," : " transform=[");
        print_transform(&d->transform[i], out);
    }
    text_append(out, d->transforms ? "]" : "");
    if (d->validation_split > 0) {
        text_append(out, " ");
        print_number("validation_split", d->validation_split, out);
    }
    text_append(out, "%s%s", d->auto_mean ? " mean=auto" : "", d->auto_std ? " std=auto" : "");
    if (d->zca_eps > 0) {
        text_append(out, " ");
        print_number("zca", d->zca_eps, out);
    }
}
