/* Pointwise ops, from the op table's expressions, and casts. */
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
/* Of the learning rate the multiple that a step goes by. */
static const char *own_operand(CpuEmitter *e, const Node *n, int k)
{
    char digits[32];
    const char *value = operand(e, n, n->in[k]);
    double mult = k == op_rate_operand(n->op) ? attr_lr_mult(n->op, &n->attr) : 1;
    return mult == 1 ? value : pool_format(e->pool, "(float)(%s * %s)",
                                           format_double(mult, digits), value);
}

static void emit_expression(CpuEmitter *e, const Node *n)
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
                  'a' + k, own_operand(e, n, k));
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

/* Filters may lie differently; other values that are no maps lie alike. */
static void emit_cast(CpuEmitter *e, const Node *n)
{
    const Node *from = n->in[0];
    const int32_t *d = n->tensor.shape.dim;
    if (is_per_image(e->graph, n)) {
        open_pixels(e, n);
        open_loop(e, "c", map_dim(n, 3));
        write_pixel(e, n, read_map(e, from, "n", "h", "w", "c"));
    } else if (n->tensor.shape.rank == 4) {
        open_loop(e, "o", d[0]);
        open_loop(e, "i", d[1]);
        open_loop(e, "kh", d[2]);
        open_loop(e, "kw", d[3]);
        emit_write(e, n, filter_index(e, n, "o", "i", "kh", "kw"),
                   element_at(e, from, filter_index(e, from, "o", "i", "kh", "kw")));
    } else {
        open_loop(e, "i", (int)tensor_elements(&n->tensor));
        emit_write(e, n, "i", element_at(e, from, "i"));
        close_loops(e, 1);
        return;
    }
    close_loops(e, 4);
}

void generic_pointwise(CpuEmitter *e, const Node *n)
{
    if (n->op == OP_CAST)
        emit_cast(e, n);
    else
        emit_expression(e, n);
}

void generic_activation(CpuEmitter *e, const Node *n)
{
    emit_expression(e, n);
}

/* All elements as they lie: what is between the logical ones is zero. */
static void emit_square_sum(CpuEmitter *e, const Node *n)
{
    const Node *g = n->in[0];
    emit_line(e, "%s[0] = (float)(%s + square_sum(%s, %d, %lld, %lld));", value_name(e, n),
              n->arity > 1 ? pool_format(e->pool, "(double)%s[0]", value_name(e, n->in[1])) : "0",
              value_name(e, g), value_copies(g),
              (long long)(g->place.bytes / dtype_bytes(DT_F32)),
              (long long)tensor_elements(&g->tensor));
}

static void emit_clip_factor(CpuEmitter *e, const Node *n)
{
    char digits[32];
    emit_line(e, "%s[0] = clip_factor(%s[0], %s);", value_name(e, n), value_name(e, n->in[0]),
              format_double(n->attr.factor, digits));
}

void generic_optimizer(CpuEmitter *e, const Node *n)
{
    if (n->op == OP_SQUARE_SUM)
        emit_square_sum(e, n);
    else if (n->op == OP_CLIP_FACTOR)
        emit_clip_factor(e, n);
    else
        emit_expression(e, n);
}
