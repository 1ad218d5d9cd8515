/* Which training images an epoch has, in which order: it follows from seed and epoch alone. */
#include "run.h"

#include <stdlib.h>

/* As many draws as there are images: a class that has some, then one of its images. */
static void draw_alike(Run *r, Random *random)
{
    ClassIndex c = class_index(r->train.label, r->train.count, r->model->classes);
    int *class = xmalloc(((size_t)c.classes + 1) * sizeof *class), classes = 0;
    for (int k = 0; k < c.classes; k++)
        if (c.start[k + 1] > c.start[k])
            class[classes++] = k;
    for (int i = 0; i < r->train.count; i++) {
        int k = class[random_below(random, (uint32_t)classes)];
        int images = c.start[k + 1] - c.start[k];
        r->order[i] = c.image[c.start[k] + (int)random_below(random, (uint32_t)images)];
    }
    free(class);
    class_index_free(&c);
}

void run_order_epoch(Run *r)
{
    if (r->ordered == r->state.epoch || !r->state.shuffle)
        return;
    Random random = random_stream(r->state.seed, STREAM_EPOCH + (uint64_t)r->state.epoch);
    if (r->model->draws_alike)
        draw_alike(r, &random);
    else
        random_permutation(&random, r->order, r->train.count);
    r->ordered = r->state.epoch;
}

int run_check_order(const Run *r)
{
    if (!r->model->draws_alike || r->state.shuffle)
        return 0;
    return fault("--no-shuffle contradicts the model's sampler, which draws images of each class "
                 "as likely; leave it out, or compile with ninc --set train.sampler=shuffle");
}
