/* The logits that a compiled model computes on the CPU for the test images: logits WEIGHTS DATA OUT
 *
 * OUT becomes f32[count, classes]. Linked with an emitted MODEL.c and plan.c
 * (tests/tools/logits.sh), so that the numbers are those of the trainer's own eval program. */
#include "../../runtime/train/train.h"

#include <stdio.h>
#include <stdlib.h>

/* Runs the eval program over all images and writes each batch's logits. */
static int write_logits(Device *d, const NincProgram *p, const Dataset *data, FILE *out)
{
    const NincPort *logits = find_port(p->output, p->outputs, "logits");
    size_t row = (size_t)logits->tensor.shape.dim[1] * sizeof(float);
    float *value = malloc((size_t)p->batch * row);
    int32_t *order = dataset_order(data);
    int status = value ? 0 : -1;
    for (int at = 0; at < data->count && status == 0; at += p->batch) {
        int left = data->count - at, valid = left < p->batch ? left : p->batch;
        StepInput input = {.data = data, .index = order + at, .valid = valid};
        if (device_step(&ninc_cpu_device, d, p, &input) < 0 ||
            ninc_cpu_device.read(d, &logits->at, 0, value, (int64_t)((size_t)p->batch * row)) < 0 ||
            fwrite(value, row, (size_t)valid, out) != (size_t)valid)
            status = -1;
    }
    free(order);
    free(value);
    return status;
}

/* The device, the parameters and the images are there. */
static int run(Device *d, const Weights *w, const Dataset *data, const char *path)
{
    FILE *out = fopen(path, "wb");
    if (!out || weights_to_device(w, &ninc_cpu_device, d) < 0)
        return -1;
    int status = write_logits(d, &ninc_model.target[NINC_CPU].eval, data, out);
    return fclose(out) == 0 ? status : -1;
}

int main(int argc, char **argv)
{
    DeviceOptions options = {0};
    Dataset data = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: logits WEIGHTS DATA OUT\n");
        return 2;
    }
    Weights *w = weights_new(&ninc_model);
    Device *d = ninc_cpu_device.open(&ninc_model, &options);
    int status = -1;
    if (w && d && safetensors_read(argv[1], w) == 0 &&
        dataset_read(&ninc_model, argv[2], 1, SPLIT_TEST, &data) == 0)
        status = run(d, w, &data, argv[3]);
    if (d)
        ninc_cpu_device.close(d);
    weights_free(w);
    dataset_free(&data);
    return status < 0 ? 1 : 0;
}
