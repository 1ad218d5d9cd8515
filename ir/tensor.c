/* Physical offsets of tensors: the only code that knows what each layout means. */
#include "tensor.h"
#include "numbers.h"

#include <stdlib.h>
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

/* A walk over all elements in logical order, row by row of the last axis that is longer than one.
 * Where the offset is a sum of what each coordinate adds to it, as in every layout but pairs across
 * columns, what each adds is worked out once. */
typedef struct Walk {
    const Tensor *tensor;
    int32_t at[TENSOR_MAX_RANK]; /* of the row */
    int64_t row;                 /* what the coordinates before `last` add */
    int last;                    /* the axis of a row */
    int32_t column;
    int64_t *moves; /* [rank][dim]; NULL: tensor_offset is asked of each element */
    const int64_t *axis[TENSOR_MAX_RANK];
} Walk;

/* Whether moving along one axis adds the same wherever the others stand. */
static bool is_separable(const Layout *l)
{
    return !l->pairs || l->block % 2 == 0;
}

static int64_t moves_of(const Shape *s)
{
    int64_t n = 0;
    for (int i = 0; i < s->rank; i++)
        n += s->dim[i];
    return n;
}

/* What `axis` adds at each of its coordinates; the first also counts where the tensor begins. */
static void fill_moves(const Tensor *t, int axis, int64_t *moves)
{
    int32_t at[TENSOR_MAX_RANK] = {0};
    int64_t begin = axis > 0 ? tensor_offset(t, at) : 0;
    for (; at[axis] < t->shape.dim[axis]; at[axis]++)
        moves[at[axis]] = tensor_offset(t, at) - begin;
}

/* Enters the row at `at`. */
static void begin_row(Walk *walk)
{
    walk->column = 0;
    walk->row = 0;
    for (int i = 0; walk->moves && i < walk->tensor->shape.rank; i++)
        walk->row += i == walk->last ? 0 : walk->axis[i][walk->at[i]];
}

/* Steps to the next row, in row-major order. */
static void next_row(Walk *walk)
{
    const Shape *s = &walk->tensor->shape;
    for (int i = walk->last - 1; i >= 0; i--) {
        if (++walk->at[i] < s->dim[i])
            break;
        walk->at[i] = 0;
    }
    begin_row(walk);
}

/* Without memory for the moves it goes on without them. */
static Walk walk_of(const Tensor *t)
{
    Walk walk = {.tensor = t, .last = t->shape.rank - 1};
    while (walk.last > 0 && t->shape.dim[walk.last] == 1)
        walk.last--;
    if (t->shape.rank > 0 && is_separable(&t->layout))
        walk.moves = malloc((size_t)moves_of(&t->shape) * sizeof *walk.moves);
    int64_t *moves = walk.moves;
    for (int i = 0; moves && i < t->shape.rank; moves += t->shape.dim[i++]) {
        fill_moves(t, i, moves);
        walk.axis[i] = moves;
    }
    begin_row(&walk);
    return walk;
}

/* The offset of the element that it stands at; then it goes on to the next. */
static int64_t next_offset(Walk *walk)
{
    const Tensor *t = walk->tensor;
    if (t->shape.rank == 0)
        return 0;
    if (walk->column == t->shape.dim[walk->last])
        next_row(walk);
    int32_t column = walk->column++;
    if (walk->moves)
        return walk->row + walk->axis[walk->last][column];
    int32_t at[TENSOR_MAX_RANK];
    memcpy(at, walk->at, sizeof at);
    at[walk->last] = column;
    return tensor_offset(t, at);
}

/* Channel 2k is the low half of a byte, 2k + 1 the high one. */
static void pack_nibbles(Walk *walk, int64_t n, const uint8_t *logical, uint8_t *physical)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t nibble = next_offset(walk);
        physical[nibble / 2] |= (uint8_t)((logical[i] & 15) << nibble % 2 * 4);
    }
}

static void unpack_nibbles(Walk *walk, int64_t n, const uint8_t *physical, uint8_t *logical)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t nibble = next_offset(walk);
        logical[i] = physical[nibble / 2] >> nibble % 2 * 4 & 15;
    }
}

/* A size that is known where it is copied, as it is for all but a few tensors, costs one move. */
static void copy_element(void *to, const void *from, size_t bytes)
{
    if (bytes == sizeof(float))
        memcpy(to, from, sizeof(float));
    else
        memcpy(to, from, bytes);
}

void tensor_pack(const Tensor *t, const void *logical, void *physical)
{
    Walk walk = walk_of(t);
    int64_t n = shape_elements(&t->shape);
    size_t bytes = (size_t)dtype_bytes(t->dtype);
    memset(physical, 0, (size_t)tensor_elements(t) * bytes);
    if (t->layout.kind == LAYOUT_NIBBLE)
        pack_nibbles(&walk, n, logical, physical);
    else
        for (int64_t i = 0; i < n; i++)
            copy_element((char *)physical + (size_t)next_offset(&walk) * bytes,
                         (const char *)logical + (size_t)i * bytes, bytes);
    free(walk.moves);
}

void tensor_unpack(const Tensor *t, const void *physical, void *logical)
{
    Walk walk = walk_of(t);
    int64_t n = shape_elements(&t->shape);
    size_t bytes = (size_t)dtype_bytes(t->dtype);
    if (t->layout.kind == LAYOUT_NIBBLE)
        unpack_nibbles(&walk, n, physical, logical);
    else
        for (int64_t i = 0; i < n; i++)
            copy_element((char *)logical + (size_t)i * bytes,
                         (const char *)physical + (size_t)next_offset(&walk) * bytes, bytes);
    free(walk.moves);
}
