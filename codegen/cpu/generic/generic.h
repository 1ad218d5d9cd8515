/* Plain loops for one node, straight from the op's definition, over values in any layout: every
 * kernel at -O0, and the small ones at any level. One file a family of ops (FAMILY of ir/ops.h). */
#ifndef NINC_CODEGEN_CPU_GENERIC_H
#define NINC_CODEGEN_CPU_GENERIC_H

#include "../cpu.h"

/* The loops of a node whose result's zeros are written. */
typedef void GenericFn(CpuEmitter *e, const Node *n);

/* ---- loops.c: loop variables are n, h, w, c (output side) and y, x, i (input side) ---- */

/* Where the element n, h, w, c of a map lies; o, i, kh, kw of a filter. */
const char *map_index(const CpuEmitter *e, const Node *v, const char *n, const char *h,
                      const char *w, const char *c);
const char *filter_index(const CpuEmitter *e, const Node *v, const char *o, const char *i,
                         const char *kh, const char *kw);
/* The element of v at an index. */
const char *element_at(const CpuEmitter *e, const Node *v, const char *index);
const char *read_map(const CpuEmitter *e, const Node *v, const char *n, const char *h,
                     const char *w, const char *c);
/* v[index] = value, rounded to what v holds. */
void emit_write(CpuEmitter *e, const Node *v, const char *index, const char *value);
/* Writes a map's element at output coordinates n, h, w, c. */
void write_pixel(CpuEmitter *e, const Node *v, const char *value);

void open_loop(CpuEmitter *e, const char *variable, int extent);
void open_images(CpuEmitter *e);
void close_loops(CpuEmitter *e, int count);
/* n, h, w over the pixels of v. */
void open_pixels(CpuEmitter *e, const Node *v);
/* How far the tap kh, or kw, of a window lies from its first, in C. */
const char *tap_row(const CpuEmitter *e, const Window *k);
const char *tap_column(const CpuEmitter *e, const Window *k);
/* Window taps of output pixel h, w: kh, kw with input pixel y, x inside the map of `input`. */
void open_taps(CpuEmitter *e, const Window *k, const Node *input);
/* Windows that cover input pixel h, w: taps kh, kw of output pixel y, x of `output`. */
void open_windows(CpuEmitter *e, const Window *k, const Node *output);
/* Halo and padding lanes are zero before the values are written. */
void emit_clear(CpuEmitter *e, const Node *v);
/* Weight gradients start from zero or from the sum so far. */
void emit_clear_sum(CpuEmitter *e, const Node *v);

/* ---- one file a family ---- */

/* A family without one does not link. */
GenericFn generic_leaf, generic_image, generic_conv, generic_winograd, generic_fold, generic_pool,
    generic_gap, generic_flatten, generic_loss, generic_batch_norm, generic_pointwise,
    generic_activation, generic_optimizer, generic_dropout, generic_concat, generic_lrn,
    generic_augment, generic_whiten;
/* Calls the function that a family's table has for the op. */
void emit_of_family(CpuEmitter *e, const Node *n, GenericFn *const of_family[OP_COUNT]);

#endif
