/* Plain loops for one node, straight from the op's definition, over values in any layout. This is
 * every kernel at -O0, and the small ones at any level. */
#include "../../ir/numbers.h"
#include "cpu.h"

#include <string.h>

/* Loop variables: activations use n, h, w, c (output side) and y, x, i (input side). */

/* ---- addresses ---- */

/* `x / block` and `x % block` where x is known to be below extent. */
static const char *quotient(const CpuEmitter *e, const char *x, int block, int extent)
{
    return extent <= block ? "0" : pool_format(e->pool, "%s / %d", x, block);
}

static const char *remainder_of(const CpuEmitter *e, const char *x, int block, int extent)
{
    return extent <= block ? x : pool_format(e->pool, "%s %% %d", x, block);
}

/* Appends `+ (x + shift) * stride`, without what is zero or one. */
static void add_term(Text *sum, const char *x, int shift, long long stride)
{
    bool plain = strchr(x, ' ') == NULL;
    if (strcmp(x, "0") == 0 && shift == 0)
        return;
    text_append(sum, sum->length ? " + " : "");
    if (strcmp(x, "0") == 0)
        text_append(sum, "%lld", shift * stride);
    else if (shift == 0 && (plain || stride == 1))
        text_append(sum, "%s", x);
    else if (shift == 0)
        text_append(sum, "(%s)", x);
    else
        text_append(sum, "(%s + %d)", x, shift);
    if (stride != 1 && strcmp(x, "0") != 0)
        text_append(sum, " * %lld", stride);
}

static const char *finish_sum(const CpuEmitter *e, Text *sum)
{
    const char *index = pool_strdup(e->pool, sum->length ? sum->data : "0");
    text_free(sum);
    return index;
}

static const char *map_index(const CpuEmitter *e, const Node *v, const char *n, const char *h,
                             const char *w, const char *c)
{
    const Layout *l = &v->tensor.layout;
    int channels = map_dim(v, 3), lanes = map_lanes(v);
    int64_t row = (int64_t)(map_dim(v, 2) + 2 * l->halo_w) * lanes;
    int64_t block = (map_dim(v, 1) + 2 * l->halo_h) * row;
    Text sum = {0};
    add_term(&sum, n, 0, image_elements(v));
    add_term(&sum, quotient(e, c, lanes, channels), 0, block);
    add_term(&sum, h, l->halo_h, row);
    add_term(&sum, w, l->halo_w, lanes);
    add_term(&sum, remainder_of(e, c, lanes, channels), 0, 1);
    return finish_sum(e, &sum);
}

static const char *filter_index(const CpuEmitter *e, const Node *v, const char *o, const char *i,
                                const char *kh, const char *kw)
{
    const Layout *l = &v->tensor.layout;
    const int32_t *d = v->tensor.shape.dim;
    if (l->kind != LAYOUT_FILTER)
        return pool_format(e->pool, "(((ptrdiff_t)(%s) * %d + %s) * %d + %s) * %d + %s", o, d[1],
                           i, d[2], kh, d[3], kw);
    int64_t tap = (int64_t)l->block * l->out_block;
    int64_t line = l->pairs ? round_up(d[3] * l->block, 2) * l->out_block : d[3] * tap;
    int64_t square = d[2] * line;
    Text sum = {0};
    add_term(&sum, quotient(e, o, l->out_block, d[0]), 0, ceil_div(d[1], l->block) * square);
    add_term(&sum, quotient(e, i, l->block, d[1]), 0, square);
    add_term(&sum, kh, 0, line);
    if (l->pairs) {
        const char *entry = pool_format(e->pool, "(%s * %d + %s %% %d)", kw, l->block, i, l->block);
        add_term(&sum, pool_format(e->pool, "%s / 2", entry), 0, 2 * l->out_block);
        add_term(&sum, pool_format(e->pool, "%s %% 2", entry), 0, 1);
    } else {
        add_term(&sum, kw, 0, tap);
        add_term(&sum, remainder_of(e, i, l->block, d[1]), 0, l->out_block);
    }
    add_term(&sum, remainder_of(e, o, l->out_block, d[0]), 0, l->pairs ? 2 : 1);
    return finish_sum(e, &sum);
}

/* The element of v at an index. */
static const char *element_at(const CpuEmitter *e, const Node *v, const char *index)
{
    return pool_format(e->pool, v->tensor.dtype == DT_BF16 ? "from_element(%s[%s])" : "%s[%s]",
                       value_name(e, v), index);
}

/* v[index] = value, rounded to what v holds. */
static void emit_write(CpuEmitter *e, const Node *v, const char *index, const char *value)
{
    bool bf16 = v->tensor.dtype == DT_BF16;
    emit_line(e, "%s[%s] = %s%s%s;", value_name(e, v), index, bf16 ? "to_element(" : "", value,
              bf16 ? ")" : "");
}

static const char *read_map(const CpuEmitter *e, const Node *v, const char *n, const char *h,
                            const char *w, const char *c)
{
    return element_at(e, v, map_index(e, v, n, h, w, c));
}

/* Writes a map's element at output coordinates n, h, w, c. */
static void write_pixel(CpuEmitter *e, const Node *v, const char *value)
{
    emit_write(e, v, map_index(e, v, "n", "h", "w", "c"), value);
}

/* ---- loops ---- */

static void open_loop(CpuEmitter *e, const char *variable, int extent)
{
    emit_open(e, "for (int %s = 0; %s < %d; %s++)", variable, variable, extent, variable);
}

static void open_images(CpuEmitter *e)
{
    if (e->kernel->phase == PHASE_CHUNK)
        emit_open(e, "for (ptrdiff_t n = first_image(range); n < last_image(range); n++)");
    else
        emit_open(e, "for (ptrdiff_t n = 0; n < %d; n++)", e->graph->batch);
}

static void close_loops(CpuEmitter *e, int count)
{
    while (count-- > 0)
        emit_close(e);
}

/* n, h, w over the pixels of v. */
static void open_pixels(CpuEmitter *e, const Node *v)
{
    open_images(e);
    open_loop(e, "h", map_dim(v, 1));
    open_loop(e, "w", map_dim(v, 2));
}

/* Window taps of output pixel h, w: kh, kw with input pixel y, x inside the map of `input`. */
static void open_taps(CpuEmitter *e, const Window *k, const Node *input)
{
    open_loop(e, "kh", k->kernel_h);
    emit_line(e, "const int y = h * %d + kh - %d;", k->stride_h, k->padding_h);
    emit_line(e, "if (y < 0 || y >= %d)", map_dim(input, 1));
    emit_line(e, "    continue;");
    open_loop(e, "kw", k->kernel_w);
    emit_line(e, "const int x = w * %d + kw - %d;", k->stride_w, k->padding_w);
    emit_line(e, "if (x < 0 || x >= %d)", map_dim(input, 2));
    emit_line(e, "    continue;");
}

/* Windows that cover input pixel h, w: taps kh, kw of output pixel y, x of `output`. */
static void open_windows(CpuEmitter *e, const Window *k, const Node *output)
{
    open_loop(e, "kh", k->kernel_h);
    emit_line(e, "const int top = h + %d - kh, y = top / %d;", k->padding_h, k->stride_h);
    emit_line(e, "if (top < 0 || top %% %d != 0 || y >= %d)", k->stride_h, map_dim(output, 1));
    emit_line(e, "    continue;");
    open_loop(e, "kw", k->kernel_w);
    emit_line(e, "const int left = w + %d - kw, x = left / %d;", k->padding_w, k->stride_w);
    emit_line(e, "if (left < 0 || left %% %d != 0 || x >= %d)", k->stride_w, map_dim(output, 2));
    emit_line(e, "    continue;");
}

/* Halo and padding lanes are zero before the values are written. */
static void emit_clear(CpuEmitter *e, const Node *v)
{
    if (v->tensor.layout.kind == LAYOUT_PLAIN)
        return;
    if (e->kernel->phase == PHASE_CHUNK && is_per_image(e->graph, v)) {
        long long image = image_elements(v), bytes = image * dtype_bytes(v->tensor.dtype);
        emit_line(e, "memset(%s + first_image(range) * %lld, 0,", value_name(e, v), image);
        emit_line(e, "       (size_t)(last_image(range) - first_image(range)) * %lld);", bytes);
        return;
    }
    emit_line(e, "memset(%s, 0, %lld);", value_name(e, v), (long long)value_bytes(e->graph, v));
}

/* Weight gradients start from zero or from the sum so far. */
static void emit_clear_sum(CpuEmitter *e, const Node *v)
{
    emit_line(e, "if (!range->accumulate)");
    emit_line(e, "    memset(%s, 0, %lld);", value_name(e, v), (long long)v->place.bytes);
}

/* ---- convolutions ---- */

static void emit_conv(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0], *filter = n->in[1];
    int channels = map_dim(n, 3);
    open_pixels(e, n);
    emit_line(e, "float sum[%d];", channels);
    emit_line(e, "for (int c = 0; c < %d; c++)", channels);
    emit_line(e, "    sum[c] = %s;", n->arity > 2 ? element_at(e, n->in[2], "c") : "0");
    open_taps(e, &n->attr.window, x);
    open_loop(e, "i", map_dim(x, 3));
    emit_line(e, "const float v = %s;", read_map(e, x, "n", "y", "x", "i"));
    emit_line(e, "for (int c = 0; c < %d; c++)", channels);
    emit_line(e, "    sum[c] += v * %s;",
              element_at(e, filter, filter_index(e, filter, "c", "i", "kh", "kw")));
    close_loops(e, 3);
    open_loop(e, "c", channels);
    write_pixel(e, n, "sum[c]");
    close_loops(e, 4);
}

static void emit_dgrad(CpuEmitter *e, const Node *n)
{
    const Node *dy = n->in[0], *filter = n->in[1];
    const Window *k = &n->attr.window;
    int channels = map_dim(n, 3);
    const char *at = filter_index(e, filter, "o", "c", "kh", "kw");
    if (n->op == OP_CONV2D_TRANSPOSE)
        at = filter_index(e, filter, "c", "o",
                          pool_format(e->pool, "(%d - kh)", k->kernel_h - 1),
                          pool_format(e->pool, "(%d - kw)", k->kernel_w - 1));
    open_pixels(e, n);
    emit_line(e, "float sum[%d] = {0};", channels);
    open_windows(e, k, dy);
    open_loop(e, "o", map_dim(dy, 3));
    emit_line(e, "const float v = %s;", read_map(e, dy, "n", "y", "x", "o"));
    emit_line(e, "for (int c = 0; c < %d; c++)", channels);
    emit_line(e, "    sum[c] += v * %s;", element_at(e, filter, at));
    close_loops(e, 3);
    open_loop(e, "c", channels);
    write_pixel(e, n, "sum[c]");
    close_loops(e, 4);
}

static void emit_wgrad(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0], *dy = n->in[1];
    const Window *k = &n->attr.window;
    emit_clear_sum(e, n);
    open_loop(e, "kh", k->kernel_h);
    open_loop(e, "kw", k->kernel_w);
    open_pixels(e, dy);
    emit_line(e, "const int y = h * %d + kh - %d, x = w * %d + kw - %d;", k->stride_h,
              k->padding_h, k->stride_w, k->padding_w);
    emit_line(e, "if (y < 0 || y >= %d || x < 0 || x >= %d)", map_dim(x, 1), map_dim(x, 2));
    emit_line(e, "    continue;");
    open_loop(e, "i", map_dim(x, 3));
    emit_line(e, "const float v = %s;", read_map(e, x, "n", "y", "x", "i"));
    emit_line(e, "for (int c = 0; c < %d; c++)", map_dim(dy, 3));
    emit_line(e, "    %s += v * %s;", element_at(e, n, filter_index(e, n, "c", "i", "kh", "kw")),
              read_map(e, dy, "n", "h", "w", "c"));
    close_loops(e, 6);
}

static void emit_bias_grad(CpuEmitter *e, const Node *n)
{
    emit_clear_sum(e, n);
    open_pixels(e, n->in[0]);
    open_loop(e, "c", map_dim(n->in[0], 3));
    emit_line(e, "%s += %s;", element_at(e, n, "c"), read_map(e, n->in[0], "n", "h", "w", "c"));
    close_loops(e, 4);
}

static void emit_transpose(CpuEmitter *e, const Node *n)
{
    const int32_t *d = n->in[0]->tensor.shape.dim;
    open_loop(e, "o", d[0]);
    open_loop(e, "i", d[1]);
    open_loop(e, "kh", d[2]);
    open_loop(e, "kw", d[3]);
    const char *kh = pool_format(e->pool, "(%d - kh)", d[2] - 1);
    const char *kw = pool_format(e->pool, "(%d - kw)", d[3] - 1);
    emit_write(e, n, filter_index(e, n, "i", "o", kh, kw),
               element_at(e, n->in[0], filter_index(e, n->in[0], "o", "i", "kh", "kw")));
    close_loops(e, 4);
}

/* Filters may lie differently; other values that are no maps lie alike. */
static void emit_cast(CpuEmitter *e, const Node *n)
{
    const Node *from = n->in[0];
    const int32_t *d = n->tensor.shape.dim;
    if (is_per_image(e->graph, n)) {
        open_pixels(e, n);
        open_loop(e, "c", map_dim(n, 3));
        write_pixel(e, n, read_map(e, from, "n", "h", "w", "c"));
    } else if (n->tensor.shape.rank == 4) {
        open_loop(e, "o", d[0]);
        open_loop(e, "i", d[1]);
        open_loop(e, "kh", d[2]);
        open_loop(e, "kw", d[3]);
        emit_write(e, n, filter_index(e, n, "o", "i", "kh", "kw"),
                   element_at(e, from, filter_index(e, from, "o", "i", "kh", "kw")));
    } else {
        open_loop(e, "i", (int)tensor_elements(&n->tensor));
        emit_write(e, n, "i", element_at(e, from, "i"));
        close_loops(e, 1);
        return;
    }
    close_loops(e, 4);
}

/* ---- Winograd convolution: transforms x -> L x L^T of squares ---- */

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

/* Element i, j of the square that n reads of v or writes to it: of filter o, c, or of tile t and
 * channel c as a pixel y, x or as a frequency. */
static const char *square_element(CpuEmitter *e, const Node *n, const Node *v, bool pixels)
{
    if (op_is_of_filters(n->op))
        return element_at(e, v, filter_index(e, v, "o", "c", "i", "j"));
    if (pixels)
        return read_map(e, v, "n", "y", "x", "c");
    int size = winograd_size(&n->attr.winograd);
    return read_map(e, v, "n", pool_format(e->pool, "i * %d + j", size), "t", "c");
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
    const char *element = square_element(e, n, v, pixels);
    if (v == n && n->arity > 1)
        emit_line(e, "%s = out[i][j] + %s;", element, element_at(e, n->in[1], "c"));
    else if (v == n)
        emit_line(e, "%s = out[i][j];", element);
    else
        emit_line(e, "in[i][j] = %s;", element);
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

/* ---- folded convolution ---- */

typedef struct FoldTables {
    FoldAxes axes;
    int inputs;                       /* channels of the image */
    const char *row_name, *column_name; /* of the constants of an axis */
} FoldTables;

static FoldTables fold_tables(CpuEmitter *e, const Node *n, int inputs)
{
    FoldTables t = {.axes = folded_axes(e->pool, n),
                    .inputs = inputs,
                    .row_name = pool_format(e->pool, "%s_rows", table_name(e, n)),
                    .column_name = pool_format(e->pool, "%s_columns", table_name(e, n))};
    return t;
}

/* Element c, i of the folded filter of two classes, at source row y and column x. */
static const char *folded_element(const CpuEmitter *e, const Node *filter, const FoldTables *t,
                                  const char *row_class, const char *column_class)
{
    const char *channel = pool_format(e->pool, "((%s * %d + %s) * %d + i)", row_class,
                                      t->axes.columns.classes, column_class, t->inputs);
    return element_at(e, filter, filter_index(e, filter, "c", channel, "y", "x"));
}

static void emit_folded(CpuEmitter *e, const Node *n)
{
    bool wgrad = n->op == OP_CONV2D_FOLDED_WGRAD;
    const Node *x = n->in[0], *y = wgrad ? n->in[1] : n, *filter = wgrad ? n : n->in[1];
    FoldTables t = fold_tables(e, n, map_dim(x, 3));
    const char *pixel = read_map(e, x, "n", "(row.base + y)", "(column.base + x)", "i");
    const char *weight = folded_element(e, filter, &t, "row.class", "column.class");
    emit_fold_places(e, t.row_name, &t.axes.rows);
    emit_fold_places(e, t.column_name, &t.axes.columns);
    e->tiles->folds = true;
    if (wgrad)
        emit_clear_sum(e, n);
    open_pixels(e, y);
    emit_line(e, "const FoldPlace row = %s[h], column = %s[w];", t.row_name, t.column_name);
    open_loop(e, "c", map_dim(y, 3));
    if (!wgrad)
        emit_line(e, "float sum = %s;", n->arity > 2 ? element_at(e, n->in[2], "c") : "0");
    open_loop(e, "i", t.inputs);
    emit_open(e, "for (int y = 0; y < row.reach; y++)");
    emit_line(e, "for (int x = 0; x < column.reach; x++)");
    if (wgrad)
        emit_line(e, "    %s += %s * %s;", weight, pixel, read_map(e, y, "n", "h", "w", "c"));
    else
        emit_line(e, "    sum += %s * %s;", pixel, weight);
    close_loops(e, 2);
    if (!wgrad)
        write_pixel(e, n, "sum");
    close_loops(e, 4);
}

/* Every element of the folded filters of class p, q with every tap of the filter. */
static void emit_fold_loops(CpuEmitter *e, const Node *n)
{
    bool folds = n->op == OP_FOLD_FILTER;
    const Node *plain = folds ? n->in[0] : n, *folded = folds ? n : n->in[0];
    FoldTables t = fold_tables(e, n, plain->tensor.shape.dim[1]);
    const char *element = folded_element(e, folded, &t, "p", "q");
    const char *tap = element_at(e, plain, filter_index(e, plain, "c", "i", "kh", "kw"));
    emit_fold_matrix(e, t.row_name, &t.axes.rows);
    emit_fold_matrix(e, t.column_name, &t.axes.columns);
    emit_line(e, "memset(%s, 0, %lld);", value_name(e, n), (long long)value_bytes(e->graph, n));
    open_loop(e, "c", plain->tensor.shape.dim[0]);
    open_loop(e, "i", t.inputs);
    open_loop(e, "p", t.axes.rows.classes);
    open_loop(e, "q", t.axes.columns.classes);
    open_loop(e, "y", t.axes.rows.extent);
    open_loop(e, "x", t.axes.columns.extent);
    open_loop(e, "kh", t.axes.rows.kernel);
    emit_line(e, "for (int kw = 0; kw < %d; kw++)", t.axes.columns.kernel);
    emit_line(e, "    %s += %s * %s[(p * %d + kh) * %d + y] * %s[(q * %d + kw) * %d + x];",
              folds ? element : tap, folds ? tap : element, t.row_name, t.axes.rows.kernel,
              t.axes.rows.extent, t.column_name, t.axes.columns.kernel, t.axes.columns.extent);
    close_loops(e, 7);
}

/* ---- pools ---- */

/* The maximum or its code: the first window tap that nothing before it exceeds; NaN wins. */
static void emit_maxpool(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0];
    const Window *k = &n->attr.window;
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float best = 0;");
    emit_line(e, "int code = -1;");
    open_taps(e, k, x);
    emit_line(e, "const float v = %s;", read_map(e, x, "n", "y", "x", "c"));
    emit_open(e, "if (code < 0 || v > best || v != v)");
    emit_line(e, "best = v;");
    emit_line(e, "code = kh * %d + kw;", k->kernel_w);
    close_loops(e, 3);
    write_pixel(e, n, n->op == OP_MAXPOOL ? "best" : "(uint8_t)code");
    emit_line(e, "(void)best;");
    close_loops(e, 4);
}

static void emit_maxpool_grad(CpuEmitter *e, const Node *n)
{
    const Node *dy = n->in[0], *code = n->in[1];
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    open_windows(e, &n->attr.window, dy);
    emit_line(e, "if (%s == kh * %d + kw)", read_map(e, code, "n", "y", "x", "c"),
              n->attr.window.kernel_w);
    emit_line(e, "    sum += %s;", read_map(e, dy, "n", "y", "x", "c"));
    close_loops(e, 2);
    write_pixel(e, n, "sum");
    close_loops(e, 4);
}

/* Pixels of the average window of output pixel h, w that lie inside the padded input. */
static void emit_window_pixels(CpuEmitter *e, const Window *k, const Node *input, const char *h,
                               const char *w)
{
    emit_line(e, "const int rows = smaller(%s * %d + %d, %d) - %s * %d;", h, k->stride_h,
              k->kernel_h, map_dim(input, 1) + 2 * k->padding_h, h, k->stride_h);
    emit_line(e, "const int cols = smaller(%s * %d + %d, %d) - %s * %d;", w, k->stride_w,
              k->kernel_w, map_dim(input, 2) + 2 * k->padding_w, w, k->stride_w);
}

static void emit_avgpool(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0];
    open_pixels(e, n);
    emit_window_pixels(e, &n->attr.window, x, "h", "w");
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    open_taps(e, &n->attr.window, x);
    emit_line(e, "sum += %s;", read_map(e, x, "n", "y", "x", "c"));
    close_loops(e, 2);
    write_pixel(e, n, "sum / (float)(rows * cols)");
    close_loops(e, 4);
}

static void emit_avgpool_grad(CpuEmitter *e, const Node *n)
{
    const Node *dy = n->in[0];
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    open_windows(e, &n->attr.window, dy);
    emit_window_pixels(e, &n->attr.window, n, "y", "x");
    emit_line(e, "sum += %s / (float)(rows * cols);", read_map(e, dy, "n", "y", "x", "c"));
    close_loops(e, 2);
    write_pixel(e, n, "sum");
    close_loops(e, 4);
}

static void emit_gap(CpuEmitter *e, const Node *n)
{
    const Node *x = n->in[0];
    open_images(e);
    open_loop(e, "c", map_dim(n, 3));
    emit_line(e, "float sum = 0;");
    open_loop(e, "h", map_dim(x, 1));
    open_loop(e, "w", map_dim(x, 2));
    emit_line(e, "sum += %s;", read_map(e, x, "n", "h", "w", "c"));
    close_loops(e, 2);
    emit_line(e, "%s = sum / %d;", read_map(e, n, "n", "0", "0", "c"),
              map_dim(x, 1) * map_dim(x, 2));
    close_loops(e, 2);
}

static void emit_gap_grad(CpuEmitter *e, const Node *n)
{
    open_pixels(e, n);
    open_loop(e, "c", map_dim(n, 3));
    write_pixel(e, n, pool_format(e->pool, "%s / %d", read_map(e, n->in[0], "n", "0", "0", "c"),
                                  map_dim(n, 1) * map_dim(n, 2)));
    close_loops(e, 4);
}

/* Between the map and PyTorch's order c, h, w. */
static void emit_flatten(CpuEmitter *e, const Node *n)
{
    bool forward = n->op == OP_FLATTEN;
    const Node *map = forward ? n->in[0] : n, *flat = forward ? n : n->in[0];
    bool pixel = map_dim(map, 1) == 1 && map_dim(map, 2) == 1;
    const char *at = pixel ? "c" : pool_format(e->pool, "(c * %d + h) * %d + w", map_dim(map, 1),
                                               map_dim(map, 2));
    const char *in_map = read_map(e, map, "n", pixel ? "0" : "h", pixel ? "0" : "w", "c");
    const char *in_flat = read_map(e, flat, "n", "0", "0", at);
    if (pixel)
        open_images(e);
    else
        open_pixels(e, map);
    open_loop(e, "c", map_dim(map, 3));
    emit_line(e, "%s = %s;", forward ? in_flat : in_map, forward ? in_map : in_flat);
    close_loops(e, pixel ? 2 : 4);
}

/* ---- loss ---- */

static void open_logits(CpuEmitter *e, const Node *n)
{
    const char *logit = read_map(e, n->in[0], "n", "0", "0", "k");
    open_images(e);
    emit_line(e, "float top = %s;", read_map(e, n->in[0], "n", "0", "0", "0"));
    emit_line(e, "float sum = 0;");
    emit_line(e, "for (int k = 1; k < %d; k++)", map_dim(n->in[0], 3));
    emit_line(e, "    top = %s > top ? %s : top;", logit, logit);
    emit_line(e, "for (int k = 0; k < %d; k++)", map_dim(n->in[0], 3));
    emit_line(e, "    sum += expf(%s - top);", logit);
}

static void emit_cross_entropy(CpuEmitter *e, const Node *n)
{
    open_logits(e, n);
    emit_line(e, "%s[n] = logf(sum) + top - %s;", value_name(e, n),
              read_map(e, n->in[0], "n", "0", "0",
                       pool_format(e->pool, "%s[n]", value_name(e, n->in[1]))));
    close_loops(e, 1);
}

static void emit_cross_entropy_grad(CpuEmitter *e, const Node *n)
{
    const char *valid = value_name(e, n->in[2]);
    const char *first = e->kernel->phase == PHASE_CHUNK ? "range->first_image + " : "";
    open_logits(e, n);
    emit_line(e, "const float scale = %sn < %s[0] ? 1.0f / (float)%s[0] : 0;", first, valid, valid);
    open_loop(e, "k", map_dim(n, 3));
    emit_line(e, "const float softmax = expf(%s - top) / sum;",
              read_map(e, n->in[0], "n", "0", "0", "k"));
    emit_line(e, "%s = scale > 0 ? (softmax - (k == %s[n])) * scale : 0;",
              read_map(e, n, "n", "0", "0", "k"), value_name(e, n->in[1]));
    close_loops(e, 2);
}

static void emit_correct(CpuEmitter *e, const Node *n)
{
    open_images(e);
    emit_line(e, "int best = 0;");
    emit_line(e, "for (int k = 1; k < %d; k++)", map_dim(n->in[0], 3));
    emit_line(e, "    if (%s > %s)", read_map(e, n->in[0], "n", "0", "0", "k"),
              read_map(e, n->in[0], "n", "0", "0", "best"));
    emit_line(e, "        best = k;");
    emit_line(e, "%s[n] = best == %s[n];", value_name(e, n), value_name(e, n->in[1]));
    close_loops(e, 1);
}

static void emit_over_valid(CpuEmitter *e, const Node *n)
{
    bool mean = n->op == OP_MEAN_VALID;
    const char *rows = value_name(e, n->in[0]), *valid = value_name(e, n->in[1]);
    emit_block(e);
    emit_line(e, "%s sum = 0;", mean ? "double" : "int32_t");
    emit_line(e, "for (int n = 0; n < %s[0]; n++)", valid);
    emit_line(e, "    sum += %s[n];", rows);
    if (mean)
        emit_line(e, "%s[0] = (float)(sum / %s[0]);", value_name(e, n), valid);
    else
        emit_line(e, "%s[0] = sum;", value_name(e, n));
    emit_close(e);
}

/* ---- images ---- */

static void emit_list(CpuEmitter *e, const ImageAttr *image, bool shift)
{
    text_append(e->tables, "{");
    for (int i = 0; i < image->channels; i++) {
        double scale = 1 / (255 * image->std[i]);
        text_append(e->tables, "%s%.9g", i ? ", " : "",
                    shift ? -image->mean[i] / image->std[i] : scale);
    }
    text_append(e->tables, "}");
}

static void emit_image(CpuEmitter *e, const Node *n)
{
    const Node *image = n->in[0];
    const Layout *l = &n->tensor.layout;
    int channels = map_dim(n, 3), lanes = map_lanes(n);
    int row = (map_dim(n, 2) + 2 * l->halo_w) * lanes, rows = map_dim(n, 1) + 2 * l->halo_h;
    text_append(e->tables, "static const Image %s_geometry = {%d, %d, %d, %d, %d, %d, ",
                e->kernel->name, map_dim(image, 1), map_dim(image, 2), map_dim(n, 1), map_dim(n, 2),
                channels, lanes);
    emit_list(e, &n->attr.image, false);
    text_append(e->tables, ", ");
    emit_list(e, &n->attr.image, true);
    text_append(e->tables, "};\n\n");
    if (n->op == OP_RESIZE)
        emit_line(e, "float lines[%d];", 2 * map_dim(n, 2) * channels);
    open_images(e);
    emit_line(e, "const Map y = {%s + (ptrdiff_t)n * %lld + %d, %d, %d, 0};", value_name(e, n),
              (long long)image_elements(n), l->halo_h * row + l->halo_w * lanes, row, rows * row);
    emit_line(e, "const uint8_t *pixels = %s + (ptrdiff_t)n * %lld;", value_name(e, image),
              (long long)image_elements(image));
    if (n->op == OP_RESIZE)
        emit_line(e, "resize_image(&%s_geometry, pixels, lines, y);", e->kernel->name);
    else
        emit_line(e, "normalize_image(&%s_geometry, pixels, y);", e->kernel->name);
    emit_close(e);
}

/* ---- pointwise ---- */

static const char *operand(const CpuEmitter *e, const Node *n, const Node *in)
{
    const Shape *s = &in->tensor.shape;
    if (s->rank == 0)
        return element_at(e, in, "0");
    if (is_per_image(e->graph, n))
        return read_map(e, in, "n", "h", "w", "c");
    return element_at(e, in, "i");
}

/* Per-image values go by their coordinates; parameters, whose operands all lie alike, flat. */
static void emit_pointwise(CpuEmitter *e, const Node *n)
{
    char digits[32];
    bool images = is_per_image(e->graph, n);
    int loops = images ? 4 : 1;
    if (images) {
        open_pixels(e, n);
        open_loop(e, "c", map_dim(n, 3));
    } else {
        emit_open(e, "for (ptrdiff_t i = 0; i < %lld; i++)",
                  (long long)tensor_elements(&n->tensor));
    }
    for (int k = 0; k < n->arity; k++)
        emit_line(e, "const %s %c = %s;", n->in[k]->tensor.dtype == DT_I32 ? "int" : "float",
                  'a' + k, operand(e, n, n->in[k]));
    if (op_attr(n->op) == ATTR_FACTOR)
        emit_line(e, "const double k = %s;", format_double(n->attr.factor, digits));
    if (op_attr(n->op) == ATTR_ADAM) {
        emit_line(e, "const double adam_beta1 = %s;", format_double(n->attr.adam.beta1, digits));
        emit_line(e, "const double adam_beta2 = %s;", format_double(n->attr.adam.beta2, digits));
        emit_line(e, "const double adam_eps = %s;", format_double(n->attr.adam.eps, digits));
    }
    emit_write(e, n, images ? map_index(e, n, "n", "h", "w", "c") : "i",
               pool_format(e->pool, "(float)(%s)", op_scalar(n->op)));
    close_loops(e, loops);
}

void emit_generic(CpuEmitter *e, const Node *n)
{
    bool clears = n->op != OP_UPDATE && !op_sums_images(n->op) &&
                  (!op_is_pointwise(n->op) || is_per_image(e->graph, n));
    if (clears)
        emit_clear(e, n);
    switch (n->op) {
    case OP_NORMALIZE:
    case OP_RESIZE:
        emit_image(e, n);
        return;
    case OP_CONV2D:
        emit_conv(e, n);
        return;
    case OP_CONV2D_DGRAD:
    case OP_CONV2D_TRANSPOSE:
        emit_dgrad(e, n);
        return;
    case OP_CONV2D_WGRAD:
        emit_wgrad(e, n);
        return;
    case OP_BIAS_GRAD:
        emit_bias_grad(e, n);
        return;
    case OP_FILTER_TRANSPOSE:
        emit_transpose(e, n);
        return;
    case OP_WINOGRAD_INPUT:
    case OP_WINOGRAD_FILTER:
    case OP_WINOGRAD_OUTPUT:
    case OP_WINOGRAD_OUTPUT_GRAD:
    case OP_WINOGRAD_FILTER_GRAD:
        emit_transform_loops(e, n);
        return;
    case OP_WINOGRAD_MULTIPLY:
        emit_winograd_multiply(e, n);
        return;
    case OP_WINOGRAD_WGRAD:
        emit_winograd_wgrad(e, n);
        return;
    case OP_CONV2D_FOLDED:
    case OP_CONV2D_FOLDED_WGRAD:
        emit_folded(e, n);
        return;
    case OP_FOLD_FILTER:
    case OP_FOLD_FILTER_GRAD:
        emit_fold_loops(e, n);
        return;
    case OP_MAXPOOL:
    case OP_MAXPOOL_CODE:
        emit_maxpool(e, n);
        return;
    case OP_MAXPOOL_GRAD:
        emit_maxpool_grad(e, n);
        return;
    case OP_AVGPOOL:
        emit_avgpool(e, n);
        return;
    case OP_AVGPOOL_GRAD:
        emit_avgpool_grad(e, n);
        return;
    case OP_GAP:
        emit_gap(e, n);
        return;
    case OP_GAP_GRAD:
        emit_gap_grad(e, n);
        return;
    case OP_FLATTEN:
    case OP_FLATTEN_GRAD:
        emit_flatten(e, n);
        return;
    case OP_CROSS_ENTROPY:
        emit_cross_entropy(e, n);
        return;
    case OP_CROSS_ENTROPY_GRAD:
        emit_cross_entropy_grad(e, n);
        return;
    case OP_CORRECT:
        emit_correct(e, n);
        return;
    case OP_MEAN_VALID:
    case OP_COUNT_VALID:
        emit_over_valid(e, n);
        return;
    case OP_RELU:
    case OP_RELU_GRAD:
    case OP_ADD:
    case OP_WEIGHT_DECAY:
    case OP_MOMENTUM:
    case OP_SGD_STEP:
    case OP_ADAM_M:
    case OP_ADAM_V:
    case OP_ADAM_STEP:
        emit_pointwise(e, n);
        return;
    case OP_UPDATE:
        emit_line(e, "for (ptrdiff_t i = 0; i < %lld; i++)",
                  (long long)tensor_elements(&n->tensor));
        emit_line(e, "    %s[i] = %s;", value_name(e, n), element_at(e, n->in[0], "i"));
        return;
    case OP_CAST:
        emit_cast(e, n);
        return;
    case OP_INPUT:
    case OP_STATE:
    case OP_COUNT:
        break;
    }
    internal_error("no loops for %s", op_name(n->op));
}
