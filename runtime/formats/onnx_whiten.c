/* Images of global contrast 1, and a row as a map, as ONNX has them. */
#include "onnx_mapper.h"

/* Over all of an image: [N,1,1,1]. */
static const char *reduced(Mapper *m, const char *type, const char *x)
{
    const char *name = mapper_name(m, "contrast");
    OnnxNode *n = onnx_node(m->onnx, type, name, &x, 1);
    onnx_set_integers(m->onnx, n, "axes", 3, (int64_t[]){1, 2, 3});
    return name;
}

/* Its readers find it out themselves. */
int onnx_map_image_stats(Mapper *m, const Node *n)
{
    m->value[n->id] = mapper_operand(m, n->in[0]);
    return 0;
}

int onnx_map_contrast(Mapper *m, const Node *n)
{
    const ContrastAttr *a = &n->attr.contrast;
    const char *x = mapper_operand(m, n->in[0]), *less, *where;
    if (!x)
        return -1;
    x = mapper_binary(m, "Sub", mapper_name(m, "contrast"), x, reduced(m, "ReduceMean", x));
    const char *divisor = mapper_binary(m, "Div", mapper_name(m, "contrast"),
                                        reduced(m, "ReduceL2", x), mapper_number(m, n, a->scale));
    less = mapper_binary(m, "Less", mapper_name(m, "contrast"), divisor,
                         mapper_number(m, n, a->eps));
    where = mapper_name(m, "contrast");
    onnx_node(m->onnx, "Where", where, (const char *[]){less, mapper_number(m, n, 1), divisor}, 3);
    return mapper_node(m, n, "Div", (const char *[]){x, where}, 2) ? 0 : -1;
}

/* [N, H W C, 1, 1] to [N,H,W,C], then channels first. */
int onnx_map_unflatten(Mapper *m, const Node *n)
{
    const int32_t *y = n->tensor.shape.dim;
    const char *x = mapper_operand(m, n->in[0]), *map = mapper_name(m, "unflatten");
    const char *shape = mapper_name(m, "unflatten");
    int64_t *to = pool_alloc(m->pool, 4 * sizeof *to);
    for (int i = 1; i < 4; i++)
        to[i] = y[i]; /* the first stays 0: as it is */
    if (!x)
        return -1;
    onnx_integers(m->onnx, shape, 4, to);
    onnx_node(m->onnx, "Reshape", map, (const char *[]){x, shape}, 2);
    OnnxNode *turned = mapper_node(m, n, "Transpose", &map, 1);
    if (!turned)
        return -1;
    onnx_set_integers(m->onnx, turned, "perm", 4, (int64_t[]){0, 3, 1, 2});
    return 0;
}
