/* The CPU as a target, without and with AMX, whose kernels stand in one text. */
#include "../codegen.h"
#include "../target.h"
#include "cpu.h"

static const Embedded *const texts[] = {
    &embedded_tensor_h,   &embedded_plan_h,  &embedded_map_h,   &embedded_math_h,
    &embedded_cpu_h,      &embedded_wgrad_h, &embedded_pool_h,  &embedded_image_h,
    &embedded_amx_h,      &embedded_winograd_h, &embedded_fixed_h, &embedded_fold_h,
    &embedded_sparse_h,   &embedded_norm_h,  &embedded_dropout_h,
    &embedded_inside_h, &embedded_root_h,     &embedded_lrn_h,   &embedded_depthwise_h,
    &embedded_dilated_h, &embedded_grouped_h,  &embedded_dense_h, &embedded_augment_h, NULL};

/* epilogue.c */
static void declare(NameTable *words, Pool *pool)
{
    declare_name(words, pool, "store_epilogue");
    for (int op = 0; op < OP_COUNT; op++)
        declare_name(words, pool, pool_format(pool, "op_%s", op_name((Op)op)));
}

const CodeTarget cpu_code = {.id = "NINC_CPU", .emit = emit_cpu, .extension = "c", .levels = true,
                             .texts = texts, .declare = declare, .tables = true};

const CodeTarget amx_code = {.id = "NINC_AMX", .condition = "__AMX_BF16__",
                             .library = &embedded_amx_h, .texts = texts, .declare = declare,
                             .tables = true};
