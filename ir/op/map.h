/* Within ir/: the values of the evaluator as maps. */
#ifndef NINC_MAP_H
#define NINC_MAP_H

#include "../eval.h"

#include <string.h>

#ifdef _OPENMP
#define PARALLEL_FOR _Pragma("omp parallel for schedule(dynamic)")
#else
#define PARALLEL_FOR
#endif

/* An activation [n,h,w,c]; a rank-2 value [n,c] is seen as h = w = 1. */
typedef struct Map {
    double *data;
    int n, h, w, c;
} Map;

static inline double *map_at(const Map *m, int n, int h, int w)
{
    return m->data + (((int64_t)n * m->h + h) * m->w + w) * m->c;
}

typedef double Pair __attribute__((vector_size(16)));

static inline Pair pair_at(const double *p)
{
    Pair pair;
    memcpy(&pair, p, sizeof pair);
    return pair;
}

/* y[0..count-1] += a * x[0..count-1] */
static inline void add_scaled(double *restrict y, double a, const double *restrict x, int count)
{
    int i = 0;
    for (; i + 2 <= count; i += 2) {
        Pair sum = pair_at(y + i) + a * pair_at(x + i);
        memcpy(y + i, &sum, sizeof sum);
    }
    for (; i < count; i++)
        y[i] += a * x[i];
}

/* y[0..count-1] += a[k] * x[k][0..count-1] for each k of 0..terms-1, rows of x `stride` apart: the
 * bits of so many calls of add_scaled, with a fourth of their loads and stores of y. */
static inline void add_products(double *restrict y, int count, const double *a, int terms,
                                const double *restrict x, int64_t stride)
{
    int k = 0;
    for (; k + 4 <= terms; k += 4, a += 4, x += 4 * stride) {
        int i = 0;
        for (; i + 2 <= count; i += 2) {
            Pair sum = pair_at(y + i) + a[0] * pair_at(x + i);
            sum += a[1] * pair_at(x + stride + i);
            sum += a[2] * pair_at(x + 2 * stride + i);
            sum += a[3] * pair_at(x + 3 * stride + i);
            memcpy(y + i, &sum, sizeof sum);
        }
        for (int j = 0; i < count && j < 4; j++)
            y[i] += a[j] * x[j * stride + i];
    }
    for (; k < terms; k++, a++, x += stride)
        add_scaled(y, *a, x, count);
}

/* A coefficient of a linear op, squared where squares of spreads are computed (eval_spread.c). */
static inline double eval_factor(const Eval *e, double k)
{
    return e->of ? k * k : k;
}

/* ---- eval.c ---- */

/* The value of a node of rank 4 or 2. */
Map eval_map(Eval *e, const Node *n);
/* The filter OIHW as [KH][KW][I][O], or [KH][KW][O][I] with out_first; the caller frees it. */
double *eval_filter_by_tap(Eval *e, const Node *n, bool out_first);

#endif
