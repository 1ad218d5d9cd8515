/* Images in memory: read from PNG, JPEG and PGM/PPM, scaled, written as PNG. Functions that return
 * int give 0, or -1 after one line (fault) that names the image and says what to do. */
#ifndef NINC_IMAGE_H
#define NINC_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IMAGE_MAX_PIXELS = 1 << 28 };

/* Rows from the top, pixels from the left, channels together. */
typedef struct Image {
    uint8_t *pixel; /* [h, w, c] */
    int h, w, c;    /* c: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha */
} Image;

enum { IMAGE_MAX_CHANNELS = 4 };

/* Whether the last of c channels is alpha: 0 where a pixel is transparent, 255 where it is not. */
static inline bool image_has_alpha(int c)
{
    return c == 2 || c == 4;
}

/* ---- image.c ---- */

/* Reads a file, or standard input where `path` is "-". The format is told by the content. */
int image_read(const char *path, Image *out);
/* The same of a file's bytes; messages call it `name`. 16 bits a channel become 8; palettes become
 * RGB; what has transparent pixels has alpha; CMYK becomes RGB, without colour profiles. A JPEG is
 * turned as its Exif data say. A file that decoders warn of, but whose pixels are whole, is read
 * after one notice. */
int image_decode(const uint8_t *bytes, size_t size, const char *name, Image *out);

/* ---- image_pixels.c ---- */

/* Allocates [h, w, c] for the image that messages call `name`; h, w from 1, c from 1 to 4. */
int image_new(const char *name, int64_t h, int64_t w, int c, Image *out);
void image_free(Image *image);
/* Bilinear interpolation to h x w; where it shrinks, each pixel is the mean of all that it covers,
 * weighted by a triangle (as Pillow's BILINEAR does and torchvision's with antialias=True). */
int image_scale(const Image *image, int h, int w, Image *out);
/* Turns or mirrors it as Exif's Orientation, 1 to 8, says: 1 leaves it, 2 mirrors left and right, 3
 * turns by 180 degrees, 4 mirrors top and bottom, 5 transposes, 6 turns by 90 degrees clockwise, 7
 * transposes about the other diagonal, 8 turns by 90 degrees counterclockwise. */
int image_turn(Image *image, int orientation);
/* Makes c channels of it: gray is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); without alpha it is
 * laid on black; an image without alpha is nowhere transparent. */
int image_convert(Image *image, int c);
/* 255 - x, but for alpha. */
void image_invert(Image *image);

/* ---- image_png.c, image_jpeg.c: one format each ---- */

int image_decode_png(const uint8_t *bytes, size_t size, const char *name, Image *out);
int image_decode_jpeg(const uint8_t *bytes, size_t size, const char *name, Image *out);
/* The bytes of a PNG file, which the caller frees. */
int image_encode_png(const Image *image, uint8_t **bytes, size_t *size);
/* Writes a PNG file that appears whole or not at all. */
int image_write_png(const char *path, const Image *image);

#endif
