/* Which device a command runs on. */
#include "gpu.h"
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>

enum { WHY_BYTES = 1024 }; /* of a message */

static const struct {
    const char *name;
    const DeviceTable *table; /* NULL: the best that opens */
} devices[] = {
    {"auto", NULL},
    {"cpu", &ninc_cpu_device},
    {"cuda", &ninc_cuda_device},
    {"sim", &ninc_sim_device},
};

/* The number behind cuda:, 0 where there is none; -1 for anything else. */
static int parse_ordinal(const char *text)
{
    char *end;
    if (*text == '\0')
        return 0;
    if (text[0] != ':' || text[1] < '0' || text[1] > '9')
        return -1;
    errno = 0;
    long n = strtol(text + 1, &end, 10);
    return *end || errno || n > 9999 ? -1 : (int)n;
}

bool device_parse(const char *text, const DeviceTable **table, int *ordinal)
{
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        size_t length = strlen(devices[i].name);
        if (strncmp(text, devices[i].name, length) != 0)
            continue;
        bool numbered = devices[i].table == &ninc_cuda_device;
        int number = numbered || !text[length] ? parse_ordinal(text + length) : -1;
        if (number < 0)
            return false;
        *table = devices[i].table;
        *ordinal = number;
        return true;
    }
    return false;
}

/* Takes off a message how it was come by, the line of our text and what to do. */
static const char *reason(char *text)
{
    static const char prefix[] = "--device cuda: ";
    text[strcspn(text, ";\n")] = '\0';
    char *place = strstr(text, " (runtime/"), *end = place ? strchr(place, ')') : NULL;
    if (end)
        memmove(place, end + 1, strlen(end + 1) + 1);
    bool prefixed = strncmp(text, prefix, sizeof prefix - 1) == 0;
    return prefixed ? text + sizeof prefix - 1 : text;
}

Device *device_open(const NincModel *model, const DeviceTable **table,
                    const DeviceOptions *options)
{
    char why[WHY_BYTES];
    bool cpu = model->target[NINC_CPU].precision, cuda = model->target[NINC_CUDA].precision;
    if (*table)
        return (*table)->open(model, options);
    *table = cuda ? &ninc_cuda_device : &ninc_cpu_device;
    if (!cuda || !cpu)
        return (*table)->open(model, options);
    Messages before = fault_hold(why, sizeof why);
    Device *d = (*table)->open(model, options);
    fault_release(before);
    if (d)
        return d;
    notice("runs on the CPU: %s", reason(why));
    *table = &ninc_cpu_device;
    return (*table)->open(model, options);
}

static int list_cpu(const NincModel *model, const DeviceOptions *options)
{
    if (!model->target[NINC_CPU].precision) {
        printf("cpu: the trainer has no CPU code (ninc --target=all)\n");
        return 0;
    }
    Device *d = ninc_cpu_device.open(model, options);
    if (!d)
        return -1;
    printf("%s: training takes %.1f MB\n", ninc_cpu_device.describe(d),
           (double)ninc_cpu_device.arena_bytes(d) / 1e6);
    ninc_cpu_device.close(d);
    return 0;
}

static void list_simulator(void)
{
    char why[WHY_BYTES];
    GpuLimits limits;
    Messages before = fault_hold(why, sizeof why);
    GpuMachine *m = gpu_sim_driver.open(0, &limits);
    fault_release(before);
    if (!m) {
        printf("sim: %s\n", reason(why));
        return;
    }
    printf("sim, %s, compute capability %d.%d, %d processors\n", limits.name,
           limits.architecture / 10, limits.architecture % 10, limits.processors);
    gpu_sim_driver.close(m);
}

int devices_list(const NincModel *model, const DeviceOptions *options)
{
    if (list_cpu(model, options) < 0)
        return -1;
    if (!model->target[NINC_CUDA].precision) {
        printf("cuda, sim: the trainer has no CUDA code (ninc --target=all)\n");
        return 0;
    }
    cuda_list_devices(stdout);
    list_simulator();
    return 0;
}
