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

void generic_image(CpuEmitter *e, const Node *n)
{
    const Node *image = n->in[0];
    const Layout *l = &n->tensor.layout;
    int channels = map_dim(n, 3), lanes = map_lanes(n);
    int row = (map_dim(n, 2) + 2 * l->halo_w) * lanes, rows = map_dim(n, 1) + 2 * l->halo_h;
    text_append(e->tables, "static const Image %s_geometry = {%d, %d, %d, %d, %d, %d, ",
                e->kernel->name, map_dim(image, 1), map_dim(image, 2), map_dim(n, 1), map_dim(n, 2),
                channels, lanes);
    emit_list(e, &n->attr.image, false);
    text_append(e->tables, ", ");
    emit_list(e, &n->attr.image, true);
    text_append(e->tables, "};\n\n");
    if (n->op == OP_RESIZE)
        emit_line(e, "float lines[%d];", 2 * map_dim(n, 2) * channels);
    open_images(e);
    emit_line(e, "const Map y = {%s + (ptrdiff_t)n * %lld + %d, %d, %d, 0};", value_name(e, n),
              (long long)image_elements(n), l->halo_h * row + l->halo_w * lanes, row, rows * row);
    emit_line(e, "const uint8_t *pixels = %s + (ptrdiff_t)n * %lld;", value_name(e, image),
              (long long)image_elements(image));
    if (n->op == OP_RESIZE)
        emit_line(e, "resize_image(&%s_geometry, pixels, lines, y);", e->kernel->name);
    else
        emit_line(e, "normalize_image(&%s_geometry, pixels, y);", e->kernel->name);
    emit_close(e);
}
