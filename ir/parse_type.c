/* The parser of types and positions. */
#include "parse.h"

#define X(id, text, bytes) text,
static const char *const dtype_names[] = {TENSOR_DTYPES(X)};
#undef X

static bool parse_layout_kind(Parser *p, Layout *l)
{
    bool by_row = lex_accept(p->lex, "hcnw");
    if (by_row || lex_accept(p->lex, "nchw")) {
        l->kind = by_row ? LAYOUT_HCNWC : LAYOUT_NCHWC;
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
        if (!lex_int_field(p->lex, "c", 1, &l->block) ||
            !lex_int_field(p->lex, "o", 1, &l->out_block))
            return false;
        l->pairs = filter && lex_accept(p->lex, "pairs");
        return true;
    }
    if (lex_accept(p->lex, "vector")) {
        l->kind = LAYOUT_VECTOR;
        return lex_expect_int(p->lex, 1, &l->block);
    }
    return lex_accept(p->lex, "plain") ||
           lex_fail(p->lex, "expected a layout: nchw16c, hcnw16c, nhwc, nibble, filter, taps, "
                            "vector");
}

bool parse_layout(Parser *p, Layout *l)
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

bool parse_type(Parser *p, Tensor *t)
{
    int dtype;
    *t = (Tensor){0};
    if (!CHOOSE(p->lex, "a dtype", dtype_names, &dtype))
        return false;
    t->dtype = (DType)dtype;
    return parse_shape(p, &t->shape) && parse_layout(p, &t->layout);
}

bool parse_loc(Parser *p, Loc *loc)
{
    *loc = (Loc){0};
    if (!lex_accept(p->lex, "loc "))
        return true;
    return lex_file_name(p->lex, &loc->file) && lex_expect(p->lex, ":") &&
           lex_expect_int(p->lex, 0, &loc->line) && lex_expect(p->lex, ":") &&
           lex_expect_int(p->lex, 0, &loc->column);
}
