/* The op table's scalar expressions: names replaced, and as text of vectors. */
#include "expression.h"

#include <ctype.h>
#include <string.h>

static const char *finish(Pool *pool, Text *text)
{
    const char *result = pool_strdup(pool, text->length ? text->data : "");
    text_free(text);
    return result;
}

/* ---- names ---- */

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

const char *expression_of(Pool *pool, const Node *n, const char *const *in, const char *k,
                          const char *rest)
{
    static const char without[] = "(1 - k)";
    const char *start = op_scalar(n->op), *at = start;
    Text text = {0};
    while (*at) {
        bool word = !in_word(at[1]) && (at == start || !in_word(at[-1]));
        if (strncmp(at, without, sizeof without - 1) == 0) {
            text_append(&text, "%s", rest);
            at += sizeof without - 1;
            continue;
        }
        if (word && *at == 'k')
            text_append(&text, "%s", k);
        else if (word && *at >= 'a' && *at < 'a' + n->arity)
            text_append(&text, "%s", in[*at - 'a']);
        else
            text_write(&text, at, 1);
        at++;
    }
    return finish(pool, &text);
}

/* ---- vectors ---- */

/* The first of the characters in `text` that stands in no parentheses; its end where there is
 * none. */
static const char *outside(const char *text, const char *end, const char *characters)
{
    int depth = 0;
    for (; text < end; text++) {
        if (depth == 0 && strchr(characters, *text))
            return text;
        depth += (*text == '(') - (*text == ')');
    }
    return end;
}

/* The ':' of the '?' before `text`. */
static const char *colon_of(const char *text, const char *end)
{
    for (int open = 1;; text++) {
        text = outside(text, end, "?:");
        open += text < end && *text == '?' ? 1 : -1;
        if (open == 0 || text == end)
            return text;
    }
}

static void write_vectors(Text *out, const char *text, const char *end);

/* What has no ?: outside of its parentheses. */
static void write_inside(Text *out, const char *text, const char *end)
{
    while (text < end) {
        if (*text != '(') {
            text_write(out, text++, 1);
            continue;
        }
        const char *close = text + 1;
        for (int depth = 1; depth > 0 && close < end; close++)
            depth += (*close == '(') - (*close == ')');
        text_append(out, "(");
        write_vectors(out, text + 1, close - 1);
        text_append(out, ")");
        text = close;
    }
}

static void trimmed(Text *out, const char *text, const char *end)
{
    while (text < end && *text == ' ')
        text++;
    while (end > text && end[-1] == ' ')
        end--;
    write_vectors(out, text, end);
}

static void write_vectors(Text *out, const char *text, const char *end)
{
    const char *comma = outside(text, end, ","), *question = outside(text, end, "?");
    if (comma < end) { /* a call's operands */
        write_vectors(out, text, comma);
        text_append(out, ",");
        write_vectors(out, comma + 1, end);
        return;
    }
    if (question == end) {
        write_inside(out, text, end);
        return;
    }
    const char *colon = colon_of(question + 1, end);
    text_append(out, "SELECT(");
    trimmed(out, text, question);
    text_append(out, ", ");
    trimmed(out, question + 1, colon);
    text_append(out, ", ");
    trimmed(out, colon + 1, end);
    text_append(out, ")");
}

const char *expression_of_vectors(Pool *pool, const char *text)
{
    Text out = {0};
    write_vectors(&out, text, text + strlen(text));
    return finish(pool, &out);
}
