/* A hash table of names, with open addressing. */
#include "ir.h"

#include <string.h>

static unsigned hash_of(const char *key)
{
    unsigned h = 2166136261u;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 16777619u;
    return h ^ h >> 15;
}

/* The slot of the key, or the empty one where it would go. */
static unsigned names_slot(const NameTable *t, const char *key, unsigned hash)
{
    unsigned mask = (unsigned)t->capacity - 1, i = hash & mask;
    while (t->slot[i].key && (t->slot[i].hash != hash || strcmp(t->slot[i].key, key) != 0))
        i = (i + 1) & mask;
    return i;
}

void *names_find(const NameTable *t, const char *key)
{
    return t->capacity ? t->slot[names_slot(t, key, hash_of(key))].value : NULL;
}

/* All keys differ, so that none has to be read again. */
static void names_grow(NameTable *t, Pool *pool)
{
    NameTable bigger = {.capacity = t->capacity ? 2 * t->capacity : 64, .count = t->count};
    unsigned mask = (unsigned)bigger.capacity - 1;
    bigger.slot = pool_alloc(pool, (size_t)bigger.capacity * sizeof *bigger.slot);
    for (int i = 0; i < t->capacity; i++) {
        unsigned to = t->slot[i].hash & mask;
        if (!t->slot[i].key)
            continue;
        while (bigger.slot[to].key)
            to = (to + 1) & mask;
        bigger.slot[to] = t->slot[i];
    }
    *t = bigger;
}

void names_add(NameTable *t, Pool *pool, const char *key, void *value)
{
    if (2 * (t->count + 1) > t->capacity)
        names_grow(t, pool);
    unsigned hash = hash_of(key), slot = names_slot(t, key, hash);
    t->count += !t->slot[slot].key;
    t->slot[slot] = (NameSlot){key, value, hash};
}
