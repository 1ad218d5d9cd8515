/* The verifier's faults, and the questions that more than one of its files asks. */
#include "verify.h"

#include <ctype.h>
#include <string.h>

enum { MAX_NAME = 128 };

bool verify_fault(const Verifier *v, Loc loc, const char *format, ...)
{
    Text text = {0};
    va_list ap;
    va_start(ap, format);
    text_append_v(&text, format, ap);
    va_end(ap);
    if (v->g)
        diagnostics_add(v->d, loc, 1, "graph %s: %s", v->g->name, text.data);
    else
        diagnostics_add(v->d, loc, 1, "module %s: %s", v->m->name, text.data);
    text_free(&text);
    return false;
}

/* How the text calls a node: %5 (conv2d). */
const char *verify_label(const Verifier *v, const Node *n)
{
    int number = 0;
    if (n->op == OP_INPUT)
        return pool_format(v->pool, "%%%s (input)", n->name ? n->name : "?");
    if (n->storage)
        return pool_format(v->pool, "@%s (%s)", n->storage->name, op_name(n->op));
    for (int i = 0; i < v->g->node_count && v->g->node[i] != n; i++)
        number += v->g->node[i]->op != OP_INPUT && v->g->node[i]->op != OP_UPDATE;
    return pool_format(v->pool, "%%%d (%s)", number, op_name(n->op));
}

bool verify_node_fault(const Verifier *v, const Node *n, const char *rule)
{
    return verify_fault(v, n->loc, "%s: %s", verify_label(v, n), rule);
}

bool verify_kernel_fault(const Verifier *v, const Kernel *k, const char *rule)
{
    Loc loc = k->node_count > 0 ? k->node[0]->loc : (Loc){0};
    return verify_fault(v, loc, "kernel %s: %s", k->name, rule);
}

/* ---- names ---- */

/* [A-Za-z0-9_]+, with single dots between where they are allowed. */
bool verify_is_name(const char *name, bool dots)
{
    size_t length = name ? strlen(name) : 0;
    if (length == 0 || length > MAX_NAME || name[0] == '.' || name[length - 1] == '.')
        return false;
    for (size_t i = 0; i < length; i++) {
        bool dot = dots && name[i] == '.' && name[i + 1] != '.';
        if (!dot && name[i] != '_' && !isalnum((unsigned char)name[i]))
            return false;
    }
    return true;
}

bool verify_is_identifier(const char *name)
{
    return verify_is_name(name, false) && !isdigit((unsigned char)name[0]);
}

bool verify_same_tensor(const Tensor *a, const Tensor *b)
{
    const Layout *l = &a->layout, *r = &b->layout;
    return a->dtype == b->dtype && shape_equal(&a->shape, &b->shape) && l->kind == r->kind &&
           l->block == r->block && l->out_block == r->out_block && l->halo_h == r->halo_h &&
           l->halo_w == r->halo_w && l->strip == r->strip && l->pairs == r->pairs;
}

/* Ops whose result has one row an image. */
bool verify_is_contraction(Op op)
{
    return op_is(op, F_CONTRACTION) && op_is(op, F_ROWS);
}

bool verify_works_on_images(Op op)
{
    return !op_is_pointwise(op) && op != OP_INPUT && op != OP_STATE && op != OP_UPDATE &&
           op != OP_CAST &&
           !op_is(op, F_SUMS_IMAGES | F_STATISTIC | F_OF_FILTERS | F_SUMS_ROWS | F_OF_GRADIENTS);
}
