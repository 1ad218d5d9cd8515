/* The simulator's sources, which the trainer compiles together with the CUDA text when it is asked
 * for --device sim. */

#include "../base/embed.inc"

EMBED(sim_text_sim_h, "runtime/sim/sim.h")
EMBED(sim_text_launch_h, "runtime/sim/launch.h")
EMBED(sim_text_core_h, "runtime/sim/core.h")
EMBED(sim_text_fiber_cc, "runtime/sim/fiber.cc")
EMBED(sim_text_sim_cc, "runtime/sim/sim.cc")
EMBED(sim_text_check_cc, "runtime/sim/check.cc")

        .section .note.GNU-stack, "", %progbits
