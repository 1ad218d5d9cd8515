/* Kinds of layers: their keys, and the forward nodes that each adds to the graph. mlpconv is
 * spelled out in primitive ops here; the fusion pass finds the blocks again. */
#include "../ir/numbers.h"
#include "layers.h"

#define AT(member) offsetof(LayerSpec, member)

static const Field conv_fields[] = {
    {"name", FIELD_TREE, true, 0, 0, AT(name), "name: conv.0"},
    {"out_channels", FIELD_TREE, true, 1, MAX_CHANNELS, AT(out_channels), "out_channels: 96"},
    {"kernel_size", FIELD_SIZE, true, 1, MAX_SIZE, AT(kernel), "kernel_size: 3"},
    {"stride", FIELD_SIZE, false, 1, MAX_SIZE, AT(stride), "stride: 2"},
    {"padding", FIELD_SIZE, false, 0, MAX_SIZE, AT(padding), "padding: 1"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
    /* conv2d only: */
    {"bias", FIELD_BOOL, false, 0, 0, AT(bias), "bias: false"},
    {"dilation", FIELD_SIZE, false, 1, MAX_SIZE, AT(dilation), "dilation: 2"},
    {"groups", FIELD_INT, false, 1, MAX_CHANNELS, AT(groups), "groups: 2"},
};

enum { OF_CONV2D = 3 }; /* fields that an mlpconv has not */

static const Field linear_fields[] = {
    {"name", FIELD_TREE, true, 0, 0, AT(name), "name: fc.1"},
    {"out_features", FIELD_TREE, true, 1, MAX_CHANNELS, AT(out_channels), "out_features: 10"},
    {"bias", FIELD_BOOL, false, 0, 0, AT(bias), "bias: false"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: flat"},
};

static const Field pool_fields[] = {
    {"name", FIELD_TREE, false, 0, 0, AT(name), "name: pool.1"},
    {"kernel_size", FIELD_SIZE, true, 1, MAX_SIZE, AT(kernel), "kernel_size: 3"},
    {"stride", FIELD_SIZE, false, 1, MAX_SIZE, AT(stride), "stride: 2"},
    {"padding", FIELD_SIZE, false, 0, MAX_SIZE, AT(padding), "padding: 1"},
    {"ceil_mode", FIELD_BOOL, false, 0, 0, AT(ceil_mode), "ceil_mode: true"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
    {"count_include_pad", FIELD_BOOL, false, 0, 0, AT(count_include_pad),
     "count_include_pad: false"}, /* avgpool only */
};

static const Field norm_fields[] = {
    {"name", FIELD_TREE, true, 0, 0, AT(name), "name: norm.1"},
    {"eps", FIELD_REAL, false, 1e-30, 1, AT(eps), "eps: 1.0e-5"},
    {"momentum", FIELD_REAL, false, 0, 1, AT(momentum), "momentum: 0.1"},
    {"affine", FIELD_BOOL, false, 0, 0, AT(affine), "affine: false"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
};

static const Field lrn_fields[] = {
    {"name", FIELD_TREE, false, 0, 0, AT(name), "name: norm.1"},
    {"size", FIELD_INT, true, 1, LRN_MOST_SIZE, AT(lrn.size), "size: 5"},
    {"alpha", FIELD_REAL, false, 0, LRN_MOST_ALPHA, AT(lrn.alpha), "alpha: 1.0e-4"},
    {"beta", FIELD_REAL, false, 0, LRN_MOST_BETA, AT(lrn.beta), "beta: 0.75"},
    {"k", FIELD_REAL, false, LRN_LEAST_K, LRN_MOST_K, AT(lrn.k), "k: 2.0"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
};

static const Field plain_fields[] = {
    {"name", FIELD_TREE, false, 0, 0, AT(name), "name: relu.1"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
};

static const Field leaky_fields[] = {
    {"name", FIELD_TREE, false, 0, 0, AT(name), "name: relu.1"},
    {"negative_slope", FIELD_REAL, false, -MAX_FACTOR, MAX_FACTOR, AT(factor),
     "negative_slope: 0.01"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
};

static const Field join_fields[] = {
    {"name", FIELD_TREE, false, 0, 0, AT(name), "name: sum.1"},
    {"inputs", FIELD_TREE, true, 0, 0, AT(inputs), "inputs: [conv.0, conv.2]"},
};

static const Field dropout_fields[] = {
    {"name", FIELD_TREE, false, 0, 0, AT(name), "name: drop.1"},
    {"p", FIELD_REAL, false, 0, DROPOUT_MOST, AT(factor), "p: 0.5"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
};

static const Field elu_fields[] = {
    {"name", FIELD_TREE, false, 0, 0, AT(name), "name: elu.1"},
    {"alpha", FIELD_REAL, false, -MAX_FACTOR, MAX_FACTOR, AT(factor), "alpha: 1.0"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
};

/* ---- nodes ---- */

void layer_give_up(Builder *b)
{
    b->sound = false;
    b->x = NULL;
}

bool check_elements(Reader *r, const Tree *at, const char *what, const int64_t extent[4])
{
    if (extent[0] * extent[1] * extent[2] * extent[3] < INT64_C(1) << 31)
        return true;
    reader_fault(r, at, "%s would have %lld x %lld x %lld x %lld elements; the limit is 2^31; "
                        "make it smaller", what, (long long)extent[0], (long long)extent[1],
                 (long long)extent[2], (long long)extent[3]);
    return false;
}

void layer_add_node(Builder *b, Op op, int arity, Node *const *in, const Attr *attr)
{
    Diagnostics *d = b->r->d;
    int before = d->count;
    Tensor type = {0};

    if (infer_type(d, op, arity, in, attr, b->at->loc, &type)) {
        b->x = graph_add(b->graph, op, arity, in, attr, b->at->loc);
        return;
    }
    for (int i = before; i < d->count; i++)
        d->list[i].width = b->at->width;
    layer_give_up(b);
}

static Storage *add_storage(Builder *b, const char *name, Shape shape, Role role)
{
    Module *m = b->graph->module;

    if (module_find_storage(m, name)) {
        reader_fault(b->r, b->at, "two layers have a parameter '%s'; rename one of them", name);
        return NULL;
    }
    b->parameters += role_is_parameter(role);
    return module_add_storage(m, name, shape, role, b->at->loc);
}

static Storage *add_parameter(Builder *b, const char *name, Shape shape, Role role,
                              const Shape *filter)
{
    int taps = filter->dim[2] * filter->dim[3];
    Storage *s = add_storage(b, name, shape, role);

    if (s) {
        s->fan_in = filter->dim[1] * taps;
        s->fan_out = filter->dim[0] * (role == ROLE_MATRIX ? 1 : taps);
    }
    return s;
}

/* The map with its padding, and the filter in blocks of 16 channels, must stay below 2^31. */
static bool check_window_size(Builder *b, const Window *w, int channels)
{
    const int32_t *x = b->x->tensor.shape.dim;
    int64_t map[4] = {x[0], (int64_t)x[1] + 2 * w->padding_h, (int64_t)x[2] + 2 * w->padding_w,
                      x[3]};
    int64_t filter[4] = {round_up(channels, 16), round_up(x[3], 16), w->kernel_h, w->kernel_w};

    return check_elements(b->r, b->at, "the padded input", map) &&
           (channels == 0 || check_elements(b->r, b->at, "the filter", filter));
}

static bool wants_map(Builder *b, const char *what)
{
    if (b->x->tensor.shape.rank == 4)
        return true;
    reader_fault(b->r, b->at, "%s works on a map, but a flatten stands before it; move the "
                              "flatten behind it", what);
    return false;
}

/* `role`: of its filter, WEIGHT or MATRIX. */
static void add_conv(Builder *b, const LayerSpec *spec, const char *name, int channels,
                     const Window *w, Role role)
{
    Pool *pool = b->r->pool;
    bool bias = spec->bias;
    Attr attr = {.window = *w};
    Storage *weight, *offset = NULL;
    Node *in[3];
    Shape filter;

    if (!wants_map(b, "a convolution") || !check_window_size(b, w, channels)) {
        layer_give_up(b);
        return;
    }
    filter = shape_of(4, channels, b->x->tensor.shape.dim[3] / window_groups(w), w->kernel_h,
                      w->kernel_w);
    weight = add_parameter(b, pool_format(pool, "%s.weight", name), filter, role, &filter);
    if (weight && bias)
        offset = add_parameter(b, pool_format(pool, "%s.bias", name),
                               shape_of(1, channels, 0, 0, 0), ROLE_BIAS, &filter);
    if (!weight || bias != (offset != NULL)) {
        layer_give_up(b);
        return;
    }
    in[0] = b->x;
    in[1] = graph_state(b->graph, weight);
    in[2] = bias ? graph_state(b->graph, offset) : NULL;
    layer_add_node(b, OP_CONV2D, bias ? 3 : 2, in, &attr);
}

static Window window_of(const LayerSpec *s)
{
    return (Window){.kernel_h = s->kernel[0],
                    .kernel_w = s->kernel[1],
                    .stride_h = s->stride[0],
                    .stride_w = s->stride[1],
                    .padding_h = s->padding[0],
                    .padding_w = s->padding[1],
                    .ceil_mode = s->ceil_mode,
                    .dilation_h = window_unless_one(s->dilation[0]),
                    .dilation_w = window_unless_one(s->dilation[1]),
                    .groups = window_unless_one(s->groups)};
}

/* ---- layers ---- */

/* Where the layer has that key; the layer itself where it has it not. */
static const Tree *place_of(const Builder *b, const char *key)
{
    for (int i = 0; b->at->kind == TREE_MAPPING && i < b->at->count; i++) {
        const Tree *settings = b->at->item[i];
        const Tree *value = settings->kind == TREE_MAPPING ? tree_find(settings, key) : NULL;

        if (value)
            return value;
    }
    return b->at;
}

/* Groups are equal parts of the channels on both sides. */
static bool check_groups(Builder *b, int groups, int outputs)
{
    int inputs = b->x->tensor.shape.dim[3];
    bool reads = inputs % groups != 0;

    if (!reads && outputs % groups == 0)
        return true;
    reader_fault(b->r, place_of(b, "groups"),
                 "%d groups do not divide the %d channels that the convolution %s; use a common "
                 "divisor of %d and %d, its input and output channels", groups,
                 reads ? inputs : outputs, reads ? "reads" : "gives", inputs, outputs);
    return false;
}

static void add_conv2d(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Window w = window_of(spec);

    (void)type;
    if (w.groups && b->x->tensor.shape.rank == 4 && !check_groups(b, w.groups, spec->channels[0])) {
        layer_give_up(b);
        return;
    }
    add_conv(b, spec, spec->name->text, spec->channels[0], &w, ROLE_WEIGHT);
}

/* k x k convolution, ReLU, then twice 1x1 convolution and ReLU (Lin, Chen, Yan 2013, section
 * 3.1), named NAME.0, NAME.2, NAME.4 as in a torch.nn.Sequential. */
static void add_mlpconv(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    static const Window one = {.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1};
    Window w = window_of(spec);

    (void)type;
    for (int i = 0; i < MLPCONV_CONVOLUTIONS && b->x; i++) {
        add_conv(b, spec, pool_format(b->r->pool, "%s.%d", spec->name->text, 2 * i),
                 spec->channels[i], i == 0 ? &w : &one, ROLE_WEIGHT);
        if (b->x)
            layer_add_node(b, OP_RELU, 1, &b->x, NULL);
    }
}

static void add_pool(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Attr attr = {.window = window_of(spec)};

    attr.window.inside = !spec->count_include_pad && (spec->padding[0] > 0 || spec->padding[1] > 0);
    if (wants_map(b, type->word) && check_window_size(b, &attr.window, 0))
        layer_add_node(b, type->op, 1, &b->x, &attr);
    else
        layer_give_up(b);
}

/* An op of maps, without settings but a factor. */
static void add_plain(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Attr factor = {.factor = spec->factor};

    layer_add_node(b, type->op, 1, &b->x, op_attr(type->op) == ATTR_FACTOR ? &factor : NULL);
}

Node *layer_flattened(const Builder *b)
{
    return b->x->op == OP_FLATTEN ? b->x->in[0] : NULL;
}

static void flatten(Builder *b)
{
    if (b->x)
        layer_add_node(b, OP_FLATTEN, 1, &b->x, NULL);
}

/* Of a row: of its map, and then the row. */
static void add_activation(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Node *map = layer_flattened(b);

    b->x = map ? map : b->x;
    add_plain(b, type, spec);
    if (map)
        flatten(b);
}

/* What a batch norm keeps, by its operand; the last is none. */
static const struct Kept {
    const char *suffix;
    Role role;
    bool affine;
} kept[] = {
    {"running_mean", ROLE_MEAN, false},  {"running_var", ROLE_VARIANCE, false},
    {"weight", ROLE_SCALE, true},        {"bias", ROLE_SHIFT, true},
    {"num_batches_tracked", ROLE_BATCHES, false},
};

enum { KEPT = sizeof kept / sizeof *kept };

/* Fills in in[1] ..., the storage of a batch norm of `channels`; how many operands; 0 after a
 * diagnostic. */
static int add_kept(Builder *b, const LayerSpec *spec, int channels, Node **in)
{
    const char *mean = NULL;
    int count = 1;

    for (int i = 0; i < KEPT; i++) {
        bool batches = kept[i].role == ROLE_BATCHES;
        const char *name = pool_format(b->r->pool, "%s.%s", spec->name->text, kept[i].suffix);
        Storage *s;

        if (kept[i].affine && !spec->affine)
            continue;
        s = add_storage(b, name, shape_of(1, batches ? 1 : channels, 0, 0, 0), kept[i].role);
        if (!s)
            return 0;
        mean = kept[i].role == ROLE_MEAN ? s->name : mean;
        if (batches)
            s->of = mean;
        else
            in[count++] = graph_state(b->graph, s);
    }
    return count;
}

/* A statistic of one value has no variance (torch.nn.functional.batch_norm raises ValueError). */
static bool has_many_values(Builder *b, const Node *map)
{
    const int32_t *x = map->tensor.shape.dim;

    if ((int64_t)x[0] * x[1] * x[2] > 1)
        return true;
    reader_fault(b->r, b->at, "batch_norm in training needs more than one value a channel, and "
                              "this map is 1x1 in a batch of one image; use a larger batch_size");
    return false;
}

/* Of a row: of its map, and then the row. */
static void add_batch_norm(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Node *map = layer_flattened(b), *in[5];
    Attr attr = {.norm = {spec->eps, spec->momentum}};
    int count;

    if (map && map->tensor.shape.dim[1] * map->tensor.shape.dim[2] > 1) {
        reader_fault(b->r, b->at, "%s of a row is for what a linear gives, or a map of 1x1; move "
                                  "it before the flatten", type->word);
        layer_give_up(b);
        return;
    }
    in[0] = map ? map : b->x;
    count = has_many_values(b, in[0]) ? add_kept(b, spec, in[0]->tensor.shape.dim[3], in) : 0;
    if (count > 0)
        layer_add_node(b, type->op, count, in, &attr);
    else
        layer_give_up(b);
    if (map)
        flatten(b);
}

/* Of a row: of its map, as an activation. */
static void add_dropout(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Node *map = layer_flattened(b), *x = map ? map : b->x;
    Attr attr = {.dropout = {spec->factor, b->dropouts++}};
    Node *in[] = {x, graph_take_input(b->graph, INPUT_SEED, (Loc){0}),
                  graph_take_input(b->graph, INPUT_STEP, (Loc){0})};

    layer_add_node(b, type->op, 3, in, &attr);
    if (map)
        flatten(b);
}

/* A row c, h, w times a matrix [O, C*H*W] is the convolution of the map by the same numbers as a
 * filter [O,C,H,W], which fits there once. By its stride each pixel has one tap, backwards too. */
static void add_linear(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Node *map = layer_flattened(b);
    Window whole = {0};

    if (!map) {
        reader_fault(b->r, b->at, "%s works on a row of values; add a flatten before it",
                     type->word);
        layer_give_up(b);
        return;
    }
    whole.kernel_h = whole.stride_h = map->tensor.shape.dim[1];
    whole.kernel_w = whole.stride_w = map->tensor.shape.dim[2];
    b->x = map;
    add_conv(b, spec, spec->name->text, spec->channels[0], &whole, ROLE_MATRIX);
    flatten(b);
}

static void add_lrn(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Attr attr = {.lrn = spec->lrn};

    if (wants_map(b, type->word))
        layer_add_node(b, type->op, 1, &b->x, &attr);
    else
        layer_give_up(b);
}

static void add_gap(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    if (wants_map(b, type->word))
        add_plain(b, type, spec);
    else
        layer_give_up(b);
}

/* Rows are flat. */
static void add_flatten(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    if (b->x->tensor.shape.rank == 4)
        add_plain(b, type, spec);
}

#define FIELDS(list) .fields = list, .field_count = sizeof list / sizeof *list

const LayerType layer_types[] = {
    {"mlpconv", add_mlpconv, OP_CONV2D, .fields = conv_fields,
     .field_count = sizeof conv_fields / sizeof *conv_fields - OF_CONV2D},
    {"conv2d", add_conv2d, OP_CONV2D, FIELDS(conv_fields)},
    {"linear", add_linear, OP_CONV2D, FIELDS(linear_fields)},
    {"batch_norm", add_batch_norm, OP_BATCH_NORM, FIELDS(norm_fields)},
    {"local_response_norm", add_lrn, OP_LRN, FIELDS(lrn_fields)},
    {"relu", add_activation, OP_RELU, FIELDS(plain_fields)},
    {"sigmoid", add_activation, OP_SIGMOID, FIELDS(plain_fields)},
    {"relu6", add_activation, OP_RELU6, FIELDS(plain_fields)},
    {"leaky_relu", add_activation, OP_LEAKY_RELU, FIELDS(leaky_fields), .factor = 0.01},
    {"elu", add_activation, OP_ELU, FIELDS(elu_fields), .factor = 1},
    {"tanh", add_activation, OP_TANH, FIELDS(plain_fields)},
    {"gelu", add_activation, OP_GELU, FIELDS(plain_fields)},
    {"silu", add_activation, OP_SILU, FIELDS(plain_fields)},
    {"hardswish", add_activation, OP_HARDSWISH, FIELDS(plain_fields)},
    {"softplus", add_activation, OP_SOFTPLUS, FIELDS(plain_fields)},
    {"add", layer_add_sum, OP_ADD, FIELDS(join_fields)},
    {"concat", layer_add_concat, OP_CONCAT, FIELDS(join_fields)},
    {"dropout", add_dropout, OP_DROPOUT, FIELDS(dropout_fields), .factor = 0.5},
    {"maxpool", add_pool, OP_MAXPOOL, .fields = pool_fields,
     .field_count = sizeof pool_fields / sizeof *pool_fields - 1},
    {"avgpool", add_pool, OP_AVGPOOL, FIELDS(pool_fields)},
    {"gap", add_gap, OP_GAP, FIELDS(plain_fields)},
    {"flatten", add_flatten, OP_FLATTEN, FIELDS(plain_fields)},
};

const int layer_type_count = sizeof layer_types / sizeof *layer_types;

bool layer_is_block(const LayerType *type)
{
    return type->add == add_mlpconv;
}

/* They are what a layer must have a name for. */
bool layer_has_parameters(const LayerType *type)
{
    return type->fields[0].required;
}

bool layer_is_pool(const LayerType *type)
{
    return type->add == add_pool;
}

bool layer_joins(const LayerType *type)
{
    return type->fields == join_fields;
}
