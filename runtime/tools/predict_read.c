/* The images that predict is asked about: read and brought to the model's input. */
#include "../../ir/ir.h"
#include "predict.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES = 512, GROUP_BYTES = 64 << 20, GROUP_LEAST = 64 };

static size_t image_bytes(const Predict *p)
{
    const NincModel *m = p->model;
    return (size_t)m->image_h * (size_t)m->image_w * (size_t)m->image_c;
}

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
        memcpy(out, fitted.pixel, image_bytes(p));
    image_free(&fitted);
    return status;
}

/* As the model takes the images of its data set. */
static int transform(const Predict *p, Image *image)
{
    Image out;
    if (!has_transform(p->model))
        return 0;
    if (image_transform(p->model, image, &out) < 0)
        return -1;
    image_free(image);
    *image = out;
    return 0;
}

/* Image i of the group; a heat map needs its own pixels, too. */
static int load_image(Predict *p, int i)
{
    Image image;
    if (image_read(p->list[p->first + i].file, &image) < 0)
        return -1;
    if (transform(p, &image) < 0) {
        image_free(&image);
        return -1;
    }
    int status = fit(p, &image, p->place + (size_t)i * image_bytes(p));
    if (p->options->heatmap)
        p->original = image;
    else
        image_free(&image);
    return status;
}

static void load_part(void *who, int i)
{
    Predict *p = who;
    char message[MESSAGE_BYTES];
    Messages before = fault_hold(message, sizeof message);
    if (load_image(p, i) < 0)
        p->list[p->first + i].error = copy_text(message);
    fault_release(before);
}

int predict_group_most(const Predict *p)
{
    size_t fit = GROUP_BYTES / image_bytes(p);
    int most = fit < GROUP_LEAST ? GROUP_LEAST : (int)fit;
    return p->files.count < most ? p->files.count : most;
}

int predict_make_room(Predict *p)
{
    const NincModel *m = p->model;
    int most = predict_group_most(p), batch = device_target(m, p->table)->eval.batch;
    p->group = most < p->files.count && most > batch ? most / batch * batch : most;
    size_t images = (size_t)p->group, bytes = images * image_bytes(p);
    p->data = (Dataset){.h = m->image_h, .w = m->image_w, .c = m->image_c};
    p->data.image = malloc(bytes);
    p->place = malloc(bytes);
    p->data.label = calloc(images, sizeof *p->data.label);
    p->list = calloc((size_t)p->files.count, sizeof *p->list);
    if (!p->data.image || !p->place || !p->data.label || !p->list)
        return fault("no memory for %zu images (%zu bytes); free some memory", images, bytes);
    for (int i = 0; i < p->files.count; i++)
        p->list[i].file = p->files.line[i];
    return 0;
}

void predict_load(Predict *p)
{
    int left = p->files.count - p->first, count = left < p->group ? left : p->group;
    size_t bytes = image_bytes(p);
    parallel_run(p->options->device.threads, count, load_part, p);
    p->data.count = 0;
    p->data.edition++;
    for (int i = 0; i < count; i++) {
        if (p->list[p->first + i].error) {
            fault("%s", p->list[p->first + i].error);
            p->bad++;
            continue;
        }
        memcpy(p->data.image + (size_t)p->data.count++ * bytes, p->place + (size_t)i * bytes,
               bytes);
    }
}
