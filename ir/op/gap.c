/* gap: the mean of the whole map. */
#include "family.h"

#include <stdlib.h>

/* ---- types ---- */

static bool infer_gap(const Infer *f)
{
    const int32_t *d = type_dims(f, 0);
    return type_expect_map(f, 0, "input") && type_give_map(f, DT_F32, d, 1, 1, d[3]);
}

/* Means are f32; their gradient spreads over a map of either dtype. */
static bool infer_gap_grad(const Infer *f)
{
    DType dtype = f->out->dtype == DT_BF16 ? DT_BF16 : DT_F32;
    if (!type_expect(f, 0, "gradient", DT_F32, 4) || !type_given(f, dtype, 4))
        return false;
    const int32_t *dy = type_dims(f, 0);
    return type_expect_extent(f, 0, "the gradient", 1, 1) &&
           type_expect_extent(f, 0, "the gradient", 2, 1) && type_given_extent(f, 0, dy[0]) &&
           type_given_extent(f, 3, dy[3]);
}

/* ---- values ---- */

/* y[n,0,0,c] = mean over h,w of x[n,h,w,c] */
static void eval_gap(Eval *e, const Node *node)
{
    Map x = eval_map(e, node->in[0]), y = eval_map(e, node);
    int pixels = x.h * x.w;
    double divisor = eval_factor(e, pixels);
    memset(y.data, 0, (size_t)eval_elements(e, node) * sizeof(double));
    for (int n = 0; n < x.n; n++) {
        double *out = map_at(&y, n, 0, 0);
        for (int p = 0; p < pixels; p++)
            add_scaled(out, 1, map_at(&x, n, 0, 0) + (int64_t)p * x.c, x.c);
        for (int c = 0; c < x.c; c++)
            out[c] /= divisor;
    }
}

/* dx[n,h,w,c] = dy[n,0,0,c] / (H*W) */
static void eval_gap_grad(Eval *e, const Node *node)
{
    Map dy = eval_map(e, node->in[0]), dx = eval_map(e, node);
    int pixels = dx.h * dx.w;
    double divisor = eval_factor(e, pixels);
    for (int n = 0; n < dx.n; n++)
        for (int p = 0; p < pixels; p++)
            for (int c = 0; c < dx.c; c++)
                map_at(&dx, n, 0, 0)[(int64_t)p * dx.c + c] = map_at(&dy, n, 0, 0)[c] / divisor;
}

/* ---- spreads ---- */

static void spread_gap(Eval *e, const Node *node)
{
    Map x = eval_map(e->of, node->in[0]), y = eval_map(e, node);
    double pixels = (double)x.h * x.w;
    spread_sum(e, node, pixels);
    for (int n = 0; n < x.n; n++) {
        Partials p = partials_new(x.c);
        for (int64_t pixel = 0; pixel < (int64_t)x.h * x.w; pixel++)
            partials_add(&p, 1 / pixels, map_at(&x, n, 0, 0) + pixel * x.c);
        for (int c = 0; c < x.c; c++)
            map_at(&y, n, 0, 0)[c] += partials_count(e, &p, c, spread_unit(node->in[0]));
        free(p.sum);
    }
}

/* ---- gradients ---- */

static void gradient_gap(Gradient *g, Node *n, Node *dy)
{
    g->give(g, n->in[0], gradient_op(g, n, OP_GAP_GRAD, dy, NULL, n->in[0]), n->loc);
}

OP_RULE(gap, GAP) = {infer_gap, eval_gap, spread_gap, gradient_gap, no_work};
OP_RULE(gap, GAP_GRAD) = {infer_gap_grad, eval_gap_grad, spread_linear, no_gradient, no_work};
