/* Checks each access to shared and global memory: its range and alignment, whether shared memory
 * was written before, and races. The compiler calls __tsan_* at plain accesses; sim.cc calls
 * check_* for the primitives.
 *
 * Races. A clock ticks at each __syncthreads and __syncwarp. Each pair of bytes remembers its last
 * write and a summary of its reads as stamps: clock and who. Two accesses of different threads, one
 * of them a write, must be in different launches; or in one block with a __syncthreads between
 * them; or in one warp with a __syncwarp between them (other collectives do not order memory).
 * Accesses of one byte are not checked for races: two of them share a stamp. */
#include "core.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define CALLER __builtin_return_address(0)
/* Specialised for each size of an access. */
#define INLINE inline __attribute__((always_inline))

enum {
    WHO_BITS = 11, /* the rest of a stamp is time */
    WHO_MASK = (1 << WHO_BITS) - 1,
    /* Readers; below MAX_THREADS: one thread. */
    LANES_OF_WARP = MAX_THREADS, /* + the warp */
    MANY_WARPS = LANES_OF_WARP + MAX_WARPS,
    MANY_BLOCKS,
};
static const u32 LAST_TIME = (1u << (32 - WHO_BITS)) - 1;

/* One byte of shared memory. Plain writes may be hidden (SimLaunch.plain): then all counts as
 * written that nothing is in flight to. */
enum Written : u8 { UNWRITTEN, WRITTEN, IN_FLIGHT };

/* Of one pair of bytes. */
struct Stamps {
    u32 writer, reader;
};

static Written written[MAX_SHARED];
static Stamps shared_shadow[MAX_SHARED / 2];
/* The clock, and when the launch, the block and the interval since the last barrier began. */
static u32 now, launch_time, block_time, barrier_time;

/* ---- the clock ---- */

/* Forgets all accesses: sound at a launch's begin; within a launch it may hide a race. */
static void clear_shadows()
{
    memset(shared_shadow, 0, sizeof shared_shadow);
    for (int i = 0; i < sim.launch->buffers; i++) {
        const SimBuffer *buffer = &sim.launch->buffer[i];
        if (buffer->shadow)
            madvise(buffer->shadow, (size_t)(buffer->end - buffer->begin) * 4, MADV_DONTNEED);
    }
    now = launch_time = block_time = barrier_time = 1;
    for (u32 w = 0; w < MAX_WARPS; w++)
        sim.warp[w].time = 0;
}

static u32 tick()
{
    if (now == LAST_TIME)
        clear_shadows();
    return ++now;
}

void check_launch_begin()
{
    now = sim.launch->clock ? *sim.launch->clock : now;
    if (now > LAST_TIME / 2)
        clear_shadows();
    memset(shared_shadow, 0, (size_t)(sim.launch->shared_bytes + 1) / 2 * sizeof *shared_shadow);
    launch_time = tick();
}

void check_launch_end()
{
    if (sim.launch->clock)
        *sim.launch->clock = now;
}

void check_block_begin()
{
    block_time = barrier_time = tick();
    memset(written, sim.launch->plain ? UNWRITTEN : WRITTEN, (size_t)sim.launch->shared_bytes);
}

void check_block_barrier()
{
    barrier_time = tick();
}

void check_warp_barrier(Warp *warp)
{
    warp->time = tick();
}

/* ---- races ---- */

/* What is accessed: its cells begin at the access. `since`: older stamps do not count. */
struct Place {
    const void *at;
    u32 bytes, since;
    bool shared;
    const void *site;
};

/* Whether what a stamp tells of is done before anything that the thread does now. */
static inline bool ordered(u32 stamp, u32 since)
{
    u32 time = stamp >> WHO_BITS, who = stamp & WHO_MASK, me = sim.now;
    if (time < since)
        return true;
    if (time < block_time || who == MANY_BLOCKS)
        return false;
    if (time < barrier_time || who == me)
        return true;
    bool own_warp = who / LANES == me / LANES || who == LANES_OF_WARP + me / LANES;
    return own_warp && time < sim.warp[me / LANES].time;
}

/* The summary of reads after one more. */
static inline u32 add_reader(u32 stamp, u32 since)
{
    u32 time = stamp >> WHO_BITS, who = stamp & WHO_MASK, me = sim.now;
    u32 tick_bits = now << WHO_BITS;
    if (time >= since && (time < block_time || who == MANY_BLOCKS))
        return tick_bits | MANY_BLOCKS;
    if (ordered(stamp, since))
        return tick_bits | me;
    if (who / LANES == me / LANES || who == LANES_OF_WARP + me / LANES)
        return tick_bits | (LANES_OF_WARP + me / LANES);
    return tick_bits | MANY_WARPS;
}

static const char *who_name(u32 stamp, char (&out)[64])
{
    u32 time = stamp >> WHO_BITS, who = stamp & WHO_MASK;
    if (time < block_time || who == MANY_BLOCKS)
        return "another block";
    if (who == MANY_WARPS)
        return "other warps";
    bool warp = who >= LANES_OF_WARP;
    snprintf(out, sizeof out, warp ? "lanes of warp %u" : "thread %u",
             warp ? who - LANES_OF_WARP : who);
    return out;
}

/* "byte 48 of shared memory", "argument 2 + 48 bytes". */
static const char *place_name(const void *at, char (&out)[96])
{
    const SimLaunch *launch = sim.launch;
    uintptr_t address = (uintptr_t)at, shared = (uintptr_t)sim.shared;
    if (address - shared + GUARD < MAX_SHARED + 2 * GUARD) {
        snprintf(out, sizeof out, "byte %ld of shared memory", (long)(address - shared));
        return out;
    }
    int nearest = -1;
    for (int i = 0; i < launch->args; i++) {
        uintptr_t arg = (uintptr_t)launch->arg[i];
        if (arg <= address && (nearest < 0 || arg > (uintptr_t)launch->arg[nearest]))
            nearest = i;
    }
    if (nearest < 0) {
        snprintf(out, sizeof out, "address %p", at);
    } else {
        snprintf(out, sizeof out, "argument %d + %lu bytes", nearest,
                 (unsigned long)(address - (uintptr_t)launch->arg[nearest]));
    }
    return out;
}

[[noreturn, gnu::noinline]] static void report_race(const Place *place, bool write, u32 stamp,
                                                    bool was_write)
{
    char who[64], where[96];
    sim_fault(place->site,
              "thread %u: race in %s memory: %s %s, which %s %s with no barrier between", sim.now,
              place->shared ? "shared" : "global", write ? "writes" : "reads",
              place_name(place->at, where), who_name(stamp, who), was_write ? "wrote" : "read");
}

/* The stamps after the access. */
template <bool WRITE> static inline Stamps touch(Stamps old, const Place *place)
{
    u32 stamp = now << WHO_BITS | sim.now;
    if (old.writer != stamp && !ordered(old.writer, place->since))
        report_race(place, WRITE, old.writer, true);
    if (!WRITE)
        return Stamps{old.writer, add_reader(old.reader, place->since)};
    if (old.reader != stamp && !ordered(old.reader, place->since))
        report_race(place, WRITE, old.reader, false);
    return Stamps{stamp, old.reader};
}

/* The cells of one access mostly hold the same: then they are looked at once. */
template <bool WRITE> static INLINE void check_cells(Stamps *cell, u32 cells, const Place *place)
{
    Stamps first = cell[0];
    u32 other = 0;
    for (u32 i = 1; i < cells; i++)
        other |= (cell[i].writer ^ first.writer) | (cell[i].reader ^ first.reader);
    if (!other) {
        Stamps after = touch<WRITE>(first, place);
        for (u32 i = 0; i < cells; i++)
            cell[i] = after;
        return;
    }
    for (u32 i = 0; i < cells; i++)
        cell[i] = touch<WRITE>(cell[i], place);
}

static INLINE void check_race(Stamps *shadow, u64 offset, const Place *place, bool write)
{
    if (!sim.launch->races || place->bytes == 1)
        return;
    Stamps *cell = shadow + offset / 2;
    u32 cells = (u32)((offset & 1) + place->bytes + 1) / 2;
    if (place->bytes % 2 == 0 && offset % 2 == 0)
        cells = place->bytes / 2; /* a constant for most callers */
    if (write)
        check_cells<true>(cell, cells, place);
    else
        check_cells<false>(cell, cells, place);
}

/* ---- shared memory ---- */

static inline u32 shared_offset(const void *at)
{
    return (u32)((const u8 *)at - sim.shared); /* large where it lies before */
}

static INLINE void check_shared_range(const void *at, u32 bytes, const char *what, const void *site)
{
    u32 offset = shared_offset(at), size = (u32)sim.launch->shared_bytes;
    if (offset >= size || bytes > size - offset) {
        sim_fault(site, "thread %u: out of range: %s %u bytes at byte %d of %u of shared memory",
                  sim.now, what, bytes, (int)offset, size);
    }
}

static INLINE bool all_written(const Written *state, u32 bytes)
{
    for (; bytes >= 4; bytes -= 4, state += 4) {
        u32 four;
        memcpy(&four, state, 4);
        if (four != WRITTEN * 0x01010101u)
            return false;
    }
    for (; bytes; bytes--, state++)
        if (*state != WRITTEN)
            return false;
    return true;
}

[[noreturn, gnu::noinline]] static void report_unwritten(u32 offset, const void *site)
{
    while (written[offset] == WRITTEN)
        offset++;
    bool in_flight = written[offset] == IN_FLIGHT;
    sim_fault(site, "thread %u: reads byte %u of shared memory, which %s", sim.now, offset,
              in_flight ? "a cp.async is in flight to (no cp_async_wait)" : "nobody has written");
}

static INLINE void check_not_in_flight(u32 offset, u32 bytes, const void *site)
{
    u8 in_flight = 0;
    for (u32 i = 0; i < bytes; i++)
        in_flight |= written[offset + i] & IN_FLIGHT;
    if (in_flight) {
        sim_fault(site,
                  "thread %u: writes byte %u of shared memory, which a cp.async is in flight to",
                  sim.now, offset);
    }
}

static INLINE void check_shared(const void *at, u32 bytes, bool write, const void *site)
{
    check_shared_range(at, bytes, write ? "writes" : "reads", site);
    u32 offset = shared_offset(at);
    if (write) {
        check_not_in_flight(offset, bytes, site);
        memset(written + offset, WRITTEN, bytes);
    } else if (!all_written(written + offset, bytes)) {
        report_unwritten(offset, site);
    }
    Place place = {at, bytes, block_time, true, site};
    check_race(shared_shadow, offset, &place, write);
}

/* ---- global memory ---- */

extern "C" const u8 __ehdr_start[] __attribute__((visibility("hidden")));
extern "C" const u8 _end[] __attribute__((visibility("hidden")));

/* Constants of the text lie in the library itself. */
static bool in_own_image(const u8 *at)
{
    return at >= __ehdr_start && at < _end;
}

static const SimBuffer *buffer_of(const u8 *at)
{
    for (int i = 0; i < sim.launch->buffers; i++) {
        const SimBuffer *buffer = &sim.launch->buffer[i];
        if (at >= buffer->begin && at < buffer->end)
            return buffer;
    }
    return NULL;
}

static INLINE void check_global(const void *at, u32 bytes, bool write, const void *site)
{
    const u8 *begin = (const u8 *)at;
    if (!sim.launch->buffers)
        return;
    const SimBuffer *buffer = buffer_of(begin);
    if (!buffer || bytes > (size_t)(buffer->end - begin)) {
        if (!buffer && in_own_image(begin))
            return;
        char where[96];
        sim_fault(site, "thread %u: out of range: %s %u bytes outside of device memory, at %s",
                  sim.now, write ? "writes" : "reads", bytes, place_name(at, where));
    }
    if (buffer->shadow) {
        Place place = {at, bytes, launch_time, false, site};
        check_race((Stamps *)buffer->shadow, (u64)(begin - buffer->begin), &place, write);
    }
}

/* ---- entry points ---- */

static INLINE bool is_shared(const void *at)
{
    return (uintptr_t)at - (uintptr_t)sim.shared + GUARD < MAX_SHARED + 2 * GUARD;
}

static INLINE bool is_stack(const void *at)
{
    return (uintptr_t)at - (uintptr_t)sim.stacks < (uintptr_t)MAX_THREADS * STACK_BYTES;
}

static INLINE void check(const void *at, u32 bytes, bool write, bool aligned, const void *site)
{
    if (is_stack(at) || !sim.launch)
        return;
    if (aligned && ((uintptr_t)at & (bytes - 1))) {
        char where[96];
        sim_fault(site, "thread %u: misaligned: %s %u bytes at %s", sim.now,
                  write ? "writes" : "reads", bytes, place_name(at, where));
    }
    if (is_shared(at))
        check_shared(at, bytes, write, site);
    else
        check_global(at, bytes, write, site);
}

void check_access(const void *at, u32 bytes, bool write, const void *site)
{
    if (!is_shared(at)) {
        char where[96];
        sim_fault(site, "thread %u: out of range: a primitive reads %s as shared memory", sim.now,
                  place_name(at, where));
    }
    check(at, bytes, write, true, site);
}

static void check_copy_source(const Copy *copy, const void *site)
{
    if (copy->valid)
        check(copy->from, copy->bytes, false, true, site);
}

void check_copy_issued(const Copy *copy, const void *site)
{
    check_access(copy->to, copy->bytes, true, site);
    check_copy_source(copy, site);
    memset(written + shared_offset(copy->to), IN_FLIGHT, copy->bytes);
}

void check_copy_done(const Copy *copy, const void *site)
{
    u32 offset = shared_offset(copy->to);
    memset(written + offset, WRITTEN, copy->bytes);
    check_access(copy->to, copy->bytes, true, site);
    check_copy_source(copy, site);
}

/* ---- what the compiler calls ---- */

#define HOOKS(BYTES) \
    void __tsan_read##BYTES(void *at) \
    { \
        check(at, BYTES, false, true, CALLER); \
    } \
    void __tsan_write##BYTES(void *at) \
    { \
        check(at, BYTES, true, true, CALLER); \
    } \
    void __tsan_unaligned_read##BYTES(void *at) \
    { \
        check(at, BYTES, false, false, CALLER); \
    } \
    void __tsan_unaligned_write##BYTES(void *at) \
    { \
        check(at, BYTES, true, false, CALLER); \
    } \
    void __tsan_volatile_read##BYTES(void *at) \
    { \
        check(at, BYTES, false, true, CALLER); \
    } \
    void __tsan_volatile_write##BYTES(void *at) \
    { \
        check(at, BYTES, true, true, CALLER); \
    } \
    void __tsan_read_write##BYTES(void *at) \
    { \
        check(at, BYTES, true, true, CALLER); \
    }

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void *at, unsigned long bytes)
{
    check(at, (u32)bytes, false, false, CALLER);
}
void __tsan_write_range(void *at, unsigned long bytes)
{
    check(at, (u32)bytes, true, false, CALLER);
}
void __tsan_init()
{
}
void __tsan_func_entry(void *)
{
}
void __tsan_func_exit()
{
}
}
