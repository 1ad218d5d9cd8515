/* The classes of single images: group by group they are read on all threads, and go through the
 * network in whole batches. */
#include "../../ir/ir.h"
#include "predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- probabilities ---- */

static bool all_finite(const float *value, int count)
{
    for (int i = 0; i < count; i++)
        if (!isfinite(value[i]))
            return false;
    return true;
}

void softmax(const float *logit, int classes, double *out)
{
    double sum = 0, most = (double)logit[0];
    for (int k = 1; k < classes; k++)
        most = fmax(most, (double)logit[k]);
    for (int k = 0; k < classes; k++)
        sum += out[k] = exp((double)logit[k] - most);
    for (int k = 0; k < classes; k++)
        out[k] /= sum;
}

/* The `count` most probable classes, the first of equal ones first. */
static void rank_classes(const double *probability, int classes, int count, int *rank)
{
    for (int k = 0; k < classes; k++) {
        int at = k < count ? k : count;
        for (; at > 0 && probability[k] > probability[rank[at - 1]]; at--)
            if (at < count)
                rank[at] = rank[at - 1];
        if (at < count)
            rank[at] = k;
    }
}

/* Keeps of all probabilities those that are told. */
static void keep_best(const Predict *p, const double *probability, Prediction *one)
{
    size_t told = (size_t)p->told;
    one->rank = xmalloc(told * sizeof *one->rank);
    one->probability = xmalloc(told * sizeof *one->probability);
    rank_classes(probability, p->model->classes, p->told, one->rank);
    for (int i = 0; i < p->told; i++)
        one->probability[i] = probability[one->rank[i]];
}

/* ---- predicting ---- */

/* What the group's batches go through. */
typedef struct Batches {
    float *logits;       /* [batch, classes] */
    double *probability; /* [classes] of one image */
    int at;              /* in the list: the next image that waits for its logits, or is bad */
} Batches;

static Prediction *next_wanted(Predict *p, Batches *b)
{
    while (p->list[b->at].error)
        b->at++;
    return &p->list[b->at++];
}

static int predict_batch(Predict *p, const StepInput *input, Batches *b)
{
    const NincProgram *program = &device_target(p->model, p->table)->eval;
    int classes = p->model->classes;
    if (device_step(p->table, p->device, program, input) < 0 ||
        read_logits(p->model, p->table, p->device, b->logits) < 0)
        return -1;
    for (int i = 0; i < input->valid; i++) {
        Prediction *one = next_wanted(p, b);
        const float *row = b->logits + (size_t)i * (size_t)classes;
        if (!all_finite(row, classes))
            return fault("%s: the network's output is not finite; the weights of %s are no result "
                         "of training that went well",
                         one->file, p->options->weights);
        softmax(row, classes, b->probability);
        keep_best(p, b->probability, one);
    }
    return 0;
}

static int predict_group(Predict *p)
{
    int batch = device_target(p->model, p->table)->eval.batch, status = 0;
    size_t classes = (size_t)p->model->classes;
    Batches b = {.logits = xmalloc((size_t)batch * classes * sizeof(float)),
                 .probability = xmalloc(classes * sizeof(double)),
                 .at = p->first};
    int32_t *order = dataset_order(&p->data);
    for (int at = 0; at < p->data.count && status == 0; at += batch) {
        int left = p->data.count - at;
        StepInput input = {.data = &p->data,
                           .index = order + at,
                           .valid = left < batch ? left : batch,
                           .logits_only = true};
        status = predict_batch(p, &input, &b);
    }
    free(order);
    free(b.probability);
    free(b.logits);
    return status;
}

/* Of the only image. */
static int save_heatmap(const Predict *p)
{
    int class = p->options->map_class < 0 ? p->list[0].rank[0] : p->options->map_class;
    Pool *pool = pool_new();
    ClassMaps maps;
    Image picture;
    const Graph *eval = plan_graph(plan_module(pool), device_programs(p->table), "eval");
    int status = class_maps(eval, p->weights, p->data.image, &maps);
    if (status == 0)
        status = heatmap_draw(&maps, class, &p->original, &picture);
    if (status == 0) {
        status = image_write_png(p->options->heatmap, &picture);
        image_free(&picture);
    }
    free(maps.value);
    pool_free(pool);
    return status;
}

static bool is_dash(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

/* JSON or CSV on standard output stands there alone. */
static int predict_all(Predict *p)
{
    bool text = !is_dash(p->options->json) && !is_dash(p->options->csv);
    for (p->first = 0; p->first < p->files.count; p->first += p->group) {
        predict_load(p);
        if (predict_group(p) < 0 || (text && predict_print(p) < 0))
            return -1;
    }
    if (predict_save(p) < 0)
        return -1;
    return p->options->heatmap && p->data.count > 0 ? save_heatmap(p) : 0;
}

/* ---- the command ---- */

static int check_channels(const NincModel *m)
{
    if (m->image_c <= IMAGE_MAX_CHANNELS)
        return 0;
    return fault("model %s takes images of %d channels; the files that predict reads have at most "
                 "%d: PNG of gray or RGB, with alpha or without, JPEG, PGM, PPM; 'eval' reads %d "
                 "channels from IDX files",
                 m->name, m->image_c, IMAGE_MAX_CHANNELS, m->image_c);
}

static int check_options(Predict *p)
{
    const PredictOptions *o = p->options;
    if (check_channels(p->model) < 0)
        return -1;
    if (o->map_class >= p->model->classes)
        return fault("--class %d: model %s has the classes 0 to %d", o->map_class, p->model->name,
                     p->model->classes - 1);
    if (json_check(o->json) < 0 || json_check(o->csv) < 0 ||
        image_list(o->image, o->images, &p->files) < 0)
        return -1;
    if (o->heatmap && p->files.count > 1)
        return fault("--heatmap is of one image; %s names %d", o->image[0], p->files.count);
    return o->heatmap ? outfile_check(o->heatmap) : 0;
}

static int open_model(Predict *p)
{
    const PredictOptions *o = p->options;
    DeviceOptions device = o->device;
    p->told = o->top < p->model->classes ? o->top : p->model->classes;
    p->weights = weights_new(p->model);
    if (!p->weights || weights_read_named(o->weights, p->weights, &p->kept) < 0 ||
        class_names_read(p->model, &(NameSource){o->classes, o->data, NULL, &p->kept},
                         &p->names) < 0)
        return -1;
    device.images[0] = predict_group_most(p);
    p->device = device_open(p->model, &p->table, &device, NULL);
    if (!p->device)
        return -1;
    if (!has_logits(p->model, p->table))
        return fault("the eval graph of model %s returns no logits; compile it from a model file, "
                     "or add them to its `return`",
                     p->model->name);
    return weights_to_device(p->weights, p->table, p->device);
}

static void tear_down(Predict *p)
{
    if (p->device)
        p->table->close(p->device);
    for (int i = 0; p->list && i < p->files.count; i++) {
        free(p->list[i].error);
        free(p->list[i].rank);
        free(p->list[i].probability);
    }
    free(p->list);
    free(p->place);
    text_lines_free(&p->files);
    weights_free(p->weights);
    class_names_free(&p->names);
    class_names_free(&p->kept);
    dataset_free(&p->data);
    image_free(&p->original);
}

int predict(const NincModel *model, const DeviceTable *table, const PredictOptions *options)
{
    Predict p = {.model = model, .table = table, .options = options};
    int status = check_options(&p);
    if (status == 0)
        status = open_model(&p);
    if (status == 0)
        status = predict_make_room(&p);
    if (status == 0)
        status = predict_all(&p);
    tear_down(&p);
    return status < 0 || p.bad ? 1 : 0;
}
