/* Images: every format read as it was written, and damaged files refused. */
#include "../../ir/ir.h"
#include "../../runtime/tools/tools.h"
#include "messages.h"

#include <fcntl.h>
#include <jpeglib.h>
#include <png.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <zlib.h>

static char directory[] = "/tmp/ninc-image-XXXXXX";

enum { W = 5, H = 3 };

typedef struct Bytes {
    uint8_t *data;
    size_t size;
} Bytes;

static int decode(Bytes b, Image *out)
{
    return image_decode(b.data, b.size, "the image", out);
}

static void expect_pixels(const char *text, Bytes b, int c, const uint8_t *want, int tolerance)
{
    Image image;
    ck_assert_msg(decode(b, &image) == 0, "%s", text);
    ck_assert_int_eq(image.w, W);
    ck_assert_int_eq(image.h, H);
    ck_assert_int_eq(image.c, c);
    for (int i = 0; i < W * H * c; i++)
        ck_assert_msg(abs(image.pixel[i] - want[i]) <= tolerance, "%s: byte %d is %d, not %d", text,
                      i, image.pixel[i], want[i]);
    image_free(&image);
}

static void expect_refused(Bytes b, const char *message)
{
    Image image;
    catch_errors();
    int status = decode(b, &image);
    expect_error(message);
    ck_assert_int_eq(status, -1);
    ck_assert_ptr_null(image.pixel);
}

static uint8_t ramp(int i)
{
    return (uint8_t)(i * 37 + 11);
}

/* ---- PNG ---- */

static void put(png_structp png, png_bytep bytes, size_t count)
{
    Bytes *b = png_get_io_ptr(png);
    b->data = xrealloc(b->data, b->size + count + 1);
    memcpy(b->data + b->size, bytes, count);
    b->size += count;
}

typedef struct Kind {
    int type, bits, interlace;
} Kind;

/* A palette of W * H colours, every other one of alpha 128. */
static void set_palette(png_structp png, png_infop info)
{
    png_color color[W * H];
    png_byte alpha[W * H];
    for (int i = 0; i < W * H; i++) {
        color[i] = (png_color){ramp(3 * i), ramp(3 * i + 1), ramp(3 * i + 2)};
        alpha[i] = i % 2 ? 128 : 255;
    }
    png_set_PLTE(png, info, color, W * H);
    png_set_tRNS(png, info, alpha, W * H, NULL);
}

/* W x H pixels; the rows lie one after another in `row`. */
static Bytes make_png(Kind k, const uint8_t *row)
{
    Bytes b = {0};
    png_bytep rows[H];
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &b, put, NULL);
    png_set_IHDR(png, info, W, H, k.bits, k.type, k.interlace, 0, 0);
    if (k.type == PNG_COLOR_TYPE_PALETTE)
        set_palette(png, info);
    size_t bytes = png_get_rowbytes(png, info);
    for (int y = 0; y < H; y++)
        rows[y] = (png_bytep)row + (size_t)y * bytes;
    png_set_rows(png, info, rows);
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, NULL);
    png_destroy_write_struct(&png, &info);
    return b;
}

static void check_png(const char *text, Kind k, const uint8_t *row, int c, const uint8_t *want)
{
    for (k.interlace = 0; k.interlace < 2; k.interlace++) {
        Bytes b = make_png(k, row);
        expect_pixels(text, b, c, want, 0);
        free(b.data);
    }
}

START_TEST(test_png_bytes)
{
    uint8_t row[W * H * 4];
    for (int i = 0; i < W * H * 4; i++)
        row[i] = ramp(i);
    check_png("gray", (Kind){PNG_COLOR_TYPE_GRAY, 8, 0}, row, 1, row);
    check_png("RGB", (Kind){PNG_COLOR_TYPE_RGB, 8, 0}, row, 3, row);
    check_png("gray, alpha", (Kind){PNG_COLOR_TYPE_GRAY_ALPHA, 8, 0}, row, 2, row);
    check_png("RGB, alpha", (Kind){PNG_COLOR_TYPE_RGB_ALPHA, 8, 0}, row, 4, row);
}
END_TEST

START_TEST(test_png_other_depths)
{
    /* 1 bit: 1,0,1,1,0 a row; 2 bits: 0..3 and 1; 16 bits: high byte, then the same. */
    uint8_t ones[H] = {0xB0, 0xB0, 0xB0}, twos[H * 2] = {0x1B, 0x40, 0x1B, 0x40, 0x1B, 0x40};
    uint8_t row16[W * H * 6], want[W * H * 4], index[W * H];
    static const uint8_t want1[W] = {255, 0, 255, 255, 0}, want2[W] = {0, 85, 170, 255, 85};
    for (int i = 0; i < W * H; i++)
        want[i] = want1[i % W];
    check_png("1 bit", (Kind){PNG_COLOR_TYPE_GRAY, 1, 0}, ones, 1, want);
    for (int i = 0; i < W * H; i++)
        want[i] = want2[i % W];
    check_png("2 bits", (Kind){PNG_COLOR_TYPE_GRAY, 2, 0}, twos, 1, want);
    for (int i = 0; i < W * H * 3; i++)
        want[i] = row16[2 * i] = row16[2 * i + 1] = ramp(i);
    check_png("16 bits", (Kind){PNG_COLOR_TYPE_RGB, 16, 0}, row16, 3, want);
    for (int i = 0; i < W * H; i++)
        index[i] = (uint8_t)i;
    for (int i = 0; i < W * H * 4; i++)
        want[i] = i % 4 < 3 ? ramp(i / 4 * 3 + i % 4) : i / 4 % 2 ? 128 : 255;
    check_png("palette", (Kind){PNG_COLOR_TYPE_PALETTE, 8, 0}, index, 4, want);
}
END_TEST

static uint8_t *put_big(uint8_t *at, uint32_t n)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (uint8_t)(n >> shift);
    return at;
}

/* A colour profile that is none, and one whose check sum is wrong: libpng leaves them out. */
START_TEST(test_png_profiles)
{
    enum { HEADER = 8 + 25, BODY = 4 + 12 };
    static const uint8_t body[BODY] = "iCCPa\0\0no zlib..";
    uint8_t pixel[W * H * 3];
    for (int i = 0; i < W * H * 3; i++)
        pixel[i] = ramp(i);
    for (uint32_t wrong = 0; wrong < 2; wrong++) {
        Bytes b = make_png((Kind){PNG_COLOR_TYPE_RGB, 8, 0}, pixel);
        b.data = xrealloc(b.data, b.size + 8 + BODY);
        memmove(b.data + HEADER + 8 + BODY, b.data + HEADER, b.size - HEADER);
        uint8_t *at = put_big(b.data + HEADER, BODY - 4);
        memcpy(at, body, BODY);
        put_big(at + BODY, (uint32_t)crc32(0, body, BODY) + wrong);
        b.size += 8 + BODY;
        expect_pixels("a bad profile", b, 3, pixel, 0);
        free(b.data);
    }
}
END_TEST

START_TEST(test_png_written)
{
    uint8_t pixel[W * H * 4];
    for (int i = 0; i < W * H * 4; i++)
        pixel[i] = ramp(i);
    for (int c = 1; c <= 4; c++) {
        Image image = {pixel, H, W, c}, again;
        Bytes b;
        char path[64];
        ck_assert_int_eq(image_encode_png(&image, &b.data, &b.size), 0);
        expect_pixels("encoded", b, c, pixel, 0);
        snprintf(path, sizeof path, "%s/written.png", directory);
        ck_assert_int_eq(image_write_png(path, &image), 0);
        ck_assert_int_eq(image_read(path, &again), 0);
        ck_assert_mem_eq(again.pixel, pixel, (size_t)(W * H * c));
        image_free(&again);
        free(b.data);
    }
}
END_TEST

/* ---- JPEG ---- */

/* With the body of an Exif marker, if it has one. */
static Bytes make_jpeg_with(Bytes exif, int c, bool progressive, const uint8_t *pixel)
{
    static const J_COLOR_SPACE colors[] = {JCS_UNKNOWN, JCS_GRAYSCALE, JCS_UNKNOWN, JCS_RGB,
                                           JCS_CMYK};
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long size = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &size);
    jpeg.image_width = W;
    jpeg.image_height = H;
    jpeg.input_components = c;
    jpeg.in_color_space = colors[c];
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    if (exif.size > 0)
        jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif.data, (unsigned)exif.size);
    for (int y = 0; y < H; y++) {
        JSAMPROW row = (JSAMPROW)pixel + y * W * c;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    return (Bytes){data, size};
}

static Bytes make_jpeg(int c, bool progressive, const uint8_t *pixel)
{
    return make_jpeg_with((Bytes){0}, c, progressive, pixel);
}

/* Colours that change slowly, as the chroma has half the resolution. */
static void fill_smooth(uint8_t *pixel, int c)
{
    for (int i = 0; i < W * H * c; i++)
        pixel[i] = (uint8_t)(100 + 2 * (i / c % W) + 30 * (i % c));
}

START_TEST(test_jpeg)
{
    uint8_t pixel[W * H * 4];
    for (int c = 1; c <= 3; c += 2)
        for (int progressive = 0; progressive < 2; progressive++) {
            fill_smooth(pixel, c);
            Bytes b = make_jpeg(c, progressive, pixel);
            expect_pixels(c == 1 ? "gray" : "RGB", b, c, pixel, 4);
            free(b.data);
        }
}
END_TEST

/* Without the mark that Adobe's programs make: the marker of 2 + 14 bytes is cut out. */
static Bytes without_adobe(Bytes b)
{
    uint8_t *at = memmem(b.data, b.size,
                         "\xff\xee\0\x0e"
                         "Adobe",
                         9);
    ck_assert_ptr_nonnull(at);
    memmove(at, at + 16, b.size - 16 - (size_t)(at - b.data));
    b.size -= 16;
    return b;
}

/* libjpeg marks CMYK as Adobe does, whose programs write 255 for no ink. */
START_TEST(test_jpeg_cmyk)
{
    uint8_t cmyk[W * H * 4], marked[W * H * 3], plain[W * H * 3];
    fill_smooth(cmyk, 4);
    for (int i = 0; i < W * H * 3; i++) {
        int ink = cmyk[i / 3 * 4 + i % 3], black = cmyk[i / 3 * 4 + 3];
        marked[i] = (uint8_t)(ink * black / 255);
        plain[i] = (uint8_t)((255 - ink) * (255 - black) / 255);
    }
    for (int progressive = 0; progressive < 2; progressive++) {
        Bytes b = make_jpeg(4, progressive, cmyk);
        expect_pixels("CMYK of Adobe", b, 3, marked, 4);
        b = without_adobe(b);
        expect_pixels("CMYK", b, 3, plain, 4);
        free(b.data);
    }
}
END_TEST

/* Where the marker 0xff `code` stands. */
static size_t marker_at(Bytes b, uint8_t code)
{
    size_t at = 0;
    while (b.data[at] != 0xff || b.data[at + 1] != code)
        ck_assert_uint_lt(++at, b.size - 1);
    return at;
}

START_TEST(test_jpeg_unreadable)
{
    uint8_t pixel[W * H * 2];
    fill_smooth(pixel, 2);
    Bytes b = make_jpeg(2, false, pixel);
    expect_refused(b, "the image is a JPEG of 2 channels; convert it to RGB");
    free(b.data);
    b = make_jpeg(1, false, pixel);
    b.data[marker_at(b, 0xc0) + 1] = 0xc3; /* lossless */
    expect_refused(b, "the image cannot be read here: Unsupported JPEG process");
    free(b.data);
}
END_TEST

/* ---- JPEG files that libjpeg warns of ---- */

/* Read as `pixel` is, with one notice that holds `wanted`. */
static void expect_noticed(Bytes b, const uint8_t *pixel, const char *wanted)
{
    catch_errors();
    expect_pixels(wanted, b, 3, pixel, 4);
    const char *said = caught(), *first = strstr(said, "(JPEG)");
    ck_assert_msg(strstr(said, wanted) && first && !strstr(first + 1, "(JPEG)"),
                  "expected one '%s' in: %s", wanted, said);
    free(b.data);
}

/* Headers as phones and cameras write them: the pixels are whole. */
START_TEST(test_jpeg_warnings)
{
    enum { SPECTRAL_END = 3 + 2 + 2 * 3 }; /* of a scan of three components */
    uint8_t pixel[W * H * 3];
    fill_smooth(pixel, 3);
    Bytes b = make_jpeg(3, false, pixel);
    b.data[marker_at(b, 0xda) + SPECTRAL_END + 1] = 0;
    b.data[marker_at(b, 0xe0) + 9] = 2; /* both in one file */
    expect_noticed(b, pixel, "the image: Warning: unknown JFIF revision number 2.01");
    b = make_jpeg(3, false, pixel);
    b.data[marker_at(b, 0xda) + SPECTRAL_END + 1] = 0;
    expect_noticed(b, pixel, "Invalid SOS parameters for sequential JPEG");
    b = make_jpeg(3, false, pixel);
    size_t at = marker_at(b, 0xdb);
    b.data = xrealloc(b.data, b.size + 3);
    memmove(b.data + at + 3, b.data + at, b.size - at);
    memset(b.data + at, 0, 3);
    b.size += 3;
    expect_noticed(b, pixel, "3 extraneous bytes before marker 0xdb");
}
END_TEST

START_TEST(test_jpeg_truncated)
{
    uint8_t pixel[W * H * 3];
    fill_smooth(pixel, 3);
    for (int progressive = 0; progressive < 2; progressive++) {
        Bytes b = make_jpeg(3, progressive, pixel), cut = b;
        cut.size -= 2;
        expect_refused(cut, "is corrupt: Premature end of JPEG file");
        free(b.data);
    }
    Bytes b = make_jpeg(3, false, pixel);
    b.size -= 4; /* of the pixels; the mark of the end stands behind the others */
    memcpy(b.data + b.size - 2, "\xff\xd9", 2);
    expect_refused(b, "premature end of data segment");
    free(b.data);
}
END_TEST

/* ---- Exif ---- */

typedef struct Exif {
    bool little;
    uint32_t directory, entries, tag, type, value;
} Exif;

static uint8_t *put_number(uint8_t *at, bool little, int count, uint32_t n)
{
    for (int i = 0; i < count; i++)
        at[i] = (uint8_t)(n >> 8 * (little ? i : count - 1 - i));
    return at + count;
}

/* The body of a marker: a directory of another tag and the one that is asked for. */
static Bytes make_exif(Exif e, uint8_t out[64])
{
    bool little = e.little;
    memcpy(out, "Exif\0", 6);
    memcpy(out + 6, little ? "II" : "MM", 2);
    uint8_t *at = put_number(out + 8, little, 2, 42);
    at = put_number(at, little, 4, e.directory);
    at = put_number(at, little, 2, e.entries);
    for (int i = 0; i < 2; i++) {
        at = put_number(at, little, 2, i == 0 ? 0x0100 : e.tag);
        at = put_number(at, little, 2, e.type);
        at = put_number(at, little, 4, 1);
        at = put_number(at, little, 2, i == 0 ? 3 : e.value);
        at = put_number(at, little, 2, 0);
    }
    return (Bytes){out, (size_t)(at - out)};
}

static void fill_letters(uint8_t *pixel, const char *letters)
{
    for (int i = 0; i < W * H; i++)
        pixel[i] = (uint8_t)(40 + 12 * (letters[i] - 'a'));
}

/* The stored rows abcde, fghij, klmno, each pixel of a value of its own, are read as `letters`. */
static void expect_letters(Bytes exif, int w, const char *letters)
{
    uint8_t pixel[W * H], want[W * H];
    Image image;
    fill_letters(pixel, "abcdefghijklmno");
    fill_letters(want, letters);
    Bytes b = make_jpeg_with(exif, 1, false, pixel);
    ck_assert_int_eq(decode(b, &image), 0);
    ck_assert_int_eq(image.w, w);
    ck_assert_int_eq(image.h, W * H / w);
    for (int i = 0; i < W * H; i++)
        ck_assert_msg(abs(image.pixel[i] - want[i]) <= 4, "%s: pixel %d is %d, not %d", letters, i,
                      image.pixel[i], want[i]);
    image_free(&image);
    free(b.data);
}

static const Exif orientation = {true, 8, 2, 0x0112, 3, 6};

START_TEST(test_orientations)
{
    static const char *const wanted[] = {
        "abcde"
        "fghij"
        "klmno",
        "edcba"
        "jihgf"
        "onmlk",
        "onmlk"
        "jihgf"
        "edcba",
        "klmno"
        "fghij"
        "abcde",
        "afk"
        "bgl"
        "chm"
        "din"
        "ejo",
        "kfa"
        "lgb"
        "mhc"
        "nid"
        "oje",
        "oje"
        "nid"
        "mhc"
        "lgb"
        "kfa",
        "ejo"
        "din"
        "chm"
        "bgl"
        "afk",
    };
    uint8_t body[64];
    for (uint32_t i = 1; i <= 8; i++)
        for (int little = 0; little < 2; little++) {
            Exif e = orientation;
            e.little = little;
            e.value = i;
            expect_letters(make_exif(e, body), i < 5 ? W : H, wanted[i - 1]);
        }
}
END_TEST

START_TEST(test_orientation_of_colours)
{
    uint8_t pixel[W * H * 3], body[64];
    Image image;
    fill_smooth(pixel, 3);
    Bytes b = make_jpeg_with(make_exif(orientation, body), 3, false, pixel);
    ck_assert_int_eq(decode(b, &image), 0);
    ck_assert(image.w == H && image.h == W && image.c == 3);
    for (int i = 0; i < W * H * 3; i++) /* fill_smooth's columns are the rows now */
        ck_assert_int_le(abs(image.pixel[i] - (100 + 2 * (i / 3 / H) + 30 * (i % 3))), 4);
    image_free(&image);
    free(b.data);
}
END_TEST

/* What says nothing sound about the orientation leaves the picture as it is stored. */
START_TEST(test_bad_exif)
{
    static const Exif bad[] = {
        {true, 8, 2, 0x0112, 3, 0},          {true, 8, 2, 0x0112, 3, 9},
        {false, 8, 2, 0x0112, 3, 0x0600},    {true, 8, 2, 0x0113, 3, 6},
        {true, 8, 2, 0x0112, 2, 6},          {true, 8, 1, 0x0112, 3, 6},
        {true, 8, 0, 0x0112, 3, 6},          {true, 8, 65535, 0x0113, 3, 6},
        {true, 33, 2, 0x0112, 3, 6},         {true, 34, 2, 0x0112, 3, 6},
        {true, 0xffffffff, 2, 0x0112, 3, 6}, {false, 0x80000000, 2, 0x0112, 3, 6},
    };
    uint8_t body[64];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_letters(make_exif(bad[i], body), W, "abcdefghijklmno");
    Bytes whole = make_exif(orientation, body);
    for (size_t size = 1; size <= whole.size - 3; size++) /* without a byte of the value */
        expect_letters((Bytes){body, size}, W, "abcdefghijklmno");
    body[0] = 'X'; /* as XMP, which is in markers of the same number */
    expect_letters(whole, W, "abcdefghijklmno");
}
END_TEST

/* ---- PGM, PPM ---- */

static Bytes text_bytes(const char *text, size_t size)
{
    return (Bytes){(uint8_t *)text, size};
}

#define LITERAL(text) text_bytes(text, sizeof text - 1)

START_TEST(test_pnm)
{
    static const uint8_t gray[W * H] = {0,   17,  34,  51,  68,  85,  102, 119,
                                        136, 153, 170, 187, 204, 221, 255};
    uint8_t rgb[W * H * 3];
    for (int i = 0; i < W * H * 3; i++)
        rgb[i] = ramp(i);
    expect_pixels("P2", LITERAL("P2 # a comment\n5 3 15\n0 1 2 3 4\n5 6 7 8 9\n10 11 12 13 15"), 1,
                  gray, 0);
    expect_pixels("P5", LITERAL("P5\n5 3\n15\n\0\1\2\3\4\5\6\7\10\11\12\13\14\15\17"), 1, gray, 0);
    char text[512] = "P3\n5 3\n255\n", binary[512] = "P6\n#\n5\t3\n255 ";
    size_t at = strlen(binary);
    for (int i = 0; i < W * H * 3; i++)
        snprintf(text + strlen(text), 8, "%d\n", rgb[i]);
    memcpy(binary + at, rgb, sizeof rgb);
    expect_pixels("P3", text_bytes(text, strlen(text)), 3, rgb, 0);
    expect_pixels("P6", text_bytes(binary, at + sizeof rgb), 3, rgb, 0);
    at = (size_t)snprintf(binary, sizeof binary, "P5 5 3 65535\n");
    for (int i = 0; i < W * H; i++)
        binary[at + 2 * (size_t)i] = binary[at + 2 * (size_t)i + 1] = (char)gray[i];
    expect_pixels("P5, 16 bits", text_bytes(binary, at + 2 * W * H), 1, gray, 0);
}
END_TEST

START_TEST(test_bad_pnm)
{
    expect_refused(LITERAL("P5 2 2 255\n\1\2\3"), "the image is truncated: 2 x 2 pixels need");
    expect_refused(LITERAL("P2 2 2 255\n1 2 3"), "the image is truncated");
    expect_refused(LITERAL("P2 2 1 9\n10 1"), "a pixel is over 9");
    expect_refused(LITERAL("P5 2 1 9\n\1\12"), "a pixel is over 9");
    expect_refused(LITERAL("P2 2 1 9\n1 x"), "a pixel is no number");
    expect_refused(LITERAL("P5 2 2 0\n1234"), "its largest value is 0");
    expect_refused(LITERAL("P5 2 2 65536\n1234"), "its largest value is over 65535");
    expect_refused(LITERAL("P5 0 2 255\n1234"), "an image of 0 x 2 pixels");
    expect_refused(LITERAL("P5 99999999999 2 255\n1234"), "its width is over");
    expect_refused(LITERAL("P5 268435456 268435456 255\n1234"), "the image is truncated");
    expect_refused(LITERAL("P5 "), "truncated at its width");
    expect_refused(LITERAL("P4 1 1\n1"), "is no image that can be read here");
    expect_refused(LITERAL(""), "is no image that can be read here");
}
END_TEST

/* ---- damaged files ---- */

/* Every part of the file is refused; with a byte changed it is refused or read. */
static void damage(Bytes whole, size_t least_refused)
{
    Image image;
    char error[256];
    size_t refused = 0;
    Random r = random_stream(4, 4);
    Messages before = fault_silence(error, sizeof error);
    for (size_t size = 0; size < whole.size; size++) {
        Bytes part = {memcpy(xmalloc(size + 1), whole.data, size), size};
        refused += decode(part, &image) < 0;
        image_free(&image);
        free(part.data);
    }
    ck_assert_msg(refused >= least_refused, "%zu of %zu are refused", refused, whole.size);
    for (int i = 0; i < 3000; i++) {
        Bytes bad = {memcpy(xmalloc(whole.size), whole.data, whole.size), whole.size};
        for (uint32_t n = 1 + random_below(&r, 3); n > 0; n--)
            bad.data[random_below(&r, (uint32_t)bad.size)] = (uint8_t)random_below(&r, 256);
        error[0] = '\0';
        int status = decode(bad, &image);
        ck_assert(status == 0 ? image.pixel != NULL : image.pixel == NULL && error[0]);
        image_free(&image);
        free(bad.data);
    }
    fault_release(before);
    free(whole.data);
}

START_TEST(test_damaged)
{
    uint8_t pixel[W * H * 4];
    for (int i = 0; i < W * H * 4; i++)
        pixel[i] = ramp(i);
    Bytes png = make_png((Kind){PNG_COLOR_TYPE_RGB_ALPHA, 8, 1}, pixel);
    damage(png, png.size);
    for (int i = 0; i < W * H; i++)
        pixel[i] = (uint8_t)i;
    png = make_png((Kind){PNG_COLOR_TYPE_PALETTE, 8, 0}, pixel);
    damage(png, png.size);
    /* Without its last two bytes, the mark of the end, a JPEG has all of its pixels. */
    uint8_t body[64];
    for (int c = 3; c <= 4; c++)
        for (int progressive = 0; progressive < 2; progressive++) {
            Bytes jpeg = make_jpeg_with(make_exif(orientation, body), c, progressive, pixel);
            damage(jpeg, jpeg.size - 2);
        }
    static const char pnm[] = "P6 # six\n2 2\n255\nabcdefghijkl";
    Bytes b = {memcpy(xmalloc(sizeof pnm), pnm, sizeof pnm), sizeof pnm - 1};
    damage(b, b.size);
}
END_TEST

/* ---- scaling, colours ---- */

static void expect_scaled(const Image *from, int h, int w, const uint8_t *want)
{
    Image out;
    ck_assert_int_eq(image_scale(from, h, w, &out), 0);
    ck_assert_int_eq(out.h, h);
    ck_assert_int_eq(out.w, w);
    for (int i = 0; i < h * w * from->c; i++)
        ck_assert_msg(out.pixel[i] == want[i], "%d x %d: byte %d is %d, not %d", w, h, i,
                      out.pixel[i], want[i]);
    image_free(&out);
}

/* Weights by hand: a pixel of half the size is 1/8, 3/8, 3/8, 1/8 of four, fewer at the border. */
START_TEST(test_scale)
{
    uint8_t row[8] = {0, 0, 80, 160, 240, 80, 0, 0}, pair[6] = {0, 100, 200, 100, 0, 40};
    Image across = {row, 1, 8, 1}, down = {row, 8, 1, 1}, colours = {pair, 1, 2, 3};
    expect_scaled(&across, 1, 8, row);
    expect_scaled(&across, 1, 4, (uint8_t[]){11, 120, 140, 11});
    expect_scaled(&down, 4, 1, (uint8_t[]){11, 120, 140, 11});
    expect_scaled(&colours, 1, 4, (uint8_t[]){0, 100, 200, 25, 75, 160, 75, 25, 80, 100, 0, 40});
    expect_scaled(&colours, 2, 1, (uint8_t[]){50, 50, 120, 50, 50, 120});
}
END_TEST

START_TEST(test_colours)
{
    uint8_t rgb[9] = {255, 0, 0, 0, 255, 0, 10, 20, 255};
    Image image;
    ck_assert_int_eq(image_new("it", 1, 3, 3, &image), 0);
    memcpy(image.pixel, rgb, sizeof rgb);
    ck_assert_int_eq(image_convert(&image, 1), 0);
    ck_assert_mem_eq(image.pixel, ((uint8_t[]){76, 150, 44}), 3);
    image_invert(&image);
    ck_assert_int_eq(image_convert(&image, 3), 0);
    ck_assert_mem_eq(image.pixel, ((uint8_t[]){179, 179, 179, 105, 105, 105, 211, 211, 211}), 9);
    image_free(&image);
}
END_TEST

/* Two pixels of `from` channels made `to`. */
static void expect_converted(int from, const uint8_t *pixel, int to, const uint8_t *want)
{
    Image image;
    ck_assert_int_eq(image_new("it", 1, 2, from, &image), 0);
    memcpy(image.pixel, pixel, 2 * (size_t)from);
    ck_assert_int_eq(image_convert(&image, to), 0);
    ck_assert_int_eq(image.c, to);
    for (int i = 0; i < 2 * to; i++)
        ck_assert_msg(image.pixel[i] == want[i], "%d to %d channels: byte %d is %d, not %d", from,
                      to, i, image.pixel[i], want[i]);
    image_free(&image);
}

/* As Pillow's convert, but for what loses alpha: that is laid on black. */
START_TEST(test_alpha)
{
    static const uint8_t gray[] = {9, 200}, gray_alpha[] = {10, 255, 200, 51};
    static const uint8_t rgb[] = {1, 2, 3, 255, 0, 0}, rgba[] = {1, 2, 3, 255, 255, 0, 0, 51};
    expect_converted(1, gray, 2, (uint8_t[]){9, 255, 200, 255});
    expect_converted(1, gray, 4, (uint8_t[]){9, 9, 9, 255, 200, 200, 200, 255});
    expect_converted(2, gray_alpha, 1, (uint8_t[]){10, 40});
    expect_converted(2, gray_alpha, 3, (uint8_t[]){10, 10, 10, 40, 40, 40});
    expect_converted(2, gray_alpha, 4, (uint8_t[]){10, 10, 10, 255, 200, 200, 200, 51});
    expect_converted(3, rgb, 2, (uint8_t[]){2, 255, 76, 255});
    expect_converted(3, rgb, 4, (uint8_t[]){1, 2, 3, 255, 255, 0, 0, 255});
    expect_converted(4, rgba, 1, (uint8_t[]){2, 15});
    expect_converted(4, rgba, 2, (uint8_t[]){2, 255, 76, 51});
    expect_converted(4, rgba, 3, (uint8_t[]){1, 2, 3, 51, 0, 0});
    uint8_t pixel[8];
    Image image = {memcpy(pixel, rgba, sizeof pixel), 1, 2, 4};
    image_invert(&image);
    ck_assert_mem_eq(pixel, ((uint8_t[]){254, 253, 252, 255, 0, 255, 255, 51}), sizeof pixel);
}
END_TEST

/* ---- heat maps ---- */

static const uint8_t *pixel_at(const Image *image, double y, double x)
{
    int row = (int)(y * image->h), column = (int)(x * image->w);
    return image->pixel + 3 * (row * image->w + column);
}

/* Two classes on a map of 2 x 4; the first is hottest at row 1, column 2, the second nowhere. */
START_TEST(test_heatmap)
{
    double value[16] = {0};
    ClassMaps maps = {2, 4, 2, value};
    uint8_t white[6] = {255, 255, 255, 255, 255, 255};
    Image image = {white, 2, 1, 3}, out;
    value[2 * 6] = 4;
    value[2 * 5] = 2;
    value[2 * 0] = -7; /* what speaks against the class is as cold as nothing */
    ck_assert_int_eq(heatmap_draw(&maps, 0, &image, &out), 0);
    ck_assert_int_eq(out.h, 256);
    ck_assert_int_eq(out.w, 128);
    const uint8_t *hot = pixel_at(&out, 0.76, 0.625), *half = pixel_at(&out, 0.76, 0.375);
    const uint8_t *cold = pixel_at(&out, 0.24, 0.125), *colder = pixel_at(&out, 0.24, 0.875);
    ck_assert(hot[0] > 200 && hot[1] > 200 && hot[2] < 100);    /* yellow */
    ck_assert(half[0] > 200 && half[1] < 120 && half[2] < 120); /* red */
    ck_assert(cold[0] == cold[1] && cold[1] == cold[2] && cold[0] == 191);
    ck_assert_mem_eq(cold, colder, 3);
    image_free(&out);
    ck_assert_int_eq(heatmap_draw(&maps, 1, &image, &out), 0);
    for (int i = 0; i < out.h * out.w * 3; i++)
        ck_assert_int_eq(out.pixel[i], 191);
    image_free(&out);
}
END_TEST

/* Files without end, or that nobody writes to, are told from images at their first bytes, or by a
 * bound. */
START_TEST(test_endless)
{
    Image image;
    char path[64];
    InFileLimits limits = {.most = 1000, .seconds = 1};
    uint8_t *bytes;
    size_t size;
    catch_errors();
    ck_assert_int_eq(image_read("/dev/zero", &image), -1);
    expect_error("cannot read /dev/zero: it is a device");
    snprintf(path, sizeof path, "%s/pipe", directory);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    catch_errors();
    ck_assert_int_eq(infile_read(path, &limits, &bytes, &size), -1);
    expect_error("pipe: nothing came through this pipe for 1 seconds");
    free(bytes);
    pid_t writer = fork();
    if (writer == 0) {
        execlp("sh", "sh", "-c", "exec cat /dev/zero >\"$0\" 2>/dev/null", path, (char *)NULL);
        _exit(1);
    }
    catch_errors();
    ck_assert_int_eq(infile_read(path, &limits, &bytes, &size), -1);
    expect_error("pipe has more than 1000 bytes");
    free(bytes);
    waitpid(writer, NULL, 0);
    snprintf(path, sizeof path, "%s/huge", directory);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_eq(ftruncate(fd, (off_t)1 << 40), 0);
    close(fd);
    catch_errors();
    ck_assert_int_eq(image_read(path, &image), -1);
    expect_error("huge has 1099511627776 bytes; at most");
}
END_TEST

START_TEST(test_files)
{
    Image image;
    char path[64];
    snprintf(path, sizeof path, "%s/none.png", directory);
    catch_errors();
    ck_assert_int_eq(image_read(path, &image), -1);
    expect_error("none.png: No such file or directory");
    catch_errors();
    ck_assert_int_eq(image_read(directory, &image), -1);
    expect_error("Is a directory");
}
END_TEST

int main(void)
{
    if (!mkdtemp(directory))
        return 1;
    Suite *suite = suite_create("image");
    TCase *formats = tcase_create("formats");
    tcase_set_timeout(formats, 120);
    tcase_add_test(formats, test_png_bytes);
    tcase_add_test(formats, test_png_other_depths);
    tcase_add_test(formats, test_png_profiles);
    tcase_add_test(formats, test_png_written);
    tcase_add_test(formats, test_jpeg);
    tcase_add_test(formats, test_jpeg_cmyk);
    tcase_add_test(formats, test_jpeg_unreadable);
    tcase_add_test(formats, test_jpeg_warnings);
    tcase_add_test(formats, test_jpeg_truncated);
    tcase_add_test(formats, test_orientations);
    tcase_add_test(formats, test_orientation_of_colours);
    tcase_add_test(formats, test_bad_exif);
    tcase_add_test(formats, test_pnm);
    tcase_add_test(formats, test_bad_pnm);
    tcase_add_test(formats, test_damaged);
    tcase_add_test(formats, test_scale);
    tcase_add_test(formats, test_colours);
    tcase_add_test(formats, test_alpha);
    tcase_add_test(formats, test_heatmap);
    tcase_add_test(formats, test_files);
    tcase_add_test(formats, test_endless);
    suite_add_tcase(suite, formats);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command) != 0 || failed > 0;
}
