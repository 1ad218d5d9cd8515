/* The processors that CPU programs are decided for: what a core has, and what we allow ourselves of
 * it. Only ratios of speeds matter. */
#ifndef NINC_PASSES_CPU_MACHINE_H
#define NINC_PASSES_CPU_MACHINE_H

/* ---- registers ---- */

/* Accumulator registers of a tile: AVX-512 has 32, some of which hold filters and inputs.
 * Narrower machines cut the tiles into parts (codegen/cpu/ninc_cpu.h). An AMX tile has AMX_ROWS
 * pixels. */
enum { ACCUMULATORS = 28, MAX_TILE_VECTORS = 4, AMX_ROWS = 16 };

/* ---- caches ---- */

/* Level 1: a filter group that is larger leaves no room for inputs, and every tile reads it from
 * the next cache. */
enum { RESIDENT_BYTES = 24 * 1024 };

/* Level 2: the pixels of a strip, few enough for its rows to stay there, enough to reuse a reading
 * of the filter; the bytes for one row of a block's values above which strips do not stay, so that
 * a 1x1 convolution gains nothing from being fused; the bytes of a filter's gradient that stays
 * beside the strips of a block. */
enum {
    STRIP_PIXELS = 192,
    FUSED_ROW_BYTES = 256 * 1024,
    STRIP_WGRAD_BYTES = 300 * 1024,
};

/* What one kernel may hold: strips of all its values are in cache together. */
enum { MAX_FUSED_NODES = 48 };

/* ---- memory and threads ---- */

/* What the values of a chunk of images may take together, of which about a third live at one time:
 * few enough for little memory, enough to reuse a reading of the transformed filters, so that up to
 * FEW_IMAGES may take more. */
enum { CHUNK_BYTES = 128 << 20, FEW_IMAGES_BYTES = 160 << 20, FEW_IMAGES = 6 };

/* Each chunk reads the filters of linear layers from memory. It may take as many times their bytes
 * as that, until it has so many images that reading them costs little beside multiplying. */
enum { CHUNK_OF_DENSE = 4, DENSE_IMAGES = 32 };

/* How many strips a chunk has at least, where its maps have the rows, to keep threads busy. */
enum { LEAST_STRIPS = 16 };

/* ---- speeds ---- */

/* What one core does in a second: floating-point operations of the direct convolution, of its
 * weight gradient, of Winograd's products, also in fixed point where maps are bf16 (else the same);
 * bytes of the frequencies of maps and filters, and of a filter larger than a level-2 cache.
 * The most bytes that all copies of one filter's frequencies may take: a training step has them for
 * the convolution, its data gradient and its weight gradient. And the bytes of an element. */
typedef struct Machine {
    double direct, direct_wgrad, products, fixed, bytes, cached_bytes, filter_bytes, element;
} Machine;

/* Of f32 maps those of a current Xeon. Of bf16 maps those of a Zen 4, which has the dot product but
 * no AMX: it has twice the rate, as has that of the 16-bit integers that frequencies become, but
 * integers and a weight gradient's pairs of pixels have to be packed, and frequencies stay in a
 * large cache. Half the memory goes with half as large maps. */
static const Machine machine_of_f32 = {180e9, 180e9, 180e9, 180e9, 18e9, 40e9, 72e6, 4},
                     machine_of_bf16 = {220e9, 180e9, 110e9, 190e9, 35e9, 40e9, 36e6, 2};
/* Floats of a filter that a level-2 cache does not keep between the rows of a map. */
static const double LARGE_FILTER_BYTES = 2 << 20;
/* The most bytes of a filter's frequencies where the filter itself takes longer to read than to
 * multiply by. */
static const double MOST_FILTER_BYTES = 72e6;

/* ---- what pays ---- */

/* Winograd must win by this much, and a larger tile over a smaller one by that: both need memory
 * for the frequencies of filters, and round more. */
static const double WINOGRAD_WORTH = 0.95, LARGER_TILE_WORTH = 0.92;
/* With fewer channels than a vector has lanes the transforms cost more than they save. */
enum { LEAST_WINOGRAD_CHANNELS = 16 };
/* Tiles of a chunk that share the filter's integers; fewer do not pay for making them. */
enum { LEAST_FIXED_TILES = 16 };

/* What a thread has at a time of a linear layer's filter, turned around: part of a level-2
 * cache. */
enum { PANEL_BYTES = 512 * 1024 };

/* How many of the direct convolution's multiplications may be left where a resize is folded. */
static const double FOLD_WORTH = 0.5;

/* Fewer channels than this on either side make lists of what is not zero, or rows of vectors, too
 * short to pay. */
enum { LEAST_SPARSE_CHANNELS = 64 };

#endif
