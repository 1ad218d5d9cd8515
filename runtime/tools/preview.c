/* preview: training images as the network gets them, in a picture with their classes. They come out
 * of the device's own kernels of the training step, augmented and resized where the model does
 * that; the normalisation is undone. */
#include "../../ir/ir.h"
#include "tools.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Preview {
    const NincModel *model;
    const DeviceTable *table;
    const PreviewOptions *options;
    Device *device;
    Dataset data;
    ClassNames names;
    int32_t *order; /* of the training images */
    int count;      /* that are shown */
    const Node *map;     /* what the network reads */
    const NincProgram *program;
    Values values;
    Image image; /* all of them, one beneath the other */
} Preview;

/* ---- what the step makes of its images ---- */

static const Node *find_map(const Graph *train)
{
    for (int i = 0; i < train->node_count; i++)
        if (op_attr(train->node[i]->op) == ATTR_IMAGE)
            return train->node[i];
    return NULL;
}

/* Of image i of those that are at hand, from number `from` on. */
static double input_value(const Preview *p, GraphInput input, int from, int64_t element)
{
    int64_t bytes = (int64_t)p->data.h * p->data.w * p->data.c;
    int64_t i = input == INPUT_IMAGE ? element / bytes : element;
    int64_t number = p->order[from + i < p->count ? from + i : p->count - 1];
    switch (input) {
    case INPUT_IMAGE: return p->data.image[number * bytes + element % bytes];
    case INPUT_INDEX: return (double)number;
    case INPUT_SEED: return step_seed(p->options->seed);
    case INPUT_EPOCH: return p->options->epoch - 1;
    case INPUT_LABEL:
    case INPUT_VALID:
    case INPUT_LR:
    case INPUT_STEP:
    case INPUT_LABEL_WEIGHT:
    case INPUT_COUNT: break;
    }
    return 0; /* what no image depends on */
}

static int write_inputs(const Preview *p, int from)
{
    const Graph *g = p->values.graph;
    int status = 0;
    for (int i = 0; i < g->node_count && g->node[i]->op == OP_INPUT && status == 0; i++) {
        const Node *n = g->node[i];
        int64_t count = shape_elements(&n->tensor.shape);
        if (n->tensor.shape.rank > 0)
            count = count / g->batch * p->values.images;
        double *value = xmalloc((size_t)count * sizeof *value);
        for (int64_t k = 0; k < count; k++)
            value[k] = input_value(p, input_named(n->name), from, k);
        status = values_write(&p->values, n, 0, value);
        free(value);
    }
    return status;
}

static int launch(const Preview *p, const Kernel *k)
{
    const NincLaunch *l = find_launch(p->program, k);
    int slices = l->slices > 0 ? l->slices : 1, status = 0;
    for (int s = 0; s < slices && status == 0; s++) {
        NincRange range = {.images = p->values.images, .slice = s, .slices = slices};
        status = p->table->launch(p->device, p->program, l, &range, 0);
    }
    return status;
}

/* The kernel of the map, and those that augment what it reads. */
static int launch_all(const Preview *p)
{
    const Graph *g = p->values.graph;
    for (int i = 0; i < g->kernel_count; i++) {
        const Kernel *k = g->kernel[i];
        bool augments = op_is(k->node[0]->op, F_AUGMENT);
        if ((augments || k == p->map->kernel) && launch(p, k) < 0)
            return -1;
    }
    return 0;
}

/* (u8 / 255 - mean) / std, undone. */
static uint8_t byte_of(const ImageAttr *image, double value, int channel)
{
    double byte = 255 * (value * image->std[channel] + image->mean[channel]);
    return (uint8_t)lrint(fmin(fmax(byte, 0), 255));
}

static int make_images(Preview *p, int from)
{
    const int32_t *d = p->map->tensor.shape.dim;
    int64_t each = (int64_t)d[1] * d[2] * d[3];
    int images = p->count - from < p->values.images ? p->count - from : p->values.images;
    double *value = xmalloc((size_t)(each * p->values.images) * sizeof *value);
    int status = write_inputs(p, from) < 0 || launch_all(p) < 0 ? -1 : 0;
    if (status == 0 && values_read(&p->values, p->map, value) < 0)
        status = -1;
    for (int64_t i = 0; i < images * each && status == 0; i++)
        p->image.pixel[from * each + i] =
            byte_of(&p->map->attr.image, value[i], (int)(i % d[3]));
    free(value);
    return status;
}

/* A chunk of a CPU, the batch of a GPU at a time. */
static int make_all(Preview *p)
{
    Pool *pool = pool_new();
    const Graph *g = plan_graph(plan_module(pool), device_programs(p->table), "train");
    int status = 0;
    p->map = find_map(g);
    p->program = &device_target(p->model, p->table)->train;
    p->values = (Values){.graph = g, .program = p->program, .table = p->table,
                         .device = p->device,
                         .images = target_is_cpu(g->target) ? g->chunk : g->batch};
    if (!p->map)
        internal_error("the training graph reads no image");
    const int32_t *d = p->map->tensor.shape.dim;
    p->image = (Image){.h = d[1], .w = d[2], .c = d[3]};
    p->image.pixel = xmalloc((size_t)p->count * (size_t)d[1] * (size_t)d[2] * (size_t)d[3]);
    for (int from = 0; from < p->count && status == 0; from += p->values.images)
        status = make_images(p, from);
    pool_free(pool);
    return status;
}

/* ---- the picture ---- */

static int draw(const Preview *p)
{
    size_t bytes = (size_t)p->image.h * (size_t)p->image.w * (size_t)p->image.c;
    GridCell *cell = xmalloc((size_t)p->count * sizeof *cell);
    Image picture;
    for (int i = 0; i < p->count; i++) {
        Image image = p->image;
        image.pixel += bytes * (size_t)i;
        cell[i] = (GridCell){image, {p->names.name[p->data.label[p->order[i]]], NULL}};
    }
    int status = image_grid(cell, p->count, &picture);
    free(cell);
    if (status < 0)
        return -1;
    status = image_write_png(p->options->out, &picture);
    image_free(&picture);
    return status;
}

/* ---- all of it ---- */

/* As a run of that seed goes through them in that epoch. */
static void order_images(Preview *p)
{
    const PreviewOptions *o = p->options;
    p->order = dataset_order(&p->data);
    if (!o->no_shuffle)
        order_epoch(p->model, &p->data, o->seed, o->epoch - 1, p->order);
    p->count = o->count < p->data.count ? o->count : p->data.count;
}

static int open_all(Preview *p)
{
    const PreviewOptions *o = p->options;
    DeviceOptions device = o->device;
    if (p->model->image_c > IMAGE_MAX_CHANNELS)
        return fault("model %s takes images of %d channels, of which no picture can be made",
                     p->model->name, p->model->image_c);
    if (json_check(o->out) < 0 ||
        dataset_read(p->model, o->data, o->seed, SPLIT_TRAIN, &p->data) < 0 ||
        class_names_read(p->model, &(NameSource){o->classes, o->data, &p->data, NULL},
                         &p->names) < 0)
        return -1;
    order_images(p);
    device.with_train = true;
    p->device = device_open(p->model, &p->table, &device, NULL);
    return p->device ? 0 : -1;
}

int preview(const NincModel *model, const DeviceTable *table, const PreviewOptions *options)
{
    Preview p = {.model = model, .table = table, .options = options};
    int status = open_all(&p);
    if (status == 0)
        status = make_all(&p);
    if (status == 0)
        status = draw(&p);
    if (status == 0)
        notice("wrote %s: %d training images of epoch %d, seed %llu", options->out, p.count,
               options->epoch, (unsigned long long)options->seed);
    if (p.device)
        p.table->close(p.device);
    dataset_free(&p.data);
    class_names_free(&p.names);
    free(p.order);
    free(p.image.pixel);
    return status < 0 ? 1 : 0;
}
