/* The layers of the model file -> forward nodes of the graph. mlpconv is spelled out in primitive
 * ops here; the fusion pass finds the blocks again. */
#include "../ir/numbers.h"
#include "frontend.h"

#include <string.h>

/* What `input` calls the network's input. */
#define IMAGE_NAME "image"

enum { MAX_SIZE = 4096, MAX_CHANNELS = 65536, MLPCONV_CONVOLUTIONS = 3 };

typedef struct LayerSpec {
    const Tree *name, *input, *out_channels;
    int channels[MLPCONV_CONVOLUTIONS];
    int kernel[2], stride[2], padding[2];
    bool bias, ceil_mode;
} LayerSpec;

typedef struct Builder Builder;
typedef struct LayerType LayerType;

/* A kind of layer: what it is called, the nodes that it adds behind b->x, its keys. */
struct LayerType {
    const char *word; /* first, for nearest_word */
    void (*add)(Builder *b, const LayerType *type, const LayerSpec *spec);
    Op op;
    const Field *fields;
    int field_count;
};

#define AT(member) offsetof(LayerSpec, member)

static const Field conv_fields[] = {
    {"name", FIELD_TREE, true, 0, 0, AT(name), "name: conv.0"},
    {"out_channels", FIELD_TREE, true, 1, MAX_CHANNELS, AT(out_channels), "out_channels: 96"},
    {"kernel_size", FIELD_SIZE, true, 1, MAX_SIZE, AT(kernel), "kernel_size: 3"},
    {"stride", FIELD_SIZE, false, 1, MAX_SIZE, AT(stride), "stride: 2"},
    {"padding", FIELD_SIZE, false, 0, MAX_SIZE, AT(padding), "padding: 1"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
    {"bias", FIELD_BOOL, false, 0, 0, AT(bias), "bias: false"}, /* conv2d only */
};

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
};

static const Field plain_fields[] = {
    {"name", FIELD_TREE, false, 0, 0, AT(name), "name: relu.1"},
    {"input", FIELD_TREE, false, 0, 0, AT(input), "input: conv.0"},
};

/* What a layer gives, for others to read. */
typedef struct Value {
    const char *name; /* first, for nearest_word: the layer's, else its index */
    const Tree *named; /* where; NULL: it has no name of its own */
    const Tree *at;
    Node *node; /* NULL when its shape is not known */
    bool read;
} Value;

/* Where the building of the graph stands. */
struct Builder {
    Reader *r;
    Graph *graph;
    const Tree *layers;
    Node *image;    /* the network's input */
    Node *x;        /* what the layer reads, then its last node; NULL when its shape is not known */
    const Tree *at; /* the layer */
    Value value[MAX_LAYERS];
    int values, parameters;
    bool sound;
};

/* ---- nodes ---- */

static void give_up(Builder *b)
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

/* Appends a node that reads b->x and, for convolutions, parameters. */
static void add_node(Builder *b, Op op, int arity, Node *const *in, const Attr *attr)
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
    give_up(b);
}

static Storage *add_parameter(Builder *b, const char *name, Shape shape, Role role,
                              const Shape *filter)
{
    Module *m = b->graph->module;
    int taps = filter->dim[2] * filter->dim[3];
    Storage *s;

    if (module_find_storage(m, name)) {
        reader_fault(b->r, b->at, "two layers have a parameter '%s'; rename one of them", name);
        return NULL;
    }
    s = module_add_storage(m, name, shape, role, b->at->loc);
    s->fan_in = filter->dim[1] * taps;
    s->fan_out = filter->dim[0] * (role == ROLE_MATRIX ? 1 : taps);
    b->parameters++;
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
        give_up(b);
        return;
    }
    filter = shape_of(4, channels, b->x->tensor.shape.dim[3], w->kernel_h, w->kernel_w);
    weight = add_parameter(b, pool_format(pool, "%s.weight", name), filter, role, &filter);
    if (weight && bias)
        offset = add_parameter(b, pool_format(pool, "%s.bias", name),
                               shape_of(1, channels, 0, 0, 0), ROLE_BIAS, &filter);
    if (!weight || bias != (offset != NULL)) {
        give_up(b);
        return;
    }
    in[0] = b->x;
    in[1] = graph_state(b->graph, weight);
    in[2] = bias ? graph_state(b->graph, offset) : NULL;
    add_node(b, OP_CONV2D, bias ? 3 : 2, in, &attr);
}

static Window window_of(const LayerSpec *s)
{
    return (Window){s->kernel[0],  s->kernel[1],  s->stride[0],  s->stride[1],
                    s->padding[0], s->padding[1], s->ceil_mode};
}

/* ---- layers ---- */

static void add_conv2d(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Window w = window_of(spec);

    (void)type;
    add_conv(b, spec, spec->name->text, spec->channels[0], &w, ROLE_WEIGHT);
}

/* k x k convolution, ReLU, then twice 1x1 convolution and ReLU (Lin, Chen, Yan 2013, section
 * 3.1), named NAME.0, NAME.2, NAME.4 as in a torch.nn.Sequential. */
static void add_mlpconv(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    static const Window one = {1, 1, 1, 1, 0, 0, false};
    Window w = window_of(spec);

    (void)type;
    for (int i = 0; i < MLPCONV_CONVOLUTIONS && b->x; i++) {
        add_conv(b, spec, pool_format(b->r->pool, "%s.%d", spec->name->text, 2 * i),
                 spec->channels[i], i == 0 ? &w : &one, ROLE_WEIGHT);
        if (b->x)
            add_node(b, OP_RELU, 1, &b->x, NULL);
    }
}

static void add_pool(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Attr attr = {.window = window_of(spec)};

    if (wants_map(b, type->word) && check_window_size(b, &attr.window, 0))
        add_node(b, type->op, 1, &b->x, &attr);
    else
        give_up(b);
}

/* An op without settings, of maps. */
static void add_plain(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    (void)spec;
    add_node(b, type->op, 1, &b->x, NULL);
}

/* The map that a flatten made a row of; NULL where none is one. */
static Node *flattened(const Builder *b)
{
    return b->x->op == OP_FLATTEN ? b->x->in[0] : NULL;
}

static void flatten(Builder *b)
{
    if (b->x)
        add_node(b, OP_FLATTEN, 1, &b->x, NULL);
}

/* Of a row: of its map, and then the row. */
static void add_activation(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Node *map = flattened(b);

    b->x = map ? map : b->x;
    add_plain(b, type, spec);
    if (map)
        flatten(b);
}

/* A row c, h, w times a matrix [O, C*H*W] is the convolution of the map by the same numbers as a
 * filter [O,C,H,W], which fits there once. By its stride each pixel has one tap, backwards too. */
static void add_linear(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Node *map = flattened(b);
    Window whole = {1, 1, 1, 1, 0, 0, false};

    if (!map) {
        reader_fault(b->r, b->at, "%s works on a row of values; add a flatten before it",
                     type->word);
        give_up(b);
        return;
    }
    whole.kernel_h = whole.stride_h = map->tensor.shape.dim[1];
    whole.kernel_w = whole.stride_w = map->tensor.shape.dim[2];
    b->x = map;
    add_conv(b, spec, spec->name->text, spec->channels[0], &whole, ROLE_MATRIX);
    flatten(b);
}

static void add_gap(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    if (wants_map(b, type->word))
        add_plain(b, type, spec);
    else
        give_up(b);
}

/* Rows are flat. */
static void add_flatten(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    if (b->x->tensor.shape.rank == 4)
        add_plain(b, type, spec);
}

#define FIELDS(list) list, sizeof list / sizeof *list

static const LayerType layer_types[] = {
    {"mlpconv", add_mlpconv, OP_CONV2D, conv_fields, sizeof conv_fields / sizeof *conv_fields - 1},
    {"conv2d", add_conv2d, OP_CONV2D, FIELDS(conv_fields)},
    {"linear", add_linear, OP_CONV2D, FIELDS(linear_fields)},
    {"relu", add_activation, OP_RELU, FIELDS(plain_fields)},
    {"sigmoid", add_activation, OP_SIGMOID, FIELDS(plain_fields)},
    {"maxpool", add_pool, OP_MAXPOOL, FIELDS(pool_fields)},
    {"avgpool", add_pool, OP_AVGPOOL, FIELDS(pool_fields)},
    {"gap", add_gap, OP_GAP, FIELDS(plain_fields)},
    {"flatten", add_flatten, OP_FLATTEN, FIELDS(plain_fields)},
};

enum { LAYER_TYPES = sizeof layer_types / sizeof *layer_types };

/* ---- what a layer reads ---- */

/* The name that the layer gives itself; NULL: none. */
static const Tree *own_name(const Tree *layer)
{
    const Tree *settings = layer->kind == TREE_MAPPING && layer->count == 1 ? layer->item[0] : NULL;
    const Tree *name = settings && settings->kind == TREE_MAPPING ? tree_find(settings, "name")
                                                                  : NULL;
    return name && name->kind == TREE_SCALAR ? name : NULL;
}

/* The value of that name: a layer's own name goes before the index of one that has none. */
static Value *find_value(Builder *b, const char *name)
{
    Value *found = NULL;

    for (int i = 0; i < b->values; i++)
        if (strcmp(b->value[i].name, name) == 0 && (!found || b->value[i].named))
            found = &b->value[i];
    return found;
}

static void wrong_input(Builder *b, const Tree *input)
{
    const char *name = input->text;
    static const char *const image[] = {IMAGE_NAME};
    const char *near = nearest_word(name, b->value, b->values, sizeof *b->value);

    near = near ? near : nearest_word(name, image, 1, sizeof *image);
    for (int i = b->values; i < b->layers->count; i++) {
        const Tree *own = own_name(b->layers->item[i]);
        const char *later = own ? own->text : pool_format(b->r->pool, "%d", i);

        if (strcmp(later, name) != 0)
            continue;
        reader_fault(b->r, input, i == b->values ? "a layer cannot read itself; input names an "
                                                   "earlier one"
                                                 : "the layer '%s' stands later, in line %d; "
                                                   "input names an earlier one",
                     name, b->layers->item[i]->loc.line);
        return;
    }
    if (near)
        reader_fault(b->r, input, "no layer before it is named %s; did you mean '%s'?",
                     reader_quote(b->r, input), near);
    else
        reader_fault(b->r, input, "no layer before it is named %s; input names an earlier one, or "
                                  "image, the network's input", reader_quote(b->r, input));
}

/* Sets b->x to what the layer reads: what `input` names, else the layer before it. False after a
 * diagnostic. */
static bool find_input(Builder *b, const Tree *input)
{
    const char *name;
    Value *value = b->values > 0 ? &b->value[b->values - 1] : NULL;

    if (input && !read_name(b->r, input, "input", &name))
        return false;
    if (input && strcmp(name, IMAGE_NAME) == 0)
        value = NULL;
    else if (input && !(value = find_value(b, name))) {
        wrong_input(b, input);
        return false;
    }
    if (value)
        value->read = true;
    b->x = value ? value->node : b->image;
    return true;
}

/* ---- keys and values of a layer ---- */

/* `mlpconv, conv2d ... and flatten` */
static const char *all_layers(Pool *pool)
{
    const char *list = layer_types[0].word;

    for (int i = 1; i < LAYER_TYPES; i++)
        list = pool_format(pool, "%s%s%s", list, i + 1 < LAYER_TYPES ? ", " : " and ",
                           layer_types[i].word);
    return list;
}

static const LayerType *find_type(Reader *r, const Tree *word)
{
    const char *near;
    Meant meant;

    for (int i = 0; i < LAYER_TYPES; i++)
        if (tree_is(word, layer_types[i].word))
            return &layer_types[i];
    meant = layer_meant(word->text);
    near = meant.word ? meant.word
                      : nearest_word(word->text, layer_types, LAYER_TYPES, sizeof *layer_types);
    if (meant.advice)
        reader_fault(r, word, "there is no layer %s; %s", reader_quote(r, word), meant.advice);
    else if (near)
        reader_fault(r, word, "there is no layer %s; did you mean '%s'?", reader_quote(r, word),
                     near);
    else
        reader_fault(r, word, "there is no layer %s; the layers are %s", reader_quote(r, word),
                     all_layers(r->pool));
    return NULL;
}

static bool check_name(Builder *b, const Tree *name)
{
    const char *text;

    if (!read_name(b->r, name, "name", &text))
        return false;
    if (strcmp(text, IMAGE_NAME) == 0) {
        reader_fault(b->r, name, "'" IMAGE_NAME "' is the network's input; rename the layer");
        return false;
    }
    for (int i = 0; i < b->values; i++) {
        if (!b->value[i].named || strcmp(b->value[i].name, text) != 0)
            continue;
        reader_fault(b->r, name, "the name '%s' is taken by the layer in line %d; names must "
                                 "differ", text, b->value[i].named->loc.line);
        return false;
    }
    return true;
}

/* One number for all convolutions or, for an mlpconv, a list of three. */
static bool read_channels(Reader *r, const LayerType *type, const Tree *value, int *channels)
{
    const Field *f = &type->fields[1];
    bool sound = true;

    if (value->kind == TREE_SEQUENCE && type->add == add_mlpconv) {
        if (value->count != MLPCONV_CONVOLUTIONS) {
            reader_fault(r, value, "out_channels must be one number or three, not a list of %d",
                         value->count);
            return false;
        }
        for (int i = 0; i < MLPCONV_CONVOLUTIONS; i++)
            sound &= read_int(r, value->item[i], f, &channels[i]);
        return sound;
    }
    sound = read_int(r, value, f, &channels[0]);
    channels[1] = channels[2] = channels[0];
    return sound;
}

static bool check_pool(Reader *r, const LayerType *type, const Tree *settings,
                       const LayerSpec *spec)
{
    const Tree *padding = tree_find(settings, "padding");

    if (padding && (2 * spec->padding[0] > spec->kernel[0] ||
                    2 * spec->padding[1] > spec->kernel[1])) {
        reader_fault(r, padding, "padding must be at most half of kernel_size %dx%d",
                     spec->kernel[0], spec->kernel[1]);
        return false;
    }
    if (type->op == OP_MAXPOOL && spec->kernel[0] * spec->kernel[1] > 256) {
        reader_fault(r, tree_find(settings, "kernel_size"),
                     "maxpool's window of %dx%d holds more than 256 values; use a smaller one",
                     spec->kernel[0], spec->kernel[1]);
        return false;
    }
    return true;
}

/* Reads the settings; on return the strides are set. */
static bool read_layer(Builder *b, const LayerType *type, const Tree *settings, LayerSpec *spec)
{
    bool pool = type->fields == pool_fields;
    bool sound = read_fields(b->r, settings, type->word, type->fields, type->field_count, spec);

    if (spec->name && !check_name(b, spec->name)) {
        spec->name = NULL;
        sound = false;
    }
    if (spec->out_channels)
        sound &= read_channels(b->r, type, spec->out_channels, spec->channels);
    for (int i = 0; i < 2; i++)
        if (spec->stride[i] == 0)
            spec->stride[i] = pool ? spec->kernel[i] : 1;
    return find_input(b, spec->input) && sound && (!pool || check_pool(b->r, type, settings, spec));
}

static void build_layer(Builder *b, const Tree *layer)
{
    LayerSpec spec = {.bias = true};
    const Tree *word, *settings;
    const LayerType *type;

    b->at = layer;
    if (!read_choice(b->r, layer, "a layer", &word, &settings) ||
        !(type = find_type(b->r, word)) || !read_layer(b, type, settings, &spec))
        give_up(b);
    else if (b->x)
        type->add(b, type, &spec);
    b->value[b->values] = (Value){
        .name = spec.name ? spec.name->text : pool_format(b->r->pool, "%d", b->values),
        .named = spec.name, .at = layer, .node = b->x};
    b->values++;
}

/* ---- the end of the network ---- */

/* Whether x is the flatten of a map that is more than one pixel. */
static bool flattens_map(const Node *x)
{
    return x->op == OP_FLATTEN && x->in[0]->tensor.shape.dim[1] * x->in[0]->tensor.shape.dim[2] > 1;
}

static bool ends_with_linear(const Builder *b)
{
    const Node *map = flattened(b);

    return map && map->op == OP_CONV2D && map->in[1]->storage->role == ROLE_MATRIX;
}

static void finish(Builder *b)
{
    const Module *m = b->graph->module;
    const Shape *s = &b->x->tensor.shape;

    if (b->parameters == 0) {
        reader_fault(b->r, b->at, "no layer has parameters, so there is nothing to train; add an "
                                  "mlpconv or a conv2d");
        give_up(b);
    } else if (s->rank == 4 && (s->dim[1] != 1 || s->dim[2] != 1)) {
        reader_fault(b->r, b->at, "the last layer gives a map of %dx%d with %d channels, but the "
                                  "loss needs one value for each of the %d classes; end with gap "
                                  "or with a pool over the whole map", s->dim[1], s->dim[2],
                     s->dim[3], m->classes);
        give_up(b);
    } else if (s->dim[s->rank - 1] != m->classes && flattens_map(b->x)) {
        s = &b->x->in[0]->tensor.shape;
        reader_fault(b->r, b->at, "flatten makes %d values of a map of %dx%d with %d "
                                  "channels, but %s has %d classes; put gap or a pool over the "
                                  "whole map before it", b->x->tensor.shape.dim[1], s->dim[1],
                     s->dim[2], s->dim[3], m->dataset, m->classes);
        give_up(b);
    } else if (s->dim[s->rank - 1] != m->classes) {
        reader_fault(b->r, b->at, "the last layer gives %d values an image, but %s has %d "
                                  "classes; the last %s: %d",
                     s->dim[s->rank - 1], m->dataset, m->classes,
                     ends_with_linear(b) ? "linear needs out_features"
                                         : "convolution needs out_channels", m->classes);
        give_up(b);
    } else if (s->rank == 4) {
        add_node(b, OP_FLATTEN, 1, &b->x, NULL);
    }
}

/* Without layers that join several, what stands beside the way from the image to the last layer is
 * for nothing. */
static void check_read(Builder *b)
{
    for (int i = 0; i < b->values - 1; i++) {
        const Value *v = &b->value[i];

        if (v->read)
            continue;
        reader_fault(b->r, v->named ? v->named : v->at,
                     "no layer reads what layer '%s' gives; leave the layer out, or name it as the "
                     "input of another", v->name);
        b->sound = false;
    }
}

Node *layers_build(Reader *r, Graph *g, const Tree *layers, Node *x)
{
    Builder *b = pool_alloc(r->pool, sizeof *b);

    *b = (Builder){.r = r, .graph = g, .layers = layers, .image = x, .sound = true};
    if (layers->kind != TREE_SEQUENCE || layers->count == 0) {
        reader_fault(r, layers, "layers must be a list with one layer or more, not %s",
                     layers->kind == TREE_SEQUENCE ? "an empty list" : reader_quote(r, layers));
        return NULL;
    }
    if (layers->count > MAX_LAYERS) {
        reader_fault(r, layers->item[MAX_LAYERS], "more than %d layers", (int)MAX_LAYERS);
        return NULL;
    }
    for (int i = 0; i < layers->count; i++)
        build_layer(b, layers->item[i]);
    if (b->sound)
        check_read(b);
    if (b->x)
        finish(b);
    return b->sound ? b->x : NULL;
}
