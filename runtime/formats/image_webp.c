/* WebP files, by libwebp; of an animation the first frame. */
#include "formats.h"

#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

static int bad_webp(const char *name, VP8StatusCode status)
{
    switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
        return fault("%s is truncated (WebP); get the file again", name);
    case VP8_STATUS_OUT_OF_MEMORY: return fault("%s: no memory to decode it (WebP)", name);
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return fault("%s cannot be read here: libwebp does not know its features; convert it to "
                     "PNG",
                     name);
    case VP8_STATUS_OK:
    case VP8_STATUS_INVALID_PARAM:
    case VP8_STATUS_BITSTREAM_ERROR:
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_USER_ABORT: break;
    }
    return fault("%s is corrupt (WebP); get the file again", name);
}

/* Its canvas with the first frame on it, always with alpha. */
static int first_frame(const WebPData *data, const char *name, Image *out)
{
    WebPAnimDecoderOptions options;
    uint8_t *canvas;
    int when;
    WebPAnimDecoderOptionsInit(&options);
    options.color_mode = MODE_RGBA;
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(data, &options);
    bool got = decoder && WebPAnimDecoderGetNext(decoder, &canvas, &when);
    if (got)
        memcpy(out->pixel, canvas, (size_t)out->w * (size_t)out->h * 4);
    WebPAnimDecoderDelete(decoder);
    return got ? 0 : bad_webp(name, VP8_STATUS_BITSTREAM_ERROR);
}

static int decode_pixels(const WebPData *data, const char *name, Image *out)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return bad_webp(name, VP8_STATUS_UNSUPPORTED_FEATURE);
    config.output.colorspace = out->c == 4 ? MODE_RGBA : MODE_RGB;
    config.output.u.RGBA = (WebPRGBABuffer){out->pixel, out->w * out->c,
                                            (size_t)out->w * (size_t)out->h * (size_t)out->c};
    config.output.is_external_memory = 1;
    VP8StatusCode status = WebPDecode(data->bytes, data->size, &config);
    return status == VP8_STATUS_OK ? 0 : bad_webp(name, status);
}

/* libwebp writes "Exif" before the data as JPEG files do, or not. */
static int webp_orientation(const WebPData *data)
{
    static const char head[6] = "Exif\0";
    WebPDemuxer *demuxer = WebPDemux(data);
    WebPChunkIterator chunk;
    int orientation = 1;
    if (demuxer && WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk)) {
        size_t skip =
            chunk.chunk.size > sizeof head && memcmp(chunk.chunk.bytes, head, sizeof head) == 0
                ? sizeof head
                : 0;
        orientation = exif_orientation(chunk.chunk.bytes + skip, chunk.chunk.size - skip);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
    WebPDemuxDelete(demuxer);
    return orientation;
}

int image_decode_webp(const uint8_t *bytes, size_t size, const char *name, Image *out)
{
    WebPData data = {bytes, size};
    WebPBitstreamFeatures features;
    VP8StatusCode status = WebPGetFeatures(bytes, size, &features);
    if (status != VP8_STATUS_OK)
        return bad_webp(name, status);
    int channels = features.has_animation || features.has_alpha ? 4 : 3;
    if (image_new(name, features.height, features.width, channels, out) < 0)
        return -1;
    int done =
        features.has_animation ? first_frame(&data, name, out) : decode_pixels(&data, name, out);
    return done < 0 ? -1 : image_turn(out, webp_orientation(&data));
}

bool image_is_webp(const uint8_t *bytes, size_t size)
{
    return size >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0;
}
