/* One launch of a simulated kernel: what a host gives to ninc_sim_launch (sim.cc) and gets back.
 * C and C++. */
#ifndef NINC_SIM_LAUNCH_H
#define NINC_SIM_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Device memory that kernels may touch. `shadow` remembers who wrote and who read each 2 bytes, for
 * the race check: 8 zeroed bytes a pair of bytes of the buffer, from mmap; NULL: no race check. */
typedef struct SimBuffer {
    unsigned char *begin, *end;
    uint32_t *shadow;
} SimBuffer;

typedef struct SimLaunch {
    const char *name; /* of the kernel, for messages */
    void *function;   /* extern "C", its parameters are all pointers */
    int grid[3], threads, shared_bytes;
    void *const *arg;
    int args;
    uint64_t seed;           /* of the order in which blocks and threads run */
    const SimBuffer *buffer; /* none: global memory is not checked */
    int buffers;
    uint32_t *clock; /* of the shadows, 0 at first */
    int races;       /* 0: no race checks, neither in shared nor in global memory */
    int plain;       /* 0: the kernels were compiled without checks of plain accesses */
} SimLaunch;

/* What went wrong first: one line without its place, and the instructions that did it. */
typedef struct SimReport {
    char text[512];
    const void *site[2]; /* return addresses in the kernel's library; NULL: none */
} SimReport;

/* Runs all blocks, one after another; 0, or -1 with the report filled in. */
int ninc_sim_launch(const SimLaunch *launch, SimReport *report);
/* Gives back what the launches left allocated. */
void ninc_sim_end(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
