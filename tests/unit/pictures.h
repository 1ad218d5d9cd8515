/* Pictures of W x H pixels in memory, decoded as files are. Include it in one file of a program
 * only. */
#ifndef NINC_PICTURES_H
#define NINC_PICTURES_H

#include "../../ir/ir.h"
#include "../../runtime/tools/tools.h"
#include "messages.h"
#include "scratch.h"

#include <stdlib.h>

enum { W = 5, H = 3 };

typedef struct Bytes {
    uint8_t *data;
    size_t size;
} Bytes;

static inline int decode(Bytes b, Image *out)
{
    return image_decode(b.data, b.size, "the image", out);
}

static inline void expect_pixels(const char *text, Bytes b, int c, const uint8_t *want,
                                 int tolerance)
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

static inline void expect_refused(Bytes b, const char *message)
{
    Image image;
    catch_errors();
    int status = decode(b, &image);
    expect_error(message);
    ck_assert_int_eq(status, -1);
    ck_assert_ptr_null(image.pixel);
}

static inline uint8_t ramp(int i)
{
    return (uint8_t)(i * 37 + 11);
}
/* Every part of the file is refused; with a byte changed it is refused or read. */
static inline void damage(Bytes whole, size_t least_refused)
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

#endif
