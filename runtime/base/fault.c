/* Messages of the trainer, and of ninc where it uses the runtime. */
#include "../../ir/ir.h"
#include "base.h"

#include <stdarg.h>
#include <stdlib.h>

const char *fault_program = "trainer";
bool fault_errors_only;

static void print_line(const char *kind, const char *format, va_list ap)
{
    char *message = NULL, *line = NULL;
    fflush(stdout);
    if (vasprintf(&message, format, ap) < 0)
        message = NULL;
    if (!message || asprintf(&line, "%s: %s%s", fault_program, kind, message) < 0)
        line = NULL;
    print_message(stderr, line ? line : format);
    free(message);
    free(line);
}

/* Where the messages of this thread go. */
static _Thread_local Messages held;

Messages fault_hold(char *text, size_t size)
{
    Messages before = held;
    held.text = text;
    held.size = size;
    if (text)
        text[0] = '\0';
    return before;
}

Messages fault_silence(char *text, size_t size)
{
    Messages before = fault_hold(text, size);
    held.silent = true;
    return before;
}

void fault_release(Messages before)
{
    held = before;
}

int fault(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (!held.text)
        print_line("error: ", format, ap);
    else if (held.text[0] == '\0')
        vsnprintf(held.text, held.size, format, ap);
    va_end(ap);
    return -1;
}

void notice(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (!held.silent && !fault_errors_only)
        print_line("", format, ap);
    va_end(ap);
}

void detail(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (!held.silent)
        vfprintf(stderr, format, ap);
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
