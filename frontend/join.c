/* Layers that read several: operands are of one kind, maps or rows, and of shapes that fit. */
#include "layers.h"

/* What the operand is called in the file. */
static const char *called(Builder *b, const LayerSpec *spec, int i)
{
    return reader_quote(b->r, spec->inputs->item[i]);
}

/* `28x28 with 20 channels`; a row's values. */
static const char *extent(Builder *b, const Node *n)
{
    const Shape *s = &n->tensor.shape;

    if (s->rank == 2)
        return pool_format(b->r->pool, "a row of %d values", s->dim[1]);
    return pool_format(b->r->pool, "a map of %dx%d with %d channels", s->dim[1], s->dim[2],
                       s->dim[3]);
}

/* Operand i beside the first. */
static bool differs(Builder *b, const LayerType *type, const LayerSpec *spec, int i,
                    const char *wanted)
{
    reader_fault(b->r, spec->inputs->item[i], "%s gives %s, but %s %s; %s takes %s",
                 called(b, spec, i), extent(b, spec->operand[i]), called(b, spec, 0),
                 extent(b, spec->operand[0]), type->word, wanted);
    layer_give_up(b);
    return false;
}

/* Rows are taken as the maps that a flatten made rows of; *rows: whether they are. */
static bool take_maps(Builder *b, const LayerType *type, const LayerSpec *spec, Node **map,
                      bool *rows)
{
    for (int i = 0; i < spec->operands; i++) {
        Node *x = spec->operand[i];
        bool row = x->op == OP_FLATTEN;

        if (i > 0 && row != *rows)
            return differs(b, type, spec, i, "maps alone, or rows alone");
        *rows = row;
        map[i] = row ? x->in[0] : x;
    }
    return true;
}

static bool same_shape(const Node *x, const Node *y)
{
    return shape_equal(&x->tensor.shape, &y->tensor.shape);
}

static void finish_row(Builder *b, bool rows)
{
    if (rows && b->x)
        layer_add_node(b, OP_FLATTEN, 1, &b->x, NULL);
}

void layer_add_sum(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Node *map[MAX_JOINED] = {NULL};
    bool rows = false;

    if (!take_maps(b, type, spec, map, &rows))
        return;
    for (int i = 1; i < spec->operands; i++)
        if (!same_shape(map[i], map[0])) {
            differs(b, type, spec, i, rows ? "rows of maps of one shape" : "maps of one shape");
            return;
        }
    b->x = map[0];
    for (int i = 1; i < spec->operands && b->x; i++)
        layer_add_node(b, type->op, 2, (Node *[]){b->x, map[i]}, NULL);
    finish_row(b, rows);
}

static bool same_size(const Node *x, const Node *y)
{
    const int32_t *a = x->tensor.shape.dim, *b = y->tensor.shape.dim;

    return a[1] == b[1] && a[2] == b[2];
}

/* As many at once as an op takes. A row c, h, w of maps side by side is their rows one behind the
 * other. */
void layer_add_concat(Builder *b, const LayerType *type, const LayerSpec *spec)
{
    Node *map[MAX_JOINED] = {NULL}, *part[MAX_OPERANDS];
    bool rows = false;
    int count = 1;

    if (!take_maps(b, type, spec, map, &rows))
        return;
    for (int i = 1; i < spec->operands; i++)
        if (!same_size(map[i], map[0])) {
            differs(b, type, spec, i, rows ? "rows of maps of one height and width"
                                           : "maps of one height and width");
            return;
        }
    b->x = part[0] = map[0];
    for (int i = 1; i < spec->operands && b->x; i++) {
        part[count++] = map[i];
        if (count < op_max_operands(type->op) && i + 1 < spec->operands)
            continue;
        layer_add_node(b, type->op, count, part, NULL);
        part[0] = b->x;
        count = 1;
    }
    finish_row(b, rows);
}
