/* The user's faults, collected with their place. */
#include "ir.h"

#include <string.h>

void diagnostics_init(Diagnostics *d, Pool *pool)
{
    memset(d, 0, sizeof *d);
    d->pool = pool;
}

void diagnostics_add(Diagnostics *d, Loc loc, int width, const char *format, ...)
{
    d->total++;
    if (d->count == MAX_DIAGNOSTICS)
        return;
    Text text = {0};
    va_list ap;
    va_start(ap, format);
    text_append_v(&text, format, ap);
    va_end(ap);
    Diagnostic *entry = &d->list[d->count++];
    entry->loc = loc;
    entry->width = width > 0 ? width : 1;
    entry->message = pool_strdup(d->pool, text.data);
    text_free(&text);
}
