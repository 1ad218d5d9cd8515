/* The table of graph inputs, asked. */
#include "ir.h"

#include <string.h>

typedef enum ShapeKind { SHAPE_IMAGES, SHAPE_ROWS, SHAPE_SCALAR } ShapeKind;

typedef struct InputInfo {
    const char *name;
    DType dtype;
    ShapeKind shape;
    bool needed;
} InputInfo;

static const InputInfo inputs[INPUT_COUNT] = {
#define X(id, name, dtype, shape, needed, giver) {name, DT_##dtype, SHAPE_##shape, needed},
    GRAPH_INPUTS(X)
#undef X
};

GraphInput input_named(const char *name)
{
    for (int i = 0; i < (int)INPUT_COUNT; i++)
        if (strcmp(inputs[i].name, name) == 0)
            return (GraphInput)i;
    return INPUT_COUNT;
}

const char *input_name(GraphInput input)
{
    return inputs[input].name;
}

bool input_is_needed(GraphInput input)
{
    return inputs[input].needed;
}

static Shape shape_of_input(const Graph *g, ShapeKind kind)
{
    const Module *m = g->module;
    if (kind == SHAPE_IMAGES)
        return shape_of(4, g->batch, m->image_h, m->image_w, m->image_c);
    return kind == SHAPE_ROWS ? shape_of(1, g->batch, 0, 0, 0) : shape_of(0, 0, 0, 0, 0);
}

Tensor input_type(const Graph *g, GraphInput input)
{
    const InputInfo *info = &inputs[input];
    return (Tensor){.dtype = info->dtype, .shape = shape_of_input(g, info->shape)};
}

Node *graph_take_input(Graph *g, GraphInput input, Loc loc)
{
    Tensor type = input_type(g, input);
    Node *n = graph_find_input(g, input_name(input));
    return n ? n : graph_input(g, input_name(input), type.dtype, type.shape, loc);
}
