/* The classes of single images. */
#include "../../ir/ir.h"
#include "tools.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES = 512 };

/* One image of the command line. */
typedef struct Prediction {
    const char *file;
    char *error;         /* why there is none; NULL: there is one */
    double *probability; /* of each class */
} Prediction;

typedef struct Predict {
    const NincModel *model;
    const DeviceTable *table;
    const PredictOptions *options;
    Device *device;
    Weights *weights;
    ClassNames names;
    TextLines files;
    Dataset data;   /* the images that could be read */
    Image original; /* the last one that could be, in its own size */
    Prediction *list;
    int bad;
} Predict;

/* ---- reading ---- */

/* Scales an image to the model's input at `out`. Where that has no alpha, the image is left without
 * it first, so that what is transparent does not bleed into its neighbours. */
static int fit(const Predict *p, Image *image, uint8_t *out)
{
    const Dataset *d = &p->data;
    Image fitted;
    bool flatten = image_has_alpha(image->c) && !image_has_alpha(d->c);
    if ((flatten && image_convert(image, image->c - 1) < 0) ||
        image_scale(image, d->h, d->w, &fitted) < 0)
        return -1;
    int status = image_convert(&fitted, d->c);
    if (p->options->invert)
        image_invert(&fitted);
    if (status == 0)
        memcpy(out, fitted.pixel, (size_t)d->h * (size_t)d->w * (size_t)d->c);
    image_free(&fitted);
    return status;
}

static int load_image(Predict *p, const char *file)
{
    Dataset *d = &p->data;
    Image image;
    if (image_read(file, &image) < 0)
        return -1;
    size_t bytes = (size_t)d->h * (size_t)d->w * (size_t)d->c;
    int status = fit(p, &image, d->image + (size_t)d->count * bytes);
    if (status == 0)
        d->count++;
    image_free(&p->original);
    p->original = image;
    return status;
}

/* A bad image is told at once and does not stop the others. */
static void load_images(Predict *p)
{
    char message[MESSAGE_BYTES];
    for (int i = 0; i < p->files.count; i++) {
        Prediction *one = &p->list[i];
        one->file = p->files.line[i];
        Messages before = fault_hold(message, sizeof message);
        int status = load_image(p, one->file);
        fault_release(before);
        if (status == 0)
            continue;
        fault("%s", message);
        one->error = copy_text(message);
        p->bad++;
    }
}

static int make_room(Predict *p)
{
    const NincModel *m = p->model;
    size_t images = (size_t)p->files.count;
    p->data = (Dataset){.h = m->image_h, .w = m->image_w, .c = m->image_c};
    size_t bytes = images * (size_t)m->image_h * (size_t)m->image_w * (size_t)m->image_c;
    p->data.image = malloc(bytes);
    p->data.label = calloc(images, sizeof *p->data.label);
    p->list = calloc(images, sizeof *p->list);
    if (!p->data.image || !p->data.label || !p->list)
        return fault("no memory for %zu images (%zu bytes); predict fewer at once", images, bytes);
    return 0;
}

/* ---- predicting ---- */

static bool all_finite(const float *value, int count)
{
    for (int i = 0; i < count; i++)
        if (!isfinite(value[i]))
            return false;
    return true;
}

static double *softmax(const float *logit, int classes)
{
    double *out = xmalloc((size_t)classes * sizeof *out), sum = 0, most = (double)logit[0];
    for (int k = 1; k < classes; k++)
        most = fmax(most, (double)logit[k]);
    for (int k = 0; k < classes; k++)
        sum += out[k] = exp((double)logit[k] - most);
    for (int k = 0; k < classes; k++)
        out[k] /= sum;
    return out;
}

/* The next prediction after *at that waits for its logits. */
static Prediction *next_wanted(Predict *p, int *at)
{
    while (p->list[*at].error)
        ++*at;
    return &p->list[(*at)++];
}

static int predict_batch(Predict *p, const StepInput *input, float *logits, int *at)
{
    const NincProgram *program = &device_target(p->model, p->table)->eval;
    int classes = p->model->classes;
    if (device_step(p->table, p->device, program, input) < 0 ||
        read_logits(p->model, p->table, p->device, logits) < 0)
        return -1;
    for (int i = 0; i < input->valid; i++) {
        Prediction *one = next_wanted(p, at);
        const float *row = logits + (size_t)i * (size_t)classes;
        if (!all_finite(row, classes))
            return fault("%s: the network's output is not finite; the weights of %s are no result "
                         "of training that went well",
                         one->file, p->options->weights);
        one->probability = softmax(row, classes);
    }
    return 0;
}

static int predict_images(Predict *p)
{
    int batch = device_target(p->model, p->table)->eval.batch, next = 0, status = 0;
    float *logits = xmalloc((size_t)batch * (size_t)p->model->classes * sizeof *logits);
    int32_t *order = dataset_order(&p->data);
    for (int at = 0; at < p->data.count && status == 0; at += batch) {
        int left = p->data.count - at;
        StepInput input = {.data = &p->data,
                           .index = order + at,
                           .valid = left < batch ? left : batch,
                           .logits_only = true};
        status = predict_batch(p, &input, logits, &next);
    }
    free(order);
    free(logits);
    return status;
}

/* ---- telling ---- */

/* The `count` most probable classes, the first of equal ones first; the caller frees them. */
static int *ranked(const double *probability, int classes, int count)
{
    int *rank = xmalloc((size_t)count * sizeof *rank);
    for (int k = 0; k < classes; k++) {
        int at = k < count ? k : count;
        for (; at > 0 && probability[k] > probability[rank[at - 1]]; at--)
            if (at < count)
                rank[at] = rank[at - 1];
        if (at < count)
            rank[at] = k;
    }
    return rank;
}

static int told(const Predict *p)
{
    return p->options->top < p->model->classes ? p->options->top : p->model->classes;
}

static void print_prediction(const Predict *p, const Prediction *one)
{
    char file[DATA_PATH];
    int count = told(p), *rank = ranked(one->probability, p->model->classes, count);
    printf("%s:", printable(one->file, file, sizeof file));
    for (int i = 0; i < count; i++)
        printf("%s %s %.2f", i ? "," : "", p->names.name[rank[i]], one->probability[rank[i]]);
    printf("\n");
    free(rank);
}

static int print_all(const Predict *p)
{
    for (int i = 0; i < p->files.count; i++)
        if (p->list[i].probability)
            print_prediction(p, &p->list[i]);
    return fflush(stdout) == 0 ? 0 : fault("cannot write to standard output: %s", strerror(errno));
}

static json_t *prediction_json(const Predict *p, const Prediction *one)
{
    if (one->error)
        return json_pack("{s:o, s:o}", "file", json_name(one->file), "error",
                         json_name(one->error));
    json_t *list = json_array();
    int count = told(p), *rank = ranked(one->probability, p->model->classes, count);
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:i, s:s, s:f}", "class", rank[i], "name",
                                              p->names.name[rank[i]], "probability",
                                              one->probability[rank[i]]));
    free(rank);
    return json_pack("{s:o, s:o}", "file", json_name(one->file), "predictions", list);
}

static int save_json(const Predict *p)
{
    json_t *list = json_array();
    for (int i = 0; i < p->files.count; i++)
        json_array_append_new(list, prediction_json(p, &p->list[i]));
    return json_save(p->options->json, list);
}

/* Of the only image. */
static int save_heatmap(const Predict *p)
{
    const Prediction *one = &p->list[0];
    int *rank = ranked(one->probability, p->model->classes, 1);
    int class = p->options->map_class < 0 ? rank[0] : p->options->map_class;
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
    free(rank);
    pool_free(pool);
    return status;
}

static int tell(const Predict *p)
{
    const char *json = p->options->json;
    if ((!json || strcmp(json, "-") != 0) && print_all(p) < 0)
        return -1;
    if (json && save_json(p) < 0)
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
    if (json_check(o->json) < 0 || image_list(o->image, o->images, &p->files) < 0)
        return -1;
    if (o->heatmap && p->files.count > 1)
        return fault("--heatmap is of one image; %s names %d", o->image[0], p->files.count);
    return o->heatmap ? outfile_check(o->heatmap) : 0;
}

static int open_model(Predict *p)
{
    const PredictOptions *o = p->options;
    DeviceOptions device = o->device;
    device.images[0] = p->files.count;
    p->weights = weights_new(p->model);
    if (!p->weights || weights_read(o->weights, p->weights) < 0 ||
        class_names_read(p->model, o->classes, o->data, &p->names) < 0)
        return -1;
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
        free(p->list[i].probability);
    }
    free(p->list);
    text_lines_free(&p->files);
    weights_free(p->weights);
    class_names_free(&p->names);
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
        status = make_room(&p);
    if (status == 0) {
        load_images(&p);
        status = predict_images(&p);
    }
    if (status == 0)
        status = tell(&p);
    tear_down(&p);
    return status < 0 || p.bad ? 1 : 0;
}
