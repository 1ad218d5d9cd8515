/* Augmentation of u8 images [h][w][c], one at a time, in whole numbers: what ir/op/augment.c
 * defines. */
#ifndef NINC_AUGMENT_H
#define NINC_AUGMENT_H

enum { AUGMENT_TAG = 0x6175676d, AUGMENT_ROUNDS = 10, AUGMENT_ATTEMPTS = 10 };

/* An op and its constants (AugmentConstants of ir/op.h). */
typedef struct Augment {
    int h, w, c;
    uint32_t draw;
    int64_t k[6];
} Augment;

/* What the trainer gives, of one image. */
typedef struct Drawn {
    uint32_t seed, epoch, index;
} Drawn;

typedef struct AugmentWords {
    uint32_t word[4];
} AugmentWords;

/* Philox4x32-10 (Salmon et al. 2011). */
INLINE AugmentWords augment_words(const Augment *a, Drawn d, uint32_t block)
{
    uint32_t c0 = d.index, c1 = d.epoch, c2 = block, c3 = AUGMENT_TAG;
    uint32_t key0 = d.seed, key1 = a->draw;
    for (int round = 0; round < AUGMENT_ROUNDS; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53 * c0, p1 = (uint64_t)0xCD9E8D57 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ key0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ key1;
        c3 = (uint32_t)p0;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    return (AugmentWords){{c0, c1, c2, c3}};
}

/* From 0 to n - 1. */
INLINE int64_t among(uint32_t word, int64_t n)
{
    return (int64_t)((uint64_t)word * (uint64_t)n >> 32);
}

/* ---- crop, flip ---- */

SHARED void crop_image(const Augment *a, Drawn d, const uint8_t *in, uint8_t *out)
{
    const AugmentWords draw = augment_words(a, d, 0);
    const int down = (int)(among(draw.word[0], 2 * a->k[0] + 1) - a->k[0]);
    const int across = (int)(among(draw.word[1], 2 * a->k[0] + 1) - a->k[0]);
    const size_t row = (size_t)a->w * a->c;
    const size_t before = (size_t)(across < 0 ? -across : 0) * a->c;
    const size_t behind = (size_t)(across > 0 ? across : 0) * a->c;
    const size_t kept = row - before - behind;
    for (int y = 0; y < a->h; y++, out += row) {
        if (y + down < 0 || y + down >= a->h) {
            memset(out, 0, row);
            continue;
        }
        memset(out, 0, before);
        memcpy(out + before, in + (size_t)(y + down) * row + behind, kept);
        memset(out + before + kept, 0, behind);
    }
}

INLINE void flip_row(const uint8_t *in, uint8_t *out, int width, const int C)
{
    for (int x = 0; x < width; x++)
        for (int c = 0; c < C; c++)
            out[x * C + c] = in[(width - 1 - x) * C + c];
}

SHARED void flip_image(const Augment *a, Drawn d, const uint8_t *in, uint8_t *out)
{
    const AugmentWords draw = augment_words(a, d, 0);
    const size_t row = (size_t)a->w * a->c;
    if ((int64_t)(draw.word[0] >> 8) >= a->k[0]) {
        memcpy(out, in, row * a->h);
        return;
    }
    for (int y = 0; y < a->h; y++, in += row, out += row) {
        if (a->c == 1)
            flip_row(in, out, a->w, 1);
        else if (a->c == 3)
            flip_row(in, out, a->w, 3);
        else
            flip_row(in, out, a->w, a->c);
    }
}

/* ---- rotation ---- */

/* Q30: 1 - square / (k (k + 1)) (1 - square / ((k + 2) (k + 3)) (...)) */
INLINE int64_t turn_series(int64_t square, const int K)
{
    const int64_t one = (int64_t)1 << 30;
    int64_t sum = one;
    UNROLL for (int n = K + 8; n >= K; n -= 2)
        sum = one - (square * sum >> 30) / (n * (n + 1));
    return sum;
}

/* Q24, of turns Q32. */
INLINE void sine_cosine(int64_t turns, int64_t *sine, int64_t *cosine)
{
    const int64_t quarters = (turns + ((int64_t)1 << 29)) >> 30;
    const int64_t rest = turns - quarters * ((int64_t)1 << 30), size = rest < 0 ? -rest : rest;
    const int64_t angle = size * 1686629713 >> 30, square = angle * angle >> 30;
    const int64_t near = ((angle * turn_series(square, 2) >> 30) + 32) >> 6;
    const int64_t s = rest < 0 ? -near : near, c = (turn_series(square, 1) + 32) >> 6;
    const int64_t sign = quarters & 2 ? -1 : 1;
    *sine = sign * (quarters & 1 ? c : s);
    *cosine = sign * (quarters & 1 ? -s : c);
}

SHARED void rotate_image(const Augment *a, Drawn d, const uint8_t *in, uint8_t *out)
{
    const AugmentWords draw = augment_words(a, d, 0);
    int64_t sine, cosine;
    sine_cosine(among(draw.word[0], 2 * a->k[0] + 1) - a->k[0], &sine, &cosine);
    for (int y = 0; y < a->h; y++) {
        const int64_t below = 2 * y - (a->h - 1), left = 1 - a->w;
        int64_t across = cosine * left - sine * below + (int64_t)a->w * (1 << 24);
        int64_t down = sine * left + cosine * below + (int64_t)a->h * (1 << 24);
        for (int x = 0; x < a->w; x++, across += 2 * cosine, down += 2 * sine) {
            const int64_t from_x = across >> 25, from_y = down >> 25;
            const int inside = from_x >= 0 && from_x < a->w && from_y >= 0 && from_y < a->h;
            const uint8_t *from = in + (inside ? (from_y * a->w + from_x) * a->c : 0);
            for (int c = 0; c < a->c; c++)
                *out++ = inside ? from[c] : 0;
        }
    }
}

/* ---- parts of an image ---- */

INLINE int64_t whole_root(uint64_t x)
{
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 31; bit; bit >>= 1)
        root += (root + bit) * (root + bit) <= x ? bit : 0;
    return (int64_t)root;
}

/* 2^x, both Q26. */
INLINE int64_t power_of_two(int64_t x)
{
    const int64_t whole = x >> 26, one = (int64_t)1 << 30;
    const int64_t y = ((x - whole * ((int64_t)1 << 26)) << 4) * 744261118 >> 30;
    int64_t sum = one;
    UNROLL for (int n = 9; n > 0; n--)
        sum = one + (y * sum >> 30) / n;
    return sum >> (4 - whole);
}

typedef struct Part {
    int top, left, h, w;
} Part;

/* Sides of a part of the image: of *first by *second the ratio that is drawn. k: area, ratio. */
INLINE void draw_sides(const Augment *a, const int64_t *k, AugmentWords draw, int64_t *first,
                       int64_t *second)
{
    const int64_t area = k[0] + among(draw.word[0], k[1]);
    const int64_t half = k[2] + among(draw.word[1], k[3]), rounding = (int64_t)1 << 40;
    const int64_t root = whole_root((uint64_t)a->h * (uint64_t)a->w * (uint64_t)area);
    *first = (root * power_of_two(half) + rounding) >> 41;
    *second = (root * power_of_two(-half) + rounding) >> 41;
}

INLINE Part place_part(const Augment *a, AugmentWords draw, int64_t h, int64_t w)
{
    return (Part){(int)among(draw.word[2], a->h - h + 1), (int)among(draw.word[3], a->w - w + 1),
                  (int)h, (int)w};
}

/* An empty one where nothing is erased. */
INLINE Part erased_part(const Augment *a, Drawn d)
{
    if ((int64_t)(augment_words(a, d, 0).word[0] >> 8) >= a->k[0])
        return (Part){0, 0, 0, 0};
    for (uint32_t attempt = 1; attempt <= AUGMENT_ATTEMPTS; attempt++) {
        const AugmentWords draw = augment_words(a, d, attempt);
        int64_t h, w;
        draw_sides(a, a->k + 1, draw, &h, &w);
        if (h < a->h && w < a->w)
            return place_part(a, draw, h, w);
    }
    return (Part){0, 0, 0, 0};
}

SHARED void erase_image(const Augment *a, Drawn d, const uint8_t *in, uint8_t *out)
{
    const Part part = erased_part(a, d);
    const size_t row = (size_t)a->w * a->c;
    memcpy(out, in, row * a->h);
    for (int y = part.top; y < part.top + part.h; y++)
        memset(out + y * row + (size_t)part.left * a->c, 0, (size_t)part.w * a->c);
}

INLINE Part cropped_part(const Augment *a, Drawn d)
{
    for (uint32_t attempt = 1; attempt <= AUGMENT_ATTEMPTS; attempt++) {
        const AugmentWords draw = augment_words(a, d, attempt);
        int64_t h, w;
        draw_sides(a, a->k, draw, &w, &h);
        if (w >= 1 && w <= a->w && h >= 1 && h <= a->h)
            return place_part(a, draw, h, w);
    }
    return (Part){(int)(a->h - a->k[4]) / 2, (int)(a->w - a->k[5]) / 2, (int)a->k[4],
                  (int)a->k[5]};
}

/* Where a position on an axis is between those of a part: 4096ths of the way from `low`. */
typedef struct Between {
    int low, high, way;
} Between;

INLINE Between between(int at, int size, int out)
{
    const int place = (2 * at + 1) * size - out, from = place < 0 ? 0 : place;
    const int low = from / (2 * out), way = (from % (2 * out) * 4096 + out) / (2 * out);
    return (Between){low, low < size - 1 ? low + 1 : low, way};
}

/* `columns` of a row of the enlarged part. */
INLINE void blend_columns(const uint8_t *above, const uint8_t *below, unsigned down,
                          const Between *column, int columns, uint8_t *out, const int C)
{
    for (int x = 0; x < columns; x++) {
        const unsigned way = (unsigned)column[x].way, rest = 4096 - way;
        const int low = column[x].low * C, high = column[x].high * C;
        for (int c = 0; c < C; c++) {
            const unsigned up = above[low + c] * rest + above[high + c] * way;
            const unsigned under = below[low + c] * rest + below[high + c] * way;
            out[x * C + c] = (uint8_t)((up * (4096 - down) + under * down + (1u << 23)) >> 24);
        }
    }
}

SHARED void enlarge_image(const Augment *a, Drawn d, const uint8_t *in, uint8_t *out)
{
    enum { COLUMNS = 256 };
    const Part part = cropped_part(a, d);
    const size_t row = (size_t)a->w * a->c;
    Between column[COLUMNS];
    in += part.top * row + (size_t)part.left * a->c;
    for (int x = 0; x < a->w; x += COLUMNS) {
        const int columns = a->w - x < COLUMNS ? a->w - x : COLUMNS;
        for (int i = 0; i < columns; i++)
            column[i] = between(x + i, part.w, a->w);
        for (int y = 0; y < a->h; y++) {
            const Between line = between(y, part.h, a->h);
            const uint8_t *above = in + line.low * row, *below = in + line.high * row;
            uint8_t *to = out + y * row + (size_t)x * a->c;
            if (a->c == 1)
                blend_columns(above, below, (unsigned)line.way, column, columns, to, 1);
            else
                blend_columns(above, below, (unsigned)line.way, column, columns, to, a->c);
        }
    }
}

/* ---- colours ---- */

INLINE int byte_of(int x)
{
    return x < 0 ? 0 : x > 255 ? 255 : x;
}

INLINE int gray_of(const int *v, int channels)
{
    return channels == 3 ? (19589 * v[0] + 38470 * v[1] + 7471 * v[2]) >> 16 : v[0];
}

/* Q8, of the image in its new brightness. */
INLINE int mean_gray(const Augment *a, const uint8_t *in, int brightness)
{
    const int64_t pixels = (int64_t)a->h * a->w;
    int64_t sum = 0;
    for (int64_t i = 0; i < pixels; i++, in += a->c) {
        int v[3];
        for (int c = 0; c < 3; c++)
            v[c] = byte_of(in[a->c == 3 ? c : 0] * brightness >> 16);
        sum += gray_of(v, a->c);
    }
    return (int)((sum * 256 + pixels / 2) / pixels);
}

SHARED void jitter_image(const Augment *a, Drawn d, const uint8_t *in, uint8_t *out)
{
    enum { ONE = 1 << 16, MOST_CHANNELS = 16 };
    const AugmentWords draw = augment_words(a, d, 0);
    const int64_t pixels = (int64_t)a->h * a->w;
    int factor[3];
    for (int i = 0; i < 3; i++)
        factor[i] = (int)(a->k[2 * i] + among(draw.word[i], a->k[2 * i + 1]));
    const int mean = factor[1] == ONE ? 0 : mean_gray(a, in, factor[0]);
    const int base = (int)((int64_t)(ONE - factor[1]) * mean >> 8);
    for (int64_t i = 0; i < pixels; i++, in += a->c, out += a->c) {
        int v[MOST_CHANNELS];
        for (int c = 0; c < a->c; c++)
            v[c] = byte_of((factor[1] * byte_of(in[c] * factor[0] >> 16) + base) >> 16);
        const int gray = gray_of(v, a->c);
        for (int c = 0; c < a->c; c++)
            out[c] = (uint8_t)byte_of((factor[2] * v[c] + (ONE - factor[2]) * gray) >> 16);
    }
}

#endif
