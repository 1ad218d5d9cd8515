/* Ops that augment: the device library's functions, image by image. */
#include "generic.h"

static const char *const functions[OP_COUNT] = {
    [OP_RANDOM_CROP] = "crop_image",           [OP_RANDOM_HORIZONTAL_FLIP] = "flip_image",
    [OP_RANDOM_ROTATION] = "rotate_image",     [OP_RANDOM_ERASING] = "erase_image",
    [OP_RANDOM_RESIZED_CROP] = "enlarge_image", [OP_COLOR_JITTER] = "jitter_image",
};

void emit_augment_table(CpuEmitter *e, const Node *n)
{
    AugmentConstants k = augment_constants(n->op, &n->attr.augment, n->tensor.shape.dim);
    text_append(e->tables, "static const Augment %s = {%d, %d, %d, %d, {", table_name(e, n),
                map_dim(n, 1), map_dim(n, 2), map_dim(n, 3), n->attr.augment.draw);
    for (int i = 0; i < AUGMENT_CONSTANTS; i++)
        text_append(e->tables, "%s%lld", i ? ", " : "", (long long)k.number[i]);
    text_append(e->tables, "}};\n\n");
}

void emit_augment(CpuEmitter *e, const Node *n, const char *from, const char *to)
{
    emit_line(e, "%s(&%s, (Drawn){(uint32_t)%s[0], (uint32_t)%s[0], (uint32_t)%s[n]},",
              functions[n->op], table_name(e, n), value_name(e, n->in[1]),
              value_name(e, n->in[2]), value_name(e, n->in[3]));
    emit_line(e, "    %s, %s);", from, to);
}

void generic_augment(CpuEmitter *e, const Node *n)
{
    long long image = image_elements(n);
    emit_augment_table(e, n);
    open_images(e);
    emit_augment(e, n, pool_format(e->pool, "%s + n * %lld", value_name(e, n->in[0]), image),
                 pool_format(e->pool, "%s + n * %lld", value_name(e, n), image));
    emit_close(e);
}
