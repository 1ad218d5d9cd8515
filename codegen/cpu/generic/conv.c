/* Convolutions, their gradients, filters transposed. In groups each loop over channels is one over
 * groups, g, and one over those of a group. */
#include "generic.h"

/* Channels of a group of a map. */
static int group_channels(const Node *n, const Node *map)
{
    return map_dim(map, 3) / window_groups(&n->attr.window);
}

/* The loop over groups, g, where there are some; how many loops. */
static int open_groups(CpuEmitter *e, const Node *n)
{
    int groups = n->attr.window.groups;
    if (groups)
        open_loop(e, "g", groups);
    return groups ? 1 : 0;
}

/* Channel `c` of group g of a map, in C. */
static const char *in_group(const CpuEmitter *e, const Node *n, const Node *map, const char *c)
{
    return n->attr.window.groups ? pool_format(e->pool, "(g * %d + %s)", group_channels(n, map), c)
                                 : c;
}

static void emit_conv(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0], *filter = n->in[1];
    int channels = map_dim(n, 3);
    open_pixels(e, n);
    emit_line(e, "float sum[%d];", channels);
    emit_line(e, "for (int c = 0; c < %d; c++)", channels);
    emit_line(e, "    sum[c] = %s;", n->arity > 2 ? element_at(e, n->in[2], "c") : "0");
    const char *c = in_group(e, n, n, "c");
    open_taps(e, &n->attr.window, x);
    int loops = 3 + open_groups(e, n);
    open_loop(e, "i", group_channels(n, x));
    emit_line(e, "const float v = %s;", read_map(e, x, "n", "y", "x", in_group(e, n, x, "i")));
    emit_line(e, "for (int c = 0; c < %d; c++)", group_channels(n, n));
    emit_line(e, "    sum[%s] += v * %s;", c,
              element_at(e, filter, filter_index(e, filter, c, "i", "kh", "kw")));
    close_loops(e, loops);
    open_loop(e, "c", channels);
    write_pixel(e, n, "sum[c]");
    close_loops(e, 4);
}

static void emit_dgrad(CpuEmitter *e, const Node *n)
{
    const Node *dy = n->in[0], *filter = n->in[1];
    const Window *k = &n->attr.window;
    int channels = map_dim(n, 3);
    const char *o = in_group(e, n, dy, "o");
    const char *at = filter_index(e, filter, o, "c", "kh", "kw");
    if (n->op == OP_CONV2D_TRANSPOSE)
        at = filter_index(e, filter, "c", o,
                          pool_format(e->pool, "(%d - kh)", k->kernel_h - 1),
                          pool_format(e->pool, "(%d - kw)", k->kernel_w - 1));
    open_pixels(e, n);
    emit_line(e, "float sum[%d] = {0};", channels);
    open_windows(e, k, dy);
    int loops = 3 + open_groups(e, n);
    open_loop(e, "o", group_channels(n, dy));
    emit_line(e, "const float v = %s;", read_map(e, dy, "n", "y", "x", o));
    emit_line(e, "for (int c = 0; c < %d; c++)", group_channels(n, n));
    emit_line(e, "    sum[%s] += v * %s;", in_group(e, n, n, "c"), element_at(e, filter, at));
    close_loops(e, loops);
    open_loop(e, "c", channels);
    write_pixel(e, n, "sum[c]");
    close_loops(e, 4);
}

static void emit_wgrad(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0], *dy = n->in[1];
    const Window *k = &n->attr.window;
    emit_clear_sum(e, n);
    open_loop(e, "kh", k->kernel_h);
    open_loop(e, "kw", k->kernel_w);
    open_pixels(e, dy);
    emit_line(e, "const int y = h * %d + %s - %d, x = w * %d + %s - %d;", k->stride_h,
              tap_row(e, k), k->padding_h, k->stride_w, tap_column(e, k), k->padding_w);
    emit_line(e, "if (y < 0 || y >= %d || x < 0 || x >= %d)", map_dim(x, 1), map_dim(x, 2));
    emit_line(e, "    continue;");
    const char *c = in_group(e, n, dy, "c");
    int loops = 6 + open_groups(e, n);
    open_loop(e, "i", group_channels(n, x));
    emit_line(e, "const float v = %s;", read_map(e, x, "n", "y", "x", in_group(e, n, x, "i")));
    emit_line(e, "for (int c = 0; c < %d; c++)", group_channels(n, dy));
    emit_line(e, "    %s += v * %s;", element_at(e, n, filter_index(e, n, c, "i", "kh", "kw")),
              read_map(e, dy, "n", "h", "w", c));
    close_loops(e, loops);
}

static void emit_bias_grad(CpuEmitter *e, const Node *n)
{
    emit_clear_sum(e, n);
    open_pixels(e, n->in[0]);
    open_loop(e, "c", map_dim(n->in[0], 3));
    emit_line(e, "%s += %s;", element_at(e, n, "c"), read_map(e, n->in[0], "n", "h", "w", "c"));
    close_loops(e, 4);
}

static void emit_transpose(CpuEmitter *e, const Node *n)
{
    const int32_t *d = n->in[0]->tensor.shape.dim;
    open_loop(e, "o", d[0]);
    open_loop(e, "i", d[1]);
    open_loop(e, "kh", d[2]);
    open_loop(e, "kw", d[3]);
    const char *kh = pool_format(e->pool, "(%d - kh)", d[2] - 1);
    const char *kw = pool_format(e->pool, "(%d - kw)", d[3] - 1);
    emit_write(e, n, filter_index(e, n, "i", "o", kh, kw),
               element_at(e, n->in[0], filter_index(e, n->in[0], "o", "i", "kh", "kw")));
    close_loops(e, 4);
}

void generic_conv(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_CONV2D] = emit_conv,
        [OP_CONV2D_DGRAD] = emit_dgrad,
        [OP_CONV2D_TRANSPOSE] = emit_dgrad,
        [OP_CONV2D_WGRAD] = emit_wgrad,
        [OP_BIAS_GRAD] = emit_bias_grad,
        [OP_FILTER_TRANSPOSE] = emit_transpose,
    };
    emit_of_family(e, n, by_op);
}
