/* Local response normalization and its gradient. */
#include "generic.h"

/* Over the channels `name` from `at` - before to `at` + after that there are; a block to close. */
static void open_window(CpuEmitter *e, const Node *n, const char *name, const char *at, int before,
                        int after)
{
    emit_open(e, "for (int %s = larger(%s - %d, 0); %s <= smaller(%s + %d, %d); %s++)", name, at,
              before, name, at, after, map_dim(n, 3) - 1, name);
}

/* s: of channel `at` of pixel n, h, w of x. */
static void emit_scale(CpuEmitter *e, const Node *n, const Node *x, const char *at)
{
    const LrnAttr *a = &n->attr.lrn;
    LrnSpan span = lrn_span(a, map_dim(n, 3));
    emit_line(e, "float s = 0;");
    open_window(e, n, "i", at, span.before, span.after);
    emit_line(e, "const float v = %s;", read_map(e, x, "n", "h", "w", "i"));
    emit_line(e, "s += v * v;");
    emit_close(e);
    emit_line(e, "s = %#.9gf + %#.9gf * s;", a->k, a->alpha / a->size);
}

static void emit_lrn_loops(CpuEmitter *e, const Node *n)
{
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_scale(e, n, n->in[0], "c");
    write_pixel(e, n, pool_format(e->pool, "%s * powf(s, %#.9gf)",
                                  read_map(e, n->in[0], "n", "h", "w", "c"), -n->attr.lrn.beta));
    close_loops(e, 4);
}

static void emit_grad(CpuEmitter *e, const Node *n)
{
    const Node *dy = n->in[0], *x = n->in[1];
    const LrnAttr *a = &n->attr.lrn;
    LrnSpan span = lrn_span(a, map_dim(n, 3));
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float direct = 0, sum = 0;");
    open_window(e, n, "j", "c", span.after, span.before);
    emit_scale(e, n, x, "j");
    emit_line(e, "const float own = %s * powf(s, %#.9gf);", read_map(e, dy, "n", "h", "w", "j"),
              -a->beta);
    emit_line(e, "direct = j == c ? own : direct;");
    emit_line(e, "sum += own * %s / s;", read_map(e, x, "n", "h", "w", "j"));
    emit_close(e);
    write_pixel(e, n, pool_format(e->pool, "direct - %#.9gf * %s * sum",
                                  2 * a->alpha * a->beta / a->size,
                                  read_map(e, x, "n", "h", "w", "c")));
    close_loops(e, 4);
}

void generic_lrn(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_LRN] = emit_lrn_loops,
        [OP_LRN_GRAD] = emit_grad,
    };
    emit_of_family(e, n, by_op);
}
