/* The instruction sets that CPU kernels are compiled for: a line each, fastest first. The compiler
 * takes their flags and programs, the runtime asks the processor which it has.
 *
 * X(name, architecture, target, bf16, flags, condition)
 *
 * target: whose programs it runs (ir/targets.h). bf16: of use to bf16 maps alone. flags: of the C
 * compiler. condition: whether this processor has it, in C of its architecture; cpu_has_amx is in
 * device.h. */
#ifndef NINC_CPU_LEVELS_H
#define NINC_CPU_LEVELS_H

#define AVX512_FLAGS \
    "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mprefer-vector-width=512"

#define CPU_HAS(feature) __builtin_cpu_supports(feature)
#define CPU_HAS_AVX2 (CPU_HAS("avx2") && CPU_HAS("fma"))
#define CPU_HAS_AVX512                                                                             \
    (CPU_HAS("avx512f") && CPU_HAS("avx512bw") && CPU_HAS("avx512dq") && CPU_HAS("avx512vl") &&    \
     CPU_HAS_AVX2)
#define CPU_HAS_AVX512_BF16 (CPU_HAS_AVX512 && CPU_HAS("avx512bf16") && CPU_HAS("avx512vnni"))

#define CPU_LEVELS(X)                                                                              \
    X(amx, X86_64, AMX, true, AVX512_FLAGS " -mavx512bf16 -mamx-tile -mamx-bf16", cpu_has_amx())   \
    X(avx512bf16, X86_64, CPU, true, AVX512_FLAGS " -mavx512bf16 -mavx512vnni",                    \
      CPU_HAS_AVX512_BF16)                                                                         \
    X(avx512, X86_64, CPU, false, AVX512_FLAGS, CPU_HAS_AVX512)                                    \
    X(avx2, X86_64, CPU, false, "-mavx2 -mfma", CPU_HAS_AVX2)                                      \
    X(baseline, X86_64, CPU, false, "", true)                                                      \
    X(neon, AARCH64, CPU, false, "", true)                                                         \
    X(baseline, OTHER, CPU, false, "", true)

typedef enum Architecture { X86_64, AARCH64, OTHER, ARCHITECTURES } Architecture;

/* This machine's; a condition of another one's is not C here. */
#if defined(__x86_64__)
#define ARCHITECTURE X86_64
#define CPU_IF_X86_64(condition) (condition)
#else
#define CPU_IF_X86_64(condition) false
#endif
#if defined(__aarch64__)
#define ARCHITECTURE AARCH64
#define CPU_IF_AARCH64(condition) (condition)
#else
#define CPU_IF_AARCH64(condition) false
#endif
#if !defined(ARCHITECTURE)
#define ARCHITECTURE OTHER
#define CPU_IF_OTHER(condition) (condition)
#else
#define CPU_IF_OTHER(condition) false
#endif

#endif
