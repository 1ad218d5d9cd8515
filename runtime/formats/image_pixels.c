/* Images in memory: made, scaled, turned and converted. */
#include "../../ir/ir.h"
#include "formats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void image_free(Image *image)
{
    free(image->pixel);
    *image = (Image){0};
}

int image_new(const char *name, int64_t h, int64_t w, int c, Image *out)
{
    *out = (Image){0};
    if (h < 1 || w < 1 || h > IMAGE_MAX_PIXELS || w > IMAGE_MAX_PIXELS / h)
        return fault("%s: an image of %lld x %lld pixels; from 1 to %d pixels are possible", name,
                     (long long)w, (long long)h, (int)IMAGE_MAX_PIXELS);
    out->pixel = malloc((size_t)h * (size_t)w * (size_t)c);
    if (!out->pixel)
        return fault("%s: no memory for %lld x %lld pixels", name, (long long)w, (long long)h);
    out->h = (int)h;
    out->w = (int)w;
    out->c = c;
    return 0;
}

/* What one pixel of a scaled row or column is made of. */
typedef struct Tap {
    int first, count;
    double *weight; /* [count], of sum 1 */
} Tap;

/* The taps of all `to` pixels of an axis of `from`; their weights lie in one block, taps[0].weight.
 */
static Tap *axis_taps(int from, int to)
{
    double scale = (double)from / to, reach = scale > 1 ? scale : 1;
    int most = 2 * (int)ceil(reach) + 1;
    Tap *taps = xmalloc((size_t)to * sizeof *taps);
    double *weight = xmalloc((size_t)to * (size_t)most * sizeof *weight);
    for (int i = 0; i < to; i++) {
        double center = (i + 0.5) * scale - 0.5, sum = 0;
        int first = (int)ceil(center - reach), last = (int)floor(center + reach);
        first = first < 0 ? 0 : first;
        last = last > from - 1 ? from - 1 : last;
        taps[i] = (Tap){first, last - first + 1, weight + (size_t)i * (size_t)most};
        for (int k = 0; k < taps[i].count; k++)
            sum += taps[i].weight[k] = 1 - fabs(first + k - center) / reach;
        for (int k = 0; k < taps[i].count; k++)
            taps[i].weight[k] /= sum;
    }
    return taps;
}

static void free_taps(Tap *taps)
{
    free(taps[0].weight);
    free(taps);
}

/* One row of `image` to `w` pixels. */
static void scale_row(const Image *image, int y, const Tap *taps, int w, float *out)
{
    const uint8_t *row = image->pixel + (size_t)y * (size_t)image->w * (size_t)image->c;
    for (int x = 0; x < w; x++)
        for (int c = 0; c < image->c; c++) {
            double sum = 0;
            for (int k = 0; k < taps[x].count; k++)
                sum += taps[x].weight[k] *
                       row[(size_t)(taps[x].first + k) * (size_t)image->c + (size_t)c];
            *out++ = (float)sum;
        }
}

/* Rows of `width` numbers to the rows of `out`. */
static void scale_columns(const float *rows, size_t width, const Tap *taps, Image *out)
{
    for (int y = 0; y < out->h; y++)
        for (size_t x = 0; x < width; x++) {
            double sum = 0;
            for (int k = 0; k < taps[y].count; k++)
                sum += taps[y].weight[k] * (double)rows[(size_t)(taps[y].first + k) * width + x];
            out->pixel[(size_t)y * width + x] = (uint8_t)lrint(sum);
        }
}

int image_scale(const Image *image, int h, int w, Image *out)
{
    if (image_new("the scaled image", h, w, image->c, out) < 0)
        return -1;
    size_t width = (size_t)w * (size_t)image->c;
    float *rows = xmalloc((size_t)image->h * width * sizeof *rows);
    Tap *across = axis_taps(image->w, w), *down = axis_taps(image->h, h);
    for (int y = 0; y < image->h; y++)
        scale_row(image, y, across, w, rows + (size_t)y * width);
    scale_columns(rows, width, down, out);
    free_taps(across);
    free_taps(down);
    free(rows);
    return 0;
}

int image_turn(Image *image, int orientation)
{
    Image out;
    bool swapped = orientation >= 5; /* what is stored as a row is a column */
    bool up = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    bool left = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    if (orientation == 1)
        return 0;
    if (image_new("the turned image", swapped ? image->w : image->h, swapped ? image->h : image->w,
                  image->c, &out) < 0)
        return -1;
    uint8_t *pixel = out.pixel;
    for (int y = 0; y < out.h; y++)
        for (int x = 0; x < out.w; x++, pixel += out.c) {
            int row = swapped ? x : y, column = swapped ? y : x;
            row = up ? image->h - 1 - row : row;
            column = left ? image->w - 1 - column : column;
            size_t at = (size_t)row * (size_t)image->w + (size_t)column;
            memcpy(pixel, image->pixel + at * (size_t)image->c, (size_t)image->c);
        }
    image_free(image);
    *image = out;
    return 0;
}

/* One pixel of `from` channels to one of `to`. */
static void convert_pixel(const uint8_t *in, int from, uint8_t *out, int to)
{
    int colours = from < 3 ? 1 : 3, value[3];
    int alpha = image_has_alpha(from) ? in[colours] : 255;
    for (int k = 0; k < 3; k++)
        value[k] = in[colours == 3 ? k : 0];
    if (!image_has_alpha(to))
        for (int k = 0; k < 3; k++)
            value[k] = (value[k] * alpha + 127) / 255;
    if (to < 3 && colours == 3)
        value[0] = (int)lrint(0.299 * value[0] + 0.587 * value[1] + 0.114 * value[2]);
    for (int k = 0; k < (to < 3 ? 1 : 3); k++)
        out[k] = (uint8_t)value[k];
    if (image_has_alpha(to))
        out[to - 1] = (uint8_t)alpha;
}

int image_convert(Image *image, int c)
{
    Image out;
    if (image->c == c)
        return 0;
    if (image_new("the converted image", image->h, image->w, c, &out) < 0)
        return -1;
    int64_t pixels = (int64_t)image->h * image->w;
    for (int64_t i = 0; i < pixels; i++)
        convert_pixel(image->pixel + i * image->c, image->c, out.pixel + i * c, c);
    image_free(image);
    *image = out;
    return 0;
}

void image_invert(Image *image)
{
    int64_t pixels = (int64_t)image->h * image->w;
    int colours = image_has_alpha(image->c) ? image->c - 1 : image->c;
    for (int64_t i = 0; i < pixels; i++)
        for (int k = 0; k < colours; k++)
            image->pixel[i * image->c + k] = (uint8_t)(255 - image->pixel[i * image->c + k]);
}
