/* Dropout, in rows and in plain loops: what is kept follows from seed, step, layer and the place in
 * the batch, by Philox4x32-10 (Salmon et al. 2011). The four words of a counter are of four pixels
 * of a row, a lane each channel, so that a vector of channels needs no other order. */

typedef uint64_t Wide __attribute__((vector_size(VECTOR_BYTES)));

enum { DROPOUT_TAG = 0x64726f70, DROPOUT_ROUNDS = 10 };

/* What is dropped: where a value's word is below the threshold. The rest is scaled. */
typedef struct Dropout {
    uint32_t threshold, layer, seed, step;
    float scale;
} Dropout;

/* The even lanes times m, in 64 bits. */
INLINE Wide multiply_even(Words a, uint32_t m)
{
#if defined(__AVX512F__)
    return (Wide)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi32((int)m));
#elif defined(__AVX2__)
    return (Wide)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int)m));
#elif defined(__SSE2__)
    return (Wide)_mm_mul_epu32((__m128i)a, _mm_set1_epi32((int)m));
#else
    return ((Wide)a & 0xFFFFFFFF) * m;
#endif
}

/* The high halves of a times m; *low: the low ones. */
INLINE Words multiply_high(Words a, uint32_t m, Words *low)
{
    const Wide even = multiply_even(a, m), odd = multiply_even((Words)((Wide)a >> 32), m);
    *low = a * m;
    return (Words)(even >> 32 | (odd & 0xFFFFFFFF00000000));
}

/* The words of pixels 4 * quad to 4 * quad + 3, of the channels from `channel` on. */
INLINE void dropout_words(const Dropout *d, uint32_t quad, uint32_t channel, Words c[4])
{
    uint32_t key0 = d->seed, key1 = d->layer;
    c[0] = (Words){0} + quad;
    for (int i = 0; i < LANES_A_PART; i++)
        c[1][i] = channel + (uint32_t)i;
    c[2] = (Words){0} + d->step;
    c[3] = (Words){0} + (uint32_t)DROPOUT_TAG;
    UNROLL
    for (int round = 0; round < DROPOUT_ROUNDS; round++) {
        Words low0, low2;
        const Words high0 = multiply_high(c[0], 0xD2511F53, &low0);
        const Words high2 = multiply_high(c[2], 0xCD9E8D57, &low2);
        c[0] = high2 ^ c[1] ^ key0;
        c[1] = low2;
        c[2] = high0 ^ c[3] ^ key1;
        c[3] = low0;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

INLINE uint32_t quad_of(ptrdiff_t row, int column, int width)
{
    return (uint32_t)row * (uint32_t)((width + 3) / 4) + (uint32_t)column / 4;
}

/* One value; `row`: of all rows of the batch. */
INLINE float dropped(const Dropout d, float x, ptrdiff_t row, int column, int channel, int width)
{
    Words words[4];
    dropout_words(&d, quad_of(row, column, width), (uint32_t)channel, words);
    return words[column % 4][0] >= d.threshold ? x * d.scale : 0;
}

INLINE void dropout_of(const int EPILOGUE, const Dropout *d, ptrdiff_t first, Map x, int blocks,
                       int width, const Epilogue *epilogue, Map y, int row0, int row1)
{
    for (int b = 0; b < blocks; b++)
        for (int row = row0; row < row1; row++) {
            const Element *in = map_row(x, row) + b * x.block;
            const Place to = place_of(epilogue, y, row, b);
            for (int part = 0; part < LANES; part += LANES_A_PART)
                for (int w = 0; w < width; w += 4) {
                    Words words[4];
                    dropout_words(d, quad_of(first + row, w, width), (uint32_t)(b * LANES + part),
                                  words);
                    for (int i = 0; i < 4 && w + i < width; i++) {
                        const ptrdiff_t at = (w + i) * LANES + part;
                        const Vector v = load_map(in + at) * d->scale;
                        store_at(EPILOGUE, &to, at,
                                 keep_where((Mask)(words[i] >= d->threshold), v));
                    }
                }
        }
}

/* `first`: the number of the image's first row among all of the batch. */
SHARED void dropout_rows(const Dropout *d, ptrdiff_t first, Map x, int blocks, int width,
                         const Epilogue *epilogue, Map y, int row0, int row1)
{
    WITH_ROWS(dropout_of, d, first, x, blocks, width);
}
