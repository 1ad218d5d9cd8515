/* The attributes of nodes in the IR text. */
#include "print_parts.h"

#include <string.h>

void print_quoted(const char *text, Text *out)
{
    text_append(out, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < ' ' || *p == '"' || *p == '\\' || *p == 127)
            text_append(out, "\\x%02x", *p);
        else
            text_append(out, "%c", *p);
    }
    text_append(out, "\"");
}

static void print_window(const Window *w, Text *out)
{
    text_append(out, " {kernel=%dx%d", w->kernel_h, w->kernel_w);
    if (w->stride_h != 1 || w->stride_w != 1)
        print_pair(out, "stride", w->stride_h, w->stride_w);
    if (w->padding_h || w->padding_w)
        print_pair(out, "padding", w->padding_h, w->padding_w);
    if (w->dilation_h || w->dilation_w)
        print_pair(out, "dilation", window_dilation_h(w), window_dilation_w(w));
    if (w->groups)
        text_append(out, " groups=%d", w->groups);
    text_append(out, "%s%s", w->ceil_mode ? " ceil" : "", w->inside ? " inside" : "");
}

static void print_fold(const Fold *f, Text *out)
{
    print_window(&f->window, out);
    print_pair(out, "size", f->height, f->width);
    print_pair(out, "source", f->source_h, f->source_w);
    text_append(out, "}");
}

static void print_winograd(const Winograd *w, Text *out)
{
    text_append(out, " {tile=%d kernel=%dx%d", w->tile, w->kernel, w->kernel);
    if (w->padding_h || w->padding_w)
        print_pair(out, "padding", w->padding_h, w->padding_w);
    if (w->height || w->width)
        print_pair(out, "size", w->height, w->width);
    text_append(out, "}");
}

static bool all_equal(const double *list, int count, double value)
{
    for (int i = 0; i < count; i++)
        if (list[i] != value)
            return false;
    return true;
}

static void print_list(const char *key, const double *list, int count, Text *out)
{
    char digits[32];
    text_append(out, "%s=[", key);
    for (int i = 0; i < count; i++)
        text_append(out, "%s%s", i ? "," : "", format_double(list[i], digits));
    text_append(out, "]");
}

static void print_image(Op op, const ImageAttr *image, Text *out)
{
    bool plain =
        all_equal(image->mean, image->channels, 0) && all_equal(image->std, image->channels, 1);
    if (op == OP_RESIZE)
        text_append(out, plain ? " {mode=bilinear}" : " {mode=bilinear ");
    else if (!plain)
        text_append(out, " {");
    if (plain)
        return;
    print_list("mean", image->mean, image->channels, out);
    text_append(out, " ");
    print_list("std", image->std, image->channels, out);
    text_append(out, "}");
}

static void print_lrn(const LrnAttr *lrn, Text *out)
{
    text_append(out, " {size=%d", lrn->size);
    print_number(" alpha", lrn->alpha, out);
    print_number(" beta", lrn->beta, out);
    print_number(" k", lrn->k, out);
    text_append(out, "}");
}

static void print_augment(Op op, const AugmentAttr *a, Text *out)
{
    int settings, at = 0;
    const AugmentSetting *setting = augment_settings(op, &settings);
    text_append(out, " {");
    for (int i = 0; i < settings; i++) {
        if (setting[i].range)
            print_list(setting[i].name, a->number + at, 2, out);
        else
            print_number(setting[i].name, a->number[at], out);
        text_append(out, " ");
        at += 1 + setting[i].range;
    }
    text_append(out, "draw=%d}", a->draw);
}

void attr_print(const Node *n, Text *out)
{
    switch (op_attr(n->op)) {
    case ATTR_NONE: return;
    case ATTR_WINDOW:
        print_window(&n->attr.window, out);
        text_append(out, "}");
        return;
    case ATTR_FOLD: print_fold(&n->attr.fold, out); return;
    case ATTR_WINOGRAD: print_winograd(&n->attr.winograd, out); return;
    case ATTR_IMAGE: print_image(n->op, &n->attr.image, out); return;
    case ATTR_FACTOR:
        text_append(out, " {");
        print_number("factor", n->attr.factor, out);
        text_append(out, "}");
        return;
    case ATTR_DROPOUT:
        text_append(out, " {");
        print_number("p", n->attr.dropout.p, out);
        text_append(out, " layer=%d}", n->attr.dropout.layer);
        return;
    case ATTR_SLICE:
        text_append(out, " {from=%d to=%d}", n->attr.slice.from, n->attr.slice.to);
        return;
    case ATTR_SMOOTHING:
        if (n->attr.factor == 0)
            return;
        text_append(out, " {");
        print_number("label_smoothing", n->attr.factor, out);
        text_append(out, "}");
        return;
    case ATTR_RATE:
        if (n->attr.factor == 1)
            return;
        text_append(out, " {");
        print_number("lr_mult", n->attr.factor, out);
        text_append(out, "}");
        return;
    case ATTR_ADAM:
        text_append(out, " {");
        print_number("beta1", n->attr.adam.beta1, out);
        print_number(" beta2", n->attr.adam.beta2, out);
        print_number(" eps", n->attr.adam.eps, out);
        if (n->attr.adam.lr_mult != 1)
            print_number(" lr_mult", n->attr.adam.lr_mult, out);
        text_append(out, "}");
        return;
    case ATTR_NORM:
        text_append(out, " {");
        print_number("eps", n->attr.norm.eps, out);
        if (n->attr.norm.momentum != 0)
            print_number(" momentum", n->attr.norm.momentum, out);
        text_append(out, "}");
        return;
    case ATTR_LRN: print_lrn(&n->attr.lrn, out); return;
    case ATTR_AUGMENT: print_augment(n->op, &n->attr.augment, out); return;
    case ATTR_CONTRAST:
        text_append(out, " {");
        print_number("scale", n->attr.contrast.scale, out);
        print_number(" eps", n->attr.contrast.eps, out);
        text_append(out, "}");
        return;
    }
}
