/* Memory that values share over time: for each the lowest offset at which nothing lies that is
 * alive together with it. */
#ifndef NINC_PASSES_ARENA_H
#define NINC_PASSES_ARENA_H

#include "../ir/ir.h"

typedef struct Arena Arena;

/* Of moments 0 .. moments - 1; empty. */
Arena *arena_new(Pool *pool, int moments);
/* The lowest offset for `bytes` > 0 that are free from moment begin to moment end, inclusive; they
 * are taken now. */
int64_t arena_place(Arena *a, int begin, int end, int64_t bytes);

#endif
