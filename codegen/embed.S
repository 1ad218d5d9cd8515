/* Files that ninc carries inside itself: the runtime that trainers link, and the headers that
 * emitted code begins with. Paths are relative to the top of the source tree. */

#define EMBED(NAME, FILE)                                                                          \
        .section .rodata;                                                                          \
        .balign 16;                                                                                \
NAME##_begin:                                                                                      \
        .incbin FILE;                                                                              \
NAME##_end:                                                                                        \
        .section .data.rel.ro, "aw";                                                               \
        .balign 8;                                                                                 \
        .globl NAME;                                                                               \
        .type NAME, %object;                                                                       \
        .size NAME, 16;                                                                            \
NAME:                                                                                              \
        .quad NAME##_begin;                                                                        \
        .quad NAME##_end - NAME##_begin;

EMBED(embedded_runtime_archive, RUNTIME_ARCHIVE)
EMBED(embedded_tensor_h, "ir/tensor.h")
EMBED(embedded_plan_h, "runtime/plan.h")
EMBED(embedded_cpu_h, "codegen/cpu/ninc_cpu.h")

        .section .note.GNU-stack, "", %progbits
