/* Dropout: value by value. */
#include "generic.h"

void generic_dropout(CpuEmitter *e, const Node *n)
{
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "const ptrdiff_t row = (range->first_image + n) * %d + h;", map_dim(n, 1));
    write_pixel(e, n, pool_format(e->pool, "dropped(%s, %s, row, w, c, %s)", dropout_of(e, n),
                                  read_map(e, n->in[0], "n", "h", "w", "c"),
                                  pool_format(e->pool, "%d", map_dim(n, 2))));
    close_loops(e, 4);
}
