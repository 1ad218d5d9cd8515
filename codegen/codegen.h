/* Code generation: the module at stage `planned` -> text, and text -> the trainer. */
#ifndef NINC_CODEGEN_H
#define NINC_CODEGEN_H

#include "../ir/ir.h"
#include "levels.h"

/* ---- names.c ---- */

/* To be called before any text is emitted: kernels whose names are not safe as identifiers of C,
 * CUDA and the device libraries (int, memcpy, another kernel's table) become kernel_NUMBER_NAME. */
void name_kernels(Module *m);

/* ---- cpu/emit.c: MODEL.c, the kernels of all CPU graphs ---- */
void emit_cpu(const Module *m, Text *out);
/* ---- cuda/emit.c: MODEL.cu, the kernels of all CUDA graphs ---- */
void emit_cuda(const Module *m, Text *out);
/* ---- plan.c: plan.c, data only; the kernels' tables of these levels ---- */
void emit_plan(const Module *m, CpuLevelSet levels, Text *out);
/* ---- cuda/cubins.c: the CUDA kernels compiled ahead, by NVRTC ---- */

typedef struct CompiledKernel {
    const char *name, *options;  /* options: -DNAME=VALUE, one a line */
    const unsigned char *data;   /* cubin */
    size_t size;
    const char *log;             /* warnings where it was compiled now; or NULL */
    int registers, local_bytes;  /* a thread; local: spills and stack */
    int threads, shared_bytes;   /* a block; static and dynamic */
    int schedule, split;         /* which of the kernel's; parts of the reduction */
    int blocks;                  /* resident on a processor together */
} CompiledKernel;

/* All kernels of the module for one kind of GPU. */
typedef struct CompiledKernels {
    const char *target; /* sm_90a */
    int architecture;   /* 90 */
    int most_shared_bytes; /* that a block may have there */
    CompiledKernel *kernel;
    int count;
} CompiledKernels;

/* With the schedules that fit such a GPU. False after a message. */
bool compile_cuda(Pool *pool, const Module *m, const char *target, CompiledKernels *out);
/* For each target of a list, "sm_86,sm_90a": how many; -1 after a message. */
int compile_cubins(Pool *pool, const Module *m, const char *targets, CompiledKernels **out);
/* A table: registers, threads, stack, shared memory, resident blocks of each kernel. */
void print_usage(const CompiledKernels *c, Text *out);
/* The assembler's text of ninc_cubins (runtime/plan.h), and the bytes that it takes from `file`. */
void emit_cubins(const CompiledKernels *compiled, int count, const char *file, Text *bytes,
                 Text *out);

/* ---- build.c ---- */

typedef struct BuildOptions {
    const char *directory; /* artefact directory */
    const char *cubins;    /* GPU architectures to compile kernels for: "sm_86,sm_90a"; or NULL */
    CpuLevelSet levels;    /* instruction sets to compile for */
    bool verbose;
    bool time;             /* print seconds a compile step to stderr */
} BuildOptions;

/* Writes MODEL.ir, MODEL.cu and MODEL.c (of the targets that the module has graphs of), plan.c and
 * trainer into the directory: built beside, renamed file by file, trainer last. Returns 0, or -1
 * after printing what failed; then the directory is as it was. */
int build_artefacts(const Module *m, const BuildOptions *options);

/* ---- library.c ---- */

/* Writes NAME.h, NAME.pc and libNAME.so with the forward pass, in the same way; NAME is the model's
 * name with '_' for '.'. Takes the training graphs and the moments off the module. */
int build_library(Module *m, const BuildOptions *options);
/* The header or library of the system, as the C compiler finds them, that files of the model's name
 * would stand before; NULL: none. */
const char *library_hides(Pool *pool, const Module *m);
/* NAME */
char *library_name(Pool *pool, const Module *m);

#endif
