/* Whole numbers: the smaller, the larger, and division that rounds up. Numbers as kernels have
 * them, which compute in float. */
#ifndef NINC_NUMBERS_H
#define NINC_NUMBERS_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
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

/* Finite as a float, and 0 or a normal number there: a device may take others for 0. */
static inline bool fits_float(double x)
{
    return x == 0 || (fabs(x) >= FLT_MIN && fabs(x) <= FLT_MAX);
}

/* What may be divided by. */
static inline bool fits_positive(double x)
{
    return x >= FLT_MIN && x <= FLT_MAX;
}

/* At least 0 and, as a float too, less than 1. */
static inline bool fits_fraction(double x)
{
    return fits_float(x) && x >= 0 && (float)x < 1;
}

#endif
