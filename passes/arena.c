/* See arena.h. A tree halves time again and again. Each part of time has two sets of byte ranges:
 * those taken at some moment of it, and those taken over all of it by values that live longer. What
 * is taken between two moments is then in the first set of a few parts that make up that time, or
 * in the second of one that these lie in: some twenty sets instead of all values. */
#include "arena.h"

#include <string.h>

typedef struct Range {
    int64_t from, to; /* `to` is behind the last */
} Range;

/* Ranges in order, apart from each other: those that touch are one. */
typedef struct Ranges {
    Range *list;
    int count, capacity;
} Ranges;

typedef struct Part {
    Ranges some, all;
} Part;

struct Arena {
    Pool *pool;
    int leaves; /* a power of two */
    Part *part; /* the root is 1, the halves of i are 2i and 2i + 1 */
};

/* The first range that ends at `offset` or behind it. */
static int first_behind(const Ranges *r, int64_t offset)
{
    int low = 0, high = r->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (r->list[middle].to < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_range(Pool *pool, Ranges *r, Range range)
{
    int at = first_behind(r, range.from), end = at;
    for (; end < r->count && r->list[end].from <= range.to; end++) {
        range.from = range.from < r->list[end].from ? range.from : r->list[end].from;
        range.to = range.to > r->list[end].to ? range.to : r->list[end].to;
    }
    if (end == at)
        r->list = pool_grow(pool, r->list, r->count, &r->capacity, sizeof *r->list);
    memmove(r->list + at + 1, r->list + end, (size_t)(r->count - end) * sizeof *r->list);
    r->list[at] = range;
    r->count += 1 - (end - at);
}

/* The sets that hold what is taken between two moments. */
typedef struct Sets {
    const Ranges *set[128];
    int count;
} Sets;

/* Visits the parts that make up begin .. end, and those that they lie in; `range` NULL: collects
 * their sets, else takes it. */
typedef struct Visit {
    Arena *arena;
    int begin, end;
    const Range *range;
    Sets *sets;
} Visit;

static void visit_part(const Visit *v, int at, int from, int size)
{
    Part *p = &v->arena->part[at];
    bool whole = v->begin <= from && from + size - 1 <= v->end;
    if (v->end < from || from + size - 1 < v->begin)
        return;
    if (v->range) {
        add_range(v->arena->pool, &p->some, *v->range);
        if (whole)
            add_range(v->arena->pool, &p->all, *v->range);
    } else if ((whole ? &p->some : &p->all)->count > 0) {
        v->sets->set[v->sets->count++] = whole ? &p->some : &p->all;
    }
    if (whole)
        return;
    visit_part(v, 2 * at, from, size / 2);
    visit_part(v, 2 * at + 1, from + size / 2, size / 2);
}

/* Where `bytes` from offset on meet a range of the set, its end; else offset. */
static int64_t step_over(const Ranges *r, int64_t offset, int64_t bytes)
{
    int at = first_behind(r, offset + 1);
    return at < r->count && r->list[at].from < offset + bytes ? r->list[at].to : offset;
}

static int64_t lowest_free(const Sets *sets, int64_t bytes)
{
    int64_t offset = 0;
    for (int i = 0, free_in = 0; free_in < sets->count; i = (i + 1) % sets->count) {
        int64_t next = step_over(sets->set[i], offset, bytes);
        free_in = next == offset ? free_in + 1 : 0;
        offset = next;
    }
    return offset;
}

Arena *arena_new(Pool *pool, int moments)
{
    Arena *a = pool_alloc(pool, sizeof *a);
    a->pool = pool;
    for (a->leaves = 1; a->leaves < moments;)
        a->leaves *= 2;
    a->part = pool_alloc(pool, 2 * (size_t)a->leaves * sizeof *a->part);
    return a;
}

int64_t arena_place(Arena *a, int begin, int end, int64_t bytes)
{
    Sets sets = {.count = 0};
    visit_part(&(Visit){a, begin, end, NULL, &sets}, 1, 0, a->leaves);
    int64_t offset = lowest_free(&sets, bytes);
    visit_part(&(Visit){a, begin, end, &(Range){offset, offset + bytes}, NULL}, 1, 0, a->leaves);
    return offset;
}
