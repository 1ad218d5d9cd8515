/* Arrays of numbers as files hold them: their elements as pixels and as labels, the order of their
 * axes. */
#include "formats.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const NumberType number_types[] = {
    [NUMBER_U8] = {"unsigned bytes", 1, 0, UINT8_MAX, false},
    [NUMBER_I8] = {"signed bytes", 1, INT8_MIN, INT8_MAX, false},
    [NUMBER_U16] = {"unsigned 16-bit integers", 2, 0, UINT16_MAX, false},
    [NUMBER_I16] = {"16-bit integers", 2, INT16_MIN, INT16_MAX, false},
    [NUMBER_U32] = {"unsigned 32-bit integers", 4, 0, UINT32_MAX, false},
    [NUMBER_I32] = {"32-bit integers", 4, INT32_MIN, INT32_MAX, false},
    [NUMBER_U64] = {"unsigned 64-bit integers", 8, 0, 18446744073709551615.0, false},
    [NUMBER_I64] = {"64-bit integers", 8, -9223372036854775808.0, 9223372036854775807.0, false},
    [NUMBER_F32] = {"32-bit floats", 4, 0, 0, true},
    [NUMBER_F64] = {"64-bit floats", 8, 0, 0, true},
};

int64_t numbers_item(const Numbers *n)
{
    int64_t item = 1;
    for (int i = 1; i < n->rank; i++)
        if (__builtin_mul_overflow(item, n->dim[i], &item))
            return INT64_MAX;
    return item;
}

static uint64_t memory_bytes(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool memory_holds(uint64_t bytes)
{
    return bytes < memory_bytes();
}

int numbers_room(Numbers *n)
{
    int64_t item = numbers_item(n), count, bytes = INT64_MAX;
    if (!__builtin_mul_overflow(item, n->dim[0], &count) &&
        !__builtin_mul_overflow(count, (int64_t)number_types[n->type].bytes, &bytes) &&
        memory_holds((uint64_t)bytes))
        n->raw = malloc((size_t)bytes + 1);
    if (!n->raw)
        return fault("%s: its header says %lld items of %lld %s, more than this machine's memory "
                     "of %llu MB takes, or the header is wrong",
                     n->path, (long long)n->dim[0], (long long)item, number_types[n->type].name,
                     (unsigned long long)(memory_bytes() >> 20));
    n->bytes = (size_t)bytes;
    return 0;
}

void numbers_free(Numbers *n)
{
    free(n->path);
    free(n->raw);
    *n = (Numbers){0};
}

/* ---- elements ---- */

static uint64_t bits_of(const uint8_t *raw, int bytes, bool big_endian)
{
    uint64_t bits = 0;
    for (int i = 0; i < bytes; i++)
        bits = bits << 8 | raw[big_endian ? i : bytes - 1 - i];
    return bits;
}

/* Element `at` in the order of the file. */
static double element(const Numbers *n, int64_t at)
{
    int bytes = number_types[n->type].bytes;
    uint64_t bits = bits_of(n->raw + at * bytes, bytes, n->big_endian);
    uint32_t half = (uint32_t)bits;
    float single;
    double value;
    switch (n->type) {
    case NUMBER_I8: return (int8_t)bits;
    case NUMBER_I16: return (int16_t)bits;
    case NUMBER_I32: return (int32_t)bits;
    case NUMBER_I64: return (double)(int64_t)bits;
    case NUMBER_F32: memcpy(&single, &half, sizeof single); return (double)single;
    case NUMBER_F64: memcpy(&value, &bits, sizeof value); return value;
    case NUMBER_U8:
    case NUMBER_U16:
    case NUMBER_U32:
    case NUMBER_U64:
    case NUMBER_TYPES: break;
    }
    return (double)bits;
}

/* The item that element `at` belongs to. */
static long long item_of(const Numbers *n, int64_t at)
{
    return n->by_columns ? at % n->dim[0] : at / numbers_item(n);
}

/* ---- pixels ---- */

int pixel_of(double value, double scale, uint8_t *out)
{
    static const double rounding = 1e-3; /* of k / 255 as a float, times 255 */
    double pixel = nearbyint(value * scale);
    if (!(pixel >= 0 && pixel <= UINT8_MAX) || !(fabs(value * scale - pixel) <= rounding))
        return -1;
    *out = (uint8_t)pixel;
    return 0;
}

/* Floats up to 1 are pixels that were divided by 255. */
static double find_scale(const Numbers *n, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, element(n, i));
    return most <= 1 ? UINT8_MAX : 1;
}

int numbers_to_bytes(Numbers *n)
{
    bool is_float = number_types[n->type].is_float;
    int64_t count = n->dim[0] * numbers_item(n);
    double scale = is_float ? find_scale(n, count) : 1;
    for (int64_t i = 0; n->type != NUMBER_U8 && i < count; i++) {
        double value = element(n, i);
        if (pixel_of(value, scale, n->raw + i) < 0) /* elements are no smaller */
            return fault("%s: the value %g in item %lld cannot be a pixel, which is a byte: "
                         "whole numbers from 0 to 255%s are needed",
                         n->path, value, item_of(n, i),
                         is_float ? ", or those divided by 255," : "");
    }
    n->type = NUMBER_U8;
    if (scale > 1)
        notice("%s: its pixels are from 0 to 1 and taken times 255", n->path);
    return 0;
}

/* ---- labels ---- */

int numbers_labels(const Numbers *n, int32_t **out)
{
    int64_t item = numbers_item(n);
    *out = malloc((size_t)n->dim[0] * sizeof **out);
    if (!*out)
        return fault("%s: no memory for %lld labels", n->path, (long long)n->dim[0]);
    for (int64_t i = 0; i < n->dim[0]; i++) {
        double value = element(n, n->by_columns ? i : i * item);
        if (!(value >= INT32_MIN && value <= INT32_MAX) || floor(value) != value)
            return fault("%s: label %g of item %lld is no whole number of a class", n->path, value,
                         (long long)i);
        (*out)[i] = (int32_t)value;
    }
    return 0;
}

/* ---- the order of pixels ---- */

static bool is_in_order(const PixelOrder *o)
{
    return o->channel == 1 && o->column == o->c && o->row == o->column * o->w &&
           o->image == o->row * o->h;
}

static void order_image(const PixelOrder *o, const uint8_t *raw, uint8_t *out)
{
    for (int y = 0; y < o->h; y++)
        for (int x = 0; x < o->w; x++)
            for (int c = 0; c < o->c; c++)
                *out++ = raw[y * o->row + x * o->column + c * o->channel];
}

int pixels_in_order(const PixelOrder *o, uint8_t **raw)
{
    int64_t bytes = (int64_t)o->h * o->w * o->c;
    if (is_in_order(o))
        return 0;
    uint8_t *out = malloc((size_t)(o->count * bytes) + 1);
    if (!out)
        return fault("no memory for %lld images of %dx%dx%d", (long long)o->count, o->h, o->w,
                     o->c);
    for (int64_t i = 0; i < o->count; i++)
        order_image(o, *raw + i * o->image, out + i * bytes);
    free(*raw);
    *raw = out;
    return 0;
}

enum { IMAGES, ROWS, COLUMNS, CHANNELS, MOST_CHANNELS = 16 };

/* Elements from one to the next along an axis. */
static int64_t step_of(const Numbers *n, int axis)
{
    int64_t step = 1;
    for (int i = 0; i < n->rank; i++)
        if (n->by_columns ? i < axis : i > axis)
            step *= n->dim[i];
    return step;
}

int numbers_order(const Numbers *n, const int axis[4], PixelOrder *out)
{
    int64_t dim[4] = {1, 1, 1, 1}, step[4] = {1, 1, 1, 1};
    for (int i = IMAGES; i <= CHANNELS; i++)
        if (axis[i] < n->rank) { /* [N, H, W] has one channel */
            dim[i] = n->dim[axis[i]];
            step[i] = step_of(n, axis[i]);
        }
    if (dim[IMAGES] > INT32_MAX || dim[ROWS] > UINT16_MAX || dim[COLUMNS] > UINT16_MAX ||
        dim[CHANNELS] > UINT16_MAX)
        return -1;
    *out = (PixelOrder){.count = dim[IMAGES],
                        .image = step[IMAGES],
                        .row = step[ROWS],
                        .column = step[COLUMNS],
                        .channel = step[CHANNELS],
                        .h = (int)dim[ROWS],
                        .w = (int)dim[COLUMNS],
                        .c = (int)dim[CHANNELS]};
    return 0;
}

/* Fewer mean that it is likelier an axis of channels. */
static int strangeness(int64_t channels)
{
    if (channels == 1 || channels == 3)
        return 0;
    if (channels == 2 || channels == 4)
        return 1;
    return channels <= MOST_CHANNELS ? 2 : 3;
}

int numbers_images(const Numbers *n, PixelOrder *out)
{
    static const int last[4] = {0, 1, 2, 3}, first[4] = {0, 2, 3, 1};
    if (n->rank == 3 && numbers_order(n, last, out) == 0)
        return 0;
    if (n->rank == 4 && numbers_item(n) > 0 &&
        (strangeness(n->dim[1]) < 3 || strangeness(n->dim[3]) < 3) &&
        numbers_order(n, strangeness(n->dim[1]) < strangeness(n->dim[3]) ? first : last, out) == 0)
        return 0;
    Text shape = {0};
    for (int i = 0; i < n->rank; i++)
        text_append(&shape, "%s%lld", i ? ", " : "", (long long)n->dim[i]);
    fault("%s has the shape [%s]; images are [count, height, width], [count, height, width, "
          "channels] or [count, channels, height, width], with at most 16 channels",
          n->path, shape.data ? shape.data : "");
    text_free(&shape);
    return -1;
}
