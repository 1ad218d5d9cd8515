/* The op table's scalar expressions as text of the CPU's code. */
#ifndef NINC_CODEGEN_CPU_EXPRESSION_H
#define NINC_CODEGEN_CPU_EXPRESSION_H

#include "../../ir/ir.h"

/* The expression of a pointwise op with its operands' names replaced by in[0], in[1] ..., and those
 * of its factor: k, and (1 - k), which is rounded once. */
const char *expression_of(Pool *pool, const Node *n, const char *const *in, const char *k,
                          const char *rest);
/* The same text of vectors: each c ? x : y is SELECT(c, x, y). */
const char *expression_of_vectors(Pool *pool, const char *text);

#endif
