/* flatten: a map as a row, in PyTorch's order. */
#include "family.h"

/* ---- types ---- */

static bool infer_flatten(const Infer *f)
{
    if (!type_expect(f, 0, "input", DT_F32, 4))
        return false;
    const int32_t *d = type_dims(f, 0);
    return type_give(f, DT_F32, shape_of(2, d[0], d[1] * d[2] * d[3], 0, 0));
}

static bool infer_flatten_grad(const Infer *f)
{
    if (!type_expect(f, 0, "gradient", DT_F32, 2) || !type_given(f, DT_F32, 4))
        return false;
    const int32_t *dx = f->out->shape.dim;
    return type_given_extent(f, 0, type_dims(f, 0)[0]) &&
           type_expect_extent(f, 0, "the gradient", 1, dx[1] * dx[2] * dx[3]);
}

/* ---- values ---- */

/* Copies between the map [N,H,W,C] and the row [N,C*H*W] in the order c,h,w. */
static void copy_flat(const Map *map, double *flat, bool to_flat)
{
    for (int n = 0; n < map->n; n++)
        for (int c = 0; c < map->c; c++)
            for (int h = 0; h < map->h; h++)
                for (int w = 0; w < map->w; w++, flat++) {
                    double *at = map_at(map, n, h, w) + c;
                    if (to_flat)
                        *flat = *at;
                    else
                        *at = *flat;
                }
}

static void eval_flatten(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]);
    copy_flat(&x, eval_value(e, node), true);
}

static void eval_flatten_grad(Eval *e, const Node *node)
{
    Map dx = eval_map(e, node);
    copy_flat(&dx, eval_value(e, node->in[0]), false);
}

/* ---- gradients ---- */

static void gradient_flatten(Gradient *g, Node *n, Node *dy)
{
    g->give(g, n->in[0], gradient_op(g, n, OP_FLATTEN_GRAD, dy, NULL, n->in[0]), n->loc);
}

OP_RULE(flatten, FLATTEN) = {infer_flatten, eval_flatten, spread_linear, gradient_flatten, no_work};
OP_RULE(flatten, FLATTEN_GRAD) = {infer_flatten_grad, eval_flatten_grad, spread_linear, no_gradient,
                                  no_work};
