/* From the eval graph of the IR to an ONNX model.
 *
 * A trainer carries the final graph of some target: kernels, layouts and places say nothing about
 * what is computed and are passed over, casts are looked through, and Winograd's chains and folded
 * convolutions become the convolutions that they stand for. What feeds `logits` is mapped node by
 * node; the loss is not part of it. Maps are [N,H,W,C] in the IR and [N,C,H,W] in ONNX. */
#include "../../ir/numbers.h"
#include "onnx_mapper.h"

#include <math.h>
#include <string.h>


static const Shape *dims(const Node *n)
{
    return &n->tensor.shape;
}

/* [N,H,W,C] -> [N,C,H,W] */
static Shape channels_first(const Shape *s)
{
    return shape_of(4, s->dim[0], s->dim[3], s->dim[1], s->dim[2]);
}

static int cannot(const Node *n, const char *why)
{
    return fault("cannot export %s at %s:%d:%d to ONNX: %s", op_name(n->op),
                 n->loc.file ? n->loc.file : "?", n->loc.line, n->loc.column, why);
}

/* ---- names ---- */

/* No parameter's name has a slash, and the number is unlike every other. */
const char *mapper_name(Mapper *m, const char *what)
{
    return pool_format(m->pool, "/%s/%d", what, m->nodes++);
}

/* The name of what n reads, an average as its parameter; NULL: n is NULL, or computed. */
static const char *parameter_name(const Mapper *m, const Node *n)
{
    const Storage *s = n ? operand_storage(n) : NULL;
    return s ? storage_parameter(m->what->graph->module, s)->name : NULL;
}

/* A convolution and a batch norm are named after their parameters, NAME.weight; the rest after
 * their ops. */
static const char *node_name(Mapper *m, const Node *n)
{
    const Node *filter = n->op == OP_BATCH_NORM ? n->in[1] : conv_filter(n);
    const char *name = parameter_name(m, filter), *end = name ? strrchr(name, '.') : NULL;
    if (n == m->logits)
        return "logits";
    return mapper_name(m, end ? pool_format(m->pool, "%.*s", (int)(end - name), name)
                              : op_name(n->op));
}

/* The ONNX value of an operand that is no parameter. */
const char *mapper_operand(const Mapper *m, const Node *n)
{
    return n->op == OP_STATE ? NULL : m->value[n->id];
}

/* One node for n, of the operands' values; NULL after a message. */
OnnxNode *mapper_node(Mapper *m, const Node *n, const char *type, const char *const *input,
                      int inputs)
{
    for (int i = 0; i < inputs; i++)
        if (!input[i]) {
            cannot(n, "an operand is not a map that the network computes");
            return NULL;
        }
    const char *name = node_name(m, n);
    m->value[n->id] = name;
    return onnx_node(m->onnx, type, name, input, inputs);
}

static int map_pointwise(Mapper *m, const Node *n, const char *type)
{
    const char *input[MAX_OPERANDS];
    for (int i = 0; i < n->arity; i++)
        input[i] = mapper_operand(m, n->in[i]);
    return mapper_node(m, n, type, input, n->arity) ? 0 : -1;
}

/* ---- small nodes and constants ---- */

/* A scalar as an initializer, under a name of its own. */
const char *mapper_number(Mapper *m, const Node *n, double value)
{
    float *copy = pool_alloc(m->pool, sizeof *copy);
    const char *name = mapper_name(m, op_name(n->op));
    *copy = (float)value;
    onnx_floats(m->onnx, name, shape_of(0, 0, 0, 0, 0), copy);
    return name;
}

const char *mapper_binary(Mapper *m, const char *type, const char *name, const char *a,
                          const char *b)
{
    onnx_node(m->onnx, type, name, (const char *[]){a, b}, 2);
    return name;
}

/* ---- windows ---- */

static void set_pair(Mapper *m, OnnxNode *n, const char *name, int h, int w)
{
    onnx_set_integers(m->onnx, n, name, 2, (int64_t[]){h, w});
}

/* Kernel, stride, and zeros before and behind: rows and columns. */
static void set_window(Mapper *m, OnnxNode *n, const Window *k, const int64_t pads[4])
{
    set_pair(m, n, "kernel_shape", k->kernel_h, k->kernel_w);
    set_pair(m, n, "strides", k->stride_h, k->stride_w);
    onnx_set_integers(m->onnx, n, "pads", 4, pads);
}

static void set_symmetric_window(Mapper *m, OnnxNode *n, const Window *k)
{
    set_window(m, n, k, (int64_t[]){k->padding_h, k->padding_w, k->padding_h, k->padding_w});
}

/* Rows or columns of the last window past the padded map: with ceil_mode there may be some. */
static int overhang(int input, int output, int kernel, int stride, int padding)
{
    return (int)larger((int64_t)(output - 1) * stride + kernel - input - 2 * padding, 0);
}

static int overhang_h(const Node *n)
{
    const Window *k = &n->attr.window;
    return overhang(dims(n->in[0])->dim[1], dims(n)->dim[1], k->kernel_h, k->stride_h,
                    k->padding_h);
}

static int overhang_w(const Node *n)
{
    const Window *k = &n->attr.window;
    return overhang(dims(n->in[0])->dim[2], dims(n)->dim[2], k->kernel_w, k->stride_w,
                    k->padding_w);
}

/* ceil_mode only where it adds a window: there all versions of ONNX and PyTorch agree. They do not
 * where ceil would start a window in the padding. */
static int map_maxpool(Mapper *m, const Node *n)
{
    const char *x = mapper_operand(m, n->in[0]);
    OnnxNode *pool = mapper_node(m, n, "MaxPool", &x, 1);
    if (!pool)
        return -1;
    set_symmetric_window(m, pool, &n->attr.window);
    if (overhang_h(n) > 0 || overhang_w(n) > 0)
        onnx_set_integer(m->onnx, pool, "ceil_mode", 1);
    return 0;
}

/* x with the window's zeros around it. */
static const char *zero_padded(Mapper *m, const char *x, const Window *k)
{
    const char *name = mapper_name(m, "pad"), *pads = pool_format(m->pool, "%s/pads", name);
    int64_t *amount = pool_alloc(m->pool, 8 * sizeof *amount);
    amount[2] = amount[6] = k->padding_h;
    amount[3] = amount[7] = k->padding_w;
    onnx_integers(m->onnx, pads, 8, amount);
    onnx_node(m->onnx, "Pad", name, (const char *[]){x, pads}, 2);
    return name;
}

/* Divides by the part of the window inside the padded map, as PyTorch does. Where a window hangs
 * over that, zeros that count come from Pad, and the pool's own padding does not count: what
 * ceil_mode and count_include_pad mean together has changed between versions of ONNX. Averages of
 * what is inside the map have no such trouble. */
static int map_avgpool(Mapper *m, const Node *n)
{
    const Window *k = &n->attr.window;
    int over_h = overhang_h(n), over_w = overhang_w(n);
    bool hangs_over = over_h > 0 || over_w > 0, padded = k->padding_h > 0 || k->padding_w > 0;
    const char *x = mapper_operand(m, n->in[0]);
    if (x && hangs_over && padded && !k->inside)
        x = zero_padded(m, x, k);
    OnnxNode *pool = mapper_node(m, n, "AveragePool", &x, 1);
    if (!pool)
        return -1;
    if (k->inside)
        set_window(m, pool, k, (int64_t[]){k->padding_h, k->padding_w, k->padding_h + over_h,
                                           k->padding_w + over_w});
    else if (hangs_over)
        set_window(m, pool, k, (int64_t[]){0, 0, over_h, over_w});
    else
        set_symmetric_window(m, pool, k);
    if (padded && !hangs_over && !k->inside)
        onnx_set_integer(m->onnx, pool, "count_include_pad", 1);
    return 0;
}

/* ---- convolutions ---- */

/* y = conv(x, filter[, bias]), of a conv2d or of the last node of Winograd's chain. */
static int map_conv(Mapper *m, const Node *n, const Node *x, const Node *bias, const Window *k)
{
    const Node *filter = conv_filter(n);
    const char *weight = parameter_name(m, filter), *offset = parameter_name(m, bias);
    if (!weight || (bias && !offset))
        return cannot(n, "its filter and bias must be parameters");
    const char *input[] = {mapper_operand(m, x), weight, offset};
    OnnxNode *conv = mapper_node(m, n, "Conv", input, offset ? 3 : 2);
    if (!conv)
        return -1;
    set_symmetric_window(m, conv, k);
    if (k->dilation_h || k->dilation_w)
        set_pair(m, conv, "dilations", window_dilation_h(k), window_dilation_w(k));
    if (k->groups)
        onnx_set_integer(m->onnx, conv, "group", k->groups);
    return 0;
}

static int map_conv2d(Mapper *m, const Node *n)
{
    return map_conv(m, n, n->in[0], n->arity > 2 ? n->in[2] : NULL, &n->attr.window);
}

/* winograd_output(winograd_multiply(winograd_input x, winograd_filter filter)[, bias]) */
static int map_winograd(Mapper *m, const Node *n)
{
    const Winograd *w = &n->attr.winograd;
    const Node *product = n->in[0];
    const Window k = {.kernel_h = w->kernel,
                      .kernel_w = w->kernel,
                      .stride_h = 1,
                      .stride_w = 1,
                      .padding_h = w->padding_h,
                      .padding_w = w->padding_w};
    if (product->op != OP_WINOGRAD_MULTIPLY || product->in[0]->op != OP_WINOGRAD_INPUT)
        return cannot(n, "it is not the end of a convolution in tiles");
    return map_conv(m, n, product->in[0]->in[0], n->arity > 1 ? n->in[1] : NULL, &k);
}

/* Of the image that map_image has resized. */
static int map_folded(Mapper *m, const Node *n)
{
    return map_conv(m, n, n->in[0], n->arity > 2 ? n->in[2] : NULL, &n->attr.fold.window);
}

/* ---- batch norm ---- */

/* [C] of one number, as an initializer. */
static const char *constant_vector(Mapper *m, const char *name, int channels, float number)
{
    float *value = pool_alloc(m->pool, (size_t)channels * sizeof *value);
    for (int c = 0; c < channels; c++)
        value[c] = number;
    onnx_floats(m->onnx, name, shape_of(1, channels, 0, 0, 0), value);
    return name;
}

static int map_batch_norm(Mapper *m, const Node *n)
{
    const char *kept[4] = {0};
    int channels = dims(n)->dim[3];
    for (int k = 1; k < n->arity; k++) {
        if (n->in[k]->op != OP_STATE)
            return cannot(n, "its statistics must be the running ones");
        kept[k - 1] = parameter_name(m, n->in[k]);
    }
    for (int k = 2; k < 4; k++)
        if (!kept[k])
            kept[k] = constant_vector(m, pool_format(m->pool, "%s/%s", kept[0],
                                                     k == 2 ? "weight" : "bias"),
                                      channels, k == 2 ? 1 : 0);
    const char *input[] = {mapper_operand(m, n->in[0]), kept[2], kept[3], kept[0], kept[1]};
    OnnxNode *norm = mapper_node(m, n, "BatchNormalization", input, 5);
    if (!norm)
        return -1;
    onnx_set_float(m->onnx, norm, "epsilon", n->attr.norm.eps);
    return 0;
}

/* ---- the image ---- */

/* One number a channel as an initializer [1,C,1,1]. */
static const char *per_channel(Mapper *m, const char *name, const double *number, int channels)
{
    float *value = pool_alloc(m->pool, (size_t)channels * sizeof *value);
    for (int c = 0; c < channels; c++)
        value[c] = (float)number[c];
    onnx_floats(m->onnx, name, shape_of(4, 1, channels, 1, 1), value);
    return name;
}

/* To H x W as F.interpolate(mode="bilinear", align_corners=False) does it; the number of images is
 * taken from x. */
static const char *resized(Mapper *m, const char *x, const Shape *to)
{
    Onnx *o = m->onnx;
    int64_t *map = pool_alloc(m->pool, 3 * sizeof *map);
    map[0] = to->dim[3];
    map[1] = to->dim[1];
    map[2] = to->dim[2];
    onnx_integers(o, "/image/map", 3, map);
    OnnxNode *count = onnx_node(o, "Shape", "/image/count", &x, 1);
    onnx_set_integer(o, count, "start", 0);
    onnx_set_integer(o, count, "end", 1);
    OnnxNode *sizes =
        onnx_node(o, "Concat", "/image/sizes", (const char *[]){"/image/count", "/image/map"}, 2);
    onnx_set_integer(o, sizes, "axis", 0);
    OnnxNode *resize =
        onnx_node(o, "Resize", "/image/resize", (const char *[]){x, "", "", "/image/sizes"}, 4);
    onnx_set_text(o, resize, "mode", "linear");
    onnx_set_text(o, resize, "coordinate_transformation_mode", "half_pixel");
    return "/image/resize";
}

/* u8[N,h,w,C] -> (u8 / 255 - mean) / std as [N,C,H,W], resized where the IR says so. */
static const char *map_preprocessing(Mapper *m, const Node *n)
{
    static const double bytes[] = {255};
    const ImageAttr *a = &n->attr.image;
    const char *x = "image";
    Onnx *o = m->onnx;
    onnx_input(o, x, DT_U8, *dims(n->in[0]));
    onnx_set_dtype(o, onnx_node(o, "Cast", "/image/cast", &x, 1), "to", DT_F32);
    x = "/image/cast";
    onnx_set_integers(o, onnx_node(o, "Transpose", "/image/transpose", &x, 1), "perm", 4,
                      (int64_t[]){0, 3, 1, 2});
    x = "/image/transpose";
    if (n->op == OP_RESIZE)
        x = resized(m, x, dims(n));
    x = mapper_binary(m, "Div", "/image/unit", x, per_channel(m, "/image/255", bytes, 1));
    x = mapper_binary(m, "Sub", "/image/centred", x,
                      per_channel(m, "/image/mean", a->mean, a->channels));
    return mapper_binary(m, "Div", "/image/scaled", x,
                         per_channel(m, "/image/std", a->std, a->channels));
}

static int map_image(Mapper *m, const Node *source)
{
    if (m->image)
        return cannot(source, "the network reads its images twice, in two ways");
    Node *n = pool_alloc(m->pool, sizeof *n);
    *n = unfolded_image(m->what->graph, source);
    m->image = n;
    if (m->what->preprocessing) {
        m->value[n->id] = map_preprocessing(m, n);
        return 0;
    }
    m->value[n->id] = "input";
    onnx_input(m->onnx, "input", DT_F32, channels_first(dims(n)));
    return 0;
}

static const char *list_text(Mapper *m, const double *number, int count)
{
    char one[32];
    const char *list = "";
    for (int i = 0; i < count; i++)
        list = pool_format(m->pool, "%s%s%s", list, i ? ", " : "", format_double(number[i], one));
    return pool_format(m->pool, "[%s]", list);
}

static const char *shape_text(Mapper *m, const Shape *map)
{
    return pool_format(m->pool, "[%d, %d, %d]", map->dim[3], map->dim[1], map->dim[2]);
}

/* What the network's input is made of, under the names that the model file has for it. */
static void add_metadata(Mapper *m)
{
    const Module *ir = m->what->graph->module;
    const Node *image = m->image;
    const ImageAttr *a = &image->attr.image;
    Onnx *o = m->onnx;
    onnx_metadata(o, "dataset", ir->dataset);
    onnx_metadata(o, "classes", pool_format(m->pool, "%d", ir->classes));
    onnx_metadata(o, "data_shape", shape_text(m, dims(image->in[0])));
    onnx_metadata(o, "shape", shape_text(m, dims(image)));
    if (image->op == OP_RESIZE)
        onnx_metadata(o, "resize", "bilinear");
    onnx_metadata(o, "mean", list_text(m, a->mean, a->channels));
    onnx_metadata(o, "std", list_text(m, a->std, a->channels));
}

/* Channels are the second axis. */
static int map_concat(Mapper *m, const Node *n)
{
    const char *input[MAX_OPERANDS];
    for (int i = 0; i < n->arity; i++)
        input[i] = mapper_operand(m, n->in[i]);
    OnnxNode *node = mapper_node(m, n, "Concat", input, n->arity);
    if (!node)
        return -1;
    onnx_set_integer(m->onnx, node, "axis", 1);
    return 0;
}

/* ---- activations ---- */

/* An op with the setting alpha. */
static int map_factor(Mapper *m, const Node *n, const char *type)
{
    const char *x = mapper_operand(m, n->in[0]);
    OnnxNode *node = mapper_node(m, n, type, &x, 1);
    if (!node)
        return -1;
    onnx_set_float(m->onnx, node, "alpha", n->attr.factor);
    return 0;
}

static int map_leaky_relu(Mapper *m, const Node *n)
{
    return map_factor(m, n, "LeakyRelu");
}

static int map_elu(Mapper *m, const Node *n)
{
    return map_factor(m, n, "Elu");
}

static int map_relu6(Mapper *m, const Node *n)
{
    const char *input[] = {mapper_operand(m, n->in[0]), mapper_number(m, n, 0),
                           mapper_number(m, n, 6)};
    return mapper_node(m, n, "Clip", input, 3) ? 0 : -1;
}

/* x times `gate`, a function of it. */
static int map_gated(Mapper *m, const Node *n, const char *gate)
{
    const char *input[] = {mapper_operand(m, n->in[0]), gate};
    return mapper_node(m, n, "Mul", input, 2) ? 0 : -1;
}

static const char *unary(Mapper *m, const Node *n, const char *type, const char *x)
{
    const char *name = mapper_name(m, op_name(n->op));
    onnx_node(m->onnx, type, name, &x, 1);
    return name;
}

static int map_silu(Mapper *m, const Node *n)
{
    const char *x = mapper_operand(m, n->in[0]);
    return map_gated(m, n, x ? unary(m, n, "Sigmoid", x) : NULL);
}

/* x (1 + erf(x / sqrt 2)) / 2: Gelu is an op from a later opset on. */
static int map_gelu(Mapper *m, const Node *n)
{
    const char *gate = mapper_operand(m, n->in[0]);
    if (gate) {
        gate = mapper_binary(m, "Mul", mapper_name(m, "gelu"), gate,
                             mapper_number(m, n, sqrt(0.5)));
        gate = unary(m, n, "Erf", gate);
        gate = mapper_binary(m, "Add", mapper_name(m, "gelu"), gate, mapper_number(m, n, 1));
        gate = mapper_binary(m, "Mul", mapper_name(m, "gelu"), gate, mapper_number(m, n, 0.5));
    }
    return map_gated(m, n, gate);
}

/* ---- the graph ---- */

/* What ONNX has for an op of a forward pass. */
typedef struct Mapping {
    int (*map)(Mapper *m, const Node *n);
    const char *type; /* where `map` is NULL: ONNX's op of the same operands, without attributes */
} Mapping;

/* Without a value of its own: leaves, and what a convolution's result looks through. */
static int map_none(Mapper *m, const Node *n)
{
    (void)m;
    (void)n;
    return 0;
}

static int map_cast(Mapper *m, const Node *n)
{
    m->value[n->id] = mapper_operand(m, n->in[0]);
    return 0;
}

static const Mapping mappings[OP_COUNT] = {
    [OP_NORMALIZE] = {map_image, NULL},
    [OP_RESIZE] = {map_image, NULL},
    [OP_CONV2D] = {map_conv2d, NULL},
    [OP_WINOGRAD_OUTPUT] = {map_winograd, NULL},
    [OP_CONV2D_FOLDED] = {map_folded, NULL},
    [OP_RELU] = {NULL, "Relu"},
    [OP_SIGMOID] = {NULL, "Sigmoid"},
    [OP_RELU6] = {map_relu6, NULL},
    [OP_LEAKY_RELU] = {map_leaky_relu, NULL},
    [OP_ELU] = {map_elu, NULL},
    [OP_TANH] = {NULL, "Tanh"},
    [OP_GELU] = {map_gelu, NULL},
    [OP_SILU] = {map_silu, NULL},
    [OP_HARDSWISH] = {NULL, "HardSwish"},
    [OP_SOFTPLUS] = {NULL, "Softplus"},
    [OP_ADD] = {NULL, "Add"},
    [OP_CONCAT] = {map_concat, NULL},
    [OP_IMAGE_STATS] = {onnx_map_image_stats, NULL},
    [OP_CONTRAST] = {onnx_map_contrast, NULL},
    [OP_UNFLATTEN] = {onnx_map_unflatten, NULL},
    [OP_GAP] = {NULL, "GlobalAveragePool"},
    [OP_FLATTEN] = {NULL, "Flatten"},
    [OP_MAXPOOL] = {map_maxpool, NULL},
    [OP_AVGPOOL] = {map_avgpool, NULL},
    [OP_BATCH_NORM] = {map_batch_norm, NULL},
    [OP_LRN] = {onnx_map_lrn, NULL},
    [OP_CAST] = {map_cast, NULL},
    [OP_INPUT] = {map_none, NULL},
    [OP_STATE] = {map_none, NULL},
    [OP_WINOGRAD_INPUT] = {map_none, NULL},
    [OP_WINOGRAD_FILTER] = {map_none, NULL},
    [OP_WINOGRAD_MULTIPLY] = {map_none, NULL},
    [OP_FOLD_FILTER] = {map_none, NULL},
};

static int map_node(Mapper *m, const Node *n)
{
    const Mapping *mapping = &mappings[n->op];
    if (mapping->map)
        return mapping->map(m, n);
    if (mapping->type)
        return map_pointwise(m, n, mapping->type);
    return cannot(n, "it is no op of a forward pass that ONNX has");
}

/* Marks what n depends on: definitions come before uses. */
static const bool *ancestors(Pool *pool, const Graph *g, const Node *n)
{
    bool *needed = pool_alloc(pool, (size_t)(g->node_count + 1) * sizeof *needed);
    needed[n->id] = true;
    for (int i = n->id; i >= 0; i--)
        for (int k = 0; needed[i] && k < g->node[i]->arity; k++)
            if (g->node[i]->in[k]->id >= 0)
                needed[g->node[i]->in[k]->id] = true;
    return needed;
}

static void add_parameters(Mapper *m)
{
    const Module *ir = m->what->graph->module;
    for (int i = 0; i < ir->storage_count; i++) {
        const Storage *s = ir->storage[i];
        if (role_is_parameter(s->role) || s->role == ROLE_MEAN || s->role == ROLE_VARIANCE)
            onnx_floats(m->onnx, s->name, s->tensor.shape, m->what->value[i]);
    }
}

Onnx *export_graph(Pool *pool, const ExportGraph *what)
{
    const Graph *g = what->graph;
    const Node *logits = graph_find_output(g, "logits");
    if (!logits)
        internal_error("graph %s returns no logits", g->name);
    while (logits->op == OP_CAST)
        logits = logits->in[0];
    Mapper m = {.pool = pool,
                .onnx = onnx_new(pool, g->module->name),
                .what = what,
                .logits = logits,
                .needed = ancestors(pool, g, logits),
                .value = pool_alloc(pool, (size_t)(g->node_count + 1) * sizeof *m.value)};
    add_parameters(&m);
    for (int i = 0; i < g->node_count; i++)
        if (m.needed[i] && map_node(&m, g->node[i]) < 0)
            return NULL;
    if (!m.image)
        internal_error("logits of graph %s do not depend on the images", g->name);
    add_metadata(&m);
    onnx_output(m.onnx, "logits", DT_F32, *dims(logits));
    return m.onnx;
}
