/* Emission of CPU kernels: one function a kernel of the IR, made of calls of ninc_cpu.h and plain
 * loops. Nothing is decided here; everything follows from the IR. */
#ifndef NINC_CODEGEN_CPU_H
#define NINC_CODEGEN_CPU_H

#include "../emit.h"
#include "epilogue.h"

/* Register tiles that the module's kernels use, each emitted once. */
typedef enum TileKind {
    TILE_CONV,
    TILE_WGRAD,
    TILE_WGRAD_PAIRS,
    TILE_WINOGRAD,
    TILE_FIXED,
    TILE_FIXED_WGRAD,
    TILE_SPARSE
} TileKind;

typedef struct TileUse {
    TileKind kind;
    int positions, vectors, step, spread;
} TileUse;

/* What the kernels of a module call and is emitted before them. */
typedef struct TileSet {
    Pool *pool;
    TileUse *use;
    int count, capacity;
    const Node **transform; /* Winograd ops, of each transform one */
    int transforms, transform_capacity;
    bool folds;  /* some kernel is of a folded convolution */
    bool sparse; /* some kernel leaves zeros out */
    bool fixed;  /* some products are in fixed point */
    bool dense;  /* some kernel is of a linear layer */
} TileSet;

typedef struct CpuEmitter {
    Pool *pool; /* scratch of one kernel */
    const Module *module;
    const Graph *graph;
    bool bf16; /* some of its maps are of bf16 */
    const Kernel *kernel;
    KernelArgs args;
    CNames names;
    TileSet *tiles;
    const Epilogues *epilogues;
    Text *out;    /* body of the function */
    Text *tables; /* constants before the function */
    int indent;
} CpuEmitter;

/* ---- writer.c ---- */

/* One indented line. */
void emit_line(CpuEmitter *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
void emit_open(CpuEmitter *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
void emit_block(CpuEmitter *e); /* opens a bare block */
void emit_close(CpuEmitter *e);
/* The C name of a node's memory (or local variable): v12, image, conv_0_0_weight. */
const char *value_name(const CpuEmitter *e, const Node *n);

/* conv_tile_9x3_step16, wgrad_tile_8x3, wgrad_pairs_7x4, winograd_tile_14x2, fixed_tile_9x3. */
const char *tile_name(Pool *pool, const TileUse *use);
/* Takes the tile into the set; its name. */
const char *use_tile(CpuEmitter *e, TileUse use);
const char *c_type(DType dtype);
/* extent = larges * large + smalls * (large - 1), with as few tiles as `most` allows. */
typedef struct Split {
    int large, larges, smalls;
} Split;

Split split_evenly(int extent, int most);

/* Of the gradient that a weight gradient's tiles read again and again: half a level-1 cache. */
enum { WGRAD_STRIP_BYTES = 24 * 1024 };

/* A RowTiles initialiser for a row of `pixels`, in tiles like `tile` and none wider; neighbours lie
 * `step` elements apart in x and `spread` pixels in y. */
const char *row_tiles(CpuEmitter *e, int pixels, const Tile *tile, int step, int spread);
/* A WgradRun initialiser: the register tiles of a weight gradient's run. */
const char *wgrad_run(CpuEmitter *e, TileKind kind, int run, const Tile *tile);
/* The C name of an op's constants. */
const char *table_name(const CpuEmitter *e, const Node *n);

/* ---- maps.c ---- */

/* A map's geometry, in elements. */
typedef struct MapShape {
    int height, width, channels, blocks, lanes;
    int64_t row, block, image, origin; /* origin: from the buffer to logical row 0, column 0 */
} MapShape;

MapShape map_shape(const Node *n);
/* Whether n is a map of images in a layout that row ops take. */
bool is_map(const CpuEmitter *e, const Node *n);
/* The C name of a node's Map. */
const char *map_name(const CpuEmitter *e, const Node *n);
/* The Map of n for image `image`; strips begin at row r0. */
void emit_map(CpuEmitter *e, const Node *n, const char *image);
/* Zeroes the halo of n's map, if it has one; `when`: "" or an if in front. */
void emit_halo(CpuEmitter *e, const Node *n, const char *when);

/* ---- rows.c ---- */

/* A Dropout of the node's settings and of what the trainer gives. */
const char *dropout_of(const CpuEmitter *e, const Node *n);

/* ---- tables.c ---- */

/* The constants of a row op, named by table_name. */
void emit_table(CpuEmitter *e, const Node *n);
/* The vectors of a filter (or its gradient) packed for contraction n, whose input has blocks of
 * `lanes` channels; an internal error where it is packed otherwise. */
int packed_vectors(const CpuEmitter *e, const Node *n, const Layout *filter, int lanes);
/* Entries of a row of a convolution's packed filter, of a block of inputs; of bf16 whole pairs. */
int filter_run(const Node *conv);

/* ---- generic/generic.c ---- */

/* Plain loops for one node, over whole values in any layout. */
void emit_generic(CpuEmitter *e, const Node *n);

/* ---- generic/image.c ---- */

/* The image, normalized or resized, with the augmentation before it: image by image. */
void emit_augmented(CpuEmitter *e);

/* ---- generic/augment.c ---- */

/* The constants of an op that augments. */
void emit_augment_table(CpuEmitter *e, const Node *n);
/* The op on image n of the chunk; both pointers are to that image, in C. */
void emit_augment(CpuEmitter *e, const Node *n, const char *from, const char *to);

/* ---- rows.c ---- */

/* A kernel of row ops: segments, strips, calls of the row functions. */
void emit_rows(CpuEmitter *e);
/* The epilogue that a statement passes to its row function. */
const char *epilogue_of(const CpuEmitter *e, const Statement *s);
/* The Map, for image `image`, of each value that the statements touch. */
void emit_statement_maps(CpuEmitter *e, const Statement *s, int count, const char *image);

/* ---- dense.c ---- */

/* A kernel of a linear layer, or of the gradient of its map. */
void emit_dense(CpuEmitter *e);
/* The gradients of its parameters, and the step of its filter. */
void emit_dense_wgrad(CpuEmitter *e);

/* ---- norm.c ---- */

/* A kernel of statistics over all images. */
void emit_statistics(CpuEmitter *e);
/* Statements of row ops. */
void emit_batch_norm(CpuEmitter *e, const Statement *s);
void emit_batch_norm_grad(CpuEmitter *e, const Statement *s);

/* ---- lrn.c ---- */

/* lrn, lrn_grad */
void emit_lrn(CpuEmitter *e, const Statement *s);

/* ---- winograd.c ---- */

/* A kernel of Winograd ops. */
void emit_winograd(CpuEmitter *e);
/* The constants of a Winograd op between a map and its frequencies. */
void emit_winograd_map(CpuEmitter *e, const Node *n);
/* The matrix and the function of a Winograd op's transform. */
void emit_winograd_transform(Pool *pool, const Node *n, Text *out);

/* ---- fold.c ---- */

/* The constants of a folded convolution or its weight gradient, a row op. */
void emit_fold_table(CpuEmitter *e, const Node *n);
/* A filter folded, or the gradient of one. */
void emit_fold_filter(CpuEmitter *e, const Node *n);
/* Constants of an axis, under a name: the FoldPlace of each output; the matrices. */
void emit_fold_places(CpuEmitter *e, const char *name, const FoldAxis *a);
void emit_fold_matrix(CpuEmitter *e, const char *name, const FoldAxis *a);

/* ---- update.c ---- */

/* The optimizer kernel: one loop a parameter over its flat arrays. */
void emit_update(CpuEmitter *e);
/* Of the optimizer's nodes among those, which all work for one parameter: what is the same for all
 * elements; and element i, in which what others of the kernel make has its name and _i. */
void emit_step_scalars(CpuEmitter *e, Node *const *node, int count);
void emit_step(CpuEmitter *e, Node *const *node, int count);
/* Cast, transposed and folded filters of all layers, and gradients of what was folded. */
void emit_filters(CpuEmitter *e);

#endif
