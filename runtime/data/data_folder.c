/* A data set of images in directories, one a class: DIR/train/CLASS/..., with val (valid,
 * validation) and test beside train, or DIR/CLASS/... alone. Links are followed, hidden files and
 * directories are left out. */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE = 1 << 30, MAX_DEPTH = 128 };

/* ---- where a split lies ---- */

/* The directory of the split, which the caller frees; NULL: it has none of its own. */
static char *split_directory(const char *path, Split split)
{
    for (const char *const *name = split_directories(split); *name; name++) {
        char *directory = join_path(path, *name);
        if (is_directory(directory))
            return directory;
        free(directory);
    }
    return NULL;
}

/* That of the training images may be the data set's. */
static char *train_directory(const char *path)
{
    char *directory = split_directory(path, SPLIT_TRAIN);
    return directory ? directory : copy_text(path);
}

bool data_folder_has(const char *path, Split split)
{
    char *directory = split == SPLIT_TRAIN ? train_directory(path) : split_directory(path, split);
    bool has = directory && is_directory(directory);
    free(directory);
    return has;
}

/* ---- walking ---- */

/* A directory that is being read, and those that it lies in. */
typedef struct Visit {
    const struct Visit *above;
    const char *path; /* below the base; "": the base */
    dev_t device;
    ino_t number;
    int depth;
} Visit;

typedef struct Walk {
    const char *base;
    PathList *out;
    int levels; /* how deep to look; 0: all the way */
} Walk;

static int walk(const Walk *w, int at, const Visit *v);

static int cannot_read(const Walk *w, const char *path)
{
    int error = errno;
    char shown[512];
    return fault(
        "cannot read %s/%s: %s; %s", w->base, printable(path, shown, sizeof shown), strerror(error),
        error == ELOOP    ? "the links go in a circle: remove one"
        : error == ENOENT ? "the link leads nowhere: remove it, or put there what it is for"
                          : "give yourself the right to, or remove it");
}

static int check_circle(const Walk *w, const Visit *v)
{
    char shown[512];
    for (const Visit *u = v->above; u; u = u->above)
        if (u->device == v->device && u->number == v->number)
            return fault("%s/%s leads back to a directory that it lies in, %s/%s; remove that link",
                         w->base, printable(v->path, shown, sizeof shown), w->base, u->path);
    return v->depth > MAX_DEPTH ? fault("%s/%s lies more than %d directories deep; move it up",
                                        w->base, v->path, MAX_DEPTH)
                                : 0;
}

static int add_directory(const Walk *w, int at, const struct stat *s, const Visit *above,
                         const char *path)
{
    Visit v = {above, path, s->st_dev, s->st_ino, above->depth + 1};
    path_list_add(w->out, &(PathEntry){.path = copy_text(path), .directory = true});
    if (check_circle(w, &v) < 0)
        return -1;
    if (w->levels && v.depth >= w->levels)
        return 0;
    int fd = openat(at, strrchr(path, '/') ? strrchr(path, '/') + 1 : path,
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? cannot_read(w, path) : walk(w, fd, &v);
}

static int64_t nanoseconds(const struct stat *s)
{
    return s->st_mtim.tv_sec * INT64_C(1000000000) + s->st_mtim.tv_nsec;
}

/* What is neither directory nor file is passed over, unless it is called an image. */
static int add_entry(const Walk *w, int at, const Visit *v, const char *name)
{
    struct stat s;
    char *path = v->path[0] ? join_path(v->path, name) : copy_text(name);
    bool image = is_image_file(name);
    int status = 0;
    if (fstatat(at, name, &s, 0) != 0)
        status = image || errno == ELOOP ? cannot_read(w, path) : 0;
    else if (S_ISDIR(s.st_mode))
        status = add_directory(w, at, &s, v, path);
    else if (v->depth > 0 && (S_ISREG(s.st_mode) || image)) {
        PathEntry e = {.path = path, .size = s.st_size, .changed = nanoseconds(&s)};
        path_list_add(w->out, &e);
        return 0;
    }
    free(path);
    return status;
}

/* Closes `at`. */
static int walk(const Walk *w, int at, const Visit *v)
{
    struct dirent *entry;
    DIR *d = fdopendir(at);
    int status = 0;
    if (!d) {
        close(at);
        return cannot_read(w, v->path);
    }
    while (status == 0 && (entry = readdir(d)))
        if (entry->d_name[0] != '.')
            status = add_entry(w, at, v, entry->d_name);
    closedir(d);
    return status;
}

static int list_directory(const char *base, int levels, PathList *out)
{
    struct stat s;
    Walk w = {base, out, levels};
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &s) != 0) {
        int status = fault("cannot read the directory %s: %s", base, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    Visit v = {.path = "", .device = s.st_dev, .number = s.st_ino};
    return walk(&w, fd, &v);
}

/* ---- a data set? ---- */

static bool is_class(const char *directory, const char *name)
{
    char *path = join_path(directory, name);
    struct dirent *entry;
    DIR *d = name[0] == '.' ? NULL : opendir(path);
    bool found = false;
    while (d && !found && (entry = readdir(d)))
        found = entry->d_name[0] != '.' && is_image_file(entry->d_name);
    if (d)
        closedir(d);
    free(path);
    return found;
}

/* A train directory, or a directory with images in it. */
bool data_folder_probe(const char *path)
{
    char *train = split_directory(path, SPLIT_TRAIN);
    struct dirent *entry;
    DIR *d = train ? NULL : opendir(path);
    bool found = train != NULL;
    while (d && !found && (entry = readdir(d)))
        found = is_class(path, entry->d_name);
    if (d)
        closedir(d);
    free(train);
    return found;
}

/* Of a directory that cannot be read so there are none: who reads the images tells why. */
int data_folder_names(const DataRequest *r, Dataset *out)
{
    char why[64], *directory = train_directory(r->path);
    PathList paths = {0};
    Messages before = fault_silence(why, sizeof why);
    if (list_directory(directory, 1, &paths) == 0)
        take_class_names(&paths, out);
    fault_release(before);
    path_list_free(&paths);
    free(directory);
    return 0;
}

/* ---- reading ---- */

typedef struct Cursor {
    atomic_int next;
} Cursor;

static int take_file(ImageSource *s, PackItem *item)
{
    Cursor *c = s->own;
    item->index = atomic_fetch_add(&c->next, 1);
    return item->index < s->tree.count;
}

/* Its bytes; a file that is not as it was when it was listed would not be packed under its key. */
static int read_open(int fd, const PathEntry *e, PackItem *item)
{
    struct stat before;
    size_t got = 0;
    ssize_t part = 1;
    if (fstat(fd, &before) != 0)
        return fault("cannot read %s: %s", item->name, strerror(errno));
    if (!S_ISREG(before.st_mode))
        return fault("cannot read %s: it is not a file; remove it", item->name);
    if (before.st_size != e->size || nanoseconds(&before) != e->changed)
        return fault("%s has changed since the data set was listed; start again when nobody "
                     "writes there",
                     item->name);
    while (got < item->size && part > 0) {
        part = read(fd, item->bytes + got, item->size - got);
        got += part > 0 ? (size_t)part : 0;
    }
    return got == item->size
               ? 0
               : fault("cannot read %s: %s", item->name, part < 0 ? strerror(errno) : "it was cut");
}

static int read_file(ImageSource *s, PackItem *item)
{
    const PathEntry *e = &s->tree.file[item->index];
    if (e->size > MAX_FILE)
        return fault("%s has %lld bytes; at most %d can be read here", item->name,
                     (long long)e->size, (int)MAX_FILE);
    item->size = (size_t)e->size;
    if (item->size > item->room)
        item->bytes = xrealloc(item->bytes, item->room = item->size);
    int fd = open(item->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fault("cannot read %s: %s; give yourself the right to, or remove it", item->name,
                     strerror(errno));
    int status = read_open(fd, e, item);
    close(fd);
    return status;
}

/* The classes are those of the training images. */
static int build(const DataRequest *r, const char *directory, const char *base, ImageTree *tree)
{
    PathList paths = {0}, train = {0};
    char **known = NULL, *first = NULL;
    int classes = 0, status = list_directory(directory, 0, &paths);
    if (status == 0 && split_source(r) != SPLIT_TRAIN) {
        first = train_directory(r->path);
        status = list_directory(first, 1, &train);
        known = class_directories(&train, &classes);
    }
    if (status == 0)
        status = tree_build(tree, base, &paths, classes ? known : NULL, classes);
    for (int i = 0; i < classes; i++)
        free(known[i]);
    free(known);
    free(first);
    path_list_free(&train);
    path_list_free(&paths);
    return status;
}

static int no_split(const DataRequest *r)
{
    const char *name = split_directories(r->split)[0];
    return fault("%s has no %s images; put them into %s/%s/CLASS, beside %s/train/CLASS, or let a "
                 "part of the training images validate: input: {validation_split: 0.1}",
                 r->path, r->split == SPLIT_TEST ? "test" : "validation", r->path, name, r->path);
}

int data_folder_read(const DataRequest *r, Dataset *out)
{
    char *directory = split_source(r) == SPLIT_TRAIN ? train_directory(r->path)
                                                     : split_directory(r->path, r->split);
    if (!directory)
        return no_split(r);
    Cursor cursor = {0};
    char *base = join_path(directory, ""), *root = join_path(r->path, "");
    ImageSource s = {.request = r,
                     .root = root,
                     .below = base + strlen(root),
                     .take = take_file,
                     .read = read_file,
                     .own = &cursor};
    int status = build(r, directory, base, &s.tree);
    if (status == 0)
        status = dataset_check_classes(r->model, r->path, s.tree.class_name, s.tree.classes);
    if (status == 0)
        status = tree_divide(&s.tree, r);
    if (status == 0) {
        s.state = tree_hash(hash_start(), &s.tree);
        status = packed_load(&s, out);
    }
    tree_free(&s.tree);
    free(root);
    free(base);
    free(directory);
    return status;
}
