/* The instruction sets that CPU kernels are compiled for: a line each, fastest first. */
#ifndef NINC_LEVELS_H
#define NINC_LEVELS_H

#include "../ir/ir.h"

#define AVX512_FLAGS \
    "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512"

/* X(name, architecture, flags of the C compiler, the programs that it runs, of use to bf16 maps
 * alone). runtime/cpu.c asks the processor by these names. */
#define CPU_LEVELS(X)                                                                           \
    X(amx, X86_64, AVX512_FLAGS " -mavx512bf16 -mamx-tile -mamx-bf16", TARGET_AMX, true)        \
    X(avx512bf16, X86_64, AVX512_FLAGS " -mavx512bf16 -mavx512vnni", TARGET_CPU, true)          \
    X(avx512, X86_64, AVX512_FLAGS, TARGET_CPU, false)                                          \
    X(avx2, X86_64, "-mavx2 -mfma", TARGET_CPU, false)                                          \
    X(baseline, X86_64, "", TARGET_CPU, false)                                                  \
    X(neon, AARCH64, "", TARGET_CPU, false)                                                     \
    X(baseline, OTHER, "", TARGET_CPU, false)

typedef enum Architecture { X86_64, AARCH64, OTHER, ARCHITECTURES } Architecture;

/* This machine's. */
#if defined(__x86_64__)
#define ARCHITECTURE X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AARCH64
#else
#define ARCHITECTURE OTHER
#endif

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
/* "amx, avx512bf16, ... or baseline": those of this machine's architecture. */
const char *cpu_levels_known(Pool *pool);
/* Those of `wanted` that the module's programs gain from on an architecture. */
CpuLevelSet cpu_levels_of(const Module *m, Architecture architecture, CpuLevelSet wanted);

#endif
