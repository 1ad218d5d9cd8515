/* Diagnostics for people: place, message, the line of the text, and a caret under the fault. */
#include "frontend.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW_BEFORE = 60, WINDOW_COLUMNS = 96 };

#define BOLD "\033[1m"
#define RED "\033[1;31m"
#define GREEN "\033[1;32m"
#define PLAIN "\033[0m"

/* Characters that a terminal would act on, or that turn the text around. */
static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* Appends one character, escaped where it is unsafe; returns the columns that it takes. */
static int append_character(Text *out, const char *p, int bytes, uint32_t code)
{
    size_t before = out->length;

    if (bytes == 0)
        text_append(out, "\\x%02x", (unsigned char)*p);
    else if (is_unsafe(code))
        text_append(out, code < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)code);
    else {
        text_write(out, p, (size_t)bytes);
        return 1;
    }
    return (int)(out->length - before);
}

static void append_safe(Text *out, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        uint32_t code = 0;
        int bytes = utf8_decode(text, left, &code);

        append_character(out, text, bytes, code);
        text += bytes > 0 ? bytes : 1;
        left -= (size_t)(bytes > 0 ? bytes : 1);
    }
}

static const Source *find_source(const Source *s, const char *name)
{
    while (s && strcmp(s->name, name) != 0)
        s = s->next;
    return s;
}

/* The line and, in step with it, the blanks and the caret below: tabs stay tabs in both. Of a
 * long line only the part around the column is shown. */
static void append_line(Text *line, Text *marks, const char *p, size_t length,
                        const Diagnostic *diagnostic)
{
    int column = diagnostic->loc.column, end = column + diagnostic->width;
    int first = column > WINDOW_COLUMNS ? column - WINDOW_BEFORE : 1;
    int last = first + WINDOW_COLUMNS + (first == 1 ? WINDOW_BEFORE : 0), now = 1;

    if (first > 1)
        text_append(line, "..."), text_append(marks, "   ");
    for (; length > 0 && now < last; now++) {
        uint32_t code = 0;
        int bytes = utf8_decode(p, length, &code), columns = 1;
        bool tab = code == '\t' && bytes == 1;

        if (now >= first && tab)
            text_append(line, "\t");
        else if (now >= first)
            columns = append_character(line, p, bytes, code);
        for (int i = 0; now >= first && now < end && i < columns; i++)
            text_append(marks, "%s", now < column          ? (tab ? "\t" : " ")
                                     : now > column || i > 0 ? "~"
                                                             : "^");
        p += bytes > 0 ? bytes : 1;
        length -= (size_t)(bytes > 0 ? bytes : 1);
    }
    if (length > 0)
        text_append(line, "...");
    for (; now <= column && now < last; now++)
        text_append(marks, now < column ? " " : "^");
}

/* `kind`: error or notice. */
static void render_one(FILE *out, const Diagnostic *diagnostic, const char *kind,
                       const Source *sources, bool color)
{
    Text head = {0}, line = {0}, marks = {0};
    const Loc *loc = &diagnostic->loc;
    const Source *source = loc->file ? find_source(sources, loc->file) : NULL;
    const char *start;
    size_t length;

    if (loc->file) {
        append_safe(&head, loc->file);
        text_append(&head, ":%d:%d", loc->line, loc->column);
    } else {
        text_append(&head, "ninc");
    }
    text_append(&line, "%s%s: %s%s: %s", color ? BOLD : "", head.data, color ? RED : "", kind,
                color ? PLAIN : "");
    append_safe(&line, diagnostic->message);
    print_message(out, line.data);
    text_free(&line);
    if (source && source_line(source, loc->line, &start, &length) && length > 0) {
        append_line(&line, &marks, start, length, diagnostic);
        fprintf(out, "%s\n%s%s%s\n", line.data, color ? GREEN : "",
                marks.data ? marks.data : "^", color ? PLAIN : "");
    }
    text_free(&head);
    text_free(&line);
    text_free(&marks);
}

static int compare_places(const void *a, const void *b)
{
    const Diagnostic *x = *(const Diagnostic *const *)a, *y = *(const Diagnostic *const *)b;
    int files = strcmp(x->loc.file ? x->loc.file : "", y->loc.file ? y->loc.file : "");

    if (files != 0)
        return files;
    if (x->loc.line != y->loc.line)
        return x->loc.line < y->loc.line ? -1 : 1;
    if (x->loc.column != y->loc.column)
        return x->loc.column < y->loc.column ? -1 : 1;
    return x < y ? -1 : x > y;
}

void render_diagnostics(FILE *out, Diagnostics *d, const Source *sources, bool color)
{
    const Diagnostic *sorted[MAX_DIAGNOSTICS];

    for (int i = 0; i < d->count; i++)
        sorted[i] = &d->list[i];
    qsort(sorted, (size_t)d->count, sizeof *sorted, compare_places);
    for (int i = 0; i < d->count; i++)
        render_one(out, sorted[i], "error", sources, color);
    if (d->total > d->count)
        fprintf(out, "ninc: %d errors, of which the first %d found are shown\n", d->total,
                d->count);
}

void render_notes(FILE *out, const Diagnostics *d, const Source *sources, bool color)
{
    for (int i = 0; i < d->notes; i++)
        render_one(out, &d->note[i], "notice", sources, color);
}
