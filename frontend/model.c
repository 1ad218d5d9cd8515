/* The model file -> a module with one graph, `train`, at stage forward. */
#include "input.h"

#include <string.h>

typedef struct ModelSpec {
    const Tree *model, *input, *layers, *loss, *optimizer, *train;
} ModelSpec;

#define ROOT_FIELD(key, example) {#key, FIELD_TREE, true, 0, 0, offsetof(ModelSpec, key), example}

static const Field root_fields[] = {
    ROOT_FIELD(model, "model: nin"),
    ROOT_FIELD(input, "input: {dataset: fashion-mnist, shape: [1, 28, 28]}"),
    ROOT_FIELD(layers, "layers: [...]"),
    ROOT_FIELD(loss, "loss: cross_entropy"),
    ROOT_FIELD(optimizer, "optimizer: {adam: {lr: 0.001}}"),
    ROOT_FIELD(train, "train: {batch_size: 16, epochs: 3}"),
};

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

/* ---- the graph ---- */

/* The name of the artefacts: MODEL.c must not be plan.c. */
static bool read_model_name(Reader *r, const Tree *t, const char **name)
{
    if (!read_name(r, t, "model", name))
        return false;
    if (strcmp(*name, "plan") != 0)
        return true;
    reader_fault(r, t, "a model cannot be named 'plan', because its artefacts hold a plan.c; "
                       "choose another name");
    return false;
}

/* image, label, valid, and the network's input f32[N,H,W,C]; NULL after a diagnostic. */
static Node *build_input(Reader *r, Graph *g, const Tree *at, const InputSpec *in)
{
    const int *data = in->data, *net = in->net;
    int64_t images[4] = {g->batch, data[1], data[2], data[0]};
    int64_t maps[4] = {g->batch, net[1], net[2], net[0]};
    Attr attr = {.image = in->image};
    bool resize = data[1] != net[1] || data[2] != net[2];
    Node *image;

    if (!check_elements(r, at, "the batch of images", images) ||
        !check_elements(r, at, "the input", maps))
        return NULL;
    image = graph_take_input(g, INPUT_IMAGE, at->loc);
    graph_take_input(g, INPUT_LABEL, at->loc);
    graph_take_input(g, INPUT_VALID, at->loc);
    image = build_augment(g, image, &in->augmentations);
    if (resize) {
        Tensor type = {.dtype = DT_F32, .shape = shape_of(4, g->batch, net[1], net[2], net[0])};

        return normalize_build(r, g, in, graph_add_typed(g, OP_RESIZE, 1, &image, &attr, &type,
                                                         at->loc));
    }
    return normalize_build(r, g, in, graph_add(g, OP_NORMALIZE, 1, &image, &attr, at->loc));
}

/* What the loss says beside its name. */
typedef struct LossSpec {
    const Tree *weight;
    Attr attr; /* label smoothing */
    ClassWeights weights;
} LossSpec;

static bool read_weight_list(Reader *r, const Tree *t, double *out)
{
    static const Field field = {"a weight", FIELD_REAL, true, 0, 1e6, 0, "weight: [1.0, 2.5]"};
    double sum = 0;

    for (int k = 0; k < t->count; k++) {
        if (!read_real(r, t->item[k], &field, &out[k]))
            return false;
        sum += out[k];
    }
    if (sum == 0)
        reader_fault(r, t, "some class must weigh more than 0; without weight all weigh the same");
    return sum > 0;
}

/* [one a class] or balanced. `classes`: 0 where they are not known. */
static bool read_class_weights(Reader *r, const Tree *t, int classes, ClassWeights *out)
{
    static const char *const words[] = {"balanced"};
    double *weight;

    if (t->kind != TREE_SEQUENCE) {
        out->how = WEIGH_BALANCED;
        if (t->kind == TREE_SCALAR && tree_is(t, words[0]))
            return true;
        reader_fault(r, t, "weight must be a list of numbers, one a class, or balanced, not %s",
                     reader_quote(r, t));
        return false;
    }
    if (classes > 0 && t->count != classes) {
        reader_fault(r, t, "weight has %d number%s for %d class%s; give one for each class, or "
                           "balanced", t->count, t->count == 1 ? "" : "s", classes,
                     classes == 1 ? "" : "es");
        return false;
    }
    weight = pool_alloc(r->pool, ((size_t)t->count + 1) * sizeof *weight);
    *out = (ClassWeights){WEIGH_LIST, weight};
    return read_weight_list(r, t, weight);
}

/* cross_entropy, or cross_entropy: {label_smoothing: 0.1, weight: balanced} */
static bool read_loss(Reader *r, const Tree *t, int classes, LossSpec *out)
{
    static const char *const words[] = {"cross_entropy"};
    static const Field fields[] = {
        {"label_smoothing", FIELD_REAL, false, 0, 1, offsetof(LossSpec, attr.factor),
         "label_smoothing: 0.1"},
        {"weight", FIELD_TREE, false, 0, 0, offsetof(LossSpec, weight), "weight: balanced"},
    };
    const Tree *word, *settings;

    if (t->kind != TREE_MAPPING)
        return find_word(r, t, "loss", WORDS(words)) == 0;
    return read_choice(r, t, "loss", &word, &settings) &&
           find_word(r, word, "loss", WORDS(words)) == 0 &&
           read_fields(r, settings, words[0], fields, COUNT(fields), out) &&
           (!out->weight || read_class_weights(r, out->weight, classes, &out->weights));
}

/* The weights are storage that the trainer writes. */
static void build_loss(Graph *g, Node *logits, const LossSpec *spec, Loc loc)
{
    Module *m = g->module;
    bool weighted = spec->weights.how != WEIGH_ALIKE;
    Node *valid = graph_find_input(g, "valid"), *divisor = NULL;
    Node *in[3] = {logits, graph_find_input(g, "label")};
    Node *loss, *correct;

    if (weighted) {
        divisor = graph_take_input(g, INPUT_LABEL_WEIGHT, loc);
        in[2] = graph_state(g, module_add_storage(m, CLASS_WEIGHTS_NAME,
                                                  shape_of(1, m->classes, 0, 0, 0), ROLE_CLASSES,
                                                  loc));
    }
    loss = graph_add(g, OP_CROSS_ENTROPY, weighted ? 3 : 2, in, &spec->attr, loc);
    correct = graph_add(g, OP_CORRECT, 2, in, NULL, loc);
    graph_output(g, "loss", graph_add(g, OP_MEAN_VALID, weighted ? 3 : 2,
                                      (Node *[]){loss, valid, divisor}, NULL, loc));
    graph_output(g, "correct",
                 graph_add(g, OP_COUNT_VALID, 2, (Node *[]){correct, valid}, NULL, loc));
    graph_output(g, "logits", logits); /* the trainer tells when all of a batch are zero */
}

static Module *new_module(Pool *pool, const char *name, const InputSpec *in,
                          const Optimizer *optimizer, const TrainSettings *train,
                          const ClassWeights *weights)
{
    Module *m = module_new(pool, name);

    m->dataset = in->dataset_name;
    m->image_c = in->data[0];
    m->image_h = in->data[1];
    m->image_w = in->data[2];
    m->classes = in->classes;
    m->data = in->images;
    m->optimizer = *optimizer;
    m->train = *train;
    m->class_weights = *weights;
    return m;
}

/* Classes that are drawn as often as others need no weights besides. */
static void note_balanced_twice(Reader *r, const Tree *t, const TrainSettings *train,
                                const ClassWeights *weights)
{
    const Tree *at = t ? tree_find(t, "sampler") : NULL;

    if (at && train->sampler == SAMPLER_BALANCED && weights->how == WEIGH_BALANCED)
        diagnostics_note(r->d, at->loc, at->width, "sampler: balanced and weight: balanced each "
                                                   "make up for rare classes: together they count "
                                                   "them twice; leave one of them out");
}

Module *model_build(Pool *pool, Diagnostics *d, const Tree *root)
{
    Reader r = {pool, d};
    ModelSpec spec = {0};
    InputSpec input = {0};
    LossSpec loss = {0};
    Optimizer optimizer = {0};
    TrainSettings train = {0};
    const char *name = NULL;
    Module *m;
    Graph *g;
    Node *x = NULL;
    bool sound = read_fields(&r, root, "the model file", root_fields, COUNT(root_fields), &spec);
    bool shaped = spec.input && read_input(&r, spec.input, &input);

    sound &= spec.model && read_model_name(&r, spec.model, &name);
    sound &= spec.loss && read_loss(&r, spec.loss, input.classes, &loss);
    sound &= spec.optimizer && read_optimizer(&r, spec.optimizer, &optimizer);
    sound &= spec.train && read_train(&r, spec.train, &train);
    note_balanced_twice(&r, spec.train, &train, &loss.weights);
    m = new_module(pool, name ? name : "unnamed", &input, &optimizer, &train, &loss.weights);
    g = module_add_graph(m, "train", train.batch_size > 0 ? train.batch_size : 1);
    if (shaped)
        x = build_input(&r, g, spec.input, &input);
    if (spec.layers)
        x = layers_build(&r, g, spec.layers, x);
    if (!sound || !x || d->total > 0)
        return NULL;
    build_loss(g, x, &loss, spec.loss->loc);
    return m;
}
