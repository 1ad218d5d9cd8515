/* How long a CUDA kernel takes on a GPU: one model, by which passes/cuda/ orders schedules,
 * runtime/device/specialise.c chooses on the device at hand, and `make predict-gpu` prints its
 * table. roofline.c has every number of a device and every assumption, with its source. */
#ifndef NINC_ROOFLINE_H
#define NINC_ROOFLINE_H

#include "gpu_work.h"
#include "ir.h"

/* ---- roofline.c ---- */

/* A GPU that stands for its compute capability. A processor is an SM. */
typedef struct GpuKind {
    int architecture;
    const char *name;
    int processors;
    double clock;        /* a second */
    int threads, blocks; /* most that are resident on a processor */
    int shared_kb;       /* shared memory of a processor */
    int block_shared_kb; /* of it a block may ask for */
    int flop[GPU_MATHS]; /* a clock and processor, as FFMA and mma.sync reach it; 0: it has none */
    double bytes;        /* a second, of device memory, as copies reach it */
} GpuKind;

/* The newest kind that is no newer than the architecture. */
const GpuKind *gpu_kind(int architecture);
/* All of them in order; NULL behind the last. */
const GpuKind *gpu_kind_at(int i);
/* Seconds between two kernels of one CUDA graph. */
extern const double GPU_LAUNCH;

/* Blocks that are resident on a processor together. registers: a thread. */
int gpu_resident(const GpuKind *kind, int threads, int registers, int shared_bytes);

/* Where the time of a tiled kernel goes. Clocks are of one step of the reduction, of all blocks
 * that are resident on a processor together. */
typedef struct GpuTime {
    int registers, resident;
    int instructions;          /* a warp and step */
    double mma, shared, issue; /* clocks */
    double steps, waves;       /* of a block; of blocks, the last one may be part of one */
    double bytes, memory;      /* that it moves, parts of sums included; seconds of that alone */
    double seconds;            /* without the launch */
} GpuTime;

/* What a compiler made of a schedule; 0: not known, then as estimated. */
typedef struct GpuCode {
    int registers;    /* a thread */
    int instructions; /* a warp and step of the reduction */
} GpuCode;

/* On `processors` of the kind, with `split` parts. */
GpuTime gpu_time(const GpuKind *kind, int processors, const GpuWork *w, const Schedule *s,
                 int split, const GpuCode *code);
/* The split, from 1 to s->split, that takes least time; the smallest of those within 1 %. */
int gpu_split(const GpuKind *kind, int processors, const GpuWork *w, const Schedule *s);
/* Seconds of a kernel without tiles that moves `bytes` and issues `instructions`, of all warps. */
double gpu_simple_time(const GpuKind *kind, int processors, double bytes, double instructions);
/* Registers that a thread is expected to need, and whether no schedule with them spills. */
int gpu_registers(const GpuWork *w, const Schedule *s);

/* The parts that a tile of m x n is in for the warps of a block: the C form of tile.cuh's
 * share_warps; m is 0 where there is no way. */
typedef struct WarpGrid {
    int m, n;
} WarpGrid;

WarpGrid gpu_warps(GpuMath math, int m, int n, int warps);

/* ---- gpu_work.c ---- */

/* What the kernel, a tiled one, has to do. thin: its image has its own number of channels. */
GpuWork gpu_work_of(const Kernel *k, bool thin);
bool gpu_is_tiled(KernelClass class);

#endif
