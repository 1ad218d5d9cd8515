/* IDX files, the format of MNIST (LeCun, Cortes, Burges), plain or gzipped: a magic number of two
 * bytes 0, the type of the elements and the number of dimensions; the dimensions; the elements; all
 * big-endian. Functions that return int give 0, or -1 after one message that names the file. */
#ifndef NINC_IDX_H
#define NINC_IDX_H

#include "runtime.h"

#include <zlib.h>

enum { IDX_MAX_RANK = 4 };

typedef struct IdxType {
    const char *name;
    int code, bytes;
    double lowest, highest; /* of whole numbers; for floats 0 */
    bool is_float;
} IdxType;

typedef struct IdxFile {
    gzFile gz;
    char path[DATA_PATH];
    uint64_t size; /* of the file, in bytes */
    const IdxType *type;
    uint32_t dim[IDX_MAX_RANK]; /* the first is the number of items */
    int rank;
} IdxFile;

/* What is looked for in a directory: PART-WHAT-idxRANK-ubyte, as train-images-idx3-ubyte. */
typedef struct IdxName {
    const char *part, *what; /* train or t10k; images or labels */
    int rank;
} IdxName;

/* Finds a file in the directory, under the names that downloads have too (train-images.idx3-ubyte,
 * idx1-int, with .gz), and reads its header. Where there is none, the message says which files are
 * there under other names. */
int idx_open(IdxFile *f, const char *directory, const IdxName *name);
void idx_close(IdxFile *f);
/* Elements of an item. */
int64_t idx_item(const IdxFile *f);
/* All elements as bytes, which the caller frees: whole numbers from 0 to 255 of any type; floats
 * from 0 to 1, after a notice, times 255, where that gives whole numbers. */
int idx_bytes(IdxFile *f, uint8_t **out);
/* One element an item, a whole number from 0 to `classes` - 1 of any type. */
int idx_labels(IdxFile *f, int classes, int32_t **out);

#endif
