/* Linear layers and their gradients: convolutions that give one pixel an image, or read one. The
 * images of a chunk are the positions of a register tile, so that a tile reads its part of the
 * filter once for all of them: a product of matrices, [images][inputs] x [inputs][outputs]. */

/* The result is one pixel, or the gradient of a map of taps_h x taps_w, each pixel of which has a
 * part of the filter of its own. */
typedef struct Dense {
    int in_blocks, kernel_h, run; /* what a tile walks of x and of its part of the filter */
    int groups, vectors;          /* output channels: groups x vectors x LANES */
    int taps_h, taps_w;
    ptrdiff_t filter_block, filter_row;
    ptrdiff_t x_image, y_image, beside_image[EPILOGUE_MAPS]; /* elements from image to image */
    bool alike; /* those beside the result lie as it does */
    int kept;   /* channels of its last block, where the others are to be cleared */
    ConvTileFn *large_tile, *small_tile, *one_tile;
    int large; /* images of a large_tile; small_tile one less */
} Dense;

/* What a tile begins with: a group of outputs and a pixel of the result. */
typedef struct DenseUnit {
    ptrdiff_t group;
    int row, column;
} DenseUnit;

INLINE DenseUnit dense_unit(const Dense *d, ptrdiff_t u)
{
    const int taps = d->taps_h * d->taps_w, tap = (int)(u % taps);
    const DenseUnit unit = {u / taps, tap / d->taps_w, tap % d->taps_w};
    return unit;
}

/* Tiles that a chunk's images fall into, as equal as can be. */
INLINE ptrdiff_t dense_parts(const Dense *d, const NincRange *range)
{
    return (range->images + d->large - 1) / d->large;
}

/* filter: the unit's part. x and y begin at the first image. */
INLINE ConvTile dense_tile(const Dense *d, Map x, const Element *filter, const Epilogue *epilogue,
                           Map y, DenseUnit u)
{
    const ptrdiff_t channel = u.group * d->vectors, at = (ptrdiff_t)u.column * LANES;
    const ConvTile t = {.x = x.data, .x_block = x.block, .x_row = x.row, .filter = filter,
                        .filter_block = d->filter_block, .filter_row = d->filter_row,
                        .y = map_row(y, u.row) + channel * y.block + at, .y_block = y.block,
                        .beside = beside_at(beside_row(epilogue, u.row), channel, at),
                        .in_blocks = d->in_blocks, .kernel_h = d->kernel_h, .kernel_w = 1,
                        .run = d->run, .epilogue = epilogue->number};
    return t;
}

INLINE void dense_step(const Dense *d, ConvTile *t, ptrdiff_t images)
{
    t->x += images * d->x_image;
    t->y += images * d->y_image;
    for (int i = 0; i < EPILOGUE_MAPS; i++)
        t->beside.map[i] += images * d->beside_image[i];
}

/* Where zeros in do not give zeros out: the lanes past the last channel. */
INLINE void dense_clear(const Dense *d, const ConvTile *t, ptrdiff_t images)
{
    Element *to = t->y + (d->vectors - 1) * t->y_block + d->kept;
    for (ptrdiff_t i = 0; i < images; i++, to += d->y_image)
        zero_pixels(to, (size_t)(LANES - d->kept) * sizeof *to);
}

INLINE void dense_one_by_one(const Dense *d, ConvTile t, ptrdiff_t images)
{
    for (ptrdiff_t i = 0; i < images; i++, dense_step(d, &t, 1))
        d->one_tile(&t);
}

/* Part `part` of the images, as one tile where there is one of that size. */
SHARED void dense_part(const Dense *d, ConvTile t, ptrdiff_t part, bool clears,
                       const NincRange *range)
{
    const ptrdiff_t parts = dense_parts(d, range), first = range->images * part / parts;
    const ptrdiff_t images = range->images * (part + 1) / parts - first;
    dense_step(d, &t, first);
    if (d->alike && images == d->large)
        d->large_tile(&t);
    else if (d->alike && images == d->large - 1)
        d->small_tile(&t);
    else
        dense_one_by_one(d, t, images);
    if (clears)
        dense_clear(d, &t, images);
}

/* A slice's part of the units: groups of outputs, and parts of the images, of which those of one
 * group read the same part of the filter. bias may be NULL. */
SHARED void dense_forward(const Dense *d, Map x, const Element *filter, const float *bias,
                          const Epilogue *epilogue, Map y, const NincRange *range)
{
    const ptrdiff_t parts = dense_parts(d, range), units = d->groups * parts;
    const ptrdiff_t last = slice_end(range, units);
    for (ptrdiff_t u = slice_begin(range, units); u < last; u++) {
        const DenseUnit unit = dense_unit(d, u / parts);
        ConvTile t = dense_tile(d, x, filter + unit.group * d->in_blocks * d->filter_block,
                                epilogue, y, unit);
        t.bias = bias ? bias + unit.group * d->vectors * LANES : NULL;
        dense_part(d, t, u % parts, d->kept > 0 && unit.group == d->groups - 1, range);
    }
}

/* ---- the gradient of the map ---- */

/* The filter as it lies for the layer, [output group][input block][tap][LANES inputs][out_block],
 * its rows of bf16 in pairs of inputs. */
typedef struct DenseFilter {
    int outputs, in_blocks; /* in blocks of LANES both */
    int out_block, taps;
} DenseFilter;

/* A square of the filter, of output block o and input block i, turned around: a row an output,
 * those of bf16 in pairs, `to_row` words from one to the next. */
INLINE void dense_square(const DenseFilter *f, const Element *filter, int o, int i, int tap,
                         Word *to, ptrdiff_t to_row)
{
    const int output = o * LANES, row = f->out_block;
    const ptrdiff_t group = (ptrdiff_t)(output / row) * f->in_blocks + i;
    const Word *from = (const Word *)filter +
                       (group * f->taps + tap) * (LANES / TOGETHER) * row + output % row;
#ifdef NINC_BF16
    _Alignas(64) Word apart[LANES * LANES], turned[LANES * LANES];
    for (int r = 0; r < LANES; r += 2)
        for (int k = 0; k < LANES; k++) {
            apart[r * LANES + k] = from[r / 2 * row + k] & 0xFFFF;
            apart[(r + 1) * LANES + k] = from[r / 2 * row + k] >> 16;
        }
    turn_square(apart, LANES, turned, LANES);
    for (int r = 0; r < LANES / 2; r++)
        for (int k = 0; k < LANES; k++)
            to[r * to_row + k] =
                turned[2 * r * LANES + k] | turned[(2 * r + 1) * LANES + k] << 16;
#else
    turn_square(from, row, to, to_row);
#endif
}

/* What the tiles of one unit multiply by: [outputs][vectors][LANES inputs]. */
INLINE void dense_panel(const Dense *d, const DenseFilter *f, const Element *filter, DenseUnit u,
                        Word *panel)
{
    const ptrdiff_t row = (ptrdiff_t)d->vectors * LANES;
    const int tap = u.row * d->taps_w + u.column, first = (int)u.group * d->vectors;
    for (int o = 0; o < f->outputs; o++, panel += LANES / TOGETHER * row)
        for (int v = 0; v < d->vectors; v++)
            dense_square(f, filter, o, first + v, tap, panel + v * LANES, row);
}

/* Units: groups of inputs of the layer, pixels of its map, and parts of the images. */
SHARED void dense_dgrad(const Dense *d, const DenseFilter *f, Map dy, const Element *filter,
                        const Epilogue *epilogue, Map dx, const NincRange *range)
{
    const ptrdiff_t parts = dense_parts(d, range);
    const ptrdiff_t units = d->groups * d->taps_h * d->taps_w * parts;
    const ptrdiff_t last = slice_end(range, units);
    ptrdiff_t made = -1;
    _Alignas(64) Word panel[(ptrdiff_t)f->outputs * (LANES / TOGETHER) * d->vectors * LANES];
    for (ptrdiff_t u = slice_begin(range, units); u < last; u++) {
        const DenseUnit unit = dense_unit(d, u / parts);
        if (made != u / parts)
            dense_panel(d, f, filter, unit, panel);
        made = u / parts;
        dense_part(d, dense_tile(d, dy, (const Element *)panel, epilogue, dx, unit), u % parts,
                   d->kept > 0 && unit.group == d->groups - 1, range);
    }
}

/* ---- the gradient of the filter ---- */

#ifdef NINC_BF16
SHARED void dense_wgrad(const Wgrad *g, Map x, Map dy, ptrdiff_t first, ptrdiff_t last, float *dw)
{
    const WgradSum sum = {dw, 0, first, last, 0, 1};
    wgrad_sum(g, x, dy, &sum);
}
#else
/* Images that are summed at a time: their outputs lie on a thread's stack. */
enum { PANEL_IMAGES = 1024 };

/* A group's outputs of so many images, one after the other: in their maps they lie so far apart
 * that few of them stay in a level-1 cache. */
INLINE void dense_group(const Wgrad *g, Map dy, ptrdiff_t group, int images, float *to)
{
    const float *from = dy.data + group * g->vectors * dy.block;
    for (int n = 0; n < images; n++, from += g->dy_step)
        for (int v = 0; v < g->vectors; v++, to += LANES)
            UNROLL for (int i = 0; i < LANES; i += LANES_A_PART)
                store(to + i, load(from + v * dy.block + i));
}

/* By the maps' first t.width images, units first to last - 1, from t.dw on; `panel` takes a
 * group's outputs. */
INLINE void dense_sum(const Wgrad *g, Map x, Map dy, ptrdiff_t first, ptrdiff_t last, WgradTile t,
                      float *panel)
{
    ptrdiff_t made = -1;
    for (ptrdiff_t u = first; u < last; u++, t.dw += wgrad_line(g)) {
        const WgradUnit unit = wgrad_unit(g, u);
        if (made != unit.group)
            dense_group(g, dy, unit.group, t.width, panel);
        made = unit.group;
        t.x = wgrad_x(g, x, unit, 0);
        t.next = u + 1 < last ? wgrad_x(g, x, wgrad_unit(g, u + 1), 0) : NULL;
        wgrad_run(&g->tiles, t);
    }
}

/* The gradient of the filter by all images, its units first to last - 1, to dw. */
SHARED void dense_wgrad(const Wgrad *g, Map x, Map dy, ptrdiff_t first, ptrdiff_t last, float *dw)
{
    const ptrdiff_t row = (ptrdiff_t)g->vectors * LANES;
    const int most = g->width < PANEL_IMAGES ? g->width : PANEL_IMAGES;
    _Alignas(64) float panel[most * row];
    WgradTile t = {.x_step = g->step, .dy = panel, .dy_step = row, .dy_block = LANES, .dw = dw,
                   .rows = 1, .next_step = wgrad_step_bytes(g)};
    for (int n = 0; n < g->width; n += t.width) {
        t.width = g->width - n < most ? g->width - n : most;
        t.accumulate = n > 0;
        dense_sum(g, x, dy, first, last, t, panel);
        x.data += t.width * g->step;
        dy.data += t.width * g->dy_step;
    }
}
#endif
