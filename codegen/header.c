/* A header's text in an emitted one, where all of them stand in one file. */
#include "embed.h"

#include <string.h>

void emit_header(const Embedded *header, Text *out)
{
    static const char include[] = "#include \"";
    const char *p = header->data, *end = p + header->length;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *next = newline ? newline + 1 : end;
        if ((size_t)(end - p) < sizeof include || memcmp(p, include, sizeof include - 1) != 0)
            text_write(out, p, (size_t)(next - p));
        p = next;
    }
}
