/* The table of instruction sets (runtime/device/cpu_levels.h) as data, and sets of its lines. */
#ifndef NINC_LEVELS_H
#define NINC_LEVELS_H

#include "../ir/ir.h"
#include "../runtime/device/cpu_levels.h"

typedef struct CpuLevel {
    const char *name, *flags;
    Architecture architecture;
    Target target;
    bool bf16;
} CpuLevel;

enum {
#define X(name, ...) +1
    CPU_LEVEL_COUNT = CPU_LEVELS(X)
#undef X
};

extern const CpuLevel cpu_level[CPU_LEVEL_COUNT];

/* A set of them: bit i is cpu_level[i]. */
typedef unsigned CpuLevelSet;

enum { ALL_CPU_LEVELS = (1u << CPU_LEVEL_COUNT) - 1 };

/* "avx512,avx2" to a set. Returns NULL, or the first word that names no level of this machine's
 * architecture (from `pool`). */
const char *cpu_levels_parse(Pool *pool, const char *list, CpuLevelSet *set);
/* Those of this machine's architecture; bf16: of use to bf16 maps alone. */
CpuLevelSet cpu_levels_known(bool bf16);
/* "amx, avx512bf16, ... LAST baseline". */
const char *cpu_levels_text(Pool *pool, CpuLevelSet set, const char *last);
/* Those of `wanted` that the module's programs gain from on an architecture. */
CpuLevelSet cpu_levels_of(const Module *m, Architecture architecture, CpuLevelSet wanted);

#endif
