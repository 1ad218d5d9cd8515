/* A kernel of one node in plain loops: the types that say how its operands lie, and the call. */
#include "cuda.h"

/* Types by the letters that generic.cuh uses for them. */
typedef struct View {
    const char *letter;
    const Node *node;
} View;

static void emit_views(CudaEmitter *e, const View *view)
{
    for (; view->letter; view++)
        cuda_line(e, "typedef %s %s;", cuda_view(e, view->node), view->letter);
}

static void emit_window(CudaEmitter *e, const Node *n)
{
    const Window *w = &n->attr.window;
    cuda_line(e, "typedef Window</* R, S */ %d, %d, /* stride */ %d, %d, /* padding */ %d, %d> G;",
              w->kernel_h, w->kernel_w, w->stride_h, w->stride_w, w->padding_h, w->padding_w);
}

/* FAMILY_OP<types>(operands, result) */
static void emit_loops_of(CudaEmitter *e, const Node *n, const char *family, const char *types)
{
    const char *argument[MAX_OPERANDS + 3];
    int count = 0;
    for (int i = 0; i < n->arity; i++)
        argument[count++] = cuda_value(e, n->in[i]);
    bool optional = n->op == OP_CONV2D || op_attr(n->op) == ATTR_SMOOTHING;
    for (int i = n->arity; optional && i < op_max_operands(n->op); i++)
        argument[count++] = "nullptr";
    if (op_attr(n->op) == ATTR_SMOOTHING)
        argument[count++] = cuda_literal(e->pool, n->attr.factor);
    argument[count++] = cuda_value(e, n);
    argument[count] = NULL;
    cuda_call(e, pool_format(e->pool, "%s_%s<%s>", family, op_name(n->op), types), argument);
}

static void emit_loops(CudaEmitter *e, const Node *n, const char *types)
{
    emit_loops_of(e, n, "generic", types);
}

static void emit_conv(CudaEmitter *e, const Node *x, const Node *filter, const Node *y)
{
    const Node *n = e->kernel->node[0];
    const Window *w = &n->attr.window;
    emit_views(e, (View[]){{"X", x}, {"F", filter}, {"Y", y}, {NULL, NULL}});
    emit_window(e, n);
    if (window_is_plain(w)) {
        emit_loops(e, n, "X, F, Y, G");
        return;
    }
    cuda_line(e, "typedef Grouped<G, /* dilation */ %d, %d, /* groups */ %d> D;",
              window_dilation_h(w), window_dilation_w(w), window_groups(w));
    emit_loops_of(e, n, "grouped", "X, F, Y, D");
}

/* The transposed filter is read as the filter. */
static void emit_conv_transpose(CudaEmitter *e, const Node *n)
{
    const char *argument[] = {cuda_value(e, n->in[0]), cuda_value(e, n->in[1]), cuda_value(e, n),
                              NULL};
    emit_views(e, (View[]){{"X", n}, {"T", n->in[1]}, {"Y", n->in[0]}, {NULL, NULL}});
    cuda_line(e, "typedef Transposed<T> F;");
    emit_window(e, n);
    cuda_call(e, "generic_conv2d_dgrad<X, F, Y, G>", argument);
}

static void emit_pool(CudaEmitter *e, const Node *x, const Node *y, const char *types)
{
    const Node *n = e->kernel->node[0];
    emit_views(e, (View[]){{"X", x}, {"Y", y}, {NULL, NULL}});
    if (n->op == OP_MAXPOOL_GRAD)
        emit_views(e, (View[]){{"Code", n->in[1]}, {NULL, NULL}});
    emit_window(e, n);
    emit_loops(e, n, types);
}

static void emit_pair(CudaEmitter *e, View a, View b)
{
    emit_views(e, (View[]){a, b, {NULL, NULL}});
    emit_loops(e, e->kernel->node[0], pool_format(e->pool, "%s, %s", a.letter, b.letter));
}

/* Averages of what lies inside the map: of taps that are counted. */
static void emit_average_inside(CudaEmitter *e, const Node *x, const Node *y)
{
    const Node *n = e->kernel->node[0];
    const char *from = cuda_value(e, n->in[0]), *to = cuda_value(e, n);
    emit_views(e, (View[]){{"X", x}, {"Y", y}, {NULL, NULL}});
    emit_window(e, n);
    if (n == y) {
        cuda_line(e, "Y::each(%s, [=](int n, int p, int q, int c) {", to);
        cuda_line(e, "    float sum = 0.0f, taps = 0.0f;");
        cuda_line(e, "    each_tap<G, X::H, X::W>(p, q, [&](int, int, int h, int w) {");
        cuda_line(e, "        sum += X::read(%s, n, h, w, c), taps += 1.0f;", from);
        cuda_line(e, "    });");
        cuda_line(e, "    return sum / taps;");
    } else {
        cuda_line(e, "X::each(%s, [=](int n, int h, int w, int c) {", to);
        cuda_line(e, "    float sum = 0.0f;");
        cuda_line(e, "    each_window<G, Y::H, Y::W>(h, w, [&](int, int, int p, int q) {");
        cuda_line(e, "        float taps = 0.0f;");
        cuda_line(e, "        each_tap<G, X::H, X::W>(p, q, [&](int, int, int, int) {");
        cuda_line(e, "            taps += 1.0f;");
        cuda_line(e, "        });");
        cuda_line(e, "        sum += Y::read(%s, n, p, q, c) / taps;", from);
        cuda_line(e, "    });");
        cuda_line(e, "    return sum;");
    }
    cuda_line(e, "});");
}

/* ---- a family each ---- */

typedef void LoopsFn(CudaEmitter *e, const Node *n);

static void loops_image(CudaEmitter *e, const Node *n)
{
    cuda_emit_image(e, n);
}

static void loops_conv(CudaEmitter *e, const Node *n)
{
    if (n->op == OP_CONV2D)
        emit_conv(e, n->in[0], n->in[1], n);
    else if (n->op == OP_CONV2D_DGRAD)
        emit_conv(e, n, n->in[1], n->in[0]);
    else if (n->op == OP_CONV2D_WGRAD)
        emit_conv(e, n->in[0], n, n->in[1]);
    else if (n->op == OP_CONV2D_TRANSPOSE)
        emit_conv_transpose(e, n);
    else if (n->op == OP_BIAS_GRAD)
        emit_pair(e, (View){"Y", n->in[0]}, (View){"B", n});
    else
        emit_pair(e, (View){"F", n->in[0]}, (View){"T", n});
}

static void loops_pool(CudaEmitter *e, const Node *n)
{
    if (n->attr.window.inside)
        emit_average_inside(e, n->op == OP_AVGPOOL ? n->in[0] : n,
                            n->op == OP_AVGPOOL ? n : n->in[0]);
    else if (n->op == OP_MAXPOOL_GRAD)
        emit_pool(e, n, n->in[0], "X, Y, Code, G");
    else if (n->op == OP_AVGPOOL_GRAD)
        emit_pool(e, n, n->in[0], "X, Y, G");
    else
        emit_pool(e, n->in[0], n, "X, Y, G");
}

static void loops_gap(CudaEmitter *e, const Node *n)
{
    if (n->op == OP_GAP)
        emit_pair(e, (View){"X", n->in[0]}, (View){"Y", n});
    else
        emit_pair(e, (View){"X", n}, (View){"Y", n->in[0]});
}

static void loops_flatten(CudaEmitter *e, const Node *n)
{
    if (n->op == OP_FLATTEN)
        emit_pair(e, (View){"X", n->in[0]}, (View){"L", n});
    else
        emit_pair(e, (View){"X", n}, (View){"L", n->in[0]});
}

/* Each channel of a result is one of an operand. */
static void loops_concat(CudaEmitter *e, const Node *n)
{
    int at = n->op == OP_SLICE ? -n->attr.slice.from : 0;
    cuda_line(e, "%s::each(%s, [=](int n, int h, int w, int c) {", cuda_view(e, n),
              cuda_value(e, n));
    for (int k = 0; k < n->arity; k++) {
        const char *read = pool_format(e->pool, "return %s::read(%s, n, h, w, c + %d);",
                                       cuda_view(e, n->in[k]), cuda_value(e, n->in[k]), -at);
        at += n->in[k]->tensor.shape.dim[3];
        if (k + 1 < n->arity)
            cuda_line(e, "    if (c < %d)", at);
        cuda_line(e, "    %s%s", k + 1 < n->arity ? "    " : "", read);
    }
    cuda_line(e, "});");
}

static void loops_dropout(CudaEmitter *e, const Node *n)
{
    const DropoutAttr *a = &n->attr.dropout;
    const char *argument[] = {cuda_value(e, n->in[0]),
                              cuda_value(e, n->in[1]),
                              cuda_value(e, n->in[2]),
                              cuda_value(e, n),
                              pool_format(e->pool, "%uu", dropout_threshold(a)),
                              pool_format(e->pool, "%d", a->layer),
                              cuda_literal(e->pool, 1 / (1 - a->p)),
                              NULL};
    emit_views(e, (View[]){{"X", n->in[0]}, {"Y", n}, {NULL, NULL}});
    cuda_call(e, "generic_dropout<X, Y>", argument);
}

/* s = k + alpha / size * the sum of squares of x around channel `at` */
static void emit_lrn_scale(CudaEmitter *e, const Node *n, const Node *x, const char *at)
{
    const LrnAttr *a = &n->attr.lrn;
    LrnSpan span = lrn_span(a, map_dim(n, 3));
    cuda_line(e, "    float s = 0.0f;");
    cuda_line(e, "    for (int i = %s - %d; i <= %s + %d; i++) {", at, span.before, at, span.after);
    cuda_line(e, "        float v = i < 0 || i >= %d ? 0.0f : %s::read(%s, n, h, w, i);",
              map_dim(n, 3), cuda_view(e, x), cuda_value(e, x));
    cuda_line(e, "        s += v * v;");
    cuda_line(e, "    }");
    cuda_line(e, "    s = %s + %s * s;", cuda_literal(e->pool, a->k),
              cuda_literal(e->pool, a->alpha / a->size));
}

static void emit_lrn_grad(CudaEmitter *e, const Node *n)
{
    const Node *dy = n->in[0], *x = n->in[1];
    const LrnAttr *a = &n->attr.lrn;
    LrnSpan span = lrn_span(a, map_dim(n, 3));
    cuda_line(e, "    float direct = 0.0f, sum = 0.0f;");
    cuda_line(e, "    for (int j = c - %d; j <= c + %d; j++) {", span.after, span.before);
    cuda_line(e, "    if (j < 0 || j >= %d)", map_dim(n, 3));
    cuda_line(e, "        continue;");
    emit_lrn_scale(e, n, x, "j");
    cuda_line(e, "    float own = %s::read(%s, n, h, w, j) * powf(s, %s);", cuda_view(e, dy),
              cuda_value(e, dy), cuda_literal(e->pool, -a->beta));
    cuda_line(e, "    direct = j == c ? own : direct;");
    cuda_line(e, "    sum += own * %s::read(%s, n, h, w, j) / s;", cuda_view(e, x),
              cuda_value(e, x));
    cuda_line(e, "    }");
    cuda_line(e, "    return direct - %s * %s::read(%s, n, h, w, c) * sum;",
              cuda_literal(e->pool, 2 * a->alpha * a->beta / a->size), cuda_view(e, x),
              cuda_value(e, x));
}

static void loops_augment(CudaEmitter *e, const Node *n)
{
    (void)n;
    cuda_emit_augmented(e);
}

static void loops_lrn(CudaEmitter *e, const Node *n)
{
    cuda_line(e, "%s::each(%s, [=](int n, int h, int w, int c) {", cuda_view(e, n),
              cuda_value(e, n));
    if (n->op == OP_LRN) {
        emit_lrn_scale(e, n, n->in[0], "c");
        cuda_line(e, "    return %s::read(%s, n, h, w, c) * powf(s, %s);", cuda_view(e, n->in[0]),
                  cuda_value(e, n->in[0]), cuda_literal(e->pool, -n->attr.lrn.beta));
    } else {
        emit_lrn_grad(e, n);
    }
    cuda_line(e, "});");
}

/* total = the sum over image n of term, an expression of d, by rows, which keeps sums short. */
static void emit_image_sum(CudaEmitter *e, const Node *x, const char *term)
{
    cuda_line(e, "    float total = 0.0f;");
    cuda_line(e, "    for (int h = 0; h < %d; h++) {", map_dim(x, 1));
    cuda_line(e, "        float row = 0.0f;");
    cuda_line(e, "        for (int w = 0; w < %d; w++)", map_dim(x, 2));
    cuda_line(e, "            for (int c = 0; c < %d; c++) {", map_dim(x, 3));
    cuda_line(e, "                float d = %s::read(%s, n, h, w, c) - mean;", cuda_view(e, x),
              cuda_value(e, x));
    cuda_line(e, "                row += %s;", term);
    cuda_line(e, "            }");
    cuda_line(e, "        total += row;");
    cuda_line(e, "    }");
}

/* The mean of what the first mean leaves makes it exact: constant images have the norm 0. */
static void emit_image_stats(CudaEmitter *e, const Node *n)
{
    const Node *x = n->in[0];
    cuda_line(e, "    float mean = 0.0f;");
    cuda_line(e, "#pragma unroll 1");
    cuda_line(e, "    for (int round = 0; round < 2; round++) {");
    emit_image_sum(e, x, "d");
    cuda_line(e, "    mean += total / %d.0f;", map_dim(x, 1) * map_dim(x, 2) * map_dim(x, 3));
    cuda_line(e, "    }");
    cuda_line(e, "    if (which == 0)");
    cuda_line(e, "        return mean;");
    emit_image_sum(e, x, "d * d");
    cuda_line(e, "    return sqrtf(total);");
}

static void loops_whiten(CudaEmitter *e, const Node *n)
{
    const ContrastAttr *a = &n->attr.contrast;
    const Node *x = n->in[0];
    const char *read = pool_format(e->pool, "%s::read(%s, n", cuda_view(e, x), cuda_value(e, x));
    bool stats = n->op == OP_IMAGE_STATS;
    cuda_line(e, "%s::each(%s, [=](int n, int%s, int%s, int %s) {", cuda_view(e, n),
              cuda_value(e, n), stats ? "" : " h", stats ? "" : " w", stats ? "which" : "c");
    if (stats) {
        emit_image_stats(e, n);
    } else if (n->op == OP_CONTRAST) {
        const char *stat = pool_format(e->pool, "%s::read(%s, n, 0, 0, ", cuda_view(e, n->in[1]),
                                       cuda_value(e, n->in[1]));
        cuda_line(e, "    float divisor = %s1) / %s;", stat, cuda_literal(e->pool, a->scale));
        cuda_line(e, "    divisor = divisor < %s ? 1.0f : divisor;",
                  cuda_literal(e->pool, a->eps));
        cuda_line(e, "    return (%s, h, w, c) - %s0)) / divisor;", read, stat);
    } else {
        cuda_line(e, "    return %s, 0, 0, (h * %d + w) * %d + c);", read, map_dim(n, 2),
                  map_dim(n, 3));
    }
    cuda_line(e, "});");
}

static void loops_loss(CudaEmitter *e, const Node *n)
{
    if (op_is(n->op, F_SUMS_ROWS)) {
        cuda_emit_sum(e, n);
    } else if (n->op == OP_CROSS_ENTROPY_GRAD) {
        emit_views(e, (View[]){{"L", n}, {NULL, NULL}});
        emit_loops(e, n, "L");
    } else {
        emit_pair(e, (View){"L", n->in[0]}, (View){"Rows", n});
    }
}

/* Which maps and vectors an op reads, by position, and whether it has an eps. */
static void loops_batch_norm(CudaEmitter *e, const Node *n)
{
    bool pair = n->op == OP_BATCH_DOT || n->op == OP_BATCH_NORM_GRAD;
    const char *eps = cuda_literal(e->pool, n->attr.norm.eps), *types = pair ? "Y, X" : "X";
    const char *argument[MAX_OPERANDS + 4];
    int count = 0;
    emit_views(e, (View[]){{pair ? "Y" : "X", n->in[0]}, {NULL, NULL}});
    if (pair)
        emit_views(e, (View[]){{"X", n->in[1]}, {NULL, NULL}});
    emit_views(e, (View[]){{op_is(n->op, F_STATISTIC) ? "C" : "To", n}, {NULL, NULL}});
    for (int i = 0; i < n->arity; i++)
        argument[count++] = cuda_value(e, n->in[i]);
    for (int i = n->arity; i < op_max_operands(n->op); i++)
        argument[count++] = "nullptr"; /* without weight and bias */
    if (op_attr(n->op) == ATTR_NORM)
        argument[count++] = eps;
    argument[count++] = cuda_value(e, n);
    argument[count] = NULL;
    cuda_call(e, pool_format(e->pool, "generic_%s<%s, %s>", op_name(n->op), types,
                             op_is(n->op, F_STATISTIC) ? "C" : "To"), argument);
}

static void loops_pointwise(CudaEmitter *e, const Node *n)
{
    (void)n;
    cuda_emit_pointwise(e);
}

static void emit_square_sum(CudaEmitter *e, const Node *n)
{
    const Node *g = n->in[0];
    const char *argument[] = {cuda_value(e, g), cuda_copies(e, g),
                              n->arity > 1 ? cuda_value(e, n->in[1]) : "nullptr",
                              cuda_value(e, n), NULL};
    cuda_call(e, pool_format(e->pool, "generic_square_sum<%lld>",
                             (long long)tensor_elements(&g->tensor)), argument);
}

static void loops_optimizer(CudaEmitter *e, const Node *n)
{
    if (n->op == OP_SQUARE_SUM)
        emit_square_sum(e, n);
    else if (n->op == OP_CLIP_FACTOR)
        cuda_call(e, "generic_clip_factor",
                  (const char *[]){cuda_value(e, n->in[0]),
                                   cuda_literal(e->pool, n->attr.factor), cuda_value(e, n), NULL});
    else
        loops_pointwise(e, n);
}

/* Inputs and storage are in no kernel, rewritten convolutions in no CUDA graph. */
static void no_loops(CudaEmitter *e, const Node *n)
{
    (void)e;
    internal_error("no loops for %s", op_name(n->op));
}

static void loops_leaf(CudaEmitter *e, const Node *n)
{
    if (n->op == OP_UPDATE)
        loops_pointwise(e, n);
    else
        no_loops(e, n);
}

#define loops_activation loops_pointwise
#define loops_winograd no_loops
#define loops_fold no_loops

void cuda_emit_generic(CudaEmitter *e)
{
    static LoopsFn *const loops[OP_COUNT] = {
#define X(id, text, lo, hi, attr, family, ...) loops_##family,
        IR_OPS(X)
#undef X
    };
    const Node *n = e->kernel->node[0];
    loops[n->op](e, n);
}
