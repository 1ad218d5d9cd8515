/* JPEG files, by libjpeg. Its errors jump; what must be freed then lies in a struct outside of the
 * function that they jump to. */
#include "image.h"
#include "runtime.h"

#include <jpeglib.h>

#include <jerror.h>
#include <setjmp.h>

/* For progressive files, which are kept as coefficients. */
enum { MAX_MEMORY = 1 << 30 };

typedef struct Reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf jump;
    const char *name;
} Reader;

static void on_error(j_common_ptr jpeg)
{
    Reader *r = jpeg->client_data;
    char message[JMSG_LENGTH_MAX];
    r->errors.format_message(jpeg, message);
    fault("%s is corrupt: %s (JPEG); get the file again", r->name, message);
    longjmp(r->jump, 1);
}

/* libjpeg goes on with gray where data is missing or wrong. Bytes too many are common and harmless.
 */
static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA)
        on_error(jpeg);
}

static int read_guarded(Reader *r, const uint8_t *bytes, size_t size, Image *out)
{
    struct jpeg_decompress_struct *jpeg = &r->jpeg;
    if (setjmp(r->jump))
        return -1;
    jpeg_create_decompress(jpeg);
    jpeg->mem->max_memory_to_use = MAX_MEMORY;
    jpeg_mem_src(jpeg, bytes, (unsigned long)size);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->num_components != 1 && jpeg->num_components != 3)
        return fault("%s is a JPEG of %d channels; convert it to RGB", r->name,
                     jpeg->num_components);
    jpeg->out_color_space = jpeg->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    if (image_new(r->name, jpeg->image_height, jpeg->image_width, jpeg->num_components, out) < 0)
        return -1;
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = out->pixel + (size_t)jpeg->output_scanline * (size_t)out->w * (size_t)out->c;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
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
    return status;
}
