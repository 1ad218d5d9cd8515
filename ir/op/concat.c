/* Maps side by side along channels, and parts of one: the gradients. */
#include "family.h"

/* ---- types ---- */

static bool infer_concat(const Infer *f)
{
    int64_t channels = 0;
    for (int i = 0; i < f->arity; i++) {
        if (!type_expect_map(f, i, "x"))
            return false;
        for (int axis = 0; axis < 3; axis++)
            if (!type_expect_extent(f, i, "x", axis, type_dims(f, 0)[axis]))
                return false;
        if (type_dtype(f, i) != type_dtype(f, 0))
            return type_fault(f, "'s operands are of one dtype");
        channels += type_dims(f, i)[3];
    }
    if (channels > INT32_MAX)
        return type_fault(f, "'s channels are too many");
    return type_give_map(f, type_dtype(f, 0), type_dims(f, 0), type_dims(f, 0)[1],
                         type_dims(f, 0)[2], (int)channels);
}

static bool infer_slice(const Infer *f)
{
    const SliceAttr *a = &f->attr->slice;
    if (!type_expect_map(f, 0, "x"))
        return false;
    if (!(0 <= a->from && a->from < a->to && a->to <= type_dims(f, 0)[3]))
        return type_fault(f, "'s channels are some of those of its operand");
    return type_give_map(f, type_dtype(f, 0), type_dims(f, 0), type_dims(f, 0)[1],
                         type_dims(f, 0)[2], a->to - a->from);
}

/* ---- values ---- */

/* to[..., to_c + i] = from[..., from_c + i] of `channels` channels. */
static void copy_channels(const Map *to, int to_c, const Map *from, int from_c, int channels)
{
    int64_t pixels = (int64_t)to->n * to->h * to->w;
    for (int64_t i = 0; i < pixels; i++)
        memcpy(to->data + i * to->c + to_c, from->data + i * from->c + from_c,
               (size_t)channels * sizeof *to->data);
}

/* Copies squares of spreads as it does values. */
static void eval_concat(Eval *e, const Node *n)
{
    Map y = eval_map(e, n);
    for (int i = 0, at = 0; i < n->arity; i++) {
        Map x = eval_map(e, n->in[i]);
        copy_channels(&y, at, &x, 0, x.c);
        at += x.c;
    }
}

static void eval_slice(Eval *e, const Node *n)
{
    Map y = eval_map(e, n), x = eval_map(e, n->in[0]);
    copy_channels(&y, 0, &x, n->attr.slice.from, y.c);
}

/* ---- gradients ---- */

static void gradient_concat(Gradient *g, Node *n, Node *dy)
{
    for (int i = 0, at = 0; i < n->arity; i++) {
        Node *x = n->in[i];
        Attr attr = {.slice = {at, at + x->tensor.shape.dim[3]}};
        Tensor type = {.dtype = x->tensor.dtype, .shape = x->tensor.shape};
        at = attr.slice.to;
        if (g->needs(g, x))
            g->give(g, x, graph_add_typed(g->graph, OP_SLICE, 1, &dy, &attr, &type, n->loc),
                    n->loc);
    }
}

OP_RULE(concat, CONCAT) = {infer_concat, eval_concat, eval_concat, gradient_concat, no_work};
OP_RULE(concat, SLICE) = {infer_slice, eval_slice, eval_slice, no_gradient, no_work};
