/* The simulator's sources, which the trainer compiles together with the CUDA text when it is asked
 * for --device sim. Paths are relative to the top of the source tree. */

#define FILE_TEXT(NAME, FILE)                                                                      \
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

FILE_TEXT(sim_text_sim_h, "runtime/sim/sim.h")
FILE_TEXT(sim_text_launch_h, "runtime/sim/launch.h")
FILE_TEXT(sim_text_core_h, "runtime/sim/core.h")
FILE_TEXT(sim_text_fiber_cc, "runtime/sim/fiber.cc")
FILE_TEXT(sim_text_sim_cc, "runtime/sim/sim.cc")
FILE_TEXT(sim_text_check_cc, "runtime/sim/check.cc")

        .section .note.GNU-stack, "", %progbits
