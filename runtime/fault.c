/* Messages of the trainer. */
#include "runtime.h"

#include <stdarg.h>

static void print_line(const char *prefix, const char *format, va_list ap)
{
    fflush(stdout);
    fputs(prefix, stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
}

int fault(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    print_line("trainer: error: ", format, ap);
    va_end(ap);
    return -1;
}

void notice(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    print_line("trainer: ", format, ap);
    va_end(ap);
}

const char *printable(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++)
        out[n] = (unsigned char)text[n] < 32 || text[n] == 127 ? '?' : text[n];
    out[n] = '\0';
    return out;
}
