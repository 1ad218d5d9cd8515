/* Products in fixed point (codegen/cpu/ninc_fixed.h) of rows that networks do not often have,
 * against double: each result may err by what rounding its rows to their units allows, and no more. */
#define NINC_BF16
#include "tensor.h"

#include "plan.h"

#include "../codegen/cpu/ninc_cpu.h"

#include "../codegen/cpu/ninc_wgrad.h"

#include "../codegen/cpu/ninc_winograd.h"

#include "../codegen/cpu/ninc_fixed.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Two groups of three vectors, which are not a whole number of four; tiles that do not divide the
 * rows; strips of an even number of rows, of which the last is odd. */
enum { BLOCKS = 2, INPUTS = BLOCKS * LANES, GROUPS = 2, VECTORS = 3, FREQUENCIES = 2 };
enum { GROUP = VECTORS * LANES, OUTPUTS = GROUPS * GROUP, TILES = 5, PIXELS = 4, STRIP = 6 };
enum { MOST_IMAGES = 27, MOST_ROWS = MOST_IMAGES * TILES };

FIXED_TILE(tile_4x3, 4, 3)
FIXED_TILE(tile_1x3, 1, 3)
FIXED_WGRAD_TILE(wgrad_6x3, 6, 3)
FIXED_WGRAD_TILE(wgrad_5x3, 5, 3)

static const WinogradMultiply multiply = {
    .pixels = PIXELS, .frequencies = FREQUENCIES, .tiles = TILES, .in_blocks = BLOCKS,
    .out_blocks = GROUPS * VECTORS, .groups = GROUPS, .vectors = VECTORS};
static const FixedMultiply multiply_tiles = {tile_4x3, tile_1x3};
static const WinogradWgrad wgrad = {
    .frequencies = FREQUENCIES, .rows = TILES, .in_blocks = BLOCKS,
    .out_blocks = GROUPS * VECTORS, .groups = GROUPS};
static const FixedWgrad wgrad_tiles = {{wgrad_6x3, wgrad_5x3, 6, 1, 2, VECTORS}, STRIP};

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
    int rows, entries;
    double *at; /* [frequency][row][entry], as floats */
} Matrix;

static Matrix matrix(int rows, int entries, RowFn *fill)
{
    Matrix m = {rows, entries, calloc((size_t)FREQUENCIES * rows * entries, sizeof *m.at)};
    for (int f = 0; f < FREQUENCIES; f++)
        for (int r = 0; r < rows; r++)
            for (int e = 0; e < entries; e++)
                m.at[(f * rows + r) * entries + e] = (float)fill(r + f, e);
    return m;
}

static double entry(const Matrix *m, int f, int row, int e)
{
    return m->at[(f * m->rows + row) * m->entries + e];
}

/* The unit of entries e0 to e1 - 1 of a row. */
static double unit(const Matrix *m, int f, int row, int e0, int e1)
{
    double squares = (e1 - e0) * 0x1p-126, most = 0;
    for (int e = e0; e < e1; e++) {
        squares += pow(entry(m, f, row, e), 2);
        most = fmax(most, fabs(entry(m, f, row, e)));
    }
    return fmax(sqrt(squares) / 45000, most / 32767);
}

/* The product of a row of each, and what it may err by. */
typedef struct Expected {
    double value, error;
} Expected;

static void add_product(Expected *x, const Matrix *a, int i, const Matrix *b, int j, int f, int e0,
                        int e1)
{
    double ua = unit(a, f, i, e0, e1), ub = unit(b, f, j, e0, e1), sum = 0, magnitudes = 0;
    for (int e = e0; e < e1; e++) {
        double p = entry(a, f, i, e), q = entry(b, f, j, e);
        x->value += p * q;
        magnitudes += fabs(p * q);
        sum += fabs(p) * ub + fabs(q) * ua + ua * ub;
    }
    x->error += 0.505 * sum + 1e-5 * magnitudes;
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
    Matrix a = matrix(rows, INPUTS, rows_fill), w = matrix(OUTPUTS, INPUTS, weights_fill);
    float *x = frequencies(&a, false), *filter = lines(weight_at(FREQUENCIES, 0, 0));
    ptrdiff_t pitch = frequency_pitch(rows, OUTPUTS / LANES);
    float *y = lines(FREQUENCIES * pitch);
    for (int f = 0; f < FREQUENCIES; f++)
        for (int o = 0; o < OUTPUTS; o++)
            for (int i = 0; i < INPUTS; i++)
                filter[weight_at(f, o, i)] = (float)entry(&w, f, o, i);
    for (int slice = 0; slice < FREQUENCIES; slice++) {
        NincRange range = {0, images, 0, slice, FREQUENCIES};
        fixed_multiply(&multiply, &multiply_tiles, x, filter, y, &range);
    }
    bool good = true;
    for (int f = 0; f < FREQUENCIES; f++)
        for (int r = 0; r < rows; r++)
            for (int o = 0; good && o < OUTPUTS; o++) {
                Expected e = {0, 0};
                add_product(&e, &a, r, &w, o, f, 0, INPUTS);
                good = is_near("product", e,
                               y[f * pitch + o / LANES * frequency_block(rows) + r * LANES +
                                 o % LANES]);
            }
    for (int f = 0; f < FREQUENCIES; f++)
        for (int i = 1; i <= LANES; i++)
            good &= y[(f + 1) * pitch - i] == 0;
    free(a.at), free(w.at), free(x), free(filter), free(y);
    return good;
}

static bool sums(int images, RowFn *inputs_fill, RowFn *outputs_fill, bool accumulate)
{
    int rows = images * TILES;
    Matrix a = matrix(INPUTS, rows, inputs_fill), d = matrix(OUTPUTS, rows, outputs_fill);
    float *x = frequencies(&a, true), *dy = frequencies(&d, true);
    ptrdiff_t count = weight_at(FREQUENCIES, 0, 0);
    float *du = lines(count);
    for (ptrdiff_t i = 0; accumulate && i < count; i++)
        du[i] = 1;
    NincRange range = {0, images, accumulate, 0, 1};
    fixed_wgrad(&wgrad, &wgrad_tiles, x, dy, du, &range);
    bool good = true;
    for (int f = 0; f < FREQUENCIES; f++)
        for (int i = 0; i < INPUTS; i++)
            for (int o = 0; good && o < OUTPUTS; o++) {
                Expected e = {accumulate, accumulate * 1e-5};
                for (int row = 0; row < rows; row += STRIP)
                    add_product(&e, &a, i, &d, o, f, row, row + STRIP < rows ? row + STRIP : rows);
                good = is_near("sum", e, du[weight_at(f, o, i)]);
            }
    free(a.at), free(d.at), free(x), free(dy), free(du);
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
        for (int images = 1; images <= MOST_IMAGES; images += images < 3 ? 1 : 24) {
            bool good = multiplies(images, cases[i].fill, cases[i].other) &
                        sums(images, cases[i].fill, cases[i].other, false) &
                        sums(images, cases[i].fill, cases[i].other, true);
            printf("%s %s, %d images\n", good ? "ok" : "not ok", cases[i].name, images);
            failed += !good;
        }
    return failed > 0;
}
