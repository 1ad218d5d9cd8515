/* Convolutions in groups and with dilation, and their gradients: one thread an element of the
 * result, neighbouring threads neighbouring channels, any layout, sums in float. Filters are
 * [O][C / groups][R][S]. */
#ifndef NINC_GROUPED_CUH
#define NINC_GROUPED_CUH

/* G: the window, with its taps DILATION inputs apart; in GROUPS parts of the channels. */
template <class G, int DILATION_H_, int DILATION_W_, int GROUPS_> struct Grouped : G {
    static constexpr int DILATION_H = DILATION_H_, DILATION_W = DILATION_W_, GROUPS = GROUPS_;
};

/* x X, y and dy Y, filter F, bias [K] or NULL */
template <class X, class F, class Y, class G, class Ex, class Ef, class Ey>
NINC_DEVICE void grouped_conv2d(const Ex *x, const Ef *filter, const float *bias, Ey *y)
{
    constexpr int INPUTS = X::C / G::GROUPS, OUTPUTS = Y::C / G::GROUPS;
    Y::each(y, [=](int n, int p, int q, int k) {
        float sum = bias ? bias[k] : 0.0f;
        int first = k / OUTPUTS * INPUTS;
#pragma unroll 1
        for (int r = 0; r < G::R; r++) {
            int h = p * G::STRIDE_H + r * G::DILATION_H - G::PAD_H;
#pragma unroll 1
            for (int s = 0; s < G::S; s++) {
                int w = q * G::STRIDE_W + s * G::DILATION_W - G::PAD_W;
                if (h < 0 || h >= X::H || w < 0 || w >= X::W)
                    continue;
                for (int c = 0; c < INPUTS; c++)
                    sum += X::read(x, n, h, w, first + c) * F::read(filter, k, c, r, s);
            }
        }
        return sum;
    });
}

template <class X, class F, class Y, class G, class Ey, class Ef, class Ex>
NINC_DEVICE void grouped_conv2d_dgrad(const Ey *dy, const Ef *filter, Ex *dx)
{
    constexpr int INPUTS = X::C / G::GROUPS, OUTPUTS = Y::C / G::GROUPS;
    X::each(dx, [=](int n, int h, int w, int c) {
        float sum = 0.0f;
        int first = c / INPUTS * OUTPUTS;
#pragma unroll 1
        for (int r = 0; r < G::R; r++) {
            int p = window_at<G::STRIDE_H, G::PAD_H, Y::H>(h, r * G::DILATION_H);
#pragma unroll 1
            for (int s = 0; s < G::S; s++) {
                int q = window_at<G::STRIDE_W, G::PAD_W, Y::W>(w, s * G::DILATION_W);
                if (p < 0 || q < 0)
                    continue;
                for (int k = 0; k < OUTPUTS; k++)
                    sum += Y::read(dy, n, p, q, first + k) *
                           F::read(filter, first + k, c % INPUTS, r, s);
            }
        }
        return sum;
    });
}

template <class X, class F, class Y, class G, class Ex, class Ey>
NINC_DEVICE void grouped_conv2d_wgrad(const Ex *x, const Ey *dy, float *dfilter)
{
    constexpr int INPUTS = X::C / G::GROUPS, OUTPUTS = Y::C / G::GROUPS;
    F::each(dfilter, [=](int k, int i, int r, int s) {
        int c = k / OUTPUTS * INPUTS + i;
        return sum_over_pixels<Y>([&](int n, int p, int q) {
            int h = p * G::STRIDE_H + r * G::DILATION_H - G::PAD_H;
            int w = q * G::STRIDE_W + s * G::DILATION_W - G::PAD_W;
            bool inside = h >= 0 && h < X::H && w >= 0 && w < X::W;
            return inside ? X::read(x, n, h, w, c) * Y::read(dy, n, p, q, k) : 0.0f;
        });
    });
}

#endif
