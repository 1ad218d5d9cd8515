/* Within frontend/: kinds of layers, and the network that is built of them. */
#ifndef NINC_LAYERS_H
#define NINC_LAYERS_H

#include "frontend.h"

enum { MAX_SIZE = 4096, MAX_CHANNELS = 65536, MLPCONV_CONVOLUTIONS = 3, MAX_FACTOR = 1000,
       MAX_JOINED = 64 };

typedef struct LayerSpec {
    const Tree *name, *input, *inputs, *out_channels;
    Node *operand[MAX_JOINED]; /* those that `inputs` names */
    int operands;
    int channels[MLPCONV_CONVOLUTIONS];
    int kernel[2], stride[2], padding[2], dilation[2], groups;
    double factor; /* of an activation; dropout's p */
    double eps, momentum;
    LrnAttr lrn;
    bool bias, ceil_mode, count_include_pad, affine;
    const Tree *lr_mult, *weight_decay_mult, *init; /* of its parameters */
    bool freeze;
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
    double factor; /* by default */
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
    int values, parameters, dropouts, frozen; /* frozen: of the parameters */
    const Tree *last_frozen; /* the layer whose parameters were the last of these */
    bool sound;
};

/* ---- layers.c ---- */

extern const LayerType layer_types[];
extern const int layer_type_count;

/* An mlpconv, whose out_channels may be a list. */
bool layer_is_block(const LayerType *type);
bool layer_is_pool(const LayerType *type);
/* One that reads what its `inputs` name. */
bool layer_joins(const LayerType *type);
/* Marks that the network is not sound, and what the layer gives not known. */
void layer_give_up(Builder *b);
/* Appends a node that reads b->x and, for convolutions, parameters. */
void layer_add_node(Builder *b, Op op, int arity, Node *const *in, const Attr *attr);
/* The map that a flatten made a row of; NULL where none is one. */
Node *layer_flattened(const Builder *b);

/* Whether layers of this type have parameters. */
bool layer_has_parameters(const LayerType *type);

/* ---- parameters.c ---- */

enum { MAX_LAYER_FIELDS = 16 };

/* The keys of a type, those that say how its parameters are trained behind its own; how many. */
int layer_fields(const LayerType *type, Field fields[MAX_LAYER_FIELDS]);
/* Sets how the storage from `first` on, which is the layer's, is trained; false after a
 * diagnostic. */
bool layer_train_parameters(Builder *b, const LayerSpec *spec, int first);

/* ---- join.c ---- */

/* The sum of the operands, maps of one shape or rows of such. */
void layer_add_sum(Builder *b, const LayerType *type, const LayerSpec *spec);
/* The operands' channels side by side: maps of one height and width, or rows of such. */
void layer_add_concat(Builder *b, const LayerType *type, const LayerSpec *spec);

#endif
