/* A data set of images in an archive, read in place by libarchive: tar, plain or compressed by
 * gzip, xz, bzip2 or Zstandard, and zip. It holds what a directory would (data_folder.c), in a
 * directory of its own or not. What it claims of itself is not believed. */
#include "folder.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum {
    BLOCK = 1 << 16,
    MAX_MEMBER = 1 << 30, /* bytes */
    MAX_MEMBERS = 1 << 25,
    RATIO = 1100,          /* deflate does 1032 at most; images are not packed so well twice */
    RATIO_FROM = 64 << 20, /* bytes from which that is looked at */
};

typedef struct Reader {
    struct archive *archive;
    const char *path;
    int64_t size, got; /* bytes of the file, of what was read from members */
    struct timespec changed;
    int members, taken; /* of the archive so far; of the split's */
    char *name;         /* of the member at hand */
    int *by_name;       /* [tree.count] images in the order of their names */
    const char *prefix; /* of the members of the split */
} Reader;

/* ---- members ---- */

static int bad_archive(const Reader *r, const char *what)
{
    char shown[512];
    const char *why = r->archive ? archive_error_string(r->archive) : NULL;
    return fault("%s%s%s: %s (%s); get the archive again", r->path, r->name ? ", member " : "",
                 r->name ? printable(r->name, shown, sizeof shown) : "", what,
                 why ? why : "no memory");
}

static int reader_open(Reader *r)
{
    struct archive *a = r->archive = archive_read_new();
    r->got = r->members = 0;
    if (!a)
        return bad_archive(r, "cannot be read");
    archive_read_support_format_tar(a);
    archive_read_support_format_zip(a);
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_zstd(a);
    archive_read_set_options(a, "hdrcharset=UTF-8");
    return archive_read_open_filename(a, r->path, BLOCK) == ARCHIVE_OK
               ? 0
               : bad_archive(r, "is no archive that can be read here");
}

static void reader_close(Reader *r)
{
    archive_read_free(r->archive);
    free(r->name);
    r->archive = NULL;
    r->name = NULL;
}

/* Whether a part of the path is .. */
static bool climbs(const char *path)
{
    for (size_t length; *path; path += length + (path[length] == '/')) {
        length = strcspn(path, "/");
        if (length == 2 && path[0] == '.' && path[1] == '.')
            return true;
    }
    return false;
}

/* Hidden ones, and what a Mac puts beside them. */
static bool is_hidden(const char *path)
{
    return path[0] == '.' || strstr(path, "/.") || strncmp(path, "__MACOSX/", 9) == 0;
}

static int check_name(const Reader *r, const char *name)
{
    char shown[512];
    if (name[0] == '/' || climbs(name))
        return fault("%s: the member %s leads out of the archive; such are refused: pack it again "
                     "with names below one directory",
                     r->path, printable(name, shown, sizeof shown));
    return 0;
}

static int check_claims(const Reader *r, const struct archive_entry *e)
{
    int64_t size = archive_entry_size((struct archive_entry *)e);
    char shown[512];
    const char *name = printable(r->name, shown, sizeof shown);
    if (size < 0 || size > MAX_MEMBER)
        return fault("%s: the member %s claims to have %lld bytes; at most %d can be read here",
                     r->path, name, (long long)size, (int)MAX_MEMBER);
    if (archive_entry_is_encrypted((struct archive_entry *)e) > 0)
        return fault("%s: the member %s is encrypted; pack the archive without a password", r->path,
                     name);
    if (r->members > MAX_MEMBERS)
        return fault("%s has more than %d members; at most so many can be read", r->path,
                     (int)MAX_MEMBERS);
    return 0;
}

/* Of a few bytes that become very many nobody made a data set. */
static int check_ratio(const Reader *r)
{
    int64_t out = archive_filter_bytes(r->archive, 0);
    out = out > r->got ? out : r->got;
    if (out < RATIO_FROM || out / RATIO <= r->size)
        return 0;
    return fault("%s: its %lld bytes have become %lld at the member %s, which no images do; it is "
                 "not read on",
                 r->path, (long long)r->size, (long long)out, r->name ? r->name : "");
}

/* Takes the entry's name without a ./ before it. */
static int take_name(Reader *r, struct archive_entry *e)
{
    const char *name = archive_entry_pathname_utf8(e);
    free(r->name);
    r->name = NULL;
    if (!name) {
        char shown[512];
        const char *raw = archive_entry_pathname(e);
        return fault("%s: the name of the member %s is not UTF-8; pack it again from files whose "
                     "names are",
                     r->path, raw ? printable(raw, shown, sizeof shown) : "?");
    }
    while (name[0] == '.' && name[1] == '/')
        name += 2;
    r->name = copy_text(name);
    return check_name(r, name);
}

/* The next member: 1; 0: there is none; -1 after a message. */
static int next_member(Reader *r, struct archive_entry **e)
{
    int status = archive_read_next_header(r->archive, e);
    if (status == ARCHIVE_EOF)
        return 0;
    if (status < ARCHIVE_WARN)
        return bad_archive(r, "the archive is corrupt or truncated behind it");
    r->members++;
    if (take_name(r, *e) < 0 || check_claims(r, *e) < 0 || check_ratio(r) < 0)
        return -1;
    return 1;
}

/* ---- the list ---- */

/* A link has no bytes of its own; one that would be an image is told. */
static int check_link(const Reader *r, struct archive_entry *e)
{
    bool link = archive_entry_hardlink(e) || archive_entry_filetype(e) == AE_IFLNK;
    char shown[512];
    if (!link || !is_image_file(r->name))
        return 0;
    return fault("%s: the member %s is a link; pack the archive with the files themselves (tar "
                 "--dereference --hard-dereference)",
                 r->path, printable(r->name, shown, sizeof shown));
}

static int list_members(Reader *r, PathList *out)
{
    struct archive_entry *e;
    int status = reader_open(r), more = status < 0 ? -1 : 1;
    while (more > 0 && (more = next_member(r, &e)) > 0) {
        bool directory = archive_entry_filetype(e) == AE_IFDIR;
        if (!r->name[0] || is_hidden(r->name))
            continue;
        if (check_link(r, e) < 0)
            more = -1;
        else if (directory || archive_entry_filetype(e) == AE_IFREG) {
            PathEntry entry = {
                .path = copy_text(r->name), .size = archive_entry_size(e), .directory = directory};
            size_t length = strlen(entry.path);
            if (length && entry.path[length - 1] == '/')
                entry.path[length - 1] = '\0';
            path_list_add(out, &entry);
        }
    }
    reader_close(r);
    return more < 0 ? -1 : 0;
}

/* ---- where a split lies in it ---- */

/* Bytes of the directories that all lie in, which is no split; with its slash. */
static size_t common_prefix(const PathList *paths)
{
    size_t length = 0;
    for (;;) {
        const char *first = NULL;
        size_t part = 0;
        for (size_t i = 0; i < paths->count; i++) {
            const char *path = paths->at[i].path;
            if (strlen(path) <= length)
                continue; /* one of the directories themselves */
            path += length;
            size_t here = strcspn(path, "/");
            if (path[here] != '/' && !paths->at[i].directory)
                return length; /* a file */
            if (first && (here != part || strncmp(first, path, part) != 0))
                return length;
            first = path;
            part = here;
        }
        if (!first || is_split_name(first, part))
            return length;
        length += part + 1;
    }
}

/* Whether something lies in the directory PREFIX NAME, whose length with its slash it gives. */
static size_t split_prefix(const PathList *paths, size_t prefix, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < paths->count; i++) {
        const char *path = paths->at[i].path;
        if (strlen(path) > prefix + length && strncmp(path + prefix, name, length) == 0 &&
            path[prefix + length] == '/')
            return prefix + length + 1;
    }
    return 0;
}

/* The directory of the split, with its slash, in `out`; false: it has none of its own. */
static bool find_split_below(const PathList *paths, Split split, Text *out)
{
    size_t prefix = common_prefix(paths), found = 0;
    const char *any = paths->count ? paths->at[0].path : "";
    for (size_t i = 0; i < paths->count && strlen(any) < prefix; i++)
        any = paths->at[i].path;
    const char *const *name = split_directories(split);
    while (*name && !(found = split_prefix(paths, prefix, *name)))
        name++;
    if (prefix)
        text_write(out, any, prefix);
    if (found)
        text_append(out, "%s/", *name);
    text_write(out, "", 1);
    return found || (split == SPLIT_TRAIN && !split_prefix(paths, prefix, "test"));
}

/* Moves what lies in the directory into `out`. */
static void take_below(PathList *paths, const char *prefix, PathList *out)
{
    size_t length = strlen(prefix);
    for (size_t i = 0; i < paths->count; i++) {
        PathEntry e = paths->at[i];
        if (strncmp(e.path, prefix, length) != 0 || strlen(e.path) <= length)
            continue;
        e.path = copy_text(e.path + length);
        path_list_add(out, &e);
    }
}

/* ---- the source ---- */

static int by_member(const void *a, const void *b, void *tree)
{
    const PathEntry *file = ((const ImageTree *)tree)->file;
    return strcmp(file[*(const int *)a].path, file[*(const int *)b].path);
}

static void sort_names(Reader *r, ImageTree *tree)
{
    r->by_name = xmalloc(((size_t)tree->count + 1) * sizeof *r->by_name);
    for (int i = 0; i < tree->count; i++)
        r->by_name[i] = i;
    qsort_r(r->by_name, (size_t)tree->count, sizeof *r->by_name, by_member, tree);
}

/* The image that a member is; -1: none of the split's. */
static int image_of(const Reader *r, const ImageTree *tree)
{
    size_t length = strlen(r->prefix);
    int low = 0, high = tree->count - 1;
    if (strncmp(r->name, r->prefix, length) != 0)
        return -1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(r->name + length, tree->file[r->by_name[middle]].path);
        if (order == 0)
            return r->by_name[middle];
        if (order < 0)
            high = middle - 1;
        else
            low = middle + 1;
    }
    return -1;
}

/* All bytes of the member at hand, which may be other than it claims. */
static int read_member(Reader *r, PackItem *item)
{
    la_ssize_t got = 1;
    item->size = 0;
    while (got > 0) {
        if (item->room - item->size < BLOCK)
            item->bytes = xrealloc(item->bytes, item->room = 2 * item->room + BLOCK);
        got = archive_read_data(r->archive, item->bytes + item->size, item->room - item->size);
        if (got < 0)
            return bad_archive(r, "is corrupt or truncated");
        item->size += (size_t)got;
        r->got += got;
        if (item->size > MAX_MEMBER)
            return fault("%s: the member %s has more than %d bytes; at most so many can be read",
                         r->path, r->name, (int)MAX_MEMBER);
        if (check_ratio(r) < 0)
            return -1;
    }
    return 0;
}

static bool is_same(const Reader *r)
{
    struct stat s;
    return stat(r->path, &s) == 0 && s.st_size == r->size &&
           s.st_mtim.tv_sec == r->changed.tv_sec && s.st_mtim.tv_nsec == r->changed.tv_nsec;
}

static int take_member(ImageSource *s, PackItem *item)
{
    Reader *r = s->own;
    struct archive_entry *e;
    int more;
    if (!r->archive && reader_open(r) < 0)
        return -1;
    while ((more = next_member(r, &e)) > 0) {
        if (archive_entry_filetype(e) != AE_IFREG)
            continue;
        item->index = image_of(r, &s->tree);
        if (item->index >= 0) {
            r->taken++;
            return read_member(r, item) < 0 ? -1 : 1;
        }
    }
    if (more == 0 && (r->taken != s->tree.count || !is_same(r)))
        return fault("%s has changed while it was read; start again when nobody writes it",
                     r->path);
    return more;
}

static int no_split(const DataRequest *r)
{
    return fault("the archive %s has no %s images; put them into %s/CLASS, beside train/CLASS, or "
                 "let a part of the training images validate: input: {validation_split: 0.1}",
                 r->path, r->split == SPLIT_TEST ? "test" : "validation",
                 split_directories(r->split)[0]);
}

typedef struct Archive {
    Reader reader; /* first: it is what take_member gets */
    Text prefix, base, root;
} Archive;

/* Of validation and test images the classes are those of the training images. */
static int build(ImageSource *s, PathList *paths)
{
    Archive *a = s->own;
    PathList below = {0}, train = {0};
    Text first = {0};
    char **known = NULL;
    int classes = 0;
    if (split_source(s->request) != SPLIT_TRAIN) {
        find_split_below(paths, SPLIT_TRAIN, &first);
        take_below(paths, first.data, &train);
        known = class_directories(&train, &classes);
    }
    take_below(paths, a->prefix.data, &below);
    int status = tree_build(&s->tree, a->base.data, &below, classes ? known : NULL, classes);
    for (int i = 0; i < classes; i++)
        free(known[i]);
    free(known);
    text_free(&first);
    path_list_free(&train);
    path_list_free(&below);
    return status;
}

static int list_images(ImageSource *s)
{
    Archive *a = s->own;
    PathList paths = {0};
    int status = list_members(&a->reader, &paths);
    if (status == 0 && !find_split_below(&paths, split_source(s->request), &a->prefix))
        status = no_split(s->request);
    if (status == 0) {
        text_append(&a->base, "%s%s", s->root, a->prefix.data);
        a->reader.prefix = s->below = a->prefix.data;
        status = build(s, &paths);
    }
    if (status == 0)
        status = dataset_check_classes(s->request->model, s->request->path, s->tree.class_name,
                                       s->tree.classes);
    if (status == 0)
        status = tree_divide(&s->tree, s->request);
    if (status == 0)
        sort_names(&a->reader, &s->tree);
    path_list_free(&paths);
    return status;
}

int data_archive_read(const DataRequest *r, Dataset *out)
{
    struct stat s;
    Archive a = {.reader = {.path = r->path}};
    ImageSource source = {
        .request = r, .below = "", .list = list_images, .take = take_member, .own = &a};
    if (stat(r->path, &s) != 0)
        return fault("cannot read %s: %s", r->path, strerror(errno));
    a.reader.size = s.st_size;
    a.reader.changed = s.st_mtim;
    text_append(&a.root, "%s:", r->path);
    source.root = a.root.data;
    const int64_t state[] = {s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec, (int64_t)s.st_ino};
    source.state = hash_bytes(hash_start(), state, sizeof state);
    int status = packed_load(&source, out);
    reader_close(&a.reader);
    free(a.reader.by_name);
    text_free(&a.prefix);
    text_free(&a.base);
    text_free(&a.root);
    tree_free(&source.tree);
    return status;
}

/* ---- a data set? ---- */

/* Of a file that is there, by its name. */
bool data_archive_probe(const char *path)
{
    static const char *const endings[] = {".tar", ".tar.gz",  ".tgz",     ".tar.xz",
                                          ".txz", ".tar.bz2", ".tar.zst", ".zip"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t end = strlen(endings[i]);
        if (length > end && strcasecmp(path + length - end, endings[i]) == 0)
            return is_regular(path);
    }
    return false;
}

int data_archive_names(const DataRequest *request, Dataset *out)
{
    char why[64];
    PathList paths = {0}, below = {0};
    Text prefix = {0};
    struct stat s;
    Reader r = {.path = request->path, .size = stat(request->path, &s) == 0 ? s.st_size : 0};
    Messages before = fault_silence(why, sizeof why);
    if (list_members(&r, &paths) == 0 && find_split_below(&paths, SPLIT_TRAIN, &prefix)) {
        take_below(&paths, prefix.data, &below);
        take_class_names(&below, out);
    }
    fault_release(before);
    path_list_free(&paths);
    path_list_free(&below);
    text_free(&prefix);
    return 0;
}

bool data_archive_has(const char *path, Split split)
{
    char why[64];
    PathList paths = {0};
    Text prefix = {0};
    struct stat s;
    Reader r = {.path = path, .size = stat(path, &s) == 0 ? s.st_size : 0};
    Messages before = fault_silence(why, sizeof why);
    bool has = list_members(&r, &paths) == 0 && find_split_below(&paths, split, &prefix);
    fault_release(before);
    path_list_free(&paths);
    text_free(&prefix);
    return has;
}
