/* --set=KEY=VALUE and --batch=N: values of the command line put into the YAML tree.
 *
 * Each option is one line of the source "<command-line>", so that faults in its key or value are
 * shown like faults in the file. The nodes on the path are copied first: an alias shares its
 * children with the anchor, and only the named place may change. */
#include "frontend.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct Setter {
    Pool *pool;
    Diagnostics *d;
    Source *source;
    int line, column; /* of the key in the option as it was written */
} Setter;

static bool set_fault(Setter *s, size_t at, size_t width, const char *message)
{
    Loc loc = {s->source->name, s->line, s->column + (int)at};

    diagnostics_add(s->d, loc, width > 0 ? (int)width : 1, "%s", message);
    return false;
}

static Tree *copy_tree(Pool *pool, const Tree *t)
{
    Tree *copy = pool_alloc(pool, sizeof *copy);

    *copy = *t;
    copy->count = copy->item_capacity = copy->key_capacity = 0;
    copy->item = copy->key = NULL;
    for (int i = 0; i < t->count; i++)
        tree_append(pool, copy, t->kind == TREE_MAPPING ? t->key[i] : NULL, t->item[i]);
    return copy;
}

static Tree *new_scalar(Setter *s, size_t at, const char *text, size_t length)
{
    Tree *t = pool_alloc(s->pool, sizeof *t);

    t->kind = TREE_SCALAR;
    t->loc = (Loc){s->source->name, s->line, s->column + (int)at};
    t->width = length > 0 ? (int)length : 1;
    t->text = pool_format(s->pool, "%.*s", (int)length, text);
    t->length = length;
    t->expanded = 1;
    return t;
}

/* A scalar on the path becomes a mapping: nothing -> {}, a bare word -> {word: }. */
static Tree *as_container(Setter *s, Tree *t)
{
    Tree *mapping;

    if (t->kind != TREE_SCALAR)
        return t;
    mapping = pool_alloc(s->pool, sizeof *mapping);
    mapping->kind = TREE_MAPPING;
    mapping->loc = t->loc;
    mapping->width = t->width;
    mapping->expanded = 1;
    if (!tree_is_null(t))
        tree_append(s->pool, mapping, t, new_scalar(s, 0, "", 0));
    return mapping;
}

/* The slot of the path component in a container, or NULL after a diagnostic. */
static Tree **find_slot(Setter *s, Tree *t, size_t at, const char *part, size_t length)
{
    Tree *key = new_scalar(s, at, part, length);
    char *end;
    long index;

    if (t->kind == TREE_MAPPING) {
        for (int i = 0; i < t->count; i++)
            if (tree_is(t->key[i], key->text))
                return &t->item[i];
        tree_append(s->pool, t, key, new_scalar(s, at, "", 0));
        return &t->item[t->count - 1];
    }
    index = strtol(key->text, &end, 10);
    if (length == 0 || !isdigit((unsigned char)*part) || *end || index < 0 || index >= t->count) {
        set_fault(s, at, length, pool_format(s->pool, "the list has the items 0 to %d, not '%s'",
                                             t->count - 1, key->text));
        return NULL;
    }
    return &t->item[index];
}

/* A YAML value whose positions are those in the option: blank lines and columns stand before. */
static Tree *parse_value(Setter *s, const char *value, size_t at)
{
    Source shifted = {s->source->name, NULL, 0, NULL};
    Text text = {0};
    Tree *tree;

    for (int i = 1; i < s->line; i++)
        text_append(&text, "\n");
    text_append(&text, "%*s%s", s->column - 1 + (int)at, "", value);
    shifted.text = pool_strdup(s->pool, text.data);
    shifted.length = text.length;
    text_free(&text);
    if (value[strspn(value, " ")] == '\0') {
        set_fault(s, at, 1, "a value must follow the =; for example --set=train.epochs=1");
        return NULL;
    }
    tree = yaml_parse(s->pool, s->d, &shifted);
    return tree;
}

static bool set_one(Setter *s, Tree **root, const char *option)
{
    const char *equals = strchr(option, '=');
    Tree **slot = root, *value;
    size_t at = 0;

    if (!equals || equals == option)
        return set_fault(s, 0, strlen(option), "--set takes KEY=VALUE; for example "
                                               "--set=train.epochs=1");
    for (;;) {
        size_t length = strcspn(option + at, ".=");

        *slot = copy_tree(s->pool, as_container(s, *slot));
        slot = find_slot(s, *slot, at, option + at, length);
        if (!slot)
            return false;
        at += length + 1;
        if (option[at - 1] == '=')
            break;
    }
    value = parse_value(s, equals + 1, at);
    if (!value)
        return false;
    *slot = value;
    return true;
}

static Source *command_line_source(Pool *pool, const Options *o)
{
    Source *source = pool_alloc(pool, sizeof *source);
    Text text = {0};

    for (int i = 0; i < o->set_count; i++)
        text_append(&text, "%s\n", o->set_text[i]);
    source->name = "<command-line>";
    source->text = pool_strdup(pool, text.data);
    source->length = text.length;
    text_free(&text);
    return source;
}

Tree *override_apply(Pool *pool, Diagnostics *d, Tree *root, const Options *o, Source **sources)
{
    Setter s = {pool, d, NULL, 0, 0};
    bool sound = true;

    if (o->set_count == 0)
        return root;
    s.source = command_line_source(pool, o);
    s.source->next = *sources;
    *sources = s.source;
    for (int i = 0; i < o->set_count; i++) {
        const char *key = strstr(o->set_text[i], o->set[i]);

        s.line = i + 1;
        s.column = key ? (int)(key - o->set_text[i]) + 1 : 1;
        if (strchr(o->set[i], '\n'))
            sound = set_fault(&s, 0, 1, "a value of --set stands on one line");
        else
            sound &= set_one(&s, &root, o->set[i]);
    }
    return sound ? root : NULL;
}
