/* Loss and accuracy over a data set. */
#include "../ir/ir.h"
#include "runtime.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

double mean(double sum, int64_t count)
{
    return count > 0 ? sum / (double)count : NAN;
}

int evaluate_set(const NincModel *model, const DeviceTable *table, Device *device,
                 const Dataset *data, const volatile sig_atomic_t *stop, Metrics *out)
{
    const NincProgram *program = &device_target(model, table)->eval;
    int32_t *order = dataset_order(data);
    int status = 0;
    for (int at = 0; at < data->count && status == 0 && !(stop && *stop); at += program->batch) {
        int left = data->count - at;
        StepInput input = {.data = data,
                           .index = order + at,
                           .valid = left < program->batch ? left : program->batch};
        status = table->step(device, program, &input);
    }
    free(order);
    return status < 0 ? -1 : table->read_metrics(device, out);
}

static int evaluate_weights(const NincModel *model, const DeviceTable *table, Device *device,
                            const Dataset *data)
{
    Metrics m = {0};
    if (evaluate_set(model, table, device, data, NULL, &m) < 0)
        return -1;
    printf("test loss %.4f  test accuracy %.4f  (%lld images)\n", mean(m.loss, m.images),
           mean((double)m.correct, m.images), (long long)m.images);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

int evaluate(const NincModel *model, const DeviceTable *table, const EvalOptions *options)
{
    DeviceOptions device_options = options->device;
    Dataset data = {0};
    Device *device = NULL;
    Weights *weights = weights_new(model);
    int status = weights ? safetensors_read(options->weights, weights) : -1;
    if (status == 0)
        status = dataset_read(model, options->data, options->seed, SPLIT_TEST, &data);
    if (status == 0 && !(device = device_open(model, &table, &device_options)))
        status = -1;
    if (status == 0)
        status = weights_to_device(weights, table, device);
    if (status == 0)
        status = evaluate_weights(model, table, device, &data);
    if (device)
        table->close(device);
    dataset_free(&data);
    weights_free(weights);
    return status < 0 ? 1 : 0;
}
