/* MAT-files of level 5, MATLAB's up to version 7 (MathWorks, "MAT-File Format"): a header of 128
 * bytes, then elements, each a type, a length and that many bytes. An array is an element of parts,
 * mostly in an element that is deflated. Only arrays of numbers are read. matio would read them
 * too, but it brings HDF5 along, which is larger than a trainer, and believes lengths before its
 * caller sees them: matio 1.5.23 clears 2 GB for a file of 184 bytes that ends where an array's
 * name of 2^31 - 1 bytes is to begin. */
#include "../../ir/ir.h"
#include "formats.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    HEADER = 128,
    VERSION = 124,
    LEVEL5 = 0x0100,
    INT8_PART = 1,
    INT32_PART = 5,
    UINT32_PART = 6,
    MATRIX = 14,
    COMPRESSED = 15,
    FIRST_CLASS = 6, /* of numbers: double, single, int8 ... uint64 */
    LAST_CLASS = 15,
    COMPLEX = 0x08,
    DEFLATE_RATIO = 1032,
    MOST_NAME = 64,
    BLOCK = 1 << 14
};

static const struct {
    uint32_t part;
    NumberKind type;
} types[] = {
    {1, NUMBER_I8},  {2, NUMBER_U8},  {3, NUMBER_I16}, {4, NUMBER_U16},  {5, NUMBER_I32},
    {6, NUMBER_U32}, {7, NUMBER_F32}, {9, NUMBER_F64}, {12, NUMBER_I64}, {13, NUMBER_U64},
};

/* The element that is being read: its bytes are the file's, or deflated there. */
typedef struct Element {
    GzipFile in;
    bool big_endian, deflated, ended;
    uint64_t begin; /* of the element, in the file */
    uint64_t left;  /* bytes of it in the file that were not read so far */
    z_stream zlib;  /* where it is deflated */
    uint32_t class;
    bool complex;
    char name[MOST_NAME];
    uint8_t block[BLOCK];
} Element;

/* A small part holds up to 4 bytes in place of its length. */
typedef struct Tag {
    uint32_t type, bytes;
    uint8_t small[4];
    bool is_small;
} Tag;

static int damaged(const Element *e, const char *what)
{
    return fault("%s: the element at byte %llu %s; get the file again", e->in.path,
                 (unsigned long long)e->begin, what);
}

/* ---- bytes ---- */

static int take_raw(Element *e, void *out, size_t count)
{
    if (count > e->left)
        return damaged(e, "ends before its parts do");
    e->left -= count;
    return gzip_read(&e->in, out, count, "the bytes of its elements");
}

/* Inflates up to `count` bytes: *got, fewer at the end of the stream. */
static int inflate_some(Element *e, uint8_t *out, size_t count, size_t *got)
{
    for (*got = 0; *got < count && !e->ended;) {
        size_t room = count - *got < INT_MAX ? count - *got : INT_MAX;
        if (e->zlib.avail_in == 0) {
            e->zlib.avail_in = (unsigned)(e->left < BLOCK ? e->left : BLOCK);
            e->zlib.next_in = e->block;
            if (e->left == 0)
                return damaged(e, "is cut off: its deflated bytes have no end");
            if (take_raw(e, e->block, e->zlib.avail_in) < 0)
                return -1;
        }
        e->zlib.next_out = out + *got;
        e->zlib.avail_out = (unsigned)room;
        int status = inflate(&e->zlib, Z_NO_FLUSH);
        *got += room - e->zlib.avail_out;
        e->ended = status == Z_STREAM_END;
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            return damaged(e, "does not inflate");
    }
    return 0;
}

static int take(Element *e, void *out, size_t count)
{
    size_t got;
    if (!e->deflated)
        return take_raw(e, out, count);
    if (inflate_some(e, out, count, &got) < 0)
        return -1;
    return got == count ? 0 : damaged(e, "ends before its parts do");
}

/* Up to the end of the element; what was inflated must have the right check sum. */
static int take_rest(Element *e)
{
    uint8_t rest[256];
    size_t got;
    while (e->deflated && !e->ended)
        if (inflate_some(e, rest, sizeof rest, &got) < 0)
            return -1;
    return 0;
}

static int skip_rest(Element *e)
{
    while (e->left > 0)
        if (take_raw(e, e->block, e->left < BLOCK ? (size_t)e->left : BLOCK) < 0)
            return -1;
    return 0;
}

static uint32_t u32_of(const Element *e, const uint8_t *raw)
{
    uint32_t little =
        raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24;
    return e->big_endian ? __builtin_bswap32(little) : little;
}

/* ---- the parts of an array ---- */

static int take_tag(Element *e, Tag *t)
{
    uint8_t raw[8];
    if (take(e, raw, sizeof raw) < 0)
        return -1;
    t->type = u32_of(e, raw);
    t->bytes = u32_of(e, raw + 4);
    t->is_small = t->type >> 16 != 0;
    if (!t->is_small)
        return 0;
    t->bytes = t->type >> 16;
    t->type &= 0xffff;
    memcpy(t->small, raw + 4, sizeof t->small);
    return t->bytes <= sizeof t->small ? 0 : damaged(e, "has a small part of over 4 bytes");
}

/* The bytes of a part and the padding behind it. */
static int take_part(Element *e, const Tag *t, void *out)
{
    uint8_t padding[8];
    if (t->is_small) {
        memcpy(out, t->small, t->bytes);
        return 0;
    }
    return take(e, out, t->bytes) < 0 ? -1 : take(e, padding, -t->bytes % 8);
}

static int take_head(Element *e, uint32_t type, uint32_t most, void *out, uint32_t *bytes)
{
    Tag t;
    if (take_tag(e, &t) < 0)
        return -1;
    *bytes = t.bytes;
    if (t.type != type || t.bytes > most)
        return damaged(e, "is no array, or one of too many dimensions or too long a name");
    return take_part(e, &t, out);
}

/* Flags, dimensions and name. Files have columns first, so the dimensions are turned round. */
static int take_heads(Element *e, Numbers *out)
{
    uint8_t flags[8] = {0}, dim[4 * NUMBERS_MAX_RANK];
    uint32_t bytes;
    if (take_head(e, UINT32_PART, sizeof flags, flags, &bytes) < 0)
        return -1;
    e->class = u32_of(e, flags) & 0xff;
    e->complex = u32_of(e, flags) >> 8 & COMPLEX;
    if (bytes != sizeof flags || take_head(e, INT32_PART, sizeof dim, dim, &bytes) < 0)
        return bytes != sizeof flags ? damaged(e, "has no flags") : -1;
    out->rank = (int)bytes / 4;
    for (int i = 0; i < out->rank; i++)
        out->dim[out->rank - 1 - i] = u32_of(e, dim + 4 * i);
    if (take_head(e, INT8_PART, MOST_NAME - 1, e->name, &bytes) < 0)
        return -1;
    e->name[bytes] = '\0';
    return 0;
}

static int take_elements(Element *e, Numbers *out)
{
    int64_t count, bytes;
    Tag t;
    if (e->class < FIRST_CLASS || e->class > LAST_CLASS || e->complex)
        return fault("%s is no array of real numbers; save it as uint8", out->path);
    if (take_tag(e, &t) < 0)
        return -1;
    out->type = NUMBER_TYPES;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].part == t.type)
            out->type = types[i].type;
    if (out->type == NUMBER_TYPES)
        return damaged(e, "has numbers of an unknown type");
    if (out->rank < 1 || out->dim[0] < 1 || numbers_item(out) < 1 ||
        __builtin_mul_overflow(out->dim[0], numbers_item(out), &count) ||
        __builtin_mul_overflow(count, (int64_t)number_types[out->type].bytes, &bytes) ||
        bytes != t.bytes || (uint64_t)bytes / DEFLATE_RATIO > e->in.size)
        return damaged(e, "has not as many numbers as its dimensions say");
    out->big_endian = e->big_endian;
    return numbers_room(out) < 0 ? -1 : take_part(e, &t, out->raw);
}

/* ---- the file ---- */

static int read_file_header(Element *e)
{
    uint8_t raw[HEADER];
    if (gzip_read(&e->in, raw, sizeof raw, "the bytes of its header") < 0)
        return -1;
    if (memcmp(raw, "MATLAB 7.3", 10) == 0 || memcmp(raw, "\x89HDF", 4) == 0)
        return fault("%s is a MAT-file of version 7.3 (HDF5); the download is one of level 5; "
                     "load it and save it so with save(..., '-v7')",
                     e->in.path);
    e->big_endian = memcmp(raw + HEADER - 2, "MI", 2) == 0;
    int version =
        e->big_endian ? raw[VERSION] << 8 | raw[VERSION + 1] : raw[VERSION + 1] << 8 | raw[VERSION];
    if ((!e->big_endian && memcmp(raw + HEADER - 2, "IM", 2) != 0) || version != LEVEL5)
        return fault("%s does not begin as a MAT-file of level 5 does; it is not the file that its "
                     "name says",
                     e->in.path);
    return 0;
}

/* The type and length of the next element; *more false: the file ends there. */
static int begin_element(Element *e, bool *more)
{
    uint8_t raw[8];
    size_t got;
    e->begin = e->in.at;
    e->deflated = e->ended = false;
    e->left = 0;
    if (gzip_some(&e->in, raw, sizeof raw, &got) < 0)
        return -1;
    *more = got > 0;
    if (got > 0 && got < sizeof raw)
        return damaged(e, "is truncated");
    if (!*more)
        return 0;
    e->left = u32_of(e, raw + 4);
    e->deflated = u32_of(e, raw) == COMPRESSED;
    if (!e->deflated && u32_of(e, raw) != MATRIX)
        return damaged(e, "is no array");
    return 0;
}

/* The matrix inside of a deflated element. */
static int begin_inflating(Element *e)
{
    Tag t;
    e->zlib = (z_stream){0};
    if (inflateInit(&e->zlib) != Z_OK)
        return fault("no memory to inflate %s", e->in.path);
    if (take_tag(e, &t) < 0)
        return -1;
    return t.type == MATRIX && !t.is_small ? 0 : damaged(e, "is no array");
}

/* Which of the names it has; -1 after a message, `names`: none. */
static int take_named(Element *e, const char *const *name, int names, Numbers *out)
{
    Numbers n = {0};
    int which = 0;
    if (take_heads(e, &n) < 0)
        return -1;
    while (which < names && strcmp(e->name, name[which]) != 0)
        which++;
    if (which == names)
        return names;
    if (out[which].raw)
        return fault("%s has two arrays %s", e->in.path, name[which]);
    n.path = out[which].path;
    out[which] = n;
    return take_elements(e, &out[which]) < 0 || take_rest(e) < 0 ? -1 : which;
}

static int read_element(Element *e, const char *const *name, int names, Numbers *out)
{
    int status = 0;
    if (e->deflated)
        status = begin_inflating(e);
    if (status == 0 && take_named(e, name, names, out) < 0)
        status = -1;
    if (e->deflated)
        inflateEnd(&e->zlib);
    e->zlib = (z_stream){0};
    return status == 0 ? skip_rest(e) : -1;
}

static int read_all(Element *e, const char *const *name, int names, Numbers *out)
{
    bool more = true;
    if (read_file_header(e) < 0 || begin_element(e, &more) < 0)
        return -1;
    while (more)
        if (read_element(e, name, names, out) < 0 || begin_element(e, &more) < 0)
            return -1;
    for (int i = 0; i < names; i++)
        if (!out[i].raw)
            return fault("%s has no array %s", e->in.path, name[i]);
    return 0;
}

int mat_read(const char *path, const char *const *name, int names, Numbers *out)
{
    Element *e = xmalloc(sizeof *e);
    *e = (Element){0};
    for (int i = 0; i < names; i++) {
        Text shown = {0};
        text_append(&shown, "%s: %s", path, name[i]);
        out[i] = (Numbers){.path = shown.data};
    }
    int status = gzip_open(&e->in, path);
    if (status == 0)
        status = read_all(e, name, names, out);
    gzip_close(&e->in);
    free(e);
    return status;
}
