/* Runs one pass on IR text: pass_tool PASS [LEVEL] < in.ir > out.ir
 *
 * Parses, runs that pass alone (`none` runs nothing), verifies and prints: the golden pairs of
 * passes and the round trip of the text are made with it. LEVEL is that of -O, 2 by default. */
#include "../../passes/passes.h"

#include <stdlib.h>
#include <string.h>

static void read_all(FILE *in, Text *text)
{
    char block[4096];
    size_t count;
    while ((count = fread(block, 1, sizeof block, in)) > 0)
        text_write(text, block, count);
}

static int report(const Diagnostics *d)
{
    for (int i = 0; i < d->count; i++) {
        const Diagnostic *fault = &d->list[i];
        if (fault->loc.file)
            fprintf(stderr, "%s:%d:%d: ", fault->loc.file, fault->loc.line, fault->loc.column);
        fprintf(stderr, "error: %s\n", fault->message);
    }
    return EXIT_FAILURE;
}

static int usage(void)
{
    fprintf(stderr, "usage: pass_tool PASS [LEVEL] < in.ir > out.ir\n");
    return 2;
}

/* The pass on the module in `in`; the result's text in `out`. */
static int run(Pool *pool, const char *pass, int level, const Text *in, Text *out)
{
    const PipelineOptions options = {.level = level, .wanted[TARGET_CPU] = true};
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "stdin", in->data ? in->data : "", in->length);
    if (!m)
        return report(&d);
    if (strcmp(pass, "none") != 0 && !pipeline_run_pass(pass, m, &options))
        return usage();
    if (!module_verify(m, &d))
        return report(&d);
    module_print(m, out);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage();
    Pool *pool = pool_new();
    Text in = {0}, out = {0};
    read_all(stdin, &in);
    int status = run(pool, argv[1], argc > 2 ? atoi(argv[2]) : 2, &in, &out);
    fputs(out.data ? out.data : "", stdout);
    text_free(&in);
    text_free(&out);
    pool_free(pool);
    if (fflush(stdout) != 0)
        status = EXIT_FAILURE;
    return status;
}
