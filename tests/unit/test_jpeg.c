/* JPEG files: of every kind of colours, those that libjpeg warns of, how a camera was held. */
#include "pictures.h"

#include <jpeglib.h>

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

/* ---- damaged files ---- */

/* Without its last two bytes, the mark of the end, a JPEG has all of its pixels. */
START_TEST(test_damaged_jpeg)
{
    uint8_t pixel[W * H * 4], body[64];
    for (int i = 0; i < W * H * 4; i++)
        pixel[i] = i < W * H ? (uint8_t)i : ramp(i);
    for (int c = 3; c <= 4; c++)
        for (int progressive = 0; progressive < 2; progressive++) {
            Bytes jpeg = make_jpeg_with(make_exif(orientation, body), c, progressive, pixel);
            damage(jpeg, jpeg.size - 2);
        }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_jpeg, test_jpeg_cmyk, test_jpeg_unreadable,
                                  test_jpeg_warnings, test_jpeg_truncated, test_orientations,
                                  test_orientation_of_colours, test_bad_exif, test_damaged_jpeg};
    return run_in_scratch("jpeg", tests, sizeof tests / sizeof *tests, NULL);
}
