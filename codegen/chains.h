/* Chains of pointwise ops that end kernels' statements, as both targets name and keep them. */
#ifndef NINC_CHAINS_H
#define NINC_CHAINS_H

#include "../ir/ir.h"

/* One: `text`, in emitted code, of its ops; how many maps and scalars it reads beside its flow. */
typedef struct Chain {
    const char *name, *text;
    int maps, scalars;
} Chain;

/* Those of a target's text, each once. */
typedef struct Chains {
    Chain *chain;
    int count, capacity;
} Chains;

/* The chain of that text; NULL: none. */
const Chain *chains_find(const Chains *c, const char *text);
/* Adds the chain of a statement, of a text that is not there yet, under `name`, or NAME_2 and so on
 * where another has that. */
void chains_add(Pool *pool, Chains *c, const char *name, const char *text, const Statement *s);
/* The place of `in` among what the statement reads beside its flow: of its scalars, or its maps. */
int chain_place(const Statement *s, const Node *in);

#endif
