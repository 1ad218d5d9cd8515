/* Names of kernels and storage in emitted text. IR text may call them anything: int, memcpy, main,
 * a function of the device library, the table of another kernel. What could clash gets a prefix
 * that nothing else has; all other names stay as they are. */
#include "emit.h"
#include "target.h"

#include <ctype.h>
#include <string.h>

/* ---- what a text declares ---- */

/* Where the reader of a text is. */
typedef struct Scan {
    const char *at, *end;
    int braces, parentheses;
    bool macro; /* the parentheses are of a macro that makes declarations of its arguments */
} Scan;

static bool is_word(char c)
{
    return c == '_' || isalnum((unsigned char)c);
}

static void skip_past(Scan *s, const char *close)
{
    const char *found = memmem(s->at, (size_t)(s->end - s->at), close, strlen(close));
    s->at = found ? found + strlen(close) : s->end;
}

static void skip_quoted(Scan *s)
{
    char quote = *s->at++;
    while (s->at < s->end && *s->at != quote)
        s->at += *s->at == '\\' ? 2 : 1;
    s->at++;
}

static void skip_directive(Scan *s)
{
    do
        skip_past(s, "\n");
    while (s->at < s->end && s->at[-2] == '\\');
}

static char *take_word(Scan *s, Pool *pool)
{
    const char *begin = s->at;
    while (s->at < s->end && is_word(*s->at))
        s->at++;
    return pool_format(pool, "%.*s", (int)(s->at - begin), begin);
}

void declare_name(NameTable *words, Pool *pool, char *name)
{
    if (!names_find(words, name))
        names_add(words, pool, name, name);
}

/* Past a directive; the macro's name of a #define is declared. */
static void scan_directive(Scan *s, NameTable *words, Pool *pool)
{
    static const char define[] = "#define ";
    if ((size_t)(s->end - s->at) > sizeof define && memcmp(s->at, define, sizeof define - 1) == 0) {
        s->at += sizeof define - 1;
        declare_name(words, pool, take_word(s, pool));
    }
    skip_directive(s);
}

/* Macros are in capitals. */
static bool is_capital(const char *word)
{
    for (; *word; word++)
        if (islower((unsigned char)*word))
            return false;
    return true;
}

static void scan_word(Scan *s, NameTable *words, Pool *pool)
{
    char *word = take_word(s, pool);
    if (s->braces == 0 && (s->parentheses == 0 || s->macro))
        declare_name(words, pool, word);
    if (s->braces == 0 && s->parentheses == 0)
        s->macro = is_capital(word);
}

/* Adds all names at the text's file scope, and the names of types in it, to the table. */
static void scan_text(const Embedded *text, NameTable *words, Pool *pool)
{
    Scan s = {.at = text->data, .end = text->data + text->length};
    while (s.at < s.end) {
        const char *rest = s.at;
        size_t left = (size_t)(s.end - rest);
        if (left > 1 && memcmp(rest, "/*", 2) == 0)
            skip_past(&s, "*/");
        else if (left > 1 && memcmp(rest, "//", 2) == 0)
            skip_past(&s, "\n");
        else if (*rest == '"' || *rest == '\'')
            skip_quoted(&s);
        else if (*rest == '#')
            scan_directive(&s, words, pool);
        else if (is_word(*rest))
            scan_word(&s, words, pool);
        else {
            s.braces += (*rest == '{') - (*rest == '}');
            s.parentheses += (*rest == '(') - (*rest == ')');
            s.at++;
        }
    }
}

/* What the emitted text of every module has at file scope, in the target's language. */
static NameTable taken_names(Pool *pool, const CodeTarget *target)
{
    NameTable words = {0};
    for (const Embedded *const *text = target->texts; *text; text++)
        scan_text(*text, &words, pool);
    if (target->declare)
        target->declare(&words, pool);
    declare_name(&words, pool, "tanh"); /* the one op that C's headers have, too */
    return words;
}

/* ---- kernels ---- */

static bool ends_in(const char *name, size_t length, const char *ending)
{
    size_t tail = strlen(ending);
    return length >= tail && memcmp(name + length - tail, ending, tail) == 0 &&
           (length == tail || name[length - tail - 1] == '_');
}

/* The length of the name without the number at its end: of gap_grad_2 that of gap_grad. */
static size_t length_without_number(const char *name)
{
    size_t length = strlen(name), end = length;
    while (end > 0 && isdigit((unsigned char)name[end - 1]))
        end--;
    return end < length && end > 1 && name[end - 1] == '_' ? end - 1 : length;
}

/* Whether the name ends as those do that fuse gives: in what the kernel does, maybe with a number.
 * No keyword, no name of the system's headers but tanh and none that emitters make does. */
static bool ends_like_kernel(const char *name)
{
    static const char *const endings[] = {"forward", "backward", "dgrad", "wgrad",   "grads",
                                          "filters", "head",     "image", "metrics", "update",
                                          "statistics", "sums"};
    size_t length = length_without_number(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_in(name, length, endings[i]))
            return true;
    for (int op = 0; op < OP_COUNT; op++)
        if (ends_in(name, length, op_name((Op)op)))
            return true;
    return false;
}

/* The names of a target that are found while its kernels are named. */
typedef struct Taken {
    Pool *pool;
    const CodeTarget *target;
    NameTable words;  /* at file scope anyway */
    NameTable macros; /* of kernels so far */
    NameTable tables; /* kernels with tables NAME_0, NAME_1 ... */
} Taken;

static bool starts_with(const char *name, const char *start)
{
    return strncmp(name, start, strlen(start)) == 0;
}

static bool is_free(const Taken *t, const Kernel *k)
{
    const char *name = k->name;
    char *base = pool_format(t->pool, "%.*s", (int)length_without_number(name), name);
    return ends_like_kernel(name) && *name != '_' && !starts_with(name, "kernel_") &&
           !starts_with(name, "Optimizer_") && !starts_with(name, "Chain_") &&
           !names_find(&t->words, name) &&
           !(t->target->macro && names_find(&t->macros, t->target->macro(t->pool, k))) &&
           (strcmp(base, name) == 0 || !names_find(&t->tables, base));
}

static void name_kernels_of(Module *m, Target target, Pool *pool)
{
    const CodeTarget *code = code_target(target);
    Taken t = {.pool = pool, .target = code, .words = taken_names(pool, code)};
    for (int g = 0; g < m->graph_count; g++)
        for (int i = 0; m->graph[g]->target == target && i < m->graph[g]->kernel_count; i++) {
            Kernel *k = m->graph[g]->kernel[i];
            if (code->tables && k->class == KERNEL_FILTER)
                names_add(&t.tables, pool, k->name, k);
        }
    for (int g = 0, number = 0; g < m->graph_count; g++)
        for (int i = 0; m->graph[g]->target == target && i < m->graph[g]->kernel_count; i++) {
            Kernel *k = m->graph[g]->kernel[i];
            if (!is_free(&t, k))
                k->name = pool_format(m->pool, "kernel_%d_%s", number, k->name);
            if (code->macro)
                names_add(&t.macros, pool, code->macro(pool, k), k);
            number++;
        }
}

void name_kernels(Module *m)
{
    Pool *pool = pool_new();
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        name_kernels_of(m, target, pool);
    pool_free(pool);
}

/* ---- storage ---- */

enum { MAX_C_NAME = 256 };

static bool ends_like_parameter(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (!dot)
        return false;
    for (int i = 0; moment_name(i); i++)
        if (strcmp(dot + 1, moment_name(i)) == 0)
            return true;
    return strcmp(dot, ".weight") == 0 || strcmp(dot, ".bias") == 0;
}

/* No name that ends in _weight, _bias or like a moment's, or starts with state_, is C's or a
 * local variable's. */
static void write_identifier(const char *name, char *id)
{
    const char *prefix = isdigit((unsigned char)*name) ? "layer_" : "";
    if (!ends_like_parameter(name))
        prefix = "state_";
    snprintf(id, MAX_C_NAME, "%s%s", prefix, name);
    for (char *c = id; *c; c++)
        if (*c == '.')
            *c = '_';
}

/* A storage's element in registers (cpu/update.c). */
static char *element_name(Pool *pool, const char *name)
{
    return pool_format(pool, "%s_i", name);
}

static bool is_taken(const NameTable *taken, Pool *pool, const char *name)
{
    return names_find(taken, name) || names_find(taken, element_name(pool, name));
}

/* Those of a model have names that stay apart; else the later one gets a number. */
const char **c_storage_names(Pool *pool, const Module *m, Target target)
{
    const char **names = pool_alloc(pool, (size_t)(m->storage_count + 1) * sizeof *names);
    NameTable taken = taken_names(pool, code_target(target));
    char id[MAX_C_NAME];
    for (int i = 0; i < m->storage_count; i++) {
        write_identifier(m->storage[i]->name, id);
        names[i] = pool_strdup(pool, id);
        for (int n = i; is_taken(&taken, pool, names[i]); n++)
            names[i] = pool_format(pool, "state_%d_%s", n, id);
        names_add(&taken, pool, names[i], m->storage[i]);
        names_add(&taken, pool, element_name(pool, names[i]), m->storage[i]);
    }
    return names;
}
