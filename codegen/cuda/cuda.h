/* Emission of CUDA kernels: one function a kernel of the IR, whose body composes the device library
 * (the .cuh files beside this one). Nothing is decided here; everything follows from the IR. */
#ifndef NINC_CODEGEN_CUDA_H
#define NINC_CODEGEN_CUDA_H

#include "../chains.h"
#include "../emit.h"

typedef struct CudaEmitter {
    Pool *pool;
    const Module *module;
    const Graph *graph;
    const Kernel *kernel;
    CNames names;
    const Chains *chains;
    Text *out;         /* body of the function */
    Text *types;       /* types before the functions */
} CudaEmitter;

/* Threads of a block of every kernel without tiles (scalar.cuh's BLOCK), and elements that one of
 * them updates (update.cuh). */
enum { CUDA_BLOCK = 256, CUDA_UPDATE_WIDTH = 4 };

/* ---- writer.c ---- */

/* One line of the body. */
void cuda_line(CudaEmitter *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A call as a statement of the body; the arguments end with NULL. */
void cuda_call(CudaEmitter *e, const char *function, const char *const *argument);
/* Appends items with commas between, `start` columns into a line, wrapped at `indent`. */
void cuda_list(Text *out, const char *const *item, int count, int start, int indent);

/* v12, image, conv_0_0_weight; nullptr for NULL and for values that have no place. */
const char *cuda_value(const CudaEmitter *e, const Node *n);
/* float, bf16, i32, u8. */
const char *cuda_type(DType dtype);
/* The kernel's first node of that op; NULL where there is none. */
const Node *cuda_find(const CudaEmitter *e, Op op);
/* CONV_0_0_FORWARD. */
const char *cuda_macro(Pool *pool, const Kernel *k);
/* Copies that a gradient has in memory: CONV_0_0_WGRAD_SPLIT, or 1. */
const char *cuda_copies(const CudaEmitter *e, const Node *n);
/* A double's float as the shortest literal: 0.9f. */
const char *cuda_literal(Pool *pool, double value);

/* Physical channels of a map. */
int cuda_channels(const Node *n);
/* The type that says how a value lies in memory: Map<16, 27, 27, 96, 96>, Ohwi<...>. */
const char *cuda_view(const CudaEmitter *e, const Node *n);

/* ---- kernels.c: one call of the library a kernel ---- */

void cuda_emit_conv_forward(CudaEmitter *e);
void cuda_emit_conv_dgrad(CudaEmitter *e);
void cuda_emit_conv_wgrad(CudaEmitter *e);
void cuda_emit_mlpconv_forward(CudaEmitter *e);
void cuda_emit_mlpconv_backward(CudaEmitter *e);
void cuda_emit_pool_forward(CudaEmitter *e);
void cuda_emit_pool_backward(CudaEmitter *e);
void cuda_emit_statistics(CudaEmitter *e);
void cuda_emit_norm(CudaEmitter *e);
void cuda_emit_lrn(CudaEmitter *e);
void cuda_emit_head(CudaEmitter *e);
void cuda_emit_metrics(CudaEmitter *e);
void cuda_emit_image(CudaEmitter *e, const Node *n);
/* The struct Pixel of a normalize or resize. */
void cuda_emit_pixel(CudaEmitter *e, const ImageAttr *image);
void cuda_emit_sum(CudaEmitter *e, const Node *n); /* mean_valid, count_valid */

/* ---- augment.c ---- */

/* A chain of ops that augment, and the normalize or resize behind it, if there is one. */
void cuda_emit_augmented(CudaEmitter *e);

/* ---- pointwise.c ---- */

/* The pointwise ops of the module's CUDA graphs, as functions op_NAME. */
void cuda_emit_ops(const Module *m, Text *out);
/* op_NAME(operands, attribute), `start` columns into a line; operand i of n is `in[i]`. */
const char *cuda_apply(Pool *pool, const Node *n, const char *const *in, int start);
/* A chain of pointwise ops and casts; only the last one's result is stored. */
void cuda_emit_pointwise(CudaEmitter *e);

/* ---- chain.c ---- */

/* The epilogues of all CUDA kernels of a module. */
Chains cuda_find_chains(Pool *pool, const Module *m);
void cuda_emit_chains(const Chains *c, Text *out);
/* A statement's epilogue: its type, Chain_relu_grad<float>, and its value,
 * Chain_relu_grad<float>{{v7}}; NoChain, NoChain{}. */
const char *cuda_chain_type(const CudaEmitter *e, const Statement *s);
const char *cuda_chain(const CudaEmitter *e, const Statement *s);

/* ---- update.c ---- */

void cuda_emit_update(CudaEmitter *e);
void cuda_emit_filters(CudaEmitter *e);

/* ---- generic.c ---- */

/* One node in plain loops. */
void cuda_emit_generic(CudaEmitter *e);

#endif
