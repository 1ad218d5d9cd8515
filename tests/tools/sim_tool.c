/* Runs kernels of tests/models/sim/kernels.cu in the simulator (tests/suites/test_sim.sh).
 *
 *   sim_tool numbers TEXT       the kernels of known results; a line `ok` or `not ok` for each
 *   sim_tool launch TEXT KERNEL BLOCKS THREADS SHARED    in: 256 floats; out: 256 floats
 *   sim_tool machine TEXT       memory, slots and graphs of the machine's table
 *
 * TEXT: files, divided by commas, that make one text. */
#include "../../ir/ir.h"
#include "../../runtime/device/gpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLOATS = 256, MAX_ARGS = 16 };

static const GpuDriver *const driver = &gpu_sim_driver;
static GpuMachine *machine;
static const char *text;

static void need(int status)
{
    if (status)
        exit(1);
}

static char *read_text(const char *names)
{
    size_t used = 0, size = 1;
    char *out = xmalloc(size), *list = xmalloc(strlen(names) + 1), *rest;
    strcpy(list, names);
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        FILE *f = fopen(name, "r");
        if (!f) {
            fprintf(stderr, "sim_tool: cannot read %s\n", name);
            exit(2);
        }
        for (int c; (c = getc(f)) != EOF; out[used++] = (char)c)
            if (used + 1 >= size)
                out = xrealloc(out, size = 2 * size + 4096);
        fclose(f);
    }
    out[used] = '\0';
    free(list);
    return out;
}

/* ---- launches ---- */

static GpuAddress device_copy(const void *from, int64_t bytes)
{
    GpuAddress at;
    need(driver->alloc(machine, bytes, &at));
    if (from)
        need(driver->copy_in(machine, at, from, bytes));
    else
        need(driver->fill(machine, at, 0xff, bytes));
    return at;
}

/* A kernel by name; `schedule` has its threads and shared bytes. */
static GpuKernel load(const char *name, const NincSchedule *schedule)
{
    GpuKernel kernel = {.name = name, .schedule = schedule, .split = 1, .number = 0};
    need(driver->load(machine, text, NULL, 0, &kernel, 1));
    return kernel;
}

/* Runs in one block (or `grid`) on copies of in[0..args-2], gives back the last argument. */
static void run(const char *name, const int grid[3], NincSchedule schedule, const void *const *in,
                const int64_t *bytes, int args, void *out)
{
    GpuAddress at[MAX_ARGS];
    GpuKernel kernel = load(name, &schedule);
    for (int i = 0; i < args; i++)
        at[i] = device_copy(in[i], bytes[i]);
    need(driver->launch(machine, &kernel, grid, at, args));
    need(driver->copy_out(machine, out, at[args - 1], bytes[args - 1]));
    for (int i = 0; i < args; i++)
        need(driver->free(machine, at[i]));
}

static const int one_block[3] = {1, 1, 1};

static void report(const char *name, bool good)
{
    printf("%s %s\n", good ? "ok" : "not ok", name);
}

/* ---- numbers ---- */

static float draw(void)
{
    return (float)(rand() % 2001 - 1000) / 512.0f;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static uint32_t bf16_of(float value)
{
    uint32_t bits = bits_of(value);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/* Where PTX's tables put element (row, column) of a fragment: the register of lane 4 (row % 8) +
 * column / `width` % 4. */
static int fragment(int row, int column, int width, int *lane)
{
    *lane = row % 8 * 4 + column / width % 4;
    return row / 8 + 2 * (column / width / 4);
}

/* d = {1, 2, 3, 4} + a b for one warp: [16][k] by [k][8]. `half`: bf16, two in a register. */
static bool mma_is_right(bool half)
{
    int k = half ? 16 : 8, width = half ? 2 : 1, lane;
    static float a[16][16], b[16][8];
    uint32_t fa[32][4] = {{0}}, fb[32][2] = {{0}};
    float d[32][4];
    for (int r = 0; r < 16; r++)
        for (int i = 0; i < k; i++) {
            uint32_t bits = bits_of(draw());
            bits = half ? bf16_of(float_of(bits)) << 16 : bits;
            a[r][i] = float_of(bits & (half ? ~0u : ~0x1fffu));
            int reg = fragment(r, i, width, &lane);
            fa[lane][reg] |= half ? bits >> 16 << i % 2 * 16 : bits;
        }
    for (int i = 0; i < k; i++)
        for (int n = 0; n < 8; n++) {
            uint32_t bits = bits_of(draw());
            bits = half ? bf16_of(float_of(bits)) << 16 : bits;
            b[i][n] = float_of(bits & (half ? ~0u : ~0x1fffu));
            int reg = fragment(n, i, width, &lane) / 2;
            fb[lane][reg] |= half ? bits >> 16 << i % 2 * 16 : bits;
        }
    run(half ? "sound_mma_bf16" : "sound_mma_tf32", one_block, (NincSchedule){.threads = 32},
        (const void *[]){fa, fb, NULL}, (int64_t[]){sizeof fa, sizeof fb, sizeof d}, 3, d);
    bool good = true;
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            double sum = i + 1, size = sum;
            for (int j = 0; j < k; j++) {
                sum += (double)a[l / 4 + i / 2 * 8][j] * b[j][l % 4 * 2 + i % 2];
                size += fabs((double)a[l / 4 + i / 2 * 8][j] * b[j][l % 4 * 2 + i % 2]);
            }
            good = good && fabs(d[l][i] - sum) <= 1e-6 * size;
        }
    return good;
}

static bool ldmatrix_is_right(bool transposed)
{
    uint16_t rows[32][8];
    uint32_t r[32][4];
    for (int i = 0; i < 256; i++)
        rows[i / 8][i % 8] = (uint16_t)rand();
    /* The kernel writes both; the one that is not asked for goes nowhere. */
    GpuAddress from = device_copy(rows, sizeof rows), plain = device_copy(NULL, sizeof r);
    GpuAddress turned = device_copy(NULL, sizeof r);
    NincSchedule schedule = {.threads = 32, .shared_bytes = 512};
    GpuKernel kernel = load("sound_ldmatrix", &schedule);
    need(driver->launch(machine, &kernel, one_block, (GpuAddress[]){from, plain, turned}, 3));
    need(driver->copy_out(machine, r, transposed ? turned : plain, sizeof r));
    bool good = true;
    for (int l = 0; l < 32; l++)
        for (int m = 0; m < 4; m++) {
            uint32_t low =
                transposed ? rows[m * 8 + l % 4 * 2][l / 4] : rows[m * 8 + l / 4][l % 4 * 2];
            uint32_t high = transposed ? rows[m * 8 + l % 4 * 2 + 1][l / 4]
                                       : rows[m * 8 + l / 4][l % 4 * 2 + 1];
            good = good && r[l][m] == (low | high << 16);
        }
    return good;
}

static bool shuffle_is_right(void)
{
    float in[32], out[3][32];
    double sum = 0;
    bool good = true;
    for (int i = 0; i < 32; i++)
        sum += in[i] = (float)(rand() % 1000);
    run("sound_shuffle", one_block, (NincSchedule){.threads = 32}, (const void *[]){in, NULL},
        (int64_t[]){sizeof in, sizeof out}, 2, out);
    for (int i = 0; i < 32; i++)
        good = good && out[0][i] == sum && out[2][i] == in[i + 3 < 32 ? i + 3 : i];
    return good && out[1][0] == sum;
}

/* Halfway cases, largest and smallest values, infinities, NaN. */
static bool convert_is_right(void)
{
    static const uint32_t in[8] = {0x3f808000, 0x3f818000, 0x7f7fffff, 0x00000001,
                                   0xff800000, 0x7fc00001, 0xbf801000, 0x3f800fff};
    static const uint32_t half[8] = {0x3f80, 0x3f82, 0x7f80, 0, 0xff80, 0x7fff, 0xbf80, 0x3f80};
    static const uint32_t tf32[8] = {0x3f808000, 0x3f818000, 0x7f800000, 0,
                                     0xff800000, 0x7fffffff, 0xbf802000, 0x3f800000};
    uint32_t out[8][3];
    bool good = true;
    run("sound_convert", one_block, (NincSchedule){.threads = 8}, (const void *[]){in, NULL},
        (int64_t[]){sizeof in, sizeof out}, 2, out);
    for (int i = 0; i < 8; i++) {
        uint32_t negative = half[i] == 0x7fff ? 0x7fff : half[i] ^ 0x8000;
        good = good && out[i][0] == half[i] && out[i][1] == tf32[i] &&
               out[i][2] == (half[i] | negative << 16);
    }
    return good;
}

static bool pipeline_is_right(void)
{
    float in[8][32], out[8][32];
    bool good = true;
    for (int i = 0; i < 256; i++)
        in[i / 32][i % 32] = draw();
    run("sound_pipeline", one_block, (NincSchedule){.threads = 32, .shared_bytes = 3 * 128},
        (const void *[]){in, NULL}, (int64_t[]){sizeof in, sizeof out}, 2, out);
    for (int k = 0; k < 8; k++)
        for (int i = 0; i < 32; i++)
            good = good && out[k][i] == (k % 2 == 0 ? in[k][i ^ 1] : 0);
    return good;
}

static bool arguments_are_right(void)
{
    int value[11], sum = 0, out[24][40];
    const void *in[12] = {NULL};
    int64_t bytes[12];
    bool good = true;
    for (int i = 0; i < 11; i++) {
        in[i] = &value[i];
        bytes[i] = sizeof(int);
        sum += (i + 1) * (value[i] = rand() % 1000);
    }
    bytes[11] = sizeof out;
    run("sound_arguments", (const int[]){2, 3, 4}, (NincSchedule){.threads = 40}, in, bytes, 12,
        out);
    for (int b = 0; b < 24; b++)
        for (int t = 0; t < 40; t++)
            good = good && out[b][t] == sum + 1000 * b + t;
    return good;
}

static void numbers(void)
{
    report("mma_bf16", mma_is_right(true));
    report("mma_tf32", mma_is_right(false));
    report("ldmatrix_x4", ldmatrix_is_right(false));
    report("ldmatrix_x4_trans", ldmatrix_is_right(true));
    report("shuffles", shuffle_is_right());
    report("conversions", convert_is_right());
    report("cp_async pipeline", pipeline_is_right());
    report("arguments on the stack, 3-D grid", arguments_are_right());
}

/* ---- one launch, for faults ---- */

static void launch(char **word)
{
    float in[FLOATS];
    for (int i = 0; i < FLOATS; i++)
        in[i] = draw();
    GpuAddress at[2] = {device_copy(in, sizeof in), device_copy(NULL, sizeof in)};
    NincSchedule schedule = {.threads = atoi(word[2]), .shared_bytes = atoi(word[3])};
    GpuKernel kernel = load(word[0], &schedule);
    need(driver->launch(machine, &kernel, (const int[]){atoi(word[1]), 1, 1}, at, 2));
}

/* ---- the machine's table ---- */

static bool graphs_replay(void)
{
    float in[FLOATS], out[FLOATS], *slot = driver->slots_alloc(machine, 2, sizeof in);
    GpuAddress at[2] = {device_copy(NULL, sizeof in), device_copy(NULL, sizeof in)};
    NincSchedule schedule = {.threads = 64};
    GpuKernel kernel = load("sound_tiles", &schedule);
    void *graph;
    for (int i = 0; i < FLOATS; i++)
        slot[FLOATS + i] = in[i] = draw();
    need(driver->capture_begin(machine));
    need(driver->fill(machine, at[1], 0, sizeof in));
    need(driver->slot_send(machine, 1, at[0], sizeof in));
    need(driver->launch(machine, &kernel, (const int[]){4, 1, 1}, at, 2));
    need(driver->capture_end(machine, &graph));
    need(driver->copy_out(machine, out, at[1], sizeof in));
    bool good = bits_of(out[0]) == 0xffffffff; /* recorded, not run */
    for (int round = 0; round < 2; round++) {
        slot[FLOATS] = in[0] = (float)round;
        need(driver->graph_launch(machine, graph));
        need(driver->copy_out(machine, out, at[1], sizeof in));
        good = good && memcmp(in, out, sizeof in) == 0;
    }
    driver->graph_free(machine, graph);
    return good;
}

static bool memory_is_bounded(int64_t bytes)
{
    GpuAddress at;
    char byte;
    need(driver->alloc(machine, 4096, &at));
    bool refused = driver->copy_out(machine, &byte, at + 4096, 1) &&
                   driver->free(machine, at + 8) && driver->alloc(machine, bytes, &at);
    return refused;
}

int main(int argc, char **argv)
{
    GpuLimits limits;
    if (argc < 3)
        return 2;
    text = read_text(argv[2]);
    machine = driver->open(0, &limits);
    if (!machine)
        return 1;
    srand(1);
    if (strcmp(argv[1], "numbers") == 0)
        numbers();
    else if (strcmp(argv[1], "launch") == 0 && argc == 7)
        launch(argv + 3);
    else if (strcmp(argv[1], "machine") == 0) {
        report("graph", graphs_replay());
        report("memory", memory_is_bounded(limits.free_bytes));
    }
    driver->close(machine);
    return 0;
}
