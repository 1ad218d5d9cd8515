/* The mean of a map, and its gradient. */
#include "generic.h"

static void emit_gap(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0];
    open_images(e);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    open_loop(e, "h", map_dim(x, 1));
    open_loop(e, "w", map_dim(x, 2));
    emit_line(e, "sum += %s;", read_map(e, x, "n", "h", "w", "c"));
    close_loops(e, 2);
    emit_line(e, "%s = sum / %d;", read_map(e, n, "n", "0", "0", "c"),
              map_dim(x, 1) * map_dim(x, 2));
    close_loops(e, 2);
}

static void emit_gap_grad(CpuEmitter *e, const Node *n)
{
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    write_pixel(e, n, pool_format(e->pool, "%s / %d", read_map(e, n->in[0], "n", "0", "0", "c"),
                                  map_dim(n, 1) * map_dim(n, 2)));
    close_loops(e, 4);
}

void generic_gap(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_GAP] = emit_gap,
        [OP_GAP_GRAD] = emit_gap_grad,
    };
    emit_of_family(e, n, by_op);
}
