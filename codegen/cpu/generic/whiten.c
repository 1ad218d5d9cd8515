/* An image's contrast, and a row as a map. */
#include "generic.h"

/* Over all values of the image n of x. */
static void open_image(CpuEmitter *e, const Node *x)
{
    open_loop(e, "h", map_dim(x, 1));
    open_loop(e, "w", map_dim(x, 2));
    open_loop(e, "c", map_dim(x, 3));
}

static void emit_stats(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0];
    const char *value = read_map(e, x, "n", "h", "w", "c");
    open_images(e);
    emit_line(e, "double sum = 0, squares = 0;");
    open_image(e, x);
    emit_line(e, "sum += %s;", value);
    close_loops(e, 3);
    emit_line(e, "const double mean = sum / %lld;",
              (long long)map_dim(x, 1) * map_dim(x, 2) * map_dim(x, 3));
    open_image(e, x);
    emit_line(e, "const double d = %s - mean;", value);
    emit_line(e, "squares += d * d;");
    close_loops(e, 3);
    emit_write(e, n, map_index(e, n, "n", "0", "0", "0"), "(float)mean");
    emit_write(e, n, map_index(e, n, "n", "0", "0", "1"), "(float)sqrt(squares)");
    close_loops(e, 1);
}

static void emit_contrast(CpuEmitter *e, const Node *n)
{
    const ContrastAttr *a = &n->attr.contrast;
    const Node *stats = n->in[1];
    open_images(e);
    emit_line(e, "const float mean = %s, divisor = %s / %#.9gf;",
              read_map(e, stats, "n", "0", "0", "0"), read_map(e, stats, "n", "0", "0", "1"),
              a->scale);
    emit_line(e, "const float by = divisor < %#.9gf ? 1 : 1 / divisor;", a->eps);
    open_image(e, n);
    write_pixel(e, n, pool_format(e->pool, "(%s - mean) * by",
                                  read_map(e, n->in[0], "n", "h", "w", "c")));
    close_loops(e, 4);
}

static void emit_unflatten(CpuEmitter *e, const Node *n)
{
    open_images(e);
    open_image(e, n);
    emit_line(e, "const int i = (h * %d + w) * %d + c;", map_dim(n, 2), map_dim(n, 3));
    write_pixel(e, n, read_map(e, n->in[0], "n", "0", "0", "i"));
    close_loops(e, 4);
}

void generic_whiten(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_IMAGE_STATS] = emit_stats,
        [OP_CONTRAST] = emit_contrast,
        [OP_UNFLATTEN] = emit_unflatten,
    };
    emit_of_family(e, n, by_op);
}
