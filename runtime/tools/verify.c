/* Every kernel of the compiled model against the naive evaluator, on fresh random data. The IR text
 * that the plan carries says what each kernel computes and where its values lie. */
#include "verification.h"
#include "../../ir/ir.h"

#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = sizeof ((ApartState *)0)->doing };

/* The device whose kernels --list names: as `auto` chooses, but without opening it. */
static const DeviceTable *listed_table(const Verify *v)
{
    char why[256];
    bool cpu = v->model->target[NINC_CPU].precision, cuda = v->model->target[NINC_CUDA].precision;
    if (v->table)
        return v->table;
    return cuda && (!cpu || cuda_devices(why, sizeof why) > 0) ? &ninc_cuda_device
                                                               : &ninc_cpu_device;
}

static int no_code(const Verify *v, const DeviceTable *table)
{
    fault("model %s was compiled without code for --device %s; compile it with --target=all",
          v->model->name, table->name);
    return 1;
}

/* Prints what is checked, a line each, and needs no device. */
static int print_items(const Verify *v)
{
    char line[LINE_BYTES];
    const DeviceTable *table = listed_table(v);
    if (!device_target(v->model, table)->precision)
        return no_code(v, table);
    Pool *pool = pool_new();
    ItemList list =
        verify_list(device_target(v->model, table), device_programs(table), plan_module(pool));
    for (int i = 0; i < list.count; i++) {
        if (!verify_wants(v, &list.item[i]))
            continue;
        verify_describe(&list.item[i], line, sizeof line);
        puts(line);
    }
    free(list.item);
    pool_free(pool);
    if (fflush(stdout) == 0)
        return 0;
    fault("cannot write to standard output");
    return 1;
}

static int check_device(Verify *v)
{
    v->bounds = verify_bounds(v->target->precision);
    if (v->state->item < 0)
        printf("model %s on %s%s\n%s, seed %llu, bound %.0e\n", v->model->name,
               v->table->describe(v->subject[0].device), v->note, v->bounds.precision,
               (unsigned long long)v->seed, v->bounds.kernel);
    Pool *pool = pool_new();
    ItemList list = verify_list(v->target, device_programs(v->table), plan_module(pool));
    int status = verify_items(v, &list);
    free(list.item);
    pool_free(pool);
    return status == 0 ? verify_summary(v) : status;
}

/* The work of apart_run: opens the device and checks what is left. */
static int check_rest(void *context, ApartState *state)
{
    Verify v = *(const Verify *)context;
    const DeviceOptions *given = v.options;
    DeviceOptions options = *given;
    v.state = state;
    options.with_train = true;
    options.images[0] = v.full || v.only ? RANDOM_TEST_IMAGES : 0;
    v.subject[0].device = device_open(v.model, &v.table, &options, &v.note);
    v.subjects = 1;
    if (!v.subject[0].device)
        return 1;
    v.target = device_target(v.model, v.table);
    int status = check_device(&v);
    v.table->close(v.subject[0].device);
    return status < 0 ? APART_LOST : state->failed > 0;
}

static int verify_all_levels(const Verify *v, const char *levels)
{
    const NincCpuLevel *level[CPU_MOST_LEVELS];
    int count = verify_find_levels(levels, level);
    return count < 0 ? 1 : verify_levels(v, level, count);
}

int verify(const NincModel *model, const DeviceTable *table, const VerifyOptions *options)
{
    Verify v = {.model = model,
                .table = table,
                .options = &options->device,
                .full = options->full,
                .only = options->kernel,
                .seed = options->seed};
    if (options->list)
        return print_items(&v);
    if (options->levels)
        return verify_all_levels(&v, options->levels);
    return verify_run(&v, check_rest, &v);
}
