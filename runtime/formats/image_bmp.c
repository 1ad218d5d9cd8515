/* BMP files, by stb_image, which takes a file that ends too early for one with zeros behind it: so
 * its reads are counted. */
#include "formats.h"

#include <stdlib.h>
#include <string.h>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>

typedef struct Reader {
    const uint8_t *bytes;
    size_t size, at;
    bool beyond; /* something was asked for that is not there */
} Reader;

static int take_bytes(void *data, char *out, int count)
{
    Reader *r = data;
    size_t left = r->at < r->size ? r->size - r->at : 0;
    size_t taken = (size_t)count < left ? (size_t)count : left;
    r->beyond = r->beyond || taken == 0;
    memcpy(out, r->bytes + r->at, taken);
    r->at += taken;
    return (int)taken;
}

static void skip_bytes(void *data, int count)
{
    Reader *r = data;
    if (count > 0)
        r->at += (size_t)count;
    else
        r->at -= (size_t) - (int64_t)count < r->at ? (size_t) - (int64_t)count : r->at;
}

static int is_at_end(void *data)
{
    const Reader *r = data;
    return r->at >= r->size;
}

static const stbi_io_callbacks calls = {take_bytes, skip_bytes, is_at_end};

/* A pixel takes a bit or more. */
static int check_size(const Reader *r, const char *name, int64_t w, int64_t h)
{
    if (w < 1 || h < 1 || h > IMAGE_MAX_PIXELS || w > IMAGE_MAX_PIXELS / h)
        return fault("%s: an image of %lld x %lld pixels; from 1 to %d pixels are possible", name,
                     (long long)w, (long long)h, (int)IMAGE_MAX_PIXELS);
    if (w * h / 8 > (int64_t)r->size)
        return fault("%s is truncated (BMP); get the file again", name);
    return 0;
}

static int bad_bmp(const Reader *r, const char *name)
{
    if (r->beyond)
        return fault("%s is truncated (BMP); get the file again", name);
    return fault("%s cannot be read here: %s (BMP); convert it to PNG, or get the file again", name,
                 stbi_failure_reason());
}

/* Only with masks of its own the fourth byte of a pixel is alpha: without, nobody says what it is.
 */
static int channels_of(const uint8_t *bytes, size_t size)
{
    enum { HEAD = 14, CORE = 12, COMPRESSION = 30 };
    bool masks = size > COMPRESSION && bytes[HEAD] != CORE && bytes[COMPRESSION] != 0;
    return masks ? 0 : 3;
}

int image_decode_bmp(const uint8_t *bytes, size_t size, const char *name, Image *out)
{
    Reader r = {bytes, size, 0, false};
    int w, h, c, channels = channels_of(bytes, size);
    if (!stbi_info_from_callbacks(&calls, &r, &w, &h, &c))
        return bad_bmp(&r, name);
    if (check_size(&r, name, w, llabs((long long)h)) < 0) /* from the top: less than 0 */
        return -1;
    r = (Reader){bytes, size, 0, false};
    out->pixel = stbi_load_from_callbacks(&calls, &r, &w, &h, &c, channels);
    if (!out->pixel || r.beyond)
        return bad_bmp(&r, name);
    *out = (Image){out->pixel, h, w, channels ? channels : c};
    return 0;
}

/* What follows the name and the size is reserved, and 0. */
bool image_is_bmp(const uint8_t *bytes, size_t size)
{
    return size >= 14 && memcmp(bytes, "BM", 2) == 0 && memcmp(bytes + 6, "\0\0\0\0", 4) == 0;
}
