/* The evaluator: what every emitted kernel is compared with, and how far it may be off. */
#ifndef NINC_IR_EVAL_H
#define NINC_IR_EVAL_H

#include "graph.h"

/* ---- ir/eval.c, ir/op/: the naive evaluator, in double; the oracle ---- */

/* Values of one graph: value[node->id] and state[i] for module->storage[i], logical row-major,
 * as doubles whatever the dtype (labels, codes and counts are exact). */
typedef struct Eval {
    const Graph *graph;
    int batch;      /* images evaluated: the first extent of per-image values here */
    double **value; /* NULL until set or computed */
    double **state;
    struct Eval *of; /* NULL; else these are squares of spreads of that evaluation's values */
    double unit, jump; /* of spreads */
} Eval;

/* `batch` <= graph->batch images (0: all). State is zero. */
Eval *eval_new(const Graph *g, int batch);
void eval_free(Eval *e);
int64_t eval_elements(const Eval *e, const Node *n);
/* The array of a node's value or of a storage, allocated (zeroed) on first use. */
double *eval_value(Eval *e, const Node *n);
double *eval_state(Eval *e, const Storage *s);
/* Computes one node from its operands' values (which must be set); updates write the state. */
void eval_node(Eval *e, const Node *n);
/* Computes all nodes but inputs in order. */
void eval_run(Eval *e);

/* ---- ir/eval_spread.c: how far rounding may move what kernels compute ---- */

/* Spreads of the values of an evaluation whose nodes are computed: of each element the root of the
 * sum of the squares of its terms, at least its magnitude, carried through the graph to first
 * order. An error of `unit` in each term, of independent signs, moves the element by about `unit`
 * times its spread. Where rounding may decide a comparison, what it moves counts 1 / jump. The
 * evaluation holds squares; 1 or the count for integers that may be other ones. */
Eval *spread_new(Eval *values, double unit, double jump);
/* A value that is given, not computed. */
void spread_set(Eval *spread, const Node *n);
/* The root of the sum of the squares of what the optimizer's node `step` adds to its first operand,
 * but for its error: how far the storage may move where its terms cancel. */
double spread_movement(Eval *spread, const Node *step);
/* Computes one node from the spreads of its operands, which must be set; of inputs and state too.
 * Updated state stands for what it was before. */
void spread_node(Eval *spread, const Node *n);

#endif
