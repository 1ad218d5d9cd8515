/* Average pools of what lies inside the map: padding does not count (count_include_pad=False). */

/* 1 / pixels of a window. */
INLINE float inside_scale(const Pool *g, int row, int col)
{
    const int rows = window_end(row, g->stride_h, g->padding_h, g->kernel_h, g->height) -
                     window_begin(row, g->stride_h, g->padding_h);
    const int cols = window_end(col, g->stride_w, g->padding_w, g->kernel_w, g->width) -
                     window_begin(col, g->stride_w, g->padding_w);
    return 1.0f / (float)(rows * cols);
}

/* The sum of dx or x over rows h0 to h1 - 1 and columns w0 to w1 - 1; `at`: into a pixel. */
INLINE Vector inside_sum(Map x, ptrdiff_t at, int h0, int h1, int w0, int w1)
{
    Vector sum = {0};
    for (int h = h0; h < h1; h++)
        for (int w = w0; w < w1; w++)
            sum += load_map(map_row(x, h) + w * LANES + at);
    return sum;
}

INLINE void avgpool_inside_of(const int EPILOGUE, const Pool *g, Map x, const Epilogue *epilogue,
                              Map y, int row0, int row1)
{
    for (int b = 0; b < g->blocks; b++)
        for (int row = row0; row < row1; row++) {
            const Place to = place_of(epilogue, y, row, b);
            const int h0 = window_begin(row, g->stride_h, g->padding_h);
            const int h1 = window_end(row, g->stride_h, g->padding_h, g->kernel_h, g->height);
            for (int i = 0; i < g->out_width * LANES; i += LANES_A_PART) {
                const int col = i / LANES;
                const int w0 = window_begin(col, g->stride_w, g->padding_w);
                const int w1 = window_end(col, g->stride_w, g->padding_w, g->kernel_w, g->width);
                store_at(EPILOGUE, &to, i,
                         inside_sum(x, b * x.block + i % LANES, h0, h1, w0, w1) *
                             inside_scale(g, row, col));
            }
        }
}

SHARED void avgpool_inside_rows(const Pool *g, Map x, const Epilogue *epilogue, Map y, int row0,
                                int row1)
{
    WITH_ROWS(avgpool_inside_of, g, x);
}

INLINE void avgpool_grad_inside_of(const int EPILOGUE, const Pool *g, Map dy,
                                   const Epilogue *epilogue, Map y, int row0, int row1)
{
    for (int b = 0; b < g->blocks; b++)
        for (int h = row0; h < row1; h++) {
            const Place to = place_of(epilogue, y, h, b);
            const Cover rows = covering(h, g->kernel_h, g->stride_h, g->padding_h, g->out_height);
            for (int i = 0; i < g->width * LANES; i += LANES_A_PART) {
                const Cover cols = covering(i / LANES, g->kernel_w, g->stride_w, g->padding_w,
                                            g->out_width);
                const ptrdiff_t at = b * dy.block + i % LANES;
                Vector sum = {0};
                for (int o = rows.first; o <= rows.last; o++)
                    for (int q = cols.first; q <= cols.last; q++)
                        sum += inside_sum(dy, at, o, o + 1, q, q + 1) * inside_scale(g, o, q);
                store_at(EPILOGUE, &to, i, sum);
            }
        }
}

SHARED void avgpool_grad_inside_rows(const Pool *g, Map dy, const Epilogue *epilogue, Map y,
                                     int row0, int row1)
{
    WITH_ROWS(avgpool_grad_inside_of, g, dy);
}
