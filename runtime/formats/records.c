/* Files of records of a fixed size without a header, an image each (CIFAR's and STL-10's). */
#include "formats.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_RECORDS = 1 << 20, FIRST_ROOM = 1 << 10 };

static int64_t image_bytes(const RecordKind *kind)
{
    return (int64_t)kind->h * kind->w * kind->c;
}

/* Room for one more. */
static int make_room(const char *path, const RecordKind *kind, Records *out)
{
    int64_t bytes = image_bytes(kind);
    if (out->count < out->room)
        return 0;
    if (out->count == MOST_RECORDS)
        return fault("%s makes them more than %d images; that is no such data set", path,
                     MOST_RECORDS);
    out->room = out->room ? 2 * out->room : FIRST_ROOM;
    bool fits = memory_holds((uint64_t)(out->room * bytes));
    uint8_t *image = fits ? realloc(out->image, (size_t)(out->room * bytes) + 1) : NULL;
    int32_t *label = image ? realloc(out->label, (size_t)out->room * sizeof *label) : NULL;
    out->image = image ? image : out->image;
    out->label = label ? label : out->label;
    return label ? 0 : fault("%s: no memory for %lld images", path, (long long)out->room);
}

static int put_label(const char *path, const RecordKind *kind, uint8_t label, int64_t record,
                     int32_t *out)
{
    int last = kind->first + kind->classes - 1;
    if (label < kind->first || label > last)
        return fault("%s: label %d of record %lld is out of range, the set has classes %d to %d",
                     path, label, (long long)record, kind->first, last);
    *out = label - kind->first;
    return 0;
}

static void put_image(const RecordKind *kind, const uint8_t *plane, uint8_t *pixel)
{
    int row = kind->by_columns ? 1 : kind->w, column = kind->by_columns ? kind->h : 1;
    for (int y = 0; y < kind->h; y++)
        for (int x = 0; x < kind->w; x++)
            for (int c = 0; c < kind->c; c++)
                *pixel++ = plane[c * kind->h * kind->w + y * row + x * column];
}

static int put_record(const char *path, const RecordKind *kind, const uint8_t *raw, int64_t record,
                      Records *out)
{
    if (make_room(path, kind, out) < 0 ||
        (kind->before > 0 &&
         put_label(path, kind, raw[kind->label], record, &out->label[out->count]) < 0))
        return -1;
    put_image(kind, raw + kind->before, out->image + out->count * image_bytes(kind));
    out->count++;
    return 0;
}

static int read_records(GzipFile *f, const RecordKind *kind, uint8_t *raw, Records *out)
{
    size_t record = (size_t)(kind->before + image_bytes(kind)), got = record;
    int64_t first = out->count;
    while (got == record) {
        if (gzip_some(f, raw, record, &got) < 0)
            return -1;
        if (got == record && put_record(f->path, kind, raw, out->count - first, out) < 0)
            return -1;
    }
    if (got > 0)
        return fault("%s is truncated: record %lld, at byte %llu, has %zu bytes of %zu; get the "
                     "file again",
                     f->path, (long long)(out->count - first), (unsigned long long)(f->at - got),
                     got, record);
    if (out->count == first)
        return fault("%s is empty; get the file again", f->path);
    return 0;
}

int records_read(const char *path, const RecordKind *kind, Records *out)
{
    GzipFile f;
    uint8_t *raw = malloc((size_t)(kind->before + image_bytes(kind)));
    int status = raw ? gzip_open(&f, path) : fault("no memory to read %s", path);
    if (status == 0)
        status = read_records(&f, kind, raw, out);
    if (raw)
        gzip_close(&f);
    free(raw);
    return status;
}

void records_free(Records *r)
{
    free(r->image);
    free(r->label);
    *r = (Records){0};
}
