/* Pointwise ops, from the op table's expressions. */
#include "generic.h"

static const char *operand(const CpuEmitter *e, const Node *n, const Node *in)
{
    const Shape *s = &in->tensor.shape;
    if (s->rank == 0)
        return element_at(e, in, "0");
    if (is_per_image(e->graph, n))
        return read_map(e, in, "n", "h", "w", "c");
    return element_at(e, in, "i");
}

/* Per-image values go by their coordinates; parameters, whose operands all lie alike, flat. */
void generic_pointwise(CpuEmitter *e, const Node *n)
{
    char digits[32];
    bool images = is_per_image(e->graph, n);
    int loops = images ? 4 : 1;
    if (images) {
        open_pixels(e, n);
        open_loop(e, "c", map_dim(n, 3));
    } else {
        emit_open(e, "for (ptrdiff_t i = 0; i < %lld; i++)",
                  (long long)tensor_elements(&n->tensor));
    }
    for (int k = 0; k < n->arity; k++)
        emit_line(e, "const %s %c = %s;", n->in[k]->tensor.dtype == DT_I32 ? "int" : "float",
                  'a' + k, operand(e, n, n->in[k]));
    if (op_attr(n->op) == ATTR_FACTOR)
        emit_line(e, "const double k = %s;", format_double(n->attr.factor, digits));
    if (op_attr(n->op) == ATTR_ADAM) {
        emit_line(e, "const double adam_beta1 = %s;", format_double(n->attr.adam.beta1, digits));
        emit_line(e, "const double adam_beta2 = %s;", format_double(n->attr.adam.beta2, digits));
        emit_line(e, "const double adam_eps = %s;", format_double(n->attr.adam.eps, digits));
    }
    emit_write(e, n, images ? map_index(e, n, "n", "h", "w", "c") : "i",
               pool_format(e->pool, "(float)(%s)", op_scalar(n->op)));
    close_loops(e, loops);
}
