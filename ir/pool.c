/* Memory that is freed as a whole, growing text, and numbers as shortest decimals. */
#include "ir.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POOL_BLOCK = 1 << 16, POOL_ALIGN = 16 };

typedef struct PoolBlock {
    struct PoolBlock *next;
    size_t used, size; /* bytes of data[] */
    _Alignas(16) unsigned char data[];
} PoolBlock;

struct Pool {
    PoolBlock *head;
};

static _Noreturn void out_of_memory(size_t bytes)
{
    fatal("error: out of memory (%zu bytes more were asked for)", bytes);
}

void *xmalloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        out_of_memory(bytes);
    return p;
}

void *xrealloc(void *p, size_t bytes)
{
    void *q = realloc(p, bytes ? bytes : 1);
    if (!q)
        out_of_memory(bytes);
    return q;
}

Pool *pool_new(void)
{
    Pool *pool = xmalloc(sizeof *pool);
    pool->head = NULL;
    return pool;
}

void pool_free(Pool *pool)
{
    if (!pool)
        return;
    for (PoolBlock *b = pool->head; b;) {
        PoolBlock *next = b->next;
        free(b);
        b = next;
    }
    free(pool);
}

static PoolBlock *pool_add_block(Pool *pool, size_t bytes)
{
    size_t size = bytes > POOL_BLOCK ? bytes : POOL_BLOCK;
    PoolBlock *b = xmalloc(sizeof *b + size);
    b->used = 0;
    b->size = size;
    b->next = pool->head;
    pool->head = b;
    return b;
}

void *pool_alloc(Pool *pool, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        out_of_memory(bytes);
    size_t need = (bytes + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN;
    if (need == 0)
        need = POOL_ALIGN;
    PoolBlock *b = pool->head;
    if (!b || b->size - b->used < need)
        b = pool_add_block(pool, need);
    void *p = b->data + b->used;
    b->used += need;
    return memset(p, 0, need);
}

void *pool_copy(Pool *pool, const void *data, size_t bytes)
{
    return memcpy(pool_alloc(pool, bytes), data, bytes);
}

char *pool_strdup(Pool *pool, const char *text)
{
    return pool_copy(pool, text, strlen(text) + 1);
}

char *pool_format(Pool *pool, const char *format, ...)
{
    Text text = {0};
    va_list ap;
    va_start(ap, format);
    text_append_v(&text, format, ap);
    va_end(ap);
    char *copy = pool_strdup(pool, text.data);
    text_free(&text);
    return copy;
}

void *pool_grow(Pool *pool, void *array, int count, int *capacity, size_t item)
{
    if (count < *capacity)
        return array;
    if (*capacity > INT32_MAX / 2)
        out_of_memory((size_t)*capacity * item);
    *capacity = *capacity ? *capacity * 2 : 2;
    void *bigger = pool_alloc(pool, (size_t)*capacity * item);
    if (count > 0)
        memcpy(bigger, array, (size_t)count * item);
    return bigger;
}

enum { LONG_TEXT = 1 << 20 };

/* Makes room for `more` characters and the NUL. */
static void text_reserve(Text *text, size_t more)
{
    size_t need = text->length + more + 1;
    if (need <= text->capacity)
        return;
    size_t capacity = text->capacity ? text->capacity : 64;
    while (capacity < need)
        capacity += capacity < LONG_TEXT ? capacity : capacity / 8;
    text->data = xrealloc(text->data, capacity);
    text->capacity = capacity;
}

void text_write(Text *text, const char *data, size_t length)
{
    text_reserve(text, length);
    if (length)
        memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

void text_insert(Text *text, size_t at, const Text *inserted)
{
    if (inserted->length == 0)
        return;
    text_reserve(text, inserted->length);
    memmove(text->data + at + inserted->length, text->data + at, text->length - at);
    memcpy(text->data + at, inserted->data, inserted->length);
    text->length += inserted->length;
    text->data[text->length] = '\0';
}

void text_append_shell_word(Text *text, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "%+,-./:=@_";
    text_append(text, "%s", text->length ? " " : "");
    if (*word && word[strspn(word, plain)] == '\0') {
        text_append(text, "%s", word);
        return;
    }
    text_append(text, "'");
    for (; *word; word++)
        text_append(text, *word == '\'' ? "'\\''" : "%c", *word);
    text_append(text, "'");
}

void text_append_v(Text *text, const char *format, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    text_reserve(text, 0);
    size_t room = text->capacity - text->length;
    int length = vsnprintf(text->data + text->length, room, format, ap);
    if (length < 0)
        internal_error("bad format '%s'", format);
    if ((size_t)length >= room) {
        text_reserve(text, (size_t)length);
        vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
    }
    va_end(again);
    text->length += (size_t)length;
}

void text_append(Text *text, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    text_append_v(text, format, ap);
    va_end(ap);
}

void text_free(Text *text)
{
    free(text->data);
    *text = (Text){0};
}

const char *format_double(double value, char *out)
{
    enum { SIZE = 32, MAX_DIGITS = 17 };
    for (int digits = 1; digits <= MAX_DIGITS; digits++) {
        snprintf(out, SIZE, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    return out;
}

const char *format_count(int64_t value, char *out)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)value), used = 0;

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && digits[i - 1] != '-')
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
