/* Pools, forward and backward, over maps whose channels are rounded up to 8. A block is 256
 * threads; a thread makes one octet (8 channels of a pixel) of the result: blocks, in x, are
 * NINC_TILES(octets, 256). Offsets are counted in octets, of which the largest map has fewer than
 * 2^31. Lanes past the channels in use are written as zeros, whatever the operands hold there. */
#ifndef NINC_POOL_CUH
#define NINC_POOL_CUH

/* Windows along one axis: OUT of them over IN positions. A window is clipped to the map; the last
 * one may reach past the padding (ceil_mode). */
template <int IN, int OUT, int KERNEL, int STRIDE, int PAD> struct Axis {
    /* Whether no window reaches over an end of the map, or past the padding. */
    static constexpr bool INSIDE = PAD == 0 && (OUT - 1) * STRIDE + KERNEL <= IN;
    static constexpr bool WHOLE = (OUT - 1) * STRIDE + KERNEL <= IN + 2 * PAD;
    /* Of the windows that cover a position, at most COVER, a stride apart, OUT may be fewer. */
    static constexpr int COVER = (KERNEL + STRIDE - 1) / STRIDE;
    static constexpr int CANDIDATES = COVER < OUT ? COVER : OUT;

    static NINC_MEMBER int start(int window) { return window * STRIDE - PAD; }
    static NINC_MEMBER bool has(int position) { return INSIDE || (u32)position < (u32)IN; }

    /* Taps of a window that lie on the padded map: what an average divides by. */
    static NINC_MEMBER int extent(int window)
    {
        int left = IN + PAD - start(window);
        return WHOLE || left > KERNEL ? KERNEL : left;
    }

    /* The windows that cover a position are among first_candidate .. + CANDIDATES - 1. */
    static NINC_MEMBER int first_candidate(int position)
    {
        return COVER < OUT ? (position + PAD) / STRIDE - (COVER - 1) : 0;
    }

    static NINC_MEMBER bool covers(int window, int tap)
    {
        return (u32)window < (u32)OUT && (u32)tap < (u32)KERNEL;
    }
};

/* The thread's octet of a map [N][H][W][CP]. */
template <int N, int H, int W, int CP> struct Octet {
    static constexpr int PER_PIXEL = CP / 8;
    int number, n, h, w, channel;

    /* Whether there is one for this thread. */
    NINC_MEMBER bool find()
    {
        u32 thread = blockIdx.x * 256 + threadIdx.x, pixel = thread / PER_PIXEL;
        number = (int)thread;
        channel = (int)(thread % PER_PIXEL) * 8;
        w = (int)(pixel % W), h = (int)(pixel / W % H), n = (int)(pixel / (W * H));
        return thread < (u32)N * H * W * PER_PIXEL;
    }

    NINC_MEMBER i64 offset() const { return (i64)number * 8; }
};

/* x [N][H][W][CP] -> y [N][P][Q][CP] by windows of R x S; C of CP channels are used. */
template <int N_, int H_, int W_, int C_, int CP_, int R_, int S_, int P_, int Q_, int STRIDE_H,
          int STRIDE_W, int PAD_H, int PAD_W>
struct Pool {
    static constexpr int N = N_, H = H_, W = W_, C = C_, CP = CP_, R = R_, S = S_, P = P_, Q = Q_;
    typedef Axis<H, P, R, STRIDE_H, PAD_H> Rows;
    typedef Axis<W, Q, S, STRIDE_W, PAD_W> Columns;
    typedef Octet<N, H, W, CP> Input;
    typedef Octet<N, P, Q, CP> Output;
    static_assert(CP % 8 == 0 && C <= CP, "channels are rounded up to 8");
};

/* How often a loop of `steps` is unrolled whose window has `taps`: small windows fully, of larger
 * ones `part` steps. */
static __device__ constexpr int unrolled(int steps, int taps, int part)
{
    return taps <= 16 || steps < part ? steps : part;
}

/* ---- forward ---- */

/* Calls fold.take(values, tap) for each tap of the window of y's octet `at`, in order; taps that do
 * not lie on the map have Fold::OUTSIDE (a float's bits), which makes no difference to the fold. No
 * branches, so that the loads of all taps of a small window are under way at once. */
template <class P, class Element, class Fold>
NINC_DEVICE void fold_window(const Element *x, const typename P::Output &at, Fold &fold)
{
    constexpr int TAPS = P::R * P::S;
    int top = P::Rows::start(at.h), left = P::Columns::start(at.w);
    int corner = ((at.n * P::H + top) * P::W + left) * (P::CP / 8) + at.channel / 8;
    const Element *from = x + (i64)corner * 8;
#pragma unroll(unrolled(P::R, TAPS, 1))
    for (int r = 0; r < P::R; r++)
#pragma unroll(unrolled(P::S, TAPS, 4))
        for (int s = 0; s < P::S; s++) {
            float v[8];
            fill_octet(v, float_of_bits(Fold::OUTSIDE));
            if (P::Rows::has(top + r) && P::Columns::has(left + s))
                load_row(v, from + (i64)(r * P::W + s) * P::CP);
            fold.take(v, r * P::S + s);
        }
}

/* The first of the largest values and its tap; the first NaN is larger than all. */
struct Maximum {
    static constexpr u32 OUTSIDE = 0xff800000; /* -infinity */
    float best[8];
    int tap[8];

    NINC_MEMBER void begin(int first_tap)
    {
#pragma unroll
        for (int e = 0; e < 8; e++)
            best[e] = float_of_bits(OUTSIDE), tap[e] = first_tap;
    }

    NINC_MEMBER void take(const float (&v)[8], int t)
    {
#pragma unroll
        for (int e = 0; e < 8; e++)
            if (!(v[e] <= best[e]) && best[e] == best[e])
                best[e] = v[e], tap[e] = t;
    }
};

struct Total {
    static constexpr u32 OUTSIDE = 0;
    float sum[8];

    NINC_MEMBER void take(const float (&v)[8], int)
    {
#pragma unroll
        for (int e = 0; e < 8; e++)
            sum[e] += v[e];
    }
};

/* The taps of an octet's maxima. NIBBLE: [pixel][ceil(C / 2)] bytes, the even channel low, for
 * windows of at most 16 taps; else [pixel][CP] bytes. */
template <class P, bool NIBBLE> struct Codes {
    static constexpr int BITS = NIBBLE ? 4 : 8, ROW = NIBBLE ? (P::C + 1) / 2 : P::CP;
    static_assert(P::R * P::S <= 1 << BITS, "a code fits its bits");
    u32 word[2]; /* a nibble's codes: the first one only */

    NINC_MEMBER void set(const int (&tap)[8], int channel)
    {
        word[0] = word[1] = 0;
#pragma unroll
        for (int e = 0; e < 8; e++)
            if (P::C == P::CP || channel + e < P::C)
                word[e * BITS / 32] |= (u32)tap[e] << e * BITS % 32;
    }

    NINC_MEMBER bool is(int e, int tap) const
    {
        u32 everywhere = (u32)tap * (NIBBLE ? 0x11111111 : 0x01010101);
        return ((word[e * BITS / 32] ^ everywhere) & ((1u << BITS) - 1) << e * BITS % 32) == 0;
    }

    NINC_MEMBER void load(const u8 *code, int pixel, int channel)
    {
        const u8 *from = code + ((i64)pixel * ROW + channel * BITS / 8);
        if (!NIBBLE) {
            uint2 words = *(const uint2 *)from;
            word[0] = words.x, word[1] = words.y;
        } else if (ROW % 4 == 0) {
            word[0] = *(const u32 *)from;
        } else {
            word[0] = 0;
#pragma unroll
            for (int b = 0; b < 4; b++)
                if (channel / 2 + b < ROW)
                    word[0] |= (u32)from[b] << 8 * b;
        }
    }

    NINC_MEMBER void store(u8 *code, int pixel, int channel) const
    {
        u8 *to = code + ((i64)pixel * ROW + channel * BITS / 8);
        if (!NIBBLE) {
            uint2 words = {word[0], word[1]};
            *(uint2 *)to = words;
        } else if (ROW % 4 == 0) {
            *(u32 *)to = word[0];
        } else {
#pragma unroll
            for (int b = 0; b < 4; b++)
                if (channel / 2 + b < ROW)
                    to[b] = (u8)(word[0] >> 8 * b);
        }
    }
};

/* y: the maximum of each window, then the chain; code: its tap r * S + s; either may be NULL. */
template <class P, class Element, bool NIBBLE, class Chain>
NINC_DEVICE void maxpool_fprop(const Element *x, Element *y, u8 *code, const Chain &chain)
{
    typename P::Output at;
    if (!at.find())
        return;
    int top = P::Rows::start(at.h), left = P::Columns::start(at.w);
    Maximum maximum;
    maximum.begin((top < 0 ? -top * P::S : 0) + (left < 0 ? -left : 0));
    fold_window<P>(x, at, maximum);
    if (y)
        store_octet<P::C, P::CP>(y, chain, at.offset(), at.channel, maximum.best);
    if (code) {
        Codes<P, NIBBLE> codes;
        codes.set(maximum.tap, at.channel);
        codes.store(code, at.number / P::Output::PER_PIXEL, at.channel);
    }
}

/* y: the mean of each window, then the chain; padding counts as zeros, what lies past it does not
 * count. y may be of another type than x. */
template <class P, class Element, class Result, class Chain>
NINC_DEVICE void avgpool_fprop(const Element *x, Result *y, const Chain &chain)
{
    typename P::Output at;
    if (!at.find())
        return;
    Total total;
    fill_octet(total.sum, 0.0f);
    fold_window<P>(x, at, total);
    float divisor = (float)(P::Rows::extent(at.h) * P::Columns::extent(at.w));
#pragma unroll
    for (int e = 0; e < 8; e++)
        total.sum[e] /= divisor;
    store_octet<P::C, P::CP>(y, chain, at.offset(), at.channel, total.sum);
}

/* ---- backward ---- */

/* Calls gather.add(p, q, tap, valid) for the windows that may cover the pixel of x's octet `at`, in
 * order; valid: tap `tap` of window (p, q) is the pixel. No branches here either. */
template <class P, class Gather>
NINC_DEVICE void gather_windows(const typename P::Input &at, Gather &gather)
{
    typedef typename P::Rows Rows;
    typedef typename P::Columns Columns;
    constexpr int WINDOWS = Rows::CANDIDATES * Columns::CANDIDATES;
    int first_p = Rows::first_candidate(at.h), first_q = Columns::first_candidate(at.w);
#pragma unroll(unrolled(Rows::CANDIDATES, WINDOWS, 1))
    for (int i = 0; i < Rows::CANDIDATES; i++)
#pragma unroll(unrolled(Columns::CANDIDATES, WINDOWS, 4))
        for (int j = 0; j < Columns::CANDIDATES; j++) {
            int p = first_p + i, q = first_q + j;
            int r = at.h - Rows::start(p), s = at.w - Columns::start(q);
            gather.add(p, q, r * P::S + s, Rows::covers(p, r) && Columns::covers(q, s));
        }
}

/* dy of the windows whose maximum the pixel is. */
template <class P, class Element, bool NIBBLE> struct MaximumGradient {
    const Element *dy;
    const u8 *code;
    int n, channel;
    float sum[8];

    NINC_MEMBER void add(int p, int q, int tap, bool valid)
    {
        int pixel = (n * P::P + p) * P::Q + q;
        Codes<P, NIBBLE> codes;
        float v[8];
        codes.word[0] = codes.word[1] = 0;
        fill_octet(v, 0.0f);
        if (valid) {
            codes.load(code, pixel, channel);
            load_row(v, dy + ((i64)pixel * P::CP + channel));
        }
#pragma unroll
        for (int e = 0; e < 8; e++)
            if (codes.is(e, tap))
                sum[e] += v[e];
    }
};

/* The pixel's share of dy of the windows that it is in. */
template <class P, class Element> struct AverageGradient {
    const Element *dy;
    int n, channel;
    float sum[8];

    NINC_MEMBER void add(int p, int q, int, bool valid)
    {
        int pixel = (n * P::P + p) * P::Q + q;
        float share = 1.0f / (float)(P::Rows::extent(p) * P::Columns::extent(q)), v[8];
        fill_octet(v, 0.0f);
        if (valid)
            load_row(v, dy + ((i64)pixel * P::CP + channel));
#pragma unroll
        for (int e = 0; e < 8; e++)
            sum[e] += valid ? share * v[e] : 0.0f;
    }
};

/* dx [N][H][W][CP] from dy [N][P][Q][CP] and the codes that maxpool_fprop made, then the chain. */
template <class P, class Element, bool NIBBLE, class Chain>
NINC_DEVICE void maxpool_backward(const Element *dy, const u8 *code, Element *dx,
                                  const Chain &chain)
{
    typename P::Input at;
    if (!at.find())
        return;
    MaximumGradient<P, Element, NIBBLE> gradient = {dy, code, at.n, at.channel};
    fill_octet(gradient.sum, 0.0f);
    gather_windows<P>(at, gradient);
    store_octet<P::C, P::CP>(dx, chain, at.offset(), at.channel, gradient.sum);
}

template <class P, class Element, class Chain>
NINC_DEVICE void avgpool_backward(const Element *dy, Element *dx, const Chain &chain)
{
    typename P::Input at;
    if (!at.find())
        return;
    AverageGradient<P, Element> gradient = {dy, at.n, at.channel};
    fill_octet(gradient.sum, 0.0f);
    gather_windows<P>(at, gradient);
    store_octet<P::C, P::CP>(dx, chain, at.offset(), at.channel, gradient.sum);
}

/* The mean over a map: x [N][H][W][CP], dy [N][CPDY]. */
template <int N, int H, int W_, int C_, int CP_, int CPDY_> struct Gap {
    static constexpr int PIXELS = H * W_, C = C_, CP = CP_, CPDY = CPDY_;
    typedef Octet<N, H, W_, CP> Input;
    static_assert(CP % 8 == 0 && C <= CP && C <= CPDY, "channels are rounded up to 8");
};

/* dx = dy / (H W), then the chain. dy may be of another type than the map. */
template <class G, class Element, class Gradient, class Chain>
NINC_DEVICE void gap_backward(const Gradient *dy, Element *dx, const Chain &chain)
{
    typename G::Input at;
    if (!at.find())
        return;
    const Gradient *row = dy + ((i64)at.n * G::CPDY + at.channel);
    float v[8];
    if (G::CPDY % 8 == 0) {
        load_row(v, row);
    } else {
#pragma unroll
        for (int e = 0; e < 8; e++)
            v[e] = at.channel + e < G::C ? to_float(row[e]) : 0.0f;
    }
#pragma unroll
    for (int e = 0; e < 8; e++)
        v[e] /= (float)G::PIXELS;
    store_octet<G::C, G::CP>(dx, chain, at.offset(), at.channel, v);
}

#endif
