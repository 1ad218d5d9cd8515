/* The tokens of IR text: names, numbers, words of a list, file names; `#` starts a comment. The
 * text is a stranger's, so nothing in it is trusted. */
#include "lex.h"
#include "numbers.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- faults ---- */

Loc lex_here(const Lexer *l)
{
    return (Loc){l->file, l->line, (int)(l->at - l->line_start) + 1};
}

bool lex_fail_at(Lexer *l, Loc loc, int width, const char *format, ...)
{
    Text text = {0};
    va_list ap;
    va_start(ap, format);
    text_append_v(&text, format, ap);
    va_end(ap);
    if (!l->failed)
        diagnostics_add(l->d, loc, width, "%s", text.data);
    l->failed = true;
    text_free(&text);
    return false;
}

/* ---- characters ---- */

int lex_peek(const Lexer *l)
{
    if (l->at == l->end)
        return '\0';
    return *l->at ? (unsigned char)*l->at : 1; /* a NUL byte is just not legal */
}

static bool is_comment_or_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '#';
}

/* To the next token of this line, or its end. */
void lex_skip_blank(Lexer *l)
{
    while (is_comment_or_blank(lex_peek(l))) {
        if (*l->at != '#') {
            l->at++;
            continue;
        }
        while (l->at < l->end && *l->at != '\n')
            l->at++;
    }
}

/* To the next token, over line ends. */
void lex_skip_space(Lexer *l)
{
    for (lex_skip_blank(l); lex_peek(l) == '\n'; lex_skip_blank(l)) {
        l->line_start = ++l->at;
        l->line++;
    }
}

static bool ends_line(Lexer *l)
{
    lex_skip_blank(l);
    return lex_peek(l) == '\n' || lex_peek(l) == '\0';
}

bool lex_expect_line_end(Lexer *l)
{
    return ends_line(l) || lex_fail(l, "expected the end of the line");
}

/* Takes `token` if it stands here, after blanks. */
bool lex_accept(Lexer *l, const char *token)
{
    size_t length = strlen(token);
    lex_skip_blank(l);
    if (l->failed || (size_t)(l->end - l->at) < length || memcmp(l->at, token, length) != 0)
        return false;
    l->at += length;
    return true;
}

bool lex_expect(Lexer *l, const char *token)
{
    return lex_accept(l, token) || lex_fail(l, "expected '%s'", token);
}

static bool is_word_char(int c)
{
    return c < 128 && (isalnum(c) || c == '_');
}

/* A run of word characters and those of `more`; "" at anything else. */
char *lex_word(Lexer *l, const char *more)
{
    char text[MAX_WORD];
    size_t length = 0;
    lex_skip_blank(l);
    const char *start = l->at;
    while (is_word_char(lex_peek(l)) || (l->at < l->end && *l->at && strchr(more, *l->at))) {
        if (length == sizeof text - 1) {
            l->at = start;
            lex_fail(l, "a word of more than %d characters", MAX_WORD - 1);
            break;
        }
        text[length++] = *l->at++;
    }
    text[length] = '\0';
    return pool_strdup(l->pool, l->failed ? "" : text);
}

/* [A-Za-z0-9_]+ with dots between. */
static bool is_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && name[0] != '.' && name[length - 1] != '.' && !strstr(name, "..");
}

char *lex_expect_name(Lexer *l, const char *what)
{
    lex_skip_blank(l);
    Loc loc = lex_here(l);
    char *name = lex_word(l, ".");
    if (!is_name(name))
        lex_fail_at(l, loc, (int)strlen(name), "expected %s", what);
    return name;
}

/* ---- numbers ---- */

bool lex_integer(Lexer *l, int64_t lo, int64_t hi, int64_t *out)
{
    char digits[24];
    size_t length = 0;
    lex_skip_blank(l);
    const char *start = l->at;
    if (lex_peek(l) == '-')
        digits[length++] = *l->at++;
    while (lex_peek(l) < 128 && isdigit(lex_peek(l)) && length < sizeof digits - 1)
        digits[length++] = *l->at++;
    digits[length] = '\0';
    errno = 0;
    long long value = strtoll(digits, NULL, 10);
    bool is_number = length > 0 && isdigit((unsigned char)digits[length - 1]) && errno == 0;
    if (is_number && value >= lo && value <= hi && !l->failed) {
        *out = value;
        return true;
    }
    l->at = start;
    return lex_fail(l, "expected a whole number from %lld to %lld", (long long)lo, (long long)hi);
}

bool lex_expect_int(Lexer *l, int lo, int *out)
{
    int64_t value = 0;
    bool good = lex_integer(l, lo, INT32_MAX, &value);
    *out = (int)value;
    return good;
}

bool lex_number(Lexer *l, double *out)
{
    char *end;
    lex_skip_blank(l);
    Loc loc = lex_here(l);
    char *text = lex_word(l, "+-.");
    *out = strtod(text, &end);
    if (!*text || *end || *out - *out != 0)
        return lex_fail_at(l, loc, (int)strlen(text), "expected a finite number");
    return fits_float(*out) ||
           lex_fail_at(l, loc, (int)strlen(text), "expected a number that a float can be");
}

/* HxW */
bool lex_pair(Lexer *l, int lo, int *h, int *w)
{
    return lex_expect_int(l, lo, h) && lex_expect(l, "x") && lex_expect_int(l, lo, w);
}

bool lex_int_field(Lexer *l, const char *key, int lo, int *out)
{
    return lex_expect(l, key) && lex_expect_int(l, lo, out);
}

bool lex_number_field(Lexer *l, const char *key, double *out)
{
    return lex_expect(l, key) && lex_number(l, out);
}

static bool checked_field(Lexer *l, const char *key, double *out, bool (*fits)(double),
                          const char *wanted)
{
    if (!lex_expect(l, key))
        return false;
    lex_skip_blank(l);
    Loc loc = lex_here(l);
    return lex_number(l, out) && (fits(*out) || lex_fail_at(l, loc, 1, "expected %s", wanted));
}

static bool is_not_negative(double x)
{
    return x >= 0;
}

bool lex_rate_field(Lexer *l, const char *key, double *out)
{
    return checked_field(l, key, out, is_not_negative, "a number of at least 0");
}

bool lex_fraction_field(Lexer *l, const char *key, double *out)
{
    return checked_field(l, key, out, fits_fraction, "a number in [0, 1), as a float too");
}

bool lex_positive_field(Lexer *l, const char *key, double *out)
{
    return checked_field(l, key, out, fits_positive, "a number greater than 0 as a float");
}

bool lex_optional_bytes(Lexer *l, const char *key, int64_t *out)
{
    return !lex_accept(l, key) || lex_integer(l, 1, INT64_MAX / 4, out);
}

bool lex_optional_int(Lexer *l, const char *key, int *out)
{
    return !lex_accept(l, key) || lex_expect_int(l, 1, out);
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
bool lex_choose(Lexer *l, const char *what, const char *const *list, int count, int *out)
{
    lex_skip_blank(l);
    Loc loc = lex_here(l);
    char *text = lex_word(l, "");
    for (*out = 0; *out < count; ++*out)
        if (strcmp(list[*out], text) == 0)
            return true;
    *out = 0;
    const char *guess = *text ? closest(text, list, count) : NULL;
    if (!*text)
        return lex_fail_at(l, loc, 1, "expected %s", what);
    if (guess)
        return lex_fail_at(l, loc, (int)strlen(text), "'%s' is not %s; did you mean '%s'?", text,
                           what, guess);
    return lex_fail_at(l, loc, (int)strlen(text), "'%s' is not %s", text, what);
}

/* ---- file names ---- */

static bool quoted(Lexer *l, Text *out)
{
    while (lex_peek(l) != '"') {
        if (l->at == l->end || lex_peek(l) == '\n')
            return lex_fail(l, "the string has no end");
        char c = *l->at++;
        if (c == '\\') {
            unsigned code;
            if (l->end - l->at < 3 || l->at[0] != 'x' || !isxdigit((unsigned char)l->at[1]) ||
                !isxdigit((unsigned char)l->at[2]))
                return lex_fail(l, "expected x and two hexadecimal digits after the backslash");
            char digits[3] = {l->at[1], l->at[2], '\0'};
            code = (unsigned)strtoul(digits, NULL, 16);
            if (code == 0)
                return lex_fail(l, "a string cannot hold a zero byte");
            c = (char)code;
            l->at += 3;
        }
        text_write(out, &c, 1);
    }
    l->at++;
    return true;
}

bool lex_quoted(Lexer *l, const char **out)
{
    Text text = {0};
    bool good = lex_expect(l, "\"") && quoted(l, &text);
    *out = pool_strdup(l->pool, text.length ? text.data : "");
    text_free(&text);
    return good;
}

bool lex_file_name(Lexer *l, const char **out)
{
    Text text = {0};
    bool good = true;
    if (lex_accept(l, "\"")) {
        good = quoted(l, &text);
    } else {
        while (is_word_char(lex_peek(l)) || (l->at < l->end && *l->at && strchr("./+-<>", *l->at)))
            text_write(&text, l->at++, 1);
        if (text.length == 0)
            good = lex_fail(l, "expected a file name after loc");
    }
    *out = pool_strdup(l->pool, text.length ? text.data : "");
    text_free(&text);
    return good;
}
