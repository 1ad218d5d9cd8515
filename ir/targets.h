/* The table of targets: what graphs are for, and what of it the IR's rules ask.
 *
 * X(id, text, device, kind, lanes)
 *
 * device: the one whose programs these are; it has the name that a user gives. kind: how it
 * multiplies. lanes: channels of a block of a map. */
#ifndef NINC_TARGETS_H
#define NINC_TARGETS_H

#include <stdbool.h>

/* amx: a CPU's tiles of bf16, whose programs are others than those of the CPU without them. */
#define IR_TARGETS(X)                                                                              \
    X(ANY, "any", ANY, NONE, 0)                                                                    \
    X(CPU, "cpu", CPU, VECTORS, 16)                                                                \
    X(AMX, "amx", CPU, TILES, 32)                                                                  \
    X(CUDA, "cuda", CUDA, THREADS, 8)

/* VECTORS: convolutions may be rewritten (Winograd, folded), leave zeros out, be in fixed point.
 * TILES: straight convolutions of pairs of bf16, and no others; beside a program of VECTORS for the
 * same device. THREADS: a GPU's; values live in registers. */
typedef enum TargetKind { KIND_NONE, KIND_VECTORS, KIND_TILES, KIND_THREADS } TargetKind;

typedef enum Target {
#define X(id, ...) TARGET_##id,
    IR_TARGETS(X)
#undef X
        TARGET_COUNT
} Target;

/* ---- ir/targets.c ---- */

Target target_device(Target target);
TargetKind target_kind(Target target);
int target_lanes(Target target);
/* Of programs that the CPU device runs. */
bool target_is_cpu(Target target);

#endif
