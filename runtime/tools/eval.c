/* trainer eval: what the model makes of the test images. */
#include "tools.h"

#include <stdlib.h>
#include <string.h>

static int evaluate_weights(const NincModel *model, const DeviceTable *table, Device *device,
                            const EvalOptions *options, const Dataset *data,
                            const float *class_weight)
{
    Evaluation e;
    ClassNames names;
    const char *json = options->json;
    if (class_names_read(model, options->classes, options->data, &names) < 0)
        return -1;
    EvaluationTask task = {.data = data, .confusion = true, .class_weight = class_weight};
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

/* *out as class_weights gives it; for balanced ones the training images' labels are counted. */
static int take_class_weights(const NincModel *model, const EvalOptions *options, Weights *weights,
                              float **out)
{
    Dataset train = {0};
    if (model->balanced &&
        dataset_read(model, options->data, options->seed, SPLIT_TRAIN, &train) < 0)
        return -1;
    *out = class_weights(model, &train);
    weights_set_classes(weights, *out);
    dataset_free(&train);
    return 0;
}

int evaluate(const NincModel *model, const DeviceTable *table, const EvalOptions *options)
{
    DeviceOptions device_options = options->device;
    Dataset data = {0};
    Device *device = NULL;
    float *class_weight = NULL;
    Weights *weights = weights_new(model);
    int status = weights ? weights_read(options->weights, weights) : -1;
    if (status == 0)
        status = json_check(options->json);
    if (status == 0)
        status = dataset_read(model, options->data, options->seed, SPLIT_TEST, &data);
    if (status == 0)
        status = take_class_weights(model, options, weights, &class_weight);
    device_options.images[0] = data.count;
    if (status == 0 && !(device = device_open(model, &table, &device_options, NULL)))
        status = -1;
    if (status == 0)
        status = weights_to_device(weights, table, device);
    if (status == 0)
        status = evaluate_weights(model, table, device, options, &data, class_weight);
    if (device)
        table->close(device);
    dataset_free(&data);
    free(class_weight);
    weights_free(weights);
    return status < 0 ? 1 : 0;
}
