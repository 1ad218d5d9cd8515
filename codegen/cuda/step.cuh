/* What begins and ends a step: the batch out of the data set, and its sums. */
#ifndef NINC_STEP_CUH
#define NINC_STEP_CUH

/* ---- sums over the batch: one warp ---- */

/* The sum of the first `count` rows, at all lanes, in a fixed order. */
template <class Element> NINC_DEVICE float sum_rows(const Element *row, int count)
{
    float sum = 0.0f;
    for (int i = threadIdx.x; i < count; i += 32)
        sum += (float)row[i];
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2)
        sum += shuffle_xor(sum, mask);
    return sum;
}

/* Rows that count: N is the batch. */
template <int N> NINC_DEVICE int valid_rows(const i32 *valid) { return *valid < N ? *valid : N; }

/* mean[0] = sum of the rows below valid / valid, or / divisor where that is not NULL */
template <int N>
NINC_DEVICE void mean_of_valid(const float *row, const i32 *valid, float *mean,
                               const float *divisor = nullptr)
{
    if (threadIdx.x >= 32)
        return;
    float sum = sum_rows(row, valid_rows<N>(valid));
    if (threadIdx.x == 0)
        *mean = sum / (divisor ? *divisor : (float)*valid);
}

/* count[0] = sum of the rows below valid, fewer than 2^24 */
template <int N> NINC_DEVICE void count_of_valid(const i32 *row, const i32 *valid, i32 *count)
{
    if (threadIdx.x >= 32)
        return;
    float sum = sum_rows(row, valid_rows<N>(valid));
    if (threadIdx.x == 0)
        *count = (i32)sum;
}

/* ---- the batch ---- */

template <class Word> NINC_DEVICE void copy_words(const u8 *from, u8 *to, int bytes, bool valid)
{
    for (int i = threadIdx.x; i < bytes / (int)sizeof(Word); i += BLOCK)
        ((Word *)to)[i] = valid ? ((const Word *)from)[i] : Word{};
}

/* Row blockIdx.x of the batch: image and label index[row] of the data set below *valid, else zeros.
 * BYTES: of an image. */
template <int BYTES>
NINC_DEVICE void gather_image(const u8 *images, const i32 *labels, const i32 *index,
                              const i32 *valid, u8 *image, i32 *label)
{
    int row = blockIdx.x;
    bool counts = row < *valid;
    i64 from = counts ? index[row] : 0;
    const u8 *source = images + from * BYTES;
    u8 *to = image + (i64)row * BYTES;
    if (BYTES % 16 == 0)
        copy_words<uint4>(source, to, BYTES, counts);
    else if (BYTES % 4 == 0)
        copy_words<u32>(source, to, BYTES, counts);
    else
        copy_words<u8>(source, to, BYTES, counts);
    if (threadIdx.x == 0)
        label[row] = counts ? labels[from] : 0;
}

/* ---- sums over steps ---- */

/* The host's Metrics, as it lies in device memory. */
struct Metrics {
    double loss, weight; /* sum over images of their losses times weights, of these */
    i64 correct, images;
    i32 all_logits_zero; /* of all steps */
};

/* Whether the first `count` logits are all 0; lane 0 knows. Ends early where one is not. */
NINC_DEVICE bool are_zero(const float *logits, i64 count)
{
    for (i64 first = 0; first < count; first += 32) {
        i64 at = first + threadIdx.x;
        float found = at < count && logits[at] != 0.0f ? 1.0f : 0.0f;
#pragma unroll
        for (int mask = 16; mask > 0; mask /= 2)
            found += shuffle_xor(found, mask);
        if (found > 0.0f)
            return false;
    }
    return true;
}

/* K logits a row; 0: the program returns none. weight: what the images weigh together, infinite
 * where that is nothing; NULL: 1 each. */
template <int K>
NINC_DEVICE void add_step(const float *loss, const i32 *correct, const float *logits,
                          const i32 *valid, Metrics *sums, const float *weight = nullptr)
{
    if (threadIdx.x >= 32)
        return;
    bool zero = K > 0 && sums->all_logits_zero && are_zero(logits, (i64)*valid * K);
    __syncwarp(); /* all lanes have read the sums */
    if (threadIdx.x > 0)
        return;
    double weighs = weight ? (double)*weight : (double)*valid;
    if (weighs <= 3e38) {
        sums->loss += (double)*loss * weighs;
        sums->weight += weighs;
    }
    sums->correct += *correct;
    sums->images += *valid;
    sums->all_logits_zero = zero;
}

#endif
