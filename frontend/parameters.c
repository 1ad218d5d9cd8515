/* Keys of layers with parameters: how these are trained, where that is not as all others are. */
#include "layers.h"

#include <string.h>

#define AT(member) offsetof(LayerSpec, member)

static const Field fields_of_parameters[] = {
    {"lr_mult", FIELD_TREE, false, 0, 1e6, AT(lr_mult), "lr_mult: [1, 2]"},
    {"weight_decay_mult", FIELD_TREE, false, 0, 1e6, AT(weight_decay_mult),
     "weight_decay_mult: [1, 0]"},
    {"freeze", FIELD_BOOL, false, 0, 0, AT(freeze), "freeze: true"},
    {"init", FIELD_TREE, false, 0, 0, AT(init), "init: {normal: {std: 0.05}}"}, /* no batch_norm */
};

enum { OF_PARAMETERS = sizeof fields_of_parameters / sizeof *fields_of_parameters };

/* A batch norm starts as PyTorch's does: it changes nothing. */
int layer_fields(const LayerType *type, Field fields[MAX_LAYER_FIELDS])
{
    int own = type->field_count;
    int more = !layer_has_parameters(type) ? 0 : OF_PARAMETERS - (type->op == OP_BATCH_NORM);

    if (own + more > MAX_LAYER_FIELDS)
        internal_error("%s has more than %d keys", type->word, MAX_LAYER_FIELDS);
    memcpy(fields, type->fields, (size_t)own * sizeof *fields);
    memcpy(fields + own, fields_of_parameters, (size_t)more * sizeof *fields);
    return own + more;
}

/* One number, or those of weight and bias. */
static bool read_mult(Reader *r, const Tree *t, const Field *like, double out[2])
{
    Field f = *like;
    bool sound;

    out[0] = out[1] = 1;
    if (!t)
        return true;
    f.kind = FIELD_REAL;
    if (t->kind != TREE_SEQUENCE) {
        sound = read_real(r, t, &f, &out[0]);
        out[1] = out[0];
        return sound;
    }
    if (t->count != 2) {
        reader_fault(r, t, "%s must be one number or [weight, bias]; for example %s", f.key,
                     f.example);
        return false;
    }
    sound = read_real(r, t->item[0], &f, &out[0]);
    return read_real(r, t->item[1], &f, &out[1]) && sound;
}

/* What is frozen is not trained in any way. */
static bool check_frozen(Reader *r, const LayerSpec *spec)
{
    const Tree *idle = spec->lr_mult ? spec->lr_mult : spec->weight_decay_mult;
    const char *key = spec->lr_mult ? "lr_mult" : "weight_decay_mult";

    if (!spec->freeze || !idle)
        return true;
    reader_fault(r, idle, "%s says nothing to a layer with freeze: true; leave one of them out",
                 key);
    return false;
}

bool layer_train_parameters(Builder *b, const LayerSpec *spec, int first)
{
    const Module *m = b->graph->module;
    Training t = {.frozen = spec->freeze, .has_init = spec->init != NULL};
    double lr[2], decay[2];
    bool sound = read_mult(b->r, spec->lr_mult, &fields_of_parameters[0], lr);

    sound &= read_mult(b->r, spec->weight_decay_mult, &fields_of_parameters[1], decay);
    sound &= read_init(b->r, spec->init, &t.init, &t.init_std);
    if (!sound || !check_frozen(b->r, spec))
        return false;
    for (int i = first; i < m->storage_count; i++) {
        Storage *s = m->storage[i];
        bool bias = s->role == ROLE_BIAS || s->role == ROLE_SHIFT;

        if (!role_is_parameter(s->role))
            continue;
        b->frozen += spec->freeze;
        b->last_frozen = spec->freeze ? b->at : b->last_frozen;
        s->training = t;
        s->training.lr_mult = lr[bias];
        s->training.weight_decay_mult = decay[bias];
    }
    return true;
}
