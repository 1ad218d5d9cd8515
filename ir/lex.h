/* Within ir/: the lexer of the IR text, which only the parser uses. */
#ifndef NINC_LEX_H
#define NINC_LEX_H

#include "ir.h"

enum { MAX_WORD = 256 };

/* A place in the text; `failed` from the first fault on, which is the only one reported. */
typedef struct Lexer {
    Pool *pool;
    Diagnostics *d;
    const char *file, *at, *end, *line_start;
    int line;
    bool failed;
} Lexer;

/* ---- lex.c ---- */

/* Where the lexer stands. */
Loc lex_here(const Lexer *l);
/* Reports a fault and returns false. */
bool lex_fail_at(Lexer *l, Loc loc, int width, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define lex_fail(l, ...) lex_fail_at((l), lex_here(l), 1, __VA_ARGS__)

/* The character that stands here; '\0' at the end of the text. */
int lex_peek(const Lexer *l);
/* To the next token, over line ends. */
void lex_skip_space(Lexer *l);
/* To the next token of this line, or its end. */
void lex_skip_blank(Lexer *l);
bool lex_expect_line_end(Lexer *l);
/* Takes `token` if it stands here, after blanks. */
bool lex_accept(Lexer *l, const char *token);
/* The same, and a fault where it does not stand here. */
bool lex_expect(Lexer *l, const char *token);

/* A run of letters, digits, `_` and the characters of `more`; "" at anything else. */
char *lex_word(Lexer *l, const char *more);
/* Words joined by dots; `what` names it in a fault. */
char *lex_expect_name(Lexer *l, const char *what);
/* What follows `loc`: bare, or quoted with \xHH for the characters that cannot stand bare. */
bool lex_file_name(Lexer *l, const char **out);

/* The same in quotes. */
bool lex_quoted(Lexer *l, const char **out);

/* A whole number from lo to hi. */
bool lex_integer(Lexer *l, int64_t lo, int64_t hi, int64_t *out);
/* A whole number of at least lo that an int holds. */
bool lex_expect_int(Lexer *l, int lo, int *out);
/* A finite number. */
bool lex_number(Lexer *l, double *out);
/* HxW, each at least lo. */
bool lex_pair(Lexer *l, int lo, int *h, int *w);
/* `key` (with its = sign, if it has one) and the number after it. */
bool lex_int_field(Lexer *l, const char *key, int lo, int *out);
/* 0 or more; that and, as a float too, less than 1; greater than 0 as a float. */
bool lex_rate_field(Lexer *l, const char *key, double *out);
bool lex_fraction_field(Lexer *l, const char *key, double *out);
bool lex_positive_field(Lexer *l, const char *key, double *out);
bool lex_number_field(Lexer *l, const char *key, double *out);
/* The same where `key` stands here; else *out is left as it is. At least 1. */
bool lex_optional_bytes(Lexer *l, const char *key, int64_t *out);
bool lex_optional_int(Lexer *l, const char *key, int *out);

/* The index in the list of the word that stands here. */
bool lex_choose(Lexer *l, const char *what, const char *const *list, int count, int *out);
#define CHOOSE(l, what, list, out) lex_choose((l), (what), (list), COUNT_OF(list), (out))
#define COUNT_OF(list) ((int)(sizeof(list) / sizeof *(list)))

#endif
