/* Pools: maxima and means of windows, their codes and gradients. */
#include "family.h"

#include <math.h>

/* ---- types ---- */

static bool infer_pool(const Infer *f)
{
    Extent out;
    if (!type_expect_map(f, 0, "input"))
        return false;
    const int32_t *x = type_dims(f, 0);
    return type_slide(f, x[1], x[2], &out) &&
           type_give_map(f, f->op == OP_MAXPOOL_CODE ? DT_U8 : type_dtype(f, 0), x, out.h, out.w,
                         x[3]);
}

/* dy[N,P,Q,C](, code) -> dx[N,H,W,C], whose pooled extent must be P x Q. */
static bool infer_pool_grad(const Infer *f)
{
    Extent out;
    if (!type_expect_map(f, 0, "gradient") || !type_given(f, type_dtype(f, 0), 4))
        return false;
    const int32_t *dy = type_dims(f, 0), *dx = f->out->shape.dim;
    if (f->op == OP_MAXPOOL_GRAD &&
        (!type_expect(f, 1, "code", DT_U8, 4) || !type_expect_extent(f, 1, "the code", 0, dy[0]) ||
         !type_expect_extent(f, 1, "the code", 1, dy[1]) ||
         !type_expect_extent(f, 1, "the code", 2, dy[2]) ||
         !type_expect_extent(f, 1, "the code", 3, dy[3])))
        return false;
    return type_slide(f, dx[1], dx[2], &out) && type_given_extent(f, 0, dy[0]) &&
           type_given_extent(f, 3, dy[3]) && type_expect_extent(f, 0, "the gradient", 1, out.h) &&
           type_expect_extent(f, 0, "the gradient", 2, out.w);
}

/* ---- values ---- */

/* The window of one output position on one axis: kernel positions begin..end-1 lie inside the
 * input; extent counts those inside the padded input, PyTorch's divisor of average pools
 * (count_include_pad=True; with ceil_mode the last window may reach past the padding). */
typedef struct Span {
    int start, begin, end, extent;
} Span;

static Span window_span(int output, int kernel, int stride, int padding, int input)
{
    int start = output * stride - padding, stop = start + kernel;
    if (stop > input + padding)
        stop = input + padding;
    Span s = {start, start < 0 ? -start : 0, stop - start, stop - start};
    if (stop > input)
        s.end = input - start;
    return s;
}

static Span row_span(const Window *k, int oh, const Map *x)
{
    return window_span(oh, k->kernel_h, k->stride_h, k->padding_h, x->h);
}

static Span column_span(const Window *k, int ow, const Map *x)
{
    return window_span(ow, k->kernel_w, k->stride_w, k->padding_w, x->w);
}

/* Maximum of one window and one channel; its code is the place of the first maximum, kh*KW + kw.
 * NaN wins, as in PyTorch. */
static double window_maximum(const Map *x, const Window *k, int n, Span rows, Span columns, int c,
                             int *code)
{
    double best = -INFINITY;
    *code = rows.begin * k->kernel_w + columns.begin;
    for (int kh = rows.begin; kh < rows.end; kh++)
        for (int kw = columns.begin; kw < columns.end; kw++) {
            double v = map_at(x, n, rows.start + kh, columns.start + kw)[c];
            if (v > best || (isnan(v) && !isnan(best))) {
                best = v;
                *code = kh * k->kernel_w + kw;
            }
        }
    return best;
}

/* maxpool and maxpool_code, told apart by the op */
static void eval_maxpool(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    const Window *k = &node->attr.window;
    PARALLEL_FOR
    for (int row = 0; row < y.n * y.h; row++) {
        int n = row / y.h, oh = row % y.h;
        for (int ow = 0; ow < y.w; ow++)
            for (int c = 0; c < y.c; c++) {
                int code;
                double best =
                    window_maximum(&x, k, n, row_span(k, oh, &x), column_span(k, ow, &x), c, &code);
                map_at(&y, n, oh, ow)[c] = node->op == OP_MAXPOOL_CODE ? code : best;
            }
    }
}

/* Each dy goes to the position that its code names. A code that points outside the map, which only
 * a broken kernel makes, adds nothing. */
static void eval_maxpool_grad(Eval *e, const Node *node)
{
    Map dy = eval_map(e, node->in[0]), code = eval_map(e, node->in[1]), dx = eval_map(e, node);
    const Window *k = &node->attr.window;
    memset(dx.data, 0, (size_t)eval_elements(e, node) * sizeof(double));
    for (int n = 0; n < dy.n; n++)
        for (int oh = 0; oh < dy.h; oh++)
            for (int ow = 0; ow < dy.w; ow++)
                for (int c = 0; c < dy.c; c++) {
                    int at = (int)map_at(&code, n, oh, ow)[c];
                    int ih = oh * k->stride_h - k->padding_h + at / k->kernel_w;
                    int iw = ow * k->stride_w - k->padding_w + at % k->kernel_w;
                    if (ih >= 0 && ih < dx.h && iw >= 0 && iw < dx.w)
                        map_at(&dx, n, ih, iw)[c] += map_at(&dy, n, oh, ow)[c];
                }
}

/* What an average divides by. */
static double divisor_of(const Window *k, Span rows, Span columns)
{
    if (k->inside)
        return (double)(rows.end - rows.begin) * (columns.end - columns.begin);
    return (double)rows.extent * columns.extent;
}

/* Sum of the window divided by its extent inside the padded input, or inside the input */
static void eval_avgpool(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    const Window *k = &node->attr.window;
    memset(y.data, 0, (size_t)eval_elements(e, node) * sizeof(double));
    PARALLEL_FOR
    for (int row = 0; row < y.n * y.h; row++) {
        int n = row / y.h, oh = row % y.h;
        Span rows = row_span(k, oh, &x);
        for (int ow = 0; ow < y.w; ow++) {
            Span columns = column_span(k, ow, &x);
            double *out = map_at(&y, n, oh, ow);
            for (int kh = rows.begin; kh < rows.end; kh++)
                for (int kw = columns.begin; kw < columns.end; kw++)
                    add_scaled(out, 1, map_at(&x, n, rows.start + kh, columns.start + kw), y.c);
            for (int c = 0; c < y.c; c++)
                out[c] /= eval_factor(e, divisor_of(k, rows, columns));
        }
    }
}

/* Each dy, divided by its window's extent, goes to every position of the window. */
static void eval_avgpool_grad(Eval *e, const Node *node)
{
    Map dy = eval_map(e, node->in[0]), dx = eval_map(e, node);
    const Window *k = &node->attr.window;
    memset(dx.data, 0, (size_t)eval_elements(e, node) * sizeof(double));
    for (int n = 0; n < dy.n; n++)
        for (int oh = 0; oh < dy.h; oh++)
            for (int ow = 0; ow < dy.w; ow++) {
                Span rows = row_span(k, oh, &dx), columns = column_span(k, ow, &dx);
                double share = 1 / eval_factor(e, divisor_of(k, rows, columns));
                for (int kh = rows.begin; kh < rows.end; kh++)
                    for (int kw = columns.begin; kw < columns.end; kw++)
                        add_scaled(map_at(&dx, n, rows.start + kh, columns.start + kw), share,
                                   map_at(&dy, n, oh, ow), dy.c);
            }
}

/* ---- spreads ---- */

/* The positions of a window that lie inside the map. */
typedef struct Inside {
    int top, left, bottom, right;
} Inside;

static Inside inside(const Window *k, const Map *x, int oh, int ow)
{
    int top = oh * k->stride_h - k->padding_h, left = ow * k->stride_w - k->padding_w;
    int bottom = top + k->kernel_h, right = left + k->kernel_w;
    return (Inside){top < 0 ? 0 : top, left < 0 ? 0 : left, bottom > x->h ? x->h : bottom,
                    right > x->w ? x->w : right};
}

/* What is pooled, and where. */
typedef struct Pooled {
    Map square, value;
    Inside in;
} Pooled;

/* The largest square of the window; *near: whether another value than the largest may be it. */
static double largest(const Eval *e, const Pooled *p, int n, int c, bool *near)
{
    Inside in = p->in;
    double most = 0, best = -INFINITY, best_square = 0;
    for (int h = in.top; h < in.bottom; h++)
        for (int w = in.left; w < in.right; w++) {
            double v = map_at(&p->value, n, h, w)[c], square = map_at(&p->square, n, h, w)[c];
            most = fmax(most, square);
            if (v > best) {
                best = v;
                best_square = square;
            }
        }
    *near = false;
    int ties = 0;
    for (int h = in.top; h < in.bottom; h++)
        for (int w = in.left; w < in.right; w++) {
            double v = map_at(&p->value, n, h, w)[c], square = map_at(&p->square, n, h, w)[c];
            ties += spread_is_near(e, best - v, best_square + square);
        }
    *near = ties > 1;
    return most;
}

/* maxpool; maxpool_code: 1 where the code may be another, and an error of it is none. */
static void spread_maxpool(Eval *e, const Node *node)
{
    Map y = eval_map(e, node), x = eval_map(e, node->in[0]), value = eval_map(e->of, node->in[0]);
    PARALLEL_FOR
    for (int row = 0; row < y.n * y.h; row++)
        for (int i = 0; i < y.w * y.c; i++) {
            bool near;
            Pooled p = {x, value, inside(&node->attr.window, &x, row % y.h, i / y.c)};
            double most = largest(e, &p, row / y.h, i % y.c, &near);
            map_at(&y, row / y.h, row % y.h, 0)[i] =
                node->op == OP_MAXPOOL_CODE ? (near ? 1 : 0) : most;
        }
}

/* dy, code: where the code may be another, all of dy may be wrong anywhere in the window. */
static void spread_maxpool_grad(Eval *e, const Node *node)
{
    Map dy = eval_map(e, node->in[0]), near = eval_map(e, node->in[1]), dx = eval_map(e, node);
    Map code = eval_map(e->of, node->in[1]), dy_value = eval_map(e->of, node->in[0]);
    const Window *k = &node->attr.window;
    memset(dx.data, 0, (size_t)eval_elements(e, node) * sizeof(double));
    for (int64_t i = 0; i < (int64_t)dy.n * dy.h * dy.w * dy.c; i++) {
        int c = (int)(i % dy.c), ow = (int)(i / dy.c % dy.w), oh = (int)(i / dy.c / dy.w % dy.h);
        int n = (int)(i / dy.c / dy.w / dy.h), at = (int)code.data[i];
        int h = oh * k->stride_h - k->padding_h + at / k->kernel_w;
        int w = ow * k->stride_w - k->padding_w + at % k->kernel_w;
        Inside in = inside(k, &dx, oh, ow);
        if (h >= 0 && h < dx.h && w >= 0 && w < dx.w)
            map_at(&dx, n, h, w)[c] += dy.data[i];
        for (h = in.top; near.data[i] > 0 && h < in.bottom; h++)
            for (w = in.left; w < in.right; w++)
                map_at(&dx, n, h, w)[c] += square_of(dy_value.data[i] / e->jump);
    }
}

/* ---- gradients ---- */

/* The maximum's place is found once, in the forward pass. */
static void gradient_maxpool(Gradient *g, Node *n, Node *dy)
{
    Node *code = graph_add(g->graph, OP_MAXPOOL_CODE, 1, n->in, &n->attr, n->loc);
    g->keep(g, n, code);
    g->give(g, n->in[0], gradient_op(g, n, OP_MAXPOOL_GRAD, dy, code, n->in[0]), n->loc);
}

static void gradient_avgpool(Gradient *g, Node *n, Node *dy)
{
    g->give(g, n->in[0], gradient_op(g, n, OP_AVGPOOL_GRAD, dy, NULL, n->in[0]), n->loc);
}

OP_RULE(pool, MAXPOOL) = {infer_pool, eval_maxpool, spread_maxpool, gradient_maxpool, no_work};
OP_RULE(pool, MAXPOOL_CODE) = {infer_pool, eval_maxpool, spread_maxpool, no_gradient, no_work};
OP_RULE(pool, MAXPOOL_GRAD) = {infer_pool_grad, eval_maxpool_grad, spread_maxpool_grad, no_gradient,
                               no_work};
OP_RULE(pool, AVGPOOL) = {infer_pool, eval_avgpool, spread_linear, gradient_avgpool, no_work};
OP_RULE(pool, AVGPOOL_GRAD) = {infer_pool_grad, eval_avgpool_grad, spread_linear, no_gradient,
                               no_work};
