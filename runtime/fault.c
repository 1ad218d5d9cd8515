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
    if (!held.silent)
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
