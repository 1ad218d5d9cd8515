/* What code generation asks of a target: a line of a table each, which cpu/ and cuda/ fill in. What
 * the passes ask stands in passes/targets.h, what the IR's rules do in ir/targets.h. */
#ifndef NINC_CODEGEN_TARGET_H
#define NINC_CODEGEN_TARGET_H

#include "embed.h"

typedef void Emit(const Module *m, Text *out);

typedef struct CodeTarget {
    const char *id; /* in runtime/plan.h */

    /* The text with the kernels of its device, and its ending; NULL: they stand in the text of the
     * device's other target, compiled where the macro `condition` is defined, behind `library`. */
    Emit *emit;
    const char *extension, *condition;
    const Embedded *library;
    bool levels;  /* the C compiler takes it once for each instruction set (levels.h) */
    bool carried; /* the trainer carries it along, as ninc_TARGET_text */
    bool smaller; /* the plan says what smaller batches take */

    /* Names that the text has anyway: those of its device library (`texts` ends with NULL), those
     * that emitters make beside (or NULL), and what the macros of a kernel begin with (NULL: it has
     * none). tables: a kernel of filters has tables NAME_0, NAME_1 ... */
    const Embedded *const *texts;
    void (*declare)(NameTable *words, Pool *pool);
    const char *(*macro)(Pool *pool, const Kernel *k);
    bool tables;
} CodeTarget;

/* ---- cpu/target.c, cuda/target.c ---- */

extern const CodeTarget cpu_code, amx_code, cuda_code;

/* ---- target.c ---- */

/* Not of TARGET_ANY. */
const CodeTarget *code_target(Target target);
/* Whether the module has programs for a target. */
bool has_target(const Module *m, Target target);
/* Whether it has some that are compiled for instruction sets. */
bool has_levels(const Module *m);

#endif
