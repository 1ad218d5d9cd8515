/* CUDA as a target. */
#include "../codegen.h"
#include "../target.h"
#include "cuda.h"

static const Embedded *const texts[] = {
    &embedded_tiles_h,  &embedded_prelude_cuh, &embedded_scalar_cuh,
    &embedded_map_cuh,  &embedded_image_cuh,   &embedded_element_cuh,
    &embedded_tile_cuh, &embedded_conv_cuh,    &embedded_pool_cuh,
    &embedded_head_cuh, &embedded_mlpconv_cuh, &embedded_update_cuh,
    &embedded_step_cuh, &embedded_generic_cuh, &embedded_grouped_cuh,
    &embedded_norm_cuh, &embedded_lrn_cuh,     &embedded_augment_cuh, NULL};

static void declare(NameTable *words, Pool *pool)
{
    declare_name(words, pool, "gather_batch"); /* emit.c */
    declare_name(words, pool, "add_metrics");
    for (Op op = 0; op < OP_COUNT; op++) /* pointwise.c */
        declare_name(words, pool, pool_format(pool, "op_%s", op_name(op)));
}

const CodeTarget cuda_code = {.id = "NINC_CUDA", .emit = emit_cuda, .extension = "cu",
                              .carried = true, .smaller = true, .texts = texts,
                              .declare = declare, .macro = cuda_macro};
