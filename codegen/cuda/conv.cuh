/* Convolutions as implicit GEMM: forward (fprop), gradient of the input (dgrad), gradient of the
 * filter and bias (wgrad). The operands' tiles are gathered from the maps as they lie: NHWC,
 * channels rounded up to 8; only a thin image (a few channels) has its own number, is not aligned,
 * and is gathered element by element.
 *
 * Grids are in ir/tiles.h. Padding lanes of all results are written as zeros. */
#ifndef NINC_CONV_CUH
#define NINC_CONV_CUH

template <bool WIDE> struct OffsetOf {
    typedef int Type;
};
template <> struct OffsetOf<true> {
    typedef i64 Type;
};

/* x [N][H][W][CP], y [N][P][Q][KP], filter [K][R][S][CP]: C of CP and K of KP channels are used. */
template <int N_, int H_, int W_, int C_, int K_, int R_, int S_, int P_, int Q_, int STRIDE_H_,
          int STRIDE_W_, int PAD_H_, int PAD_W_, int CP_, int KP_>
struct Conv {
    static constexpr int N = N_, H = H_, W = W_, C = C_, K = K_, R = R_, S = S_, P = P_, Q = Q_,
                         STRIDE_H = STRIDE_H_, STRIDE_W = STRIDE_W_, PAD_H = PAD_H_,
                         PAD_W = PAD_W_, CP = CP_, KP = KP_;
    static constexpr bool THIN = CP % 8 != 0;
    static constexpr int INPUTS = N * H * W, OUTPUTS = N * P * Q; /* pixels of x, of y */
    static constexpr int FILTER = R * S * CP;                     /* elements of a filter row */
    /* Whether no filter reaches over the end of the map. */
    static constexpr bool INSIDE_H = PAD_H == 0 && (P - 1) * STRIDE_H + R <= H;
    static constexpr bool INSIDE_W = PAD_W == 0 && (Q - 1) * STRIDE_W + S <= W;
    /* 1 x 1, pixel by pixel. */
    static constexpr bool POINTWISE = R * S * STRIDE_H * STRIDE_W == 1 && P == H && Q == W &&
                                      PAD_H == 0 && PAD_W == 0;
    /* Offsets of elements: a filter may reach over the end of the map. */
    typedef typename OffsetOf<((i64)(INPUTS + R * W) * CP > 0x7fffffff)>::Type InputOffset;
    typedef typename OffsetOf<((i64)(OUTPUTS + R * Q) * KP > 0x7fffffff)>::Type OutputOffset;
};

/* ---- sources of tiles ---- */

/* The part of x under the filter of one output pixel. An element of it has the number that it has
 * in a row of the filter. */
template <class C> struct Patch {
    typedef typename C::InputOffset Offset;
    Offset first; /* element (0, 0, 0) of the patch in x */
    int h, w;     /* its row, and its column in elements */

    NINC_MEMBER void place(int pixel, bool valid)
    {
        if (C::POINTWISE) {
            h = valid ? 0 : -1, w = 0;
            first = (Offset)pixel * C::CP;
            return;
        }
        int n = pixel / (C::P * C::Q), p = pixel / C::Q % C::P, q = pixel % C::Q;
        h = p * C::STRIDE_H - C::PAD_H;
        w = (q * C::STRIDE_W - C::PAD_W) * C::CP;
        first = ((Offset)n * C::H + h) * (C::W * C::CP) + w;
        if (!valid)
            h = -(1 << 24);
    }

    /* Whether element k is inside x, and where. BOUNDED: k is known to be in the filter. */
    template <bool BOUNDED> NINC_MEMBER bool find(int k, Offset &offset) const
    {
        int r = k / (C::S * C::CP), column = k - r * (C::S * C::CP);
        offset = first + r * (C::W * C::CP) + column;
        bool inside = BOUNDED || k < C::FILTER;
        inside &= C::INSIDE_H ? h >= 0 : (u32)(h + r) < (u32)C::H;
        return inside && (C::INSIDE_W || (u32)(w + column) < (u32)(C::W * C::CP));
    }
};

/* fprop, A: [pixel of y][element of the patch]. */
template <class C, class Element, class T, bool THIN> struct PatchRows {
    static constexpr int PITCH_ = PITCH<Element, ALONG, T::M, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ALONG, T::M, T::K>;
    typedef RowCopy<Element, T::M, T::K, PITCH_, T::THREADS> Copy;
    const Element *x;
    Patch<C> patch[Copy::COUNT];

    NINC_MEMBER void start(const Element *map, int pixel)
    {
        x = map;
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++)
            patch[i].place(pixel + Copy::row(i), pixel + Copy::row(i) < C::OUTPUTS);
    }

    NINC_MEMBER void fetch(Element *tile, int step)
    {
        int k = step * T::K + Copy::column();
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            typename C::InputOffset offset;
            bool inside = patch[i].template find<C::FILTER % T::K == 0>(k, offset);
            if (Copy::has(i))
                cp_async_16(tile + Copy::at(i), x + offset, inside);
        }
    }

    NINC_MEMBER void put(Element *) const {}
};

template <class C, class Element, class T> struct PatchRows<C, Element, T, true> {
    static constexpr int PITCH_ = PITCH<Element, ALONG, T::M, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ALONG, T::M, T::K>;
    typedef Gather<Element, T::M, T::K, PITCH_, T::THREADS> Copy;
    const Element *x;
    Patch<C> patch;
    Copy copy;

    NINC_MEMBER void start(const Element *map, int pixel)
    {
        x = map;
        patch.place(pixel + Copy::row(), pixel + Copy::row() < C::OUTPUTS);
    }

    NINC_MEMBER void fetch(Element *, int step)
    {
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++)
#pragma unroll
            for (int e = 0; e < Copy::SIZE; e++) {
                typename C::InputOffset offset;
                bool inside = patch.template find<C::FILTER % T::K == 0>(
                    step * T::K + Copy::column(i) + e, offset);
                copy.value[i][e] = inside && Copy::has(i) ? x[offset] : Element{0};
            }
    }

    NINC_MEMBER void put(Element *tile) const { copy.put(tile); }
};

/* fprop, B: [output channel][element of the filter row]. */
template <class C, class Element, class T, bool THIN> struct FilterRows {
    static constexpr int PITCH_ = PITCH<Element, ALONG, T::N, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ALONG, T::N, T::K>;
    typedef RowCopy<Element, T::N, T::K, PITCH_, T::THREADS> Copy;
    const Element *filter;
    int first;

    NINC_MEMBER void start(const Element *from, int channel) { filter = from, first = channel; }

    NINC_MEMBER void fetch(Element *tile, int step)
    {
        int k = step * T::K + Copy::column();
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            int channel = first + Copy::row(i);
            bool inside = channel < C::K && (C::FILTER % T::K == 0 || k < C::FILTER);
            u32 offset = (u32)(channel * C::FILTER) + (u32)k;
            if (Copy::has(i))
                cp_async_16(tile + Copy::at(i), filter + offset, inside);
        }
    }

    NINC_MEMBER void put(Element *) const {}
};

template <class C, class Element, class T> struct FilterRows<C, Element, T, true> {
    static constexpr int PITCH_ = PITCH<Element, ALONG, T::N, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ALONG, T::N, T::K>;
    typedef Gather<Element, T::N, T::K, PITCH_, T::THREADS> Copy;
    const Element *filter;
    int channel;
    Copy copy;

    NINC_MEMBER void start(const Element *from, int first)
    {
        filter = from, channel = first + Copy::row();
    }

    NINC_MEMBER void fetch(Element *, int step)
    {
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++)
#pragma unroll
            for (int e = 0; e < Copy::SIZE; e++) {
                int k = step * T::K + Copy::column(i) + e;
                bool inside = channel < C::K && k < C::FILTER && Copy::has(i);
                copy.value[i][e] = inside ? filter[channel * C::FILTER + k] : Element{0};
            }
    }

    NINC_MEMBER void put(Element *tile) const { copy.put(tile); }
};

/* dgrad, A: [pixel of x][tap, output channel] of dy. A pixel of x has a gradient from tap (r, s)
 * when (h + pad - r) is a multiple of the stride. */
template <class C, class Element, class T> struct GradientPatchRows {
    static constexpr int PITCH_ = PITCH<Element, ALONG, T::M, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ALONG, T::M, T::K>;
    typedef RowCopy<Element, T::M, T::K, PITCH_, T::THREADS> Copy;
    typedef typename C::OutputOffset Offset;
    const Element *dy;
    int image[Copy::COUNT], h[Copy::COUNT], w[Copy::COUNT]; /* image: its first row in dy */

    NINC_MEMBER void start(const Element *map, int first)
    {
        dy = map;
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            int pixel = first + Copy::row(i);
            image[i] = pixel / (C::H * C::W) * C::P;
            h[i] = pixel < C::INPUTS ? pixel / C::W % C::H + C::PAD_H : -(1 << 24);
            w[i] = pixel % C::W + C::PAD_W;
        }
    }

    NINC_MEMBER void fetch(Element *tile, int step)
    {
        int k = step * T::K + Copy::column();
        int tap = k / C::KP, channel = k % C::KP, r = tap / C::S, s = tap % C::S;
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            u32 up = (u32)(h[i] - r), left = (u32)(w[i] - s);
            u32 p = up / C::STRIDE_H, q = left / C::STRIDE_W;
            bool inside = tap < C::R * C::S && up % C::STRIDE_H == 0 && left % C::STRIDE_W == 0 &&
                          p < (u32)C::P && q < (u32)C::Q;
            Offset offset = ((Offset)(image[i] + (int)p) * C::Q + (int)q) * C::KP + channel;
            if (Copy::has(i))
                cp_async_16(tile + Copy::at(i), dy + offset, inside);
        }
    }

    NINC_MEMBER void put(Element *) const {}
};

/* dgrad, B: [tap, output channel][channel of x] of the filter. */
template <class C, class Element, class T> struct FilterColumns {
    static constexpr int PITCH_ = PITCH<Element, ACROSS, T::N, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ACROSS, T::N, T::K>;
    typedef RowCopy<Element, T::K, T::N, PITCH_, T::THREADS> Copy;
    const Element *filter;
    int channel; /* of x */

    NINC_MEMBER void start(const Element *from, int first)
    {
        filter = from, channel = first + Copy::column();
    }

    NINC_MEMBER void fetch(Element *tile, int step)
    {
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            int k = step * T::K + Copy::row(i), tap = k / C::KP, output = k % C::KP;
            bool inside = tap < C::R * C::S && output < C::K && channel < C::CP;
            u32 offset = (u32)(output * C::FILTER) + (u32)(tap * C::CP + channel);
            if (Copy::has(i))
                cp_async_16(tile + Copy::at(i), filter + offset, inside);
        }
    }

    NINC_MEMBER void put(Element *) const {}
};

/* wgrad, A: [pixel of y][output channel] of dy, pixels below `end`. */
template <class C, class Element, class T> struct GradientRows {
    static constexpr int PITCH_ = PITCH<Element, ACROSS, T::M, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ACROSS, T::M, T::K>;
    typedef RowCopy<Element, T::K, T::M, PITCH_, T::THREADS> Copy;
    const Element *dy;
    int channel, begin, end;

    NINC_MEMBER void start(const Element *map, int first_channel, int first_pixel, int end_pixel)
    {
        dy = map, channel = first_channel + Copy::column(), begin = first_pixel, end = end_pixel;
    }

    NINC_MEMBER void fetch(Element *tile, int step)
    {
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            int pixel = begin + step * T::K + Copy::row(i);
            bool inside = pixel < end && channel < C::KP;
            typename C::OutputOffset offset = (typename C::OutputOffset)pixel * C::KP + channel;
            if (Copy::has(i))
                cp_async_16(tile + Copy::at(i), dy + offset, inside);
        }
    }

    NINC_MEMBER void put(Element *) const {}
};

/* wgrad, B: [pixel of y][element of the patch] of x, pixels below `end`. */
template <class C, class Element, class T, bool THIN> struct PatchColumns {
    static constexpr int PITCH_ = PITCH<Element, ACROSS, T::N, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ACROSS, T::N, T::K>;
    typedef RowCopy<Element, T::K, T::N, PITCH_, T::THREADS> Copy;
    const Element *x;
    int element, begin, end;

    NINC_MEMBER void start(const Element *map, int first, int first_pixel, int end_pixel)
    {
        x = map, element = first + Copy::column(), begin = first_pixel, end = end_pixel;
    }

    NINC_MEMBER void fetch(Element *tile, int step)
    {
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            int pixel = begin + step * T::K + Copy::row(i);
            Patch<C> patch;
            patch.place(pixel, pixel < end);
            typename C::InputOffset offset;
            bool inside = patch.template find<C::FILTER % T::N == 0>(element, offset);
            if (Copy::has(i))
                cp_async_16(tile + Copy::at(i), x + offset, inside);
        }
    }

    NINC_MEMBER void put(Element *) const {}
};

template <class C, class Element, class T> struct PatchColumns<C, Element, T, true> {
    static constexpr int PITCH_ = PITCH<Element, ACROSS, T::N, T::K>;
    static constexpr int SIZE = TILE_SIZE<Element, ACROSS, T::N, T::K>;
    typedef Gather<Element, T::K, T::N, PITCH_, T::THREADS> Copy;
    const Element *x;
    int first, begin, end;
    Copy copy;

    NINC_MEMBER void start(const Element *map, int first_element, int first_pixel, int end_pixel)
    {
        x = map, first = first_element, begin = first_pixel, end = end_pixel;
    }

    NINC_MEMBER void fetch(Element *, int step)
    {
        int pixel = begin + step * T::K + Copy::row();
        Patch<C> patch;
        patch.place(pixel, pixel < end);
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++)
#pragma unroll
            for (int e = 0; e < Copy::SIZE; e++) {
                typename C::InputOffset offset;
                bool inside = patch.template find<C::FILTER % T::N == 0>(
                    first + Copy::column(i) + e, offset);
                copy.value[i][e] = inside && Copy::has(i) ? x[offset] : Element{0};
            }
    }

    NINC_MEMBER void put(Element *tile) const { copy.put(tile); }
};

/* ---- sums and results ---- */

/* What run_pipeline adds to: a product of tiles of T::K terms. */
template <class Math, class T, Order A, Order B>
struct TileSum : Product<Math, T::M, T::N, T::THREADS, A, B> {
    typedef typename Math::Element Element;
    typedef Product<Math, T::M, T::N, T::THREADS, A, B> Base;

    NINC_MEMBER void multiply(const Element *a, const Element *b)
    {
        Base::template multiply<T::K, PITCH<Element, A, T::M, T::K>, PITCH<Element, B, T::N, T::K>>(
            a, b);
    }
};

/* Sums over k of a [K][M] tile: the bias gradient. */
template <class Element, class T> struct BiasSum {
    static constexpr int SIZE = Chunk<Element>::SIZE, PER_ROW = T::M / SIZE;
    static constexpr int GROUPS = T::THREADS / PER_ROW;
    float sum[SIZE];

    static NINC_MEMBER int column() { return (int)threadIdx.x % PER_ROW * SIZE; }

    NINC_MEMBER void begin()
    {
#pragma unroll
        for (int e = 0; e < SIZE; e++)
            sum[e] = 0.0f;
    }

    /* Threads that are left over after the last whole row of the tile have nothing to add. */
    static NINC_MEMBER bool works()
    {
        return T::THREADS % PER_ROW == 0 || (int)threadIdx.x < GROUPS * PER_ROW;
    }

    NINC_MEMBER void add(const Element *tile)
    {
        if (!works())
            return;
        for (int k = threadIdx.x / PER_ROW; k < T::K; k += GROUPS) {
            float v[SIZE];
            load_chunk(v, tile + k * PITCH<Element, ACROSS, T::M, T::K> + column());
#pragma unroll
            for (int e = 0; e < SIZE; e++)
                sum[e] += v[e];
        }
    }

    /* out [count]; lanes from `used` on are zeros. shared [GROUPS][M]. */
    NINC_MEMBER void finish(float *shared, float *out, int used, int count) const
    {
        __syncthreads(); /* the pipeline's last tile was read by everybody */
#pragma unroll
        for (int e = 0; e < SIZE && works(); e++)
            shared[(int)threadIdx.x / PER_ROW * T::M + column() + e] = sum[e];
        __syncthreads();
        for (int m = threadIdx.x; m < T::M && m < count; m += T::THREADS) {
            float total = 0.0f;
            for (int group = 0; group < GROUPS; group++)
                total += shared[group * T::M + m];
            out[m] = m < used ? total : 0.0f;
        }
    }
};

/* The product of wgrad, and the bias gradient where a block has been given it. */
template <class Math, class T> struct GradientSum {
    typedef typename Math::Element Element;
    TileSum<Math, T, ACROSS, ACROSS> product;
    BiasSum<Element, T> bias;
    bool with_bias;

    NINC_MEMBER void multiply(const Element *a, const Element *b)
    {
        product.multiply(a, b);
        if (with_bias)
            bias.add(a);
    }
};

/* Sums of fprop begin as the bias, [K] or NULL. */
template <class C> struct BiasStart {
    const float *bias;
    int first;

    NINC_MEMBER float at(int column) const
    {
        return bias && first + column < C::K ? bias[first + column] : 0.0f;
    }
};

/* A map [ROWS][CHANNELS_P] and its epilogue. */
template <class Element, int ROWS, int CHANNELS, int CHANNELS_P, class Chain> struct MapSink {
    Element *to;
    Chain chain;
    int first_row, first_column;

    template <int V> NINC_MEMBER void put(int tile_row, int tile_column, const float (&sum)[V])
    {
        int row = first_row + tile_row, column = first_column + tile_column;
        if (row >= ROWS || column >= CHANNELS_P)
            return;
        typename OffsetOf<((i64)ROWS * CHANNELS_P > 0x7fffffff)>::Type offset = row;
        offset = offset * CHANNELS_P + column;
        float v[V];
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = sum[e];
        apply_chain(chain, v, offset);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = column + e < CHANNELS ? v[e] : 0.0f;
        store_row(to + offset, v);
    }
};

/* A part of the filter gradient [K][FILTER]. */
template <class C> struct FilterSink {
    float *to;
    int first_row, first_column;

    template <int V> NINC_MEMBER void put(int tile_row, int tile_column, const float (&sum)[V])
    {
        int row = first_row + tile_row, column = first_column + tile_column;
        if (row >= C::K || column >= C::FILTER)
            return;
        float v[V];
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = (column + e) % C::CP < C::C ? sum[e] : 0.0f;
        if (!C::THIN) {
            store_row(to + row * C::FILTER + column, v);
            return;
        }
#pragma unroll
        for (int e = 0; e < V; e++)
            if (column + e < C::FILTER)
                to[row * C::FILTER + column + e] = v[e];
    }
};

/* ---- the three passes ---- */

/* The block's tile: those that share rows of the map, which is large, run at the same time. */
template <int COLUMNS> NINC_DEVICE int tile_column()
{
    return (int)(blockIdx.y * gridDim.x + blockIdx.x) % COLUMNS;
}

template <int COLUMNS> NINC_DEVICE int tile_row()
{
    return (int)(blockIdx.y * gridDim.x + blockIdx.x) / COLUMNS;
}

/* y = filter * x + bias, then the chain. x [N][H][W][CP], filter [K][R][S][CP], bias [K] or NULL,
 * y [N][P][Q][KP]. */
template <class C, class Math, class T, class Chain>
NINC_DEVICE void conv_fprop(const typename Math::Element *x, const typename Math::Element *filter,
                            const float *bias, typename Math::Element *y, const Chain &chain)
{
    typedef typename Math::Element Element;
    typedef PatchRows<C, Element, T, C::THIN> SourceA;
    typedef FilterRows<C, Element, T, C::THIN> SourceB;
    static_assert(T::STAGES * (SourceA::SIZE + SourceB::SIZE) * (int)sizeof(Element) ==
                      NINC_FPROP_SHARED(T::M, T::N, T::K, T::STAGES, (int)sizeof(Element)),
                  "shared memory is as ir/tiles.h says");
    DYNAMIC_SHARED(shared);
    constexpr int COLUMNS = NINC_TILES(C::KP, T::N);
    int row = tile_row<COLUMNS>() * T::M, column = tile_column<COLUMNS>() * T::N;
    SourceA a;
    SourceB b;
    a.start(x, row);
    b.start(filter, column);
    TileSum<Math, T, ALONG, ALONG> sum;
    sum.begin(BiasStart<C>{bias, column});
    run_pipeline<T::STAGES>(NINC_TILES(C::FILTER, T::K), a, b, sum, (Element *)shared);
    MapSink<Element, C::OUTPUTS, C::K, C::KP, Chain> sink = {y, chain, row, column};
    if (sizeof(Element) == 2)
        sum.each_wide(sink);
    else
        sum.each(sink);
}

/* dx: the gradient of x, then the chain. dy [N][P][Q][KP], filter [K][R][S][CP],
 * dx [N][H][W][CP]. */
template <class C, class Math, class T, class Chain>
NINC_DEVICE void conv_dgrad(const typename Math::Element *dy, const typename Math::Element *filter,
                            typename Math::Element *dx, const Chain &chain)
{
    static_assert(!C::THIN, "a thin image has no gradient");
    typedef typename Math::Element Element;
    typedef GradientPatchRows<C, Element, T> SourceA;
    typedef FilterColumns<C, Element, T> SourceB;
    static_assert(T::STAGES * (SourceA::SIZE + SourceB::SIZE) * (int)sizeof(Element) ==
                      NINC_DGRAD_SHARED(T::M, T::N, T::K, T::STAGES, (int)sizeof(Element)),
                  "shared memory is as ir/tiles.h says");
    DYNAMIC_SHARED(shared);
    constexpr int COLUMNS = NINC_TILES(C::CP, T::N);
    int row = tile_row<COLUMNS>() * T::M, column = tile_column<COLUMNS>() * T::N;
    SourceA a;
    SourceB b;
    a.start(dy, row);
    b.start(filter, column);
    TileSum<Math, T, ALONG, ACROSS> sum;
    sum.begin(Zeros());
    run_pipeline<T::STAGES>(NINC_TILES(C::R * C::S * C::KP, T::K), a, b, sum, (Element *)shared);
    MapSink<Element, C::INPUTS, C::C, C::CP, Chain> sink = {dx, chain, row, column};
    if (sizeof(Element) == 2)
        sum.each_wide(sink);
    else
        sum.each(sink);
}

/* The gradients of filter and bias in SPLIT parts, each over its own range of the pixels of y, to
 * be added in order. x [N][H][W][CP], dy [N][P][Q][KP], dfilter [SPLIT][K][R][S][CP], dbias
 * [SPLIT][KP] or NULL. */
template <class C, class Math, class T, int SPLIT>
NINC_DEVICE void conv_wgrad(const typename Math::Element *x, const typename Math::Element *dy,
                            float *dfilter, float *dbias)
{
    typedef typename Math::Element Element;
    typedef GradientRows<C, Element, T> SourceA;
    typedef PatchColumns<C, Element, T, C::THIN> SourceB;
    constexpr int STAGE = (SourceA::SIZE + SourceB::SIZE) * (int)sizeof(Element);
    static_assert(T::STAGES * STAGE ==
                      NINC_WGRAD_SHARED(T::M, T::N, T::K, T::STAGES, (int)sizeof(Element)),
                  "shared memory is as ir/tiles.h says");
    static_assert(T::STAGES * STAGE >= BiasSum<Element, T>::GROUPS * T::M * 4,
                  "the bias sums fit the memory of the stages");
    DYNAMIC_SHARED(shared);
    constexpr int PART = NINC_TILES(NINC_TILES(C::OUTPUTS, SPLIT), T::K) * T::K;
    int row = (int)blockIdx.x * T::M, column = (int)blockIdx.y * T::N, part = (int)blockIdx.z;
    int begin = part * PART < C::OUTPUTS ? part * PART : C::OUTPUTS;
    int end = begin + PART < C::OUTPUTS ? begin + PART : C::OUTPUTS;
    SourceA a;
    SourceB b;
    a.start(dy, row, begin, end);
    b.start(x, column, begin, end);
    GradientSum<Math, T> sum;
    sum.with_bias = dbias && blockIdx.y == 0;
    sum.product.begin(Zeros());
    sum.bias.begin();
    run_pipeline<T::STAGES>(NINC_TILES(end - begin, T::K), a, b, sum, (Element *)shared);
    FilterSink<C> sink = {dfilter + (i64)part * C::K * C::FILTER, row, column};
    sum.product.each(sink);
    if (sum.with_bias)
        sum.bias.finish((float *)shared, dbias + (i64)part * C::KP + row, C::K - row, C::KP - row);
}

#endif
