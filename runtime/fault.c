/* Messages of the trainer, and of ninc where it uses the runtime. */
#include "../ir/ir.h"
#include "runtime.h"

#include <stdarg.h>
#include <string.h>

const char *fault_program = "trainer";

static void print_line(const char *kind, const char *format, va_list ap)
{
    fflush(stdout);
    fprintf(stderr, "%s: %s", fault_program, kind);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
}

/* Where errors go instead of stderr. */
static char *held;
static size_t held_size;

void fault_hold(char *text, size_t size)
{
    held = text;
    held_size = size;
    if (text)
        text[0] = '\0';
}

int fault(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (!held)
        print_line("error: ", format, ap);
    else if (held[0] == '\0')
        vsnprintf(held, held_size, format, ap);
    va_end(ap);
    return -1;
}

void notice(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    print_line("", format, ap);
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

void append_shell_word(Text *out, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "%+,-./:=@_";
    text_append(out, out->length ? " " : "");
    if (*text && text[strspn(text, plain)] == '\0') {
        text_append(out, "%s", text);
        return;
    }
    text_append(out, "'");
    for (; *text; text++)
        text_append(out, *text == '\'' ? "'\\''" : "%c", *text);
    text_append(out, "'");
}
