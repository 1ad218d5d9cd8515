/* The maps that row ops work on: how they lie, and the Map of each in emitted code. */
#include "../../ir/numbers.h"
#include "cpu.h"

#include <string.h>

MapShape map_shape(const Node *n)
{
    const Layout *l = &n->tensor.layout;
    const int32_t *d = n->tensor.shape.dim;
    MapShape s = {.height = d[1], .width = d[2], .channels = d[3]};
    bool blocked = l->kind == LAYOUT_NCHWC;
    s.lanes = map_lanes(n);
    s.blocks = blocked ? (int)ceil_div(d[3], l->block) : 1;
    s.row = (int64_t)(d[2] + 2 * l->halo_w) * s.lanes;
    s.block = (l->strip > 0 ? l->strip : d[1] + 2 * l->halo_h) * s.row;
    s.image = l->strip > 0 ? 0 : image_elements(n);
    s.origin = l->halo_h * s.row + (int64_t)l->halo_w * s.lanes;
    return s;
}

const char *map_name(const CpuEmitter *e, const Node *n)
{
    return pool_format(e->pool, "%s_map", value_name(e, n));
}

bool is_map(const CpuEmitter *e, const Node *n)
{
    return n->tensor.shape.rank == 4 && n->op != OP_STATE && is_per_image(e->graph, n) &&
           n->tensor.layout.kind != LAYOUT_HCNWC;
}

static const char *map_type(const CpuEmitter *e, const Node *n)
{
    if (n->tensor.dtype == DT_U8)
        return "CodeMap";
    bool beside_bf16 = n->tensor.dtype == DT_F32 && e->bf16;
    return beside_bf16 ? "FloatMap" : "Map";
}

void emit_map(CpuEmitter *e, const Node *n, const char *image)
{
    MapShape s = map_shape(n);
    bool strip = n->tensor.layout.strip > 0;
    const char *first = strcmp(image, "0") == 0 || s.image == 0
                            ? ""
                            : pool_format(e->pool, " + %s * %lld", image, (long long)s.image);
    const char *origin = s.origin ? pool_format(e->pool, " + %lld", (long long)s.origin) : "";
    /* Maps that are only read come as const arguments. */
    emit_line(e, "const %s %s = {.data = (%s *)%s%s%s, .row = %lld, .block = %lld%s};",
              map_type(e, n), map_name(e, n), c_type(n->tensor.dtype), value_name(e, n), first,
              origin, (long long)s.row, (long long)s.block, strip ? ", .first = r0" : "");
}

void emit_halo(CpuEmitter *e, const Node *n, const char *when)
{
    const Layout *l = &n->tensor.layout;
    MapShape s = map_shape(n);
    if (l->halo_h || l->halo_w)
        emit_line(e, "%szero_halo(%s, %d, %d, %d, %d, %d, %d);", when, map_name(e, n), s.blocks,
                  s.height, s.width, l->halo_h, l->halo_w, s.lanes);
}
