/* PGM and PPM: netpbm's pgm(5), ppm(5), as text or bytes. */
#include "formats.h"

#include <string.h>

typedef struct Pnm {
    const uint8_t *at, *end;
    const char *name;
    bool ascii;
    int maximum; /* the value of white */
} Pnm;

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_space(Pnm *p)
{
    while (p->at < p->end && (is_space(*p->at) || *p->at == '#')) {
        if (*p->at == '#')
            while (p->at < p->end && *p->at != '\n' && *p->at != '\r')
                p->at++;
        else
            p->at++;
    }
}

/* A number from 0 to `highest`; -1 after an error line. */
static int pnm_number(Pnm *p, const char *what, int highest)
{
    int64_t n = 0;
    skip_space(p);
    if (p->at == p->end)
        return fault("%s is truncated at %s; get the file again", p->name, what);
    if (*p->at < '0' || *p->at > '9')
        return fault("%s is corrupt: %s is no number; get the file again", p->name, what);
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if ((n = n * 10 + (*p->at - '0')) > highest)
            return fault("%s is corrupt: %s is over %d; get the file again", p->name, what,
                         highest);
    return (int)n;
}

static int pnm_value(Pnm *p)
{
    if (p->ascii)
        return pnm_number(p, "a pixel", p->maximum);
    int size = p->maximum > 255 ? 2 : 1, n = 0;
    if (p->end - p->at < size)
        return fault("%s is truncated in its pixels; get the file again", p->name);
    while (size-- > 0)
        n = n << 8 | *p->at++;
    if (n > p->maximum)
        return fault("%s is corrupt: a pixel is over %d; get the file again", p->name, p->maximum);
    return n;
}

static int pnm_pixels(Pnm *p, Image *out)
{
    int64_t count = (int64_t)out->h * out->w * out->c;
    for (int64_t i = 0; i < count; i++) {
        int value = pnm_value(p);
        if (value < 0)
            return -1;
        out->pixel[i] = (uint8_t)((value * 255 + p->maximum / 2) / p->maximum);
    }
    return 0;
}

int image_decode_pnm(const uint8_t *bytes, size_t size, const char *name, Image *out)
{
    Pnm p = {bytes + 2, bytes + size, name, bytes[1] < '4', 0};
    int c = bytes[1] == '3' || bytes[1] == '6' ? 3 : 1;
    int w = pnm_number(&p, "its width", IMAGE_MAX_PIXELS);
    int h = w < 0 ? -1 : pnm_number(&p, "its height", IMAGE_MAX_PIXELS);
    if (h < 0 || (p.maximum = pnm_number(&p, "its largest value", 65535)) < 0)
        return -1;
    if (p.maximum == 0)
        return fault("%s is corrupt: its largest value is 0; get the file again", name);
    if (p.at < p.end && !p.ascii)
        p.at++;                         /* one white space ends the header */
    int64_t least = (int64_t)w * h * c; /* a byte or a digit each */
    if (p.end - p.at < least && w > 0 && h > 0)
        return fault("%s is truncated: %d x %d pixels need at least %lld bytes and %lld are there; "
                     "get the file again",
                     name, w, h, (long long)least, (long long)(p.end - p.at));
    return image_new(name, h, w, c, out) < 0 ? -1 : pnm_pixels(&p, out);
}

bool image_is_pnm(const uint8_t *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 'P' && bytes[1] && strchr("2356", bytes[1]) &&
           (is_space(bytes[2]) || bytes[2] == '#');
}
