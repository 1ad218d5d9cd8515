/* Convolutions of a resized image, folded. */
#include "generic.h"

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

void generic_fold(CpuEmitter *e, const Node *n)
{
    static GenericFn *const by_op[OP_COUNT] = {
        [OP_CONV2D_FOLDED] = emit_folded,
        [OP_CONV2D_FOLDED_WGRAD] = emit_folded,
        [OP_FOLD_FILTER] = emit_fold_loops,
        [OP_FOLD_FILTER_GRAD] = emit_fold_loops,
    };
    emit_of_family(e, n, by_op);
}
