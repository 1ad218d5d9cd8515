/* Building and editing graphs: every node is made here. */
#include "ir.h"

#include <stdlib.h>
#include <string.h>

/* ---- modules ---- */

Module *module_new(Pool *pool, const char *name)
{
    Module *m = pool_alloc(pool, sizeof *m);
    m->pool = pool;
    m->name = pool_strdup(pool, name);
    m->dataset = "idx";
    m->optimizer = optimizer_standard(OPTIMIZER_SGD);
    return m;
}

Storage *module_add_storage(Module *m, const char *name, Shape shape, Role role, Loc loc)
{
    Storage *s = pool_alloc(m->pool, sizeof *s);
    s->name = pool_strdup(m->pool, name);
    s->tensor = (Tensor){.dtype = DT_F32, .shape = shape};
    s->role = role;
    s->training.lr_mult = s->training.weight_decay_mult = 1;
    s->loc = loc;
    for (int t = 0; t < TARGET_COUNT; t++)
        s->home[t].offset = -1;
    s->index = m->storage_count;
    POOL_PUSH(m->pool, m->storage, m->storage_count, m->storage_capacity, s);
    if (!module_find_storage(m, name))
        names_add(&m->storage_named, m->pool, s->name, s);
    for (int i = 0; i < m->graph_count; i++)
        graph_forget_uses(m->graph[i]);
    return s;
}

Storage *module_find_storage(const Module *m, const char *name)
{
    return names_find(&m->storage_named, name);
}

/* The state nodes by their storage, whose indices may have changed. */
static void index_states(Graph *g)
{
    if (g->state_of_capacity < g->module->storage_count) {
        g->state_of_capacity = 2 * g->module->storage_count;
        g->state_of =
            pool_alloc(g->module->pool, (size_t)g->state_of_capacity * sizeof *g->state_of);
    }
    for (int i = 0; i < g->state_of_capacity; i++)
        g->state_of[i] = NULL;
    for (int i = 0; i < g->state_count; i++)
        g->state_of[g->state[i]->storage->index] = g->state[i];
}

void module_keep_storage(Module *m, bool (*keep)(const Storage *s))
{
    int kept = 0;
    m->storage_named = (NameTable){0};
    for (int i = 0; i < m->storage_count; i++)
        if (keep(m->storage[i]))
            m->storage[kept++] = m->storage[i];
    m->storage_count = kept;
    for (int i = 0; i < kept; i++) {
        m->storage[i]->index = i;
        names_add(&m->storage_named, m->pool, m->storage[i]->name, m->storage[i]);
    }
    for (int i = 0; i < m->graph_count; i++) {
        index_states(m->graph[i]);
        graph_forget_uses(m->graph[i]);
    }
}

Tensor storage_tensor(const Storage *s, Target target)
{
    Tensor t = s->tensor;
    t.layout = s->home[target].layout;
    return t;
}

void graph_lay_out_storage(Graph *g)
{
    for (int i = 0; i < g->state_count; i++)
        g->state[i]->tensor = storage_tensor(g->state[i]->storage, g->target);
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_UPDATE)
            g->node[i]->tensor = storage_tensor(g->node[i]->storage, g->target);
}

Graph *module_add_graph(Module *m, const char *name, int batch)
{
    Graph *g = pool_alloc(m->pool, sizeof *g);
    g->module = m;
    g->name = pool_strdup(m->pool, name);
    g->batch = batch;
    g->uses = uses_new(m->pool);
    POOL_PUSH(m->pool, m->graph, m->graph_count, m->graph_capacity, g);
    return g;
}

Graph *module_find_graph(const Module *m, const char *name, Target target)
{
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->target == target && strcmp(m->graph[i]->name, name) == 0)
            return m->graph[i];
    return NULL;
}

const Graph *module_first_graph(const Module *m, const char *name)
{
    const Graph *g = NULL;
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT && !g; target++)
        g = module_find_graph(m, name, target);
    return g;
}

/* ---- nodes ---- */

static bool op_has_number(Op op)
{
    return op != OP_INPUT && op != OP_STATE && op != OP_UPDATE;
}

static Node *node_new(Graph *g, Op op, Loc loc)
{
    Node *n = pool_alloc(g->module->pool, sizeof *n);
    n->op = op;
    n->loc = loc;
    n->id = -1;
    n->number = op_has_number(op) ? g->next_number++ : -1;
    return n;
}

void graph_append(Graph *g, Node *n)
{
    n->id = g->node_count;
    POOL_PUSH(g->module->pool, g->node, g->node_count, g->node_capacity, n);
    g->update_count += n->op == OP_UPDATE;
    graph_forget_uses(g);
}

/* A node whose result type is `given` (checked against the operands) or inferred. */
static Node *node_make(Graph *g, Op op, int arity, Node *const *in, const Attr *attr,
                       const Tensor *given, Loc loc)
{
    Node *n = node_new(g, op, loc);
    Diagnostics d;
    diagnostics_init(&d, g->module->pool);
    n->arity = arity;
    if (arity < 0 || arity > MAX_OPERANDS)
        internal_error("%s with %d operands", op_name(op), arity);
    for (int i = 0; i < arity; i++)
        n->in[i] = in[i];
    if (attr)
        n->attr = *attr;
    if (given)
        n->tensor = *given;
    if (!infer_type(&d, op, arity, n->in, &n->attr, loc, &n->tensor))
        internal_error("%s", d.list[0].message);
    if (given && (given->dtype != n->tensor.dtype ||
                  !shape_equal(&given->shape, &n->tensor.shape)))
        internal_error("%s: the type given is not the type inferred", op_name(op));
    if (given)
        n->tensor = *given;
    return n;
}

Node *graph_add(Graph *g, Op op, int arity, Node *const *in, const Attr *attr, Loc loc)
{
    if (op_is(op, F_GIVEN))
        internal_error("the type of %s does not follow from its operands", op_name(op));
    return graph_add_typed(g, op, arity, in, attr, NULL, loc);
}

Node *graph_add_typed(Graph *g, Op op, int arity, Node *const *in, const Attr *attr,
                      const Tensor *type, Loc loc)
{
    Node *n = node_make(g, op, arity, in, attr, type, loc);
    graph_append(g, n);
    return n;
}

Node *graph_input(Graph *g, const char *name, DType dtype, Shape shape, Loc loc)
{
    Node *n = node_new(g, OP_INPUT, loc);
    n->tensor = (Tensor){.dtype = dtype, .shape = shape};
    n->name = pool_strdup(g->module->pool, name);
    int first = 0;
    while (first < g->node_count && g->node[first]->op == OP_INPUT)
        first++;
    graph_append(g, n);
    memmove(g->node + first + 1, g->node + first,
            (size_t)(g->node_count - 1 - first) * sizeof *g->node);
    g->node[first] = n;
    if (first != g->node_count - 1)
        graph_renumber(g);
    return n;
}

Node *graph_find_input(const Graph *g, const char *name)
{
    for (int i = 0; i < g->node_count && g->node[i]->op == OP_INPUT; i++)
        if (strcmp(g->node[i]->name, name) == 0)
            return g->node[i];
    return NULL;
}

Node *graph_state(Graph *g, Storage *s)
{
    if (s->index >= g->state_of_capacity)
        index_states(g);
    if (g->state_of[s->index])
        return g->state_of[s->index];
    Node *n = node_new(g, OP_STATE, s->loc);
    n->tensor = storage_tensor(s, g->target);
    n->storage = s;
    POOL_PUSH(g->module->pool, g->state, g->state_count, g->state_capacity, n);
    g->state_of[s->index] = n;
    return n;
}

Node *graph_update(Graph *g, Storage *s, Node *value, Loc loc)
{
    Node *n = node_make(g, OP_UPDATE, 1, &value, NULL, NULL, loc);
    if (n->tensor.dtype != s->tensor.dtype || !shape_equal(&n->tensor.shape, &s->tensor.shape))
        internal_error("update of @%s by a value of another type", s->name);
    n->tensor = storage_tensor(s, g->target);
    n->storage = s;
    graph_append(g, n);
    return n;
}

void graph_output(Graph *g, const char *name, Node *node)
{
    if (g->output_count == MAX_OUTPUTS)
        internal_error("more than %d outputs", MAX_OUTPUTS);
    g->output[g->output_count++] = (Output){pool_strdup(g->module->pool, name), node};
}

Node *graph_find_output(const Graph *g, const char *name)
{
    for (int i = 0; i < g->output_count; i++)
        if (strcmp(g->output[i].name, name) == 0)
            return g->output[i].node;
    return NULL;
}

/* ---- edits ---- */

/* Text may give any number; the verifier has a flag for each up to the highest. */
enum { MOST_NUMBERS = 1000000 };

static int give_numbers(Graph *g, int next, bool anew)
{
    for (int i = 0; i < g->node_count; i++)
        if (op_has_number(g->node[i]->op) && (anew || g->node[i]->number < 0))
            g->node[i]->number = next++;
    return next;
}

void graph_number(Graph *g)
{
    int next = 0;
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->number >= next)
            next = g->node[i]->number + 1;
    next = give_numbers(g, next, false);
    g->next_number = next > MOST_NUMBERS ? give_numbers(g, 0, true) : next;
}

void graph_renumber(Graph *g)
{
    graph_forget_uses(g);
    for (int i = 0; i < g->node_count; i++)
        g->node[i]->id = i;
}

void graph_replace(Graph *g, Node *old, Node *new)
{
    graph_forget_uses(g);
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->arity; k++)
            if (g->node[i]->in[k] == old)
                g->node[i]->in[k] = new;
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node == old)
            g->output[i].node = new;
}

/* Nodes still to be visited; each is pushed once. */
typedef struct Worklist {
    Node **item;
    int count;
    bool *seen; /* by id */
} Worklist;

static void worklist_push(Worklist *w, Node *n)
{
    if (n->id < 0 || w->seen[n->id])
        return;
    w->seen[n->id] = true;
    w->item[w->count++] = n;
}

/* By id: whether an output or an update needs the node; inputs always. */
static bool *find_live(Graph *g, Pool *pool)
{
    Worklist w = {pool_alloc(pool, (size_t)g->node_count * sizeof(Node *)), 0,
                  pool_alloc(pool, (size_t)g->node_count)};
    for (int i = 0; i < g->output_count; i++)
        worklist_push(&w, g->output[i].node);
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_INPUT || g->node[i]->op == OP_UPDATE)
            worklist_push(&w, g->node[i]);
    while (w.count > 0) {
        Node *n = w.item[--w.count];
        for (int k = 0; k < n->arity; k++)
            worklist_push(&w, n->in[k]);
    }
    return w.seen;
}

static int keep_live(Node **node, int count, const bool *live)
{
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (live[node[i]->id])
            node[kept++] = node[i];
    return kept;
}

static void keep_state(Graph *g, Node *n, bool *kept)
{
    bool ours = n->op == OP_STATE && n->storage->index < g->state_of_capacity &&
                g->state_of[n->storage->index] == n;
    if (!ours || kept[n->storage->index])
        return;
    kept[n->storage->index] = true;
    g->state[g->state_count++] = n;
}

/* Drops state nodes that nobody reads; the others come in order of first read. */
static void order_states(Graph *g, Pool *pool)
{
    bool *kept = pool_alloc(pool, (size_t)g->module->storage_count + 1);
    g->state_count = 0;
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->arity; k++)
            keep_state(g, g->node[i]->in[k], kept);
    for (int i = 0; i < g->output_count; i++)
        keep_state(g, g->output[i].node, kept);
    index_states(g);
}

void graph_remove_dead(Graph *g)
{
    Pool *pool = pool_new();
    graph_renumber(g);
    bool *live = find_live(g, pool);
    int kernels = 0;
    for (int i = 0; i < g->kernel_count; i++) {
        Kernel *k = g->kernel[i];
        k->node_count = keep_live(k->node, k->node_count, live);
        if (k->node_count > 0)
            g->kernel[kernels++] = k;
    }
    g->kernel_count = kernels;
    g->node_count = keep_live(g->node, g->node_count, live);
    graph_renumber(g);
    order_states(g, pool);
    pool_free(pool);
}

/* A stable depth-first order: operands that are not placed yet come right before their user. An
 * update waits for the readers of its storage that stand behind it. */
typedef struct Sort {
    Graph *graph;
    Node **order, **stack;
    int placed, depth;
    char *mark;  /* by id: 0 new, 1 on the stack, 2 placed */
    int *unread; /* by index of storage: operands of nodes not placed that read it */
} Sort;

static void count_reads(Sort *s, const Node *n, int by)
{
    for (int k = 0; k < n->arity; k++)
        if (n->in[k]->op == OP_STATE)
            s->unread[n->in[k]->storage->index] += by;
}

static Node *unplaced_operand(const Sort *s, const Node *n)
{
    for (int k = 0; k < n->arity; k++)
        if (n->in[k]->id >= 0 && s->mark[n->in[k]->id] != 2)
            return n->in[k];
    return NULL;
}

static void place(Sort *s, Node *root)
{
    if (s->mark[root->id])
        return;
    s->stack[s->depth++] = root;
    s->mark[root->id] = 1;
    while (s->depth > 0) {
        Node *n = s->stack[s->depth - 1];
        Node *operand = unplaced_operand(s, n);
        if (operand && s->mark[operand->id] == 1)
            internal_error("graph %s has a cycle through %s", s->graph->name, op_name(n->op));
        if (operand) {
            s->mark[operand->id] = 1;
            s->stack[s->depth++] = operand;
            continue;
        }
        s->depth--;
        s->mark[n->id] = 2;
        s->order[s->placed++] = n;
        count_reads(s, n, -1);
    }
}

void graph_sort(Graph *g)
{
    size_t count = (size_t)g->node_count;
    Pool *pool = pool_new();
    Sort s = {.graph = g, .order = pool_alloc(pool, count * sizeof(Node *)),
              .stack = pool_alloc(pool, count * sizeof(Node *)), .mark = pool_alloc(pool, count),
              .unread = pool_alloc(pool, (size_t)g->module->storage_count * sizeof(int))};
    graph_renumber(g);
    for (int i = 0; i < g->node_count; i++)
        count_reads(&s, g->node[i], 1);
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_INPUT)
            place(&s, g->node[i]);
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op != OP_UPDATE || s.unread[g->node[i]->storage->index] == 0)
            place(&s, g->node[i]);
    for (int i = 0; i < g->node_count; i++)
        place(&s, g->node[i]);
    if (count > 0)
        memcpy(g->node, s.order, count * sizeof(Node *));
    graph_renumber(g);
    order_states(g, pool);
    pool_free(pool);
}

void graph_move_to_start(Graph *g, int from)
{
    int inputs = 0, moved = g->node_count - from;
    while (inputs < from && g->node[inputs]->op == OP_INPUT)
        inputs++;
    Node **tail = xmalloc((size_t)moved * sizeof *tail + 1);
    memcpy(tail, g->node + from, (size_t)moved * sizeof *tail);
    memmove(g->node + inputs + moved, g->node + inputs, (size_t)(from - inputs) * sizeof *tail);
    memcpy(g->node + inputs, tail, (size_t)moved * sizeof *tail);
    free(tail);
    graph_renumber(g);
}

int *graph_use_counts(const Graph *g, Pool *pool)
{
    int *uses = pool_alloc(pool, (size_t)g->node_count * sizeof *uses);
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->arity; k++)
            if (g->node[i]->in[k]->id >= 0)
                uses[g->node[i]->in[k]->id]++;
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node->id >= 0)
            uses[g->output[i].node->id]++;
    return uses;
}

/* ---- kernels ---- */

bool *graph_escapes(const Graph *g, Pool *pool)
{
    bool *escapes = pool_alloc(pool, (size_t)g->node_count);
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i]->arity; k++) {
            const Node *operand = g->node[i]->in[k];
            if (operand->id >= 0 && operand->kernel != g->node[i]->kernel)
                escapes[operand->id] = true;
        }
    for (int i = 0; i < g->output_count; i++)
        if (g->output[i].node->id >= 0)
            escapes[g->output[i].node->id] = true;
    return escapes;
}

/* `read`: by slot: the serial number of the last kernel that was found to read it. */
static void derive_io(Graph *g, Kernel *k, const bool *escapes, int *read, int serial)
{
    Pool *pool = g->module->pool;
    k->in_count = k->out_count = 0;
    for (int i = 0; i < k->node_count; i++) {
        Node *n = k->node[i];
        for (int j = 0; j < n->arity; j++) {
            int slot = node_slot(g, n->in[j]);
            if (n->in[j]->kernel == k || read[slot] == serial)
                continue;
            read[slot] = serial;
            POOL_PUSH(pool, k->in, k->in_count, k->in_capacity, n->in[j]);
        }
        n->returned = n->op == OP_UPDATE || escapes[n->id];
        if (n->returned)
            POOL_PUSH(pool, k->out, k->out_count, k->out_capacity, n);
    }
}

void graph_derive_io(Graph *g)
{
    Pool *pool = pool_new();
    graph_renumber(g);
    bool *escapes = graph_escapes(g, pool);
    int *read = pool_alloc(pool, ((size_t)graph_slots(g) + 1) * sizeof *read);
    for (int i = 0; i < g->kernel_count; i++)
        derive_io(g, g->kernel[i], escapes, read, i + 1);
    order_states(g, pool);
    pool_free(pool);
}
