/* The parser of nodes: a row of text, then the node that it means. */
#include "parse.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const op_names[] = {
#define X(id, text, ...) text,
    IR_OPS(X)
#undef X
};

bool parse_value(Parser *p, Node **out)
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
        Storage *s = module_find_storage(p->module, name);
        if (!s)
            return lex_fail_at(p->lex, loc, width, "@%s is not declared", name);
        *out = graph_state(p->graph, s);
        return true;
    }
    *out = names_find(&p->value, name);
    return *out || lex_fail_at(p->lex, loc, width, "%%%s is not defined above this line", name);
}

/* ---- rows ---- */

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

/* Without the brace that closes it. */
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
    if (lex_accept(p->lex, "dilation=") && !lex_pair(p->lex, 1, &w->dilation_h, &w->dilation_w))
        return false;
    if (lex_accept(p->lex, "groups=") && !lex_expect_int(p->lex, 1, &w->groups))
        return false;
    w->dilation_h = window_unless_one(w->dilation_h);
    w->dilation_w = window_unless_one(w->dilation_w);
    w->groups = window_unless_one(w->groups);
    w->ceil_mode = lex_accept(p->lex, "ceil");
    w->inside = lex_accept(p->lex, "inside");
    return true;
}

static bool parse_fold(Parser *p, Fold *f)
{
    return parse_window(p, &f->window) && lex_expect(p->lex, "size=") &&
           lex_pair(p->lex, 0, &f->height, &f->width) && lex_expect(p->lex, "source=") &&
           lex_pair(p->lex, 0, &f->source_h, &f->source_w) && lex_expect(p->lex, "}");
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
    image->mean = pool_alloc(p->pool, MAX_IMAGE_CHANNELS * sizeof *image->mean);
    image->std = pool_alloc(p->pool, MAX_IMAGE_CHANNELS * sizeof *image->std);
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

static bool parse_norm(Parser *p, NormAttr *norm)
{
    return lex_expect(p->lex, "{") && lex_positive_field(p->lex, "eps=", &norm->eps) &&
           (!lex_accept(p->lex, "momentum=") || lex_number(p->lex, &norm->momentum)) &&
           lex_expect(p->lex, "}");
}

static bool parse_lrn(Parser *p, LrnAttr *lrn)
{
    return lex_expect(p->lex, "{") && lex_int_field(p->lex, "size=", 0, &lrn->size) &&
           lex_number_field(p->lex, "alpha=", &lrn->alpha) &&
           lex_number_field(p->lex, "beta=", &lrn->beta) &&
           lex_number_field(p->lex, "k=", &lrn->k) && lex_expect(p->lex, "}");
}

/* `key`=number, or [number,number]. */
static bool parse_setting(Parser *p, const AugmentSetting *s, double *out)
{
    if (s->range)
        return parse_list(p, pool_format(p->pool, "%s=", s->name), out, 2);
    return lex_number_field(p->lex, pool_format(p->pool, "%s=", s->name), out);
}

static bool parse_augment(Parser *p, Op op, AugmentAttr *a)
{
    int settings, at = 0;
    const AugmentSetting *setting = augment_settings(op, &settings);
    if (!lex_expect(p->lex, "{"))
        return false;
    for (int i = 0; i < settings; at += 1 + setting[i].range, i++)
        if (!parse_setting(p, &setting[i], a->number + at))
            return false;
    return lex_int_field(p->lex, "draw=", 0, &a->draw) && lex_expect(p->lex, "}");
}

/* {lr_mult=2}, or nothing. */
static bool parse_rate(Parser *p, double *factor)
{
    *factor = 1;
    return !lex_accept(p->lex, "{") ||
           (lex_rate_field(p->lex, "lr_mult=", factor) && lex_expect(p->lex, "}"));
}

static bool parse_adam(Parser *p, AdamAttr *adam)
{
    adam->lr_mult = 1;
    return lex_expect(p->lex, "{") && lex_fraction_field(p->lex, "beta1=", &adam->beta1) &&
           lex_fraction_field(p->lex, "beta2=", &adam->beta2) &&
           lex_positive_field(p->lex, "eps=", &adam->eps) &&
           (lex_accept(p->lex, "}") || (lex_rate_field(p->lex, "lr_mult=", &adam->lr_mult) &&
                                        lex_expect(p->lex, "}")));
}

static bool parse_attr(Parser *p, Op op, const Operands *o, Attr *attr)
{
    switch (op_attr(op)) {
    case ATTR_NONE: return true;
    case ATTR_WINDOW: return parse_window(p, &attr->window) && lex_expect(p->lex, "}");
    case ATTR_FOLD: return parse_fold(p, &attr->fold);
    case ATTR_WINOGRAD: return parse_winograd(p, &attr->winograd);
    case ATTR_IMAGE: return parse_image(p, op, o, &attr->image);
    case ATTR_FACTOR:
        return lex_expect(p->lex, "{") && lex_number_field(p->lex, "factor=", &attr->factor) &&
               lex_expect(p->lex, "}");
    case ATTR_DROPOUT:
        return lex_expect(p->lex, "{") && lex_fraction_field(p->lex, "p=", &attr->dropout.p) &&
               lex_int_field(p->lex, "layer=", 0, &attr->dropout.layer) && lex_expect(p->lex, "}");
    case ATTR_SLICE:
        return lex_expect(p->lex, "{") && lex_int_field(p->lex, "from=", 0, &attr->slice.from) &&
               lex_int_field(p->lex, "to=", 0, &attr->slice.to) && lex_expect(p->lex, "}");
    case ATTR_SMOOTHING:
        return !lex_accept(p->lex, "{") ||
               (lex_number_field(p->lex, "label_smoothing=", &attr->factor) &&
                lex_expect(p->lex, "}"));
    case ATTR_RATE: return parse_rate(p, &attr->factor);
    case ATTR_ADAM: return parse_adam(p, &attr->adam);
    case ATTR_NORM: return parse_norm(p, &attr->norm);
    case ATTR_LRN: return parse_lrn(p, &attr->lrn);
    case ATTR_AUGMENT: return parse_augment(p, op, &attr->augment);
    case ATTR_CONTRAST:
        return lex_expect(p->lex, "{") &&
               lex_positive_field(p->lex, "scale=", &attr->contrast.scale) &&
               lex_positive_field(p->lex, "eps=", &attr->contrast.eps) && lex_expect(p->lex, "}");
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
        return lex_fail(p->lex, "a value lies in shared, chunk, thread or partial");
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
    Sparse sparse;
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

static bool parse_sparse(Parser *p, Sparse *sparse)
{
    int word = SPARSE_NONE;
    if (lex_accept(p->lex, "sparse=") && !CHOOSE(p->lex, "an operand", sparse_names, &word))
        return false;
    *sparse = (Sparse)word;
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
           parse_sparse(p, &r->sparse) &&
           parse_place(p, &r->place) && parse_loc(p, &r->source) && lex_expect_line_end(p->lex);
}

/* ---- nodes ---- */

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

static bool same_type(const Tensor *a, const Tensor *b)
{
    const Layout *l = &a->layout, *r = &b->layout;
    return a->dtype == b->dtype && shape_equal(&a->shape, &b->shape) && l->kind == r->kind &&
           l->block == r->block && l->out_block == r->out_block && l->halo_h == r->halo_h &&
           l->halo_w == r->halo_w && l->strip == r->strip && l->pairs == r->pairs;
}

static Node *make_update(Parser *p, const RowText *r)
{
    Storage *s = module_find_storage(p->module, r->name);
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

/* 63 of "63"; -1 of a name that the printer does not write: the graph's end numbers its value. */
static int number_of_name(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    bool printed = digits > 0 && digits <= 8 && !name[digits] && (name[0] != '0' || digits == 1);
    return printed ? atoi(name) : -1;
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
    if (names_find(&p->value, r->name)) {
        lex_fail_at(p->lex, r->loc, (int)strlen(r->name) + 1, "%%%s is defined twice", r->name);
        return NULL;
    }
    Node *n = r->op == OP_INPUT ? make_input(p, r)
                                : graph_add_typed(p->graph, r->op, r->operands.count,
                                                  r->operands.in, &r->attr, &r->type, r->loc);
    if (!n)
        return NULL;
    if (n->number >= 0)
        n->number = number_of_name(r->name);
    names_add(&p->value, p->pool, r->name, n);
    return n;
}

bool parse_node(Parser *p, Kernel *k)
{
    RowText row;
    if (!parse_row(p, &row))
        return false;
    Node *n = make_node(p, &row);
    if (!n)
        return false;
    n->math = row.math;
    n->tile = row.tile;
    n->sparse = row.sparse;
    n->place = row.place;
    Origin origin = {n, row.source};
    POOL_PUSH(p->pool, p->origin, p->origin_count, p->origin_capacity, origin);
    if (!k)
        return true;
    n->kernel = k;
    POOL_PUSH(p->pool, k->node, k->node_count, k->node_capacity, n);
    return true;
}
