/* Images for the test scripts, by the runtime's own reader and writer.
 *
 *     image_tool split IMAGES.idx[.gz] DIR COUNT    DIR/00000.png ... of the first images
 *     image_tool dot OUT.png SIZE X Y               black with a white square of 3 x 3 around X, Y
 *     image_tool pixel OUT.png VALUE...             one pixel of 1 to 4 channels
 *     image_tool class DIR COUNT W H VALUE          DIR/00.png ..., colours of noise above VALUE
 *     image_tool show FILE                          width height channels, and x y of the center of
 *                                                   the pixels whose sum is at least 9/10 of the
 *                                                   largest, as parts of the width and height
 *     image_tool within FILE X Y TIMES PART         whether PART, of gray, TIMES as large, stands
 *                                                   at X, Y of an RGB image
 *     image_tool png FILE OUT.png                   the same image as PNG
 *     image_tool agree LABELS.idx[.gz] PREDICT.json EVAL.json
 *                                                   whether predict's best classes of the first
 *                                                   images make eval's confusion */
#include "../../ir/ir.h"
#include "../../runtime/formats/formats.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* The bytes behind the header of `header` bytes. */
static uint8_t *read_idx(const char *path, int header, int count)
{
    gzFile gz = gzopen(path, "rb");
    uint8_t *bytes = xmalloc((size_t)(header + count));
    if (!gz || gzread(gz, bytes, (unsigned)(header + count)) != header + count) {
        fault("cannot read %s", path);
        exit(1);
    }
    gzclose(gz);
    memmove(bytes, bytes + header, (size_t)count);
    return bytes;
}

static int split(const char *path, const char *directory, int count)
{
    enum { SIDE = 28 };
    uint8_t *bytes = read_idx(path, 16, count * SIDE * SIDE);
    int status = 0;
    for (int i = 0; i < count && status == 0; i++) {
        char name[512];
        Image image = {bytes + (size_t)i * SIDE * SIDE, SIDE, SIDE, 1};
        snprintf(name, sizeof name, "%s/%05d.png", directory, i);
        status = image_write_png(name, &image);
    }
    free(bytes);
    return status;
}

static int dot(const char *path, int size, int x, int y)
{
    Image image;
    if (image_new(path, size, size, 1, &image) < 0)
        return -1;
    for (int row = 0; row < size; row++)
        for (int column = 0; column < size; column++)
            image.pixel[row * size + column] = abs(row - y) <= 1 && abs(column - x) <= 1 ? 255 : 0;
    int status = image_write_png(path, &image);
    image_free(&image);
    return status;
}

static int pixel(const char *path, int channels, char *const *value)
{
    Image image;
    if (channels > IMAGE_MAX_CHANNELS || image_new(path, 1, 1, channels, &image) < 0)
        return -1;
    for (int i = 0; i < channels; i++)
        image.pixel[i] = (uint8_t)atoi(value[i]);
    int status = image_write_png(path, &image);
    image_free(&image);
    return status;
}

/* Each image has noise of its own. */
static int draw_class(const char *directory, int count, int w, int h, int value)
{
    Random random = random_stream((uint64_t)value, (uint64_t)count);
    int status = 0;
    for (int i = 0; i < count && status == 0; i++) {
        char name[512];
        Image image;
        if (image_new(directory, h, w, 3, &image) < 0)
            return -1;
        for (int k = 0; k < 3 * w * h; k++)
            image.pixel[k] = (uint8_t)(value + (int)random_below(&random, 32));
        snprintf(name, sizeof name, "%s/%02d.png", directory, i);
        status = image_write_png(name, &image);
        image_free(&image);
    }
    return status;
}

static int brightness(const Image *image, int pixel)
{
    int sum = 0;
    for (int c = 0; c < image->c; c++)
        sum += image->pixel[pixel * image->c + c];
    return sum;
}

static int show(const char *path)
{
    Image image;
    int most = 0;
    double x = 0, y = 0, count = 0;
    if (image_read(path, &image) < 0)
        return -1;
    for (int i = 0; i < image.h * image.w; i++)
        most = brightness(&image, i) > most ? brightness(&image, i) : most;
    for (int i = 0; i < image.h * image.w; i++) {
        if (10 * brightness(&image, i) < 9 * most)
            continue;
        x += i % image.w + 0.5;
        y += i / image.w + 0.5;
        count++;
    }
    printf("%d %d %d %.2f %.2f\n", image.w, image.h, image.c, x / count / image.w,
           y / count / image.h);
    image_free(&image);
    return 0;
}

static int within(const char *path, int x, int y, int times, const char *part_path)
{
    Image image, part = {0};
    int different = 0;
    if (image_read(path, &image) < 0 || image_read(part_path, &part) < 0)
        return -1;
    bool fits = image.c == 3 && part.c == 1 && x + times * part.w <= image.w &&
                y + times * part.h <= image.h;
    for (int i = 0; fits && i < times * part.h; i++)
        for (int k = 0; k < times * part.w; k++)
            for (int c = 0; c < 3; c++)
                different += image.pixel[((y + i) * image.w + x + k) * 3 + c] !=
                             part.pixel[i / times * part.w + k / times];
    printf("%s: %d values differ\n", fits ? "within" : "does not fit", different);
    image_free(&image);
    image_free(&part);
    return fits && different == 0 ? 0 : -1;
}

static int to_png(const char *path, const char *out)
{
    Image image;
    int status = image_read(path, &image) < 0 ? -1 : image_write_png(out, &image);
    image_free(&image);
    return status;
}

static int agree(const char *labels, const char *predicted, const char *evaluated)
{
    json_error_t error;
    json_t *list = json_load_file(predicted, 0, &error);
    json_t *eval = list ? json_load_file(evaluated, 0, &error) : NULL;
    if (!eval)
        return fault("%s:%d: %s", error.source, error.line, error.text);
    json_t *confusion = json_object_get(eval, "confusion");
    int count = (int)json_array_size(list), different = 0;
    size_t classes = json_array_size(confusion);
    int64_t *cell =
        memset(xmalloc(classes * classes * sizeof *cell), 0, classes * classes * sizeof *cell);
    uint8_t *label = read_idx(labels, 8, count);
    for (int i = 0; i < count; i++) {
        json_t *first =
            json_array_get(json_object_get(json_array_get(list, (size_t)i), "predictions"), 0);
        cell[label[i] * classes + (size_t)json_integer_value(json_object_get(first, "class"))]++;
    }
    for (size_t i = 0; i < classes * classes; i++)
        different +=
            cell[i] !=
            json_integer_value(json_array_get(json_array_get(confusion, i / classes), i % classes));
    printf("%d images, %zu classes, %d cells differ\n", count, classes, different);
    free(cell);
    free(label);
    json_decref(list);
    json_decref(eval);
    return count == 0 || classes == 0 || different ? -1 : 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int status = 2;
    if (strcmp(what, "split") == 0 && argc == 5)
        status = split(argv[2], argv[3], atoi(argv[4]));
    else if (strcmp(what, "dot") == 0 && argc == 6)
        status = dot(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
    else if (strcmp(what, "pixel") == 0 && argc > 3)
        status = pixel(argv[2], argc - 3, argv + 3);
    else if (strcmp(what, "class") == 0 && argc == 7)
        status = draw_class(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
    else if (strcmp(what, "show") == 0 && argc == 3)
        status = show(argv[2]);
    else if (strcmp(what, "within") == 0 && argc == 7)
        status = within(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), argv[6]);
    else if (strcmp(what, "png") == 0 && argc == 4)
        status = to_png(argv[2], argv[3]);
    else if (strcmp(what, "agree") == 0 && argc == 5)
        status = agree(argv[2], argv[3], argv[4]);
    return status < 0 ? 1 : status;
}
