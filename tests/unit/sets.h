/* Files of data sets in other formats than IDX, as other programs write them, byte by byte, in the
 * scratch directory. Those whose format leaves the size open have images of tiny_plan.h's model.
 * Include it in one file of a program only, after at() of scratch.h or its like. */
#ifndef NINC_SETS_FILES_H
#define NINC_SETS_FILES_H

#include "tiny_plan.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* after stdlib.h */
#include <minizip/zip.h>
#include <zlib.h>

enum { SET_IMAGES = 6, SET_BYTES = 1 << 16 };

/* A file in memory. */
typedef struct SetFile {
    uint8_t bytes[SET_BYTES];
    size_t count;
} SetFile;

static inline void set_put(SetFile *f, const void *bytes, size_t count)
{
    ck_assert_uint_le(f->count + count, SET_BYTES);
    memcpy(f->bytes + f->count, bytes, count);
    f->count += count;
}

static inline void set_put_u32(SetFile *f, uint32_t value)
{
    for (int shift = 0; shift < 32; shift += 8)
        f->bytes[f->count++] = (uint8_t)(value >> shift);
}

/* mode: wb, compressed, or wbT, plain */
static inline void set_write(const char *path, const SetFile *f, const char *mode)
{
    gzFile gz = gzopen(path, mode);
    ck_assert_ptr_nonnull(gz);
    ck_assert_int_eq(gzwrite(gz, f->bytes, (unsigned)f->count), (int)f->count);
    ck_assert_int_eq(gzclose(gz), Z_OK);
}

/* Pixel `at` of an image, and its label. */
static inline uint8_t set_pixel(int image, int at)
{
    return (uint8_t)(image * 31 + at * 7);
}

static inline int set_label(int image)
{
    return image % TINY_CLASSES;
}

/* ---- npz ---- */

/* An array: its header and its elements. */
typedef struct SetArray {
    const char *name, *header;
    const void *bytes;
    size_t count;
} SetArray;

/* A .npy file of version 1.0, its header padded as NumPy does. */
static inline SetFile set_npy(const SetArray *a)
{
    SetFile f = {.count = 0};
    size_t length = strlen(a->header), padded = (10 + length + 1 + 63) / 64 * 64 - 10;
    set_put(&f, "\x93NUMPY\1\0", 8);
    f.bytes[f.count++] = (uint8_t)padded;
    f.bytes[f.count++] = (uint8_t)(padded >> 8);
    set_put(&f, a->header, length);
    for (size_t i = length; i + 1 < padded; i++)
        set_put(&f, " ", 1);
    set_put(&f, "\n", 1);
    set_put(&f, a->bytes, a->count);
    return f;
}

/* An archive of them, stored (level 0) or deflated. */
static inline void set_write_npz(const char *path, const SetArray *array, int arrays, int level)
{
    char name[64];
    zipFile zip = zipOpen64(path, APPEND_STATUS_CREATE);
    ck_assert_ptr_nonnull(zip);
    for (int i = 0; i < arrays; i++) {
        SetFile f = set_npy(&array[i]);
        snprintf(name, sizeof name, "%s.npy", array[i].name);
        ck_assert_int_eq(zipOpenNewFileInZip64(zip, name, NULL, NULL, 0, NULL, 0, NULL,
                                               level ? Z_DEFLATED : 0, level, 1),
                         ZIP_OK);
        ck_assert_int_eq(zipWriteInFileInZip(zip, f.bytes, (unsigned)f.count), ZIP_OK);
        ck_assert_int_eq(zipCloseFileInZip(zip), ZIP_OK);
    }
    ck_assert_int_eq(zipClose(zip, NULL), ZIP_OK);
}

/* u8 [N, 4, 4] and labels u8 [N], as Keras names them. */
static inline void set_write_keras(const char *path, int level)
{
    uint8_t pixel[SET_IMAGES * TINY_PIXELS], label[SET_IMAGES];
    for (int i = 0; i < SET_IMAGES * TINY_PIXELS; i++)
        pixel[i] = set_pixel(i / TINY_PIXELS, i % TINY_PIXELS);
    for (int i = 0; i < SET_IMAGES; i++)
        label[i] = (uint8_t)set_label(i);
    const SetArray arrays[] = {
        {"x_train", "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 4, 4), }", pixel,
         sizeof pixel},
        {"y_train", "{'descr': '|u1', 'fortran_order': False, 'shape': (6,), }", label,
         sizeof label},
    };
    set_write_npz(path, arrays, 2, level);
}

/* ---- MAT-files ---- */

typedef struct SetMatrix {
    const char *name;
    int class, part; /* 9, uint8, and 2, bytes */
    int rank;
    uint32_t dim[4];
    const void *bytes;
    uint32_t count;
} SetMatrix;

static inline void set_put_part(SetFile *f, uint32_t type, const void *bytes, uint32_t count)
{
    set_put_u32(f, type);
    set_put_u32(f, count);
    set_put(f, bytes, count);
    set_put(f, "\0\0\0\0\0\0\0", -count % 8);
}

static inline void set_put_matrix(SetFile *f, const SetMatrix *m, bool deflated)
{
    SetFile parts = {.count = 0}, whole = {.count = 0};
    uint8_t flags[8] = {(uint8_t)m->class};
    set_put_part(&parts, 6, flags, sizeof flags);
    set_put_part(&parts, 5, m->dim, 4 * (uint32_t)m->rank);
    set_put_u32(&parts, 1u << 16 | 1); /* a name of one letter, as a small part */
    set_put(&parts, (char[4]){m->name[0]}, 4);
    set_put_part(&parts, (uint32_t)m->part, m->bytes, m->count);
    set_put_u32(&whole, 14);
    set_put_u32(&whole, (uint32_t)parts.count);
    set_put(&whole, parts.bytes, parts.count);
    if (!deflated) {
        set_put(f, whole.bytes, whole.count);
        return;
    }
    uLongf packed = sizeof parts.bytes;
    ck_assert_int_eq(compress(parts.bytes, &packed, whole.bytes, whole.count), Z_OK);
    set_put_u32(f, 15);
    set_put_u32(f, (uint32_t)packed);
    set_put(f, parts.bytes, packed);
}

static inline SetFile set_mat(const SetMatrix *matrix, int count, bool deflated)
{
    SetFile f = {.count = 0};
    char header[128];
    memset(header, ' ', sizeof header);
    memcpy(header, "MATLAB 5.0 MAT-file", 19);
    memset(header + 116, 0, 8);
    memcpy(header + 124, "\0\1IM", 4);
    set_put(&f, header, sizeof header);
    for (int i = 0; i < count; i++)
        set_put_matrix(&f, &matrix[i], deflated);
    return f;
}

/* X (4, 4, 1, N), column by column, and y (N, 1), whose 0 is written as 10. */
static inline SetFile set_svhn(bool deflated)
{
    static uint8_t pixel[SET_IMAGES * TINY_PIXELS], label[SET_IMAGES];
    for (int i = 0; i < SET_IMAGES; i++)
        for (int p = 0; p < TINY_PIXELS; p++)
            pixel[i * TINY_PIXELS + p] = set_pixel(i, p % TINY_SIDE * TINY_SIDE + p / TINY_SIDE);
    for (int i = 0; i < SET_IMAGES; i++)
        label[i] = set_label(i) ? (uint8_t)set_label(i) : 10;
    const SetMatrix m[] = {
        {"X", 9, 2, 4, {TINY_SIDE, TINY_SIDE, 1, SET_IMAGES}, pixel, sizeof pixel},
        {"y", 9, 2, 2, {SET_IMAGES, 1}, label, sizeof label},
    };
    return set_mat(m, 2, deflated);
}

/* ---- CIFAR and STL-10 ---- */

/* Records of one colour each, red, green and blue being image, label and 7 times the pixel: planes
 * of side x side, row by row or column by column. */
static inline void set_put_planes(SetFile *f, int image, int side, bool by_columns)
{
    for (int c = 0; c < 3; c++)
        for (int p = 0; p < side * side; p++) {
            int at = by_columns ? p % side * side + p / side : p;
            uint8_t value = (uint8_t)(c == 0 ? image : c == 1 ? 100 + image : at * 7);
            set_put(f, &value, 1);
        }
}

/* `before`: the label, and the coarse one before it where there are two. */
static inline SetFile set_cifar(int first, int count, int before)
{
    SetFile f = {.count = 0};
    for (int i = first; i < first + count; i++) {
        uint8_t labels[2] = {(uint8_t)(before == 2 ? 19 : i % 10), (uint8_t)(i % 10)};
        set_put(&f, labels, (size_t)before);
        set_put_planes(&f, i, 32, false);
    }
    return f;
}

/* ---- CSV ---- */

/* label,pixel0,...,pixel15 and the rows; end: of a row. */
static inline SetFile set_csv(const char *end)
{
    SetFile f = {.count = 0};
    char text[32];
    set_put(&f, "label", 5);
    for (int p = 0; p < TINY_PIXELS; p++)
        set_put(&f, text, (size_t)snprintf(text, sizeof text, ",pixel%d", p));
    set_put(&f, end, strlen(end));
    for (int i = 0; i < SET_IMAGES; i++) {
        set_put(&f, text, (size_t)snprintf(text, sizeof text, "%d", set_label(i)));
        for (int p = 0; p < TINY_PIXELS; p++)
            set_put(&f, text, (size_t)snprintf(text, sizeof text, ",%d", set_pixel(i, p)));
        set_put(&f, end, strlen(end));
    }
    return f;
}

#endif
