/* PNG files, by libpng. Its errors jump; what must be freed then lies in a struct outside of the
 * function that they jump to. */
#include "../../ir/ir.h"
#include "formats.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

/* Deflate compresses at most 1032 to 1, so a header that says more lies. */
enum { DEFLATE_RATIO = 1032, MAX_CHUNK = 1 << 24 };

static void on_error(png_structp png, png_const_charp message)
{
    snprintf(png_get_error_ptr(png), 96, "%s", message);
    longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* ---- reading ---- */

typedef struct Reader {
    png_structp png;
    png_infop info;
    const uint8_t *at;
    size_t left;
    const char *name;
    char error[96];
    png_bytep *row; /* of the image */
} Reader;

static void take_bytes(png_structp png, png_bytep out, size_t count)
{
    Reader *r = png_get_io_ptr(png);
    if (count > r->left)
        png_error(png, "it is truncated");
    memcpy(out, r->at, count);
    r->at += count;
    r->left -= count;
}

/* Asks libpng for 8 bits a channel, gray or RGB, with alpha or without. */
static void ask_for_bytes(Reader *r)
{
    png_set_expand(r->png);
    png_set_scale_16(r->png);
    png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
}

static int read_pixels(Reader *r, Image *out)
{
    png_read_info(r->png, r->info);
    ask_for_bytes(r);
    int64_t w = png_get_image_width(r->png, r->info), h = png_get_image_height(r->png, r->info);
    int channels = png_get_channels(r->png, r->info);
    size_t bytes = png_get_rowbytes(r->png, r->info);
    /* A pixel takes a bit or more in the file. */
    if (w * h / 8 / DEFLATE_RATIO > (int64_t)r->left)
        png_error(r->png, "it is truncated");
    if (image_new(r->name, h, w, channels, out) < 0)
        return -1;
    r->row = malloc((size_t)h * sizeof *r->row);
    if (!r->row)
        return fault("%s: no memory for %d x %d pixels", r->name, out->w, out->h);
    for (int y = 0; y < out->h; y++)
        r->row[y] = out->pixel + (size_t)y * bytes;
    png_read_image(r->png, r->row);
    png_read_end(r->png, NULL);
    return 0;
}

static int read_guarded(Reader *r, Image *out)
{
    if (setjmp(png_jmpbuf(r->png)))
        return fault("%s is corrupt: %s (PNG); get the file again", r->name, r->error);
    png_set_read_fn(r->png, r, take_bytes);
    png_set_chunk_malloc_max(r->png, MAX_CHUNK);
    return read_pixels(r, out);
}

int image_decode_png(const uint8_t *bytes, size_t size, const char *name, Image *out)
{
    Reader r = {.at = bytes, .left = size, .name = name};
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, r.error, on_error, on_warning);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    int status = r.info ? read_guarded(&r, out) : fault("no memory to read %s", name);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    free(r.row);
    return status;
}

/* ---- writing ---- */

typedef struct Writer {
    png_structp png;
    png_infop info;
    char error[96];
    Text bytes;
} Writer;

static void put_bytes(png_structp png, png_bytep bytes, size_t count)
{
    Writer *w = png_get_io_ptr(png);
    text_write(&w->bytes, (const char *)bytes, count);
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

static int write_guarded(Writer *w, const Image *image)
{
    static const int types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                PNG_COLOR_TYPE_RGB_ALPHA};
    if (setjmp(png_jmpbuf(w->png)))
        return fault("cannot make a PNG of %d x %d pixels: %s", image->w, image->h, w->error);
    png_set_write_fn(w->png, w, put_bytes, flush_nothing);
    png_set_IHDR(w->png, w->info, (png_uint_32)image->w, (png_uint_32)image->h, 8,
                 types[image->c - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(w->png, w->info);
    for (int y = 0; y < image->h; y++)
        png_write_row(w->png, image->pixel + (size_t)y * (size_t)image->w * (size_t)image->c);
    png_write_end(w->png, NULL);
    return 0;
}

int image_encode_png(const Image *image, uint8_t **bytes, size_t *size)
{
    Writer w = {0};
    w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, w.error, on_error, on_warning);
    w.info = w.png ? png_create_info_struct(w.png) : NULL;
    int status = w.info ? write_guarded(&w, image) : fault("no memory to make a PNG");
    png_destroy_write_struct(&w.png, &w.info);
    *bytes = NULL;
    *size = 0;
    if (status < 0) {
        text_free(&w.bytes);
        return -1;
    }
    *bytes = (uint8_t *)w.bytes.data;
    *size = w.bytes.length;
    return 0;
}

int image_write_png(const char *path, const Image *image)
{
    OutFile out;
    uint8_t *bytes;
    size_t size;
    if (image_encode_png(image, &bytes, &size) < 0)
        return -1;
    int status = outfile_open(&out, path);
    if (status == 0) {
        fwrite(bytes, 1, size, out.file);
        status = outfile_commit(&out);
    }
    free(bytes);
    return status;
}

bool image_is_png(const uint8_t *bytes, size_t size)
{
    static const char magic[] = "\x89PNG\r\n\x1a\n";
    return size >= sizeof magic - 1 && memcmp(bytes, magic, sizeof magic - 1) == 0;
}
