/* Reads the IR text that ir/print.c writes. The text is a stranger's: nothing in it is trusted,
 * and the first fault ends the parse with its position. `#` starts a comment. */
#include "ir.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORD = 256 };

/* Names of one scope -> what they mean. */
typedef struct Table {
    const char **key;
    void **value;
    int count, capacity; /* capacity is a power of two */
} Table;

/* A node's position in this text and in the source that the text names. */
typedef struct Origin {
    Node *node;
    Loc source;
} Origin;

typedef struct Parser {
    Pool *pool;
    Diagnostics *d;
    const char *file, *at, *end, *line_start;
    int line;
    bool failed;
    Module *module;
    Graph *graph;
    Table storage, value; /* @names of the module; %names of the graph */
    Origin *origin;
    int origin_count, origin_capacity;
} Parser;

static const char *const op_names[] = {
#define X(id, text, lo, hi, attr, expr) text,
    IR_OPS(X)
#undef X
};

#define X(id, text, bytes) text,
static const char *const dtype_names[] = {TENSOR_DTYPES(X)};
#undef X

/* ---- faults ---- */

static Loc here(const Parser *p)
{
    return (Loc){p->file, p->line, (int)(p->at - p->line_start) + 1};
}

static bool fail_at(Parser *p, Loc loc, int width, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool fail_at(Parser *p, Loc loc, int width, const char *format, ...)
{
    Text text = {0};
    va_list ap;
    va_start(ap, format);
    text_append_v(&text, format, ap);
    va_end(ap);
    if (!p->failed)
        diagnostics_add(p->d, loc, width, "%s", text.data);
    p->failed = true;
    text_free(&text);
    return false;
}

#define fail(p, ...) fail_at((p), here(p), 1, __VA_ARGS__)

/* ---- tables ---- */

static unsigned hash(const char *key)
{
    unsigned h = 2166136261u;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 16777619u;
    return h;
}

static int table_slot(const Table *t, const char *key)
{
    unsigned mask = (unsigned)t->capacity - 1, i = hash(key) & mask;
    while (t->key[i] && strcmp(t->key[i], key) != 0)
        i = (i + 1) & mask;
    return (int)i;
}

static void *table_find(const Table *t, const char *key)
{
    return t->capacity ? t->value[table_slot(t, key)] : NULL;
}

static void table_grow(Table *t, Pool *pool)
{
    Table bigger = {.capacity = t->capacity ? 2 * t->capacity : 64, .count = t->count};
    bigger.key = pool_alloc(pool, (size_t)bigger.capacity * sizeof *bigger.key);
    bigger.value = pool_alloc(pool, (size_t)bigger.capacity * sizeof *bigger.value);
    for (int i = 0; i < t->capacity; i++) {
        if (!t->key[i])
            continue;
        int slot = table_slot(&bigger, t->key[i]);
        bigger.key[slot] = t->key[i];
        bigger.value[slot] = t->value[i];
    }
    *t = bigger;
}

static void table_add(Table *t, Pool *pool, const char *key, void *value)
{
    if (2 * (t->count + 1) > t->capacity)
        table_grow(t, pool);
    int slot = table_slot(t, key);
    t->key[slot] = key;
    t->value[slot] = value;
    t->count++;
}

/* ---- characters ---- */

static int peek(const Parser *p)
{
    if (p->at == p->end)
        return '\0';
    return *p->at ? (unsigned char)*p->at : 1; /* a NUL byte is just not legal */
}

static bool is_comment_or_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '#';
}

/* To the next token of this line, or its end. */
static void skip_blank(Parser *p)
{
    while (is_comment_or_blank(peek(p))) {
        if (*p->at != '#') {
            p->at++;
            continue;
        }
        while (p->at < p->end && *p->at != '\n')
            p->at++;
    }
}

/* To the next token, over line ends. */
static void skip_space(Parser *p)
{
    for (skip_blank(p); peek(p) == '\n'; skip_blank(p)) {
        p->line_start = ++p->at;
        p->line++;
    }
}

static bool ends_line(Parser *p)
{
    skip_blank(p);
    return peek(p) == '\n' || peek(p) == '\0';
}

static bool expect_line_end(Parser *p)
{
    return ends_line(p) || fail(p, "expected the end of the line");
}

/* Takes `token` if it stands here, after blanks. */
static bool accept(Parser *p, const char *token)
{
    size_t length = strlen(token);
    skip_blank(p);
    if (p->failed || (size_t)(p->end - p->at) < length || memcmp(p->at, token, length) != 0)
        return false;
    p->at += length;
    return true;
}

static bool expect(Parser *p, const char *token)
{
    return accept(p, token) || fail(p, "expected '%s'", token);
}

static bool is_word_char(int c)
{
    return c < 128 && (isalnum(c) || c == '_');
}

/* A run of word characters and those of `more`; "" at anything else. */
static char *word(Parser *p, const char *more)
{
    char text[MAX_WORD];
    size_t length = 0;
    skip_blank(p);
    const char *start = p->at;
    while (is_word_char(peek(p)) || (p->at < p->end && *p->at && strchr(more, *p->at))) {
        if (length == sizeof text - 1) {
            p->at = start;
            fail(p, "a word of more than %d characters", MAX_WORD - 1);
            break;
        }
        text[length++] = *p->at++;
    }
    text[length] = '\0';
    return pool_strdup(p->pool, p->failed ? "" : text);
}

/* [A-Za-z0-9_]+ with dots between. */
static bool is_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && name[0] != '.' && name[length - 1] != '.' && !strstr(name, "..");
}

static char *expect_name(Parser *p, const char *what)
{
    skip_blank(p);
    Loc loc = here(p);
    char *name = word(p, ".");
    if (!is_name(name))
        fail_at(p, loc, (int)strlen(name), "expected %s", what);
    return name;
}

/* ---- numbers ---- */

static bool integer(Parser *p, int64_t lo, int64_t hi, int64_t *out)
{
    char digits[24];
    size_t length = 0;
    skip_blank(p);
    const char *start = p->at;
    if (peek(p) == '-')
        digits[length++] = *p->at++;
    while (peek(p) < 128 && isdigit(peek(p)) && length < sizeof digits - 1)
        digits[length++] = *p->at++;
    digits[length] = '\0';
    errno = 0;
    long long value = strtoll(digits, NULL, 10);
    bool is_number = length > 0 && isdigit((unsigned char)digits[length - 1]) && errno == 0;
    if (is_number && value >= lo && value <= hi && !p->failed) {
        *out = value;
        return true;
    }
    p->at = start;
    return fail(p, "expected a whole number from %lld to %lld", (long long)lo, (long long)hi);
}

static bool expect_int(Parser *p, int lo, int *out)
{
    int64_t value = 0;
    bool good = integer(p, lo, INT32_MAX, &value);
    *out = (int)value;
    return good;
}

static bool number(Parser *p, double *out)
{
    char *end;
    skip_blank(p);
    Loc loc = here(p);
    char *text = word(p, "+-.");
    *out = strtod(text, &end);
    if (*text && !*end && *out - *out == 0)
        return true;
    return fail_at(p, loc, (int)strlen(text), "expected a finite number");
}

/* HxW */
static bool pair(Parser *p, int lo, int *h, int *w)
{
    return expect_int(p, lo, h) && expect(p, "x") && expect_int(p, lo, w);
}

static bool int_field(Parser *p, const char *key, int lo, int *out)
{
    return expect(p, key) && expect_int(p, lo, out);
}

static bool number_field(Parser *p, const char *key, double *out)
{
    return expect(p, key) && number(p, out);
}

static bool optional_bytes(Parser *p, const char *key, int64_t *out)
{
    return !accept(p, key) || integer(p, 1, INT64_MAX / 4, out);
}

static bool optional_int(Parser *p, const char *key, int *out)
{
    return !accept(p, key) || expect_int(p, 1, out);
}

/* ---- words of a list ---- */

/* Edit distance, up to MAX_WORD characters. */
static int distance(const char *a, const char *b)
{
    int row[MAX_WORD + 1], columns = (int)strlen(b);
    for (int j = 0; j <= columns; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[columns];
}

static const char *closest(const char *text, const char *const *list, int count)
{
    const char *best = NULL;
    int least = (int)strlen(text) / 3 + 2;
    for (int i = 0; i < count; i++) {
        int d = distance(text, list[i]);
        if (d < least) {
            least = d;
            best = list[i];
        }
    }
    return best;
}

/* The index in the list of the word that stands here. */
static bool choose(Parser *p, const char *what, const char *const *list, int count, int *out)
{
    skip_blank(p);
    Loc loc = here(p);
    char *text = word(p, "");
    for (*out = 0; *out < count; ++*out)
        if (strcmp(list[*out], text) == 0)
            return true;
    *out = 0;
    const char *guess = *text ? closest(text, list, count) : NULL;
    if (!*text)
        return fail_at(p, loc, 1, "expected %s", what);
    if (guess)
        return fail_at(p, loc, (int)strlen(text), "'%s' is not %s; did you mean '%s'?", text, what,
                       guess);
    return fail_at(p, loc, (int)strlen(text), "'%s' is not %s", text, what);
}

#define CHOOSE(p, what, list, out) choose((p), (what), (list), COUNT_OF(list), (out))
#define COUNT_OF(list) ((int)(sizeof(list) / sizeof *(list)))

/* ---- types ---- */

static bool parse_layout_kind(Parser *p, Layout *l)
{
    if (accept(p, "nchw")) {
        l->kind = LAYOUT_NCHWC;
        return expect_int(p, 1, &l->block) && expect(p, "c");
    }
    if (accept(p, "nhwc")) {
        l->kind = LAYOUT_NHWC;
        return true;
    }
    if (accept(p, "filter")) {
        l->kind = LAYOUT_FILTER;
        return int_field(p, "c", 1, &l->block) && int_field(p, "o", 1, &l->out_block);
    }
    if (accept(p, "vector")) {
        l->kind = LAYOUT_VECTOR;
        return expect_int(p, 1, &l->block);
    }
    return accept(p, "plain") || fail(p, "expected a layout: nchw16c, nhwc, filter, vector");
}

static bool parse_layout(Parser *p, Layout *l)
{
    if (!accept(p, "{"))
        return true;
    if (!parse_layout_kind(p, l))
        return false;
    if (accept(p, "halo=")) {
        if (!expect_int(p, 0, &l->halo_h))
            return false;
        l->halo_w = l->halo_h;
        if (peek(p) == 'x' && !(expect(p, "x") && expect_int(p, 0, &l->halo_w)))
            return false;
    }
    return optional_int(p, "strip=", &l->strip) && expect(p, "}");
}

static bool parse_shape(Parser *p, Shape *s)
{
    int64_t elements = 1;
    if (!expect(p, "["))
        return false;
    if (accept(p, "]"))
        return true;
    do {
        int extent;
        if (s->rank == TENSOR_MAX_RANK)
            return fail(p, "a shape of more than %d dimensions", TENSOR_MAX_RANK);
        if (!expect_int(p, 1, &extent))
            return false;
        elements *= extent;
        if (elements > INT32_MAX)
            return fail(p, "a tensor of 2^31 elements or more");
        s->dim[s->rank++] = extent;
    } while (accept(p, ","));
    return expect(p, "]");
}

static bool parse_type(Parser *p, Tensor *t)
{
    int dtype;
    *t = (Tensor){0};
    if (!CHOOSE(p, "a dtype", dtype_names, &dtype))
        return false;
    t->dtype = (DType)dtype;
    return parse_shape(p, &t->shape) && parse_layout(p, &t->layout);
}

static bool same_type(const Tensor *a, const Tensor *b)
{
    const Layout *l = &a->layout, *r = &b->layout;
    return a->dtype == b->dtype && shape_equal(&a->shape, &b->shape) && l->kind == r->kind &&
           l->block == r->block && l->out_block == r->out_block && l->halo_h == r->halo_h &&
           l->halo_w == r->halo_w && l->strip == r->strip;
}

/* ---- positions ---- */

static bool parse_quoted(Parser *p, Text *out)
{
    while (peek(p) != '"') {
        if (p->at == p->end || peek(p) == '\n')
            return fail(p, "the string has no end");
        char c = *p->at++;
        if (c == '\\') {
            unsigned code;
            if (p->end - p->at < 3 || p->at[0] != 'x' || !isxdigit((unsigned char)p->at[1]) ||
                !isxdigit((unsigned char)p->at[2]))
                return fail(p, "expected x and two hexadecimal digits after the backslash");
            char digits[3] = {p->at[1], p->at[2], '\0'};
            code = (unsigned)strtoul(digits, NULL, 16);
            if (code == 0)
                return fail(p, "a string cannot hold a zero byte");
            c = (char)code;
            p->at += 3;
        }
        text_write(out, &c, 1);
    }
    p->at++;
    return true;
}

static bool parse_file_name(Parser *p, const char **out)
{
    Text text = {0};
    bool good = true;
    if (accept(p, "\"")) {
        good = parse_quoted(p, &text);
    } else {
        while (is_word_char(peek(p)) || (p->at < p->end && *p->at && strchr("./+-<>", *p->at)))
            text_write(&text, p->at++, 1);
        if (text.length == 0)
            good = fail(p, "expected a file name after loc");
    }
    *out = pool_strdup(p->pool, text.length ? text.data : "");
    text_free(&text);
    return good;
}

static bool parse_loc(Parser *p, Loc *loc)
{
    *loc = (Loc){0};
    if (!accept(p, "loc "))
        return true;
    return parse_file_name(p, &loc->file) && expect(p, ":") && expect_int(p, 0, &loc->line) &&
           expect(p, ":") && expect_int(p, 0, &loc->column);
}

/* ---- the header ---- */

static bool parse_data(Parser *p)
{
    Module *m = p->module;
    if (!expect(p, "dataset"))
        return false;
    m->dataset = word(p, "-");
    return (*m->dataset || fail(p, "expected the name of a data set")) &&
           int_field(p, "image=", 1, &m->image_h) && int_field(p, "x", 1, &m->image_w) &&
           int_field(p, "x", 1, &m->image_c) && int_field(p, "classes=", 1, &m->classes) &&
           expect_line_end(p);
}

static bool parse_optimizer(Parser *p)
{
    Optimizer *o = &p->module->optimizer;
    int kind;
    *o = (Optimizer){0};
    if (!expect(p, "optimizer") || !CHOOSE(p, "an optimizer", optimizer_names, &kind) ||
        !number_field(p, "lr=", &o->lr))
        return false;
    o->kind = (OptimizerKind)kind;
    bool good = kind == OPTIMIZER_ADAM
                    ? number_field(p, "beta1=", &o->beta1) &&
                          number_field(p, "beta2=", &o->beta2) && number_field(p, "eps=", &o->eps)
                    : number_field(p, "momentum=", &o->momentum);
    return good && number_field(p, "weight_decay=", &o->weight_decay) && expect_line_end(p);
}

static bool parse_train(Parser *p)
{
    TrainSettings *t = &p->module->train;
    int init;
    if (!int_field(p, "train batch_size=", 1, &t->batch_size) ||
        !int_field(p, "epochs=", 0, &t->epochs) || !int_field(p, "log_every=", 0, &t->log_every) ||
        !int_field(p, "checkpoint_every=", 0, &t->checkpoint_every) || !expect(p, "init=") ||
        !CHOOSE(p, "an initialisation", init_names, &init))
        return false;
    t->init = (InitKind)init;
    return (t->init != INIT_NORMAL || number_field(p, "std=", &t->init_std)) && expect_line_end(p);
}

static bool parse_header(Parser *p)
{
    skip_space(p);
    if (!expect(p, "module "))
        return false;
    p->module = module_new(p->pool, expect_name(p, "the model's name"));
    if (!expect(p, "{"))
        return false;
    skip_space(p);
    if (!parse_data(p))
        return false;
    skip_space(p);
    if (!parse_optimizer(p))
        return false;
    skip_space(p);
    if (!parse_train(p))
        return false;
    skip_space(p);
    if (!optional_bytes(p, "state bytes=", &p->module->state_bytes))
        return false;
    skip_space(p);
    return expect(p, "}") && expect_line_end(p);
}

/* ---- storage ---- */

static bool parse_storage_attr(Parser *p, Storage *s)
{
    if (!accept(p, "{"))
        return true;
    if (accept(p, "of=@")) {
        s->of = expect_name(p, "a parameter's name");
        return expect(p, "}");
    }
    return int_field(p, "fan_in=", 0, &s->fan_in) && int_field(p, "fan_out=", 0, &s->fan_out) &&
           expect(p, "}");
}

/* @name : type = role {attributes} at offset loc ... */
static bool parse_storage(Parser *p)
{
    Tensor type;
    Loc loc = here(p);
    int role;
    if (!expect(p, "@"))
        return false;
    char *name = expect_name(p, "a name after '@'");
    if (p->failed || !expect(p, ":") || !parse_type(p, &type) || !expect(p, "=") ||
        !CHOOSE(p, "a role of storage", role_names, &role))
        return false;
    if (table_find(&p->storage, name))
        return fail_at(p, loc, (int)strlen(name) + 1, "@%s is declared twice", name);
    Storage *s = module_add_storage(p->module, name, type.shape, (Role)role, loc);
    s->tensor = type;
    table_add(&p->storage, p->pool, s->name, s);
    return parse_storage_attr(p, s) &&
           (!accept(p, "at ") || integer(p, 0, INT64_MAX / 4, &s->offset)) &&
           parse_loc(p, &s->loc) && expect_line_end(p);
}

/* ---- nodes ---- */

/* A %value or @storage that has been defined. */
static bool parse_value(Parser *p, Node **out)
{
    skip_blank(p);
    Loc loc = here(p);
    bool is_storage = accept(p, "@");
    if (!is_storage && !expect(p, "%"))
        return false;
    char *name = expect_name(p, "a name");
    int width = (int)strlen(name) + 1;
    if (p->failed)
        return false;
    if (is_storage) {
        Storage *s = table_find(&p->storage, name);
        if (!s)
            return fail_at(p, loc, width, "@%s is not declared", name);
        *out = graph_state(p->graph, s);
        return true;
    }
    *out = table_find(&p->value, name);
    return *out || fail_at(p, loc, width, "%%%s is not defined above this line", name);
}

typedef struct Operands {
    Node *in[MAX_OPERANDS];
    int count;
} Operands;

static bool parse_operands(Parser *p, Operands *o)
{
    skip_blank(p);
    if (peek(p) != '%' && peek(p) != '@')
        return true;
    do {
        if (o->count == MAX_OPERANDS)
            return fail(p, "more than %d operands", MAX_OPERANDS);
        if (!parse_value(p, &o->in[o->count++]))
            return false;
    } while (accept(p, ","));
    return true;
}

static bool parse_window(Parser *p, Window *w)
{
    w->stride_h = w->stride_w = 1;
    if (!expect(p, "{") || !expect(p, "kernel=") || !pair(p, 0, &w->kernel_h, &w->kernel_w))
        return false;
    if (accept(p, "stride=") && !pair(p, 0, &w->stride_h, &w->stride_w))
        return false;
    if (accept(p, "padding=") && !pair(p, 0, &w->padding_h, &w->padding_w))
        return false;
    w->ceil_mode = accept(p, "ceil");
    return expect(p, "}");
}

static bool parse_list(Parser *p, const char *key, double *list, int count)
{
    if (!expect(p, key))
        return false;
    for (int i = 0; i < count; i++)
        if (!expect(p, i ? "," : "[") || !number(p, &list[i]))
            return false;
    return expect(p, "]");
}

static bool parse_image(Parser *p, Op op, const Operands *o, ImageAttr *image)
{
    const Shape *s = &o->in[0]->tensor.shape;
    int channels = o->count > 0 && s->rank > 0 ? s->dim[s->rank - 1] : 1;
    image->channels = channels < MAX_IMAGE_CHANNELS ? channels : MAX_IMAGE_CHANNELS;
    for (int c = 0; c < image->channels; c++)
        image->std[c] = 1;
    if (op == OP_NORMALIZE && !accept(p, "{"))
        return true;
    if (op == OP_RESIZE && (!expect(p, "{") || !expect(p, "mode=bilinear")))
        return false;
    if (op == OP_RESIZE && accept(p, "}"))
        return true;
    return parse_list(p, "mean=", image->mean, image->channels) &&
           parse_list(p, "std=", image->std, image->channels) && expect(p, "}");
}

static bool parse_attr(Parser *p, Op op, const Operands *o, Attr *attr)
{
    switch (op_attr(op)) {
    case ATTR_NONE: return true;
    case ATTR_WINDOW: return parse_window(p, &attr->window);
    case ATTR_IMAGE: return parse_image(p, op, o, &attr->image);
    case ATTR_FACTOR:
        return expect(p, "{") && number_field(p, "factor=", &attr->factor) && expect(p, "}");
    case ATTR_ADAM:
        return expect(p, "{") && number_field(p, "beta1=", &attr->adam.beta1) &&
               number_field(p, "beta2=", &attr->adam.beta2) &&
               number_field(p, "eps=", &attr->adam.eps) && expect(p, "}");
    }
    return false;
}

static bool parse_place(Parser *p, Place *place)
{
    int region;
    if (!accept(p, "at "))
        return true;
    if (!CHOOSE(p, "a region", region_names, &region))
        return false;
    if (region == REGION_NONE || region == REGION_STATE)
        return fail(p, "a value lies in shared, worker or partial");
    place->region = (Region)region;
    return expect(p, "+") && integer(p, 0, INT64_MAX / 4, &place->offset) && expect(p, ":") &&
           integer(p, 0, INT64_MAX / 4, &place->bytes);
}

/* One row before it becomes a node. */
typedef struct RowText {
    Loc loc, source; /* in this text; as the row says */
    bool is_update;
    char *name;
    Tensor type;
    Op op;
    Operands operands;
    Attr attr;
    Tile tile;
    Place place;
} RowText;

static bool parse_row(Parser *p, RowText *r)
{
    int op;
    *r = (RowText){.loc = here(p), .is_update = accept(p, "@")};
    if (!r->is_update && !expect(p, "%"))
        return false;
    r->name = expect_name(p, "a name");
    if (p->failed || !expect(p, ":") || !parse_type(p, &r->type) || !expect(p, "=") ||
        !CHOOSE(p, "an op", op_names, &op))
        return false;
    r->op = (Op)op;
    if (!parse_operands(p, &r->operands))
        return false;
    if (r->operands.count < op_min_operands(r->op))
        return fail_at(p, r->loc, 1, "%s takes %d operands or more, not %d", op_names[op],
                       op_min_operands(r->op), r->operands.count);
    return parse_attr(p, r->op, &r->operands, &r->attr) &&
           (!accept(p, "tile=") || pair(p, 0, &r->tile.pixels, &r->tile.vectors)) &&
           parse_place(p, &r->place) && parse_loc(p, &r->source) && expect_line_end(p);
}

/* The type that follows from the operands must be the one that the row gives. */
static bool check_type(Parser *p, const RowText *r)
{
    Tensor inferred = r->type;
    if (!infer_type(p->d, r->op, r->operands.count, r->operands.in, &r->attr, r->loc, &inferred))
        return !(p->failed = true);
    if (inferred.dtype == r->type.dtype && shape_equal(&inferred.shape, &r->type.shape))
        return true;
    Text text = {0};
    for (int i = 0; i < inferred.shape.rank; i++)
        text_append(&text, "%s%d", i ? "," : "", inferred.shape.dim[i]);
    fail_at(p, r->loc, 1, "%s gives %s[%s] here, not the type that is written", op_names[r->op],
            dtype_name(inferred.dtype), text.data ? text.data : "");
    text_free(&text);
    return false;
}

static Node *make_update(Parser *p, const RowText *r)
{
    Storage *s = table_find(&p->storage, r->name);
    if (!s || r->op != OP_UPDATE) {
        fail_at(p, r->loc, (int)strlen(r->name) + 1,
                s ? "only update writes @%s" : "@%s is not declared", r->name);
        return NULL;
    }
    if (!same_type(&s->tensor, &r->type)) {
        fail_at(p, r->loc, (int)strlen(r->name) + 1, "@%s is declared with another type", s->name);
        return NULL;
    }
    return graph_update(p->graph, s, r->operands.in[0], r->loc);
}

static Node *make_input(Parser *p, const RowText *r)
{
    const Graph *g = p->graph;
    if (g->node_count > 0 && g->node[g->node_count - 1]->op != OP_INPUT) {
        fail_at(p, r->loc, 1, "inputs come before all other values");
        return NULL;
    }
    if (isdigit((unsigned char)r->name[0]) || strchr(r->name, '.')) {
        fail_at(p, r->loc, 1, "an input's name starts with a letter and has no dot");
        return NULL;
    }
    Node *n = graph_input(p->graph, r->name, r->type.dtype, r->type.shape, r->loc);
    n->tensor = r->type;
    return n;
}

static Node *make_node(Parser *p, const RowText *r)
{
    if (!check_type(p, r))
        return NULL;
    if (r->is_update)
        return make_update(p, r);
    if (r->op == OP_UPDATE || r->op == OP_STATE) {
        fail_at(p, r->loc, 1, "%s does not define a %%value; storage is written @name",
                op_names[r->op]);
        return NULL;
    }
    if (table_find(&p->value, r->name)) {
        fail_at(p, r->loc, (int)strlen(r->name) + 1, "%%%s is defined twice", r->name);
        return NULL;
    }
    Node *n = r->op == OP_INPUT ? make_input(p, r)
                                : graph_add_typed(p->graph, r->op, r->operands.count,
                                                  r->operands.in, &r->attr, &r->type, r->loc);
    if (n)
        table_add(&p->value, p->pool, r->name, n);
    return n;
}

static bool parse_node(Parser *p, Kernel *k, int *capacity)
{
    RowText row;
    if (!parse_row(p, &row))
        return false;
    Node *n = make_node(p, &row);
    if (!n)
        return false;
    n->tile = row.tile;
    n->place = row.place;
    Origin origin = {n, row.source};
    POOL_PUSH(p->pool, p->origin, p->origin_count, p->origin_capacity, origin);
    if (!k)
        return true;
    n->kernel = k;
    POOL_PUSH(p->pool, k->node, k->node_count, *capacity, n);
    return true;
}

/* ---- kernels ---- */

static bool parse_inputs(Parser *p, Kernel *k)
{
    int capacity = 0;
    if (!expect(p, "("))
        return false;
    for (skip_space(p); !accept(p, ")"); skip_space(p)) {
        Node *n;
        if (k->in_count > 0 && !expect(p, ","))
            return false;
        skip_space(p);
        if (!parse_value(p, &n))
            return false;
        POOL_PUSH(p->pool, k->in, k->in_count, capacity, n);
    }
    return true;
}

/* A result's name, resolved when the kernel's nodes are known. */
typedef struct Result {
    Loc loc;
    bool is_update;
    char *name;
} Result;

typedef struct Results {
    Result *item;
    int count, capacity;
} Results;

static bool parse_results(Parser *p, Results *results)
{
    if (!expect(p, "->") || !expect(p, "("))
        return false;
    for (skip_space(p); !accept(p, ")"); skip_space(p)) {
        if (results->count > 0 && !expect(p, ","))
            return false;
        skip_space(p);
        Result r = {.loc = here(p), .is_update = accept(p, "@")};
        if (!r.is_update && !expect(p, "%"))
            return false;
        r.name = expect_name(p, "a name");
        if (p->failed)
            return false;
        POOL_PUSH(p->pool, results->item, results->count, results->capacity, r);
    }
    return true;
}

static Node *find_result(const Parser *p, const Kernel *k, const Result *r)
{
    if (!r->is_update)
        return table_find(&p->value, r->name);
    for (int i = 0; i < k->node_count; i++)
        if (k->node[i]->op == OP_UPDATE && strcmp(k->node[i]->storage->name, r->name) == 0)
            return k->node[i];
    return NULL;
}

static bool resolve_results(Parser *p, Kernel *k, const Results *results)
{
    int capacity = 0;
    for (int i = 0; i < results->count; i++) {
        const Result *r = &results->item[i];
        Node *n = find_result(p, k, r);
        if (!n || n->kernel != k)
            return fail_at(p, r->loc, (int)strlen(r->name) + 1, "kernel %s does not make %c%s",
                           k->name, r->is_update ? '@' : '%', r->name);
        POOL_PUSH(p->pool, k->out, k->out_count, capacity, n);
    }
    return true;
}

static bool parse_kernel(Parser *p)
{
    Graph *g = p->graph;
    Kernel *k = pool_alloc(p->pool, sizeof *k);
    Results results = {0};
    int class, phase, capacity = 0;
    k->name = expect_name(p, "the kernel's name");
    if (p->failed || !CHOOSE(p, "a class of kernels", class_names, &class) ||
        !CHOOSE(p, "a phase", phase_names, &phase) || !optional_int(p, "strip=", &k->strip))
        return false;
    k->class = (KernelClass) class;
    k->phase = (Phase)phase;
    if (!parse_inputs(p, k) || !parse_results(p, &results) || !expect(p, "{"))
        return false;
    for (skip_space(p); !accept(p, "}"); skip_space(p))
        if (!parse_node(p, k, &capacity))
            return false;
    POOL_PUSH(p->pool, g->kernel, g->kernel_count, g->kernel_capacity, k);
    return resolve_results(p, k, &results) && expect_line_end(p);
}

/* ---- graphs ---- */

static bool parse_graph_name(Parser *p, const char **out)
{
    skip_blank(p);
    Loc loc = here(p);
    char *name = expect_name(p, "MODEL.GRAPH");
    size_t length = strlen(p->module->name);
    if (p->failed)
        return false;
    *out = name + length + 1;
    if (strncmp(name, p->module->name, length) == 0 && name[length] == '.' && !strchr(*out, '.'))
        return true;
    return fail_at(p, loc, (int)strlen(name), "expected %s.train or %s.eval", p->module->name,
                   p->module->name);
}

static bool parse_graph_header(Parser *p)
{
    const char *name;
    int batch, stage, target;
    if (!parse_graph_name(p, &name) || !int_field(p, "batch=", 1, &batch) || !expect(p, "stage=") ||
        !CHOOSE(p, "a stage", stage_names, &stage) || !expect(p, "target=") ||
        !CHOOSE(p, "a target", target_names, &target))
        return false;
    if (module_find_graph(p->module, name, (Target)target))
        return fail(p, "there is a graph %s for target %s already", name, target_names[target]);
    Graph *g = p->graph = module_add_graph(p->module, name, batch);
    g->stage = (Stage)stage;
    g->target = (Target)target;
    p->value = (Table){0};
    return optional_int(p, "chunk=", &g->chunk) && optional_int(p, "partials=", &g->partials) &&
           optional_bytes(p, "shared=", &g->shared_bytes) &&
           optional_bytes(p, "worker=", &g->worker_bytes) &&
           optional_bytes(p, "shared_bound=", &g->shared_bound) &&
           optional_bytes(p, "worker_bound=", &g->worker_bound) && expect(p, "{");
}

static bool parse_return(Parser *p)
{
    do {
        Node *n;
        char *name = word(p, "");
        if (!*name)
            return fail(p, "expected an output's name");
        if (graph_find_output(p->graph, name))
            return fail(p, "output %s is returned twice", name);
        if (p->graph->output_count == MAX_OUTPUTS)
            return fail(p, "more than %d outputs", MAX_OUTPUTS);
        if (!expect(p, "=") || !parse_value(p, &n))
            return false;
        graph_output(p->graph, name, n);
    } while (accept(p, ","));
    return expect_line_end(p);
}

static bool parse_graph(Parser *p)
{
    if (!parse_graph_header(p))
        return false;
    skip_space(p);
    while (!p->failed && (peek(p) == '%' || peek(p) == '@')) {
        parse_node(p, NULL, NULL);
        skip_space(p);
    }
    while (accept(p, "kernel ")) {
        if (!parse_kernel(p))
            return false;
        skip_space(p);
    }
    if (!p->failed && accept(p, "return ") && !parse_return(p))
        return false;
    skip_space(p);
    return !p->failed &&
           (accept(p, "}") || fail(p, "expected %s, return or '}'",
                                   p->graph->kernel_count ? "a kernel" : "a node")) &&
           expect_line_end(p);
}

static bool parse_module(Parser *p)
{
    if (!parse_header(p))
        return false;
    for (skip_space(p); peek(p) == '@'; skip_space(p))
        if (!parse_storage(p))
            return false;
    for (; accept(p, "graph "); skip_space(p))
        if (!parse_graph(p))
            return false;
    return peek(p) == '\0' || fail(p, "expected 'graph'");
}

/* While the verifier runs, positions are those in this text; afterwards the source's. */
static bool verify_parsed(Parser *p)
{
    int before = p->d->count;
    bool good = module_verify(p->module, p->d);
    for (int i = before; i < p->d->count; i++)
        if (!p->d->list[i].loc.file)
            p->d->list[i].loc = (Loc){p->file, 1, 1};
    for (int i = 0; i < p->origin_count; i++)
        p->origin[i].node->loc = p->origin[i].source;
    return good;
}

Module *module_parse(Pool *pool, Diagnostics *d, const char *file, const char *text, size_t length)
{
    Parser p = {
        .pool = pool, .d = d, .at = text, .end = text + length, .line_start = text, .line = 1};
    p.file = pool_strdup(pool, file);
    if (!parse_module(&p) || !verify_parsed(&p))
        return NULL;
    return p.module;
}
