/* Inside of images in folders and archives: data_folder.c and data_archive.c find the files of a
 * split, tree.c makes classes and an order of them, packed.c keeps the images, decoded once, in one
 * file that pack.c writes. Functions that return int give 0, or -1 after a message. */
#ifndef NINC_FOLDER_H
#define NINC_FOLDER_H

#include "../../ir/ir.h"
#include "data.h"

/* A file or directory below the directory whose directories are the classes: cat/1.jpg. */
typedef struct PathEntry {
    char *path;
    int64_t size, changed; /* bytes; nanoseconds, 0 in an archive */
    bool directory;
} PathEntry;

typedef struct PathList {
    PathEntry *at;
    size_t count, room;
} PathList;

/* The images of a split in their order. */
typedef struct ImageTree {
    char **class_name;
    int classes;
    PathEntry *file; /* [count] */
    int32_t *label;  /* [count] */
    int count;
} ImageTree;

/* A file that is being packed; a worker uses one for all its files. */
typedef struct PackItem {
    int index;      /* in the tree */
    char *name;     /* for messages */
    uint8_t *bytes; /* [size], room for `room` */
    size_t size, room;
} PackItem;

/* Where the images of a split come from. */
typedef struct ImageSource ImageSource;
struct ImageSource {
    const DataRequest *request;
    const char *root;  /* DIR/ or ARCHIVE: */
    const char *below; /* what the tree's paths stand behind there: train/, or "" */
    Hash state;        /* of all that the images depend on but the model */
    ImageTree tree;
    int (*list)(ImageSource *s); /* fills the tree; NULL: it is filled */
    /* The next file to be packed, by one worker at a time: 1; 0: there are no more. */
    int (*take)(ImageSource *s, PackItem *item);
    int (*read)(ImageSource *s, PackItem *item); /* its bytes, by many at once; NULL: take did */
    void *own;
};

/* ---- tree.c ---- */

void path_list_add(PathList *list, const PathEntry *entry); /* takes entry->path */
void path_list_free(PathList *list);
/* Whether a file of that name is taken for an image. */
bool is_image_file(const char *name);
/* Whether the split of that name is one of a layout with splits: train, val, valid, ... */
bool is_split_name(const char *name, size_t length);
/* The names that a split's directory may have, NULL behind them. */
const char *const *split_directories(Split split);
/* Classes, labels and order (torchvision's ImageFolder) of what lies below `base`, of which it
 * takes the files; `known` (of `classes`): names of the classes, where other images decide; NULL:
 * these do. */
int tree_build(ImageTree *tree, const char *base, PathList *paths, char *const *known, int classes);
/* Where the split's images lie: those that validation_split takes among the training images. */
Split split_source(const DataRequest *r);
/* Leaves those of the training images that the request is for, where validation_split divides them.
 */
int tree_divide(ImageTree *tree, const DataRequest *r);
void tree_free(ImageTree *tree);
/* The names of the directories of the list, sorted, each once; the caller frees them. */
char **class_directories(const PathList *paths, int *count);
/* Makes them the data set's, where they are UTF-8. */
void take_class_names(const PathList *paths, Dataset *out);
/* Of the list, for an ImageSource's state. */
Hash tree_hash(Hash h, const ImageTree *tree);

/* ---- pack.c ---- */

enum { MAX_ERROR = 512 };

/* What comes of packing. */
typedef struct Packing {
    int file; /* the images go there, image i of the tree at `offset` + i * bytes */
    int64_t offset, bytes;
    uint64_t *sum; /* [count] image_sum of each */
    char **bad;    /* [count] why a file is no image; NULL: it is one */
    int bads;
} Packing;

/* Decodes all files of the source. A bad one ends it, unless the request skips such. */
int pack_images(ImageSource *s, Packing *p);
/* A sum of bytes that changes with any of them (XXH64). */
uint64_t image_sum(const void *bytes, size_t count);

/* ---- packed.c ---- */

/* The packed images of the source, which are made where there are none that are right. */
int packed_load(ImageSource *s, Dataset *out);

/* ---- use.c ---- */

/* What is known of a packed file that is in use; `sum` of `images` is copied. */
PackedSet *packed_set_new(const uint64_t *sum, int images, const char *path);

#endif
