/* A few steps of a compiled model on several threads, for ThreadSanitizer: races THREADS
 *
 * Linked with an emitted MODEL.c and plan.c. */
#include "../../ir/ir.h"
#include "../../runtime/device/device.h"

#include <stdlib.h>

enum { MAX_TEAM = 16, IMAGES = 16, STEPS = 2 };

/* ---- steps ---- */

/* Parameters that are not zero, so that gradients are not. */
static void fill_state(Device *d)
{
    for (int64_t at = 0; at < ninc_model.target[NINC_CPU].state_bytes; at += 4) {
        float value = (float)((at / 4 * 37) % 101 - 50) / 500;
        ninc_cpu_device.write_state(d, at, &value, 4);
    }
}

/* A whole batch and a part of one. */
static void take_steps(Device *d, const Dataset *data)
{
    static const int32_t index[IMAGES] = {3, 1, 2, 0, 7, 5, 4, 6, 9, 8, 11, 10, 15, 14, 12, 13};
    const NincTarget *target = &ninc_model.target[NINC_CPU];
    StepInput input = {.data = data, .index = index, .lr = 0.01f};
    for (input.step = 1; input.step <= STEPS; input.step++) {
        input.valid = target->train.batch - input.step + 1;
        device_step(&ninc_cpu_device, d, &target->train, &input);
        device_step(&ninc_cpu_device, d, &target->eval, &input);
    }
}

int main(int argc, char **argv)
{
    DeviceOptions options = {.threads = argc > 1 ? atoi(argv[1]) : 0, .with_train = true};
    int pixels = ninc_model.image_h * ninc_model.image_w * ninc_model.image_c;
    Dataset data = {.h = ninc_model.image_h, .w = ninc_model.image_w, .c = ninc_model.image_c};
    int batch = ninc_model.target[NINC_CPU].train.batch;
    if (options.threads < 1 || options.threads > MAX_TEAM || batch > IMAGES || batch < STEPS) {
        fprintf(stderr, "usage: races THREADS; a batch of %d to %d\n", STEPS, IMAGES);
        return 2;
    }
    data.image = xmalloc((size_t)(IMAGES * pixels));
    data.label = xmalloc(IMAGES);
    for (int i = 0; i < IMAGES * pixels; i++)
        data.image[i] = (uint8_t)(i * 31 % 251);
    for (int i = 0; i < IMAGES; i++)
        data.label[i] = (uint8_t)(i % ninc_model.classes);
    Device *d = ninc_cpu_device.open(&ninc_model, &options);
    if (!d)
        return 1;
    fill_state(d);
    take_steps(d, &data);
    ninc_cpu_device.close(d);
    free(data.image);
    free(data.label);
    return 0;
}
