/* Pointwise ops: their functions, from the op table's expressions, and chains of them. */
#include "cuda.h"

#include <math.h>
#include <string.h>

/* ---- functions ---- */

static bool is_used(const Module *m, Op op)
{
    const Graph *g;
    const Kernel *k;
    for (int i = 0; (k = target_kernel(m, TARGET_CUDA, i, &g)); i++)
        for (int j = 0; j < k->node_count; j++)
            if (k->node[j]->op == op)
                return true;
    return false;
}

void cuda_emit_ops(const Module *m, Text *out)
{
    static const char *const attributes[] = {
        [ATTR_NONE] = "",
        [ATTR_FACTOR] = ", Factor k",
        [ATTR_NORM] = "",
        [ATTR_RATE] = "",
        [ATTR_ADAM] = ",\n                              "
                      "Beta adam_beta1, Beta adam_beta2, float adam_eps",
    };
    text_append(out, "\n/* ---- the pointwise ops of this model ---- */\n\n");
    for (int op = 0; op < OP_COUNT; op++) {
        if (!op_is_pointwise((Op)op) || !is_used(m, (Op)op))
            continue;
        text_append(out, "NINC_DEVICE float op_%s(", op_name((Op)op));
        for (int i = 0; i < op_max_operands((Op)op); i++)
            text_append(out, "%sfloat %c", i ? ", " : "", 'a' + i);
        text_append(out, "%s)\n{\n    return %s;\n}\n\n", attributes[op_attr((Op)op)],
                    op_scalar((Op)op));
    }
}

/* ---- calls ---- */

/* log 0 is as good as a large negative number: its powers are 0. */
static const char *beta(Pool *pool, double value)
{
    return pool_format(pool, "Beta{%s}", cuda_literal(pool, value > 0 ? log(value) : -1e30));
}

/* Appends what the op's attribute gives to its function; returns the new count. */
static int add_attribute(Pool *pool, const Node *n, const char **argument, int count)
{
    const AdamAttr *adam = &n->attr.adam;
    if (op_attr(n->op) == ATTR_FACTOR)
        argument[count++] = pool_format(pool, "Factor{%s, %s}",
                                        cuda_literal(pool, n->attr.factor),
                                        cuda_literal(pool, 1 - n->attr.factor));
    if (op_attr(n->op) == ATTR_ADAM) {
        argument[count++] = beta(pool, adam->beta1);
        argument[count++] = beta(pool, adam->beta2);
        argument[count++] = cuda_literal(pool, adam->eps);
    }
    return count;
}

/* The learning rate that a step goes by. */
static const char *own_rate(Pool *pool, const Node *n, const char *rate)
{
    double mult = attr_lr_mult(n->op, &n->attr);
    return mult == 1 ? rate : pool_format(pool, "%s * %s", cuda_literal(pool, mult), rate);
}

const char *cuda_apply(Pool *pool, const Node *n, const char *const *in, int start)
{
    const char *argument[MAX_OPERANDS + 3], *call;
    Text text = {0};
    if (n->op == OP_CAST || n->op == OP_UPDATE)
        return in[0];
    for (int i = 0; i < n->arity; i++)
        argument[i] = i == op_rate_operand(n->op) ? own_rate(pool, n, in[i]) : in[i];
    int count = add_attribute(pool, n, argument, n->arity);
    text_append(&text, "op_%s(", op_name(n->op));
    start += (int)text.length;
    cuda_list(&text, argument, count, start, start);
    text_append(&text, ")");
    call = pool_strdup(pool, text.data);
    text_free(&text);
    return call;
}

/* ---- chains ---- */

static bool same_form(const Tensor *a, const Tensor *b)
{
    return shape_equal(&a->shape, &b->shape) &&
           memcmp(&a->layout, &b->layout, sizeof a->layout) == 0;
}

static bool is_before(const CudaEmitter *e, const Node *n)
{
    return n->kernel == e->kernel && n->op != OP_INPUT;
}

/* Whether all that the chain reads lies as its result, so that one number leads to all elements,
 * also to what a map has no channels or pixels for, which must stay zero. */
static bool is_flat(const CudaEmitter *e, const Node *result)
{
    for (int i = 0; i < e->kernel->node_count; i++) {
        const Node *n = e->kernel->node[i];
        if (!op_is(n->op, F_KEEPS_ZERO))
            return false;
        for (int k = 0; k < n->arity; k++)
            if (is_element_wise(n->in[k]) && !is_before(e, n->in[k]) &&
                !same_form(&n->in[k]->tensor, &result->tensor))
                return false;
    }
    return true;
}

/* An operand as a float: a local, a scalar, or an element in memory. */
static const char *operand(const CudaEmitter *e, const Node *in, bool flat)
{
    if (is_before(e, in))
        return pool_format(e->pool, "x%d", in->number);
    const char *name = cuda_value(e, in);
    if (!is_element_wise(in))
        return pool_format(e->pool, "(float)*%s", name);
    if (!flat)
        return pool_format(e->pool, "%s::read(%s, n, h, w, c)", cuda_view(e, in), name);
    if (in->place.region == REGION_PARTIAL)
        return pool_format(e->pool, "sum_copies(%s + at, %s, %lld)", name, cuda_copies(e, in),
                           (long long)tensor_elements(&in->tensor));
    return pool_format(e->pool, "to_float(%s[at])", name);
}

/* The node's value, on a line that begins with `before`. */
static void emit_element(CudaEmitter *e, const Node *n, bool flat, const char *before,
                         const char *after)
{
    const char *in[MAX_OPERANDS];
    for (int i = 0; i < n->arity; i++)
        in[i] = operand(e, n->in[i], flat);
    cuda_line(e, "    %s%s%s", before, cuda_apply(e->pool, n, in, 8 + (int)strlen(before)), after);
}

static void emit_elements(CudaEmitter *e, bool flat)
{
    int last = e->kernel->node_count - 1;
    for (int i = 0; i < last; i++) {
        const Node *n = e->kernel->node[i];
        const char *local = pool_format(e->pool, "const float x%d = ", n->number);
        emit_element(e, n, flat, local, ";");
    }
    const Node *result = e->kernel->node[last];
    if (flat)
        emit_element(e, result, flat,
                     pool_format(e->pool, "put(%s + at, ", cuda_value(e, result)), ");");
    else
        emit_element(e, result, flat, "return ", ";");
}

void cuda_emit_pointwise(CudaEmitter *e)
{
    const Node *result = e->kernel->node[e->kernel->node_count - 1];
    if (is_flat(e, result)) {
        cuda_line(e, "const i64 at = thread_element();");
        cuda_line(e, "if (at < %lld) {", (long long)tensor_elements(&result->tensor));
        emit_elements(e, true);
        cuda_line(e, "}");
        return;
    }
    cuda_line(e, "%s::each(%s, [=](int n, int h, int w, int c) {", cuda_view(e, result),
              cuda_value(e, result));
    emit_elements(e, false);
    cuda_line(e, "});");
}
