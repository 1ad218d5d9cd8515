/* What the CPU device library does to single elements (codegen/cpu/ninc_map.h, ninc_wgrad.h), on
 * one instruction set, for values that networks do not often have: against loops that go lane by
 * lane. */
#include "tensor.h"

#include "plan.h"

enum { EPILOGUE_MAPS = 1, EPILOGUE_SCALARS = 1 };

#include "../../codegen/cpu/ninc_map.h"

#include "../../codegen/cpu/ninc_math.h"

#include "epilogues.h"

#include "../../codegen/cpu/ninc_cpu.h"

#include "../../codegen/cpu/ninc_wgrad.h"

#include <stdio.h>

/* Every code of a window, in every lane. */
static bool codes(void)
{
    for (int i = 0; i < 256; i++) {
        Codes c;
        for (int lane = 0; lane < LANES_A_PART; lane++)
            c[lane] = (uint8_t)(i + lane);
        Mask wide = widen_codes(c);
        Codes narrow = narrow_codes(wide);
        for (int lane = 0; lane < LANES_A_PART; lane++)
            if (wide[lane] != (i + lane) % 256 || narrow[lane] != c[lane])
                return false;
    }
    return true;
}

/* As many elements as are asked for, from anywhere on, and no other. */
static bool zeros(void)
{
    enum { BEFORE = 70, MOST = 200 };
    for (size_t at = 0; at < 64; at += sizeof(Element))
        for (size_t count = 0; count <= MOST; count += sizeof(Element)) {
            _Alignas(64) uint8_t bytes[BEFORE + 64 + MOST + 64];
            memset(bytes, 0xA5, sizeof bytes);
            zero_pixels(bytes + BEFORE + at, count);
            for (size_t i = 0; i < sizeof bytes; i++)
                if (bytes[i] != (i >= BEFORE + at && i < BEFORE + at + count ? 0 : 0xA5))
                    return false;
        }
    return true;
}

/* A square of words is turned around, wherever its rows and those of the result lie. */
static bool turned(void)
{
    enum { FROM_ROW = 3 * LANES, TO_ROW = 2 * LANES };
    static _Alignas(64) Word from[LANES * FROM_ROW], to[LANES * TO_ROW];
    for (int i = 0; i < LANES * FROM_ROW; i++)
        from[i] = 0x01010101u * (Word)(i % 251) + (Word)i;
    turn_square(from + LANES, FROM_ROW, to, TO_ROW);
    for (int j = 0; j < LANES; j++)
        for (int i = 0; i < TO_ROW; i++)
            if (to[j * TO_ROW + i] != (i < LANES ? from[i * FROM_ROW + LANES + j] : 0))
                return false;
    return true;
}

/* A masked store keeps a value where it is > 0, and nowhere else. */
static bool kept(const float *values, int count, const Element *masks)
{
    _Alignas(64) Element mask[LANES_A_PART], y[LANES_A_PART], all[LANES_A_PART];
    memcpy(mask, masks, sizeof mask);
    for (int i = 0; i < count; i++) {
        const Vector v = (Vector){0} + values[i];
        store_masked(y, v, mask);
        store_map(all, v);
        for (int lane = 0; lane < LANES_A_PART; lane++) {
            const Element wanted = from_element(mask[lane]) > 0 ? all[lane] : 0;
            if (memcmp(&y[lane], &wanted, sizeof wanted) != 0) {
                printf("%g masked by %g is %g\n", (double)values[i],
                       (double)from_element(mask[lane]), (double)from_element(y[lane]));
                return false;
            }
        }
    }
    return true;
}

/* Whether a function of vectors gives at x what it should: to `error`, relative, but for what is
 * hardly a normal float or too large for one. */
static bool is_near(const char *name, Vector got, float x, double wanted, double error)
{
    const double value = (double)got[LANES_A_PART - 1];
    const bool infinite = value == INFINITY && wanted > 3.4e38;
    if (infinite || fabs(value - wanted) <= error * fabs(wanted) + 1.7e-38)
        return true;
    printf("%s of %g is %.9g, not %.9g\n", name, (double)x, value, wanted);
    return false;
}

static bool is_nan(Vector v)
{
    return v[0] != v[0] && v[LANES_A_PART - 1] != v[LANES_A_PART - 1];
}

/* What the op table's expressions call: to two or three units in the last place, past the ends what
 * it is there, and near zero with all digits. */
static bool functions(void)
{
    const Vector nan = (Vector){0} + NAN;
    for (int i = -2000; i <= 2000; i++) {
        const float list[] = {(float)i * 0.0613f, (float)copysign(exp2(i * 0.06), i)};
        for (int k = 0; k < 2; k++) {
            const float x = list[k], part = fabsf(x) < 1 ? fabsf(x) : 1 / fabsf(x);
            const Vector v = (Vector){0} + x;
            if (!is_near("exp", EXP(v), x, exp((double)x), 2.5e-7) ||
                !is_near("expm1", EXPM1(v), x, expm1((double)x), 3e-7) ||
                !is_near("tanh", TANH(v), x, tanh((double)x), 5e-7) ||
                !is_near("log1p", LOG1P((Vector){0} + part), part, log1p((double)part), 3e-7) ||
                !is_near("normcdf", NORMCDF(v), x, normcdf_number((double)x),
                         6e-7 + 1e-7 * fmin((double)x * (double)x, 200)))
                return false;
        }
    }
    return is_nan(EXP(nan)) && is_nan(EXPM1(nan)) && is_nan(TANH(nan)) && is_nan(LOG1P(nan)) &&
           is_nan(NORMCDF(nan)) && EXP((Vector){0})[0] == 1 && TANH((Vector){0})[0] == 0;
}

static const float values[] = {1.5f, -3e30f, 1e-41f, INFINITY, -INFINITY, NAN};
enum { VALUES = sizeof values / sizeof *values };

#ifdef NINC_BF16
static bool masks(void)
{
    Element mask[LANES_A_PART];
    for (int first = 0; first < 0x10000; first += LANES_A_PART) {
        for (int lane = 0; lane < LANES_A_PART; lane++)
            mask[lane] = (Element)(first + lane);
        if (!kept(values, VALUES, mask))
            return false;
    }
    return true;
}

/* Every bf16 as a float, and back: what is not a number stays so, and what is too small for a
 * number with all its digits may become 0. */
static bool floats(void)
{
    _Alignas(64) Element from[LANES_A_PART], to[LANES_A_PART];
    for (int first = 0; first < 0x10000; first += LANES_A_PART) {
        for (int lane = 0; lane < LANES_A_PART; lane++)
            from[lane] = (Element)(first + lane);
        const Vector v = load_map(from);
        store_map(to, v);
        for (int lane = 0; lane < LANES_A_PART; lane++) {
            const float x = from_element(from[lane]);
            const bool small = fabsf(x) < 0x1p-126f;
            if (memcmp(&x, &(float){v[lane]}, sizeof x) != 0 ||
                (x != x ? (to[lane] & 0x7FFF) <= 0x7F80
                        : to[lane] != from[lane] && !(small && (to[lane] & 0x7FFF) == 0)))
                return false;
        }
    }
    return true;
}

/* Floats between two bf16: the nearer one, of two as near the even one. Not of floats that have not
 * all their digits. */
static bool rounding(void)
{
    static const uint32_t between[] = {0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
    _Alignas(64) Element to[LANES_A_PART];
    for (uint32_t below = 0; below < 0x10000; below++) {
        if ((below & 0x7F80) == 0 || (below & 0x7F80) == 0x7F80)
            continue;
        for (size_t i = 0; i < sizeof between / sizeof *between; i++) {
            const uint32_t bits = below << 16 | between[i];
            const uint32_t odd = below & 1, up = between[i] + odd > 0x8000;
            Vector v;
            float x;
            memcpy(&x, &bits, sizeof x);
            for (int lane = 0; lane < LANES_A_PART; lane++)
                v[lane] = x;
            store_map(to, v);
            if (to[0] != below + up || to[LANES_A_PART - 1] != below + up ||
                to_element(x) != below + up)
                return false;
        }
    }
    return true;
}

/* Pairs of pixels that lie side by side or apart, and are not aligned. */
static bool pairs(void)
{
    enum { MOST = 5, WIDEST = 2 * LANES, TO_STEP = 3 * LANES };
    _Alignas(64) Element map[1 + MOST * WIDEST];
    _Alignas(64) Word to[(MOST + 1) / 2 * TO_STEP];
    for (int i = 0; i < (int)(sizeof map / sizeof *map); i++)
        map[i] = (Element)(40503 * (i + 1));
    const Element *x = map + 1;
    for (int step = LANES; step <= WIDEST; step += LANES)
        for (int pixels = 1; pixels <= MOST; pixels++) {
            memset(to, 0xA5, sizeof to);
            pack_pairs(x, step, pixels, to, TO_STEP);
            for (int p = 0; p < MOST + 1; p += 2)
                for (int i = 0; i < TO_STEP; i++) {
                    const Element *even = x + p * step + i;
                    const Word odd = p + 1 < pixels ? (Word)even[step] << 16 : 0;
                    const Word wanted = p < pixels && i < LANES ? *even | odd : 0xA5A5A5A5;
                    if (to[p / 2 * TO_STEP + i] != wanted)
                        return false;
                }
        }
    return true;
}
#else
static bool masks(void)
{
    Element mask[LANES_A_PART];
    static const float edges[] = {0, -0.0f, 1, -1, 1e-41f, -1e-41f, INFINITY, -INFINITY, NAN};
    for (int i = 0; i < (int)(sizeof edges / sizeof *edges); i++) {
        for (int lane = 0; lane < LANES_A_PART; lane++)
            mask[lane] = edges[(i + lane) % (int)(sizeof edges / sizeof *edges)];
        if (!kept(values, VALUES, mask))
            return false;
    }
    return true;
}
#endif

int main(void)
{
    static const struct {
        const char *name;
        bool (*holds)(void);
    } cases[] = {
        {"codes of windows", codes},
        {"zeroed elements", zeros},
        {"squares turned around", turned},
        {"masks", masks},
        {"functions of the op table", functions},
#ifdef NINC_BF16
        {"floats of bf16", floats},
        {"rounding to bf16", rounding},
        {"pairs of pixels", pairs},
#endif
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const bool good = cases[i].holds();
        printf("%s %s\n", good ? "ok" : "not ok", cases[i].name);
        failed += !good;
    }
    return failed > 0;
}
