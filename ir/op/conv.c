/* Convolutions of maps [N,H,W,C] by filters OIHW, their gradients, and transposed filters. */
#include "family.h"

#include <stdlib.h>

/* Input channels that one piece of a weight gradient covers; keeps its sums in the L1 cache. */
enum { WGRAD_BLOCK = 8 };

/* ---- types ---- */

/* The filter [O,I,KH,KW] of a convolution must be as large as its window. */
static bool check_filter(const Infer *f, const char *what, const int32_t *filter)
{
    const Window *w = &f->attr->window;
    if (filter[2] == w->kernel_h && filter[3] == w->kernel_w)
        return true;
    return type_fault(f, "'s kernel is %dx%d, but its %s is %dx%d", w->kernel_h, w->kernel_w, what,
                      filter[2], filter[3]);
}

static bool infer_conv2d(const Infer *f)
{
    Extent out;
    if (!type_expect_map(f, 0, "input") || !type_expect(f, 1, "filter", type_dtype(f, 0), 4))
        return false;
    const int32_t *x = type_dims(f, 0), *filter = type_dims(f, 1);
    if (filter[1] != x[3])
        return type_fault(f, "'s filter is for %d input channels, but its input has %d", filter[1],
                          x[3]);
    if (f->arity == 3 &&
        (!type_expect(f, 2, "bias", DT_F32, 1) || !type_expect_extent(f, 2, "bias", 0, filter[0])))
        return false;
    return type_slide(f, x[1], x[2], &out) && check_filter(f, "filter", filter) &&
           type_give_map(f, type_dtype(f, 0), x, out.h, out.w, filter[0]);
}

/* dy[N,P,Q,O], filter[O,I,KH,KW] -> dx[N,H,W,I], whose forward extent must be P x Q. The filter of
 * conv2d_transpose has its first two axes the other way round. */
static bool infer_dgrad(const Infer *f)
{
    int outputs = f->op == OP_CONV2D_TRANSPOSE, inputs = !outputs;
    Extent out;
    if (!type_expect_map(f, 0, "gradient") || !type_expect(f, 1, "filter", type_dtype(f, 0), 4) ||
        !type_given(f, type_dtype(f, 0), 4))
        return false;
    const int32_t *dy = type_dims(f, 0), *filter = type_dims(f, 1), *dx = f->out->shape.dim;
    return type_slide(f, dx[1], dx[2], &out) && check_filter(f, "filter", filter) &&
           type_given_extent(f, 0, dy[0]) && type_given_extent(f, 3, filter[inputs]) &&
           type_expect_extent(f, 0, "the gradient", 1, out.h) &&
           type_expect_extent(f, 0, "the gradient", 2, out.w) &&
           type_expect_extent(f, 0, "the gradient", 3, filter[outputs]);
}

/* x[N,H,W,I], dy[N,P,Q,O] -> dfilter[O,I,KH,KW]. */
static bool infer_wgrad(const Infer *f)
{
    Extent out;
    if (!type_expect_map(f, 0, "input") || !type_expect(f, 1, "gradient", type_dtype(f, 0), 4) ||
        !type_given(f, DT_F32, 4))
        return false;
    const int32_t *x = type_dims(f, 0), *dy = type_dims(f, 1);
    return type_slide(f, x[1], x[2], &out) && check_filter(f, "result", f->out->shape.dim) &&
           type_given_extent(f, 0, dy[3]) && type_given_extent(f, 1, x[3]) &&
           type_expect_extent(f, 1, "the gradient", 0, x[0]) &&
           type_expect_extent(f, 1, "the gradient", 1, out.h) &&
           type_expect_extent(f, 1, "the gradient", 2, out.w);
}

static bool infer_bias_grad(const Infer *f)
{
    return type_expect_map(f, 0, "gradient") &&
           type_give(f, DT_F32, shape_of(1, type_dims(f, 0)[3], 0, 0, 0));
}

/* The result may be rounded to bf16. */
static bool infer_filter_transpose(const Infer *f)
{
    if (!type_expect(f, 0, "filter", DT_F32, 4))
        return false;
    const int32_t *d = type_dims(f, 0);
    return type_give(f, f->out->dtype == DT_BF16 ? DT_BF16 : DT_F32,
                     shape_of(4, d[1], d[0], d[2], d[3]));
}

/* ---- values ---- */

/* One output pixel of a convolution: y[O] += sum over the window of x times filter. */
static void conv2d_pixel(const Map *x, const Map *y, const double *by_tap, const Window *k, int n,
                         int oh, int ow)
{
    double *out = map_at(y, n, oh, ow);
    for (int kh = 0; kh < k->kernel_h; kh++) {
        int ih = oh * k->stride_h - k->padding_h + kh;
        if (ih < 0 || ih >= x->h)
            continue;
        for (int kw = 0; kw < k->kernel_w; kw++) {
            int iw = ow * k->stride_w - k->padding_w + kw;
            if (iw < 0 || iw >= x->w)
                continue;
            const double *in = map_at(x, n, ih, iw);
            const double *tap = by_tap + (int64_t)(kh * k->kernel_w + kw) * x->c * y->c;
            for (int i = 0; i < x->c; i++)
                add_scaled(out, in[i], tap + (int64_t)i * y->c, y->c);
        }
    }
}

/* y[n,oh,ow,o] = bias[o] + sum over i,kh,kw of x[n, oh*s-p+kh, ow*s-p+kw, i] filter[o,i,kh,kw] */
static void eval_conv2d(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    const double *bias = node->arity > 2 ? eval_value(e, node->in[2]) : NULL;
    double *by_tap = eval_filter_by_tap(e, node->in[1], false);
    PARALLEL_FOR
    for (int row = 0; row < y.n * y.h; row++) {
        int n = row / y.h, oh = row % y.h;
        for (int ow = 0; ow < y.w; ow++) {
            double *out = map_at(&y, n, oh, ow);
            for (int o = 0; o < y.c; o++)
                out[o] = bias ? bias[o] : 0;
            conv2d_pixel(&x, &y, by_tap, &node->attr.window, n, oh, ow);
        }
    }
    free(by_tap);
}

/* The output position whose window has input position `at` at kernel position k; -1: none. */
static int window_position(int at, int k, int stride, int padding, int outputs)
{
    int shifted = at + padding - k;
    if (shifted < 0 || shifted % stride || shifted / stride >= outputs)
        return -1;
    return shifted / stride;
}

/* dx[n,ih,iw,i] = sum over o,kh,kw of dy[n,oh,ow,o] filter[o,i,kh,kw], oh*s-p+kh = ih, ow alike */
static void dgrad_by_tap(Eval *e, const Node *node, const double *by_tap)
{
    Map dy = eval_map(e, node->in[0]), dx = eval_map(e, node);
    const Window *k = &node->attr.window;
    PARALLEL_FOR
    for (int row = 0; row < dx.n * dx.h; row++) {
        int n = row / dx.h, ih = row % dx.h;
        memset(map_at(&dx, n, ih, 0), 0, (size_t)dx.w * (size_t)dx.c * sizeof(double));
        for (int kh = 0; kh < k->kernel_h; kh++) {
            int oh = window_position(ih, kh, k->stride_h, k->padding_h, dy.h);
            for (int at = 0; oh >= 0 && at < dx.w * k->kernel_w; at++) {
                int iw = at / k->kernel_w, kw = at % k->kernel_w;
                int ow = window_position(iw, kw, k->stride_w, k->padding_w, dy.w);
                if (ow < 0)
                    continue;
                const double *from = map_at(&dy, n, oh, ow);
                const double *tap = by_tap + (int64_t)(kh * k->kernel_w + kw) * dx.c * dy.c;
                for (int o = 0; o < dy.c; o++)
                    add_scaled(map_at(&dx, n, ih, iw), from[o], tap + (int64_t)o * dx.c, dx.c);
            }
        }
    }
}

static void eval_conv2d_dgrad(Eval *e, const Node *node)
{
    double *by_tap = eval_filter_by_tap(e, node->in[1], true);
    dgrad_by_tap(e, node, by_tap);
    free(by_tap);
}

/* The filter comes as [I,O,KH,KW] with both kernel axes reversed. */
static void eval_conv2d_transpose(Eval *e, const Node *node)
{
    const Shape *s = &node->in[1]->tensor.shape;
    int64_t taps = (int64_t)s->dim[2] * s->dim[3], inputs = s->dim[0], outputs = s->dim[1];
    const double *filter = eval_value(e, node->in[1]);
    double *by_tap = xmalloc((size_t)(taps * inputs * outputs) * sizeof *by_tap);
    for (int64_t i = 0; i < inputs; i++)
        for (int64_t o = 0; o < outputs; o++)
            for (int64_t t = 0; t < taps; t++)
                by_tap[(t * outputs + o) * inputs + i] =
                    filter[(i * outputs + o) * taps + taps - 1 - t];
    dgrad_by_tap(e, node, by_tap);
    free(by_tap);
}

/* sum[i][O] = gradient of the filter at one tap for input channels first..first+count-1 */
static void wgrad_block(const Map *x, const Map *dy, const Window *k, int tap, int first, int count,
                        double *sum)
{
    int kh = tap / k->kernel_w, kw = tap % k->kernel_w;
    for (int64_t row = 0; row < (int64_t)dy->n * dy->h; row++) {
        int n = (int)(row / dy->h), oh = (int)(row % dy->h);
        int ih = oh * k->stride_h - k->padding_h + kh;
        if (ih < 0 || ih >= x->h)
            continue;
        for (int ow = 0; ow < dy->w; ow++) {
            int iw = ow * k->stride_w - k->padding_w + kw;
            if (iw < 0 || iw >= x->w)
                continue;
            const double *in = map_at(x, n, ih, iw) + first;
            for (int i = 0; i < count; i++)
                add_scaled(sum + (int64_t)i * dy->c, in[i], map_at(dy, n, oh, ow), dy->c);
        }
    }
}

/* dfilter[o,i,kh,kw] = sum over n,oh,ow of x[n, oh*s-p+kh, ow*s-p+kw, i] dy[n,oh,ow,o] */
static void eval_conv2d_wgrad(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), dy = eval_map(e, node->in[1]);
    double *out = eval_value(e, node);
    const Window *k = &node->attr.window;
    int taps = k->kernel_h * k->kernel_w, blocks = (x.c + WGRAD_BLOCK - 1) / WGRAD_BLOCK;
    PARALLEL_FOR
    for (int piece = 0; piece < taps * blocks; piece++) {
        int tap = piece / blocks, first = piece % blocks * WGRAD_BLOCK;
        int count = x.c - first < WGRAD_BLOCK ? x.c - first : WGRAD_BLOCK;
        double *sum = eval_zeroed((int64_t)count * dy.c);
        wgrad_block(&x, &dy, k, tap, first, count, sum);
        for (int i = 0; i < count; i++)
            for (int o = 0; o < dy.c; o++)
                out[((int64_t)o * x.c + first + i) * taps + tap] = sum[(int64_t)i * dy.c + o];
        free(sum);
    }
}

/* dbias[c] = sum over n,h,w of dy[n,h,w,c] */
static void eval_bias_grad(Eval *e, const Node *node)
{
    Map dy = eval_map(e, node->in[0]);
    double *out = eval_value(e, node);
    memset(out, 0, (size_t)dy.c * sizeof(double));
    for (int64_t pixel = 0; pixel < (int64_t)dy.n * dy.h * dy.w; pixel++)
        for (int c = 0; c < dy.c; c++)
            out[c] += dy.data[pixel * dy.c + c];
}

/* y[i,o,kh,kw] = x[o,i,KH-1-kh,KW-1-kw] */
static void eval_filter_transpose(Eval *e, const Node *node)
{
    const int32_t *dim = node->in[0]->tensor.shape.dim;
    const double *in = eval_value(e, node->in[0]);
    double *out = eval_value(e, node);
    int taps = dim[2] * dim[3];
    for (int o = 0; o < dim[0]; o++)
        for (int i = 0; i < dim[1]; i++)
            for (int t = 0; t < taps; t++)
                out[((int64_t)i * dim[0] + o) * taps + taps - 1 - t] =
                    in[((int64_t)o * dim[1] + i) * taps + t];
}

/* ---- spreads ---- */

static void spread_bias_grad(Eval *e, const Node *node)
{
    Map dy = eval_map(e->of, node->in[0]);
    double *out = eval_value(e, node), pixels = (double)dy.n * dy.h * dy.w;
    spread_sum(e, node, pixels);
    Partials p = partials_new(dy.c);
    for (int64_t pixel = 0; pixel < (int64_t)dy.n * dy.h * dy.w; pixel++)
        partials_add(&p, 1, dy.data + pixel * dy.c);
    for (int c = 0; c < dy.c; c++)
        out[c] += partials_count(e, &p, c, spread_unit(node->in[0]));
    free(p.sum);
}

/* The sums of one tap and input channel, over all pixels of all images. */
static void add_tap(const Map *x, const Map *dy, const Window *k, int tap, int i, const Partials *p)
{
    for (int64_t row = 0; row < (int64_t)dy->n * dy->h; row++) {
        int n = (int)(row / dy->h);
        int ih = (int)(row % dy->h) * k->stride_h - k->padding_h + tap / k->kernel_w;
        for (int ow = 0; ih >= 0 && ih < x->h && ow < dy->w; ow++) {
            int iw = ow * k->stride_w - k->padding_w + tap % k->kernel_w;
            if (iw >= 0 && iw < x->w)
                partials_add(p, map_at(x, n, ih, iw)[i], map_at(dy, n, (int)(row % dy->h), ow));
        }
    }
}

static void spread_wgrad(Eval *e, const Node *node)
{
    Map x = eval_map(e->of, node->in[0]), dy = eval_map(e->of, node->in[1]);
    const Window *k = &node->attr.window;
    double *out = eval_value(e, node);
    spread_linear(e, node);
    int taps = k->kernel_h * k->kernel_w;
    PARALLEL_FOR
    for (int piece = 0; piece < taps * x.c; piece++) {
        int tap = piece / x.c, i = piece % x.c;
        Partials p = partials_new(dy.c);
        add_tap(&x, &dy, k, tap, i, &p);
        for (int o = 0; o < dy.c; o++)
            out[((int64_t)o * x.c + i) * taps + tap] +=
                partials_count(e, &p, o, spread_unit(node->in[1]));
        free(p.sum);
    }
}

/* ---- gradients ---- */

/* The order bias, filter, input lets the parameter gradients go first: the filter's gradient needs
 * the saved input and dy, both of which can be dropped once dx is there. */
static void gradient_conv2d(Gradient *g, Node *n, Node *dy)
{
    Node *x = n->in[0], *filter = n->in[1];
    if (n->arity > 2 && g->needs(g, n->in[2]))
        g->give(g, n->in[2], graph_add(g->graph, OP_BIAS_GRAD, 1, &dy, NULL, n->loc), n->loc);
    if (g->needs(g, filter))
        g->give(g, filter, gradient_op(g, n, OP_CONV2D_WGRAD, x, dy, filter), n->loc);
    if (g->needs(g, x))
        g->give(g, x, gradient_op(g, n, OP_CONV2D_DGRAD, dy, filter, x), n->loc);
}

/* ---- work ---- */

/* A filter [O,I,KH,KW] at each pixel of the output's side. */
static double filter_work(const Shape *filter, const Node *map)
{
    double taps = (double)filter->dim[1] * filter->dim[2] * filter->dim[3];
    return 2 * taps * (double)shape_elements(&map->tensor.shape);
}

static double work_conv2d(const Node *n)
{
    return filter_work(&n->in[1]->tensor.shape, n);
}

static double work_dgrad(const Node *n)
{
    return filter_work(&n->in[1]->tensor.shape, n->in[0]);
}

static double work_wgrad(const Node *n)
{
    return filter_work(&n->tensor.shape, n->in[1]);
}

/* Its filter is IOHW. */
static double work_transpose(const Node *n)
{
    const Shape *filter = &n->in[1]->tensor.shape;
    double taps = (double)filter->dim[0] * filter->dim[2] * filter->dim[3];
    return 2 * taps * (double)shape_elements(&n->in[0]->tensor.shape);
}

OP_RULE(conv, CONV2D) = {infer_conv2d, eval_conv2d, spread_linear, gradient_conv2d, work_conv2d};
OP_RULE(conv, CONV2D_DGRAD) = {infer_dgrad, eval_conv2d_dgrad, spread_linear, no_gradient,
                               work_dgrad};
OP_RULE(conv, CONV2D_TRANSPOSE) = {infer_dgrad, eval_conv2d_transpose, spread_linear, no_gradient,
                                   work_transpose};
OP_RULE(conv, CONV2D_WGRAD) = {infer_wgrad, eval_conv2d_wgrad, spread_wgrad, no_gradient,
                               work_wgrad};
OP_RULE(conv, BIAS_GRAD) = {infer_bias_grad, eval_bias_grad, spread_bias_grad, no_gradient,
                            no_work};
OP_RULE(conv, FILTER_TRANSPOSE) = {infer_filter_transpose, eval_filter_transpose, spread_linear,
                                   no_gradient, no_work};
