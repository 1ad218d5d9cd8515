/* Reads the IR text that ir/print.c writes. The text is a stranger's: nothing in it is trusted,
 * and the first fault ends the parse with its position. */
#include "lex.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

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
    Lexer *lex;
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

/* ---- types ---- */

static bool parse_layout_kind(Parser *p, Layout *l)
{
    if (lex_accept(p->lex, "nchw")) {
        l->kind = LAYOUT_NCHWC;
        return lex_expect_int(p->lex, 1, &l->block) && lex_expect(p->lex, "c");
    }
    if (lex_accept(p->lex, "nhwc")) {
        l->kind = LAYOUT_NHWC;
        return lex_optional_int(p->lex, "c", &l->block);
    }
    if (lex_accept(p->lex, "nibble")) {
        l->kind = LAYOUT_NIBBLE;
        return true;
    }
    bool filter = lex_accept(p->lex, "filter");
    if (filter || lex_accept(p->lex, "taps")) {
        l->kind = filter ? LAYOUT_FILTER : LAYOUT_TAPS;
        return lex_int_field(p->lex, "c", 1, &l->block) &&
               lex_int_field(p->lex, "o", 1, &l->out_block);
    }
    if (lex_accept(p->lex, "vector")) {
        l->kind = LAYOUT_VECTOR;
        return lex_expect_int(p->lex, 1, &l->block);
    }
    return lex_accept(p->lex, "plain") ||
           lex_fail(p->lex, "expected a layout: nchw16c, nhwc, nibble, filter, taps, vector");
}

static bool parse_layout(Parser *p, Layout *l)
{
    if (!lex_accept(p->lex, "{"))
        return true;
    if (!parse_layout_kind(p, l))
        return false;
    if (lex_accept(p->lex, "halo=")) {
        if (!lex_expect_int(p->lex, 0, &l->halo_h))
            return false;
        l->halo_w = l->halo_h;
        if (lex_peek(p->lex) == 'x' &&
            !(lex_expect(p->lex, "x") && lex_expect_int(p->lex, 0, &l->halo_w)))
            return false;
    }
    return lex_optional_int(p->lex, "strip=", &l->strip) && lex_expect(p->lex, "}");
}

static bool parse_shape(Parser *p, Shape *s)
{
    int64_t elements = 1;
    if (!lex_expect(p->lex, "["))
        return false;
    if (lex_accept(p->lex, "]"))
        return true;
    do {
        int extent;
        if (s->rank == TENSOR_MAX_RANK)
            return lex_fail(p->lex, "a shape of more than %d dimensions", TENSOR_MAX_RANK);
        if (!lex_expect_int(p->lex, 1, &extent))
            return false;
        elements *= extent;
        if (elements > INT32_MAX)
            return lex_fail(p->lex, "a tensor of 2^31 elements or more");
        s->dim[s->rank++] = extent;
    } while (lex_accept(p->lex, ","));
    return lex_expect(p->lex, "]");
}

static bool parse_type(Parser *p, Tensor *t)
{
    int dtype;
    *t = (Tensor){0};
    if (!CHOOSE(p->lex, "a dtype", dtype_names, &dtype))
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

static bool parse_loc(Parser *p, Loc *loc)
{
    *loc = (Loc){0};
    if (!lex_accept(p->lex, "loc "))
        return true;
    return lex_file_name(p->lex, &loc->file) && lex_expect(p->lex, ":") &&
           lex_expect_int(p->lex, 0, &loc->line) && lex_expect(p->lex, ":") &&
           lex_expect_int(p->lex, 0, &loc->column);
}

/* ---- the header ---- */

static bool parse_data(Parser *p)
{
    Module *m = p->module;
    if (!lex_expect(p->lex, "dataset"))
        return false;
    m->dataset = lex_word(p->lex, "-");
    return (*m->dataset || lex_fail(p->lex, "expected the name of a data set")) &&
           lex_int_field(p->lex, "image=", 1, &m->image_h) &&
           lex_int_field(p->lex, "x", 1, &m->image_w) &&
           lex_int_field(p->lex, "x", 1, &m->image_c) &&
           lex_int_field(p->lex, "classes=", 1, &m->classes) && lex_expect_line_end(p->lex);
}

static bool parse_optimizer(Parser *p)
{
    Optimizer *o = &p->module->optimizer;
    int kind;
    *o = (Optimizer){0};
    if (!lex_expect(p->lex, "optimizer") ||
        !CHOOSE(p->lex, "an optimizer", optimizer_names, &kind) ||
        !lex_number_field(p->lex, "lr=", &o->lr))
        return false;
    o->kind = (OptimizerKind)kind;
    bool good = kind == OPTIMIZER_ADAM ? lex_number_field(p->lex, "beta1=", &o->beta1) &&
                                             lex_number_field(p->lex, "beta2=", &o->beta2) &&
                                             lex_number_field(p->lex, "eps=", &o->eps)
                                       : lex_number_field(p->lex, "momentum=", &o->momentum);
    return good && lex_number_field(p->lex, "weight_decay=", &o->weight_decay) &&
           lex_expect_line_end(p->lex);
}

static bool parse_train(Parser *p)
{
    TrainSettings *t = &p->module->train;
    int init;
    if (!lex_int_field(p->lex, "train batch_size=", 1, &t->batch_size) ||
        !lex_int_field(p->lex, "epochs=", 0, &t->epochs) ||
        !lex_int_field(p->lex, "log_every=", 0, &t->log_every) ||
        !lex_int_field(p->lex, "checkpoint_every=", 0, &t->checkpoint_every) ||
        !lex_expect(p->lex, "init=") || !CHOOSE(p->lex, "an initialisation", init_names, &init))
        return false;
    t->init = (InitKind)init;
    return (t->init != INIT_NORMAL || lex_number_field(p->lex, "std=", &t->init_std)) &&
           lex_expect_line_end(p->lex);
}

/* `cpu=24158784 cuda=24162816`, one for each target that has a plan. */
static bool parse_state_bytes(Parser *p)
{
    for (int t = 0; t < TARGET_COUNT; t++) {
        char key[16];
        snprintf(key, sizeof key, "%s=", target_names[t]);
        if (!lex_optional_bytes(p->lex, key, &p->module->state_bytes[t]))
            return false;
    }
    return true;
}

static bool parse_header(Parser *p)
{
    lex_skip_space(p->lex);
    if (!lex_expect(p->lex, "module "))
        return false;
    p->module = module_new(p->pool, lex_expect_name(p->lex, "the model's name"));
    if (!lex_expect(p->lex, "{"))
        return false;
    lex_skip_space(p->lex);
    if (!parse_data(p))
        return false;
    lex_skip_space(p->lex);
    if (!parse_optimizer(p))
        return false;
    lex_skip_space(p->lex);
    if (!parse_train(p))
        return false;
    lex_skip_space(p->lex);
    if (lex_accept(p->lex, "state ") && !parse_state_bytes(p))
        return false;
    lex_skip_space(p->lex);
    return lex_expect(p->lex, "}") && lex_expect_line_end(p->lex);
}

/* ---- storage ---- */

static bool parse_storage_attr(Parser *p, Storage *s)
{
    if (!lex_accept(p->lex, "{"))
        return true;
    if (lex_accept(p->lex, "of=@")) {
        s->of = lex_expect_name(p->lex, "a parameter's name");
        return lex_expect(p->lex, "}");
    }
    return lex_int_field(p->lex, "fan_in=", 0, &s->fan_in) &&
           lex_int_field(p->lex, "fan_out=", 0, &s->fan_out) && lex_expect(p->lex, "}");
}

/* For each target, in order: ` cpu {layout} at OFFSET`. */
static bool parse_homes(Parser *p, Storage *s)
{
    for (int t = 0; t < TARGET_COUNT; t++) {
        Home *home = &s->home[t];
        if (!lex_accept(p->lex, target_names[t]))
            continue;
        if (!parse_layout(p, &home->layout) ||
            (lex_accept(p->lex, "at ") && !lex_integer(p->lex, 0, INT64_MAX / 4, &home->offset)))
            return false;
    }
    return true;
}

/* @name : type = role {attributes} TARGET {layout} at offset loc ... */
static bool parse_storage(Parser *p)
{
    Tensor type;
    Loc loc = lex_here(p->lex);
    int role;
    if (!lex_expect(p->lex, "@"))
        return false;
    char *name = lex_expect_name(p->lex, "a name after '@'");
    if (p->lex->failed || !lex_expect(p->lex, ":") || !parse_type(p, &type) ||
        !lex_expect(p->lex, "=") || !CHOOSE(p->lex, "a role of storage", role_names, &role))
        return false;
    if (table_find(&p->storage, name))
        return lex_fail_at(p->lex, loc, (int)strlen(name) + 1, "@%s is declared twice", name);
    Storage *s = module_add_storage(p->module, name, type.shape, (Role)role, loc);
    s->tensor = type;
    table_add(&p->storage, p->pool, s->name, s);
    return parse_storage_attr(p, s) && parse_homes(p, s) && parse_loc(p, &s->loc) &&
           lex_expect_line_end(p->lex);
}

/* ---- nodes ---- */

/* A %value or @storage that has been defined. */
static bool parse_value(Parser *p, Node **out)
{
    lex_skip_blank(p->lex);
    Loc loc = lex_here(p->lex);
    bool is_storage = lex_accept(p->lex, "@");
    if (!is_storage && !lex_expect(p->lex, "%"))
        return false;
    char *name = lex_expect_name(p->lex, "a name");
    int width = (int)strlen(name) + 1;
    if (p->lex->failed)
        return false;
    if (is_storage) {
        Storage *s = table_find(&p->storage, name);
        if (!s)
            return lex_fail_at(p->lex, loc, width, "@%s is not declared", name);
        *out = graph_state(p->graph, s);
        return true;
    }
    *out = table_find(&p->value, name);
    return *out || lex_fail_at(p->lex, loc, width, "%%%s is not defined above this line", name);
}

typedef struct Operands {
    Node *in[MAX_OPERANDS];
    int count;
} Operands;

static bool parse_operands(Parser *p, Operands *o)
{
    lex_skip_blank(p->lex);
    if (lex_peek(p->lex) != '%' && lex_peek(p->lex) != '@')
        return true;
    do {
        if (o->count == MAX_OPERANDS)
            return lex_fail(p->lex, "more than %d operands", MAX_OPERANDS);
        if (!parse_value(p, &o->in[o->count++]))
            return false;
    } while (lex_accept(p->lex, ","));
    return true;
}

static bool parse_window(Parser *p, Window *w)
{
    w->stride_h = w->stride_w = 1;
    if (!lex_expect(p->lex, "{") || !lex_expect(p->lex, "kernel=") ||
        !lex_pair(p->lex, 0, &w->kernel_h, &w->kernel_w))
        return false;
    if (lex_accept(p->lex, "stride=") && !lex_pair(p->lex, 0, &w->stride_h, &w->stride_w))
        return false;
    if (lex_accept(p->lex, "padding=") && !lex_pair(p->lex, 0, &w->padding_h, &w->padding_w))
        return false;
    w->ceil_mode = lex_accept(p->lex, "ceil");
    return lex_expect(p->lex, "}");
}

static bool parse_winograd(Parser *p, Winograd *w)
{
    int kernel_w;
    if (!lex_expect(p->lex, "{") || !lex_int_field(p->lex, "tile=", 0, &w->tile) ||
        !lex_expect(p->lex, "kernel=") || !lex_pair(p->lex, 0, &w->kernel, &kernel_w))
        return false;
    if (w->kernel != kernel_w)
        return lex_fail(p->lex, "expected a square kernel");
    if (lex_accept(p->lex, "padding=") && !lex_pair(p->lex, 0, &w->padding_h, &w->padding_w))
        return false;
    if (lex_accept(p->lex, "size=") && !lex_pair(p->lex, 0, &w->height, &w->width))
        return false;
    return lex_expect(p->lex, "}");
}

static bool parse_list(Parser *p, const char *key, double *list, int count)
{
    if (!lex_expect(p->lex, key))
        return false;
    for (int i = 0; i < count; i++)
        if (!lex_expect(p->lex, i ? "," : "[") || !lex_number(p->lex, &list[i]))
            return false;
    return lex_expect(p->lex, "]");
}

static bool parse_image(Parser *p, Op op, const Operands *o, ImageAttr *image)
{
    const Shape *s = &o->in[0]->tensor.shape;
    int channels = o->count > 0 && s->rank > 0 ? s->dim[s->rank - 1] : 1;
    image->channels = channels < MAX_IMAGE_CHANNELS ? channels : MAX_IMAGE_CHANNELS;
    for (int c = 0; c < image->channels; c++)
        image->std[c] = 1;
    if (op == OP_NORMALIZE && !lex_accept(p->lex, "{"))
        return true;
    if (op == OP_RESIZE && (!lex_expect(p->lex, "{") || !lex_expect(p->lex, "mode=bilinear")))
        return false;
    if (op == OP_RESIZE && lex_accept(p->lex, "}"))
        return true;
    return parse_list(p, "mean=", image->mean, image->channels) &&
           parse_list(p, "std=", image->std, image->channels) && lex_expect(p->lex, "}");
}

static bool parse_attr(Parser *p, Op op, const Operands *o, Attr *attr)
{
    switch (op_attr(op)) {
    case ATTR_NONE: return true;
    case ATTR_WINDOW: return parse_window(p, &attr->window);
    case ATTR_WINOGRAD: return parse_winograd(p, &attr->winograd);
    case ATTR_IMAGE: return parse_image(p, op, o, &attr->image);
    case ATTR_FACTOR:
        return lex_expect(p->lex, "{") && lex_number_field(p->lex, "factor=", &attr->factor) &&
               lex_expect(p->lex, "}");
    case ATTR_ADAM:
        return lex_expect(p->lex, "{") && lex_number_field(p->lex, "beta1=", &attr->adam.beta1) &&
               lex_number_field(p->lex, "beta2=", &attr->adam.beta2) &&
               lex_number_field(p->lex, "eps=", &attr->adam.eps) && lex_expect(p->lex, "}");
    }
    return false;
}

static bool parse_place(Parser *p, Place *place)
{
    int region;
    if (!lex_accept(p->lex, "at "))
        return true;
    if (!CHOOSE(p->lex, "a region", region_names, &region))
        return false;
    if (region == REGION_NONE || region == REGION_STATE)
        return lex_fail(p->lex, "a value lies in shared, worker or partial");
    place->region = (Region)region;
    return lex_expect(p->lex, "+") && lex_integer(p->lex, 0, INT64_MAX / 4, &place->offset) &&
           lex_expect(p->lex, ":") && lex_integer(p->lex, 0, INT64_MAX / 4, &place->bytes);
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
    Math math;
    Tile tile;
    Place place;
} RowText;

static bool parse_math(Parser *p, Math *math)
{
    int word = MATH_FP32;
    if (lex_accept(p->lex, "math=") && !CHOOSE(p->lex, "a math", math_names, &word))
        return false;
    *math = (Math)word;
    return true;
}

static bool parse_row(Parser *p, RowText *r)
{
    int op;
    *r = (RowText){.loc = lex_here(p->lex), .is_update = lex_accept(p->lex, "@")};
    if (!r->is_update && !lex_expect(p->lex, "%"))
        return false;
    r->name = lex_expect_name(p->lex, "a name");
    if (p->lex->failed || !lex_expect(p->lex, ":") || !parse_type(p, &r->type) ||
        !lex_expect(p->lex, "=") || !CHOOSE(p->lex, "an op", op_names, &op))
        return false;
    r->op = (Op)op;
    if (!parse_operands(p, &r->operands))
        return false;
    if (r->operands.count < op_min_operands(r->op))
        return lex_fail_at(p->lex, r->loc, 1, "%s takes %d operands or more, not %d", op_names[op],
                           op_min_operands(r->op), r->operands.count);
    return parse_attr(p, r->op, &r->operands, &r->attr) && parse_math(p, &r->math) &&
           (!lex_accept(p->lex, "tile=") ||
            lex_pair(p->lex, 0, &r->tile.pixels, &r->tile.vectors)) &&
           parse_place(p, &r->place) && parse_loc(p, &r->source) && lex_expect_line_end(p->lex);
}

/* The type that follows from the operands must be the one that the row gives. */
static bool check_type(Parser *p, const RowText *r)
{
    Tensor inferred = r->type;
    if (!infer_type(p->lex->d, r->op, r->operands.count, r->operands.in, &r->attr, r->loc,
                    &inferred))
        return !(p->lex->failed = true);
    if (inferred.dtype == r->type.dtype && shape_equal(&inferred.shape, &r->type.shape))
        return true;
    Text text = {0};
    for (int i = 0; i < inferred.shape.rank; i++)
        text_append(&text, "%s%d", i ? "," : "", inferred.shape.dim[i]);
    lex_fail_at(p->lex, r->loc, 1, "%s gives %s[%s] here, not the type that is written",
                op_names[r->op], dtype_name(inferred.dtype), text.data ? text.data : "");
    text_free(&text);
    return false;
}

static Node *make_update(Parser *p, const RowText *r)
{
    Storage *s = table_find(&p->storage, r->name);
    if (!s || r->op != OP_UPDATE) {
        lex_fail_at(p->lex, r->loc, (int)strlen(r->name) + 1,
                    s ? "only update writes @%s" : "@%s is not declared", r->name);
        return NULL;
    }
    Tensor type = storage_tensor(s, p->graph->target);
    if (!same_type(&type, &r->type)) {
        lex_fail_at(p->lex, r->loc, (int)strlen(r->name) + 1, "@%s is declared with another type",
                    s->name);
        return NULL;
    }
    return graph_update(p->graph, s, r->operands.in[0], r->loc);
}

static Node *make_input(Parser *p, const RowText *r)
{
    const Graph *g = p->graph;
    if (g->node_count > 0 && g->node[g->node_count - 1]->op != OP_INPUT) {
        lex_fail_at(p->lex, r->loc, 1, "inputs come before all other values");
        return NULL;
    }
    if (isdigit((unsigned char)r->name[0]) || strchr(r->name, '.')) {
        lex_fail_at(p->lex, r->loc, 1, "an input's name starts with a letter and has no dot");
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
        lex_fail_at(p->lex, r->loc, 1, "%s does not define a %%value; storage is written @name",
                    op_names[r->op]);
        return NULL;
    }
    if (table_find(&p->value, r->name)) {
        lex_fail_at(p->lex, r->loc, (int)strlen(r->name) + 1, "%%%s is defined twice", r->name);
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
    n->math = row.math;
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
    if (!lex_expect(p->lex, "("))
        return false;
    for (lex_skip_space(p->lex); !lex_accept(p->lex, ")"); lex_skip_space(p->lex)) {
        Node *n;
        if (k->in_count > 0 && !lex_expect(p->lex, ","))
            return false;
        lex_skip_space(p->lex);
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
    if (!lex_expect(p->lex, "->") || !lex_expect(p->lex, "("))
        return false;
    for (lex_skip_space(p->lex); !lex_accept(p->lex, ")"); lex_skip_space(p->lex)) {
        if (results->count > 0 && !lex_expect(p->lex, ","))
            return false;
        lex_skip_space(p->lex);
        Result r = {.loc = lex_here(p->lex), .is_update = lex_accept(p->lex, "@")};
        if (!r.is_update && !lex_expect(p->lex, "%"))
            return false;
        r.name = lex_expect_name(p->lex, "a name");
        if (p->lex->failed)
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
            return lex_fail_at(p->lex, r->loc, (int)strlen(r->name) + 1,
                               "kernel %s does not make %c%s", k->name, r->is_update ? '@' : '%',
                               r->name);
        POOL_PUSH(p->pool, k->out, k->out_count, capacity, n);
    }
    return true;
}

static bool parse_schedule(Parser *p, Schedule *s)
{
    Lexer *l = p->lex;
    s->split = 1;
    return lex_expect_int(l, 0, &s->tile_m) && lex_expect(l, "x") &&
           lex_expect_int(l, 0, &s->tile_n) && lex_expect(l, "x") &&
           lex_expect_int(l, 0, &s->tile_k) && lex_optional_int(l, "stages=", &s->stages) &&
           lex_optional_int(l, "split=", &s->split) &&
           lex_optional_int(l, "threads=", &s->threads) &&
           lex_optional_int(l, "shared=", &s->shared_bytes) && lex_expect(l, "grid=") &&
           lex_pair(l, 1, &s->grid_x, &s->grid_y) &&
           lex_optional_int(l, "sm=", &s->architecture);
}

static bool parse_schedules(Parser *p, Kernel *k)
{
    if (!lex_accept(p->lex, "schedule=["))
        return true;
    do {
        if (k->schedule_count == MAX_SCHEDULES)
            return lex_fail(p->lex, "a kernel has at most %d schedules", (int)MAX_SCHEDULES);
        if (!parse_schedule(p, &k->schedule[k->schedule_count++]))
            return false;
    } while (lex_accept(p->lex, ","));
    return lex_expect(p->lex, "]");
}

static bool parse_kernel(Parser *p)
{
    Graph *g = p->graph;
    Kernel *k = pool_alloc(p->pool, sizeof *k);
    Results results = {0};
    int class, phase, capacity = 0;
    k->name = lex_expect_name(p->lex, "the kernel's name");
    if (p->lex->failed || !CHOOSE(p->lex, "a class of kernels", class_names, &class) ||
        !CHOOSE(p->lex, "a phase", phase_names, &phase) ||
        !lex_optional_int(p->lex, "strip=", &k->strip) || !parse_schedules(p, k))
        return false;
    k->class = (KernelClass) class;
    k->phase = (Phase)phase;
    k->target = g->target;
    if (!parse_inputs(p, k) || !parse_results(p, &results) || !lex_expect(p->lex, "{"))
        return false;
    for (lex_skip_space(p->lex); !lex_accept(p->lex, "}"); lex_skip_space(p->lex))
        if (!parse_node(p, k, &capacity))
            return false;
    POOL_PUSH(p->pool, g->kernel, g->kernel_count, g->kernel_capacity, k);
    return resolve_results(p, k, &results) && lex_expect_line_end(p->lex);
}

/* ---- graphs ---- */

static bool parse_graph_name(Parser *p, const char **out)
{
    lex_skip_blank(p->lex);
    Loc loc = lex_here(p->lex);
    char *name = lex_expect_name(p->lex, "MODEL.GRAPH");
    size_t length = strlen(p->module->name);
    if (p->lex->failed)
        return false;
    *out = name + length + 1;
    if (strncmp(name, p->module->name, length) == 0 && name[length] == '.' && !strchr(*out, '.'))
        return true;
    return lex_fail_at(p->lex, loc, (int)strlen(name), "expected %s.train or %s.eval",
                       p->module->name, p->module->name);
}

static bool parse_graph_header(Parser *p)
{
    const char *name;
    int batch, stage, target;
    if (!parse_graph_name(p, &name) || !lex_int_field(p->lex, "batch=", 1, &batch) ||
        !lex_expect(p->lex, "stage=") || !CHOOSE(p->lex, "a stage", stage_names, &stage) ||
        !lex_expect(p->lex, "target=") || !CHOOSE(p->lex, "a target", target_names, &target))
        return false;
    if (module_find_graph(p->module, name, (Target)target))
        return lex_fail(p->lex, "there is a graph %s for target %s already", name,
                        target_names[target]);
    Graph *g = p->graph = module_add_graph(p->module, name, batch);
    g->stage = (Stage)stage;
    g->target = (Target)target;
    p->value = (Table){0};
    return lex_optional_int(p->lex, "chunk=", &g->chunk) &&
           lex_optional_int(p->lex, "partials=", &g->partials) &&
           lex_optional_bytes(p->lex, "shared=", &g->shared_bytes) &&
           lex_optional_bytes(p->lex, "worker=", &g->worker_bytes) &&
           lex_optional_bytes(p->lex, "shared_bound=", &g->shared_bound) &&
           lex_optional_bytes(p->lex, "worker_bound=", &g->worker_bound) && lex_expect(p->lex, "{");
}

static bool parse_return(Parser *p)
{
    do {
        Node *n;
        char *name = lex_word(p->lex, "");
        if (!*name)
            return lex_fail(p->lex, "expected an output's name");
        if (graph_find_output(p->graph, name))
            return lex_fail(p->lex, "output %s is returned twice", name);
        if (p->graph->output_count == MAX_OUTPUTS)
            return lex_fail(p->lex, "more than %d outputs", MAX_OUTPUTS);
        if (!lex_expect(p->lex, "=") || !parse_value(p, &n))
            return false;
        graph_output(p->graph, name, n);
    } while (lex_accept(p->lex, ","));
    return lex_expect_line_end(p->lex);
}

static bool parse_graph(Parser *p)
{
    if (!parse_graph_header(p))
        return false;
    lex_skip_space(p->lex);
    while (!p->lex->failed && (lex_peek(p->lex) == '%' || lex_peek(p->lex) == '@')) {
        parse_node(p, NULL, NULL);
        lex_skip_space(p->lex);
    }
    while (lex_accept(p->lex, "kernel ")) {
        if (!parse_kernel(p))
            return false;
        lex_skip_space(p->lex);
    }
    if (!p->lex->failed && lex_accept(p->lex, "return ") && !parse_return(p))
        return false;
    lex_skip_space(p->lex);
    return !p->lex->failed &&
           (lex_accept(p->lex, "}") || lex_fail(p->lex, "expected %s, return or '}'",
                                                p->graph->kernel_count ? "a kernel" : "a node")) &&
           lex_expect_line_end(p->lex);
}

static bool parse_module(Parser *p)
{
    if (!parse_header(p))
        return false;
    for (lex_skip_space(p->lex); lex_peek(p->lex) == '@'; lex_skip_space(p->lex))
        if (!parse_storage(p))
            return false;
    for (; lex_accept(p->lex, "graph "); lex_skip_space(p->lex))
        if (!parse_graph(p))
            return false;
    return lex_peek(p->lex) == '\0' || lex_fail(p->lex, "expected 'graph'");
}

/* While the verifier runs, positions are those in this text; afterwards the source's. */
static bool verify_parsed(Parser *p)
{
    Diagnostics *d = p->lex->d;
    int before = d->count;
    bool good = module_verify(p->module, d);
    for (int i = before; i < d->count; i++)
        if (!d->list[i].loc.file)
            d->list[i].loc = (Loc){p->lex->file, 1, 1};
    for (int i = 0; i < p->origin_count; i++)
        p->origin[i].node->loc = p->origin[i].source;
    return good;
}

Module *module_parse(Pool *pool, Diagnostics *d, const char *file, const char *text, size_t length)
{
    Lexer lex = {.pool = pool, .d = d, .file = pool_strdup(pool, file), .line = 1};
    Parser p = {.pool = pool, .lex = &lex};
    lex.at = lex.line_start = text;
    lex.end = text + length;
    if (!parse_module(&p) || !verify_parsed(&p))
        return NULL;
    return p.module;
}
