/* What the C compiler gets: the emitted sources, the runtime, and the texts and compiled kernels
 * that the program carries along. */
#include "artefacts.h"

#include <string.h>

/* A path within a string of the assembler. */
static char *quoted(Pool *pool, const char *path)
{
    char *out = pool_alloc(pool, 2 * strlen(path) + 1), *o = out;
    for (; *path; path++) {
        if (strchr("\"\\\n", *path))
            *o++ = '\\';
        *o++ = *path == '\n' ? 'n' : *path;
    }
    return out;
}

bool has_text(const Build *b, Target target)
{
    return code_target(target)->emit && has_target(b->module, target);
}

char *model_file(Build *b, const char *extension)
{
    return pool_format(b->pool, "%s.%s", b->module->name, extension);
}

/* A text inside the trainer, as `ninc_NAME_text`, NUL-terminated, and `ninc_NAME_length`; empty
 * where `file` is NULL. */
static void emit_blob(Build *b, const char *name, const char *file, Text *out)
{
    text_append(out, ".globl ninc_%s_text\nninc_%s_text:\n", name, name);
    if (file)
        text_append(out, ".incbin \"%s\"\n",
                    quoted(b->pool, pool_format(b->pool, "%s/%s", b->scratch, file)));
    text_append(out,
                "ninc_%s_end:\n.byte 0\n.balign 8\n.globl ninc_%s_length\nninc_%s_length:\n"
                ".quad ninc_%s_end - ninc_%s_text\n",
                name, name, name, name, name);
}

/* The kernels for the GPUs that the options name, as ninc_cubins; their bytes in a file beside. */
static int emit_compiled(Build *b, Text *out)
{
    CompiledKernels *compiled = NULL;
    Text bytes = {0};
    char *file = pool_format(b->pool, "%s/cubins", b->scratch);
    int count = 0;
    if (b->options->cubins)
        count = compile_cubins(b->pool, b->module, b->options->cubins, &compiled);
    if (count < 0)
        return -1;
    emit_cubins(compiled, count, quoted(b->pool, file), &bytes, out);
    return scratch_text(b, "cubins", &bytes);
}

/* Without .file the symbols name the assembler's temporary file, and no two trainers would be the
 * same. */
int write_texts(Build *b, bool ir)
{
    Text text = {0};
    text_append(&text, ".file \"texts.s\"\n.section .rodata\n");
    if (ir)
        emit_blob(b, "ir", model_file(b, "ir"), &text);
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++) {
        const CodeTarget *code = code_target(target);
        if (code->carried)
            emit_blob(b, target_names[target],
                      has_text(b, target) ? model_file(b, code->extension) : NULL, &text);
    }
    int result = emit_compiled(b, &text);
    text_append(&text, ".section .note.GNU-stack, \"\", %%progbits\n");
    return scratch_text(b, "texts.s", &text) != 0 ? -1 : result;
}

int write_emitted(Build *b, const char *name, Emit *emit)
{
    Text text = {0};
    emit(b->module, &text);
    return scratch_text(b, name, &text);
}

int write_program(Build *b)
{
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++) {
        const CodeTarget *code = code_target(target);
        if (has_text(b, target) &&
            write_emitted(b, model_file(b, code->extension), code->emit) != 0)
            return -1;
    }
    Text plan = {0};
    emit_plan(b->module, b->options->levels, &plan);
    if (scratch_text(b, "plan.c", &plan) != 0)
        return -1;
    return scratch_write(b, "libninc_runtime.a", embedded_runtime_archive.data,
                         embedded_runtime_archive.length);
}
