/* Every op in plain loops, straight from its definition: one thread an element of the result, any
 * layout, sums in float. Sums over pixels go by rows and images, which keeps them short. */
#ifndef NINC_GENERIC_CUH
#define NINC_GENERIC_CUH

template <int R_, int S_, int STRIDE_H_, int STRIDE_W_, int PAD_H_, int PAD_W_> struct Window {
    static constexpr int R = R_, S = S_, STRIDE_H = STRIDE_H_, STRIDE_W = STRIDE_W_,
                         PAD_H = PAD_H_, PAD_W = PAD_W_;
};

/* The output position whose window has input position `at` at tap k, on one axis; -1: none. */
template <int STRIDE, int PAD, int OUTPUTS> NINC_DEVICE int window_at(int at, int k)
{
    int shifted = at + PAD - k;
    return shifted < 0 || shifted % STRIDE || shifted / STRIDE >= OUTPUTS ? -1 : shifted / STRIDE;
}

/* Calls tap(r, s, h, w) for each tap of output pixel p, q that lies on an H x W map. */
template <class G, int H, int W, class Tap> NINC_DEVICE void each_tap(int p, int q, const Tap &tap)
{
#pragma unroll 1
    for (int r = 0; r < G::R; r++) {
        int h = p * G::STRIDE_H + r - G::PAD_H;
#pragma unroll 1
        for (int s = 0; s < G::S; s++) {
            int w = q * G::STRIDE_W + s - G::PAD_W;
            if (h >= 0 && h < H && w >= 0 && w < W)
                tap(r, s, h, w);
        }
    }
}

/* Calls window(r, s, p, q) for each window, of P x Q, that has input pixel h, w at its tap r, s. */
template <class G, int P, int Q, class Each>
NINC_DEVICE void each_window(int h, int w, const Each &window)
{
#pragma unroll 1
    for (int r = 0; r < G::R; r++) {
        int p = window_at<G::STRIDE_H, G::PAD_H, P>(h, r);
#pragma unroll 1
        for (int s = 0; s < G::S; s++) {
            int q = window_at<G::STRIDE_W, G::PAD_W, Q>(w, s);
            if (p >= 0 && q >= 0)
                window(r, s, p, q);
        }
    }
}

/* The sum of term(n, h, w) over the pixels of the first `images` of M, by rows and images. */
template <class M, class Term> NINC_DEVICE float sum_over_images(int images, const Term &term)
{
    float total = 0.0f;
#pragma unroll 1
    for (int n = 0; n < images; n++) {
        float image = 0.0f;
#pragma unroll 1
        for (int h = 0; h < M::H; h++) {
            float row = 0.0f;
#pragma unroll 1
            for (int w = 0; w < M::W; w++)
                row += term(n, h, w);
            image += row;
        }
        total += image;
    }
    return total;
}

template <class M, class Term> NINC_DEVICE float sum_over_pixels(const Term &term)
{
    return sum_over_images<M>(M::N, term);
}

/* ---- convolutions: x X, y and dy Y, filter F; G: the window ---- */

/* bias [K] or NULL */
template <class X, class F, class Y, class G, class Ex, class Ef, class Ey>
NINC_DEVICE void generic_conv2d(const Ex *x, const Ef *filter, const float *bias, Ey *y)
{
    Y::each(y, [=](int n, int p, int q, int k) {
        float sum = bias ? bias[k] : 0.0f;
        each_tap<G, X::H, X::W>(p, q, [&](int r, int s, int h, int w) {
            for (int c = 0; c < X::C; c++)
                sum += X::read(x, n, h, w, c) * F::read(filter, k, c, r, s);
        });
        return sum;
    });
}

template <class X, class F, class Y, class G, class Ey, class Ef, class Ex>
NINC_DEVICE void generic_conv2d_dgrad(const Ey *dy, const Ef *filter, Ex *dx)
{
    X::each(dx, [=](int n, int h, int w, int c) {
        float sum = 0.0f;
        each_window<G, Y::H, Y::W>(h, w, [&](int r, int s, int p, int q) {
            for (int k = 0; k < Y::C; k++)
                sum += Y::read(dy, n, p, q, k) * F::read(filter, k, c, r, s);
        });
        return sum;
    });
}

template <class X, class F, class Y, class G, class Ex, class Ey>
NINC_DEVICE void generic_conv2d_wgrad(const Ex *x, const Ey *dy, float *dfilter)
{
    F::each(dfilter, [=](int k, int c, int r, int s) {
        return sum_over_pixels<Y>([&](int n, int p, int q) {
            int h = p * G::STRIDE_H + r - G::PAD_H, w = q * G::STRIDE_W + s - G::PAD_W;
            bool inside = h >= 0 && h < X::H && w >= 0 && w < X::W;
            return inside ? X::read(x, n, h, w, c) * Y::read(dy, n, p, q, k) : 0.0f;
        });
    });
}

/* B: [K] as a map of one image. */
template <class Y, class B, class Element>
NINC_DEVICE void generic_bias_grad(const Element *dy, float *dbias)
{
    B::each(dbias, [=](int, int, int, int k) {
        return sum_over_pixels<Y>([&](int n, int h, int w) { return Y::read(dy, n, h, w, k); });
    });
}

template <class F, class T, class From, class To>
NINC_DEVICE void generic_filter_transpose(const From *from, To *to)
{
    T::each(to, [=](int o, int i, int r, int s) {
        return Transposed<F>::read(from, o, i, r, s);
    });
}

/* ---- batch norm: x and dy X and Y, C: [C] as a map of one image ---- */

template <class X, class C, class Element>
NINC_DEVICE void generic_batch_mean(const Element *x, const i32 *valid, float *mean)
{
    C::each(mean, [=](int, int, int, int c) {
        float sum = sum_over_images<X>(*valid, [&](int n, int h, int w) {
            return X::read(x, n, h, w, c);
        });
        return sum / ((float)*valid * (X::H * X::W));
    });
}

template <class X, class C, class Element>
NINC_DEVICE void generic_batch_var(const Element *x, const float *mean, const i32 *valid,
                                   float *var)
{
    C::each(var, [=](int, int, int, int c) {
        float sum = sum_over_images<X>(*valid, [&](int n, int h, int w) {
            float d = X::read(x, n, h, w, c) - mean[c];
            return d * d;
        });
        return sum / ((float)*valid * (X::H * X::W));
    });
}

template <class X, class C, class Element>
NINC_DEVICE void generic_batch_sum(const Element *dy, float *dbias)
{
    C::each(dbias, [=](int, int, int, int c) {
        return sum_over_pixels<X>([&](int n, int h, int w) {
            return X::read(dy, n, h, w, c);
        });
    });
}

template <class Y, class X, class C, class Element>
NINC_DEVICE void generic_batch_dot(const Element *dy, const Element *x, const float *mean,
                                   const float *var, float eps, float *dweight)
{
    C::each(dweight, [=](int, int, int, int c) {
        float sum = sum_over_pixels<X>([&](int n, int h, int w) {
            return Y::read(dy, n, h, w, c) * (X::read(x, n, h, w, c) - mean[c]);
        });
        return sum / sqrtf(var[c] + eps);
    });
}

/* weight, bias: [C], or both NULL */
template <class X, class To, class Element>
NINC_DEVICE void generic_batch_norm(const Element *x, const float *mean, const float *var,
                                    const float *weight, const float *bias, float eps, Element *y)
{
    To::each(y, [=](int n, int h, int w, int c) {
        float xhat = (X::read(x, n, h, w, c) - mean[c]) / sqrtf(var[c] + eps);
        return weight ? xhat * weight[c] + bias[c] : xhat;
    });
}

/* weight: [C] or NULL; rows from *valid on have the gradient 0 */
template <class Y, class X, class To, class Element>
NINC_DEVICE void generic_batch_norm_grad(const Element *dy, const Element *x, const float *mean,
                                         const float *var, const float *dbias,
                                         const float *dweight, const i32 *valid,
                                         const float *weight, float eps, Element *dx)
{
    To::each(dx, [=](int n, int h, int w, int c) {
        float inverse = 1.0f / sqrtf(var[c] + eps), count = (float)*valid * (X::H * X::W);
        float scale = weight ? weight[c] * inverse : inverse;
        float xhat = (X::read(x, n, h, w, c) - mean[c]) * inverse;
        float change = (dbias[c] + xhat * dweight[c]) / count;
        return n < *valid ? scale * (Y::read(dy, n, h, w, c) - change) : 0.0f;
    });
}

/* ---- pools ---- */

/* The maximum of a window and its tap r * S + s: the first that nothing before it exceeds; the
 * first NaN, where there is one. */
struct WindowMaximum {
    float value;
    int code;
};

template <class X, class G, class Element>
NINC_DEVICE WindowMaximum window_maximum(const Element *x, int n, int p, int q, int c)
{
    WindowMaximum best = {0.0f, -1};
    each_tap<G, X::H, X::W>(p, q, [&](int r, int s, int h, int w) {
        float v = X::read(x, n, h, w, c);
        if (best.code < 0 || v > best.value || (v != v && best.value == best.value))
            best = {v, r * G::S + s};
    });
    return best;
}

template <class X, class Y, class G, class Element>
NINC_DEVICE void generic_maxpool(const Element *x, Element *y)
{
    Y::each(y, [=](int n, int p, int q, int c) {
        return window_maximum<X, G>(x, n, p, q, c).value;
    });
}

template <class X, class Y, class G, class Element>
NINC_DEVICE void generic_maxpool_code(const Element *x, u8 *code)
{
    Y::each(code, [=](int n, int p, int q, int c) {
        return window_maximum<X, G>(x, n, p, q, c).code;
    });
}

/* Code: how the codes lie, of the same shape as Y. */
template <class X, class Y, class Code, class G, class Ey, class Ex>
NINC_DEVICE void generic_maxpool_grad(const Ey *dy, const u8 *code, Ex *dx)
{
    X::each(dx, [=](int n, int h, int w, int c) {
        float sum = 0.0f;
        each_window<G, Y::H, Y::W>(h, w, [&](int r, int s, int p, int q) {
            if ((int)Code::read(code, n, p, q, c) == r * G::S + s)
                sum += Y::read(dy, n, p, q, c);
        });
        return sum;
    });
}

/* Pixels of the window at output pixel p, q that lie inside the padded map of X. */
template <class X, class G> NINC_DEVICE float window_pixels(int p, int q)
{
    int bottom = p * G::STRIDE_H + G::R, right = q * G::STRIDE_W + G::S;
    int h = bottom < X::H + 2 * G::PAD_H ? bottom : X::H + 2 * G::PAD_H;
    int w = right < X::W + 2 * G::PAD_W ? right : X::W + 2 * G::PAD_W;
    return (float)((h - p * G::STRIDE_H) * (w - q * G::STRIDE_W));
}

template <class X, class Y, class G, class Element>
NINC_DEVICE void generic_avgpool(const Element *x, Element *y)
{
    Y::each(y, [=](int n, int p, int q, int c) {
        float sum = 0.0f;
        each_tap<G, X::H, X::W>(p, q, [&](int, int, int h, int w) {
            sum += X::read(x, n, h, w, c);
        });
        return sum / window_pixels<X, G>(p, q);
    });
}

template <class X, class Y, class G, class Ey, class Ex>
NINC_DEVICE void generic_avgpool_grad(const Ey *dy, Ex *dx)
{
    X::each(dx, [=](int n, int h, int w, int c) {
        float sum = 0.0f;
        each_window<G, Y::H, Y::W>(h, w, [&](int, int, int p, int q) {
            sum += Y::read(dy, n, p, q, c) / window_pixels<X, G>(p, q);
        });
        return sum;
    });
}

template <class X, class Y, class Ex, class Ey>
NINC_DEVICE void generic_gap(const Ex *x, Ey *y)
{
    typedef Map<1, X::H, X::W, 1, 1> Pixels;
    Y::each(y, [=](int n, int, int, int c) {
        float sum = sum_over_pixels<Pixels>([&](int, int h, int w) {
            return X::read(x, n, h, w, c);
        });
        return sum / (float)(X::H * X::W);
    });
}

template <class X, class Y, class Ey, class Ex>
NINC_DEVICE void generic_gap_grad(const Ey *dy, Ex *dx)
{
    X::each(dx, [=](int n, int, int, int c) {
        return Y::read(dy, n, 0, 0, c) / (float)(X::H * X::W);
    });
}

/* ---- dropout ---- */

/* The random word of a value: Philox4x32-10 (Salmon et al. 2011), whose counter is of four pixels
 * of a row, which have a word each. */
NINC_DEVICE u32 dropout_word(u32 quad, u32 channel, u32 step, u32 seed, u32 layer, int pixel)
{
    constexpr u32 TAG = 0x64726f70;
    u32 c0 = quad, c1 = channel, c2 = step, c3 = TAG;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u64 a = (u64)0xD2511F53 * c0, b = (u64)0xCD9E8D57 * c2;
        c0 = (u32)(b >> 32) ^ c1 ^ seed;
        c1 = (u32)b;
        c2 = (u32)(a >> 32) ^ c3 ^ layer;
        c3 = (u32)a;
        seed += 0x9E3779B9;
        layer += 0xBB67AE85;
    }
    return pixel == 0 ? c0 : pixel == 1 ? c1 : pixel == 2 ? c2 : c3;
}

template <class X, class Y, class Ex, class Ey>
NINC_DEVICE void generic_dropout(const Ex *x, const i32 *seed, const i32 *step, Ey *y,
                                 u32 threshold, u32 layer, float scale)
{
    Y::each(y, [=](int n, int h, int w, int c) {
        const u32 quad = (u32)((n * Y::H + h) * ((Y::W + 3) / 4) + w / 4);
        const u32 word = dropout_word(quad, (u32)c, (u32)*step, (u32)*seed, layer, w % 4);
        return word >= threshold ? X::read(x, n, h, w, c) * scale : 0;
    });
}

/* ---- rows of logits: X the map, L the logits [N][K] in the order c, h, w ---- */

template <class X, class L, class Ex, class El>
NINC_DEVICE void generic_flatten(const Ex *x, El *logits)
{
    L::each(logits, [=](int n, int, int, int k) {
        return X::read(x, n, k / X::W % X::H, k % X::W, k / (X::H * X::W));
    });
}

template <class X, class L, class El, class Ex>
NINC_DEVICE void generic_flatten_grad(const El *logits, Ex *dx)
{
    X::each(dx, [=](int n, int h, int w, int c) {
        return L::read(logits, n, 0, 0, (c * X::H + h) * X::W + w);
    });
}

/* log sum exp(logits[n]) is top + log(sum). */
struct LogSum {
    float top, sum;
};

template <class L> NINC_DEVICE LogSum log_sum_exp(const float *logits, int n)
{
    LogSum l = {L::read(logits, n, 0, 0, 0), 0.0f};
#pragma unroll 1
    for (int k = 1; k < L::C; k++) {
        float v = L::read(logits, n, 0, 0, k);
        l.top = v > l.top ? v : l.top;
    }
#pragma unroll 1
    for (int k = 0; k < L::C; k++)
        l.sum += expf(L::read(logits, n, 0, 0, k) - l.top);
    return l;
}

/* What each class weighs; 1 where there are no weights. */
NINC_DEVICE float class_weight(const float *weight, int k) { return weight ? weight[k] : 1.0f; }

/* What the targets of a row weigh together. */
template <class L>
NINC_DEVICE float target_sum(const float *weight, int label, float smoothing)
{
    if (!weight)
        return 1.0f;
    float sum = (1.0f - smoothing) * weight[label];
    for (int k = 0; smoothing > 0.0f && k < L::C; k++)
        sum += smoothing / (float)L::C * weight[k];
    return sum;
}

/* Rows: [N] as a map. A label that is no class gives NaN. */
template <class L, class Rows>
NINC_DEVICE void generic_cross_entropy(const float *logits, const i32 *label, const float *weight,
                                       float smoothing, float *nll)
{
    Rows::each(nll, [=](int n, int, int, int) {
        if (label[n] < 0 || label[n] >= L::C)
            return float_of_bits(0x7fffffff);
        LogSum l = log_sum_exp<L>(logits, n);
        float lacking = 0.0f;
        if (smoothing > 0.0f)
            for (int k = 0; k < L::C; k++)
                lacking += class_weight(weight, k) * (l.top - L::read(logits, n, 0, 0, k));
        return target_sum<L>(weight, label[n], smoothing) * logf(l.sum) +
               (1.0f - smoothing) * class_weight(weight, label[n]) *
                   (l.top - L::read(logits, n, 0, 0, label[n])) +
               smoothing / (float)L::C * lacking;
    });
}

/* divisor: NULL where it is *valid. */
template <class L>
NINC_DEVICE void generic_cross_entropy_grad(const float *logits, const i32 *label,
                                            const i32 *valid, const float *weight,
                                            const float *divisor, float smoothing, float *dlogits)
{
    L::each(dlogits, [=](int n, int, int, int k) {
        if (n >= *valid)
            return 0.0f;
        LogSum l = log_sum_exp<L>(logits, n);
        float softmax = expf(L::read(logits, n, 0, 0, k) - l.top) / l.sum;
        float wanted = (label[n] == k ? 1.0f - smoothing : 0.0f) + smoothing / (float)L::C;
        float all = target_sum<L>(weight, label[n], smoothing);
        return (all * softmax - class_weight(weight, k) * wanted) /
               (divisor ? *divisor : (float)*valid);
    });
}

/* 1 where the first largest logit, or the first NaN, is the label's */
template <class L, class Rows>
NINC_DEVICE void generic_correct(const float *logits, const i32 *label, i32 *correct)
{
    Rows::each(correct, [=](int n, int, int, int) {
        int best = 0;
        float top = L::read(logits, n, 0, 0, 0);
#pragma unroll 1
        for (int k = 1; k < L::C; k++) {
            float v = L::read(logits, n, 0, 0, k);
            if (v > top || (v != v && top == top))
                best = k, top = v;
        }
        return label[n] == best ? 1 : 0;
    });
}

/* ---- gradients ---- */

/* The squares of COUNT elements of x that this thread adds up: AT_ONCE sums, whose loads do not
 * wait for one another, added in pairs. */
template <int COUNT> NINC_DEVICE float thread_square_sum(const float *x, int parts)
{
    constexpr int AT_ONCE = 16, STRIDE = AT_ONCE * BLOCK;
    float lane[AT_ONCE];
#pragma unroll
    for (int l = 0; l < AT_ONCE; l++)
        lane[l] = 0.0f;
#pragma unroll 1
    for (int first = 0; first < COUNT; first += STRIDE) {
        float value[AT_ONCE];
#pragma unroll
        for (int l = 0; l < AT_ONCE; l++) {
            int at = first + l * BLOCK + (int)threadIdx.x;
            value[l] = at < COUNT ? x[at] : 0.0f;
        }
#pragma unroll 1
        for (int i = 1; i < parts; i++)
#pragma unroll
            for (int l = 0; l < AT_ONCE; l++) {
                int at = first + l * BLOCK + (int)threadIdx.x;
                value[l] += at < COUNT ? x[(i64)i * COUNT + at] : 0.0f;
            }
#pragma unroll
        for (int l = 0; l < AT_ONCE; l++)
            lane[l] += value[l] * value[l];
    }
#pragma unroll
    for (int half = AT_ONCE / 2; half > 0; half /= 2)
#pragma unroll
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

/* *sum = *before (if there is one) + the squares of the COUNT elements of x, which is a sum of
 * parts: one block, in an order that is always the same. */
template <int COUNT>
NINC_DEVICE void generic_square_sum(const float *x, int parts, const float *before, float *sum)
{
    DYNAMIC_SHARED(shared);
    float *warp = reinterpret_cast<float *>(shared);
    float total = thread_square_sum<COUNT>(x, parts);
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2)
        total += shuffle_xor(total, lanes);
    if (threadIdx.x % 32 == 0)
        warp[threadIdx.x / 32] = total;
    __syncthreads();
    if (threadIdx.x > 0 || blockIdx.x > 0)
        return;
    total = before ? *before : 0.0f;
    for (int i = 0; i < BLOCK / 32; i++)
        total += warp[i];
    *sum = total;
}

/* torch.nn.utils.clip_grad_norm_; NaN stays NaN. */
NINC_DEVICE void generic_clip_factor(const float *sum, float most, float *factor)
{
    float value = most / (sqrtf(*sum) + 1e-6f);
    if (thread_element() == 0)
        *factor = value >= 1.0f ? 1.0f : value;
}

#endif
