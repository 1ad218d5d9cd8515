/* The confusion matrix as a picture. */
#include "formats.h"

#include <string.h>

/* The middle colours of matplotlib's viridis: even steps look even, in grey too. */
static const uint8_t scale[][3] = {
    {68, 1, 84}, {59, 82, 139}, {33, 145, 140}, {94, 201, 98}, {253, 231, 37}};

enum {
    STEPS = (int)(sizeof scale / sizeof *scale) - 1,
    SIDE = 480, /* of the picture, about */
    MAX_CELL = 40,
    LEAST_WITH_LINES = 8 /* pixels a cell, from which on a dark line parts them */
};

/* share from 0 to 1. */
static void colour_of(double share, uint8_t rgb[3])
{
    double at = share * STEPS;
    int step = at < STEPS ? (int)at : STEPS - 1;
    for (int c = 0; c < 3; c++) {
        double low = scale[step][c], high = scale[step + 1][c];
        rgb[c] = (uint8_t)(low + (at - step) * (high - low) + 0.5);
    }
}

static void fill_cell(Image *image, int row, int column, int cell, const uint8_t rgb[3])
{
    int inner = cell < LEAST_WITH_LINES ? cell : cell - 1;
    for (int y = 0; y < inner; y++)
        for (int x = 0; x < inner; x++) {
            size_t line = (size_t)(row * cell + y) * (size_t)image->w;
            memcpy(image->pixel + 3 * (line + (size_t)(column * cell + x)), rgb, 3);
        }
}

int confusion_image(const int64_t *count, int classes, Image *out)
{
    int cell = SIDE / classes;
    cell = cell > MAX_CELL ? MAX_CELL : cell < 1 ? 1 : cell;
    if (image_new("the confusion matrix", (int64_t)cell * classes, (int64_t)cell * classes, 3,
                  out) < 0)
        return -1;
    memset(out->pixel, 0, 3 * (size_t)out->w * (size_t)out->h);
    for (int row = 0; row < classes; row++) {
        const int64_t *line = count + (int64_t)row * classes;
        int64_t sum = 0;
        uint8_t rgb[3];
        for (int k = 0; k < classes; k++)
            sum += line[k];
        for (int k = 0; k < classes; k++) {
            colour_of(sum > 0 ? (double)line[k] / (double)sum : 0, rgb);
            fill_cell(out, row, k, cell, rgb);
        }
    }
    return 0;
}
