/* Exif data of an image: cameras keep the sensor's rows and write beside them how the picture is to
 * be turned (Exif 2.32, section 4.6.4, tag Orientation). */
#include "formats.h"

#include <string.h>

enum { ORIENTATION = 0x0112, TYPE_SHORT = 3 };

typedef struct Tiff {
    const uint8_t *bytes;
    size_t size;
    bool little; /* the order of a number's bytes */
} Tiff;

/* The number of `count` bytes at a place; 0 where they are not all there. */
static uint32_t tiff_number(const Tiff *t, size_t at, size_t count)
{
    uint32_t n = 0;
    if (at > t->size || count > t->size - at)
        return 0;
    for (size_t i = 0; i < count; i++)
        n = n << 8 | t->bytes[at + (t->little ? count - 1 - i : i)];
    return n;
}

/* 1 to 8; 1, as it is, where the first directory does not say. */
static int tiff_orientation(const Tiff *t)
{
    enum { ENTRY = 12 };
    size_t directory = tiff_number(t, 4, 4), entries = tiff_number(t, directory, 2);
    for (size_t i = 0; i < entries; i++) {
        size_t at = directory + 2 + i * ENTRY;
        if (tiff_number(t, at, 2) != ORIENTATION || tiff_number(t, at + 2, 2) != TYPE_SHORT)
            continue;
        uint32_t value = tiff_number(t, at + 8, 2);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

int exif_orientation(const uint8_t *bytes, size_t size)
{
    Tiff t = {bytes, size, size > 0 && bytes[0] == 'I'};
    return size < 8 ? 1 : tiff_orientation(&t);
}
