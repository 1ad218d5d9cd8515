/* Images: files of any format. */
#include "formats.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 1 << 30 };

static const ImageFormat formats[] = {
    {"PNG", image_is_png, image_decode_png},
    {"JPEG", image_is_jpeg, image_decode_jpeg},
    {"PGM and PPM", image_is_pnm, image_decode_pnm},
    {"WebP", image_is_webp, image_decode_webp},
    {"GIF", image_is_gif, image_decode_gif},
    {"BMP", image_is_bmp, image_decode_bmp},
};

enum { FORMATS = sizeof formats / sizeof *formats };

/* That of a file that begins so; NULL: none. */
static const ImageFormat *format_of(const uint8_t *bytes, size_t size)
{
    for (int i = 0; i < FORMATS; i++)
        if (formats[i].probe(bytes, size))
            return &formats[i];
    return NULL;
}

static bool begins_image(const uint8_t *bytes, size_t size)
{
    return format_of(bytes, size) != NULL;
}

int image_decode(const uint8_t *bytes, size_t size, const char *name, Image *out)
{
    const ImageFormat *format = format_of(bytes, size);
    *out = (Image){0};
    if (!format)
        return fault("%s is no image that can be read here; PNG, JPEG, WebP, GIF, BMP, PGM and PPM "
                     "can",
                     name);
    int status = format->decode(bytes, size, name, out);
    if (status < 0)
        image_free(out);
    return status;
}

int image_read(const char *path, Image *out)
{
    InFileLimits limits = {.most = MAX_FILE_BYTES, .begins = begins_image};
    uint8_t *bytes;
    size_t size;
    *out = (Image){0};
    int status = infile_read(path, &limits, &bytes, &size);
    if (status == 0)
        status = image_decode(bytes, size, strcmp(path, "-") == 0 ? "standard input" : path, out);
    free(bytes);
    return status;
}
