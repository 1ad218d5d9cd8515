// Three kernels for tests of the machine behind --device cuda (tests/tools/cuda_tool.c), in the form of
// ninc's emitted text: macros with defaults, each kernel under its number.

#ifndef SCALE_FACTOR
#define SCALE_FACTOR 3
#endif
#ifndef REVERSE_THREADS
#define REVERSE_THREADS 64
#endif

#if !defined NINC_KERNEL || NINC_KERNEL == 0
// y[i] += SCALE_FACTOR x[i], i < 64.
extern "C" __global__ void __launch_bounds__(64) scale(const float *x, float *y)
{
    y[threadIdx.x] += SCALE_FACTOR * x[threadIdx.x];
}
#endif

#if !defined NINC_KERNEL || NINC_KERNEL == 1
// y[i] += x[63 - i], i < 64, through dynamic shared memory.
extern "C" __global__ void __launch_bounds__(REVERSE_THREADS) reverse(const float *x, float *y)
{
    extern __shared__ float row[];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] += row[REVERSE_THREADS - 1 - threadIdx.x];
}
#endif

#if !defined NINC_KERNEL || NINC_KERNEL == 2
// Indexes an array by a number that is not known, so that it needs a stack, and has static shared
// memory: for the reader of cubins.
extern "C" __global__ void __launch_bounds__(64) stack(const float *x, float *y)
{
    __shared__ float kept[100];
    float part[64];
    for (int i = 0; i < 64; i++)
        part[i] = x[i];
    for (int i = 0; i < 64; i++)
        part[(int)x[i] & 63] += (float)i;
    kept[threadIdx.x] = part[(int)x[threadIdx.x] & 63];
    __syncthreads();
    y[threadIdx.x] = kept[63 - threadIdx.x];
}
#endif
