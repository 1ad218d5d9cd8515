/* What the eval program of a trainer computes, for tests/suites/test_library.sh: linked with the
 * MODEL.c and plan.c of an artefact directory and the runtime.
 *
 *   reference WEIGHTS COUNT    logits of the images of library_client.c, %a, an image a line */
#include "../../ir/ir.h"
#include "../../runtime/train/train.h"

#include <stdlib.h>

/* Instead of the trainer's texts: a CPU needs none. */
const char ninc_ir_text[] = "", ninc_cuda_text[] = "";
const size_t ninc_ir_length = 0, ninc_cuda_length = 0;
const NincCubin ninc_cubins[] = {{.kernel = NULL}};

static void print_batch(Device *d, const NincProgram *p, int images)
{
    const NincPort *port = find_port(p->output, p->outputs, "logits");
    int classes = port->tensor.shape.dim[1];
    float *logits = xmalloc((size_t)(p->batch * classes) * sizeof *logits);
    ninc_cpu_device.read(d, &port->at, 0, logits, (int64_t)p->batch * classes * 4);
    for (int i = 0; i < images * classes; i++)
        printf("%a%c", (double)logits[i], i % classes == classes - 1 ? '\n' : ' ');
    free(logits);
}

int main(int argc, char **argv)
{
    const NincModel *m = &ninc_model;
    int count = argc == 3 ? atoi(argv[2]) : 0, pixels = m->image_h * m->image_w * m->image_c;
    DeviceOptions options = {.threads = 1};
    Dataset data = {.count = count, .h = m->image_h, .w = m->image_w, .c = m->image_c};
    Weights *w = weights_new(m);
    Device *d = ninc_cpu_device.open(m, &options);
    if (count < 1 || !w || !d || safetensors_read(argv[1], w) < 0)
        return 1;
    data.image = xmalloc((size_t)count * (size_t)pixels);
    data.label = xmalloc((size_t)count * sizeof *data.label);
    memset(data.label, 0, (size_t)count * sizeof *data.label);
    for (int i = 0; i < count * pixels; i++)
        data.image[i] = (uint8_t)(i * 31 % 251 + i / pixels * 3);
    int32_t *order = dataset_order(&data);
    const NincProgram *p = &m->target[NINC_CPU].eval;
    weights_to_device(w, &ninc_cpu_device, d);
    for (int at = 0; at < count; at += p->batch) {
        int left = count - at;
        StepInput input = {
            .data = &data, .index = order + at, .valid = left < p->batch ? left : p->batch};
        device_step(&ninc_cpu_device, d, p, &input);
        print_batch(d, p, input.valid);
    }
    ninc_cpu_device.close(d);
    weights_free(w);
    dataset_free(&data);
    free(order);
    return 0;
}
