/* What the trainer is: the model, its parameters, its memory plan, the devices it can run on. */
#include "../../ir/ir.h"
#include "../device/gpu.h"
#include "tools.h"

#include <string.h>

static void print_shape(const Shape *shape, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < shape->rank; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%d", i ? "x" : "", shape->dim[i]);
}

static void print_parameters(const NincModel *m)
{
    int64_t parameters = 0;
    char shape[64];
    printf("\n%-40s %-18s %12s\n", "parameter", "shape", "elements");
    for (int i = 0; i < m->storages; i++) {
        const NincStorage *s = &model_storage(m)[i];
        if (s->role == NINC_ROLE_MOMENT || s->role == NINC_ROLE_AVERAGE ||
            s->role == NINC_ROLE_CLASSES)
            continue;
        int64_t count = shape_elements(&s->tensor.shape);
        print_shape(&s->tensor.shape, shape, sizeof shape);
        printf("%-40s %-18s %12lld\n", s->name, shape, (long long)count);
        parameters += count;
    }
    printf("%-40s %-18s %12lld\n", "all", "", (long long)parameters);
}

/* One row: what the plan takes and, where the IR says it, the lower bound for its order. */
static void print_region(const char *program, const char *region, int64_t bytes, int64_t bound)
{
    printf("%-8s %-24s %14lld %14lld\n", program, region, (long long)bytes, (long long)bound);
}

static void print_program(const Module *ir, const DeviceTable *table, const NincProgram *p)
{
    const Graph *g = plan_graph(ir, device_programs(table), p->name);
    print_region(p->name, "shared", p->shared_bytes, g ? g->shared_bound : p->shared_bytes);
    print_region(p->name, "chunk", p->chunk_bytes, g ? g->chunk_bound : p->chunk_bytes);
    if (table->target == NINC_CPU)
        print_region(p->name, "each thread", p->thread_bytes,
                     g ? g->thread_bound : p->thread_bytes);
}

static void print_launches(const DeviceTable *table, const NincProgram *p)
{
    if (table->target == NINC_CUDA)
        printf("%-8s batch %d; %d kernels a step\n", p->name, p->batch,
               p->befores + p->chunkeds + p->afters);
    else
        printf("%-8s batch %d, chunks of %d; kernels: %d before, %d a chunk, %d after\n", p->name,
               p->batch, p->chunk, p->befores, p->chunkeds, p->afters);
}

/* On a GPU all of it is one allocation; on the CPU it depends on the number of threads. */
static void print_memory(const Module *ir, const NincModel *model, const DeviceTable *table)
{
    const NincTarget *target = device_target(model, table);
    printf("\n%s, %s\n%-8s %-24s %14s %14s\n", table->name, target->precision, "memory", "region",
           "bytes", "lower bound");
    print_region("both", "state", target->state_bytes, target->state_bytes);
    print_program(ir, table, &target->train);
    print_program(ir, table, &target->eval);
    if (table->target == NINC_CUDA)
        printf("%-8s %-24s %14lld\n", "train", "all, without data",
               (long long)gpu_arena_bytes(target, true));
    print_launches(table, &target->train);
    print_launches(table, &target->eval);
}

static void print_targets(const NincModel *model, const DeviceTable *only)
{
    static const DeviceTable *const tables[] = {&ninc_cpu_device, &ninc_cuda_device};
    Pool *pool = pool_new();
    const Module *ir = plan_module(pool);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (device_target(model, tables[i])->precision &&
            (!only || only->target == tables[i]->target))
            print_memory(ir, model, tables[i]);
    pool_free(pool);
}

/* bf16 or, where the targets differ, tf32 on a GPU, fp32 on the CPU. */
static const char *precisions(const NincModel *model)
{
    static char both[64];
    const char *cpu = device_target(model, &ninc_cpu_device)->precision;
    const char *cuda = device_target(model, &ninc_cuda_device)->precision;
    if (!cpu || !cuda || strcmp(cpu, cuda) == 0)
        return cpu ? cpu : cuda;
    snprintf(both, sizeof both, "%s on the CPU, %s on a GPU", cpu, cuda);
    return both;
}

/* Optimizer, schedule, loss and the like, which the IR says. */
static void print_training(void)
{
    Pool *pool = pool_new();
    Text text = {0};
    training_describe(plan_module(pool), &text);
    fputs(text.data, stdout);
    text_free(&text);
    pool_free(pool);
}

int info(const NincModel *model, const DeviceTable *table, const DeviceOptions *device_options)
{
    DeviceOptions options = *device_options;
    options.with_train = true;
    if (table && !device_target(model, table)->precision) {
        fault("model %s was compiled without code for --device %s; compile it with --target=all",
              model->name, table->name);
        return 1;
    }
    printf("model %s: data set %s, images %dx%dx%d, %d classes\n", model->name, model->dataset,
           model->image_h, model->image_w, model->image_c, model->classes);
    printf("%d epochs, learning rate %g%s%s, %s\n", model->epochs, model->lr,
           model->schedule ? " by schedule " : "",
           model->schedule ? rate_names[model->schedule->kind] : "", precisions(model));
    print_training();
    print_parameters(model);
    print_targets(model, table);
    printf("\ndevices\n");
    if (devices_list(model, &options) < 0)
        return 1;
    if (fflush(stdout) == 0)
        return 0;
    fault("cannot write to standard output");
    return 1;
}
