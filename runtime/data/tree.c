/* From the files below a directory to classes, labels and an order: those of torchvision's
 * ImageFolder, where directories are classes in the order of their names, and the files of a class,
 * however deep they lie, come by directory, then by name. */
#include "folder.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- paths ---- */

void path_list_add(PathList *list, const PathEntry *entry)
{
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 256;
        list->at = xrealloc(list->at, list->room * sizeof *list->at);
    }
    list->at[list->count++] = *entry;
}

void path_list_free(PathList *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i].path);
    free(list->at);
    *list = (PathList){0};
}

/* Those of a format that cannot be read are taken too: it is an error that they are there. */
bool is_image_file(const char *name)
{
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif",
                                          ".bmp", ".pgm", ".ppm",  ".pnm",  ".tif",  ".tiff"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return false;
}

const char *const *split_directories(Split split)
{
    static const char *const train[] = {"train", NULL}, *const test[] = {"test", NULL};
    static const char *const validation[] = {"val", "valid", "validation", NULL};
    switch (split) {
    case SPLIT_TRAIN: break;
    case SPLIT_TEST: return test;
    case SPLIT_VALIDATION: return validation;
    }
    return train;
}

bool is_split_name(const char *name, size_t length)
{
    static const Split splits[] = {SPLIT_TRAIN, SPLIT_TEST, SPLIT_VALIDATION};
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++)
        for (const char *const *n = split_directories(splits[i]); *n; n++)
            if (strlen(*n) == length && strncmp(name, *n, length) == 0)
                return true;
    return false;
}

/* ---- classes ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **class_directories(const PathList *paths, int *count)
{
    char **name = xmalloc((paths->count + 1) * sizeof *name);
    int found = 0, kept = 0;
    for (size_t i = 0; i < paths->count; i++) {
        const char *path = paths->at[i].path, *slash = strchr(path, '/');
        if (!slash && !paths->at[i].directory)
            continue;
        name[found] = copy_text(path);
        name[found++][slash ? slash - path : (long)strlen(path)] = '\0';
    }
    qsort(name, (size_t)found, sizeof *name, by_text);
    for (int i = 0; i < found; i++) {
        if (kept > 0 && strcmp(name[kept - 1], name[i]) == 0)
            free(name[i]);
        else
            name[kept++] = name[i];
    }
    *count = kept;
    return name;
}

static int check_utf8(const char *base, const char *path)
{
    char shown[256];
    json_t *text = json_string(path);
    bool right = text != NULL;
    json_decref(text);
    return right
               ? 0
               : fault("the name %s%s is not UTF-8; rename it, for example with 'convmv -f latin1 "
                       "-t utf8 --notest'",
                       base, printable(path, shown, sizeof shown));
}

void take_class_names(const PathList *paths, Dataset *out)
{
    bool right = true;
    out->class_name = class_directories(paths, &out->classes);
    for (int i = 0; i < out->classes && right; i++)
        right = check_utf8("", out->class_name[i]) == 0;
    if (right)
        return;
    for (int i = 0; i < out->classes; i++)
        free(out->class_name[i]);
    free(out->class_name);
    out->class_name = NULL;
    out->classes = 0;
}

static int class_of(const ImageTree *tree, const char *path)
{
    char *name = copy_text(path);
    name[strcspn(name, "/")] = '\0';
    char **found = bsearch(&name, tree->class_name, (size_t)tree->classes, sizeof name, by_text);
    free(name);
    return found ? (int)(found - tree->class_name) : -1;
}

static int check_classes(const ImageTree *tree, const char *base)
{
    for (int i = 0; i < tree->classes; i++)
        if (check_utf8(base, tree->class_name[i]) < 0)
            return -1;
    if (tree->classes == 0)
        return fault("%s has no directories of classes; put the images of each class into a "
                     "directory of its name: %sCLASS/1.jpg",
                     base, base);
    if (tree->classes == 1)
        return fault("%s has one class only, %s; a classifier needs two or more: put the images of "
                     "each into a directory of its name",
                     base, tree->class_name[0]);
    return 0;
}

/* ---- files ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Python compares directories as one text, so a-b/ stands between a/ and a/c/. */
static int by_place(const void *a, const void *b)
{
    const PathEntry *x = a, *y = b;
    const char *p = x->path, *q = y->path;
    size_t first = strcspn(p, "/"), other = strcspn(q, "/");
    int order = strncmp(p, q, first < other ? first : other);
    if (order || first != other)
        return order ? order : first < other ? -1 : 1;
    size_t m = (size_t)(base_name(p) - p), n = (size_t)(base_name(q) - q);
    order = strncmp(p, q, (m < n ? m : n) - 1);
    if (order || m != n)
        return order ? order : m < n ? -1 : 1;
    return strcmp(p + m, q + n);
}

/* Moves the images of the list into the tree. */
static void take_images(ImageTree *tree, PathList *paths)
{
    tree->file = xmalloc((paths->count + 1) * sizeof *tree->file);
    for (size_t i = 0; i < paths->count; i++) {
        PathEntry *e = &paths->at[i];
        if (e->directory || !strchr(e->path, '/') || !is_image_file(e->path))
            continue;
        tree->file[tree->count++] = *e;
        e->path = NULL;
    }
    qsort(tree->file, (size_t)tree->count, sizeof *tree->file, by_place);
}

static int check_file(const ImageTree *tree, const char *base, int i)
{
    const char *path = tree->file[i].path;
    if (check_utf8(base, path) < 0)
        return -1;
    if (i > 0 && strcmp(tree->file[i - 1].path, path) == 0)
        return fault("%s%s is there twice; pack the archive again", base, path);
    if (tree->label[i] < 0)
        return fault("%s%s is of the class %.*s, which the training images have not; move it, or "
                     "add that class to them",
                     base, path, (int)strcspn(path, "/"), path);
    return 0;
}

static int label_images(ImageTree *tree, const char *base)
{
    tree->label = xmalloc(((size_t)tree->count + 1) * sizeof *tree->label);
    for (int i = 0; i < tree->count; i++) {
        tree->label[i] = class_of(tree, tree->file[i].path);
        if (check_file(tree, base, i) < 0)
            return -1;
    }
    return 0;
}

/* ---- what is missing ---- */

/* A file of the class that is no image, for the message; NULL: none. */
static const char *other_file(const PathList *paths, const char *class)
{
    size_t length = strlen(class);
    for (size_t i = 0; i < paths->count; i++) {
        const char *path = paths->at[i].path;
        if (path && !paths->at[i].directory && strncmp(path, class, length) == 0 &&
            path[length] == '/')
            return path;
    }
    return NULL;
}

static int empty_class(const char *base, const char *class, const PathList *paths)
{
    char shown[256];
    const char *other = other_file(paths, class);
    if (other)
        return fault("%s%s has no images: %s%s is none by its name (*.jpg, *.png, *.webp, *.gif, "
                     "*.bmp, *.ppm ...); put images there, or remove the directory",
                     base, class, base, printable(other, shown, sizeof shown));
    return fault("%s%s is empty; put the images of that class there, or remove the directory", base,
                 class);
}

static int check_counts(const ImageTree *tree, const char *base, const PathList *paths)
{
    bool *has = memset(xmalloc((size_t)tree->classes), 0, (size_t)tree->classes);
    int status = 0;
    for (int i = 0; i < tree->count; i++)
        has[tree->label[i]] = true;
    for (int k = 0; k < tree->classes && status == 0; k++)
        if (!has[k])
            status = empty_class(base, tree->class_name[k], paths);
    free(has);
    return status;
}

int tree_build(ImageTree *tree, const char *base, PathList *paths, char *const *known, int classes)
{
    *tree = (ImageTree){0};
    if (known) {
        tree->class_name = xmalloc((size_t)classes * sizeof *tree->class_name);
        for (; tree->classes < classes; tree->classes++)
            tree->class_name[tree->classes] = copy_text(known[tree->classes]);
    } else
        tree->class_name = class_directories(paths, &tree->classes);
    if (check_classes(tree, base) < 0)
        return -1;
    take_images(tree, paths);
    if (label_images(tree, base) < 0)
        return -1;
    if (tree->count == 0)
        return fault("%s has no images; put those of each class into its directory", base);
    return known ? 0 : check_counts(tree, base, paths);
}

Split split_source(const DataRequest *r)
{
    return r->split_by && r->split == SPLIT_VALIDATION ? SPLIT_TRAIN : r->split;
}

int tree_divide(ImageTree *tree, const DataRequest *r)
{
    bool validation = r->split == SPLIT_VALIDATION;
    if (!r->split_by || r->split == SPLIT_TEST)
        return 0;
    bool *validates = xmalloc(((size_t)tree->count + 1) * sizeof *validates);
    int status = split_marks(r->split_by, tree->label, tree->count, validates), kept = 0;
    for (int i = 0; i < tree->count && status == 0; i++) {
        if (validates[i] != validation) {
            free(tree->file[i].path);
            continue;
        }
        tree->file[kept] = tree->file[i];
        tree->label[kept++] = tree->label[i];
    }
    tree->count = status == 0 ? kept : tree->count;
    free(validates);
    return status;
}

void tree_free(ImageTree *tree)
{
    for (int i = 0; i < tree->classes; i++)
        free(tree->class_name[i]);
    for (int i = 0; i < tree->count; i++)
        free(tree->file[i].path);
    free(tree->class_name);
    free(tree->file);
    free(tree->label);
    *tree = (ImageTree){0};
}

Hash tree_hash(Hash h, const ImageTree *tree)
{
    for (int i = 0; i < tree->classes; i++)
        h = hash_text(h, tree->class_name[i]);
    for (int i = 0; i < tree->count; i++) {
        const PathEntry *e = &tree->file[i];
        h = hash_text(h, e->path);
        h = hash_bytes(h, &e->size, sizeof e->size);
        h = hash_bytes(h, &e->changed, sizeof e->changed);
    }
    return h;
}
