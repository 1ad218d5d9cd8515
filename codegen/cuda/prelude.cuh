/* What the device library needs of a machine: types, and one function an instruction that CUDA C++
 * has no word for. All PTX of ninc is in this file. With NINC_SIM the simulator's sim.h, included
 * before this text, defines the same names.
 *
 * A warp's 32 lanes call ldmatrix_*, mma_* and shuffle_* together. Fragments are those of PTX's
 * mma.m16n8k16 (bf16) and mma.m16n8k8 (tf32); ldmatrix is made for both: a row of a matrix is 16
 * bytes, whatever they hold. */
#ifndef NINC_PRELUDE_CUH
#define NINC_PRELUDE_CUH

#ifdef NINC_SIM

#define NINC_DEVICE static __forceinline__
#define NINC_MEMBER __forceinline__

NINC_DEVICE float float_of_bits(u32 bits) { return sim_float_of_bits(bits); }
NINC_DEVICE u32 bits_of_float(float value) { return sim_bits_of_float(value); }

#else

/* A kernel that is compiled alone leaves most of the library unused, and some loops of a template
 * run no times for some of its parameters. */
#pragma nv_diag_suppress 177, 128

#define NINC_DEVICE static __device__ __forceinline__
#define NINC_MEMBER __device__ __forceinline__

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

/* The upper half of a float. */
struct bf16 {
    u16 bits;
};

/* The dynamic shared memory of the block, as bytes. */
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) u8 name[]

/* ---- numbers ---- */

NINC_DEVICE float float_of_bits(u32 bits) { return __uint_as_float(bits); }
NINC_DEVICE u32 bits_of_float(float value) { return __float_as_uint(value); }

NINC_DEVICE float to_float(float value) { return value; }
NINC_DEVICE float to_float(bf16 value) { return __uint_as_float((u32)value.bits << 16); }

/* Two floats rounded to nearest even; `low` is the first in memory. */
NINC_DEVICE u32 pack_bf16(float low, float high)
{
    u32 packed;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
#else
    u32 l = __float_as_uint(low), h = __float_as_uint(high);
    l = low != low ? 0x7fff : (l + 0x7fff + (l >> 16 & 1)) >> 16;
    h = high != high ? 0x7fff : (h + 0x7fff + (h >> 16 & 1)) >> 16;
    packed = l | h << 16;
#endif
    return packed;
}

NINC_DEVICE bf16 to_bf16(float value)
{
    bf16 rounded = {(u16)pack_bf16(value, 0.0f)};
    return rounded;
}

/* Rounded to nearest, ties away from zero, to the 10 bits of mantissa that a tensor core reads. */
NINC_DEVICE u32 to_tf32(float value)
{
    u32 rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
    return rounded;
}

/* ---- between the lanes of a warp ---- */

NINC_DEVICE float shuffle_xor(float value, int mask)
{
    return __shfl_xor_sync(0xffffffff, value, mask);
}

/* The value of the lane `distance` further; a lane's own past the end of the warp. */
NINC_DEVICE float shuffle_down(float value, int distance)
{
    return __shfl_down_sync(0xffffffff, value, distance);
}

/* ---- tensor cores ---- */

NINC_DEVICE u32 shared_address(const void *shared) { return (u32)__cvta_generic_to_shared(shared); }

/* Four matrices of 8 rows of 16 bytes: lanes 8 i .. 8 i + 7 give the rows of matrix i; lane l gets
 * bytes 4 (l % 4) .. + 3 of row l / 4 of each. */
NINC_DEVICE void ldmatrix_x4(u32 (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* The same of 16-bit elements, each matrix transposed. */
NINC_DEVICE void ldmatrix_x4_trans(u32 (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* d [16][8] += a [16][16] b [16][8]. */
NINC_DEVICE void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* d [16][8] += a [16][8] b [8][8]. */
NINC_DEVICE void mma_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* ---- copies from global to shared memory ---- */

/* 16 bytes, or 16 zero bytes when not valid (then nothing is read, wherever `global` may point).
 * Both addresses are multiples of 16. */
NINC_DEVICE void cp_async_16(void *shared, const void *global, bool valid)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)),
                   "r"(valid ? 16 : 0)
                 : "memory");
#else
    uint4 value = {0, 0, 0, 0};
    if (valid)
        value = *(const uint4 *)global;
    *(uint4 *)shared = value;
#endif
}

NINC_DEVICE void cp_async_4(void *shared, const void *global, bool valid)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)),
                   "r"(valid ? 4 : 0)
                 : "memory");
#else
    *(u32 *)shared = valid ? *(const u32 *)global : 0;
#endif
}

/* Ends a group of copies. */
NINC_DEVICE void cp_async_commit()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits until at most the last GROUPS groups of this thread are still under way. */
template <int GROUPS> NINC_DEVICE void cp_async_wait()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}

#endif
#endif
