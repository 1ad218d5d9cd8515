/* Runs a kernel's blocks one after another, each thread as a fiber: it runs until it has to wait
 * for others, then the next one that can run is drawn at random. A warp's collective (mma,
 * ldmatrix, shuffle) is done for all lanes by the lane that arrives last. */
#include "sim.h"
#include "core.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CALLER __builtin_return_address(0)

/* ---- threads ---- */

/* A bit of the set, not always the same one. */
static u32 draw(u32 set)
{
    u32 shift = sim_random() & 31;
    u32 turned = set >> shift | set << (-shift & 31);
    return ((u32)__builtin_ctz(turned) + shift) & 31;
}

/* Lets a thread that can run go on; returns when this one does. Stays within the warp mostly, which
 * keeps its stacks in the cache. The host goes on when no thread can run. */
static void run_next(void **from)
{
    u32 w = sim.now / LANES;
    if (!sim.ready_warps) {
        sim_switch(from, sim.host_stack);
        return;
    }
    if (!sim.warp[w].ready || !(sim_random() & 15))
        w = draw(sim.ready_warps);
    Warp *warp = &sim.warp[w];
    u32 lane = draw(warp->ready);
    warp->ready &= ~(1u << lane);
    if (!warp->ready)
        sim.ready_warps &= ~(1u << w);
    sim.now = w * LANES + lane;
    void **next = &sim.thread[sim.now].stack;
    if (next != from)
        sim_switch(from, *next);
}

static void make_ready(u32 w, u32 lanes)
{
    sim.warp[w].ready |= lanes;
    if (sim.warp[w].ready)
        sim.ready_warps |= 1u << w;
}

void sim_thread_exit()
{
    void *ended;
    sim.warp[sim.now / LANES].exited |= 1u << sim.now % LANES;
    sim.exited++;
    run_next(&ended);
    __builtin_unreachable();
}

/* ---- where a thread is ---- */

uint3 sim_thread_index()
{
    return uint3{sim.now, 0, 0};
}

uint3 sim_block_index()
{
    return uint3{sim.block[0], sim.block[1], sim.block[2]};
}

uint3 sim_block_size()
{
    return uint3{sim.threads, 1, 1};
}

uint3 sim_grid_size()
{
    const int *grid = sim.launch->grid;
    return uint3{(u32)grid[0], (u32)grid[1], (u32)grid[2]};
}

u8 *sim_shared_memory()
{
    return sim.shared;
}

/* ---- barriers ---- */

void sim_block_barrier()
{
    Thread *thread = &sim.thread[sim.now];
    if (++sim.waiting < sim.threads) {
        thread->site = CALLER;
        sim.warp[sim.now / LANES].at_barrier |= 1u << sim.now % LANES;
        run_next(&thread->stack);
        return;
    }
    sim.waiting = 0;
    for (u32 w = 0; w < sim.warps; w++) {
        make_ready(w, sim.warp[w].at_barrier);
        sim.warp[w].at_barrier = 0;
    }
    check_block_barrier();
    make_ready(sim.now / LANES, 1u << sim.now % LANES);
    run_next(&thread->stack);
}

static const char *collective_name(Collective collective)
{
    static const char *const name[] = {"nothing",  "__syncwarp",     "shuffle",  "ballot",
                                       "ldmatrix", "ldmatrix_trans", "mma_bf16", "mma_tf32"};
    return name[collective];
}

static void check_same_collective(const Warp *warp, Collective collective, const void *site)
{
    if (warp->collective != collective) {
        sim_fault(site, "warp %u: divergent lanes: lane %u is at %s while others wait at %s",
                  sim.now / LANES, sim.now % LANES, collective_name(collective),
                  collective_name(warp->collective));
    }
}

/* True for the lane that arrives last: it works for all and then calls finish(). The others come
 * back, with false, when it has done so. */
static bool arrive(Warp *warp, Collective collective, const void *site)
{
    u32 bit = 1u << sim.now % LANES;
    if (!warp->arrived)
        warp->collective = collective;
    check_same_collective(warp, collective, site);
    warp->arrived |= bit;
    Thread *thread = &sim.thread[sim.now];
    thread->site = site;
    if (warp->arrived == warp->lanes)
        return true;
    run_next(&thread->stack);
    return false;
}

/* Lets the other lanes go on, after this one's next wait. */
static void finish(Warp *warp)
{
    warp->arrived = 0;
    make_ready(sim.now / LANES, warp->lanes & ~(1u << sim.now % LANES));
}

static inline Warp *own_warp()
{
    return &sim.warp[sim.now / LANES];
}

void sim_warp_barrier()
{
    Warp *warp = own_warp();
    if (arrive(warp, SYNCWARP, CALLER)) {
        check_warp_barrier(warp);
        finish(warp);
    }
}

/* ---- collectives ---- */

float sim_shuffle(float value, u32 from_lane)
{
    Warp *warp = own_warp();
    u32 lane = sim.now % LANES;
    memcpy(&warp->word[lane], &value, 4);
    warp->from[lane] = from_lane;
    if (arrive(warp, SHUFFLE, CALLER)) {
        for (u32 l = 0; l < LANES; l++)
            warp->result[0][l] = warp->word[warp->from[l]];
        finish(warp);
    }
    memcpy(&value, &warp->result[0][lane], 4);
    return value;
}

u32 sim_ballot(bool vote)
{
    Warp *warp = own_warp();
    u32 lane = sim.now % LANES;
    warp->word[lane] = vote;
    if (arrive(warp, BALLOT, CALLER)) {
        u32 votes = 0;
        for (u32 l = 0; l < LANES; l++)
            votes |= warp->word[l] << l;
        warp->result[0][0] = votes;
        finish(warp);
    }
    return warp->result[0][0];
}

/* Rows 8m..8m+7 are the matrix of result m. */
static void load_matrices(Warp *warp)
{
    for (u32 l = 0; l < LANES; l++)
        memcpy(&warp->result[l / 8][l % 8 * 4], warp->row[l], 16);
}

static void load_matrices_transposed(Warp *warp)
{
    for (u32 l = 0; l < LANES; l++) {
        const u16 *row = (const u16 *)warp->row[l];
        u16 *matrix = (u16 *)warp->result[l / 8];
        for (u32 i = 0; i < 8; i++)
            matrix[i * 8 + l % 8] = row[i];
    }
}

SimWords sim_ldmatrix(const void *row, bool transposed)
{
    Warp *warp = own_warp();
    u32 lane = sim.now % LANES;
    check_access(row, 16, false, CALLER);
    warp->row[lane] = (const u8 *)row;
    if (arrive(warp, transposed ? LDMATRIX_TRANS : LDMATRIX, CALLER)) {
        (transposed ? load_matrices_transposed : load_matrices)(warp);
        finish(warp);
    }
    return SimWords{warp->result[0][lane], warp->result[1][lane], warp->result[2][lane],
                    warp->result[3][lane]};
}

typedef float Row __attribute__((vector_size(32))); /* 8 columns of the result */

/* Row r of the result, 8 columns. */
static inline Row *result_row(Warp *warp, u32 r)
{
    return (Row *)warp->d[r / 8][r % 8 * 4];
}

/* d[r][*] += sum over k of a[r][k] b[k][*]. */
template <int K> static inline void multiply(Warp *warp, const float (&a)[16][K], const Row (&b)[K])
{
    for (u32 r = 0; r < 16; r++) {
        Row sum = *result_row(warp, r);
        for (u32 k = 0; k < K; k++)
            sum += a[r][k] * b[k];
        *result_row(warp, r) = sum;
    }
}

static inline float float_of_bits(u32 bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* 8 bf16 side by side. */
static inline void widen(const u32 *from, float *to)
{
    for (u32 i = 0; i < 4; i++) {
        to[2 * i] = float_of_bits(from[i] << 16);
        to[2 * i + 1] = float_of_bits(from[i] & 0xffff0000);
    }
}

static void multiply_bf16(Warp *warp)
{
    float a[16][16], column[16];
    Row b[16];
    for (u32 r = 0; r < 16; r++) {
        widen(&warp->a[r / 8][r % 8 * 4], &a[r][0]);
        widen(&warp->a[r / 8 + 2][r % 8 * 4], &a[r][8]);
    }
    for (u32 n = 0; n < 8; n++) {
        widen(&warp->b[0][n * 4], &column[0]);
        widen(&warp->b[1][n * 4], &column[8]);
        for (u32 k = 0; k < 16; k++)
            b[k][n] = column[k];
    }
    multiply<16>(warp, a, b);
}

/* The low 13 bits of an operand are not looked at. */
static inline float tf32(u32 bits)
{
    return float_of_bits(bits & ~0x1fffu);
}

static void multiply_tf32(Warp *warp)
{
    float a[16][8];
    Row b[8];
    for (u32 r = 0; r < 16; r++)
        for (u32 k = 0; k < 8; k++)
            a[r][k] = tf32(warp->a[r / 8 + k / 4 * 2][r % 8 * 4 + k % 4]);
    for (u32 k = 0; k < 8; k++)
        for (u32 n = 0; n < 8; n++)
            b[k][n] = tf32(warp->b[k / 4][n * 4 + k % 4]);
    multiply<8>(warp, a, b);
}

static inline void store_operands(Warp *warp, u32 lane, SimFloats d, SimWords a, u32 b0, u32 b1)
{
    for (u32 i = 0; i < 4; i++) {
        warp->a[i][lane] = a[i];
        warp->d[i / 2][lane][i % 2] = d[i];
    }
    warp->b[0][lane] = b0;
    warp->b[1][lane] = b1;
}

static inline SimFloats load_result(const Warp *warp, u32 lane)
{
    return SimFloats{warp->d[0][lane][0], warp->d[0][lane][1], warp->d[1][lane][0],
                     warp->d[1][lane][1]};
}

SimFloats sim_mma_bf16(SimFloats d, SimWords a, u32 b0, u32 b1)
{
    Warp *warp = own_warp();
    u32 lane = sim.now % LANES;
    store_operands(warp, lane, d, a, b0, b1);
    if (arrive(warp, MMA_BF16, CALLER)) {
        multiply_bf16(warp);
        finish(warp);
    }
    return load_result(warp, lane);
}

SimFloats sim_mma_tf32(SimFloats d, SimWords a, u32 b0, u32 b1)
{
    Warp *warp = own_warp();
    u32 lane = sim.now % LANES;
    store_operands(warp, lane, d, a, b0, b1);
    if (arrive(warp, MMA_TF32, CALLER)) {
        multiply_tf32(warp);
        finish(warp);
    }
    return load_result(warp, lane);
}

/* ---- cp.async: the bytes arrive as late as they may, at the wait ---- */

static Copy *new_copy(Thread *thread)
{
    if (thread->copies == thread->copy_room) {
        thread->copy_room = thread->copy_room ? 2 * thread->copy_room : 64;
        thread->copy = (Copy *)realloc(thread->copy, thread->copy_room * sizeof *thread->copy);
        if (!thread->copy)
            abort();
    }
    return &thread->copy[thread->copies++];
}

void sim_cp_async(void *shared, const void *global, SimCopy bytes, bool valid)
{
    Thread *thread = &sim.thread[sim.now];
    Copy *copy = new_copy(thread);
    *copy = Copy{(u8 *)shared, (const u8 *)global, (u32)bytes, thread->group, valid};
    check_copy_issued(copy, CALLER);
    memset(copy->to, 0xff, copy->bytes);
}

void sim_cp_async_commit()
{
    sim.thread[sim.now].group++;
}

void sim_cp_async_wait(u32 groups_in_flight)
{
    Thread *thread = &sim.thread[sim.now];
    u32 kept = 0;
    for (u32 i = 0; i < thread->copies; i++) {
        Copy *copy = &thread->copy[i];
        if (copy->group + groups_in_flight >= thread->group) {
            thread->copy[kept++] = *copy;
            continue;
        }
        check_copy_done(copy, CALLER);
        if (copy->valid)
            memcpy(copy->to, copy->from, copy->bytes);
        else
            memset(copy->to, 0, copy->bytes);
    }
    thread->copies = kept;
}

/* ---- launch ---- */

static u8 *map_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : (u8 *)memory;
}

/* Once a process: the stacks and shared memory. */
static bool map_machine()
{
    if (sim.stacks)
        return true;
    u8 *zone = map_memory(MAX_SHARED + 2 * GUARD);
    sim.stacks = map_memory((size_t)MAX_THREADS * STACK_BYTES);
    if (!zone || !sim.stacks)
        return false;
    sim.shared = zone + GUARD;
    for (u32 t = 0; t < MAX_THREADS; t++)
        mprotect(sim.stacks + (size_t)t * STACK_BYTES, 4096, PROT_NONE);
    return true;
}

static void begin_block(void *const *arg)
{
    const SimLaunch *launch = sim.launch;
    memset(sim.shared, 0xff, (size_t)launch->shared_bytes);
    for (u32 t = 0; t < sim.threads; t++) {
        Thread *thread = &sim.thread[t];
        thread->copies = thread->group = 0;
        thread->stack = sim_first_stack(sim.stacks + (size_t)(t + 1) * STACK_BYTES,
                                        launch->function, arg, launch->args);
    }
    sim.ready_warps = sim.waiting = sim.exited = 0;
    for (u32 w = 0; w < sim.warps; w++) {
        Warp *warp = &sim.warp[w];
        u32 lanes = sim.threads - w * LANES;
        warp->lanes = lanes < LANES ? (1u << lanes) - 1 : ~0u;
        warp->ready = warp->arrived = warp->at_barrier = warp->exited = 0;
        make_ready(w, warp->lanes);
    }
    check_block_begin();
}

/* No thread can go on and not all have ended: says who waits for whom. */
static void report_deadlock()
{
    u32 w = 0;
    while (w + 1 < sim.warps && !sim.warp[w].arrived)
        w++;
    const Warp *warp = &sim.warp[w];
    SimReport *report = sim.report;
    char *text = report->text;
    size_t size = sizeof report->text;
    int used = snprintf(text, size, "kernel %s, block (%u,%u,%u), ", sim.launch->name, sim.block[0],
                        sim.block[1], sim.block[2]);
    if (warp->arrived) {
        u32 lane = (u32)__builtin_ctz(warp->arrived);
        report->site[0] = sim.thread[w * LANES + lane].site;
        snprintf(text + used, size - (size_t)used,
                 "warp %u: divergent lanes: %d wait at %s for %d that %s", w,
                 __builtin_popcount(warp->arrived), collective_name(warp->collective),
                 __builtin_popcount(warp->lanes & ~warp->arrived),
                 warp->at_barrier ? "wait at __syncthreads" : "have ended");
        return;
    }
    for (w = 0; !sim.warp[w].at_barrier; w++) {
    }
    report->site[0] = sim.thread[w * LANES + (u32)__builtin_ctz(sim.warp[w].at_barrier)].site;
    snprintf(text + used, size - (size_t)used,
             "divergent barrier: %u threads wait at __syncthreads for %u that have ended",
             sim.waiting, sim.exited);
}

static int run_block(void *const *arg)
{
    begin_block(arg);
    sim.now = 0;
    run_next(&sim.host_stack);
    if (!sim.failed && sim.exited < sim.threads) {
        report_deadlock();
        sim.failed = true;
    }
    return sim.failed ? -1 : 0;
}

static u64 greatest_divisor(u64 a, u64 b)
{
    return b ? greatest_divisor(b, a % b) : a;
}

/* Each block once, in an order that the seed decides. */
static int run_blocks(void *const *arg)
{
    const int *grid = sim.launch->grid;
    u64 count = (u64)grid[0] * (u64)grid[1] * (u64)grid[2];
    u64 step = 1 + sim_random() % count, at = sim_random() % count;
    while (greatest_divisor(step, count) != 1)
        step++;
    for (u64 i = 0; i < count; i++, at = (at + step) % count) {
        sim.block[0] = (u32)(at % (u64)grid[0]);
        sim.block[1] = (u32)(at / (u64)grid[0] % (u64)grid[1]);
        sim.block[2] = (u32)(at / (u64)grid[0] / (u64)grid[1]);
        if (run_block(arg))
            return -1;
    }
    return 0;
}

/* One step of splitmix64 (Steele et al.): neighbouring seeds give unlike numbers, none gives 0. */
static u64 scatter(u64 seed)
{
    u64 z = seed + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) | 1;
}

static int refuse(const SimLaunch *launch, SimReport *report, const char *why)
{
    snprintf(report->text, sizeof report->text, "kernel %s: %s", launch->name, why);
    return -1;
}

int ninc_sim_launch(const SimLaunch *launch, SimReport *report)
{
    *report = SimReport{};
    if (launch->threads < 1 || launch->threads > MAX_THREADS || launch->shared_bytes < 0 ||
        launch->shared_bytes > MAX_SHARED || launch->grid[0] < 1 || launch->grid[1] < 1 ||
        launch->grid[2] < 1)
        return refuse(launch, report, "no such grid, block or shared memory");
    int room = launch->args < REGISTER_ARGS ? REGISTER_ARGS : launch->args;
    void **arg = (void **)calloc((size_t)room, sizeof *arg);
    if (!arg || !map_machine()) {
        free(arg);
        return refuse(launch, report, "no memory for the simulator");
    }
    memcpy(arg, launch->arg, (size_t)launch->args * sizeof *arg);
    sim.launch = launch;
    sim.report = report;
    sim.failed = false;
    sim.threads = (u32)launch->threads;
    sim.warps = (sim.threads + LANES - 1) / LANES;
    sim.random = scatter(launch->seed);
    check_launch_begin();
    int status = run_blocks(arg);
    check_launch_end();
    sim.launch = NULL;
    free(arg);
    return status;
}

void ninc_sim_end()
{
    for (u32 t = 0; t < MAX_THREADS; t++)
        free(sim.thread[t].copy);
    if (sim.stacks) {
        munmap(sim.stacks, (size_t)MAX_THREADS * STACK_BYTES);
        munmap(sim.shared - GUARD, MAX_SHARED + 2 * GUARD);
    }
    sim = Sim{};
}
