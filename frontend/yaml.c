/* YAML text -> tree with positions, from libyaml's events.
 *
 * The events are used, not libyaml's documents: those accept cycles and duplicate keys, take very
 * long on deep nesting, and lose the place of errors. The nesting limit keeps the stack here and
 * every recursion over the tree small; the limit on expanded nodes stops alias bombs. */
#include "frontend.h"

#include <string.h>
#include <yaml.h>

typedef struct Frame {
    Tree *container;
    Tree *key; /* mapping: the key that waits for its value */
} Frame;

typedef struct Anchor {
    const char *name;
    Tree *tree;
} Anchor;

typedef struct Builder {
    Pool *pool;
    Diagnostics *d;
    const Source *source;
    Frame frame[MAX_NESTING];
    int depth;
    Anchor anchor[MAX_ANCHORS];
    int anchor_count;
    Tree *root;
    int documents;
} Builder;

Tree *tree_find(const Tree *mapping, const char *key)
{
    for (int i = 0; i < mapping->count && mapping->kind == TREE_MAPPING; i++)
        if (tree_is(mapping->key[i], key))
            return mapping->item[i];
    return NULL;
}

bool tree_is(const Tree *scalar, const char *text)
{
    return scalar->kind == TREE_SCALAR && scalar->length == strlen(text) &&
           memcmp(scalar->text, text, scalar->length) == 0;
}

bool tree_is_null(const Tree *t)
{
    return t->kind == TREE_SCALAR && !t->quoted &&
           (t->length == 0 || tree_is(t, "~") || tree_is(t, "null"));
}

void tree_append(Pool *pool, Tree *container, Tree *key, Tree *item)
{
    int keys = container->count;

    if (key)
        POOL_PUSH(pool, container->key, keys, container->key_capacity, key);
    POOL_PUSH(pool, container->item, container->count, container->item_capacity, item);
}

static bool fault_at(Builder *b, const yaml_mark_t *mark, int width, const char *message)
{
    Loc loc = {b->source->name, (int)mark->line + 1, (int)mark->column + 1};

    diagnostics_add(b->d, loc, width, "%s", message);
    return false;
}

static int event_width(const yaml_event_t *e)
{
    bool one_line = e->start_mark.line == e->end_mark.line;
    int width = (int)e->end_mark.column - (int)e->start_mark.column;

    return one_line && width > 0 ? width : 1;
}

static Tree *new_tree(Builder *b, TreeKind kind, const yaml_event_t *e)
{
    Tree *t = pool_alloc(b->pool, sizeof *t);

    t->kind = kind;
    t->loc = (Loc){b->source->name, (int)e->start_mark.line + 1, (int)e->start_mark.column + 1};
    t->width = event_width(e);
    t->expanded = 1;
    return t;
}

static bool set_anchor(Builder *b, const yaml_char_t *name, Tree *t, const yaml_event_t *e)
{
    if (!name)
        return true;
    if (b->anchor_count == MAX_ANCHORS)
        return fault_at(b, &e->start_mark, 1, "more than 1000 anchors; use fewer");
    b->anchor[b->anchor_count++] = (Anchor){pool_strdup(b->pool, (const char *)name), t};
    return true;
}

static bool check_tag(Builder *b, const yaml_char_t *tag, const yaml_event_t *e)
{
    if (!tag)
        return true;
    return fault_at(b, &e->start_mark, event_width(e),
                    "YAML tags are not supported; leave the tag out");
}

static const char *cut(Builder *b, const char *text, size_t length)
{
    return pool_format(b->pool, "%.*s%s", length > 40 ? 40 : (int)length, text,
                       length > 40 ? "..." : "");
}

/* False where the key's value must not be kept, because the key stands there already. */
static bool key_is_new(Builder *b, const Tree *mapping, const Tree *key)
{
    for (int i = 0; i < mapping->count; i++) {
        const Tree *old = mapping->key[i];

        if (old->length != key->length || memcmp(old->text, key->text, key->length) != 0)
            continue;
        diagnostics_add(b->d, key->loc, key->width,
                        "the key '%s' is given twice, first in line %d; remove one of them",
                        cut(b, key->text, key->length), old->loc.line);
        return false;
    }
    return true;
}

static bool fault_of(Builder *b, const Tree *t, const char *message)
{
    diagnostics_add(b->d, t->loc, t->width, "%s", message);
    return false;
}

/* Adds a finished node to the innermost open container. */
static bool attach(Builder *b, Tree *t)
{
    Frame *f;

    if (b->depth == 0) {
        b->root = t;
        return true;
    }
    f = &b->frame[b->depth - 1];
    f->container->expanded += t->expanded;
    if (f->container->expanded > MAX_TREE_NODES)
        return fault_of(b, t, "the file grows past 100000 values when its aliases are expanded");
    if (f->container->kind == TREE_SEQUENCE) {
        tree_append(b->pool, f->container, NULL, t);
    } else if (!f->key) {
        if (t->kind != TREE_SCALAR)
            return fault_of(b, t, "a key must be one word, not a list or mapping");
        f->key = t;
    } else {
        if (f->container->count == MAX_KEYS)
            return fault_of(b, f->key, "more than 1000 keys in one mapping");
        if (key_is_new(b, f->container, f->key))
            tree_append(b->pool, f->container, f->key, t);
        f->key = NULL;
    }
    return true;
}

static bool on_scalar(Builder *b, const yaml_event_t *e)
{
    Tree *t = new_tree(b, TREE_SCALAR, e);
    char *copy = pool_alloc(b->pool, e->data.scalar.length + 1);

    memcpy(copy, e->data.scalar.value, e->data.scalar.length);
    t->text = copy;
    t->length = e->data.scalar.length;
    t->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return check_tag(b, e->data.scalar.tag, e) && set_anchor(b, e->data.scalar.anchor, t, e) &&
           attach(b, t);
}

static bool on_start(Builder *b, const yaml_event_t *e)
{
    bool mapping = e->type == YAML_MAPPING_START_EVENT;
    Tree *t = new_tree(b, mapping ? TREE_MAPPING : TREE_SEQUENCE, e);

    if (b->depth == MAX_NESTING)
        return fault_at(b, &e->start_mark, 1, "nested more than 64 levels deep");
    if (!check_tag(b, mapping ? e->data.mapping_start.tag : e->data.sequence_start.tag, e) ||
        !set_anchor(b, mapping ? e->data.mapping_start.anchor : e->data.sequence_start.anchor, t,
                    e))
        return false;
    t->open = true;
    b->frame[b->depth++] = (Frame){t, NULL};
    return true;
}

static bool merge_one(Builder *b, Tree *into, const Tree *from, const Tree *at)
{
    if (from->kind != TREE_MAPPING) {
        diagnostics_add(b->d, at->loc, at->width,
                        "the merge key << takes a mapping or a list of mappings");
        return false;
    }
    for (int i = 0; i < from->count; i++) {
        if (into->count == MAX_KEYS)
            break;
        if (!tree_find(into, from->key[i]->text)) {
            tree_append(b->pool, into, from->key[i], from->item[i]);
            into->expanded += from->item[i]->expanded;
        }
    }
    return true;
}

/* Replaces the entry `<<: *base` by the entries of base that the mapping does not give itself. */
static bool merge_keys(Builder *b, Tree *t)
{
    int at = 0;
    const Tree *from;

    while (at < t->count && (t->key[at]->quoted || !tree_is(t->key[at], "<<")))
        at++;
    if (at == t->count)
        return true;
    from = t->item[at];
    t->count--;
    memmove(t->key + at, t->key + at + 1, (size_t)(t->count - at) * sizeof *t->key);
    memmove(t->item + at, t->item + at + 1, (size_t)(t->count - at) * sizeof *t->item);
    if (from->kind != TREE_SEQUENCE)
        return merge_one(b, t, from, from);
    for (int i = 0; i < from->count; i++)
        if (!merge_one(b, t, from->item[i], from->item[i]))
            return false;
    return true;
}

/* A flow container on one line is underlined whole, a block mapping by its first key. */
static void set_container_width(Tree *t, const yaml_event_t *e)
{
    int line = (int)e->start_mark.line + 1, end = (int)e->end_mark.column + 1;

    if (end > (int)e->start_mark.column + 1 && line == t->loc.line && end > t->loc.column)
        t->width = end - t->loc.column;
    else if (t->kind == TREE_MAPPING && t->count > 0 && t->key[0]->loc.line == t->loc.line &&
             t->key[0]->loc.column == t->loc.column)
        t->width = t->key[0]->width;
}

static bool on_end(Builder *b, const yaml_event_t *e)
{
    Tree *t = b->frame[--b->depth].container;

    t->open = false;
    set_container_width(t, e);
    if (t->kind == TREE_MAPPING && !merge_keys(b, t))
        return false;
    return attach(b, t);
}

static bool on_alias(Builder *b, const yaml_event_t *e)
{
    const char *name = (const char *)e->data.alias.anchor;
    Tree *copy;
    int i = b->anchor_count;

    while (i > 0 && strcmp(b->anchor[i - 1].name, name) != 0)
        i--;
    if (i == 0)
        return fault_at(b, &e->start_mark, event_width(e),
                        pool_format(b->pool, "no anchor '&%s' stands before this alias",
                                    cut(b, name, strlen(name))));
    if (b->anchor[i - 1].tree->open)
        return fault_at(b, &e->start_mark, event_width(e),
                        pool_format(b->pool, "the alias '*%s' stands inside of what it repeats",
                                    cut(b, name, strlen(name))));
    copy = pool_alloc(b->pool, sizeof *copy);
    *copy = *b->anchor[i - 1].tree;
    copy->loc = (Loc){b->source->name, (int)e->start_mark.line + 1,
                      (int)e->start_mark.column + 1};
    copy->width = event_width(e);
    return attach(b, copy);
}

static bool on_event(Builder *b, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->documents++ > 0)
            return fault_at(b, &e->start_mark, 3,
                            "a second document starts here; a model file holds one");
        return true;
    case YAML_SCALAR_EVENT:
        return on_scalar(b, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return on_start(b, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_end(b, e);
    case YAML_ALIAS_EVENT:
        return on_alias(b, e);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return true;
    }
    return true;
}

static bool tab_stands_at(Builder *b, const yaml_mark_t *mark)
{
    const char *line;
    size_t length;

    return source_line(b->source, (int)mark->line + 1, &line, &length) &&
           memchr(line, '\t', length) != NULL && mark->column < length &&
           line[mark->column] == '\t';
}

/* True if nothing but the last line break is behind the mark. */
static bool ends_at(Builder *b, const yaml_mark_t *mark)
{
    const char *line;
    size_t length;

    return !source_line(b->source, (int)mark->line + 1, &line, &length) ||
           line + length >= b->source->text + b->source->length;
}

/* Puts libyaml's own error into our words. */
static bool parser_fault(Builder *b, const yaml_parser_t *p)
{
    const char *problem = p->problem ? p->problem : "not valid";

    if (p->error == YAML_MEMORY_ERROR)
        return fault_at(b, &(yaml_mark_t){0, 0, 0}, 1, "not enough memory to read the file");
    if (p->error == YAML_READER_ERROR) {
        diagnostics_add(b->d, source_place(b->source, p->problem_offset), 1, "not text: %s",
                        problem);
        return false;
    }
    if (tab_stands_at(b, &p->problem_mark))
        return fault_at(b, &p->problem_mark, 1, "YAML is not indented with tabs; use spaces");
    if (p->context && ends_at(b, &p->problem_mark))
        return fault_at(b, &p->context_mark, 1,
                        pool_format(b->pool, "not valid YAML: %s, %s before the end of the text",
                                    p->context, problem));
    if (p->context)
        return fault_at(b, &p->problem_mark, 1,
                        pool_format(b->pool, "not valid YAML: %s, %s (which starts in line %d)",
                                    p->context, problem, (int)p->context_mark.line + 1));
    return fault_at(b, &p->problem_mark, 1, pool_format(b->pool, "not valid YAML: %s", problem));
}

static bool parse_events(Builder *b, yaml_parser_t *p)
{
    yaml_event_t event;
    yaml_event_type_t type;

    do {
        bool sound;

        if (!yaml_parser_parse(p, &event))
            return parser_fault(b, p);
        type = event.type;
        sound = on_event(b, &event);
        yaml_event_delete(&event);
        if (!sound)
            return false;
    } while (type != YAML_STREAM_END_EVENT);
    return true;
}

Tree *yaml_parse(Pool *pool, Diagnostics *d, const Source *source)
{
    Builder *b = pool_alloc(pool, sizeof *b);
    yaml_parser_t parser;
    bool sound;

    if (!source_check_text(source, d))
        return NULL;
    b->pool = pool;
    b->d = d;
    b->source = source;
    if (!yaml_parser_initialize(&parser)) {
        diagnostics_add(d, (Loc){source->name, 1, 1}, 1, "not enough memory to read the file");
        return NULL;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING); /* checked above */
    yaml_parser_set_input_string(&parser, (const unsigned char *)source->text, source->length);
    sound = parse_events(b, &parser);
    yaml_parser_delete(&parser);
    if (sound && !b->root) {
        diagnostics_add(d, (Loc){source->name, 1, 1}, 1,
                        "the file holds only comments; a model needs the keys model, input, "
                        "layers, loss, optimizer and train");
        return NULL;
    }
    return sound ? b->root : NULL;
}
