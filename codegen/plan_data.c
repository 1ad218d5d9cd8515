/* plan.c: what the model file says of the images of its data set. */
#include "embed.h"
#include "emit.h"

#include <ctype.h>

static const char *const transform_ids[] = {
#define X(id, text) "TRANSFORM_" #id,
    IR_TRANSFORMS(X)
#undef X
};

void emit_escaped(const char *text, Text *out)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        bool plain = *p < 128 && isprint(*p) && *p != '"' && *p != '\\' && *p != '?';
        text_append(out, plain ? "%c" : "\\%03o", *p);
    }
}

void emit_data_settings(const DataSettings *d, Text *out)
{
    char digits[32];
    if (!data_settings_given(d))
        return;
    emit_header(&embedded_images_h, out);
    text_append(out, "\nstatic const DataSettings data = {\n    .transforms = %d", d->transforms);
    for (int i = 0; i < d->transforms; i++) {
        const Transform *t = &d->transform[i];
        text_append(out, "%s{%s, %d, %d}", i ? ", " : ",\n    .transform = {",
                    transform_ids[t->kind], t->h, t->w);
    }
    text_append(out, d->transforms ? "}" : "");
    text_append(out, ",\n    .validation_split = %s", format_double(d->validation_split, digits));
    if (d->label) {
        text_append(out, ",\n    .label = \"");
        emit_escaped(d->label, out);
        text_append(out, "\"");
    }
    text_append(out, ",\n    .label_column = %d", d->label_column);
    if (d->auto_mean || d->auto_std)
        text_append(out, ",\n    .auto_mean = %d, .auto_std = %d", d->auto_mean, d->auto_std);
    if (d->zca_eps > 0)
        text_append(out, ",\n    .zca_eps = %s", format_double(d->zca_eps, digits));
    text_append(out, "};\n");
}
