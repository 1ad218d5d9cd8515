/* Local response normalization, x s^-beta, s = k + scale * sum of x^2 over neighbouring channels,
 * and its gradient: a pixel at a time, whose squares lie side by side, channel by channel, so that
 * a window's sum is of vectors that begin at any channel. Zeros lie before and behind. */

enum {
    LRN_BLOCKS = 512 / LANES,             /* of a pixel at a time */
    LRN_NEAR = 2048 / LANES,              /* the most before and behind them */
    LRN_SQUARES = LRN_BLOCKS + 4 * LRN_NEAR,
    LRN_TERMS = LRN_BLOCKS + 2 * LRN_NEAR
};

/* A window: of `before` channels before and `after` behind each. */
typedef struct Lrn {
    int before, after;
    float scale, beta, k;
} Lrn;

typedef float AnyVector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

/* Of positive normal numbers: v = m 2^n, m from 0.7 to 1.4. */
INLINE Vector log_vector(Vector v)
{
    const Mask bits = (Mask)v - 0x3F3504F3, n = bits >> 23;
    const Vector m = (Vector)((bits & 0x7FFFFF) + 0x3F3504F3);
    const Vector whole = __builtin_convertvector(n, Vector);
    return whole * 0.693359375f + (log1p_vector(m - 1) - whole * 2.12194440e-4f);
}

/* s^-beta; the usual beta takes two roots. */
INLINE Vector lrn_power(const Lrn *l, Vector s)
{
    if (l->beta == 0.75f) {
        const Vector inverse = 1 / root_vector(s);
        return inverse * root_vector(inverse);
    }
    return SELECT(s == s, exp_vector(-l->beta * log_vector(s)), s);
}

/* Blocks that so many channels reach into. */
INLINE int blocks_of(int channels)
{
    return (channels + LANES - 1) / LANES;
}

INLINE Vector window_sum(const float *at, int before, int after)
{
    Vector sum = (Vector)*(const AnyVector *)(at - before);
    for (int i = 1 - before; i <= after; i++)
        sum += (Vector)*(const AnyVector *)(at + i);
    return sum;
}

/* s of the vector whose squares begin there. */
INLINE Vector lrn_scale(const Lrn *l, const float *squares)
{
    return l->k + l->scale * window_sum(squares, l->before, l->after);
}

/* A pixel's squares from block `first` on, of `blocks` that there are. */
INLINE void lrn_squares(const Element *x, ptrdiff_t block, int blocks, int first, int count,
                        float *squares)
{
    for (int b = 0; b < count; b++)
        for (int j = 0; j < LANES; j += LANES_A_PART) {
            const int of = first + b;
            Vector v = {0};
            if (of >= 0 && of < blocks)
                v = load_map(x + of * block + j);
            store(squares + b * LANES + j, v * v);
        }
}

INLINE void lrn_of(const int EPILOGUE, const Lrn *l, Map x, int blocks, int width,
                   const Epilogue *epilogue, Map y, int row0, int row1)
{
    const int before = blocks_of(l->before), near = before + blocks_of(l->after);
    _Alignas(64) float squares[LRN_TERMS * LANES];
    for (int row = row0; row < row1; row++)
        for (int b0 = 0; b0 < blocks; b0 += LRN_BLOCKS)
            for (int w = 0; w < width; w++) {
                const Element *in = map_row(x, row) + w * LANES;
                const int count = smaller(blocks - b0, LRN_BLOCKS);
                lrn_squares(in, x.block, blocks, b0 - before, count + near, squares);
                for (int b = 0; b < count; b++) {
                    const Place to = place_of(epilogue, y, row, b0 + b);
                    const float *own = squares + (before + b) * LANES;
                    for (int j = 0; j < LANES; j += LANES_A_PART) {
                        const Vector v = load_map(in + (b0 + b) * x.block + j);
                        store_at(EPILOGUE, &to, w * LANES + j,
                                 v * lrn_power(l, lrn_scale(l, own + j)));
                    }
                }
            }
}

SHARED void lrn_rows(const Lrn *l, Map x, int blocks, int width, const Epilogue *epilogue, Map y,
                     int row0, int row1)
{
    WITH_ROWS(lrn_of, l, x, blocks, width);
}

/* Of a pixel's blocks from `first` on dy s^-beta, and the terms dy x s^(-beta - 1) of the sums;
 * `squares`: of the first of them. */
INLINE void lrn_terms(const Lrn *l, const Element *dy, ptrdiff_t dy_block, const Element *x,
                      ptrdiff_t x_block, int blocks, int first, int count, const float *squares,
                      float *direct, float *terms)
{
    for (int b = 0; b < count; b++)
        for (int j = 0; j < LANES; j += LANES_A_PART) {
            const int of = first + b;
            Vector own = {0}, term = {0};
            if (of >= 0 && of < blocks) {
                const Vector s = lrn_scale(l, squares + b * LANES + j);
                own = load_map(dy + of * dy_block + j) * lrn_power(l, s);
                term = own * load_map(x + of * x_block + j) / s;
            }
            store(direct + b * LANES + j, own);
            store(terms + b * LANES + j, term);
        }
}

INLINE void lrn_grad_of(const int EPILOGUE, const Lrn *l, Map dy, Map x, int blocks, int width,
                        const Epilogue *epilogue, Map y, int row0, int row1)
{
    const int before = blocks_of(l->before), after = blocks_of(l->after), near = before + after;
    const float slope = 2 * l->scale * l->beta;
    _Alignas(64) float squares[LRN_SQUARES * LANES], direct[LRN_TERMS * LANES],
        terms[LRN_TERMS * LANES];
    for (int row = row0; row < row1; row++)
        for (int b0 = 0; b0 < blocks; b0 += LRN_BLOCKS)
            for (int w = 0; w < width; w++) {
                const Element *px = map_row(x, row) + w * LANES;
                const Element *py = map_row(dy, row) + w * LANES;
                const int count = smaller(blocks - b0, LRN_BLOCKS);
                lrn_squares(px, x.block, blocks, b0 - near, count + 2 * near, squares);
                lrn_terms(l, py, dy.block, px, x.block, blocks, b0 - after, count + near,
                          squares + before * LANES, direct, terms);
                for (int b = 0; b < count; b++) {
                    const Place to = place_of(epilogue, y, row, b0 + b);
                    for (int j = 0; j < LANES; j += LANES_A_PART) {
                        const ptrdiff_t at = (after + b) * LANES + j;
                        const Vector v = load_map(px + (b0 + b) * x.block + j);
                        const Vector sum = window_sum(terms + at, l->after, l->before);
                        store_at(EPILOGUE, &to, w * LANES + j,
                                 load(direct + at) - slope * v * sum);
                    }
                }
            }
}

SHARED void lrn_grad_rows(const Lrn *l, Map dy, Map x, int blocks, int width,
                          const Epilogue *epilogue, Map y, int row0, int row1)
{
    WITH_ROWS(lrn_grad_of, l, dy, x, blocks, width);
}
