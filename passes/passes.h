/* Passes: one file, one public function each. pipeline.c calls them in order, verifies and dumps
 * between them. Those of one target alone, and its part of the others, are in cpu/ and cuda/. A
 * pass that can fault for the user's reason takes Diagnostics and returns false. */
#ifndef NINC_PASSES_H
#define NINC_PASSES_H

#include "../ir/ir.h"

/* What contractions compute in on the targets that have a choice. */
#define PASS_PRECISIONS(X) X(FP32, "fp32") X(TF32, "tf32") X(BF16, "bf16")

typedef enum Precision {
#define X(id, text) PRECISION_##id,
    PASS_PRECISIONS(X)
#undef X
        PRECISION_COUNT
} Precision;

typedef struct PipelineOptions {
    int level;              /* 0, 1, 2 */
    bool cpu, cuda;         /* targets wanted */
    Precision precision;    /* tf32: of the CUDA target alone */
    const char *dump;       /* comma list of pass names, or "all"; NULL: none */
    const char *dump_dir;   /* NULL: dumps go to stdout */
    const char *disable;    /* comma list of optional passes; NULL: none */
    const char *stop_after; /* NULL: run all */
    bool time;              /* print seconds a pass to stderr */
} PipelineOptions;

/* ---- pipeline.c ---- */

/* Whether the names of passes in the options can stand there; a diagnostic for each that cannot. */
bool pipeline_check(const PipelineOptions *options, Diagnostics *d);
/* Whether the passes that the options name are yet to come for this module; else a diagnostic at
 * loc for each that is not. */
bool pipeline_check_stage(const Module *m, const PipelineOptions *options, Diagnostics *d,
                          Loc loc);
/* Brings the module to stage `planned`, starting from the stage that it has. Returns false after
 * a diagnostic where a dump could not be written. */
bool pipeline_run(Module *m, const PipelineOptions *options, Diagnostics *d);
/* One line a pass: name, optional or not, what it does. */
void pipeline_list(FILE *out);

/* ---- simplify.c: requires forward; whole-map avgpool -> gap, identities, CSE, dead nodes ---- */
void pass_simplify(Module *m);
/* ---- autodiff.c: requires forward; makes `train` whole (backward, updates) and `eval` ---- */
void pass_autodiff(Module *m);
/* ---- target.c: requires training; one train and one eval graph a wanted target ---- */
void pass_target(Module *m, const PipelineOptions *options);
/* ---- precision.c: tf32 contractions (CUDA), bf16 maps and casts ---- */
void pass_precision(Module *m, Precision precision);
/* ---- fuse.c: groups all nodes into kernels ---- */
void pass_fuse(Module *m, int level);
/* ---- schedule.c: chunk, strips, tiles ---- */
void pass_schedule(Module *m);
/* ---- layout.c: physical layout of every value and storage ---- */
void pass_layout(Module *m, int level);
/* ---- order.c: order of kernels within each phase ---- */
void pass_order(Module *m);
/* ---- memory.c: places; sets shared_bytes, chunk_bytes, state_bytes and the bounds ---- */
void pass_memory(Module *m);

#endif
