/* The image, normalized or resized: the device library's functions. */
#include "generic.h"

static void emit_list(CpuEmitter *e, const ImageAttr *image, bool shift)
{
    text_append(e->tables, "{");
    for (int i = 0; i < image->channels; i++) {
        double scale = 1 / (255 * image->std[i]);
        text_append(e->tables, "%s%.9g", i ? ", " : "",
                    shift ? -image->mean[i] / image->std[i] : scale);
    }
    text_append(e->tables, "}");
}

static void emit_geometry(CpuEmitter *e, const Node *n)
{
    const Node *image = n->in[0];
    text_append(e->tables, "static const Image %s_geometry = {%d, %d, %d, %d, %d, %d, ",
                e->kernel->name, map_dim(image, 1), map_dim(image, 2), map_dim(n, 1), map_dim(n, 2),
                map_dim(n, 3), map_lanes(n));
    emit_list(e, &n->attr.image, false);
    text_append(e->tables, ", ");
    emit_list(e, &n->attr.image, true);
    text_append(e->tables, "};\n\n");
    if (n->op == OP_RESIZE)
        emit_line(e, "float lines[%d];", 2 * map_dim(n, 2) * map_dim(n, 3));
}

/* The map of image n of the chunk, of the u8 image that a pointer leads to, in C. */
static void emit_image(CpuEmitter *e, const Node *n, const char *pixels)
{
    const Layout *l = &n->tensor.layout;
    int lanes = map_lanes(n);
    int row = (map_dim(n, 2) + 2 * l->halo_w) * lanes, rows = map_dim(n, 1) + 2 * l->halo_h;
    emit_line(e, "const Map y = {%s + (ptrdiff_t)n * %lld + %d, %d, %d, 0};", value_name(e, n),
              (long long)image_elements(n), l->halo_h * row + l->halo_w * lanes, row, rows * row);
    emit_line(e, "const uint8_t *pixels = %s;", pixels);
    if (n->op == OP_RESIZE)
        emit_line(e, "resize_image(&%s_geometry, pixels, lines, y);", e->kernel->name);
    else
        emit_line(e, "normalize_image(&%s_geometry, pixels, y);", e->kernel->name);
}

static const char *image_of_batch(const CpuEmitter *e, const Node *image)
{
    return pool_format(e->pool, "%s + (ptrdiff_t)n * %lld", value_name(e, image),
                       (long long)image_elements(image));
}

void generic_image(CpuEmitter *e, const Node *n)
{
    emit_geometry(e, n);
    open_images(e);
    emit_image(e, n, image_of_batch(e, n->in[0]));
    emit_close(e);
}

void emit_augmented(CpuEmitter *e)
{
    const Kernel *k = e->kernel;
    int last = k->node_count - 1;
    emit_clear(e, k->node[last]);
    for (int i = 0; i < last; i++)
        emit_augment_table(e, k->node[i]);
    emit_geometry(e, k->node[last]);
    open_images(e);
    for (int i = 0; i < last; i++) {
        const Node *n = k->node[i], *from = n->in[0];
        emit_augment(e, n, i ? value_name(e, from) : image_of_batch(e, from), value_name(e, n));
    }
    emit_image(e, k->node[last], value_name(e, k->node[last]->in[0]));
    emit_close(e);
}
