/* Many small images in one picture, row by row, each with a line or two beneath it. */
#include "formats.h"

#include <string.h>

enum {
    GAP = 8,           /* pixels between cells, and around all */
    LEAST_SIDE = 84,   /* of an enlarged image */
    CELL_LETTERS = 18, /* that a cell has room for */
    MOST_COLUMNS = 8
};

static const uint8_t text_colour[GRID_LINES][3] = {{230, 230, 230}, {255, 170, 80}};

/* What all cells have in common, in pixels. */
typedef struct Grid {
    int enlarge, columns, rows;
    int width, height, lines; /* of a cell; lines of text */
} Grid;

static Grid grid_of(const GridCell *cell, int count)
{
    Grid g = {.enlarge = 1, .columns = count < MOST_COLUMNS ? count : MOST_COLUMNS};
    int w = 1, h = 1;
    for (int i = 0; i < count; i++) {
        w = cell[i].image.w > w ? cell[i].image.w : w;
        h = cell[i].image.h > h ? cell[i].image.h : h;
        for (int k = 0; k < GRID_LINES; k++)
            if (cell[i].line[k] && k >= g.lines)
                g.lines = k + 1;
    }
    int longer = w > h ? w : h;
    if (longer < LEAST_SIDE)
        g.enlarge = LEAST_SIDE / longer;
    g.width = w * g.enlarge;
    if (g.lines > 0 && g.width < CELL_LETTERS * LETTER_WIDTH)
        g.width = CELL_LETTERS * LETTER_WIDTH;
    g.height = h * g.enlarge + g.lines * LETTER_HEIGHT + (g.lines > 0 ? 2 : 0);
    g.rows = (count + g.columns - 1) / g.columns;
    return g;
}

/* Gray or RGB, alpha left out; each pixel becomes a square. */
static void draw_image(Image *out, const Image *image, int left, int top, int enlarge)
{
    bool gray = image->c < 3;
    for (int y = 0; y < image->h * enlarge; y++)
        for (int x = 0; x < image->w * enlarge; x++) {
            size_t from = (size_t)(y / enlarge) * (size_t)image->w + (size_t)(x / enlarge);
            size_t to = (size_t)(top + y) * (size_t)out->w + (size_t)(left + x);
            for (int c = 0; c < 3; c++)
                out->pixel[3 * to + (size_t)c] =
                    image->pixel[from * (size_t)image->c + (size_t)(gray ? 0 : c)];
        }
}

/* Cut where the cell ends. */
static void draw_line(Image *out, const char *text, int x, int y, const Grid *g,
                      const uint8_t colour[3])
{
    char line[256];
    int most = g->width / LETTER_WIDTH, bytes = 0;
    for (int letters = 0; text[bytes] && bytes < (int)sizeof line - 1; bytes++) {
        letters += (text[bytes] & 0xC0) != 0x80;
        if (letters > most)
            break;
    }
    memcpy(line, text, (size_t)bytes);
    line[bytes] = '\0';
    image_text(out, x, y, line, colour);
}

static void draw_cell(Image *out, const GridCell *cell, int left, int top, const Grid *g)
{
    int text = top + g->height - g->lines * LETTER_HEIGHT;
    draw_image(out, &cell->image, left, top, g->enlarge);
    for (int k = 0; k < g->lines; k++)
        if (cell->line[k])
            draw_line(out, cell->line[k], left, text + k * LETTER_HEIGHT, g, text_colour[k]);
}

int image_grid(const GridCell *cell, int count, Image *out)
{
    Grid g = grid_of(cell, count);
    if (image_new("the grid of images", GAP + (int64_t)g.rows * (g.height + GAP),
                  GAP + (int64_t)g.columns * (g.width + GAP), 3, out) < 0)
        return -1;
    memset(out->pixel, 24, 3 * (size_t)out->w * (size_t)out->h);
    for (int i = 0; i < count; i++)
        draw_cell(out, &cell[i], GAP + i % g.columns * (g.width + GAP),
                  GAP + i / g.columns * (g.height + GAP), &g);
    return 0;
}
