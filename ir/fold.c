/* Folding a bilinear resize into the convolution behind it: classes of outputs and their matrices.
 *
 * Positions are those of F.interpolate(mode='bilinear', align_corners=False): resized position r
 * lies at (r + 1/2) source / resized - 1/2, clamped to the source. They are computed in integers,
 * so that outputs of one class have exactly the same matrix. */
#include "ir.h"

#include <string.h>

/* One axis of a Fold. */
typedef struct Axis {
    int kernel, stride, padding, resized, source;
} Axis;

/* A resized position: `part` of the way from source position `low` to the next one. */
typedef struct Position {
    int low;
    double part;
} Position;

static Position position_of(const Axis *a, int resized)
{
    int64_t whole = 2 * (int64_t)a->resized;
    int64_t at = (2 * (int64_t)resized + 1) * a->source - a->resized;
    if (at < 0)
        return (Position){0, 0};
    if (at / whole >= a->source - 1)
        return (Position){a->source - 1, 0};
    return (Position){(int)(at / whole), (double)(at % whole) / (double)whole};
}

/* The first and last source position that an output meets; false for none. */
static bool find_span(const Axis *a, int output, int *first, int *last)
{
    bool any = false;
    for (int k = 0; k < a->kernel; k++) {
        int at = output * a->stride - a->padding + k;
        if (at < 0 || at >= a->resized)
            continue;
        Position p = position_of(a, at);
        if (!any)
            *first = p.low;
        *last = p.low + (p.part > 0);
        any = true;
    }
    return any;
}

/* matrix[kernel][extent], zero before: what the taps of an output meet, from source position `base`
 * on. Taps in the padding meet nothing. */
static void fill_matrix(const Axis *a, int output, int base, int extent, double *matrix)
{
    for (int k = 0; k < a->kernel; k++) {
        int at = output * a->stride - a->padding + k;
        if (at < 0 || at >= a->resized)
            continue;
        Position p = position_of(a, at);
        double *row = matrix + k * extent + p.low - base;
        row[0] = 1 - p.part;
        if (p.part > 0)
            row[1] = p.part;
    }
}

/* The base of an output is the first position that it meets. */
static bool find_bases(const Axis *a, FoldAxis *out)
{
    int first = 0, last = 0;
    out->extent = 1;
    for (int o = 0; o < out->outputs; o++) {
        out->base[o] = 0;
        if (!find_span(a, o, &first, &last))
            continue;
        out->base[o] = first;
        if (last - first + 1 > out->extent)
            out->extent = last - first + 1;
    }
    return out->extent <= FOLD_MAX_EXTENT;
}

static int reach_of(const FoldAxis *a, const double *matrix)
{
    int reach = 1;
    for (int k = 0; k < a->kernel; k++)
        for (int at = reach; at < a->extent; at++)
            if (matrix[k * a->extent + at] != 0)
                reach = at + 1;
    return reach;
}

/* The class of a matrix, a new one if need be; -1: too many. */
static int class_of(FoldAxis *a, const double *matrix)
{
    size_t count = (size_t)a->kernel * (size_t)a->extent;
    for (int c = 0; c < a->classes; c++)
        if (memcmp(a->matrix + (size_t)c * count, matrix, count * sizeof *matrix) == 0)
            return c;
    if (a->classes == FOLD_MAX_CLASSES)
        return -1;
    memcpy(a->matrix + (size_t)a->classes * count, matrix, count * sizeof *matrix);
    a->reach[a->classes] = reach_of(a, matrix);
    return a->classes++;
}

static bool fold_axis(Pool *pool, const Axis *a, FoldAxis *out)
{
    int outputs = window_extent(a->resized, a->kernel, a->stride, a->padding, false);
    *out = (FoldAxis){.outputs = outputs, .kernel = a->kernel};
    if (outputs < 1)
        return false;
    out->class_of = pool_alloc(pool, (size_t)outputs * sizeof *out->class_of);
    out->base = pool_alloc(pool, (size_t)outputs * sizeof *out->base);
    out->reach = pool_alloc(pool, FOLD_MAX_CLASSES * sizeof *out->reach);
    if (!find_bases(a, out))
        return false;
    size_t size = (size_t)a->kernel * (size_t)out->extent * sizeof *out->matrix;
    out->matrix = pool_alloc(pool, FOLD_MAX_CLASSES * size);
    double *matrix = pool_alloc(pool, size);
    for (int o = 0; o < outputs; o++) {
        memset(matrix, 0, size);
        fill_matrix(a, o, out->base[o], out->extent, matrix);
        out->class_of[o] = class_of(out, matrix);
        if (out->class_of[o] < 0)
            return false;
    }
    return true;
}

bool fold_axes(Pool *pool, const Fold *f, FoldAxes *axes)
{
    const Window *w = &f->window;
    const Axis h = {w->kernel_h, w->stride_h, w->padding_h, f->height, f->source_h};
    const Axis v = {w->kernel_w, w->stride_w, w->padding_w, f->width, f->source_w};
    return fold_axis(pool, &h, &axes->rows) && fold_axis(pool, &v, &axes->columns);
}

FoldAxes folded_axes(Pool *pool, const Node *n)
{
    FoldAxes a;
    if (!fold_axes(pool, &n->attr.fold, &a))
        internal_error("%s cannot be folded", op_name(n->op));
    return a;
}

double fold_at(const FoldAxis *a, int class, int tap, int at)
{
    return a->matrix[((size_t)class * (size_t)a->kernel + (size_t)tap) * (size_t)a->extent +
                     (size_t)at];
}

const Node *fold_of_image(const Graph *g, const Node *n)
{
    if (n->op != OP_NORMALIZE)
        return NULL;
    Uses uses = graph_uses(g, n);
    for (int i = 0; i < uses.count; i++)
        if (uses.use[i].user->op == OP_CONV2D_FOLDED && uses.use[i].operand == 0)
            return uses.use[i].user;
    return NULL;
}

Node unfolded_image(const Graph *g, const Node *n)
{
    const Node *conv = fold_of_image(g, n);
    Node image = *n;
    if (conv) {
        image.op = OP_RESIZE;
        image.tensor.shape.dim[1] = conv->attr.fold.height;
        image.tensor.shape.dim[2] = conv->attr.fold.width;
    }
    return image;
}
