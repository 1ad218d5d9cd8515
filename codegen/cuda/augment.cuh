/* Augmentation of u8 images, in whole numbers: what ir/op/augment.c defines. A chain of ops is a
 * type, each op's of the one before it; a pixel is pulled through all of them, so that no image is
 * stored between two. What an image's ops draw lies in shared memory, four numbers an op: each
 * block works on one image, or a part of one. */
#ifndef NINC_AUGMENT_CUH
#define NINC_AUGMENT_CUH

/* ---- what is drawn ---- */

/* What the trainer gives, of one image. */
struct Drawn {
    u32 seed, epoch, index;
};

struct AugmentWords {
    u32 word0, word1, word2, word3;
};

/* Philox4x32-10 (Salmon et al. 2011) of op number `draw`. */
NINC_DEVICE AugmentWords augment_words(Drawn d, u32 draw, u32 block)
{
    constexpr u32 TAG = 0x6175676d;
    u32 c0 = d.index, c1 = d.epoch, c2 = block, c3 = TAG, key0 = d.seed, key1 = draw;
#pragma unroll 1
    for (int round = 0; round < 10; round++) {
        const u64 a = (u64)0xD2511F53 * c0, b = (u64)0xCD9E8D57 * c2;
        c0 = (u32)(b >> 32) ^ c1 ^ key0;
        c1 = (u32)b;
        c2 = (u32)(a >> 32) ^ c3 ^ key1;
        c3 = (u32)a;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    return {c0, c1, c2, c3};
}

/* From 0 to n - 1. */
NINC_DEVICE i64 among(u32 word, i64 n) { return (i64)((u64)word * (u64)n >> 32); }

static constexpr int AUGMENT_ATTEMPTS = 10, AUGMENT_SLOTS = 4, AUGMENT_ALL_SLOTS = 32;

/* The images of the batch, as they come. */
template <int H_, int W_, int C_> struct Pixels {
    static constexpr int H = H_, W = W_, C = C_, BYTES = H * W * C, OPS = 0;
    const u8 *image;

    NINC_MEMBER Pixels(const u8 *own, const i32 *) : image(own) {}
    NINC_MEMBER int at(int y, int x, int c) const { return image[(y * W + x) * C + c]; }
    static NINC_MEMBER void draw(i32 *, Drawn) {}
    static NINC_MEMBER void means(const u8 *, i32 *, u32 *) {}
};

/* What all ops have: the one before, the numbers of their own. Before: its type; DRAW: its number
 * among those of the model. */
template <class Before, int DRAW> struct Augmentation {
    static constexpr int H = Before::H, W = Before::W, C = Before::C, BYTES = Before::BYTES;
    static constexpr int OPS = Before::OPS + 1;
    Before before;
    const i32 *own;

    NINC_MEMBER Augmentation(const u8 *image, const i32 *drawn)
        : before(image, drawn), own(drawn + Before::OPS * AUGMENT_SLOTS)
    {
    }

    /* Each op is drawn by a warp of its own. */
    static NINC_MEMBER bool draws() { return threadIdx.x == Before::OPS % (BLOCK / 32) * 32; }
    static NINC_MEMBER i32 *slots(i32 *drawn) { return drawn + Before::OPS * AUGMENT_SLOTS; }
    static NINC_MEMBER AugmentWords words(Drawn d, u32 block)
    {
        return augment_words(d, DRAW, block);
    }
    static NINC_MEMBER void means(const u8 *image, i32 *drawn, u32 *sums)
    {
        Before::means(image, drawn, sums);
    }
};

/* ---- crop, flip ---- */

template <class Before, int DRAW, int PADDING>
struct CropImage : Augmentation<Before, DRAW> {
    typedef Augmentation<Before, DRAW> Base;
    using Base::Base;

    static NINC_MEMBER void draw(i32 *drawn, Drawn d)
    {
        Before::draw(drawn, d);
        if (!Base::draws())
            return;
        AugmentWords w = Base::words(d, 0);
        Base::slots(drawn)[0] = (i32)among(w.word0, 2 * PADDING + 1) - PADDING;
        Base::slots(drawn)[1] = (i32)among(w.word1, 2 * PADDING + 1) - PADDING;
    }

    NINC_MEMBER int at(int y, int x, int c) const
    {
        int from_y = y + this->own[0], from_x = x + this->own[1];
        bool inside = from_y >= 0 && from_y < Base::H && from_x >= 0 && from_x < Base::W;
        return inside ? this->before.at(from_y, from_x, c) : 0;
    }
};

template <class Before, int DRAW, int P> struct FlipImage : Augmentation<Before, DRAW> {
    typedef Augmentation<Before, DRAW> Base;
    using Base::Base;

    static NINC_MEMBER void draw(i32 *drawn, Drawn d)
    {
        Before::draw(drawn, d);
        if (Base::draws())
            Base::slots(drawn)[0] = (i32)(Base::words(d, 0).word0 >> 8) < P;
    }

    NINC_MEMBER int at(int y, int x, int c) const
    {
        return this->before.at(y, this->own[0] ? Base::W - 1 - x : x, c);
    }
};

/* ---- rotation ---- */

/* Q30: 1 - square / (k (k + 1)) (1 - square / ((k + 2) (k + 3)) (...)) */
NINC_DEVICE i64 turn_series(i64 square, int k)
{
    i64 sum = (i64)1 << 30;
#pragma unroll 1
    for (int n = k + 8; n >= k; n -= 2)
        sum = ((i64)1 << 30) - (square * sum >> 30) / (n * (n + 1));
    return sum;
}

/* MOST: the largest angle in turns Q32. */
template <class Before, int DRAW, i64 MOST> struct RotateImage : Augmentation<Before, DRAW> {
    typedef Augmentation<Before, DRAW> Base;
    using Base::Base;

    /* Sine and cosine, Q24. */
    static NINC_MEMBER void draw(i32 *drawn, Drawn d)
    {
        Before::draw(drawn, d);
        if (!Base::draws())
            return;
        i64 turns = among(Base::words(d, 0).word0, 2 * MOST + 1) - MOST;
        i64 quarters = (turns + ((i64)1 << 29)) >> 30, rest = turns - quarters * ((i64)1 << 30);
        i64 angle = (rest < 0 ? -rest : rest) * 1686629713 >> 30, square = angle * angle >> 30;
        i32 s = (i32)(((angle * turn_series(square, 2) >> 30) + 32) >> 6);
        i32 c = (i32)((turn_series(square, 1) + 32) >> 6), sign = quarters & 2 ? -1 : 1;
        s = rest < 0 ? -s : s;
        Base::slots(drawn)[0] = sign * (quarters & 1 ? c : s);
        Base::slots(drawn)[1] = sign * (quarters & 1 ? -s : c);
    }

    NINC_MEMBER int at(int y, int x, int c) const
    {
        i64 sine = this->own[0], cosine = this->own[1];
        i64 right = 2 * x - (Base::W - 1), below = 2 * y - (Base::H - 1);
        i64 across = cosine * right - sine * below + ((i64)Base::W << 24);
        i64 down = sine * right + cosine * below + ((i64)Base::H << 24);
        int from_x = (int)(across >> 25), from_y = (int)(down >> 25);
        bool inside = from_y >= 0 && from_y < Base::H && from_x >= 0 && from_x < Base::W;
        return inside ? this->before.at(from_y, from_x, c) : 0;
    }
};

/* ---- parts of an image ---- */

NINC_DEVICE i64 whole_root(u64 x)
{
    u64 root = 0;
#pragma unroll 1
    for (u64 bit = (u64)1 << 31; bit; bit >>= 1)
        root += (root + bit) * (root + bit) <= x ? bit : 0;
    return (i64)root;
}

/* 2^x, both Q26. */
NINC_DEVICE i64 power_of_two(i64 x)
{
    i64 whole = x >> 26, sum = (i64)1 << 30;
    i64 y = ((x - whole * ((i64)1 << 26)) << 4) * 744261118 >> 30;
#pragma unroll 1
    for (int n = 9; n > 0; n--)
        sum = ((i64)1 << 30) + (y * sum >> 30) / n;
    return sum >> (4 - whole);
}

/* Sides of a part of the image: of `first` by `second` the ratio that is drawn. AREA and RATIO,
 * from the least on. */
template <int H, int W, i64 AREA, i64 AREAS, i64 RATIO, i64 RATIOS> struct Sides {
    i64 first, second;

    NINC_MEMBER explicit Sides(AugmentWords w)
    {
        i64 half = RATIO + among(w.word1, RATIOS), rounding = (i64)1 << 40;
        i64 root = whole_root((u64)H * W * (u64)(AREA + among(w.word0, AREAS)));
        first = (root * power_of_two(half) + rounding) >> 41;
        second = (root * power_of_two(-half) + rounding) >> 41;
    }
};

/* Top, left, height and width of a part. */
NINC_DEVICE void place_part(i32 *slot, AugmentWords w, int image_h, int image_w, i64 part_h,
                            i64 part_w)
{
    slot[0] = (i32)among(w.word2, image_h - part_h + 1);
    slot[1] = (i32)among(w.word3, image_w - part_w + 1);
    slot[2] = (i32)part_h;
    slot[3] = (i32)part_w;
}

template <class Before, int DRAW, int P, i64 AREA, i64 AREAS, i64 RATIO, i64 RATIOS>
struct EraseImage : Augmentation<Before, DRAW> {
    typedef Augmentation<Before, DRAW> Base;
    using Base::Base;

    static NINC_MEMBER void draw(i32 *drawn, Drawn d)
    {
        Before::draw(drawn, d);
        if (!Base::draws())
            return;
        i32 *slot = Base::slots(drawn);
        bool erases = (i32)(Base::words(d, 0).word0 >> 8) < P;
        slot[0] = slot[1] = slot[2] = slot[3] = 0;
#pragma unroll 1
        for (int attempt = 1; erases && attempt <= AUGMENT_ATTEMPTS; attempt++) {
            AugmentWords w = Base::words(d, attempt);
            Sides<Base::H, Base::W, AREA, AREAS, RATIO, RATIOS> s(w);
            if (s.first >= Base::H || s.second >= Base::W)
                continue;
            place_part(slot, w, Base::H, Base::W, s.first, s.second);
            return;
        }
    }

    NINC_MEMBER int at(int y, int x, int c) const
    {
        u32 down = (u32)(y - this->own[0]), across = (u32)(x - this->own[1]);
        bool erased = down < (u32)this->own[2] && across < (u32)this->own[3];
        return erased ? 0 : this->before.at(y, x, c);
    }
};

/* Where a position on an axis is between those of a part: 4096ths of the way from `low`. */
struct Between {
    int low, high, way;

    NINC_MEMBER Between(int position, int size, int out)
    {
        int place = (2 * position + 1) * size - out, from = place < 0 ? 0 : place;
        low = from / (2 * out);
        way = (from % (2 * out) * 4096 + out) / (2 * out);
        high = low < size - 1 ? low + 1 : low;
    }
};

/* PART_H x PART_W where nothing that was drawn fits. */
template <class Before, int DRAW, i64 AREA, i64 AREAS, i64 RATIO, i64 RATIOS, int PART_H,
          int PART_W>
struct EnlargeImage : Augmentation<Before, DRAW> {
    typedef Augmentation<Before, DRAW> Base;
    using Base::Base;

    static NINC_MEMBER void draw(i32 *drawn, Drawn d)
    {
        Before::draw(drawn, d);
        if (!Base::draws())
            return;
        i32 *slot = Base::slots(drawn);
#pragma unroll 1
        for (int attempt = 1; attempt <= AUGMENT_ATTEMPTS; attempt++) {
            AugmentWords w = Base::words(d, attempt);
            Sides<Base::H, Base::W, AREA, AREAS, RATIO, RATIOS> s(w);
            if (s.first < 1 || s.first > Base::W || s.second < 1 || s.second > Base::H)
                continue;
            place_part(slot, w, Base::H, Base::W, s.second, s.first);
            return;
        }
        slot[0] = (Base::H - PART_H) / 2, slot[1] = (Base::W - PART_W) / 2;
        slot[2] = PART_H, slot[3] = PART_W;
    }

    NINC_MEMBER int at(int y, int x, int c) const
    {
        Between row(y, this->own[2], Base::H), column(x, this->own[3], Base::W);
        u32 sum = 1u << 23;
#pragma unroll 1
        for (int tap = 0; tap < 4; tap++) {
            bool low = tap & 2, right = tap & 1;
            u32 weight = (u32)(low ? row.way : 4096 - row.way) *
                         (u32)(right ? column.way : 4096 - column.way);
            sum += weight * (u32)this->before.at(this->own[0] + (low ? row.high : row.low),
                                                 this->own[1] + (right ? column.high : column.low),
                                                 c);
        }
        return (int)(sum >> 24);
    }
};

/* ---- colours ---- */

NINC_DEVICE int byte_of(int x) { return x < 0 ? 0 : x > 255 ? 255 : x; }

/* Of a channel in the gray picture, in 65536ths. */
NINC_DEVICE int gray_weight(int c) { return c == 0 ? 19589 : c == 1 ? 38470 : 7471; }

/* Factors, from the least on: of brightness B, contrast K, saturation S. */
template <class Before, int DRAW, int B, int BS, int K, int KS, int S, int SS>
struct JitterImage : Augmentation<Before, DRAW> {
    typedef Augmentation<Before, DRAW> Base;
    using Base::Base;
    static constexpr int ONE = 1 << 16;
    static constexpr bool MEAN = K != ONE || KS != 1, COLOURS = S != ONE || SS != 1;

    /* The three factors; what contrast adds. */
    static NINC_MEMBER void draw(i32 *drawn, Drawn d)
    {
        Before::draw(drawn, d);
        if (!Base::draws())
            return;
        AugmentWords w = Base::words(d, 0);
        i32 *slot = Base::slots(drawn);
        slot[0] = B + (i32)among(w.word0, BS);
        slot[1] = K + (i32)among(w.word1, KS);
        slot[2] = S + (i32)among(w.word2, SS);
        slot[3] = 0;
    }

    NINC_MEMBER int bright(int y, int x, int c) const
    {
        return byte_of(this->before.at(y, x, c) * this->own[0] >> 16);
    }

    NINC_MEMBER int bright_gray(int y, int x) const
    {
        if (Base::C != 3)
            return bright(y, x, 0);
        int sum = 0;
#pragma unroll 1
        for (int c = 0; c < 3; c++)
            sum += gray_weight(c) * bright(y, x, c);
        return sum >> 16;
    }

    /* The mean of the gray picture, by all threads of the block. */
    static NINC_MEMBER void means(const u8 *image, i32 *drawn, u32 *sums)
    {
        constexpr int PIXELS = Base::H * Base::W, LAST = 32;
        Before::means(image, drawn, sums);
        if (!MEAN)
            return;
        JitterImage self(image, drawn);
        u32 sum = 0;
        for (int i = threadIdx.x; i < PIXELS; i += BLOCK)
            sum += (u32)self.bright_gray(i / Base::W, i % Base::W);
        sums[threadIdx.x] = sum;
        __syncthreads();
        for (int half = BLOCK / 2; half >= LAST; half /= 2) {
            if ((int)threadIdx.x < half)
                sums[threadIdx.x] += sums[threadIdx.x + half];
            __syncthreads();
        }
        if (threadIdx.x == 0) {
            u64 all = 0;
            for (int i = 0; i < LAST; i++)
                all += sums[i];
            i64 mean = (i64)((all * 256 + PIXELS / 2) / PIXELS);
            i32 *slot = Base::slots(drawn);
            slot[3] = (i32)((ONE - slot[1]) * mean >> 8);
        }
        __syncthreads();
    }

    NINC_MEMBER int contrast(int y, int x, int c) const
    {
        return byte_of((this->own[1] * bright(y, x, c) + this->own[3]) >> 16);
    }

    NINC_MEMBER int at(int y, int x, int c) const
    {
        if (!COLOURS || Base::C != 3)
            return contrast(y, x, c);
        int sum = 0, value = 0;
#pragma unroll 1
        for (int i = 0; i < 3; i++) {
            int v = contrast(y, x, i);
            sum += gray_weight(i) * v;
            value = i == c ? v : value;
        }
        return byte_of((this->own[2] * value + (ONE - this->own[2]) * (sum >> 16)) >> 16);
    }
};

/* ---- kernels: gridDim.x / N blocks an image share its elements ---- */

/* Calls element(n, chain, at) for each `at` < ELEMENTS of each image, chain being its pixels. */
template <class Chain, int N, int ELEMENTS, class Element>
NINC_DEVICE void each_augmented(const u8 *image, const i32 *seed, const i32 *epoch,
                                const i32 *index, const Element &element)
{
    static_assert(Chain::OPS * AUGMENT_SLOTS <= AUGMENT_ALL_SLOTS, "room for what is drawn");
    static_assert(NINC_AUGMENT_SHARED == (AUGMENT_ALL_SLOTS + BLOCK) * 4, "shared memory");
    DYNAMIC_SHARED(shared);
    i32 *drawn = (i32 *)shared;
    u32 *sums = (u32 *)shared + AUGMENT_ALL_SLOTS;
    const int parts = (int)gridDim.x / N, n = (int)blockIdx.x / parts;
    if (n >= N)
        return;
    const u8 *own = image + (i64)n * Chain::BYTES;
    Chain::draw(drawn, Drawn{(u32)*seed, (u32)*epoch, (u32)index[n]});
    __syncthreads();
    Chain::means(own, drawn, sums);
    const Chain chain(own, drawn);
    for (int at = (int)blockIdx.x % parts * BLOCK + (int)threadIdx.x; at < ELEMENTS;
         at += parts * BLOCK)
        element(n, chain, at);
}

template <class Chain, int N>
NINC_DEVICE void augment_image(const u8 *image, const i32 *seed, const i32 *epoch,
                               const i32 *index, u8 *to)
{
    constexpr int W = Chain::W, C = Chain::C;
    each_augmented<Chain, N, Chain::BYTES>(
        image, seed, epoch, index, [=](int n, const Chain &chain, int at) {
            to[(i64)n * Chain::BYTES + at] = (u8)chain.at(at / C / W, at / C % W, at % C);
        });
}

/* y of Y = image * scale + shift, as normalize_image. */
template <class Chain, class Y, class Pixel, class Element>
NINC_DEVICE void normalize_augmented(const u8 *image, const i32 *seed, const i32 *epoch,
                                     const i32 *index, Element *y)
{
    constexpr int ELEMENTS = Y::H * Y::W * Y::CP;
    each_augmented<Chain, Y::N, ELEMENTS>(
        image, seed, epoch, index, [=](int n, const Chain &chain, int at) {
            int c = at % Y::CP, w = at / Y::CP % Y::W, h = at / Y::CP / Y::W;
            float value = 0.0f;
            if (c < Y::C)
                value = (float)chain.at(h, w, c) * Pixel::scale(c) + Pixel::shift(c);
            put(y + (i64)n * ELEMENTS + at, value);
        });
}

/* The same, interpolated, as resize_image. */
template <class Chain, class Y, class Pixel, class Element>
NINC_DEVICE void resize_augmented(const u8 *image, const i32 *seed, const i32 *epoch,
                                  const i32 *index, Element *y)
{
    constexpr int ELEMENTS = Y::H * Y::W * Y::CP;
    each_augmented<Chain, Y::N, ELEMENTS>(
        image, seed, epoch, index, [=](int n, const Chain &chain, int at) {
            int c = at % Y::CP, w = at / Y::CP % Y::W, h = at / Y::CP / Y::W;
            float value = 0.0f;
            if (c < Y::C) {
                Bilinear<Chain::H, Y::H> down(h);
                Bilinear<Chain::W, Y::W> across(w);
                float corner[4];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    corner[i] = (float)chain.at(i & 2 ? down.high : down.low,
                                                i & 1 ? across.high : across.low, c);
                value = down.mix(across.mix(corner[0], corner[1]),
                                 across.mix(corner[2], corner[3]));
                value = value * Pixel::scale(c) + Pixel::shift(c);
            }
            put(y + (i64)n * ELEMENTS + at, value);
        });
}

#endif
