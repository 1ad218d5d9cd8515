/* The end of a network: logits, cross entropy, whether the guess is right, and in training the
 * gradient of the mean loss back to the map. One block of 256 threads an image; a row of logits
 * lives in shared memory (NINC_HEAD_SHARED). Sums are taken in a fixed order. */
#ifndef NINC_HEAD_CUH
#define NINC_HEAD_CUH

/* As many groups of threads sum the pixels of an octet: a power of 2. */
static __device__ constexpr int pixel_groups(int octets, int pixels, int threads)
{
    int groups = 1;
    while (2 * groups * octets <= threads && groups < pixels)
        groups *= 2;
    return groups;
}

/* x [N][H][W][CP], C of CP channels are used. GAP: the K = C logits are means over the map; else
 * there are K = C H W, in the order c, h, w. */
template <int N_, int H_, int W_, int C_, int CP_, bool GAP_> struct Head {
    static constexpr int N = N_, C = C_, CP = CP_, PIXELS = H_ * W_, THREADS = 256;
    static constexpr bool GAP = GAP_;
    static constexpr int K = GAP ? C : C * PIXELS, K8 = NINC_TILES(K, 8) * 8;
    static constexpr int OCTETS = CP / 8; /* a pixel */
    static constexpr int GROUPS = pixel_groups(OCTETS, PIXELS, THREADS);
    static constexpr int AT_ONCE = OCTETS < THREADS ? OCTETS : THREADS; /* octets, by a group */
    static_assert(CP == NINC_TILES(C, 8) * 8, "channels are rounded up to 8");
    static NINC_MEMBER float smoothing() { return 0.0f; } /* of labels */
    static NINC_MEMBER bool weighted() { return false; }  /* by class */
    static_assert((K8 + 8 * THREADS) * 4 == NINC_HEAD_SHARED(K, THREADS),
                  "shared memory is as ir/tiles.h says");
};

/* ---- the row of logits ---- */

/* Sums of the pixels group, group + GROUPS ... of an octet. */
template <class D, class Element>
NINC_DEVICE void sum_pixels(const Element *x, int octet, int group, float (&sum)[8])
{
    fill_octet(sum, 0.0f);
#pragma unroll 4
    for (int pixel = group; pixel < D::PIXELS; pixel += D::GROUPS) {
        float v[8];
        load_row(v, x + ((i64)pixel * D::CP + octet * 8));
#pragma unroll
        for (int e = 0; e < 8; e++)
            sum[e] += v[e];
    }
}

/* Adds the upper half of the groups to the lower half, until group 0 has it all. partial
 * [GROUPS][AT_ONCE][8]; all threads call, those without an octet with a group past the end. */
template <class D>
NINC_DEVICE void add_groups(float *partial, int octet, int group, float (&sum)[8])
{
#pragma unroll
    for (int half = D::GROUPS / 2; half > 0; half /= 2) {
        if (group >= half && group < 2 * half)
            store_row(partial + (group * D::AT_ONCE + octet) * 8, sum);
        __syncthreads();
        if (group < half) {
            float v[8];
            load_row(v, partial + ((group + half) * D::AT_ONCE + octet) * 8);
#pragma unroll
            for (int e = 0; e < 8; e++)
                sum[e] += v[e];
        }
    }
}

/* row [CP] = means over the map of an image, x [PIXELS][CP]. */
template <class D, class Element>
NINC_DEVICE void mean_row(const Element *x, float *row, float *partial)
{
    int column = (int)threadIdx.x % D::AT_ONCE, group = (int)threadIdx.x / D::AT_ONCE;
    for (int first = 0; first < D::OCTETS; first += D::AT_ONCE) {
        bool used = group < D::GROUPS && first + column < D::OCTETS;
        float sum[8];
        if (used)
            sum_pixels<D>(x, first + column, group, sum);
        add_groups<D>(partial, column, used ? group : D::GROUPS, sum);
        if (!used || group > 0)
            continue;
#pragma unroll
        for (int e = 0; e < 8; e++)
            sum[e] /= (float)D::PIXELS;
        store_row(row + (first + column) * 8, sum);
    }
}

/* row [C][PIXELS] = x [PIXELS][CP] of an image. */
template <class D, class Element> NINC_DEVICE void flat_row(const Element *x, float *row)
{
    for (int octet = threadIdx.x; octet < D::PIXELS * D::OCTETS; octet += D::THREADS) {
        int pixel = octet / D::OCTETS, channel = octet % D::OCTETS * 8;
        float v[8];
        load_row(v, x + (i64)octet * 8);
#pragma unroll
        for (int e = 0; e < 8; e++)
            if (channel + e < D::C)
                row[(channel + e) * D::PIXELS + pixel] = v[e];
    }
}

/* ---- the loss ---- */

struct Larger {
    static NINC_MEMBER float of(float a, float b) { return fmaxf(a, b); }
};

struct Sum {
    static NINC_MEMBER float of(float a, float b) { return a + b; }
};

/* Of the values of all threads, the same in each thread. shared [warps], not in use. */
template <class Operation, int THREADS> NINC_DEVICE float reduce_block(float value, float *shared)
{
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2)
        value = Operation::of(value, shuffle_xor(value, lanes));
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = value;
    __syncthreads();
    value = shared[0];
#pragma unroll
    for (int warp = 1; warp < THREADS / 32; warp++)
        value = Operation::of(value, shared[warp]);
    return value;
}

/* Of two logits: a NaN is larger than all numbers. */
NINC_DEVICE bool is_larger(float a, float b) { return a > b || (a != a && b == b); }

struct Loss {
    float top, sum; /* the largest logit, sum of exp(logit - top) */
    float nll;      /* NaN where the label is no class */
    float weight;   /* of all classes that the row is taken for, each with its share */
    bool correct;   /* the first largest logit is the label's */
};

/* What class k weighs. weight [K]; not read without weights. */
template <class D> NINC_DEVICE float weight_of(const float *weight, int k)
{
    return D::weighted() ? weight[k] : 1.0f;
}

/* Of row [K]. weight [K]. shared [5 warps], not in use. */
template <class D>
NINC_DEVICE Loss row_loss(const float *row, int label, const float *weight, float *shared)
{
    constexpr int WARPS = D::THREADS / 32;
    bool is_class = label >= 0 && label < D::K;
    float own = is_class ? row[label] : float_of_bits(0x7fc00000);
    float top = float_of_bits(0xff800000), sum = 0.0f, ahead = 0.0f;
    for (int k = threadIdx.x; k < D::K; k += D::THREADS)
        top = fmaxf(top, row[k]);
    top = reduce_block<Larger, D::THREADS>(top, shared);
    for (int k = threadIdx.x; k < D::K; k += D::THREADS) {
        sum += expf(row[k] - top);
        bool before = k < label ? !is_larger(own, row[k]) : is_larger(row[k], own);
        ahead += before ? 1.0f : 0.0f;
    }
    sum = reduce_block<Sum, D::THREADS>(sum, shared + WARPS);
    ahead = reduce_block<Sum, D::THREADS>(ahead, shared + 2 * WARPS);
    float nll = top - own, all = is_class ? weight_of<D>(weight, label) : 1.0f;
    if (D::weighted())
        nll *= all;
    if (D::smoothing() > 0.0f) {
        float lacking = 0.0f, weights = 0.0f;
        for (int k = threadIdx.x; k < D::K; k += D::THREADS) {
            lacking += weight_of<D>(weight, k) * (top - row[k]);
            weights += weight_of<D>(weight, k);
        }
        lacking = reduce_block<Sum, D::THREADS>(lacking, shared + 3 * WARPS);
        nll = (1.0f - D::smoothing()) * nll + D::smoothing() / (float)D::K * lacking;
        if (D::weighted()) {
            weights = reduce_block<Sum, D::THREADS>(weights, shared + 4 * WARPS);
            all = (1.0f - D::smoothing()) * all + D::smoothing() / (float)D::K * weights;
        }
    }
    Loss loss = {top, sum, nll + all * logf(sum), all, is_class && ahead == 0.0f};
    return loss;
}

/* ---- the gradient ---- */

/* row [K8]: logits -> gradients of the losses of the `valid` images together, by the divisor; zeros
 * for an image that is not one of them, and past K. weight [K]. */
template <class D>
NINC_DEVICE void loss_gradient(float *row, const Loss &loss, int label, int valid,
                               const float *weight, float divisor)
{
    for (int k = threadIdx.x; k < D::K8; k += D::THREADS) {
        float gradient = 0.0f;
        if (k < D::K && (int)blockIdx.x < valid) {
            float wanted = k == label ? 1.0f : 0.0f;
            if (D::smoothing() > 0.0f)
                wanted = wanted * (1.0f - D::smoothing()) + D::smoothing() / (float)D::K;
            gradient = expf(row[k] - loss.top) / loss.sum;
            if (D::weighted())
                gradient = loss.weight * gradient - weight[k] * wanted;
            else
                gradient -= wanted;
            gradient /= divisor;
        }
        row[k] = D::GAP ? gradient / (float)D::PIXELS : gradient;
    }
}

/* dx [PIXELS][CP] of an image, which begins at `image`, from the gradients of its logits. */
template <class D, class Element, class Chain>
NINC_DEVICE void map_gradient(const float *row, Element *dx, const Chain &chain, i64 image)
{
    for (int octet = threadIdx.x; octet < D::PIXELS * D::OCTETS; octet += D::THREADS) {
        int pixel = octet / D::OCTETS, channel = octet % D::OCTETS * 8;
        float v[8];
        if (D::GAP) {
            load_row(v, row + channel);
        } else {
#pragma unroll
            for (int e = 0; e < 8; e++)
                v[e] = channel + e < D::C ? row[(channel + e) * D::PIXELS + pixel] : 0.0f;
        }
        store_octet<D::C, D::CP>(dx, chain, image + (i64)octet * 8, channel, v);
    }
}

/* ---- the kernels ---- */

/* logits [N][K], nll [N], correct [N]: each may be NULL. Leaves the row of logits in `row`. */
template <class D, class Element>
NINC_DEVICE Loss head_forward(const Element *x, const i32 *label, const float *weight,
                              float *logits, float *nll, i32 *correct, float *row)
{
    int n = (int)blockIdx.x;
    float *scratch = row + D::K8;
    const Element *image = x + (i64)n * D::PIXELS * D::CP;
    if (D::GAP)
        mean_row<D>(image, row, scratch);
    else
        flat_row<D>(image, row);
    __syncthreads();
    if (logits)
        for (int k = threadIdx.x; k < D::K; k += D::THREADS)
            logits[(i64)n * D::K + k] = row[k];
    Loss loss = row_loss<D>(row, label[n], weight, scratch);
    if (threadIdx.x == 0 && nll)
        nll[n] = loss.nll;
    if (threadIdx.x == 0 && correct)
        correct[n] = loss.correct;
    return loss;
}

/* weight [K]: of each class, where D is weighted. */
template <class D, class Element>
NINC_DEVICE void head_eval(const Element *x, const i32 *label, float *logits, float *nll,
                           i32 *correct, const float *weight = nullptr)
{
    DYNAMIC_SHARED(shared);
    head_forward<D>(x, label, weight, logits, nll, correct, (float *)shared);
}

/* Also dx, a map like x: the gradient of the mean cross entropy of the first *valid images, zeros
 * for the others, then the chain. divisor: what the images weigh together; NULL: 1 each. */
template <class D, class Element, class Chain>
NINC_DEVICE void head_train(const Element *x, const i32 *label, const i32 *valid, float *logits,
                            float *nll, i32 *correct, Element *dx, const Chain &chain,
                            const float *weight = nullptr, const float *divisor = nullptr)
{
    DYNAMIC_SHARED(shared);
    float *row = (float *)shared;
    i64 image = (i64)blockIdx.x * D::PIXELS * D::CP;
    Loss loss = head_forward<D>(x, label, weight, logits, nll, correct, row);
    loss_gradient<D>(row, loss, label[blockIdx.x], *valid, weight,
                     D::weighted() ? *divisor : (float)*valid);
    __syncthreads();
    map_gradient<D>(row, dx, chain, image);
}

#endif
