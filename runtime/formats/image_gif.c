/* GIF files (87a, 89a), by giflib: the first frame on its canvas, which is filled, as Pillow fills
 * it, with the transparent colour or the first one. */
#include "formats.h"

#include <gif_lib.h>
#include <stdlib.h>
#include <string.h>

/* A code of 12 bits stands for at most 4096 pixels, so a frame that has more lies. */
enum { LZW_RATIO = 4096 * 8 / 12 + 1, COLOURS = 256 };

typedef struct Reader {
    const uint8_t *at;
    size_t left;
    GifFileType *gif;
    const char *name;
    int transparent; /* a colour; NO_TRANSPARENT_COLOR */
    uint8_t colour[COLOURS][4];
    Image *out;
    uint8_t *row; /* colours of one row */
} Reader;

static int take_bytes(GifFileType *gif, GifByteType *out, int count)
{
    Reader *r = gif->UserData;
    size_t taken = (size_t)count < r->left ? (size_t)count : r->left;
    memcpy(out, r->at, taken);
    r->at += taken;
    r->left -= taken;
    return (int)taken;
}

static int bad_gif(const Reader *r, int error)
{
    bool cut = error == D_GIF_ERR_EOF_TOO_SOON || r->left == 0;
    const char *why = GifErrorString(error);
    if (cut)
        return fault("%s is truncated (GIF); get the file again", r->name);
    return fault("%s is corrupt: %s (GIF); get the file again", r->name, why ? why : "no image");
}

/* Of the extensions before the frame one says which colour is transparent. */
static int read_extension(Reader *r)
{
    GraphicsControlBlock control;
    GifByteType *block;
    int code;
    if (DGifGetExtension(r->gif, &code, &block) == GIF_ERROR)
        return -1;
    while (block) {
        if (code == GRAPHICS_EXT_FUNC_CODE &&
            DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK)
            r->transparent = control.TransparentColor;
        if (DGifGetExtensionNext(r->gif, &block) == GIF_ERROR)
            return -1;
    }
    return 0;
}

/* Up to the head of the first frame; -1 without a message. */
static int find_frame(Reader *r)
{
    GifRecordType type = UNDEFINED_RECORD_TYPE;
    while (DGifGetRecordType(r->gif, &type) == GIF_OK && type == EXTENSION_RECORD_TYPE)
        if (read_extension(r) < 0)
            return -1;
    return type == IMAGE_DESC_RECORD_TYPE && DGifGetImageDesc(r->gif) == GIF_OK ? 0 : -1;
}

/* Colours that the table does not have are black. */
static int take_colours(Reader *r)
{
    const ColorMapObject *map = r->gif->Image.ColorMap ? r->gif->Image.ColorMap : r->gif->SColorMap;
    if (!map)
        return fault("%s is corrupt: it has no colours (GIF); get the file again", r->name);
    for (int i = 0; i < map->ColorCount && i < COLOURS; i++) {
        const GifColorType *c = &map->Colors[i];
        memcpy(r->colour[i], (uint8_t[4]){c->Red, c->Green, c->Blue, 255}, 4);
    }
    if (r->transparent >= 0 && r->transparent < COLOURS)
        r->colour[r->transparent][3] = 0;
    return 0;
}

static void put_pixels(Reader *r, int x, int y, int count, const uint8_t *colour)
{
    uint8_t *to = r->out->pixel + ((size_t)y * (size_t)r->out->w + (size_t)x) * (size_t)r->out->c;
    for (int i = 0; i < count; i++, to += r->out->c)
        memcpy(to, r->colour[colour[i]], (size_t)r->out->c);
}

/* A frame that reaches beyond the canvas makes it larger. */
static int make_canvas(Reader *r)
{
    const GifImageDesc *frame = &r->gif->Image;
    int w = frame->Left + frame->Width, h = frame->Top + frame->Height;
    w = w > r->gif->SWidth ? w : r->gif->SWidth;
    h = h > r->gif->SHeight ? h : r->gif->SHeight;
    if ((int64_t)frame->Width * frame->Height / LZW_RATIO > (int64_t)r->left)
        return bad_gif(r, D_GIF_ERR_EOF_TOO_SOON);
    if (image_new(r->name, h, w, r->transparent >= 0 ? 4 : 3, r->out) < 0)
        return -1;
    r->row = memset(xmalloc((size_t)w), r->transparent >= 0 ? r->transparent : 0, (size_t)w);
    for (int y = 0; y < h; y++)
        put_pixels(r, 0, y, w, r->row);
    return 0;
}

/* Rows come from the top, or interlaced in four passes. */
static int read_rows(Reader *r)
{
    static const int first[4] = {0, 4, 2, 1}, step[4] = {8, 8, 4, 2};
    const GifImageDesc *frame = &r->gif->Image;
    bool interlaced = frame->Interlace;
    for (int pass = 0; pass < (interlaced ? 4 : 1); pass++)
        for (int y = interlaced ? first[pass] : 0; y < frame->Height;
             y += interlaced ? step[pass] : 1) {
            if (DGifGetLine(r->gif, r->row, frame->Width) == GIF_ERROR)
                return -1;
            put_pixels(r, frame->Left, frame->Top + y, frame->Width, r->row);
        }
    GifRecordType next; /* a file that is cut behind the frame is not whole */
    return DGifGetRecordType(r->gif, &next) == GIF_OK ? 0 : -1;
}

static int read_frame(Reader *r)
{
    if (find_frame(r) < 0)
        return bad_gif(r, r->gif->Error);
    if (take_colours(r) < 0 || make_canvas(r) < 0)
        return -1;
    return read_rows(r) < 0 ? bad_gif(r, r->gif->Error) : 0;
}

int image_decode_gif(const uint8_t *bytes, size_t size, const char *name, Image *out)
{
    Reader r = {
        .at = bytes, .left = size, .name = name, .transparent = NO_TRANSPARENT_COLOR, .out = out};
    int error = 0;
    r.gif = DGifOpen(&r, take_bytes, &error);
    int status = r.gif ? read_frame(&r) : bad_gif(&r, error);
    free(r.row);
    if (r.gif)
        DGifCloseFile(r.gif, &error);
    return status;
}

bool image_is_gif(const uint8_t *bytes, size_t size)
{
    return size >= 6 && (memcmp(bytes, "GIF87a", 6) == 0 || memcmp(bytes, "GIF89a", 6) == 0);
}
