/* Kernels that are one call of the device library each: the types that say what shapes they have,
 * and the call. */
#include "cuda.h"

#include <string.h>

/* ---- types ---- */

static const char *math_of(const Node *contraction)
{
    if (contraction->in[0]->tensor.dtype == DT_BF16)
        return "Bf16";
    return contraction->math == MATH_TF32 ? "Tf32" : "Fp32";
}

static const char *element_of(const Node *n)
{
    return cuda_type(n->tensor.dtype);
}

static void emit_typedef(CudaEmitter *e, const char *template, const char *const *argument,
                         int count, const char *name)
{
    int indent = 4 + (int)strlen("typedef ") + (int)strlen(template) + 1;
    text_append(e->out, "    typedef %s<", template);
    cuda_list(e->out, argument, count, indent, indent);
    text_append(e->out, "> %s;\n", name);
}

/* C: a convolution of x to y by a filter of that shape. */
static void emit_conv_type(CudaEmitter *e, const Node *x, const Node *y, const Window *w)
{
    Pool *p = e->pool;
    const char *argument[] = {
        pool_format(p, "/* N, H, W, C */ %d, %d, %d, %d", map_dim(x, 0), map_dim(x, 1),
                    map_dim(x, 2), map_dim(x, 3)),
        pool_format(p, "/* K, R, S */ %d, %d, %d", map_dim(y, 3), w->kernel_h, w->kernel_w),
        pool_format(p, "/* P, Q */ %d, %d", map_dim(y, 1), map_dim(y, 2)),
        pool_format(p, "/* stride */ %d, %d", w->stride_h, w->stride_w),
        pool_format(p, "/* padding */ %d, %d", w->padding_h, w->padding_w),
        pool_format(p, "/* CP, KP */ %d, %d", cuda_channels(x), cuda_channels(y)),
    };
    emit_typedef(e, "Conv", argument, 6, "C");
}

/* T: the tile that the runtime chose. */
static void emit_tile_type(CudaEmitter *e)
{
    static const char *const number[] = {"TILE_M", "TILE_N", "TILE_K", "STAGES", "THREADS"};
    const char *argument[5];
    for (int i = 0; i < 5; i++)
        argument[i] = pool_format(e->pool, "%s_%s", cuda_macro(e->pool, e->kernel), number[i]);
    emit_typedef(e, "Tile", argument, 5, "T");
}

/* An axis of a pool whose averages are of what lies inside the map. */
static void emit_axis_inside(CudaEmitter *e, const char *axis, int extent, int kernel)
{
    cuda_line(e, "struct Inside%s : Padded::%s {", axis, axis);
    cuda_line(e, "    static NINC_MEMBER int extent(int window)");
    cuda_line(e, "    {");
    cuda_line(e, "        int first = start(window), end = first + %d;", kernel);
    cuda_line(e, "        return (end < %d ? end : %d) - (first > 0 ? first : 0);", extent, extent);
    cuda_line(e, "    }");
    cuda_line(e, "};");
}

/* P: a pool of x to y. */
static void emit_pool_type(CudaEmitter *e, const Node *x, const Node *y, const Window *w)
{
    Pool *p = e->pool;
    const char *argument[] = {
        pool_format(p, "/* N, H, W, C, CP */ %d, %d, %d, %d, %d", map_dim(x, 0), map_dim(x, 1),
                    map_dim(x, 2), map_dim(x, 3), cuda_channels(x)),
        pool_format(p, "/* R, S */ %d, %d", w->kernel_h, w->kernel_w),
        pool_format(p, "/* P, Q */ %d, %d", map_dim(y, 1), map_dim(y, 2)),
        pool_format(p, "/* stride */ %d, %d", w->stride_h, w->stride_w),
        pool_format(p, "/* padding */ %d, %d", w->padding_h, w->padding_w),
    };
    emit_typedef(e, "Pool", argument, 5, w->inside ? "Padded" : "P");
    if (!w->inside)
        return;
    emit_axis_inside(e, "Rows", map_dim(x, 1), w->kernel_h);
    emit_axis_inside(e, "Columns", map_dim(x, 2), w->kernel_w);
    cuda_line(e, "struct Inside : Padded {");
    cuda_line(e, "    typedef InsideRows Rows;");
    cuda_line(e, "    typedef InsideColumns Columns;");
    cuda_line(e, "};");
    cuda_line(e, "typedef Inside P;");
}

/* The kernel's node `at` with its epilogue. */
static Statement statement_at(const CudaEmitter *e, int at)
{
    return kernel_statement(e->kernel, e->kernel->node[at]);
}

/* ---- convolutions ---- */

void cuda_emit_conv_forward(CudaEmitter *e)
{
    const Node *conv = e->kernel->node[0];
    Statement s = statement_at(e, 0);
    emit_conv_type(e, conv->in[0], conv, &conv->attr.window);
    emit_tile_type(e);
    const char *argument[] = {cuda_value(e, conv->in[0]), cuda_value(e, conv->in[1]),
                              cuda_value(e, conv->arity > 2 ? conv->in[2] : NULL),
                              cuda_value(e, statement_result(&s)), cuda_chain(e, &s), NULL};
    cuda_call(e, pool_format(e->pool, "conv_fprop<C, %s, T>", math_of(conv)), argument);
}

void cuda_emit_conv_dgrad(CudaEmitter *e)
{
    const Node *dgrad = e->kernel->node[0];
    Statement s = statement_at(e, 0);
    emit_conv_type(e, dgrad, dgrad->in[0], &dgrad->attr.window);
    emit_tile_type(e);
    const char *argument[] = {cuda_value(e, dgrad->in[0]), cuda_value(e, dgrad->in[1]),
                              cuda_value(e, statement_result(&s)), cuda_chain(e, &s), NULL};
    cuda_call(e, pool_format(e->pool, "conv_dgrad<C, %s, T>", math_of(dgrad)), argument);
}

void cuda_emit_conv_wgrad(CudaEmitter *e)
{
    const Node *wgrad = cuda_find(e, OP_CONV2D_WGRAD);
    emit_conv_type(e, wgrad->in[0], wgrad->in[1], &wgrad->attr.window);
    emit_tile_type(e);
    const char *argument[] = {cuda_value(e, wgrad->in[0]), cuda_value(e, wgrad->in[1]),
                              cuda_value(e, wgrad), cuda_value(e, cuda_find(e, OP_BIAS_GRAD)),
                              NULL};
    cuda_call(e, pool_format(e->pool, "conv_wgrad<C, %s, T, %s_SPLIT>", math_of(wgrad),
                             cuda_macro(e->pool, e->kernel)),
              argument);
}

/* ---- blocks of a convolution and 1x1 convolutions ---- */

/* Room for `fixed` arguments and one a node, and the NULL behind them. */
static const char **new_arguments(CudaEmitter *e, int fixed)
{
    size_t room = (size_t)(fixed + e->kernel->node_count + 1);
    return pool_alloc(e->pool, room * sizeof(const char *));
}

static const char *pointwise_step(CudaEmitter *e, int at)
{
    const Node *conv = e->kernel->node[at];
    Statement s = statement_at(e, at);
    return pool_format(e->pool, "Pointwise<%s, %d, %s>{%s, %s, %s, %s}", math_of(conv),
                       map_dim(conv, 3), cuda_chain_type(e, &s), cuda_value(e, conv->in[1]),
                       cuda_value(e, conv->arity > 2 ? conv->in[2] : NULL),
                       cuda_value(e, statement_result(&s)), cuda_chain(e, &s));
}

void cuda_emit_mlpconv_forward(CudaEmitter *e)
{
    const Node *conv = e->kernel->node[0];
    Statement s = statement_at(e, 0);
    const char **argument = new_arguments(e, 5);
    int count = 0;
    argument[count++] = cuda_value(e, conv->in[0]);
    argument[count++] = cuda_value(e, conv->in[1]);
    argument[count++] = cuda_value(e, conv->arity > 2 ? conv->in[2] : NULL);
    argument[count++] = cuda_value(e, statement_result(&s));
    argument[count++] = cuda_chain(e, &s);
    for (int i = 1; i < e->kernel->node_count; i++)
        if (e->kernel->node[i]->op == OP_CONV2D)
            argument[count++] = pointwise_step(e, i);
    emit_conv_type(e, conv->in[0], conv, &conv->attr.window);
    emit_tile_type(e);
    cuda_call(e, pool_format(e->pool, "mlpconv_fprop<C, %s, T>", math_of(conv)), argument);
}

static const char *gradient_step(CudaEmitter *e, const Node *wgrad)
{
    const Node *bias = NULL;
    Node *dgrad = NULL;
    for (int i = 0; i < e->kernel->node_count; i++) {
        Node *n = e->kernel->node[i];
        if (n->op == OP_BIAS_GRAD && n->in[0] == wgrad->in[1])
            bias = n;
        if (n->op == OP_CONV2D_DGRAD && n->in[0] == wgrad->in[1])
            dgrad = n;
    }
    if (!dgrad)
        internal_error("%s has a weight gradient alone", e->kernel->name);
    Statement s = kernel_statement(e->kernel, dgrad);
    return pool_format(e->pool, "PointwiseGradient<%s, %d, %d, %s>{%s, %s, %s, %s, %s}",
                       math_of(wgrad), map_dim(wgrad->in[0], 3), map_dim(wgrad->in[1], 3),
                       cuda_chain_type(e, &s), cuda_value(e, wgrad->in[0]),
                       cuda_value(e, dgrad->in[1]), cuda_value(e, wgrad), cuda_value(e, bias),
                       cuda_chain(e, &s));
}

void cuda_emit_mlpconv_backward(CudaEmitter *e)
{
    const Node *first = cuda_find(e, OP_CONV2D_WGRAD), *dy = first->in[1];
    const char **argument = new_arguments(e, 2);
    int count = 0;
    argument[count++] = cuda_value(e, dy);
    argument[count++] = cuda_value(e, e->kernel->node[e->kernel->node_count - 1]);
    for (int i = 0; i < e->kernel->node_count; i++)
        if (e->kernel->node[i]->op == OP_CONV2D_WGRAD)
            argument[count++] = gradient_step(e, e->kernel->node[i]);
    emit_tile_type(e);
    cuda_call(e, pool_format(e->pool, "mlpconv_backward<%d * %d * %d, %s, T, %s_SPLIT>",
                             map_dim(dy, 0), map_dim(dy, 1), map_dim(dy, 2), math_of(first),
                             cuda_macro(e->pool, e->kernel)),
              argument);
}

/* ---- pools ---- */

static bool has_nibbles(const Node *code)
{
    return code && code->tensor.layout.kind == LAYOUT_NIBBLE;
}

static void emit_maxpool(CudaEmitter *e)
{
    const Node *n = e->kernel->node[0], *code = cuda_find(e, OP_MAXPOOL_CODE);
    Statement s = statement_at(e, 0);
    const Node *map = n->op == OP_MAXPOOL ? statement_result(&s) : NULL;
    const char *argument[] = {cuda_value(e, n->in[0]), cuda_value(e, map), cuda_value(e, code),
                              cuda_chain(e, &s), NULL};
    Node y = *n; /* as wide as x, where the codes alone are wanted */
    y.tensor.layout = n->in[0]->tensor.layout;
    emit_pool_type(e, n->in[0], &y, &n->attr.window);
    cuda_call(e, pool_format(e->pool, "maxpool_fprop<P, %s, %s>", element_of(n->in[0]),
                             has_nibbles(code) ? "true" : "false"),
              argument);
}

void cuda_emit_pool_forward(CudaEmitter *e)
{
    const Node *n = e->kernel->node[0], *x = n->in[0];
    const Window whole = {
        .kernel_h = map_dim(x, 1), .kernel_w = map_dim(x, 2), .stride_h = 1, .stride_w = 1};
    Statement s = statement_at(e, 0);
    if (n->op != OP_AVGPOOL && n->op != OP_GAP) {
        emit_maxpool(e);
        return;
    }
    const char *argument[] = {cuda_value(e, x), cuda_value(e, statement_result(&s)),
                              cuda_chain(e, &s), NULL};
    emit_pool_type(e, x, n, n->op == OP_GAP ? &whole : &n->attr.window);
    cuda_call(e, "avgpool_fprop<P>", argument);
}

static void emit_gap_backward(CudaEmitter *e, const Statement *s)
{
    const Node *n = s->op, *dx = statement_result(s);
    const char *size = pool_format(
        e->pool, "/* N, H, W, C */ %d, %d, %d, %d, /* CP, CP of dy */ %d, %d", map_dim(n, 0),
        map_dim(n, 1), map_dim(n, 2), map_dim(n, 3), cuda_channels(n), cuda_channels(n->in[0]));
    const char *argument[] = {cuda_value(e, n->in[0]), cuda_value(e, dx), cuda_chain(e, s), NULL};
    emit_typedef(e, "Gap", &size, 1, "G");
    cuda_call(e, pool_format(e->pool, "gap_backward<G, %s>", element_of(dx)), argument);
}

void cuda_emit_pool_backward(CudaEmitter *e)
{
    const Node *n = e->kernel->node[0], *dy = n->in[0];
    Statement s = statement_at(e, 0);
    const char *dx = cuda_value(e, statement_result(&s)), *chain = cuda_chain(e, &s);
    if (n->op == OP_GAP_GRAD) {
        emit_gap_backward(e, &s);
        return;
    }
    emit_pool_type(e, n, dy, &n->attr.window);
    if (n->op == OP_AVGPOOL_GRAD) {
        const char *argument[] = {cuda_value(e, dy), dx, chain, NULL};
        cuda_call(e, pool_format(e->pool, "avgpool_backward<P, %s>", element_of(n)), argument);
        return;
    }
    const char *argument[] = {cuda_value(e, dy), cuda_value(e, n->in[1]), dx, chain, NULL};
    cuda_call(e, pool_format(e->pool, "maxpool_backward<P, %s, %s>", element_of(n),
                             has_nibbles(n->in[1]) ? "true" : "false"),
              argument);
}

/* ---- batch norm ---- */

/* M: the map of a batch norm, of its operand's layout. */
static void emit_norm_type(CudaEmitter *e, const Node *x)
{
    const char *size = pool_format(e->pool, "/* N, H, W, C, CP */ %d, %d, %d, %d, %d",
                                   map_dim(x, 0), map_dim(x, 1), map_dim(x, 2), map_dim(x, 3),
                                   cuda_channels(x));
    emit_typedef(e, "Norm", &size, 1, "M");
}

void cuda_emit_statistics(CudaEmitter *e)
{
    const Node *first = e->kernel->node[0], *second = e->kernel->node[1];
    const char *argument[MAX_OPERANDS + 3];
    int count = 0;
    emit_norm_type(e, first->in[0]);
    if (first->op == OP_BATCH_MEAN) {
        argument[count++] = cuda_value(e, first->in[0]);
        argument[count++] = cuda_value(e, first->in[1]);
    } else {
        for (int i = 0; i < second->arity; i++)
            argument[count++] = cuda_value(e, second->in[i]);
        argument[count++] = cuda_literal(e->pool, second->attr.norm.eps);
    }
    argument[count++] = cuda_value(e, first);
    argument[count++] = cuda_value(e, second);
    argument[count] = NULL;
    cuda_call(e, first->op == OP_BATCH_MEAN ? "batch_moments<M>" : "batch_sums<M>", argument);
}

void cuda_emit_norm(CudaEmitter *e)
{
    const Node *n = e->kernel->node[0];
    Statement s = statement_at(e, 0);
    const char *argument[MAX_OPERANDS + 4];
    int count = 0;
    emit_norm_type(e, n);
    for (int i = 0; i < op_max_operands(n->op); i++)
        argument[count++] = cuda_value(e, i < n->arity ? n->in[i] : NULL);
    argument[count++] = cuda_literal(e->pool, n->attr.norm.eps);
    argument[count++] = cuda_value(e, statement_result(&s));
    argument[count++] = cuda_chain(e, &s);
    argument[count] = NULL;
    cuda_call(e, n->op == OP_BATCH_NORM ? "batch_norm_fprop<M>" : "batch_norm_backward<M>",
              argument);
}

/* ---- local response normalization ---- */

void cuda_emit_lrn(CudaEmitter *e)
{
    const Node *n = e->kernel->node[0];
    const LrnAttr *a = &n->attr.lrn;
    LrnSpan span = lrn_span(a, map_dim(n, 3));
    Statement s = statement_at(e, 0);
    const char *size = pool_format(
        e->pool, "/* N, H, W, C, CP */ %d, %d, %d, %d, %d, /* BEFORE, AFTER */ %d, %d",
        map_dim(n, 0), map_dim(n, 1), map_dim(n, 2), map_dim(n, 3), cuda_channels(n), span.before,
        span.after);
    const char *settings = pool_format(
        e->pool, "LrnSettings{%s, %s, %s}", cuda_literal(e->pool, a->alpha / a->size),
        cuda_literal(e->pool, a->beta), cuda_literal(e->pool, a->k));
    const char *argument[MAX_OPERANDS + 4];
    int count = 0;
    for (int i = 0; i < n->arity; i++)
        argument[count++] = cuda_value(e, n->in[i]);
    argument[count++] = settings;
    argument[count++] = cuda_value(e, statement_result(&s));
    argument[count++] = cuda_chain(e, &s);
    argument[count] = NULL;
    emit_typedef(e, "Lrn", &size, 1, "L");
    cuda_call(e, n->op == OP_LRN ? "lrn_fprop<L>" : "lrn_backward<L>", argument);
}

/* ---- the ends of the network ---- */

/* nll: the cross entropy, whose settings are members of the type. */
static void emit_head_type(CudaEmitter *e, const Node *x, bool gap, const Node *nll)
{
    double smoothing = nll->attr.factor;
    bool weighted = nll->arity > 2, plain = smoothing == 0 && !weighted;
    const char *size = pool_format(e->pool, "/* N, H, W, C, CP */ %d, %d, %d, %d, %d",
                                   map_dim(x, 0), map_dim(x, 1), map_dim(x, 2), map_dim(x, 3),
                                   cuda_channels(x));
    const char *argument[] = {size, gap ? "/* mean */ true" : "/* mean */ false"};
    emit_typedef(e, "Head", argument, 2, plain ? "H" : "Plain");
    if (plain)
        return;
    cuda_line(e, "struct H : Plain {");
    if (smoothing > 0)
        cuda_line(e, "    static NINC_MEMBER float smoothing() { return %s; }",
                  cuda_literal(e->pool, smoothing));
    if (weighted)
        cuda_line(e, "    static NINC_MEMBER bool weighted() { return true; }");
    cuda_line(e, "};");
}

/* The last op of the head that is not pointwise gives the gradient of its map. */
static Statement last_statement(const CudaEmitter *e)
{
    int last = e->kernel->node_count - 1;
    while (op_is_pointwise(e->kernel->node[last]->op))
        last--;
    return statement_at(e, last);
}

void cuda_emit_head(CudaEmitter *e)
{
    const Node *x = e->kernel->node[0]->in[0], *logits = cuda_find(e, OP_FLATTEN);
    const Node *nll = cuda_find(e, OP_CROSS_ENTROPY), *correct = cuda_find(e, OP_CORRECT);
    const Node *gradient = cuda_find(e, OP_CROSS_ENTROPY_GRAD);
    if (!logits || !nll || !correct)
        internal_error("%s is not a whole head", e->kernel->name);
    emit_head_type(e, x, cuda_find(e, OP_GAP) != NULL, nll);
    const char *label = cuda_value(e, nll->in[1]);
    const char *weight = nll->arity > 2 ? cuda_value(e, nll->in[2]) : NULL;
    if (!gradient) {
        const char *argument[] = {cuda_value(e, x), label, cuda_value(e, logits),
                                  cuda_value(e, nll), cuda_value(e, correct), weight, NULL};
        cuda_call(e, pool_format(e->pool, "head_eval<H, %s>", element_of(x)), argument);
        return;
    }
    Statement s = last_statement(e);
    const char *argument[] = {cuda_value(e, x), label, cuda_value(e, gradient->in[2]),
                              cuda_value(e, logits), cuda_value(e, nll), cuda_value(e, correct),
                              cuda_value(e, statement_result(&s)), cuda_chain(e, &s), weight,
                              weight ? cuda_value(e, gradient->in[4]) : NULL, NULL};
    cuda_call(e, pool_format(e->pool, "head_train<H, %s>", element_of(x)), argument);
}

void cuda_emit_sum(CudaEmitter *e, const Node *n)
{
    const char *argument[] = {cuda_value(e, n->in[0]), cuda_value(e, n->in[1]), cuda_value(e, n),
                              n->arity > 2 ? cuda_value(e, n->in[2]) : NULL, NULL};
    cuda_call(e, pool_format(e->pool, "%s_of_valid<%d>", n->op == OP_MEAN_VALID ? "mean" : "count",
                             map_dim(n->in[0], 0)),
              argument);
}

void cuda_emit_metrics(CudaEmitter *e)
{
    for (int i = 0; i < e->kernel->node_count; i++)
        cuda_emit_sum(e, e->kernel->node[i]);
}

/* value(c) of each channel, as an expression. */
static const char *by_channel(Pool *pool, const ImageAttr *image, bool shift)
{
    const char *choice = "";
    for (int i = image->channels - 1; i >= 0; i--) {
        double scale = 1 / (255 * image->std[i]);
        const char *value = cuda_literal(pool, shift ? -image->mean[i] / image->std[i] : scale);
        choice = *choice ? pool_format(pool, "c == %d ? %s : %s", i, value, choice) : value;
    }
    return choice;
}

void cuda_emit_pixel(CudaEmitter *e, const ImageAttr *image)
{
    static const char *const member = "    static NINC_MEMBER float %s(int%s) { return %s; }";
    const char *c = image->channels > 1 ? " c" : "";
    cuda_line(e, "struct Pixel {");
    cuda_line(e, member, "scale", c, by_channel(e->pool, image, false));
    cuda_line(e, member, "shift", c, by_channel(e->pool, image, true));
    cuda_line(e, "};");
}

void cuda_emit_image(CudaEmitter *e, const Node *n)
{
    cuda_emit_pixel(e, &n->attr.image);
    const char *argument[] = {cuda_value(e, n->in[0]), cuda_value(e, n), NULL};
    cuda_call(e, pool_format(e->pool, "%s_image<%s, %s, Pixel>", op_name(n->op),
                             cuda_view(e, n->in[0]), cuda_view(e, n)),
              argument);
}
