/* Convolutions of a resized image, folded: the constants of each op and a call of ninc_fold.h. */
#include "../../ir/numbers.h"
#include "cpu.h"

static FoldAxes axes_of(CpuEmitter *e, const Node *n)
{
    e->tiles->folds = true;
    return folded_axes(e->pool, n);
}

/* ---- runs of outputs ---- */

/* Evenly spaced outputs of one class, as FoldRun of ninc_fold.h. */
typedef struct Run {
    int first, spread, step, count;
} Run;

static int next_of_class(const FoldAxis *a, int output)
{
    int next = output + 1;
    while (next < a->outputs && a->class_of[next] != a->class_of[output])
        next++;
    return next;
}

/* From an output on, as far as outputs and source positions stay evenly spaced. */
static Run run_from(const FoldAxis *a, int first)
{
    int next = next_of_class(a, first);
    Run r = {first, 1, 1, 1};
    if (next >= a->outputs)
        return r;
    r.spread = next - first;
    r.step = a->base[next] - a->base[first];
    for (int last = first;
         next < a->outputs && next - last == r.spread && a->base[next] - a->base[last] == r.step;
         r.count++) {
        last = next;
        next = next_of_class(a, last);
    }
    return r;
}

/* All runs of an axis, class by class; their number. */
static int find_runs(const FoldAxis *a, Run *out)
{
    int count = 0;
    for (int class = 0; class < a->classes; class++)
        for (int o = 0; o < a->outputs;) {
            if (a->class_of[o] != class) {
                o++;
                continue;
            }
            out[count] = run_from(a, o);
            o = out[count].first + (out[count].count - 1) * out[count].spread + 1;
            count++;
        }
    return count;
}

static Run *runs_of(CpuEmitter *e, const FoldAxis *a, int *count)
{
    Run *runs = pool_alloc(e->pool, (size_t)a->outputs * sizeof *runs);
    *count = find_runs(a, runs);
    return runs;
}

static void emit_runs(CpuEmitter *e, const char *name, const FoldAxis *a, const Run *runs,
                      int count)
{
    text_append(e->tables, "static const FoldRun %s[] = {\n", name);
    for (int i = 0; i < count; i++) {
        int class = a->class_of[runs[i].first];
        text_append(e->tables, "    {%d, %d, %d, %d, %d, %d, %d},\n", class, a->reach[class],
                    a->base[runs[i].first], runs[i].step, runs[i].first, runs[i].spread,
                    runs[i].count);
    }
    text_append(e->tables, "};\n");
}

void emit_fold_places(CpuEmitter *e, const char *name, const FoldAxis *a)
{
    text_append(e->tables, "static const FoldPlace %s[] = {", name);
    for (int o = 0; o < a->outputs; o++) {
        int class = a->class_of[o];
        text_append(e->tables, "%s{%d, %d, %d},", o % 6 ? " " : "\n    ", class, a->reach[class],
                    a->base[o]);
    }
    text_append(e->tables, "\n};\n");
}

/* ---- convolution and weight gradient ---- */

/* Output channels a group has, in vectors. */
static int vectors_of(const CpuEmitter *e, const Node *n, const Layout *filter)
{
    int vectors = filter->out_block / graph_lanes(e->graph);
    if (filter->kind != LAYOUT_FILTER || filter->block != n->in[0]->tensor.shape.dim[3] ||
        vectors != n->tile.vectors)
        internal_error("%s: %s has a filter that is not packed for its image", e->kernel->name,
                       op_name(n->op));
    return vectors;
}

/* What FoldedConv and FoldedWgrad have alike. */
static void emit_sizes(CpuEmitter *e, const Node *n, const FoldAxes *a, const Node *filter)
{
    const int32_t *d = filter->tensor.shape.dim;
    int channels = n->in[0]->tensor.shape.dim[3];
    text_append(e->tables,
                "    .channels = %d, .extent_h = %d, .run = %d,\n"
                "    .classes = %d, .column_classes = %d, .groups = %d, .vectors = %d,\n"
                "    .rows = %s_rows, .columns = %s_columns, .tiles = %s_tiles,\n",
                channels, d[2], d[3] * channels, a->rows.classes * a->columns.classes,
                a->columns.classes, (int)ceil_div(d[0], filter->tensor.layout.out_block),
                vectors_of(e, n, &filter->tensor.layout), table_name(e, n), table_name(e, n),
                table_name(e, n));
}

static const char *part_name(const CpuEmitter *e, const Node *n, const char *part)
{
    return pool_format(e->pool, "%s_%s", table_name(e, n), part);
}

static void table_conv(CpuEmitter *e, const Node *n)
{
    FoldAxes a = axes_of(e, n);
    int count, channels = n->in[0]->tensor.shape.dim[3];
    Run *runs = runs_of(e, &a.columns, &count);
    emit_fold_places(e, part_name(e, n, "rows"), &a.rows);
    emit_runs(e, part_name(e, n, "columns"), &a.columns, runs, count);
    text_append(e->tables, "static const RowTiles %s[] = {\n", part_name(e, n, "tiles"));
    for (int i = 0; i < count; i++)
        text_append(e->tables, "    %s,\n",
                    row_tiles(e, runs[i].count, &n->tile, runs[i].step * channels, runs[i].spread));
    text_append(e->tables, "};\nstatic const FoldedConv %s = {\n", table_name(e, n));
    emit_sizes(e, n, &a, n->in[1]);
    text_append(e->tables, "    .runs = %d};\n", count);
}

/* Rows of dy that stay in a level-1 cache: of one pair of classes, of which there are about as many
 * as the outputs are spread over two axes. */
static int strip_rows(const Run *rows, const Run *columns, int width, int vectors)
{
    int64_t row = (int64_t)ceil_div(width, columns->spread) * vectors * 64;
    return (int)larger(WGRAD_STRIP_BYTES / row, 1) * rows->spread;
}

/* The run with the most outputs. */
static const Run *longest(const Run *runs, int count)
{
    const Run *most = runs;
    for (int i = 1; i < count; i++)
        if (runs[i].count > most->count)
            most = &runs[i];
    return most;
}

static void table_wgrad(CpuEmitter *e, const Node *n)
{
    FoldAxes a = axes_of(e, n);
    int count, row_runs, channels = n->in[0]->tensor.shape.dim[3];
    const int32_t *dy = n->in[1]->tensor.shape.dim;
    Run *runs = runs_of(e, &a.columns, &count), *rows = runs_of(e, &a.rows, &row_runs);
    emit_runs(e, part_name(e, n, "rows"), &a.rows, rows, row_runs);
    emit_runs(e, part_name(e, n, "columns"), &a.columns, runs, count);
    text_append(e->tables, "static const WgradRun %s[] = {\n", part_name(e, n, "tiles"));
    for (int i = 0; i < count; i++)
        text_append(e->tables, "    %s,\n",
                    wgrad_run(e, TILE_WGRAD,
                              a.columns.reach[a.columns.class_of[runs[i].first]] * channels,
                              &n->tile));
    text_append(e->tables, "};\nstatic const FoldedWgrad %s = {\n", table_name(e, n));
    emit_sizes(e, n, &a, n);
    text_append(e->tables, "    .height = %d, .strip = %d, .row_runs = %d, .runs = %d};\n", dy[1],
                strip_rows(longest(rows, row_runs), longest(runs, count), dy[2], n->tile.vectors),
                row_runs, count);
}

void emit_fold_table(CpuEmitter *e, const Node *n)
{
    if (n->op == OP_CONV2D_FOLDED)
        table_conv(e, n);
    else
        table_wgrad(e, n);
}

/* ---- filters ---- */

void emit_fold_matrix(CpuEmitter *e, const char *name, const FoldAxis *a)
{
    text_append(e->tables, "static const float %s[] = {\n", name);
    for (int i = 0; i < a->classes * a->kernel; i++) {
        text_append(e->tables, "   ");
        for (int at = 0; at < a->extent; at++)
            text_append(e->tables, " %.9g,", fold_at(a, i / a->kernel, i % a->kernel, at));
        text_append(e->tables, "\n");
    }
    text_append(e->tables, "};\n");
}

void emit_fold_filter(CpuEmitter *e, const Node *n)
{
    FoldAxes a = axes_of(e, n);
    const Layout *l = &n->tensor.layout;
    const char *rows = part_name(e, n, "rows"), *columns = part_name(e, n, "columns");
    emit_fold_matrix(e, rows, &a.rows);
    emit_fold_matrix(e, columns, &a.columns);
    text_append(e->tables,
                "static const FoldFilter %s = {\n"
                "    %s, %s, %d, %d, %d, %d, %d, %d, %d, %d};\n",
                table_name(e, n), rows, columns,
                (int)ceil_div(n->tensor.shape.dim[0], l->out_block), l->block * l->out_block,
                a.rows.kernel, a.columns.kernel, a.rows.extent, a.columns.extent, a.rows.classes,
                a.columns.classes);
    emit_line(e, "%s(&%s, %s, %s, range);",
              n->op == OP_FOLD_FILTER ? "filter_fold" : "filter_fold_grad", table_name(e, n),
              value_name(e, n->in[0]), value_name(e, n));
}
