/* Every kernel of the compiled model against the naive evaluator, on fresh random data. The IR
 * text that the plan carries says what each kernel computes and where its values lie. What one
 * kernel is given depends on the seed and its place in the list alone, not on what else is checked,
 * so that it can be checked again by itself. */
#include "verify.h"
#include "../../ir/ir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 96, LINE_BYTES = sizeof((ApartState *)0)->doing };

static const Bounds all_bounds[] = {
    {"fp32", 1e-5, 1e-4, 1e-3}, {"tf32", 2e-3, 5e-3, 5e-2}, {"bf16", 1e-2, 2e-2, 2e-1}};

/* ---- what is told ---- */

Values verify_values(const Values *at, const Subject *s)
{
    Values values = *at;
    values.device = s->device;
    return values;
}

void verify_running(Verify *v, const Subject *s, bool running)
{
    char *end = v->state->doing + v->described;
    if (!s->tally)
        return;
    s->tally->running = running;
    if (running)
        snprintf(end, sizeof v->state->doing - v->described, ", %s", s->level->name);
    else
        *end = '\0';
}

static void note_worst(Tally *t, const Check *check)
{
    if (t->checked++ > 0 && (isnan(t->worst) || check->error <= t->worst))
        return;
    t->worst = check->error;
    snprintf(t->of, sizeof t->of, "%s %s, %s", check->graph, check->what, check->of);
}

void verify_report(Verify *v, const Subject *s, const Check *check)
{
    v->state->checked++;
    v->state->failed += !check->ok;
    if (s->tally) {
        note_worst(s->tally, check);
        s->tally->failed += !check->ok;
        if (check->ok)
            return;
    }
    printf("%-5s %-6s %-34s %9.2e  %s%s%s\n", check->ok ? "ok" : "WRONG", check->graph, check->what,
           check->error, check->of, s->tally ? ", " : "", s->tally ? s->level->name : "");
}

/* ---- all of it ---- */

static void add_items(ItemList *list, const Graph *g, const NincProgram *p)
{
    for (int i = 0; i < g->kernel_count; i++)
        list->item[list->count++] = (Item){.graph = g, .program = p, .kernel = g->kernel[i]};
}

ItemList verify_list(const NincTarget *target, NincTargetKind programs, const Module *m)
{
    const Graph *train_graph = plan_graph(m, programs, "train");
    const Graph *eval_graph = plan_graph(m, programs, "eval");
    size_t most = (size_t)train_graph->kernel_count + (size_t)eval_graph->kernel_count + 2;
    ItemList list = {.item = xmalloc(most * sizeof *list.item)};
    add_items(&list, train_graph, &target->train);
    add_items(&list, eval_graph, &target->eval);
    list.item[list.count++] = (Item){.graph = train_graph, .program = &target->train};
    list.item[list.count++] = (Item){.graph = eval_graph, .program = &target->eval};
    return list;
}

/* What --kernel calls it, in `out` of NAME_BYTES. */
static const char *item_name(const Item *item, char *out)
{
    snprintf(out, NAME_BYTES, "%s%s", item->kernel ? item->kernel->name : item->graph->name,
             item->kernel ? "" : "_step");
    return out;
}

static bool is_wanted(const Verify *v, const Item *item)
{
    char name[NAME_BYTES];
    return v->only ? strcmp(item_name(item, name), v->only) == 0 : item->kernel || v->full;
}

static void describe_item(const Item *item, char *out, size_t size)
{
    char name[NAME_BYTES];
    snprintf(out, size, "%-6s %-34s %s", item->graph->name, item_name(item, name),
             item->kernel ? class_names[item->kernel->class] : "whole step");
}

static int check_item(Verify *v, const Item *item)
{
    Dataset data;
    if (item->kernel)
        return verify_kernel(v, item);
    if (dataset_read(v->model, "random", v->seed, SPLIT_TEST, &data) < 0)
        return -1;
    int status = verify_step(v, item->graph, item->program, &data);
    dataset_free(&data);
    return status;
}

int verify_items(Verify *v, const ItemList *list)
{
    int done = v->state->item + 1 - list->first;
    for (int i = done > 0 ? done : 0; i < list->count; i++) {
        if (!is_wanted(v, &list->item[i]))
            continue;
        v->state->item = list->first + i;
        describe_item(&list->item[i], v->state->doing, sizeof v->state->doing);
        v->described = strlen(v->state->doing);
        v->random = random_stream(v->seed, STREAM_VERIFY + 1 + (uint64_t)i);
        if (check_item(v, &list->item[i]) < 0)
            return -1;
    }
    return 0;
}

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
        if (!is_wanted(v, &list.item[i]))
            continue;
        describe_item(&list.item[i], line, sizeof line);
        puts(line);
    }
    free(list.item);
    pool_free(pool);
    if (fflush(stdout) == 0)
        return 0;
    fault("cannot write to standard output");
    return 1;
}

Bounds verify_bounds(const char *precision)
{
    for (size_t i = 0; i < sizeof all_bounds / sizeof *all_bounds; i++)
        if (strcmp(all_bounds[i].precision, precision) == 0)
            return all_bounds[i];
    internal_error("no error bounds for precision %s", precision);
}

static int no_kernel(const Verify *v)
{
    char text[80];
    return fault("--kernel %s: the program has no kernel of that name; 'trainer verify --list' "
                 "names them",
                 printable(v->only, text, sizeof text));
}

int verify_summary(const Verify *v)
{
    if (v->only && v->state->item < 0)
        return no_kernel(v);
    printf("%d of %d checks are within bounds\n", v->state->checked - v->state->failed,
           v->state->checked);
    return 0;
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

int verify_run(const Verify *v, int (*work)(void *context, ApartState *state), void *context)
{
    ApartState alone = {.item = -1};
    if (!v->only)
        return apart_run(work, context);
    int status = work(context, &alone);
    if (status == APART_LOST && alone.item >= 0)
        printf("FAULT %s\n", alone.doing);
    return status != 0;
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
