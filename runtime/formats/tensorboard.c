/* The writer of TensorBoard's event files: protobuf messages in TFRecord frames. */
#include "../../ir/ir.h"
#include "formats.h"
#include "tfevents.pb-c.h"

#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct Tensorboard {
    FILE *file;
    char *path;
    Lock lock; /* on the directory: a second writer would make readers drop what the first wrote */
};

/* ---- frames ---- */

/* Of one byte: the polynomial 0x1EDC6F41, bits reversed. */
static uint32_t crc_of_byte(uint32_t byte)
{
    for (int i = 0; i < 8; i++)
        byte = byte >> 1 ^ (byte & 1 ? 0x82F63B78u : 0);
    return byte;
}

uint32_t crc32c(const void *bytes, size_t size)
{
    const unsigned char *p = bytes;
    uint32_t table[256], crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < 256; i++)
        table[i] = crc_of_byte(i);
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ table[(crc ^ p[i]) & 0xFF];
    return ~crc;
}

/* A checksum of data that holds checksums is weak, so TFRecord rotates and adds. */
uint32_t masked_crc32c(const void *bytes, size_t size)
{
    uint32_t crc = crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void little_endian(uint64_t value, unsigned char *out, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (unsigned char)(value >> (8 * i));
}

static int write_fault(const Tensorboard *t)
{
    return fault("cannot write %s: %s; make room or choose another place", t->path,
                 strerror(errno));
}

/* u64 length, its checksum, the data, its checksum. */
static int write_record(Tensorboard *t, const unsigned char *data, size_t size)
{
    unsigned char head[12], tail[4];
    little_endian(size, head, 8);
    little_endian(masked_crc32c(head, 8), head + 8, 4);
    little_endian(masked_crc32c(data, size), tail, 4);
    if (fwrite(head, 1, sizeof head, t->file) != sizeof head ||
        fwrite(data, 1, size, t->file) != size ||
        fwrite(tail, 1, sizeof tail, t->file) != sizeof tail)
        return write_fault(t);
    return 0;
}

/* ---- events ---- */

static int write_event(Tensorboard *t, int64_t step, Tfevents__Event *event)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    event->wall_time = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    event->step = step;
    size_t size = tfevents__event__get_packed_size(event);
    unsigned char *data = xmalloc(size + 1);
    tfevents__event__pack(event, data);
    int status = write_record(t, data, size);
    free(data);
    return status;
}

static int write_version(Tensorboard *t)
{
    char version[] = "brain.Event:2";
    Tfevents__Event event = TFEVENTS__EVENT__INIT;
    event.what_case = TFEVENTS__EVENT__WHAT_FILE_VERSION;
    event.file_version = version;
    return write_event(t, 0, &event);
}

/* From here on the steps after `step` are ours: readers forget what was there. */
static int write_start(Tensorboard *t, int64_t step)
{
    Tfevents__SessionLog start = TFEVENTS__SESSION_LOG__INIT;
    Tfevents__Event event = TFEVENTS__EVENT__INIT;
    start.status = TFEVENTS__SESSION_LOG__SESSION_STATUS__START;
    event.what_case = TFEVENTS__EVENT__WHAT_SESSION_LOG;
    event.session_log = &start;
    return write_event(t, step + 1, &event);
}

static int write_values(Tensorboard *t, int64_t step, Tfevents__Summary__Value **value, int count)
{
    Tfevents__Summary summary = TFEVENTS__SUMMARY__INIT;
    Tfevents__Event event = TFEVENTS__EVENT__INIT;
    summary.value = value;
    summary.n_value = (size_t)count;
    event.what_case = TFEVENTS__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return write_event(t, step, &event);
}

int tensorboard_scalars(Tensorboard *t, int64_t step, const Scalar *scalar, int count)
{
    for (int i = 0; i < count; i++) {
        Tfevents__Summary__Value value = TFEVENTS__SUMMARY__VALUE__INIT;
        value.tag = (char *)scalar[i].tag;
        value.value_case = TFEVENTS__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
        value.simple_value = (float)scalar[i].value;
        if (write_values(t, step, &(Tfevents__Summary__Value *){&value}, 1) < 0)
            return -1;
    }
    return 0;
}

/* A run of empty buckets becomes one; the upper end of that is the lower end of the next. */
static size_t compress(const Histogram *h, double *limit, double *count)
{
    size_t out = 0;
    for (int i = 0; i < h->buckets; i++) {
        if (h->count[i] == 0 && out > 0 && count[out - 1] == 0)
            out--;
        limit[out] = h->limit[i];
        count[out++] = h->count[i];
    }
    if (out > 1 && count[out - 1] == 0)
        out--;
    return out;
}

int tensorboard_histogram(Tensorboard *t, int64_t step, const char *tag, const Histogram *h)
{
    Tfevents__HistogramProto histogram = TFEVENTS__HISTOGRAM_PROTO__INIT;
    Tfevents__Summary__Value value = TFEVENTS__SUMMARY__VALUE__INIT;
    size_t bytes = (size_t)h->buckets * sizeof(double);
    histogram.bucket_limit = xmalloc(bytes);
    histogram.bucket = xmalloc(bytes);
    histogram.n_bucket = histogram.n_bucket_limit =
        compress(h, histogram.bucket_limit, histogram.bucket);
    histogram.min = h->num > 0 ? h->min : 0;
    histogram.max = h->num > 0 ? h->max : 0;
    histogram.num = h->num;
    histogram.sum = h->sum;
    histogram.sum_squares = h->sum_squares;
    value.tag = (char *)tag;
    value.value_case = TFEVENTS__SUMMARY__VALUE__VALUE_HISTO;
    value.histo = &histogram;
    int status = write_values(t, step, &(Tfevents__Summary__Value *){&value}, 1);
    free(histogram.bucket_limit);
    free(histogram.bucket);
    return status;
}

int tensorboard_image(Tensorboard *t, int64_t step, const char *tag, const Image *image)
{
    Tfevents__Summary__Image picture = TFEVENTS__SUMMARY__IMAGE__INIT;
    Tfevents__Summary__Value value = TFEVENTS__SUMMARY__VALUE__INIT;
    if (image_encode_png(image, &picture.encoded_image_string.data,
                         &picture.encoded_image_string.len) < 0)
        return -1;
    picture.height = image->h;
    picture.width = image->w;
    picture.colorspace = image->c;
    value.tag = (char *)tag;
    value.value_case = TFEVENTS__SUMMARY__VALUE__VALUE_IMAGE;
    value.image = &picture;
    int status = write_values(t, step, &(Tfevents__Summary__Value *){&value}, 1);
    free(picture.encoded_image_string.data);
    return status;
}

/* ---- the file ---- */

/* As TensorFlow names them: readers look for "tfevents" and go by the order of the names. */
static char *file_name(const char *directory)
{
    char host[256] = "localhost";
    size_t bytes = strlen(directory) + sizeof host + 80;
    char *path = xmalloc(bytes);
    if (gethostname(host, sizeof host - 1) != 0 || strchr(host, '/'))
        strcpy(host, "localhost");
    snprintf(path, bytes, "%s/events.out.tfevents.%010lld.%s.%ld.ninc", directory,
             (long long)time(NULL), host, (long)getpid());
    return path;
}

Tensorboard *tensorboard_open(const char *directory, int64_t step)
{
    if (make_directories(directory, "the TensorBoard directory") < 0)
        return NULL;
    Tensorboard *t = xmalloc(sizeof *t);
    *t = (Tensorboard){.path = file_name(directory)};
    char *events = join_path(directory, "tensorboard");
    int status = lock_take(&t->lock, events, directory);
    free(events);
    if (status == 0)
        t->file = fopen(t->path, "wb");
    if (status == 0 && !t->file)
        fault("cannot write %s: %s; choose another place", t->path, strerror(errno));
    else if (status == 0 && write_version(t) == 0 && write_start(t, step) == 0 &&
             tensorboard_flush(t) == 0)
        return t;
    tensorboard_close(t);
    return NULL;
}

int tensorboard_flush(Tensorboard *t)
{
    return fflush(t->file) == 0 && !ferror(t->file) ? 0 : write_fault(t);
}

int tensorboard_close(Tensorboard *t)
{
    int status = 0;
    if (!t)
        return 0;
    if (t->file && fclose(t->file) != 0)
        status = write_fault(t);
    lock_release(&t->lock);
    free(t->path);
    free(t);
    return status;
}
