/* Images of a packed file as they are used: asked for before they are needed, so that a step does
 * not wait for the disk, and checked when they are used first. */
#include "folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

/* The system reads at most so much at a call. */
enum { READ_BYTES = 128 << 10 };

struct PackedSet {
    uint64_t *sum; /* [images] */
    int images;
    uint8_t *right; /* [images] 1: the image is as it was packed */
    char *path;
};

PackedSet *packed_set_new(const uint64_t *sum, int images, const char *path)
{
    PackedSet *s = xmalloc(sizeof *s);
    size_t bytes = (size_t)images * sizeof *sum;
    *s = (PackedSet){.images = images, .path = copy_text(path)};
    s->sum = memcpy(xmalloc(bytes + 1), sum, bytes);
    s->right = memset(xmalloc((size_t)images + 1), 0, (size_t)images + 1);
    return s;
}

void packed_set_free(PackedSet *s)
{
    if (!s)
        return;
    free(s->sum);
    free(s->right);
    free(s->path);
    free(s);
}

static size_t bytes_of(const Dataset *d)
{
    return (size_t)d->h * (size_t)d->w * (size_t)d->c;
}

static int damaged(const PackedSet *s, const Dataset *d, int i)
{
    if (s->path[0])
        unlink(s->path);
    return fault(
        "%s is damaged where it has the image %s; it was removed: start again, which packs "
        "the images again",
        s->path, d->file ? d->file[i] : "");
}

int dataset_use(const Dataset *d, const int32_t *index, int count)
{
    PackedSet *s = d->packed;
    for (int i = 0; s && i < count; i++) {
        int n = index[i];
        if (s->right[n])
            continue;
        if (image_sum(d->image + (size_t)n * bytes_of(d), bytes_of(d)) != s->sum[n])
            return damaged(s, d, n);
        s->right[n] = 1;
    }
    return 0;
}

void dataset_ahead(const Dataset *d, const int32_t *index, int count)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = bytes_of(d);
    for (int i = 0; d->packed && i < count; i++) {
        uintptr_t from = (uintptr_t)(d->image + (size_t)index[i] * bytes), end = from + bytes;
        for (from = from / page * page; from < end; from += READ_BYTES) {
            size_t left = end - from;
            madvise((void *)from, left < READ_BYTES ? left : READ_BYTES, MADV_WILLNEED);
        }
    }
}

uint32_t dataset_crc(const Dataset *d)
{
    const PackedSet *s = d->packed;
    uLong crc = s ? crc32_z(0, (const Bytef *)s->sum, (size_t)s->images * sizeof *s->sum)
                  : crc32_z(0, d->image, (size_t)d->count * bytes_of(d));
    return (uint32_t)crc32_z(crc, (const Bytef *)d->label, (size_t)d->count * sizeof *d->label);
}
