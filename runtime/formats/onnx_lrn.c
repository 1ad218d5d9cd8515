/* Local response normalization as ONNX has it. */
#include "onnx_mapper.h"

static const char *squeezed(Mapper *m, const Node *n, const char *type, const char *x)
{
    const char *name = mapper_name(m, op_name(n->op));
    const char *axis = pool_format(m->pool, "%s/axis", name);
    int64_t *one = pool_alloc(m->pool, sizeof *one);
    *one = 1;
    onnx_integers(m->onnx, axis, 1, one);
    onnx_node(m->onnx, type, name, (const char *[]){x, axis}, 2);
    return name;
}

/* The means of x^2 over windows of channels, those that there are not zeros: an average pool of
 * the channels as another axis. */
static const char *mean_of_squares(Mapper *m, const Node *n, const char *x)
{
    int64_t size = n->attr.lrn.size, before = size / 2, after = (size - 1) / 2;
    const char *square = mapper_binary(m, "Mul", mapper_name(m, "lrn"), x, x);
    const char *deep = squeezed(m, n, "Unsqueeze", square), *mean = mapper_name(m, "lrn");
    OnnxNode *pool = onnx_node(m->onnx, "AveragePool", mean, &deep, 1);
    onnx_set_integers(m->onnx, pool, "kernel_shape", 3, (int64_t[]){size, 1, 1});
    onnx_set_integers(m->onnx, pool, "strides", 3, (int64_t[]){1, 1, 1});
    onnx_set_integers(m->onnx, pool, "pads", 6, (int64_t[]){before, 0, 0, after, 0, 0});
    onnx_set_integer(m->onnx, pool, "count_include_pad", 1);
    return squeezed(m, n, "Squeeze", mean);
}

/* Windows of an even size have one channel more before than behind, in ONNX the other way round:
 * they are spelled out. */
int onnx_map_lrn(Mapper *m, const Node *n)
{
    const LrnAttr *a = &n->attr.lrn;
    const char *x = mapper_operand(m, n->in[0]);
    if (a->size % 2 == 0) {
        const char *s = x ? mean_of_squares(m, n, x) : NULL;
        if (s) {
            s = mapper_binary(m, "Mul", mapper_name(m, "lrn"), s, mapper_number(m, n, a->alpha));
            s = mapper_binary(m, "Add", mapper_name(m, "lrn"), s, mapper_number(m, n, a->k));
            s = mapper_binary(m, "Pow", mapper_name(m, "lrn"), s, mapper_number(m, n, a->beta));
        }
        return mapper_node(m, n, "Div", (const char *[]){x, s}, 2) ? 0 : -1;
    }
    OnnxNode *lrn = mapper_node(m, n, "LRN", &x, 1);
    if (!lrn)
        return -1;
    onnx_set_integer(m->onnx, lrn, "size", a->size);
    onnx_set_float(m->onnx, lrn, "alpha", a->alpha);
    onnx_set_float(m->onnx, lrn, "beta", a->beta);
    onnx_set_float(m->onnx, lrn, "bias", a->k);
    return 0;
}
