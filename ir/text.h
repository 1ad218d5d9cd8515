/* The IR as text, printed and read back. */
#ifndef NINC_IR_TEXT_H
#define NINC_IR_TEXT_H

#include "graph.h"

/* ---- ir/print.c ---- */

/* The IR text of the whole module; round trips through module_parse to equal text. */
void module_print(const Module *m, Text *out);
void graph_print(const Graph *g, Text *out);
/* One node as it stands in the text, without indentation and newline, without `loc`. */
void node_print(const Graph *g, const Node *n, Text *out);
/* A kernel with its nodes, as in the text; `prefix` starts each line (a comment leader). */
void kernel_print(const Graph *g, const Kernel *k, const char *prefix, Text *out);
/* ` {kernel=3x3 stride=2x2}`: the attributes of a node; nothing where it has none. */
void attr_print(const Node *n, Text *out);
/* balanced, or [1,0.5,2]; nothing where all weigh alike. */
void class_weights_print(const Module *m, Text *out);
/* ` label="kind" transform=[grayscale,center_crop=28x28] validation_split=0.1`: of it what there
 * is. */
void data_settings_print(const DataSettings *d, Text *out);
/* `optimizer adam lr=0.001 ...`, and `schedule step step_size=30 ...`, without an end of line. */
void optimizer_print(const Optimizer *o, bool with_lr, Text *out);
void schedule_print(const RateSchedule *r, Text *out);
/* ` lr_mult=2 weight_decay_mult=0 frozen`, of it what is not as all others. */
void training_print(const Training *t, Text *out);
void module_print_dot(const Module *m, Text *out);

/* ---- ir/describe.c ---- */

/* Lines of less than 80 columns: optimizer, schedule, loss, what else a step is changed by, frozen
 * layers; those that the module has. */
void training_describe(const Module *m, Text *out);

/* ---- ir/parse.c, with parse.h; its lexer is lex.c, with lex.h ---- */

/* Parses IR text (length bytes at text; `file` for positions). NULL after diagnostics. The result
 * is verified. */
Module *module_parse(Pool *pool, Diagnostics *d, const char *file, const char *text,
                     size_t length);

#endif
