/* From the planned module to the forward pass as a shared library, with its header and a pkg-config
 * file. The texts of codegen/library hold @words@ that stand for what the model says. */
#include "artefacts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- the forward pass alone ---- */

static bool is_parameter(const Storage *s)
{
    return !role_is_beside_parameter(s->role);
}

/* Without a training step the average of a parameter stands in its place. */
static void take_averages(Module *m)
{
    for (int i = 0; i < m->storage_count; i++) {
        Storage *s = m->storage[i], *average = storage_average(m, s);
        if (!average)
            continue;
        average->name = s->name;
        average->role = s->role;
        average->fan_in = s->fan_in;
        average->fan_out = s->fan_out;
        average->training = s->training;
        average->of = NULL;
        memcpy(average->home, s->home, sizeof s->home);
        s->role = ROLE_MOMENT; /* which is dropped */
    }
}

static void drop_training(Module *m)
{
    int graphs = 0;
    for (int i = 0; i < m->graph_count; i++)
        if (strcmp(m->graph[i]->name, "train") != 0)
            m->graph[graphs++] = m->graph[i];
    m->graph_count = graphs;
    take_averages(m);
    module_keep_storage(m, is_parameter);
}

/* The state region ends behind the last parameter. */
static void trim_state(Module *m)
{
    for (int t = 0; t < TARGET_COUNT; t++) {
        m->state_bytes[t] = 0;
        for (int i = 0; i < m->storage_count; i++) {
            Tensor home = storage_tensor(m->storage[i], (Target)t);
            int64_t end =
                m->storage[i]->home[t].offset + tensor_elements(&home) * dtype_bytes(home.dtype);
            if (end > m->state_bytes[t])
                m->state_bytes[t] = end;
        }
    }
}

/* ---- texts ---- */

char *library_name(Pool *pool, const Module *m)
{
    char *name = pool_strdup(pool, m->name);
    for (char *c = name; *c; c++)
        if (*c == '.')
            *c = '_';
    return isdigit((unsigned char)*name) ? pool_format(pool, "model_%s", name) : name;
}

/* A library that ninc made of a model of that name: it may be where the compiler looks, and a new
 * one takes its place. */
static bool is_our_library(Pool *pool, const char *path, const char *name)
{
    const char *symbol = pool_format(pool, "%c%s_forward", '\0', name);
    size_t size;
    unsigned char *bytes = read_bytes(path, &size);
    bool ours = bytes && memmem(bytes, size, symbol, strlen(symbol + 1) + 2);
    free(bytes);
    return ours;
}

static bool is_our_header(Pool *pool, const char *text, const char *name)
{
    return strstr(text, "as a library, made by ninc.") &&
           strstr(text, pool_format(pool, "int %s_forward(", name));
}

const char *library_hides(Pool *pool, const Module *m)
{
    const char *name = library_name(pool, m);
    const char *header = pool_format(pool, "%s.h", name);
    const char *files[] = {pool_format(pool, "lib%s.so", name), pool_format(pool, "lib%s.a", name)};
    for (int i = 0; i < 2; i++) {
        const char *path = compiler_file(pool, files[i]);
        if (path && !is_our_library(pool, path, name))
            return files[i];
    }
    const char *text = compiler_header(pool, header);
    return text && !is_our_header(pool, text, name) ? header : NULL;
}

typedef struct Placeholder {
    const char *word, *value;
} Placeholder;

static char *upper(Pool *pool, const char *text)
{
    char *copy = pool_strdup(pool, text);
    for (char *c = copy; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return copy;
}

static const char *number(Pool *pool, int n)
{
    return pool_format(pool, "%d", n);
}

static int eval_batch(const Module *m)
{
    return module_first_graph(m, "eval")->batch;
}

/* The word of `length` characters at `at`; another one is a fault of the template. */
static const Placeholder *find_word(const Placeholder *words, int count, const char *at,
                                    size_t length)
{
    for (int i = 0; i < count; i++)
        if (strlen(words[i].word) == length && memcmp(words[i].word, at, length) == 0)
            return &words[i];
    internal_error("no template has a word '%.*s'", (int)length, at);
}

/* The template with each @word@ as its value. */
static void fill_in(Pool *pool, const Module *m, const Embedded *template, Text *out)
{
    const char *name = library_name(pool, m);
    const Placeholder words[] = {{"name", name},
                          {"NAME", upper(pool, name)},
                          {"model", m->name},
                          {"dataset", m->dataset},
                          {"height", number(pool, m->image_h)},
                          {"width", number(pool, m->image_w)},
                          {"channels", number(pool, m->image_c)},
                          {"classes", number(pool, m->classes)},
                          {"batch", number(pool, eval_batch(m))}};
    enum { WORDS = sizeof words / sizeof *words };
    const char *at = template->data, *end = at + template->length;
    while (at < end) {
        const char *mark = memchr(at, '@', (size_t)(end - at)), *stop = mark ? mark : end;
        const char *close = mark ? memchr(mark + 1, '@', (size_t)(end - mark - 1)) : NULL;
        text_write(out, at, (size_t)(stop - at));
        if (!close)
            return;
        text_append(out, "%s",
                    find_word(words, WORDS, mark + 1, (size_t)(close - mark - 1))->value);
        at = close + 1;
    }
}

static int write_filled(Build *b, const char *file, const Embedded *template)
{
    Text text = {0};
    fill_in(b->pool, b->module, template, &text);
    return scratch_text(b, file, &text);
}

/* NAME.EXTENSION */
static char *library_file(Build *b, const char *extension)
{
    return pool_format(b->pool, "%s.%s", library_name(b->pool, b->module), extension);
}

static char *shared_file(Build *b)
{
    return pool_format(b->pool, "lib%s.so", library_name(b->pool, b->module));
}

/* No model's file has a '-' in its name. */
static const char functions_file[] = "network-functions.c", map_file[] = "network-exports.map";

static int write_functions(Build *b)
{
    Text text = {0};
    emit_header(&embedded_library_h, &text);
    fill_in(b->pool, b->module, &embedded_network_c, &text);
    return scratch_text(b, functions_file, &text);
}

static int write_sources(Build *b)
{
    if (write_filled(b, library_file(b, "h"), &embedded_network_h) != 0 ||
        write_filled(b, library_file(b, "pc"), &embedded_network_pc) != 0 ||
        write_filled(b, map_file, &embedded_network_map) != 0 || write_functions(b) != 0 ||
        write_program(b) != 0)
        return -1;
    return write_texts(b, false);
}

/* ---- linking ---- */

/* nodelete: a network that was not freed has threads, and dlclose must not take their code away. */
static int link_library(Build *b, const char *const *object, int objects)
{
    const char *path[MAX_OBJECTS + 7] = {scratch_path(b, shared_file(b))};
    int count = 1;
    for (int i = 0; i < objects; i++)
        path[count++] = object[i];
    path[count++] = pool_format(b->pool, "%s/%s", b->scratch, functions_file);
    path[count++] = pool_format(b->pool, "%s/texts.s", b->scratch);
    path[count++] = pool_format(b->pool, "%s/libninc_runtime.a", b->scratch);
    path[count++] = "-Xlinker"; /* -Wl would part a path at its commas */
    path[count++] = pool_format(b->pool, "--version-script=%s/%s", b->scratch, map_file);
    return compiler_run(
        b, "the library",
        pool_format(b->pool,
                    NINC_LINK_FLAGS " -shared -fPIC -std=gnu11 -O2 -Wl,-soname,%s "
                                    "-Wl,-z,nodelete -Wl,--gc-sections "
                                    "-Wl,--as-needed -o",
                    shared_file(b)),
        path, pool_format(b->pool, "%s %s -lm -lpthread -ldl", shared_library(b, "jansson"),
                          shared_library(b, "z")));
}

/* The library is last, so that where it stands the rest does too. */
static int list_artefacts(Build *b, const char **name)
{
    name[0] = library_file(b, "h");
    name[1] = library_file(b, "pc");
    name[2] = shared_file(b);
    return 3;
}

int build_library(Module *m, const BuildOptions *options)
{
    static const Product library = {"-fPIC", write_sources, link_library, list_artefacts};
    drop_training(m);
    trim_state(m);
    return build_product(m, options, &library);
}
