/* The optimizer kernel, the cast, transposed and folded filters: loops over parameters, in slices
 * that threads take. */
#include "cpu.h"
#include "expression.h"

#include <stdlib.h>

/* ---- optimizer ---- */

/* The nodes of an update kernel that work for one parameter, in order. */
typedef struct Group {
    Node **node;
    int count;
} Group;

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The arguments that the nodes read, as numbers, in order, some of them more than once. */
static int find_reads(CpuEmitter *e, Node *const *node, int count, int *read)
{
    int reads = 0;
    for (int i = 0; i < count; i++)
        for (int b = 0; node_is_optimizer(node[i]) && b < node[i]->arity; b++) {
            const Node *in = node[i]->in[b];
            int arg = kernel_arg(&e->args, in);
            if (arg >= 0 && e->args.node[arg] == in && in->kernel != e->kernel &&
                is_element_wise(in))
                read[reads++] = arg;
        }
    qsort(read, (size_t)reads, sizeof *read, by_number);
    return reads;
}

/* A local for each operand read from memory: state before its update, gradients, scalars. */
static void emit_reads(CpuEmitter *e, Node *const *node, int count)
{
    int *read = pool_alloc(e->pool, (size_t)count * MAX_OPERANDS * sizeof *read);
    int reads = find_reads(e, node, count, read);
    for (int i = 0; i < reads; i++) {
        if (i > 0 && read[i] == read[i - 1])
            continue;
        const Node *in = e->args.node[read[i]];
        const char *name = value_name(e, in);
        if (in->place.region == REGION_PARTIAL)
            emit_line(e, "const float %s_i = sum_copies(%s + i, %d, %lld);", name, name,
                      value_copies(in), (long long)(in->place.bytes / dtype_bytes(DT_F32)));
        else
            emit_line(e, "const float %s_i = %s[i];", name, name);
    }
}

static const char *local(const CpuEmitter *e, const Node *n)
{
    if (!is_element_wise(n))
        return pool_format(e->pool, "%s[0]", value_name(e, n));
    return pool_format(e->pool, "%s_i", value_name(e, n));
}

/* A double's float, as a C literal. */
static const char *literal(const CpuEmitter *e, double x)
{
    return pool_format(e->pool, "(float)%.17g", x);
}

/* The learning rate that a step goes by. */
static const char *own_rate(const CpuEmitter *e, const Node *n)
{
    const char *rate = local(e, n->in[op_rate_operand(n->op)]);
    double mult = attr_lr_mult(n->op, &n->attr);
    return mult == 1 ? rate : pool_format(e->pool, "(%s * %s)", literal(e, mult), rate);
}

static void emit_element(CpuEmitter *e, const Node *n)
{
    const char *in[MAX_OPERANDS], *name = value_name(e, n);
    for (int i = 0; i < n->arity; i++)
        in[i] = local(e, n->in[i]);
    if (op_attr(n->op) == ATTR_RATE)
        in[op_rate_operand(n->op)] = own_rate(e, n);
    if (n->op == OP_UPDATE) {
        emit_line(e, "%s[i] = %s;", name, in[0]);
        return;
    }
    if (op_attr(n->op) == ATTR_ADAM)
        emit_line(e, "const float %s_i = adam_step(adam, %s, %s, %s);", name, in[0], in[1], in[2]);
    else if (op_is_pointwise(n->op))
        emit_line(e, "const float %s_i = %s;", name,
                  expression_of(e->pool, n, in, literal(e, n->attr.factor),
                                literal(e, 1 - n->attr.factor)));
    else
        internal_error("%s in an update kernel", op_name(n->op));
    if (n->place.region != REGION_NONE)
        emit_line(e, "%s[i] = %s_i;", name, name);
}

/* Scalars of Adam, once a loop: they depend on the step only. */
static void emit_adam_scalars(CpuEmitter *e, const Node *n)
{
    char beta1[32], beta2[32], eps[32];
    emit_line(e, "const Adam adam = adam_at(%s, %s[0], %s, %s, %s);", own_rate(e, n),
              value_name(e, n->in[4]), format_double(n->attr.adam.beta1, beta1),
              format_double(n->attr.adam.beta2, beta2), format_double(n->attr.adam.eps, eps));
}

void emit_step_scalars(CpuEmitter *e, Node *const *node, int count)
{
    for (int i = 0; i < count; i++)
        if (node[i]->op == OP_ADAM_STEP) {
            emit_adam_scalars(e, node[i]);
            return;
        }
}

void emit_step(CpuEmitter *e, Node *const *node, int count)
{
    emit_reads(e, node, count);
    for (int pass = 0; pass < 2; pass++) /* all reads of a state come before its update */
        for (int i = 0; i < count; i++)
            if (node_is_optimizer(node[i]) && (node[i]->op == OP_UPDATE) == (pass == 1))
                emit_element(e, node[i]);
}

static void emit_group(CpuEmitter *e, const Group *g)
{
    const Node *first = g->node[0];
    long long lines = (tensor_elements(&first->tensor) + 15) / 16;
    emit_block(e);
    emit_line(e, "const ptrdiff_t begin = %lldLL * range->slice / range->slices * 16;", lines);
    emit_line(e, "const ptrdiff_t end = range->slice + 1 == range->slices ? %lld :",
              (long long)tensor_elements(&first->tensor));
    emit_line(e, "    %lldLL * (range->slice + 1) / range->slices * 16;", lines);
    emit_step_scalars(e, g->node, g->count);
    emit_open(e, "for (ptrdiff_t i = begin; i < end; i++)");
    emit_step(e, g->node, g->count);
    emit_close(e);
    emit_close(e);
}

/* The groups of the kernel's nodes, from 1. */
static Group *find_groups(CpuEmitter *e, int *groups)
{
    const Kernel *k = e->kernel;
    size_t nodes = (size_t)k->node_count;
    int *group = pool_alloc(e->pool, (nodes + 1) * sizeof *group);
    *groups = optimizer_groups(e->pool, k, group);
    Group *list = pool_alloc(e->pool, ((size_t)*groups + 1) * sizeof *list);
    for (int i = 0; i < k->node_count; i++)
        list[group[i]].count++;
    for (int id = 0; id <= *groups; id++) {
        list[id].node = pool_alloc(e->pool, (size_t)list[id].count * sizeof *list[id].node);
        list[id].count = 0;
    }
    for (int i = 0; i < k->node_count; i++) {
        Group *g = &list[group[i]];
        g->node[g->count++] = k->node[i];
    }
    return list;
}

void emit_update(CpuEmitter *e)
{
    int groups;
    const Group *list = find_groups(e, &groups);
    for (int id = 1; id <= groups; id++)
        emit_group(e, &list[id]);
}

/* ---- filters ---- */

static const char *filter_change(const Node *n)
{
    if (n->op == OP_CAST)
        return "cast";
    return n->tensor.dtype == DT_BF16 ? "transpose_cast" : "transpose";
}

void emit_filters(CpuEmitter *e)
{
    for (int i = 0; i < e->kernel->node_count; i++) {
        const Node *n = e->kernel->node[i], *from = n->in[0];
        if (op_attr(n->op) == ATTR_FOLD) {
            emit_fold_filter(e, n);
            continue;
        }
        const int32_t *d = from->tensor.shape.dim;
        const Layout *l = &from->tensor.layout, *to = &n->tensor.layout;
        int lanes = graph_lanes(e->graph);
        if (n->op == OP_FILTER_TRANSPOSE && (l->block != lanes || to->block != lanes))
            internal_error("a filter to transpose has blocks of %d and %d", l->block, to->block);
        text_append(e->tables, "static const Filter %s_%d = {%d, %d, %d, %d, %d, %d, %d};\n",
                    e->kernel->name, i, d[0], d[1], d[2], d[3], l->block, l->out_block,
                    to->out_block);
        emit_line(e, "%s_filter(&%s_%d, %s, %s, range);",
                  filter_change(n), e->kernel->name, i,
                  value_name(e, from), value_name(e, n));
    }
    text_append(e->tables, "\n");
}
