/* Physical offsets of tensors: the only code that knows what each layout means. */
#include "tensor.h"
#include "numbers.h"

#include <string.h>

static const char *const dtype_names[] = {
#define X(id, text, bytes) text,
    TENSOR_DTYPES(X)
#undef X
};

static const int dtype_sizes[] = {
#define X(id, text, bytes) bytes,
    TENSOR_DTYPES(X)
#undef X
};

const char *dtype_name(DType dtype)
{
    return dtype_names[dtype];
}

int dtype_bytes(DType dtype)
{
    return dtype_sizes[dtype];
}

int64_t shape_elements(const Shape *shape)
{
    int64_t n = 1;
    for (int i = 0; i < shape->rank; i++)
        n *= shape->dim[i];
    return n;
}

bool shape_equal(const Shape *a, const Shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

/* The activation view of a tensor: N, H, W, C with H = W = 1 for [N,C]. */
typedef struct Map {
    int64_t n, h, w, c; /* extents, halo included in h and w */
} Map;

static Map map_of(const Tensor *t)
{
    const Shape *s = &t->shape;
    Map m = {1, 1, 1, 1};
    m.n = s->rank > 0 ? s->dim[0] : 1;
    m.c = s->rank > 1 ? s->dim[s->rank - 1] : 1;
    m.h = (s->rank == 4 ? s->dim[1] : 1) + 2 * t->layout.halo_h;
    m.w = (s->rank == 4 ? s->dim[2] : 1) + 2 * t->layout.halo_w;
    if (t->layout.strip > 0) {
        m.n = 1;
        m.h = t->layout.strip;
    }
    return m;
}

/* Elements of one pixel in nhwc. */
static int64_t pitch(const Tensor *t, int64_t channels)
{
    return t->layout.block > 0 ? round_up(channels, t->layout.block) : channels;
}

/* Entries of a filter row of one block of inputs: columns x inputs. */
static int64_t row_entries(const Tensor *t)
{
    int64_t entries = (int64_t)t->shape.dim[3] * t->layout.block;
    return t->layout.pairs ? round_up(entries, 2) : entries;
}

int64_t tensor_elements(const Tensor *t)
{
    const Layout *l = &t->layout;
    const int32_t *d = t->shape.dim;
    Map m = map_of(t);
    switch (l->kind) {
    case LAYOUT_NHWC:
        return m.n * m.h * m.w * pitch(t, m.c);
    case LAYOUT_NIBBLE:
        return m.n * m.h * m.w * ceil_div(m.c, 2);
    case LAYOUT_NCHWC:
        return m.n * ceil_div(m.c, l->block) * m.h * m.w * l->block;
    case LAYOUT_HCNWC:
        return (m.n * ceil_div(m.c, l->block) * m.w + 1) * m.h * l->block;
    case LAYOUT_FILTER:
    case LAYOUT_TAPS:
        return ceil_div(d[0], l->out_block) * ceil_div(d[1], l->block) * d[2] * row_entries(t) *
               l->out_block;
    case LAYOUT_VECTOR:
        return round_up(d[0], l->block);
    case LAYOUT_PLAIN:
    case LAYOUT_COUNT:
        break;
    }
    return shape_elements(&t->shape);
}

int64_t tensor_offset(const Tensor *t, const int32_t *at)
{
    const Layout *l = &t->layout;
    const int32_t *d = t->shape.dim;
    int rank = t->shape.rank;
    Map m = map_of(t);
    int64_t n = rank > 0 && l->strip == 0 ? at[0] : 0, c = rank > 1 ? at[rank - 1] : 0;
    int64_t h = (rank == 4 ? at[1] : 0) + l->halo_h, w = (rank == 4 ? at[2] : 0) + l->halo_w;
    switch (l->kind) {
    case LAYOUT_NHWC:
        return ((n * m.h + h) * m.w + w) * pitch(t, m.c) + c;
    case LAYOUT_NIBBLE:
        return ((n * m.h + h) * m.w + w) * 2 * ceil_div(m.c, 2) + c;
    case LAYOUT_NCHWC:
        return (((n * ceil_div(m.c, l->block) + c / l->block) * m.h + h) * m.w + w) * l->block +
               c % l->block;
    case LAYOUT_HCNWC:
        return (((h * ceil_div(m.c, l->block) + c / l->block) * m.n + n) * m.w + w + h) * l->block +
               c % l->block;
    case LAYOUT_FILTER: {
        int64_t tile = at[0] / l->out_block * ceil_div(d[1], l->block) + at[1] / l->block;
        int64_t row = (tile * d[2] + at[2]) * row_entries(t);
        int64_t entry = at[3] * l->block + at[1] % l->block, out = at[0] % l->out_block;
        if (l->pairs)
            return (row + entry - entry % 2) * l->out_block + 2 * out + entry % 2;
        return (row + entry) * l->out_block + out;
    }
    case LAYOUT_TAPS: {
        int64_t tap = (at[2] * d[3] + at[3]) * ceil_div(d[0], l->out_block) + at[0] / l->out_block;
        int64_t tile = tap * ceil_div(d[1], l->block) + at[1] / l->block;
        return (tile * l->block + at[1] % l->block) * l->out_block + at[0] % l->out_block;
    }
    case LAYOUT_VECTOR:
    case LAYOUT_PLAIN:
    case LAYOUT_COUNT:
        break;
    }
    int64_t offset = 0;
    for (int i = 0; i < rank; i++)
        offset = offset * d[i] + at[i];
    return offset;
}

/* Steps `at` to the next logical coordinate in row-major order. */
static void advance(const Shape *s, int32_t *at)
{
    for (int i = s->rank - 1; i >= 0; i--) {
        if (++at[i] < s->dim[i])
            return;
        at[i] = 0;
    }
}

/* Channel 2k is the low half of a byte, 2k + 1 the high one. */
static void pack_nibbles(const Tensor *t, const uint8_t *logical, uint8_t *physical)
{
    int32_t at[TENSOR_MAX_RANK] = {0};
    int64_t n = shape_elements(&t->shape);
    memset(physical, 0, (size_t)tensor_elements(t));
    for (int64_t i = 0; i < n; i++, advance(&t->shape, at)) {
        int64_t nibble = tensor_offset(t, at);
        physical[nibble / 2] |= (uint8_t)((logical[i] & 15) << nibble % 2 * 4);
    }
}

static void unpack_nibbles(const Tensor *t, const uint8_t *physical, uint8_t *logical)
{
    int32_t at[TENSOR_MAX_RANK] = {0};
    int64_t n = shape_elements(&t->shape);
    for (int64_t i = 0; i < n; i++, advance(&t->shape, at)) {
        int64_t nibble = tensor_offset(t, at);
        logical[i] = physical[nibble / 2] >> nibble % 2 * 4 & 15;
    }
}

void tensor_pack(const Tensor *t, const void *logical, void *physical)
{
    if (t->layout.kind == LAYOUT_NIBBLE) {
        pack_nibbles(t, logical, physical);
        return;
    }
    size_t bytes = (size_t)dtype_bytes(t->dtype);
    int32_t at[TENSOR_MAX_RANK] = {0};
    int64_t n = shape_elements(&t->shape);
    memset(physical, 0, (size_t)tensor_elements(t) * bytes);
    for (int64_t i = 0; i < n; i++, advance(&t->shape, at))
        memcpy((char *)physical + (size_t)tensor_offset(t, at) * bytes,
               (const char *)logical + (size_t)i * bytes, bytes);
}

void tensor_unpack(const Tensor *t, const void *physical, void *logical)
{
    if (t->layout.kind == LAYOUT_NIBBLE) {
        unpack_nibbles(t, physical, logical);
        return;
    }
    size_t bytes = (size_t)dtype_bytes(t->dtype);
    int32_t at[TENSOR_MAX_RANK] = {0};
    int64_t n = shape_elements(&t->shape);
    for (int64_t i = 0; i < n; i++, advance(&t->shape, at))
        memcpy((char *)logical + (size_t)i * bytes,
               (const char *)physical + (size_t)tensor_offset(t, at) * bytes, bytes);
}
