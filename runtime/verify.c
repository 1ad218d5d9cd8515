/* Every kernel of the compiled model against the naive evaluator, on fresh random data. The IR
 * text that the plan carries says what each kernel computes and where its values lie. What one
 * kernel is given depends on the seed and its place in the list alone, not on what else is checked,
 * so that it can be checked again by itself. */
#include "gpu.h"
#include "runtime.h"
#include "values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    POISON = 0xFF,
    DEFAULT_IMAGES = 2,
    STEP = 3,
    NAME_BYTES = 96,
    LINE_BYTES = sizeof ((ApartState *)0)->doing
};

/* Errors, relative by norm, of one kernel, and of a whole step's loss and state. */
typedef struct Bounds {
    const char *precision;
    double kernel, loss, state;
} Bounds;

static const Bounds all_bounds[] = {
    {"fp32", 1e-5, 1e-4, 1e-3}, {"tf32", 2e-3, 5e-3, 5e-2}, {"bf16", 1e-2, 2e-2, 2e-1}};
static const double LEARNING_RATE = 0.01f; /* as the device sees it */

typedef struct Verify {
    const NincModel *model;
    const NincTarget *target;
    Bounds bounds;
    const DeviceTable *table;
    const DeviceOptions *options;
    Device *device;
    const char *note; /* of device_open */
    bool full;
    const char *only; /* the one item that is checked; NULL: all */
    uint64_t seed;
    Random random;
    ApartState *state;
} Verify;

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

/* What one kernel is run on. */
typedef struct Trial {
    Values values;
    const Kernel *kernel;
    Eval *eval;
} Trial;

typedef struct Worst {
    double error;     /* norm-relative */
    const Node *node; /* that has it */
    int64_t dirty;    /* halo and padding elements that are not zero, over all outputs */
} Worst;

/* ---- random values that make sense ---- */

static int below(Random *r, int n)
{
    return (int)random_below(r, (uint32_t)n);
}

/* A parameter at a scale that keeps activations near 1; a moment small, Adam's v not negative. */
static double storage_value(const Storage *s, Random *r)
{
    double x = random_symmetric(r);
    size_t length = strlen(s->name);
    switch (s->role) {
    case ROLE_WEIGHT: return (float)(2.4 * x / sqrt(s->fan_in > 0 ? s->fan_in : 1));
    case ROLE_BIAS: return (float)(0.1 * x);
    case ROLE_MOMENT:
        if (length > 2 && strcmp(s->name + length - 2, ".v") == 0)
            return (float)(0.01 * fabs(x) + 0.001);
        return (float)(0.1 * x);
    case ROLE_COUNT: break;
    }
    return 0;
}

/* A code of a window that starts at row h, column w of the output and lies inside the input. */
static double pool_code(const Node *n, int h, int w, Random *r)
{
    const Window *p = &n->attr.window;
    const Shape *in = &n->in[0]->tensor.shape;
    for (;;) {
        int kh = below(r, p->kernel_h), kw = below(r, p->kernel_w);
        int y = h * p->stride_h - p->padding_h + kh, x = w * p->stride_w - p->padding_w + kw;
        if (y >= 0 && y < in->dim[1] && x >= 0 && x < in->dim[2])
            return kh * p->kernel_w + kw;
    }
}

static void fill_codes(const Node *n, int64_t count, double *out, Random *r)
{
    const Shape *s = &n->tensor.shape;
    for (int64_t i = 0; i < count; i++) {
        int64_t pixel = i / s->dim[3];
        out[i] = pool_code(n, (int)(pixel / s->dim[2] % s->dim[1]), (int)(pixel % s->dim[2]), r);
    }
}

static double input_value(const Verify *v, const Trial *t, const Node *n, Random *r)
{
    if (strcmp(n->name, "valid") == 0)
        return t->values.images < DEFAULT_IMAGES || v->full ? t->values.images : DEFAULT_IMAGES;
    if (strcmp(n->name, "label") == 0)
        return below(r, v->model->classes);
    if (strcmp(n->name, "lr") == 0)
        return LEARNING_RATE;
    if (strcmp(n->name, "step") == 0)
        return STEP;
    return n->tensor.dtype == DT_U8 ? below(r, 256) : random_symmetric(r);
}

/* As many zeros as ops leave: kernels may leave them out. */
static double computed_value(const Node *n, Random *r)
{
    if (n->tensor.dtype != DT_F32 && n->tensor.dtype != DT_BF16)
        return below(r, 2);
    float x = (float)random_normal(r);
    if (n->op == OP_ADAM_V)
        return fabsf(x) + 0.001f;
    bool zero = (n->op == OP_RELU && x < 0) || (n->op == OP_RELU_GRAD && below(r, 2) == 0) ||
                (n->op == OP_MAXPOOL_GRAD && below(r, 8) > 0);
    return zero ? 0 : x;
}

static void fill_value(Verify *v, const Trial *t, const Node *n, int64_t count, double *out)
{
    Random *r = &v->random;
    if (n->op == OP_MAXPOOL_CODE) {
        fill_codes(n, count, out, r);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        out[i] = n->op == OP_STATE   ? storage_value(n->storage, r)
                 : n->op == OP_INPUT ? input_value(v, t, n, r)
                                     : computed_value(n, r);
    for (int64_t i = 0; n->tensor.dtype == DT_BF16 && i < count; i++)
        out[i] = bf16_rounded((float)out[i]); /* what the device sees */
}

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
        fill_value(v, t, n, count, part);
        status = values_write(&t->values, n, c, part);
        for (int64_t i = 0; i < count; i++)
            sum[i] += part[i];
    }
    free(part);
    return status;
}

/* ||got - want|| / ||want||; NaN when got has one. Integers: infinite unless equal. */
static double relative_error(DType dtype, const double *got, const double *want, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    if (dtype != DT_F32 && dtype != DT_BF16)
        return difference == 0 ? 0 : INFINITY;
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

/* On a GPU a sum over images comes in as many parts as one run of the kernel leaves. */
static int compare_output(const Trial *t, const Node *n, Worst *worst)
{
    int64_t count = eval_elements(t->eval, n);
    double *got = xmalloc((size_t)count * sizeof *got + 1);
    int64_t dirty = values_read(&t->values, n, got);
    /* The code of a padding lane is that of a window of zeros, not 0; its gradient is zero. */
    if (n->op != OP_MAXPOOL_CODE && dirty > 0)
        worst->dirty += dirty;
    double error = dirty < 0 ? 0 : relative_error(n->tensor.dtype, got, value_in(t, n), count);
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
    printf("%-5s %-6s %-34s %9.2e  %s", ok ? "ok" : "WRONG", t->values.graph->name, t->kernel->name,
           w->error, op_name(w->node->op == OP_UPDATE ? w->node->in[0]->op : w->node->op));
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
    if (k->phase != PHASE_CHUNK || g->target == TARGET_CUDA)
        return g->batch;
    return v->full || g->chunk < DEFAULT_IMAGES ? g->chunk : DEFAULT_IMAGES;
}

static int run_trial(Verify *v, const Trial *t, Worst *worst)
{
    const Kernel *k = t->kernel;
    if (v->table->poison(v->device, t->values.program) < 0)
        return -1;
    for (int i = 0; i < k->in_count; i++)
        if (place_input(v, t, k->in[i]) < 0)
            return -1;
    if (launch_kernel(v, t) < 0)
        return -1;
    for (int i = 0; i < k->node_count; i++)
        eval_node(t->eval, k->node[i]);
    for (int i = 0; i < k->out_count; i++)
        if (compare_output(t, k->out[i], worst) < 0)
            return -1;
    return 0;
}

static int verify_kernel(Verify *v, const Item *item)
{
    const Graph *g = item->graph;
    const Kernel *k = item->kernel;
    int images = trial_images(v, g, k);
    Trial t = {.values = {.graph = g,
                          .program = item->program,
                          .table = v->table,
                          .device = v->device,
                          .images = images},
               .kernel = k,
               .eval = eval_new(g, images)};
    Worst worst = {0};
    int status = run_trial(v, &t, &worst);
    if (status == 0 && worst.node)
        report(v, &t, &worst);
    eval_free(t.eval);
    return status;
}

/* ---- a whole step ---- */

static void check_number(Verify *v, const Graph *g, const char *what, double error, double bound)
{
    bool ok = error <= bound;
    v->state->checked++;
    v->state->failed += !ok;
    printf("%-5s %-6s %-34s %9.2e  whole step\n", ok ? "ok" : "WRONG", g->name, what, error);
}

/* Random state on both sides. The copy is what movements are measured from. */
static int place_state(Verify *v, const Values *at, Eval *e)
{
    const Module *m = at->graph->module;
    for (int i = 0; i < m->storage_count; i++) {
        const Storage *s = m->storage[i];
        int64_t count = shape_elements(&s->tensor.shape);
        double *value = eval_state(e, s);
        for (int64_t k = 0; k < count; k++)
            value[k] = storage_value(s, &v->random);
        if (values_write_storage(at, s, value) < 0)
            return -1;
    }
    return 0;
}

/* The worst error of all storage, relative to how far each moved. */
static int compare_state(Verify *v, const Values *at, Eval *e, double *const *before)
{
    const Module *m = at->graph->module;
    double worst = 0;
    int64_t dirty = 0;
    for (int i = 0; i < m->storage_count && dirty >= 0; i++) {
        const Storage *s = m->storage[i];
        int64_t count = shape_elements(&s->tensor.shape);
        double *got = xmalloc((size_t)count * sizeof *got + 1), *want = eval_state(e, s);
        double difference = 0, moved = 0;
        dirty = values_read_storage(at, s, got);
        if (dirty > 0)
            printf("WRONG padding of %s is not zero\n", s->name);
        v->state->failed += dirty > 0;
        for (int64_t k = 0; k < count; k++) {
            difference += (got[k] - want[k]) * (got[k] - want[k]);
            moved += (want[k] - before[i][k]) * (want[k] - before[i][k]);
        }
        double error = moved > 0 ? sqrt(difference / moved) : sqrt(difference);
        if (!(error <= worst))
            worst = error;
        free(got);
    }
    if (dirty < 0)
        return -1;
    check_number(v, at->graph, "parameters and moments", worst, v->bounds.state);
    return 0;
}

/* The worst error of the gradients that lie in memory after the step. */
static int compare_gradients(Verify *v, const Values *at, Eval *e)
{
    const Module *m = at->graph->module;
    double worst = 0;
    int count = 0;
    char what[48];
    for (int i = 0; i < m->storage_count; i++) {
        const Node *n = gradient_of(at->graph, m->storage[i]);
        if (m->storage[i]->role == ROLE_MOMENT || !n)
            continue;
        int64_t elements = eval_elements(e, n);
        double *got = xmalloc((size_t)elements * sizeof *got + 1);
        int64_t dirty = values_read(at, n, got);
        double error = relative_error(n->tensor.dtype, got, eval_value(e, n), elements);
        if (!(error <= worst))
            worst = error;
        free(got);
        if (dirty < 0)
            return -1;
        count++;
    }
    snprintf(what, sizeof what, "gradients of %d parameters", count);
    if (count > 0)
        check_number(v, at->graph, what, worst, v->bounds.state);
    return 0;
}

static double **copy_state(const Module *m, Eval *e)
{
    double **copy = xmalloc(((size_t)m->storage_count + 1) * sizeof *copy);
    for (int i = 0; i < m->storage_count; i++) {
        size_t bytes = (size_t)shape_elements(&m->storage[i]->tensor.shape) * sizeof **copy;
        copy[i] = memcpy(xmalloc(bytes + 1), eval_state(e, m->storage[i]), bytes);
    }
    return copy;
}

static void free_state(const Module *m, double **copy)
{
    for (int i = 0; i < m->storage_count; i++)
        free(copy[i]);
    free(copy);
}

/* Sets the evaluator's inputs to what the device is given. */
static void set_inputs(const Graph *g, Eval *e, const StepInput *input)
{
    for (int i = 0; i < g->node_count; i++) {
        const Node *n = g->node[i];
        if (n->op != OP_INPUT)
            continue;
        int64_t count = eval_elements(e, n);
        double *value = eval_value(e, n);
        for (int64_t k = 0; k < count; k++)
            value[k] = strcmp(n->name, "image") == 0   ? input->data->image[k]
                       : strcmp(n->name, "label") == 0 ? input->data->label[k]
                       : strcmp(n->name, "valid") == 0 ? input->valid
                       : strcmp(n->name, "lr") == 0    ? (double)input->lr
                                                       : input->step;
    }
}

static void compare_metrics(Verify *v, const Graph *g, Eval *e, int valid)
{
    Metrics m;
    const Node *loss = graph_find_output(g, "loss"), *correct = graph_find_output(g, "correct");
    if (v->table->read_metrics(v->device, &m) < 0)
        return;
    if (loss) {
        double want = *eval_value(e, loss), got = m.loss / valid;
        check_number(v, g, "loss", fabs(got - want) / fmax(fabs(want), 1e-30), v->bounds.loss);
    }
    if (correct)
        check_number(v, g, "correct", fabs((double)m.correct - *eval_value(e, correct)), 0);
}

/* A small batch, so that the masking of rows past `valid` is checked too. */
static int verify_step(Verify *v, const Graph *g, const NincProgram *p, const Dataset *data)
{
    int32_t order[DEFAULT_IMAGES];
    int valid = p->batch < DEFAULT_IMAGES ? p->batch : DEFAULT_IMAGES;
    for (int i = 0; i < valid; i++)
        order[i] = i;
    StepInput input = {
        .data = data, .index = order, .valid = valid, .lr = (float)LEARNING_RATE, .step = STEP};
    Metrics discarded;
    Values at = {.graph = g, .program = p, .table = v->table, .device = v->device, .images = valid};
    Eval *e = eval_new(g, valid);
    int status = place_state(v, &at, e);
    double **before = copy_state(g->module, e);
    set_inputs(g, e, &input);
    if (status == 0)
        status = v->table->poison(v->device, p);
    if (status == 0)
        status = v->table->read_metrics(v->device, &discarded);
    if (status == 0)
        status = v->table->step(v->device, p, &input);
    if (status == 0) {
        eval_run(e);
        compare_metrics(v, g, e, valid);
        status = compare_gradients(v, &at, e);
    }
    if (status == 0)
        status = compare_state(v, &at, e, before);
    free_state(g->module, before);
    eval_free(e);
    return status;
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
