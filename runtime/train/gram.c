/* Sums of products of all pairs of columns. */
#include "../../ir/ir.h"
#include "normalize.h"

#include <string.h>

enum { TILE = 64, DEPTH = 64 };

typedef struct Gram {
    const float *row;
    double *sum;
    int rows, n, tiles; /* tiles: a side */
} Gram;

/* part[y][x] += a[y] * b[x]; inlined, so that compilers see how long loops of whole tiles are. */
static inline void add_products(float part[TILE][TILE], const float *a, const float *b, int high,
                                int wide)
{
    for (int y = 0; y < high; y++)
        for (int x = 0; x < wide; x++)
            part[y][x] += a[y] * b[x];
}

/* `depth` rows of both columns' values, from i and from k on. */
static void add_block(const Gram *g, const float *row, int depth, int i, int k)
{
    int high = g->n - i < TILE ? g->n - i : TILE, wide = g->n - k < TILE ? g->n - k : TILE;
    float part[TILE][TILE];
    memset(part, 0, sizeof part);
    for (int r = 0; r < depth; r++) {
        const float *at = row + (size_t)r * (size_t)g->n;
        if (high == TILE && wide == TILE)
            add_products(part, at + i, at + k, TILE, TILE);
        else
            add_products(part, at + i, at + k, high, wide);
    }
    for (int y = 0; y < high; y++)
        for (int x = 0; x < wide; x++)
            g->sum[(size_t)(i + y) * (size_t)g->n + (size_t)(k + x)] += (double)part[y][x];
}

/* A tile on the diagonal or below it. */
static void add_tile(void *who, int tile)
{
    const Gram *g = who;
    int i = tile / g->tiles, k = tile % g->tiles;
    for (int r = 0; k <= i && r < g->rows; r += DEPTH)
        add_block(g, g->row + (size_t)r * (size_t)g->n, g->rows - r < DEPTH ? g->rows - r : DEPTH,
                  i * TILE, k * TILE);
}

void gram_add(const float *row, int rows, int n, int threads, double *sum)
{
    Gram g = {row, sum, rows, n, (n + TILE - 1) / TILE};
    parallel_run(threads, g.tiles * g.tiles, add_tile, &g);
}

void gram_mirror(double *sum, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            sum[(size_t)k * (size_t)n + (size_t)i] = sum[(size_t)i * (size_t)n + (size_t)k];
}
