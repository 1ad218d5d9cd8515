/* Copies of graphs, nodes and kernels and all. */
#include "ir.h"

#include <string.h>

/* Maps nodes of one graph to their copies; state nodes go by storage. */
typedef struct Copy {
    Graph *to;
    Node **node; /* by id of the original */
} Copy;

static Node *copy_of(const Copy *copy, const Node *n)
{
    return n->op == OP_STATE ? graph_state(copy->to, n->storage) : copy->node[n->id];
}

static Node **copy_list(const Copy *copy, Node *const *list, int count)
{
    Node **out = pool_alloc(copy->to->module->pool, (size_t)count * sizeof *out);
    for (int i = 0; i < count; i++)
        out[i] = copy_of(copy, list[i]);
    return out;
}

static Kernel *copy_kernel(const Copy *copy, const Kernel *k)
{
    Kernel *c = pool_alloc(copy->to->module->pool, sizeof *c);
    *c = *k;
    c->target = copy->to->target;
    c->node_capacity = k->node_count;
    c->in_capacity = k->in_count;
    c->out_capacity = k->out_count;
    c->node = copy_list(copy, k->node, k->node_count);
    c->in = copy_list(copy, k->in, k->in_count);
    c->out = copy_list(copy, k->out, k->out_count);
    for (int i = 0; i < c->node_count; i++)
        c->node[i]->kernel = c;
    return c;
}

static void copy_header(Graph *to, const Graph *from)
{
    to->stage = from->stage;
    to->chunk = from->chunk;
    to->shared_bytes = from->shared_bytes;
    to->chunk_bytes = from->chunk_bytes;
    to->thread_bytes = from->thread_bytes;
    to->shared_bound = from->shared_bound;
    to->chunk_bound = from->chunk_bound;
    to->thread_bound = from->thread_bound;
}

Graph *graph_clone(Graph *g, const char *name, Target target)
{
    Module *m = g->module;
    Graph *c = module_add_graph(m, name, g->batch);
    c->next_number = g->next_number; /* a copy has its original's name */
    c->target = target; /* storage lies as the target keeps it */
    Copy copy = {c, pool_alloc(m->pool, (size_t)g->node_count * sizeof(Node *))};
    copy_header(c, g);
    graph_renumber(g);
    for (int i = 0; i < g->state_count; i++)
        graph_state(c, g->state[i]->storage);
    for (int i = 0; i < g->node_count; i++) {
        Node *n = pool_alloc(m->pool, sizeof *n);
        *n = *g->node[i];
        for (int k = 0; k < n->arity; k++)
            n->in[k] = copy_of(&copy, n->in[k]);
        copy.node[i] = n;
        graph_append(c, n);
    }
    for (int i = 0; i < g->kernel_count; i++)
        POOL_PUSH(m->pool, c->kernel, c->kernel_count, c->kernel_capacity,
                  copy_kernel(&copy, g->kernel[i]));
    for (int i = 0; i < g->output_count; i++)
        graph_output(c, g->output[i].name, copy_of(&copy, g->output[i].node));
    return c;
}

void graph_retarget(Graph *g, Target target)
{
    g->target = target;
    graph_renumber(g);
    graph_lay_out_storage(g);
}
