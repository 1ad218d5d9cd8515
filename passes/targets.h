/* What the passes ask of a target: a line of a table each, which its room fills in. */
#ifndef NINC_PASSES_TARGETS_H
#define NINC_PASSES_TARGETS_H

#include "fuse_kernel.h"

typedef struct TargetPasses {
    bool has_tf32;   /* contractions between f32 maps may be in tf32 */
    bool bf16_alone; /* it is wanted where maps are bf16, and there alone */
    /* Puts a node, which is in no kernel yet, into one; from level 1 on. */
    void (*fuse)(Fuser *f, Node *n);
    /* Decides how each kernel of a graph is executed. */
    void (*schedule)(Graph *g);
    /* Lays out the values of all graphs of a target, and the storage's homes there. Level 0:
     * activations stay in logical order. */
    void (*layout)(Module *m, Target target, int level);
} TargetPasses;

/* ---- cpu/target.c, cuda/target.c ---- */

extern const TargetPasses cpu_passes, amx_passes, cuda_passes;

/* ---- targets.c ---- */

/* Not of TARGET_ANY. */
const TargetPasses *target_passes(Target target);

#endif
