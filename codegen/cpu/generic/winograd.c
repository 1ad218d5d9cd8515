/* Winograd convolution: transforms x -> L x L^T of squares, products by frequency. */
#include "generic.h"

static void emit_matrix(CpuEmitter *e, const WinogradTransform *l)
{
    char digits[32];
    emit_line(e, "static const float matrix[%d][%d] = {", l->rows, l->columns);
    for (int i = 0; i < l->rows; i++) {
        Text row = {0};
        for (int j = 0; j < l->columns; j++)
            text_append(&row, "%s%s", j ? ", " : "", format_double(l->at[i][j], digits));
        emit_line(e, "    {%s},", row.data);
        text_free(&row);
    }
    emit_line(e, "};");
}

/* Where element i, j of the square lies that n reads of v or writes to it: of filter o, c, or of
 * tile t and channel c as a pixel y, x or as a frequency. */
static const char *square_index(CpuEmitter *e, const Node *n, const Node *v, bool pixels)
{
    if (op_is_of_filters(n->op))
        return filter_index(e, v, "o", "c", "i", "j");
    if (pixels)
        return map_index(e, v, "n", "y", "x", "c");
    int size = winograd_size(&n->attr.winograd);
    return map_index(e, v, "n", pool_format(e->pool, "i * %d + j", size), "t", "c");
}

/* The pixel y, x of element i, j of tile t, and what is done where it lies inside of the map. */
static void open_tile_pixel(CpuEmitter *e, const Node *n, const Node *map)
{
    const Winograd *w = &n->attr.winograd;
    bool margin = n->op == OP_WINOGRAD_INPUT;
    int columns = winograd_tile_columns(w);
    emit_line(e, "const int y = t / %d * %d + i - %d;", columns, w->tile,
              margin ? w->padding_h : 0);
    emit_line(e, "const int x = t %% %d * %d + j - %d;", columns, w->tile,
              margin ? w->padding_w : 0);
    emit_open(e, "if (y >= 0 && y < %d && x >= 0 && x < %d)", map_dim(map, 1), map_dim(map, 2));
}

static void emit_square(CpuEmitter *e, const Node *n, const Node *v, int extent)
{
    bool pixels = !op_is_of_filters(n->op) && (v == n) == (n->op == OP_WINOGRAD_OUTPUT);
    open_loop(e, "i", extent);
    open_loop(e, "j", extent);
    if (pixels)
        open_tile_pixel(e, n, v);
    const char *index = square_index(e, n, v, pixels);
    if (v == n && n->arity > 1)
        emit_write(e, n, index,
                   pool_format(e->pool, "out[i][j] + %s", element_at(e, n->in[1], "c")));
    else if (v == n)
        emit_write(e, n, index, "out[i][j]");
    else
        emit_line(e, "in[i][j] = %s;", element_at(e, v, index));
    close_loops(e, 2 + pixels);
}

static void emit_square_products(CpuEmitter *e, const WinogradTransform *l)
{
    open_loop(e, "i", l->rows);
    open_loop(e, "k", l->columns);
    emit_line(e, "for (int j = 0; j < %d; j++)", l->columns);
    emit_line(e, "    half[i][j] += matrix[i][k] * in[k][j];");
    close_loops(e, 2);
    open_loop(e, "i", l->rows);
    open_loop(e, "j", l->rows);
    emit_line(e, "for (int k = 0; k < %d; k++)", l->columns);
    emit_line(e, "    out[i][j] += half[i][k] * matrix[j][k];");
    close_loops(e, 2);
}

static void emit_transform_loops(CpuEmitter *e, const Node *n)
{
    WinogradTransform l = winograd_transform(n);
    bool filters = op_is_of_filters(n->op);
    emit_matrix(e, &l);
    if (filters) {
        open_loop(e, "o", n->tensor.shape.dim[0]);
        open_loop(e, "c", n->tensor.shape.dim[1]);
    } else {
        open_images(e);
        open_loop(e, "t", winograd_tiles(&n->attr.winograd));
        open_loop(e, "c", map_dim(n, 3));
    }
    emit_line(e, "float in[%d][%d] = {{0}}, half[%d][%d] = {{0}}, out[%d][%d] = {{0}};", l.columns,
              l.columns, l.rows, l.columns, l.rows, l.rows);
    emit_square(e, n, n->in[0], l.columns);
    emit_square_products(e, &l);
    emit_square(e, n, n, l.rows);
    close_loops(e, filters ? 2 : 3);
}

/* The element of the transformed filter o, i at the frequency of row h. */
static const char *frequency_of(const CpuEmitter *e, const Node *n, const Node *filter)
{
    int size = winograd_size(&n->attr.winograd);
    return element_at(e, filter, filter_index(e, filter, "c", "i",
                                           pool_format(e->pool, "(h / %d)", size),
                                           pool_format(e->pool, "(h %% %d)", size)));
}

static void emit_winograd_multiply(CpuEmitter *e, const Node *n)
{
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    emit_line(e, "for (int i = 0; i < %d; i++)", map_dim(n->in[0], 3));
    emit_line(e, "    sum += %s * %s;", read_map(e, n->in[0], "n", "h", "w", "i"),
              frequency_of(e, n, n->in[1]));
    emit_line(e, "%s = sum;", read_map(e, n, "n", "h", "w", "c"));
    close_loops(e, 4);
}

static void emit_winograd_wgrad(CpuEmitter *e, const Node *n)
{
    emit_clear_sum(e, n);
    open_pixels(e, n->in[0]);
    open_loop(e, "c", map_dim(n->in[1], 3));
    open_loop(e, "i", map_dim(n->in[0], 3));
    emit_line(e, "%s += %s * %s;", frequency_of(e, n, n),
              read_map(e, n->in[0], "n", "h", "w", "i"), read_map(e, n->in[1], "n", "h", "w", "c"));
    close_loops(e, 5);
}

void generic_winograd(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_WINOGRAD_INPUT] = emit_transform_loops,
        [OP_WINOGRAD_FILTER] = emit_transform_loops,
        [OP_WINOGRAD_OUTPUT] = emit_transform_loops,
        [OP_WINOGRAD_OUTPUT_GRAD] = emit_transform_loops,
        [OP_WINOGRAD_FILTER_GRAD] = emit_transform_loops,
        [OP_WINOGRAD_MULTIPLY] = emit_winograd_multiply,
        [OP_WINOGRAD_WGRAD] = emit_winograd_wgrad,
    };
    emit_of_family(e, n, by_op);
}
