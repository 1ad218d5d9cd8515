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
EMBED(embedded_rate_h, "ir/rate.h")
EMBED(embedded_plan_h, "runtime/plan.h")
EMBED(embedded_map_h, "codegen/cpu/ninc_map.h")
EMBED(embedded_math_h, "codegen/cpu/ninc_math.h")
EMBED(embedded_cpu_h, "codegen/cpu/ninc_cpu.h")
EMBED(embedded_pool_h, "codegen/cpu/ninc_pool.h")
EMBED(embedded_norm_h, "codegen/cpu/ninc_norm.h")
EMBED(embedded_image_h, "codegen/cpu/ninc_image.h")
EMBED(embedded_wgrad_h, "codegen/cpu/ninc_wgrad.h")
EMBED(embedded_sparse_h, "codegen/cpu/ninc_sparse.h")
EMBED(embedded_fixed_h, "codegen/cpu/ninc_fixed.h")
EMBED(embedded_amx_h, "codegen/cpu/ninc_amx.h")
EMBED(embedded_winograd_h, "codegen/cpu/ninc_winograd.h")
EMBED(embedded_fold_h, "codegen/cpu/ninc_fold.h")
EMBED(embedded_dense_h, "codegen/cpu/ninc_dense.h")
EMBED(embedded_tiles_h, "ir/tiles.h")
EMBED(embedded_library_h, "runtime/library.h")
EMBED(embedded_network_h, "codegen/library/network.h.in")
EMBED(embedded_network_c, "codegen/library/network.c.in")
EMBED(embedded_network_map, "codegen/library/network.map.in")
EMBED(embedded_network_pc, "codegen/library/network.pc.in")
EMBED(embedded_prelude_cuh, "codegen/cuda/prelude.cuh")
EMBED(embedded_scalar_cuh, "codegen/cuda/scalar.cuh")
EMBED(embedded_element_cuh, "codegen/cuda/element.cuh")
EMBED(embedded_map_cuh, "codegen/cuda/map.cuh")
EMBED(embedded_image_cuh, "codegen/cuda/image.cuh")
EMBED(embedded_tile_cuh, "codegen/cuda/tile.cuh")
EMBED(embedded_conv_cuh, "codegen/cuda/conv.cuh")
EMBED(embedded_mlpconv_cuh, "codegen/cuda/mlpconv.cuh")
EMBED(embedded_pool_cuh, "codegen/cuda/pool.cuh")
EMBED(embedded_head_cuh, "codegen/cuda/head.cuh")
EMBED(embedded_update_cuh, "codegen/cuda/update.cuh")
EMBED(embedded_generic_cuh, "codegen/cuda/generic.cuh")
EMBED(embedded_norm_cuh, "codegen/cuda/norm.cuh")
EMBED(embedded_step_cuh, "codegen/cuda/step.cuh")

        .section .note.GNU-stack, "", %progbits
