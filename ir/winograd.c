/* Winograd convolution: extents, and the matrices of its transforms by Cook-Toom.
 *
 * A polynomial s of degree size - 1 is known by its values at n = size - 1 points p_j and by its
 * leading coefficient, its "value at infinity":
 *     s(x) = sum over j of s(p_j) L_j(x) / L_j(p_j) + s_inf M(x),
 *     M(x) = product over l of (x - p_l),  L_j(x) = M(x) / (x - p_j).
 * For s = g y, g of `kernel` and y of `tile` coefficients, the values of s are products of those of
 * g and y. Transposing that algorithm turns the product of polynomials into the correlation: G
 * takes the values of g, A those of y, and the rows of B^T are the coefficients of L_j and M. */
#include "ir.h"

#include <math.h>
#include <string.h>

static const double points[WINOGRAD_MAX_SIZE - 1] = {0, 1, -1, 2, -2, 0.5, -0.5};

bool winograd_is_valid(int tile, int kernel)
{
    return tile >= 2 && tile <= WINOGRAD_MAX_TILE && kernel >= 2 && kernel <= WINOGRAD_MAX_KERNEL &&
           tile + kernel - 1 <= WINOGRAD_MAX_SIZE;
}

int winograd_size(const Winograd *w)
{
    return w->tile + w->kernel - 1;
}

int winograd_tile_rows(const Winograd *w)
{
    return (w->height - 1) / w->tile + 1;
}

int winograd_tile_columns(const Winograd *w)
{
    return (w->width - 1) / w->tile + 1;
}

int winograd_tiles(const Winograd *w)
{
    return winograd_tile_rows(w) * winograd_tile_columns(w);
}

/* Coefficients, lowest first, of the product of (x - p) over the first `count` points but number
 * `left_out` (count: over all); `row` is zero and has room for count + 1. */
static void product_of_roots(int count, int left_out, double *row)
{
    row[0] = 1;
    for (int l = 0, degree = 0; l < count; l++) {
        if (l == left_out)
            continue;
        degree++;
        for (int i = degree; i >= 0; i--)
            row[i] = (i > 0 ? row[i - 1] : 0) - points[l] * row[i];
    }
}

/* L_j(p_j) */
static double normaliser(int count, int j)
{
    double product = 1;
    for (int l = 0; l < count; l++)
        product *= l == j ? 1 : points[j] - points[l];
    return product;
}

/* Makes the largest element of row j of B^T 1 in absolute value; row j of G takes the factor. */
static void balance(WinogradMatrices *m, int j, int kernel)
{
    double largest = 0;
    for (int i = 0; i < m->size; i++)
        largest = fmax(largest, fabs(m->bt[j][i]));
    for (int i = 0; i < m->size; i++)
        m->bt[j][i] /= largest;
    for (int k = 0; k < kernel; k++)
        m->g[j][k] = m->g[j][k] * largest + 0.0; /* not -0 */
}

void winograd_matrices(int tile, int kernel, WinogradMatrices *out)
{
    int size = tile + kernel - 1, count = size - 1;
    memset(out, 0, sizeof *out);
    out->size = size;
    for (int j = 0; j < count; j++) {
        for (int i = 0; i < tile; i++)
            out->at[i][j] = pow(points[j], i);
        for (int k = 0; k < kernel; k++)
            out->g[j][k] = pow(points[j], k) / normaliser(count, j);
        product_of_roots(count, j, out->bt[j]);
    }
    out->at[tile - 1][count] = 1; /* infinity */
    out->g[count][kernel - 1] = 1;
    product_of_roots(count, count, out->bt[count]);
    for (int j = 0; j < size; j++)
        balance(out, j, kernel);
}

/* The last tile may reach past the map, and the first starts `padding` before it. */
static int reach(int tiles, int tile, int reach, int padding, int extent)
{
    int past = tiles * tile + reach - padding - extent;
    return past > padding ? past : padding;
}

void winograd_halo(const Node *n, int *halo_h, int *halo_w)
{
    const Winograd *w = &n->attr.winograd;
    const int32_t *x = n->in[0]->tensor.shape.dim;
    bool input = n->op == OP_WINOGRAD_INPUT;
    int more = input ? w->kernel - 1 : 0;
    *halo_h = reach(winograd_tile_rows(w), w->tile, more, input ? w->padding_h : 0, x[1]);
    *halo_w = reach(winograd_tile_columns(w), w->tile, more, input ? w->padding_w : 0, x[2]);
}

/* L[i][j] = m[i * row_step + j * column_step] */
static WinogradTransform transform_of(int rows, int columns, const double *m, int row_step,
                                      int column_step)
{
    WinogradTransform t = {rows, columns, {{0}}};
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++)
            t.at[i][j] = m[i * row_step + j * column_step];
    return t;
}

WinogradTransform winograd_transform(const Node *n)
{
    enum { G_STEP = WINOGRAD_MAX_KERNEL, STEP = WINOGRAD_MAX_SIZE };
    int tile = n->attr.winograd.tile, kernel = n->attr.winograd.kernel;
    WinogradMatrices m;
    winograd_matrices(tile, kernel, &m);
    if (n->op == OP_WINOGRAD_INPUT)
        return transform_of(m.size, m.size, m.bt[0], STEP, 1);
    if (n->op == OP_WINOGRAD_FILTER)
        return transform_of(m.size, kernel, m.g[0], G_STEP, 1);
    if (n->op == OP_WINOGRAD_OUTPUT)
        return transform_of(tile, m.size, m.at[0], STEP, 1);
    if (n->op == OP_WINOGRAD_OUTPUT_GRAD)
        return transform_of(m.size, tile, m.at[0], 1, STEP);
    if (n->op == OP_WINOGRAD_FILTER_GRAD)
        return transform_of(kernel, m.size, m.g[0], 1, G_STEP);
    internal_error("%s is no transform", op_name(n->op));
}
