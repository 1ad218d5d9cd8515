/* Values between doubles in logical order and the device's physical form. */
#include "train.h"

#include <stdlib.h>
#include <string.h>

/* ---- types ---- */

/* Round to nearest even; NaN is not made here. */
static uint16_t to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float bf16_rounded(float x)
{
    return from_bf16(to_bf16(x));
}

static void to_typed(DType dtype, const double *from, int64_t count, void *to)
{
    for (int64_t i = 0; i < count; i++) {
        if (dtype == DT_F32)
            ((float *)to)[i] = (float)from[i];
        else if (dtype == DT_I32)
            ((int32_t *)to)[i] = (int32_t)from[i];
        else if (dtype == DT_BF16)
            ((uint16_t *)to)[i] = to_bf16((float)from[i]);
        else if (dtype == DT_U8)
            ((uint8_t *)to)[i] = (uint8_t)from[i];
        else
            internal_error("no conversion to dtype %s", dtype_name(dtype));
    }
}

static void from_typed(DType dtype, const void *from, int64_t count, double *to)
{
    for (int64_t i = 0; i < count; i++) {
        if (dtype == DT_F32)
            to[i] = ((const float *)from)[i];
        else if (dtype == DT_I32)
            to[i] = ((const int32_t *)from)[i];
        else if (dtype == DT_BF16)
            to[i] = from_bf16(((const uint16_t *)from)[i]);
        else if (dtype == DT_U8)
            to[i] = ((const uint8_t *)from)[i];
        else
            internal_error("no conversion from dtype %s", dtype_name(dtype));
    }
}

static size_t tensor_bytes(const Tensor *t)
{
    return (size_t)tensor_elements(t) * (size_t)dtype_bytes(t->dtype);
}

static void pack_doubles(const Tensor *t, const double *from, void *physical)
{
    int64_t count = shape_elements(&t->shape);
    void *logical = xmalloc((size_t)count * (size_t)dtype_bytes(t->dtype) + 1);
    to_typed(t->dtype, from, count, logical);
    tensor_pack(t, logical, physical);
    free(logical);
}

/* -0 is zero. */
static bool is_nonzero(DType dtype, const char *p)
{
    double x;
    if (dtype == DT_F32 || dtype == DT_BF16) {
        from_typed(dtype, p, 1, &x);
        return !(x == 0);
    }
    for (int i = 0; i < dtype_bytes(dtype); i++)
        if (p[i])
            return true;
    return false;
}

/* Unpacks into doubles; returns how many halo and padding elements are not zero. */
static int64_t unpack_doubles(const Tensor *t, const char *physical, double *to)
{
    int64_t count = shape_elements(&t->shape), dirty = 0;
    size_t item = (size_t)dtype_bytes(t->dtype), bytes = tensor_bytes(t);
    void *logical = xmalloc((size_t)count * item + 1);
    char *clean = xmalloc(bytes + 1);
    tensor_unpack(t, physical, logical);
    tensor_pack(t, logical, clean);
    for (size_t i = 0; i < bytes; i += item)
        if (memcmp(clean + i, physical + i, item) != 0 && is_nonzero(t->dtype, physical + i))
            dirty++;
    from_typed(t->dtype, logical, count, to);
    free(logical);
    free(clean);
    return dirty;
}

/* ---- places ---- */

bool is_stored(const Node *n)
{
    return n->op == OP_STATE || n->op == OP_UPDATE;
}

/* The value's type with the rows that the caller has. */
static Tensor tensor_in(const Values *v, const Node *n)
{
    Tensor tensor = is_stored(n) ? storage_tensor(n->storage, v->graph->target) : n->tensor;
    if (!is_stored(n) && is_per_image(v->graph, n))
        tensor.shape.dim[0] = v->images;
    return tensor;
}

/* Where storage lies on the graph's target. */
static NincArg home_of(const Graph *g, const Storage *s)
{
    return (NincArg){.region = NINC_REGION_STATE, .offset = s->home[g->target].offset};
}

static NincArg place_of(const Graph *g, const Node *n)
{
    static const NincRegion regions[] = {
        [REGION_NONE] = NINC_REGION_NONE,     [REGION_STATE] = NINC_REGION_STATE,
        [REGION_SHARED] = NINC_REGION_SHARED, [REGION_CHUNK] = NINC_REGION_CHUNK,
        [REGION_THREAD] = NINC_REGION_THREAD, [REGION_PARTIAL] = NINC_REGION_PARTIAL,
    };
    NincArg at = {.region = regions[n->place.region],
                  .offset = n->place.offset,
                  .per_partial = n->place.bytes};
    if (is_stored(n))
        return home_of(g, n->storage);
    if (at.region == NINC_REGION_NONE)
        internal_error("node %d (%s) has no place", n->id, op_name(n->op));
    return at;
}

const NincLaunch *find_launch(const NincProgram *p, const Kernel *k)
{
    const NincLaunch *list = k->phase == PHASE_BEFORE  ? p->before
                             : k->phase == PHASE_CHUNK ? p->chunked
                                                       : p->after;
    int count = k->phase == PHASE_BEFORE  ? p->befores
                : k->phase == PHASE_CHUNK ? p->chunkeds
                                          : p->afters;
    for (int i = 0; i < count; i++)
        if (strcmp(list[i].name, k->name) == 0)
            return &list[i];
    internal_error("the plan has no launch of kernel %s", k->name);
}

int values_copies(const Values *v, const Node *n)
{
    if (n->place.region != REGION_PARTIAL || is_stored(n))
        return 1;
    return v->table->copies(v->device, find_launch(v->program, n->kernel));
}

/* ---- reading and writing ---- */

static int write_tensor(const Values *v, const Tensor *t, const NincArg *at, int copy,
                        const double *value)
{
    size_t bytes = tensor_bytes(t);
    void *physical = xmalloc(bytes + 1);
    pack_doubles(t, value, physical);
    int status = v->table->write(v->device, at, copy, physical, (int64_t)bytes);
    free(physical);
    return status;
}

static int64_t read_tensor(const Values *v, const Tensor *t, const NincArg *at, int copy,
                           double *value)
{
    size_t bytes = tensor_bytes(t);
    void *physical = xmalloc(bytes + 1);
    int64_t dirty = v->table->read(v->device, at, copy, physical, (int64_t)bytes);
    if (dirty == 0)
        dirty = unpack_doubles(t, physical, value);
    free(physical);
    return dirty;
}

int values_write(const Values *v, const Node *n, int copy, const double *value)
{
    Tensor tensor = tensor_in(v, n);
    NincArg at = place_of(v->graph, n);
    return write_tensor(v, &tensor, &at, copy, value);
}

int64_t values_read(const Values *v, const Node *n, double *value)
{
    Tensor tensor = tensor_in(v, n);
    NincArg at = place_of(v->graph, n);
    int copies = values_copies(v, n);
    int64_t count = shape_elements(&tensor.shape);
    int64_t dirty = read_tensor(v, &tensor, &at, 0, value);
    double *part = xmalloc((size_t)count * sizeof *part + 1);
    for (int c = 1; c < copies && dirty >= 0; c++) {
        int64_t more = read_tensor(v, &tensor, &at, c, part);
        dirty = more < 0 ? -1 : dirty + more;
        for (int64_t i = 0; i < count && dirty >= 0; i++)
            value[i] += part[i];
    }
    free(part);
    return dirty;
}

int values_write_storage(const Values *v, const Storage *s, const double *value)
{
    Tensor tensor = storage_tensor(s, v->graph->target);
    NincArg at = home_of(v->graph, s);
    return write_tensor(v, &tensor, &at, 0, value);
}

int64_t values_read_storage(const Values *v, const Storage *s, double *value)
{
    Tensor tensor = storage_tensor(s, v->graph->target);
    NincArg at = home_of(v->graph, s);
    return read_tensor(v, &tensor, &at, 0, value);
}
