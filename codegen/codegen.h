/* Code generation: the module at stage `planned` -> text, and text -> the trainer. */
#ifndef NINC_CODEGEN_H
#define NINC_CODEGEN_H

#include "../ir/ir.h"

/* ---- cpu/emit.c: MODEL.c, the kernels of all CPU graphs ---- */
void emit_cpu(const Module *m, Text *out);
/* ---- cuda/emit.c: MODEL.cu, the kernels of all CUDA graphs ---- */
void emit_cuda(const Module *m, Text *out);
/* ---- plan.c: plan.c, data only ---- */
void emit_plan(const Module *m, Text *out);
/* ---- build.c ---- */

typedef struct BuildOptions {
    const char *directory; /* artefact directory */
    bool verbose;
    bool time;             /* print seconds a compile step to stderr */
} BuildOptions;

/* Writes MODEL.ir, MODEL.cu and MODEL.c (of the targets that the module has graphs of), plan.c and
 * trainer into the directory: built beside, renamed file by file, trainer last. Returns 0, or -1
 * after printing what failed; then the directory is as it was. */
int build_artefacts(const Module *m, const BuildOptions *options);

#endif
