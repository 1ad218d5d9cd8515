/* Images decoded once, in one file of the cache directory:
 *
 *     head                       PackedHead, filled with zeros to FIRST bytes
 *     images                     u8 [images, h, w, c], in the tree's order
 *     labels, sums               i32 [images], u64 [images] (image_sum of each), each from a
 * multiple of 8 bytes on names                      texts with a NUL each: of the classes, of the
 * images (below the data set's root), and of files that are left out, why
 *
 * It appears under its name when it is whole; who packs holds a lock, and others wait for it. Head
 * and tables have a sum that is checked when it is opened; an image's own is checked when the image
 * is used first (use.c), but of a small file at once. */
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { FIRST = 4096, VERSION = 1, SMALL = 64 << 20, WAIT_MS = 50 };

typedef struct PackedHead {
    char magic[8];
    uint32_t version;
    int32_t h, w, c, images, classes, bads;
    uint32_t zero;
    uint64_t bytes, tables; /* of the file; where its tables begin */
    Hash state;             /* ImageSource's */
    uint64_t sum;           /* of the head without it, and of the tables */
    uint64_t end;
} PackedHead;

static const char magic[8] = "nincpak";

/* A packed file while it is made or opened. */
typedef struct Packed {
    ImageSource *source;
    char path[PATH_MAX]; /* "": there is no cache directory */
    int64_t image_bytes;
} Packed;

static int64_t round8(int64_t n)
{
    return (n + 7) / 8 * 8;
}

/* ---- its name ---- */

/* One file a place, model's shape and transform: what lies there may change. */
static Hash place_hash(const DataRequest *r)
{
    const NincModel *m = r->model;
    const int32_t numbers[] = {VERSION, (int32_t)r->split, m->image_h, m->image_w, m->image_c};
    char *absolute = realpath(r->path, NULL);
    Hash h = hash_text(hash_start(), absolute ? absolute : r->path);
    free(absolute);
    h = hash_bytes(h, numbers, sizeof numbers);
    if (r->split_by) {
        h = hash_bytes(h, &r->split_by->share, sizeof r->split_by->share);
        h = hash_bytes(h, &r->split_by->seed, sizeof r->split_by->seed);
    }
    for (int i = 0; m->data && i < m->data->transforms; i++) {
        const Transform *t = &m->data->transform[i];
        const int32_t step[] = {(int32_t)t->kind, t->h, t->w};
        h = hash_bytes(h, step, sizeof step);
    }
    return h;
}

static void name_file(Packed *p)
{
    char directory[PATH_MAX];
    p->path[0] = '\0';
    if (cache_directory(directory, sizeof directory))
        cache_path(p->path, sizeof p->path, directory, "packed", place_hash(p->source->request),
                   ".images");
}

/* ---- opening ---- */

static uint64_t head_sum(PackedHead head, const uint8_t *tables, size_t bytes)
{
    head.sum = 0;
    return image_sum(&head, sizeof head) ^ image_sum(tables, bytes);
}

typedef enum Found { FOUND, FOUND_NOTHING, FOUND_OTHERS, FOUND_DAMAGED } Found;

static bool is_whole(const Packed *p, const FileMap *m, PackedHead *head)
{
    const NincModel *model = p->source->request->model;
    if (m->size < FIRST)
        return false;
    memcpy(head, m->bytes, sizeof *head);
    if (memcmp(head->magic, magic, sizeof magic) != 0 || head->version != VERSION ||
        head->bytes != m->size || head->tables < FIRST || head->tables > m->size ||
        head->sum != head_sum(*head, m->bytes + head->tables, m->size - head->tables))
        return false;
    return head->h == model->image_h && head->w == model->image_w && head->c == model->image_c &&
           (int64_t)head->tables == round8(FIRST + head->images * p->image_bytes);
}

static const uint64_t *sums_of(const FileMap *m, const PackedHead *head)
{
    return (const uint64_t *)(const void *)(m->bytes + head->tables + round8(4 * head->images));
}

static bool all_right(const Packed *p, const FileMap *m, const PackedHead *head)
{
    const uint64_t *sum = sums_of(m, head);
    for (int i = 0; m->size <= SMALL && i < head->images; i++)
        if (image_sum(m->bytes + FIRST + i * p->image_bytes, (size_t)p->image_bytes) != sum[i])
            return false;
    return true;
}

/* Another program may cut the file while it is used. */
static void guard(const Packed *p, const FileMap *m)
{
    char path[PATH_MAX];
    if (p->path[0])
        filemap_guard(m,
                      "%s, the packed images, was cut or its disk fails while they are used; "
                      "remove it and start again, which packs the images again; a run with "
                      "checkpoints goes on with --resume",
                      printable(p->path, path, sizeof path));
}

static Found look(const Packed *p, const char *path, FileMap *m, PackedHead *head)
{
    char why[MAX_ERROR];
    Messages before = fault_silence(why, sizeof why);
    int status = filemap_open(m, path);
    fault_release(before);
    if (status < 0)
        return errno == ENOENT ? FOUND_NOTHING : FOUND_DAMAGED;
    guard(p, m);
    Found found = !is_whole(p, m, head)             ? FOUND_DAMAGED
                  : head->state != p->source->state ? FOUND_OTHERS
                  : !all_right(p, m, head)          ? FOUND_DAMAGED
                                                    : FOUND;
    if (found != FOUND)
        filemap_close(m);
    return found;
}

/* ---- what is in it ---- */

static char *take_text(const char **at, const char *base)
{
    size_t size = strlen(base) + strlen(*at) + 1;
    char *text = xmalloc(size);
    snprintf(text, size, "%s%s", base, *at);
    *at += strlen(*at) + 1;
    return text;
}

/* The texts are those that were written: the sum is right. */
static void take_names(const PackedHead *head, const char **at, const char *base, Dataset *out)
{
    out->class_name = xmalloc(((size_t)head->classes + 1) * sizeof *out->class_name);
    for (out->classes = 0; out->classes < head->classes; out->classes++)
        out->class_name[out->classes] = take_text(at, "");
    out->file = xmalloc(((size_t)head->images + 1) * sizeof *out->file);
    for (int i = 0; i < head->images; i++)
        out->file[i] = take_text(at, base);
}

/* Files that are no images: all are told by their number, one by its name. */
static int tell_bads(const Packed *p, const PackedHead *head, const char *why)
{
    if (head->bads == 0)
        return 0;
    if (!p->source->request->skip_bad)
        return fault("%s; or leave such files out with --skip-bad-images", why);
    notice("%d of %d files are no images that can be read, and are left out; the first: %s",
           head->bads, head->bads + head->images, why);
    return 0;
}

static int take(const Packed *p, FileMap *m, const PackedHead *head, Dataset *out)
{
    size_t labels = (size_t)head->images * sizeof *out->label;
    const char *text = (const char *)(sums_of(m, head) + head->images);
    *out = (Dataset){.count = head->images, .h = head->h, .w = head->w, .c = head->c};
    out->mapped = *m;
    out->image = m->bytes + FIRST;
    out->label = memcpy(xmalloc(labels + 1), m->bytes + head->tables, labels);
    take_names(head, &text, p->source->root, out);
    out->packed = packed_set_new(sums_of(m, head), head->images, p->path);
    return tell_bads(p, head, text);
}

/* ---- making one ---- */

/* To be read: it may be open for writing alone. */
static int open_again(int file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Moves what is an image to the place of what is none before it. */
static int close_gaps(Packing *g, ImageTree *tree)
{
    uint8_t *room = g->bads ? xmalloc((size_t)g->bytes) : NULL;
    int kept = 0, status = 0, from_file = g->bads ? open_again(g->file) : -1;
    for (int i = 0; g->bads && i < tree->count && status == 0; i++) {
        if (g->bad[i])
            continue;
        int64_t from = g->offset + i * g->bytes, to = g->offset + kept * g->bytes;
        if (from != to && (pread(from_file, room, (size_t)g->bytes, from) != g->bytes ||
                           pwrite(g->file, room, (size_t)g->bytes, to) != g->bytes))
            status = fault("cannot write the packed images: %s", strerror(errno));
        PathEntry file = tree->file[kept];
        tree->file[kept] = tree->file[i];
        tree->file[i] = file;
        tree->label[kept] = tree->label[i];
        g->sum[kept++] = g->sum[i];
    }
    free(room);
    if (from_file >= 0)
        close(from_file);
    return status;
}

static void add_texts(Text *t, const Packing *g, const ImageSource *s)
{
    const ImageTree *tree = &s->tree;
    int images = tree->count - g->bads;
    for (int i = 0; i < tree->classes; i++)
        text_write(t, tree->class_name[i], strlen(tree->class_name[i]) + 1);
    for (int i = 0; i < images; i++) {
        text_write(t, s->below, strlen(s->below));
        text_write(t, tree->file[i].path, strlen(tree->file[i].path) + 1);
    }
    for (int i = 0; i < tree->count; i++)
        if (g->bad[i])
            text_write(t, g->bad[i], strlen(g->bad[i]) + 1);
}

static bool write_at(int file, const void *bytes, size_t size, int64_t offset)
{
    for (const char *at = bytes; size > 0;) {
        ssize_t written = pwrite(file, at, size, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        at += written, offset += written, size -= (size_t)written;
    }
    return true;
}

static int write_tables(const Packed *p, const Packing *g)
{
    static const char zeros[8];
    const ImageTree *tree = &p->source->tree;
    int images = tree->count - g->bads;
    PackedHead head = {.version = VERSION,
                       .images = images,
                       .classes = tree->classes,
                       .bads = g->bads,
                       .state = p->source->state};
    const NincModel *m = p->source->request->model;
    size_t labels = (size_t)images * sizeof *tree->label;
    Text t = {0};
    text_write(&t, (const char *)tree->label, labels);
    text_write(&t, zeros, (size_t)round8((int64_t)labels) - labels);
    text_write(&t, (const char *)g->sum, (size_t)images * sizeof *g->sum);
    add_texts(&t, g, p->source);
    memcpy(head.magic, magic, sizeof magic);
    head.h = m->image_h, head.w = m->image_w, head.c = m->image_c;
    head.tables = (uint64_t)round8(FIRST + images * g->bytes);
    head.bytes = head.tables + t.length;
    head.sum = head_sum(head, (const uint8_t *)t.data, t.length);
    bool written = ftruncate(g->file, (off_t)head.tables) == 0 &&
                   write_at(g->file, t.data, t.length, (int64_t)head.tables) &&
                   write_at(g->file, &head, sizeof head, 0);
    text_free(&t);
    return written ? 0 : fault("cannot write the packed images: %s", strerror(errno));
}

/* The first image is not packed before there is room for all. */
static int make_room(const Packed *p, int file, int64_t bytes)
{
    struct statvfs s;
    if (!p->path[0] || fstatvfs(file, &s) != 0)
        return 0;
    int64_t room = (int64_t)s.f_bavail * (int64_t)s.f_frsize;
    char *directory = directory_of(p->path);
    int status = 0;
    if (bytes > room)
        status =
            fault("the images of %s take %.1f MB when they are packed, and there are %.1f MB "
                  "free in %s; make room, or set NINC_CACHE_DIR to a directory with more",
                  p->source->request->path, (double)bytes / 1e6, (double)room / 1e6, directory);
    free(directory);
    return status;
}

static void say_packed(const Packed *p, const Packing *g, double seconds)
{
    const DataRequest *r = p->source->request;
    notice("packed %d %s images of %s in %.1f s", p->source->tree.count - g->bads,
           r->split == SPLIT_TRAIN  ? "training"
           : r->split == SPLIT_TEST ? "test"
                                    : "validation",
           r->path, seconds);
}

static int pack_into(const Packed *p, int file)
{
    ImageTree *tree = &p->source->tree;
    size_t count = (size_t)tree->count;
    double begin = clock_seconds();
    Packing g = {.file = file, .offset = FIRST, .bytes = p->image_bytes};
    if (make_room(p, file, FIRST + tree->count * g.bytes) < 0)
        return -1;
    g.sum = memset(xmalloc(count * sizeof *g.sum), 0, count * sizeof *g.sum);
    g.bad = memset(xmalloc(count * sizeof *g.bad), 0, count * sizeof *g.bad);
    int status = pack_images(p->source, &g);
    if (status == 0)
        status = close_gaps(&g, tree);
    if (status == 0)
        status = write_tables(p, &g);
    if (status == 0)
        say_packed(p, &g, clock_seconds() - begin);
    for (size_t i = 0; i < count; i++)
        free(g.bad[i]);
    free(g.bad);
    free(g.sum);
    return status;
}

/* Where nothing can be kept they lie in memory. */
static int pack_in_memory(Packed *p, Dataset *out)
{
    char path[64];
    PackedHead head;
    FileMap m;
    int file = memfd_create("ninc-images", MFD_CLOEXEC);
    if (file < 0)
        return fault("cannot keep images in memory: %s", strerror(errno));
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int status = pack_into(p, file);
    if (status == 0 && look(p, path, &m, &head) != FOUND)
        status = fault("the packed images in memory cannot be read again");
    close(file);
    return status < 0 ? -1 : take(p, &m, &head, out);
}

static int pack_file(Packed *p, Dataset *out)
{
    OutFile file;
    PackedHead head;
    FileMap m;
    if (outfile_open(&file, p->path) < 0)
        return -1;
    if (pack_into(p, fileno(file.file)) < 0) {
        outfile_abandon(&file);
        return -1;
    }
    if (outfile_commit(&file) < 0)
        return -1;
    char *directory = directory_of(p->path);
    cache_trim(directory, strrchr(p->path, '/') + 1);
    free(directory);
    if (look(p, p->path, &m, &head) != FOUND)
        return fault("%s cannot be read again; is its disk in order?", p->path);
    return take(p, &m, &head, out);
}

/* ---- one packs, others wait ---- */

static void tell_found(const Packed *p, Found found)
{
    if (found == FOUND_OTHERS)
        notice("%s has changed since it was packed; it is packed again", p->source->request->path);
    if (found == FOUND_DAMAGED)
        notice("%s, the packed images of %s, is damaged; it is made again", p->path,
               p->source->request->path);
}

/* Without locks each packs for itself: the last one's file stays. */
static void wait_for_lock(const Packed *p, Lock *lock)
{
    const struct timespec pause = {0, WAIT_MS * 1000000L};
    char owner[512];
    for (int tries = 0; lock_try(lock, p->path, owner, sizeof owner) == LOCK_ANOTHERS; tries++) {
        if (tries == 0)
            notice("waiting for %s, which packs the images of %s", owner, p->source->request->path);
        nanosleep(&pause, NULL);
    }
}

static Found open_packed(const Packed *p, FileMap *m, PackedHead *head)
{
    Found found = look(p, p->path, m, head);
    if (found == FOUND)
        utimensat(AT_FDCWD, p->path, NULL, 0); /* it was used */
    return found;
}

static int load_or_pack(Packed *p, Dataset *out)
{
    FileMap m;
    PackedHead head;
    Lock lock = {.fd = -1};
    if (open_packed(p, &m, &head) == FOUND)
        return take(p, &m, &head, out);
    wait_for_lock(p, &lock);
    Found found = open_packed(p, &m, &head);
    tell_found(p, found);
    int status = 0;
    if (found == FOUND)
        status = take(p, &m, &head, out);
    else if (p->source->list && p->source->list(p->source) < 0)
        status = -1;
    else
        status = pack_file(p, out);
    lock_release(&lock);
    return status;
}

int packed_load(ImageSource *s, Dataset *out)
{
    const NincModel *m = s->request->model;
    Packed p = {.source = s, .image_bytes = (int64_t)m->image_h * m->image_w * m->image_c};
    name_file(&p);
    if (p.path[0])
        return load_or_pack(&p, out);
    return s->list && s->list(s) < 0 ? -1 : pack_in_memory(&p, out);
}
