/* Convolutions with dilation, of whole blocks of channels: the tiles of ninc_cpu.h, which step from
 * column to column of the filter instead of running along its rows. */

typedef struct Dilation {
    int h, w, kernel_w; /* from tap to tap, in inputs */
} Dilation;

/* As conv_rows. */
SHARED void dilated_conv_rows(const Conv *c, const Dilation *d, Map x, const Element *filter,
                              const float *bias, const Epilogue *epilogue, Map y, int row0,
                              int row1)
{
    const ptrdiff_t tap = (ptrdiff_t)LANES * c->vectors * LANES, line = tap * d->kernel_w;
    ConvTile t = {.x_block = x.block, .x_row = x.row * d->h, .y_block = y.block,
                  .x_gap = (d->w - 1) * (ptrdiff_t)LANES, .filter_block = c->kernel_h * line,
                  .filter_row = line, .filter_column = tap, .in_blocks = c->in_blocks,
                  .kernel_h = c->kernel_h, .kernel_w = d->kernel_w, .run = LANES,
                  .epilogue = epilogue->number};
    for (int g = 0; g < c->groups; g++) {
        const ptrdiff_t channel = (ptrdiff_t)g * c->vectors;
        t.filter = filter + g * c->in_blocks * t.filter_block;
        t.bias = bias ? bias + channel * LANES : NULL;
        for (int row = row0; row < row1; row++) {
            t.x = map_row(x, row * c->stride_h - c->padding_h) - c->padding;
            t.y = map_row(y, row) + channel * y.block;
            t.beside = beside_at(beside_row(epilogue, row), channel, 0);
            run_row(t, &c->tiles, c->step, 1);
        }
    }
}

/* As wgrad_image, a tap at a time; w is of a run of one column. */
SHARED void dilated_wgrad_image(const Wgrad *w, const Dilation *d, Map x, Map dy, float *dw,
                                int accumulate, const NincRange *range)
{
    const ptrdiff_t taps = wgrad_units(w) * d->kernel_w, line = wgrad_line(w);
    for (ptrdiff_t tap = slice_begin(range, taps); tap < slice_end(range, taps); tap++) {
        const WgradUnit unit = wgrad_unit(w, tap / d->kernel_w);
        const int column = (int)(tap % d->kernel_w);
        Wgrad one = *w;
        Map from = x, to = dy;
        one.groups = one.in_blocks = one.kernel_h = 1;
        one.padding_h = w->padding_h - unit.k * d->h;
        one.padding = w->padding - column * (ptrdiff_t)d->w * LANES;
        from.data += unit.b * x.block;
        to.data += unit.group * w->vectors * dy.block;
        const WgradSum sum = {dw + tap * line, accumulate, 0, 1, 0, w->height};
        wgrad_sum(&one, from, to, &sum);
    }
}
