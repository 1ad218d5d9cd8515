/* Runs one pass on IR text: pass_tool PASS [LEVEL] < in.ir > out.ir
 *
 * Parses, runs that pass alone (`none` runs nothing), verifies and prints: the golden pairs of
 * passes and the round trip of the text are made with it. LEVEL is that of -O, 2 by default. */
#include "../passes/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

static void run_none(Module *m, int level)
{
    (void)m;
    (void)level;
}

static void run_simplify(Module *m, int level)
{
    (void)level;
    pass_simplify(m);
}

static void run_autodiff(Module *m, int level)
{
    (void)level;
    pass_autodiff(m);
}

static void run_target(Module *m, int level)
{
    pass_target(m, &(PipelineOptions){.level = level, .cpu = true});
}

static void run_mask(Module *m, int level)
{
    (void)level;
    pass_mask(m);
}

static void run_dgrad(Module *m, int level)
{
    (void)level;
    pass_dgrad(m);
}

static void run_schedule(Module *m, int level)
{
    (void)level;
    pass_schedule(m);
}

static void run_order(Module *m, int level)
{
    (void)level;
    pass_order(m);
}

static void run_memory(Module *m, int level)
{
    (void)level;
    pass_memory(m);
}

typedef struct Pass {
    const char *name;
    void (*run)(Module *m, int level);
} Pass;

static const Pass passes[] = {
    {"none", run_none},          {"simplify", run_simplify}, {"autodiff", run_autodiff},
    {"target", run_target},      {"mask", run_mask},         {"dgrad", run_dgrad},
    {"winograd", pass_winograd}, {"fixed", pass_fixed},      {"fold", pass_fold},
    {"fuse", pass_fuse},         {"sparse", pass_sparse},    {"schedule", run_schedule},
    {"layout", pass_layout},     {"order", run_order},       {"memory", run_memory},
};

static const Pass *find_pass(const char *name)
{
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++)
        if (strcmp(passes[i].name, name) == 0)
            return &passes[i];
    return NULL;
}

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

/* The pass on the module in `in`; the result's text in `out`. */
static int run(Pool *pool, const Pass *pass, int level, const Text *in, Text *out)
{
    Diagnostics d;
    diagnostics_init(&d, pool);
    Module *m = module_parse(pool, &d, "stdin", in->data ? in->data : "", in->length);
    if (!m)
        return report(&d);
    pass->run(m, level);
    if (!module_verify(m, &d))
        return report(&d);
    module_print(m, out);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    const Pass *pass = argc > 1 ? find_pass(argv[1]) : NULL;
    if (!pass) {
        fprintf(stderr, "usage: pass_tool PASS [LEVEL] < in.ir > out.ir\n");
        return 2;
    }
    Pool *pool = pool_new();
    Text in = {0}, out = {0};
    read_all(stdin, &in);
    int status = run(pool, pass, argc > 2 ? atoi(argv[2]) : 2, &in, &out);
    fputs(out.data ? out.data : "", stdout);
    text_free(&in);
    text_free(&out);
    pool_free(pool);
    if (fflush(stdout) != 0)
        status = EXIT_FAILURE;
    return status;
}
