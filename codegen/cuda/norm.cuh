/* Batch norm over maps whose channels are rounded up to 8. Statistics are of one octet of channels
 * a block: thread t takes pixels t, t + 256 ..., and the threads are joined in a fixed tree. What
 * is done to each pixel is one octet a thread, as in pools. */
#ifndef NINC_NORM_CUH
#define NINC_NORM_CUH

/* x [N][H][W][CP]; C of CP channels are used. */
template <int N_, int H_, int W_, int C_, int CP_> struct Norm {
    static constexpr int N = N_, C = C_, CP = CP_, PIXELS = H_ * W_;
    typedef Octet<N_, H_, W_, CP_> At;
    static_assert(CP % 8 == 0 && C <= CP, "channels are rounded up to 8");
};

/* Pixels whose values are added up before they join the sum. */
static constexpr int NORM_RUN = 32;

/* Puts the block's octet of a vector [C], padded with zeros. */
template <class M> NINC_DEVICE void store_statistic(float *to, const float (&v)[8])
{
    store_octet<M::C, M::CP>(to, (i64)blockIdx.x * 8, (int)blockIdx.x * 8, v);
}

/* How many of `pixels` are first, first + stride ... */
NINC_DEVICE int pixels_from(int pixels, int first, int stride)
{
    return first < pixels ? (pixels - first - 1) / stride + 1 : 0;
}

/* Means and sums of squares about them of two sets of pixels become those of both (Chan, Golub,
 * LeVeque 1983). */
NINC_DEVICE void join_moments(float (&mean)[8], float (&square)[8], int count,
                              const float (&other_mean)[8], const float (&other_square)[8],
                              int other)
{
    if (other == 0)
        return;
    float share = (float)other / (float)(count + other);
#pragma unroll
    for (int e = 0; e < 8; e++) {
        float off = other_mean[e] - mean[e];
        mean[e] += off * share;
        square[e] += other_square[e] + off * off * share * (float)count;
    }
}

/* Joins a thread's run of `count` pixels, whose sums and sums of squares are about `from`. */
NINC_DEVICE void join_run(float (&mean)[8], float (&square)[8], int before, const float (&from)[8],
                          const float (&sum)[8], const float (&squares)[8], int count)
{
    float share = 1.0f / (float)count, run_mean[8], run_square[8];
#pragma unroll
    for (int e = 0; e < 8; e++) {
        run_mean[e] = from[e] + sum[e] * share;
        run_square[e] = squares[e] - sum[e] * sum[e] * share;
    }
    join_moments(mean, square, before, run_mean, run_square, count);
}

/* Mean and biased variance of the valid images, run by run of a thread's pixels, each about its
 * first one. Dynamic shared memory: NINC_NORM_SHARED. */
template <class M, class Element>
NINC_DEVICE void batch_moments(const Element *x, const i32 *valid, float *mean, float *var)
{
    DYNAMIC_SHARED(shared);
    float *means = (float *)shared, *squares = means + BLOCK * 8;
    int pixels = *valid * M::PIXELS, thread = (int)threadIdx.x, count = 0;
    float m[8], s[8];
    fill_octet(m, 0.0f), fill_octet(s, 0.0f);
#pragma unroll 1
    for (int first = thread; first < pixels; first += NORM_RUN * BLOCK) {
        float from[8], sum[8], squares[8];
        int of_run = pixels_from(pixels, first, BLOCK);
        of_run = of_run < NORM_RUN ? of_run : NORM_RUN;
        load_row(from, x + ((i64)first * M::CP + blockIdx.x * 8));
        fill_octet(sum, 0.0f), fill_octet(squares, 0.0f);
#pragma unroll 4
        for (int i = 1; i < of_run; i++) {
            float v[8];
            load_row(v, x + ((i64)(first + i * BLOCK) * M::CP + blockIdx.x * 8));
#pragma unroll
            for (int e = 0; e < 8; e++) {
                float off = v[e] - from[e];
                sum[e] += off;
                squares[e] += off * off;
            }
        }
        join_run(m, s, count, from, sum, squares, of_run);
        count += of_run;
    }
    store_row(means + thread * 8, m), store_row(squares + thread * 8, s);
    __syncthreads();
#pragma unroll 1
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (thread < half) {
            float other_mean[8], other_square[8];
            load_row(other_mean, means + (thread + half) * 8);
            load_row(other_square, squares + (thread + half) * 8);
            join_moments(m, s, pixels_from(pixels, thread, 2 * half), other_mean, other_square,
                         pixels_from(pixels, thread + half, 2 * half));
            store_row(means + thread * 8, m), store_row(squares + thread * 8, s);
        }
        __syncthreads();
    }
    if (thread > 0)
        return;
#pragma unroll
    for (int e = 0; e < 8; e++)
        s[e] /= (float)pixels;
    store_statistic<M>(mean, m);
    store_statistic<M>(var, s);
}

/* 1 / sqrt(var + eps) of an octet. */
NINC_DEVICE void load_inverse(float (&inverse)[8], const float *var, int channel, float eps)
{
    load_row(inverse, var + channel);
#pragma unroll
    for (int e = 0; e < 8; e++)
        inverse[e] = 1.0f / sqrtf(inverse[e] + eps);
}

/* sum = sum of dy, dot = sum of dy (x - mean) / std. Dynamic shared memory: NINC_NORM_SHARED. */
template <class M, class Element>
NINC_DEVICE void batch_sums(const Element *dy, const Element *x, const float *mean,
                            const float *var, float eps, float *sum, float *dot)
{
    DYNAMIC_SHARED(shared);
    float *sums = (float *)shared, *dots = sums + BLOCK * 8;
    int thread = (int)threadIdx.x, channel = (int)blockIdx.x * 8;
    float s[8], d[8], centre[8], inverse[8];
    fill_octet(s, 0.0f), fill_octet(d, 0.0f);
    load_row(centre, mean + channel);
#pragma unroll 1
    for (int first = thread; first < M::N * M::PIXELS; first += NORM_RUN * BLOCK) {
        float of_run[8], dot_of_run[8];
        fill_octet(of_run, 0.0f), fill_octet(dot_of_run, 0.0f);
#pragma unroll 4
        for (int i = 0; i < NORM_RUN; i++) {
            int pixel = first + i * BLOCK;
            if (pixel >= M::N * M::PIXELS)
                break;
            float vy[8], vx[8];
            load_row(vy, dy + ((i64)pixel * M::CP + channel));
            load_row(vx, x + ((i64)pixel * M::CP + channel));
#pragma unroll
            for (int e = 0; e < 8; e++) {
                of_run[e] += vy[e];
                dot_of_run[e] += vy[e] * (vx[e] - centre[e]);
            }
        }
#pragma unroll
        for (int e = 0; e < 8; e++)
            s[e] += of_run[e], d[e] += dot_of_run[e];
    }
    store_row(sums + thread * 8, s), store_row(dots + thread * 8, d);
    __syncthreads();
#pragma unroll 1
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (thread < half) {
            float other_sum[8], other_dot[8];
            load_row(other_sum, sums + (thread + half) * 8);
            load_row(other_dot, dots + (thread + half) * 8);
#pragma unroll
            for (int e = 0; e < 8; e++)
                s[e] += other_sum[e], d[e] += other_dot[e];
            store_row(sums + thread * 8, s), store_row(dots + thread * 8, d);
        }
        __syncthreads();
    }
    if (thread > 0)
        return;
    load_inverse(inverse, var, channel, eps);
#pragma unroll
    for (int e = 0; e < 8; e++)
        d[e] *= inverse[e];
    store_statistic<M>(sum, s);
    store_statistic<M>(dot, d);
}

/* y = (x - mean) / sqrt(var + eps) * weight + bias, then the chain; weight and bias may be NULL */
template <class M, class Element, class Chain>
NINC_DEVICE void batch_norm_fprop(const Element *x, const float *mean, const float *var,
                                  const float *weight, const float *bias, float eps, Element *y,
                                  const Chain &chain)
{
    typename M::At at;
    if (!at.find())
        return;
    float v[8], centre[8], scale[8], shift[8];
    load_row(v, x + at.offset());
    load_row(centre, mean + at.channel);
    load_inverse(scale, var, at.channel, eps);
    fill_octet(shift, 0.0f);
    if (weight) {
        float w[8];
        load_row(w, weight + at.channel), load_row(shift, bias + at.channel);
#pragma unroll
        for (int e = 0; e < 8; e++)
            scale[e] *= w[e];
    }
#pragma unroll
    for (int e = 0; e < 8; e++)
        v[e] = (v[e] - centre[e]) * scale[e] + shift[e];
    store_octet<M::C, M::CP>(y, chain, at.offset(), at.channel, v);
}

/* dx = weight / std (dy - sum / count - (x - mean) / std dot / count), count = valid pixels; 0 for
 * images from *valid on; then the chain. weight may be NULL */
template <class M, class Element, class Chain>
NINC_DEVICE void batch_norm_backward(const Element *dy, const Element *x, const float *mean,
                                     const float *var, const float *sum, const float *dot,
                                     const i32 *valid, const float *weight, float eps, Element *dx,
                                     const Chain &chain)
{
    typename M::At at;
    if (!at.find())
        return;
    float v[8], vx[8], centre[8], inverse[8], sums[8], dots[8], w[8];
    load_row(v, dy + at.offset()), load_row(vx, x + at.offset());
    load_row(centre, mean + at.channel), load_inverse(inverse, var, at.channel, eps);
    load_row(sums, sum + at.channel), load_row(dots, dot + at.channel);
    fill_octet(w, 1.0f);
    if (weight)
        load_row(w, weight + at.channel);
    float share = 1.0f / ((float)*valid * (float)M::PIXELS);
#pragma unroll
    for (int e = 0; e < 8; e++) {
        float change = (sums[e] + (vx[e] - centre[e]) * inverse[e] * dots[e]) * share;
        v[e] = at.n < *valid ? w[e] * inverse[e] * (v[e] - change) : 0.0f;
    }
    store_octet<M::C, M::CP>(dx, chain, at.offset(), at.channel, v);
}

#endif
