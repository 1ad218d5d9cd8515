/* GEMM tiles of a block: a multistage pipeline of operand tiles in shared memory, the product of
 * two tiles in the threads' registers, and how the results get out.
 *
 * An operand tile lies in one of two orders, named by where the reduction (k) runs:
 *     ALONG    [m][k] or [n][k]: along the rows
 *     ACROSS   [k][m] or [k][n]: across the rows
 * Rows are padded (NINC_PITCH, NINC_PITCH_ACROSS): no bank conflicts. */
#ifndef NINC_TILE_CUH
#define NINC_TILE_CUH

/* The arithmetic of a contraction; Element is what operands are stored as. Sums are float. */
struct Fp32 {
    typedef float Element;
    static constexpr bool MMA = false;
};

struct Tf32 {
    typedef float Element;
    static constexpr bool MMA = true;
};

struct Bf16 {
    typedef bf16 Element;
    static constexpr bool MMA = true;
};

/* M x N results a block, K terms of the reduction a stage. */
template <int M_, int N_, int K_, int STAGES_, int THREADS_> struct Tile {
    static constexpr int M = M_, N = N_, K = K_, STAGES = STAGES_, THREADS = THREADS_;
};

enum Order { ALONG, ACROSS };

template <class Element, Order ORDER, int COUNT, int K>
static constexpr int PITCH = ORDER == ALONG ? NINC_PITCH(K, (int)sizeof(Element))
                                            : NINC_PITCH_ACROSS(COUNT);

/* Elements of an operand tile of COUNT rows or columns. */
template <class Element, Order ORDER, int COUNT, int K>
static constexpr int TILE_SIZE = PITCH<Element, ORDER, COUNT, K> * (ORDER == ALONG ? COUNT : K);

/* ---- who copies what into a tile of ROWS x COLUMNS elements ---- */

/* In chunks of 16 bytes, neighbouring threads along a row. A thread keeps its column; those that
 * are left over after the last whole row have nothing to do. */
template <class Element, int ROWS, int COLUMNS, int PITCH_, int THREADS> struct RowCopy {
    static constexpr int PER_ROW = COLUMNS / Chunk<Element>::SIZE;
    static constexpr int STEP = THREADS / PER_ROW; /* rows that all threads copy at once */
    static constexpr int COUNT = (ROWS + STEP - 1) / STEP;
    static_assert(STEP > 0, "threads copy whole rows");

    static NINC_MEMBER int column() { return (int)threadIdx.x % PER_ROW * Chunk<Element>::SIZE; }
    static NINC_MEMBER int row(int i) { return (int)threadIdx.x / PER_ROW + i * STEP; }
    static NINC_MEMBER bool has(int i)
    {
        bool works = THREADS % PER_ROW == 0 || (int)threadIdx.x < STEP * PER_ROW;
        return works && (ROWS % STEP == 0 || row(i) < ROWS);
    }
    static NINC_MEMBER int at(int i) { return row(i) * PITCH_ + column(); }
};

/* Element by element into registers, then in chunks of 16 bytes: for rows that are not aligned.
 * Neighbouring threads have neighbouring rows; a thread keeps its row. Threads may be left over. */
template <class Element, int ROWS, int COLUMNS, int PITCH_, int THREADS> struct Gather {
    static constexpr int SIZE = Chunk<Element>::SIZE, PER_ROW = COLUMNS / SIZE;
    static constexpr int STEP = THREADS / ROWS; /* chunks of a row that are gathered at once */
    static constexpr int COUNT = (PER_ROW + STEP - 1) / STEP;
    static_assert(STEP > 0, "a thread gathers of one row");
    Element value[COUNT][SIZE];

    static NINC_MEMBER int row() { return (int)threadIdx.x % ROWS; }
    static NINC_MEMBER int chunk(int i) { return (int)threadIdx.x / ROWS + i * STEP; }
    static NINC_MEMBER int column(int i) { return chunk(i) * SIZE; }
    static NINC_MEMBER bool has(int i)
    {
        bool works = THREADS % ROWS == 0 || (int)threadIdx.x < STEP * ROWS;
        return works && (PER_ROW % STEP == 0 || chunk(i) < PER_ROW);
    }

    NINC_MEMBER void put(Element *tile) const
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            if (has(i))
                store_chunk(tile + row() * PITCH_ + column(i), value[i]);
    }
};

/* A pipeline calls sum.multiply(a tile, b tile) for each step of the reduction, while the tiles of
 * the next STAGES - 1 steps are on their way. A source has SIZE (elements of its tile), fetch(tile,
 * step), which starts the copy, and put(tile), which ends what fetch left in registers.
 *
 * This starts the first copies into `shared`, which nobody reads any more. */
template <int STAGES, class SourceA, class SourceB, class Element>
NINC_DEVICE void start_pipeline(int steps, SourceA &a, SourceB &b, Element *shared)
{
    static_assert(STAGES >= 2, "a stage is filled while another is read");
    constexpr int STAGE = SourceA::SIZE + SourceB::SIZE;
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; stage++) {
        Element *tile = shared + stage * STAGE;
        if (stage < steps) {
            a.fetch(tile, stage), b.fetch(tile + SourceA::SIZE, stage);
            a.put(tile), b.put(tile + SourceA::SIZE);
        }
        cp_async_commit();
    }
}

/* All steps. Other shared memory that was written before the call can be read in multiply. */
template <int STAGES, class SourceA, class SourceB, class Sum, class Element>
NINC_DEVICE void finish_pipeline(int steps, SourceA &a, SourceB &b, Sum &sum, Element *shared)
{
    constexpr int STAGE = SourceA::SIZE + SourceB::SIZE;
    const Element *full = shared;
    Element *empty = shared + (STAGES - 1) * STAGE;
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        cp_async_wait<STAGES - 2>();
        __syncthreads(); /* the tile of this step is there; `empty` was read by everybody */
        bool more = step + STAGES - 1 < steps;
        if (more)
            a.fetch(empty, step + STAGES - 1), b.fetch(empty + SourceA::SIZE, step + STAGES - 1);
        cp_async_commit();
        sum.multiply(full, full + SourceA::SIZE);
        if (more)
            a.put(empty), b.put(empty + SourceA::SIZE);
        empty = empty == shared + (STAGES - 1) * STAGE ? shared : empty + STAGE;
        full = full == shared + (STAGES - 1) * STAGE ? shared : full + STAGE;
    }
}

template <int STAGES, class SourceA, class SourceB, class Sum, class Element>
NINC_DEVICE void run_pipeline(int steps, SourceA &a, SourceB &b, Sum &sum, Element *shared)
{
    start_pipeline<STAGES>(steps, a, b, shared);
    finish_pipeline<STAGES>(steps, a, b, sum, shared);
}

/* ---- the product of two tiles ---- */

struct Warps {
    int m, n;
};

/* How `warps` warps share an m x n tile in multiples of unit_m x unit_n: nearest to square. */
static __device__ constexpr Warps share_tile(int m, int n, int warps, int unit_m, int unit_n)
{
    Warps best = {0, 0};
    for (int i = 1; i <= warps; i++) {
        int j = warps / i;
        if (warps % i || m % (i * unit_m) || n % (j * unit_n))
            continue;
        if (!best.m || m / i + n / j < m / best.m + n / best.n)
            best = {i, j};
    }
    return best;
}

/* The same for the arithmetic's own units; m is 0 where there is no way. On tensor cores two
 * columns of fragments are read together where that divides the tile. */
template <class Math> static __device__ constexpr Warps share_warps(int m, int n, int warps)
{
    Warps two = share_tile(m, n, warps, Math::MMA ? 16 : 4, Math::MMA ? 16 : 8);
    return two.m || !Math::MMA ? two : share_tile(m, n, warps, 16, 8);
}

/* Elements from the start of a tile to its row (ALONG) or column (ACROSS) `at` and term k. */
template <Order ORDER, int PITCH_> static __device__ constexpr int tile_offset(int at, int k)
{
    return ORDER == ALONG ? at * PITCH_ + k : k * PITCH_ + at;
}

/* Fragments of 16 x STEP (A) and, for two mmas, of STEP x 16 (B). lane_a, lane_b: where a lane
 * reads in a tile (an offset, which is computed once); load_a, load_b: `from` is that place, in the
 * tile from the fragment on. One for bf16, one for tf32. */
template <class Math> struct Mma;

template <> struct Mma<Bf16> {
    static constexpr int STEP = 16;

    template <Order ORDER, int PITCH_> static NINC_MEMBER int lane_a()
    {
        int lane = threadIdx.x & 31;
        return ORDER == ALONG
                   ? tile_offset<ORDER, PITCH_>(lane & 15, (lane >> 4) * 8)
                   : tile_offset<ORDER, PITCH_>((lane >> 3 & 1) * 8, (lane & 7) + (lane >> 4) * 8);
    }

    template <Order ORDER, int PITCH_> static NINC_MEMBER int lane_b()
    {
        int lane = threadIdx.x & 31;
        return ORDER == ALONG
                   ? tile_offset<ORDER, PITCH_>((lane & 7) + (lane >> 4) * 8, (lane >> 3 & 1) * 8)
                   : tile_offset<ORDER, PITCH_>((lane >> 4) * 8, lane & 15);
    }

    template <Order ORDER, int PITCH_>
    static NINC_MEMBER void load_a(u32 (&a)[4], const bf16 *from)
    {
        if (ORDER == ALONG)
            ldmatrix_x4(a, from);
        else
            ldmatrix_x4_trans(a, from);
    }

    template <Order ORDER, int PITCH_>
    static NINC_MEMBER void load_b(u32 (&b)[2][2], const bf16 *from)
    {
        u32 r[4];
        load_a<ORDER, PITCH_>(r, from);
        b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
    }

    /* The first 8 columns only: the other lanes read the same again. */
    template <Order ORDER, int PITCH_>
    static NINC_MEMBER void load_half_b(u32 (&b)[2], const bf16 *from)
    {
        u32 r[4];
        int lane = threadIdx.x & 31;
        load_a<ORDER, PITCH_>(r, from - tile_offset<ORDER, PITCH_>((lane >> 4) * 8, 0));
        b[0] = r[0], b[1] = r[1];
    }

    static NINC_MEMBER void run(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
    {
        mma_bf16(d, a, b);
    }
};

template <> struct Mma<Tf32> {
    static constexpr int STEP = 8;

    template <Order ORDER, int PITCH_> static NINC_MEMBER int lane_a()
    {
        int lane = threadIdx.x & 31;
        return ORDER == ALONG ? tile_offset<ORDER, PITCH_>(lane & 15, (lane >> 4) * 4)
                              : tile_offset<ORDER, PITCH_>(lane >> 2, lane & 3);
    }

    template <Order ORDER, int PITCH_> static NINC_MEMBER int lane_b()
    {
        int lane = threadIdx.x & 31;
        return ORDER == ALONG
                   ? tile_offset<ORDER, PITCH_>((lane & 7) + (lane >> 4) * 8, (lane >> 3 & 1) * 4)
                   : tile_offset<ORDER, PITCH_>(lane >> 2, lane & 3);
    }

    template <Order ORDER, int PITCH_>
    static NINC_MEMBER void load_a(u32 (&a)[4], const float *from)
    {
        if (ORDER == ALONG) {
            ldmatrix_x4(a, from);
        } else {
            a[0] = bits_of_float(from[0]), a[1] = bits_of_float(from[8]);
            a[2] = bits_of_float(from[4 * PITCH_]), a[3] = bits_of_float(from[4 * PITCH_ + 8]);
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
            a[i] = to_tf32(float_of_bits(a[i]));
    }

    template <Order ORDER, int PITCH_>
    static NINC_MEMBER void load_b(u32 (&b)[2][2], const float *from)
    {
        u32 r[4];
        load_a<ORDER, PITCH_>(r, from);
        constexpr int SECOND = ORDER == ALONG ? 1 : 2; /* ACROSS: r[1] is 8 columns further */
        b[0][0] = r[0], b[0][1] = r[SECOND], b[1][0] = r[3 - SECOND], b[1][1] = r[3];
    }

    template <Order ORDER, int PITCH_>
    static NINC_MEMBER void load_half_b(u32 (&b)[2], const float *from)
    {
        if (ORDER == ALONG) {
            u32 r[4];
            int lane = threadIdx.x & 31;
            load_a<ORDER, PITCH_>(r, from - tile_offset<ORDER, PITCH_>((lane >> 4) * 8, 0));
            b[0] = r[0], b[1] = r[1];
        } else {
            b[0] = to_tf32(from[0]), b[1] = to_tf32(from[4 * PITCH_]);
        }
    }

    static NINC_MEMBER void run(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
    {
        mma_tf32(d, a, b);
    }
};

/* An M x N product of a block, in registers. `A`, `B`: the orders of the operand tiles. On tensor
 * cores; the specialisation below is for float. */
template <class Math, int M, int N, int THREADS, Order A, Order B> struct Product {
    typedef typename Math::Element Element;
    static constexpr Warps WARPS = share_warps<Math>(M, N, THREADS / 32);
    static_assert(WARPS.m > 0, "the tile must be shared by the warps in multiples of 16 x 8");
    static constexpr int ROWS = M / WARPS.m / 16, COLUMNS = N / WARPS.n / 8;
    float sum[ROWS][COLUMNS][4];

    /* Of the warp's part of the tile. */
    static NINC_MEMBER int first_row() { return (int)(threadIdx.x / 32) % WARPS.m * (M / WARPS.m); }
    static NINC_MEMBER int first_column()
    {
        return (int)(threadIdx.x / 32) / WARPS.m * (N / WARPS.n);
    }

    /* Each result begins as start.at(its column). */
    template <class Start> NINC_MEMBER void begin(const Start &start)
    {
        int lane = threadIdx.x & 31;
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            int column = first_column() + j * 8 + (lane & 3) * 2;
            float left = start.at(column), right = start.at(column + 1);
#pragma unroll
            for (int i = 0; i < ROWS; i++)
                sum[i][j][0] = sum[i][j][2] = left, sum[i][j][1] = sum[i][j][3] = right;
        }
    }

    /* Adds the product of tiles of K terms. */
    template <int K, int PITCH_A, int PITCH_B>
    NINC_MEMBER void multiply(const Element *a, const Element *b)
    {
        typedef Mma<Math> Op;
        static_assert(K % Op::STEP == 0, "a stage is a multiple of the depth of an mma");
        a += Op::template lane_a<A, PITCH_A>() + tile_offset<A, PITCH_A>(first_row(), 0);
        b += Op::template lane_b<B, PITCH_B>() + tile_offset<B, PITCH_B>(first_column(), 0);
#pragma unroll
        for (int k = 0; k < K; k += Op::STEP) {
            u32 fa[ROWS][4], fb[COLUMNS][2];
#pragma unroll
            for (int i = 0; i < ROWS; i++)
                Op::template load_a<A, PITCH_A>(fa[i], a + tile_offset<A, PITCH_A>(i * 16, k));
#pragma unroll
            for (int j = 0; j + 1 < COLUMNS; j += 2) {
                u32 pair[2][2];
                Op::template load_b<B, PITCH_B>(pair, b + tile_offset<B, PITCH_B>(j * 8, k));
                fb[j][0] = pair[0][0], fb[j][1] = pair[0][1];
                fb[j + 1][0] = pair[1][0], fb[j + 1][1] = pair[1][1];
            }
            if (COLUMNS % 2)
                Op::template load_half_b<B, PITCH_B>(
                    fb[COLUMNS - 1], b + tile_offset<B, PITCH_B>((COLUMNS - 1) * 8, k));
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int j = 0; j < COLUMNS; j++)
                    Op::run(sum[i][j], fa[i], fb[j]);
        }
    }

    /* Calls sink.put(row, column, values) for all results, 2 neighbours of a row at a time. */
    template <class Sink> NINC_MEMBER void each(Sink &sink) const
    {
        int lane = threadIdx.x & 31;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int j = 0; j < COLUMNS; j++) {
                    float v[2] = {sum[i][j][2 * half], sum[i][j][2 * half + 1]};
                    sink.put(first_row() + i * 16 + half * 8 + (lane >> 2),
                             first_column() + j * 8 + (lane & 3) * 2, v);
                }
    }

    /* The same, 4 neighbours at a time where fragments are in pairs: even lanes give away their
     * part of every other fragment and get their neighbour's part of the one before. For results of
     * 2 bytes: 4 lanes then write 32 bytes. */
    template <class Sink> NINC_MEMBER void each_wide(Sink &sink) const
    {
        if (COLUMNS % 2) {
            each(sink);
            return;
        }
        int lane = threadIdx.x & 31;
        bool odd = lane & 1;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int j = 0; j + 1 < COLUMNS; j += 2) {
                    const float *even_pair = sum[i][j] + 2 * half;
                    const float *odd_pair = sum[i][j + 1] + 2 * half;
                    float got0 = shuffle_xor(odd ? even_pair[0] : odd_pair[0], 1);
                    float got1 = shuffle_xor(odd ? even_pair[1] : odd_pair[1], 1);
                    float v[4] = {odd ? got0 : even_pair[0], odd ? got1 : even_pair[1],
                                  odd ? odd_pair[0] : got0, odd ? odd_pair[1] : got1};
                    sink.put(first_row() + i * 16 + half * 8 + (lane >> 2),
                             first_column() + (j + odd) * 8 + (lane & 2) * 2, v);
                }
    }
};

/* In float arithmetic: a warp is 4 x 8 lanes; a lane has ROWS x COLUMNS results. ALONG an operand,
 * neighbouring lanes have neighbouring rows; ACROSS, a lane has VECTOR neighbours. */
template <int M, int N, int THREADS, Order A, Order B> struct Product<Fp32, M, N, THREADS, A, B> {
    typedef float Element;
    static constexpr Warps WARPS = share_warps<Fp32>(M, N, THREADS / 32);
    static_assert(WARPS.m > 0, "the tile must be shared by the warps in multiples of 4 x 8");
    static constexpr int ROWS = M / WARPS.m / 4, COLUMNS = N / WARPS.n / 8;
    static constexpr int VECTOR_M = A == ALONG ? 1 : ROWS % 4 == 0 ? 4 : ROWS % 2 == 0 ? 2 : 1;
    static constexpr int VECTOR_N =
        B == ALONG ? 1 : COLUMNS % 4 == 0 ? 4 : COLUMNS % 2 == 0 ? 2 : 1;
    float sum[ROWS][COLUMNS];

    static NINC_MEMBER int first_row()
    {
        int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
        return warp % WARPS.m * (M / WARPS.m) + lane / 8 * VECTOR_M;
    }
    static NINC_MEMBER int first_column()
    {
        int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
        return warp / WARPS.m * (N / WARPS.n) + lane % 8 * VECTOR_N;
    }
    static __device__ constexpr int row_step(int i)
    {
        return i / VECTOR_M * 4 * VECTOR_M + i % VECTOR_M;
    }
    static __device__ constexpr int column_step(int j)
    {
        return j / VECTOR_N * 8 * VECTOR_N + j % VECTOR_N;
    }

    template <class Start> NINC_MEMBER void begin(const Start &start)
    {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            float value = start.at(first_column() + column_step(j));
#pragma unroll
            for (int i = 0; i < ROWS; i++)
                sum[i][j] = value;
        }
    }

    /* One term of COUNT results of an operand that lies ACROSS; UNIT lanes beside each other. */
    template <int UNIT, int VECTOR, int COUNT>
    static NINC_MEMBER void load_term(float (&f)[COUNT], const float *row)
    {
#pragma unroll
        for (int i = 0; i < COUNT; i += VECTOR) {
            float v[VECTOR];
            load_row(v, row + i * UNIT);
#pragma unroll
            for (int e = 0; e < VECTOR; e++)
                f[i + e] = v[e];
        }
    }

    /* Unrolled no further than registers last: the compiler loads ahead all that it sees. */
    static constexpr int UNROLL = ROWS * COLUMNS >= 64 ? 1 : 2;

    template <int K, int PITCH_A, int PITCH_B>
    NINC_MEMBER void multiply(const float *a, const float *b)
    {
        a += A == ALONG ? first_row() * PITCH_A : first_row();
        b += B == ALONG ? first_column() * PITCH_B : first_column();
#pragma unroll UNROLL
        for (int k = 0; k < K; k += 4) {
            float fa[ROWS][4];
            if (A == ALONG)
#pragma unroll
                for (int i = 0; i < ROWS; i++)
                    load_chunk(fa[i], a + i * 4 * PITCH_A + k);
            if (B == ALONG)
                add_columns<PITCH_B>(fa, b + k);
            else
#pragma unroll
                for (int q = 0; q < 4; q++)
                    add_term<PITCH_A, PITCH_B>(fa, q, a + (k + q) * PITCH_A, b + (k + q) * PITCH_B);
        }
    }

    /* 4 terms, B ALONG: column by column. */
    template <int PITCH_B> NINC_MEMBER void add_columns(const float (&fa)[ROWS][4], const float *b)
    {
        static_assert(A == ALONG || B == ACROSS, "no pass has a product of A ACROSS and B ALONG");
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            float fb[4];
            load_chunk(fb, b + j * 8 * PITCH_B);
#pragma unroll
            for (int q = 0; q < 4; q++)
#pragma unroll
                for (int i = 0; i < ROWS; i++)
                    sum[i][j] += fa[i][q] * fb[q];
        }
    }

    /* One term, B ACROSS: of rows `a` (A ACROSS) and `b`. */
    template <int PITCH_A, int PITCH_B>
    NINC_MEMBER void add_term(const float (&along)[ROWS][4], int q, const float *a, const float *b)
    {
        float fa[ROWS], fb[COLUMNS];
        if (A == ACROSS)
            load_term<4, VECTOR_M>(fa, a);
        load_term<8, VECTOR_N>(fb, b);
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
                sum[i][j] += (A == ALONG ? along[i][q] : fa[i]) * fb[j];
    }

    /* Calls sink.put(row, column, values) for all results, VECTOR_N neighbours at a time. */
    template <class Sink> NINC_MEMBER void each(Sink &sink) const
    {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j += VECTOR_N) {
                float v[VECTOR_N];
#pragma unroll
                for (int e = 0; e < VECTOR_N; e++)
                    v[e] = sum[i][j + e];
                sink.put(first_row() + row_step(i), first_column() + column_step(j), v);
            }
    }

    template <class Sink> NINC_MEMBER void each_wide(Sink &sink) const { each(sink); }
};

/* Results begin as zeros. */
struct Zeros {
    NINC_MEMBER float at(int) const { return 0.0f; }
};

#endif
