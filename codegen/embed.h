/* Files that ninc carries inside itself (codegen/embed.S). */
#ifndef NINC_EMBED_H
#define NINC_EMBED_H

#include "../ir/ir.h"

typedef struct Embedded {
    const char *data;
    size_t length;
} Embedded;

extern const Embedded embedded_runtime_archive;
extern const Embedded embedded_tensor_h, embedded_rate_h, embedded_images_h,
    embedded_plan_h, embedded_map_h, embedded_math_h, embedded_dropout_h,
    embedded_augment_h,
    embedded_cpu_h, embedded_wgrad_h, embedded_sparse_h, embedded_fixed_h,
    embedded_amx_h, embedded_pool_h, embedded_image_h, embedded_winograd_h, embedded_fold_h,
    embedded_norm_h, embedded_inside_h, embedded_root_h, embedded_lrn_h,
    embedded_depthwise_h, embedded_dilated_h, embedded_grouped_h, embedded_dense_h,
    embedded_tiles_h;
/* The library: its runtime's header, and the texts of codegen/library. */
extern const Embedded embedded_library_h, embedded_network_h, embedded_network_c,
    embedded_network_map, embedded_network_pc;
/* The CUDA device library: codegen/cuda. */
extern const Embedded embedded_prelude_cuh, embedded_scalar_cuh, embedded_element_cuh,
    embedded_map_cuh, embedded_image_cuh, embedded_tile_cuh, embedded_conv_cuh,
    embedded_mlpconv_cuh, embedded_pool_cuh, embedded_head_cuh, embedded_update_cuh,
    embedded_generic_cuh, embedded_grouped_cuh, embedded_norm_cuh, embedded_augment_cuh,
    embedded_lrn_cuh, embedded_step_cuh;

/* ---- header.c ---- */

/* A header's text without its includes of ours, for emitted files. */
void emit_header(const Embedded *header, Text *out);

#endif
