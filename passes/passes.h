/* Passes: one file, one public function each. pipeline.c calls them in order, verifies and dumps
 * between them. Those of one target alone, and its part of the others, are in cpu/ and cuda/. A
 * pass that can fault for the user's reason takes Diagnostics and returns false. */
#ifndef NINC_PASSES_H
#define NINC_PASSES_H

#include "../ir/ir.h"
#include "../ir/targets.h"

/* What contractions compute in on the targets that have a choice. */
#define PASS_PRECISIONS(X) X(FP32, "fp32") X(TF32, "tf32") X(BF16, "bf16")

typedef enum Precision {
#define X(id, text) PRECISION_##id,
    PASS_PRECISIONS(X)
#undef X
        PRECISION_COUNT
} Precision;

typedef struct PipelineOptions {
    int level;                 /* 0, 1, 2 */
    bool wanted[TARGET_COUNT]; /* by device: those that programs are for */
    Precision precision;       /* tf32: of the targets that have it */
    const char *dump;          /* comma list of pass names, or "all"; NULL: none */
    const char *dump_dir;      /* NULL: dumps go to stdout */
    const char *disable;       /* comma list of optional passes; NULL: none */
    bool time;                 /* print seconds a pass to stderr */
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
/* Runs one pass alone, without the verifier; false: none has that name. */
bool pipeline_run_pass(const char *name, Module *m, const PipelineOptions *options);
/* The stage that all graphs have reached. */
Stage module_stage(const Module *m);
/* One line a pass: name, optional or not, what it does. */
void pipeline_list(FILE *out);

/* ---- The passes of graphs of any target. Each requires and gives what pipeline.c says. ---- */

/* ---- simplify.c: whole-map avgpool -> gap, identities, CSE, dead nodes ---- */
void pass_simplify(Graph *g);
/* ---- autodiff.c: makes `train` whole (backward, updates) and `eval` ---- */
void pass_autodiff(Module *m);
/* ---- target.c: one train and one eval graph a wanted target ---- */
void pass_target(Module *m, const PipelineOptions *options);
/* ---- precision.c: tf32 contractions, bf16 maps and casts ---- */
void pass_precision(Module *m, const PipelineOptions *options);
/* ---- fuse.c: groups all nodes into kernels ---- */
void pass_fuse(Module *m, const PipelineOptions *options);
/* ---- schedule.c: chunk, strips, tiles ---- */
void pass_schedule(Graph *g);
/* ---- layout.c: physical layout of every value and storage ---- */
void pass_layout(Module *m, const PipelineOptions *options);
/* ---- order.c: order of kernels within each phase ---- */
void pass_order(Graph *g);
/* Sorts kernels by phase and dependence, and nodes as them; of kernels that can run, by the bytes
 * that each adds to what is live, else in the order that they have. False, and nothing is changed,
 * where they depend on each other in a circle. */
bool order_kernels(Graph *g, bool by_bytes);
/* ---- memory.c: places; sets shared_bytes, chunk_bytes, state_bytes and the bounds ---- */
void pass_memory(Module *m);

#endif
