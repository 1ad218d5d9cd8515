/* How the training images are normalized: what a model file calls auto, and the whitening of all
 * their values (ZCA, as pylearn2's: Goodfellow et al. 2013). Both are layers whose parameters are
 * not trained, but made of the training images before the first step, and kept with the others. */
#include "../../ir/ir.h"
#include "normalize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES_AT_ONCE = 512 };

/* ---- the layers ---- */

/* A layer's weight and bias; NULL: the model has it not. */
typedef struct Layer {
    float *weight, *bias;
} Layer;

static float *value_named(const Weights *w, const char *layer, const char *suffix)
{
    size_t length = strlen(layer);
    for (int i = 0; i < w->model->storages; i++) {
        const char *name = model_storage(w->model)[i].name;
        if (strncmp(name, layer, length) == 0 && strcmp(name + length, suffix) == 0)
            return w->value[i];
    }
    return NULL;
}

static Layer layer_named(const Weights *w, const char *name, bool there)
{
    if (!there)
        return (Layer){0};
    return (Layer){value_named(w, name, ".weight"), value_named(w, name, ".bias")};
}

static Layer scale_of(const Weights *w)
{
    const DataSettings *d = w->model->data;
    return layer_named(w, INPUT_SCALE, d && (d->auto_mean || d->auto_std));
}

static Layer zca_of(const Weights *w)
{
    const DataSettings *d = w->model->data;
    return layer_named(w, INPUT_ZCA, d && d->zca_eps > 0);
}

void normalize_forget(Weights *w)
{
    Layer scale = scale_of(w), zca = zca_of(w);
    if (scale.weight)
        scale.weight[0] = NAN;
    if (zca.weight)
        zca.weight[0] = NAN;
}

/* ---- means and deviations ---- */

/* Of a channel's bytes. */
typedef struct Moments {
    uint64_t sum, squares;
} Moments;

/* Whole numbers, so that it does not matter who adds what; of a set of 2^47 bytes they fit. */
static void add_bytes(const Dataset *d, Moments *of)
{
    uint64_t bytes = (uint64_t)d->count * (uint64_t)d->h * (uint64_t)d->w * (uint64_t)d->c;
    for (uint64_t i = 0; i < bytes; i += (uint64_t)d->c)
        for (int c = 0; c < d->c; c++) {
            uint64_t x = d->image[i + (uint64_t)c];
            of[c].sum += x;
            of[c].squares += x * x;
        }
}

/* What mean and std of the model file make of a byte: (byte / 255 - mean) / std. */
static const ImageAttr *image_of(const Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (op_attr(g->node[i]->op) == ATTR_IMAGE)
            return &g->node[i]->attr.image;
    internal_error("the network reads no image");
}

static void set_channel(const NincModel *m, const Moments *of, double count, const ImageAttr *image,
                        int c, Layer out)
{
    double mean = (double)of[c].sum / count;
    double variance = ((double)of[c].squares - mean * (double)of[c].sum) / count;
    double deviation = sqrt(fmax(variance, 0)) / 255 / image->std[c], weight = 1;
    if (m->data->auto_std && deviation > 0)
        weight = 1 / deviation;
    else if (m->data->auto_std)
        notice("channel %d of all training images has one value; its std is left at 1", c);
    out.weight[c] = (float)weight;
    out.bias[c] = m->data->auto_mean
                      ? (float)(-(mean / 255 - image->mean[c]) / image->std[c] * weight)
                      : 0;
}

static void set_scale(const Weights *w, const Dataset *d, const Graph *g, Layer out)
{
    Moments of[MAX_IMAGE_CHANNELS] = {{0, 0}};
    double count = (double)d->count * d->h * d->w;
    add_bytes(d, of);
    for (int c = 0; c < d->c; c++)
        set_channel(w->model, of, count, image_of(g), c, out);
}

/* ---- whitening ---- */

/* What stands before the whitening. */
typedef struct Before {
    const ImageAttr *image;
    const ContrastAttr *contrast; /* NULL: none */
    Layer scale;
    const Dataset *data;
    int size;           /* values of an image */
    const double *mean; /* [size] that is taken off; NULL: nothing */
    float *out;         /* [IMAGES_AT_ONCE, size] */
    int first;          /* image */
} Before;

static const ContrastAttr *contrast_of(const Graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        if (g->node[i]->op == OP_CONTRAST)
            return &g->node[i]->attr.contrast;
    return NULL;
}

static void set_contrast(const ContrastAttr *a, double *x, int size)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < size; i++)
        sum += x[i];
    for (int i = 0; i < size; i++) {
        x[i] -= sum / size;
        squares += x[i] * x[i];
    }
    double divisor = sqrt(squares) / a->scale;
    for (int i = 0; i < size && divisor >= a->eps; i++)
        x[i] /= divisor;
}

/* Image `i` of those at once, as the network has it there. */
static void prepare(void *who, int i)
{
    const Before *b = who;
    const uint8_t *byte = b->data->image + (size_t)(b->first + i) * (size_t)b->size;
    double *x = xmalloc((size_t)b->size * sizeof *x);
    for (int k = 0; k < b->size; k++) {
        int c = k % b->data->c;
        x[k] = (byte[k] / 255.0 - b->image->mean[c]) / b->image->std[c];
        if (b->scale.weight)
            x[k] = x[k] * (double)b->scale.weight[c] + (double)b->scale.bias[c];
    }
    if (b->contrast)
        set_contrast(b->contrast, x, b->size);
    float *out = b->out + (size_t)i * (size_t)b->size;
    for (int k = 0; k < b->size; k++)
        out[k] = (float)(x[k] - (b->mean ? b->mean[k] : 0));
    free(x);
}

/* The next images into b->out; how many. */
static int prepare_next(Before *b, int first, int threads)
{
    int left = b->data->count - first, count = left < IMAGES_AT_ONCE ? left : IMAGES_AT_ONCE;
    b->first = first;
    parallel_run(threads, count, prepare, b);
    return count;
}

static void find_mean(Before *b, int threads, double *mean)
{
    memset(mean, 0, (size_t)b->size * sizeof *mean);
    for (int first = 0; first < b->data->count; first += IMAGES_AT_ONCE) {
        int count = prepare_next(b, first, threads);
        for (int i = 0; i < count; i++)
            for (int k = 0; k < b->size; k++)
                mean[k] += (double)b->out[(size_t)i * (size_t)b->size + (size_t)k];
    }
    for (int k = 0; k < b->size; k++)
        mean[k] /= b->data->count;
}

/* The covariance of the images, and eps on its diagonal. */
static void find_covariance(Before *b, int threads, double eps, double *out)
{
    int n = b->size;
    memset(out, 0, (size_t)n * (size_t)n * sizeof *out);
    for (int first = 0; first < b->data->count; first += IMAGES_AT_ONCE)
        gram_add(b->out, prepare_next(b, first, threads), n, threads, out);
    gram_mirror(out, n);
    for (size_t i = 0; i < (size_t)n * (size_t)n; i++)
        out[i] /= b->data->count;
    for (size_t i = 0; i < (size_t)n; i++)
        out[i * (size_t)n + i] += eps;
}

/* Of eigenvectors, a row each, the sum of v v' / sqrt(value), in place: the inverse root. */
static int inverse_root(double *vector, const double *value, int n, int threads)
{
    size_t all = (size_t)n * (size_t)n;
    float *row = malloc(all * sizeof *row);
    if (!row)
        return fault("no memory for the whitening (%zu bytes)", all * sizeof *row);
    for (size_t i = 0; i < all; i++)
        row[i] = (float)(vector[i] / sqrt(sqrt(value[i / (size_t)n])));
    memset(vector, 0, all * sizeof *vector);
    gram_add(row, n, n, threads, vector);
    gram_mirror(vector, n);
    free(row);
    return 0;
}

/* The convolution's filter: output (h, w, c) of input c, h, w. Its bias takes the mean off. */
static void set_zca(const Before *b, const double *matrix, const double *mean, Layer out)
{
    size_t n = (size_t)b->size, channels = (size_t)b->data->c, pixels = n / channels;
    for (size_t o = 0; o < n; o++) {
        double bias = 0;
        for (size_t i = 0; i < n; i++) {
            float value = (float)matrix[o * n + i];
            out.weight[o * n + i % channels * pixels + i / channels] = value;
            bias -= (double)value * mean[i];
        }
        out.bias[o] = (float)bias;
    }
}

static int whiten(Before *b, double eps, int threads, Layer out)
{
    size_t n = (size_t)b->size;
    double *mean = malloc(n * sizeof *mean), *value = malloc(n * sizeof *value);
    double *matrix = malloc(n * n * sizeof *matrix);
    int status = 0;
    b->out = malloc(IMAGES_AT_ONCE * n * sizeof *b->out);
    if (!mean || !value || !matrix || !b->out)
        status = fault("no memory for a matrix of %zu by %zu", n, n);
    if (status == 0) {
        find_mean(b, threads, mean);
        b->mean = mean;
        find_covariance(b, threads, eps, matrix);
        status = symmetric_eigen(matrix, b->size, value);
    }
    if (status == 0)
        status = inverse_root(matrix, value, b->size, threads);
    if (status == 0)
        set_zca(b, matrix, mean, out);
    free(mean);
    free(value);
    free(matrix);
    free(b->out);
    return status;
}

static int set_whitening(const Weights *w, const Dataset *d, const Graph *g, int threads, Layer out)
{
    Before b = {.image = image_of(g), .contrast = contrast_of(g), .scale = scale_of(w), .data = d,
                .size = d->h * d->w * d->c};
    if (!symmetric_eigen)
        internal_error("this trainer is linked without LAPACK");
    if (d->count < b.size)
        notice("zca: %d training images of %d values each say little of how these depend on one "
               "another; more images than values are better",
               d->count, b.size);
    if (b.size > 1000)
        notice("whitening the training images: a matrix of %d by %d, once", b.size, b.size);
    return whiten(&b, w->model->data->zca_eps, threads, out);
}

/* ---- all of it ---- */

int normalize_by(Weights *w, const Dataset *train, NincTargetKind programs, int threads)
{
    Layer scale = scale_of(w), zca = zca_of(w);
    bool scales = scale.weight && isnan(scale.weight[0]);
    bool whitens = zca.weight && (scales || isnan(zca.weight[0]));
    if (!scales && !whitens)
        return 0;
    Pool *pool = pool_new();
    const Graph *eval = plan_graph(plan_module(pool), programs, "eval");
    if (scales)
        set_scale(w, train, eval, scale);
    int status = whitens ? set_whitening(w, train, eval, threads, zca) : 0;
    pool_free(pool);
    return status;
}
