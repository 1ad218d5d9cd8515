/* IDX files of the size of tiny_plan.h's model, in the scratch directory. Include it in one file of
 * a program only. */
#ifndef NINC_IDX_H
#define NINC_IDX_H

#include "scratch.h"
#include "tiny_plan.h"

/* An IDX file in memory. */
typedef struct Idx {
    uint8_t bytes[4096];
    size_t count;
} Idx;

static inline void put_u32(Idx *f, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        f->bytes[f->count++] = (uint8_t)(value >> shift);
}

static inline Idx make_images(uint32_t count, uint32_t side)
{
    Idx f = {.count = 0};
    put_u32(&f, 0x0803);
    put_u32(&f, count);
    put_u32(&f, side);
    put_u32(&f, side);
    for (uint32_t i = 0; i < count * side * side; i++)
        f.bytes[f.count++] = (uint8_t)(i * 7);
    return f;
}

static inline Idx make_labels(uint32_t count)
{
    Idx f = {.count = 0};
    put_u32(&f, 0x0801);
    put_u32(&f, count);
    for (uint32_t i = 0; i < count; i++)
        f.bytes[f.count++] = (uint8_t)(i % TINY_CLASSES);
    return f;
}

static inline void write_split(const char *part, const Idx *images, const Idx *labels)
{
    char name[64];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
    write_file(name, images->bytes, images->count);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", part);
    write_file(name, labels->bytes, labels->count);
}

static inline void write_train(const Idx *images, const Idx *labels)
{
    write_split("train", images, labels);
}

#endif
