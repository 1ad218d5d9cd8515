/* What plain loops are made of: where an element lies in any layout, loops over pixels and
 * windows. */
#include "../../../ir/numbers.h"
#include "generic.h"

#include <string.h>


/* Loop variables: activations use n, h, w, c (output side) and y, x, i (input side). */

/* ---- addresses ---- */

/* `x / block` and `x % block` where x is known to be below extent. */
static const char *quotient(const CpuEmitter *e, const char *x, int block, int extent)
{
    return extent <= block ? "0" : pool_format(e->pool, "%s / %d", x, block);
}

static const char *remainder_of(const CpuEmitter *e, const char *x, int block, int extent)
{
    return extent <= block ? x : pool_format(e->pool, "%s %% %d", x, block);
}

/* Appends `+ (x + shift) * stride`, without what is zero or one. */
static void add_term(Text *sum, const char *x, int shift, long long stride)
{
    bool plain = strchr(x, ' ') == NULL;
    if (strcmp(x, "0") == 0 && shift == 0)
        return;
    text_append(sum, sum->length ? " + " : "");
    if (strcmp(x, "0") == 0)
        text_append(sum, "%lld", shift * stride);
    else if (shift == 0 && (plain || stride == 1))
        text_append(sum, "%s", x);
    else if (shift == 0)
        text_append(sum, "(%s)", x);
    else
        text_append(sum, "(%s + %d)", x, shift);
    if (stride != 1 && strcmp(x, "0") != 0)
        text_append(sum, " * %lld", stride);
}

static const char *finish_sum(const CpuEmitter *e, Text *sum)
{
    const char *index = pool_strdup(e->pool, sum->length ? sum->data : "0");
    text_free(sum);
    return index;
}

const char *map_index(const CpuEmitter *e, const Node *v, const char *n, const char *h,
                      const char *w, const char *c)
{
    const Layout *l = &v->tensor.layout;
    int channels = map_dim(v, 3), lanes = map_lanes(v);
    int64_t row = (int64_t)(map_dim(v, 2) + 2 * l->halo_w) * lanes;
    int64_t block = (map_dim(v, 1) + 2 * l->halo_h) * row;
    Text sum = {0};
    add_term(&sum, n, 0, image_elements(v));
    add_term(&sum, quotient(e, c, lanes, channels), 0, block);
    add_term(&sum, h, l->halo_h, row);
    add_term(&sum, w, l->halo_w, lanes);
    add_term(&sum, remainder_of(e, c, lanes, channels), 0, 1);
    return finish_sum(e, &sum);
}

const char *filter_index(const CpuEmitter *e, const Node *v, const char *o, const char *i,
                         const char *kh, const char *kw)
{
    const Layout *l = &v->tensor.layout;
    const int32_t *d = v->tensor.shape.dim;
    if (l->kind != LAYOUT_FILTER)
        return pool_format(e->pool, "(((ptrdiff_t)(%s) * %d + %s) * %d + %s) * %d + %s", o, d[1],
                           i, d[2], kh, d[3], kw);
    int64_t tap = (int64_t)l->block * l->out_block;
    int64_t line = l->pairs ? round_up(d[3] * l->block, 2) * l->out_block : d[3] * tap;
    int64_t square = d[2] * line;
    Text sum = {0};
    add_term(&sum, quotient(e, o, l->out_block, d[0]), 0, ceil_div(d[1], l->block) * square);
    add_term(&sum, quotient(e, i, l->block, d[1]), 0, square);
    add_term(&sum, kh, 0, line);
    if (l->pairs) {
        const char *entry = pool_format(e->pool, "(%s * %d + %s %% %d)", kw, l->block, i, l->block);
        add_term(&sum, pool_format(e->pool, "%s / 2", entry), 0, 2 * l->out_block);
        add_term(&sum, pool_format(e->pool, "%s %% 2", entry), 0, 1);
    } else {
        add_term(&sum, kw, 0, tap);
        add_term(&sum, remainder_of(e, i, l->block, d[1]), 0, l->out_block);
    }
    add_term(&sum, remainder_of(e, o, l->out_block, d[0]), 0, l->pairs ? 2 : 1);
    return finish_sum(e, &sum);
}

const char *element_at(const CpuEmitter *e, const Node *v, const char *index)
{
    return pool_format(e->pool, v->tensor.dtype == DT_BF16 ? "from_element(%s[%s])" : "%s[%s]",
                       value_name(e, v), index);
}

void emit_write(CpuEmitter *e, const Node *v, const char *index, const char *value)
{
    bool bf16 = v->tensor.dtype == DT_BF16;
    emit_line(e, "%s[%s] = %s%s%s;", value_name(e, v), index, bf16 ? "to_element(" : "", value,
              bf16 ? ")" : "");
}

const char *read_map(const CpuEmitter *e, const Node *v, const char *n, const char *h,
                     const char *w, const char *c)
{
    return element_at(e, v, map_index(e, v, n, h, w, c));
}

void write_pixel(CpuEmitter *e, const Node *v, const char *value)
{
    emit_write(e, v, map_index(e, v, "n", "h", "w", "c"), value);
}

/* ---- loops ---- */

void open_loop(CpuEmitter *e, const char *variable, int extent)
{
    emit_open(e, "for (int %s = 0; %s < %d; %s++)", variable, variable, extent, variable);
}

void open_images(CpuEmitter *e)
{
    if (e->kernel->phase == PHASE_CHUNK)
        emit_open(e, "for (ptrdiff_t n = first_image(range); n < last_image(range); n++)");
    else
        emit_open(e, "for (ptrdiff_t n = 0; n < %d; n++)", e->graph->batch);
}

void close_loops(CpuEmitter *e, int count)
{
    while (count-- > 0)
        emit_close(e);
}

void open_pixels(CpuEmitter *e, const Node *v)
{
    open_images(e);
    open_loop(e, "h", map_dim(v, 1));
    open_loop(e, "w", map_dim(v, 2));
}

/* The distance of a window's tap from its first, in C. */
static const char *tap_offset(const CpuEmitter *e, const char *tap, int dilation)
{
    return dilation == 1 ? tap : pool_format(e->pool, "%s * %d", tap, dilation);
}

const char *tap_row(const CpuEmitter *e, const Window *k)
{
    return tap_offset(e, "kh", window_dilation_h(k));
}

const char *tap_column(const CpuEmitter *e, const Window *k)
{
    return tap_offset(e, "kw", window_dilation_w(k));
}

void open_taps(CpuEmitter *e, const Window *k, const Node *input)
{
    open_loop(e, "kh", k->kernel_h);
    emit_line(e, "const int y = h * %d + %s - %d;", k->stride_h, tap_row(e, k), k->padding_h);
    emit_line(e, "if (y < 0 || y >= %d)", map_dim(input, 1));
    emit_line(e, "    continue;");
    open_loop(e, "kw", k->kernel_w);
    emit_line(e, "const int x = w * %d + %s - %d;", k->stride_w, tap_column(e, k), k->padding_w);
    emit_line(e, "if (x < 0 || x >= %d)", map_dim(input, 2));
    emit_line(e, "    continue;");
}

void open_windows(CpuEmitter *e, const Window *k, const Node *output)
{
    open_loop(e, "kh", k->kernel_h);
    emit_line(e, "const int top = h + %d - %s, y = top / %d;", k->padding_h, tap_row(e, k),
              k->stride_h);
    emit_line(e, "if (top < 0 || top %% %d != 0 || y >= %d)", k->stride_h, map_dim(output, 1));
    emit_line(e, "    continue;");
    open_loop(e, "kw", k->kernel_w);
    emit_line(e, "const int left = w + %d - %s, x = left / %d;", k->padding_w, tap_column(e, k),
              k->stride_w);
    emit_line(e, "if (left < 0 || left %% %d != 0 || x >= %d)", k->stride_w, map_dim(output, 2));
    emit_line(e, "    continue;");
}

void emit_clear(CpuEmitter *e, const Node *v)
{
    if (v->tensor.layout.kind == LAYOUT_PLAIN)
        return;
    if (e->kernel->phase == PHASE_CHUNK && is_per_image(e->graph, v)) {
        long long image = image_elements(v), bytes = image * dtype_bytes(v->tensor.dtype);
        emit_line(e, "memset(%s + first_image(range) * %lld, 0,", value_name(e, v), image);
        emit_line(e, "       (size_t)(last_image(range) - first_image(range)) * %lld);", bytes);
        return;
    }
    emit_line(e, "memset(%s, 0, %lld);", value_name(e, v), (long long)value_bytes(e->graph, v));
}

void emit_clear_sum(CpuEmitter *e, const Node *v)
{
    emit_line(e, "if (!range->accumulate)");
    emit_line(e, "    memset(%s, 0, %lld);", value_name(e, v), (long long)v->place.bytes);
}
