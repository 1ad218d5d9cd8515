/* Lines, blocks and names of emitted code. */
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
    return c_value_name(e->pool, e->module, e->number, n);
}

const char *tile_name(Pool *pool, const TileUse *use)
{
    if (use->wgrad)
        return pool_format(pool, "wgrad_tile_%dx%d", use->positions, use->vectors);
    if (use->spread > 1)
        return pool_format(pool, "conv_tile_%dx%d_step%d_spread%d", use->positions, use->vectors,
                           use->step, use->spread);
    return pool_format(pool, "conv_tile_%dx%d_step%d", use->positions, use->vectors, use->step);
}
