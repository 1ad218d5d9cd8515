/* Contractions of bf16 maps with AMX (Intel 64 and IA-32 manual, volume 1, chapter 18). A block of
 * 32 pixels x 32 outputs is four tiles of sums, which 16 pixels x 32 inputs straight from the map
 * and 32 inputs x 16 outputs of the packed filter are multiplied into. */

enum { AMX_ROWS = 16, AMX_INPUTS = 32, AMX_BLOCK = 2 * AMX_ROWS };

/* What LDTILECFG reads. */
typedef struct AmxTiles {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} AmxTiles;

/* Tiles 0 to 3: sums, `rows` x 16 floats. 4 and 5: inputs, `rows` x `depth`. 6 and 7: weights,
 * depth / 2 pairs of inputs x 16 outputs. */
INLINE void amx_configure(int rows, int depth)
{
    AmxTiles c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? depth * 2 : 64);
        c.rows[i] = (uint8_t)(i < 6 ? rows : depth / 2);
    }
    _tile_loadconfig(&c);
}

/* The tile instructions do not tell the compiler which memory they read. */
INLINE void amx_fence(void)
{
    __asm__ volatile("" ::: "memory");
}

INLINE void amx_zero(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

/* Adds the products of inputs a (where BOTH, b too) with weights of 32 outputs; stride in bytes. */
INLINE void amx_step(const Element *a, const Element *b, ptrdiff_t stride, const Element *weights,
                     const int BOTH)
{
    const ptrdiff_t pairs = 2 * LANES * sizeof(Element);
    _tile_loadd(4, a, stride);
    _tile_loadd(6, weights, pairs);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, weights + LANES, pairs);
    _tile_dpbf16ps(1, 4, 7);
    if (BOTH) {
        _tile_loadd(5, b, stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

/* Sums, [2][rows][LANES]. */
INLINE void amx_store(float *sums, int rows, const int BOTH)
{
    const ptrdiff_t line = LANES * sizeof(float);
    _tile_stored(0, sums, line);
    _tile_stored(1, sums + AMX_ROWS, line);
    if (BOTH) {
        _tile_stored(2, sums + rows * LANES, line);
        _tile_stored(3, sums + rows * LANES + AMX_ROWS, line);
    }
}

/* ---- convolution ---- */

/* A tile of pixels of one output row. */
typedef struct AmxPixels {
    const Element *x;
    Element *y;
    Beside beside;
} AmxPixels;

typedef struct AmxConv {
    const Conv *c;
    Map x, y;
    const Epilogue *epilogue;
    int pixels, width; /* a tile, a row; the last tile of a row ends where the row does */
    int depth;         /* inputs a step */
} AmxConv;

/* Tile `tile` of a row. */
INLINE AmxPixels amx_pixels(const AmxConv *a, int row, int tile)
{
    const int col = smaller(tile * a->pixels, a->width - a->pixels);
    const AmxPixels p = {
        .x = map_row(a->x, row * a->c->stride_h - a->c->padding_h) - a->c->padding +
             col * a->c->step,
        .y = map_row(a->y, row) + col * LANES,
        .beside = beside_at(beside_row(a->epilogue, row), 0, col * LANES)};
    return p;
}

INLINE void amx_multiply(const AmxConv *a, const Element *p, const Element *q,
                         const Element *filter, float *sums, const int BOTH)
{
    const Conv *c = a->c;
    amx_zero();
    for (int b = 0; b < c->in_blocks; b++)
        for (int k = 0; k < c->kernel_h; k++) {
            const ptrdiff_t at = b * a->x.block + k * a->x.row;
            for (int r = 0; r < c->run; r += a->depth, filter += a->depth * LANES)
                amx_step(p + at + r, q + at + r, c->step * (ptrdiff_t)sizeof(Element), filter,
                         BOTH);
        }
    amx_store(sums, AMX_ROWS, BOTH);
}

/* Bias, epilogue and rounding of a tile's sums, for output block g. */
INLINE void amx_round(const int EPILOGUE, const AmxConv *a, const AmxPixels *p, int g,
                      const float *bias, const float *sums)
{
    const Beside beside = beside_at(p->beside, g, 0);
    Element *y = p->y + g * a->y.block;
    Vector shift[PARTS];
    for (int j = 0; j < PARTS; j++)
        shift[j] = bias ? load(bias + g * LANES + j * LANES_A_PART) : (Vector){0};
    for (int i = 0; i < a->pixels; i++)
        for (int j = 0; j < PARTS; j++) {
            const ptrdiff_t at = i * LANES + j * LANES_A_PART;
            store_epilogue(EPILOGUE, y + at, load(sums + at) + shift[j],
                           beside_at(beside, 0, at));
        }
}

INLINE void amx_finish(const AmxConv *a, const AmxPixels *p, int g, const float *bias,
                       const float *sums)
{
    WITH_EPILOGUE(a->epilogue->number, amx_round, a, p, g, bias, sums);
}

/* Two tiles at a time, also where a row ends between them. */
INLINE void amx_group(const AmxConv *a, const Element *filter, const float *bias, int g, int row0,
                      int row1)
{
    _Alignas(64) float sums[2 * AMX_ROWS * LANES];
    const int tiles = a->c->tiles.larges + a->c->tiles.smalls;
    AmxPixels waiting;
    bool waits = false;
    for (int row = row0; row < row1; row++)
        for (int tile = 0; tile < tiles; tile++) {
            const AmxPixels p = amx_pixels(a, row, tile);
            if (waits) {
                amx_multiply(a, waiting.x, p.x, filter, sums, 1);
                amx_finish(a, &waiting, g, bias, sums);
                amx_finish(a, &p, g, bias, sums + AMX_ROWS * LANES);
            }
            waits = !waits;
            waiting = p;
        }
    if (waits) {
        amx_multiply(a, waiting.x, waiting.x, filter, sums, 0);
        amx_finish(a, &waiting, g, bias, sums);
    }
}

SHARED void amx_conv_rows(const Conv *c, Map x, const Element *filter, const float *bias,
                          const Epilogue *epilogue, Map y, int row0, int row1)
{
    const RowTiles *tiles = &c->tiles;
    AmxConv a = {c, x, y, epilogue, tiles->large, row_width(tiles), AMX_INPUTS};
    while (c->run % a.depth != 0)
        a.depth -= 2;
    amx_configure(a.pixels, a.depth);
    for (int g = 0; g < c->groups; g++)
        amx_group(&a, filter + (ptrdiff_t)g * c->in_blocks * c->kernel_h * c->run * LANES, bias, g,
                  row0, row1);
}

/* ---- weight gradient ---- */

/* The sum over pixels is a product of x, transposed, and dy in pairs of pixels. Both are packed for
 * a strip: some rows of an image, or a few whole images. Rows of dy are `pitch` pixels, zero where
 * it has none. x is packed once for all taps where a tap is a shift of it; else, with a stride or a
 * thin image, for each filter row, tap by tap. */
enum { AMX_DY = 256 * 1024, AMX_X = 128 * 1024 }; /* elements */

/* Pixels of a strip: what a tap reads of x and of a block of dy stays in a level-1 cache. */
enum { AMX_STRIP = 288 };

/* Taps x output blocks that share a packed x at least, so that packing takes little of the time; no
 * more than needed, so that their part of the gradient stays in a level-2 cache. */
enum { AMX_REUSE = 25 };

typedef struct AmxWgrad {
    const Wgrad *g;
    Map x, dy;                    /* of the first image */
    ptrdiff_t x_image, dy_image;  /* elements from image to image */
    bool shifts;                  /* taps are shifts of one packed x */
    int pitch;
    int taps, depth;              /* the filter row is `taps` x `depth` entries */
    int groups;                   /* output blocks a batch */
    int images, row, rows;        /* the strip at hand */
    int pixels;                   /* of one image in the strip, whole steps of AMX_INPUTS */
    int line;                     /* elements from entry to entry of x */
    Element *packed_x, *packed_dy;
} AmxWgrad;

/* Pixels of two vectors of 32 channels to words of both: the lower and the upper 16 channels. */
INLINE void interleave(__m512i even, __m512i odd, __m512i *low, __m512i *high)
{
    static const _Alignas(64) uint16_t lower[32] = {
        0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39,
        8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i at = _mm512_load_si512(lower);
    *low = _mm512_permutex2var_epi16(even, at, odd);
    *high = _mm512_permutex2var_epi16(even, _mm512_add_epi16(at, _mm512_set1_epi16(16)), odd);
}

/* Where dy has no pixel: between its rows and behind them. */
INLINE __m512i dy_pixel(const AmxWgrad *a, const Element *dy, int row, int col)
{
    if (row >= a->rows || col >= a->g->width)
        return _mm512_setzero_si512();
    return _mm512_loadu_si512(dy + row * a->dy.row + col * LANES);
}

/* Output block `group` of an image's rows. */
INLINE void amx_pack_dy(const AmxWgrad *a, const Element *dy, Element *to)
{
    for (int p = 0, row = 0, col = 0; p < a->pixels; p += 2, to += 2 * LANES) {
        __m512i pixel[2], low, high;
        UNROLL for (int i = 0; i < 2; i++) {
            pixel[i] = dy_pixel(a, dy, row, col);
            row += ++col == a->pitch;
            col = col == a->pitch ? 0 : col;
        }
        interleave(pixel[0], pixel[1], &low, &high);
        _mm512_store_si512(to, low);
        _mm512_store_si512(to + LANES, high);
    }
}

/* 16 x 16 words. */
INLINE void transpose_words(__m512i *v)
{
    __m512i t[16];
    UNROLL for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    UNROLL for (int i = 0; i < 16; i += 4)
        UNROLL for (int j = 0; j < 2; j++) {
            v[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            v[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    UNROLL for (int i = 0; i < 16; i += 8)
        UNROLL for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_i32x4(v[i + j], v[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_i32x4(v[i + j], v[i + j + 4], 0xDD);
        }
    UNROLL for (int j = 0; j < 8; j++) {
        v[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        v[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xDD);
    }
}

/* Transposes `count` pixels, at most 32 and `step` elements apart, of as many entries as `entries`
 * has bits; what is stored past `count` pixels is zero. */
INLINE void amx_transpose(const Element *x, ptrdiff_t step, int count, __mmask32 entries,
                          Element *to, int line)
{
    __m512i low[16], high[16];
    UNROLL for (int p = 0; p < 16; p++) {
        const __mmask32 even = 2 * p < count ? entries : 0, odd = 2 * p + 1 < count ? entries : 0;
        interleave(_mm512_maskz_loadu_epi16(even, x + 2 * p * step),
                   _mm512_maskz_loadu_epi16(odd, x + (2 * p + 1) * step), &low[p], &high[p]);
    }
    transpose_words(low);
    transpose_words(high);
    UNROLL for (int i = 0; i < 16; i++) {
        if (entries >> i & 1)
            _mm512_storeu_si512(to + i * line, low[i]);
        if (entries >> (i + 16) & 1)
            _mm512_storeu_si512(to + (i + 16) * line, high[i]);
    }
}

/* Transposes `rows` rows of x, `length` pixels each, into lines of `pitch` pixels. A row may be
 * written past its end: what the next one overwrites, and behind the last one zeros. */
INLINE void amx_pack_rows(const AmxWgrad *a, const Element *x, ptrdiff_t row, int rows, int length,
                          Element *to)
{
    const __mmask32 entries = (__mmask32)(0xFFFFFFFF >> (AMX_BLOCK - a->depth));
    for (int c = 0; c < a->depth; c++)
        memset(to + c * a->line + rows * a->pitch, 0,
               (size_t)(a->line - rows * a->pitch) * sizeof(Element));
    if (length == a->pitch && row == a->g->step * a->pitch) { /* no gap between rows */
        length *= rows;
        rows = 1;
    }
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < length; p += AMX_BLOCK)
            amx_transpose(x + r * row + p * a->g->step, a->g->step,
                          smaller(length - p, AMX_BLOCK), entries, to + r * a->pitch + p, a->line);
}

/* What filter row k of input block b meets; of an image whose x begins at `x`. */
INLINE void amx_pack_x(const AmxWgrad *a, Map x, int b, int k, Element *to)
{
    const Wgrad *g = a->g;
    const Element *from = map_row(x, a->row * g->stride_h - g->padding_h) + b * x.block -
                          g->padding;
    if (a->shifts) {
        amx_pack_rows(a, from, x.row, a->rows + g->kernel_h - 1, a->pitch, to);
        return;
    }
    for (int t = 0; t < a->taps; t++)
        amx_pack_rows(a, from + k * x.row + t * a->depth, x.row * g->stride_h, a->rows, g->width,
                      to + (ptrdiff_t)t * a->depth * a->line);
}

/* `depth` inputs x 32 outputs of one tap. */
INLINE void amx_square(const AmxWgrad *a, const Element *x, const Element *dy, float *dw,
                       int accumulate)
{
    const ptrdiff_t line = LANES * sizeof(float), x_line = a->line * (ptrdiff_t)sizeof(Element);
    const int half = a->depth / 2;
    const ptrdiff_t x_next = (ptrdiff_t)(a->shifts ? 1 : a->taps) * a->depth * a->line;
    const ptrdiff_t dy_next = (ptrdiff_t)a->groups * a->pixels * LANES;
    if (accumulate) {
        _tile_loadd(0, dw, line);
        _tile_loadd(1, dw + AMX_ROWS, line);
        _tile_loadd(2, dw + half * LANES, line);
        _tile_loadd(3, dw + half * LANES + AMX_ROWS, line);
    } else {
        amx_zero();
    }
    for (int n = 0; n < a->images; n++, x += x_next, dy += dy_next)
        for (int p = 0; p < a->pixels; p += AMX_INPUTS)
            amx_step(x + p, x + half * a->line + p, x_line, dy + p * LANES, 1);
    amx_store(dw, half, 1);
}

/* A filter row of an input block and an output block. Units are counted batch by batch of output
 * blocks; within one, output blocks run fastest, then rows. */
typedef struct AmxUnit {
    int batch, group, b, k; /* group: in the batch */
} AmxUnit;

INLINE AmxUnit amx_unit(const AmxWgrad *a, ptrdiff_t u)
{
    const Wgrad *g = a->g;
    const ptrdiff_t whole = (ptrdiff_t)a->groups * g->in_blocks * g->kernel_h, at = u % whole;
    const int batch = (int)(u / whole), groups = smaller(a->groups, g->groups - batch * a->groups);
    const AmxUnit unit = {batch, (int)(at % groups), (int)(at / groups / g->kernel_h),
                          (int)(at / groups % g->kernel_h)};
    return unit;
}

INLINE void amx_run(const AmxWgrad *a, AmxUnit u, float *dw, int accumulate)
{
    const Wgrad *g = a->g;
    const ptrdiff_t group = u.batch * a->groups + u.group;
    const ptrdiff_t row = (group * g->in_blocks + u.b) * g->kernel_h + u.k;
    const Element *dy = a->packed_dy + (ptrdiff_t)u.group * a->pixels * LANES;
    const Element *x = a->packed_x + (a->shifts ? u.k * a->pitch : 0);
    const ptrdiff_t tap = a->shifts ? 1 : (ptrdiff_t)a->depth * a->line;
    for (int t = 0; t < a->taps; t++)
        amx_square(a, x + t * tap, dy, dw + (row * g->run + t * a->depth) * LANES, accumulate);
}

INLINE void amx_pack_batch(const AmxWgrad *a, int batch, int first)
{
    const int groups = smaller(a->groups, a->g->groups - batch * a->groups);
    const Element *dy = map_row(a->dy, a->row) + batch * a->groups * a->dy.block;
    for (int n = 0; n < a->images; n++)
        for (int group = 0; group < groups; group++)
            amx_pack_dy(a, dy + (first + n) * a->dy_image + group * a->dy.block,
                        a->packed_dy + ((ptrdiff_t)n * a->groups + group) * a->pixels * LANES);
}

INLINE void amx_pack_images(const AmxWgrad *a, AmxUnit u, int first)
{
    const ptrdiff_t next = (ptrdiff_t)(a->shifts ? 1 : a->taps) * a->depth * a->line;
    Map x = a->x;
    x.data += first * a->x_image;
    for (int n = 0; n < a->images; n++, x.data += a->x_image)
        amx_pack_x(a, x, u.b, u.k, a->packed_x + n * next);
}

/* Units begin to end - 1, all of one batch, over the strip at hand from image `first` on. */
INLINE void amx_strip(const AmxWgrad *a, int first, ptrdiff_t begin, ptrdiff_t end, float *dw,
                      int accumulate)
{
    AmxUnit packed = {.b = -1};
    amx_pack_batch(a, amx_unit(a, begin).batch, first);
    for (ptrdiff_t i = begin; i < end; i++) {
        const AmxUnit u = amx_unit(a, i);
        if (u.b != packed.b || (!a->shifts && u.k != packed.k))
            amx_pack_images(a, u, first);
        packed = u;
        amx_fence();
        amx_run(a, u, dw, accumulate);
    }
}

/* Sets the strip to `rows` rows of `images` images; false where the buffers do not hold it. Lines
 * of x are an odd number of cache lines, so that the rows of a tile lie in different sets. */
INLINE bool amx_fits(AmxWgrad *a, int images, int rows)
{
    const Wgrad *g = a->g;
    const int x_rows = a->shifts ? rows + g->kernel_h - 1 : rows;
    const int x_pixels = x_rows * a->pitch + a->taps + AMX_BLOCK;
    a->images = images;
    a->rows = rows;
    a->pixels = (rows * a->pitch + 31) / 32 * 32;
    a->line = (x_pixels + 31) / 64 * 64 + 32;
    return (images * rows == 1 || images * a->pixels <= AMX_STRIP) &&
           (int64_t)images * a->pixels * LANES * a->groups <= AMX_DY &&
           (int64_t)images * a->line * a->depth * (a->shifts ? 1 : a->taps) <= AMX_X;
}

/* The largest strip that the buffers hold, of at most so many images and rows; false: none. */
INLINE bool amx_plan(AmxWgrad *a, int images, int height)
{
    int rows = height;
    while (rows > 0 && !amx_fits(a, 1, rows))
        rows--;
    if (rows < height)
        return rows > 0;
    while (images > 1 && !amx_fits(a, images, height))
        images--;
    return amx_fits(a, images, height);
}

/* What is summed: rows row0 to row1 - 1 of some images, units begin to end - 1. */
typedef struct AmxSum {
    int images, row0, row1, accumulate;
    ptrdiff_t begin, end;
    float *dw;
} AmxSum;

/* Units begin to end - 1, all of one batch, in strips. */
INLINE void amx_batch(AmxWgrad *a, const AmxSum *s, ptrdiff_t begin, ptrdiff_t end, int images,
                      int rows)
{
    for (int n = 0; n < s->images; n += images)
        for (a->row = s->row0; a->row < s->row1; a->row += rows) {
            a->images = smaller(images, s->images - n);
            a->rows = smaller(rows, s->row1 - a->row);
            a->pixels = (a->rows * a->pitch + 31) / 32 * 32;
            amx_strip(a, n, begin, end, s->dw, s->accumulate || n > 0 || a->row > s->row0);
        }
}

SHARED void amx_sum(AmxWgrad *a, const AmxSum *s)
{
    _Alignas(64) Element packed_dy[AMX_DY], packed_x[AMX_X];
    const int images = a->images, rows = a->rows;
    const ptrdiff_t whole = (ptrdiff_t)a->groups * a->g->in_blocks * a->g->kernel_h;
    a->packed_dy = packed_dy;
    a->packed_x = packed_x;
    amx_configure(a->depth / 2, AMX_INPUTS);
    for (ptrdiff_t u = s->begin, next; u < s->end; u = next) {
        next = (u / whole + 1) * whole;
        next = next < s->end ? next : s->end;
        amx_batch(a, s, u, next, images, rows);
    }
}

/* False where the buffers do not hold a row. */
INLINE bool amx_wgrad(const Wgrad *g, Map x, ptrdiff_t x_image, Map dy, ptrdiff_t dy_image,
                      AmxSum sum)
{
    AmxWgrad a = {.g = g, .x = x, .dy = dy, .x_image = x_image, .dy_image = dy_image,
                  .depth = AMX_INPUTS};
    while (g->run % a.depth != 0)
        a.depth -= 2;
    a.taps = g->run / a.depth;
    a.shifts = a.depth == LANES && g->step == LANES && g->stride_h == 1;
    a.pitch = g->width + (a.shifts ? a.taps - 1 : 0);
    a.groups = smaller((AMX_REUSE - 1) / (a.taps * (a.shifts ? g->kernel_h : 1)) + 1, g->groups);
    const bool fits = amx_plan(&a, sum.images, sum.row1 - sum.row0);
    if (fits)
        amx_sum(&a, &sum);
    return fits;
}
/* All images of the chunk, the slice's part of the units; x_image and dy_image are the elements
 * from image to image. */
SHARED void amx_wgrad_images(const Wgrad *g, Map x, ptrdiff_t x_image, Map dy, ptrdiff_t dy_image,
                             float *dw, const NincRange *range)
{
    const ptrdiff_t units = wgrad_units(g);
    const AmxSum sum = {range->images, 0, g->height, range->accumulate, slice_begin(range, units),
                        slice_end(range, units), dw};
    if (amx_wgrad(g, x, x_image, dy, dy_image, sum))
        return;
    for (int n = 0; n < range->images; n++, x.data += x_image, dy.data += dy_image)
        wgrad_image(g, x, dy, dw, range->accumulate || n > 0, range);
}

/* Rows row0 to row1 - 1 of one image, added. */
SHARED void amx_wgrad_rows(const Wgrad *g, Map x, Map dy, float *dw, int row0, int row1)
{
    if (!amx_wgrad(g, x, 0, dy, 0, (AmxSum){1, row0, row1, 1, 0, wgrad_units(g), dw}))
        wgrad_rows(g, x, dy, dw, row0, row1);
}
