/* Local response normalization over maps whose channels are rounded up to 8: x s^-beta,
 * s = k + scale * sum of x^2 over BEFORE channels before and AFTER behind each. A thread makes an
 * octet, as in pools, and reads its neighbours, which other threads have in the cache. */
#ifndef NINC_LRN_CUH
#define NINC_LRN_CUH

/* x [N][H][W][CP]; C of CP channels are used. */
template <int N_, int H_, int W_, int C_, int CP_, int BEFORE_, int AFTER_> struct Lrn {
    static constexpr int C = C_, CP = CP_, BEFORE = BEFORE_, AFTER = AFTER_;
    /* Windows of a few channels are unrolled, so that each channel is read once. */
    static constexpr int UNROLL = BEFORE + AFTER <= 8 ? 8 + BEFORE + AFTER : 1;
    static constexpr int WINDOW_UNROLL = BEFORE + AFTER <= 8 ? 1 + BEFORE + AFTER : 1;
    typedef Octet<N_, H_, W_, CP_> At;
    static_assert(CP % 8 == 0 && C <= CP, "channels are rounded up to 8");

    /* 0 where there is no such channel. */
    template <class Element> static NINC_MEMBER float read(const Element *pixel, int channel)
    {
        return (u32)channel < (u32)C ? to_float(pixel[channel]) : 0.0f;
    }
};

struct LrnSettings {
    float scale, beta, k;

    /* s^-beta; the usual beta takes two roots. */
    NINC_MEMBER float power(float s) const
    {
        if (beta != 0.75f)
            return powf(s, -beta);
        float inverse = 1.0f / sqrtf(s);
        return inverse * sqrtf(inverse);
    }
};

/* s of a channel of a pixel. */
template <class L, class Element>
NINC_DEVICE float lrn_scale(const Element *pixel, int channel, const LrnSettings &set)
{
    float sum = 0.0f;
#pragma unroll(L::WINDOW_UNROLL)
    for (int i = -L::BEFORE; i <= L::AFTER; i++) {
        float v = L::read(pixel, channel + i);
        sum += v * v;
    }
    return set.k + set.scale * sum;
}

/* y = x s^-beta, then the chain. */
template <class L, class Element, class Chain>
NINC_DEVICE void lrn_fprop(const Element *x, const LrnSettings &set, Element *y,
                           const Chain &chain)
{
    typename L::At at;
    if (!at.find())
        return;
    const Element *pixel = x + (at.offset() - at.channel);
    float v[8];
    load_row(v, x + at.offset());
#pragma unroll(L::UNROLL > 1 ? 8 : 1)
    for (int e = 0; e < 8; e++)
        v[e] *= set.power(lrn_scale<L>(pixel, at.channel + e, set));
    store_octet<L::C, L::CP>(y, chain, at.offset(), at.channel, v);
}

/* dx = dy s^-beta - 2 scale beta x * sum of dy x s^(-beta - 1) over the channels whose windows hold
 * it, then the chain. */
template <class L, class Element, class Chain>
NINC_DEVICE void lrn_backward(const Element *dy, const Element *x, const LrnSettings &set,
                              Element *dx, const Chain &chain)
{
    typename L::At at;
    if (!at.find())
        return;
    const Element *pixel = x + (at.offset() - at.channel), *up = dy + (at.offset() - at.channel);
    float direct[8], sum[8], v[8];
    fill_octet(direct, 0.0f), fill_octet(sum, 0.0f);
    load_row(v, x + at.offset());
#pragma unroll(L::UNROLL)
    for (int j = -L::AFTER; j < 8 + L::BEFORE; j++) {
        float s = lrn_scale<L>(pixel, at.channel + j, set);
        float own = L::read(up, at.channel + j) * set.power(s);
        float term = own * L::read(pixel, at.channel + j) / s;
#pragma unroll
        for (int e = 0; e < 8; e++) {
            direct[e] = j == e ? own : direct[e];
            sum[e] += e - L::AFTER <= j && j <= e + L::BEFORE ? term : 0.0f;
        }
    }
#pragma unroll
    for (int e = 0; e < 8; e++)
        v[e] = direct[e] - 2.0f * set.scale * set.beta * v[e] * sum[e];
    store_octet<L::C, L::CP>(dx, chain, at.offset(), at.channel, v);
}

#endif
