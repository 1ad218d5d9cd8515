/* Channels side by side, and some of them. */
#include "generic.h"

/* Copies `channels` of x, from `from` on, to those of n from `to` on. */
static void emit_copy(CpuEmitter *e, const Node *n, int to, const Node *x, int from, int channels)
{
    open_pixels(e, n);
    open_loop(e, "i", channels);
    emit_line(e, "const int c = i + %d, x = i + %d;", to, from);
    write_pixel(e, n, read_map(e, x, "n", "h", "w", "x"));
    close_loops(e, 4);
}

static void emit_concat(CpuEmitter *e, const Node *n)
{
    for (int k = 0, at = 0; k < n->arity; k++) {
        emit_copy(e, n, at, n->in[k], 0, map_dim(n->in[k], 3));
        at += map_dim(n->in[k], 3);
    }
}

static void emit_slice(CpuEmitter *e, const Node *n)
{
    emit_copy(e, n, 0, n->in[0], n->attr.slice.from, map_dim(n, 3));
}

void generic_concat(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_CONCAT] = emit_concat,
        [OP_SLICE] = emit_slice,
    };
    emit_of_family(e, n, by_op);
}
