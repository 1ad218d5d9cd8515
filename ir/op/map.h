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

/* y[0..count-1] += a * x[0..count-1] */
static inline void add_scaled(double *restrict y, double a, const double *restrict x, int count)
{
    typedef double Pair __attribute__((vector_size(16)));
    int i = 0;
    for (; i + 2 <= count; i += 2) {
        Pair px, py;
        memcpy(&px, x + i, sizeof px);
        memcpy(&py, y + i, sizeof py);
        py += a * px;
        memcpy(y + i, &py, sizeof py);
    }
    for (; i < count; i++)
        y[i] += a * x[i];
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
