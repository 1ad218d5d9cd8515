/* Values of another float dtype. */
#include "generic.h"

/* Filters may lie differently; other values that are no maps lie alike. */
void generic_cast(CpuEmitter *e, const Node *n)
{
    const Node *from = n->in[0];
    const int32_t *d = n->tensor.shape.dim;
    if (is_per_image(e->graph, n)) {
        open_pixels(e, n);
        open_loop(e, "c", map_dim(n, 3));
        write_pixel(e, n, read_map(e, from, "n", "h", "w", "c"));
    } else if (n->tensor.shape.rank == 4) {
        open_loop(e, "o", d[0]);
        open_loop(e, "i", d[1]);
        open_loop(e, "kh", d[2]);
        open_loop(e, "kw", d[3]);
        emit_write(e, n, filter_index(e, n, "o", "i", "kh", "kw"),
                   element_at(e, from, filter_index(e, from, "o", "i", "kh", "kw")));
    } else {
        open_loop(e, "i", (int)tensor_elements(&n->tensor));
        emit_write(e, n, "i", element_at(e, from, "i"));
        close_loops(e, 1);
        return;
    }
    close_loops(e, 4);
}
