/* The transforms of Winograd convolution. */
#ifndef NINC_IR_WINOGRAD_H
#define NINC_IR_WINOGRAD_H

#include "graph.h"

/* ---- ir/winograd.c: the transforms of Winograd convolution ---- */

/* Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308): with tiles
 * d of `size` rows and columns, size = tile + kernel - 1,
 *     y = A^T [(G g G^T) * (B^T d B)] A
 * where * multiplies element by element. Made by Cook-Toom from the points 0, 1, -1, 2, -2, 1/2,
 * -1/2 (as many as are needed) and infinity; the largest element of each row of B^T is 1 or -1. */
typedef struct WinogradMatrices {
    int size;
    double at[WINOGRAD_MAX_TILE][WINOGRAD_MAX_SIZE]; /* A^T: tile x size */
    double g[WINOGRAD_MAX_SIZE][WINOGRAD_MAX_KERNEL]; /* G: size x kernel */
    double bt[WINOGRAD_MAX_SIZE][WINOGRAD_MAX_SIZE]; /* B^T: size x size */
} WinogradMatrices;

/* Tiles of 2..6, kernels of 2..5, together at most WINOGRAD_MAX_SIZE + 1. */
bool winograd_is_valid(int tile, int kernel);
/* Of a valid pair. */
void winograd_matrices(int tile, int kernel, WinogradMatrices *out);

/* The matrix L of a node's transform x -> L x L^T: B^T, G, A^T, A or G^T by its op. */
typedef struct WinogradTransform {
    int rows, columns;
    double at[WINOGRAD_MAX_SIZE][WINOGRAD_MAX_SIZE];
} WinogradTransform;

WinogradTransform winograd_transform(const Node *n);

/* Rows and columns of a transformed tile: tile + kernel - 1. */
int winograd_size(const Winograd *w);
/* Rows and columns of tiles over the output map, and their product. */
int winograd_tile_rows(const Winograd *w);
int winograd_tile_columns(const Winograd *w);
int winograd_tiles(const Winograd *w);
/* The zero border of its map that whole tiles of a winograd_input or winograd_output_grad read. */
void winograd_halo(const Node *n, int *halo_h, int *halo_w);

#endif
