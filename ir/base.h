/* Memory, text, words and faults: what everything else is made with. */
#ifndef NINC_IR_BASE_H
#define NINC_IR_BASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- memory and text ---- */

/* A pool frees all at once. Running out of memory prints one line and exits 1. */
typedef struct Pool Pool;

/* A growing string; data is always NUL-terminated (NULL when nothing was ever appended). */
typedef struct Text {
    char *data;
    size_t length, capacity;
} Text;

/* Names -> what they mean; empty when zeroed. */
typedef struct NameSlot {
    const char *key; /* NULL: empty */
    void *value;
    unsigned hash; /* of the key */
} NameSlot;

typedef struct NameTable {
    NameSlot *slot;
    int count, capacity; /* capacity is a power of two */
} NameTable;

/* ---- positions and diagnostics ---- */

typedef struct Loc {
    const char *file; /* NULL: nowhere */
    int line, column; /* from 1 */
} Loc;

typedef struct Diagnostic {
    Loc loc;
    int width; /* columns to underline, at least 1 */
    char *message;
} Diagnostic;

enum { MAX_DIAGNOSTICS = 20, MAX_NOTES = 8 };

/* The user's faults, collected in order of discovery; the frontend prints them. */
typedef struct Diagnostics {
    Pool *pool;
    Diagnostic list[MAX_DIAGNOSTICS];
    int count; /* stored */
    int total; /* found; more than count when there were too many */
    Diagnostic note[MAX_NOTES]; /* what is no fault, but hardly meant */
    int notes;
} Diagnostics;

/* ---- ir/pool.c ---- */

Pool *pool_new(void);
void pool_free(Pool *pool);
void *pool_alloc(Pool *pool, size_t bytes); /* zeroed, 16-byte aligned */
char *pool_format(Pool *pool, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *pool_strdup(Pool *pool, const char *text);
void *pool_copy(Pool *pool, const void *data, size_t bytes);
/* Appends one pointer to a pool array that grows: PUSH(pool, g->node, g->node_count,
 * g->node_capacity, n). */
void *pool_grow(Pool *pool, void *array, int count, int *capacity, size_t item);
#define POOL_PUSH(pool, array, count, capacity, item)                                         \
    ((array) = pool_grow((pool), (array), (count), &(capacity), sizeof *(array)),             \
     (array)[(count)++] = (item))

void text_append(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_append_v(Text *text, const char *format, va_list ap);
void text_write(Text *text, const char *data, size_t length);
/* Puts the other text before the character `at`. */
void text_insert(Text *text, size_t at, const Text *inserted);
/* A space, unless the text is empty, and `word` as a shell reads it as one word. */
void text_append_shell_word(Text *text, const char *word);
void text_free(Text *text);
/* The shortest decimal that reads back as the same double: 0.001, 1e-08, 3. `out` of 32 bytes. */
const char *format_double(double value, char *out);
/* Digits grouped by commas; out of 32 bytes. */
const char *format_count(int64_t value, char *out);

/* Seconds of a clock that never goes back; differences mean something. */
double clock_seconds(void);

/* malloc, realloc that end in fatal when memory runs out. */
void *xmalloc(size_t bytes);
void *xrealloc(void *p, size_t bytes);

/* ---- ir/words.c: messages for people ---- */

/* The nearest of `count` words, whose pointers stand `stride` bytes apart, by edit distance; NULL
 * if none is near. */
const char *nearest_word(const char *word, const void *words, int count, size_t stride);
/* Prints the message and ends its line. On a terminal, and where COLUMNS says how wide lines may
 * be, lines break between words, so that none is cut; elsewhere a message stays one line. What
 * stands in a line of its own behind the first, indented, is to be copied and never broken. */
void print_message(FILE *out, const char *message);
/* The same of a format, to standard error. */
void print_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same in lines of so many columns; 0: one line. */
void print_lines(FILE *out, const char *message, int columns);

/* ---- ir/names.c ---- */

/* NULL where the name is not in the table. */
void *names_find(const NameTable *t, const char *key);
/* `key` must not be in it yet, and must stay. */
void names_add(NameTable *t, Pool *pool, const char *key, void *value);

/* ---- ir/diagnostics.c ---- */

void diagnostics_init(Diagnostics *d, Pool *pool);
void diagnostics_add(Diagnostics *d, Loc loc, int width, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void diagnostics_note(Diagnostics *d, Loc loc, int width, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- ir/fatal.c ---- */

/* Prints one line and exits 1: for what nothing can be done about. */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What fatal does instead, for programs that must not end: it leaves the reason in `text` and jumps
 * to `back`. What the thread had in hand then, its memory too, is lost. */
typedef struct Rescue {
    jmp_buf back;
    char text[512];
} Rescue;

/* For this thread, from now on; NULL: none. Returns the one before. */
Rescue *rescue_set(Rescue *rescue);

/* A fault of ours: fatal with "internal error: FUNCTION: message". */
#define internal_error(...) internal_error_at(__func__, __VA_ARGS__)
_Noreturn void internal_error_at(const char *function, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
