/* Files that ninc carries inside itself (codegen/embed.S). */
#ifndef NINC_EMBED_H
#define NINC_EMBED_H

#include "../ir/ir.h"

typedef struct Embedded {
    const char *data;
    size_t length;
} Embedded;

extern const Embedded embedded_runtime_archive;
extern const Embedded embedded_tensor_h, embedded_plan_h, embedded_cpu_h;

/* A header's text without its includes of ours, for emitted files (cpu/emit.c). */
void emit_header(const Embedded *header, Text *out);

#endif
