/* Random data for kernels: values that make sense, and those at the ends of what a float can be. */
#include "../../ir/ir.h"
#include "verification.h"

#include <float.h>
#include <math.h>
#include <string.h>

static int below(Random *r, int n)
{
    return (int)random_below(r, (uint32_t)n);
}

/* Of mean 0 and variance 1, with all of a float's bits, and drawn in a fifth of a normal one's
 * time, which would be most of what verification takes: a sum of three that are uniform. */
static double bell_shaped(Random *r)
{
    double x = random_symmetric(r);
    x += random_symmetric(r);
    return x + random_symmetric(r);
}

double storage_value(const Module *m, const Storage *of, Random *r)
{
    const Storage *s = of->role == ROLE_AVERAGE ? storage_parameter(m, of) : of;
    double x = random_symmetric(r);
    size_t length = strlen(s->name);
    switch (s->role) {
    case ROLE_WEIGHT:
    case ROLE_MATRIX: return (float)(2.4 * x / sqrt(s->fan_in > 0 ? s->fan_in : 1));
    case ROLE_BIAS: return (float)(0.1 * x);
    case ROLE_MOMENT:
        if (length > 2 && strcmp(s->name + length - 2, ".v") == 0)
            return (float)(0.01 * fabs(x) + 0.001);
        return (float)(0.1 * x);
    case ROLE_SCALE: return (float)(1 + 0.5 * x);
    case ROLE_SHIFT:
    case ROLE_MEAN: return (float)(0.2 * x);
    case ROLE_VARIANCE: return (float)(1 + 0.5 * x);
    case ROLE_CLASSES: return (float)(1 + 0.5 * x);
    case ROLE_BATCHES: return floor(100 * fabs(x));
    case ROLE_AVERAGE:
    case ROLE_COUNT: break;
    }
    return 0;
}

/* A code of a window that starts at row h, column w of the output and lies inside the input. */
static double pool_code(const Node *n, int h, int w, Random *r)
{
    const Window *p = &n->attr.window;
    const Shape *in = &n->in[0]->tensor.shape;
    for (;;) {
        int kh = below(r, p->kernel_h), kw = below(r, p->kernel_w);
        int y = h * p->stride_h - p->padding_h + kh, x = w * p->stride_w - p->padding_w + kw;
        if (y >= 0 && y < in->dim[1] && x >= 0 && x < in->dim[2])
            return kh * p->kernel_w + kw;
    }
}

static void fill_codes(const Node *n, int64_t count, double *out, Random *r)
{
    const Shape *s = &n->tensor.shape;
    for (int64_t i = 0; i < count; i++) {
        int64_t pixel = i / s->dim[3];
        out[i] = pool_code(n, (int)(pixel / s->dim[2] % s->dim[1]), (int)(pixel % s->dim[2]), r);
    }
}

static double input_value(const Verify *v, const Trial *t, const Node *n, Random *r)
{
    switch (input_named(n->name)) {
    case INPUT_IMAGE: return below(r, 256);
    case INPUT_LABEL: return below(r, v->model->classes);
    case INPUT_VALID:
        return t->values.images < DEFAULT_IMAGES || v->full ? t->values.images : DEFAULT_IMAGES;
    case INPUT_LR: return LEARNING_RATE;
    case INPUT_STEP: return STEP;
    case INPUT_SEED: return SEED;
    case INPUT_EPOCH: return EPOCH;
    case INPUT_INDEX: return below(r, 1 << 20);
    case INPUT_LABEL_WEIGHT: return LABEL_WEIGHT;
    case INPUT_COUNT: break;
    }
    internal_error("nobody gives the input %s", n->name);
}

/* As many zeros as ops leave: kernels may leave them out. */
static double computed_value(const Node *n, Random *r)
{
    if (n->tensor.dtype != DT_F32 && n->tensor.dtype != DT_BF16)
        return below(r, 2);
    float x = (float)bell_shaped(r);
    if (n->op == OP_ADAM_V || n->op == OP_BATCH_VAR || n->op == OP_SQUARE_SUM)
        return fabsf(x) + 0.001f;
    bool zero = (n->op == OP_RELU && x < 0) || (n->op == OP_RELU_GRAD && below(r, 2) == 0) ||
                (n->op == OP_MAXPOOL_GRAD && below(r, 8) > 0);
    return zero ? 0 : x;
}

/* ---- extremes ---- */

bool takes_extremes(const Kernel *k)
{
    for (int i = 0; i < k->node_count; i++)
        if (!op_is_pointwise(k->node[i]->op) && k->node[i]->op != OP_UPDATE &&
            k->node[i]->op != OP_CAST && k->node[i]->op != OP_MAXPOOL &&
            k->node[i]->op != OP_MAXPOOL_CODE && k->node[i]->op != OP_MAXPOOL_GRAD)
            return false;
    return true;
}

/* Zeros of both signs, denormals, the least normal number, small ones whose squares are no floats,
 * large ones whose squares still are. */
static double extreme_value(Random *r)
{
    static const float magnitude[] = {0,      0,     0,    1e-45f, 1e-40f, FLT_MIN, 1e-30f,
                                      1e-22f, 1e-8f, 1.0f, 1.0f,   1e6f,   1e15f};
    float x = magnitude[below(r, sizeof magnitude / sizeof *magnitude)];
    return below(r, 2) ? (double)-x : (double)x;
}

/* Scalars and integers stay sensible; what is a mean of squares is not negative. */
static bool is_extreme(const Trial *t, const Node *n)
{
    return t->extremes && n->tensor.shape.rank > 0 &&
           (n->tensor.dtype == DT_F32 || n->tensor.dtype == DT_BF16);
}

static bool is_square(const Node *n)
{
    const char *name = n->op == OP_STATE ? n->storage->name : "";
    size_t length = strlen(name);
    return n->op == OP_ADAM_V || n->op == OP_SQUARE_SUM ||
           (length > 2 && strcmp(name + length - 2, ".v") == 0);
}

/* ---- all ---- */

/* Of that size; of either sign where a result of the op may be. */
static double fraction(const Node *n, double size, Random *r)
{
    return op_is(n->op, F_KEEPS_ZERO) && below(r, 2) ? -size : size;
}

static double any_value(Verify *v, const Trial *t, const Node *n)
{
    Random *r = &v->random;
    if (op_is(n->op, F_FRACTION))
        return fraction(n, is_extreme(t, n) ? fmin(fabs(extreme_value(r)), 1)
                                            : 1 / (1 + exp(-bell_shaped(r))), r);
    if (is_extreme(t, n))
        return is_square(n) ? fabs(extreme_value(r)) : extreme_value(r);
    return n->op == OP_STATE   ? storage_value(t->values.graph->module, n->storage, r)
           : n->op == OP_INPUT ? input_value(v, t, n, r)
                               : computed_value(n, r);
}

void fill_value(Verify *v, const Trial *t, const Node *n, int64_t count, double *out)
{
    Random *r = &v->random;
    if (n->op == OP_MAXPOOL_CODE) {
        fill_codes(n, count, out, r);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        out[i] = any_value(v, t, n);
    for (int64_t i = 0; n->tensor.dtype == DT_BF16 && i < count; i++)
        out[i] = bf16_rounded((float)out[i]); /* what the device sees */
}
