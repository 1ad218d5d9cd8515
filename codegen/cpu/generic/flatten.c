/* Maps made flat, and back. */
#include "generic.h"

/* Between the map and PyTorch's order c, h, w. */
void generic_flatten(CpuEmitter *e, const Node *n)
{
    bool forward = n->op == OP_FLATTEN;
    const Node *map = forward ? n->in[0] : n, *flat = forward ? n : n->in[0];
    bool pixel = map_dim(map, 1) == 1 && map_dim(map, 2) == 1;
    const char *at = pixel ? "c" : pool_format(e->pool, "(c * %d + h) * %d + w", map_dim(map, 1),
                                               map_dim(map, 2));
    const char *in_map = read_map(e, map, "n", pixel ? "0" : "h", pixel ? "0" : "w", "c");
    const char *in_flat = read_map(e, flat, "n", "0", "0", at);
    if (pixel)
        open_images(e);
    else
        open_pixels(e, map);
    open_loop(e, "c", map_dim(map, 3));
    emit_line(e, "%s = %s;", forward ? in_flat : in_map, forward ? in_map : in_flat);
    close_loops(e, pixel ? 2 : 4);
}
