/* Convolutions in groups of whole blocks of channels, and their gradients: group by group those of
 * ninc_cpu.h and ninc_wgrad.h, whose constants are of one group. */

typedef struct Groups {
    int count, x_blocks, y_blocks; /* blocks of a group, of the map that is read and of the other */
    ptrdiff_t filter;              /* elements of a group's filter */
} Groups;

/* The map, and what lies beside it, from a block on. */
INLINE Map blocks_from(Map m, ptrdiff_t block)
{
    m.data += block * m.block;
    return m;
}

INLINE Epilogue beside_blocks_from(const Epilogue *epilogue, ptrdiff_t block)
{
    Epilogue e = *epilogue;
    for (int i = 0; i < EPILOGUE_MAPS; i++)
        e.map[i] = blocks_from(e.map[i], block);
    return e;
}

SHARED void grouped_conv_rows(const Conv *c, const Groups *g, Map x, const Element *filter,
                              const float *bias, const Epilogue *epilogue, Map y, int row0,
                              int row1)
{
    for (ptrdiff_t i = 0; i < g->count; i++) {
        const Epilogue part = beside_blocks_from(epilogue, i * g->y_blocks);
        conv_rows(c, blocks_from(x, i * g->x_blocks), filter + i * g->filter,
                  bias ? bias + i * g->y_blocks * LANES : NULL, &part,
                  blocks_from(y, i * g->y_blocks), row0, row1);
    }
}

/* The filter is that of all groups transposed, [I / groups][O]: c is of one tile of its outputs. */
SHARED void grouped_transpose_rows(const ConvTranspose *c, const Groups *g, Map dy,
                                   const Element *filter, const Epilogue *epilogue, Map dx,
                                   int row0, int row1)
{
    const ptrdiff_t block = (ptrdiff_t)LANES * LANES * c->vectors * c->kernel_h * c->kernel_w;
    for (ptrdiff_t i = 0; i < g->count; i++)
        for (ptrdiff_t at = 0; at < g->y_blocks; at += c->vectors) {
            const ptrdiff_t to = i * g->y_blocks + at;
            const ptrdiff_t from = at / c->vectors * g->count * g->x_blocks + i * g->x_blocks;
            const Epilogue part = beside_blocks_from(epilogue, to);
            conv_transpose_rows(c, blocks_from(dy, i * g->x_blocks), filter + from * block, &part,
                                blocks_from(dx, to), row0, row1);
        }
}

SHARED void grouped_wgrad_image(const Wgrad *w, const Groups *g, Map x, Map dy, float *dw,
                                int accumulate, const NincRange *range)
{
    for (ptrdiff_t i = 0; i < g->count; i++)
        wgrad_image(w, blocks_from(x, i * g->x_blocks), blocks_from(dy, i * g->y_blocks),
                    dw + i * g->filter, accumulate, range);
}
