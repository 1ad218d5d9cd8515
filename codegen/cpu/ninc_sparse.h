/* 1x1 convolutions and their weight gradients that leave out the zeros of one operand: of a map
 * behind ReLU, of a gradient behind ReLU's mask or a max pool. The zeros are wherever the data put
 * them: a row of that operand becomes a list of its other entries, and each entry of the list is
 * multiplied by a row of vectors of the other operand. What is added, and in which order, stays as
 * in the dense product, but for terms of 0. After SparseTrain (arXiv 1911.10175), with lists
 * instead of bits that are tested. Lists take a vector compress instruction, so only AVX-512 has
 * this; and a strip with few zeros is multiplied densely. An entry is a Word: with NINC_BF16 two
 * neighbouring channels, or two pixels, one of which is not zero. */

enum { SPARSE_MAX_VECTORS = 64 }; /* of a tile, also one that IR text gives */

/* ---- register tiles ---- */

/* Rows of results: each the sum, over the entries of its list, of value x dense vectors. */
typedef struct SparseTile {
    const Word *value;      /* of the entries */
    const int32_t *at;      /* where their vectors begin in `dense`, in words / VECTORS */
    const int *begin, *end; /* the entries of each row */
    int rows;
    const Word *dense;      /* [at][VECTORS][LANES] */
    const float *from;      /* what is added to: the results so far, or biases */
    float *to;
    Beside beside;          /* read with an epilogue only, which results that are maps have */
    ptrdiff_t from_row, from_block, to_row, to_block;
    int epilogue;
} SparseTile;

typedef void SparseTileFn(const SparseTile *t);

/* A row of results: `larges` tiles of `large` vectors, then `smalls` of `small`. */
typedef struct SparseRun {
    SparseTileFn *large_tile, *small_tile;
    int large, larges, small, smalls;
} SparseRun;

#ifdef __AVX512F__
/* A row's sums; its results if they are of a map, else numbers. */
INLINE void sparse_store(const int EPILOGUE, const SparseTile *t, const Vector *acc, int r,
                         const int VECTORS, const int INNER)
{
    (void)EPILOGUE; /* in bf16 the sums are stored, and rounded elsewhere */
    float *to = t->to + r * t->to_row;
    UNROLL for (int j = 0; j < VECTORS; j++) {
        float *at = to + j / INNER * t->to_block + j % INNER * LANES;
#ifdef NINC_BF16
        store(at, acc[j]);
#else
        store_epilogue(EPILOGUE, at, acc[j], beside_at(t->beside, j, r * t->to_row));
#endif
    }
}

/* VECTORS vectors of results: INNER that lie side by side, then the next INNER a block further. */
INLINE void sparse_tile(const SparseTile *t, const int VECTORS, const int INNER)
{
    for (int r = 0; r < t->rows; r++) {
        const float *from = t->from + r * t->from_row;
        Vector acc[SPARSE_MAX_VECTORS];
        UNROLL for (int j = 0; j < VECTORS; j++)
            acc[j] = load(from + j / INNER * t->from_block + j % INNER * LANES);
        for (ptrdiff_t i = t->begin[r]; i < t->end[r]; i++) {
            const Factors s = splat_inputs((const Element *)(t->value + i));
            const Word *dense = t->dense + (ptrdiff_t)t->at[i] * VECTORS;
            UNROLL for (int j = 0; j < VECTORS; j++)
                acc[j] =
                    multiply_add(acc[j], s, load_weights((const Element *)(dense + j * LANES)));
        }
        WITH_EPILOGUE(t->epilogue, sparse_store, t, acc, r, VECTORS, INNER);
    }
}

#define SPARSE_TILE(NAME, VECTORS, INNER) \
    SHARED void NAME(const SparseTile *t) { sparse_tile(t, VECTORS, INNER); }

/* ---- lists ---- */

/* What sums start from. */
_Alignas(64) static const float sparse_zero[SPARSE_MAX_VECTORS * LANES];

/* Vectors of `dense`: as many as stay in a level-1 cache; of an operand whose rows are met by few
 * entries each, which may lie in a level-2 cache; and the most. */
enum { SPARSE_NEAR = 576, SPARSE_FAR = 1536, SPARSE_MOST = 4096 };
/* How many rows have lists at one time, and how many entries at most all lists. */
enum { SPARSE_ROWS = 256, SPARSE_ENTRIES = 64 * 1024 };

/* Of how many entries at most a list is made, so that `dense` has about `room` vectors. */
INLINE int sparse_terms(int room, int vectors)
{
    return larger(smaller(room / vectors, SPARSE_ROWS) / LANES, 1) * LANES;
}

/* Appends the words that are not zero; whole vectors are stored. Returns the new count. */
INLINE int append_entries(Words v, int first, Word *value, int32_t *at, int count)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i place = _mm512_slli_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(first)), 4);
    const __mmask16 some = _mm512_test_epi32_mask((__m512i)v, (__m512i)v);
    _mm512_storeu_si512(value + count, _mm512_maskz_compress_epi32(some, (__m512i)v));
    _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(some, place));
    return count + __builtin_popcount(some);
}

/* The part of a map, in quarters, that may be other than zero: fewer zeros do not pay. */
enum { SPARSE_QUARTERS = TOGETHER > 1 ? 1 : 3 };

/* Whether some rows have zeros enough. Looks at every fourth pixel. */
SHARED bool has_zeros(Map x, int blocks, int width, int row0, int row1)
{
    int64_t seen = 0, some = 0;
    for (int b = 0; b < blocks; b++)
        for (int row = row0; row < row1; row++) {
            const Element *p = map_row(x, row) + b * x.block;
            for (int col = row & 3; col < width; col += 4) {
                const Vector v = load_map(p + col * LANES);
                some += __builtin_popcount(
                    _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ));
                seen += LANES;
            }
        }
    return 4 * some <= SPARSE_QUARTERS * seen;
}

/* Transposes 16 vectors of 16. */
INLINE void transpose_vectors(Vector *v)
{
    __m512 a[LANES], b[LANES];
    UNROLL for (int i = 0; i < LANES; i += 2) {
        a[i] = _mm512_unpacklo_ps((__m512)v[i], (__m512)v[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps((__m512)v[i], (__m512)v[i + 1]);
    }
    UNROLL for (int i = 0; i < LANES; i += 4) {
        UNROLL for (int k = 0; k < 2; k++) {
            const __m512d low = (__m512d)a[i + k], high = (__m512d)a[i + k + 2];
            b[i + 2 * k] = (__m512)_mm512_unpacklo_pd(low, high);
            b[i + 2 * k + 1] = (__m512)_mm512_unpackhi_pd(low, high);
        }
    }
    UNROLL for (int i = 0; i < 4; i++) {
        const __m512 low = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
        const __m512 high = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xDD);
        const __m512 next_low = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
        const __m512 next_high = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xDD);
        v[i] = (Vector)_mm512_shuffle_f32x4(low, next_low, 0x88);
        v[i + 4] = (Vector)_mm512_shuffle_f32x4(high, next_high, 0x88);
        v[i + 8] = (Vector)_mm512_shuffle_f32x4(low, next_low, 0xDD);
        v[i + 12] = (Vector)_mm512_shuffle_f32x4(high, next_high, 0xDD);
    }
}

/* ---- convolution ---- */

/* Pixels of some rows, at most SPARSE_ROWS. */
typedef struct SparsePiece {
    int row, rows, column, columns;
} SparsePiece;

typedef struct SparseConv {
    const Conv *conv;
    const SparseRun *run;
    Map x, y;
    const Element *filter;
    const float *bias;
    const Epilogue *epilogue;
} SparseConv;

/* A vector of words of a pixel: of one block's channels, or in bf16 of two blocks', of which the
 * second may not be there. */
INLINE Words channel_words(const Element *block, ptrdiff_t next)
{
#ifdef NINC_BF16
    const __m256i low = _mm256_loadu_si256((const __m256i *)block);
    const __m256i high =
        next ? _mm256_loadu_si256((const __m256i *)(block + next)) : _mm256_setzero_si256();
    return (Words)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
#else
    (void)next;
    return *(const Words *)block;
#endif
}

/* The lists of a piece's pixels, one behind the other, over the channels of blocks block0 to
 * block1 - 1: each ends where the next one begins. */
INLINE void list_channels(Map x, const SparsePiece *p, int block0, int block1, Word *value,
                          int32_t *at, int *begin)
{
    int n = 0;
    *begin++ = 0;
    for (int row = 0; row < p->rows; row++)
        for (int col = 0; col < p->columns; col++) {
            const Element *from = map_row(x, p->row + row) + (p->column + col) * LANES;
            for (int b = block0; b < block1; b += TOGETHER) {
                const ptrdiff_t next = b + 1 < block1 ? x.block : 0;
                n = append_entries(channel_words(from + b * x.block, next),
                                   (b - block0) * LANES / TOGETHER, value, at, n);
            }
            *begin++ = n;
        }
}

/* The weights of blocks block0 to block1 - 1 and of `vectors` vectors of outputs, by input, or by
 * pair of inputs. */
INLINE void gather_weights(const SparseConv *s, int block0, int block1, int vector, int vectors,
                           Word *to)
{
    const int group = s->conv->vectors;
    const ptrdiff_t line = (ptrdiff_t)LANES * group * LANES;
    for (int b = block0; b < block1; b++)
        for (int k = 0; k < LANES; k += TOGETHER)
            for (int v = vector; v < vector + vectors; v++, to += LANES) {
                const Element *from = s->filter + (v / group * s->conv->in_blocks + b) * line;
                *(Factors *)to =
                    load_weights(from + (k * group + v % group * TOGETHER) * LANES);
            }
}

INLINE void start_from_bias(const SparseConv *s, int vector, SparseTile *t)
{
    t->from = s->bias ? s->bias + vector * LANES : sparse_zero;
    t->from_row = 0;
    t->from_block = s->bias ? LANES : 0;
}

/* Whether the input blocks that are multiplied are the first ones, and the last. */
typedef struct SparseTurn {
    bool first, last;
} SparseTurn;

/* `vectors` vectors of results, from `vector` on, of a row of a piece, whose lists t has. */
#ifdef NINC_BF16
INLINE void sparse_round(const int EPILOGUE, const SparseConv *s, const float *sum, int rows,
                         int row, int column, int vector, int vectors)
{
    const Beside beside = beside_at(beside_row(s->epilogue, row), vector, column * LANES);
    Element *to = map_row(s->y, row) + vector * s->y.block + column * LANES;
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            store_epilogue(EPILOGUE, to + v * s->y.block + i * LANES,
                           load(sum + (i * vectors + v) * LANES), beside_at(beside, v, i * LANES));
}

/* The sums are floats, so that all inputs are multiplied in one turn. */
INLINE void sparse_row(const SparseConv *s, const SparseTurn *turn, SparseTile t, int row,
                       int column, int vector, int vectors, SparseTileFn *tile)
{
    _Alignas(64) float sum[t.rows * vectors * LANES];
    (void)turn;
    start_from_bias(s, vector, &t);
    t.to = sum;
    t.to_row = (ptrdiff_t)vectors * LANES;
    tile(&t);
    WITH_EPILOGUE(s->epilogue->number, sparse_round, s, sum, t.rows, row, column, vector, vectors);
}
#else
/* The sums so far lie in the result. */
INLINE void sparse_row(const SparseConv *s, const SparseTurn *turn, SparseTile t, int row,
                       int column, int vector, int vectors, SparseTileFn *tile)
{
    const ptrdiff_t at = (ptrdiff_t)column * LANES;
    (void)vectors;
    t.to = map_row(s->y, row) + vector * s->y.block + at;
    t.to_row = LANES;
    t.to_block = s->y.block;
    t.from = t.to;
    t.from_row = LANES;
    t.from_block = s->y.block;
    if (turn->first)
        start_from_bias(s, vector, &t);
    t.epilogue = turn->last ? s->epilogue->number : EPILOGUE_NONE;
    t.beside = beside_at(beside_row(s->epilogue, row), vector, at);
    tile(&t);
}
#endif

/* How many input blocks are multiplied in one turn. */
INLINE int blocks_a_turn(const SparseConv *s)
{
    const int blocks = s->conv->in_blocks;
#ifdef NINC_BF16
    return blocks;
#else
    const int fit = sparse_terms(SPARSE_NEAR, s->run->large) / LANES;
    const int turns = (blocks + fit - 1) / fit;
    return (blocks + turns - 1) / turns;
#endif
}

SHARED void sparse_conv_piece(const SparseConv *s, const SparsePiece *p)
{
    const SparseRun *run = s->run;
    const int inputs = s->conv->in_blocks, blocks = blocks_a_turn(s);
    const int pixels = p->rows * p->columns;
    const int vectors_a_pixel = (blocks + TOGETHER - 1) / TOGETHER;
    const int entries = (pixels * vectors_a_pixel + 1) * LANES;
    _Alignas(64) Word value[entries], dense[blocks * LANES * run->large * LANES / TOGETHER];
    _Alignas(64) int32_t at[entries];
    int begin[pixels + 1];
    for (int b = 0; b < inputs; b += blocks) {
        const int end = smaller(b + blocks, inputs);
        const SparseTurn turn = {b == 0, end == inputs};
        list_channels(s->x, p, b, end, value, at, begin);
        for (int i = 0, v = 0; i < run->larges + run->smalls; i++) {
            const int vectors = i < run->larges ? run->large : run->small;
            gather_weights(s, b, end, v, vectors, dense);
            for (int row = 0; row < p->rows; row++) {
                const int *first = begin + row * p->columns;
                const SparseTile t = {.value = value, .at = at, .begin = first, .end = first + 1,
                                      .rows = p->columns, .dense = dense};
                sparse_row(s, &turn, t, p->row + row, p->column, v, vectors,
                           i < run->larges ? run->large_tile : run->small_tile);
            }
            v += vectors;
        }
    }
}

/* conv_rows of a 1x1 convolution, without the zeros of x. */
SHARED void sparse_conv_rows(const Conv *c, const SparseRun *run, Map x, const Element *filter,
                             const float *bias, const Epilogue *epilogue, Map y, int row0,
                             int row1)
{
    const SparseConv s = {c, run, x, y, filter, bias, epilogue};
    const int terms = blocks_a_turn(&s) * LANES / TOGETHER, width = row_width(&c->tiles);
    const int pixels = smaller(SPARSE_ROWS, SPARSE_ENTRIES / terms);
    const int columns = smaller(width, pixels), rows = pixels / larger(columns, 1);
    if (terms * run->large > SPARSE_MOST || !has_zeros(x, c->in_blocks, width, row0, row1)) {
        conv_rows(c, x, filter, bias, epilogue, y, row0, row1);
        return;
    }
    for (int row = row0; row < row1; row += rows)
        for (int col = 0; col < width; col += columns) {
            const SparsePiece p = {row, smaller(rows, row1 - row), col,
                                   smaller(columns, width - col)};
            sparse_conv_piece(&s, &p);
        }
}

/* ---- weight gradients ---- */

/* Pixels of x and dy one after the other, of up to SPARSE_ROWS entries: where they lie, in
 * elements. */
typedef struct SparsePixels {
    ptrdiff_t x[SPARSE_ROWS * TOGETHER], dy[SPARSE_ROWS * TOGETHER];
    int count;
} SparsePixels;

/* Pixels first to last - 1 of the rows from row0 on. */
INLINE void sparse_pixels(Map x, Map dy, int width, int row0, int first, int last, SparsePixels *p)
{
    int row = row0 + first / width, col = first % width;
    p->count = last - first;
    for (int i = 0; i < p->count; i++) {
        p->x[i] = map_row(x, row) - x.data + col * LANES;
        p->dy[i] = map_row(dy, row) - dy.data + col * LANES;
        if (++col == width) {
            col = 0;
            row++;
        }
    }
}

/* A block's channels of pixel p, or in bf16 of pixels 2p and 2p + 1; 0 past the last one. */
INLINE Words pixel_words(const Element *block, const ptrdiff_t *pixel, int pixels, int p)
{
    Words w = {0};
#ifdef NINC_BF16
    if (2 * p < pixels)
        pack_block(block + pixel[2 * p], 2 * p + 1 < pixels ? block + pixel[2 * p + 1] : NULL,
                   (Word *)&w);
#else
    if (p < pixels)
        w = *(const Words *)(block + pixel[p]);
#endif
    return w;
}

/* The lists of a block's channels over pixels: of channel i from i * pitch on. */
INLINE void list_pixels(const Element *block, const ptrdiff_t *pixel, int pixels, int pitch,
                        Word *value, int32_t *at, int *begin, int *end)
{
    UNROLL for (int i = 0; i < LANES; i++)
        begin[i] = end[i] = i * pitch;
    for (int p = 0; p * TOGETHER < pixels; p += LANES) {
        Vector square[LANES];
        for (int i = 0; i < LANES; i++)
            square[i] = (Vector)pixel_words(block, pixel, pixels, p + i);
        transpose_vectors(square);
        UNROLL for (int i = 0; i < LANES; i++)
            end[i] = append_entries((Words)square[i], p, value, at, end[i]);
    }
}

INLINE void gather_pixels(Map m, const ptrdiff_t *pixel, int pixels, int vector, int vectors,
                          Word *to)
{
    for (int p = 0; p * TOGETHER < pixels; p++)
        for (int v = vector; v < vector + vectors; v++, to += LANES)
            *(Words *)to = pixel_words(m.data + v * m.block, pixel, pixels, p);
}

/* From an input channel of the gradient to the next one, from an input block, from a group. */
INLINE ptrdiff_t wgrad_channel(const Wgrad *g)
{
    return (ptrdiff_t)g->vectors * LANES;
}

INLINE ptrdiff_t wgrad_block(const Wgrad *g)
{
    return LANES * wgrad_channel(g);
}

INLINE ptrdiff_t wgrad_group(const Wgrad *g)
{
    return g->in_blocks * wgrad_block(g);
}

/* wgrad_rows of a 1x1 convolution, without the zeros of x. */
SHARED void sparse_x_wgrad_rows(const Wgrad *g, const SparseRun *s, Map x, Map dy, float *dw,
                                int row0, int row1)
{
    if (!has_zeros(x, g->in_blocks, g->width, row0, row1)) {
        wgrad_rows(g, x, dy, dw, row0, row1);
        return;
    }
    const int pixels = (row1 - row0) * g->width, terms = sparse_terms(SPARSE_NEAR, s->large);
    const int pitch = terms + LANES, fit = terms * TOGETHER;
    SparsePixels p;
    int begin[LANES], end[LANES];
    _Alignas(64) Word value[LANES * pitch], dense[terms * s->large * LANES];
    _Alignas(64) int32_t at[LANES * pitch];
    for (int first = 0; first < pixels; first += fit) {
        sparse_pixels(x, dy, g->width, row0, first, smaller(first + fit, pixels), &p);
        for (int i = 0, v = 0; i < s->larges + s->smalls; i++) {
            const int vectors = i < s->larges ? s->large : s->small;
            gather_pixels(dy, p.dy, p.count, v, vectors, dense);
            for (int b = 0; b < g->in_blocks; b++) {
                list_pixels(x.data + b * x.block, p.x, p.count, pitch, value, at, begin, end);
                float *to = dw + v / g->vectors * wgrad_group(g) + b * wgrad_block(g);
                const SparseTile t = {.value = value, .at = at, .begin = begin, .end = end,
                                      .rows = LANES, .dense = dense, .from = to, .to = to,
                                      .from_row = wgrad_channel(g), .from_block = wgrad_group(g),
                                      .to_row = wgrad_channel(g), .to_block = wgrad_group(g)};
                (i < s->larges ? s->large_tile : s->small_tile)(&t);
            }
            v += vectors;
        }
    }
}

/* Adds `vectors` squares [output][vectors][input] to the gradient of one block of outputs, m, and
 * the input blocks from b on. */
INLINE void add_transposed(const Wgrad *g, const float *from, int m, int b, int vectors, float *dw)
{
    for (int j = 0; j < vectors; j++) {
        Vector square[LANES];
        for (int i = 0; i < LANES; i++)
            square[i] = load(from + (i * vectors + j) * LANES);
        transpose_vectors(square);
        float *to = dw + m / g->vectors * wgrad_group(g) + (b + j) * wgrad_block(g) +
                    m % g->vectors * LANES;
        for (int i = 0; i < LANES; i++)
            store(to + i * wgrad_channel(g), load(to + i * wgrad_channel(g)) + square[i]);
    }
}

/* wgrad_rows of a 1x1 convolution, without the zeros of dy: the transposed gradient of each block
 * of outputs, then transposed. */
SHARED void sparse_dy_wgrad_rows(const Wgrad *g, const SparseRun *s, Map x, Map dy, float *dw,
                                 int row0, int row1)
{
    const int outputs = g->groups * g->vectors;
    if (!has_zeros(dy, outputs, g->width, row0, row1)) {
        wgrad_rows(g, x, dy, dw, row0, row1);
        return;
    }
    const int pixels = (row1 - row0) * g->width, terms = sparse_terms(SPARSE_FAR, s->large);
    const int pitch = terms + LANES, fit = terms * TOGETHER;
    SparsePixels p;
    int begin[LANES], end[LANES];
    _Alignas(64) Word value[LANES * pitch], dense[terms * s->large * LANES];
    _Alignas(64) float sum[LANES * s->large * LANES];
    _Alignas(64) int32_t at[LANES * pitch];
    for (int first = 0; first < pixels; first += fit) {
        sparse_pixels(x, dy, g->width, row0, first, smaller(first + fit, pixels), &p);
        for (int i = 0, b = 0; i < s->larges + s->smalls; i++) {
            const int vectors = i < s->larges ? s->large : s->small;
            const SparseTile t = {.value = value, .at = at, .begin = begin, .end = end,
                                  .rows = LANES, .dense = dense, .from = sparse_zero, .to = sum,
                                  .to_row = vectors * LANES};
            gather_pixels(x, p.x, p.count, b, vectors, dense);
            for (int m = 0; m < outputs; m++) {
                list_pixels(dy.data + m * dy.block, p.dy, p.count, pitch, value, at, begin, end);
                (i < s->larges ? s->large_tile : s->small_tile)(&t);
                add_transposed(g, sum, m, b, vectors, dw);
            }
            b += vectors;
        }
    }
}
#else
/* Named in tables, but never called. */
#define SPARSE_TILE(NAME, VECTORS, INNER) \
    SHARED void NAME(const SparseTile *t) { (void)t; }

INLINE void sparse_conv_rows(const Conv *c, const SparseRun *s, Map x, const Element *filter,
                             const float *bias, const Epilogue *epilogue, Map y, int row0,
                             int row1)
{
    (void)s;
    conv_rows(c, x, filter, bias, epilogue, y, row0, row1);
}

INLINE void sparse_x_wgrad_rows(const Wgrad *g, const SparseRun *s, Map x, Map dy, float *dw,
                                int row0, int row1)
{
    (void)s;
    wgrad_rows(g, x, dy, dw, row0, row1);
}

INLINE void sparse_dy_wgrad_rows(const Wgrad *g, const SparseRun *s, Map x, Map dy, float *dw,
                                 int row0, int row1)
{
    (void)s;
    wgrad_rows(g, x, dy, dw, row0, row1);
}
#endif
