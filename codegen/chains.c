/* See chains.h. */
#include "chains.h"

#include <string.h>

const Chain *chains_find(const Chains *c, const char *text)
{
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->chain[i].text, text) == 0)
            return &c->chain[i];
    return NULL;
}

static const char *numbered(Pool *pool, const Chains *c, const char *name)
{
    const char *result = name;
    for (int i = 0, same = 1; i < c->count; i++)
        if (strcmp(c->chain[i].name, result) == 0) {
            result = pool_format(pool, "%s_%d", name, ++same);
            i = -1;
        }
    return result;
}

void chains_add(Pool *pool, Chains *c, const char *name, const char *text, const Statement *s)
{
    const Node *list[MAX_STATEMENT_OPERANDS];
    Chain chain = {numbered(pool, c, name), text, statement_beside(s, false, list),
                   statement_beside(s, true, list)};
    POOL_PUSH(pool, c->chain, c->count, c->capacity, chain);
}

int chain_place(const Statement *s, const Node *in)
{
    const Node *list[MAX_STATEMENT_OPERANDS];
    int at = 0;
    statement_beside(s, in->tensor.shape.rank == 0, list);
    while (list[at] != in)
        at++;
    return at;
}
