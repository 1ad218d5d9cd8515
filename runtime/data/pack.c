/* Decodes the images of a split, by as many threads as there are processors, into one file. */
#include "folder.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct Work {
    ImageSource *source;
    Packing *out;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int next;              /* how many files were taken; all of these is under the lock */
    int done, workers;     /* that are at work */
    bool ended;            /* there are no more files */
    int failed;            /* the first of the taken that fails; INT_MAX: none */
    char error[MAX_ERROR]; /* of it */
} Work;

/* ---- sums: XXH64 by Yann Collet, seed 0 ---- */

static const uint64_t prime[5] = {0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
                                  0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5};

static inline uint64_t turned(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline uint64_t mixed(uint64_t lane, uint64_t word)
{
    return turned(lane + word * prime[1], 31) * prime[0];
}

static inline uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static uint64_t whole_stripes(const uint8_t **at, const uint8_t *end)
{
    uint64_t lane[4] = {prime[0] + prime[1], prime[1], 0, -prime[0]};
    for (; end - *at >= 32; *at += 32)
        for (int i = 0; i < 4; i++)
            lane[i] = mixed(lane[i], word_at(*at + 8 * i));
    uint64_t h =
        turned(lane[0], 1) + turned(lane[1], 7) + turned(lane[2], 12) + turned(lane[3], 18);
    for (int i = 0; i < 4; i++)
        h = (h ^ mixed(0, lane[i])) * prime[0] + prime[3];
    return h;
}

uint64_t image_sum(const void *bytes, size_t count)
{
    const uint8_t *at = bytes, *end = at + count;
    uint64_t h = (count >= 32 ? whole_stripes(&at, end) : prime[4]) + count;
    for (; end - at >= 8; at += 8)
        h = turned(h ^ mixed(0, word_at(at)), 27) * prime[0] + prime[3];
    if (end - at >= 4) {
        uint32_t half;
        memcpy(&half, at, sizeof half);
        h = turned(h ^ half * prime[0], 23) * prime[1] + prime[2];
        at += 4;
    }
    for (; at < end; at++)
        h = turned(h ^ *at * prime[4], 11) * prime[0];
    h = (h ^ h >> 33) * prime[1];
    h = (h ^ h >> 29) * prime[2];
    return h ^ h >> 32;
}

/* ---- one image ---- */

static int wrong_shape(const NincModel *m, const char *name, const Image *image)
{
    if (m->data && m->data->transforms > 0)
        return fault(
            "%s, behind the model's transform, is %d x %d pixels, the model wants %d x %d; "
            "end the transform with center_crop: [%d, %d], or with resize: [%d, %d]",
            name, image->w, image->h, m->image_w, m->image_h, m->image_h, m->image_w, m->image_h,
            m->image_w);
    int side = m->image_h < m->image_w ? m->image_h : m->image_w;
    return fault("%s is %d x %d pixels, the model wants %d x %d; say in its file how to make these "
                 "of it, for example\n  input:\n    transform:\n      - resize: %d\n      - "
                 "center_crop: [%d, %d]",
                 name, image->w, image->h, m->image_w, m->image_h, side, m->image_h, m->image_w);
}

/* A transform to gray starts from colours, all else from the channels that the model has. */
static int first_channels(const NincModel *m)
{
    for (int i = 0; m->data && i < m->data->transforms; i++)
        if (m->data->transform[i].kind == TRANSFORM_GRAYSCALE)
            return 3;
    return m->image_c;
}

static int make_models(const NincModel *m, const char *name, Image *image)
{
    if (image_convert(image, first_channels(m)) < 0)
        return -1;
    if (m->data && m->data->transforms > 0) {
        Image out = {0};
        int status = image_transform(m, image, &out);
        image_free(image);
        *image = out;
        if (status < 0)
            return -1;
    }
    bool right = image->h == m->image_h && image->w == m->image_w && image->c == m->image_c;
    return right ? 0 : wrong_shape(m, name, image);
}

static int put_image(Packing *p, const Image *image, int index)
{
    const uint8_t *at = image->pixel;
    int64_t left = p->bytes, offset = p->offset + index * p->bytes;
    p->sum[index] = image_sum(at, (size_t)left);
    while (left > 0) {
        ssize_t written = pwrite(p->file, at, (size_t)left, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            fault("cannot write the packed images: %s; make room in the cache directory, or set "
                  "NINC_CACHE_DIR to another",
                  strerror(written < 0 ? errno : ENOSPC));
            return -1;
        }
        at += written, left -= written, offset += written;
    }
    return 0;
}

/* What cannot be decoded, and may be left out, is told from what ends the run in any case. */
enum { NO_IMAGE = -2 };

static int pack_one(Work *w, PackItem *item)
{
    const NincModel *m = w->source->request->model;
    Image image = {0};
    if (w->source->read && w->source->read(w->source, item) < 0)
        return -1;
    if (image_decode(item->bytes, item->size, item->name, &image) < 0)
        return NO_IMAGE;
    int status = make_models(m, item->name, &image);
    if (status == 0)
        status = put_image(w->out, &image, item->index);
    image_free(&image);
    return status;
}

/* ---- workers ---- */

static void name_item(const ImageSource *s, PackItem *item)
{
    const char *path = s->tree.file[item->index].path;
    size_t size = strlen(s->root) + strlen(s->below) + strlen(path) + 1;
    free(item->name);
    item->name = xmalloc(size);
    snprintf(item->name, size, "%s%s%s", s->root, s->below, path);
}

static void note_failure(Work *w, int turn, const char *error)
{
    if (turn >= w->failed)
        return;
    w->failed = turn;
    snprintf(w->error, sizeof w->error, "%s", error);
}

/* What came of a file; the lock is held. */
static void settle(Work *w, int turn, const PackItem *item, int status, const char *error)
{
    w->done++;
    if (status == 0)
        return;
    if (w->source->request->skip_bad && status == NO_IMAGE) {
        w->out->bad[item->index] = copy_text(error);
        w->out->bads++;
    } else
        note_failure(w, turn, error);
}

/* Files are taken in one order, so the first that fails is the same in each run. */
static void *work(void *data)
{
    Work *w = data;
    PackItem item = {0};
    char error[MAX_ERROR];
    pthread_mutex_lock(&w->lock);
    while (w->failed == INT_MAX && !w->ended) {
        error[0] = '\0';
        Messages before = fault_hold(error, sizeof error);
        int turn = w->next, got = w->source->take(w->source, &item);
        if (got < 0)
            note_failure(w, turn, error);
        w->ended = got <= 0;
        if (got > 0) {
            w->next++;
            pthread_mutex_unlock(&w->lock);
            name_item(w->source, &item);
            int status = pack_one(w, &item);
            pthread_mutex_lock(&w->lock);
            settle(w, turn, &item, status, error);
        }
        fault_release(before);
    }
    w->workers--;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    free(item.name);
    free(item.bytes);
    return NULL;
}

/* ---- all of them ---- */

enum { DRAWN_MS = 100 };

/* Until all workers are through; on a terminal a bar tells how far they are. */
static void follow(Work *w)
{
    double begin = clock_seconds();
    bool drawn = false;
    pthread_mutex_lock(&w->lock);
    while (w->workers > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += DRAWN_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&w->changed, &w->lock, &until);
        drawn =
            bar_draw("packing", w->done, w->source->tree.count, clock_seconds() - begin) || drawn;
    }
    pthread_mutex_unlock(&w->lock);
    if (drawn)
        bar_clear();
}

/* Those that the system gives; at least one. */
static int start_workers(Work *w, pthread_t *thread, int most)
{
    int started = 0;
    pthread_mutex_lock(&w->lock);
    while (started < most && pthread_create(&thread[started], NULL, work, w) == 0)
        started++;
    w->workers = started;
    pthread_mutex_unlock(&w->lock);
    return started;
}

static int worker_count(const ImageSource *s)
{
    int threads = s->request->threads > 0 ? s->request->threads : thread_limit("").threads;
    threads = threads < s->tree.count ? threads : s->tree.count;
    return threads > 1 ? threads : 1;
}

int pack_images(ImageSource *s, Packing *p)
{
    Work w = {.source = s,
              .out = p,
              .failed = INT_MAX,
              .lock = PTHREAD_MUTEX_INITIALIZER,
              .changed = PTHREAD_COND_INITIALIZER};
    pthread_t thread[MAX_THREADS];
    int workers = start_workers(&w, thread, worker_count(s));
    if (workers == 0)
        return fault("cannot start a thread to decode images: %s", strerror(errno));
    follow(&w);
    for (int i = 0; i < workers; i++)
        pthread_join(thread[i], NULL);
    return w.failed == INT_MAX ? 0 : fault("%s", w.error);
}
