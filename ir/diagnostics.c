/* The user's faults, collected with their place. */
#include "ir.h"

#include <string.h>

void diagnostics_init(Diagnostics *d, Pool *pool)
{
    memset(d, 0, sizeof *d);
    d->pool = pool;
}

static void set(const Diagnostics *d, Diagnostic *entry, Loc loc, int width, const char *format,
                va_list ap)
{
    Text text = {0};
    text_append_v(&text, format, ap);
    entry->loc = loc;
    entry->width = width > 0 ? width : 1;
    entry->message = pool_strdup(d->pool, text.data);
    text_free(&text);
}

void diagnostics_add(Diagnostics *d, Loc loc, int width, const char *format, ...)
{
    d->total++;
    if (d->count == MAX_DIAGNOSTICS)
        return;
    va_list ap;
    va_start(ap, format);
    set(d, &d->list[d->count++], loc, width, format, ap);
    va_end(ap);
}

void diagnostics_note(Diagnostics *d, Loc loc, int width, const char *format, ...)
{
    if (d->notes == MAX_NOTES)
        return;
    va_list ap;
    va_start(ap, format);
    set(d, &d->note[d->notes++], loc, width, format, ap);
    va_end(ap);
}
