/* The pipeline: which passes run, in which order. After each one the verifier runs, and whoever
 * asked for it gets the IR. */
#include "cpu/cpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What --disable-pass does to a pass. */
typedef enum Choice { REQUIRED, OPTIONAL, LEVEL_0 /* it runs as at -O0 */ } Choice;

typedef struct PassInfo {
    const char *name, *what;
    Stage from, until; /* runs while the module's stage lies between these, inclusive */
    Choice choice;
    int level;         /* from this level of -O on */
    unsigned kinds;    /* of `graph`: the kinds of target whose graphs it takes, bit by bit */
    /* One of these; `shape` has none, as the verifier does its work. */
    void (*graph)(Graph *g);
    void (*module)(Module *m);
    void (*decide)(Module *m, const PipelineOptions *options);
} PassInfo;

enum {
    VECTORS = 1u << KIND_VECTORS,
    CPU = VECTORS | 1u << KIND_TILES,
    ALL = ~0u >> 1
};

static const PassInfo passes[] = {
    {"shape", "dtype and shape of every value, checked against the op", STAGE_FORWARD,
     STAGE_PLANNED, REQUIRED, 0, ALL, NULL, NULL, NULL},
    {"simplify", "pools of whole maps to gap, identities, repeats, dead nodes", STAGE_FORWARD,
     STAGE_FORWARD, OPTIONAL, 0, ALL, .graph = pass_simplify},
    {"autodiff", "the training step: backward ops and updates; the eval graph", STAGE_FORWARD,
     STAGE_FORWARD, REQUIRED, 0, ALL, .module = pass_autodiff},
    {"target", "one train and one eval graph for each target", STAGE_TRAINING, STAGE_TRAINING,
     REQUIRED, 0, ALL, .decide = pass_target},
    {"precision", "dtypes, casts and arithmetic of the contractions", STAGE_TRAINING,
     STAGE_TRAINING, REQUIRED, 0, ALL, .decide = pass_precision},
    {"mask", "ReLU masks of gradients before max pools", STAGE_TRAINING, STAGE_TRAINING, OPTIONAL,
     1, CPU, .graph = pass_mask},
    {"dgrad", "data gradients to convolutions by the transposed filter", STAGE_TRAINING,
     STAGE_TRAINING, OPTIONAL, 0, CPU, .graph = pass_dgrad},
    {"winograd", "convolutions in tiles of fewer multiplications", STAGE_TRAINING, STAGE_TRAINING,
     OPTIONAL, 2, VECTORS, .graph = pass_winograd},
    {"fixed", "Winograd products between bf16 maps in 16-bit fixed point", STAGE_TRAINING,
     STAGE_TRAINING, OPTIONAL, 2, VECTORS, .graph = pass_fixed},
    {"fold", "the resize of the image into the convolution that reads it", STAGE_TRAINING,
     STAGE_TRAINING, OPTIONAL, 2, VECTORS, .graph = pass_fold},
    {"fuse", "kernels: mlpconv blocks, pools, head, optimizer", STAGE_TRAINING, STAGE_TRAINING,
     LEVEL_0, 0, ALL, .decide = pass_fuse},
    {"sparse", "1x1 convolutions without the zeros of ReLU and of max pools", STAGE_KERNELS,
     STAGE_KERNELS, OPTIONAL, 2, VECTORS, .graph = pass_sparse},
    {"schedule", "chunk of images, strips, register tiles", STAGE_KERNELS, STAGE_KERNELS, REQUIRED,
     0, ALL, .graph = pass_schedule},
    {"layout", "physical layout of every value and parameter", STAGE_SCHEDULED, STAGE_SCHEDULED,
     REQUIRED, 0, ALL, .decide = pass_layout},
    {"order", "kernel order within each phase", STAGE_LAID_OUT, STAGE_LAID_OUT, OPTIONAL, 0, ALL,
     .graph = pass_order},
    {"memory", "lifetimes to offsets in one arena", STAGE_LAID_OUT, STAGE_LAID_OUT, REQUIRED, 0,
     ALL, .module = pass_memory},
};

enum { PASS_COUNT = sizeof passes / sizeof *passes };

void pipeline_list(FILE *out)
{
    for (int i = 0; i < PASS_COUNT; i++)
        fprintf(out, "%-10s%-10s%s\n", passes[i].name,
                passes[i].choice != REQUIRED ? "optional" : "", passes[i].what);
}

/* ---- names in options ---- */

static bool in_list(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *p = list; p && *p;) {
        const char *end = strchr(p, ',');
        size_t n = end ? (size_t)(end - p) : strlen(p);
        if (n == length && memcmp(p, name, n) == 0)
            return true;
        p = end ? end + 1 : NULL;
    }
    return false;
}

static const PassInfo *find_pass(const char *name, size_t length)
{
    for (int i = 0; i < PASS_COUNT; i++)
        if (strlen(passes[i].name) == length && memcmp(passes[i].name, name, length) == 0)
            return &passes[i];
    return NULL;
}

static void wrong_name(const char *name, const char *option, bool optional, Diagnostics *d)
{
    const char *fault = find_pass(name, strlen(name)) ? "cannot leave out" : "there is no";
    const char *near = nearest_word(name, passes, PASS_COUNT, sizeof *passes);
    if (near && strcmp(near, name) != 0)
        diagnostics_add(d, (Loc){0}, 1, "%s: %s pass '%s'; did you mean '%s'?", option, fault, name,
                        near);
    else
        diagnostics_add(d, (Loc){0}, 1, "%s: %s pass '%s'; --list-passes lists them%s", option,
                        fault, name, optional ? " and which are optional" : "");
}

/* Each name of a comma list must be a pass, and an optional one where `optional`. */
static bool check_names(const char *list, const char *option, bool optional, Diagnostics *d)
{
    bool sound = true;
    for (const char *p = list; p;) {
        const char *end = strchr(p, ',');
        size_t n = end ? (size_t)(end - p) : strlen(p);
        const PassInfo *pass = find_pass(p, n);
        if (!pass || (optional && pass->choice == REQUIRED)) {
            wrong_name(pool_format(d->pool, "%.*s", (int)n, p), option, optional, d);
            sound = false;
        }
        p = end ? end + 1 : NULL;
    }
    return sound;
}

bool pipeline_check(const PipelineOptions *o, Diagnostics *d)
{
    bool all = o->dump && strcmp(o->dump, "all") == 0;
    bool sound = all || check_names(o->dump, "--dump", false, d);
    return check_names(o->disable, "--disable-pass", true, d) && sound;
}

/* ---- dumps ---- */

static bool write_dump(const PipelineOptions *o, int number, const char *pass, const Text *text,
                       Diagnostics *d)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%02d-%s.ir", o->dump_dir, number, pass);
    if (mkdir(o->dump_dir, 0777) != 0 && errno != EEXIST) {
        diagnostics_add(d, (Loc){0}, 1, "cannot make the directory %s: %s; give --dump-dir a "
                        "directory that can be written", o->dump_dir, strerror(errno));
        return false;
    }
    FILE *f = fopen(path, "w");
    bool written = f && fwrite(text->data, 1, text->length, f) == text->length;
    if (f && fclose(f) != 0)
        written = false;
    if (!written) {
        diagnostics_add(d, (Loc){0}, 1, "cannot write %s: %s", path, strerror(errno));
        if (f)
            remove(path);
    }
    return written;
}

/* What dumping needs of the passes before. */
typedef struct Dumps {
    const PipelineOptions *options;
    Text before;  /* the module before the pass that runs */
    Text printed; /* the last dump on standard output */
} Dumps;

static bool is_dumped(const PipelineOptions *o, const char *pass)
{
    return o->dump && (strcmp(o->dump, "all") == 0 || in_list(o->dump, pass));
}

static bool same_text(const Text *a, const Text *b)
{
    return a->length == b->length && a->length > 0 && memcmp(a->data, b->data, a->length) == 0;
}

/* A text that was printed just before is not printed again. */
static void print_dump(Dumps *dumps, const char *pass, bool changed, Text *text)
{
    printf("# after %s%s\n", pass, changed ? "" : ": nothing changed");
    if (!same_text(text, &dumps->printed))
        printf("%s", text->data);
    text_free(&dumps->printed);
    dumps->printed = *text;
}

static bool dump(Dumps *dumps, const Module *m, int number, const char *pass, Diagnostics *d)
{
    const PipelineOptions *o = dumps->options;
    if (!is_dumped(o, pass))
        return true;
    Text text = {0};
    module_print(m, &text);
    bool changed = !same_text(&text, &dumps->before), done = true;
    if (!o->dump_dir) {
        print_dump(dumps, pass, changed, &text);
        return true;
    }
    done = write_dump(o, number, pass, &text, d);
    if (done && !changed)
        fprintf(stderr, "%s/%02d-%s.ir: nothing changed\n", o->dump_dir, number, pass);
    text_free(&text);
    return done;
}

/* ---- running ---- */

Stage module_stage(const Module *m)
{
    Stage stage = STAGE_PLANNED;
    for (int i = 0; i < m->graph_count; i++)
        if (m->graph[i]->stage < stage)
            stage = m->graph[i]->stage;
    return stage;
}

static bool check_to_come(const char *list, const char *option, Stage stage, Diagnostics *d,
                          Loc loc)
{
    bool sound = true;
    for (int i = 0; i < PASS_COUNT; i++) {
        if (!in_list(list, passes[i].name) || passes[i].until >= stage)
            continue;
        diagnostics_add(d, loc, 1, "%s=%s comes too late: this text is behind that pass; give it "
                        "with the model file", option, passes[i].name);
        sound = false;
    }
    return sound;
}

bool pipeline_check_stage(const Module *m, const PipelineOptions *o, Diagnostics *d, Loc loc)
{
    Stage stage = module_stage(m);
    bool sound = check_to_come(o->dump, "--dump", stage, d, loc);
    return check_to_come(o->disable, "--disable-pass", stage, d, loc) && sound;
}

/* False where the level is too low for it to change anything. */
static bool run_pass(const PassInfo *p, Module *m, const PipelineOptions *o)
{
    if (o->level < p->level)
        return false;
    for (int i = 0; p->graph && i < m->graph_count; i++)
        if (p->kinds >> target_kind(m->graph[i]->target) & 1)
            p->graph(m->graph[i]);
    if (p->module)
        p->module(m);
    if (p->decide)
        p->decide(m, o);
    for (int i = 0; i < m->graph_count; i++)
        graph_number(m->graph[i]);
    return true;
}

bool pipeline_run_pass(const char *name, Module *m, const PipelineOptions *options)
{
    const PassInfo *p = find_pass(name, strlen(name));
    if (p)
        run_pass(p, m, options);
    return p;
}

static void verify(const Module *m, const char *pass)
{
    Diagnostics d;
    diagnostics_init(&d, m->pool);
    if (!module_verify(m, &d))
        internal_error("after pass %s: %s", pass, d.count ? d.list[0].message : "not sound");
}

static void print_time(const char *pass, double begin, double ran)
{
    fprintf(stderr, "%-10s %8.3f ms  verify %8.3f ms\n", pass, (ran - begin) * 1e3,
            (clock_seconds() - ran) * 1e3);
}

/* The options that a pass runs by; NULL: it is left out. */
static const PipelineOptions *options_for(const PassInfo *p, const PipelineOptions *options,
                                          PipelineOptions *own)
{
    if (!in_list(options->disable, p->name))
        return options;
    *own = *options;
    own->level = 0;
    return p->choice == LEVEL_0 ? own : NULL;
}

/* Runs a pass and what belongs to it: the verifier, the dump. */
static bool run(Dumps *dumps, const PassInfo *p, Module *m, Diagnostics *d)
{
    PipelineOptions own;
    const PipelineOptions *options = options_for(p, dumps->options, &own);
    if (!options)
        return true;
    text_free(&dumps->before);
    if (is_dumped(options, p->name))
        module_print(m, &dumps->before);
    double begin = clock_seconds();
    bool runs = run_pass(p, m, options);
    double ran = clock_seconds();
    if (runs)
        verify(m, p->name);
    if (options->time)
        print_time(p->name, begin, ran);
    return dump(dumps, m, (int)(p - passes) + 1, p->name, d);
}

bool pipeline_run(Module *m, const PipelineOptions *options, Diagnostics *d)
{
    Dumps dumps = {.options = options};
    bool done = true;
    for (const PassInfo *p = passes; p < passes + PASS_COUNT && done; p++) {
        Stage stage = module_stage(m);
        done = stage < p->from || stage > p->until || run(&dumps, p, m, d);
    }
    text_free(&dumps.before);
    text_free(&dumps.printed);
    return done;
}
