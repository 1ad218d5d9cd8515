/* What the printers of the IR text share. */
#ifndef NINC_PRINT_PARTS_H
#define NINC_PRINT_PARTS_H

#include "ir.h"

/* ---- ir/print_attr.c ---- */

/* In double quotes; these, backslashes and control characters as \xHH. */
void print_quoted(const char *text, Text *out);

static inline void print_pair(Text *out, const char *key, int h, int w)
{
    text_append(out, " %s=%dx%d", key, h, w);
}

static inline void print_number(const char *key, double value, Text *out)
{
    char digits[32];
    text_append(out, "%s=%s", key, format_double(value, digits));
}

#endif
