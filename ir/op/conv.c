/* Convolutions of maps [N,H,W,C] by filters OIHW, their gradients, and transposed filters. In
 * groups, a filter is [O, I / groups, KH, KW]. */
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

/* A filter of `each` inputs a group, from `inputs` channels to `outputs`. */
static bool check_groups(const Infer *f, int inputs, int outputs, int each)
{
    int groups = window_groups(&f->attr->window);
    if (inputs % groups != 0 || outputs % groups != 0)
        return type_fault(f, "'s %d groups do not divide its %d input and %d output channels",
                          groups, inputs, outputs);
    if ((int64_t)each * groups == inputs)
        return true;
    if (groups == 1)
        return type_fault(f, "'s filter is for %d input channels, but its input has %d", each,
                          inputs);
    return type_fault(f, "'s filter is for %d input channels in each of %d groups, but its input "
                         "has %d", each, groups, inputs);
}

static bool infer_conv2d(const Infer *f)
{
    Extent out;
    if (!type_expect_map(f, 0, "input") || !type_expect(f, 1, "filter", type_dtype(f, 0), 4))
        return false;
    const int32_t *x = type_dims(f, 0), *filter = type_dims(f, 1);
    if (!check_groups(f, x[3], filter[0], filter[1]))
        return false;
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
    bool groups = f->attr->window.groups > 0;
    Extent out;
    if (!type_expect_map(f, 0, "gradient") || !type_expect(f, 1, "filter", type_dtype(f, 0), 4) ||
        !type_given(f, type_dtype(f, 0), 4))
        return false;
    const int32_t *dy = type_dims(f, 0), *filter = type_dims(f, 1), *dx = f->out->shape.dim;
    return type_slide(f, dx[1], dx[2], &out) && check_filter(f, "filter", filter) &&
           type_given_extent(f, 0, dy[0]) &&
           (groups || type_given_extent(f, 3, filter[inputs])) &&
           check_groups(f, dx[3], filter[outputs], filter[inputs]) &&
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
           check_groups(f, x[3], dy[3], x[3] / window_groups(&f->attr->window)) &&
           type_given_extent(f, 0, dy[3]) &&
           type_given_extent(f, 1, x[3] / window_groups(&f->attr->window)) &&
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

/* Channels a group on both sides of a convolution. */
typedef struct Groups {
    int inputs, outputs;
} Groups;

static Groups groups_of(const Window *k, const Map *x, const Map *y)
{
    int groups = window_groups(k);
    return (Groups){x->c / groups, y->c / groups};
}

/* The input position of output position `at` at kernel position k. */
static int input_row(const Window *w, int at, int k)
{
    return at * w->stride_h - w->padding_h + k * window_dilation_h(w);
}

static int input_column(const Window *w, int at, int k)
{
    return at * w->stride_w - w->padding_w + k * window_dilation_w(w);
}

/* One output pixel of a convolution: y[O] += sum over the window of x times filter, [taps][I][O] of
 * the inputs of one group. */
static void conv2d_pixel(const Map *x, const Map *y, const double *by_tap, const Window *k, int n,
                         int oh, int ow)
{
    double *out = map_at(y, n, oh, ow);
    const Groups g = groups_of(k, x, y);
    for (int kh = 0; kh < k->kernel_h; kh++) {
        int ih = input_row(k, oh, kh);
        if (ih < 0 || ih >= x->h)
            continue;
        for (int kw = 0; kw < k->kernel_w; kw++) {
            int iw = input_column(k, ow, kw);
            if (iw < 0 || iw >= x->w)
                continue;
            const double *in = map_at(x, n, ih, iw);
            const double *tap = by_tap + (int64_t)(kh * k->kernel_w + kw) * g.inputs * y->c;
            for (int i = 0, o = 0; i < x->c; i += g.inputs, o += g.outputs)
                add_products(out + o, g.outputs, in + i, g.inputs, tap + o, y->c);
        }
    }
}

/* y[n,oh,ow,o] = bias[o] + sum over i,kh,kw of x[n, oh*s-p+kh*d, ow*s-p+kw*d, i] filter[o,i,kh,kw],
 * i over the channels of o's group */
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

/* The output position whose window has input position `at` at `tap` behind its first; -1: none. */
static int window_position(int at, int tap, int stride, int padding, int outputs)
{
    int shifted = at + padding - tap;
    if (shifted < 0 || shifted % stride || shifted / stride >= outputs)
        return -1;
    return shifted / stride;
}

/* One pixel: dx[I] += sum over the outputs of each group of dy times filter, [O][I / groups]. */
static void dgrad_pixel(double *dx, const double *dy, const double *tap, int outputs, Groups g)
{
    for (int o = 0; o < outputs; o += g.outputs)
        add_products(dx + o / g.outputs * g.inputs, g.inputs, dy + o, g.outputs,
                     tap + (int64_t)o * g.inputs, g.inputs);
}

/* dx[n,ih,iw,i] = sum over o,kh,kw of dy[n,oh,ow,o] filter[o,i,kh,kw], oh*s-p+kh*d = ih, ow
 * alike */
static void dgrad_by_tap(Eval *e, const Node *node, const double *by_tap)
{
    Map dy = eval_map(e, node->in[0]), dx = eval_map(e, node);
    const Window *k = &node->attr.window;
    const Groups g = groups_of(k, &dx, &dy);
    int dilation_h = window_dilation_h(k), dilation_w = window_dilation_w(k);
    PARALLEL_FOR
    for (int row = 0; row < dx.n * dx.h; row++) {
        int n = row / dx.h, ih = row % dx.h;
        memset(map_at(&dx, n, ih, 0), 0, (size_t)dx.w * (size_t)dx.c * sizeof(double));
        for (int kh = 0; kh < k->kernel_h; kh++) {
            int oh = window_position(ih, kh * dilation_h, k->stride_h, k->padding_h, dy.h);
            for (int at = 0; oh >= 0 && at < dx.w * k->kernel_w; at++) {
                int iw = at / k->kernel_w, kw = at % k->kernel_w;
                int ow = window_position(iw, kw * dilation_w, k->stride_w, k->padding_w, dy.w);
                if (ow < 0)
                    continue;
                dgrad_pixel(map_at(&dx, n, ih, iw), map_at(&dy, n, oh, ow),
                            by_tap + (int64_t)(kh * k->kernel_w + kw) * g.inputs * dy.c, dy.c, g);
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

/* sum[i][O / groups] = gradient of the filter at one tap for input channels first..first+count-1,
 * of the outputs of their groups */
static void wgrad_block(const Map *x, const Map *dy, const Window *k, int tap, int first, int count,
                        double *sum)
{
    int kh = tap / k->kernel_w, kw = tap % k->kernel_w;
    const Groups g = groups_of(k, x, dy);
    for (int64_t row = 0; row < (int64_t)dy->n * dy->h; row++) {
        int n = (int)(row / dy->h), oh = (int)(row % dy->h);
        int ih = input_row(k, oh, kh);
        if (ih < 0 || ih >= x->h)
            continue;
        for (int ow = 0; ow < dy->w; ow++) {
            int iw = input_column(k, ow, kw);
            if (iw < 0 || iw >= x->w)
                continue;
            const double *in = map_at(x, n, ih, iw) + first;
            for (int i = 0; i < count; i++)
                add_scaled(sum + (int64_t)i * g.outputs, in[i],
                           map_at(dy, n, oh, ow) + (first + i) / g.inputs * g.outputs, g.outputs);
        }
    }
}

/* Where dfilter[o,i,tap] lies, of output channel `o` of the group of input channel i of x. */
static int64_t dfilter_at(Groups g, int i, int o, int taps, int tap)
{
    int output = i / g.inputs * g.outputs + o;
    return ((int64_t)output * g.inputs + i % g.inputs) * taps + tap;
}

/* dfilter[o,i,kh,kw] = sum over n,oh,ow of x[n, oh*s-p+kh*d, ow*s-p+kw*d, i] dy[n,oh,ow,o] */
static void eval_conv2d_wgrad(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), dy = eval_map(e, node->in[1]);
    double *out = eval_value(e, node);
    const Window *k = &node->attr.window;
    const Groups g = groups_of(k, &x, &dy);
    int taps = k->kernel_h * k->kernel_w, blocks = (x.c + WGRAD_BLOCK - 1) / WGRAD_BLOCK;
    PARALLEL_FOR
    for (int piece = 0; piece < taps * blocks; piece++) {
        int tap = piece / blocks, first = piece % blocks * WGRAD_BLOCK;
        int count = x.c - first < WGRAD_BLOCK ? x.c - first : WGRAD_BLOCK;
        double *sum = eval_zeroed((int64_t)count * g.outputs);
        wgrad_block(&x, &dy, k, tap, first, count, sum);
        for (int i = 0; i < count; i++)
            for (int o = 0; o < g.outputs; o++)
                out[dfilter_at(g, first + i, o, taps, tap)] = sum[(int64_t)i * g.outputs + o];
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

/* The sums of one tap and input channel, over all pixels of all images, for the outputs of its
 * group. */
static void add_tap(const Map *x, const Map *dy, const Window *k, int tap, int i, const Partials *p)
{
    const Groups g = groups_of(k, x, dy);
    for (int64_t row = 0; row < (int64_t)dy->n * dy->h; row++) {
        int n = (int)(row / dy->h), ih = input_row(k, (int)(row % dy->h), tap / k->kernel_w);
        for (int ow = 0; ih >= 0 && ih < x->h && ow < dy->w; ow++) {
            int iw = input_column(k, ow, tap % k->kernel_w);
            if (iw >= 0 && iw < x->w)
                partials_add(p, map_at(x, n, ih, iw)[i],
                             map_at(dy, n, (int)(row % dy->h), ow) + i / g.inputs * g.outputs);
        }
    }
}

static void spread_wgrad(Eval *e, const Node *node)
{
    Map x = eval_map(e->of, node->in[0]), dy = eval_map(e->of, node->in[1]);
    const Window *k = &node->attr.window;
    double *out = eval_value(e, node);
    spread_linear(e, node);
    const Groups g = groups_of(k, &x, &dy);
    int taps = k->kernel_h * k->kernel_w;
    PARALLEL_FOR
    for (int piece = 0; piece < taps * x.c; piece++) {
        int tap = piece / x.c, i = piece % x.c;
        Partials p = partials_new(g.outputs);
        add_tap(&x, &dy, k, tap, i, &p);
        for (int o = 0; o < g.outputs; o++)
            out[dfilter_at(g, i, o, taps, tap)] +=
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

/* A filter [O, I / groups, KH, KW] at each pixel of the output's side. */
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
