/* Every kernel of the compiled model against the naive evaluator, on fresh random data. The IR
 * text that the plan carries says what each kernel computes and where its values lie. What one
 * kernel is given depends on the seed and its place in the list alone, not on what else is checked,
 * so that it can be checked again by itself. */
#include "verify.h"
#include "../../ir/ir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 96, LINE_BYTES = sizeof ((ApartState *)0)->doing };

static const Bounds all_bounds[] = {
    {"fp32", 1e-5, 1e-4, 1e-3}, {"tf32", 2e-3, 5e-3, 5e-2}, {"bf16", 1e-2, 2e-2, 2e-1}};

/* One that is checked: a kernel of a program, or (NULL) all of them as a whole step. */
typedef struct Item {
    const Graph *graph;
    const NincProgram *program;
    const Kernel *kernel;
} Item;

typedef struct ItemList {
    Item *item;
    int count;
} ItemList;

typedef struct Worst {
    double error;     /* norm-relative */
    const Node *node; /* that has it */
    int64_t dirty;    /* halo and padding elements that are not zero, over all outputs */
} Worst;

/* ---- one kernel ---- */

static double *value_in(const Trial *t, const Node *n)
{
    return is_stored(n) ? eval_state(t->eval, n->storage) : eval_value(t->eval, n);
}

/* Partials get random parts each; the evaluator sees their sum in order. */
static int place_input(Verify *v, const Trial *t, const Node *n)
{
    int64_t count = eval_elements(t->eval, n);
    int copies = values_copies(&t->values, n), status = 0;
    double *sum = value_in(t, n), *part = xmalloc((size_t)count * sizeof *part + 1);
    for (int c = 0; c < copies && status == 0; c++) {
        if (c > 0 && t->extremes)
            memset(part, 0, (size_t)count * sizeof *part); /* parts that cancel say nothing */
        else
            fill_value(v, t, n, count, part);
        status = values_write(&t->values, n, c, part);
        for (int64_t i = 0; i < count; i++)
            sum[i] += part[i];
    }
    free(part);
    return status;
}

/* On a GPU a sum over images comes in as many parts as one run of the kernel leaves. */
static int compare_output(const Verify *v, Trial *t, const Node *n, Worst *worst)
{
    int64_t count = eval_elements(t->eval, n);
    double *got = xmalloc((size_t)count * sizeof *got + 1);
    int64_t dirty = values_read(&t->values, n, got);
    /* The code of a padding lane is that of a window of zeros, not 0; its gradient is zero. */
    if (n->op != OP_MAXPOOL_CODE && dirty > 0)
        worst->dirty += dirty;
    double error = dirty < 0 ? 0 : kernel_error(v, t, n, got);
    if (!worst->node || (!isnan(worst->error) && !(error <= worst->error))) { /* NaN is the worst */
        worst->error = error;
        worst->node = n;
    }
    free(got);
    return dirty < 0 ? -1 : 0;
}

static int launch_kernel(const Verify *v, const Trial *t)
{
    const NincLaunch *launch = find_launch(t->values.program, t->kernel);
    bool chunk = t->kernel->phase == PHASE_CHUNK;
    int slices = launch->slices < 1 ? 1 : launch->slices, status = 0;
    for (int s = 0; s < slices && status == 0; s++) {
        NincRange range = {.images = chunk ? t->values.images : 0, .slice = s, .slices = slices};
        status = v->table->launch(v->device, t->values.program, launch, &range, 0);
    }
    return status;
}

static void report(Verify *v, const Trial *t, const Worst *w)
{
    bool ok = w->error <= v->bounds.kernel && w->dirty == 0;
    Text node = {0};
    node_print(t->values.graph, w->node, &node);
    v->state->checked++;
    v->state->failed += !ok;
    printf("%-5s %-6s %-34s %9.2e  %s%s", ok ? "ok" : "WRONG", t->values.graph->name,
           t->kernel->name, w->error,
           op_name(w->node->op == OP_UPDATE ? w->node->in[0]->op : w->node->op),
           t->extremes ? ", limits" : "");
    if (w->dirty)
        printf("\n      %lld halo or padding elements are not zero", (long long)w->dirty);
    printf("\n");
    if (!ok)
        printf("      in %s\n", node.data ? node.data : "");
    fflush(stdout);
    text_free(&node);
}

/* Rows of every per-image value: on a GPU a kernel works on the whole batch. */
static int trial_images(const Verify *v, const Graph *g, const Kernel *k)
{
    if (k->phase != PHASE_CHUNK || !target_is_cpu(g->target))
        return g->batch;
    return v->full || g->chunk < DEFAULT_IMAGES ? g->chunk : DEFAULT_IMAGES;
}

static int run_trial(Verify *v, Trial *t, Worst *worst)
{
    const Kernel *k = t->kernel;
    if (v->table->poison(v->device, t->values.program) < 0)
        return -1;
    for (int i = 0; i < k->in_count; i++)
        if (place_input(v, t, k->in[i]) < 0)
            return -1;
    if (t->extremes)
        t->spread = spread_kernel(v, t);
    if (launch_kernel(v, t) < 0)
        return -1;
    for (int i = 0; i < k->node_count; i++)
        eval_node(t->eval, k->node[i]);
    if (t->extremes)
        spread_nodes(t);
    for (int i = 0; i < k->out_count; i++)
        if (compare_output(v, t, k->out[i], worst) < 0)
            return -1;
    return 0;
}

static int try_kernel(Verify *v, Trial *t)
{
    Worst worst = {0};
    t->eval = eval_new(t->values.graph, t->values.images);
    int status = run_trial(v, t, &worst);
    if (status == 0 && worst.node)
        report(v, t, &worst);
    eval_free(t->spread);
    eval_free(t->eval);
    t->eval = t->spread = NULL;
    return status;
}

static int verify_kernel(Verify *v, const Item *item)
{
    Trial t = {.values = {.graph = item->graph,
                          .program = item->program,
                          .table = v->table,
                          .device = v->device,
                          .images = trial_images(v, item->graph, item->kernel)},
               .kernel = item->kernel};
    int status = try_kernel(v, &t);
    t.extremes = takes_extremes(item->kernel);
    return status < 0 || !t.extremes ? status : try_kernel(v, &t);
}

/* ---- all of it ---- */

static void add_items(ItemList *list, const Graph *g, const NincProgram *p)
{
    for (int i = 0; i < g->kernel_count; i++)
        list->item[list->count++] = (Item){.graph = g, .program = p, .kernel = g->kernel[i]};
}

/* The kernels of both programs, then their whole steps. The caller frees list.item. */
static ItemList list_items(const NincTarget *target, const DeviceTable *table, const Module *m)
{
    const Graph *train_graph = plan_graph(m, table, "train");
    const Graph *eval_graph = plan_graph(m, table, "eval");
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

/* From the one behind v->state->item on. */
static int check_items(Verify *v, const ItemList *list)
{
    for (int i = v->state->item + 1; i < list->count; i++) {
        if (!is_wanted(v, &list->item[i]))
            continue;
        v->state->item = i;
        describe_item(&list->item[i], v->state->doing, sizeof v->state->doing);
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
    ItemList list = list_items(device_target(v->model, table), table, plan_module(pool));
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

static Bounds bounds_of(const char *precision)
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

static int check_device(Verify *v)
{
    v->bounds = bounds_of(v->target->precision);
    if (v->state->item < 0)
        printf("model %s on %s%s\n%s, seed %llu, bound %.0e\n", v->model->name,
               v->table->describe(v->device), v->note, v->bounds.precision,
               (unsigned long long)v->seed, v->bounds.kernel);
    Pool *pool = pool_new();
    ItemList list = list_items(v->target, v->table, plan_module(pool));
    int status = check_items(v, &list);
    free(list.item);
    pool_free(pool);
    if (status == 0 && v->only && v->state->item < 0)
        return no_kernel(v);
    if (status == 0)
        printf("%d of %d checks are within bounds\n", v->state->checked - v->state->failed,
               v->state->checked);
    return status;
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
    v.device = device_open(v.model, &v.table, &options, &v.note);
    if (!v.device)
        return 1;
    v.target = device_target(v.model, v.table);
    int status = check_device(&v);
    v.table->close(v.device);
    return status < 0 ? APART_LOST : state->failed > 0;
}

int verify(const NincModel *model, const DeviceTable *table, const VerifyOptions *options)
{
    ApartState alone = {.item = -1};
    Verify v = {.model = model,
                .table = table,
                .options = &options->device,
                .full = options->full,
                .only = options->kernel,
                .seed = options->seed};
    if (options->list)
        return print_items(&v);
    if (!options->kernel)
        return apart_run(check_rest, &v);
    int status = check_rest(&v, &alone);
    if (status == APART_LOST && alone.item >= 0)
        printf("FAULT %s\n", alone.doing);
    return status != 0;
}
