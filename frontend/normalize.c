/* What of the input is made of the training images, or of each image by itself: `auto` means and
 * deviations, `normalize`. */
#include "input.h"

enum { MOST_WHITENED = 4096 };

/* The norm of one byte that differs is 7e-5 of this scale; what rounding leaves of a constant image
 * is far less than the eps. */
#define STANDARD_SCALE 55.0
#define STANDARD_CONTRAST_EPS 1e-6
#define STANDARD_ZCA_EPS 0.1

typedef struct NormalizeSpec {
    const Tree *contrast, *zca;
} NormalizeSpec;

typedef struct ZcaSpec {
    double eps;
} ZcaSpec;

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))

bool normalize_is_auto(const Tree *t)
{
    return t && t->kind == TREE_SCALAR && !t->quoted && tree_is(t, "auto");
}

/* ---- the keys ---- */

static bool read_contrast(Reader *r, const Tree *t, ContrastAttr *out)
{
    static const Field fields[] = {
        {"scale", FIELD_REAL, false, 1e-6, 1e6, offsetof(ContrastAttr, scale), "scale: 55.0"},
        {"eps", FIELD_REAL, false, 1e-30, 1e6, offsetof(ContrastAttr, eps), "eps: 1.0e-6"},
    };

    *out = (ContrastAttr){STANDARD_SCALE, STANDARD_CONTRAST_EPS};
    return tree_is_null(t) || read_fields(r, t, "global_contrast", fields, COUNT(fields), out);
}

static bool read_zca(Reader *r, const Tree *t, const InputSpec *in, double *eps)
{
    static const Field fields[] = {
        {"eps", FIELD_REAL, false, 1e-6, 1e6, offsetof(ZcaSpec, eps), "eps: 0.1"},
    };
    ZcaSpec spec = {STANDARD_ZCA_EPS};
    const int *net = in->net;
    int64_t values = (int64_t)net[0] * net[1] * net[2];

    if (!tree_is_null(t) && !read_fields(r, t, "zca", fields, COUNT(fields), &spec))
        return false;
    if (in->resize) {
        reader_fault(r, t, "zca is of the images as the data set has them, not of resized ones; "
                           "remove resize, or use transform: [resize: [%d, %d]]", net[1], net[2]);
        return false;
    }
    if (net[0] > 0 && values > MOST_WHITENED) {
        reader_fault(r, t, "zca of images of %dx%dx%d, %lld values, needs a matrix of %lld by "
                           "%lld; at most %d values are possible: make the images smaller, for "
                           "example by transform: [resize: 32], or remove zca", net[0], net[1],
                     net[2],
                     (long long)values, (long long)values, (long long)values, MOST_WHITENED);
        return false;
    }
    *eps = spec.eps;
    return true;
}

bool read_normalize(Reader *r, InputSpec *in)
{
    static const Field fields[] = {
        {"global_contrast", FIELD_TREE, false, 0, 0, offsetof(NormalizeSpec, contrast),
         "global_contrast: {scale: 55.0}"},
        {"zca", FIELD_TREE, false, 0, 0, offsetof(NormalizeSpec, zca), "zca: {eps: 0.1}"},
    };
    NormalizeSpec spec = {0};
    const Tree *t = in->normalize;
    bool sound;

    in->images.auto_mean = normalize_is_auto(in->mean);
    in->images.auto_std = normalize_is_auto(in->std);
    if (!t)
        return true;
    if (t->kind != TREE_MAPPING || t->count == 0) {
        reader_fault(r, t, "normalize must be a mapping of global_contrast, zca or both, as in "
                           "normalize: {global_contrast: {scale: 55.0}, zca: {eps: 0.1}}; mean and "
                           "std stand beside it, as in mean: auto, std: auto");
        return false;
    }
    sound = read_fields(r, t, "normalize", fields, COUNT(fields), &spec);
    if (spec.contrast)
        sound &= read_contrast(r, spec.contrast, &in->contrast);
    if (spec.zca)
        sound &= read_zca(r, spec.zca, in, &in->images.zca_eps);
    return sound;
}

/* ---- the graph ---- */

static Node *parameter(Reader *r, Graph *g, const char *name, Shape shape, int fan_in, Loc loc)
{
    Storage *s = module_add_storage(g->module, pool_strdup(r->pool, name), shape,
                                    shape.rank == 4 ? ROLE_WEIGHT : ROLE_BIAS, loc);

    s->fan_in = fan_in;
    s->fan_out = shape.dim[0];
    s->training.frozen = true;
    return graph_state(g, s);
}

/* A convolution that is not trained, of the whole map or, in groups, of a pixel's channels. */
static Node *frozen_conv(Reader *r, Graph *g, const char *name, Node *x, const Window *w,
                         int channels)
{
    const int32_t *d = x->tensor.shape.dim;
    int inputs = d[3] / window_groups(w), fan_in = inputs * w->kernel_h * w->kernel_w;
    Attr attr = {.window = *w};
    Node *in[3] = {x};

    in[1] = parameter(r, g, pool_format(r->pool, "%s.weight", name),
                      shape_of(4, channels, inputs, w->kernel_h, w->kernel_w), fan_in, x->loc);
    in[2] = parameter(r, g, pool_format(r->pool, "%s.bias", name), shape_of(1, channels, 0, 0, 0),
                      fan_in, x->loc);
    return graph_add(g, OP_CONV2D, 3, in, &attr, x->loc);
}

/* (x - mean) / std of each channel */
static Node *build_scale(Reader *r, Graph *g, Node *x)
{
    int channels = x->tensor.shape.dim[3];
    Window w = {.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1,
                .groups = window_unless_one(channels)};

    return frozen_conv(r, g, INPUT_SCALE, x, &w, channels);
}

static Node *build_contrast(Graph *g, const ContrastAttr *contrast, Node *x)
{
    Node *stats = graph_add(g, OP_IMAGE_STATS, 1, &x, NULL, x->loc);

    return graph_add(g, OP_CONTRAST, 2, (Node *[]){x, stats}, &(Attr){.contrast = *contrast},
                     x->loc);
}

/* Every value of the result is a sum over all of the image's. */
static Node *build_zca(Reader *r, Graph *g, Node *x)
{
    Tensor type = x->tensor;
    const int32_t *d = type.shape.dim;
    Window w = {.kernel_h = d[1], .kernel_w = d[2], .stride_h = 1, .stride_w = 1};
    Node *row = frozen_conv(r, g, INPUT_ZCA, x, &w, d[1] * d[2] * d[3]);

    return graph_add_typed(g, OP_UNFLATTEN, 1, &row, NULL, &type, x->loc);
}

Node *normalize_build(Reader *r, Graph *g, const InputSpec *in, Node *x)
{
    if (in->images.auto_mean || in->images.auto_std)
        x = build_scale(r, g, x);
    if (in->contrast.scale > 0)
        x = build_contrast(g, &in->contrast, x);
    return in->images.zca_eps > 0 ? build_zca(r, g, x) : x;
}
