/* Epilogues: what is done with a result before it is rounded and stored. */
#ifndef NINC_CODEGEN_CPU_EPILOGUE_H
#define NINC_CODEGEN_CPU_EPILOGUE_H

#include "../chains.h"

/* Those of all CPU graphs of a module, which share one text. A chain is of the vector x. */
typedef struct Epilogues {
    Chains chains;       /* EPILOGUE_ADD_RELU ... */
    bool used[OP_COUNT]; /* ops that stand in a chain */
    int maps, scalars;   /* that a chain reads, at most and at least 1 */
} Epilogues;

Epilogues find_epilogues(Pool *pool, const Module *m);
/* How much room an Epilogue has: what ninc_map.h begins with. */
void emit_epilogue_sizes(const Epilogues *e, Text *out);
/* The ops, the numbers of the chains, and store_epilogue and WITH_EPILOGUE, which do them. */
void emit_epilogues(Pool *pool, const Epilogues *e, Text *out);
/* The name of a statement's chain; EPILOGUE_NONE. */
const char *epilogue_name(Pool *pool, const Epilogues *e, const Statement *s);

#endif
