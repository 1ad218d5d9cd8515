/* Lines, blocks and names of emitted code. */
#include "../../ir/numbers.h"
#include "cpu.h"

static void write_line(CpuEmitter *e, const char *format, va_list ap, const char *end)
{
    text_append(e->out, "%*s", 4 * e->indent, "");
    text_append_v(e->out, format, ap);
    text_append(e->out, "%s", end);
}

void emit_line(CpuEmitter *e, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    write_line(e, format, ap, "\n");
    va_end(ap);
}

void emit_open(CpuEmitter *e, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    write_line(e, format, ap, " {\n");
    va_end(ap);
    e->indent++;
}

void emit_block(CpuEmitter *e)
{
    emit_line(e, "{");
    e->indent++;
}

void emit_close(CpuEmitter *e)
{
    e->indent--;
    emit_line(e, "}");
}

const char *value_name(const CpuEmitter *e, const Node *n)
{
    return c_value_name(e->pool, &e->names, n);
}

const char *tile_name(Pool *pool, const TileUse *use)
{
    static const char *const names[] = {[TILE_CONV] = "conv_tile", [TILE_WGRAD] = "wgrad_tile",
                                        [TILE_WGRAD_PAIRS] = "wgrad_pairs",
                                        [TILE_WINOGRAD] = "winograd_tile",
                                        [TILE_FIXED] = "fixed_tile",
                                        [TILE_FIXED_WGRAD] = "fixed_wgrad_tile",
                                        [TILE_SPARSE] = "sparse_tile"};
    const char *name = names[use->kind];
    if (use->kind != TILE_CONV)
        return pool_format(pool, "%s_%dx%d", name, use->positions, use->vectors);
    if (use->spread > 1)
        return pool_format(pool, "%s_%dx%d_step%d_spread%d", name, use->positions, use->vectors,
                           use->step, use->spread);
    return pool_format(pool, "%s_%dx%d_step%d", name, use->positions, use->vectors, use->step);
}

const char *c_type(DType dtype)
{
    switch (dtype) {
    case DT_F32:
        return "float";
    case DT_BF16:
        return "uint16_t";
    case DT_I32:
        return "int32_t";
    case DT_U8:
        return "uint8_t";
    case DT_COUNT:
        break;
    }
    internal_error("dtype %d", (int)dtype);
}

const char *use_tile(CpuEmitter *e, TileUse use)
{
    TileSet *t = e->tiles;
    const char *name = tile_name(e->pool, &use);
    for (int i = 0; i < t->count; i++)
        if (t->use[i].kind == use.kind && t->use[i].positions == use.positions &&
            t->use[i].vectors == use.vectors && t->use[i].step == use.step &&
            t->use[i].spread == use.spread)
            return name;
    POOL_PUSH(t->pool, t->use, t->count, t->capacity, use);
    return name;
}

const char *table_name(const CpuEmitter *e, const Node *n)
{
    return pool_format(e->pool, "%s_v%d", e->kernel->name, n->number);
}

Split split_evenly(int extent, int most)
{
    int tiles = (int)ceil_div(extent, most), large = (int)ceil_div(extent, tiles);
    int larges = extent - tiles * (large - 1);
    return (Split){large, larges, tiles - larges};
}

const char *row_tiles(CpuEmitter *e, int pixels, const Tile *tile, int step, int spread)
{
    if (pixels < 1)
        return "{0}";
    Split s = split_evenly(pixels, tile->pixels);
    const char *large = use_tile(e, (TileUse){TILE_CONV, s.large, tile->vectors, step, spread});
    const char *small = large;
    if (s.smalls)
        small = use_tile(e, (TileUse){TILE_CONV, s.large - 1, tile->vectors, step, spread});
    return pool_format(e->pool, "{%s, %s, %d, %d, %d}", large, small, s.large, s.larges, s.smalls);
}

const char *wgrad_run(CpuEmitter *e, TileKind kind, int run, const Tile *tile)
{
    Split s = split_evenly(run, tile->pixels);
    const char *large = use_tile(e, (TileUse){kind, s.large, tile->vectors, 0, 1}), *small = large;
    if (s.smalls)
        small = use_tile(e, (TileUse){kind, s.large - 1, tile->vectors, 0, 1});
    return pool_format(e->pool, "{%s, %s, %d, %d, %d, %d}", large, small, s.large, s.larges,
                       s.smalls, tile->vectors);
}
