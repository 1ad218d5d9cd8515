/* Images: PNG and PNM files, scaling, colours, heat maps, and files that are none. */
#include "pictures.h"

#include <fcntl.h>
#include <png.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <zlib.h>

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
    const TTest *const tests[] = {test_png_bytes, test_png_other_depths, test_png_profiles,
                                  test_png_written, test_pnm, test_bad_pnm, test_damaged,
                                  test_scale, test_colours, test_alpha, test_heatmap, test_endless,
                                  test_files};
    return run_in_scratch("image", tests, sizeof tests / sizeof *tests, NULL);
}
