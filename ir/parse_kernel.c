/* The parser of kernels. */
#include "parse.h"

#include <string.h>

static bool parse_inputs(Parser *p, Kernel *k)
{
    int capacity = 0;
    if (!lex_expect(p->lex, "("))
        return false;
    for (lex_skip_space(p->lex); !lex_accept(p->lex, ")"); lex_skip_space(p->lex)) {
        Node *n;
        if (k->in_count > 0 && !lex_expect(p->lex, ","))
            return false;
        lex_skip_space(p->lex);
        if (!parse_value(p, &n))
            return false;
        POOL_PUSH(p->pool, k->in, k->in_count, capacity, n);
    }
    return true;
}

/* A result's name, resolved when the kernel's nodes are known. */
typedef struct Result {
    Loc loc;
    bool is_update;
    char *name;
} Result;

typedef struct Results {
    Result *item;
    int count, capacity;
} Results;

static bool parse_results(Parser *p, Results *results)
{
    if (!lex_expect(p->lex, "->") || !lex_expect(p->lex, "("))
        return false;
    for (lex_skip_space(p->lex); !lex_accept(p->lex, ")"); lex_skip_space(p->lex)) {
        if (results->count > 0 && !lex_expect(p->lex, ","))
            return false;
        lex_skip_space(p->lex);
        Result r = {.loc = lex_here(p->lex), .is_update = lex_accept(p->lex, "@")};
        if (!r.is_update && !lex_expect(p->lex, "%"))
            return false;
        r.name = lex_expect_name(p->lex, "a name");
        if (p->lex->failed)
            return false;
        POOL_PUSH(p->pool, results->item, results->count, results->capacity, r);
    }
    return true;
}

/* The kernel's updates by the names of their storage. */
static NameTable find_updates(Parser *p, const Kernel *k)
{
    NameTable updates = {0};
    for (int i = 0; i < k->node_count; i++) {
        Node *n = k->node[i];
        if (n->op == OP_UPDATE && !names_find(&updates, n->storage->name))
            names_add(&updates, p->pool, n->storage->name, n);
    }
    return updates;
}

static bool resolve_results(Parser *p, Kernel *k, const Results *results)
{
    const NameTable updates = find_updates(p, k);
    int capacity = 0;
    for (int i = 0; i < results->count; i++) {
        const Result *r = &results->item[i];
        Node *n = names_find(r->is_update ? &updates : &p->value, r->name);
        if (!n || n->kernel != k)
            return lex_fail_at(p->lex, r->loc, (int)strlen(r->name) + 1,
                               "kernel %s does not make %c%s", k->name, r->is_update ? '@' : '%',
                               r->name);
        POOL_PUSH(p->pool, k->out, k->out_count, capacity, n);
        n->returned = true;
    }
    return true;
}

static bool parse_schedule(Parser *p, Schedule *s)
{
    Lexer *l = p->lex;
    s->split = 1;
    return lex_expect_int(l, 0, &s->tile_m) && lex_expect(l, "x") &&
           lex_expect_int(l, 0, &s->tile_n) && lex_expect(l, "x") &&
           lex_expect_int(l, 0, &s->tile_k) && lex_optional_int(l, "stages=", &s->stages) &&
           lex_optional_int(l, "split=", &s->split) &&
           lex_optional_int(l, "threads=", &s->threads) &&
           lex_optional_int(l, "shared=", &s->shared_bytes) && lex_expect(l, "grid=") &&
           lex_pair(l, 1, &s->grid_x, &s->grid_y) &&
           lex_optional_int(l, "sm=", &s->architecture);
}

static bool parse_schedules(Parser *p, Kernel *k)
{
    if (!lex_accept(p->lex, "schedule=["))
        return true;
    Schedule list[MAX_SCHEDULES] = {{0}};
    do {
        if (k->schedule_count == MAX_SCHEDULES)
            return lex_fail(p->lex, "a kernel has at most %d schedules", (int)MAX_SCHEDULES);
        if (!parse_schedule(p, &list[k->schedule_count++]))
            return false;
    } while (lex_accept(p->lex, ","));
    k->schedule = pool_copy(p->pool, list, (size_t)k->schedule_count * sizeof *list);
    return lex_expect(p->lex, "]");
}

bool parse_kernel(Parser *p)
{
    Graph *g = p->graph;
    Kernel *k = pool_alloc(p->pool, sizeof *k);
    Results results = {0};
    int class, phase;
    k->name = lex_expect_name(p->lex, "the kernel's name");
    if (p->lex->failed || !CHOOSE(p->lex, "a class of kernels", class_names, &class) ||
        !CHOOSE(p->lex, "a phase", phase_names, &phase) ||
        !lex_optional_int(p->lex, "strip=", &k->strip) || !parse_schedules(p, k))
        return false;
    k->class = (KernelClass) class;
    k->phase = (Phase)phase;
    k->target = g->target;
    if (!parse_inputs(p, k) || !parse_results(p, &results) || !lex_expect(p->lex, "{"))
        return false;
    for (lex_skip_space(p->lex); !lex_accept(p->lex, "}"); lex_skip_space(p->lex))
        if (!parse_node(p, k))
            return false;
    POOL_PUSH(p->pool, g->kernel, g->kernel_count, g->kernel_capacity, k);
    return resolve_results(p, k, &results) && lex_expect_line_end(p->lex);
}
