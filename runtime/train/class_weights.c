/* The weights of classes in the loss: those of the model file, or of balanced classes as in
 * scikit-learn, images / (classes * images of the class). */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Images of each class; the caller frees it. */
static int64_t *count_classes(const NincModel *model, const Dataset *train)
{
    int64_t *count = xmalloc((size_t)model->classes * sizeof *count);
    memset(count, 0, (size_t)model->classes * sizeof *count);
    for (int i = 0; i < train->count; i++)
        count[train->label[i]]++;
    return count;
}

static void balance(const NincModel *model, const Dataset *train, float *weight)
{
    int64_t *count = count_classes(model, train);
    for (int k = 0; k < model->classes; k++) {
        double even = train->count / (double)model->classes;
        weight[k] = count[k] > 0 ? (float)(even / (double)count[k]) : 0;
        if (count[k] == 0)
            notice("class %d has no training image; it weighs nothing in the loss", k);
    }
    free(count);
}

void note_empty_classes(const NincModel *model, const Dataset *train)
{
    enum { SHOWN = 8 };
    int64_t *count = count_classes(model, train);
    Text list = {0};
    int empty = 0;
    for (int k = 0; k < model->classes; k++)
        if (count[k] == 0 && ++empty <= SHOWN)
            text_append(&list, "%s%d", empty > 1 ? ", " : "", k);
    if (empty == 1)
        notice("class %s has no training image: it will not be learnt", list.data);
    else if (empty > 1)
        notice("%d of %d classes have no training image: %s%s will not be learnt", empty,
               model->classes, list.data, empty > SHOWN ? ", ..." : "");
    text_free(&list);
    free(count);
}

float *class_weights(const NincModel *model, const Dataset *train)
{
    size_t bytes = (size_t)model->classes * sizeof(float);
    float *weight = model->class_weight || model->balanced ? xmalloc(bytes) : NULL;
    if (model->balanced)
        balance(model, train, weight);
    else if (weight)
        memcpy(weight, model->class_weight, bytes);
    return weight;
}

void weights_set_classes(Weights *w, const float *class_weight)
{
    for (int i = 0; i < w->model->storages && class_weight; i++)
        if (model_storage(w->model)[i].role == NINC_ROLE_CLASSES)
            memcpy(w->value[i], class_weight, (size_t)w->model->classes * sizeof(float));
}

float label_weight(const float *class_weight, const StepInput *input)
{
    double sum = 0;
    for (int i = 0; i < input->valid && class_weight; i++)
        sum += (double)class_weight[input->data->label[input->index[i]]];
    return class_weight && sum == 0 ? INFINITY : (float)sum;
}
