/* Pools and their gradients. */
#include "generic.h"

/* The maximum or its code: the first window tap that nothing before it exceeds; NaN wins. */
static void emit_maxpool(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0];
    const Window *k = &n->attr.window;
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float best = 0;");
    emit_line(e, "int code = -1;");
    open_taps(e, k, x);
    emit_line(e, "const float v = %s;", read_map(e, x, "n", "y", "x", "c"));
    emit_open(e, "if (code < 0 || v > best || v != v)");
    emit_line(e, "best = v;");
    emit_line(e, "code = kh * %d + kw;", k->kernel_w);
    close_loops(e, 3);
    write_pixel(e, n, n->op == OP_MAXPOOL ? "best" : "(uint8_t)code");
    emit_line(e, "(void)best;");
    close_loops(e, 4);
}

static void emit_maxpool_grad(CpuEmitter *e, const Node *n)
{
    const Node *dy = n->in[0], *code = n->in[1];
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    open_windows(e, &n->attr.window, dy);
    emit_line(e, "if (%s == kh * %d + kw)", read_map(e, code, "n", "y", "x", "c"),
              n->attr.window.kernel_w);
    emit_line(e, "    sum += %s;", read_map(e, dy, "n", "y", "x", "c"));
    close_loops(e, 2);
    write_pixel(e, n, "sum");
    close_loops(e, 4);
}

/* The same of one axis, inside the input itself. */
static void emit_pixels_inside(CpuEmitter *e, const char *name, const char *at, int stride,
                               int padding, int kernel, int extent)
{
    emit_line(e, "const int %s = smaller(%s * %d - %d, %d) - larger(%s * %d - %d, 0);", name, at,
              stride, padding - kernel, extent, at, stride, padding);
}

/* Pixels of the average window of output pixel h, w that lie inside the padded input. */
static void emit_window_pixels(CpuEmitter *e, const Window *k, const Node *input, const char *h,
                               const char *w)
{
    if (k->inside) {
        emit_pixels_inside(e, "rows", h, k->stride_h, k->padding_h, k->kernel_h,
                           map_dim(input, 1));
        emit_pixels_inside(e, "cols", w, k->stride_w, k->padding_w, k->kernel_w,
                           map_dim(input, 2));
        return;
    }
    emit_line(e, "const int rows = smaller(%s * %d + %d, %d) - %s * %d;", h, k->stride_h,
              k->kernel_h, map_dim(input, 1) + 2 * k->padding_h, h, k->stride_h);
    emit_line(e, "const int cols = smaller(%s * %d + %d, %d) - %s * %d;", w, k->stride_w,
              k->kernel_w, map_dim(input, 2) + 2 * k->padding_w, w, k->stride_w);
}

static void emit_avgpool(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0];
    open_pixels(e, n);
    emit_window_pixels(e, &n->attr.window, x, "h", "w");
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    open_taps(e, &n->attr.window, x);
    emit_line(e, "sum += %s;", read_map(e, x, "n", "y", "x", "c"));
    close_loops(e, 2);
    write_pixel(e, n, "sum / (float)(rows * cols)");
    close_loops(e, 4);
}

static void emit_avgpool_grad(CpuEmitter *e, const Node *n)
{
    const Node *dy = n->in[0];
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    open_windows(e, &n->attr.window, dy);
    emit_window_pixels(e, &n->attr.window, n, "y", "x");
    emit_line(e, "sum += %s / (float)(rows * cols);", read_map(e, dy, "n", "y", "x", "c"));
    close_loops(e, 2);
    write_pixel(e, n, "sum");
    close_loops(e, 4);
}

void generic_pool(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_MAXPOOL] = emit_maxpool,
        [OP_MAXPOOL_CODE] = emit_maxpool,
        [OP_MAXPOOL_GRAD] = emit_maxpool_grad,
        [OP_AVGPOOL] = emit_avgpool,
        [OP_AVGPOOL_GRAD] = emit_avgpool_grad,
    };
    emit_of_family(e, n, by_op);
}
