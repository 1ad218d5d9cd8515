/* Block fusion: a convolution and the 1x1 convolutions behind it as one kernel, and the gradients
 * of the 1x1 convolutions as another. What lies between two of them stays in shared memory: a tile
 * of pixels with all their channels.
 *
 * Maps, filters and biases are as in conv.cuh, channels rounded up to 8. Grids and shared memory
 * are in ir/tiles.h. */
#ifndef NINC_MLPCONV_CUH
#define NINC_MLPCONV_CUH

/* A 1x1 convolution of C to K channels, as the sources and sinks of conv.cuh read one. */
template <int C_, int K_> struct PointwiseShape {
    static constexpr int C = C_, K = K_, R = 1, S = 1, CP = NINC_TILES(C, 8) * 8,
                         KP = NINC_TILES(K, 8) * 8, FILTER = CP;
    static constexpr bool THIN = false;
};

/* What m x n results cost a warp: the mmas, and 16 times the rows and columns of operands that are
 * read for them (an operand fragment costs as much as the product of two). 0: not to be shared. */
template <class Math> static __device__ constexpr int product_cost(int m, int n, int threads)
{
    Warps warps = share_warps<Math>(m, n, threads / 32);
    return warps.m ? m / warps.m * (n / warps.n) + 16 * (m / warps.m + n / warps.n) : 0;
}

/* The columns of the cheapest product of T::M rows that has `channels`: a multiple of T::K. */
template <class Math, class T> static __device__ constexpr int product_width(int channels)
{
    int best = T::N, cost = product_cost<Math>(T::M, T::N, T::THREADS);
    for (int n = NINC_TILES(channels, T::K) * T::K; n < T::N; n += T::K) {
        int other = product_cost<Math>(T::M, n, T::THREADS);
        if (other && (other < cost || !cost))
            best = n, cost = other;
    }
    return best;
}

/* The tile of one convolution of a block that has tiles T. */
template <class Math, class T, int CHANNELS> struct StepTileOf {
    static_assert(CHANNELS <= T::N, "the tile covers all channels of the block");
    static_assert(T::N % T::K == 0, "the tile is a multiple of the depth of a stage");
    typedef Tile<T::M, product_width<Math, T>(CHANNELS), T::K, T::STAGES, T::THREADS> Type;
};

/* ---- tiles of pixels in shared memory ---- */

/* Between a map [PIXELS][CP] and a tile of M pixels and N channels, in chunks of 16 bytes. */
template <class Element, int PIXELS, int CP, class T, int PITCH_> struct PixelTile {
    typedef typename OffsetOf<((i64)PIXELS * CP > 0x7fffffff)>::Type Offset;

    /* Starts the copy of pixels first .. end - 1; zeros behind them and in channels past CP. */
    static NINC_MEMBER void fetch(Element *tile, const Element *map, int first, int end)
    {
        typedef RowCopy<Element, T::M, T::N, PITCH_, T::THREADS> Copy;
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            int pixel = first + Copy::row(i);
            bool inside = pixel < end && Copy::column() < CP;
            if (Copy::has(i))
                cp_async_16(tile + Copy::at(i), map + ((Offset)pixel * CP + Copy::column()),
                            inside);
        }
    }

    /* Writes the pixels first .. PIXELS - 1 of the tile. */
    static NINC_MEMBER void store(const Element *tile, Element *map, int first)
    {
        typedef RowCopy<Element, T::M, CP, PITCH_, T::THREADS> Copy;
#pragma unroll
        for (int i = 0; i < Copy::COUNT; i++) {
            int pixel = first + Copy::row(i);
            if (Copy::has(i) && pixel < PIXELS)
                *(uint4 *)(map + ((Offset)pixel * CP + Copy::column())) =
                    *(const uint4 *)(tile + Copy::at(i));
        }
    }
};

/* Results into a tile of COLUMNS with their epilogue; zeros from CHANNELS on. What the chain reads
 * lies beside the results in maps [PIXELS][CHANNELS_P], of which the tile's first pixel is
 * `first`. */
template <class Element, int PIXELS, int CHANNELS, int CHANNELS_P, int COLUMNS, int PITCH_,
          class Chain>
struct TileSink {
    Element *tile;
    Chain chain;
    int first;

    template <int V> NINC_MEMBER void put(int row, int column, const float (&sum)[V])
    {
        typename OffsetOf<((i64)PIXELS * CHANNELS_P > 0x7fffffff)>::Type offset = first + row;
        float v[V];
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = sum[e];
        if (Chain::MAPS == 0 || (first + row < PIXELS && column < CHANNELS_P))
            apply_chain(chain, v, offset * CHANNELS_P + column);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = CHANNELS == COLUMNS || column + e < CHANNELS ? v[e] : 0.0f;
        store_row(tile + row * PITCH_ + column, v);
    }
};

/* The same of gradients. What the chain reads, if anything, is `input`, a tile of the same form. */
template <class Element, int CHANNELS, int COLUMNS, int PITCH_, class Chain> struct GradientSink {
    static_assert(Chain::MAPS <= 1, "the input is there, and no other map");
    Element *tile;
    const Element *input;
    Chain chain;

    template <int V> NINC_MEMBER void put(int row, int column, const float (&sum)[V])
    {
        float v[V], m[1][V];
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = sum[e];
        if (Chain::MAPS > 0)
            load_row(m[0], input + row * PITCH_ + column);
        chain.apply(v, m);
#pragma unroll
        for (int e = 0; e < V; e++)
            v[e] = CHANNELS == COLUMNS || column + e < CHANNELS ? v[e] : 0.0f;
        store_row(tile + row * PITCH_ + column, v);
    }
};

/* ---- products with a tile that is there ---- */

/* Stands for the operand that is there. */
struct NoSource {
    static constexpr int SIZE = 0;
    template <class Element> NINC_MEMBER void fetch(Element *, int) {}
    template <class Element> NINC_MEMBER void put(Element *) const {}
};

/* What a pipeline of filter slices adds to: `tile` [T::M][all terms], T::K terms a step. */
template <class Math, class T, Order B, int PITCH_A>
struct StreamedSum : Product<Math, T::M, T::N, T::THREADS, ALONG, B> {
    typedef typename Math::Element Element;
    typedef Product<Math, T::M, T::N, T::THREADS, ALONG, B> Base;
    const Element *tile;

    NINC_MEMBER void multiply(const Element *, const Element *filter)
    {
        Base::template multiply<T::K, PITCH_A, PITCH<Element, B, T::N, T::K>>(tile, filter);
        tile += T::K;
    }
};

/* ---- forward ---- */

/* One 1x1 convolution of a block to K channels, its epilogue, and where its result goes: filter
 * [K][CP], bias [K] or NULL, out [N][P][Q][KP] or NULL. */
template <class Math, int K_, class Chain> struct Pointwise {
    static constexpr int K = K_;
    const typename Math::Element *filter;
    const float *bias;
    typename Math::Element *out;
    Chain chain;
};

/* The part of a block after the first product. C: the convolution, T: the block's tile. */
template <class C, class Math, class T> struct ForwardBlock {
    typedef typename Math::Element Element;
    static constexpr int PITCH_ = PITCH<Element, ALONG, T::M, T::N>;
    static constexpr int SIZE = T::M * PITCH_;
    Element *tile;   /* [M][N]: what the last convolution gave */
    Element *stages; /* of filter slices, behind it */
    int first;       /* pixel */

    /* Writes a product of Shape::K channels to the tile, which nobody reads any more, and from
     * there to `out`, if that is not NULL. */
    template <class Shape, class Sum, class Chain>
    NINC_MEMBER void put(const Sum &sum, Element *out, const Chain &chain) const
    {
        TileSink<Element, C::OUTPUTS, Shape::K, Shape::KP, T::N, PITCH_, Chain> sink = {tile, chain,
                                                                                        first};
        sum.each(sink);
        if (!out)
            return;
        __syncthreads(); /* the tile is whole */
        PixelTile<Element, C::OUTPUTS, Shape::KP, T, PITCH_>::store(tile, out, first);
    }

    /* Ends the convolution of a `Shape` and does those behind it. */
    template <class Shape, class Sum, class Chain>
    NINC_MEMBER void run(const Sum &sum, Element *out, const Chain &chain) const
    {
        __syncthreads(); /* the tile and the stages were read by everybody */
        put<Shape>(sum, out, chain);
    }

    template <class Shape, class Sum, class Chain, class Step, class... Steps>
    NINC_MEMBER void run(const Sum &sum, Element *out, const Chain &chain, const Step &step,
                         const Steps &...steps) const
    {
        typedef PointwiseShape<Shape::K, Step::K> Next;
        typedef typename StepTileOf<Math, T, Next::KP>::Type NextTile;
        typedef FilterRows<Next, Element, NextTile, false> SourceB;
        static_assert(
            (SIZE + T::STAGES * SourceB::SIZE) * (int)sizeof(Element) <=
                NINC_MLPCONV_STEP_SHARED(T::M, T::N, T::K, T::STAGES, (int)sizeof(Element)),
            "shared memory is as ir/tiles.h says");
        constexpr int COUNT = NINC_TILES(Next::CP, T::K);
        NoSource a;
        SourceB b;
        __syncthreads(); /* the tile and the stages were read by everybody */
        b.start(step.filter, 0);
        start_pipeline<T::STAGES>(COUNT, a, b, stages);
        put<Shape>(sum, out, chain);
        StreamedSum<Math, NextTile, ALONG, PITCH_> next;
        next.tile = tile;
        next.begin(BiasStart<Next>{step.bias, 0});
        finish_pipeline<T::STAGES>(COUNT, a, b, next, stages);
        run<Next>(next, step.out, step.chain, steps...);
    }
};

/* A convolution C and the 1x1 convolutions `steps` (Pointwise) on it. x [N][H][W][CP], filter
 * [K][R][S][CP], bias [K] or NULL, out [N][P][Q][KP] or NULL: the result of the first, chain: its
 * epilogue. T: N covers the channels of all. */
template <class C, class Math, class T, class Chain, class... Steps>
NINC_DEVICE void mlpconv_fprop(const typename Math::Element *x,
                               const typename Math::Element *filter, const float *bias,
                               typename Math::Element *out, const Chain &chain,
                               const Steps &...steps)
{
    typedef typename Math::Element Element;
    typedef typename StepTileOf<Math, T, C::KP>::Type First;
    typedef PatchRows<C, Element, First, C::THIN> SourceA;
    typedef FilterRows<C, Element, First, C::THIN> SourceB;
    typedef ForwardBlock<C, Math, T> Block;
    static_assert(T::STAGES * (SourceA::SIZE + SourceB::SIZE) * (int)sizeof(Element) <=
                      NINC_FPROP_SHARED(T::M, T::N, T::K, T::STAGES, (int)sizeof(Element)),
                  "shared memory is as ir/tiles.h says");
    DYNAMIC_SHARED(shared);
    Block block = {(Element *)shared, (Element *)shared + Block::SIZE, (int)blockIdx.x * T::M};
    SourceA a;
    SourceB b;
    a.start(x, block.first);
    b.start(filter, 0);
    TileSum<Math, First, ALONG, ALONG> sum;
    sum.begin(BiasStart<C>{bias, 0});
    run_pipeline<T::STAGES>(NINC_TILES(C::FILTER, T::K), a, b, sum, (Element *)shared);
    block.template run<C>(sum, out, chain, steps...);
}

/* ---- backward ---- */

/* The gradients of one 1x1 convolution of C to K channels: input [pixels][CP], filter [K][CP];
 * dfilter [SPLIT][K][CP], dbias [SPLIT][KP] or NULL. Chain: what is done with the gradient of its
 * input, and reads no other map than that input. */
template <class Math, int C_, int K_, class Chain_> struct PointwiseGradient {
    typedef Chain_ Chain;
    static constexpr int C = C_, K = K_;
    const typename Math::Element *input, *filter;
    float *dfilter, *dbias;
    Chain chain;
};

struct Extent {
    int m, n;
};

/* The cheapest product of at least k x c results within T::N x T::N: the filter gradient. */
template <class Math, class T> static __device__ constexpr Extent gradient_extent(int k, int c)
{
    Extent best = {0, 0};
    int cost = 0;
    for (int m = NINC_TILES(k, 16) * 16; m <= T::N; m += 16)
        for (int n = NINC_TILES(c, 8) * 8; n <= T::N; n += 8) {
            int other = product_cost<Math>(m, n, T::THREADS);
            if (other && (other < cost || !cost))
                best = {m, n}, cost = other;
        }
    return best;
}

/* What the steps of a block work on; its shared memory is as NINC_MLPCONV_BACKWARD_SHARED says. */
template <class Math_, class T_, int PIXELS_> struct BackwardBlock {
    typedef Math_ Math;
    typedef T_ T;
    typedef typename Math::Element Element;
    static constexpr int PIXELS = PIXELS_;
    static constexpr int PITCH_ = PITCH<Element, ACROSS, T::N, T::K>;
    static constexpr int SIZE = T::M * PITCH_;        /* of a tile of pixels */
    static constexpr int FILTER_SIZE = T::N * PITCH_; /* of a whole filter */
    static constexpr bool RESIDENT = T::STAGES == 1;
    const Element *dy;
    Element *dx;
    Element *delta, *next_delta; /* [M][N]: gradient, of this tile and the next */
    Element *input, *next_input; /* [M][N]: of this step and the one that follows it */
    Element *filters;            /* RESIDENT: [steps][N][N], else stages */
    int pixel, end;              /* of this tile, of the block's range */

    NINC_MEMBER void start(Element *shared, int first, int past)
    {
        delta = shared, next_delta = shared + SIZE;
        input = shared + 2 * SIZE, next_input = shared + 3 * SIZE;
        filters = shared + 4 * SIZE;
        pixel = first, end = past;
    }

    NINC_MEMBER void step()
    {
        Element *used = input;
        input = next_input, next_input = used;
    }

    NINC_MEMBER void advance()
    {
        Element *used = delta;
        delta = next_delta, next_delta = used;
        pixel += T::M;
    }
};

/* delta [M][K] filter [K][CP]: the filter is in shared memory, or its slices are streamed there. */
template <class Block, class Shape, bool RESIDENT> struct InputGradient {
    typedef typename Block::Element Element;
    typedef typename StepTileOf<typename Block::Math, typename Block::T, Shape::CP>::Type T;
    static constexpr int PITCH_ = Block::PITCH_;
    Product<typename Block::Math, T::M, T::N, T::THREADS, ALONG, ACROSS> sum;
    const Element *filter;

    NINC_MEMBER void start(const Element *, Element *shared) { filter = shared; }

    NINC_MEMBER void finish(const Element *delta)
    {
        sum.begin(Zeros());
#pragma unroll 1
        for (int k = 0; k < Shape::KP; k += T::K)
            sum.template multiply<T::K, PITCH_, PITCH_>(delta + k, filter + k * PITCH_);
    }
};

template <class Block, class Shape> struct InputGradient<Block, Shape, false> {
    typedef typename Block::Element Element;
    typedef typename StepTileOf<typename Block::Math, typename Block::T, Shape::CP>::Type T;
    static constexpr int COUNT = NINC_TILES(Shape::KP, T::K);
    NoSource a;
    FilterColumns<Shape, Element, T> b;
    StreamedSum<typename Block::Math, T, ACROSS, Block::PITCH_> sum;
    Element *stages;

    NINC_MEMBER void start(const Element *filter, Element *shared)
    {
        stages = shared;
        b.start(filter, 0);
        start_pipeline<T::STAGES>(COUNT, a, b, stages);
    }

    NINC_MEMBER void finish(const Element *delta)
    {
        sum.tile = delta;
        sum.begin(Zeros());
        finish_pipeline<T::STAGES>(COUNT, a, b, sum, stages);
    }
};

/* The 1x1 convolutions from one on, in the order of the gradient, with their sums over the pixels
 * of the block's range. None: what follows is the first one's next tile. */
template <class Block, class... Steps> struct BackwardSteps {
    static constexpr int COUNT = 0;
    NINC_MEMBER void begin() {}
    NINC_MEMBER void fetch_filters(typename Block::Element *) const {}
    NINC_MEMBER void finish(const Block &, int) const {}
    template <class First> NINC_MEMBER void run(Block &, const First &, int) {}

    template <class First> NINC_MEMBER void fetch_next(Block &block, const First &first) const
    {
        if (block.pixel + Block::T::M < block.end)
            first.fetch_input(block.next_input, block.pixel + Block::T::M, block.end);
    }
};

template <class Block, class Step, class... Steps> struct BackwardSteps<Block, Step, Steps...> {
    typedef typename Block::Math Math;
    typedef typename Block::Element Element;
    typedef typename Block::T T;
    typedef PointwiseShape<Step::C, Step::K> Shape;
    static constexpr int COUNT = 1 + (int)sizeof...(Steps), PITCH_ = Block::PITCH_;
    static constexpr Extent EXTENT = gradient_extent<Math, T>(Step::K, Step::C);
    static_assert(EXTENT.m > 0, "the warps must share a tile of the filter gradient");
    static_assert(Shape::KP <= T::N, "the tile covers all channels of the block");
    typedef PixelTile<Element, Block::PIXELS, Shape::KP, T, PITCH_> OutputTile;
    typedef PixelTile<Element, Block::PIXELS, Shape::CP, T, PITCH_> InputTile;
    typedef Tile<T::N, T::N, T::M, T::STAGES, T::THREADS> Square; /* sums over M pixels */
    typedef BiasSum<Element, Square> Bias;
    static_assert(4 * Block::SIZE * (int)sizeof(Element) >= Bias::GROUPS * T::N * 4,
                  "the bias sums fit the memory of the tiles");
    Step step;
    Product<Math, EXTENT.m, EXTENT.n, T::THREADS, ACROSS, ACROSS> dfilter;
    Bias dbias;
    BackwardSteps<Block, Steps...> rest;

    NINC_MEMBER void begin(const Step &head, const Steps &...tail)
    {
        step = head;
        dfilter.begin(Zeros());
        dbias.begin();
        rest.begin(tail...);
    }

    /* Starts the copies of all filters, zeros behind them, to [COUNT][N][N]. */
    NINC_MEMBER void fetch_filters(Element *to) const
    {
        PixelTile<Element, Step::K, Shape::CP, Square, PITCH_>::fetch(to, step.filter, 0, Step::K);
        rest.fetch_filters(to + Block::FILTER_SIZE);
    }

    NINC_MEMBER void fetch_input(Element *to, int pixel, int end) const
    {
        InputTile::fetch(to, step.input, pixel, end);
    }

    NINC_MEMBER void fetch_delta(Element *to, const Element *dy, int pixel, int end) const
    {
        OutputTile::fetch(to, dy, pixel, end);
    }

    /* The copies that end before this step's end: of what the next one needs. */
    template <class First> NINC_MEMBER void fetch_next(Block &block, const First &) const
    {
        fetch_input(block.next_input, block.pixel, block.end);
    }

    /* One tile. */
    template <class First> NINC_MEMBER void run(Block &block, const First &first, int number)
    {
        cp_async_wait<0>();
        __syncthreads(); /* delta and input are there; the next ones' memory is free */
        rest.fetch_next(block, first);
        if (COUNT == First::COUNT && block.pixel + T::M < block.end)
            first.fetch_delta(block.next_delta, block.dy, block.pixel + T::M, block.end);
        cp_async_commit();
        InputGradient<Block, Shape, Block::RESIDENT> gradient;
        gradient.start(step.filter,
                       block.filters + (Block::RESIDENT ? number * Block::FILTER_SIZE : 0));
        if (step.dbias)
            dbias.add(block.delta);
#pragma unroll 1
        for (int k = 0; k < T::M; k += T::K)
            dfilter.template multiply<T::K, PITCH_, PITCH_>(block.delta + k * PITCH_,
                                                            block.input + k * PITCH_);
        gradient.finish(block.delta);
        __syncthreads(); /* delta was read by everybody */
        GradientSink<Element, Step::C, T::N, PITCH_, typename Step::Chain> sink = {
            block.delta, block.input, step.chain};
        gradient.sum.each(sink);
        block.step();
        if (COUNT == 1) {
            __syncthreads(); /* delta is whole */
            InputTile::store(block.delta, block.dx, block.pixel);
        }
        rest.run(block, first, number + 1);
    }

    /* Writes the sums of part `part`. */
    NINC_MEMBER void finish(const Block &block, int part) const
    {
        FilterSink<Shape> sink = {step.dfilter + (i64)part * Step::K * Shape::CP, 0, 0};
        dfilter.each(sink);
        if (step.dbias)
            dbias.finish((float *)block.delta, step.dbias + (i64)part * Shape::KP, Step::K,
                         Shape::KP);
        rest.finish(block, part);
    }
};

/* The gradients of the 1x1 convolutions `steps` (PointwiseGradient) of a block, from the last to
 * the first, in SPLIT parts, each over its own range of the pixels. dy, dx: of the map behind the
 * last and of the input of the first, [PIXELS][channels rounded up to 8]. T: N covers the channels
 * of all; STAGES 1: their filters stay in shared memory, else they are streamed in slices of K
 * rows. */
template <int PIXELS, class Math, class T, int SPLIT, class... Steps>
NINC_DEVICE void mlpconv_backward(const typename Math::Element *dy, typename Math::Element *dx,
                                  const Steps &...steps)
{
    typedef typename Math::Element Element;
    typedef BackwardBlock<Math, T, PIXELS> Block;
    static_assert(T::N % T::K == 0 && T::M % T::K == 0, "the tile is in slices of K");
    static_assert((4 * Block::SIZE + (Block::RESIDENT ? (int)sizeof...(Steps) * Block::FILTER_SIZE
                                                      : T::STAGES * T::K * Block::PITCH_)) *
                          (int)sizeof(Element) ==
                      NINC_MLPCONV_BACKWARD_SHARED(T::M, T::N, T::K, T::STAGES,
                                                   (int)sizeof...(Steps), (int)sizeof(Element)),
                  "shared memory is as ir/tiles.h says");
    DYNAMIC_SHARED(shared);
    constexpr int PART = NINC_TILES(NINC_TILES(PIXELS, SPLIT), T::M) * T::M;
    int part = (int)(blockIdx.z * gridDim.x + blockIdx.x);
    int first = part * PART < PIXELS ? part * PART : PIXELS;
    Block block;
    block.dy = dy, block.dx = dx;
    block.start((Element *)shared, first, first + PART < PIXELS ? first + PART : PIXELS);
    BackwardSteps<Block, Steps...> all;
    all.begin(steps...);
    if (first < block.end) {
        all.fetch_delta(block.delta, dy, first, block.end);
        all.fetch_input(block.input, first, block.end);
        if (Block::RESIDENT)
            all.fetch_filters(block.filters);
    }
    cp_async_commit();
#pragma unroll 1
    for (; block.pixel < block.end; block.advance())
        all.run(block, all, 0);
    all.finish(block, part);
}

#endif
