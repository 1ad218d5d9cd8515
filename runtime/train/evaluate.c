/* Loss, accuracy and confusion over a data set. */
#include "../../ir/ir.h"
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const NincPort *logits_port(const NincModel *model, const DeviceTable *table)
{
    const NincProgram *program = &device_target(model, table)->eval;
    return find_port(program->output, program->outputs, "logits");
}

bool has_logits(const NincModel *model, const DeviceTable *table)
{
    return logits_port(model, table) != NULL;
}

int read_logits(const NincModel *model, const DeviceTable *table, Device *device, float *out)
{
    const NincPort *port = logits_port(model, table);
    int64_t bytes = tensor_elements(&port->tensor) * (int64_t)sizeof(float);
    float *physical = xmalloc((size_t)bytes);
    int status = table->read(device, &port->at, 0, physical, bytes);
    if (status == 0)
        tensor_unpack(&port->tensor, physical, out);
    free(physical);
    return status;
}

/* The first of the largest, as the device counts `correct`. */
static int top_class(const float *logit, int classes)
{
    int best = 0;
    for (int k = 1; k < classes; k++)
        if (logit[k] > logit[best])
            best = k;
    return best;
}

static void count_batch(const StepInput *input, const float *logits, Evaluation *e)
{
    for (int i = 0; i < input->valid; i++) {
        int label = input->data->label[input->index[i]];
        e->confusion[(int64_t)label * e->classes +
                     top_class(logits + (size_t)i * (size_t)e->classes, e->classes)]++;
    }
}

static int evaluate_batches(const NincModel *model, const DeviceTable *table, Device *device,
                            const EvaluationTask *task, Evaluation *e)
{
    const Dataset *data = task->data;
    const volatile sig_atomic_t *stop = task->stop;
    const NincProgram *program = &device_target(model, table)->eval;
    bool rows = task->rows && has_logits(model, table);
    float *logits = xmalloc((size_t)program->batch * (size_t)e->classes * sizeof *logits);
    int32_t *order = dataset_order(data);
    int status = 0;
    for (int at = 0; at < data->count && status == 0 && !(stop && *stop); at += program->batch) {
        int left = data->count - at;
        StepInput input = {.data = data,
                           .index = order + at,
                           .valid = left < program->batch ? left : program->batch};
        input.label_weight = label_weight(task->class_weight, &input);
        int next = left - input.valid;
        dataset_ahead(data, input.index + input.valid,
                      next < program->batch ? next : program->batch);
        status = dataset_use(data, input.index, input.valid);
        if (status == 0)
            status = device_step(table, device, program, &input);
        if (status == 0 && (e->confusion || rows))
            status = read_logits(model, table, device, logits);
        if (status == 0 && e->confusion)
            count_batch(&input, logits, e);
        if (status == 0 && rows)
            task->rows(task->who, &input, logits);
        if (status == 0 && task->follow)
            task->follow(task->who, at + input.valid);
    }
    free(order);
    free(logits);
    return status < 0 ? -1 : table->read_metrics(device, &e->metrics);
}

int evaluate_set(const NincModel *model, const DeviceTable *table, Device *device,
                 const EvaluationTask *task, Evaluation *out)
{
    size_t bytes = (size_t)model->classes * (size_t)model->classes * sizeof *out->confusion;
    *out = (Evaluation){.classes = model->classes};
    if (task->confusion && model->classes <= CONFUSION_CLASSES && has_logits(model, table))
        out->confusion = memset(xmalloc(bytes), 0, bytes);
    int status = evaluate_batches(model, table, device, task, out);
    if (status < 0)
        evaluation_free(out);
    return status;
}

void evaluation_free(Evaluation *e)
{
    free(e->confusion);
    *e = (Evaluation){0};
}
