/* The optimizer kernel and the casts of filters: parameter by parameter, each from a new block. */
#include "cuda.h"

#include <string.h>

enum { MAX_ARRAYS = 8 };

/* What one parameter's chain reads and writes, element by element. */
typedef struct Group {
    int id;
    const int *group;              /* of each node of the kernel */
    const Node *state[MAX_ARRAYS]; /* parameter and moments, in order of first read */
    const Node *gradient[MAX_ARRAYS];
    const Node *scalar[MAX_ARRAYS]; /* lr, step */
    int states, gradients, scalars;
    int64_t elements;
    const char *optimizer; /* its type */
} Group;

static int add_once(const Node **list, int *count, const Node *n)
{
    for (int i = 0; i < *count; i++)
        if (list[i] == n || (n->storage && list[i]->storage == n->storage))
            return i;
    if (*count == MAX_ARRAYS)
        internal_error("an optimizer of more than %d arrays", MAX_ARRAYS);
    list[*count] = n;
    return (*count)++;
}

static bool is_in(const CudaEmitter *e, const Group *g, int at)
{
    return g->group[at] == g->id && e->kernel->node[at]->kernel == e->kernel;
}

static void add_operand(const CudaEmitter *e, Group *g, const Node *n)
{
    if (n->kernel == e->kernel && !n->storage)
        return;
    if (!is_element_wise(n))
        add_once(g->scalar, &g->scalars, n);
    else if (n->storage)
        add_once(g->state, &g->states, n);
    else
        add_once(g->gradient, &g->gradients, n);
}

static Group find_group(const CudaEmitter *e, const int *group, int id)
{
    Group g = {.id = id, .group = group};
    for (int i = 0; i < e->kernel->node_count; i++) {
        const Node *n = e->kernel->node[i];
        if (!is_in(e, &g, i))
            continue;
        for (int k = 0; k < n->arity; k++)
            add_operand(e, &g, n->in[k]);
        if (n->op == OP_UPDATE)
            add_once(g.state, &g.states, n);
        g.elements = tensor_elements(&n->tensor);
    }
    if (g.states == 0)
        internal_error("an update of nothing");
    if (g.gradients == 0) /* a count reads itself alone; an array has an element */
        add_once(g.gradient, &g.gradients, g.state[0]);
    return g;
}

/* ---- the function of one element ---- */

static const char *name_in(const CudaEmitter *e, const char *array, int at)
{
    return pool_format(e->pool, "%s[%d]", array, at);
}

static const char *operand(CudaEmitter *e, Group *g, const int *local, const Node *in)
{
    if (in->kernel == e->kernel && !in->storage) {
        for (int i = 0; i < e->kernel->node_count; i++)
            if (e->kernel->node[i] == in)
                return pool_format(e->pool, "x%d", local[i]);
        internal_error("a value is not in its kernel");
    }
    if (!is_element_wise(in))
        return cuda_value(e, in);
    if (in->storage)
        return name_in(e, "state", add_once(g->state, &g->states, in));
    return name_in(e, "gradient", add_once(g->gradient, &g->gradients, in));
}

/* Values first; what is stored only then: all reads of a state come before its update. */
static void emit_chain(CudaEmitter *e, Group *g, Text *out)
{
    const char *in[MAX_OPERANDS];
    int *local = pool_alloc(e->pool, (size_t)e->kernel->node_count * sizeof *local), next = 0;
    for (int update = 0; update < 2; update++)
        for (int i = 0; i < e->kernel->node_count; i++) {
            const Node *n = e->kernel->node[i];
            if (!is_in(e, g, i) || (n->op == OP_UPDATE) != update)
                continue;
            for (int k = 0; k < n->arity; k++)
                in[k] = operand(e, g, local, n->in[k]);
            if (update) {
                text_append(out, "        %s = %s;\n",
                            name_in(e, "state", add_once(g->state, &g->states, n)), in[0]);
                continue;
            }
            local[i] = next++;
            const char *before = pool_format(e->pool, "        const float x%d = ", local[i]);
            text_append(out, "%s%s;\n", before,
                        cuda_apply(e->pool, n, in, (int)strlen(before)));
        }
}

/* The type's members and operator, without its name: the same for all parameters that are updated
 * alike. */
static void emit_optimizer(CudaEmitter *e, Group *g, Text *out)
{
    for (int i = 0; i < g->scalars; i++)
        text_append(out, "    float %s;\n", cuda_value(e, g->scalar[i]));
    text_append(out,
                "%s    NINC_MEMBER void operator()(float (&state)[%d], const float (&gradient)[%d])"
                " const\n    {\n",
                g->scalars ? "\n" : "", g->states, g->gradients);
    emit_chain(e, g, out);
    text_append(out, "    }\n};\n");
}

/* The group's type, emitted before the kernel unless an earlier parameter has the same one. */
static void define_optimizer(CudaEmitter *e, Group *g, char **bodies, int *types)
{
    Text body = {0};
    emit_optimizer(e, g, &body);
    int at = 0;
    while (at < *types && strcmp(bodies[at], body.data) != 0)
        at++;
    g->optimizer = pool_format(e->pool, "Optimizer_%s_%d", e->kernel->name, at);
    if (at == *types) {
        bodies[(*types)++] = pool_strdup(e->pool, body.data);
        text_append(e->types, "\nstruct %s {\n%s", g->optimizer, body.data);
    }
    text_free(&body);
}

/* ---- the kernel ---- */

static const char *parts_of(CudaEmitter *e, const Group *g)
{
    const char *list = "";
    for (int i = 0; i < g->gradients; i++)
        list = pool_format(e->pool, "%s%s{%s, %s}", list, i ? ", " : "",
                           cuda_value(e, g->gradient[i]), cuda_copies(e, g->gradient[i]));
    return list;
}

static const char *names_of(CudaEmitter *e, const Node *const *node, int count, const char *before)
{
    const char *list = "";
    for (int i = 0; i < count; i++)
        list = pool_format(e->pool, "%s%s%s%s", list, i ? ", " : "", before,
                           cuda_value(e, node[i]));
    return list;
}

/* Whether the block is one of first .. end - 1. */
static const char *in_blocks(Pool *pool, int64_t first, int64_t end)
{
    const char *from = first ? pool_format(pool, "(int)blockIdx.x >= %lld && ", (long long)first)
                             : "";
    return pool_format(pool, "%s(int)blockIdx.x < %lld", from, (long long)end);
}

static void emit_parameter(CudaEmitter *e, const Group *g, int64_t first, int64_t end)
{
    cuda_line(e, "if (%s) {", in_blocks(e->pool, first, end));
    cuda_line(e, "    float *const state[] = {%s};", names_of(e, g->state, g->states, ""));
    cuda_line(e, "    const Parts gradient[] = {%s};", parts_of(e, g));
    cuda_line(e, "    const %s optimizer = {%s};", g->optimizer,
              names_of(e, g->scalar, g->scalars, "(float)*"));
    cuda_line(e, "    update_parameter<%lld>((int)blockIdx.x - %lld, optimizer, state, gradient);",
              (long long)g->elements, (long long)first);
    cuda_line(e, "}");
}

void cuda_emit_update(CudaEmitter *e)
{
    const int64_t block = CUDA_BLOCK * CUDA_UPDATE_WIDTH;
    size_t nodes = (size_t)e->kernel->node_count;
    int *group = pool_alloc(e->pool, nodes * sizeof *group);
    char **bodies = pool_alloc(e->pool, nodes * sizeof *bodies);
    int groups = optimizer_groups(e->pool, e->kernel, group), types = 0;
    int64_t first = 0;
    for (int id = 1; id <= groups; id++) {
        Group g = find_group(e, group, id);
        define_optimizer(e, &g, bodies, &types);
        int64_t end = first + (g.elements + block - 1) / block;
        emit_parameter(e, &g, first, end);
        first = end;
    }
}

void cuda_emit_filters(CudaEmitter *e)
{
    int64_t first = 0;
    for (int i = 0; i < e->kernel->node_count; i++) {
        const Node *n = e->kernel->node[i];
        int64_t elements = tensor_elements(&n->tensor);
        int64_t end = first + (elements + CUDA_BLOCK - 1) / CUDA_BLOCK;
        if (n->op != OP_CAST)
            internal_error("%s in a filter kernel", op_name(n->op));
        cuda_line(e, "if (%s)", in_blocks(e->pool, first, end));
        cuda_line(e, "    cast_filter<%lld>((int)blockIdx.x - %lld, %s, %s);",
                  (long long)elements, (long long)first, cuda_value(e, n->in[0]),
                  cuda_value(e, n));
        first = end;
    }
}
