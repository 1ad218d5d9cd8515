/* What the emitted CUDA text is compiled against in the simulator: CUDA's words, and the device
 * library's primitives, which stand for PTX on a GPU. The work is done in sim.cc. Use:
 *
 *     g++ -std=c++17 -O1 -DNINC_SIM -include sim.h -fsanitize=thread -x c++ -c MODEL.cu
 *     g++ -std=c++17 -O2 -c sim.cc check.cc
 *     g++ -shared MODEL.o sim.o check.o
 *
 * -fsanitize=thread makes the compiler call a function at each plain load and store; these
 * functions are in check.cc (the compiler's own library for it is not linked). Without it all works
 * the same, and only the primitives' own accesses are checked. */
#ifndef NINC_SIM_H
#define NINC_SIM_H

/* C's functions of floats alone: libstdc++'s header is six times as long to compile. */
#define _GLIBCXX_INCLUDE_NEXT_C_HEADERS
#include <math.h>
#undef _GLIBCXX_INCLUDE_NEXT_C_HEADERS
#include <stdint.h>

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef int32_t i32;
typedef long long i64;

/* CUDA's built-in vector types, with its alignment. */
#define SIM_VECTOR_TYPES(T, NAME) \
    struct alignas(2 * sizeof(T)) NAME##2 \
    { \
        T x, y; \
    }; \
    struct NAME##3 \
    { \
        T x, y, z; \
    }; \
    struct alignas(4 * sizeof(T)) NAME##4 \
    { \
        T x, y, z, w; \
    }; \
    static inline NAME##2 make_##NAME##2(T x, T y) \
    { \
        return NAME##2 {x, y}; \
    } \
    static inline NAME##4 make_##NAME##4(T x, T y, T z, T w) \
    { \
        return NAME##4 {x, y, z, w}; \
    }
SIM_VECTOR_TYPES(float, float)
SIM_VECTOR_TYPES(int, int)
SIM_VECTOR_TYPES(unsigned, uint)
SIM_VECTOR_TYPES(unsigned short, ushort)
SIM_VECTOR_TYPES(unsigned char, uchar)
#undef SIM_VECTOR_TYPES

/* ---- what sim.cc does ---- */

typedef float SimFloats __attribute__((vector_size(16)));
typedef u32 SimWords __attribute__((vector_size(16)));

enum SimCopy { SIM_COPY_4 = 4, SIM_COPY_16 = 16 };

extern "C" {
/* Const: a kernel sees one thread and one block only. */
uint3 sim_thread_index() __attribute__((const));
uint3 sim_block_index() __attribute__((const));
uint3 sim_block_size() __attribute__((const));
uint3 sim_grid_size() __attribute__((const));
u8 *sim_shared_memory() __attribute__((const));

void sim_block_barrier();
void sim_warp_barrier();
float sim_shuffle(float value, u32 from_lane); /* the value of lane `from_lane` of the warp */
u32 sim_ballot(bool vote);
SimWords sim_ldmatrix(const void *row, bool transposed);
/* d + a b; the fragments of PTX's mma.m16n8k16 (bf16) and mma.m16n8k8 (tf32). */
SimFloats sim_mma_bf16(SimFloats d, SimWords a, u32 b0, u32 b1);
SimFloats sim_mma_tf32(SimFloats d, SimWords a, u32 b0, u32 b1);
void sim_cp_async(void *shared, const void *global, SimCopy bytes, bool valid);
void sim_cp_async_commit();
void sim_cp_async_wait(u32 groups_in_flight);
}

#define threadIdx sim_thread_index()
#define blockIdx sim_block_index()
#define blockDim sim_block_size()
#define gridDim sim_grid_size()
#define DYNAMIC_SHARED(name) u8 *name = sim_shared_memory()

static __forceinline__ void __syncthreads()
{
    sim_block_barrier();
}
static __forceinline__ void __syncwarp()
{
    sim_warp_barrier();
}

/* ---- numbers ---- */

struct bf16 {
    u16 bits;
};

static __forceinline__ float sim_float_of_bits(u32 bits)
{
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
}

static __forceinline__ u32 sim_bits_of_float(float value)
{
    u32 bits;
    __builtin_memcpy(&bits, &value, 4);
    return bits;
}

static __forceinline__ float to_float(float value)
{
    return value;
}
static __forceinline__ float to_float(bf16 value)
{
    return sim_float_of_bits((u32)value.bits << 16);
}

/* Round to nearest even, as cvt.rn.bf16.f32; a NaN becomes its one NaN. */
static __forceinline__ bf16 to_bf16(float value)
{
    u32 bits = sim_bits_of_float(value);
    u32 rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return bf16{(u16)(value != value ? 0x7fff : rounded)};
}

static __forceinline__ u32 pack_bf16(float low, float high)
{
    return to_bf16(low).bits | (u32)to_bf16(high).bits << 16;
}

/* Round to nearest, ties away from zero, to 10 bits of mantissa: cvt.rna.tf32.f32. */
static __forceinline__ u32 to_tf32(float value)
{
    u32 bits = sim_bits_of_float(value);
    return value != value ? 0x7fffffff : (bits + 0x1000) & ~0x1fffu;
}

/* ---- the device library's primitives ---- */

static __forceinline__ float shuffle_xor(float value, int mask)
{
    return sim_shuffle(value, (threadIdx.x ^ (u32)mask) & 31);
}

/* The value of the lane `distance` further; a lane's own past the end of the warp. */
static __forceinline__ float shuffle_down(float value, int distance)
{
    u32 lane = threadIdx.x & 31, from = lane + (u32)distance;
    return sim_shuffle(value, from < 32 ? from : lane);
}

static __forceinline__ void sim_store4(u32 (&r)[4], SimWords words)
{
    r[0] = words[0], r[1] = words[1], r[2] = words[2], r[3] = words[3];
}

static __forceinline__ void ldmatrix_x4(u32 (&r)[4], const void *row)
{
    sim_store4(r, sim_ldmatrix(row, false));
}

static __forceinline__ void ldmatrix_x4_trans(u32 (&r)[4], const void *row)
{
    sim_store4(r, sim_ldmatrix(row, true));
}

static __forceinline__ void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
{
    SimFloats sum = sim_mma_bf16(SimFloats{d[0], d[1], d[2], d[3]},
                                 SimWords{a[0], a[1], a[2], a[3]}, b[0], b[1]);
    d[0] = sum[0], d[1] = sum[1], d[2] = sum[2], d[3] = sum[3];
}

static __forceinline__ void mma_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
{
    SimFloats sum = sim_mma_tf32(SimFloats{d[0], d[1], d[2], d[3]},
                                 SimWords{a[0], a[1], a[2], a[3]}, b[0], b[1]);
    d[0] = sum[0], d[1] = sum[1], d[2] = sum[2], d[3] = sum[3];
}

static __forceinline__ void cp_async_16(void *shared, const void *global, bool valid)
{
    sim_cp_async(shared, global, SIM_COPY_16, valid);
}

static __forceinline__ void cp_async_4(void *shared, const void *global, bool valid)
{
    sim_cp_async(shared, global, SIM_COPY_4, valid);
}

static __forceinline__ void cp_async_commit()
{
    sim_cp_async_commit();
}

template <int GROUPS> static __forceinline__ void cp_async_wait()
{
    sim_cp_async_wait(GROUPS);
}

#endif
