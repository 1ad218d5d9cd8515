/* What the pointwise ops of the op table (ir/ops.h) are computed with. Their expressions stand in
 * the emitted text as functions op_NAME of floats. */
#ifndef NINC_SCALAR_CUH
#define NINC_SCALAR_CUH

#define SQRT(x) sqrtf(x)
#define EXP(x) expf(x)
#define EXPM1(x) expm1f(x)
#define LOG1P(x) log1pf(x)
#define TANH(x) tanhf(x)
#define NORMCDF(x) (0.5f * erfcf(-0.707106781f * (x)))
#define POW(beta, step) (Power{(beta).log * (step)})

/* The attribute k of an op, and 1 - k: rounded once, from the decimal number. */
struct Factor {
    float value, rest;
};

NINC_DEVICE float operator*(Factor k, float x) { return k.value * x; }
NINC_DEVICE float operator+(float x, Factor k) { return x + k.value; }
NINC_DEVICE float operator-(int, Factor k) { return k.rest; }

/* A number below 1 by its logarithm, and a power of it: 1 - beta^step, which floats of beta would
 * give with few correct digits, is then exact to a few units in the last place. */
struct Beta {
    float log;
};

struct Power {
    float log;
};

NINC_DEVICE float operator-(int, Power p) { return -expm1f(p.log); }

/* ---- elements ---- */

/* Every kernel without tiles has blocks of this many threads. */
static constexpr int BLOCK = 256;

NINC_DEVICE void put(float *to, float value) { *to = value; }
NINC_DEVICE void put(bf16 *to, float value) { *to = to_bf16(value); }
NINC_DEVICE void put(u8 *to, int value) { *to = (u8)value; }
NINC_DEVICE void put(i32 *to, int value) { *to = value; }

/* One thread an element. */
NINC_DEVICE i64 thread_element() { return (i64)blockIdx.x * BLOCK + threadIdx.x; }

/* The sum of `copies` partial results, `stride` elements apart, in order. */
NINC_DEVICE float sum_copies(const float *from, int copies, i64 stride)
{
    float sum = from[0];
#pragma unroll 8
    for (int i = 1; i < copies; i++)
        sum += from[i * stride];
    return sum;
}

#endif
