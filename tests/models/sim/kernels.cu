/* Kernels for tests/tools/sim_tool.c: `sound_*` must run and give the right numbers; each `fault_*` has
 * one planted fault that the simulator must report. They use the prelude's primitives only. */

/* ---- numbers: one warp ---- */

/* Operands as raw bits in the fragments' order [lane][register]; d: [lane][4]. */
extern "C" __global__ void sound_mma_bf16(const u32 *a, const u32 *b, float *d)
{
    int lane = threadIdx.x;
    u32 fa[4], fb[2];
    float sum[4] = {1, 2, 3, 4};
    for (int i = 0; i < 4; i++)
        fa[i] = a[lane * 4 + i];
    for (int i = 0; i < 2; i++)
        fb[i] = b[lane * 2 + i];
    mma_bf16(sum, fa, fb);
    for (int i = 0; i < 4; i++)
        d[lane * 4 + i] = sum[i];
}

extern "C" __global__ void sound_mma_tf32(const u32 *a, const u32 *b, float *d)
{
    int lane = threadIdx.x;
    u32 fa[4], fb[2];
    float sum[4] = {1, 2, 3, 4};
    for (int i = 0; i < 4; i++)
        fa[i] = a[lane * 4 + i];
    for (int i = 0; i < 2; i++)
        fb[i] = b[lane * 2 + i];
    mma_tf32(sum, fa, fb);
    for (int i = 0; i < 4; i++)
        d[lane * 4 + i] = sum[i];
}

/* from: 32 rows of 8 u16; plain, transposed: [lane][4]. */
extern "C" __global__ void sound_ldmatrix(const u32 *from, u32 *plain, u32 *transposed)
{
    DYNAMIC_SHARED(shared);
    int lane = threadIdx.x;
    u32 r[4];
    cp_async_16(shared + lane * 16, from + lane * 4, true);
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    ldmatrix_x4(r, shared + lane * 16);
    for (int i = 0; i < 4; i++)
        plain[lane * 4 + i] = r[i];
    ldmatrix_x4_trans(r, shared + lane * 16);
    for (int i = 0; i < 4; i++)
        transposed[lane * 4 + i] = r[i];
}

/* out: [3][32]: the sum over the warp by shuffle_xor, by shuffle_down, a neighbour's value. */
extern "C" __global__ void sound_shuffle(const float *in, float *out)
{
    int lane = threadIdx.x;
    float all = in[lane], down = in[lane];
    for (int i = 16; i > 0; i /= 2) {
        all += shuffle_xor(all, i);
        down += shuffle_down(down, i);
    }
    out[lane] = all;
    out[32 + lane] = down;
    out[64 + lane] = shuffle_down(in[lane], 3);
}

/* out: to_bf16, to_tf32 of in, and both in one word. */
extern "C" __global__ void sound_convert(const float *in, u32 *out)
{
    int i = threadIdx.x;
    out[3 * i] = to_bf16(in[i]).bits;
    out[3 * i + 1] = to_tf32(in[i]);
    out[3 * i + 2] = pack_bf16(in[i], to_float(to_bf16(-in[i])));
}

/* Zero fill of invalid copies, four bytes at a time, three stages in flight. in, out: [8][32]. */
extern "C" __global__ void sound_pipeline(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *stage = (float *)shared;
    int lane = threadIdx.x;
    for (int k = 0; k < 3; k++) {
        cp_async_4(stage + k * 32 + lane, in + k * 32 + lane, k % 2 == 0);
        cp_async_commit();
    }
    for (int k = 0; k < 8; k++) {
        cp_async_wait<2>();
        __syncthreads();
        out[k * 32 + lane] = stage[k % 3 * 32 + (lane ^ 1)];
        __syncthreads();
        if (k + 3 < 8)
            cp_async_4(stage + k % 3 * 32 + lane, in + (k + 3) * 32 + lane, (k + 3) % 2 == 0);
        cp_async_commit();
    }
}

/* out[i] = pointer i's value: more arguments than registers. A grid of 2x3x4 blocks. */
extern "C" __global__ void sound_arguments(const int *a, const int *b, const int *c, const int *d,
                                           const int *e, const int *f, const int *g, const int *h,
                                           const int *i, const int *j, const int *k, int *out)
{
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int sum = *a + 2 * *b + 3 * *c + 4 * *d + 5 * *e + 6 * *f + 7 * *g + 8 * *h + 9 * *i + 10 * *j +
              11 * *k;
    out[block * blockDim.x + threadIdx.x] = sum + 1000 * block + threadIdx.x;
}

/* ---- faults, and the same kernel without ---- */

/* Each thread gives its value to another one through shared memory, twice. */
template <bool BARRIER, bool SECOND> __device__ void exchange(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *values = (float *)shared;
    int t = threadIdx.x, last = blockDim.x - 1;
    float sum = 0;
    values[t] = 0;
    __syncthreads();
    for (int i = 0; i < 2; i++) {
        values[t] = in[t] + i;
        if (BARRIER)
            __syncthreads();
        sum += values[last - t];
        if (SECOND)
            __syncthreads();
    }
    out[t] = sum;
}

extern "C" __global__ void sound_exchange(const float *in, float *out)
{
    exchange<true, true>(in, out);
}

extern "C" __global__ void fault_no_syncthreads(const float *in, float *out)
{
    exchange<false, true>(in, out);
}

extern "C" __global__ void fault_no_second_syncthreads(const float *in, float *out)
{
    exchange<true, false>(in, out);
}

template <bool BARRIER> __device__ void exchange_in_warp(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    bf16 *values = (bf16 *)shared; /* neighbours share a word */
    int t = threadIdx.x;
    values[t] = to_bf16(0);
    __syncwarp();
    values[t] = to_bf16(in[t]);
    if (BARRIER)
        __syncwarp();
    out[t] = to_float(values[t ^ 5]);
}

extern "C" __global__ void sound_exchange_in_warp(const float *in, float *out)
{
    exchange_in_warp<true>(in, out);
}

extern "C" __global__ void fault_no_syncwarp(const float *in, float *out)
{
    exchange_in_warp<false>(in, out);
}

/* Copies that were not waited for, by the thread itself (IN_FLIGHT groups) or by others. */
template <int IN_FLIGHT, bool BARRIER, bool MATRIX>
__device__ void staged(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *values = (float *)shared;
    int t = threadIdx.x;
    u32 r[4];
    cp_async_16(values + 4 * t, in + 4 * t, true);
    cp_async_commit();
    cp_async_16(values + 4 * blockDim.x + 4 * t, in + 4 * t, true);
    cp_async_commit();
    cp_async_wait<IN_FLIGHT>();
    if (BARRIER)
        __syncthreads();
    if (MATRIX) {
        ldmatrix_x4(r, values + 4 * blockDim.x + 4 * t);
        out[t] = (float)r[0];
    } else {
        out[t] = values[4 * blockDim.x + 4 * (t ^ 33)];
    }
}

extern "C" __global__ void sound_staged(const float *in, float *out)
{
    staged<0, true, false>(in, out);
}

extern "C" __global__ void fault_no_wait(const float *in, float *out)
{
    staged<2, true, false>(in, out);
}

extern "C" __global__ void fault_one_group_too_few(const float *in, float *out)
{
    staged<1, true, true>(in, out);
}

extern "C" __global__ void fault_wait_without_barrier(const float *in, float *out)
{
    staged<0, false, false>(in, out);
}

/* The next stage is fetched into the one that others still read. */
extern "C" __global__ void fault_copy_over_reads(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *values = (float *)shared;
    int t = threadIdx.x;
    values[t] = in[t];
    __syncthreads();
    out[t] = values[blockDim.x - 1 - t];
    cp_async_4(values + t, in + t, true);
    cp_async_commit();
    cp_async_wait<0>();
}

/* The tile has one row more than its share of shared memory. */
template <int ROWS> __device__ void tile_rows(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *tile = (float *)shared;
    int t = threadIdx.x;
    for (int row = 0; row < ROWS; row++)
        tile[row * 64 + t] = in[t];
    __syncthreads();
    out[t] = tile[(ROWS - 1) * 64 + 63 - t];
}

extern "C" __global__ void sound_tile(const float *in, float *out)
{
    tile_rows<8>(in, out);
}

extern "C" __global__ void fault_row_too_many(const float *in, float *out)
{
    tile_rows<9>(in, out);
}

extern "C" __global__ void fault_before_shared(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *tile = (float *)shared;
    tile[(int)threadIdx.x - 1] = in[threadIdx.x];
    out[threadIdx.x] = 0;
}

extern "C" __global__ void fault_past_end(const float *in, float *out)
{
    out[threadIdx.x] = in[threadIdx.x + 1];
}

extern "C" __global__ void fault_copy_past_buffer(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    cp_async_16(shared + threadIdx.x * 16, in + threadIdx.x * 4 + 4, true);
    cp_async_commit();
    cp_async_wait<0>();
    out[threadIdx.x] = 0;
}

extern "C" __global__ void fault_null(const float *in, float *out)
{
    out[threadIdx.x] = in[threadIdx.x] + *(const float *)(threadIdx.x * 4ull);
}

extern "C" __global__ void fault_misaligned_vector(const float *in, float *out)
{
    const float4 v = *(const float4 *)(in + 2 * threadIdx.x);
    out[threadIdx.x] = v.x + v.w;
}

extern "C" __global__ void fault_misaligned_ldmatrix(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *values = (float *)shared;
    u32 r[4];
    for (int i = 0; i < 8; i++)
        values[8 * threadIdx.x + i] = in[threadIdx.x];
    __syncwarp();
    ldmatrix_x4(r, values + 5 * threadIdx.x);
    out[threadIdx.x] = (float)r[0];
}

extern "C" __global__ void fault_misaligned_copy(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    cp_async_16(shared + threadIdx.x * 16, in + threadIdx.x, true);
    out[threadIdx.x] = 0;
}

extern "C" __global__ void fault_unwritten(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *values = (float *)shared;
    int t = threadIdx.x;
    if (t % 2 == 0)
        values[t] = in[t];
    __syncthreads();
    out[t] = values[t];
}

extern "C" __global__ void fault_unwritten_matrix(const float *in, float *out)
{
    DYNAMIC_SHARED(shared);
    float *values = (float *)shared;
    u32 r[4];
    for (int i = 0; i < 3; i++)
        values[4 * threadIdx.x + i] = in[threadIdx.x];
    __syncwarp();
    ldmatrix_x4(r, values + 4 * threadIdx.x);
    out[threadIdx.x] = (float)r[0];
}

extern "C" __global__ void fault_barrier_after_exit(const float *in, float *out)
{
    if (threadIdx.x == 5)
        return;
    __syncthreads();
    out[threadIdx.x] = in[threadIdx.x];
}

extern "C" __global__ void fault_barrier_in_branch(const float *in, float *out)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncwarp();
    out[threadIdx.x] = in[threadIdx.x];
}

extern "C" __global__ void fault_lane_missing(const float *in, float *out)
{
    float v = in[threadIdx.x];
    if (threadIdx.x != 17)
        v = shuffle_xor(v, 1);
    out[threadIdx.x] = v;
}

extern "C" __global__ void fault_lanes_apart(const float *in, float *out)
{
    float v = in[threadIdx.x];
    if (threadIdx.x % 32 < 16)
        v = shuffle_xor(v, 1);
    else
        __syncwarp();
    out[threadIdx.x] = v;
}

extern "C" __global__ void fault_lanes_at_barrier(const float *in, float *out)
{
    float v = in[threadIdx.x];
    if (threadIdx.x % 32 < 16)
        v = shuffle_xor(v, 1);
    __syncthreads();
    out[threadIdx.x] = v;
}

/* ---- global memory ---- */

/* Tiles of 96 in a grid for tiles of 64: blocks write the same elements. */
template <int TILE> __device__ void write_tile(const float *in, float *out)
{
    int first = blockIdx.x * 64;
    for (int i = threadIdx.x; i < TILE; i += blockDim.x)
        if (first + i < 256)
            out[first + i] = in[first + i];
}

extern "C" __global__ void sound_tiles(const float *in, float *out)
{
    write_tile<64>(in, out);
}

extern "C" __global__ void fault_tiles_overlap(const float *in, float *out)
{
    write_tile<96>(in, out);
}

extern "C" __global__ void fault_reads_other_block(const float *in, float *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = in[i];
    out[i] += out[(i + 64) % 256];
}

extern "C" __global__ void fault_one_sum(const float *in, float *out)
{
    out[0] += in[threadIdx.x];
}

/* Neighbours write halves and bytes of one word: no race. */
extern "C" __global__ void sound_small_elements(const float *in, float *out)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    ((bf16 *)out)[i] = to_bf16(in[i]);
    ((u8 *)out)[512 + i] = (u8)i;
}

/* Through global memory within a block, with a barrier. */
extern "C" __global__ void sound_global_exchange(const float *in, float *out)
{
    int first = blockIdx.x * 64, t = threadIdx.x;
    out[first + t] = in[first + t];
    __syncthreads();
    float v = out[first + 63 - t];
    __syncthreads();
    out[first + t] = v;
}
