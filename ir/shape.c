/* Types: the one place that says which operands an op takes and what it gives. */
#include "ir.h"
#include "numbers.h"

/* One call of infer_type. `out` holds the given type where the op cannot infer it. */
typedef struct Infer {
    Diagnostics *d;
    Op op;
    int arity;
    Node *const *in;
    const Attr *attr;
    Loc loc;
    Tensor *out;
} Infer;

/* Words of a type, for messages. */
typedef struct TypeText {
    char text[64];
} TypeText;

static TypeText type_text(const Tensor *t)
{
    TypeText words;
    size_t size = sizeof words.text;
    size_t used = (size_t)snprintf(words.text, size, "%s[", dtype_name(t->dtype));
    for (int i = 0; i < t->shape.rank; i++)
        used += (size_t)snprintf(words.text + used, size - used, "%s%d", i ? "," : "",
                                 t->shape.dim[i]);
    snprintf(words.text + used, size - used, "]");
    return words;
}

static bool fault(const Infer *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fault(const Infer *f, const char *format, ...)
{
    Text text = {0};
    va_list ap;
    va_start(ap, format);
    text_append_v(&text, format, ap);
    va_end(ap);
    diagnostics_add(f->d, f->loc, 1, "%s%s", op_name(f->op), text.data);
    text_free(&text);
    return false;
}

/* ---- operands ---- */

static bool expect(const Infer *f, int i, const char *what, DType dtype, int rank)
{
    const Tensor *t = &f->in[i]->tensor;
    if (t->dtype == dtype && t->shape.rank == rank)
        return true;
    return fault(f, " takes as %s %s of rank %d, not %s", what, dtype_name(dtype), rank,
                 type_text(t).text);
}

static const int32_t *dims(const Infer *f, int i)
{
    return f->in[i]->tensor.shape.dim;
}

static bool expect_extent(const Infer *f, int i, const char *what, int axis, int32_t extent)
{
    if (dims(f, i)[axis] == extent)
        return true;
    return fault(f, ": extent %d of %s is %d, but its other operands need %d", axis, what,
                 dims(f, i)[axis], extent);
}

static bool is_float(DType dtype)
{
    return dtype == DT_F32 || dtype == DT_BF16;
}

static DType dtype_of(const Infer *f, int i)
{
    return f->in[i]->tensor.dtype;
}

/* A map [N,H,W,C] of floats. */
static bool expect_map(const Infer *f, int i, const char *what)
{
    return expect(f, i, what, dtype_of(f, i) == DT_BF16 ? DT_BF16 : DT_F32, 4);
}

/* ---- results ---- */

static bool give(const Infer *f, DType dtype, Shape shape)
{
    *f->out = (Tensor){.dtype = dtype, .shape = shape};
    int64_t elements = 1;
    for (int i = 0; i < shape.rank; i++) {
        elements *= shape.dim[i];
        if (shape.dim[i] < 1)
            return fault(f, ": extent %d of the result is %d; it must be at least 1", i,
                         shape.dim[i]);
        if (elements > INT32_MAX)
            return fault(f, ": the result %s has 2^31 elements or more; make it smaller",
                         type_text(f->out).text);
    }
    return true;
}

static bool give_map(const Infer *f, DType dtype, const int32_t *d, int h, int w, int c)
{
    return give(f, dtype, shape_of(4, d[0], h, w, c));
}

/* Checks the type that the caller gave. */
static bool check_given(const Infer *f, DType dtype, int rank)
{
    const Tensor *t = f->out;
    if (t->dtype != dtype || t->shape.rank != rank)
        return fault(f, " gives %s of rank %d, not %s", dtype_name(dtype), rank,
                     type_text(t).text);
    return give(f, dtype, t->shape);
}

static bool check_given_extent(const Infer *f, int axis, int32_t extent)
{
    int32_t given = f->out->shape.dim[axis];
    if (given == extent)
        return true;
    return fault(f, ": extent %d of the result is given as %d, but its operands need %d", axis,
                 given, extent);
}

/* ---- windows ---- */

int window_extent(int input, int kernel, int stride, int padding, bool ceil_mode)
{
    int64_t room = (int64_t)input + 2 * (int64_t)padding - kernel + (ceil_mode ? stride - 1 : 0);
    if (room < 0)
        return 0;
    int64_t out = room / stride + 1;
    if (ceil_mode && (out - 1) * stride >= (int64_t)input + padding)
        out--;
    return out > INT32_MAX ? INT32_MAX : (int)out;
}

static bool is_pool(Op op)
{
    return op == OP_MAXPOOL || op == OP_MAXPOOL_CODE || op == OP_MAXPOOL_GRAD ||
           op == OP_AVGPOOL || op == OP_AVGPOOL_GRAD;
}

/* The rules of one window whatever its input. */
static bool check_window(const Infer *f)
{
    enum { MAX_CODE = 256, MAX_SIZE = 1 << 15 };
    const Window *w = &f->attr->window;
    if (w->kernel_h < 1 || w->kernel_w < 1)
        return fault(f, "'s kernel %dx%d must be at least 1x1", w->kernel_h, w->kernel_w);
    if (w->stride_h < 1 || w->stride_w < 1)
        return fault(f, "'s stride %dx%d must be at least 1x1", w->stride_h, w->stride_w);
    if (w->padding_h < 0 || w->padding_w < 0)
        return fault(f, "'s padding %dx%d must not be negative", w->padding_h, w->padding_w);
    if (w->kernel_h > MAX_SIZE || w->kernel_w > MAX_SIZE || w->stride_h > MAX_SIZE ||
        w->stride_w > MAX_SIZE || w->padding_h > MAX_SIZE || w->padding_w > MAX_SIZE)
        return fault(f, "'s kernel, stride and padding must be at most %d", MAX_SIZE);
    if (!is_pool(f->op))
        return w->ceil_mode ? fault(f, " has no ceil mode; only pools have") : true;
    if (2 * w->padding_h > w->kernel_h || 2 * w->padding_w > w->kernel_w)
        return fault(f, "'s padding %dx%d is more than half its kernel %dx%d; use less padding",
                     w->padding_h, w->padding_w, w->kernel_h, w->kernel_w);
    if (f->op != OP_AVGPOOL && f->op != OP_AVGPOOL_GRAD &&
        w->kernel_h * w->kernel_w > MAX_CODE)
        return fault(f, "'s kernel %dx%d has more than %d taps; use a smaller kernel_size",
                     w->kernel_h, w->kernel_w, MAX_CODE);
    return true;
}

typedef struct Extent {
    int h, w;
} Extent;

/* Output rows and columns of the window over h x w. */
static bool slide(const Infer *f, int h, int w, Extent *out)
{
    const Window *win = &f->attr->window;
    if (!check_window(f))
        return false;
    out->h = window_extent(h, win->kernel_h, win->stride_h, win->padding_h, win->ceil_mode);
    out->w = window_extent(w, win->kernel_w, win->stride_w, win->padding_w, win->ceil_mode);
    if (out->h >= 1 && out->w >= 1)
        return true;
    bool padded = win->padding_h > 0 || win->padding_w > 0;
    return fault(f, "'s kernel %dx%d does not fit its %sinput %dx%d; use a smaller kernel_size "
                    "or more padding", win->kernel_h, win->kernel_w, padded ? "padded " : "",
                 h + 2 * win->padding_h, w + 2 * win->padding_w);
}

/* The filter [O,I,KH,KW] of a convolution must be as large as its window. */
static bool check_filter(const Infer *f, const char *what, const int32_t *filter)
{
    const Window *w = &f->attr->window;
    if (filter[2] == w->kernel_h && filter[3] == w->kernel_w)
        return true;
    return fault(f, "'s kernel is %dx%d, but its %s is %dx%d", w->kernel_h, w->kernel_w, what,
                 filter[2], filter[3]);
}

/* ---- ops ---- */

static bool infer_image(const Infer *f)
{
    const ImageAttr *image = &f->attr->image;
    if (!expect(f, 0, "image", DT_U8, 4))
        return false;
    const int32_t *d = dims(f, 0);
    if (d[3] > MAX_IMAGE_CHANNELS)
        return fault(f, " takes images of at most %d channels, not %d", MAX_IMAGE_CHANNELS, d[3]);
    if (image->channels != d[3])
        return fault(f, " has mean and std for %d channels, but the image has %d",
                     image->channels, d[3]);
    for (int c = 0; c < image->channels; c++) {
        if (!fits_positive(image->std[c]))
            return fault(f, "'s std must be greater than 0 as a float");
        if (!fits_float(image->mean[c]))
            return fault(f, "'s mean must be a number that a float can be");
    }
    DType dtype = f->out->dtype == DT_BF16 ? DT_BF16 : DT_F32;
    if (f->op == OP_NORMALIZE)
        return give_map(f, dtype, d, d[1], d[2], d[3]);
    return check_given(f, dtype, 4) && check_given_extent(f, 0, d[0]) &&
           check_given_extent(f, 3, d[3]);
}

static bool infer_conv2d(const Infer *f)
{
    Extent out;
    if (!expect_map(f, 0, "input") || !expect(f, 1, "filter", dtype_of(f, 0), 4))
        return false;
    const int32_t *x = dims(f, 0), *filter = dims(f, 1);
    if (filter[1] != x[3])
        return fault(f, "'s filter is for %d input channels, but its input has %d", filter[1],
                     x[3]);
    if (f->arity == 3 && (!expect(f, 2, "bias", DT_F32, 1) ||
                          !expect_extent(f, 2, "bias", 0, filter[0])))
        return false;
    return slide(f, x[1], x[2], &out) && check_filter(f, "filter", filter) &&
           give_map(f, dtype_of(f, 0), x, out.h, out.w, filter[0]);
}

/* dy[N,P,Q,O], filter[O,I,KH,KW] -> dx[N,H,W,I], whose forward extent must be P x Q. The filter of
 * conv2d_transpose has its first two axes the other way round. */
static bool infer_dgrad(const Infer *f, bool transposed)
{
    int outputs = transposed, inputs = !transposed;
    Extent out;
    if (!expect_map(f, 0, "gradient") || !expect(f, 1, "filter", dtype_of(f, 0), 4) ||
        !check_given(f, dtype_of(f, 0), 4))
        return false;
    const int32_t *dy = dims(f, 0), *filter = dims(f, 1), *dx = f->out->shape.dim;
    return slide(f, dx[1], dx[2], &out) && check_filter(f, "filter", filter) &&
           check_given_extent(f, 0, dy[0]) && check_given_extent(f, 3, filter[inputs]) &&
           expect_extent(f, 0, "the gradient", 1, out.h) &&
           expect_extent(f, 0, "the gradient", 2, out.w) &&
           expect_extent(f, 0, "the gradient", 3, filter[outputs]);
}

/* x[N,H,W,I], dy[N,P,Q,O] -> dfilter[O,I,KH,KW]. */
static bool infer_wgrad(const Infer *f)
{
    Extent out;
    if (!expect_map(f, 0, "input") || !expect(f, 1, "gradient", dtype_of(f, 0), 4) ||
        !check_given(f, DT_F32, 4))
        return false;
    const int32_t *x = dims(f, 0), *dy = dims(f, 1);
    return slide(f, x[1], x[2], &out) && check_filter(f, "result", f->out->shape.dim) &&
           check_given_extent(f, 0, dy[3]) && check_given_extent(f, 1, x[3]) &&
           expect_extent(f, 1, "the gradient", 0, x[0]) &&
           expect_extent(f, 1, "the gradient", 1, out.h) &&
           expect_extent(f, 1, "the gradient", 2, out.w);
}

static bool infer_pool(const Infer *f)
{
    Extent out;
    if (!expect_map(f, 0, "input"))
        return false;
    const int32_t *x = dims(f, 0);
    return slide(f, x[1], x[2], &out) &&
           give_map(f, f->op == OP_MAXPOOL_CODE ? DT_U8 : dtype_of(f, 0), x, out.h, out.w, x[3]);
}

/* dy[N,P,Q,C](, code) -> dx[N,H,W,C], whose pooled extent must be P x Q. */
static bool infer_pool_grad(const Infer *f)
{
    Extent out;
    if (!expect_map(f, 0, "gradient") || !check_given(f, dtype_of(f, 0), 4))
        return false;
    const int32_t *dy = dims(f, 0), *dx = f->out->shape.dim;
    if (f->op == OP_MAXPOOL_GRAD &&
        (!expect(f, 1, "code", DT_U8, 4) || !expect_extent(f, 1, "the code", 0, dy[0]) ||
         !expect_extent(f, 1, "the code", 1, dy[1]) ||
         !expect_extent(f, 1, "the code", 2, dy[2]) || !expect_extent(f, 1, "the code", 3, dy[3])))
        return false;
    return slide(f, dx[1], dx[2], &out) && check_given_extent(f, 0, dy[0]) &&
           check_given_extent(f, 3, dy[3]) && expect_extent(f, 0, "the gradient", 1, out.h) &&
           expect_extent(f, 0, "the gradient", 2, out.w);
}

/* Means are f32; their gradient spreads over a map of either dtype. */
static bool infer_gap_grad(const Infer *f)
{
    DType dtype = f->out->dtype == DT_BF16 ? DT_BF16 : DT_F32;
    if (!expect(f, 0, "gradient", DT_F32, 4) || !check_given(f, dtype, 4))
        return false;
    const int32_t *dy = dims(f, 0);
    return expect_extent(f, 0, "the gradient", 1, 1) &&
           expect_extent(f, 0, "the gradient", 2, 1) && check_given_extent(f, 0, dy[0]) &&
           check_given_extent(f, 3, dy[3]);
}

static bool infer_flatten(const Infer *f)
{
    if (!expect(f, 0, "input", DT_F32, 4))
        return false;
    const int32_t *d = dims(f, 0);
    return give(f, DT_F32, shape_of(2, d[0], d[1] * d[2] * d[3], 0, 0));
}

static bool infer_flatten_grad(const Infer *f)
{
    if (!expect(f, 0, "gradient", DT_F32, 2) || !check_given(f, DT_F32, 4))
        return false;
    const int32_t *dx = f->out->shape.dim;
    return check_given_extent(f, 0, dims(f, 0)[0]) &&
           expect_extent(f, 0, "the gradient", 1, dx[1] * dx[2] * dx[3]);
}

/* logits[N,K], label[N](, valid). */
static bool check_logits(const Infer *f)
{
    return expect(f, 0, "logits", DT_F32, 2) && expect(f, 1, "label", DT_I32, 1) &&
           expect_extent(f, 1, "the label", 0, dims(f, 0)[0]) &&
           (f->arity < 3 || expect(f, 2, "valid", DT_I32, 0));
}

static bool infer_row_sum(const Infer *f, DType dtype)
{
    return expect(f, 0, "rows", dtype, 1) && expect(f, 1, "valid", DT_I32, 0) &&
           give(f, dtype, shape_of(0, 0, 0, 0, 0));
}

static bool infer_bias_grad(const Infer *f)
{
    return expect_map(f, 0, "gradient") &&
           give(f, DT_F32, shape_of(1, dims(f, 0)[3], 0, 0, 0));
}

/* The result may be rounded to bf16. */
static bool infer_filter_transpose(const Infer *f)
{
    if (!expect(f, 0, "filter", DT_F32, 4))
        return false;
    const int32_t *d = dims(f, 0);
    return give(f, f->out->dtype == DT_BF16 ? DT_BF16 : DT_F32,
                shape_of(4, d[1], d[0], d[2], d[3]));
}

/* ---- Winograd convolution ---- */

static bool check_winograd(const Infer *f)
{
    const Winograd *w = &f->attr->winograd;
    bool sized = op_is_of_filters(f->op) || (w->height >= 1 && w->width >= 1);
    if (!winograd_is_valid(w->tile, w->kernel))
        return fault(f, ": tile %d and kernel %dx%d have no transform; tiles are 2 to %d, kernels "
                        "2 to %d, and tile + kernel at most %d", w->tile, w->kernel, w->kernel,
                     WINOGRAD_MAX_TILE, WINOGRAD_MAX_KERNEL, WINOGRAD_MAX_SIZE + 1);
    if (!sized || (int64_t)w->height * w->width > INT32_MAX)
        return fault(f, "'s size %dx%d must be that of the convolution's output", w->height,
                     w->width);
    return (w->padding_h >= 0 && w->padding_w >= 0) ||
           fault(f, "'s padding %dx%d must not be negative", w->padding_h, w->padding_w);
}

/* Operand i holds the frequencies [N,A*A,T,C] of a map. */
static bool expect_frequencies(const Infer *f, int i, const char *what)
{
    const Winograd *w = &f->attr->winograd;
    int size = winograd_size(w);
    return expect(f, i, what, DT_F32, 4) && expect_extent(f, i, what, 1, size * size) &&
           expect_extent(f, i, what, 2, winograd_tiles(w));
}

/* Operand i is a filter [O,I,extent,extent]. */
static bool expect_square(const Infer *f, int i, int extent)
{
    return expect(f, i, "filter", DT_F32, 4) && expect_extent(f, i, "filter", 2, extent) &&
           expect_extent(f, i, "filter", 3, extent);
}

static bool give_square(const Infer *f, int outputs, int inputs, int extent)
{
    return give(f, DT_F32, shape_of(4, outputs, inputs, extent, extent));
}

/* x[N,H,W,C], whose convolution must give height x width, or dy[N,height,width,O]. */
static bool infer_winograd_map(const Infer *f)
{
    const Winograd *w = &f->attr->winograd;
    int size = winograd_size(w);
    if (!expect_map(f, 0, "map"))
        return false;
    const int32_t *d = dims(f, 0);
    bool input = f->op == OP_WINOGRAD_INPUT;
    int rows = input ? window_extent(d[1], w->kernel, 1, w->padding_h, false) : d[1];
    int columns = input ? window_extent(d[2], w->kernel, 1, w->padding_w, false) : d[2];
    if (rows != w->height || columns != w->width)
        return fault(f, "'s size is %dx%d, but its map makes it %dx%d", w->height, w->width, rows,
                     columns);
    return give_map(f, DT_F32, d, size * size, winograd_tiles(w), d[3]);
}

static bool infer_winograd_multiply(const Infer *f)
{
    if (!expect_frequencies(f, 0, "the input") ||
        !expect_square(f, 1, winograd_size(&f->attr->winograd)) ||
        !expect_extent(f, 1, "the filter", 1, dims(f, 0)[3]))
        return false;
    const int32_t *d = dims(f, 0);
    return give_map(f, DT_F32, d, d[1], d[2], dims(f, 1)[0]);
}

/* The result may be rounded to bf16. */
static bool infer_winograd_output(const Infer *f)
{
    const Winograd *w = &f->attr->winograd;
    if (!expect_frequencies(f, 0, "the product"))
        return false;
    const int32_t *d = dims(f, 0);
    if (f->arity == 2 &&
        (!expect(f, 1, "bias", DT_F32, 1) || !expect_extent(f, 1, "bias", 0, d[3])))
        return false;
    return give_map(f, f->out->dtype == DT_BF16 ? DT_BF16 : DT_F32, d, w->height, w->width, d[3]);
}

static bool infer_winograd_wgrad(const Infer *f)
{
    return expect_frequencies(f, 0, "the input") && expect_frequencies(f, 1, "the gradient") &&
           expect_extent(f, 1, "the gradient", 0, dims(f, 0)[0]) &&
           give_square(f, dims(f, 1)[3], dims(f, 0)[3], winograd_size(&f->attr->winograd));
}

static bool infer_winograd(const Infer *f)
{
    const Winograd *w = &f->attr->winograd;
    bool transforms = f->op == OP_WINOGRAD_FILTER;
    if (f->op == OP_WINOGRAD_INPUT || f->op == OP_WINOGRAD_OUTPUT_GRAD)
        return infer_winograd_map(f);
    if (f->op == OP_WINOGRAD_MULTIPLY)
        return infer_winograd_multiply(f);
    if (f->op == OP_WINOGRAD_OUTPUT)
        return infer_winograd_output(f);
    if (f->op == OP_WINOGRAD_WGRAD)
        return infer_winograd_wgrad(f);
    return expect_square(f, 0, transforms ? w->kernel : winograd_size(w)) &&
           give_square(f, dims(f, 0)[0], dims(f, 0)[1],
                       transforms ? winograd_size(w) : w->kernel);
}

/* ---- folded convolution ---- */

static bool check_fold(const Infer *f)
{
    const Fold *fold = &f->attr->fold;
    const Window *w = &fold->window;
    FoldAxes axes;
    if (!check_window(f))
        return false;
    if (fold->height < 1 || fold->width < 1 || fold->source_h < 1 || fold->source_w < 1 ||
        fold->height > FOLD_MAX_SIZE || fold->width > FOLD_MAX_SIZE ||
        fold->source_h > FOLD_MAX_SIZE || fold->source_w > FOLD_MAX_SIZE ||
        w->kernel_h > FOLD_MAX_KERNEL || w->kernel_w > FOLD_MAX_KERNEL)
        return fault(f, "'s sizes must be 1 to %d, its kernel at most %dx%d", FOLD_MAX_SIZE,
                     FOLD_MAX_KERNEL, FOLD_MAX_KERNEL);
    Pool *pool = pool_new();
    bool good = fold_axes(pool, fold, &axes);
    pool_free(pool);
    return good || fault(f, ": no output, more than %d classes of outputs along an axis or more "
                            "than %d source pixels an output; use conv2d of the resized image",
                         FOLD_MAX_CLASSES, FOLD_MAX_EXTENT);
}

/* What folding makes of the shapes: pairs of classes, extents of folded filters, outputs. */
typedef struct FoldShape {
    int pairs, extent_h, extent_w, height, width;
} FoldShape;

static FoldShape fold_shape(const Fold *f)
{
    FoldAxes a;
    Pool *pool = pool_new();
    fold_axes(pool, f, &a);
    FoldShape s = {a.rows.classes * a.columns.classes, a.rows.extent, a.columns.extent,
                   a.rows.outputs, a.columns.outputs};
    pool_free(pool);
    return s;
}

static bool give_folded(const Infer *f, const FoldShape *s, int outputs, int inputs)
{
    if (inputs > INT32_MAX / s->pairs)
        return fault(f, ": %d channels are too many", inputs);
    return give(f, DT_F32, shape_of(4, outputs, inputs * s->pairs, s->extent_h, s->extent_w));
}

/* Operand i holds folded filters. */
static bool expect_folded(const Infer *f, const FoldShape *s, int i)
{
    if (!expect(f, i, "filter", DT_F32, 4))
        return false;
    if (dims(f, i)[1] % s->pairs != 0)
        return fault(f, "'s filter has %d channels, but must have some for each of %d pairs of "
                        "classes", dims(f, i)[1], s->pairs);
    return expect_extent(f, i, "the filter", 2, s->extent_h) &&
           expect_extent(f, i, "the filter", 3, s->extent_w);
}

/* The image [N,source_h,source_w,I]. */
static bool expect_source(const Infer *f)
{
    return expect(f, 0, "image", DT_F32, 4) &&
           expect_extent(f, 0, "the image", 1, f->attr->fold.source_h) &&
           expect_extent(f, 0, "the image", 2, f->attr->fold.source_w);
}

static bool infer_conv2d_folded(const Infer *f, const FoldShape *s)
{
    if (!expect_source(f) || !expect_folded(f, s, 1))
        return false;
    const int32_t *x = dims(f, 0), *filter = dims(f, 1);
    if (filter[1] / s->pairs != x[3])
        return fault(f, "'s filter is for %d input channels, but its image has %d",
                     filter[1] / s->pairs, x[3]);
    if (f->arity == 3 && (!expect(f, 2, "bias", DT_F32, 1) ||
                          !expect_extent(f, 2, "bias", 0, filter[0])))
        return false;
    return give_map(f, DT_F32, x, s->height, s->width, filter[0]);
}

static bool infer_fold(const Infer *f)
{
    const Fold *fold = &f->attr->fold;
    FoldShape s = fold_shape(fold);
    if (f->op == OP_CONV2D_FOLDED)
        return infer_conv2d_folded(f, &s);
    if (f->op == OP_CONV2D_FOLDED_WGRAD)
        return expect_source(f) && expect(f, 1, "gradient", DT_F32, 4) &&
               expect_extent(f, 1, "the gradient", 0, dims(f, 0)[0]) &&
               expect_extent(f, 1, "the gradient", 1, s.height) &&
               expect_extent(f, 1, "the gradient", 2, s.width) &&
               give_folded(f, &s, dims(f, 1)[3], dims(f, 0)[3]);
    if (f->op == OP_FOLD_FILTER_GRAD)
        return expect_folded(f, &s, 0) &&
               give(f, DT_F32, shape_of(4, dims(f, 0)[0], dims(f, 0)[1] / s.pairs,
                                        fold->window.kernel_h, fold->window.kernel_w));
    return expect(f, 0, "filter", DT_F32, 4) &&
           expect_extent(f, 0, "filter", 2, fold->window.kernel_h) &&
           expect_extent(f, 0, "filter", 3, fold->window.kernel_w) &&
           give_folded(f, &s, dims(f, 0)[0], dims(f, 0)[1]);
}

/* Between floats; the result's dtype is given. */
static bool infer_cast(const Infer *f)
{
    DType to = f->out->dtype;
    if (!is_float(dtype_of(f, 0)) || !is_float(to))
        return fault(f, " is between f32 and bf16, not from %s to %s", dtype_name(dtype_of(f, 0)),
                     dtype_name(to));
    return give(f, to, f->in[0]->tensor.shape);
}

/* Operands of one shape; scalars are broadcast where another operand has that shape. */
static bool infer_pointwise(const Infer *f)
{
    Shape shape = f->in[0]->tensor.shape;
    bool on_maps = f->op == OP_RELU || f->op == OP_ADD || f->op == OP_RELU_GRAD;
    DType dtype = on_maps && dtype_of(f, 0) == DT_BF16 ? DT_BF16 : DT_F32;
    for (int i = 0; i < f->arity; i++) {
        const Tensor *t = &f->in[i]->tensor;
        bool is_step = f->op == OP_ADAM_STEP && i == 4;
        if (t->dtype != (is_step ? DT_I32 : dtype))
            return fault(f, ": operand %d is %s; it must be %s%s", i + 1, type_text(t).text,
                         is_step ? "an i32 scalar" : "of ", is_step ? "" : dtype_name(dtype));
        if (t->shape.rank == 0)
            continue;
        if (shape.rank == 0)
            shape = t->shape;
        if (is_step || !shape_equal(&shape, &t->shape))
            return fault(f, ": operand %d is %s, which does not match the others", i + 1,
                         type_text(t).text);
    }
    return give(f, dtype, shape);
}

static bool check_attr(const Infer *f)
{
    const AdamAttr *a = &f->attr->adam;
    double factor = f->attr->factor;
    switch (op_attr(f->op)) {
    case ATTR_FACTOR:
        return fits_float(factor) || fault(f, "'s factor must be a number that a float can be");
    case ATTR_ADAM:
        return (fits_fraction(a->beta1) && fits_fraction(a->beta2) &&
                fits_positive(a->eps)) ||
               fault(f, "'s beta1 and beta2 must be in [0, 1), its eps greater than 0, as floats");
    case ATTR_WINOGRAD:
        return check_winograd(f);
    case ATTR_FOLD:
        return check_fold(f);
    case ATTR_NONE:
    case ATTR_WINDOW:
    case ATTR_IMAGE:
        break;
    }
    return true;
}

static bool infer(const Infer *f)
{
    const int32_t *d = f->arity > 0 ? dims(f, 0) : NULL;
    switch (f->op) {
    case OP_INPUT:
    case OP_STATE:
        return give(f, f->out->dtype, f->out->shape);
    case OP_NORMALIZE:
    case OP_RESIZE:
        return infer_image(f);
    case OP_CONV2D:
        return infer_conv2d(f);
    case OP_CONV2D_DGRAD:
    case OP_CONV2D_TRANSPOSE:
        return infer_dgrad(f, f->op == OP_CONV2D_TRANSPOSE);
    case OP_CONV2D_WGRAD:
        return infer_wgrad(f);
    case OP_MAXPOOL:
    case OP_MAXPOOL_CODE:
    case OP_AVGPOOL:
        return infer_pool(f);
    case OP_MAXPOOL_GRAD:
    case OP_AVGPOOL_GRAD:
        return infer_pool_grad(f);
    case OP_GAP:
        return expect_map(f, 0, "input") && give_map(f, DT_F32, d, 1, 1, d[3]);
    case OP_GAP_GRAD:
        return infer_gap_grad(f);
    case OP_FLATTEN:
        return infer_flatten(f);
    case OP_FLATTEN_GRAD:
        return infer_flatten_grad(f);
    case OP_CROSS_ENTROPY:
        return check_logits(f) && give(f, DT_F32, shape_of(1, d[0], 0, 0, 0));
    case OP_CORRECT:
        return check_logits(f) && give(f, DT_I32, shape_of(1, d[0], 0, 0, 0));
    case OP_CROSS_ENTROPY_GRAD:
        return check_logits(f) && give(f, DT_F32, f->in[0]->tensor.shape);
    case OP_MEAN_VALID:
        return infer_row_sum(f, DT_F32);
    case OP_COUNT_VALID:
        return infer_row_sum(f, DT_I32);
    case OP_BIAS_GRAD:
        return infer_bias_grad(f);
    case OP_FILTER_TRANSPOSE:
        return infer_filter_transpose(f);
    case OP_WINOGRAD_INPUT:
    case OP_WINOGRAD_FILTER:
    case OP_WINOGRAD_MULTIPLY:
    case OP_WINOGRAD_OUTPUT:
    case OP_WINOGRAD_OUTPUT_GRAD:
    case OP_WINOGRAD_WGRAD:
    case OP_WINOGRAD_FILTER_GRAD:
        return infer_winograd(f);
    case OP_FOLD_FILTER:
    case OP_CONV2D_FOLDED:
    case OP_CONV2D_FOLDED_WGRAD:
    case OP_FOLD_FILTER_GRAD:
        return infer_fold(f);
    case OP_CAST:
        return infer_cast(f);
    case OP_RELU:
    case OP_ADD:
    case OP_RELU_GRAD:
    case OP_WEIGHT_DECAY:
    case OP_MOMENTUM:
    case OP_SGD_STEP:
    case OP_ADAM_M:
    case OP_ADAM_V:
    case OP_ADAM_STEP:
        return infer_pointwise(f);
    case OP_UPDATE:
        return give(f, f->in[0]->tensor.dtype, f->in[0]->tensor.shape);
    case OP_COUNT:
        break;
    }
    internal_error("op %d is not in the table", (int)f->op);
}

bool infer_type(Diagnostics *d, Op op, int arity, Node *const *in, const Attr *attr, Loc loc,
                Tensor *out)
{
    static const Attr none;
    Infer f = {d, op, arity, in, attr ? attr : &none, loc, out};
    int lo = op_min_operands(op), hi = op_max_operands(op);
    if (arity < lo || arity > hi)
        return fault(&f, " takes %d%s operand%s, not %d", hi, lo < hi ? " or one less" : "",
                     hi == 1 ? "" : "s", arity);
    return check_attr(&f) && infer(&f);
}
