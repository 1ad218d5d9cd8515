/* Within ir/: what the files of the parser share. A function that parses takes what stands at the
 * lexer's place; it returns false after the first fault, which it has reported. */
#ifndef NINC_PARSE_H
#define NINC_PARSE_H

#include "lex.h"

/* A node's position in this text and in the source that the text names. */
typedef struct Origin {
    Node *node;
    Loc source;
} Origin;

typedef struct Parser {
    Pool *pool;
    Lexer *lex;
    Module *module;
    Graph *graph;
    NameTable value; /* %names of the graph */
    Origin *origin;
    int origin_count, origin_capacity;
} Parser;

/* ---- parse_type.c ---- */

/* Where none stands here, *l stays as it is. */
bool parse_layout(Parser *p, Layout *l);
bool parse_type(Parser *p, Tensor *t);
/* Nowhere, where none stands here. */
bool parse_loc(Parser *p, Loc *loc);

/* ---- parse_node.c ---- */

/* A %value or @storage that has been defined. */
bool parse_value(Parser *p, Node **out);
/* One row, appended to the graph and, unless it is NULL, to the kernel. */
bool parse_node(Parser *p, Kernel *k);

/* ---- parse_data.c ---- */

/* What data_settings_print prints. */
bool parse_data_settings(Parser *p, DataSettings *d);

/* ---- parse_kernel.c ---- */

/* What follows the word `kernel`: schedules, inputs, results and nodes. */
bool parse_kernel(Parser *p);

#endif
