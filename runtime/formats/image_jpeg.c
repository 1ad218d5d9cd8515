/* JPEG files, by libjpeg. Its errors jump; what must be freed then lies in a struct outside of the
 * function that they jump to. */
#include "formats.h"

#include <jpeglib.h>

#include <jerror.h>
#include <setjmp.h>
#include <string.h>

/* For progressive files, which are kept as coefficients. */
enum { MAX_MEMORY = 1 << 30 };

enum { EXIF_MARKER = JPEG_APP0 + 1, EXIF_BYTES = 65533 };

typedef struct Reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf jump;
    const char *name;
    int orientation;
    bool warned; /* of this file */
} Reader;

static void on_error(j_common_ptr jpeg)
{
    Reader *r = jpeg->client_data;
    char message[JMSG_LENGTH_MAX];
    r->errors.format_message(jpeg, message);
    bool unknown = jpeg->err->msg_code == JERR_SOF_UNSUPPORTED ||
                   jpeg->err->msg_code == JERR_BAD_PRECISION ||
                   jpeg->err->msg_code == JERR_ARITH_NOTIMPL;
    if (unknown)
        fault("%s cannot be read here: %s (JPEG); convert it to PNG", r->name, message);
    else
        fault("%s is corrupt: %s (JPEG); get the file again", r->name, message);
    longjmp(r->jump, 1);
}

/* Whether a warning is of what stands around the pixels: a revision of JFIF or a colour transform
 * of Adobe that libjpeg does not know, a profile that it leaves out. Parameters of a scan that a
 * sequential file has no use for are 0 in files of phones; bytes too many before a marker are
 * passed over. */
static bool is_harmless(int code)
{
    return code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM || code == JWRN_BOGUS_ICC ||
           code == JWRN_NOT_SEQUENTIAL || code == JWRN_EXTRANEOUS_DATA;
}

/* All other warnings are of pixels: libjpeg goes on with gray where data is missing or wrong. Of a
 * file one warning is told. */
static void on_message(j_common_ptr jpeg, int level)
{
    Reader *r = jpeg->client_data;
    char message[JMSG_LENGTH_MAX];
    if (level >= 0)
        return;
    if (!is_harmless(jpeg->err->msg_code))
        on_error(jpeg);
    if (r->warned)
        return;
    r->warned = true;
    r->errors.format_message(jpeg, message);
    notice("%s: %s (JPEG); it is read all the same", r->name, message);
}

/* ---- orientation ---- */

static int jpeg_orientation(const struct jpeg_decompress_struct *jpeg)
{
    static const char head[6] = "Exif\0";
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next) {
        if (m->marker != EXIF_MARKER || m->data_length < sizeof head + 8 ||
            memcmp(m->data, head, sizeof head) != 0)
            continue;
        return exif_orientation(m->data + sizeof head, m->data_length - sizeof head);
    }
    return 1;
}

/* ---- pixels ---- */

/* Paper is white and each ink takes its part away. Adobe's programs write 255 - ink, and mark the
 * file as theirs; so does libjpeg. */
static void cmyk_to_rgb(const uint8_t *cmyk, bool inverted, int width, uint8_t *rgb)
{
    int flip = inverted ? 0 : 255;
    for (int x = 0; x < width; x++, cmyk += 4)
        for (int c = 0; c < 3; c++)
            *rgb++ = (uint8_t)(((cmyk[c] ^ flip) * (cmyk[3] ^ flip) + 127) / 255);
}

static void read_rows(struct jpeg_decompress_struct *jpeg, Image *out)
{
    bool cmyk = jpeg->out_color_space == JCS_CMYK;
    JSAMPARRAY inks = NULL;
    if (cmyk)
        inks = jpeg->mem->alloc_sarray((j_common_ptr)jpeg, JPOOL_IMAGE, 4 * jpeg->output_width, 1);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = out->pixel + (size_t)jpeg->output_scanline * (size_t)out->w * (size_t)out->c;
        jpeg_read_scanlines(jpeg, cmyk ? inks : &row, 1);
        if (cmyk)
            cmyk_to_rgb(inks[0], jpeg->saw_Adobe_marker, out->w, row);
    }
}

static int set_colors(Reader *r)
{
    switch (r->jpeg.num_components) {
    case 1: r->jpeg.out_color_space = JCS_GRAYSCALE; return 1;
    case 3: r->jpeg.out_color_space = JCS_RGB; return 3;
    case 4: r->jpeg.out_color_space = JCS_CMYK; return 3;
    }
    return fault("%s is a JPEG of %d channels; convert it to RGB", r->name, r->jpeg.num_components);
}

static int read_guarded(Reader *r, const uint8_t *bytes, size_t size, Image *out)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    if (setjmp(r->jump))
        return -1;
    jpeg_create_decompress(jpeg);
    jpeg->mem->max_memory_to_use = MAX_MEMORY;
    jpeg_mem_src(jpeg, bytes, (unsigned long)size);
    jpeg_save_markers(jpeg, EXIF_MARKER, EXIF_BYTES);
    jpeg_read_header(jpeg, TRUE);
    r->orientation = jpeg_orientation(jpeg);
    int channels = set_colors(r);
    if (channels < 0 ||
        image_new(r->name, jpeg->image_height, jpeg->image_width, channels, out) < 0)
        return -1;
    jpeg_start_decompress(jpeg);
    read_rows(jpeg, out);
    jpeg_finish_decompress(jpeg);
    return 0;
}

int image_decode_jpeg(const uint8_t *bytes, size_t size, const char *name, Image *out)
{
    Reader r = {.name = name};
    r.jpeg.err = jpeg_std_error(&r.errors);
    r.jpeg.client_data = &r;
    r.errors.error_exit = on_error;
    r.errors.emit_message = on_message;
    int status = read_guarded(&r, bytes, size, out);
    jpeg_destroy_decompress(&r.jpeg);
    return status < 0 ? -1 : image_turn(out, r.orientation);
}

bool image_is_jpeg(const uint8_t *bytes, size_t size)
{
    static const char magic[] = "\xff\xd8\xff";
    return size >= sizeof magic - 1 && memcmp(bytes, magic, sizeof magic - 1) == 0;
}
