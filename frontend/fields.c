/* Typed values out of the YAML tree: tables of fields, number syntax, names, "did you mean". */
#include "../ir/numbers.h"
#include "frontend.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What an alias repeats is read again, but its faults are told once. */
static bool is_known_fault(const Diagnostics *d, const Tree *at, const char *message)
{
    for (int i = 0; i < d->count; i++)
        if (d->list[i].loc.line == at->loc.line && d->list[i].loc.column == at->loc.column &&
            d->list[i].loc.file == at->loc.file && strcmp(d->list[i].message, message) == 0)
            return true;
    return false;
}

void reader_fault(Reader *r, const Tree *at, const char *format, ...)
{
    Text text = {0};
    va_list ap;

    va_start(ap, format);
    text_append_v(&text, format, ap);
    va_end(ap);
    if (!is_known_fault(r->d, at, text.data))
        diagnostics_add(r->d, at->loc, at->width, "%s", text.data);
    text_free(&text);
}

const char *reader_quote(Reader *r, const Tree *t)
{
    size_t end = t->length < 40 ? t->length : 40;

    if (t->kind != TREE_SCALAR)
        return t->kind == TREE_SEQUENCE ? "a list" : "a mapping";
    if (tree_is_null(t))
        return "nothing";
    while (end < t->length && end > 0 && ((unsigned char)t->text[end] & 0xc0) == 0x80)
        end--;
    return pool_format(r->pool, "'%.*s%s'", (int)end, t->text, end < t->length ? "..." : "");
}

/* ---- numbers ---- */

static size_t digits(const char *p)
{
    size_t n = 0;

    while (isdigit((unsigned char)p[n]))
        n++;
    return n;
}

static bool is_whole(const char *p)
{
    p += *p == '-' || *p == '+';
    return digits(p) > 0 && p[digits(p)] == '\0';
}

/* Decimal numbers with point and exponent; no hexadecimal, no .inf, no .nan. */
static bool is_decimal(const char *p)
{
    size_t before, after = 0;

    p += *p == '-' || *p == '+';
    before = digits(p);
    p += before;
    if (*p == '.') {
        after = digits(p + 1);
        p += 1 + after;
    }
    if (before + after == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        if (digits(p) == 0)
            return false;
        p += digits(p);
    }
    return *p == '\0';
}

static bool wrong_type(Reader *r, const Tree *value, const Field *f, const char *wanted)
{
    bool number = value->kind == TREE_SCALAR && strlen(value->text) == value->length &&
                  is_decimal(value->text);

    if (value->kind == TREE_SCALAR && value->quoted && number)
        reader_fault(r, value, "%s is a number; write it without quotes, as in %s", f->key,
                     f->example);
    else
        reader_fault(r, value, "%s must be %s, not %s; for example %s", f->key, wanted,
                     reader_quote(r, value), f->example);
    return false;
}

static const char *bound(Reader *r, double value)
{
    char text[32];

    if (value == floor(value) && fabs(value) < 1e15)
        return pool_format(r->pool, "%.0f", value);
    return pool_strdup(r->pool, format_double(value, text));
}

static bool out_of_bounds(Reader *r, const Tree *value, const Field *f)
{
    reader_fault(r, value, "%s must be between %s and %s, not %s", f->key, bound(r, f->low),
                 bound(r, f->high), reader_quote(r, value));
    return false;
}

static bool is_plain(const Tree *t)
{
    return t->kind == TREE_SCALAR && !t->quoted && strlen(t->text) == t->length;
}

bool read_int(Reader *r, const Tree *value, const Field *f, int *out)
{
    long long number;

    if (!is_plain(value) || !is_whole(value->text))
        return wrong_type(r, value, f, "a whole number");
    errno = 0;
    number = strtoll(value->text, NULL, 10);
    if (errno != 0 || !((double)number >= f->low && (double)number <= f->high))
        return out_of_bounds(r, value, f);
    *out = (int)number;
    return true;
}

bool read_real(Reader *r, const Tree *value, const Field *f, double *out)
{
    double number;

    if (!is_plain(value) || !is_decimal(value->text))
        return wrong_type(r, value, f, "a number");
    number = strtod(value->text, NULL);
    if (!(number >= f->low && number <= f->high))
        return out_of_bounds(r, value, f);
    if (!fits_float(number)) {
        reader_fault(r, value, "%s is too small for a float: write 0, or 1.2e-38 and more",
                     f->key);
        return false;
    }
    *out = number;
    return true;
}

static bool read_bool(Reader *r, const Tree *value, const Field *f, bool *out)
{
    bool yes = tree_is(value, "true"), no = tree_is(value, "false");

    if (!is_plain(value) || (!yes && !no))
        return wrong_type(r, value, f, "true or false");
    *out = yes;
    return true;
}

bool read_size(Reader *r, const Tree *value, const Field *f, int out[2])
{
    if (value->kind == TREE_SEQUENCE && value->count == 2) {
        bool sound = read_int(r, value->item[0], f, &out[0]);

        return read_int(r, value->item[1], f, &out[1]) && sound;
    }
    if (value->kind != TREE_SCALAR)
        return wrong_type(r, value, f, "a whole number or [height, width]");
    if (tree_is(value, "same") || tree_is(value, "valid")) {
        reader_fault(r, value, "%s must be a whole number or [height, width], not %s; %s", f->key,
                     reader_quote(r, value),
                     tree_is(value, "valid")
                         ? "valid is 0"
                         : "same is half of kernel_size, rounded down: 1 for 3, 2 for 5");
        return false;
    }
    if (!read_int(r, value, f, &out[0]))
        return false;
    out[1] = out[0];
    return true;
}

static bool read_field(Reader *r, const Tree *value, const Field *f, void *out)
{
    void *at = (char *)out + f->offset;

    switch (f->kind) {
    case FIELD_INT:
        return read_int(r, value, f, at);
    case FIELD_REAL:
        return read_real(r, value, f, at);
    case FIELD_BOOL:
        return read_bool(r, value, f, at);
    case FIELD_SIZE:
        return read_size(r, value, f, at);
    case FIELD_TREE:
        *(const Tree **)at = value;
        return true;
    }
    internal_error("a field of kind %d", (int)f->kind);
}

/* ---- mappings ---- */

static const char *list_keys(Reader *r, const Field *fields, int count)
{
    Text text = {0};
    const char *list;

    for (int i = 0; i < count; i++)
        text_append(&text, "%s%s", i == 0 ? "" : i + 1 < count ? ", " : " and ", fields[i].key);
    list = pool_strdup(r->pool, text.data);
    text_free(&text);
    return list;
}

/* Reports a key that is not among the fields; returns the field that it was meant to be, or -1. */
static int unknown_key(Reader *r, const Tree *key, const char *what, const Field *fields,
                       int count)
{
    const Meant meant = key_meant(what, key->text);
    const char *near = nearest_word(key->text, fields, count, sizeof *fields);
    const char *quoted = reader_quote(r, key);

    if (meant.advice) {
        reader_fault(r, key, "%s has no key %s; %s", what, quoted, meant.advice);
        return -1;
    }
    for (int i = 0; meant.word && i < count; i++)
        if (strcmp(fields[i].key, meant.word) == 0)
            near = meant.word;
    for (int i = 0; near && i < count; i++) {
        if (strcmp(fields[i].key, near) != 0)
            continue;
        reader_fault(r, key, "%s has no key %s; did you mean '%s'?", what, quoted, near);
        return i;
    }
    if (count == 1)
        reader_fault(r, key, "%s has no key %s; its only key is %s", what, quoted, fields[0].key);
    else
        reader_fault(r, key, "%s has no key %s; its keys are %s", what, quoted,
                     list_keys(r, fields, count));
    return -1;
}

/* Reports unknown keys; *meant gets a bit for each field that one of them was meant to be. */
static bool check_keys(Reader *r, const Tree *mapping, const char *what, const Field *fields,
                       int count, unsigned *meant)
{
    bool sound = true;

    for (int i = 0; i < mapping->count; i++) {
        const Tree *key = mapping->key[i];
        int f = 0;

        while (f < count && !tree_is(key, fields[f].key))
            f++;
        if (f < count || strncmp(key->text, "x-", 2) == 0)
            continue;
        sound = false;
        f = unknown_key(r, key, what, fields, count);
        if (f >= 0)
            *meant |= 1u << f;
    }
    return sound;
}

static bool read_or_miss(Reader *r, const Tree *mapping, const char *what, const Field *f,
                         void *out)
{
    const Tree *value = tree_find(mapping, f->key);

    if (value && tree_is_null(value) && f->kind != FIELD_TREE) {
        reader_fault(r, value, "%s has no value; for example %s", f->key, f->example);
        return false;
    }
    if (value)
        return read_field(r, value, f, out);
    if (!f->required)
        return true;
    reader_fault(r, mapping, "%s needs the key '%s'; for example %s", what, f->key, f->example);
    return false;
}

bool read_fields(Reader *r, const Tree *mapping, const char *what, const Field *fields, int count,
                 void *out)
{
    unsigned meant = 0;
    bool sound;

    if (mapping->kind != TREE_MAPPING && !tree_is_null(mapping)) {
        reader_fault(r, mapping, "%s must be a mapping of keys to values, not %s", what,
                     reader_quote(r, mapping));
        return false;
    }
    sound = check_keys(r, mapping, what, fields, count, &meant);
    for (int i = 0; i < count; i++)
        if (!(meant >> i & 1))
            sound &= read_or_miss(r, mapping, what, &fields[i], out);
    return sound;
}

/* The key of a mapping's only entry, x- keys aside; -1 after a diagnostic. */
static int only_word(Reader *r, const Tree *t, const char *what)
{
    int chosen = -1;

    for (int i = 0; t->kind == TREE_MAPPING && i < t->count; i++) {
        if (strncmp(t->key[i]->text, "x-", 2) == 0)
            continue;
        if (chosen >= 0) {
            reader_fault(r, t, "%s has two words, %s and %s; keep one, or indent its settings "
                               "deeper", what, reader_quote(r, t->key[chosen]),
                         reader_quote(r, t->key[i]));
            return -1;
        }
        chosen = i;
    }
    if (chosen < 0)
        reader_fault(r, t, "%s must be one word, or one word with its settings, not %s", what,
                     reader_quote(r, t));
    return chosen;
}

bool read_choice(Reader *r, const Tree *t, const char *what, const Tree **word,
                 const Tree **settings)
{
    Tree *none;

    if (t->kind == TREE_SCALAR && !tree_is_null(t)) {
        *word = t;
    } else {
        int chosen = only_word(r, t, what);

        if (chosen < 0)
            return false;
        *word = t->key[chosen];
        if (!tree_is_null(t->item[chosen])) {
            *settings = t->item[chosen];
            return true;
        }
    }
    none = pool_alloc(r->pool, sizeof *none);
    *none = **word;
    none->text = "";
    none->length = 0;
    none->quoted = false;
    *settings = none;
    return true;
}

/* ---- words ---- */

static const char *word_at(Words words, int i)
{
    return *(const char *const *)((const char *)words.list + (size_t)i * words.stride);
}

static const char *list_words(Pool *pool, Words words)
{
    const char *list = word_at(words, 0);

    for (int i = 1; i < words.count; i++)
        list = pool_format(pool, "%s%s%s", list, i + 1 < words.count ? ", " : " or ",
                           word_at(words, i));
    return list;
}

int find_word(Reader *r, const Tree *t, const char *what, Words words)
{
    const char *near;

    for (int i = 0; i < words.count; i++)
        if (tree_is(t, word_at(words, i)))
            return i;
    near = t->kind == TREE_SCALAR
               ? nearest_word(t->text, words.list, words.count, words.stride)
               : NULL;
    if (near)
        reader_fault(r, t, "%s cannot be %s; did you mean '%s'?", what, reader_quote(r, t), near);
    else if (strcmp(what, "dataset") == 0)
        reader_fault(r, t, "dataset must be %s, not %s; a format, as idx, csv or folder, with "
                           "its classes, takes any data set of such files",
                     list_words(r->pool, words), reader_quote(r, t));
    else
        reader_fault(r, t, "%s must be %s, not %s", what, list_words(r->pool, words),
                     reader_quote(r, t));
    return -1;
}

/* ---- names ---- */

static bool is_name(const char *p)
{
    do {
        size_t n = 0;

        while (isalnum((unsigned char)p[n]) || p[n] == '_')
            n++;
        if (n == 0)
            return false;
        p += n;
    } while (*p++ == '.');
    return p[-1] == '\0';
}

bool read_name(Reader *r, const Tree *value, const char *what, const char **out)
{
    if (value->kind != TREE_SCALAR || tree_is_null(value) || strlen(value->text) != value->length ||
        !is_name(value->text)) {
        reader_fault(r, value, "%s must be letters, digits and _, in parts joined by dots, not %s",
                     what, reader_quote(r, value));
        return false;
    }
    if (value->length > MAX_NAME) {
        reader_fault(r, value, "%s has %zu characters; at most %d are allowed", what,
                     value->length, (int)MAX_NAME);
        return false;
    }
    *out = value->text;
    return true;
}
