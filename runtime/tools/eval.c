/* trainer eval: what the model makes of the test images. */
#include "tools.h"

#include <string.h>

static int evaluate_weights(const NincModel *model, const DeviceTable *table, Device *device,
                            const EvalOptions *options, const Dataset *data)
{
    Evaluation e;
    ClassNames names;
    const char *json = options->json;
    if (class_names_read(model, options->classes, options->data, &names) < 0)
        return -1;
    EvaluationTask task = {.data = data, .confusion = true};
    int status = evaluate_set(model, table, device, &task, &e);
    if (status == 0) {
        if (!json || strcmp(json, "-") != 0)
            status = report_print(&e, &names);
        if (json && status == 0)
            status = report_json(&e, &names, json);
        evaluation_free(&e);
    }
    class_names_free(&names);
    return status;
}

int evaluate(const NincModel *model, const DeviceTable *table, const EvalOptions *options)
{
    DeviceOptions device_options = options->device;
    Dataset data = {0};
    Device *device = NULL;
    Weights *weights = weights_new(model);
    int status = weights ? weights_read(options->weights, weights) : -1;
    if (status == 0)
        status = json_check(options->json);
    if (status == 0)
        status = dataset_read(model, options->data, options->seed, SPLIT_TEST, &data);
    device_options.images[0] = data.count;
    if (status == 0 && !(device = device_open(model, &table, &device_options, NULL)))
        status = -1;
    if (status == 0)
        status = weights_to_device(weights, table, device);
    if (status == 0)
        status = evaluate_weights(model, table, device, options, &data);
    if (device)
        table->close(device);
    dataset_free(&data);
    weights_free(weights);
    return status < 0 ? 1 : 0;
}
