/* Lines, names and types of emitted CUDA text. */
#include "../../ir/numbers.h"
#include "cuda.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 100 };

void cuda_line(CudaEmitter *e, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    text_append(e->out, "    ");
    text_append_v(e->out, format, ap);
    text_append(e->out, "\n");
    va_end(ap);
}

void cuda_list(Text *out, const char *const *item, int count, int start, int indent)
{
    int column = start;
    for (int i = 0; i < count; i++) {
        int length = (int)strlen(item[i]) + 2; /* a comma or what ends the line, and a blank */
        if (i > 0 && column + length > LINE) {
            text_append(out, ",\n%*s", indent, "");
            column = indent;
        } else if (i > 0) {
            text_append(out, ", ");
        }
        text_append(out, "%s", item[i]);
        column += length;
    }
}

void cuda_call(CudaEmitter *e, const char *function, const char *const *argument)
{
    int count = 0, longest = 0, start = 4 + (int)strlen(function) + 1;
    for (; argument[count]; count++)
        if ((int)strlen(argument[count]) > longest)
            longest = (int)strlen(argument[count]);
    text_append(e->out, "    %s(", function);
    int indent = start + longest + 2 > LINE ? 8 : start;
    if (indent < start)
        text_append(e->out, "\n%*s", indent, "");
    cuda_list(e->out, argument, count, indent, indent);
    text_append(e->out, ");\n");
}

/* ---- names ---- */

const char *cuda_value(const CudaEmitter *e, const Node *n)
{
    bool placed = n && (n->storage || n->op == OP_INPUT || n->place.region != REGION_NONE);
    return placed ? c_value_name(e->pool, &e->names, n) : "nullptr";
}

const char *cuda_type(DType dtype)
{
    switch (dtype) {
    case DT_F32: return "float";
    case DT_BF16: return "bf16";
    case DT_I32: return "i32";
    case DT_U8: return "u8";
    case DT_COUNT: break;
    }
    internal_error("dtype %d", (int)dtype);
}

const Node *cuda_find(const CudaEmitter *e, Op op)
{
    for (int i = 0; i < e->kernel->node_count; i++)
        if (e->kernel->node[i]->op == op)
            return e->kernel->node[i];
    return NULL;
}

const char *cuda_macro(Pool *pool, const Kernel *k)
{
    char *name = pool_strdup(pool, k->name);
    for (char *c = name; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return name;
}

const char *cuda_copies(const CudaEmitter *e, const Node *n)
{
    if (n->place.region != REGION_PARTIAL || !n->kernel || n->kernel->schedule_count == 0 ||
        n->kernel->schedule[0].tile_m == 0)
        return "1";
    return pool_format(e->pool, "%s_SPLIT", cuda_macro(e->pool, n->kernel));
}

const char *cuda_literal(Pool *pool, double value)
{
    char digits[32];
    for (int precision = 6; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)(float)value);
        if (strtof(digits, NULL) == (float)value)
            break;
    }
    return pool_format(pool, strpbrk(digits, ".e") ? "%sf" : "%s.0f", digits);
}

/* ---- types ---- */

/* Lanes that n elements take in a layout with that block; 0: no padding. */
static int padded(int n, int block)
{
    return block > 0 ? (int)round_up(n, block) : n;
}

int cuda_channels(const Node *n)
{
    const Layout *l = &n->tensor.layout;
    if ((l->kind != LAYOUT_NHWC && l->kind != LAYOUT_PLAIN) || l->halo_h || l->halo_w)
        internal_error("%s has a layout that is not of CUDA maps", op_name(n->op));
    return padded(map_dim(n, 3), l->block);
}

static const char *filter_view(const CudaEmitter *e, const Node *n)
{
    const int32_t *d = n->tensor.shape.dim;
    const Layout *l = &n->tensor.layout;
    if (l->kind == LAYOUT_PLAIN)
        return pool_format(e->pool, "Oihw<%d, %d, %d, %d>", d[0], d[1], d[2], d[3]);
    if (l->kind != LAYOUT_FILTER || l->out_block != 1 || l->block < d[1])
        internal_error("%s has a layout that is not of CUDA filters", op_name(n->op));
    return pool_format(e->pool, "Ohwi<%d, %d, %d, %d, %d>", d[0], d[1], d[2], d[3], l->block);
}

const char *cuda_view(const CudaEmitter *e, const Node *n)
{
    const Shape *s = &n->tensor.shape;
    bool per_image = !n->storage && is_per_image(e->graph, n);
    int rows = map_dim(n, 0), h = map_dim(n, 1), w = map_dim(n, 2), c = map_dim(n, 3);
    if (s->rank == 4 && !per_image)
        return filter_view(e, n);
    if (s->rank == 1 && !per_image)
        return pool_format(e->pool, "Map<1, 1, 1, %d, %d>", rows,
                           padded(rows, n->tensor.layout.block));
    if (n->tensor.layout.kind == LAYOUT_NIBBLE)
        return pool_format(e->pool, "Nibbles<%d, %d, %d, %d>", rows, h, w, c);
    return pool_format(e->pool, "Map<%d, %d, %d, %d, %d>", rows, h, w, c, cuda_channels(n));
}
