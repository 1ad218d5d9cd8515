/* What ends the program: our own faults, and no memory. */
#include "ir.h"

#include <errno.h>
#include <stdlib.h>

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
