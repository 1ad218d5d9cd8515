/* Which training images an epoch has, in which order: it follows from seed and epoch alone. */
#include "run.h"

#include <stdlib.h>

/* As many draws as there are images: a class that has some, then one of its images. */
static void draw_alike(const NincModel *model, const Dataset *train, Random *random,
                       int32_t *order)
{
    ClassIndex c = class_index(train->label, train->count, model->classes);
    int *class = xmalloc(((size_t)c.classes + 1) * sizeof *class), classes = 0;
    for (int k = 0; k < c.classes; k++)
        if (c.start[k + 1] > c.start[k])
            class[classes++] = k;
    for (int i = 0; i < train->count; i++) {
        int k = class[random_below(random, (uint32_t)classes)];
        int images = c.start[k + 1] - c.start[k];
        order[i] = c.image[c.start[k] + (int)random_below(random, (uint32_t)images)];
    }
    free(class);
    class_index_free(&c);
}

void order_epoch(const NincModel *model, const Dataset *train, uint64_t seed, int epoch,
                 int32_t *order)
{
    Random random = random_stream(seed, STREAM_EPOCH + (uint64_t)epoch);
    if (model->draws_alike)
        draw_alike(model, train, &random, order);
    else
        random_permutation(&random, order, train->count);
}

void run_order_epoch(Run *r)
{
    if (r->ordered == r->state.epoch || !r->state.shuffle)
        return;
    order_epoch(r->model, &r->train, r->state.seed, r->state.epoch, r->order);
    r->ordered = r->state.epoch;
}

int run_check_order(const Run *r)
{
    if (!r->model->draws_alike || r->state.shuffle)
        return 0;
    return fault("--no-shuffle contradicts the model's sampler, which draws images of each class "
                 "as likely; leave it out, or compile with ninc --set train.sampler=shuffle");
}
