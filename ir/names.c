/* A hash table of names, with open addressing. */
#include "ir.h"

#include <string.h>

static unsigned hash(const char *key)
{
    unsigned h = 2166136261u;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 16777619u;
    return h;
}

static int names_slot(const NameTable *t, const char *key)
{
    unsigned mask = (unsigned)t->capacity - 1, i = hash(key) & mask;
    while (t->key[i] && strcmp(t->key[i], key) != 0)
        i = (i + 1) & mask;
    return (int)i;
}

void *names_find(const NameTable *t, const char *key)
{
    return t->capacity ? t->value[names_slot(t, key)] : NULL;
}

static void names_grow(NameTable *t, Pool *pool)
{
    NameTable bigger = {.capacity = t->capacity ? 2 * t->capacity : 64, .count = t->count};
    bigger.key = pool_alloc(pool, (size_t)bigger.capacity * sizeof *bigger.key);
    bigger.value = pool_alloc(pool, (size_t)bigger.capacity * sizeof *bigger.value);
    for (int i = 0; i < t->capacity; i++) {
        if (!t->key[i])
            continue;
        int slot = names_slot(&bigger, t->key[i]);
        bigger.key[slot] = t->key[i];
        bigger.value[slot] = t->value[i];
    }
    *t = bigger;
}

void names_add(NameTable *t, Pool *pool, const char *key, void *value)
{
    if (2 * (t->count + 1) > t->capacity)
        names_grow(t, pool);
    int slot = names_slot(t, key);
    t->key[slot] = key;
    t->value[slot] = value;
    t->count++;
}
