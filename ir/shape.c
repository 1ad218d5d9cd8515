/* Types: the one place that says which operands an op takes and what it gives. */
#include "op/family.h"

TypeText type_text(const Tensor *t)
{
    TypeText words;
    size_t size = sizeof words.text;
    size_t used = (size_t)snprintf(words.text, size, "%s[", dtype_name(t->dtype));
    for (int i = 0; i < t->shape.rank; i++)
        used +=
            (size_t)snprintf(words.text + used, size - used, "%s%d", i ? "," : "", t->shape.dim[i]);
    snprintf(words.text + used, size - used, "]");
    return words;
}

bool type_fault(const Infer *f, const char *format, ...)
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

bool type_expect(const Infer *f, int i, const char *what, DType dtype, int rank)
{
    const Tensor *t = &f->in[i]->tensor;
    if (t->dtype == dtype && t->shape.rank == rank)
        return true;
    return type_fault(f, " takes as %s %s of rank %d, not %s", what, dtype_name(dtype), rank,
                      type_text(t).text);
}

const int32_t *type_dims(const Infer *f, int i)
{
    return f->in[i]->tensor.shape.dim;
}

bool type_expect_extent(const Infer *f, int i, const char *what, int axis, int32_t extent)
{
    if (type_dims(f, i)[axis] == extent)
        return true;
    return type_fault(f, ": extent %d of %s is %d, but its other operands need %d", axis, what,
                      type_dims(f, i)[axis], extent);
}

DType type_dtype(const Infer *f, int i)
{
    return f->in[i]->tensor.dtype;
}

/* A map [N,H,W,C] of floats. */
bool type_expect_map(const Infer *f, int i, const char *what)
{
    return type_expect(f, i, what, type_dtype(f, i) == DT_BF16 ? DT_BF16 : DT_F32, 4);
}

/* ---- results ---- */

bool type_give(const Infer *f, DType dtype, Shape shape)
{
    *f->out = (Tensor){.dtype = dtype, .shape = shape};
    int64_t elements = 1;
    for (int i = 0; i < shape.rank; i++) {
        elements *= shape.dim[i];
        if (shape.dim[i] < 1)
            return type_fault(f, ": extent %d of the result is %d; it must be at least 1", i,
                              shape.dim[i]);
        if (elements > INT32_MAX)
            return type_fault(f, ": the result %s has 2^31 elements or more; make it smaller",
                              type_text(f->out).text);
    }
    return true;
}

bool type_give_map(const Infer *f, DType dtype, const int32_t *d, int h, int w, int c)
{
    return type_give(f, dtype, shape_of(4, d[0], h, w, c));
}

/* Checks the type that the caller gave. */
bool type_given(const Infer *f, DType dtype, int rank)
{
    const Tensor *t = f->out;
    if (t->dtype != dtype || t->shape.rank != rank)
        return type_fault(f, " gives %s of rank %d, not %s", dtype_name(dtype), rank,
                          type_text(t).text);
    return type_give(f, dtype, t->shape);
}

bool type_given_extent(const Infer *f, int axis, int32_t extent)
{
    int32_t given = f->out->shape.dim[axis];
    if (given == extent)
        return true;
    return type_fault(f, ": extent %d of the result is given as %d, but its operands need %d", axis,
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

int window_dilation_h(const Window *w)
{
    return w->dilation_h ? w->dilation_h : 1;
}

int window_dilation_w(const Window *w)
{
    return w->dilation_w ? w->dilation_w : 1;
}

int window_groups(const Window *w)
{
    return w->groups ? w->groups : 1;
}

int window_span_h(const Window *w)
{
    return (w->kernel_h - 1) * window_dilation_h(w) + 1;
}

int window_span_w(const Window *w)
{
    return (w->kernel_w - 1) * window_dilation_w(w) + 1;
}

int window_unless_one(int number)
{
    return number == 1 ? 0 : number;
}

bool window_is_plain(const Window *w)
{
    return w->dilation_h == 0 && w->dilation_w == 0 && w->groups == 0;
}

enum { MAX_SIZE = 1 << 15 };

/* What only convolutions have: none where `plain`, as in pools and transformed convolutions. */
static bool type_spread(const Infer *f, bool plain)
{
    const Window *w = &f->attr->window;
    if (plain && !window_is_plain(w))
        return type_fault(f, " has neither dilation nor groups; only conv2d and its gradients "
                             "have");
    if (w->dilation_h > MAX_SIZE || w->dilation_w > MAX_SIZE)
        return type_fault(f, "'s dilation must be at most %d", MAX_SIZE);
    return true;
}

/* The rules of one window whatever its input. */
bool type_window(const Infer *f)
{
    enum { MAX_CODE = 256 };
    const Window *w = &f->attr->window;
    if (w->kernel_h < 1 || w->kernel_w < 1)
        return type_fault(f, "'s kernel %dx%d must be at least 1x1", w->kernel_h, w->kernel_w);
    if (w->stride_h < 1 || w->stride_w < 1)
        return type_fault(f, "'s stride %dx%d must be at least 1x1", w->stride_h, w->stride_w);
    if (w->padding_h < 0 || w->padding_w < 0)
        return type_fault(f, "'s padding %dx%d must not be negative", w->padding_h, w->padding_w);
    if (w->kernel_h > MAX_SIZE || w->kernel_w > MAX_SIZE || w->stride_h > MAX_SIZE ||
        w->stride_w > MAX_SIZE || w->padding_h > MAX_SIZE || w->padding_w > MAX_SIZE)
        return type_fault(f, "'s kernel, stride and padding must be at most %d", MAX_SIZE);
    if (w->inside && f->op != OP_AVGPOOL && f->op != OP_AVGPOOL_GRAD)
        return type_fault(f, " has no window of what is inside; only average pools have");
    bool pools = op_is(f->op, F_POOL | F_POOL_GRAD) || f->op == OP_MAXPOOL_CODE;
    if (!type_spread(f, pools || op_attr(f->op) != ATTR_WINDOW))
        return false;
    if (!pools)
        return w->ceil_mode ? type_fault(f, " has no ceil mode; only pools have") : true;
    if (2 * w->padding_h > w->kernel_h || 2 * w->padding_w > w->kernel_w)
        return type_fault(f,
                          "'s padding %dx%d is more than half its kernel %dx%d; use less padding",
                          w->padding_h, w->padding_w, w->kernel_h, w->kernel_w);
    if (f->op != OP_AVGPOOL && f->op != OP_AVGPOOL_GRAD && w->kernel_h * w->kernel_w > MAX_CODE)
        return type_fault(f, "'s kernel %dx%d has more than %d taps; use a smaller kernel_size",
                          w->kernel_h, w->kernel_w, MAX_CODE);
    return true;
}

/* Output rows and columns of the window over h x w. */
bool type_slide(const Infer *f, int h, int w, Extent *out)
{
    const Window *win = &f->attr->window;
    if (!type_window(f))
        return false;
    int64_t span_h = window_span_h(win), span_w = window_span_w(win);
    out->h = window_extent(h, (int)span_h, win->stride_h, win->padding_h, win->ceil_mode);
    out->w = window_extent(w, (int)span_w, win->stride_w, win->padding_w, win->ceil_mode);
    if (out->h >= 1 && out->w >= 1)
        return true;
    bool padded = win->padding_h > 0 || win->padding_w > 0;
    if (win->dilation_h || win->dilation_w)
        return type_fault(f,
                          "'s kernel %dx%d with dilation %dx%d covers %dx%d, which does not fit "
                          "its %sinput %dx%d; use a smaller kernel_size or dilation, or more "
                          "padding",
                          win->kernel_h, win->kernel_w, window_dilation_h(win),
                          window_dilation_w(win), (int)span_h, (int)span_w, padded ? "padded " : "",
                          h + 2 * win->padding_h, w + 2 * win->padding_w);
    return type_fault(f,
                      "'s kernel %dx%d does not fit its %sinput %dx%d; use a smaller kernel_size "
                      "or more padding",
                      win->kernel_h, win->kernel_w, padded ? "padded " : "", h + 2 * win->padding_h,
                      w + 2 * win->padding_w);
}

/* ---- ops ---- */

bool type_pointwise(const Infer *f, DType dtype, int floats)
{
    Shape shape = f->in[0]->tensor.shape;
    for (int i = 0; i < f->arity; i++) {
        const Tensor *t = &f->in[i]->tensor;
        bool counts = i >= floats;
        if (t->dtype != (counts ? DT_I32 : dtype))
            return type_fault(f, ": operand %d is %s; it must be %s%s", i + 1, type_text(t).text,
                              counts ? "an i32 scalar" : "of ", counts ? "" : dtype_name(dtype));
        if (t->shape.rank == 0)
            continue;
        if (shape.rank == 0)
            shape = t->shape;
        if (counts || !shape_equal(&shape, &t->shape))
            return type_fault(f, ": operand %d is %s, which does not match the others", i + 1,
                              type_text(t).text);
    }
    return type_give(f, dtype, shape);
}

bool infer_type(Diagnostics *d, Op op, int arity, Node *const *in, const Attr *attr, Loc loc,
                Tensor *out)
{
    static const Attr none;
    Infer f = {d, op, arity, in, attr ? attr : &none, loc, out};
    int lo = op_min_operands(op), hi = op_max_operands(op);
    if (arity < lo || arity > hi)
        return type_fault(&f, " takes %d%s operand%s, not %d", hi, lo < hi ? " or one less" : "",
                          hi == 1 ? "" : "s", arity);
    return op_rule(op)->infer(&f);
}
