/* What the op table's scalar expressions (ir/ops.h) call: functions of vectors, to two or three
 * units in the last place, in plain loops those of the C library, of doubles. NaN gives NaN. */

#define SQRT(X) _Generic((X), float: sqrtf, default: sqrt)(X)
#define POW pow
#define EXP(X) _Generic((X), Vector: exp_vector, default: exp)(X)
#define EXPM1(X) _Generic((X), Vector: expm1_vector, default: expm1)(X)
#define LOG1P(X) _Generic((X), Vector: log1p_vector, default: log1p)(X)
#define TANH(X) _Generic((X), Vector: tanh_vector, default: tanh)(X)
#define NORMCDF(X) _Generic((X), Vector: normcdf_vector, default: normcdf_number)(X)

/* x = n ln 2 + r, |r| <= ln 2 / 2: r, and 2^(n - 1), of which twice is no float where e^x is none;
 * 0 from e^-87 down. */
INLINE Vector exp_parts(Vector x, Vector *half)
{
    const float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    x = SELECT(x < -87.3f, -87.3f, x);
    x = SELECT(x > 89, 89, x);
    const Mask n = __builtin_convertvector(x * log2e + SELECT(x < 0, -0.5f, 0.5f), Mask);
    const Vector whole = __builtin_convertvector(n, Vector);
    *half = (Vector)((n + 126) << 23);
    return x - whole * ln2_high - whole * ln2_low;
}

/* (e^r - 1) / r by its series. */
INLINE Vector exp_series(Vector r)
{
    Vector y = r * (1.0f / 5040) + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    return y * r + 1;
}

INLINE Vector exp_vector(Vector x)
{
    Vector half;
    const Vector r = exp_parts(x, &half), y = exp_series(r) * r + 1;
    return y * half * 2;
}

/* e^x - 1 */
INLINE Vector expm1_vector(Vector x)
{
    Vector half;
    const Vector r = exp_parts(x, &half), y = exp_series(r) * r;
    return (y * half + (half - 0.5f)) * 2;
}

/* log(1 + x) of x from 0 to 1: 2 atanh s, s = x / (x + 2), by a polynomial of s^2 that was fitted
 * to 1e-7. */
INLINE Vector log1p_vector(Vector x)
{
    const Vector s = x / (x + 2), square = s * s;
    Vector y = square * 0.13425749f + 0.141183099f;
    y = y * square + 0.200037803f;
    y = y * square + 0.333333202f;
    return 2 * (s + s * (y * square));
}

INLINE Vector tanh_vector(Vector x)
{
    const Vector y = expm1_vector(2 * SELECT(x > 10, 10, x));
    return y / (y + 2);
}

/* The standard normal distribution's: below 0 e^(-x^2 / 2) times a polynomial of 1 / (1 + 0.4 |x|)
 * (the form is that of Abramowitz and Stegun 26.2.17) that was fitted to 3e-7 down to where the
 * result is no normal float. */
INLINE Vector normcdf_vector(Vector x)
{
    const Vector t = 1 / (1 + 0.4f * SELECT(x < 0, -x, x));
    Vector y = t * -0.0399001259f + 0.201973385f;
    y = y * t - 0.376363405f;
    y = y * t + 0.253872878f;
    y = y * t - 0.0142753793f;
    y = y * t + 0.159170898f;
    y = y * t + 0.155607946f;
    y = y * t + 0.159926951f;
    y = y * t - 1.31743723e-5f;
    y = y * exp_vector(-0.5f * x * x);
    return SELECT(x < 0, y, 1 - y);
}

INLINE double normcdf_number(double x)
{
    return 0.5 * erfc(-0.70710678118654752 * x);
}
