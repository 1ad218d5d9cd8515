/* The recipe of a model, as lines of C string literals; see recipe.c. */
#ifndef NINC_RECIPE_H
#define NINC_RECIPE_H

#include "../ir/ir.h"

void emit_recipe(const Module *m, const Graph *eval, Text *out);
/* Its layers and results alone. */
void emit_recipe_layers(const Graph *eval, Text *out);

#endif
