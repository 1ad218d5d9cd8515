/* Where in an image the network sees a class: the maps that its global average pooling averages,
 * one a class, drawn over the image. */
#include "../../ir/ir.h"
#include "tools.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { READABLE = 256 };

/* Parts of the heat's colour and of the image's brightness, so that both show. */
#define OPAQUE 0.6
#define DIM 0.75

/* ---- the maps ---- */

static const Node *behind_shape(const Node *n)
{
    while (n->op == OP_FLATTEN || n->op == OP_CAST)
        n = n->in[0];
    return n;
}

/* A mean over the whole map. */
static bool is_global_average(const Node *n)
{
    if (n->op == OP_GAP)
        return true;
    const int32_t *from = n->op == OP_AVGPOOL ? n->in[0]->tensor.shape.dim : NULL;
    const Window *w = &n->attr.window;
    return from && w->kernel_h == from[1] && w->kernel_w == from[2] && w->padding_h == 0 &&
           w->padding_w == 0;
}

/* What the logits are the averages of; NULL where they are not. */
static const Node *averaged_map(const Graph *g)
{
    const Node *logits = graph_find_output(g, "logits");
    const Node *average = logits ? behind_shape(logits) : NULL;
    if (!average || !is_global_average(average))
        return NULL;
    return average->in[0];
}

static void set_state(Eval *e, const Weights *weights)
{
    const Module *m = e->graph->module;
    for (int i = 0; i < m->storage_count; i++) {
        const float *from = weights->value[i];
        double *to = eval_state(e, m->storage[i]);
        int64_t count = shape_elements(&m->storage[i]->tensor.shape);
        for (int64_t k = 0; from && k < count; k++)
            to[k] = (double)from[k];
    }
}

static void set_image(Eval *e, const uint8_t *pixel)
{
    const Node *image = graph_find_input(e->graph, "image");
    const Node *valid = graph_find_input(e->graph, "valid");
    double *value = eval_value(e, image);
    int64_t count = eval_elements(e, image);
    for (int64_t i = 0; i < count; i++)
        value[i] = pixel[i];
    *eval_value(e, valid) = 1;
}

int class_maps(const Graph *eval, const Weights *weights, const uint8_t *pixel, ClassMaps *out)
{
    const Node *node = averaged_map(eval);
    *out = (ClassMaps){0};
    if (!node)
        return fault("the network has no class maps: a heat map needs a global average pooling "
                     "(gap, or an avgpool over the whole map) as the last layer before the loss");
    const int32_t *dim = node->tensor.shape.dim;
    *out = (ClassMaps){.h = dim[1], .w = dim[2], .classes = dim[3]};
    Eval *e = eval_new(eval, 1);
    set_state(e, weights);
    set_image(e, pixel);
    eval_run(e);
    size_t bytes = (size_t)eval_elements(e, node) * sizeof *out->value;
    out->value = memcpy(xmalloc(bytes), eval_value(e, node), bytes);
    eval_free(e);
    return 0;
}

/* ---- the picture ---- */

/* A map of one class in 0..1. */
typedef struct Heat {
    int h, w;
    double *value;
} Heat;

/* 0 is no sign of the class, 1 the strongest on this map; where nothing speaks for it, the values
 * from the lowest to the highest. */
static Heat heat_of(const ClassMaps *maps, int class)
{
    int count = maps->h * maps->w;
    Heat heat = {maps->h, maps->w, xmalloc((size_t)count * sizeof(double))};
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < count; i++) {
        heat.value[i] = maps->value[(int64_t)i * maps->classes + class];
        low = fmin(low, heat.value[i]);
        high = fmax(high, heat.value[i]);
    }
    if (high > 0)
        low = fmax(low, 0);
    for (int i = 0; i < count; i++)
        heat.value[i] = high > low ? fmax((heat.value[i] - low) / (high - low), 0) : 0;
    return heat;
}

/* Bilinear, the centres of pixels at half numbers; y, x from 0 to 1 over the map. */
static double heat_at(const Heat *heat, double y, double x)
{
    double row = fmin(fmax(y * heat->h - 0.5, 0), heat->h - 1);
    double column = fmin(fmax(x * heat->w - 0.5, 0), heat->w - 1);
    int top = (int)row, left = (int)column;
    int bottom = top + (top < heat->h - 1), right = left + (left < heat->w - 1);
    const double *v = heat->value;
    double above = v[top * heat->w + left] * (1 - (column - left)) +
                   v[top * heat->w + right] * (column - left);
    double below = v[bottom * heat->w + left] * (1 - (column - left)) +
                   v[bottom * heat->w + right] * (column - left);
    return above * (1 - (row - top)) + below * (row - top);
}

/* The gray image, darkened, with the heat on it: up to the half red, the more opaque the hotter,
 * from there on turning to yellow. */
static void paint(const Heat *heat, Image *picture)
{
    uint8_t *p = picture->pixel;
    for (int y = 0; y < picture->h; y++)
        for (int x = 0; x < picture->w; x++, p += 3) {
            double hot = heat_at(heat, (y + 0.5) / picture->h, (x + 0.5) / picture->w);
            const double color[3] = {255, 255 * fmax(2 * hot - 1, 0), 0};
            double part = OPAQUE * fmin(2 * hot, 1);
            for (int c = 0; c < 3; c++)
                p[c] = (uint8_t)lrint(part * color[c] + (1 - part) * DIM * p[c]);
        }
}

/* The sides of the picture of an image of h x w pixels. */
static void readable_size(int *h, int *w)
{
    int longer = *h > *w ? *h : *w;
    if (longer >= READABLE)
        return;
    *h = *h == longer ? READABLE : (*h * READABLE + longer - 1) / longer;
    *w = *w == longer ? READABLE : (*w * READABLE + longer - 1) / longer;
}

int heatmap_draw(const ClassMaps *maps, int class, const Image *image, Image *out)
{
    int h = image->h, w = image->w;
    readable_size(&h, &w);
    if (image_scale(image, h, w, out) < 0)
        return -1;
    if (image_convert(out, 1) < 0 || image_convert(out, 3) < 0) {
        image_free(out);
        return -1;
    }
    Heat heat = heat_of(maps, class);
    paint(&heat, out);
    free(heat.value);
    return 0;
}
