/* The network of the model file: what each layer reads, its keys and values, and what the last one
 * must give. */
#include "layers.h"

#include <string.h>

/* What `input` calls the network's input. */
#define IMAGE_NAME "image"

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

/* `key`: input, or inputs. */
static void wrong_input(Builder *b, const Tree *input, const char *key)
{
    const char *name = input->text;
    static const char *const image[] = {IMAGE_NAME};
    const char *near = nearest_word(name, b->value, b->values, sizeof *b->value);
    const char *plural = key[strlen(key) - 1] == 's' ? "name earlier ones" : "names an earlier one";

    near = near ? near : nearest_word(name, image, 1, sizeof *image);
    for (int i = b->values; i < b->layers->count; i++) {
        const Tree *own = own_name(b->layers->item[i]);
        const char *later = own ? own->text : pool_format(b->r->pool, "%d", i);

        if (strcmp(later, name) != 0)
            continue;
        if (i == b->values)
            reader_fault(b->r, input, "a layer cannot read itself; %s %s", key, plural);
        else
            reader_fault(b->r, input, "the layer '%s' stands later, in line %d; %s %s", name,
                         b->layers->item[i]->loc.line, key, plural);
        return;
    }
    if (near)
        reader_fault(b->r, input, "no layer before it is named %s; did you mean '%s'?",
                     reader_quote(b->r, input), near);
    else
        reader_fault(b->r, input, "no layer before it is named %s; %s %s, or "
                                  "image, the network's input", reader_quote(b->r, input), key,
                     plural);
}

/* What `input`, of that key, names: *node, NULL where its shape is not known. False after a
 * diagnostic. */
static bool find_named(Builder *b, const Tree *input, const char *key, Node **node)
{
    const char *name;
    Value *value = NULL;

    if (!read_name(b->r, input, key, &name))
        return false;
    *node = b->image;
    if (strcmp(name, IMAGE_NAME) == 0)
        return true;
    value = find_value(b, name);
    if (!value) {
        wrong_input(b, input, key);
        return false;
    }
    value->read = true;
    *node = value->node;
    return true;
}

/* Sets b->x to what the layer reads: what `input` names, else the layer before it. False after a
 * diagnostic. */
static bool find_input(Builder *b, const Tree *input)
{
    Value *value = b->values > 0 ? &b->value[b->values - 1] : NULL;

    if (input)
        return find_named(b, input, "input", &b->x);
    if (value)
        value->read = true;
    b->x = value ? value->node : b->image;
    return true;
}

/* Sets the operands of a layer that joins some, and b->x to the first; to NULL where one's shape is
 * not known. */
static bool find_inputs(Builder *b, const LayerType *type, LayerSpec *spec)
{
    const Tree *list = spec->inputs;
    bool known = true, sound = true;

    if (!list)
        return false;
    if (list->kind != TREE_SEQUENCE || list->count < 2 || list->count > MAX_JOINED) {
        reader_fault(b->r, list, "inputs must be a list of 2 to %d names; for example "
                                 "%s: {inputs: [conv.0, conv.2]}", (int)MAX_JOINED, type->word);
        return false;
    }
    spec->operands = list->count;
    for (int i = 0; i < list->count; i++) {
        sound &= find_named(b, list->item[i], "inputs", &spec->operand[i]);
        known &= sound && spec->operand[i] != NULL;
    }
    b->x = known ? spec->operand[0] : NULL;
    return sound;
}

/* ---- keys and values of a layer ---- */

/* `mlpconv, conv2d ... and flatten` */
static const char *all_layers(Pool *pool)
{
    const char *list = layer_types[0].word;

    for (int i = 1; i < layer_type_count; i++)
        list = pool_format(pool, "%s%s%s", list, i + 1 < layer_type_count ? ", " : " and ",
                           layer_types[i].word);
    return list;
}

static const LayerType *find_type(Reader *r, const Tree *word)
{
    const char *near;
    Meant meant;

    for (int i = 0; i < layer_type_count; i++)
        if (tree_is(word, layer_types[i].word))
            return &layer_types[i];
    meant = layer_meant(word->text);
    near = meant.word ? meant.word
                      : nearest_word(word->text, layer_types, layer_type_count,
                                     sizeof *layer_types);
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

    if (value->kind == TREE_SEQUENCE && layer_is_block(type)) {
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
    bool pool = layer_is_pool(type), sound;
    Field fields[MAX_LAYER_FIELDS];
    int count = layer_fields(type, fields);

    spec->factor = type->factor;
    sound = read_fields(b->r, settings, type->word, fields, count, spec);

    if (spec->name && !check_name(b, spec->name)) {
        spec->name = NULL;
        sound = false;
    }
    if (spec->out_channels)
        sound &= read_channels(b->r, type, spec->out_channels, spec->channels);
    for (int i = 0; i < 2; i++)
        if (spec->stride[i] == 0)
            spec->stride[i] = pool ? spec->kernel[i] : 1;
    if (!(layer_joins(type) ? find_inputs(b, type, spec) : find_input(b, spec->input)))
        return false;
    return sound && (!pool || check_pool(b->r, type, settings, spec));
}

static void build_layer(Builder *b, const Tree *layer)
{
    LayerSpec spec = {.bias = true, .affine = true, .count_include_pad = true,
                      .eps = 1e-5, .momentum = 0.1,
                      .lrn = {.alpha = 1e-4, .beta = 0.75, .k = 1}};
    const Tree *word, *settings;
    const LayerType *type;
    int first = b->graph->module->storage_count;

    b->at = layer;
    if (!read_choice(b->r, layer, "a layer", &word, &settings) ||
        !(type = find_type(b->r, word)) || !read_layer(b, type, settings, &spec))
        layer_give_up(b);
    else if (b->x)
        type->add(b, type, &spec);
    if (!layer_train_parameters(b, &spec, first))
        layer_give_up(b);
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
    const Node *map = layer_flattened(b);

    return map && map->op == OP_CONV2D && map->in[1]->storage->role == ROLE_MATRIX;
}

static void finish(Builder *b)
{
    const Module *m = b->graph->module;
    const Shape *s = &b->x->tensor.shape;

    if (b->parameters == 0) {
        reader_fault(b->r, b->at, "no layer has parameters, so there is nothing to train; add an "
                                  "mlpconv or a conv2d");
        layer_give_up(b);
    } else if (b->frozen == b->parameters) {
        reader_fault(b->r, b->last_frozen, "all layers are frozen, so there is nothing to train; "
                                           "leave out freeze: true of one");
        layer_give_up(b);
    } else if (s->rank == 4 && (s->dim[1] != 1 || s->dim[2] != 1)) {
        reader_fault(b->r, b->at, "the last layer gives a map of %dx%d with %d channels, but the "
                                  "loss needs one value for each of the %d classes; end with gap "
                                  "or with a pool over the whole map", s->dim[1], s->dim[2],
                     s->dim[3], m->classes);
        layer_give_up(b);
    } else if (s->dim[s->rank - 1] != m->classes && flattens_map(b->x)) {
        s = &b->x->in[0]->tensor.shape;
        reader_fault(b->r, b->at, "flatten makes %d values of a map of %dx%d with %d "
                                  "channels, but %s has %d classes; put gap or a pool over the "
                                  "whole map before it", b->x->tensor.shape.dim[1], s->dim[1],
                     s->dim[2], s->dim[3], m->dataset, m->classes);
        layer_give_up(b);
    } else if (s->dim[s->rank - 1] != m->classes) {
        reader_fault(b->r, b->at, "the last layer gives %d values an image, but %s has %d "
                                  "classes; the last %s: %d",
                     s->dim[s->rank - 1], m->dataset, m->classes,
                     ends_with_linear(b) ? "linear needs out_features"
                                         : "convolution needs out_channels", m->classes);
        layer_give_up(b);
    } else if (s->rank == 4) {
        layer_add_node(b, OP_FLATTEN, 1, &b->x, NULL);
    }
}

/* What stands beside the way from the image to the last layer is for nothing. */
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
