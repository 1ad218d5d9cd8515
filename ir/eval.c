/* The naive evaluator: every op straight from its definition, in double, never rounded. It is the
 * oracle that emitted kernels are compared with, so it shares no code with them. The only thing
 * done for speed is that the innermost loops run over contiguous channels. */
#include "eval.h"

#include <math.h>
#include <stdlib.h>

/* Input channels that one piece of a weight gradient covers; keeps its sums in the L1 cache. */
enum { WGRAD_BLOCK = 8 };

static double *zeroed(int64_t count)
{
    size_t bytes = (size_t)(count > 0 ? count : 1) * sizeof(double);
    double *p = xmalloc(bytes);
    memset(p, 0, bytes);
    return p;
}

/* ---- values ---- */

/* A state node has the id -1; update nodes have an id, but their value is the storage's. */
static bool is_state(const Node *n)
{
    return n->op == OP_STATE || n->op == OP_UPDATE;
}

/* Starts the evaluation of a graph for `batch` images, at most the graph's batch; 0: all of them.
 * Storage is zero and no value is set. The caller frees it with eval_free. */
Eval *eval_new(const Graph *g, int batch)
{
    if (batch < 0 || batch > g->batch)
        internal_error("%d images in a batch of %d", batch, g->batch);
    Eval *e = xmalloc(sizeof *e);
    e->graph = g;
    e->batch = batch ? batch : g->batch;
    e->of = NULL;
    e->value = xmalloc(((size_t)g->node_count + 1) * sizeof *e->value);
    e->state = xmalloc(((size_t)g->module->storage_count + 1) * sizeof *e->state);
    for (int i = 0; i < g->node_count; i++)
        e->value[i] = NULL;
    for (int i = 0; i < g->module->storage_count; i++)
        e->state[i] = NULL;
    return e;
}

/* Frees an evaluation and all its values; NULL is allowed. */
void eval_free(Eval *e)
{
    if (!e)
        return;
    for (int i = 0; i < e->graph->node_count; i++)
        free(e->value[i]);
    for (int i = 0; i < e->graph->module->storage_count; i++)
        free(e->state[i]);
    free(e->value);
    free(e->state);
    free(e);
}

/* Elements of the node's value in this evaluation: per-image values have e->batch rows. */
int64_t eval_elements(const Eval *e, const Node *n)
{
    Shape shape = n->tensor.shape;
    if (!is_state(n) && is_per_image(e->graph, n))
        shape.dim[0] = e->batch;
    return shape_elements(&shape);
}

/* The array of a storage, logical row-major (weights OIHW); zero until written. */
double *eval_state(Eval *e, const Storage *s)
{
    const Module *m = e->graph->module;
    for (int i = 0; i < m->storage_count; i++) {
        if (m->storage[i] != s)
            continue;
        if (!e->state[i])
            e->state[i] = zeroed(shape_elements(&s->tensor.shape));
        return e->state[i];
    }
    internal_error("@%s is not in the module", s->name);
}

/* The array of a node's value, logical row-major; zero until written. */
double *eval_value(Eval *e, const Node *n)
{
    if (is_state(n))
        return eval_state(e, n->storage);
    if (n->id < 0 || n->id >= e->graph->node_count || e->graph->node[n->id] != n)
        internal_error("a %s node is not in graph %s", op_name(n->op), e->graph->name);
    if (!e->value[n->id])
        e->value[n->id] = zeroed(eval_elements(e, n));
    return e->value[n->id];
}

Map eval_map(Eval *e, const Node *n)
{
    const int32_t *dim = n->tensor.shape.dim;
    double *data = eval_value(e, n);
    if (n->tensor.shape.rank == 4)
        return (Map){data, e->batch, dim[1], dim[2], dim[3]};
    if (n->tensor.shape.rank == 2)
        return (Map){data, e->batch, 1, 1, dim[1]};
    internal_error("the result of %s is no activation", op_name(n->op));
}

/* The run-time scalar %valid, at most the number of rows that are evaluated. */
static int valid_rows(Eval *e, const Node *n)
{
    double valid = eval_value(e, n)[0];
    return valid < e->batch ? (int)valid : e->batch;
}

/* ---- images ---- */

/* One axis of F.interpolate(mode='bilinear', align_corners=False): output position `at` lies
 * between the input positions *low and *high, *part of the way. */
static void bilinear_axis(int at, int input, int output, int *low, int *high, double *part)
{
    double source = (at + 0.5) * ((double)input / output) - 0.5;
    if (source < 0)
        source = 0;
    *low = (int)source;
    if (*low > input - 1)
        *low = input - 1;
    *high = *low < input - 1 ? *low + 1 : *low;
    *part = source - *low;
}

/* u8 image -> (u8/255 - mean) / std, interpolated to the result's map (normalize: the same map) */
static void eval_image(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    const ImageAttr *image = &node->attr.image;
    PARALLEL_FOR
    for (int n = 0; n < y.n; n++) {
        for (int h = 0; h < y.h; h++) {
            int top, bottom;
            double down;
            bilinear_axis(h, x.h, y.h, &top, &bottom, &down);
            for (int w = 0; w < y.w; w++) {
                int left, right;
                double across;
                bilinear_axis(w, x.w, y.w, &left, &right, &across);
                for (int c = 0; c < y.c; c++) {
                    double above = map_at(&x, n, top, left)[c] * (1 - across) +
                                   map_at(&x, n, top, right)[c] * across;
                    double below = map_at(&x, n, bottom, left)[c] * (1 - across) +
                                   map_at(&x, n, bottom, right)[c] * across;
                    double pixel = (above * (1 - down) + below * down) / 255;
                    map_at(&y, n, h, w)[c] = (pixel - image->mean[c]) / image->std[c];
                }
            }
        }
    }
}

/* ---- convolution ---- */

double *eval_filter_by_tap(Eval *e, const Node *n, bool out_first)
{
    const double *filter = eval_value(e, n);
    const Shape *shape = &n->tensor.shape;
    int outs = shape->dim[0], ins = shape->dim[1], taps = shape->dim[2] * shape->dim[3];
    double *by_tap = zeroed(shape_elements(shape));
    for (int o = 0; o < outs; o++)
        for (int i = 0; i < ins; i++)
            for (int t = 0; t < taps; t++) {
                int64_t from = ((int64_t)o * ins + i) * taps + t;
                int64_t to = out_first ? (int64_t)o * ins + i : (int64_t)i * outs + o;
                by_tap[(int64_t)t * outs * ins + to] = filter[from];
            }
    return by_tap;
}

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
        double *sum = zeroed((int64_t)count * dy.c);
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

/* ---- pools ---- */

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

/* Sum of the window divided by its extent inside the padded input */
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
                out[c] /= eval_factor(e, (double)rows.extent * columns.extent);
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
                double share = 1 / eval_factor(e, (double)rows.extent * columns.extent);
                for (int kh = rows.begin; kh < rows.end; kh++)
                    for (int kw = columns.begin; kw < columns.end; kw++)
                        add_scaled(map_at(&dx, n, rows.start + kh, columns.start + kw), share,
                                   map_at(&dy, n, oh, ow), dy.c);
            }
}

/* y[n,0,0,c] = mean over h,w of x[n,h,w,c] */
static void eval_gap(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    int pixels = x.h * x.w;
    double divisor = eval_factor(e, pixels);
    memset(y.data, 0, (size_t)eval_elements(e, node) * sizeof(double));
    for (int n = 0; n < x.n; n++) {
        double *out = map_at(&y, n, 0, 0);
        for (int p = 0; p < pixels; p++)
            add_scaled(out, 1, map_at(&x, n, 0, 0) + (int64_t)p * x.c, x.c);
        for (int c = 0; c < x.c; c++)
            out[c] /= divisor;
    }
}

/* dx[n,h,w,c] = dy[n,0,0,c] / (H*W) */
static void eval_gap_grad(Eval *e, const Node *node)
{
    Map dy = eval_map(e, node->in[0]), dx = eval_map(e, node);
    int pixels = dx.h * dx.w;
    double divisor = eval_factor(e, pixels);
    for (int n = 0; n < dx.n; n++)
        for (int p = 0; p < pixels; p++)
            for (int c = 0; c < dx.c; c++)
                map_at(&dx, n, 0, 0)[(int64_t)p * dx.c + c] = map_at(&dy, n, 0, 0)[c] / divisor;
}

/* Copies between the map [N,H,W,C] and the row [N,C*H*W] in the order c,h,w. */
static void copy_flat(const Map *map, double *flat, bool to_flat)
{
    for (int n = 0; n < map->n; n++)
        for (int c = 0; c < map->c; c++)
            for (int h = 0; h < map->h; h++)
                for (int w = 0; w < map->w; w++, flat++) {
                    double *at = map_at(map, n, h, w) + c;
                    if (to_flat)
                        *flat = *at;
                    else
                        *at = *flat;
                }
}

static void eval_flatten(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]);
    copy_flat(&x, eval_value(e, node), true);
}

static void eval_flatten_grad(Eval *e, const Node *node)
{
    Map dx = eval_map(e, node);
    copy_flat(&dx, eval_value(e, node->in[0]), false);
}

/* ---- loss ---- */

/* log(sum of exp(row)), shifted by the maximum so that it cannot overflow */
static double log_sum_exp(const double *row, int count)
{
    double top = row[0], sum = 0;
    for (int k = 1; k < count; k++)
        top = row[k] > top ? row[k] : top;
    for (int k = 0; k < count; k++)
        sum += exp(row[k] - top);
    return top + log(sum);
}

/* nll[n] = log sum exp logits[n] - logits[n, label[n]]; a label that is no class gives NaN */
static void eval_cross_entropy(Eval *e, const Node *node)
{
    Map logits = eval_map(e, node->in[0]);
    const double *label = eval_value(e, node->in[1]);
    double *out = eval_value(e, node);
    for (int n = 0; n < logits.n; n++) {
        const double *row = map_at(&logits, n, 0, 0);
        bool is_class = label[n] >= 0 && label[n] < logits.c;
        out[n] = is_class ? log_sum_exp(row, logits.c) - row[(int)label[n]] : NAN;
    }
}

/* (softmax(logits[n]) - onehot(label[n])) / valid for rows n < valid, else 0 */
static void eval_cross_entropy_grad(Eval *e, const Node *node)
{
    Map logits = eval_map(e, node->in[0]), out = eval_map(e, node);
    const double *label = eval_value(e, node->in[1]);
    double divisor = eval_value(e, node->in[2])[0];
    int valid = valid_rows(e, node->in[2]);
    for (int n = 0; n < logits.n; n++) {
        const double *row = map_at(&logits, n, 0, 0);
        double shift = log_sum_exp(row, logits.c);
        for (int k = 0; k < logits.c; k++) {
            double softmax = exp(row[k] - shift);
            map_at(&out, n, 0, 0)[k] = n < valid ? (softmax - (label[n] == k)) / divisor : 0;
        }
    }
}

/* 1 where the first largest logit is the label's */
static void eval_correct(Eval *e, const Node *node)
{
    Map logits = eval_map(e, node->in[0]);
    const double *label = eval_value(e, node->in[1]);
    double *out = eval_value(e, node);
    for (int n = 0; n < logits.n; n++) {
        const double *row = map_at(&logits, n, 0, 0);
        int best = 0;
        for (int k = 1; k < logits.c; k++)
            if (row[k] > row[best] || (isnan(row[k]) && !isnan(row[best])))
                best = k;
        out[n] = label[n] == best;
    }
}

/* Sum of the rows below valid; the mean divides by valid */
static void eval_reduce_valid(Eval *e, const Node *node)
{
    const double *row = eval_value(e, node->in[0]);
    int valid = valid_rows(e, node->in[1]);
    double sum = 0;
    for (int n = 0; n < valid; n++)
        sum += row[n];
    double divisor = node->op == OP_MEAN_VALID ? eval_value(e, node->in[1])[0] : 1;
    eval_value(e, node)[0] = sum / divisor;
}

/* ---- pointwise ---- */

/* torch.optim.Adam: x = parameter, m, v, lr, step */
static double adam_step(const double *x, const AdamAttr *adam)
{
    double first = 1 - pow(adam->beta1, x[4]), second = 1 - pow(adam->beta2, x[4]);
    return x[0] - x[3] / first * x[1] / (sqrt(x[2]) / sqrt(second) + adam->eps);
}

static double pointwise(const Node *n, const double *x)
{
    double k = n->attr.factor;
    switch ((int)n->op) {
    case OP_RELU: return x[0] <= 0 ? 0 : x[0];
    case OP_ADD: return x[0] + x[1];
    case OP_RELU_GRAD: return x[1] > 0 ? x[0] : 0;
    case OP_WEIGHT_DECAY: return x[0] + k * x[1];
    case OP_MOMENTUM: return k * x[0] + x[1];
    case OP_SGD_STEP: return x[0] - x[2] * x[1];
    case OP_ADAM_M: return k * x[0] + (1 - k) * x[1];
    case OP_ADAM_V: return k * x[0] + (1 - k) * x[1] * x[1];
    case OP_ADAM_STEP: return adam_step(x, &n->attr.adam);
    }
    internal_error("%s is not pointwise", op_name(n->op));
}

/* Operands of rank 0 are broadcast. */
static void eval_pointwise(Eval *e, const Node *node)
{
    const double *in[MAX_OPERANDS] = {0};
    double *out = eval_value(e, node), x[MAX_OPERANDS] = {0};
    int64_t step[MAX_OPERANDS] = {0}, count = eval_elements(e, node);
    for (int i = 0; i < node->arity; i++) {
        in[i] = eval_value(e, node->in[i]);
        step[i] = node->in[i]->tensor.shape.rank > 0;
        if (step[i] && eval_elements(e, node->in[i]) != count)
            internal_error("operand %d of %s has another size", i, op_name(node->op));
    }
    for (int64_t at = 0; at < count; at++) {
        for (int i = 0; i < node->arity; i++)
            x[i] = in[i][at * step[i]];
        out[at] = pointwise(node, x);
    }
}

/* ---- nodes ---- */

/* The evaluator never rounds. */
static void eval_cast(Eval *e, const Node *node)
{
    memcpy(eval_value(e, node), eval_value(e, node->in[0]),
           (size_t)eval_elements(e, node) * sizeof(double));
}

static void eval_update(Eval *e, const Node *node)
{
    size_t bytes = (size_t)shape_elements(&node->storage->tensor.shape) * sizeof(double);
    memcpy(eval_state(e, node->storage), eval_value(e, node->in[0]), bytes);
}

/* Computes one node from the values of its operands, which must be set. An update writes the
 * state; inputs and state nodes have nothing to compute. */
void eval_node(Eval *e, const Node *n)
{
    switch (n->op) {
    case OP_INPUT:
    case OP_STATE: return;
    case OP_NORMALIZE:
    case OP_RESIZE: eval_image(e, n); return;
    case OP_CONV2D: eval_conv2d(e, n); return;
    case OP_CONV2D_DGRAD: eval_conv2d_dgrad(e, n); return;
    case OP_CONV2D_TRANSPOSE: eval_conv2d_transpose(e, n); return;
    case OP_CONV2D_WGRAD: eval_conv2d_wgrad(e, n); return;
    case OP_BIAS_GRAD: eval_bias_grad(e, n); return;
    case OP_FILTER_TRANSPOSE: eval_filter_transpose(e, n); return;
    case OP_MAXPOOL:
    case OP_MAXPOOL_CODE: eval_maxpool(e, n); return;
    case OP_MAXPOOL_GRAD: eval_maxpool_grad(e, n); return;
    case OP_AVGPOOL: eval_avgpool(e, n); return;
    case OP_AVGPOOL_GRAD: eval_avgpool_grad(e, n); return;
    case OP_GAP: eval_gap(e, n); return;
    case OP_GAP_GRAD: eval_gap_grad(e, n); return;
    case OP_FLATTEN: eval_flatten(e, n); return;
    case OP_FLATTEN_GRAD: eval_flatten_grad(e, n); return;
    case OP_CROSS_ENTROPY: eval_cross_entropy(e, n); return;
    case OP_CROSS_ENTROPY_GRAD: eval_cross_entropy_grad(e, n); return;
    case OP_CORRECT: eval_correct(e, n); return;
    case OP_MEAN_VALID:
    case OP_COUNT_VALID: eval_reduce_valid(e, n); return;
    case OP_RELU:
    case OP_ADD:
    case OP_RELU_GRAD:
    case OP_WEIGHT_DECAY:
    case OP_MOMENTUM:
    case OP_SGD_STEP:
    case OP_ADAM_M:
    case OP_ADAM_V:
    case OP_ADAM_STEP: eval_pointwise(e, n); return;
    case OP_WINOGRAD_INPUT:
    case OP_WINOGRAD_FILTER:
    case OP_WINOGRAD_MULTIPLY:
    case OP_WINOGRAD_OUTPUT:
    case OP_WINOGRAD_OUTPUT_GRAD:
    case OP_WINOGRAD_WGRAD:
    case OP_WINOGRAD_FILTER_GRAD: eval_winograd(e, n); return;
    case OP_FOLD_FILTER:
    case OP_CONV2D_FOLDED:
    case OP_CONV2D_FOLDED_WGRAD:
    case OP_FOLD_FILTER_GRAD: eval_fold(e, n); return;
    case OP_CAST: eval_cast(e, n); return;
    case OP_UPDATE: eval_update(e, n); return;
    case OP_COUNT: break;
    }
    internal_error("unknown op %d", (int)n->op);
}

/* Computes all nodes in order; inputs and state must be set. */
void eval_run(Eval *e)
{
    for (int i = 0; i < e->graph->node_count; i++)
        eval_node(e, e->graph->node[i]);
}
