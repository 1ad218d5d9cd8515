/* Two kinds of failure: the user's, collected with their place, and ours, which end the program. */
#include "ir.h"

#include <errno.h>
#include <stdlib.h>
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

/* Who is told when this thread cannot go on. */
static _Thread_local Rescue *rescuer;

Rescue *rescue_set(Rescue *rescue)
{
    Rescue *before = rescuer;
    rescuer = rescue;
    return before;
}

void fatal(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (rescuer) {
        vsnprintf(rescuer->text, sizeof rescuer->text, format, ap);
        va_end(ap);
        longjmp(rescuer->back, 1);
    }
    fprintf(stderr, "%s: ", program_invocation_short_name); /* ninc or a trainer */
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

void internal_error_at(const char *function, const char *format, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    fatal("internal error: %s: %s", function, text);
}
