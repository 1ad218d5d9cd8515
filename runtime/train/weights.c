/* Parameters between host and device: logical order here, the plan's physical form there. */
#include "../../ir/ir.h"
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Averages stand in the order of their parameters, so that each is found behind the one before it;
 * in another order too, if later. */
static void find_averages(Weights *w)
{
    const NincStorage *s = model_storage(w->model);
    int count = w->model->storages, at = 0;
    for (int i = 0; i < count; i++)
        w->average[i] = w->parameter[i] = -1;
    for (int i = 0; i < count; i++) {
        if (s[i].role != NINC_ROLE_AVERAGE)
            continue;
        while (strcmp(s[at].name, s[i].of) != 0)
            at = (at + 1) % count;
        w->average[at] = i;
        w->parameter[i] = at;
    }
}

static Weights *allocate(const NincModel *model, bool moments)
{
    Weights *w = xmalloc(sizeof *w);
    w->model = model;
    w->names = NULL;
    w->value = xmalloc((size_t)(model->storages + 1) * sizeof *w->value);
    for (int i = 0; i < model->storages; i++)
        w->value[i] = NULL;
    w->average = xmalloc((size_t)(model->storages + 1) * sizeof *w->average);
    w->parameter = xmalloc((size_t)(model->storages + 1) * sizeof *w->parameter);
    find_averages(w);
    for (int i = 0; i < model->storages; i++) {
        const NincStorage *s = &model_storage(model)[i];
        size_t count = (size_t)shape_elements(&s->tensor.shape);
        if (s->role == NINC_ROLE_MOMENT && !moments)
            continue;
        w->value[i] = calloc(count, sizeof(float));
        if (!w->value[i]) {
            fault("no memory for %s (%zu bytes); free some memory or use a smaller model", s->name,
                  count * sizeof(float));
            weights_free(w);
            return NULL;
        }
    }
    return w;
}

Weights *weights_new(const NincModel *model)
{
    return allocate(model, false);
}

Weights *weights_new_with_moments(const NincModel *model)
{
    return allocate(model, true);
}

void weights_free(Weights *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->model->storages; i++)
        free(w->value[i]);
    free(w->value);
    free(w->average);
    free(w->parameter);
    free(w);
}

static size_t physical_bytes(const Tensor *t)
{
    return (size_t)tensor_elements(t) * (size_t)dtype_bytes(t->dtype);
}

/* A buffer that holds the physical form of any storage. */
static void *staging_buffer(const NincModel *model, const NincStorage *storage)
{
    size_t most = 1;
    for (int i = 0; i < model->storages; i++)
        if (physical_bytes(&storage[i].tensor) > most)
            most = physical_bytes(&storage[i].tensor);
    return xmalloc(most);
}

int weights_to_device(const Weights *w, const DeviceTable *table, Device *device)
{
    const NincStorage *storage = device_target(w->model, table)->storage;
    void *physical = staging_buffer(w->model, storage);
    int status = 0;
    for (int i = 0; i < w->model->storages && status == 0; i++) {
        const NincStorage *s = &storage[i];
        size_t bytes = physical_bytes(&s->tensor);
        if (w->value[i])
            tensor_pack(&s->tensor, w->value[i], physical);
        else
            memset(physical, 0, bytes);
        status = table->write_state(device, s->offset, physical, (int64_t)bytes);
    }
    free(physical);
    return status;
}

int weights_from_device(Weights *w, const DeviceTable *table, Device *device)
{
    const NincStorage *storage = device_target(w->model, table)->storage;
    void *physical = staging_buffer(w->model, storage);
    int status = 0;
    for (int i = 0; i < w->model->storages && status == 0; i++) {
        const NincStorage *s = &storage[i];
        if (!w->value[i])
            continue;
        status =
            table->read_state(device, s->offset, physical, (int64_t)physical_bytes(&s->tensor));
        if (status == 0)
            tensor_unpack(&s->tensor, physical, w->value[i]);
    }
    free(physical);
    return status;
}

int weights_check_finite(const Weights *w, int64_t step)
{
    const NincStorage *storage = model_storage(w->model);
    for (int i = 0; i < w->model->storages; i++) {
        int64_t count = w->value[i] ? shape_elements(&storage[i].tensor.shape) : 0, bad = 0;
        for (int64_t k = 0; k < count; k++)
            bad += !isfinite(w->value[i][k]);
        if (bad > 0)
            return fault("%lld of %lld values of %s are not finite after step %lld; training "
                         "stops and saves nothing more; try a smaller --lr, another --init or "
                         "another --seed",
                         (long long)bad, (long long)count, storage[i].name, (long long)step);
    }
    return 0;
}

static void fill_with(float *value, int64_t count, float with)
{
    for (int64_t i = 0; i < count; i++)
        value[i] = with;
}

static void fill_uniform(Random *r, float *value, int64_t count, double bound)
{
    for (int64_t i = 0; i < count; i++)
        value[i] = (float)bound * random_symmetric(r);
}

static void fill_normal(Random *r, float *value, int64_t count, double std)
{
    for (int64_t i = 0; i < count; i++)
        value[i] = (float)(std * random_normal(r));
}

/* A batch norm begins with weight 1, bias 0, mean 0 and variance 1, whatever `init` says.
 * torch.nn.Conv2d's and Linear's default is kaiming_uniform_(a=sqrt(5)), whose bound is
 * sqrt(6 / ((1 + 5) fan_in)) = 1 / sqrt(fan_in), for weights and biases alike. */
static void init_storage(const NincOwnInit *how, const NincStorage *s, Random *r, float *value)
{
    int64_t count = shape_elements(&s->tensor.shape);
    double fan_in = s->fan_in > 0 ? s->fan_in : 1, fan_out = s->fan_out > 0 ? s->fan_out : 1;
    switch (s->role) {
    case NINC_ROLE_SHIFT:
    case NINC_ROLE_MEAN:
    case NINC_ROLE_BATCHES:
    case NINC_ROLE_CLASSES: /* weights_set_classes */
    case NINC_ROLE_AVERAGE: /* as the parameter, when that has its values */
    case NINC_ROLE_MOMENT: return; /* zeros */
    case NINC_ROLE_SCALE:
    case NINC_ROLE_VARIANCE: fill_with(value, count, 1); return;
    case NINC_ROLE_WEIGHT:
    case NINC_ROLE_MATRIX:
    case NINC_ROLE_BIAS: break;
    }
    if (how->init == NINC_INIT_PYTORCH) {
        fill_uniform(r, value, count, 1.0 / sqrt(fan_in));
        return;
    }
    if (s->role == NINC_ROLE_BIAS) {
        memset(value, 0, (size_t)count * sizeof *value);
        return;
    }
    switch (how->init) {
    case NINC_INIT_PYTORCH: break;
    case NINC_INIT_XAVIER_UNIFORM:
        fill_uniform(r, value, count, sqrt(6.0 / (fan_in + fan_out)));
        break;
    case NINC_INIT_KAIMING_NORMAL: fill_normal(r, value, count, sqrt(2.0 / fan_in)); break;
    case NINC_INIT_NORMAL: fill_normal(r, value, count, how->std); break;
    }
}

static NincOwnInit init_of(const NincModel *model, int storage)
{
    for (int i = 0; i < model->own_inits; i++)
        if (model->own_init[i].storage == storage)
            return model->own_init[i];
    return (NincOwnInit){storage, model->init, model->init_std};
}

/* Averages and their parameters begin alike: the averages as `averages` says, or the others. */
static void start_averages(Weights *w, bool averages)
{
    for (int i = 0; i < w->model->storages; i++) {
        int k = w->average[i];
        const Shape *shape = &model_storage(w->model)[i].tensor.shape;
        int to = averages ? k : i, from = averages ? i : k;
        if (k >= 0)
            memcpy(w->value[to], w->value[from], (size_t)shape_elements(shape) * sizeof(float));
    }
}

void weights_init(Weights *w, uint64_t seed)
{
    for (int i = 0; i < w->model->storages; i++) {
        Random r = random_stream(seed, STREAM_INIT + (uint64_t)i);
        NincOwnInit how = init_of(w->model, i);
        if (w->value[i] && model_storage(w->model)[i].role != NINC_ROLE_MOMENT)
            init_storage(&how, &model_storage(w->model)[i], &r, w->value[i]);
    }
    start_averages(w, true);
}

/* ---- files ---- */

static Shape shape_in_files(const NincStorage *s)
{
    const Shape *shape = &s->tensor.shape;
    if (s->role == NINC_ROLE_BATCHES)
        return (Shape){0};
    if (s->role != NINC_ROLE_MATRIX)
        return *shape;
    return (Shape){2, {shape->dim[0], shape->dim[1] * shape->dim[2] * shape->dim[3]}};
}

/* Whether storage i is in the file of the optimizer's state, not in that of the parameters. Of a
 * parameter with an average the latter has the average, the former what the optimizer steps; both
 * have its name. */
static bool is_of_optimizer(const Weights *w, int i)
{
    return model_storage(w->model)[i].role == NINC_ROLE_MOMENT || w->average[i] >= 0;
}

/* The parameters, or the moments, as a file holds them; free(list.item). */
static TensorList tensor_list(const Weights *w, bool moments)
{
    const NincModel *model = w->model;
    TensorList list = {.what = moments ? "the optimizer's state" : "the parameters",
                       .model = model->name,
                       .item = xmalloc((size_t)(model->storages + 1) * sizeof *list.item)};
    if (w->names && !moments) {
        list.class_name = w->names->name;
        list.classes = w->names->count;
    }
    for (int i = 0; i < model->storages; i++) {
        const NincStorage *s = &model_storage(model)[i];
        const NincStorage *named = w->parameter[i] < 0 ? s : &model_storage(model)[w->parameter[i]];
        if (s->role == NINC_ROLE_CLASSES)
            continue;
        if (w->value[i] && is_of_optimizer(w, i) == moments)
            list.item[list.count++] = (NamedTensor){named->name, shape_in_files(named), w->value[i],
                                                    s->role == NINC_ROLE_BATCHES};
    }
    return list;
}

typedef int TensorsFn(const char *path, const TensorList *list);

static int on_file(TensorsFn *what, const char *path, const Weights *w, bool moments)
{
    TensorList list = tensor_list(w, moments);
    int status = what(path, &list);
    free(list.item);
    return status;
}

/* A running variance is a mean of squares, whose root is taken. */
static int read_parameters(TensorsFn *read, const char *path, Weights *w)
{
    if (on_file(read, path, w, false) < 0)
        return -1;
    start_averages(w, false);
    for (int i = 0; i < w->model->storages; i++) {
        const NincStorage *s = &model_storage(w->model)[i];
        bool counts = s->role == NINC_ROLE_VARIANCE || s->role == NINC_ROLE_BATCHES;
        for (int64_t k = counts ? shape_elements(&s->tensor.shape) - 1 : -1; k >= 0; k--)
            if (w->value[i][k] < 0)
                return fault("tensor %s of %s has the value %g, and cannot be negative; give the "
                             "file of a training that went well",
                             s->name, path, (double)w->value[i][k]);
    }
    return 0;
}

int safetensors_read(const char *path, Weights *w)
{
    return read_parameters(tensors_read, path, w);
}

int safetensors_read_foreign(const char *path, Weights *w)
{
    return read_parameters(tensors_read_foreign, path, w);
}

int safetensors_read_partial(const char *path, Weights *w)
{
    return read_parameters(tensors_read_partial, path, w);
}

int safetensors_write(const char *path, const Weights *w)
{
    return on_file(tensors_write, path, w, false);
}

/* Adam's v is a mean of squares, whose root is taken. */
static int check_squares(const char *path, const Weights *w)
{
    for (int i = 0; i < w->model->storages; i++) {
        const NincStorage *s = &model_storage(w->model)[i];
        size_t length = strlen(s->name);
        if (s->role != NINC_ROLE_MOMENT || length < 2 || strcmp(s->name + length - 2, ".v") != 0)
            continue;
        for (int64_t k = shape_elements(&s->tensor.shape) - 1; k >= 0; k--)
            if (w->value[i][k] < 0)
                return fault("tensor %s of %s has the value %g; it is a mean of squares and cannot "
                             "be negative; the checkpoint is damaged",
                             s->name, path, (double)w->value[i][k]);
    }
    return 0;
}

int moments_read(const char *path, Weights *w)
{
    return on_file(tensors_read, path, w, true) < 0 ? -1 : check_squares(path, w);
}

int moments_write(const char *path, const Weights *w)
{
    return on_file(tensors_write, path, w, true);
}
