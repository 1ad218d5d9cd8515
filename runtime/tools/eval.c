/* trainer eval: what the model makes of the test images, or of others. */
#include "../../ir/images.h"
#include "tools.h"

#include <stdlib.h>
#include <string.h>

/* What is evaluated, and what it came to. */
typedef struct EvalRun {
    const NincModel *model;
    const DeviceTable *table;
    const EvalOptions *options;
    Device *device;
    Weights *weights;
    Dataset data;
    ClassNames names, kept; /* kept: of the weights' file */
    float *class_weight;
    DataSource source;
    EvalRows rows;
    Evaluation result;
} EvalRun;

static bool is_dash(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

/* JSON or CSV on standard output stands there alone. */
static int tell(const EvalRun *e)
{
    const EvalOptions *o = e->options;
    int status = 0;
    if (!is_dash(o->json) && !is_dash(o->csv))
        status = report_print(&e->result, &e->names, o->split);
    if (o->json && report_json(&e->result, &e->names, o) < 0)
        status = -1;
    if (o->csv && eval_rows_csv(&e->rows, &e->data, &e->names, o->csv) < 0)
        status = -1;
    if (o->mistakes && eval_rows_mistakes(&e->rows, &e->data, &e->names, o->mistakes) < 0)
        status = -1;
    if (o->confusion && report_picture(&e->result, o->confusion) < 0)
        status = -1;
    return status;
}

static int evaluate_weights(EvalRun *e)
{
    const EvalOptions *o = e->options;
    bool rows = o->csv || o->mistakes;
    EvaluationTask task = {.data = &e->data,
                           .confusion = true,
                           .class_weight = e->class_weight,
                           .rows = rows ? eval_rows_take : NULL,
                           .who = &e->rows};
    if (rows && eval_rows_new(&e->rows, e->data.count, e->model->classes) < 0)
        return -1;
    if (evaluate_set(e->model, e->table, e->device, &task, &e->result) < 0)
        return -1;
    int status = tell(e);
    evaluation_free(&e->result);
    return status;
}

/* The seed of the run whose checkpoint the weights are: its validation images are meant. Without
 * such a run it is that of the options. */
static int find_seed(EvalRun *e)
{
    const EvalOptions *o = e->options;
    const DataSettings *data = e->model->data;
    char *file = NULL;
    if (o->seed_given || !data || data->validation_split == 0 ||
        (o->split == SPLIT_TEST && !e->model->balanced))
        return 0;
    Messages before = fault_silence((char[256]){0}, 256); /* weights_read has said it */
    int status = checkpoint_parameters(o->weights, &file);
    fault_release(before);
    if (status == 0 && file)
        status = state_seed(file, &e->source.seed);
    else if (status == 0)
        notice("the images that validate are those of --seed %llu; give --seed N where the run "
               "had another",
               (unsigned long long)o->seed);
    free(file);
    return status;
}

/* Of balanced ones the training images' labels are counted. */
static int take_class_weights(EvalRun *e)
{
    Dataset train = {0};
    if (e->model->balanced && dataset_load(&e->source, SPLIT_TRAIN, &train) < 0)
        return -1;
    e->class_weight = class_weights(e->model, &train);
    weights_set_classes(e->weights, e->class_weight);
    dataset_free(&train);
    return 0;
}

/* Before anything takes its time: that all can be written. */
static int check_outputs(const EvalRun *e)
{
    const EvalOptions *o = e->options;
    if (json_check(o->json) < 0 || json_check(o->csv) < 0 || json_check(o->mistakes) < 0 ||
        json_check(o->confusion) < 0)
        return -1;
    if (o->mistakes && e->model->image_c > IMAGE_MAX_CHANNELS)
        return fault("--mistakes %s: model %s takes images of %d channels, of which no picture can "
                     "be made", o->mistakes, e->model->name, e->model->image_c);
    return 0;
}

static int open_device(EvalRun *e)
{
    const EvalOptions *o = e->options;
    DeviceOptions device = o->device;
    device.images[0] = e->data.count;
    e->device = device_open(e->model, &e->table, &device, NULL);
    if (!e->device)
        return -1;
    if ((o->csv || o->mistakes || o->confusion) && !has_logits(e->model, e->table))
        return fault("--csv, --mistakes and --confusion need the logits of each image, which the "
                     "eval graph of model %s does not return; compile it from a model file, or add "
                     "them to its `return`", e->model->name);
    return weights_to_device(e->weights, e->table, e->device);
}

static void tear_down(EvalRun *e)
{
    if (e->device)
        e->table->close(e->device);
    dataset_free(&e->data);
    class_names_free(&e->names);
    class_names_free(&e->kept);
    eval_rows_free(&e->rows);
    free(e->class_weight);
    weights_free(e->weights);
}

int evaluate(const NincModel *model, const DeviceTable *table, const EvalOptions *o)
{
    EvalRun e = {.model = model, .table = table, .options = o, .weights = weights_new(model)};
    e.source = (DataSource){.model = model,
                            .data = o->data,
                            .seed = o->seed,
                            .skip_bad = o->skip_bad,
                            .threads = o->device.threads};
    int status = e.weights ? weights_read_named(o->weights, e.weights, &e.kept) : -1;
    if (status == 0)
        status = check_outputs(&e);
    if (status == 0)
        status = find_seed(&e);
    if (status == 0)
        status = dataset_load(&e.source, o->split, &e.data);
    if (status == 0)
        status = class_names_read(model, &(NameSource){o->classes, o->data, &e.data, &e.kept},
                                  &e.names);
    if (status == 0)
        status = take_class_weights(&e);
    if (status == 0)
        status = open_device(&e);
    if (status == 0)
        status = evaluate_weights(&e);
    tear_down(&e);
    return status < 0 ? 1 : 0;
}
