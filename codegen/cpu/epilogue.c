/* Chains of pointwise ops as functions of vectors, made of the op table's expressions. Every
 * function of the device library that makes a map stores it by store_epilogue, in a loop for each
 * chain. */
#include "epilogue.h"
#include "../emit.h"
#include "expression.h"

#include <ctype.h>
#include <string.h>

/* ---- what a chain is ---- */

/* The pointwise op `at` of a statement: 0 is `op` itself. */
static const Node *pointwise_op(const Statement *s, int at)
{
    return at > 0 ? s->chain[at - 1] : s->op;
}

static int first_op(const Statement *s)
{
    return op_is_pointwise(s->op->op) ? 0 : 1;
}

static const char *operand(Pool *pool, const Statement *s, int at, const Node *in)
{
    bool scalar = in->tensor.shape.rank == 0;
    if (in == statement_flow(s, at))
        return "x";
    return pool_format(pool, scalar ? "splat(beside.scalar[%d])" : "load_map(beside.map[%d])",
                       chain_place(s, in));
}

/* op_NAME(x, load_map(beside.map[0])) */
static const char *call(Pool *pool, const Statement *s, int at)
{
    const Node *n = pointwise_op(s, at);
    const char *list = "";
    for (int i = 0; i < n->arity; i++)
        list = pool_format(pool, "%s%s%s", list, i ? ", " : "", operand(pool, s, at, n->in[i]));
    if (op_attr(n->op) == ATTR_FACTOR)
        list = pool_format(pool, "%s, %#.9gf, %#.9gf", list, n->attr.factor, 1 - n->attr.factor);
    return pool_format(pool, "op_%s(%s)", op_name(n->op), list);
}

/* What stores x where a map is > 0 has a function of its own, which in bf16 compares bits. */
static const char *masked_store(Pool *pool, const Statement *s, int at)
{
    const Node *n = pointwise_op(s, at);
    if (n->op != OP_RELU_GRAD || n->in[0] != statement_flow(s, at) || n->in[1] == n->in[0])
        return NULL;
    return pool_format(pool, "store_masked(to, x, beside.map[%d]);", chain_place(s, n->in[1]));
}

/* The lines of a chain, "" for none. */
static const char *text_of(Pool *pool, const Statement *s)
{
    static const char *const indent = "        ";
    const char *text = "", *store = NULL;
    for (int at = first_op(s); at <= s->chained; at++) {
        store = at == s->chained ? masked_store(pool, s, at) : NULL;
        if (!store)
            text = pool_format(pool, "%s%sx = %s;\n", text, indent, call(pool, s, at));
    }
    if (first_op(s) > s->chained)
        return "";
    return pool_format(pool, "%s%s%s\n", text, indent, store ? store : "store_map(to, x);");
}

static const char *upper(Pool *pool, const char *name)
{
    char *text = pool_strdup(pool, name);
    for (char *c = text; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return text;
}

/* EPILOGUE_ADD_RELU */
static const char *name_of(Pool *pool, const Statement *s)
{
    const char *name = "EPILOGUE";
    for (int at = first_op(s); at <= s->chained; at++)
        name = pool_format(pool, "%s_%s", name, upper(pool, op_name(pointwise_op(s, at)->op)));
    return name;
}

const char *epilogue_name(Pool *pool, const Epilogues *e, const Statement *s)
{
    const Chain *chain = chains_find(&e->chains, text_of(pool, s));
    return chain ? chain->name : "EPILOGUE_NONE";
}

/* ---- those of a module ---- */

static void add_statement(Pool *pool, Epilogues *e, const Statement *s)
{
    const char *text = text_of(pool, s);
    if (!*text || chains_find(&e->chains, text))
        return;
    chains_add(pool, &e->chains, name_of(pool, s), text, s);
    const Chain *chain = &e->chains.chain[e->chains.count - 1];
    e->maps = chain->maps > e->maps ? chain->maps : e->maps;
    e->scalars = chain->scalars > e->scalars ? chain->scalars : e->scalars;
    for (int at = first_op(s); at <= s->chained; at++)
        if (at < s->chained || !masked_store(pool, s, at))
            e->used[pointwise_op(s, at)->op] = true;
}

static void add_programs(Pool *pool, Epilogues *e, const Module *m, Target target)
{
    const Graph *g;
    const Kernel *k;
    for (int i = 0; (k = target_kernel(m, target, i, &g)); i++) {
        if (!kernel_is_rows(k) || k->class == KERNEL_DENSE_WGRAD)
            continue;
        int count;
        const Statement *list = kernel_statement_list(pool, k, &count);
        for (int at = 0; at < count; at++)
            add_statement(pool, e, &list[at]);
    }
}

Epilogues find_epilogues(Pool *pool, const Module *m)
{
    Epilogues e = {.maps = 1, .scalars = 1};
    for (Target target = TARGET_ANY + 1; target < TARGET_COUNT; target++)
        if (target_is_cpu(target))
            add_programs(pool, &e, m, target);
    return e;
}

/* ---- text ---- */

void emit_epilogue_sizes(const Epilogues *e, Text *out)
{
    text_append(out, "\nenum { EPILOGUE_MAPS = %d, EPILOGUE_SCALARS = %d };\n", e->maps,
                e->scalars);
}

static void emit_op(Pool *pool, Op op, Text *out)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    Node n = {.op = op, .arity = op_max_operands(op)};
    text_append(out, "INLINE Vector op_%s(", op_name(op));
    for (int i = 0; i < n.arity; i++)
        text_append(out, "%sVector %s", i ? ", " : "", names[i]);
    if (op_attr(op) == ATTR_FACTOR)
        text_append(out, ", float k, float rest");
    text_append(out, ")\n{\n    return %s;\n}\n\n",
                expression_of_vectors(pool, expression_of(pool, &n, names, "k", "rest")));
}

static void emit_numbers(const Epilogues *e, Text *out)
{
    text_append(out, "enum {\n    EPILOGUE_NONE,\n");
    for (int i = 0; i < e->chains.count; i++)
        text_append(out, "    %s,\n", e->chains.chain[i].name);
    text_append(out, "};\n\n");
}

static void emit_store(const Epilogues *e, Text *out)
{
    text_append(out, "/* Finishes, rounds and stores x. The number is a constant. */\n"
                     "INLINE void store_epilogue(const int epilogue, Element *to, Vector x, "
                     "Beside beside)\n{\n"
                     "    (void)beside;\n"
                     "    switch (epilogue) {\n");
    for (int i = 0; i < e->chains.count; i++)
        text_append(out, "    case %s:\n%s        break;\n", e->chains.chain[i].name,
                    e->chains.chain[i].text);
    text_append(out, "    default:\n        store_map(to, x);\n    }\n}\n\n");
}

/* One line of a macro. */
static void macro_line(Text *out, const char *line)
{
    text_append(out, "%-80s\\\n", line);
}

static void emit_with(Pool *pool, const Epilogues *e, Text *out)
{
    text_append(out, "/* F(number, ...), compiled for each number. */\n");
    macro_line(out, "#define WITH_EPILOGUE(NUMBER, F, ...)");
    macro_line(out, "    do {");
    macro_line(out, "        switch (NUMBER) {");
    for (int i = 0; i < e->chains.count; i++) {
        macro_line(out, pool_format(pool, "        case %s:", e->chains.chain[i].name));
        macro_line(out,
                   pool_format(pool, "            F(%s, __VA_ARGS__);", e->chains.chain[i].name));
        macro_line(out, "            break;");
    }
    macro_line(out, "        default:");
    macro_line(out, "            F(EPILOGUE_NONE, __VA_ARGS__);");
    macro_line(out, "        }");
    text_append(out, "    } while (0)\n");
}

void emit_epilogues(Pool *pool, const Epilogues *e, Text *out)
{
    text_append(out, "\n/* ---- epilogues of this model ---- */\n\n");
    for (int op = 0; op < OP_COUNT; op++)
        if (e->used[op])
            emit_op(pool, (Op)op, out);
    emit_numbers(e, out);
    emit_store(e, out);
    emit_with(pool, e, out);
}
