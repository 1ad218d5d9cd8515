/* Histograms with the buckets of TensorFlow's default. */
#include "../../ir/ir.h"
#include "formats.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Limits below zero, zero, limits above it; the last is DBL_MAX. */
enum { POSITIVE = 774, BUCKETS = 2 * (POSITIVE + 1) + 1 };

static const double SMALLEST = 1e-12, GROWTH = 1.1;

void histogram_clear(Histogram *h)
{
    h->min = INFINITY;
    h->max = -INFINITY;
    h->num = h->sum = h->sum_squares = 0;
    memset(h->count, 0, (size_t)h->buckets * sizeof *h->count);
}

void histogram_init(Histogram *h)
{
    double limit = SMALLEST;
    *h = (Histogram){.buckets = BUCKETS,
                     .limit = xmalloc(BUCKETS * sizeof *h->limit),
                     .count = xmalloc(BUCKETS * sizeof *h->count)};
    h->limit[POSITIVE + 1] = 0;
    for (int i = 0; i <= POSITIVE; i++, limit *= GROWTH) {
        h->limit[POSITIVE + 2 + i] = i < POSITIVE ? limit : DBL_MAX;
        h->limit[POSITIVE - i] = -h->limit[POSITIVE + 2 + i];
    }
    histogram_clear(h);
}

/* The first bucket whose limit is larger than x; the last one for x = DBL_MAX. */
static int bucket_of(const Histogram *h, double x)
{
    int low = 0, high = h->buckets - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (h->limit[middle] > x)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void histogram_add(Histogram *h, const double *value, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double x = value[i];
        if (!isfinite(x))
            continue;
        h->min = fmin(h->min, x);
        h->max = fmax(h->max, x);
        h->num++;
        h->sum += x;
        h->sum_squares += x * x;
        h->count[bucket_of(h, x)]++;
    }
}

void histogram_free(Histogram *h)
{
    free(h->limit);
    free(h->count);
    *h = (Histogram){0};
}
