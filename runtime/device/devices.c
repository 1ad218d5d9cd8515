/* Which device a command runs on. */
#include "../../ir/ir.h"
#include "gpu.h"

#include <dirent.h>
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

static char *without_device(char *text)
{
    static const char prefix[] = "--device cuda: ";
    return text + (strncmp(text, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0);
}

/* Takes off a message how it was come by, the line of our text and what to do. */
static const char *reason(char *text)
{
    text[strcspn(text, ";\n")] = '\0';
    char *place = strstr(text, " (runtime/"), *end = place ? strchr(place, ')') : NULL;
    if (end)
        memmove(place, end + 1, strlen(end + 1) + 1);
    return without_device(text);
}

/* The first number of a small file of sysfs, such as 0x10de; 0 where it cannot be read. */
static unsigned long read_number(const char *directory, const char *name)
{
    char path[512], text[32] = "";
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    if (!fgets(text, sizeof text, file))
        text[0] = '\0';
    fclose(file);
    return strtoul(text, NULL, 16);
}

bool devices_on_bus(const char *bus)
{
    enum { NVIDIA = 0x10de, DISPLAY = 0x03 }; /* vendor; base class, the upper byte of three */
    bool found = false;
    DIR *directory = opendir(bus);
    for (struct dirent *e; !found && directory && (e = readdir(directory));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%.255s", bus, e->d_name);
        found = e->d_name[0] != '.' && read_number(path, "vendor") == NVIDIA &&
                read_number(path, "class") >> 16 == DISPLAY;
    }
    if (directory)
        closedir(directory);
    return found;
}

/* Why the CPU is taken, which opening a GPU left in `why`: a machine without a GPU is nothing to
 * tell beyond a word in the header, one whose GPU cannot be used is. Returns the word. */
static const char *tell_fallback(char *why, bool verbose)
{
    if (verbose)
        notice("%s", without_device(why));
    if (!cuda_driver_missing())
        notice("runs on the CPU: %s", reason(why));
    else if (devices_on_bus("/sys/bus/pci/devices"))
        notice("runs on the CPU: an NVIDIA GPU is here, but not its driver (libcuda.so.1)");
    else
        return " (no NVIDIA GPU found)";
    return "";
}

Device *device_open(const NincModel *model, const DeviceTable **table, const DeviceOptions *options,
                    const char **note)
{
    char why[WHY_BYTES];
    bool cpu = model->target[NINC_CPU].precision, cuda = model->target[NINC_CUDA].precision;
    if (note)
        *note = "";
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
    const char *told = tell_fallback(why, options->verbose);
    if (note)
        *note = told;
    *table = &ninc_cpu_device;
    d = (*table)->open(model, options);
    if (d && options->verbose)
        notice("runs on %s%s", (*table)->describe(d), told);
    return d;
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
        char line[WHY_BYTES + 8];
        snprintf(line, sizeof line, "sim: %s", reason(why));
        print_lines(stdout, line, TABLE_COLUMNS);
        return;
    }
    char line[512];
    snprintf(line, sizeof line, "sim, %s, compute capability %d.%d, %d processors", limits.name,
             limits.architecture / 10, limits.architecture % 10, limits.processors);
    print_lines(stdout, line, TABLE_COLUMNS);
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
