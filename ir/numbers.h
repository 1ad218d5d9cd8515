/* Whole numbers: the smaller, the larger, and division that rounds up. */
#ifndef NINC_NUMBERS_H
#define NINC_NUMBERS_H

#include <stdint.h>

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* b > 0; a and n: 0 or more. */
static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* The least multiple that is n or more. */
static inline int64_t round_up(int64_t n, int64_t multiple)
{
    return ceil_div(n, multiple) * multiple;
}

#endif
