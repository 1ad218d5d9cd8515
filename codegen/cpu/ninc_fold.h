/* Convolutions of a resized image, folded into the source image: an output has the filter of its
 * row's and its column's class, over the few source pixels that it sees. Folded filters are packed
 * [output group][row class][column class][row][run][vectors][LANES]; a class that reaches less far
 * than the others leaves zeros. The image has few channels and lies row by row. */

/* What an output row or column has: its class, how many source positions that sees, the first. */
typedef struct FoldPlace {
    int class, reach, base;
} FoldPlace;

/* Evenly spaced outputs of one class: output first + i * spread begins at base + i * step. */
typedef struct FoldRun {
    int class, reach, base, step, first, spread, count;
} FoldRun;

/* ---- convolution ---- */

typedef struct FoldedConv {
    int channels, extent_h, run; /* run: of a row of a folded filter */
    int classes, column_classes; /* pairs, and columns alone */
    int groups, vectors;         /* output channels: groups x vectors x 16 */
    const FoldPlace *rows;       /* by output row */
    const FoldRun *columns;
    const RowTiles *tiles; /* of each run of columns */
    int runs;
} FoldedConv;

/* Output rows row0 to row1 - 1 of one image. bias may be NULL. */
SHARED void folded_conv_rows(const FoldedConv *c, Map x, const Element *filter, const float *bias,
                             const Epilogue *epilogue, Map y, int row0, int row1)
{
    const ptrdiff_t line = (ptrdiff_t)c->run * c->vectors * LANES, square = c->extent_h * line;
    ConvTile t = {.x_row = x.row,
                  .y_block = y.block,
                  .filter_row = line,
                  .in_blocks = 1,
                  .kernel_w = 1,
                  .epilogue = epilogue->number};
    for (int g = 0; g < c->groups; g++) {
        const ptrdiff_t channel = (ptrdiff_t)g * c->vectors;
        t.bias = bias ? bias + channel * LANES : NULL;
        for (int row = row0; row < row1; row++) {
            const FoldPlace *place = &c->rows[row];
            const Element *from = map_row(x, place->base);
            Element *to = map_row(y, row) + channel * y.block;
            const Beside beside = beside_at(beside_row(epilogue, row), channel, 0);
            t.kernel_h = place->reach;
            for (int i = 0; i < c->runs; i++) {
                const FoldRun *run = &c->columns[i];
                const ptrdiff_t pair = place->class * c->column_classes + run->class;
                t.run = run->reach * c->channels;
                t.filter = filter + ((ptrdiff_t)g * c->classes + pair) * square;
                t.x = from + (ptrdiff_t)run->base * c->channels;
                t.y = to + (ptrdiff_t)run->first * LANES;
                t.beside = beside_at(beside, 0, (ptrdiff_t)run->first * LANES);
                run_row(t, &c->tiles[i], (ptrdiff_t)run->step * c->channels, run->spread);
            }
        }
    }
}

/* ---- weight gradient ---- */

typedef struct FoldedWgrad {
    int channels, extent_h, run, classes, column_classes, groups, vectors;
    int height, strip; /* rows of dy; how many of them are taken together */
    const FoldRun *rows, *columns;
    const WgradRun *tiles; /* of each run of columns */
    int row_runs, runs;
} FoldedWgrad;

/* A unit of work, a row of a folded filter, over rows row0 to row1 - 1 of dy: row `k` of what the
 * outputs of t's group, and of one run of rows, meet; dw of the unit's class of columns. */
INLINE void folded_wgrad_rows(const FoldedWgrad *g, WgradTile t, Map x, Map dy, const FoldRun *rows,
                              int column_class, int k, int row0, int row1)
{
    const int before = larger(row0 - rows->first + rows->spread - 1, 0) / rows->spread;
    const int end = larger(row1 - rows->first + rows->spread - 1, 0) / rows->spread;
    const Element *from = map_row(x, rows->base + before * rows->step + k);
    const Element *to = (const Element *)t.dy + (rows->first + before * rows->spread) * dy.row;
    t.rows = smaller(end, rows->count) - before;
    t.x_row = rows->step * x.row;
    t.dy_row = rows->spread * dy.row;
    for (int i = 0; i < g->runs && t.rows > 0; i++) {
        const FoldRun *run = &g->columns[i];
        if (run->class != column_class)
            continue;
        t.x = from + (ptrdiff_t)run->base * g->channels;
        t.x_step = (ptrdiff_t)run->step * g->channels;
        t.dy = to + (ptrdiff_t)run->first * LANES;
        t.dy_step = (ptrdiff_t)run->spread * LANES;
        t.width = run->count;
        wgrad_run(&g->tiles[i], t);
    }
}

/* Rows row0 to row1 - 1, added to the units unit0 to unit1 - 1. */
INLINE void folded_wgrad_units(const FoldedWgrad *g, Map x, Map dy, float *dw, ptrdiff_t unit0,
                               ptrdiff_t unit1, int row0, int row1)
{
    const ptrdiff_t line = (ptrdiff_t)g->run * g->vectors * LANES;
    WgradTile t = {.dy_block = dy.block, .accumulate = 1};
    for (ptrdiff_t u = unit0; u < unit1; u++) {
        const int k = (int)(u % g->extent_h), pair = (int)(u / g->extent_h % g->classes);
        t.dy = map_row(dy, 0) + u / g->extent_h / g->classes * g->vectors * dy.block;
        t.dw = dw + u * line;
        for (int i = 0; i < g->row_runs; i++)
            if (g->rows[i].class == pair / g->column_classes && k < g->rows[i].reach)
                folded_wgrad_rows(g, t, x, dy, &g->rows[i], pair % g->column_classes, k, row0,
                                  row1);
    }
}

/* One image, the slice's part of the units. */
SHARED void folded_wgrad_image(const FoldedWgrad *g, Map x, Map dy, float *dw, int accumulate,
                               const NincRange *range)
{
    const ptrdiff_t units = (ptrdiff_t)g->groups * g->classes * g->extent_h;
    const ptrdiff_t unit0 = slice_begin(range, units), unit1 = slice_end(range, units);
    const ptrdiff_t line = (ptrdiff_t)g->run * g->vectors * LANES;
    if (!accumulate)
        memset(dw + unit0 * line, 0, (size_t)((unit1 - unit0) * line) * sizeof *dw);
    for (int row = 0; row < g->height; row += g->strip)
        folded_wgrad_units(g, x, dy, dw, unit0, unit1, row, smaller(row + g->strip, g->height));
}

/* ---- filters ---- */

/* A filter [group][kernel_h][kernel_w][tap], a tap of channels x outputs of a group, and the folded
 * one. rows and columns: the matrices [class][kernel][extent]. */
typedef struct FoldFilter {
    const float *rows, *columns;
    int groups, tap, kernel_h, kernel_w, extent_h, extent_w, row_classes, column_classes;
} FoldFilter;

INLINE void fold_add(float *restrict to, float a, const float *restrict from, ptrdiff_t count)
{
    if (a != 0)
        for (ptrdiff_t i = 0; i < count; i++)
            to[i] += a * from[i];
}

/* The slice's part of the rows of all classes: first over the kernel's rows, then its columns. */
SHARED void filter_fold(const FoldFilter *f, const float *from, float *to, const NincRange *range)
{
    const ptrdiff_t rows = (ptrdiff_t)f->groups * f->row_classes * f->extent_h;
    const ptrdiff_t length = (ptrdiff_t)f->kernel_w * f->tap;
    for (ptrdiff_t u = slice_begin(range, rows); u < slice_end(range, rows); u++) {
        const ptrdiff_t a = u % f->extent_h, r = u / f->extent_h % f->row_classes;
        const ptrdiff_t g = u / f->extent_h / f->row_classes;
        _Alignas(64) float line[length];
        memset(line, 0, sizeof line);
        for (int kh = 0; kh < f->kernel_h; kh++)
            fold_add(line, f->rows[(r * f->kernel_h + kh) * f->extent_h + a],
                     from + (g * f->kernel_h + kh) * length, length);
        for (int c = 0; c < f->column_classes; c++) {
            const ptrdiff_t pair = (g * f->row_classes + r) * f->column_classes + c;
            float *out = to + (pair * f->extent_h + a) * f->extent_w * f->tap;
            memset(out, 0, (size_t)f->extent_w * (size_t)f->tap * sizeof *out);
            for (int i = 0; i < f->kernel_w * f->extent_w; i++)
                fold_add(out + i % f->extent_w * f->tap,
                         f->columns[c * f->kernel_w * f->extent_w + i],
                         line + i / f->extent_w * f->tap, f->tap);
        }
    }
}

/* The gradient of a filter from that of the folded one: the slice's part of the kernel's rows. */
SHARED void filter_fold_grad(const FoldFilter *f, const float *from, float *to,
                             const NincRange *range)
{
    const ptrdiff_t rows = (ptrdiff_t)f->groups * f->kernel_h;
    const ptrdiff_t length = (ptrdiff_t)f->extent_w * f->tap;
    for (ptrdiff_t u = slice_begin(range, rows); u < slice_end(range, rows); u++) {
        const ptrdiff_t kh = u % f->kernel_h, g = u / f->kernel_h;
        float *out = to + u * f->kernel_w * f->tap;
        memset(out, 0, (size_t)f->kernel_w * (size_t)f->tap * sizeof *out);
        for (int c = 0; c < f->column_classes; c++) {
            _Alignas(64) float line[length];
            memset(line, 0, sizeof line);
            for (int i = 0; i < f->row_classes * f->extent_h; i++) {
                const ptrdiff_t r = i / f->extent_h, a = i % f->extent_h;
                const ptrdiff_t pair = (g * f->row_classes + r) * f->column_classes + c;
                fold_add(line, f->rows[(r * f->kernel_h + kh) * f->extent_h + a],
                         from + (pair * f->extent_h + a) * length, length);
            }
            for (int i = 0; i < f->kernel_w * f->extent_w; i++)
                fold_add(out + i / f->extent_w * f->tap,
                         f->columns[c * f->kernel_w * f->extent_w + i],
                         line + i % f->extent_w * f->tap, f->tap);
        }
    }
}
