/* ninc: from a model file to the program that trains it. */
#include "frontend.h"

#include "../codegen/codegen.h"
#include "../ir/numbers.h"
#include "../runtime/base/base.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Compile {
    const Options *options;
    Pool *pool;
    Diagnostics d;
    Source *sources;
    Tree *root; /* of a YAML model, with what the options set; NULL: IR text */
} Compile;

static bool wants_color(ColorMode mode)
{
    const char *no_color = getenv("NO_COLOR");

    if (mode == COLOR_AUTO)
        return isatty(STDERR_FILENO) && !(no_color && *no_color);
    return mode == COLOR_ALWAYS;
}

static int report(Compile *c)
{
    fflush(stdout);
    render_diagnostics(stderr, &c->d, c->sources, wants_color(c->options->color));
    return 1;
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
}

/* IR text by its suffix; standard input by its first word. */
static bool is_ir(const char *path, const Source *s)
{
    if (strcmp(path, "-") != 0)
        return ends_with(path, ".ir");
    return s->text && strncmp(s->text, "module", 6) == 0 && (s->text[6] == ' ' ||
                                                             s->text[6] == '\n');
}

static Module *load_ir(Compile *c)
{
    Module *m;

    if (c->options->set_count > 0) {
        diagnostics_add(&c->d, (Loc){c->sources->name, 1, 1}, 1,
                        "--set and --batch change a YAML model, not IR text");
        return NULL;
    }
    m = module_parse(c->pool, &c->d, c->sources->name, c->sources->text, c->sources->length);
    if (m && strcmp(m->name, "plan") == 0) {
        diagnostics_add(&c->d, (Loc){c->sources->name, 1, 8}, (int)strlen(m->name),
                        "a model cannot be named 'plan', because its artefacts hold a plan.c; "
                        "choose another name");
        return NULL;
    }
    if (m && !module_check_program(m, &c->d, (Loc){c->sources->name, 1, 1}))
        return NULL;
    return m;
}

static Module *load_yaml(Compile *c)
{
    if (c->sources->length > MAX_YAML_BYTES) {
        diagnostics_add(&c->d, (Loc){c->sources->name, 1, 1}, 1,
                        "the file is larger than 1 MB, too large for a model; is it the right "
                        "file?");
        return NULL;
    }
    c->root = yaml_parse(c->pool, &c->d, c->sources);
    if (c->root)
        c->root = override_apply(c->pool, &c->d, c->root, c->options, &c->sources);
    return c->root ? model_build(c->pool, &c->d, c->root) : NULL;
}

static Module *load(Compile *c)
{
    const char *path = c->options->input;
    size_t limit = strcmp(path, "-") == 0 || ends_with(path, ".ir") ? MAX_IR_BYTES
                                                                    : MAX_YAML_BYTES;

    c->sources = source_read(c->pool, &c->d, path, limit);
    if (!c->sources->text)
        return NULL;
    return is_ir(path, c->sources) ? load_ir(c) : load_yaml(c);
}

/* What the kernels use of each GPU that --cubin names; false after a message. */
static bool emit_usage(Compile *c, const Module *m, Text *out)
{
    CompiledKernels *compiled = NULL;
    int count = compile_cubins(c->pool, m, c->options->cubins, &compiled);

    for (int i = 0; i < count; i++) {
        text_append(out, "\n");
        print_usage(&compiled[i], out);
    }
    return count >= 0;
}

static void emit(Compile *c, const Module *m, Text *out)
{
    switch (c->options->emit) {
    case EMIT_IR:
        module_print(m, out);
        return;
    case EMIT_DOT:
        module_print_dot(m, out);
        return;
    case EMIT_C:
        emit_cpu(m, out);
        return;
    case EMIT_CUDA:
        emit_cuda(m, out);
        return;
    case EMIT_PLAN:
        emit_plan(m, c->options->levels, out);
        return;
    case EMIT_SUMMARY:
        summary_print(m, c->options->verbose, out);
        return;
    case EMIT_ARTEFACTS:
    case EMIT_LIBRARY:
        break;
    }
    internal_error("nothing to emit");
}

static int write_failed(const char *path)
{
    print_error("ninc: cannot write %s: %s", path, strerror(errno));
    return 1;
}

/* Written beside and renamed, so that the file is never half there; a device or a pipe is written
 * to. */
static int write_file(const char *path, const Text *text)
{
    OutFile out;

    fault_program = "ninc";
    if (outfile_open(&out, path) < 0)
        return 1;
    fwrite(text->data, 1, text->length, out.file);
    return outfile_commit(&out) < 0;
}

static int write_stdout(const Text *text)
{
    if (text->length > 0 && fwrite(text->data, 1, text->length, stdout) != text->length)
        return write_failed("standard output");
    return fflush(stdout) == 0 ? 0 : write_failed("standard output");
}

static int emit_text(Compile *c, const Module *m)
{
    const char *path = c->options->output;
    Text text = {0};
    int code;

    emit(c, m, &text);
    if (c->options->emit == EMIT_SUMMARY && c->options->verbose && c->options->cubins &&
        !emit_usage(c, m, &text)) {
        text_free(&text);
        return 1;
    }
    if (!path || strcmp(path, "-") == 0)
        code = write_stdout(&text);
    else
        code = write_file(path, &text);
    text_free(&text);
    return code;
}

static BuildOptions build_options(Compile *c, const Module *m, const char *suffix)
{
    const Options *o = c->options;
    BuildOptions options = {.directory = o->output,
                            .cubins = o->cubins,
                            .levels = o->levels,
                            .verbose = o->verbose,
                            .time = o->pipeline.time};

    if (!options.directory)
        options.directory = pool_format(c->pool, "%s_%s", m->name, suffix);
    if (!o->quiet)
        fprintf(stderr, "ninc: compiling the kernels into %s\n", options.directory);
    return options;
}

/* The text as a shell reads it as one word. */
static const char *shell_word(Pool *pool, const char *text)
{
    Text word = {0};
    text_append_shell_word(&word, text);
    const char *copy = pool_strdup(pool, word.data);
    text_free(&word);
    return copy;
}

/* What names the directory from everywhere; as it was given where the system does not say. */
static const char *absolute(Pool *pool, const char *directory)
{
    char *path = realpath(directory, NULL);
    const char *copy = path ? pool_strdup(pool, path) : directory;

    free(path);
    return copy;
}

/* At the model's name: a library that compilers and linkers would take for the system's. */
static bool check_library_name(Compile *c, const Module *m)
{
    const char *hidden = library_hides(c->pool, m);
    const Tree *name = c->root ? tree_find(c->root, "model") : NULL;
    Loc loc = name ? name->loc : (Loc){c->sources->name, 1, 8};

    if (!hidden)
        return true;
    diagnostics_add(&c->d, loc, (int)strlen(m->name), "a library of the model '%s' would hide the "
                    "system's %s; choose another name%s", m->name, hidden,
                    name ? ", here or by --set=model=NAME" : "");
    return false;
}

/* The line to go on with has the absolute directory: by a relative one, programs would find the
 * library only from where they were linked. */
static int build_forward(Compile *c, Module *m)
{
    double start = clock_seconds();
    BuildOptions options = build_options(c, m, "library");

    if (build_library(m, &options) != 0)
        return 1;
    if (!c->options->quiet)
        fprintf(stderr, "ninc: wrote %s in %.1f s; next: include %s.h, and build with "
                "PKG_CONFIG_PATH=%s pkg-config --cflags --libs %s\n",
                options.directory, clock_seconds() - start, library_name(c->pool, m),
                shell_word(c->pool, absolute(c->pool, options.directory)),
                library_name(c->pool, m));
    return 0;
}

/* The commands to go on with; training keeps what comes of it under the first name that is free. */
static void say_next(Compile *c, const char *directory, const char *model)
{
    int number;
    char *weights = unused_name(model, 1, &number);
    const char *trainer = shell_word(c->pool, pool_format(c->pool, "%s/trainer", directory));

    fprintf(stderr, "next: %s train\n"
            "ninc: then: %s eval --weights %s\n"
            "            %s predict --weights %s IMAGE\n",
            trainer, trainer, weights, trainer, weights);
    free(weights);
}

static int build(Compile *c, const Module *m)
{
    const Options *o = c->options;
    double start = clock_seconds();
    BuildOptions options = build_options(c, m, "kernels");
    const char *directory = options.directory;
    Text text = {0};
    int code;

    if (build_artefacts(m, &options) != 0)
        return 1;
    if (o->quiet)
        return 0;
    summary_print(m, o->verbose, &text);
    code = write_stdout(&text);
    text_free(&text);
    fprintf(stderr, "ninc: wrote %s in %.1f s; ", directory, clock_seconds() - start);
    say_next(c, directory, m->name);
    return code;
}

/* What a module that is planned for CUDA needs there. */
static BatchMemory memory_of(const Module *m)
{
    const Graph *train = module_find_graph(m, "train", TARGET_CUDA);
    const Graph *eval = module_find_graph(m, "eval", TARGET_CUDA);

    return (BatchMemory){.batch = eval->batch,
                         .state = m->state_bytes[TARGET_CUDA],
                         .shared = larger(train->shared_bytes, eval->shared_bytes),
                         .chunk = larger(train->chunk_bytes, eval->chunk_bytes),
                         .eval_shared = eval->shared_bytes,
                         .eval_chunk = eval->chunk_bytes};
}

/* Plans the model at another batch, in memory of its own; false after a diagnostic. */
static bool plan_batch(Compile *c, int batch, BatchMemory *out)
{
    char set[32];
    Pool *pool = pool_new();
    Source *sources = c->sources;
    Options other = {.pool = pool, .set = {set}, .set_text = {set}, .set_count = 1};
    PipelineOptions pipeline = c->options->pipeline;
    Tree *root;
    Module *m;
    bool planned;

    snprintf(set, sizeof set, "train.batch_size=%d", batch);
    pipeline.wanted[TARGET_CPU] = pipeline.time = false;
    pipeline.dump = NULL;
    root = override_apply(pool, &c->d, c->root, &other, &sources);
    m = root ? model_build(pool, &c->d, root) : NULL;
    planned = m && pipeline_run(m, &pipeline, &c->d);
    if (planned)
        *out = memory_of(m);
    pool_free(pool);
    return planned;
}

/* Half the batch, a quarter, down to one image or the least there is, so that the trainer can name
 * one that fits a GPU: the passes decide anew for each, so what it takes does not follow from what
 * this one does. */
static bool plan_smaller(Compile *c, Module *m)
{
    enum { HALVINGS = 32 };
    int batch = m->train.batch_size, least = graph_least_images(module_first_graph(m, "train"));

    if (!c->root || !c->options->pipeline.wanted[TARGET_CUDA])
        return true;
    m->smaller = pool_alloc(c->pool, HALVINGS * sizeof *m->smaller);
    while ((batch /= 2) >= least)
        if (!plan_batch(c, batch, &m->smaller[m->smaller_count++]))
            return false;
    return true;
}

static int report_memory(const Module *m)
{
    Text text = {0};
    int code;

    memory_print(m, &text);
    code = write_stdout(&text);
    text_free(&text);
    return code;
}

/* Whether something is asked for that the passes tell. */
static bool reports(const Options *o)
{
    return o->memory_report || o->pipeline.time || o->pipeline.dump;
}

/* It is no error: it compiles and runs, as a test of a machine might want. */
static void note_one_class(const Compile *c, const Module *m)
{
    if (m->classes == 1 && !c->options->quiet)
        print_message(stderr, pool_format(c->pool, "ninc: %s has one class: its loss is always 0 "
                                                   "and it learns nothing; give the class a second "
                                                   "one, for what is not of it", m->name));
}

static void note_all(const Compile *c, const Module *m)
{
    note_one_class(c, m);
    if (!c->options->quiet)
        render_notes(stderr, &c->d, c->sources, wants_color(c->options->color));
}

static int compile(Compile *c)
{
    const Options *o = c->options;
    bool plans = o->emit == EMIT_ARTEFACTS || o->emit == EMIT_LIBRARY || o->emit == EMIT_PLAN;
    Module *m;

    if (!pipeline_check(&o->pipeline, &c->d)) {
        report(c);
        return OPTIONS_USAGE;
    }
    m = load(c);
    if (!m)
        return report(c);
    note_all(c, m);
    if (!asked_in_time(m, o, &c->d, (Loc){c->sources->name, 1, 1}))
        return report(c);
    asked_target(m, o);
    if (o->emit == EMIT_LIBRARY && !check_library_name(c, m))
        return report(c);
    if (o->check && !module_verify(m, &c->d))
        return report(c);
    if (o->check && !reports(o))
        return 0;
    if (!pipeline_run(m, &o->pipeline, &c->d))
        return report(c);
    if (o->memory_report) {
        int code = report_memory(m);

        if (code != 0)
            return code;
    }
    if (o->check)
        return 0;
    if (plans && !plan_smaller(c, m))
        return report(c);
    if (o->emit != EMIT_IR && o->emit != EMIT_DOT)
        name_kernels(m);
    if (o->emit == EMIT_LIBRARY)
        return build_forward(c, m);
    return o->emit == EMIT_ARTEFACTS ? build(c, m) : emit_text(c, m);
}

/* Each file for itself; the exit code of the first that failed. */
static int compile_all(Options *o)
{
    int result = 0;

    fault_errors_only = o->quiet;
    for (char *const *file = o->inputs; *file; file++) {
        Compile c = {.options = o, .pool = pool_new()};
        int code;

        o->input = *file;
        diagnostics_init(&c.d, c.pool);
        code = compile(&c);
        result = result ? result : code;
        pool_free(c.pool);
    }
    return result;
}

int main(int argc, char **argv)
{
    open_standard_files();
    await_children();
    /* A reader that left and a file past its limit are errors of writing, not the end of us. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);

    Options options;
    Pool *pool = pool_new();
    int result = options_parse(&options, pool, argc, argv);

    if (result == OPTIONS_RUN)
        result = compile_all(&options);
    if (fflush(stdout) != 0 && result == 0)
        result = write_failed("standard output");
    pool_free(pool);
    return result;
}
