/* Drives the machine behind --device cuda (tests/suites/test_cuda.sh), the NVRTC and the reader of
 * cubins.
 *
 *   cuda_tool list                       the GPUs
 *   cuda_tool run TEXT [-DNAME=VALUE]... on GPU $ORDINAL: every function of the table, with the
 *                                        kernels scale and reverse of tests/models/cuda/kernels.cu
 *   cuda_tool numbers TEXT               the same, and the results (needs a GPU)
 *   cuda_tool cubin TEXT TARGET KERNEL NUMBER FILE     compiles the kernel alone
 *   cuda_tool usage FILE KERNEL          registers, stack and shared memory of a cubin
 *   cuda_tool fuzz FILE KERNEL           the same of 20000 damaged copies, which must not crash
 */
#include "../../ir/ir.h"
#include "../../runtime/device/gpu.h"

#include <stdlib.h>
#include <string.h>

enum { FLOATS = 64, BYTES = FLOATS * sizeof(float), SLOTS = 2, KERNELS = 2 };

/* Code inside the trainer, for the fakes: what test_cuda.sh expects of it. */
static const unsigned char ready_code[] = "cubin of the trainer\n";

const NincCubin ninc_cubins[] = {
    {"scale", "sm_86", "-DSCALE_FACTOR=5\n", ready_code, sizeof ready_code},
    {0},
};

static const GpuDriver *const driver = &gpu_cuda_driver;
static const NincSchedule schedules[KERNELS] = {
    {.threads = FLOATS, .shared_bytes = 0},
    {.threads = FLOATS, .shared_bytes = 65536},
};
static const int one_block[3] = {1, 1, 1};

static void need(GpuMachine *m, int status)
{
    if (status == 0)
        return;
    if (m)
        driver->close(m);
    exit(1);
}

static char *read_text(const char *path, size_t *size)
{
    unsigned char *text = read_bytes(path, size);
    if (text)
        return (char *)text;
    fprintf(stderr, "cuda_tool: cannot read %s\n", path);
    exit(2);
}

/* y = 1, then scale (y += factor x) and reverse (y[i] += x[63 - i]) with x[i] = i, once launched
 * and twice as a graph whose first part sets y to zero bytes. */
static bool results_are_right(const float *y, int factor)
{
    for (int i = 0; i < FLOATS; i++)
        if (y[i] != (float)(factor * i + FLOATS - 1 - i))
            return false;
    return true;
}

static void launch_both(GpuMachine *m, const GpuKernel *kernel, const GpuAddress arg[2])
{
    for (int i = 0; i < KERNELS; i++)
        need(m, driver->launch(m, &kernel[i], one_block, arg, 2));
}

static void run_graph(GpuMachine *m, const GpuKernel *kernel, const GpuAddress arg[2])
{
    void *graph;
    need(m, driver->capture_begin(m));
    need(m, driver->fill(m, arg[1], 0, BYTES));
    launch_both(m, kernel, arg);
    need(m, driver->capture_end(m, &graph));
    need(m, driver->graph_launch(m, graph));
    int status = driver->graph_launch(m, graph);
    driver->graph_free(m, graph);
    need(m, status);
}

static void send_inputs(GpuMachine *m, GpuAddress to)
{
    char *slots = driver->slots_alloc(m, SLOTS, BYTES);
    need(m, slots ? 0 : -1);
    for (int slot = 0; slot < SLOTS; slot++) {
        float x[FLOATS];
        for (int i = 0; i < FLOATS; i++)
            x[i] = (float)(slot * i);
        need(m, driver->slot_wait(m, slot));
        memcpy(slots + slot * (int)BYTES, x, BYTES);
        need(m, driver->slot_send(m, slot, to, BYTES));
    }
    need(m, driver->slot_wait(m, SLOTS - 1));
}

static GpuMachine *open_machine(GpuLimits *limits)
{
    const char *ordinal = getenv("ORDINAL");
    GpuMachine *m = driver->open(ordinal ? atoi(ordinal) : 0, limits);
    if (!m)
        exit(1);
    printf("%s %d %d %d %lld %lld\n", limits->name, limits->architecture, limits->processors,
           limits->shared_bytes, (long long)limits->total_bytes, (long long)limits->free_bytes);
    return m;
}

static int run(const char *path, const char *const *options, int option_count, bool numbers)
{
    GpuLimits limits;
    GpuAddress arg[2];
    float y[FLOATS];
    double seconds;
    size_t size;
    GpuKernel kernel[KERNELS] = {{.name = "scale", .schedule = &schedules[0], .number = 0},
                                 {.name = "reverse", .schedule = &schedules[1], .number = 1}};
    char *text = read_text(path, &size);
    GpuMachine *m = open_machine(&limits);
    int status = driver->load(m, text, options, option_count, kernel, KERNELS);
    free(text);
    need(m, status);
    for (int i = 0; i < 2; i++)
        need(m, driver->alloc(m, BYTES, &arg[i]));
    for (int i = 0; i < FLOATS; i++)
        y[i] = 1;
    need(m, driver->copy_in(m, arg[1], y, BYTES));
    send_inputs(m, arg[0]);
    launch_both(m, kernel, arg);
    run_graph(m, kernel, arg);
    need(m, driver->wait(m));
    need(m, driver->copy_out(m, y, arg[1], BYTES));
    need(m, driver->time_begin(m));
    for (int i = 0; i < 3; i++)
        need(m, driver->launch(m, &kernel[0], one_block, arg, 2));
    need(m, driver->time_end(m, &seconds));
    need(m, driver->free(m, arg[0]));
    bool right = !numbers || (results_are_right(y, 3) && seconds > 0);
    driver->close(m);
    printf("%s\n", right ? "done" : "wrong numbers");
    return right ? 0 : 1;
}

/* ---- cubins ---- */

static int compile(char **argument)
{
    size_t size;
    char *text = read_text(argument[0], &size);
    CodeRequest request = {.text = text, .target = argument[1]};
    KernelCode code = {.name = argument[2], .number = atoi(argument[3])};
    int status = code_get(&request, &code, 1);
    FILE *f = status == 0 ? fopen(argument[4], "wb") : NULL;
    if (!f || fwrite(code.data, 1, code.size, f) != code.size || fclose(f))
        status = 1;
    code_free(&code, 1);
    free(text);
    return status ? 1 : 0;
}

static int usage(const char *path, const char *kernel)
{
    CubinUsage u;
    size_t size;
    char *bytes = read_text(path, &size);
    int status = cubin_usage(bytes, size, kernel, &u);
    free(bytes);
    if (status == 0)
        printf("%d registers %d stack %d shared\n", u.registers, u.local_bytes, u.shared_bytes);
    return status ? 1 : 0;
}

static int fuzz(const char *path, const char *kernel)
{
    CubinUsage u;
    size_t size;
    int read = 0;
    char *bytes = read_text(path, &size);
    for (unsigned round = 0; round < 20000; round++) {
        srand(round);
        size_t length = round % 4 ? size : (size_t)rand() % (size + 1);
        char *copy = xmalloc(length + 1);
        memcpy(copy, bytes, length);
        for (int i = rand() % 8; i >= 0 && length; i--)
            copy[(size_t)rand() % (i % 2 && length > 64 ? 64 : length)] = (char)rand();
        read += cubin_usage(copy, length, kernel, &u) == 0;
        free(copy);
    }
    free(bytes);
    printf("%d of 20000 could be read\n", read);
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    fault_program = "cuda_tool";
    if (!strcmp(verb, "list") && argc == 2)
        return cuda_list_devices(stdout), 0;
    if (!strcmp(verb, "run") && argc >= 3)
        return run(argv[2], (const char *const *)argv + 3, argc - 3, false);
    if (!strcmp(verb, "numbers") && argc == 3)
        return run(argv[2], NULL, 0, true);
    if (!strcmp(verb, "cubin") && argc == 7)
        return compile(argv + 2);
    if (!strcmp(verb, "usage") && argc == 4)
        return usage(argv[2], argv[3]);
    if (!strcmp(verb, "fuzz") && argc == 4)
        return fuzz(argv[2], argv[3]);
    fprintf(stderr, "cuda_tool: bad arguments\n");
    return 2;
}
