/* Products in fixed point (codegen/cpu/ninc_fixed.h) of rows that networks do not often have,
 * against double: each result may err by what rounding its rows to their scales allows, and no
 * more. */
#define NINC_BF16
#include "tensor.h"

#include "plan.h"

enum { EPILOGUE_MAPS = 1, EPILOGUE_SCALARS = 1 };

#include "../../codegen/cpu/ninc_map.h"

#include "../../codegen/cpu/ninc_math.h"

#include "epilogues.h"

#include "../../codegen/cpu/ninc_cpu.h"

#include "../../codegen/cpu/ninc_wgrad.h"

#include "../../codegen/cpu/ninc_winograd.h"

#include "../../codegen/cpu/ninc_fixed.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Shapes; the defaults: tiles that do not divide the rows, fewer rows than a tile, a last part of
 * the rows that overlaps the one before; strips of which the last is odd. */
#ifndef IN_BLOCKS
#define IN_BLOCKS 2
#define GROUPS 2
#define MOST_IMAGES 25
#endif
#ifndef GROUP_VECTORS
#define GROUP_VECTORS 3
#define TILE_ROWS 6
#endif
enum { INPUTS = IN_BLOCKS * LANES, FREQUENCIES = 2, TILES = 5, STRIP = 6 };
enum { GROUP = GROUP_VECTORS * LANES, OUTPUTS = GROUPS * GROUP };

WINOGRAD_TILE(float_tile, TILE_ROWS, GROUP_VECTORS)
WINOGRAD_TILE(float_single, 1, GROUP_VECTORS)
FIXED_TILE(tile, TILE_ROWS, GROUP_VECTORS)
FIXED_TILE(single, 1, GROUP_VECTORS)
FIXED_WGRAD_TILE(large, 6, GROUP_VECTORS)
FIXED_WGRAD_TILE(small, 5, GROUP_VECTORS)

static const WinogradMultiply multiply_of = {
    .tile = float_tile, .single = float_single, .pixels = TILE_ROWS,
    .frequencies = FREQUENCIES, .tiles = TILES, .in_blocks = IN_BLOCKS,
    .out_blocks = GROUPS * GROUP_VECTORS, .groups = GROUPS, .vectors = GROUP_VECTORS};
static const FixedMultiply multiply_tiles = {tile, single};
static const WinogradWgrad wgrad_of = {
    .frequencies = FREQUENCIES, .rows = TILES, .in_blocks = IN_BLOCKS,
    .out_blocks = GROUPS * GROUP_VECTORS, .groups = GROUPS};
static const FixedWgrad wgrad_tiles = {{large, small, 6, 1, 2, GROUP_VECTORS}, STRIP};

/* ---- rows ---- */

static double uniform(void)
{
    return 2.0 * rand() / RAND_MAX - 1;
}

static double signed_rows(int row, int entry)
{
    (void)row, (void)entry;
    return uniform();
}

/* All rows point the same way, so that products are as large as they can be. */
static double equal_rows(int row, int entry)
{
    (void)row, (void)entry;
    return 3;
}

/* Squares of the entries are less than any float. */
static double equal_tiny_rows(int row, int entry)
{
    (void)row, (void)entry;
    return 3e-24;
}

static double alternating_rows(int row, int entry)
{
    return (row + 1) * (entry % 2 ? -1 : 1);
}

static double one_large(int row, int entry)
{
    return entry == row % INPUTS ? 1e4 : 1e-4 * uniform();
}

static double zero_rows(int row, int entry)
{
    (void)entry;
    return row % 3 == 0 ? 0 : uniform();
}

static double unlike_rows(int row, int entry)
{
    (void)entry;
    return pow(10, row % 30 - 15) * uniform();
}

static double tiny_rows(int row, int entry)
{
    (void)entry;
    return row % 2 ? 1e-30 * uniform() : 1e-21 * uniform();
}

static double huge_rows(int row, int entry)
{
    (void)row, (void)entry;
    return 1e17 * uniform();
}

static double not_finite(int row, int entry)
{
    return row % 4 == 1 && entry == 7   ? (double)NAN
           : row % 4 == 3 && entry == 9 ? -(double)INFINITY
                                        : uniform();
}

typedef double RowFn(int row, int entry);

/* ---- what is multiplied ---- */

typedef struct Matrix {
    int rows, entries, strip;
    double *at;    /* [frequency][row][entry], as floats */
    double *scale; /* [frequency][row][strip] */
} Matrix;

static int strips_of(const Matrix *m)
{
    return (m->entries + m->strip - 1) / m->strip;
}

/* Of row `row` of all frequencies together, entries first to last - 1. */
static double scale_of(const Matrix *m, int row, int first, int last)
{
    double squares = (last - first) * 0x1p-126, most = 0;
    for (int e = first; e < last; e++) {
        double x = m->at[(ptrdiff_t)row * m->entries + e];
        squares += x * x;
        most = fmax(most, fabs(x));
    }
    return fmax(sqrt(squares) / 45000, most / 32767);
}

/* Its rows are rounded strip by strip. */
static Matrix matrix(int rows, int entries, int strip, RowFn *fill)
{
    Matrix m = {.rows = rows, .entries = entries, .strip = strip};
    int all = FREQUENCIES * rows, strips = strips_of(&m);
    m.at = calloc((size_t)all * (size_t)entries, sizeof *m.at);
    m.scale = calloc((size_t)all * (size_t)strips, sizeof *m.scale);
    if (!m.at || !m.scale)
        abort();
    for (int r = 0; r < all; r++) {
        for (int e = 0; e < entries; e++)
            m.at[(ptrdiff_t)r * entries + e] = (float)fill(r % rows + r / rows, e);
        for (int s = 0; s < strips; s++)
            m.scale[r * strips + s] =
                scale_of(&m, r, s * strip, s + 1 < strips ? (s + 1) * strip : entries);
    }
    return m;
}

static void free_matrix(Matrix *m)
{
    free(m->at);
    free(m->scale);
}

static double entry(const Matrix *m, int f, int row, int e)
{
    return m->at[((ptrdiff_t)f * m->rows + row) * m->entries + e];
}

/* The product of a row of each, and what it may err by. */
typedef struct Expected {
    double value, error;
} Expected;

static void add_product(Expected *x, const Matrix *a, int i, const Matrix *b, int j, int f)
{
    int strips = strips_of(a);
    const double *p = a->at + ((ptrdiff_t)f * a->rows + i) * a->entries;
    const double *q = b->at + ((ptrdiff_t)f * b->rows + j) * b->entries;
    const double *p_scale = a->scale + (f * a->rows + i) * strips;
    const double *q_scale = b->scale + (f * b->rows + j) * strips;
    for (int e = 0; e < a->entries; e++) {
        double ps = p_scale[e / a->strip], qs = q_scale[e / a->strip];
        x->value += p[e] * q[e];
        x->error += 0.505 * (fabs(p[e]) * qs + fabs(q[e]) * ps + ps * qs);
        x->error += 1e-5 * fabs(p[e] * q[e]);
    }
}

static bool is_near(const char *what, Expected x, float got)
{
    bool good = isfinite(x.value) ? fabs(got - x.value) <= x.error : !isfinite(got);
    if (!good)
        printf("%s: %g, not %g with at most %g of error\n", what, got, x.value, x.error);
    return good;
}

static float *lines(ptrdiff_t count)
{
    float *p = aligned_alloc(64, (size_t)((count * 4 + 63) / 64 * 64));
    if (!p)
        abort();
    for (ptrdiff_t i = 0; i < count; i++)
        p[i] = NAN;
    return p;
}

/* Rows as frequencies lie: [frequency][block][row][LANES], by entry or, `across`, by row. */
static float *frequencies(const Matrix *m, bool across)
{
    int channels = across ? m->rows : m->entries, rows = across ? m->entries : m->rows;
    ptrdiff_t pitch = frequency_pitch(rows, channels / LANES);
    float *to = lines(FREQUENCIES * pitch);
    for (int f = 0; f < FREQUENCIES; f++)
        for (int c = 0; c < channels; c++)
            for (int r = 0; r < rows; r++)
                to[f * pitch + c / LANES * frequency_block(rows) + r * LANES + c % LANES] =
                    (float)(across ? entry(m, f, c, r) : entry(m, f, r, c));
    return to;
}

/* An input's weight for an output, in a filter of frequency f. */
static ptrdiff_t weight_at(int f, int output, int input)
{
    return (((ptrdiff_t)f * GROUPS + output / GROUP) * INPUTS + input) * GROUP + output % GROUP;
}

static bool multiplies(int images, RowFn *rows_fill, RowFn *weights_fill)
{
    int rows = images * TILES;
    Matrix a = matrix(rows, INPUTS, INPUTS, rows_fill);
    Matrix w = matrix(OUTPUTS, INPUTS, INPUTS, weights_fill);
    float *x = frequencies(&a, false), *filter = lines(weight_at(FREQUENCIES, 0, 0));
    ptrdiff_t pitch = frequency_pitch(rows, OUTPUTS / LANES);
    float *y = lines(FREQUENCIES * pitch);
    for (int f = 0; f < FREQUENCIES; f++)
        for (int o = 0; o < OUTPUTS; o++)
            for (int i = 0; i < INPUTS; i++)
                filter[weight_at(f, o, i)] = (float)entry(&w, f, o, i);
    for (int slice = 0; slice < FREQUENCIES; slice++) {
        NincRange range = {0, images, 0, slice, FREQUENCIES};
        fixed_multiply(&multiply_of, &multiply_tiles, x, filter, y, &range);
    }
    bool good = true;
    for (int f = 0; f < FREQUENCIES; f++)
        for (int r = 0; r < rows; r++)
            for (int o = 0; good && o < OUTPUTS; o++) {
                Expected e = {0, 0};
                add_product(&e, &a, r, &w, o, f);
                good = is_near("product", e,
                               y[f * pitch + o / LANES * frequency_block(rows) + r * LANES +
                                 o % LANES]);
            }
    for (int f = 0; f < FREQUENCIES; f++)
        for (int i = 1; i <= LANES; i++)
            good &= y[(f + 1) * pitch - i] == 0;
    free_matrix(&a), free_matrix(&w), free(x), free(filter), free(y);
    return good;
}

static bool sums(int images, RowFn *inputs_fill, RowFn *outputs_fill, bool accumulate)
{
    int rows = images * TILES;
    Matrix a = matrix(INPUTS, rows, STRIP, inputs_fill);
    Matrix d = matrix(OUTPUTS, rows, STRIP, outputs_fill);
    float *x = frequencies(&a, true), *dy = frequencies(&d, true);
    ptrdiff_t count = weight_at(FREQUENCIES, 0, 0);
    float *du = lines(count);
    for (ptrdiff_t i = 0; accumulate && i < count; i++)
        du[i] = 1;
    NincRange range = {0, images, accumulate, 0, 1};
    fixed_wgrad(&wgrad_of, &wgrad_tiles, x, dy, du, &range);
    bool good = true;
    for (int f = 0; f < FREQUENCIES; f++)
        for (int i = 0; i < INPUTS; i++)
            for (int o = 0; good && o < OUTPUTS; o++) {
                Expected e = {accumulate, accumulate * 1e-5};
                add_product(&e, &a, i, &d, o, f);
                good = is_near("sum", e, du[weight_at(f, o, i)]);
            }
    free_matrix(&a), free_matrix(&d), free(x), free(dy), free(du);
    return good;
}

int main(void)
{
    static const struct {
        const char *name;
        RowFn *fill, *other;
    } cases[] = {
        {"rows of both signs", signed_rows, signed_rows},
        {"equal rows", equal_rows, equal_rows},
        {"equal tiny rows", equal_tiny_rows, equal_rows},
        {"alternating rows", alternating_rows, alternating_rows},
        {"one large entry a row", one_large, one_large},
        {"rows of zeros", zero_rows, zero_rows},
        {"rows of unlike magnitudes", unlike_rows, unlike_rows},
        {"tiny rows", tiny_rows, signed_rows},
        {"tiny weights", signed_rows, tiny_rows},
        {"huge rows", huge_rows, huge_rows},
        {"rows that are not finite", not_finite, signed_rows},
        {"weights that are not finite", signed_rows, not_finite},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int images = 1; images <= MOST_IMAGES; images += images < 3 ? 1 : 22) {
            bool good = multiplies(images, cases[i].fill, cases[i].other) &&
                        sums(images, cases[i].fill, cases[i].other, false) &&
                        sums(images, cases[i].fill, cases[i].other, true);
            printf("%s %s, %d images\n", good ? "ok" : "not ok", cases[i].name, images);
            failed += !good;
        }
    return failed > 0;
}
