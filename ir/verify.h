/* What the files of the verifier share. */
#ifndef NINC_VERIFY_H
#define NINC_VERIFY_H

#include "ir.h"

enum { PLACE_ALIGNMENT = 64, WINOGRAD_LANES = 16 };

typedef struct Verifier {
    const Module *m;
    const Graph *g; /* the graph being checked; NULL: the module */
    Diagnostics *d;
    Pool *pool; /* scratch */
    /* Names of kernels that a target has more than one of: all its graphs share a text. */
    const NameTable *given_twice; /* by target */
} Verifier;

/* ---- verify_fault.c ---- */

/* Each adds a diagnostic that names the graph or the module, and returns false. */
bool verify_fault(const Verifier *v, Loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool verify_node_fault(const Verifier *v, const Node *n, const char *rule);
bool verify_kernel_fault(const Verifier *v, const Kernel *k, const char *rule);
/* How the text calls a node: %5 (conv2d). A string of the pool. */
const char *verify_label(const Verifier *v, const Node *n);
/* [A-Za-z0-9_]+, with single dots between where they are allowed. */
bool verify_is_name(const char *name, bool dots);
bool verify_is_identifier(const char *name);
/* Ops whose result has one row an image. */
bool verify_works_on_images(Op op);
/* Contractions that run in kernels of row ops. */
bool verify_is_contraction(Op op);
/* Same dtype, shape and layout. */
bool verify_same_tensor(const Tensor *a, const Tensor *b);

/* ---- verify_class.c ---- */

/* Whether the kernel, whose outputs are known, is one of its class on its target. */
bool verify_class(const Verifier *v, const Kernel *k);

/* ---- verify_gpu.c ---- */

bool verify_gpu_schedules(const Verifier *v);
/* Also schedules, as far as they follow from layouts. */
bool verify_gpu_layouts(const Verifier *v);

/* ---- verify_kernels.c, verify_layouts.c, verify_places.c: each stage from kernels on ---- */

void verify_find_names_given_twice(const Module *m, Pool *pool, NameTable *by_target);
bool verify_kernels(const Verifier *v);
bool verify_schedule(const Verifier *v);
bool verify_layouts(const Verifier *v);
bool verify_places(const Verifier *v);

#endif
