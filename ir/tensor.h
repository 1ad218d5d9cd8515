/* Tensor types: what a value is (dtype, logical shape) and how its bytes lie (layout).
 *
 * This header is a leaf: the compiler, the emitted plan and the runtime all include it, and
 * ir/tensor.c is the one place that turns logical coordinates into physical offsets. */
#ifndef NINC_TENSOR_H
#define NINC_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

enum { TENSOR_MAX_RANK = 4 };

#define TENSOR_DTYPES(X) X(F32, "f32", 4) X(BF16, "bf16", 2) X(I32, "i32", 4) X(U8, "u8", 1)

typedef enum DType {
#define X(id, text, bytes) DT_##id,
    TENSOR_DTYPES(X)
#undef X
        DT_COUNT
} DType;

/* Logical shape. Activations are [N,H,W,C], filters [O,I,KH,KW], scalars have rank 0. */
typedef struct Shape {
    int rank;
    int32_t dim[TENSOR_MAX_RANK];
} Shape;

/* Physical forms. Only these lanes exist:
 *   plain   dimensions in logical order, contiguous
 *   nhwc    [N][H+2hh][W+2hw][C], zero halo; with a block, zero lanes up to a multiple of it
 *   nibble  u8 below 16 as [N][H][W][ceil(C/2)] bytes: channel 2k low, 2k+1 high; an element of
 *           tensor_elements is one byte, and tensor_offset counts nibbles
 *   nchwc   [N][ceil(C/block)][H+2hh][W+2hw][block], zero halo, zero lanes past C; a rank-2 value
 *           [N,C] is stored as if H = W = 1
 *   hcnwc   [H][ceil(C/block)][N][W][block]: the images of a row side by side; zero lanes past C,
 *           and a block of zeros behind each row, so that rows do not meet in the sets of a cache
 *   filter  of OIHW: [ceil(O/out_block)][ceil(I/block)][KH][KW][block][out_block], zero lanes;
 *           in pairs, [ceil(KW*block/2)][out_block][2] of the entries of a row, zero past the last:
 *           what instructions that add two products read
 *   taps    the same with the taps outermost: [KH][KW][ceil(O/out_block)][ceil(I/block)][block]
 *           [out_block], zero lanes; what is multiplied tap by tap (Winograd) lies together
 *   vector  of [C]: padded with zeros to a multiple of block */
#define TENSOR_LAYOUTS(X) \
    X(PLAIN, "plain") X(NHWC, "nhwc") X(NCHWC, "nchwc") X(FILTER, "filter") X(VECTOR, "vector") \
    X(NIBBLE, "nibble") X(TAPS, "taps") X(HCNWC, "hcnwc")

typedef enum LayoutKind {
#define X(id, text) LAYOUT_##id,
    TENSOR_LAYOUTS(X)
#undef X
        LAYOUT_COUNT
} LayoutKind;

typedef struct Layout {
    LayoutKind kind;
    int block;          /* channels; filter, taps: of its inputs; vector, nhwc: a multiple */
    int out_block;      /* filter, taps: output channels a block */
    int halo_h, halo_w; /* nhwc, nchwc: zero rows and columns on each side */
    int strip;          /* nchwc: if > 0 the buffer holds these rows of one image, not the map */
    bool pairs;         /* filter: two neighbouring entries of a row lie side by side */
} Layout;

typedef struct Tensor {
    DType dtype;
    Shape shape;
    Layout layout;
} Tensor;

/* ---- ir/tensor.c ---- */

const char *dtype_name(DType dtype);
int dtype_bytes(DType dtype);

/* Number of logical elements; 1 for rank 0. */
int64_t shape_elements(const Shape *shape);
bool shape_equal(const Shape *a, const Shape *b);

/* Number of physical elements, halo and padding lanes included. */
int64_t tensor_elements(const Tensor *t);

/* Physical offset, in elements, of the logical coordinate `at` (shape.rank numbers). For a layout
 * with strip > 0 the row is taken relative to the strip (caller subtracts its first row). */
int64_t tensor_offset(const Tensor *t, const int32_t *at);

/* Copies between logical order (contiguous) and the physical form, element by element of
 * dtype_bytes(t->dtype) bytes. pack zeroes halo and padding lanes first. */
void tensor_pack(const Tensor *t, const void *logical, void *physical);
void tensor_unpack(const Tensor *t, const void *physical, void *logical);

#endif
