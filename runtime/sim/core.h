/* The simulator's inside: what fiber.cc (stacks), sim.cc (threads, collectives) and check.cc
 * (checks) share. */
#ifndef NINC_SIM_CORE_H
#define NINC_SIM_CORE_H

#include "launch.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;

enum {
    LANES = 32,
    MAX_WARPS = 32,
    MAX_THREADS = MAX_WARPS * LANES,
    MAX_SHARED = 256 << 10,
    GUARD = 64 << 10, /* bytes around shared memory that belong to no one */
    STACK_BYTES = 128 << 10,
};

/* Arguments of a function that are passed in registers. */
#if defined __x86_64__
enum { REGISTER_ARGS = 6 };
#else
enum { REGISTER_ARGS = 8 };
#endif

/* A cp.async that was issued and not yet waited for. */
struct Copy {
    u8 *to;
    const u8 *from;
    u32 bytes, group;
    bool valid;
};

struct Thread {
    void *stack;      /* its stack pointer while another one runs */
    const void *site; /* where it waits */
    Copy *copy;       /* oldest first */
    u32 copies, copy_room;
    u32 group; /* that the next copy belongs to */
};

enum Collective {
    NO_COLLECTIVE,
    SYNCWARP,
    SHUFFLE,
    BALLOT,
    LDMATRIX,
    LDMATRIX_TRANS,
    MMA_BF16,
    MMA_TF32
};

/* Sets of lanes are bits of a word. Operands lie so that lanes 4i..4i+3 hold row i of an 8x8 matrix
 * side by side: PTX deals fragments out in just this order. */
struct Warp {
    u32 lanes, ready, arrived, at_barrier, exited;
    Collective collective; /* that `arrived` wait for */
    u32 time;              /* of its last __syncwarp */
    alignas(64) u32 a[4][LANES], b[2][LANES];
    alignas(64) float d[2][LANES][2];
    alignas(64) u32 result[4][LANES]; /* ldmatrix, shuffle, ballot */
    const u8 *row[LANES];             /* ldmatrix */
    u32 word[LANES], from[LANES];     /* shuffle, ballot */
};

struct Sim {
    const SimLaunch *launch; /* NULL: no kernel runs */
    SimReport *report;
    bool failed;
    u32 threads, warps;
    u32 now; /* the running thread */
    u64 random;
    u32 block[3];
    u32 ready_warps, waiting, exited; /* waiting: threads at __syncthreads */
    void *host_stack;
    u8 *stacks; /* MAX_THREADS of STACK_BYTES, the lowest page of each without access */
    u8 *shared; /* MAX_SHARED, with GUARD bytes on each side */
    Thread thread[MAX_THREADS];
    Warp warp[MAX_WARPS];
};

extern Sim sim __attribute__((visibility("hidden")));

static inline u32 sim_random(void)
{
    sim.random ^= sim.random << 13; /* xorshift64 (Marsaglia) */
    sim.random ^= sim.random >> 7;
    sim.random ^= sim.random << 17;
    return (u32)(sim.random >> 16);
}

/* ---- fiber.cc ---- */

extern "C" {
/* Saves the registers that a callee must keep on this stack, and goes on with another stack. */
void sim_switch(void **from, void *to) __attribute__((visibility("hidden")));
void sim_enter() __attribute__((visibility("hidden")));
void sim_leave() __attribute__((visibility("hidden")));
/* Of sim.cc: where a kernel returns to. */
[[noreturn, gnu::used, gnu::visibility("hidden")]] void sim_thread_exit();
}
/* A stack from which sim_switch goes to sim_enter: below the arguments that are passed on the
 * stack. `arg` has at least REGISTER_ARGS elements. */
void *sim_first_stack(u8 *end, void *function, void *const *arg, int args);
/* Ends the launch with a report; `site`: the return address in the kernel. */
[[noreturn]] void sim_fault(const void *site, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- check.cc ---- */

void check_launch_begin();
void check_launch_end();
void check_block_begin();
/* After all threads have arrived, and before one of them goes on. */
void check_block_barrier();
void check_warp_barrier(Warp *warp);
/* An access of the running thread. */
void check_access(const void *at, u32 bytes, bool write, const void *site);
/* A cp.async is issued (its destination may not be touched) and done (written). */
void check_copy_issued(const Copy *copy, const void *site);
void check_copy_done(const Copy *copy, const void *site);

#endif
